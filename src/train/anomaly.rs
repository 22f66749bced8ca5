//! Training of anomaly detectors from good pictures: a network learns to restore what is normal, from pictures with made defects (`fair`)
//! or from the pictures themselves (`autoencoder`), or to mark defects (`unet`), or both (`fair-seg`). Defects are made, and where there
//! are pictures and masks of real ones, taken from them, too.

mod defects;
mod marking;
mod restoring;

use std::sync::atomic::AtomicBool;

use candle_core::Device;
use rayon::prelude::*;
use serde_json::json;

use super::arrays::{infer, to_images};
use super::common::{Common, Defaults, Product, check_patch};
use super::losses::PictureLoss;
use super::optimizer::Method;
use super::packed::{self, Packed};
use super::run::{Metrics, Objective, Outcome, run};
use super::samples::{Sets, at_least, is_good};
use crate::data::layout::Dataset;
use crate::exec::candle::Network;
use crate::exec::{self, BF16_SHIFT, Session};
use crate::model::{Calibration, Color, InputSpec, MapKind, Model, Resize, Scoring, Task};
use crate::pixels::Image;
use crate::score::{calibration, maps, metrics};
use crate::tasks::{AnomalyDetector, batch, extend};
use crate::{Error, Result};
use defects::Defects;
use marking::{Marking, with_scaling};
use restoring::Restoring;

/// Good pictures that a calibration needs.
const LEAST_CALIBRATION: usize = 5;
/// A few more to be held out.
const LEAST_HELD_OUT: usize = 8;
/// Share of the good pictures held out. A threshold for a rate of 2 % rests on the three highest scores of 150: of half as many, on one or two
/// pictures that chance put there.
const HELD_OUT: f64 = 0.2;
/// Least number of good pictures.
const LEAST_PICTURES: usize = 2 * LEAST_HELD_OUT;
/// Good frames that are scored in bf16, too.
const BF16_FRAMES: usize = 8;
/// Most pictures with defects of a validation on the way.
const VAL_PICTURES: usize = 64;
/// Times that a held-out picture is given defects for it, where there are few: by chance alone, nine pictures are told apart better or
/// worse by several points. With up to 16 of them a validation takes two and a half times as long.
const VAL_TIMES: usize = 4;

/// Options of this task.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// What makes the restored picture differ from the good one; `None` = [`PictureLoss::L2Ssim`]. `unet` has its own.
    pub loss: Option<PictureLoss>,
    /// How the map is made; `None` = [`MapKind::Msgms`]. `unet` and `fair-seg` give their own.
    pub map: Option<MapKind>,
    /// Side of the map's mean filter in pixels; `None` = 21 at 256, in proportion, and none for `unet` and `fair-seg`.
    pub smooth: Option<usize>,
    /// The score is the mean of so many of the map's largest pixels; `None` = 1, and 16 for `unet` and `fair-seg`.
    pub pool: Option<usize>,
    /// Side in pixels of the surroundings that speak for a pixel of the map; `None` = 101 for `unet`, else none.
    pub context: Option<usize>,
    /// How a picture comes to the network's size; `None` = [`Resize::Stretch`]. `unet` takes pictures as they are.
    pub resize: Option<Resize>,
    /// Side of the square parts of pictures that `unet` learns from, in pixels; `None` = 128.
    pub patch: Option<usize>,
    /// Folders of pictures with defects and their masks, for `unet` and `fair-seg`.
    pub defects: Vec<String>,
    /// Whether parts may lie mirrored.
    pub flip: bool,
    /// Largest turn either way that parts may lie in, in degrees.
    pub rotate: f32,
    /// Share of good frames that may be flagged, 0..1.
    pub false_alarm_rate: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            loss: None,
            map: None,
            smooth: None,
            pool: None,
            context: None,
            patch: None,
            resize: None,
            defects: Vec::new(),
            flip: false,
            rotate: 0.0,
            false_alarm_rate: 0.01,
        }
    }
}

impl Options {
    /// The first option given, as on the command line, that only networks have which restore pictures.
    fn of_restoring(&self) -> Option<&'static str> {
        let given = [
            ("--loss", self.loss.is_some()),
            ("--map", self.map.is_some()),
            (
                if self.resize == Some(Resize::Tile) {
                    "--tile"
                } else {
                    "--resize"
                },
                self.resize.is_some(),
            ),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }
}

/// The architecture that marks defects at the pictures' own resolution.
const MARKING: &str = "unet";
/// The one that restores pictures and marks what it changed.
const SEGMENTING: &str = "fair-seg";
/// Side of the parts of pictures that `unet` learns from, in pixels.
const PATCH: usize = 128;
/// Side of the mean filter on the maps of networks that mark: none, they are smooth where they are sure.
const MARK_SMOOTH: usize = 1;
/// Pixels of their maps that make the score: a defect of 4x4 pixels counts in full, however it is shaped.
const MARK_POOL: usize = 16;
/// Side of the surroundings that speak for a pixel of their maps. Of 1, 65, 101 and 161 pixels, for made defects on held-out magnetic tiles:
/// pixel AUROC 0.880, 0.896, 0.906, 0.913; the wider, the less is told of where a narrow one lies.
const MARK_CONTEXT: usize = 101;

/// Trains and calibrates an anomaly detector. Where no architecture is named, [`choose_arch`] does.
pub fn train(common: &Common, options: &Options, exec_options: &exec::Options, stop: &AtomicBool) -> Result<Product> {
    let mut common = common.clone();
    let sets = prepare(&mut common, options)?;
    let mut data = sets.card()?;
    let (marks, segments) = (
        common.arch(Task::Anomaly) == MARKING,
        common.arch(Task::Anomaly) == SEGMENTING,
    );
    let resize = options.resize.unwrap_or(Resize::Stretch);
    let fit = common
        .net
        .size
        .map(|size| (size, resize))
        .filter(|_| resize != Resize::Tile);
    let (pictures, held_out, color) = packed::fitted(&sets, fit, common.net.color)?;
    let net = common.build(Task::Anomaly, color, 0)?;
    let input = InputSpec {
        resize,
        ..net.input.clone()
    };
    let defects = if options.defects.is_empty() {
        Defects::default()
    } else {
        let (defects, digest) = Defects::load(&options.defects, fit, &input)?;
        data.add(&format!("{} with real defects", defects.len()), &digest);
        defects
    };
    let loss = options.loss.unwrap_or(PictureLoss::L2Ssim);
    let loss_name = match (marks, segments) {
        (true, _) => "cross-entropy+dice".to_owned(),
        (_, true) => format!("{}+focal", loss.name()),
        _ => loss.name().to_owned(),
    };
    let map = match marks || segments {
        true => MapKind::Direct,
        false => options.map.unwrap_or(MapKind::Msgms),
    };
    let patch = options.patch.unwrap_or(PATCH);
    let smooth = options.smooth.unwrap_or_else(|| match common.net.size {
        Some(size) if !segments => default_smooth(size),
        _ => MARK_SMOOTH,
    });
    let pool = options.pool.unwrap_or(if marks || segments { MARK_POOL } else { 1 });
    let context = options.context.unwrap_or(if marks { MARK_CONTEXT } else { 1 });
    #[rustfmt::skip]
    let scoring = Scoring { map, smooth, pool, context };

    let defaults = Defaults {
        batch: if marks { 16 } else { 8 },
        learning_rate: if marks { 3e-3 } else { 1e-3 },
        method: if marks { Method::Muon } else { Method::AdamW },
        weight_decay: 0.0,
    };
    let extra = json!({
        "loss": loss_name, "map": map, "smooth": smooth, "pool": pool, "context": context, "patch": options.patch, "resize": resize, "flip": options.flip, "rotate": options.rotate,
        "false-alarm-rate": options.false_alarm_rate,
    });
    let settings = common.settings(Task::Anomaly, &net, defaults, &data, extra)?;
    let (batch, seed, device) = (settings.batch, common.seed, common.device.clone());
    let objective: Box<dyn Objective> = match marks {
        true => Box::new(Marking {
            largest: pictures
                .iter()
                .flat_map(|picture| input.size_for(picture.size()))
                .max()
                .unwrap_or(0),
            input: input.clone(),
            pictures: with_scaling(pictures, &input),
            held_out,
            defects,
            patch,
            scoring,
            flip: options.flip,
            rotate: options.rotate,
            batch,
            seed,
            device,
        }),
        false => Box::new(Restoring {
            loss,
            scoring,
            flip: options.flip,
            rotate: options.rotate,
            synthesize: common.arch(Task::Anomaly) != "autoencoder",
            marks: segments,
            defects,
            input: input.clone(),
            pictures,
            held_out,
            batch,
            seed,
            device,
        }),
    };
    match run(&*objective, &net, &settings, stop)? {
        Outcome::Interrupted { step, total } => Ok(Product::Interrupted { step, total }),
        Outcome::Finished(trained) => {
            let mut model = common.model(Task::Anomaly, &net, input, Vec::new(), *trained, &data);
            // What one that marks gives beside its map serves its training alone.
            model.graph.outputs.truncate(1);
            calibrate(&mut model, scoring, &sets.val, options.false_alarm_rate, exec_options)?;
            Ok(Product::Model(Box::new(model)))
        }
    }
}

/// Opens the data and fills in the architecture and its size. Data and options that do not do are found out now, not after
/// the reading or the training.
fn prepare(common: &mut Common, options: &Options) -> Result<Sets> {
    let (train, apart) = common.sources.open(is_good)?;
    let least = if apart.is_some() { 2 } else { LEAST_PICTURES };
    at_least(least, &train, &common.sources.train, "good pictures")?;
    let marked = !options.defects.is_empty();
    if marked && options.map.is_some() {
        let reason =
            "--map is for networks that restore pictures, --defects for those that mark: leave one of them out";
        return Err(Error::Invalid(reason.into()));
    }
    if common.arch.is_none() {
        let sized = common.net.size.map(|_| "--size");
        let (arch, reason) = match options.of_restoring() {
            None if marked && sized.is_none() => (MARKING, "--defects is for networks that mark".into()),
            option if marked => {
                let option = option.or(sized).unwrap_or_default();
                (
                    SEGMENTING,
                    format!("--defects is for networks that mark, {option} for those that restore pictures"),
                )
            }
            Some(option) => ("fair", format!("{option} is for networks that restore pictures")),
            None => choose_arch(common.net.size, &sizes(&train)?),
        };
        eprintln!("architecture {arch}: {reason}");
        common.arch = Some(arch.into());
    }
    let arch = common.arch(Task::Anomaly);
    if marked && ![MARKING, SEGMENTING].contains(&arch) {
        return Err(Error::Invalid(format!(
            "--defects does nothing with {arch}, which learns from good pictures alone: choose --arch {MARKING} or {SEGMENTING}"
        )));
    }
    if arch == SEGMENTING && options.map.is_some() {
        return Err(Error::Invalid(format!(
            "--map does nothing with {SEGMENTING}, which gives the map itself: leave it out"
        )));
    }
    if arch != MARKING {
        common.net.size.get_or_insert([256, 256]);
    } else if let Some(option) = options.of_restoring() {
        return Err(Error::Invalid(format!(
            "{option} does nothing with {MARKING}, which marks defects on pictures as they are: leave it out, or choose --arch \
             fair"
        )));
    }
    let net = common.build(Task::Anomaly, Color::Gray, 0)?;
    match options.patch {
        Some(_) if common.arch(Task::Anomaly) != MARKING => {
            return Err(Error::Invalid(format!(
                "--patch is for {MARKING}: networks that restore pictures see them whole, or cut by --tile"
            )));
        }
        Some(patch) => check_patch(&net.input, patch)?,
        None => {}
    }
    let share = (LEAST_HELD_OUT as f64 / train.samples.len() as f64).max(HELD_OUT);
    let sets = Sets::new(train, apart, share, common.seed);
    let held_out = "good pictures to hold out";
    at_least(LEAST_CALIBRATION, &sets.val, &common.sources.train, held_out)?;
    Ok(sets)
}

/// `[width, height]` of every picture.
fn sizes(data: &Dataset) -> Result<Vec<[usize; 2]>> {
    data.samples.par_iter().map(|sample| data.size(sample)).collect()
}

/// The architecture where none is named, and why: pictures of one size are stretched to the network's without harm, or as the
/// user asks by a size `given`; others keep their own resolution. Sizes are `[width, height]`.
pub fn choose_arch(given: Option<[usize; 2]>, sizes: &[[usize; 2]]) -> (&'static str, String) {
    let named = |[width, height]: [usize; 2]| format!("{width}x{height}");
    if let Some(given) = given {
        return ("fair", format!("every picture is brought to {}", named(given)));
    }
    match (sizes.iter().min(), sizes.iter().max()) {
        (Some(&least), Some(&most)) if least != most => (
            MARKING,
            format!(
                "the pictures differ in size ({} to {}), so each keeps its own",
                named(least),
                named(most)
            ),
        ),
        _ => ("fair", "the pictures are of one size".into()),
    }
}

/// 21 pixels at 256, in proportion to the shorter side, odd.
fn default_smooth(size: [usize; 2]) -> usize {
    (21 * size[0].min(size[1]) / 256) | 1
}

/// Most pixels of a picture that a validation compares with its mask.
const VAL_PIXELS: usize = 1 << 16;

/// What a validation finds: held-out pictures as they are, and with made defects.
struct Judgement<'a> {
    network: &'a Network,
    input: &'a InputSpec,
    scoring: Scoring,
    device: &'a Device,
    scores: Vec<f32>,
    defective: Vec<bool>,
    pixels: Vec<f32>,
    marked: Vec<bool>,
}

impl<'a> Judgement<'a> {
    fn new(network: &'a Network, input: &'a InputSpec, scoring: Scoring, device: &'a Device) -> Self {
        let (scores, pixels, defective, marked) = Default::default();
        #[rustfmt::skip]
        return Self { network, input, scoring, device, scores, defective, pixels, marked };
    }

    /// What a validation looks at: each of `pictures` up to [`VAL_TIMES`] times with defects, [`VAL_PICTURES`] in all; `true` the first time,
    /// when it is judged without defects, too.
    fn rounds(pictures: &[Packed]) -> impl Iterator<Item = (&Packed, bool)> {
        let times = (0..VAL_TIMES).flat_map(|time| pictures.iter().map(move |picture| (picture, time == 0)));
        times.take(VAL_PICTURES)
    }

    /// Scores a normalised picture as [`AnomalyDetector`] does; it is defective where `mask` is not 0.
    fn add(&mut self, image: &Image, mask: &Image) -> Result<()> {
        let seen = batch(&[&extend(self.input, image.clone())]);
        let output = to_images(&infer(self.network, &[seen], self.device)?)?.swap_remove(0);
        let mut output = output.crop(0, 0, image.width, image.height);
        output.data.iter_mut().for_each(|x| *x = x.clamp(0.0, 1.0));
        let map = maps::difference(self.scoring.map, image, &output, self.scoring.smooth);
        let marks = mask.data.iter().map(|mark| *mark > 0.5);
        let every = map.data.len().div_ceil(VAL_PIXELS);
        self.scores
            .push(maps::mean_of_largest(map.data.iter().copied(), self.scoring.pool));
        let told = maps::with_surroundings(map, self.scoring.context);
        self.pixels.extend(told.data.iter().step_by(every));
        self.marked.extend(marks.clone().step_by(every));
        self.defective.push(marks.into_iter().any(|mark| mark));
        Ok(())
    }

    /// How well defective pictures, and pixels, are told from the others. Without any made defect, which chance may bring in a handful of
    /// pictures, there is nothing to tell apart.
    fn metrics(&self) -> Metrics {
        let images = metrics::auroc(&self.scores, &self.defective).map(|auroc| ("val_auroc_synthetic", auroc));
        let pixels = metrics::auroc(&self.pixels, &self.marked).map(|auroc| ("val_pixel_auroc_synthetic", auroc));
        images.into_iter().chain(pixels).collect()
    }
}

/// Finds the model's threshold anew from good frames, for scores made by `scoring`. Frames that a model which predicts cannot judge
/// do not count.
pub fn calibrate(
    model: &mut Model,
    scoring: Scoring,
    good: &Dataset,
    false_alarm_rate: f64,
    options: &exec::Options,
) -> Result<()> {
    model.calibration = Some(Calibration::Anomaly(scoring.uncalibrated()));
    let scores = scores(AnomalyDetector::new(model, options)?, good, usize::MAX)?;
    let found = calibration::anomaly(&scores, false_alarm_rate, scoring)?;
    if let Some(caution) = found.caution(false_alarm_rate) {
        eprintln!("warning: {caution}");
    }
    let threshold = found.threshold;
    model.calibration = Some(Calibration::Anomaly(found));
    let shift = bf16_shift(model, scores, threshold, good)?;
    model.training.metrics.insert(BF16_SHIFT.into(), shift);
    Ok(())
}

/// The scores of the first `most` good frames that can be judged.
fn scores(mut detector: AnomalyDetector, good: &Dataset, most: usize) -> Result<Vec<f32>> {
    let mut scores = Vec::new();
    for (sample, goes_on) in good.in_order() {
        if scores.len() == most {
            break;
        }
        if !goes_on {
            detector.reset();
        }
        let inspection = detector.inspect(&good.read(sample)?)?;
        if inspection.judged {
            scores.push(inspection.score);
        }
    }
    Ok(scores)
}

/// How much bf16 changes a score at most, of the first few good frames, where those of all are `of_all`: see [`BF16_SHIFT`]. Few, because a CPU
/// without AMX takes seconds for each.
fn bf16_shift(model: &Model, mut of_all: Vec<f32>, threshold: f32, good: &Dataset) -> Result<f64> {
    let few = |session| scores(AnomalyDetector::with_session(model, session)?, good, BF16_FRAMES);
    let (exact, rounded) = (few(Session::in_f32(model)?)?, few(Session::in_bf16(model)?)?);
    let changes = exact
        .iter()
        .zip(rounded)
        .map(|(exact, rounded)| (exact - rounded).abs());
    let most = changes.fold(0.0, f32::max);
    of_all.sort_by(f32::total_cmp);
    // For a rate of a half, the threshold is the median.
    let margin = (threshold - of_all[of_all.len() / 2]).max(f32::EPSILON);
    Ok(f64::from(most / margin))
}

#[cfg(test)]
mod tests {
    use super::choose_arch;

    #[test]
    fn pictures_of_several_sizes_keep_theirs() {
        let arch = |given, sizes: &[[usize; 2]]| choose_arch(given, sizes).0;
        assert_eq!(arch(None, &[[640, 480]; 3]), "fair");
        assert_eq!(arch(None, &[[640, 480], [640, 480], [480, 640]]), "unet");
        assert_eq!(arch(None, &[[64, 48], [64, 49]]), "unet");
        assert_eq!(arch(Some([256, 256]), &[[64, 48], [64, 49]]), "fair");
        let (_, reason) = choose_arch(None, &[[64, 48], [20, 90]]);
        assert!(reason.contains("20x90 to 64x48"), "{reason}");
    }
}

//! Training of anomaly detectors from good pictures alone: a network learns to restore what is normal, from pictures with
//! made defects (`fair`) or from the pictures themselves (`autoencoder`), or to mark made defects (`unet`).

mod marking;

use std::sync::atomic::AtomicBool;

use candle_core::{Device, Tensor};
use rand::RngExt;
use rayon::prelude::*;
use serde_json::json;

use super::arrays::{first_output, infer, stack, to_images};
use super::card::purpose;
use super::common::{Common, Defaults, Product};
use super::feed::Batch;
use super::losses::PictureLoss;
use super::packed::{self, Packed};
use super::run::{Metrics, Objective, Outcome, run};
use super::samples::{Sets, at_least, indices, is_good};
use crate::data::augment::{self, CameraSettings};
use crate::data::layout::Dataset;
use crate::data::random::stream;
use crate::data::{defects, defects::Defective};
use crate::exec;
use crate::exec::candle::Network;
use crate::model::{AnomalyCalibration, Calibration, Color, InputSpec, MapKind, Model, Resize, Task};
use crate::pixels::Image;
use crate::score::{calibration, maps, metrics};
use crate::tasks::{AnomalyDetector, batch};
use crate::{Error, Result};

/// Good pictures that a calibration needs.
const LEAST_CALIBRATION: usize = 5;
/// A few more to be held out.
const LEAST_HELD_OUT: usize = 8;
/// Least number of good pictures.
const LEAST_PICTURES: usize = 2 * LEAST_HELD_OUT;
/// Most pictures of a validation on the way.
const VAL_PICTURES: usize = 16;

/// Options of this task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Compared with the good picture.
    pub loss: PictureLoss,
    /// How the map is made.
    pub map: MapKind,
    /// Side of the map's mean filter in pixels; `None` = 21 at 256, in proportion.
    pub smooth: Option<usize>,
    /// How a picture comes to the network's size.
    pub resize: Resize,
    /// Whether parts may lie mirrored.
    pub flip: bool,
    /// Share of good frames that may be flagged, 0..1.
    pub false_alarm_rate: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            loss: PictureLoss::L2Ssim,
            map: MapKind::Msgms,
            smooth: None,
            resize: Resize::Stretch,
            flip: false,
            false_alarm_rate: 0.01,
        }
    }
}

/// The architecture that marks defects at the pictures' own resolution.
const MARKING: &str = "unet";
/// Side of the crops that `unet` learns from, in pixels.
const CROP: usize = 128;
/// Side of the mean filter on its maps.
const MARK_SMOOTH: usize = 11;

/// Trains and calibrates an anomaly detector. Where no architecture is named, [`choose_arch`] does.
pub fn train(common: &Common, options: &Options, exec_options: &exec::Options, stop: &AtomicBool) -> Result<Product> {
    let mut common = common.clone();
    let sets = prepare(&mut common)?;
    let data = sets.card()?;
    let marks = common.arch(Task::Anomaly) == MARKING;
    let fit = common.net.size.map(|size| (size, options.resize));
    let (pictures, held_out, color) = packed::fitted(&sets, fit, common.net.color)?;
    let net = common.build(Task::Anomaly, color, 0)?;
    let input = InputSpec {
        resize: options.resize,
        ..net.input.clone()
    };
    let map = if marks { MapKind::Direct } else { options.map };
    let smooth = options
        .smooth
        .unwrap_or_else(|| common.net.size.map_or(MARK_SMOOTH, default_smooth));

    let defaults = Defaults {
        batch: if marks { 16 } else { 8 },
        learning_rate: if marks { 2e-3 } else { 1e-3 },
        weight_decay: 0.0,
    };
    let extra = json!({
        "loss": options.loss.name(), "map": map, "smooth": smooth, "resize": options.resize, "flip": options.flip,
        "false-alarm-rate": options.false_alarm_rate,
    });
    let settings = common.settings(Task::Anomaly, defaults, &data, extra)?;
    let options = Options {
        smooth: Some(smooth),
        ..*options
    };
    let objective = objective(&common, options, &input, [pictures, held_out], settings.batch);
    match run(&*objective, &net, &settings, stop)? {
        Outcome::Interrupted { step, total } => Ok(Product::Interrupted { step, total }),
        Outcome::Finished(trained) => {
            let mut model = common.model(Task::Anomaly, &net, input, Vec::new(), *trained, &data);
            let calibration = uncalibrated(map, smooth);
            calibrate(
                &mut model,
                calibration,
                &sets.val,
                options.false_alarm_rate,
                exec_options,
            )?;
            Ok(Product::Model(Box::new(model)))
        }
    }
}

/// Opens the data and fills in the architecture and its size. Data and options that do not do are found out now, not after
/// the reading or the training.
fn prepare(common: &mut Common) -> Result<Sets> {
    let (train, apart) = common.sources.open(is_good)?;
    let least = if apart.is_some() { 2 } else { LEAST_PICTURES };
    at_least(least, &train, &common.sources.train, "good pictures")?;
    if common.arch.is_none() {
        let (arch, reason) = choose_arch(common.net.size, &sizes(&train)?);
        eprintln!("architecture {arch}: {reason}");
        common.arch = Some(arch.into());
    }
    if common.arch(Task::Anomaly) != MARKING {
        common.net.size.get_or_insert([256, 256]);
    }
    common.build(Task::Anomaly, Color::Gray, 0)?;
    let share = (LEAST_HELD_OUT as f64 / train.samples.len() as f64).max(0.1);
    let sets = Sets::new(train, apart, share, common.seed);
    let held_out = "good pictures to hold out";
    at_least(LEAST_CALIBRATION, &sets.val, &common.sources.train, held_out)?;
    Ok(sets)
}

/// What the architecture is trained to do with `[pictures to learn from, held-out pictures]`.
fn objective(
    common: &Common,
    options: Options,
    input: &InputSpec,
    pictures: [Vec<Packed>; 2],
    batch: usize,
) -> Box<dyn Objective> {
    let (seed, device) = (common.seed, common.device.clone());
    let [pictures, held_out] = pictures;
    if common.arch(Task::Anomaly) == MARKING {
        return Box::new(marking::Marking {
            input: input.clone(),
            pictures: marking::with_scaling(pictures, &input),
            held_out,
            crop: CROP,
            smooth: options.smooth.unwrap_or(MARK_SMOOTH),
            flip: options.flip,
            batch,
            seed,
            device,
        });
    }
    Box::new(Restoring {
        options,
        synthesize: common.arch(Task::Anomaly) != "autoencoder",
        pictures,
        held_out,
        batch,
        seed,
        device,
    })
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

/// What a detector needs to know before it has a threshold.
fn uncalibrated(map: MapKind, smooth: usize) -> AnomalyCalibration {
    AnomalyCalibration {
        map,
        smooth,
        threshold: 0.0,
        rates: Vec::new(),
        quantiles: Vec::new(),
        pixel_threshold: 0.0,
        frames: 0,
    }
}

/// Finds the model's threshold anew from good frames; map and smoothing come from `start`.
pub fn calibrate(
    model: &mut Model,
    start: AnomalyCalibration,
    good: &Dataset,
    false_alarm_rate: f64,
    options: &exec::Options,
) -> Result<()> {
    let (map, smooth) = (start.map, start.smooth);
    model.calibration = Some(Calibration::Anomaly(start));
    let mut detector = AnomalyDetector::new(model, options)?;
    let mut scores = Vec::with_capacity(good.samples.len());
    for sample in &good.samples {
        scores.push(detector.inspect(&good.read(sample)?)?.score);
    }
    let found = calibration::anomaly(&scores, false_alarm_rate, map, smooth)?;
    model.calibration = Some(Calibration::Anomaly(found));
    Ok(())
}

/// Pictures with made defects, to be restored.
struct Restoring {
    options: Options,
    synthesize: bool,
    pictures: Vec<Packed>,
    held_out: Vec<Packed>,
    batch: usize,
    seed: u64,
    device: Device,
}

impl Restoring {
    /// One training item: what the network sees, and what it should give.
    fn item(&self, index: usize, step: u64, item: usize) -> (Image, Image) {
        let mut rng = stream(purpose::seed(self.seed, purpose::AUGMENT), step, item as u64);
        let settings = CameraSettings {
            shift: 0.02,
            scale: 0.02,
            exposure: 0.1,
            noise: 0.01,
            blur: 0.0,
            flip: self.options.flip,
        };
        let target = augment::camera(&self.pictures[index].image(), &settings, &mut rng);
        let mut seen = target.clone();
        if self.synthesize {
            let other = self.pictures[rng.random_range(0..self.pictures.len())].image();
            seen = defects::synthesize(&target, &other, &mut rng).image;
        }
        (seen, target)
    }

    /// Raw score of a picture at the network's size, as [`AnomalyDetector`] finds it.
    fn score(&self, network: &Network, image: &Image) -> Result<f32> {
        let mut output = to_images(&infer(network, &[batch(&[image])], &self.device)?)?.swap_remove(0);
        output.data.iter_mut().for_each(|x| *x = x.clamp(0.0, 1.0));
        let map = maps::difference(self.options.map, image, &output, self.options.smooth.unwrap_or(1));
        Ok(map.data.iter().copied().fold(f32::NEG_INFINITY, f32::max))
    }
}

impl Objective for Restoring {
    fn epoch_items(&self) -> u64 {
        self.pictures.len() as u64
    }

    fn batch(&self, step: u64) -> Result<Batch> {
        let order = indices(
            purpose::seed(self.seed, purpose::ORDER),
            step,
            self.batch,
            self.pictures.len(),
        );
        let items = order
            .par_iter()
            .enumerate()
            .map(|(item, &index)| self.item(index, step, item));
        let (seen, target): (Vec<_>, Vec<_>) = items.unzip();
        Ok(vec![stack(&seen), stack(&target)])
    }

    fn loss(&self, network: &Network, batch: &[Tensor]) -> Result<Tensor> {
        let [seen, target] = batch else {
            return Err(Error::Invalid("a batch is pictures and their targets".into()));
        };
        let output = first_output(network, std::slice::from_ref(seen), true)?;
        self.options.loss.compute(&output, target)
    }

    /// How well made defects on held-out pictures are told from the pictures themselves.
    fn validate(&self, network: &Network) -> Result<Metrics> {
        let (mut scores, mut defective) = (Vec::new(), Vec::new());
        for (i, picture) in self.held_out.iter().take(VAL_PICTURES).enumerate() {
            let mut rng = stream(purpose::seed(self.seed, purpose::VALIDATE), 0, i as u64);
            let good = picture.image();
            scores.push(self.score(network, &good)?);
            defective.push(false);
            let other = self.held_out[(i + 1) % self.held_out.len()].image();
            let Defective { image, mask } = defects::synthesize(&good, &other, &mut rng);
            if mask.data.iter().any(|&m| m > 0.5) {
                scores.push(self.score(network, &image)?);
                defective.push(true);
            }
        }
        // Without any made defect, which chance may bring in a handful of pictures, there is nothing to tell apart.
        Ok(metrics::auroc(&scores, &defective)
            .map(|a| ("val_auroc_synthetic", a))
            .into_iter()
            .collect())
    }
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

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
use crate::model::{AnomalyCalibration, Calibration, InputSpec, MapKind, Model, Resize, Task};
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

/// Side of the crops that `unet` learns from, in pixels.
const CROP: usize = 128;
/// Side of the mean filter on its maps.
const MARK_SMOOTH: usize = 11;

/// Trains and calibrates an anomaly detector.
pub fn train(common: &Common, options: &Options, exec_options: &exec::Options, stop: &AtomicBool) -> Result<Product> {
    let mut common = common.clone();
    let (train, apart) = common.sources.open(is_good)?;
    let least = if apart.is_some() { 2 } else { LEAST_PICTURES };
    at_least(least, &train, &common.sources.train, "good pictures")?;
    let share = (LEAST_HELD_OUT as f64 / train.samples.len() as f64).max(0.1);
    let sets = Sets::new(train, apart, share, common.seed);
    // Found out now, not after the training.
    at_least(
        LEAST_CALIBRATION,
        &sets.val,
        &common.sources.train,
        "good pictures to hold out",
    )?;
    let data = sets.card()?;
    let marks = common.arch(Task::Anomaly) == "unet";
    let size = common.net.size.unwrap_or([256, 256]);
    let fit = (!marks).then_some((size, options.resize));
    common.net.size = fit.map(|(size, _)| size);
    let (pictures, held_out, color) = packed::fitted(&sets, fit, common.net.color)?;
    let net = common.build(Task::Anomaly, color, 0)?;
    let input = InputSpec {
        resize: options.resize,
        ..net.input.clone()
    };
    let map = if marks { MapKind::Direct } else { options.map };
    let smooth = options
        .smooth
        .unwrap_or(if marks { MARK_SMOOTH } else { default_smooth(size) });

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
    let (batch, seed, device) = (settings.batch, common.seed, common.device.clone());
    let objective: Box<dyn Objective> = if marks {
        Box::new(marking::Marking {
            input: input.clone(),
            pictures,
            held_out,
            crop: CROP,
            smooth,
            flip: options.flip,
            batch,
            seed,
            device,
        })
    } else {
        Box::new(Restoring {
            options: Options {
                smooth: Some(smooth),
                ..*options
            },
            synthesize: common.arch(Task::Anomaly) != "autoencoder",
            pictures,
            held_out,
            batch,
            seed,
            device,
        })
    };
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

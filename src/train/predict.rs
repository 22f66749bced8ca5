//! Training of a network that predicts the next frame of a video from those before it, on normal videos: where a frame is not as
//! predicted, something moves or looks as nothing did in training.

use std::sync::atomic::AtomicBool;

use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_pcg::Pcg64;
use serde_json::json;

use super::anomaly::calibrate;
use super::arrays::{first_output, infer, stack, to_images};
use super::card::purpose;
use super::common::{Common, Defaults, Product};
use super::feed::Batch;
use super::losses::PictureLoss;
use super::optimizer::Method;
use super::packed::{Packed, fitted};
use super::run::{Objective, Outcome, Validation, run};
use super::samples::{Sets, at_least, draw, is_good};
use crate::data::augment;
use crate::data::layout::Dataset;
use crate::data::random::stream;
use crate::exec;
use crate::exec::candle::Network;
use crate::model::{Color, InputSpec, MapKind, Resize, Scoring, Task};
use crate::pixels::Image;
use crate::score::metrics;
use crate::{Error, Result};

/// Longest side of the network's input where none is asked for, in pixels.
const LONGEST: usize = 256;
/// Its sides are multiples of this.
const MULTIPLE: usize = 16;
/// Share of the frames held out: the last ones of each video or folder.
const HELD_OUT: f64 = 0.15;
/// Least number of frames to predict, to learn from and held out.
const LEAST: usize = 16;
/// Most frames of a validation on the way.
const VAL_FRAMES: usize = 32;
/// Side of the map's mean filter.
const SMOOTH: usize = 11;
/// The score is the mean of the map's largest pixels, one of so many. Of 1, 16, 64, 256 and 1,024 pixels of 38,400 the last told abnormal
/// frames of clips 1 to 9 of `ucsd_ped1` best from held-out normal ones: AUROC 0.658, 0.661, 0.674, 0.693, 0.724.
const POOL_SHARE: usize = 40;
/// Largest change of all values of a window together, as a share.
const EXPOSURE: f32 = 0.1;

/// Options of this task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// What makes the predicted frame differ from the real one.
    pub loss: PictureLoss,
    /// Side of the map's mean filter in pixels; `None` = 11.
    pub smooth: Option<usize>,
    /// The score is the mean of so many of the map's largest pixels; `None` = one in 40.
    pub pool: Option<usize>,
    /// Whether the scene may be seen mirrored, left to right.
    pub flip: bool,
    /// Share of good frames that may be flagged, 0..1.
    pub false_alarm_rate: f64,
}

/// Trains and calibrates a predictor on the frames that are not labelled anomalous.
pub fn train(common: &Common, options: &Options, exec_options: &exec::Options, stop: &AtomicBool) -> Result<Product> {
    let mut common = common.clone();
    let (train, apart) = common.sources.open(is_good)?;
    at_least(LEAST, &train, &common.sources.train, "good frames")?;
    let size = match common.net.size {
        Some(size) => size,
        None => {
            let size = own_size(train.size(&train.samples[0])?);
            eprintln!(
                "frames are brought to {}x{}; --size takes another size",
                size[0], size[1]
            );
            size
        }
    };
    common.net.size = Some(size);
    let frames = common.build(Task::Predict, Color::Gray, 0)?.input.frames;
    let (train, val) = match apart {
        Some(val) => (train, val),
        None => train.split_off_end(HELD_OUT),
    };
    let sets = Sets { train, val };
    let windows = [&sets.train, &sets.val].map(|data| windows(data, frames));
    for (windows, (named, what)) in windows.iter().zip([
        (common.sources.train.first(), "to learn from"),
        (common.sources.val.first().or(common.sources.train.first()), "held out"),
    ]) {
        if windows.len() < LEAST {
            let reason = format!(
                "{} frames {what} have {} good ones right before them, at least {LEAST} are needed: give longer videos",
                windows.len(),
                frames
            );
            return Err(Error::data(named.map_or("DATA", String::as_str), reason));
        }
    }
    let [windows, held_windows] = windows;
    let data = sets.card()?;
    let (pictures, held_out, color) = fitted(&sets, Some((size, Resize::Stretch)), common.net.color)?;
    let net = common.build(Task::Predict, color, 0)?;
    let smooth = options.smooth.unwrap_or(SMOOTH);
    let defaults = Defaults {
        batch: 8,
        learning_rate: 3e-3,
        method: Method::Muon,
        weight_decay: 0.0,
    };
    let extra = json!({
        "loss": options.loss.name(), "smooth": smooth, "pool": options.pool, "flip": options.flip, "false-alarm-rate": options.false_alarm_rate,
    });
    let settings = common.settings(Task::Predict, &net, defaults, &data, extra)?;
    let objective = Predicting {
        loss: options.loss,
        flip: options.flip,
        input: net.input.clone(),
        pictures,
        windows,
        held_out,
        held_windows,
        batch: settings.batch,
        seed: common.seed,
        device: common.device.clone(),
    };
    if common.sources.limits.every > 1 {
        eprintln!(
            "one frame in {0} is taken: give eval, run and calibrate --every {0}, and the element frames as far apart",
            common.sources.limits.every
        );
    }
    match run(&objective, &net, &settings, stop)? {
        Outcome::Interrupted { step, total } => Ok(Product::Interrupted { step, total }),
        Outcome::Finished(trained) => {
            let mut model = common.model(Task::Predict, &net, net.input.clone(), Vec::new(), *trained, &data);
            let pool = options
                .pool
                .unwrap_or((size[0] * size[1] / POOL_SHARE).clamp(1, usize::from(u16::MAX)));
            #[rustfmt::skip]
            let scoring = Scoring { map: MapKind::Squared, smooth, pool, context: 1 };
            calibrate(&mut model, scoring, &sets.val, options.false_alarm_rate, exec_options)?;
            Ok(Product::Model(Box::new(model)))
        }
    }
}

/// About a frame's `[width, height]`, but no longer than 256, in multiples of 16.
fn own_size(frame: [usize; 2]) -> [usize; 2] {
    let longest = frame[0].max(frame[1]);
    let scale = (LONGEST as f64 / longest as f64).min(1.0);
    frame.map(|side| ((side as f64 * scale / MULTIPLE as f64).round() as usize).max(1) * MULTIPLE)
}

/// Indices of the samples that are next after the `frames` before them.
fn windows(data: &Dataset, frames: usize) -> Vec<usize> {
    let mut row = 0;
    let mut windows = Vec::new();
    for (i, (_, goes_on)) in data.in_order().enumerate() {
        row = if goes_on { row + 1 } else { 0 };
        if row >= frames {
            windows.push(i);
        }
    }
    windows
}

/// Frames of normal videos, each with those before it.
struct Predicting {
    loss: PictureLoss,
    flip: bool,
    input: InputSpec,
    pictures: Vec<Packed>,
    /// Indices of the pictures that can be predicted.
    windows: Vec<usize>,
    held_out: Vec<Packed>,
    held_windows: Vec<usize>,
    batch: usize,
    seed: u64,
    device: Device,
}

impl Predicting {
    /// What the network sees of picture `last` of `pictures`, and the picture, both passed through `change`.
    fn window(&self, pictures: &[Packed], last: usize, change: impl Fn(Image) -> Image) -> (Image, Image) {
        let seen = &pictures[last - self.input.frames..last];
        let mut planes = change(seen[0].image());
        for picture in &seen[1..] {
            let next = change(picture.image());
            planes.channels += next.channels;
            planes.data.extend(next.data);
        }
        (planes, change(pictures[last].image()))
    }

    fn item(&self, index: usize, rng: &mut Pcg64) -> (Image, Image) {
        let gain = 1.0 + rng.random_range(-EXPOSURE..=EXPOSURE);
        let flip = self.flip && rng.random();
        self.window(&self.pictures, self.windows[index], |mut image| {
            image.data.iter_mut().for_each(|x| *x *= gain);
            augment::turn(&image, 0, flip)
        })
    }
}

impl Objective for Predicting {
    fn epoch_items(&self) -> u64 {
        self.windows.len() as u64
    }

    fn batch(&self, step: u64) -> Result<Batch> {
        let items = draw(self.seed, step, self.batch, self.windows.len(), |index, rng| {
            self.item(index, rng)
        });
        let (seen, target): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        Ok(vec![stack(&seen), stack(&target)])
    }

    fn loss(&self, network: &Network, batch: &[Tensor]) -> Result<Tensor> {
        let [seen, target] = batch else {
            return Err(Error::Invalid("a batch is windows and the frames after them".into()));
        };
        let output = first_output(network, std::slice::from_ref(seen), true)?;
        self.loss.compute(&output, target)
    }

    /// PSNR of predicted frames that were held out, and of taking the frame before for them.
    fn validate(&self, network: &Network) -> Result<Validation> {
        let mut rng = stream(purpose::seed(self.seed, purpose::VALIDATE), 0, 0);
        let (mut predicted, mut before) = (0.0, 0.0);
        for _ in 0..VAL_FRAMES {
            let last = self.held_windows[rng.random_range(0..self.held_windows.len())];
            let (seen, target) = self.window(&self.held_out, last, |image| image);
            let output = to_images(&infer(network, &[stack(&[seen])], &self.device)?)?.swap_remove(0);
            predicted += metrics::psnr(&output, &target);
            before += metrics::psnr(&self.held_out[last - 1].image(), &target).min(100.0);
        }
        let count = VAL_FRAMES as f64;
        Ok(vec![
            ("val_psnr", predicted / count),
            ("val_psnr_frame_before", before / count),
        ]
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::own_size;

    #[test]
    fn frames_keep_their_shape_and_are_not_enlarged_much() {
        assert_eq!(own_size([238, 158]), [240, 160]);
        assert_eq!(own_size([1920, 1080]), [256, 144]);
        assert_eq!(own_size([1080, 1920]), [144, 256]);
        assert_eq!(own_size([5, 3]), [16, 16]);
    }
}

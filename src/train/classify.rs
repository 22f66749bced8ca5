//! Training of classifiers from pictures in folders named by their class.

use std::sync::atomic::AtomicBool;

use candle_core::{Device, Tensor};
use rand_pcg::Pcg64;
use serde_json::json;

use super::arrays::{first_output, infer, stack};
use super::common::{Common, Defaults, Product};
use super::feed::Batch;
use super::losses::{cross_entropy, smooth_targets};
use super::optimizer::Method;
use super::packed::{self, Packed};
use super::run::{Metrics, Objective, Outcome, run};
use super::samples::{Sets, at_least, draw};
use crate::data::augment::{self, CameraSettings};
use crate::data::layout::Dataset;
use crate::exec;
use crate::exec::candle::Network;
use crate::graph::Array;
use crate::model::{Calibration, InputSpec, Model, Resize, Task};
use crate::pixels::Image;
use crate::score::{calibration, metrics};
use crate::tasks::{Classifier, normalize};
use crate::{Error, Result};

/// Pictures that go through the network at once in a validation.
const VAL_BATCH: usize = 32;
/// Most pictures of a validation on the way.
const VAL_PICTURES: usize = 512;

/// Options of this task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Share of each target spread over all classes.
    pub label_smoothing: f32,
    /// How a picture comes to the network's size.
    pub resize: Resize,
    /// Whether pictures may be mirrored.
    pub flip: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            label_smoothing: 0.1,
            resize: Resize::Stretch,
            flip: true,
        }
    }
}

/// Trains and calibrates a classifier.
pub fn train(common: &Common, options: &Options, exec_options: &exec::Options, stop: &AtomicBool) -> Result<Product> {
    let (train, apart) = common.sources.open(|_| Ok(true))?;
    let name = common.sources.train.first().map_or("DATA", String::as_str);
    if train.classes.len() < 2 {
        let reason = format!(
            "{} classes found: a classifier needs two folders of pictures or more, one a class",
            train.classes.len()
        );
        return Err(Error::data(name, reason));
    }
    at_least(2 * train.classes.len(), &train, &common.sources.train, "pictures")?;
    let sets = Sets::new(train, apart, 0.15, common.seed);
    let data = sets.card()?;
    let classes = sets.train.classes.clone();
    let truth = labels_of(&sets.train, &classes, name)?;
    let val_truth = labels_of(&sets.val, &classes, name)?;
    at_least(1, &sets.val, &common.sources.train, "pictures to hold out")?;
    if let Some(empty) = (0..classes.len()).find(|class| !truth.contains(class)) {
        let reason = format!("class `{}` has no pictures to train on", classes[empty]);
        return Err(Error::data(name, reason));
    }

    // Pictures are kept at the network's size, which does not depend on the colour.
    let probe = common.build(Task::Classify, crate::model::Color::Gray, classes.len())?;
    let size = probe
        .input
        .size
        .ok_or_else(|| Error::Invalid("this classifier has no input size: give --size WxH".into()))?;
    let (pictures, held_out, color) = packed::fitted(&sets, Some((size, options.resize)), common.net.color)?;
    let net = common.build(Task::Classify, color, classes.len())?;
    let input = InputSpec {
        resize: options.resize,
        ..net.input.clone()
    };

    let defaults = Defaults {
        batch: 32,
        learning_rate: 2e-3,
        method: Method::AdamW,
        weight_decay: 1e-2,
    };
    let extra = json!({ "label-smoothing": options.label_smoothing, "resize": options.resize, "flip": options.flip });
    let settings = common.settings(Task::Classify, &net, defaults, &data, extra)?;
    let objective = Classifying {
        options: *options,
        classes: classes.len(),
        pictures,
        truth,
        held_out,
        val_truth,
        input: input.clone(),
        batch: settings.batch,
        seed: common.seed,
        device: common.device.clone(),
    };
    match run(&objective, &net, &settings, stop)? {
        Outcome::Interrupted { step, total } => Ok(Product::Interrupted { step, total }),
        Outcome::Finished(trained) => {
            let mut model = common.model(Task::Classify, &net, input, classes, *trained, &data);
            calibrate(&mut model, &sets.val, name, exec_options)?;
            Ok(Product::Model(Box::new(model)))
        }
    }
}

/// Index of each sample's class among `classes`; the error names the data and the class that is not there.
pub fn labels_of(data: &Dataset, classes: &[String], name: &str) -> Result<Vec<usize>> {
    let index = |sample: &crate::data::layout::Sample| {
        let class = sample.class.as_deref();
        let class =
            class.ok_or_else(|| Error::data(name, "pictures without a class: expected folders named by class"))?;
        classes.iter().position(|c| c == class).ok_or_else(|| {
            let reason = format!("class `{class}` is not among the labels {}", classes.join(", "));
            Error::data(name, reason)
        })
    };
    data.samples.iter().map(index).collect()
}

/// Finds the model's temperature and thresholds anew from labelled pictures.
pub fn calibrate(model: &mut Model, data: &Dataset, name: &str, options: &exec::Options) -> Result<()> {
    let truth = labels_of(data, &model.labels, name)?;
    let mut classifier = Classifier::new(model, options)?;
    let logits = data
        .samples
        .iter()
        .map(|s| classifier.logits(&data.read(s)?))
        .collect::<Result<Vec<_>>>()?;
    model.calibration = Some(Calibration::Classify(calibration::classify(&logits, &truth)?));
    Ok(())
}

/// Pictures and their classes.
struct Classifying {
    options: Options,
    classes: usize,
    pictures: Vec<Packed>,
    truth: Vec<usize>,
    held_out: Vec<Packed>,
    val_truth: Vec<usize>,
    input: InputSpec,
    batch: usize,
    seed: u64,
    device: Device,
}

impl Classifying {
    fn item(&self, index: usize, rng: &mut Pcg64) -> Image {
        let settings = CameraSettings {
            shift: 0.1,
            scale: 0.1,
            exposure: 0.2,
            noise: 0.03,
            blur: 1.0,
            flip: self.options.flip,
            rotate: 0.0,
        };
        let image = augment::camera(&self.pictures[index].image(), &settings, rng);
        normalize(&self.input, image).0
    }
}

impl Objective for Classifying {
    fn epoch_items(&self) -> u64 {
        self.pictures.len() as u64
    }

    fn batch(&self, step: u64) -> Result<Batch> {
        let items = draw(self.seed, step, self.batch, self.pictures.len(), |index, rng| {
            (self.item(index, rng), self.truth[index])
        });
        let (images, truth): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        let smoothing = self.options.label_smoothing;
        let rows = truth
            .iter()
            .flat_map(|&class| smooth_targets(class, self.classes, smoothing))
            .collect();
        Ok(vec![
            stack(&images),
            Array {
                shape: vec![truth.len(), self.classes],
                data: rows,
            },
        ])
    }

    fn loss(&self, network: &Network, batch: &[Tensor]) -> Result<Tensor> {
        let [images, targets] = batch else {
            return Err(Error::Invalid("a batch is pictures and their classes".into()));
        };
        cross_entropy(&first_output(network, std::slice::from_ref(images), true)?, targets)
    }

    fn validate(&self, network: &Network) -> Result<Metrics> {
        // Held-out samples lie class by class: a stride keeps every class in the sample.
        let stride = self.held_out.len().div_ceil(VAL_PICTURES).max(1);
        let chosen: Vec<usize> = (0..self.held_out.len()).step_by(stride).collect();
        let (mut truth, mut predicted) = (Vec::new(), Vec::new());
        for chunk in chosen.chunks(VAL_BATCH) {
            let images: Vec<Image> = chunk
                .iter()
                .map(|&i| normalize(&self.input, self.held_out[i].image()).0)
                .collect();
            let logits: Vec<Vec<f32>> = infer(network, &[stack(&images)], &self.device)?.to_vec2()?;
            truth.extend(chunk.iter().map(|&i| self.val_truth[i]));
            predicted.extend(logits.iter().map(|row| largest(row)));
        }
        Ok(vec![("val_accuracy", metrics::accuracy(&truth, &predicted))])
    }
}

/// Index of the largest value.
fn largest(row: &[f32]) -> usize {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0)
}

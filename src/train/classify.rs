//! Training of classifiers from pictures in folders named by their class.

use std::sync::atomic::AtomicBool;

use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_pcg::Pcg64;
use serde_json::json;

use super::arrays::{first_output, infer, stack};
use super::common::{Common, Defaults, Product};
use super::feed::Batch;
use super::losses::{cross_entropy, smooth_targets};
use super::optimizer::Method;
use super::packed::{self, Packed};
use super::run::{Objective, Outcome, Validation, run};
use super::samples::{Sets, at_least, draw};
use super::whiten::whiten;
use crate::data::augment::{self, CameraSettings};
use crate::data::layout::{Dataset, Layout, Sample};
use crate::data::noise::Noise;
use crate::data::symmetry::Symmetry;
use crate::exec;
use crate::exec::candle::Network;
use crate::graph::Array;
use crate::model::{Calibration, ClassCalibration, Codes, InputSpec, Model, Resize, Task};
use crate::pixels::Image;
use crate::score::{calibration, metrics};
use crate::tasks::{Classifier, Seen, normalize};
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
    /// How pictures may be mirrored and turned; `None` = as the training pictures show that their labels bear.
    pub symmetry: Option<Symmetry>,
    /// Turns by up to so many degrees either way.
    pub rotate: f32,
    /// How strongly pictures are moved, enlarged, exposed otherwise, blurred, made noisy and compressed: 1 is usual, 0 not at all.
    pub augment: f32,
    /// Whether pictures of rare classes come as often as those of others.
    pub balance: bool,
    /// Share of pictures of known classes that may be called unknown.
    pub unknown_rate: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            label_smoothing: 0.1,
            resize: Resize::Stretch,
            symmetry: None,
            rotate: 0.0,
            augment: 1.0,
            balance: true,
            unknown_rate: 0.05,
        }
    }
}

/// Trains and calibrates a classifier.
pub fn train(common: &Common, options: &Options, exec_options: &exec::Options, stop: &AtomicBool) -> Result<Product> {
    let (train, apart) = common.sources.open(|_| Ok(true))?;
    let name = common.sources.train.first().map_or("DATA", String::as_str);
    if train.classes.len() < 2 {
        let found = match (train.layout, train.classes.as_slice()) {
            (Layout::ImageFolder, [class]) => format!("only the class `{class}`"),
            (layout, _) => format!("{}, no classes", layout.describe()),
        };
        let reason = format!("{found}: a classifier needs two folders of pictures or more, one a class");
        return Err(Error::data(name, reason));
    }
    at_least(2 * train.classes.len(), &train, &common.sources.train, "pictures")?;
    let sets = Sets::new(train, apart, 0.15, common.seed);
    let data = sets.card()?;
    let classes = sets.train.classes.clone();
    let truth = labels_of(&sets.train, &classes, name)?;
    let val_truth = labels_of(
        &sets.val,
        &classes,
        common.sources.val.first().map_or(name, String::as_str),
    )?;
    at_least(1, &sets.val, &common.sources.train, "pictures to hold out")?;
    if let Some(empty) = (0..classes.len()).find(|class| !truth.contains(class)) {
        return Err(without_pictures(&classes[empty], name));
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

    let symmetry = options.symmetry.unwrap_or_else(|| {
        let found = Symmetry::found(|i| pictures[i].image(), &truth);
        eprintln!("pictures are {found}, which their labels seem to bear: --symmetry sets it");
        found
    });
    let (method, learning_rate, weight_decay) = match common.method {
        Some(Method::Sgd) => (Method::Sgd, 5e-2, 5e-4),
        method => (method.unwrap_or_default(), 2e-3, 1e-2),
    };
    #[rustfmt::skip]
    let defaults = Defaults { batch: 32, learning_rate, method, weight_decay };
    let extra = json!({
        "label-smoothing": options.label_smoothing, "resize": options.resize, "symmetry": symmetry.to_string(),
        "rotate": options.rotate, "augment": options.augment, "balance": options.balance,
    });
    let settings = common.settings(Task::Classify, &net, defaults, &data, extra)?;
    let deck = match options.balance {
        true => balanced(&truth, classes.len()),
        false => (0..truth.len()).collect(),
    };
    let objective = Classifying {
        options: *options,
        symmetry,
        classes: classes.len(),
        deck,
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
            add_codes(&mut model, &sets.train, name, exec_options)?;
            calibrate(&mut model, &sets.val, name, options.unknown_rate, exec_options)?;
            Ok(Product::Model(Box::new(model)))
        }
    }
}

/// The error of a class that only other parts of the data have pictures of.
pub fn without_pictures(class: &str, name: &str) -> Error {
    let reason = format!(
        "class `{class}` has no pictures to train on, though its folder is there for validation: add some, or take that folder away"
    );
    Error::data(name, reason)
}

/// Index of each sample's class among `classes`; the error names the data and the class that is not there.
pub fn labels_of(data: &Dataset, classes: &[String], name: &str) -> Result<Vec<usize>> {
    let known = |(sample, index): (&Sample, Option<usize>)| index.ok_or_else(|| not_among(sample, classes, name));
    let indices = indices_of(data, classes, name)?;
    data.samples.iter().zip(indices).map(known).collect()
}

/// The same where some classes may be others; the error is that none is among `classes`.
pub fn known_labels_of(data: &Dataset, classes: &[String], name: &str) -> Result<Vec<Option<usize>>> {
    let indices = indices_of(data, classes, name)?;
    match data.samples.first() {
        Some(sample) if indices.iter().all(Option::is_none) => Err(not_among(sample, classes, name)),
        _ => Ok(indices),
    }
}

fn indices_of(data: &Dataset, classes: &[String], name: &str) -> Result<Vec<Option<usize>>> {
    let index = |sample: &Sample| match &sample.class {
        Some(class) => Ok(classes.iter().position(|c| c == class)),
        None => Err(Error::data(
            name,
            "pictures without a class: expected folders named by class",
        )),
    };
    data.samples.iter().map(index).collect()
}

fn not_among(sample: &Sample, classes: &[String], name: &str) -> Error {
    let class = sample.class.as_deref().unwrap_or_default();
    Error::data(
        name,
        format!("class `{class}` is not among the labels {}", classes.join(", ")),
    )
}

/// Most codes of known pictures that a model keeps.
const CODES: usize = 1000;

/// From now on the network gives the codes of pictures, too, and the model keeps those of `data`: of as many pictures of each class.
fn add_codes(model: &mut Model, data: &Dataset, name: &str, options: &exec::Options) -> Result<()> {
    let Some(source) = model.graph.add_codes(&model.input.shapes_of_any())? else {
        return Ok(());
    };
    let truth = labels_of(data, &model.labels, name)?;
    let most = CODES.div_ceil(model.labels.len());
    let mut chosen: Vec<usize> = Vec::new();
    for class in 0..model.labels.len() {
        let of_class: Vec<usize> = (0..truth.len()).filter(|&i| truth[i] == class).collect();
        chosen.extend(of_class.iter().step_by(of_class.len().div_ceil(most).max(1)));
    }
    let seen = see(
        &mut Classifier::new(model, options)?,
        data,
        chosen.iter().map(|&i| &data.samples[i]),
    )?;
    let vectors: Vec<Vec<f32>> = seen.into_iter().filter_map(|seen| seen.code).collect();
    let mut codes = Codes::of(&vectors, chosen.iter().map(|&i| truth[i]).collect(), source);
    whiten(&mut codes, &vectors);
    model.calibration = Some(Calibration::Classify(ClassCalibration {
        temperature: 1.0,
        thresholds: vec![0.0; model.labels.len()],
        codes: Some(codes),
    }));
    Ok(())
}

/// Finds the model's temperature, its thresholds and the largest distance from its codes anew from labelled pictures that it was not trained
/// on, of which `unknown_rate` may be called unknown: half of them for each of two reasons.
pub fn calibrate(
    model: &mut Model,
    data: &Dataset,
    name: &str,
    unknown_rate: f64,
    options: &exec::Options,
) -> Result<()> {
    let truth = labels_of(data, &model.labels, name)?;
    let mut classifier = Classifier::new(model, options)?;
    let seen = see(&mut classifier, data, data.samples.iter())?;
    let distances: Option<Vec<f32>> = seen.iter().map(|seen| classifier.name(seen).distance).collect();
    // Of classes that were taught by their codes alone the network says nothing.
    let own = truth
        .into_iter()
        .zip(seen)
        .filter(|(class, seen)| *class < seen.logits.len());
    let (truth, logits): (Vec<usize>, Vec<Vec<f32>>) = own.map(|(class, seen)| (class, seen.logits)).unzip();
    let mut found = calibration::classify(&logits, &truth, unknown_rate / 2.0)?;
    let taught = classifier.calibration().thresholds.iter().skip(found.thresholds.len());
    found.thresholds.extend(taught);
    if let (Some(distances), Some(codes)) = (distances, model.codes()) {
        let distance = calibration::reached_by(distances, 1.0 - unknown_rate / 2.0);
        found.codes = Some(Codes {
            distance,
            ..codes.clone()
        });
    }
    model.calibration = Some(Calibration::Classify(found));
    Ok(())
}

/// What the network gives for these samples of `data`.
fn see<'a>(
    classifier: &mut Classifier,
    data: &Dataset,
    samples: impl Iterator<Item = &'a Sample>,
) -> Result<Vec<Seen>> {
    let mut seen = Vec::new();
    for sample in samples {
        seen.extend(classifier.see(&[data.read(sample)?])?);
    }
    Ok(seen)
}

/// Most times that a picture comes in a pass over the data.
pub(super) const MOST_COPIES: usize = 10;

/// The samples of a pass, those of a class as often as brings it next to the largest one.
fn balanced(truth: &[usize], classes: usize) -> Vec<usize> {
    let mut counts = vec![0; classes];
    truth.iter().for_each(|&class| counts[class] += 1);
    let largest = counts.iter().copied().max().unwrap_or(0);
    let copies = |class: usize| ((largest + counts[class] / 2) / counts[class]).clamp(1, MOST_COPIES);
    let each = truth.iter().enumerate();
    each.flat_map(|(i, &class)| std::iter::repeat_n(i, copies(class)))
        .collect()
}

/// Pictures and their classes.
struct Classifying {
    options: Options,
    symmetry: Symmetry,
    classes: usize,
    /// The samples of a pass.
    deck: Vec<usize>,
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
    /// A picture as another camera, or this one on another day, would have taken it.
    fn item(&self, index: usize, rng: &mut Pcg64) -> Image {
        let strength = self.options.augment;
        let image = self.symmetry.apply(self.pictures[index].image(), rng);
        let side = image.width.min(image.height) as f32;
        let settings = CameraSettings {
            shift: 0.1 * strength,
            scale: 0.1 * strength,
            exposure: 0.3 * strength,
            noise: 0.0,
            blur: strength * (side / BLUR_SIDE).min(2.0),
            flip: false,
            rotate: self.options.rotate,
        };
        let mut image = augment::camera(&image, &settings, rng);
        // Most pictures have little noise.
        let sigma = MOST_NOISE * strength * rng.random::<f32>().powi(2);
        let kind = NOISES[rng.random_range(0..NOISES.len())];
        if sigma > 0.0 {
            image = kind.apply(image, sigma, rng).noisy;
        }
        normalize(&self.input, image).0
    }
}

/// What makes training pictures noisy.
const NOISES: [Noise; 4] = [Noise::White, Noise::Poisson, Noise::Correlated, Noise::Jpeg];
/// Its largest standard deviation, of full scale.
const MOST_NOISE: f32 = 0.1;
/// Pixels of a side for each pixel of the blur's largest standard deviation.
const BLUR_SIDE: f32 = 100.0;

impl Objective for Classifying {
    fn epoch_items(&self) -> u64 {
        self.deck.len() as u64
    }

    fn batch(&self, step: u64) -> Result<Batch> {
        let items = draw(self.seed, step, self.batch, self.deck.len(), |place, rng| {
            let index = self.deck[place];
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

    /// Mean probability of the right class, and accuracy.
    fn validate(&self, network: &Network) -> Result<Validation> {
        // Held-out samples lie class by class: a stride keeps every class in the sample.
        let stride = self.held_out.len().div_ceil(VAL_PICTURES).max(1);
        let chosen: Vec<usize> = (0..self.held_out.len()).step_by(stride).collect();
        let (mut truth, mut predicted, mut sure) = (Vec::new(), Vec::new(), Vec::new());
        for chunk in chosen.chunks(VAL_BATCH) {
            let images: Vec<Image> = chunk
                .iter()
                .map(|&i| normalize(&self.input, self.held_out[i].image()).0)
                .collect();
            let logits: Vec<Vec<f32>> = infer(network, &[stack(&images)], &self.device)?.to_vec2()?;
            for (&i, row) in chunk.iter().zip(&logits) {
                truth.push(self.val_truth[i]);
                predicted.push(metrics::largest(row));
                sure.push(f64::from(calibration::probabilities(row, 1.0)[self.val_truth[i]]));
            }
        }
        // Of a few pictures accuracy is coarse: the network of an early step has all of them right by chance.
        let found = vec![
            ("val_probability", sure.iter().sum::<f64>() / sure.len() as f64),
            ("val_accuracy", metrics::accuracy(&truth, &predicted)),
        ];
        Ok(Validation::of(found, &sure))
    }
}

//! Training of networks that tell the class of each pixel, from pictures and masks, or from pictures of one class each.

mod marked;
mod truth;

use std::sync::atomic::AtomicBool;

use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_pcg::Pcg64;
use serde_json::json;

use marked::{Marked, deck, paste, settle, usual_size};
use truth::Truth;

use super::arrays::{first_output, infer, stack, to_images};
use super::common::{Common, Defaults, Product, check_patch};
use super::feed::Batch;
use super::losses::cross_entropy_dice_of_classes;
use super::optimizer::Method;
use super::packed::{color_of, load, to_color};
use super::run::{Objective, Outcome, Trained, Validation, run};
use super::samples::{Sets, at_least, draw};
use crate::data::augment::{self, CameraSettings};
use crate::data::layout::{Dataset, Split};
use crate::data::symmetry::Symmetry;
use crate::exec::candle::Network;
use crate::model::{Color, InputSpec, Resize, Task};
use crate::nets::{Net, favour_background, raise_background};
use crate::pixels::Image;
use crate::score::metrics::Overlaps;
use crate::tasks::{VOID, extend};
use crate::{Error, Result};

/// Share of the parts that marks of another picture are laid over.
const PASTED: f64 = 0.5;
/// Largest change of scale, as a share, of a picture, and of marks that are laid over it.
const SCALE: f32 = 0.15;
const PASTED_SCALE: f32 = 0.4;
/// Largest change of such marks' brightness, in standard deviations of their picture.
const PASTED_OFFSET: f32 = 1.0;
/// Most pictures of a validation.
const VAL_PICTURES: usize = 64;
/// Largest change of the background's logit after training, either way, and the step between those that are tried.
const MOST_OFFSET: f32 = 3.0;
const OFFSET_STEP: f32 = 0.25;

/// Options of this task.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Side of the square parts of pictures that a network of any size learns from.
    pub patch: usize,
    /// How a picture comes to the network's size, where that is fixed.
    pub resize: Resize,
    /// How parts may be mirrored and turned.
    pub symmetry: Symmetry,
    /// Turns by up to so many degrees either way.
    pub rotate: f32,
    /// Data whose pictures show the background alone.
    pub good: Vec<String>,
    /// Names of the classes of masks, without the background; empty = `defect`, or numbers.
    pub labels: Vec<String>,
}

/// Trains a segmenter.
pub fn train(common: &Common, options: &Options, stop: &AtomicBool) -> Result<Product> {
    let name = common.sources.train.first().map_or("DATA", String::as_str);
    let (mut train, apart) = common.sources.open(|_| Ok(true))?;
    let truth = Truth::of(&train, apart.as_ref(), options, name)?;
    check_labels(&truth, options, name)?;
    if common.net.size.is_none() {
        let input = common.build(Task::Segment, Color::Gray, truth.labels.len())?.input;
        check_patch(&input, options.patch)?;
    }
    at_least(
        4,
        &train,
        &common.sources.train,
        "pictures with masks, or in folders named by class,",
    )?;
    if let Some(good) = options.good.first() {
        if truth.coding.is_none() {
            return Err(Error::data(good, "--good is for pictures beside others with masks"));
        }
        let data = Dataset::open(&options.good, Split::Train, common.sources.limits)?;
        at_least(1, &data, &options.good, "good pictures")?;
        train.add_plain(data)?;
    }
    let sets = Sets::new(train, apart, 0.15, common.seed);
    at_least(1, &sets.val, &common.sources.train, "pictures to hold out")?;
    let data = sets.card()?;
    let [mut train, mut held_out] = [&sets.train, &sets.val].map(|set| load(set, &set.samples, |image| image));
    let color = common
        .net
        .color
        .unwrap_or(color_of(train.as_ref().map_or(&[][..], Vec::as_slice)));
    let mut net = common.build(Task::Segment, color, truth.labels.len())?;
    net.input.resize = options.resize;
    if truth.coding.is_some() {
        favour_background(&mut net, truth.labels.len());
    }
    let held_out_name = common.sources.val.first().map_or(name, String::as_str);
    let both = [
        (&mut train, &sets.train, name),
        (&mut held_out, &sets.val, held_out_name),
    ];
    let [pictures, held_out] = both.map(|(pictures, set, name)| {
        let mut pictures = std::mem::replace(pictures, Ok(Vec::new()))?;
        to_color(&mut pictures, color);
        truth.marked(set, name, pictures, &net.input)
    });
    let (pictures, held_out) = (pictures?, held_out?);

    let defaults = Defaults {
        batch: 16,
        learning_rate: 4e-3,
        method: Method::Muon,
        weight_decay: 1e-2,
    };
    let extra = json!({
        "patch": options.patch, "resize": options.resize, "symmetry": options.symmetry.to_string(), "rotate": options.rotate,
        "good": options.good.len(), "labels": truth.labels,
    });
    let settings = common.settings(Task::Segment, &net, defaults, &data, extra)?;
    let marked: Vec<usize> = (0..pictures.len()).filter(|&i| pictures[i].has_marks()).collect();
    let objective = Segmenting {
        options: options.clone(),
        deck: deck(pictures.len(), &marked),
        marked,
        classes: truth.labels.len(),
        has_background: truth.coding.is_some(),
        color,
        usual: usual_size(&pictures).map(|side| side.next_multiple_of(net.input.multiple_of)),
        pictures,
        held_out,
        input: net.input.clone(),
        batch: settings.batch,
        seed: common.seed,
        device: common.device.clone(),
    };
    match run(&objective, &net, &settings, stop)? {
        Outcome::Interrupted { step, total } => Ok(Product::Interrupted { step, total }),
        Outcome::Finished(mut trained) => {
            if objective.has_background {
                objective.level(&net, &mut trained)?;
            }
            let input = net.input.clone();
            let model = common.model(Task::Segment, &net, input, truth.labels, *trained, &data);
            Ok(Product::Model(Box::new(model)))
        }
    }
}

/// Refuses names for classes that have theirs, and more classes than a mask has numbers for.
fn check_labels(truth: &Truth, options: &Options, name: &str) -> Result<()> {
    if truth.coding.is_none() && !options.labels.is_empty() {
        return Err(Error::data(
            name,
            "--labels names the classes of masks; folders name theirs themselves",
        ));
    }
    match truth.labels.len() {
        classes if classes > usize::from(VOID) => {
            let reason = format!("{classes} classes, more than the {VOID} that a mask tells apart");
            Err(Error::data(name, reason))
        }
        _ => Ok(()),
    }
}

struct Segmenting {
    options: Options,
    /// The pictures of a pass.
    deck: Vec<usize>,
    /// Those with marks.
    marked: Vec<usize>,
    classes: usize,
    has_background: bool,
    color: Color,
    /// `[width, height]` that half of the pictures reach, enlarged to what the network takes.
    usual: [usize; 2],
    pictures: Vec<Marked>,
    held_out: Vec<Marked>,
    input: InputSpec,
    batch: usize,
    seed: u64,
    device: Device,
}

impl Segmenting {
    /// A part of `size` pixels as the network sees it, and a plane for each class that is 1 where it is; neither is anything beyond the picture.
    ///
    /// Half of them have marks of another picture laid over them (Ghiasi 2021): a mark that is seen on one ground alone would be known by
    /// that ground.
    fn item(&self, whole: [usize; 2], index: usize, rng: &mut Pcg64) -> (Image, Image) {
        let (mut seen, mut targets) = self.moved_part(whole, index, SCALE, rng);
        if self.has_background && !self.marked.is_empty() && rng.random_bool(PASTED) {
            let other = self.marked[rng.random_range(0..self.marked.len())];
            let (mut from, marks) = self.moved_part(whole, other, PASTED_SCALE, rng);
            // Marks of one kind are darker or lighter than their ground, and flatter.
            let (gain, offset) = (
                rng.random_range(0.5..1.25),
                rng.random_range(-PASTED_OFFSET..PASTED_OFFSET),
            );
            from.data.iter_mut().for_each(|x| *x = *x * gain + offset);
            paste([&mut seen, &mut targets], [&from, &marks]);
        }
        // Pictures are normalised, so these are shares of their contrast.
        let settings = CameraSettings {
            shift: 0.0,
            scale: 0.0,
            exposure: 0.15,
            noise: 0.1,
            blur: 0.5,
            flip: false,
            rotate: 0.0,
        };
        (augment::camera(&seen, &settings, rng), targets)
    }

    /// A part of a picture, moved, turned and enlarged or reduced by up to `scale`, with its planes of classes.
    fn moved_part(&self, whole: [usize; 2], index: usize, scale: f32, rng: &mut Pcg64) -> (Image, Image) {
        let marked = &self.pictures[index];
        let (at, size) = marked.part(whole, self.input.multiple_of, self.has_background, rng);
        let mut image = marked.picture.crop(at, size);
        marked.scaling.apply(&mut image);
        // What is moved is moved with its classes.
        image.data.extend(marked.mask.planes(at, size, self.classes));
        image.channels += self.classes;
        let still = CameraSettings {
            // Parts lie anywhere already.
            shift: if self.input.size.is_some() { 0.1 } else { 0.0 },
            scale,
            exposure: 0.0,
            noise: 0.0,
            blur: 0.0,
            flip: false,
            rotate: self.options.rotate,
        };
        let both = augment::camera(&image, &still, rng);
        let mut both = self.options.symmetry.apply(both, rng);
        let split = self.color.channels() * both.width * both.height;
        let mut targets = Image {
            channels: self.classes,
            data: both.data.split_off(split),
            ..both
        };
        both.channels -= self.classes;
        settle(&mut targets);
        (both.extend_to(whole), targets.extend_to(whole))
    }

    /// Calls `each` with the logits of held-out pictures, of a plane a class, and their true classes.
    fn see(&self, network: &Network, mut each: impl FnMut(&Image, &[u8])) -> Result<()> {
        let every = self.held_out.len().div_ceil(VAL_PICTURES).max(1);
        for marked in self.held_out.iter().step_by(every) {
            let mut image = marked.picture.image();
            let [width, height] = [image.width, image.height];
            marked.scaling.apply(&mut image);
            let seen = stack(&[extend(&self.input, image)]);
            let logits = to_images(&infer(network, &[seen], &self.device)?)?.swap_remove(0);
            each(&logits.crop(0, 0, width, height), &marked.mask.classes);
        }
        Ok(())
    }

    /// Raises or lowers the background's logit to where held-out pictures are told best: of pictures that it has not learned from, a network
    /// marks less than of those that it has (Li 2019).
    fn level(&self, net: &Net, trained: &mut Trained) -> Result<()> {
        let network = Network::new(&net.graph, &trained.weights, &self.device)?;
        let steps = (MOST_OFFSET / OFFSET_STEP) as i32;
        let mut steps: Vec<i32> = (-steps..=steps).collect();
        // Of those alike the least change.
        steps.sort_by_key(|step| step.abs());
        let tried = steps.iter().map(|step| *step as f32 * OFFSET_STEP);
        let mut tried: Vec<(f32, Overlaps)> = tried.map(|offset| (offset, Overlaps::new(self.classes))).collect();
        self.see(&network, |logits, truth| {
            for (offset, overlaps) in &mut tried {
                let mut raised = logits.clone();
                let background = &mut raised.data[..truth.len()];
                background.iter_mut().for_each(|x| *x += *offset);
                overlaps.add(&raised, truth);
            }
        })?;
        let (mut best, mut most) = (0.0, f64::NEG_INFINITY);
        for (offset, overlaps) in &tried {
            let iou = overlaps.mean_iou(1);
            if iou > most {
                (best, most) = (*offset, iou);
            }
        }
        raise_background(&net.graph, &mut trained.weights, self.classes, best);
        trained.metrics = vec![("val_iou".into(), most), ("background_offset".into(), best.into())];
        Ok(())
    }
}

impl Objective for Segmenting {
    fn epoch_items(&self) -> u64 {
        self.deck.len() as u64
    }

    fn batch(&self, step: u64) -> Result<Batch> {
        // Parts of every fourth batch are of twice the side, a quarter as many: what a large mark is, only its surroundings say. None is larger
        // than most pictures: what lies beyond them is no picture, and would be half of what the network sees.
        let part = |side: usize| self.usual.map(|usual| side.min(usual));
        let (size, count) = match (self.input.size, step % 4) {
            (Some(size), _) => (size, self.batch),
            (None, 3) => (part(2 * self.options.patch), self.batch.div_ceil(4)),
            (None, _) => (part(self.options.patch), self.batch),
        };
        let items = draw(self.seed, step, count, self.deck.len(), |place, rng| {
            self.item(size, self.deck[place], rng)
        });
        let (seen, targets): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        Ok(vec![stack(&seen), stack(&targets)])
    }

    fn loss(&self, network: &Network, batch: &[Tensor]) -> Result<Tensor> {
        let [seen, targets] = batch else {
            return Err(Error::Invalid("a batch is pictures and their classes".into()));
        };
        let logits = first_output(network, std::slice::from_ref(seen), true)?;
        cross_entropy_dice_of_classes(&logits, targets, usize::from(self.has_background))
    }

    /// Intersection over union of all classes but the background, over all held-out pictures together.
    fn validate(&self, network: &Network) -> Result<Validation> {
        let first = usize::from(self.has_background);
        let (mut overlaps, mut ratings) = (Overlaps::new(self.classes), Vec::new());
        self.see(network, |logits, truth| {
            let mut own = Overlaps::new(self.classes);
            own.add(logits, truth);
            if (first..self.classes).any(|class| own.iou(class).is_some()) {
                ratings.push(own.mean_iou(first));
            }
            overlaps.merge(&own);
        })?;
        Ok(Validation::of(vec![("val_iou", overlaps.mean_iou(first))], &ratings))
    }
}

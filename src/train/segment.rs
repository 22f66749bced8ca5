//! Training of networks that tell the class of each pixel, from pictures and masks, or from pictures of one class each.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_pcg::Pcg64;
use rayon::prelude::*;
use serde_json::json;

use super::arrays::{first_output, infer, stack, to_images};
use super::classify::{MOST_COPIES, labels_of, without_pictures};
use super::common::{Common, Defaults, Product};
use super::feed::Batch;
use super::losses::cross_entropy_dice_of_classes;
use super::optimizer::Method;
use super::packed::{Packed, color_of, last_start, load, to_color};
use super::run::{Metrics, Objective, Outcome, run};
use super::samples::{Sets, at_least, draw, is_good};
use crate::data::augment::{self, CameraSettings};
use crate::data::layout::{Dataset, Layout, Source, Split};
use crate::data::masks::{Coding, Mask};
use crate::data::pictures;
use crate::data::symmetry::Symmetry;
use crate::exec::candle::Network;
use crate::model::{BACKGROUND, Color, InputSpec, Resize, Task};
use crate::nets::favour_background;
use crate::pixels::{Image, Placement};
use crate::score::metrics::Overlaps;
use crate::tasks::{Scaling, VOID, extend};
use crate::{Error, Result};

/// Name of the other class of black and white masks, unless told otherwise.
const FOREGROUND: &str = "defect";
/// Share of the parts that are drawn around a marked pixel.
const AIMED: f64 = 0.6;
/// Share of the parts that marks of another picture are laid over.
const PASTED: f64 = 0.5;
/// Largest change of scale, as a share, of a picture, and of marks that are laid over it.
const SCALE: f32 = 0.15;
const PASTED_SCALE: f32 = 0.4;
/// Largest change of such marks' brightness, in standard deviations of their picture.
const PASTED_OFFSET: f32 = 1.0;
/// Standard deviation in pixels of the blur at such marks' edges.
const PASTED_EDGE: f32 = 1.5;
/// Most pictures of a validation on the way.
const VAL_PICTURES: usize = 64;

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
        pictures,
        held_out,
        input: net.input.clone(),
        batch: settings.batch,
        seed: common.seed,
        device: common.device.clone(),
    };
    match run(&objective, &net, &settings, stop)? {
        Outcome::Interrupted { step, total } => Ok(Product::Interrupted { step, total }),
        Outcome::Finished(trained) => {
            let input = net.input.clone();
            let model = common.model(Task::Segment, &net, input, truth.labels, *trained, &data);
            Ok(Product::Model(Box::new(model)))
        }
    }
}

/// What is known of pixels.
struct Truth {
    /// Of masks; `None` where a picture's folder says what all of it shows.
    coding: Option<Coding>,
    labels: Vec<String>,
}

impl Truth {
    /// What is known of `data`, and of those held out, if they are given `apart`.
    fn of(data: &Dataset, apart: Option<&Dataset>, options: &Options, name: &str) -> Result<Self> {
        match data.layout {
            Layout::ImageFolder => return Self::of_folders(data, name),
            Layout::Masks | Layout::Mvtec => {}
            other => {
                let reason = format!(
                    "{}, which says nothing of classes: give a folder with images/ and masks/ in it, or one with a folder of pictures for each class",
                    other.describe()
                );
                return Err(Error::data(name, reason));
            }
        }
        if masks(data).next().is_none() {
            let reason = "no picture to learn from has a mask (in an MVTec layout only those of test/ have): give a folder with images/ and masks/ in it";
            return Err(Error::data(name, reason));
        }
        let coding = Coding::found(masks(data))?;
        if let Some(first) = apart.and_then(|apart| masks(apart).next()) {
            let other = Coding::found(apart.into_iter().flat_map(masks))?;
            if other.describe() != coding.describe() {
                let reason = format!(
                    "this mask is {}, those to learn from are {}",
                    other.describe(),
                    coding.describe()
                );
                return Err(Error::data(first, reason));
            }
        }
        not_their_masks(data, name)?;
        let named = match (coding, options.labels.as_slice()) {
            (Coding::BlackAndWhite, []) => vec![FOREGROUND.to_owned()],
            (Coding::Numbers(classes), []) => (1..classes).map(|class| format!("class {class}")).collect(),
            (_, given) => given.to_vec(),
        };
        if named.len() + 1 != coding.classes() {
            let reason = format!(
                "{} labels for masks of {} classes beside the background",
                named.len(),
                coding.classes() - 1
            );
            return Err(Error::data(name, reason));
        }
        let labels = std::iter::once(BACKGROUND.to_owned()).chain(named).collect();
        Ok(Self {
            coding: Some(coding),
            labels,
        })
    }

    fn of_folders(data: &Dataset, name: &str) -> Result<Self> {
        if data.classes.len() < 2 {
            let reason = "one class alone: give folders of two classes or more, or images/ and masks/";
            return Err(Error::data(name, reason));
        }
        let has_pictures = |class: &String| data.samples.iter().any(|sample| sample.class.as_ref() == Some(class));
        if let Some(empty) = data.classes.iter().find(|class| !has_pictures(class)) {
            return Err(without_pictures(empty, name));
        }
        Ok(Self {
            coding: None,
            labels: data.classes.clone(),
        })
    }

    fn marked(&self, data: &Dataset, name: &str, pictures: Vec<Packed>, input: &InputSpec) -> Result<Vec<Marked>> {
        let whole = match self.coding {
            Some(_) => Vec::new(),
            None => labels_of(data, &self.labels, name)?,
        };
        let mark = |(i, mut picture): (usize, Packed)| {
            let [width, height] = picture.size();
            let mut mask = match (self.coding, &data.samples[i].mask) {
                (Some(coding), Some(path)) => coding.read(path, [width, height])?,
                (Some(_), None) if !is_good(&data.samples[i])? => {
                    let Source::Picture(path) = &data.samples[i].source else {
                        return Err(Error::Invalid("frames of videos have no masks".into()));
                    };
                    let reason =
                        "this picture has no mask, and is not of a class without defect (good, ok, normal, none)";
                    return Err(Error::data(path, reason));
                }
                // A good picture of a data set in which defects have masks.
                (Some(_), None) => Mask {
                    width,
                    height,
                    classes: vec![0; width * height],
                },
                (None, _) => Mask {
                    width,
                    height,
                    classes: vec![whole[i] as u8; width * height],
                },
            };
            if let Some(size) = input.size {
                let placement = Placement::new([width, height], size, input.resize);
                picture = Packed::new(&placement.apply(&picture.image()));
                mask = mask.placed(&placement, self.labels.len());
            }
            let scaling = Scaling::of(input, &picture.image().data);
            Ok(Marked { picture, scaling, mask })
        };
        pictures.into_par_iter().enumerate().map(mark).collect()
    }
}

/// The masks of the pictures that have one.
fn masks(data: &Dataset) -> impl Iterator<Item = &Path> {
    data.samples.iter().filter_map(|sample| sample.mask.as_deref())
}

/// Refuses pictures that are all the same as their masks: a folder of masks in place of one of pictures.
fn not_their_masks(data: &Dataset, name: &str) -> Result<()> {
    for sample in &data.samples {
        let same = match &sample.mask {
            Some(mask) => data.read(sample)? == pictures::read(mask)?,
            None => false,
        };
        if !same {
            return Ok(());
        }
    }
    Err(Error::data(
        name,
        "the pictures are their own masks: put the pictures that were marked into images/",
    ))
}

/// A picture, how it is normalised as a whole, and what its pixels show.
struct Marked {
    picture: Packed,
    scaling: Scaling,
    mask: Mask,
}

/// The pictures of a pass: all of them, those with marks so often that they are about half.
fn deck(count: usize, marked: &[usize]) -> Vec<usize> {
    let copies = ((count - marked.len()) / marked.len().max(1)).clamp(1, MOST_COPIES);
    let again = std::iter::repeat_n(marked, copies - 1).flatten();
    (0..count).chain(again.copied()).collect()
}

impl Marked {
    /// Whether any pixel is of a class other than the first.
    fn has_marks(&self) -> bool {
        self.mask.classes.iter().any(|class| ![0, VOID].contains(class))
    }

    /// A part of up to `size` pixels, as `([x, y], [width, height])`: around a pixel of a class drawn from those marked, more often than not, else anywhere.
    fn part(
        &self,
        size: [usize; 2],
        multiple: usize,
        has_background: bool,
        rng: &mut Pcg64,
    ) -> ([usize; 2], [usize; 2]) {
        let Mask { width, classes, .. } = &self.mask;
        let aim = if has_background && rng.random_bool(AIMED) {
            let mut there: Vec<u8> = classes.clone();
            there.sort_unstable();
            there.dedup();
            there.retain(|class| *class != 0 && *class != VOID);
            let class = (!there.is_empty()).then(|| there[rng.random_range(0..there.len())]);
            class.and_then(|class| {
                let pixels: Vec<usize> = (0..classes.len()).filter(|&i| classes[i] == class).collect();
                pixels.get(rng.random_range(0..pixels.len())).copied()
            })
        } else {
            None
        };
        let aim = aim.unwrap_or_else(|| rng.random_range(0..classes.len()));
        let axes = [
            (aim % width, self.mask.width, size[0]),
            (aim / width, self.mask.height, size[1]),
        ];
        let axes = axes.map(|(at, length, side)| {
            let last = last_start(length, side, multiple);
            let start = (at + rng.random_range(0..side))
                .saturating_sub(side - 1)
                .min(last)
                .min(at);
            (start, side.min(length - start))
        });
        (axes.map(|(start, _)| start), axes.map(|(_, length)| length))
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
}

/// Lays the marks of one picture, and what they mark, over another of the same size; classes beyond the first are marks.
fn paste([seen, targets]: [&mut Image; 2], [from, marks]: [&Image; 2]) {
    let pixels = seen.width * seen.height;
    let mut over = Image::filled(1, seen.height, seen.width, 0.0);
    for plane in marks.data[pixels..].chunks_exact(pixels) {
        over.data.iter_mut().zip(plane).for_each(|(over, mark)| *over += mark);
    }
    for (plane, marks) in targets
        .data
        .chunks_exact_mut(pixels)
        .zip(marks.data.chunks_exact(pixels))
    {
        for ((class, mark), over) in plane.iter_mut().zip(marks).zip(&over.data) {
            *class = if *over > 0.0 { *mark } else { *class };
        }
    }
    // An edge as sharp as the mask's would tell where a mark was laid.
    augment::gaussian_blur(&mut over, PASTED_EDGE);
    for (plane, from) in seen.data.chunks_exact_mut(pixels).zip(from.data.chunks_exact(pixels)) {
        for ((value, other), over) in plane.iter_mut().zip(from).zip(&over.data) {
            *value += over * (other - *value);
        }
    }
}

/// Makes each pixel of the class that has the most of it, where that is half.
fn settle(targets: &mut Image) {
    for value in &mut targets.data {
        *value = f32::from(u8::from(*value >= 0.5));
    }
}

impl Objective for Segmenting {
    fn epoch_items(&self) -> u64 {
        self.deck.len() as u64
    }

    fn batch(&self, step: u64) -> Result<Batch> {
        // Parts of every fourth batch are of twice the side, a quarter as many: what a large mark is, only its surroundings say.
        let (size, count) = match (self.input.size, step % 4) {
            (Some(size), _) => (size, self.batch),
            (None, 3) => ([2 * self.options.patch; 2], self.batch.div_ceil(4)),
            (None, _) => ([self.options.patch; 2], self.batch),
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
    fn validate(&self, network: &Network) -> Result<Metrics> {
        let mut overlaps = Overlaps::new(self.classes);
        let every = self.held_out.len().div_ceil(VAL_PICTURES).max(1);
        for marked in self.held_out.iter().step_by(every) {
            let mut image = marked.picture.image();
            let [width, height] = [image.width, image.height];
            marked.scaling.apply(&mut image);
            let seen = stack(&[extend(&self.input, image)]);
            let logits = to_images(&infer(network, &[seen], &self.device)?)?.swap_remove(0);
            overlaps.add(&logits.crop(0, 0, width, height), &marked.mask.classes);
        }
        Ok(vec![("val_iou", overlaps.mean_iou(usize::from(self.has_background)))])
    }
}

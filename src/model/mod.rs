//! What a model file holds.

mod check;
mod code_book;
mod coder;
mod file;
#[cfg(feature = "train")]
mod onnx;

use serde::{Deserialize, Serialize};

use crate::graph::{Array, CodeSource, Graph, Weights};

pub use code_book::CodeBook;
#[cfg(feature = "train")]
pub use onnx::Foreign;

/// Label of the pixels that are of no other class.
pub const BACKGROUND: &str = "background";

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// A noisy frame in, a clean frame out.
    Denoise,
    /// Reconstruction of what is normal; the error is the map.
    Anomaly,
    /// One of several labels for a picture.
    Classify,
    /// A label for each pixel.
    Segment,
    /// A code vector for a picture.
    Embed,
    /// The next frame from the last ones.
    Predict,
}

/// Colour planes that a network takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// One plane.
    Gray,
    /// Red, green, blue.
    Rgb,
}

impl Color {
    /// 1 or 3.
    pub fn channels(self) -> usize {
        match self {
            Self::Gray => 1,
            Self::Rgb => 3,
        }
    }
}

/// How a frame is brought to a network's fixed size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Each axis by its own factor.
    #[default]
    Stretch,
    /// One factor, the whole frame inside, borders filled by the edge's pixels.
    Letterbox,
    /// One factor, the network's size filled, what sticks out cut off evenly.
    Crop,
    /// Not at all: the frame is cut into overlapping pieces of the network's size. For anomaly and segment.
    Tile,
}

/// What is done to values after they are in 0..1.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Normalization {
    /// Nothing.
    #[default]
    None,
    /// `(x - mean) / std`, one value a channel.
    Fixed {
        /// Subtracted.
        mean: Vec<f32>,
        /// Divided by.
        std: Vec<f32>,
    },
    /// Mean and standard deviation of each picture itself, over all its channels.
    PerFrame,
}

/// An input beside the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ExtraInput {
    /// A plane of the noise's standard deviation, 0..1 of full scale.
    NoiseLevel {
        /// The plane's sides are the picture's divided by this.
        divide: usize,
        /// No value of the frame is changed by more than so many of these deviations; `None` = by any amount. White noise is seldom further
        /// off, and fine texture that the network takes for noise is kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u8>,
    },
    /// The frame's two planes of chroma, blue and red, 0..1 around 0.5, its sides half of the picture's, which is luma then. The
    /// network's second output gives them back.
    Chroma,
    /// What the network gave as one of its outputs for the frame before, moved as the frame has since ([`crate::pixels::Motion`]); zeros
    /// where there is none.
    State {
        /// Number of the output.
        output: usize,
        /// Its planes.
        channels: usize,
        /// Its sides are the picture's divided by this: 1, 2, 4, 8 or 16.
        divide: usize,
    },
}

impl ExtraInput {
    /// Planes.
    pub fn channels(self) -> usize {
        match self {
            Self::NoiseLevel { .. } => 1,
            Self::Chroma => 2,
            Self::State { channels, .. } => channels,
        }
    }

    /// What the picture's sides are divided by.
    pub fn divide(self) -> usize {
        match self {
            Self::Chroma => 2,
            Self::NoiseLevel { divide, .. } | Self::State { divide, .. } => divide,
        }
    }
}

/// What a network takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Colour planes.
    pub color: Color,
    /// `[width, height]` in pixels, or any size.
    pub size: Option<[usize; 2]>,
    /// Each side must be a multiple of this; frames of any size are continued to one, a denoiser's by reflection, others by zeros after
    /// normalisation, and the result is cut back.
    pub multiple_of: usize,
    /// How a frame comes to `size`.
    pub resize: Resize,
    /// What follows.
    pub normalization: Normalization,
    /// Frames in the temporal window.
    pub frames: usize,
    /// Inputs beside the picture, in the order of the graph's inputs.
    pub extra: Vec<ExtraInput>,
}

/// How an anomaly map is made from a picture and its reconstruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MapKind {
    /// Multi-scale gradient-magnitude similarity, and a little colour difference.
    Msgms,
    /// Structural similarity.
    Ssim,
    /// Squared error.
    Squared,
    /// The network's output is the map itself, 0..1 after its last op.
    Direct,
}

/// What turns an anomaly network's output into a decision, from good frames alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnomalyCalibration {
    /// The map.
    pub map: MapKind,
    /// Side in map pixels of the mean filter on the map; 1 = none.
    pub smooth: usize,
    /// A frame's raw score is the mean of so many of the map's largest pixels.
    #[serde(default = "one")]
    pub pool: usize,
    /// Side in map pixels of the surroundings that speak for a pixel once the score is made; 1 = none.
    #[serde(default = "one")]
    pub context: usize,
    /// Raw score at and above which a frame is anomalous.
    pub threshold: f32,
    /// Rows of `[false-alarm rate, threshold]`, rate falling.
    pub rates: Vec<[f32; 2]>,
    /// Rows of `[quantile, raw score]` of good frames held out, quantile rising.
    pub quantiles: Vec<[f32; 2]>,
    /// Map value at and above which a pixel belongs to a region.
    pub pixel_threshold: f32,
    /// How many good frames this rests on.
    pub frames: usize,
}

fn one() -> usize {
    1
}

/// How a network's output becomes a map and a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scoring {
    /// The map.
    pub map: MapKind,
    /// Side in map pixels of the mean filter on it; 1 = none.
    pub smooth: usize,
    /// The score is the mean of so many of its largest pixels.
    pub pool: usize,
    /// Side in map pixels of the surroundings that speak for a pixel once the score is made; 1 = none.
    pub context: usize,
}

impl Scoring {
    /// What a detector needs to know before it has a threshold.
    pub fn uncalibrated(self) -> AnomalyCalibration {
        #[rustfmt::skip]
        let Self { map, smooth, pool, context } = self;
        AnomalyCalibration {
            map,
            smooth,
            pool,
            context,
            threshold: 0.0,
            rates: Vec::new(),
            quantiles: Vec::new(),
            pixel_threshold: 0.0,
            frames: 0,
        }
    }
}

impl AnomalyCalibration {
    /// How the score that it calibrates is made.
    pub fn scoring(&self) -> Scoring {
        #[rustfmt::skip]
        let Self { map, smooth, pool, context, .. } = *self;
        #[rustfmt::skip]
        return Scoring { map, smooth, pool, context };
    }
}

/// What turns logits into labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassCalibration {
    /// Logits are divided by this.
    pub temperature: f32,
    /// Least probability for each class's label to be said; below it the answer is unknown.
    pub thresholds: Vec<f32>,
    /// Codes of known pictures, where a frame far from all of them is unknown, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codes: Option<Codes>,
}

/// Codes of known pictures, of length 1. A frame's own is made of the network's second output by `source`, `scale` and `basis`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Codes {
    /// Largest distance from the nearest code at which a frame is known.
    pub distance: f32,
    /// What the network's second output is.
    #[serde(default)]
    pub source: CodeSource,
    /// What each feature is multiplied by.
    pub scale: Vec<f32>,
    /// `[features + 1, K]`, in the file a tensor of its own: scaled features, and behind them 1, times this are the code before its length is
    /// made 1. Without values, the scaled features are.
    #[serde(skip)]
    pub basis: Array,
    /// The class of each, an index into the labels.
    pub classes: Vec<usize>,
    /// `[N, K]`, in the file a tensor of its own.
    #[serde(skip)]
    pub vectors: Array,
}

/// A task's constants, found after training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Calibration {
    /// For [`Task::Anomaly`].
    Anomaly(AnomalyCalibration),
    /// For [`Task::Classify`].
    Classify(ClassCalibration),
}

/// Where a model came from: what its card shows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Training {
    /// Name of the architecture in [`crate::nets`] and its options.
    pub arch: String,
    /// The command line.
    pub command: String,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Counts and SHA-256 digest of the data.
    pub data: String,
    /// Day it was trained, ISO 8601.
    pub date: String,
    /// Optimiser steps.
    pub steps: u64,
    /// Machine.
    pub hardware: String,
    /// Figures on the validation data, by name.
    pub metrics: std::collections::BTreeMap<String, f64>,
    /// Version of this program.
    pub version: String,
    /// Terms of the data.
    pub license: String,
}

/// A model: everything an element needs, in one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// What it is for.
    pub task: Task,
    /// The network.
    pub graph: Graph,
    /// What it takes.
    pub input: InputSpec,
    /// Class names, in the order of the network's outputs; empty where there are none.
    pub labels: Vec<String>,
    /// Constants of the decision.
    pub calibration: Option<Calibration>,
    /// Where it came from.
    pub training: Training,
    /// The weights that the graph names, all of them and no others.
    pub weights: Weights,
}

impl Model {
    /// Codes of known pictures, where it has some.
    pub fn codes(&self) -> Option<&Codes> {
        match &self.calibration {
            Some(Calibration::Classify(calibration)) => calibration.codes.as_ref(),
            _ => None,
        }
    }

    /// Shapes of the network's inputs for one picture of `width` x `height`, extra inputs included.
    pub fn input_shapes(&self, width: usize, height: usize) -> Vec<Vec<usize>> {
        self.input.shapes(width, height)
    }
}

impl InputSpec {
    /// Whether the network keeps something from frame to frame.
    pub fn is_recurrent(&self) -> bool {
        let is_state = |extra: &ExtraInput| matches!(extra, ExtraInput::State { .. });
        self.extra.iter().any(is_state)
    }

    /// The network's `[width, height]` for a picture of `size`: its own, or where it has none the picture's, rounded up to what it takes.
    pub fn size_for(&self, size: [usize; 2]) -> [usize; 2] {
        self.size
            .unwrap_or(size.map(|side| side.next_multiple_of(self.multiple_of.max(1))))
    }

    /// `[width, height]` of the pieces that frames are cut into, if they are.
    pub fn tile(&self) -> Option<[usize; 2]> {
        self.size.filter(|_| self.resize == Resize::Tile)
    }

    /// From now on no value is changed by more than so many noise levels, where the network sees one.
    pub fn limit_change(&mut self, levels: u8) {
        for extra in &mut self.extra {
            if let ExtraInput::NoiseLevel { limit, .. } = extra {
                *limit = Some(levels);
            }
        }
    }

    /// Whether chroma comes beside the picture, which is luma then.
    pub fn takes_chroma(&self) -> bool {
        self.extra.contains(&ExtraInput::Chroma)
    }

    /// Shapes of the network's inputs for one picture of `width` x `height`: the picture, then the extra inputs.
    pub fn shapes(&self, width: usize, height: usize) -> Vec<Vec<usize>> {
        let picture = vec![1, self.color.channels().saturating_mul(self.frames), height, width];
        let extra = self.extra.iter().map(|extra| {
            let divide = extra.divide().max(1);
            vec![1, extra.channels(), height / divide, width / divide]
        });
        std::iter::once(picture).chain(extra).collect()
    }

    /// Shapes of the inputs to check a network with: of its own size, or of any that it must take.
    pub(crate) fn shapes_of_any(&self) -> Vec<Vec<usize>> {
        let [width, height] = self.size.unwrap_or([self.nominal_side(); 2]);
        self.shapes(width, height)
    }

    /// Side in pixels of a picture to check a network with that takes any size.
    pub(crate) fn nominal_side(&self) -> usize {
        64usize.next_multiple_of(self.multiple_of.max(1))
    }
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Denoise => "denoise",
            Self::Anomaly => "anomaly",
            Self::Classify => "classify",
            Self::Segment => "segment",
            Self::Embed => "embed",
            Self::Predict => "predict",
        })
    }
}

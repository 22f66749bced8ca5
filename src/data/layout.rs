//! What a DATA argument is: a folder in one of the known layouts, a video file or a URI.

use std::path::PathBuf;

use crate::Result;
use crate::pixels::Image;

/// Which part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// To learn from.
    Train,
    /// To choose by.
    Val,
    /// To judge by.
    Test,
}

/// One sample, not yet read.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The picture (or the video).
    pub source: Source,
    /// Class name: the folder's in ImageFolder and MVTec layouts.
    pub class: Option<String>,
    /// Mask of defects or classes, when there is one.
    pub mask: Option<PathBuf>,
    /// The clean picture of a noisy one.
    pub clean: Option<PathBuf>,
}

/// Where a sample's frame comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A picture file.
    Picture(PathBuf),
    /// Frame `index` of a video, held in memory by its data set.
    Frame {
        /// File or URI.
        video: String,
        /// Index from 0.
        index: usize,
    },
}

/// The known layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Pictures in one folder.
    Flat,
    /// `train|val|test/CLASS/` or `CLASS/`.
    ImageFolder,
    /// `train/good`, `test/good`, `test/DEFECT`, `ground_truth/DEFECT/NAME_mask.png`.
    Mvtec,
    /// `noisy/NAME` and `clean/NAME`.
    Pairs,
    /// `images/NAME` and `masks/NAME`, perhaps below `train|test/`.
    Masks,
    /// A video file or URI.
    Video,
}

/// What a list of DATA arguments holds.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Layout of the first argument.
    pub layout: Layout,
    /// Samples in a fixed order (by path; frames by time).
    pub samples: Vec<Sample>,
    /// Class names, sorted; empty where the layout has none.
    pub classes: Vec<String>,
    /// Decoded video frames, where there are videos.
    frames: std::collections::BTreeMap<(String, usize), std::sync::Arc<Image>>,
}

/// Limits on what is taken from videos.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoLimits {
    /// Every how many frames one is taken; at least 1.
    pub every: usize,
    /// At most this many frames of each video; 0 = all.
    pub max: usize,
}

impl Default for VideoLimits {
    fn default() -> Self {
        Self { every: 1, max: 0 }
    }
}

impl Dataset {
    /// Finds out what each argument is and lists its samples of `split`. A layout without splits gives all its samples for any split.
    /// Arguments are paths or URIs (`scheme://`). The error names the argument and says what was expected.
    pub fn open(arguments: &[String], split: Split, limits: VideoLimits) -> Result<Self> {
        unimplemented!("{arguments:?} {split:?} {limits:?}")
    }

    /// Reads one sample's picture.
    pub fn read(&self, sample: &Sample) -> Result<Image> {
        unimplemented!("{sample:?} {}", self.frames.len())
    }

    /// SHA-256 over names and contents of all the samples' files, hexadecimal: the data's digest for the model's card.
    pub fn digest(&self) -> Result<String> {
        unimplemented!()
    }

    /// Splits off about `share` of the samples for validation: by video time block where they come from videos, else by a
    /// seeded draw, within each class where there are classes; never an empty side when there are two samples or more.
    pub fn split_off(self, share: f64, seed: u64) -> (Dataset, Dataset) {
        unimplemented!("{share} {seed}")
    }
}

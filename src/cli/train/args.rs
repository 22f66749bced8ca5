//! What `gst-candle train` is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;

use super::super::common::{Frames, Machine, check_output, number, rate, sigma, size};
use super::values::{Loss, Map, ResizeArg, Symmetries, color, known_symmetry, method, symmetry};
use crate::data::noise::Noise;
use crate::data::symmetry::Symmetry;
use crate::exec;
use crate::model::Color;
use crate::nets::NetOptions;
use crate::train::card;
use crate::train::common::Common;
use crate::train::optimizer::Method;
use crate::train::samples::Sources;
use crate::train::schedule::Budget;

/// Train a model on your own pictures or videos
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    pub(super) task: TaskArgs,
}

#[derive(Subcommand)]
pub(super) enum TaskArgs {
    Denoise(DenoiseArgs),
    Anomaly(AnomalyArgs),
    Predict(PredictArgs),
    Classify(ClassifyArgs),
    Segment(SegmentArgs),
}

/// Learn to remove noise: from clean pictures (noise is made), from pairs in noisy/ and clean/, or from noisy frames alone
///
/// Examples:
///   gst-candle train denoise photos/ --minutes 30 -o camera.safetensors
///   gst-candle train denoise night.mp4 --noisy-only --minutes 30 -o camera.safetensors
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct DenoiseArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    /// Train for one noise level, 0..255 of full scale
    #[arg(long, value_parser = sigma, value_name = "S")]
    pub(super) sigma: Option<f32>,
    /// Else train for levels from 0 to this
    #[arg(long, value_parser = sigma, default_value = "55", value_name = "S")]
    pub(super) sigma_max: f32,
    /// Side of the square training patches in pixels
    #[arg(long, default_value_t = 64, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(16..=512))]
    pub(super) patch: u16,
    /// A network of luma at full and chroma at half size, which takes I420 and NV12 as they are; in colour at less than a colour network's
    /// work
    #[arg(long, conflicts_with_all = ["color", "noisy_only"])]
    pub(super) yuv420: bool,
    /// Frames of a training clip, for a recurrent network [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=64))]
    pub(super) clip_frames: Option<u8>,
    /// What makes clean pictures noisy: white, poisson, correlated, row, jpeg, h264, camera or mixed
    #[arg(long, default_value = "white")]
    pub(super) noise: Noise,
    /// Learn from noisy frames alone: a frame of a camera that stands still predicts the next; else a picture's pixels their neighbours
    #[arg(long, conflicts_with_all = ["sigma", "sigma_max", "noise", "loss"])]
    pub(super) noisy_only: bool,
    /// What makes the network's picture differ from the clean one
    #[arg(long, default_value = "l1")]
    pub(super) loss: Loss,
    /// Learn from this larger model's pictures as much as from the clean ones
    #[arg(long, value_name = "MODEL", conflicts_with = "noisy_only")]
    pub(super) teacher: Option<PathBuf>,
    /// Choose the width with which a frame takes no longer than this on this machine
    #[arg(long, value_name = "MS", conflicts_with = "width", value_parser = |s: &str| number(s, 0.1, 1e5))]
    pub(super) budget: Option<f64>,
    /// The frame that --budget is for
    #[arg(long, value_parser = size, default_value = "1280x720", value_name = "WxH", requires = "budget")]
    pub(super) budget_size: [usize; 2],
}

/// Learn what good parts look like, from good pictures alone, and set the threshold
///
/// Without --arch it is unet, which keeps each picture's own size, where pictures differ in size and none of --size, --tile, --loss,
/// --map and --resize is given, and where --defects is; else fair.
///
/// Example: gst-candle train anomaly good-parts/ --minutes 20 -o part.safetensors
#[derive(clap::Args)]
pub(super) struct AnomalyArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    /// Size of the network's input [default: 256x256; unet takes pictures as they are]
    #[arg(long, value_parser = size, value_name = "WxH")]
    pub(super) size: Option<[usize; 2]>,
    /// How a frame comes to that size [default: stretch]
    #[arg(long)]
    pub(super) resize: Option<ResizeArg>,
    /// Cut frames into overlapping pieces of this size, at their own scale, for small defects in large frames; unet needs no cutting
    #[arg(long, value_parser = size, value_name = "WxH", conflicts_with_all = ["size", "resize"])]
    pub(super) tile: Option<[usize; 2]>,
    /// Pictures of real defects with their masks (images/ and masks/), for unet and fair-seg: a few dozen help much
    #[arg(long, value_name = "DIR")]
    pub(super) defects: Vec<String>,
    /// Length of an autoencoder's code, in channels at its smallest level
    #[arg(long, value_name = "N")]
    pub(super) code_size: Option<usize>,
    /// What makes the restored picture differ from the good one [default: l2+ssim; unet has its own]
    #[arg(long)]
    pub(super) loss: Option<Loss>,
    /// How the anomaly map is made [default: msgms; unet gives its own]
    #[arg(long)]
    pub(super) map: Option<Map>,
    /// Side of the map's mean filter in pixels [default: 21 at 256x256, in proportion; none for unet and fair-seg]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(1..=255))]
    pub(super) smooth: Option<u16>,
    /// A frame's score is the mean of the map's so many largest pixels: the size of the least defect [default: 16 for unet and fair-seg,
    /// else 1]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) pool: Option<u16>,
    /// Side of the square around a pixel of the map that speaks for it, too: what lies amid conspicuous pixels is more suspect than what lies
    /// far from them; frames score without it [default: 101 for unet, else 1, which is none]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(1..=255))]
    pub(super) context: Option<u16>,
    /// Side of the square parts of pictures that unet learns from, in pixels; every fourth batch is of parts twice as wide and high, a
    /// quarter as many [default: 128]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(32..=1024))]
    pub(super) patch: Option<u16>,
    /// Parts may lie mirrored: flip pictures at random
    #[arg(long)]
    pub(super) flip: bool,
    /// Parts may lie turned, by up to so many degrees either way: turn pictures at random
    #[arg(long, value_name = "DEGREES", default_value = "0", value_parser = |s: &str| number(s, 0.0, 180.0))]
    pub(super) rotate: f64,
    /// Share of good frames that may be flagged
    #[arg(long, value_parser = rate, default_value = "0.01", value_name = "R")]
    pub(super) false_alarm_rate: f64,
}

/// Learn how a scene moves, from videos in which nothing is wrong, and set the threshold: candleanomaly then flags what moves, or
/// looks, otherwise
///
/// Each frame is predicted from the four before it. Frames that `labels.csv` beside a video calls abnormal (lines clip,frame,abnormal: the
/// video's name without extension, the frame counted from 0, and 0 or 1) are left out. A folder of pictures is a video, in order of their
/// names.
///
/// Example: gst-candle train predict yard.mp4 --every 3 --minutes 30 -o yard.safetensors
#[derive(clap::Args)]
pub(super) struct PredictArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    /// Size of the network's input [default: the frames' shape, 256 pixels at the longer side]
    #[arg(long, value_parser = size, value_name = "WxH")]
    pub(super) size: Option<[usize; 2]>,
    /// What makes the predicted frame differ from the real one
    #[arg(long, default_value = "l2+gradient")]
    pub(super) loss: Loss,
    /// Side of the map's mean filter in pixels [default: 11]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(1..=255))]
    pub(super) smooth: Option<u16>,
    /// A frame's score is the mean of the map's so many largest pixels [default: one in 40]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) pool: Option<u16>,
    /// Mirror the scene at random
    #[arg(long)]
    pub(super) flip: bool,
    /// Share of good frames that may be flagged
    #[arg(long, value_parser = rate, default_value = "0.01", value_name = "R")]
    pub(super) false_alarm_rate: f64,
}

/// Learn to name pictures, from folders named by class
///
/// Example: gst-candle train classify parts-by-class/ --minutes 20 -o names.safetensors
#[derive(clap::Args)]
pub(super) struct ClassifyArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    /// Size of the network's input [default: the architecture's]
    #[arg(long, value_parser = size, value_name = "WxH")]
    pub(super) size: Option<[usize; 2]>,
    /// How a frame comes to that size
    #[arg(long, default_value = "stretch")]
    pub(super) resize: ResizeArg,
    /// How pictures may be mirrored and turned at random: none, or some of horizontal, vertical and turns, as in horizontal+vertical. `auto`
    /// finds out from the training pictures which of them labels bear: digits none, parts on a table all
    #[arg(long, default_value = "auto", value_name = "WHICH", value_parser = symmetry)]
    pub(super) symmetry: Symmetries,
    /// Turn pictures at random by up to so many degrees either way
    #[arg(long, value_name = "DEGREES", default_value = "0", value_parser = |s: &str| number(s, 0.0, 180.0))]
    pub(super) rotate: f64,
    /// How strongly pictures are moved, enlarged, exposed otherwise, blurred, made noisy and compressed, as cameras do: 0 is not at all
    #[arg(long, default_value = "1", value_name = "STRENGTH", value_parser = |s: &str| number(s, 0.0, 4.0))]
    pub(super) augment: f64,
    /// Show pictures of rare classes no more often than others
    #[arg(long)]
    pub(super) no_balance: bool,
    /// Share of pictures of known classes that may be called unknown
    #[arg(long, value_parser = rate, default_value = "0.05", value_name = "R")]
    pub(super) unknown_rate: f64,
    /// Share of each target spread over all classes
    #[arg(long, value_parser = |s: &str| number(s, 0.0, 0.9), default_value = "0.1", value_name = "SHARE")]
    pub(super) label_smoothing: f64,
}

/// Learn the class of each pixel, from pictures in images/ and their masks in masks/
///
/// Masks are black and white, or their values are the numbers of classes (0 is the background, 255 is not judged). The architecture fcn
/// learns from folders of small pictures named by class, too, and then tells which class lies where on pictures of any size.
///
/// Example: gst-candle train segment tiles/ --minutes 20 -o outline.safetensors
#[derive(clap::Args)]
pub(super) struct SegmentArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    /// Size of the network's input, where the whole frame is to be seen at once [default: pictures as they are]
    #[arg(long, value_parser = size, value_name = "WxH", conflicts_with = "patch")]
    pub(super) size: Option<[usize; 2]>,
    /// How a frame comes to that size
    #[arg(long, default_value = "stretch", requires = "size")]
    pub(super) resize: ResizeArg,
    /// Side of the square parts of pictures that it learns from, in pixels
    #[arg(long, default_value_t = 128, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(32..=1024))]
    pub(super) patch: u16,
    /// How parts may be mirrored and turned at random: none, or some of horizontal, vertical and turns with + between them
    #[arg(long, default_value = "horizontal+vertical", value_name = "WHICH", value_parser = known_symmetry)]
    pub(super) symmetry: Symmetry,
    /// Turn parts at random by up to so many degrees either way
    #[arg(long, value_name = "DEGREES", default_value = "0", value_parser = |s: &str| number(s, 0.0, 180.0))]
    pub(super) rotate: f64,
    /// Pictures in which nothing is to be marked, such as those of good parts: they teach it what is none
    #[arg(long, value_name = "DIR")]
    pub(super) good: Vec<String>,
    /// Names of the masks' classes without the background, with commas between them [default: defect, or numbers]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(super) labels: Vec<String>,
}

#[derive(clap::Args)]
pub(super) struct CommonArgs {
    /// Folders of pictures, video files or URIs
    #[arg(required = true, value_name = "DATA")]
    pub(super) data: Vec<String>,
    /// The model file to write
    #[arg(short, long, value_name = "MODEL")]
    pub(super) output: PathBuf,
    /// Architecture [default: the task's; a wrong name lists them]
    #[arg(long, value_name = "NAME")]
    pub(super) arch: Option<String>,
    /// Channels of the first level
    #[arg(long, value_name = "N")]
    pub(super) width: Option<usize>,
    /// Layers or levels
    #[arg(long, value_name = "N")]
    pub(super) depth: Option<usize>,
    #[command(flatten)]
    pub(super) length: Length,
    /// Pictures or patches a step
    #[arg(long, value_name = "N")]
    pub(super) batch: Option<usize>,
    /// Validate so many times on the way; the weights that were best are kept [default: 8; with --minutes fewer where they take long]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(super) validations: Option<u64>,
    /// End early once so many validations in a row have found nothing better [default: go on to the end]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(super) patience: Option<u64>,
    /// Largest learning rate [default: the task's; with --from a quarter of it]
    #[arg(long, value_name = "RATE")]
    pub(super) lr: Option<f64>,
    /// How steps are made of gradients [default: the task's]
    #[arg(long, value_name = "adamw|muon|sgd", value_parser = method)]
    pub(super) optimizer: Option<Method>,
    /// Begin with the weights of this model, of the same network (in colour also of that for grey), instead of random ones; they are kept
    /// where validations find nothing better. Its last layer may be another, as for other classes or after another task: that begins anew
    #[arg(long, value_name = "MODEL")]
    pub(super) from: Option<PathBuf>,
    /// Weight decay, decoupled
    #[arg(long, value_name = "DECAY", value_parser = |s: &str| number(s, 0.0, 1.0))]
    pub(super) weight_decay: Option<f64>,
    /// Fixes all random numbers: the same seed gives the same file
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Colour of the network's pictures [default: grey if all pictures are]
    #[arg(long, value_name = "gray|rgb", value_parser = color)]
    pub(super) color: Option<Color>,
    /// Validation data [default: val/ beside train/, or a part held out]
    #[arg(long, value_name = "DATA")]
    pub(super) val: Vec<String>,
    #[command(flatten)]
    pub(super) frames: Frames,
    /// Go on from MODEL.ckpt, with the same options and data
    #[arg(long)]
    pub(super) resume: bool,
    /// Seconds between two checkpoints (MODEL.ckpt)
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = |s: &str| number(s, 0.0, 1e6))]
    pub(super) checkpoint_every: f64,
    /// Write the run's figures to DIR/train.csv
    #[arg(long, value_name = "DIR")]
    pub(super) log: Option<PathBuf>,
    /// Terms of the data, for the model's card
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(super) license: String,
    #[command(flatten)]
    pub(super) machine: Machine,
}

#[derive(clap::Args)]
#[group(multiple = false)]
pub(super) struct Length {
    /// Train for so many steps
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(super) steps: Option<u64>,
    /// Train for so many passes over the data
    #[arg(long, value_name = "N", value_parser = |s: &str| number(s, 1e-6, 1e6))]
    pub(super) epochs: Option<f64>,
    /// Train for so many minutes [default: 10]; prints the steps it planned
    #[arg(long, value_name = "N", value_parser = |s: &str| number(s, 1e-3, 1e5))]
    pub(super) minutes: Option<f64>,
}

impl CommonArgs {
    pub(super) fn prepare(
        &self,
        size: Option<[usize; 2]>,
        code_size: Option<usize>,
    ) -> Result<(Common, exec::Options)> {
        let device = self.machine.device.open()?;
        exec::candle::arithmetic(&device, self.machine.precision)?;
        check_output(&self.output, self.data.iter().chain(&self.val).map(Path::new))?;
        let exec = self.machine.options()?;
        let budget = match (self.length.steps, self.length.epochs) {
            (Some(steps), _) => Budget::Steps(steps),
            (_, Some(epochs)) => Budget::Epochs(epochs),
            _ => Budget::Minutes(self.length.minutes.unwrap_or(10.0)),
        };
        let net = NetOptions {
            width: self.width,
            depth: self.depth,
            code_size,
            classes: 0,
            color: self.color,
            chroma: false,
            size,
        };
        let common = Common {
            sources: Sources {
                train: self.data.clone(),
                val: self.val.clone(),
                limits: self.frames.limits(),
            },
            arch: self.arch.clone(),
            net,
            budget,
            validations: self.validations,
            patience: self.patience,
            batch: self.batch,
            learning_rate: self.lr,
            method: self.optimizer,
            weight_decay: self.weight_decay,
            from: self.from.clone(),
            seed: self.seed,
            device,
            precision: self.machine.precision,
            output: self.output.clone(),
            checkpoint_every: Duration::from_secs_f64(self.checkpoint_every),
            resume: self.resume,
            log: self.log.clone(),
            license: self.license.clone(),
            command: card::command(std::env::args_os().map(|a| a.to_string_lossy().into_owned())),
        };
        Ok((common, exec))
    }
}

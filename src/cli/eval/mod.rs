//! `gst-candle eval`.

mod anomaly;
mod classify;
mod denoise;
mod named;
mod segment;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::{Map, Value};

use super::common::{AlarmRate, Frames, Machine, check_json, number, print_table, sigma, write_json};
use crate::model::{Model, Task};

/// Judge a model on test data
///
/// What comes out is one flat object: denoise: psnr, psnr_noisy, ssim, noise_level (mean of
/// those told to the model), of video psnr_moving (of the pixels that moved); anomaly, predict: frame_auc (of
/// videos whose frames labels.csv names), image_auroc, image_ap, f1_max, pixel_auroc,
/// pixel_ap, aupro (needs masks), and false_alarm_rate and miss_rate at the model's threshold, each with the ends of its
/// interval of 95 % confidence (…_low, …_high), with --classifier named_right (of those with defects, the share that is flagged
/// and given its folder's name) and good_named (of good ones, the share that is given a defect's name); classify: accuracy, ece, false_unknown_rate (of classes that the model
/// knows), unknown_found (of folders of other classes), unknown_found_at_5 (the same where 5 % of the known are called
/// unknown), unknown_auroc; segment: iou, dice (of all classes but the background, over all pixels), iou_by_picture,
/// pixel_accuracy; and images, seconds. Figures that the data do not allow are null.
///
/// Examples:
///   gst-candle eval part.safetensors test-parts/ --json -
///   gst-candle eval camera.safetensors photos/ --sigma 25
///   gst-candle eval camera.safetensors --noisy shots/noisy --clean shots/clean
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The model file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Folders of pictures, video files or URIs; of a data set with splits, test/
    #[arg(value_name = "DATA")]
    data: Vec<String>,
    /// Denoise: add white noise of this standard deviation (0..255) to clean pictures
    #[arg(long, value_parser = sigma, value_name = "S")]
    sigma: Option<f32>,
    /// Denoise: the noise level (0..255) to tell the model [default: estimated as candledenoise does, from each picture, of video over time]
    #[arg(long, value_parser = sigma, value_name = "S")]
    noise_level: Option<f32>,
    /// Denoise: show each clean picture so many times, with noise of its own each time, and judge the last half: a still scene
    #[arg(long, default_value_t = 1, value_name = "N", requires = "sigma", value_parser = clap::value_parser!(u16).range(1..=1000))]
    repeat: u16,
    /// Denoise: the pictures are the frames of one video, in order [always so for a recurrent model, whose scenes end where they are cut]
    #[arg(long)]
    video: bool,
    /// Denoise: noisy pictures; --clean has the same names
    #[arg(long, value_name = "DIR", requires = "clean", conflicts_with_all = ["data", "sigma"])]
    noisy: Option<PathBuf>,
    /// Denoise: the clean pictures of --noisy
    #[arg(long, value_name = "DIR", requires = "noisy")]
    clean: Option<PathBuf>,
    /// Anomaly: let this classifier name the regions of flagged pictures, as candleclassify regions=metas does behind candleanomaly
    #[arg(long, value_name = "MODEL")]
    classifier: Option<PathBuf>,
    /// Anomaly: least side in pixels of the square around a region that the classifier sees, as candleclassify's region-context
    #[arg(long, value_name = "PIXELS", default_value_t = 0, requires = "classifier")]
    context: usize,
    /// Anomaly: leave out regions of fewer pixels, which --classifier then does not name. Segment: make them background
    #[arg(long, value_name = "PIXELS", default_value_t = 1)]
    min_area: usize,
    /// Segment: least probability of a pixel to be of another class than the background [default: the most probable class]
    #[arg(long, value_parser = |s: &str| number(s, 0.0, 1.0), value_name = "P")]
    threshold: Option<f64>,
    /// Classify: worsen each picture as a poor camera would, by exposure, blur and noise; 1 is much, 0 nothing
    #[arg(long, value_name = "STRENGTH", num_args = 0..=1, default_missing_value = "1", value_parser = |s: &str| number(s, 0.0, 3.0).map(|x| x as f32))]
    degrade: Option<f32>,
    /// Classify: list so many of the pictures whose own class was given the least probability
    #[arg(long, value_name = "N", default_value_t = 0)]
    top_losses: usize,
    /// Denoise, --degrade: seed of what is added
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write the figures as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    alarm_rate: AlarmRate,
    #[command(flatten)]
    frames: Frames,
    #[command(flatten)]
    machine: Machine,
}

/// What an evaluation gives: its figures, and text for a person beside them.
struct Outcome {
    figures: Map<String, Value>,
    images: usize,
    text: String,
}

/// Judges and prints.
pub fn main(args: &Args) -> Result<()> {
    let given = [&args.model].into_iter().chain(&args.classifier);
    check_json(args.json.as_ref(), given.map(PathBuf::as_path))?;
    let mut model = Model::load(&args.model)?;
    args.alarm_rate.apply(&mut model, &args.model)?;
    let pairs = args.noisy.is_some();
    if args.data.is_empty() && !pairs {
        bail!("{}: no DATA given to judge it on", args.model.display());
    }
    if model.task != Task::Denoise && (pairs || args.sigma.is_some() || args.noise_level.is_some() || args.video) {
        bail!(
            "{}: --sigma, --noise-level, --video, --noisy and --clean are for denoisers; this model is for `{}`",
            args.model.display(),
            model.task
        );
    }
    if model.task != Task::Anomaly && args.classifier.is_some() {
        bail!(
            "{}: --classifier names what a model for `anomaly` finds; this model is for `{}`",
            args.model.display(),
            model.task
        );
    }
    if model.task != Task::Classify && (args.degrade.is_some() || args.top_losses > 0) {
        bail!(
            "{}: --degrade and --top-losses are for classifiers; this model is for `{}`",
            args.model.display(),
            model.task
        );
    }
    if model.task != Task::Segment && args.threshold.is_some() {
        bail!(
            "{}: --threshold is for models that segment; this model is for `{}`",
            args.model.display(),
            model.task
        );
    }
    if model.task != Task::Segment && args.min_area != 1 && args.classifier.is_none() {
        bail!(
            "{}: --min-area is for models that segment, and for regions that a --classifier names",
            args.model.display()
        );
    }
    let options = args.machine.options()?;
    let start = Instant::now();
    let Outcome {
        mut figures,
        images,
        text,
    } = match model.task {
        Task::Denoise => denoise::evaluate(args, &model, &options)?,
        Task::Anomaly | Task::Predict => anomaly::evaluate(args, &model, &options)?,
        Task::Classify => classify::evaluate(args, &model, &options)?,
        Task::Segment => segment::evaluate(args, &model, &options)?,
        other => bail!(
            "{}: this version cannot judge models for `{other}`",
            args.model.display()
        ),
    };
    figures.insert("images".into(), images.into());
    figures.insert("seconds".into(), start.elapsed().as_secs_f64().into());
    if !text.is_empty() {
        eprint!("{text}");
    }
    print_table(&figures, args.json.as_ref())?;
    match &args.json {
        Some(target) => write_json(target, &figures),
        None => Ok(()),
    }
}

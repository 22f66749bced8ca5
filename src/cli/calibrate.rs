//! `gst-candle calibrate`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::common::{Frames, Machine, check_output, rate};
use crate::data::layout::{Dataset, Layout, Split};
use crate::model::{Calibration, Model, Task};
use crate::train::samples::{at_least, is_good, retain};
use crate::train::{anomaly, classify};

/// Rates that are not given.
const FALSE_ALARM_RATE: f64 = 0.01;
const UNKNOWN_RATE: f64 = 0.05;

/// Set a model's threshold anew, from good pictures alone
///
/// Anomaly models need good pictures that they were not trained on, from the camera and light they will see; the more, the rarer the
/// false alarms that can be promised. Classifiers need pictures in folders named by class.
///
/// Example: gst-candle calibrate part.safetensors good-from-this-week/ --false-alarm-rate 0.001
#[derive(clap::Args)]
pub struct Args {
    /// The model file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Folders of good pictures, video files or URIs; of a data set with splits, val/
    #[arg(required = true, value_name = "GOOD")]
    good: Vec<String>,
    /// Anomaly models: share of good frames that may be flagged [default: 0.01]
    #[arg(long, value_parser = rate, value_name = "R")]
    false_alarm_rate: Option<f64>,
    /// Classifiers: share of pictures of known classes that may be called unknown [default: 0.05]
    #[arg(long, value_parser = rate, value_name = "R")]
    unknown_rate: Option<f64>,
    /// The model file to write [default: MODEL itself]
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    #[command(flatten)]
    frames: Frames,
    #[command(flatten)]
    machine: Machine,
}

/// Calibrates and saves.
pub fn main(args: &Args) -> Result<()> {
    let mut model = Model::load(&args.model)?;
    let output = args.output.as_ref().unwrap_or(&args.model);
    // MODEL itself may be replaced.
    check_output(output, args.good.iter().map(Path::new))?;
    let name = args.model.display().to_string();
    let is_classifier = model.task == Task::Classify;
    if args.unknown_rate.is_some() && !is_classifier {
        bail!(
            "{name}: --unknown-rate is for classifiers; this model is for `{}`",
            model.task
        );
    }
    if args.false_alarm_rate.is_some() && is_classifier {
        bail!(
            "{name}: --false-alarm-rate is for anomaly detectors; this model is for `{}`",
            model.task
        );
    }
    let options = args.machine.options()?;
    let mut data = Dataset::open(&args.good, Split::Val, args.frames.limits())?;
    if data.samples.is_empty() {
        data = Dataset::open(&args.good, Split::Train, args.frames.limits())?;
        if data.layout == Layout::Mvtec {
            bail!(
                "{}: it has no val/; name a folder of good pictures that the model was not trained on",
                args.good[0]
            );
        }
    }
    let mut before = String::new();
    match model.task {
        Task::Anomaly | Task::Predict => {
            data = retain(data, is_good)?;
            at_least(5, &data, &args.good, "good pictures")?;
            let Some(Calibration::Anomaly(old)) = &model.calibration else {
                bail!("{name}: it does not say how its map is made; train it again");
            };
            let scoring = old.scoring();
            before = format!(" (was {:.6})", old.threshold);
            let rate = args.false_alarm_rate.unwrap_or(FALSE_ALARM_RATE);
            anomaly::calibrate(&mut model, scoring, &data, rate, &options)?;
        }
        Task::Classify => {
            let rate = args.unknown_rate.unwrap_or(UNKNOWN_RATE);
            classify::calibrate(&mut model, &data, &args.good[0], rate, &options)?;
        }
        other => bail!("{name}: a model for `{other}` has nothing to calibrate"),
    }
    model.save(output).with_context(|| format!("{name} is as it was"))?;
    match &model.calibration {
        Some(Calibration::Anomaly(found)) => {
            eprintln!(
                "{}: threshold {:.6}{before} from {} good pictures",
                output.display(),
                found.threshold,
                found.frames
            );
        }
        Some(Calibration::Classify(found)) => {
            eprintln!(
                "{}: temperature {:.4} from {} pictures",
                output.display(),
                found.temperature,
                data.samples.len()
            );
        }
        None => {}
    }
    Ok(())
}

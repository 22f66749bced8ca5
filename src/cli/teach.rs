//! `gst-candle teach`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::common::{Frames, Machine, check_output};
use crate::data::layout::{Dataset, Layout, Split};
use crate::model::{Model, Task};
use crate::train::teach;

/// Teach a classifier new classes from a few pictures each, without training
///
/// About five pictures of a class do, in a folder of its name. The model keeps their codes and names what lies near them; what it knew
/// before it knows as before. A class that is there already gets more codes. Training with all pictures is better where there are many.
///
/// Example: gst-candle teach parts.safetensors new-defects/scratch -o parts.safetensors
#[derive(clap::Args)]
pub struct Args {
    /// The classifier
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Folders of pictures named by their class, or folders that hold such ones; of a data set with splits, train/
    #[arg(required = true, value_name = "DATA")]
    data: Vec<String>,
    /// The model file to write
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    #[command(flatten)]
    frames: Frames,
    #[command(flatten)]
    machine: Machine,
}

/// Teaches and saves.
pub fn main(args: &Args) -> Result<()> {
    let mut model = Model::load(&args.model)?;
    let name = args.model.display().to_string();
    if model.task != Task::Classify {
        bail!(
            "{name}: this model is for `{}`; only a classifier can be taught classes",
            model.task
        );
    }
    // MODEL itself may be replaced.
    check_output(&args.output, args.data.iter().map(Path::new))?;
    let options = args.machine.options()?;
    let data: Vec<Dataset> = args
        .data
        .iter()
        .map(|argument| open(argument, &args.frames))
        .collect::<Result<_>>()?;
    let mut labels = Vec::new();
    for (argument, data) in args.data.iter().zip(&data) {
        labels.extend(labels_of(argument, data)?);
    }
    let samples: Vec<_> = data
        .iter()
        .flat_map(|data| data.samples.iter().map(move |sample| (data, sample)))
        .collect();
    let read = |i: usize| samples[i].0.read(samples[i].1);
    let taught = teach::teach(&mut model, labels, read, &options).with_context(|| name)?;
    model.save(&args.output)?;
    for class in taught {
        let known = if class.is_new { "new" } else { "known before" };
        eprintln!(
            "{}: `{}` ({known}) from {} pictures",
            args.output.display(),
            class.label,
            class.pictures
        );
    }
    Ok(())
}

/// The pictures of a DATA argument.
fn open(argument: &str, frames: &Frames) -> Result<Dataset> {
    let data = Dataset::open(&[argument.to_owned()], Split::Train, frames.limits())?;
    if data.samples.is_empty() {
        bail!("{argument}: no pictures found");
    }
    Ok(data)
}

/// Their classes.
fn labels_of(argument: &str, data: &Dataset) -> Result<Vec<String>> {
    let folder = match data.layout {
        Layout::Flat => folder_name(Path::new(argument)),
        _ => None,
    };
    let labels = data
        .samples
        .iter()
        .map(|sample| sample.class.clone().or_else(|| folder.clone()));
    let labels: Option<Vec<String>> = labels.collect();
    labels.with_context(|| format!("{argument}: pictures without a class; give a folder that has its class's name"))
}

/// The name of a folder, whatever way it is written.
fn folder_name(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok().filter(|path| path.is_dir())?;
    path.file_name()?.to_str().map(str::to_owned)
}

//! `gst-candle teach`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::common::{Frames, Machine, check_writable};
use crate::data::layout::{Dataset, Layout, Sample, Split};
use crate::model::{Model, Task};
use crate::train::teach::{self, Example};

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
    check_writable(&args.output)?;
    let options = args.machine.options()?;
    let mut examples = Vec::new();
    for argument in &args.data {
        examples.extend(read(argument, &args.frames)?);
    }
    let taught = teach::teach(&mut model, examples, &options).with_context(|| name)?;
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

/// The pictures of a DATA argument and their classes.
fn read(argument: &str, frames: &Frames) -> Result<Vec<Example>> {
    let data = Dataset::open(&[argument.to_owned()], Split::Train, frames.limits())?;
    let folder = match data.layout {
        Layout::Flat => folder_name(Path::new(argument)),
        _ => None,
    };
    if data.samples.is_empty() {
        bail!("{argument}: no pictures found");
    }
    let example = |sample: &Sample| {
        let label = sample.class.clone().or_else(|| folder.clone());
        let Some(label) = label else {
            bail!("{argument}: pictures without a class; give a folder that has its class's name");
        };
        let picture = data.read(sample)?;
        Ok(Example { label, picture })
    };
    data.samples.iter().map(example).collect()
}

/// The name of a folder, whatever way it is written.
fn folder_name(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok().filter(|path| path.is_dir())?;
    path.file_name()?.to_str().map(str::to_owned)
}

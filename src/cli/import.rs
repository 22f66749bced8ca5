//! `gst-candle import`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::common::{check_output, size};
use super::train::values::{ResizeArg, TaskArg};
use crate::Error;
use crate::graph::onnx;
use crate::model::{Foreign, Model, Resize, Task};
use crate::train::card;

/// Make a model of a network that was trained elsewhere, from its ONNX file
///
/// It must stay within the ops that this program runs: convolutions, linear layers, batch norms, pools, the usual activations, sums and
/// joins of branches (docs/onnx.md lists them). What an ONNX file does not say is told here: names of classes, and how pictures are normalised. Files that `gst-candle
/// export` wrote say it all. Afterwards `calibrate` sets the temperature and the thresholds of a classifier, or an anomaly model's threshold.
///
/// Example: gst-candle import resnet.onnx --task classify --labels-file names.txt --size 224x224 --mean 0.485,0.456,0.406
/// --std 0.229,0.224,0.225 -o resnet.safetensors
#[derive(clap::Args)]
pub struct Args {
    /// The ONNX file
    #[arg(value_name = "IN.onnx")]
    file: PathBuf,
    /// The model file to write
    #[arg(short, long, value_name = "MODEL")]
    output: PathBuf,
    /// What it is for [default: what an export of ours says]
    #[arg(long, value_name = "TASK")]
    task: Option<TaskArg>,
    /// Names of the classes in the order of the network's outputs, with commas between them [default: their numbers]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    labels: Vec<String>,
    /// The same, one a line of a text file
    #[arg(long, value_name = "FILE", conflicts_with = "labels")]
    labels_file: Option<PathBuf>,
    /// The size that frames are brought to, where the network takes any
    #[arg(long, value_parser = size, value_name = "WxH")]
    size: Option<[usize; 2]>,
    /// How frames come to the network's size [default: stretch]
    #[arg(long)]
    resize: Option<ResizeArg>,
    /// What is subtracted from values of 0 to 1, one a channel [default: 0]
    #[arg(long, value_name = "VALUES", value_delimiter = ',')]
    mean: Vec<f32>,
    /// What they are divided by then; 0.00392157 makes them 0 to 255 [default: 1]
    #[arg(long, value_name = "VALUES", value_delimiter = ',')]
    std: Vec<f32>,
}

/// Reads, checks and saves.
pub fn main(args: &Args) -> Result<()> {
    let given = [&args.file].into_iter().chain(&args.labels_file);
    check_output(&args.output, given.map(PathBuf::as_path))?;
    let name = args.file.display().to_string();
    let (mut file, length) = open(&args.file)?;
    if length > LONGEST {
        bail!("{name}: {length} bytes; ONNX files have at most {LONGEST}, others keep their weights beside");
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.read_to_end(&mut bytes)
        .map_err(|error| Error::io(&args.file, error))?;
    let folder = args.file.parent().map(PathBuf::from).unwrap_or_default();
    let beside = |file: &str, offset: u64, bytes: usize| beside(&folder, file, offset, bytes);
    let imported = onnx::read(bytes, args.size, &beside).with_context(|| name.clone())?;
    let labels = match &args.labels_file {
        Some(path) => lines(path)?,
        None => args.labels.clone(),
    };
    let told = Foreign {
        task: args.task.map(Task::from),
        labels,
        size: args.size,
        resize: args.resize.map(Resize::from),
        mean: args.mean.clone(),
        std: args.std.clone(),
    };
    let mut model = Model::from_onnx(imported, told).with_context(|| name.clone())?;
    if model.training.command.is_empty() {
        model.training.command = card::command(std::env::args_os().map(|a| a.to_string_lossy().into_owned()));
    }
    model.save(&args.output)?;
    eprintln!(
        "{}: {} with {} labels",
        args.output.display(),
        model.task,
        model.labels.len()
    );
    Ok(())
}

/// Longest ONNX file: what its format allows.
const LONGEST: u64 = 2 << 30;

/// A file and its length.
fn open(path: &Path) -> Result<(File, u64), Error> {
    let fail = |error| Error::io(path, error);
    // Asked first: opening a pipe would wait for its other end.
    if !path.metadata().map_err(fail)?.is_file() {
        return Err(Error::data(path, "not a file"));
    }
    let file = File::open(path).map_err(fail)?;
    let length = file.metadata().map_err(fail)?.len();
    Ok((file, length))
}

/// So many bytes of a file in `folder`.
fn beside(folder: &Path, name: &str, offset: u64, bytes: usize) -> Result<Vec<u8>, Error> {
    let path = folder.join(name);
    let is_plain = path.file_name().is_some_and(|last| last == name);
    if !is_plain {
        return Err(Error::Invalid(format!(
            "its values are in `{name}`, which is no file beside this one"
        )));
    }
    let fail = |error| Error::io(&path, error);
    let (mut file, length) = open(&path)?;
    let end = offset.checked_add(bytes as u64);
    if end.is_none_or(|end| end > length) {
        let reason =
            "it ends before the weights that the ONNX file says are in it: it is cut off, or another network's";
        return Err(Error::data(&path, reason));
    }
    file.seek(SeekFrom::Start(offset)).map_err(fail)?;
    let mut values = vec![0; bytes];
    file.read_exact(&mut values).map_err(fail)?;
    Ok(values)
}

/// Lines of a text file.
fn lines(path: &PathBuf) -> Result<Vec<String>> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
    let Ok(text) = String::from_utf8(bytes) else {
        bail!("{}: it is not UTF-8 text", path.display());
    };
    Ok(text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}

//! `gst-candle export`.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::common::{check_output, size};
use crate::atomic;
use crate::model::Model;

/// Write a model's network as ONNX (opset 17), for other runtimes
///
/// The picture's size stays open where the model takes any, unless --size fixes it. What the network does not say (colour,
/// normalisation, labels, calibration, the limit of a denoiser's changes in noise levels) stands in the file's metadata as JSON, as in the
/// model; codes of known pictures, and classes that were taught by them alone, are left out. A recurrent network's states are inputs and outputs: it expects each moved to where its content is in the new frame, zeros at first.
///
/// Example: gst-candle export camera.safetensors camera.onnx --size 1280x720
#[derive(clap::Args)]
pub struct Args {
    /// The model file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The ONNX file to write
    #[arg(value_name = "OUT.onnx")]
    out: PathBuf,
    /// Fix the size of the picture; it must be a multiple of what the model needs
    #[arg(long, value_parser = size, value_name = "WxH")]
    size: Option<[usize; 2]>,
}

/// Writes the file.
pub fn main(args: &Args) -> Result<()> {
    check_output(&args.out, [args.model.as_path()])?;
    let model = Model::load(&args.model)?;
    let bytes = model
        .to_onnx(args.size)
        .with_context(|| args.model.display().to_string())?;
    Ok(atomic::write(&args.out, |out| out.write_all(&bytes))?)
}

//! `gst-candle check`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::codes::coded;
use super::common::{Frames, Machine, describe, number, print};
use super::copies;
use crate::data::layout::{Dataset, Split};
use crate::model::{Color, Model, Resize};
use crate::pixels::Placement;
use crate::score::codes::{distance, spread, thinned, typical_distance};
use crate::tasks::Embedder;

/// Side in pixels of the small pictures that are compared without a model.
const SIDE: usize = 32;
/// Where two of them differ by no more than this (root of the mean square, of full scale), they show the same.
const SAME_PICTURE: f32 = 0.02;
/// The same for codes, as a share of the distance that two of them have as a rule.
const SAME_CODE: f32 = 0.1;
/// What codes of the same picture may differ by, where all are the same.
const LEAST_CODE: f32 = 1e-3;

/// Look for what is wrong with training data
///
/// With --thin: near-duplicates, as neighbouring frames of a video are. What is kept differs from all that was kept before; it is listed,
/// or copied. Without a model, pictures are compared at 32x32 pixels in grey; with one, by their codes, which tell what matters to
/// it.
///
/// Examples:
///   gst-candle check belt.mp4 --thin --copy varied/
///   gst-candle check shots/ --thin --model parts.safetensors --keep 200
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Folders of pictures, video files or URIs; of a data set with splits, train/
    #[arg(required = true, value_name = "DATA")]
    data: Vec<String>,
    /// List what is left without near-duplicates
    #[arg(long, required = true)]
    thin: bool,
    /// Compare by this model's codes
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// The least difference between two that are kept [default: 0.02 of full scale; between codes a tenth of what they differ by as a rule]
    #[arg(long, value_name = "D", value_parser = |s: &str| number(s, 0.0, 2.0).map(|x| x as f32))]
    distance: Option<f32>,
    /// Keep the N most different ones instead
    #[arg(long, value_name = "N", conflicts_with = "distance", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// Copy what is kept into this new folder, instead of listing it
    #[arg(long, value_name = "DIR")]
    copy: Option<PathBuf>,
    #[command(flatten)]
    frames: Frames,
    #[command(flatten)]
    machine: Machine,
}

/// Checks and prints.
pub fn main(args: &Args) -> Result<()> {
    if let Some(folder) = &args.copy {
        copies::check_new(folder)?;
    }
    let options = args.machine.options()?;
    let embedder = match &args.model {
        None => None,
        Some(path) => {
            let model = Model::load(path)?;
            Some(Embedder::new(&model, &options).with_context(|| path.display().to_string())?)
        }
    };
    let data = Dataset::open(&args.data, Split::Train, args.frames.limits())?;
    if data.samples.is_empty() {
        bail!("{}: no pictures found", args.data[0]);
    }
    let (rows, same) = match embedder {
        Some(mut embedder) => {
            let codes = coded(&mut embedder, &data)?;
            let rows: Vec<Vec<f32>> = codes.rows().map(<[f32]>::to_vec).collect();
            let same = (SAME_CODE * typical_distance(&rows)).max(LEAST_CODE);
            (rows, same)
        }
        None => (thumbnails(&data)?, SAME_PICTURE),
    };
    let kept = match args.keep {
        Some(most) => spread(&rows, most as usize),
        None => thinned(&rows, args.distance.unwrap_or(same)),
    };
    match &args.copy {
        Some(folder) => copies::copy(&data, &kept, folder)?,
        None => {
            let lines = kept.iter().map(|&i| describe(&data.samples[i].source) + "\n");
            print(&lines.collect::<String>())?;
        }
    }
    let farthest = farthest(&rows, &kept);
    eprintln!(
        "{} of {} kept; what was left out is within {farthest:.4} of one that was kept",
        kept.len(),
        rows.len()
    );
    Ok(())
}

/// Each picture in grey at [`SIDE`] x [`SIDE`], such that their distance is the root of the mean square of what differs.
fn thumbnails(data: &Dataset) -> Result<Vec<Vec<f32>>> {
    let mut all = Vec::with_capacity(data.samples.len());
    for sample in &data.samples {
        let image = data.read(sample)?.to_color(Color::Gray);
        let placement = Placement::new([image.width, image.height], [SIDE; 2], Resize::Stretch);
        let mut small = placement.apply(&image).data;
        small.iter_mut().for_each(|x| *x /= SIDE as f32);
        all.push(small);
    }
    Ok(all)
}

/// The largest distance of any row from the nearest kept one.
fn farthest(rows: &[Vec<f32>], kept: &[usize]) -> f32 {
    let nearest = |row: &Vec<f32>| {
        kept.iter()
            .map(|&i| distance(row, &rows[i]))
            .fold(f32::INFINITY, f32::min)
    };
    rows.iter().map(nearest).fold(0.0, f32::max)
}

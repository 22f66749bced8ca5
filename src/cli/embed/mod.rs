//! `gst-candle embed`.

mod draw;
mod flat;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::codes::{coded, names};
use super::common::{Frames, Machine, check_output};
use crate::data::layout::{Dataset, Split};
use crate::model::{CodeBook, Model};
use crate::score::calibration::reached_by;
use crate::tasks::Embedder;

/// Share of the pictures that lie no farther from their nearest other one than what is kept as the file's distance.
const NEAR: f64 = 0.95;

/// Write the codes of pictures, and draw a map of them
///
/// A code is a row of numbers that says what a picture looks like to the network: of a classifier what its last levels see, of an anomaly
/// detector the means of its narrowest planes. Codes of pictures that look alike lie near each other; candleembed finds the nearest ones
/// for each frame of a video, with codes-file=OUT. docs/codes.md describes the file.
///
/// The map shows each picture as a point, those that are alike side by side (t-SNE, begun with the two principal components), in the
/// colour of its class. The same codes give the same map.
///
/// Example: gst-candle embed parts.safetensors parts-by-class/ -o codes.safetensors --map map.png
#[derive(clap::Args)]
pub struct Args {
    /// The model file: a classifier, an anomaly detector or one for segmentation
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Folders of pictures, video files or URIs; of a data set with splits, train/
    #[arg(required = true, value_name = "DATA")]
    data: Vec<String>,
    /// The file of codes to write
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Draw the map as a PNG
    #[arg(long, value_name = "PNG")]
    map: Option<PathBuf>,
    #[command(flatten)]
    frames: Frames,
    #[command(flatten)]
    machine: Machine,
}

/// Writes codes and map.
pub fn main(args: &Args) -> Result<()> {
    let model = Model::load(&args.model)?;
    let name = args.model.display().to_string();
    let given = [args.model.as_path()]
        .into_iter()
        .chain(args.data.iter().map(Path::new));
    check_output(&args.output, given.clone())?;
    if let Some(map) = &args.map {
        check_output(map, given)?;
        if map.extension().is_none_or(|e| !e.eq_ignore_ascii_case("png")) {
            bail!("{}: the map is a PNG; name it so", map.display());
        }
    }
    let options = args.machine.options()?;
    let mut embedder = Embedder::new(&model, &options).context(name)?;
    let data = Dataset::open(&args.data, Split::Train, args.frames.limits())?;
    if data.samples.is_empty() {
        bail!("{}: no pictures found", args.data[0]);
    }
    let mut codes = coded(&mut embedder, &data)?;
    let told = |class: &Option<String>| class.clone().unwrap_or_default();
    let mut labels: Vec<String> = data.samples.iter().map(|sample| told(&sample.class)).collect();
    labels.sort_unstable();
    labels.dedup();
    let class = |class: &Option<String>| labels.binary_search(&told(class)).unwrap_or_default();
    codes.classes = data.samples.iter().map(|sample| class(&sample.class)).collect();
    let apart: Vec<f32> = codes.apart().into_iter().filter(|x| x.is_finite()).collect();
    if !apart.is_empty() {
        codes.distance = reached_by(apart, NEAR);
    }
    let book = CodeBook {
        names: names(&data),
        network: embedder.network().to_owned(),
        codes,
        labels,
    };
    book.save(&args.output)?;
    let [count, features] = book.codes.vectors.shape[..] else {
        bail!("{}: codes without shape", args.output.display());
    };
    eprintln!("{}: {count} codes of {features} features", args.output.display());
    if let Some(map) = &args.map {
        let places = flat::places(&book.codes)?;
        draw::draw(map, &places, &book)?;
        eprintln!("{}: the map", map.display());
    }
    Ok(())
}

//! Makes `images/` and masks of class numbers from tests in MVTec layout, whose masks say where something is but not what: that is what their
//! folders are named by. Prints the names for `gst-candle train segment OUT --labels NAMES`.
//!
//!     cargo run --release --example class_masks -- MVTEC OUT

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use gst_candle::data::layout::{Dataset, Source, Split, VideoLimits};
use gst_candle::data::masks::Coding;
use gst_candle::score::labels::is_good;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mvtec, out] = arguments.as_slice() else {
        bail!("usage: class_masks MVTEC OUT");
    };
    let data = Dataset::open(std::slice::from_ref(mvtec), Split::Test, VideoLimits::default())?;
    let kinds: Vec<&str> = data
        .classes
        .iter()
        .map(String::as_str)
        .filter(|class| !is_good(class))
        .collect();
    let [images, masks] = ["images", "masks"].map(|name| Path::new(out).join(name));
    fs::create_dir_all(&images).with_context(|| out.clone())?;
    fs::create_dir_all(&masks).with_context(|| out.clone())?;
    for sample in &data.samples {
        let (Source::Picture(picture), Some(path)) = (&sample.source, &sample.mask) else {
            continue;
        };
        let kind = kinds.iter().position(|kind| Some(*kind) == sample.class.as_deref());
        let number = kind.with_context(|| format!("{}: its folder names no kind of defect", picture.display()))? + 1;
        let mut mask = Coding::BlackAndWhite.read(path, data.size(sample)?)?;
        mask.classes.iter_mut().for_each(|class| *class *= number as u8);
        let name = picture.file_name().context("a picture without a name")?;
        fs::copy(picture, images.join(name)).with_context(|| picture.display().to_string())?;
        mask.write(&masks.join(name).with_extension("png"), Some(0))?;
    }
    println!("{}", kinds.join(","));
    Ok(())
}

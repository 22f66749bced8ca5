//! Makes the pictures that `models/classify-testsrc.safetensors` learns from: what the anomaly model flags on the
//! inspection line of `candletestsrc`, cut out as `candleclassify regions=metas` will see it, in a folder for each label.
//!
//!     cargo run --release --example testsrc_crops -- DENOISER ANOMALY OUT FRAMES

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use gst_candle::data::line::{self, CLASSES, LineSettings};
use gst_candle::data::pictures;
use gst_candle::exec::Options;
use gst_candle::model::Model;
use gst_candle::pixels::Image;
use gst_candle::score::regions::{self, Region};
use gst_candle::tasks::{AnomalyDetector, Denoiser};

/// Standard deviation of the noise, 0..255; `candletestsrc`'s default.
const NOISE: f32 = 8.0;
/// Least area of a region in pixels, as `pipelines/demo.sh` has it.
const MIN_AREA: usize = 20;
/// Frames from one picture to the next: no two show a part at the same place.
const STEP: u64 = 7;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [denoiser, anomaly, out, frames] = arguments.as_slice() else {
        bail!("usage: testsrc_crops DENOISER ANOMALY OUT FRAMES");
    };
    let options = Options::default();
    let mut denoiser = Denoiser::new(&Model::load(denoiser)?, &options)?;
    let mut detector = AnomalyDetector::new(&Model::load(anomaly)?, &options)?;
    let frames: u64 = frames.parse().context("FRAMES is not a number")?;
    let settings = LineSettings {
        // Not the seed of the test source's default, so that the parts of a demonstration are new to the model.
        seed: 1000,
        width: 480,
        height: 360,
        defect_rate: 0.6,
        noise: NOISE / 255.0,
        frames_per_part: 30,
    };
    let folders = CLASSES.map(|class| Path::new(out).join("train").join(class));
    for folder in &folders {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    for number in (0..frames).map(|i| i * STEP) {
        let (noisy, parts) = line::render(&settings, number);
        let (frame, _) = denoiser.denoise(&noisy, None)?;
        let map = detector.inspect(&frame)?.frame_map();
        let found = regions::find(&map, detector.calibration().pixel_threshold, MIN_AREA);
        for (i, region) in found.iter().enumerate() {
            save(&frame, region, &folders[class_of(region, &parts)], number, i)?;
        }
        // What a flawless place looks like: the size of a region, the middle of a part's rim.
        let good = parts.iter().find(|part| part.whole && part.defect.is_none());
        if let (Some(part), Some(size)) = (good, found.first()) {
            let [x, y, width, _] = part.bounds;
            let (width, height) = (size.width.min(width), size.height.min(part.bounds[3]));
            let x = x + (part.bounds[2] - width) * (number as usize % 5) / 4;
            let y = y + (part.bounds[3] - height) * (number as usize % 3) / 2;
            save(
                &frame,
                &Region {
                    x,
                    y,
                    width,
                    height,
                    ..*size
                },
                &folders[0],
                number,
                found.len(),
            )?;
        }
    }
    Ok(())
}

/// Index in [`CLASSES`] of what a region shows: the defect whose box it meets, else `good`.
fn class_of(region: &Region, parts: &[line::Part]) -> usize {
    let meets = |[x, y, width, height]: [usize; 4]| {
        region.x < x + width && x < region.x + region.width && region.y < y + height && y < region.y + region.height
    };
    let defect = parts
        .iter()
        .filter_map(|part| part.defect)
        .find(|(_, bounds)| meets(*bounds));
    defect.map_or(0, |(kind, _)| kind as usize + 1)
}

fn save(frame: &Image, region: &Region, folder: &Path, number: u64, index: usize) -> Result<()> {
    let crop = frame.crop(region.x, region.y, region.width, region.height);
    let path: PathBuf = folder.join(format!("{number:05}-{index}.png"));
    Ok(pictures::write(&path, &crop)?)
}

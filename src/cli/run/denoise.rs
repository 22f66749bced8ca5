//! Denoised pictures, and denoised videos.

use anyhow::{Context, Result, bail};

use super::{Args, Names, Read, check_replaces_none, open, unless_interrupted};
use crate::cli::common::make_folder;
use crate::data::layout::{Layout, Source};
use crate::data::pictures;
use crate::exec::Options;
use crate::model::Model;
use crate::tasks::Denoiser;

/// Into a folder.
pub fn pictures(args: &Args, model: &Model, options: &Options) -> Result<()> {
    let data = open(args)?;
    check_replaces_none(args, &data)?;
    let mut denoiser = Denoiser::new(model, options).with_context(|| args.model.display().to_string())?;
    make_folder(&args.output)?;
    let mut names = Names::default();
    let mut before: Option<&Source> = None;
    let mut read = Read::default();
    for sample in &data.samples {
        unless_interrupted()?;
        let Ok(image) = read.next(&data, sample)? else {
            denoiser.reset();
            continue;
        };
        let goes_on = before.is_some_and(|before| sample.source.follows(before));
        if !goes_on && (data.layout == Layout::Video || !denoiser.is_recurrent()) {
            denoiser.reset();
        }
        before = Some(&sample.source);
        let (output, _) = denoiser.denoise(&image, args.sigma)?;
        pictures::write(&args.output.join(names.take(&sample.source) + ".png"), &output)?;
    }
    let denoised = format!("{} pictures denoised", read.succeeded());
    read.finish(&args.output, &denoised)
}

/// Into a video file.
#[cfg(feature = "video")]
pub fn video(args: &Args, model: &Model, options: &Options) -> Result<()> {
    use std::path::PathBuf;

    use crate::cli::common::{catch_ctrl_c, check_output};
    use crate::data::video::{VideoReader, VideoWriter};

    let [input] = args.input.as_slice() else {
        bail!(
            "{}: one video is made from one video; give one INPUT",
            args.output.display()
        );
    };
    let file = gst::glib::filename_from_uri(input).map_or_else(|_| PathBuf::from(input), |(path, _)| path);
    check_output(&args.output, [file.as_path(), &args.model])?;
    let mut denoiser = Denoiser::new(model, options).with_context(|| args.model.display().to_string())?;
    let limits = args.frames.limits();
    let most = if limits.max == 0 { usize::MAX } else { limits.max };
    // An error is never left out.
    let taken = |(i, frame): &(usize, crate::Result<_>)| frame.is_err() || i.is_multiple_of(limits.every);
    let frames = VideoReader::open(input)?.enumerate().filter(taken);
    let mut frames = frames.map(|(_, frame)| frame).take(most).peekable();
    catch_ctrl_c()?;
    let mut writer: Option<VideoWriter> = None;
    while let Some(frame) = frames.next() {
        unless_interrupted()?;
        let frame = frame?;
        let (output, _) = denoiser.denoise(&frame.image, args.sigma)?;
        if writer.is_none() {
            let next = frames.peek().and_then(|f| f.as_ref().ok()).and_then(|f| f.time_ns);
            let fps = frame_rate(frame.time_ns, next);
            writer = Some(VideoWriter::create(&args.output, output.width, output.height, fps)?);
        }
        writer
            .as_mut()
            .expect("made before the first frame is written")
            .write(&output)?;
    }
    let writer = writer.with_context(|| format!("{input}: no frames in it"))?;
    Ok(writer.finish()?)
}

#[cfg(not(feature = "video"))]
pub fn video(args: &Args, _: &Model, _: &Options) -> Result<()> {
    bail!("{}: this program was built without video", args.output.display())
}

/// Nanoseconds.
#[cfg(feature = "video")]
const SECOND: u64 = 1_000_000_000;

#[cfg(feature = "video")]
fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Frames a second as a fraction, from the first two frames' times; 25 where there are none.
#[cfg(feature = "video")]
fn frame_rate(first: Option<u64>, second: Option<u64>) -> (i32, i32) {
    const USUAL: [(i32, i32); 9] = [
        (24_000, 1001),
        (24, 1),
        (25, 1),
        (30_000, 1001),
        (30, 1),
        (50, 1),
        (60_000, 1001),
        (60, 1),
        (15, 1),
    ];
    let (Some(first), Some(second)) = (first, second) else {
        return (25, 1);
    };
    if second <= first {
        return (25, 1);
    }
    let rate = 1e9 / (second - first) as f64;
    let error = |&(n, d): &(i32, i32)| (f64::from(n) / f64::from(d) / rate - 1.0).abs();
    let nearest = USUAL
        .into_iter()
        .min_by(|a, b| error(a).total_cmp(&error(b)))
        .expect("the list is not empty");
    // A time in whole milliseconds is off by up to 2 % at 60 frames a second; what is farther off is a rate of its own.
    if error(&nearest) < 0.02 {
        nearest
    } else {
        let time = (second - first).min(i32::MAX as u64);
        let common = gcd(SECOND, time);
        ((SECOND / common) as i32, (time / common) as i32)
    }
}

#[cfg(all(test, feature = "video"))]
mod tests {
    use super::*;

    #[test]
    fn frame_rates_are_the_usual_fractions() {
        assert_eq!(frame_rate(Some(0), Some(40_000_000)), (25, 1));
        assert_eq!(frame_rate(Some(0), Some(33_366_667)), (30_000, 1001));
        assert_eq!(frame_rate(Some(0), Some(33_333_333)), (30, 1));
        assert_eq!(frame_rate(Some(0), Some(400_000_000)), (5, 2));
        assert_eq!(frame_rate(Some(0), Some(120_000_000)), (25, 3));
        assert_eq!(frame_rate(None, None), (25, 1));
    }
}

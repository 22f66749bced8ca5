//! `gst-candle run`.

mod denoise;
mod segment;

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tempfile::TempPath;

use super::common::{
    AlarmRate, Frames, INTERRUPTED, Machine, STOP, catch_ctrl_c, describe, is_same, make_folder, number, sigma,
};
use super::overlay::heat_map;
use crate::atomic::{sync_and_name, temporary_beside};
use crate::data::layout::{Dataset, Sample, Source, Split, is_video, read_mask};
use crate::data::pictures;
use crate::exec::Options;
use crate::model::{AnomalyCalibration, Model, Task};
use crate::pixels::Image;
use crate::score::labels::{GOOD, is_good};
use crate::score::readable::Readable;
use crate::score::regions;
use crate::tasks::{AnomalyDetector, Classifier};

/// Run a model on pictures or a video, offline
///
/// Denoise: denoised pictures of 8 bits a channel into the folder OUT, or a denoised video, without sound, when OUT is named as one. Anomaly: a
/// picture with its heat map for each picture (of a video, for each anomalous frame) and OUT/results.jsonl, a line
/// a picture (and with --crops what lies in each region); so for models that predict, the score of frames with too few before them is null. Classify: OUT/results.jsonl. Segment: a mask of
/// class numbers, OUT/masks/NAME.png, and a picture with the classes in their colours for each picture (of a video, for each frame with a class
/// that is not the background), and OUT/results.jsonl. With OUT = -, the lines go to standard output and no pictures are written.
///
/// A picture that cannot be read is named, with the reason, on standard error and in its line of results.jsonl; the others are gone through,
/// and the exit code is not 0. Each file gets its name when it is complete. After another error or Ctrl-C the pictures finished until then
/// stay, and there is no new video and no new results.jsonl.
///
/// Example: gst-candle run part.safetensors shots/ -o found/
#[derive(clap::Args)]
pub struct Args {
    /// The model file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Folders of pictures, pictures, video files or URIs
    #[arg(required = true, value_name = "INPUT")]
    input: Vec<String>,
    #[arg(short, long, value_name = "OUT", help = output_help())]
    output: PathBuf,
    /// Denoise: the noise's standard deviation, 0..255 [default: estimated for each picture]
    #[arg(long, value_parser = sigma, value_name = "S")]
    sigma: Option<f32>,
    /// Anomaly: write what lies in each region as a picture into DIR/CLASS, CLASS being the folder that its picture lies in (where the picture
    /// has a mask, and nothing in the region is marked, that of good ones): what a classifier of the regions learns from
    #[arg(long, value_name = "DIR")]
    crops: Option<PathBuf>,
    /// Anomaly: crops are squares of at least this side around their regions, as candleclassify's region-context; 0 = the regions alone
    #[arg(long, value_name = "PIXELS", default_value_t = 0, requires = "crops")]
    context: usize,
    /// Anomaly: leave out regions of fewer pixels. Segment: make them background
    #[arg(long, value_name = "PIXELS", default_value_t = 1)]
    min_area: usize,
    /// Segment: least probability of a pixel to be of another class than the background [default: the most probable class]
    #[arg(long, value_parser = |s: &str| number(s, 0.0, 1.0), value_name = "P")]
    threshold: Option<f64>,
    #[command(flatten)]
    alarm_rate: AlarmRate,
    #[command(flatten)]
    frames: Frames,
    #[command(flatten)]
    machine: Machine,
}

#[cfg(feature = "video")]
fn output_help() -> String {
    let videos = crate::data::video::EXTENSIONS.join(", .");
    format!("Folder for pictures and results, or a video file (.{videos})")
}

#[cfg(not(feature = "video"))]
fn output_help() -> &'static str {
    "Folder for pictures and results"
}

/// Runs the model on everything.
pub fn main(args: &Args) -> Result<ExitCode> {
    match run(args) {
        Err(error) if error.is::<Interrupted>() => {
            eprintln!("{error}");
            Ok(ExitCode::from(INTERRUPTED))
        }
        other => other.map(|()| ExitCode::SUCCESS),
    }
}

/// What ends the work after Ctrl-C.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
struct Interrupted;

/// Fails with [`Interrupted`] after Ctrl-C.
fn unless_interrupted() -> Result<()> {
    match STOP.load(Ordering::Relaxed) {
        true => Err(Interrupted.into()),
        false => Ok(()),
    }
}

fn run(args: &Args) -> Result<()> {
    let mut model = Model::load(&args.model)?;
    args.alarm_rate.apply(&mut model, &args.model)?;
    let options = args.machine.options()?;
    let video = is_video(&args.output) && !args.output.is_dir();
    if model.task == Task::Denoise && args.output == Path::new("-") {
        bail!("-o -: a denoiser writes pictures; give a folder, or a video file");
    }
    if pictures::has_extension(&args.output) && !args.output.is_dir() {
        bail!(
            "{}: it is named as a picture; -o takes a folder for the results",
            args.output.display()
        );
    }
    check_options(args, &model)?;
    match (model.task, video) {
        (Task::Denoise, true) => denoise::video(args, &model, &options),
        (Task::Denoise, false) => denoise::pictures(args, &model, &options),
        (task, true) => bail!(
            "{}: a model for `{task}` writes into a folder; give one to -o",
            args.output.display()
        ),
        (Task::Anomaly | Task::Predict, false) => inspect(args, &model, &options),
        (Task::Classify, false) => classify(args, &model, &options),
        (Task::Segment, false) => segment::pictures(args, &model, &options),
        (other, false) => bail!("{}: this version cannot run models for `{other}`", args.model.display()),
    }
}

/// Refuses options that are for models of other tasks.
fn check_options(args: &Args, model: &Model) -> Result<()> {
    let finds = matches!(model.task, Task::Anomaly | Task::Predict);
    let segments = model.task == Task::Segment;
    let reason = if (args.crops.is_some() && !finds) || (args.min_area != 1 && !finds && !segments) {
        "--crops and --min-area are for models that find regions"
    } else if args.threshold.is_some() && !segments {
        "--threshold is for models that segment"
    } else if args.sigma.is_some() && model.task != Task::Denoise {
        "--sigma is for denoisers"
    } else {
        return Ok(());
    };
    bail!("{}: {reason}; this one is for `{}`", args.model.display(), model.task)
}

/// All samples of the inputs. From here on Ctrl-C is waited for.
fn open(args: &Args) -> Result<Dataset> {
    let data = Dataset::open(&args.input, Split::Test, args.frames.limits())?;
    if data.samples.is_empty() {
        bail!("{}: no pictures found", args.input[0]);
    }
    catch_ctrl_c()?;
    Ok(data)
}

/// Refuses to write pictures into a folder that they are made of, or judged by.
fn check_replaces_none(args: &Args, data: &Dataset) -> Result<()> {
    check_apart(&args.output, "-o", data)?;
    match &args.crops {
        Some(crops) => check_apart(crops, "--crops", data),
        None => Ok(()),
    }
}

/// The same of the folder `target`, which was given as `option`.
fn check_apart(target: &Path, option: &str, data: &Dataset) -> Result<()> {
    let picture = |source: &Source| match source {
        Source::Picture(path) => Some(path.clone()),
        Source::Frame { .. } => None,
    };
    let pictures = data
        .samples
        .iter()
        .flat_map(|sample| [picture(&sample.source), sample.clean.clone(), sample.mask.clone()]);
    let mut folders: Vec<PathBuf> = pictures
        .flatten()
        .filter_map(|path| path.parent().map(Path::to_path_buf))
        .collect();
    folders.sort();
    folders.dedup();
    let is_theirs = |folder: &PathBuf| is_same(folder, target) || option == "--crops" && folder.starts_with(target);
    if folders.iter().any(is_theirs) {
        bail!(
            "{}: results would replace the pictures there; give another folder to {option}",
            target.display()
        );
    }
    Ok(())
}

/// Names of results: the picture's own, or the video's with the frame's number; told apart by a number where two would be the same.
#[derive(Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    pub(super) fn take(&mut self, source: &Source) -> String {
        let stem = |path: &Path| {
            path.file_stem()
                .map_or("picture".into(), |s| s.to_string_lossy().into_owned())
        };
        let name = match source {
            Source::Picture(path) => stem(path),
            Source::Frame { video, index } => format!("{}-{index:06}", stem(Path::new(video))),
        };
        let mut unique = name.clone();
        let mut number = 2;
        while !self.0.insert(unique.clone()) {
            unique = format!("{name}-{number}");
            number += 1;
        }
        unique
    }
}

/// Counts the pictures, and those of them that cannot be read.
#[derive(Default)]
struct Read {
    count: usize,
    failed: usize,
    /// Why the first of these failed.
    first: String,
}

impl Read {
    /// Reads a picture; of one that cannot be read, the reason, which is said. An error ends the work: of a video, what comes behind a frame
    /// that cannot be decoded is not to be had either.
    fn next(&mut self, data: &Dataset, sample: &Sample) -> Result<std::result::Result<Image, String>> {
        self.count += 1;
        match data.read(sample) {
            Ok(image) => Ok(Ok(image)),
            Err(error) if matches!(sample.source, Source::Picture(_)) => {
                let reason = error.to_string();
                eprintln!("warning: {reason}");
                if self.failed == 0 {
                    self.first.clone_from(&reason);
                }
                self.failed += 1;
                Ok(Err(reason))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn succeeded(&self) -> usize {
        self.count - self.failed
    }

    /// Says what was done with those that were read; an error if there are others.
    fn finish(self, output: &Path, done: &str) -> Result<()> {
        let Self { count, failed, first } = self;
        if output != Path::new("-") {
            eprintln!("{}: {done}", output.display());
        }
        if failed > 0 {
            bail!("{first}: {failed} of {count} pictures could not be read");
        }
        Ok(())
    }
}

/// Lines of JSON, to `OUT/results.jsonl` or standard output. The file gets its name when it is complete; dropped before, it is removed.
enum Lines {
    Stdout,
    File {
        path: PathBuf,
        temporary: TempPath,
        writer: BufWriter<File>,
    },
}

impl Lines {
    fn open(args: &Args) -> Result<Self> {
        if args.output == Path::new("-") {
            return Ok(Self::Stdout);
        }
        make_folder(&args.output)?;
        let path = args.output.join("results.jsonl");
        let file = temporary_beside(&path).with_context(|| path.display().to_string())?;
        let (file, temporary) = file.into_parts();
        Ok(Self::File {
            path,
            temporary,
            writer: BufWriter::new(file),
        })
    }

    /// Whether pictures are to be written beside them.
    fn is_file(&self) -> bool {
        matches!(self, Self::File { .. })
    }

    fn write(&mut self, line: &serde_json::Value) -> Result<()> {
        match self {
            Self::Stdout => super::common::print(&format!("{line}\n")),
            Self::File { path, writer, .. } => writeln!(writer, "{line}").with_context(|| path.display().to_string()),
        }
    }

    fn finish(self) -> Result<()> {
        if let Self::File {
            path,
            temporary,
            writer,
        } = self
        {
            let file = writer.into_inner().map_err(|e| e.into_error());
            let finished = file.and_then(|file| sync_and_name(file, temporary, &path));
            finished.with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

fn inspect(args: &Args, model: &Model, options: &Options) -> Result<()> {
    let data = open(args)?;
    check_replaces_none(args, &data)?;
    let mut detector = AnomalyDetector::new(model, options).with_context(|| args.model.display().to_string())?;
    let &AnomalyCalibration {
        map: kind,
        threshold,
        pixel_threshold,
        ..
    } = detector.calibration();
    let (scale, heat) = (Readable::new(kind, threshold), Readable::new(kind, pixel_threshold));
    let mut lines = Lines::open(args)?;
    let mut names = Names::default();
    let crops = args
        .crops
        .as_deref()
        .map(|folder| Crops::new(folder, args.context, &data));
    let (mut read, mut judged, mut flagged, mut gap) = (Read::default(), 0, 0, false);
    for (sample, goes_on) in data.in_order() {
        unless_interrupted()?;
        if !goes_on || gap {
            detector.reset();
        }
        let image = read.next(&data, sample)?;
        gap = image.is_err();
        let image = match image {
            Ok(image) => image,
            Err(reason) => {
                lines.write(&json!({ "source": describe(&sample.source), "error": reason }))?;
                continue;
            }
        };
        let inspection = detector.inspect(&image)?;
        let anomalous = inspection.judged && inspection.score >= threshold;
        judged += usize::from(inspection.judged);
        flagged += usize::from(anomalous);
        let map = inspection.frame_map();
        let name = names.take(&sample.source);
        let found = if anomalous {
            regions::find(&map, pixel_threshold, args.min_area)
        } else {
            Vec::new()
        };
        if let Some(crops) = &crops {
            crops.write(sample, &name, &image, &found)?;
        }
        let found: Vec<_> = found.iter().map(region).collect();
        let draw = anomalous || matches!(sample.source, Source::Picture(_));
        let picture = (draw && args.output != Path::new("-")).then(|| name + ".png");
        lines.write(&json!({
            "source": describe(&sample.source), "score": inspection.judged.then_some(inspection.score), "threshold": threshold,
            "normalized": inspection.judged.then(|| scale.score(inspection.score)), "anomalous": anomalous,
            "regions": found, "heat_map": picture,
        }))?;
        if let Some(picture) = picture {
            pictures::write(&args.output.join(picture), &heat_map(&image, &map, heat)?)?;
        }
    }
    lines.finish()?;
    read.finish(&args.output, &format!("{flagged} of {judged} judged are anomalous"))
}

/// Where to write what lies in regions.
struct Crops<'a> {
    folder: &'a Path,
    /// Least side of a crop; 0 = the region alone.
    context: usize,
    /// The class of what is no defect.
    good: &'a str,
}

impl<'a> Crops<'a> {
    fn new(folder: &'a Path, context: usize, data: &'a Dataset) -> Self {
        let good = data.classes.iter().find(|class| is_good(class));
        let good = good.map_or(GOOD[0], String::as_str);
        Self { folder, context, good }
    }

    /// Writes what lies in the regions `found` in a picture into the folder of its class; where it has a mask, regions in which nothing is marked
    /// into that of good ones.
    fn write(&self, sample: &Sample, name: &str, image: &Image, found: &[regions::Region]) -> Result<()> {
        let mask = match &sample.mask {
            Some(path) if !found.is_empty() => Some(read_mask(path, image)?),
            _ => None,
        };
        for (i, r) in found.iter().enumerate() {
            let shows = |mask: &Image| mask.crop(r.x, r.y, r.width, r.height).data.iter().any(|x| *x > 0.0);
            let class = match mask.as_ref().is_none_or(shows) {
                true => sample.class.as_deref(),
                false => Some(self.good),
            };
            let Some([x, y, width, height]) = regions::seen(r.rect(), self.context, [image.width, image.height]) else {
                continue;
            };
            let folder = class.map_or(self.folder.to_path_buf(), |class| self.folder.join(class));
            make_folder(&folder)?;
            // The picture's number stays at the end: what is held out in training is drawn by it, so that no part lies on both sides.
            let crop = image.crop(x, y, width, height);
            pictures::write(&folder.join(format!("{}-{name}.png", i + 1)), &crop)?;
        }
        Ok(())
    }
}

/// A region as `candlepublish` writes it.
fn region(r: &regions::Region) -> serde_json::Value {
    json!({ "x": r.x, "y": r.y, "width": r.width, "height": r.height, "area": r.area, "score": r.score })
}

fn classify(args: &Args, model: &Model, options: &Options) -> Result<()> {
    let data = open(args)?;
    let mut classifier = Classifier::new(model, options).with_context(|| args.model.display().to_string())?;
    let mut lines = Lines::open(args)?;
    let (mut read, mut named) = (Read::default(), 0);
    for sample in &data.samples {
        unless_interrupted()?;
        let image = match read.next(&data, sample)? {
            Ok(image) => image,
            Err(reason) => {
                lines.write(&json!({ "source": describe(&sample.source), "error": reason }))?;
                continue;
            }
        };
        let answer = classifier.classify(&[image])?.swap_remove(0);
        let probabilities = &answer.probabilities;
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
        let known = classifier.strangeness(&answer) <= 1.0;
        named += usize::from(known);
        let labels: Vec<&str> = order.iter().map(|&i| model.labels[i].as_str()).collect();
        let confidences: Vec<f32> = order.iter().map(|&i| probabilities[i]).collect();
        lines.write(&json!({
            "source": describe(&sample.source), "label": known.then_some(labels[0]), "confidence": confidences[0],
            "labels": labels, "confidences": confidences,
        }))?;
    }
    lines.finish()?;
    let named = format!("{named} of {} pictures named", read.succeeded());
    read.finish(&args.output, &named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_meet() {
        let mut names = Names::default();
        let picture = |p: &str| Source::Picture(p.into());
        assert_eq!(names.take(&picture("a/x.png")), "x");
        assert_eq!(names.take(&picture("b/x.jpg")), "x-2");
        assert_eq!(
            names.take(&Source::Frame {
                video: "c/v.mp4".into(),
                index: 7
            }),
            "v-000007"
        );
    }
}

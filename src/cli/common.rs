//! Options and helpers that several commands share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::atomic::{self, temporary_beside};
use crate::data::layout::{Source, VideoLimits};
use crate::exec::{DeviceSpec, MOST_THREADS, Options, Precision};
use crate::kernels;
use crate::model::{Calibration, Model, Task};

/// Where and how a network runs.
#[derive(Args, Clone)]
pub struct Machine {
    /// Where to run: auto, cpu, or cuda:N (in a build with CUDA)
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
    /// Number format of the arithmetic
    #[arg(long, default_value = "auto", value_name = "auto|f32|bf16")]
    pub precision: Precision,
    /// CPU threads; 0 = all cores
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u32).range(..=i64::from(MOST_THREADS)))]
    pub threads: u32,
}

/// What is taken of videos among the data.
#[derive(Args, Clone)]
pub struct Frames {
    /// Of videos, take every N-th frame
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Of each video, take at most N frames; 0 = all
    #[arg(long, default_value_t = 0, value_name = "N")]
    max_frames: usize,
}

impl Frames {
    /// As the data want it.
    pub fn limits(&self) -> VideoLimits {
        VideoLimits {
            every: self.every as usize,
            max: self.max_frames,
        }
    }
}

impl Machine {
    /// Sets the thread pool up and gives the options of a model's session.
    pub fn options(&self) -> Result<Options> {
        let threads = self.threads as usize;
        if threads > 0 {
            kernels::set_threads(threads);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build_global().context("the thread pool cannot be set up")?;
        }
        Ok(Options {
            device: self.device,
            precision: self.precision,
            threads,
        })
    }
}

/// The false-alarm rate to judge at.
#[derive(Args, Clone)]
pub struct AlarmRate {
    /// Anomaly: share of good frames that may be flagged [default: as calibrated]
    #[arg(long, value_parser = rate, value_name = "R")]
    false_alarm_rate: Option<f64>,
}

impl AlarmRate {
    /// Sets the threshold of `model` for this rate, where one is given. Refuses a model that has none.
    pub fn apply(&self, model: &mut Model, file: &Path) -> Result<()> {
        let Some(rate) = self.false_alarm_rate else {
            return Ok(());
        };
        let name = file.display();
        let Some(Calibration::Anomaly(calibration)) = &mut model.calibration else {
            match model.task {
                Task::Anomaly | Task::Predict => {
                    bail!("{name}: this model was never calibrated; `gst-candle calibrate MODEL GOOD…` does it")
                }
                task => bail!("{name}: --false-alarm-rate is for anomaly detectors; this model is for `{task}`"),
            }
        };
        if let Some(caution) = calibration.caution(rate) {
            eprintln!("warning: {caution}");
        }
        calibration.threshold = calibration.threshold_for(rate);
        // What reaches the threshold is to be found in the map.
        calibration.pixel_threshold = calibration.pixel_threshold.min(calibration.threshold);
        Ok(())
    }
}

/// Set by Ctrl-C, once [`catch_ctrl_c`] was called.
pub static STOP: AtomicBool = AtomicBool::new(false);
/// Exit code after Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// Lets Ctrl-C set [`STOP`], so that work ends tidily; a second one ends the program at once.
pub fn catch_ctrl_c() -> Result<()> {
    let stop = || {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
    };
    ctrlc::set_handler(stop).context("Ctrl-C cannot be caught")
}

/// `WIDTHxHEIGHT`, each 1 to 16384.
pub fn size(text: &str) -> Result<[usize; 2], String> {
    let side = |s: &str| s.parse().ok().filter(|n| (1..=16384).contains(n));
    let sides = text.split_once('x').and_then(|(w, h)| Some([side(w)?, side(h)?]));
    sides.ok_or_else(|| "expected WIDTHxHEIGHT in pixels, each 1 to 16384, such as 256x256".into())
}

/// A number within `low..=high`.
pub fn number(text: &str, low: f64, high: f64) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|x| (low..=high).contains(x));
    value.ok_or_else(|| format!("expected a number from {low} to {high}"))
}

/// A false-alarm rate.
pub fn rate(text: &str) -> Result<f64, String> {
    number(text, 1e-6, 0.5)
}

/// A noise level in 0..255.
pub fn sigma(text: &str) -> Result<f32, String> {
    number(text, 0.0, 255.0).map(|x| x as f32)
}

/// Fails when a file at `path` could not be written: found out before hours of work, not after.
pub fn check_writable(path: &Path) -> Result<()> {
    if path.is_dir() {
        bail!("{}: it is a folder; name a file", path.display());
    }
    temporary_beside(path)
        .map(drop)
        .with_context(|| path.display().to_string())
}

/// The same, and when that would replace one of the files that were `given`.
pub fn check_output<'a>(path: &Path, given: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    check_writable(path)?;
    match given.into_iter().find(|file| is_same(file, path)) {
        Some(file) => bail!(
            "{}: what is written would replace it; name another file",
            file.display()
        ),
        None => Ok(()),
    }
}

/// Whether both are there and are one and the same.
pub fn is_same(a: &Path, b: &Path) -> bool {
    let whole = |path: &Path| {
        if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        }
        .canonicalize()
    };
    matches!((whole(a), whole(b)), (Ok(a), Ok(b)) if a == b)
}

/// [`check_output`] of figures that [`write_json`] writes to `target`: before they are worked out.
pub fn check_json<'a>(target: Option<&PathBuf>, given: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    match target {
        Some(path) if path != Path::new("-") => check_output(path, given),
        _ => Ok(()),
    }
}

/// Makes the folder `path` where there is none.
pub fn make_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("{}: the folder cannot be made", path.display()))
}

/// Writes figures as JSON to `target`, `-` being standard output.
pub fn write_json(target: &Path, figures: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(figures)? + "\n";
    if target == Path::new("-") {
        print(&text)
    } else {
        Ok(atomic::write(target, |out| out.write_all(text.as_bytes()))?)
    }
}

/// Standard output that may be closed early, as by `head`.
pub fn print(text: &str) -> Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("standard output"),
    }
}

/// Figures as a table for a person; on standard error when standard output carries the JSON.
pub fn print_table(figures: &Map<String, Value>, json: Option<&PathBuf>) -> Result<()> {
    // What holds several figures has a table of its own.
    let single = figures.iter().filter(|(_, value)| !value.is_object());
    let width = single.clone().map(|(key, _)| key.len()).max().unwrap_or(0);
    let value = |v: &Value| match v {
        Value::Number(n) if n.is_f64() => format!("{:.4}", n.as_f64().unwrap_or(f64::NAN)),
        Value::Null => "-".into(),
        Value::String(s) => s.clone(),
        other => other.to_string(),
    };
    let text: String = single.map(|(k, v)| format!("{k:width$}  {}\n", value(v))).collect();
    if json.is_some_and(|target| target == Path::new("-")) {
        eprint!("{text}");
        return Ok(());
    }
    print(&text)
}

/// Where a picture came from, for a reader.
pub fn describe(source: &Source) -> String {
    match source {
        Source::Picture(path) => path.display().to_string(),
        Source::Frame { video, index } => format!("{video}#{index}"),
    }
}

/// A figure that may be missing or infinite: JSON has no word for either but null.
pub fn figure(value: impl Into<Option<f64>>) -> Value {
    value.into().map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_numbers() {
        assert_eq!(size("640x480"), Ok([640, 480]));
        for bad in ["640", "0x4", "x", "1x-1", "99999x2", "4x4x4"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert!(rate("0.01").is_ok() && rate("nan").is_err() && rate("0.9").is_err());
    }

    #[test]
    fn what_was_given_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let [given, other] = ["given", "other"].map(|name| folder.path().join(name));
        std::fs::write(&given, "1").unwrap();
        std::os::unix::fs::symlink(&given, folder.path().join("link")).unwrap();
        check_output(&other, [given.as_path()]).unwrap();
        for output in ["given", "./given", "link"] {
            let error = check_output(&folder.path().join(output), [other.as_path(), &given]).unwrap_err();
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("{}: what is written", given.display())),
                "{error}"
            );
        }
        check_json(Some(&PathBuf::from("-")), [given.as_path()]).unwrap();
        assert!(check_json(Some(&given), [given.as_path()]).is_err());
    }

    #[test]
    fn what_cannot_be_written_is_said_before() {
        let folder = tempfile::tempdir().unwrap();
        check_writable(&folder.path().join("a")).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        for bad in [folder.path().to_owned(), folder.path().join("no/a")] {
            let message = format!("{:#}", check_writable(&bad).unwrap_err());
            assert!(message.starts_with(&bad.display().to_string()), "{message}");
        }
    }
}

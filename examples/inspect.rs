//! An inspection program to start yours from: a camera, a file, a stream or the test source goes through a model; flags are printed, and
//! thresholds and the model are changed while it runs.
//!
//!     make build
//!     export GST_PLUGIN_PATH=$PWD/target/gst-plugins GST_PRESET_PATH=$PWD/target/gst-plugins/presets
//!     cargo run --release --example inspect -- --denoise models/denoise-testsrc.safetensors --model models/anomaly-testsrc.safetensors
//!     cargo run --release --example inspect -- --model part.safetensors --output watched.mp4 /dev/video0
//!
//! Whatever happens, results, errors, the end, a signal, a line typed, is a message on the pipeline's bus: one loop in one thread sees to it
//! all, and nothing needs a lock. `inspection.py` beside this file is the same in Python.

use std::fmt::{Display, Formatter};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Parser;
use gst::prelude::*;
use gst::{MessageView, glib};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long the end may take, once it is asked for.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(10);

const COMMANDS: &str = "\
t NUMBER      the score at and above which a frame is anomalous; -1 = the model's own threshold
rate NUMBER   the share of good frames that may be flagged, such as 0.001; 0 = as calibrated
model FILE    another model; this one stays in force until it is loaded, and if it cannot be used
s             what was done so far
q             end";

/// Watches a camera, a file or a stream for what is not normal. While it runs, type ? for what can be changed.
#[derive(Parser)]
struct Options {
    /// A camera such as /dev/video0, a file, a URI, or `test`: the test source
    #[arg(default_value = "test")]
    source: String,
    /// The model of the good parts, made by `gst-candle train anomaly`
    #[arg(short, long, value_name = "FILE")]
    model: PathBuf,
    /// A model that takes the noise away first, made by `gst-candle train denoise`
    #[arg(short, long, value_name = "FILE")]
    denoise: Option<PathBuf>,
    /// Where frames go, with what was found drawn on them: `window`, `none`, or a file such as watched.mp4
    #[arg(short, long, default_value = "window")]
    output: String,
    /// Settings of candleanomaly under a name, such as `few-false-alarms`
    #[arg(short, long, value_name = "NAME")]
    preset: Option<String>,
    /// As `t` while it runs
    #[arg(short, long, value_name = "NUMBER", allow_negative_numbers = true)]
    threshold: Option<f32>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    gst::init()?;
    let inspection = Inspection::open(&options)?;
    let outcome = inspection.run();
    // However it ends, devices are given back.
    let stopped = inspection.pipeline.set_state(gst::State::Null);
    outcome?;
    stopped?;
    Ok(())
}

struct Inspection {
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    anomaly: gst::Element,
}

impl Inspection {
    fn open(options: &Options) -> Result<Self> {
        // What the user says goes in by properties, so that no name can be taken for a piece of pipeline.
        let pipeline = gst::parse::launch(&description(options))
            .context("No such pipeline: is GST_PLUGIN_PATH the folder of the plugins, target/gst-plugins after `make build`?")?
            .downcast::<gst::Pipeline>()
            .map_err(|_| anyhow!("more than one element makes a pipeline"))?;
        let element = |name| pipeline.by_name(name).context("the pipeline has it");
        match &*options.source {
            "test" => {}
            camera if camera.starts_with("/dev/") => element("source")?.set_property("device", camera),
            source => element("source")?.set_property("uri", uri(source)?),
        }
        if let Some(model) = &options.denoise {
            element("denoise")?.set_property("model-file", text(model)?);
        }
        if !["window", "none"].contains(&&*options.output) {
            element("file")?.set_property("location", &options.output);
        }
        let anomaly = element("anomaly")?;
        anomaly.set_property("model-file", text(&options.model)?);
        if let Some(name) = &options.preset {
            load_preset(&anomaly, name)?;
        }
        let bus = pipeline.bus().context("a pipeline has a bus")?;
        let inspection = Self { pipeline, bus, anomaly };
        if let Some(threshold) = options.threshold {
            inspection.set_threshold(threshold)?;
        }
        Ok(inspection)
    }

    /// Runs to the end of the source, until it is told to end, or to the first error.
    fn run(&self) -> Result<()> {
        listen_to_signals(&self.bus)?;
        listen_to_lines(&self.bus);
        if self.pipeline.set_state(gst::State::Playing).is_err() {
            let why = self.bus.pop_filtered(&[gst::MessageType::Error]);
            return Err(why.map_or_else(|| anyhow!("the pipeline does not start"), |message| failure(&message)));
        }
        for message in self.bus.iter_timed(gst::ClockTime::NONE) {
            match message.view() {
                MessageView::Eos(_) => break,
                MessageView::Error(_) => return Err(failure(&message)),
                MessageView::Warning(warning) => eprintln!("{}: {}", name_of(&message), warning.error()),
                MessageView::Element(_) => self.tell(&message)?,
                MessageView::Application(_) => match typed(&message).map(|line| self.obey(line)) {
                    None | Some(Ok(Next::End)) => return self.finish(),
                    Some(Ok(Next::GoOn)) => {}
                    Some(Err(error)) => eprintln!("{error:#}"),
                },
                // What every live application owes its pipeline.
                MessageView::Latency(_) => self.pipeline.recalculate_latency()?,
                MessageView::ClockLost(_) => {
                    self.pipeline.set_state(gst::State::Paused)?;
                    self.pipeline.set_state(gst::State::Playing)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Lets what is under way come to its end, so that a file is whole. A second signal cuts it short.
    fn finish(&self) -> Result<()> {
        self.pipeline.send_event(gst::event::Eos::new());
        let ends = [
            gst::MessageType::Eos,
            gst::MessageType::Error,
            gst::MessageType::Application,
        ];
        loop {
            let end = self.bus.timed_pop_filtered(PATIENCE, &ends);
            let end = end.with_context(|| format!("the pipeline does not end within {PATIENCE:.0}"))?;
            match end.view() {
                MessageView::Eos(_) => return Ok(()),
                MessageView::Application(_) if typed(&end).is_some() => {}
                MessageView::Application(_) => bail!("cut short: what is written may not be whole"),
                _ => return Err(failure(&end)),
            }
        }
    }

    /// Prints what an element says: a flag, or what became of a new model.
    fn tell(&self, message: &gst::Message) -> Result<()> {
        let Some(fields) = message.structure() else {
            return Ok(());
        };
        match fields.name().as_str() {
            "candleanomaly" => say(Flag::read(fields)?),
            "model-reloaded" => say(format!("model in force: {}", fields.get::<&str>("model-file")?)),
            "model-rejected" => say(format!("model rejected: {}", fields.get::<&str>("reason")?)),
            _ => Ok(()),
        }
    }

    /// Does what a line says.
    fn obey(&self, line: &str) -> Result<Next> {
        let (command, argument) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        match command {
            "t" => self.set_threshold(number(argument)?)?,
            "rate" => self.set_rate(number(argument)?)?,
            "model" => self.anomaly.set_property("model-file", argument.trim()),
            "s" => say(statistics(&self.anomaly)?)?,
            "q" => return Ok(Next::End),
            "" => {}
            _ => say(COMMANDS)?,
        }
        Ok(Next::GoOn)
    }

    /// Sets the score at and above which a frame is anomalous; -1 stands for the model's own.
    fn set_threshold(&self, threshold: f32) -> Result<()> {
        // At a number that the property does not take, GObject would panic.
        let takes = threshold == -1.0 || (threshold >= 0.0 && threshold.is_finite());
        ensure!(takes, "threshold cannot be {threshold}; type ? for what it can be");
        self.anomaly.set_property("threshold", threshold);
        say(format!("threshold is {threshold} now"))
    }

    /// Sets the share of good frames that may be flagged; 0 stands for the one that the model was calibrated for.
    fn set_rate(&self, rate: f64) -> Result<()> {
        ensure!(
            (0.0..=0.5).contains(&rate),
            "false-alarm-rate cannot be {rate}; type ? for what it can be"
        );
        self.anomaly.set_property("false-alarm-rate", rate);
        // One that is set would go first.
        self.anomaly.set_property("threshold", -1.0f32);
        say(format!("false-alarm-rate is {rate} now"))
    }
}

/// What comes after a line.
enum Next {
    GoOn,
    End,
}

/// What this program reads of the message of a result; `docs/elements/results.md` has all of it.
struct Flag {
    time: Option<gst::ClockTime>,
    alarm: bool,
    score: f64,
    threshold: f64,
    /// `[x, y, width, height]` of each, the worst first.
    regions: Vec<[i32; 4]>,
}

impl Flag {
    fn read(fields: &gst::StructureRef) -> Result<Self> {
        let region = |value: &glib::SendValue| -> Result<[i32; 4]> {
            let region = value.get::<&gst::StructureRef>()?;
            let side = |name| region.get::<i32>(name);
            Ok([side("x")?, side("y")?, side("width")?, side("height")?])
        };
        let regions = fields.get::<gst::ArrayRef>("regions")?;
        Ok(Self {
            time: fields
                .get_optional::<u64>("running-time")?
                .map(gst::ClockTime::from_nseconds),
            alarm: fields.get("state")?,
            score: fields.get("score")?,
            threshold: fields.get("threshold")?,
            regions: regions.iter().map(region).collect::<Result<_>>()?,
        })
    }
}

impl Display for Flag {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let what = if self.alarm { "ALARM" } else { "good again" };
        let seconds = self.time.unwrap_or_default().mseconds() as f64 / 1e3;
        write!(
            f,
            "{seconds:.2} s: {what}, score {:.4}, threshold {:.4}",
            self.score, self.threshold
        )?;
        let mut regions = self.regions.iter();
        regions.try_for_each(|[x, y, width, height]| write!(f, ", {width}x{height} at {x},{y}"))
    }
}

/// The pipeline that the options ask for.
fn description(options: &Options) -> String {
    // A camera does not wait: where inference falls behind, old frames go.
    let live = "queue leaky=downstream max-size-buffers=2";
    let source = match &*options.source {
        "test" => {
            format!("candletestsrc is-live=true ! video/x-raw,format=RGB,width=480,height=360,framerate=15/1 ! {live}")
        }
        camera if camera.starts_with("/dev/") => format!("v4l2src name=source ! decodebin ! videoconvert ! {live}"),
        source if source.starts_with("rtsp") => format!("uridecodebin name=source ! videoconvert ! {live}"),
        _ => "uridecodebin name=source ! videoconvert ! queue".to_owned(),
    };
    let denoise = options.denoise.as_ref().map_or("", |_| "! candledenoise name=denoise");
    let sink = match &*options.output {
        "none" => "fakesink sync=false",
        "window" => "candleoverlay ! videoconvert ! autovideosink",
        _ => "candleoverlay ! videoconvert ! x264enc tune=zerolatency ! mp4mux ! filesink name=file",
    };
    format!("{source} {denoise} ! candleanomaly name=anomaly ! {sink}")
}

/// The file or URI as a URI.
fn uri(source: &str) -> Result<String> {
    if source.contains("://") {
        return Ok(source.to_owned());
    }
    let path = std::path::absolute(source)?;
    ensure!(path.is_file(), "{source}: no such file");
    Ok(glib::filename_to_uri(path, None)?.into())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{}: the name is not UTF-8", path.display()))
}

fn number<T: FromStr>(text: &str) -> Result<T> {
    text.trim().parse().map_err(|_| anyhow!("`{text}` is not a number"))
}

fn load_preset(element: &gst::Element, name: &str) -> Result<()> {
    let presets = element
        .dynamic_cast_ref::<gst::Preset>()
        .context("the element has no presets")?;
    presets.load_preset(name).map_err(|_| {
        let names = presets.preset_names().join(", ");
        anyhow!("no preset `{name}` (there are: {names}); GST_PRESET_PATH is where more are looked for")
    })
}

/// Frames that came, were inspected, and the time that took.
fn statistics(element: &gst::Element) -> Result<String> {
    let stats = element.property::<gst::Structure>("stats");
    Ok(format!(
        "{} frames, {} inspected, {:.1} ms at the median, {:.1} ms at the 99th percentile",
        stats.get::<u64>("frames")?,
        stats.get::<u64>("inferred")?,
        stats.get::<f64>("ms-p50")?,
        stats.get::<f64>("ms-p99")?
    ))
}

/// Prints a line; a reader that is gone is an error, and no panic.
fn say(line: impl Display) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("standard output")
}

/// The error that a message tells.
fn failure(message: &gst::Message) -> anyhow::Error {
    match message.view() {
        MessageView::Error(error) => anyhow!("{}: {}", name_of(message), error.error()),
        _ => anyhow!("{}: {message:?}", name_of(message)),
    }
}

fn name_of(message: &gst::Message) -> glib::GString {
    message.src().map_or_else(|| "pipeline".into(), |source| source.name())
}

/// The line that was typed; `None` for a signal.
fn typed(message: &gst::Message) -> Option<&str> {
    message.structure()?.get("line").ok()
}

/// Puts Ctrl-C, and the signal that ends services, on the bus.
fn listen_to_signals(bus: &gst::Bus) -> Result<()> {
    let bus = bus.clone();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            let _ = bus.post(gst::message::Application::new(gst::Structure::new_empty("signal")));
        }
    });
    Ok(())
}

/// Puts the lines of standard input on the bus; without one, it runs all the same.
fn listen_to_lines(bus: &gst::Bus) {
    let bus = bus.clone();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let line = gst::Structure::builder("typed").field("line", line).build();
            let _ = bus.post(gst::message::Application::new(line));
        }
    });
}

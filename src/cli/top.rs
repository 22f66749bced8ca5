//! `gst-candle top`.

mod screen;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use gst::glib;
use gst::prelude::*;
use serde_json::{Map, Value, json};

use super::common::{STOP, catch_ctrl_c, check_json, number, write_json};
use screen::Screen;

/// How long the pipeline's end is waited for.
const LAST_WAIT: Duration = Duration::from_secs(10);
/// How often Ctrl-C is looked for.
const TICK: Duration = Duration::from_millis(50);

/// Run a GStreamer pipeline and watch how fast its candle elements are
///
/// PIPELINE is what `gst-launch-1.0` takes, and plugins are found as it finds them. For each candle element there is a row: the frames it has seen;
/// frames a second over the last three seconds (at the end: over the whole run); the frames inferred; those that left with an earlier result (stale)
/// and those not inferred because they came too late; median and 99th percentile of the milliseconds that inference or drawing takes, and of how far
/// frames are behind the clock when they leave. On a terminal the table is refreshed in place. Ctrl-C ends the pipeline in order and prints the last
/// table; a second one ends the program at once. The exit code is 0 unless the pipeline fails.
///
/// Example: gst-candle top v4l2src ! videoconvert ! candleanomaly model-file=part.safetensors ! fakesink
#[derive(clap::Args)]
pub struct Args {
    /// Seconds between two looks
    #[arg(long, default_value = "1", value_parser = seconds, value_name = "S")]
    interval: f64,
    /// End the pipeline after so many seconds
    #[arg(long, value_parser = seconds, value_name = "S")]
    duration: Option<f64>,
    /// Write the last figures as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The pipeline; options come before it
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "PIPELINE"
    )]
    pipeline: Vec<String>,
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, 0.05, 1e9)
}

/// Runs the pipeline to its end.
pub fn main(args: &Args) -> Result<()> {
    check_json(args.json.as_ref(), [])?;
    gst::init().context("GStreamer does not start")?;
    let pipeline = parse(&args.pipeline)?;
    if elements(&pipeline).is_empty() {
        bail!("the pipeline has no candle element to watch: `gst-launch-1.0` runs it as well");
    }
    catch_ctrl_c()?;
    let mut run = Run {
        screen: Screen::new(args.json.as_deref() == Some(Path::new("-"))),
        live: false,
        started: None,
        pipeline,
    };
    let ended = run.play(args);
    let figures = run.overall();
    run.screen.last(&figures)?;
    ended?;
    match &args.json {
        Some(target) => write_json(target, &figures),
        None => Ok(()),
    }
}

/// A pipeline of what is also the command line of `gst-launch-1.0`.
fn parse(arguments: &[String]) -> Result<gst::Pipeline> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let element = gst::parse::launchv(&arguments).map_err(|error| anyhow!("the pipeline cannot be made: {error}"))?;
    element.downcast().or_else(|element| {
        let pipeline = gst::Pipeline::new();
        pipeline.add(&element).context("the pipeline cannot be made")?;
        Ok(pipeline)
    })
}

/// The candle elements, the source's first.
fn elements(pipeline: &gst::Pipeline) -> Vec<gst::Element> {
    let is_candle = |element: &gst::Element| element.factory().is_some_and(|f| f.name().starts_with("candle"));
    let mut elements: Vec<_> = pipeline
        .iterate_recurse()
        .into_iter()
        .flatten()
        .filter(is_candle)
        .collect();
    elements.reverse();
    elements
}

/// A pipeline that is watched.
struct Run {
    pipeline: gst::Pipeline,
    screen: Screen,
    live: bool,
    /// When it played first.
    started: Option<Instant>,
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Run {
    /// Plays until the end, the first error, Ctrl-C or the end of the time.
    fn play(&mut self, args: &Args) -> Result<()> {
        let bus = self.pipeline.bus().context("the pipeline has no bus")?;
        for state in [gst::State::Paused, gst::State::Playing] {
            match self.pipeline.set_state(state) {
                Ok(success) => self.live |= success == gst::StateChangeSuccess::NoPreroll,
                Err(error) => {
                    let said = bus.pop_filtered(&[gst::MessageType::Error]);
                    return Err(said.map_or_else(|| anyhow!("the pipeline does not start: {error}"), |m| failure(&m)));
                }
            }
        }
        let interval = Duration::from_secs_f64(args.interval);
        let mut next = Instant::now() + interval;
        let mut ending: Option<Instant> = None;
        loop {
            let wait = TICK.min(next.saturating_duration_since(Instant::now()));
            let wait = gst::ClockTime::try_from(wait).unwrap_or(gst::ClockTime::ZERO);
            if let Some(message) = bus.timed_pop(wait)
                && self.hear(&message)?
            {
                return Ok(());
            }
            if Instant::now() >= next {
                next = (next + interval).max(Instant::now());
                let figures = self.figures();
                self.screen.show(&figures)?;
            }
            let over = args.duration.zip(self.started);
            let over = over.is_some_and(|(duration, started)| started.elapsed().as_secs_f64() >= duration);
            match ending {
                None if over || STOP.load(Ordering::Relaxed) => {
                    ending = Some(Instant::now());
                    self.pipeline.send_event(gst::event::Eos::new());
                }
                Some(asked) if asked.elapsed() > LAST_WAIT => {
                    self.screen
                        .say("warning: the pipeline does not come to its end; it is stopped");
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// Does what a message asks for; gives whether it is the last.
    fn hear(&mut self, message: &gst::Message) -> Result<bool> {
        match message.view() {
            gst::MessageView::Eos(_) => return Ok(true),
            gst::MessageView::Error(_) => return Err(failure(message)),
            gst::MessageView::Warning(warning) => {
                let text = format!("warning: {}{}", name_of(message), warning.error());
                self.screen.say(&text);
            }
            gst::MessageView::Latency(_) => {
                // Fails while a part of the pipeline is not yet linked; another message comes then.
                let _ = self.pipeline.recalculate_latency();
            }
            gst::MessageView::ClockLost(_) => {
                for state in [gst::State::Paused, gst::State::Playing] {
                    self.pipeline.set_state(state).context("the pipeline gets no clock")?;
                }
            }
            gst::MessageView::Buffering(buffering) if !self.live => {
                let full = buffering.percent() == 100;
                let state = if full { gst::State::Playing } else { gst::State::Paused };
                self.pipeline.set_state(state).context("the pipeline does not go on")?;
            }
            gst::MessageView::StateChanged(change)
                if self.started.is_none()
                    && change.current() == gst::State::Playing
                    && message.src() == Some(self.pipeline.upcast_ref()) =>
            {
                self.started = Some(Instant::now());
            }
            _ => {}
        }
        Ok(false)
    }

    /// `seconds`, of a live pipeline its `latency_ms`, and the `stats` of each element under its name.
    fn figures(&self) -> Map<String, Value> {
        let seconds = self.started.map_or(0.0, |started| started.elapsed().as_secs_f64());
        let mut query = gst::query::Latency::new();
        let latency = (self.live && self.pipeline.query(&mut query)).then(|| milliseconds(query.result().1));
        let mut figures = Map::from_iter([
            ("seconds".to_owned(), json!(seconds)),
            ("latency_ms".to_owned(), json!(latency)),
        ]);
        for element in elements(&self.pipeline) {
            let mut name = String::from(element.name());
            if figures.contains_key(&name) {
                name = element.path_string().into();
            }
            figures.insert(name, Value::Object(stats(&element)));
        }
        figures
    }

    /// The same of the whole run: `fps` and `inferred_fps` are means.
    fn overall(&self) -> Map<String, Value> {
        let mut figures = self.figures();
        let seconds = figures["seconds"].as_f64().filter(|&seconds| seconds > 0.0);
        for stats in figures.values_mut().filter_map(Value::as_object_mut) {
            for (rate, count) in [("fps", "frames"), ("inferred_fps", "inferred")] {
                let count = stats.get(count).and_then(Value::as_f64);
                if let (Some(count), Some(seconds)) = (count, seconds) {
                    stats.insert(rate.into(), json!(count / seconds));
                }
            }
        }
        figures
    }
}

fn milliseconds(time: gst::ClockTime) -> f64 {
    time.nseconds() as f64 / 1e6
}

/// An error that a pipeline posted.
fn failure(message: &gst::Message) -> anyhow::Error {
    let gst::MessageView::Error(error) = message.view() else {
        return anyhow!("the pipeline failed");
    };
    let debug = error.debug().map(|text| format!(" ({text})")).unwrap_or_default();
    anyhow!("{}{}{debug}", name_of(message), error.error())
}

/// Who sent a message, for the beginning of a sentence.
fn name_of(message: &gst::Message) -> String {
    message.src().map(|src| format!("{}: ", src.name())).unwrap_or_default()
}

/// The fields of the property `stats`; none where there is no such property.
fn stats(element: &gst::Element) -> Map<String, Value> {
    let is_structure = |p: glib::ParamSpec| p.value_type() == gst::Structure::static_type();
    if !element.find_property("stats").is_some_and(is_structure) {
        return Map::new();
    }
    let Some(stats) = element.property::<Option<gst::Structure>>("stats") else {
        return Map::new();
    };
    let value = |value: &glib::Value| {
        let whole = value.get::<u64>().map(Value::from);
        whole.or_else(|_| value.get::<f64>().map(Value::from)).ok()
    };
    let fields = stats
        .iter()
        .filter_map(|(name, field)| Some((name.replace('-', "_"), value(field)?)));
    fields.collect()
}

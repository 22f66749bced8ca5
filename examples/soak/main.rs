//! A whole pipeline at full rate, whose models are changed all the time: `make soak`.
//!
//!     GST_PLUGIN_PATH=target/gst-plugins target/release/examples/soak MINUTES [MODELS]
//!
//! Every ten seconds each element gets another model, in turn one of two good ones; every fifth time it is one that cannot be used. A run of less than
//! five minutes changes them thirty times instead. At the end stands what was measured, and the exit code is 1 if a frame was lost or
//! came without results, a model was not answered for or wrongly, a message came that nobody expected, or memory, threads or file
//! handles grew.

mod meters;
mod reloads;

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use gst::prelude::*;

use meters::{Histogram, Line, Process};
use reloads::Reloads;

/// The elements with a model, in the order in which a frame meets them, and the kind of result that each attaches.
const ELEMENTS: [(&str, &str); 3] = [
    ("candledenoise", "denoise"),
    ("candleanomaly", "anomaly"),
    ("candleclassify", "classify"),
];
/// Between two changes of the models, and how many there are at least.
const INTERVAL: Duration = Duration::from_secs(10);
const LEAST_ROUNDS: u32 = 30;
/// Between two lines that say what the process holds, at most.
const MARK: Duration = Duration::from_secs(60);
/// How long an element may take to answer, and the pipeline to end, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// Which part of the rounds comes before those whose memory, threads and file handles count: the heap grows until every model has been
/// everywhere.
const WARM_UP: usize = 3;
/// Growth of memory over a run that is none. Models of different sizes that come and go move the heap up and down by more: three standard errors
/// are allowed as well, which are less in an hour, and less than the models of a minute.
const MOST_GROWTH_KIB: f64 = 8192.0;

/// What the pads see.
#[derive(Default)]
struct Seen {
    frames_in: u64,
    frames_out: u64,
    /// Frames that came out in another order, or without a new result of each element.
    faults: Vec<String>,
    began: Option<Instant>,
    latency: Histogram,
    /// Of each element of the pipeline: its name, when the frame came to it, and how long it took.
    elements: Vec<(String, Option<Instant>, Histogram)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (minutes, models) = match arguments.as_slice() {
        [minutes] => (minutes, "models"),
        [minutes, models] => (minutes, models.as_str()),
        _ => bail!("usage: soak MINUTES [MODELS]"),
    };
    let minutes: f64 = minutes
        .parse()
        .with_context(|| format!("`{minutes}` is no number of minutes"))?;
    let time = Duration::try_from_secs_f64(minutes * 60.0)
        .ok()
        .filter(|time| time.as_secs() >= 30)
        .context("a run shorter than half a minute shows nothing")?;
    gst::init()?;
    let faults = soak(time, Path::new(models))?;
    for fault in &faults {
        eprintln!("FAULT: {fault}");
    }
    println!("{}", if faults.is_empty() { "sound" } else { "not sound" });
    Ok(if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs the pipeline for `time`, prints what was measured, and gives all that was not as it must be.
fn soak(time: Duration, models: &Path) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let mut reloads = Reloads::prepare(models, folder.path())?;
    let pipeline = launch(&reloads)?;
    let seen = Arc::new(Mutex::new(Seen::default()));
    watch(&pipeline, &seen)?;
    let bus = pipeline.bus().context("a pipeline has a bus")?;
    let interval = INTERVAL.min(time / LEAST_ROUNDS);
    let mark = MARK.min(time / 10);
    let mut figures: Vec<(Duration, Process)> = Vec::new();
    let (begin, mut next_change, mut next_mark, mut ending) = (Instant::now(), interval, Duration::ZERO, false);

    pipeline.set_state(gst::State::Playing)?;
    loop {
        if let Some(message) = bus.timed_pop(gst::ClockTime::from_mseconds(20)) {
            reloads.hear(&message);
            if [gst::MessageType::Eos, gst::MessageType::Error].contains(&message.type_()) {
                break;
            }
        }
        let now = begin.elapsed();
        if now >= next_mark {
            next_mark += mark;
            println!("{:6.1} min  {}", now.as_secs_f64() / 60.0, Process::now()?);
        }
        if now >= next_change && !ending && reloads.are_answered(PATIENCE) {
            next_change = now + interval;
            figures.push((now, Process::now()?));
            ending = now >= time;
            match ending {
                true => drop(pipeline.send_event(gst::event::Eos::new())),
                false => reloads.ask(&pipeline),
            }
        }
        if now > time + 2 * PATIENCE {
            reloads.fault("the pipeline does not end".into());
            break;
        }
    }
    let elapsed = begin.elapsed();
    pipeline.set_state(gst::State::Null)?;
    let mut faults = reloads.faults();
    report_frames(&lock(&seen), elapsed, &mut faults);
    println!("{reloads}");
    report_figures(&figures, &mut faults);
    Ok(faults)
}

fn launch(reloads: &Reloads) -> Result<gst::Pipeline> {
    let elements =
        ELEMENTS.map(|(name, _)| format!("{name} name={name} model-file={} ", reloads.first(name).display()));
    let line = format!(
        "candletestsrc name=source frames-per-part=10 defect-rate=0.3 ! video/x-raw,format=RGB,width=480,height=360 \
         ! {} drift-window=0 ! {} ! candleoverlay name=candleoverlay ! fakesink name=sink",
        elements[..2].join("! "),
        elements[2]
    );
    let pipeline =
        gst::parse::launch(&line).context("is `make build` done, and GST_PLUGIN_PATH set to its plugins?")?;
    pipeline.downcast().ok().context("not a pipeline")
}

/// Puts probes on the pads, which fill `seen`.
fn watch(pipeline: &gst::Pipeline, seen: &Arc<Mutex<Seen>>) -> Result<()> {
    let pad = |element: &str, pad: &str| {
        let element = pipeline.by_name(element).context("the launch line names it")?;
        element.static_pad(pad).context("it has that pad")
    };
    let on_frame = |pad: gst::Pad, work: fn(&mut Seen, &gst::BufferRef, usize), index: usize| {
        let seen = seen.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(buffer) = info.buffer() {
                work(&mut lock(&seen), buffer, index);
            }
            gst::PadProbeReturn::Ok
        });
    };
    on_frame(
        pad("source", "src")?,
        |seen, _, _| {
            seen.frames_in += 1;
            seen.began = Some(Instant::now());
        },
        0,
    );
    for (index, name) in ELEMENTS
        .iter()
        .map(|(name, _)| *name)
        .chain(["candleoverlay"])
        .enumerate()
    {
        lock(seen).elements.push((name.into(), None, Histogram::default()));
        on_frame(
            pad(name, "sink")?,
            |seen, _, index| seen.elements[index].1 = Some(Instant::now()),
            index,
        );
        on_frame(
            pad(name, "src")?,
            |seen, _, index| {
                let (_, began, times) = &mut seen.elements[index];
                times.add(began.take());
            },
            index,
        );
    }
    on_frame(pad("sink", "sink")?, arrive, 0);
    Ok(())
}

/// A frame has come to the sink.
fn arrive(seen: &mut Seen, buffer: &gst::BufferRef, _: usize) {
    let began = seen.began.take();
    seen.latency.add(began);
    let expected = seen.frames_out;
    seen.frames_out += 1;
    // The source numbers its frames.
    let mut fault =
        (buffer.offset() != expected).then(|| format!("frame {} came as number {expected}", buffer.offset()));
    let meta = gst::meta::CustomMeta::from_buffer(buffer, "candle-result");
    for (name, kind) in ELEMENTS {
        let result = meta
            .as_ref()
            .ok()
            .and_then(|meta| meta.structure().get::<gst::Structure>(kind).ok());
        if result.is_none_or(|result| result.get("stale") != Ok(false)) {
            fault = Some(format!("frame {expected} came without a new result of {name}"));
        }
    }
    if seen.faults.len() < 10 {
        seen.faults.extend(fault);
    }
}

fn report_frames(seen: &Seen, elapsed: Duration, faults: &mut Vec<String>) {
    let Seen {
        frames_in, frames_out, ..
    } = *seen;
    let rate = frames_out as f64 / elapsed.as_secs_f64();
    println!(
        "frames: {frames_in} in, {frames_out} out, {rate:.1} a second for {:.0} s",
        elapsed.as_secs_f64()
    );
    println!("latency of a frame: {}", seen.latency);
    for (name, _, times) in &seen.elements {
        println!("  {name:15} {times}");
    }
    faults.extend(seen.faults.iter().cloned());
    if frames_in != frames_out || frames_out == 0 {
        faults.push(format!("{frames_in} frames went in and {frames_out} came out"));
    }
}

/// Says how the process grew after the warm-up, by figures taken just before each change of models.
fn report_figures(figures: &[(Duration, Process)], faults: &mut Vec<String>) {
    let Some(counted) = figures
        .get(figures.len() / WARM_UP..)
        .filter(|counted| counted.len() > 2)
    else {
        return faults.push("the run ended before its warm-up".into());
    };
    let memory: Vec<(f64, f64)> = counted
        .iter()
        .map(|(at, now)| (at.as_secs_f64(), now.memory_kib as f64))
        .collect();
    let Line { slope, growth, error } = Line::through(&memory);
    println!(
        "memory: {growth:+.0} ± {error:.0} KiB from the warm-up to the end, by the line of least squares through {} points; {:+.0} KiB an hour",
        memory.len(),
        slope * 3600.0
    );
    let allowed = MOST_GROWTH_KIB.max(3.0 * error);
    if growth > allowed {
        faults.push(format!("memory grew by {growth:.0} KiB; {allowed:.0} are allowed"));
    }
    let (first, last) = counted.split_at(counted.len() / 2);
    let mut compare = |what: &str, of: fn(&Process) -> usize| {
        let most = |half: &[(Duration, Process)]| half.iter().map(|(_, process)| of(process)).max().unwrap_or(0);
        let (before, after) = (most(first), most(last));
        println!("{what}: at most {before} in the first half, {after} in the second");
        if after > before {
            faults.push(format!("{what} grew from {before} to {after}"));
        }
    };
    compare("threads", |process| process.threads);
    compare("file handles", |process| process.handles);
}

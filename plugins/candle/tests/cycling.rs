//! Elements that start and stop again and again keep nothing. One test in a program of its own, because what counts is the whole process.

mod support;

use std::time::{Duration, Instant};

use gst::prelude::*;
use support::every::Every;

/// Starts and stops that count, and those before them.
const CYCLES: usize = 200;
const WARM_UP: usize = 50;
/// How much memory may grow over all that count: a handful of pages of the heap. 8 KiB kept by each cycle are 1.6 MiB.
const MOST_GROWTH_KIB: f64 = 1024.0;
/// Every how many cycles memory is looked at, and a model is set in the moment before the stop.
const LOOK: usize = 10;

/// What the process holds.
struct Held {
    memory_kib: f64,
    threads: usize,
    handles: usize,
}

impl Held {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let entries = |folder: &str| std::fs::read_dir(folder).unwrap().count();
        Self {
            memory_kib: memory.split_whitespace().next().unwrap().parse().unwrap(),
            threads: entries("/proc/self/task"),
            handles: entries("/proc/self/fd"),
        }
    }
}

/// To PLAYING until a frame is through, and back. With `reload`, the moment before the stop sees each model set once more.
fn cycle(pipeline: &gst::Pipeline, reload: bool) {
    pipeline.set_state(gst::State::Playing).unwrap();
    let (reached, state, _) = pipeline.state(gst::ClockTime::from_seconds(60));
    assert_eq!(
        (reached, state),
        (Ok(gst::StateChangeSuccess::Success), gst::State::Playing)
    );
    if reload {
        for element in pipeline.iterate_elements().into_iter().flatten() {
            if element.has_property("model-file") {
                element.set_property_from_value("model-file", &element.property_value("model-file"));
            }
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

/// The slope of the line of least squares through values at 0, 1, 2 and so on.
fn slope(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let (x, y) = ((n - 1.0) / 2.0, values.iter().sum::<f64>() / n);
    let centred = || values.iter().enumerate().map(|(i, value)| (i as f64 - x, value - y));
    centred().map(|(x, y)| x * y).sum::<f64>() / centred().map(|(x, _)| x * x).sum::<f64>()
}

/// Waits for threads that end by themselves; a model that loads as its element stops is one.
fn settle(before: &Held) -> Held {
    let begun = Instant::now();
    loop {
        let now = Held::now();
        let is_settled = now.threads <= before.threads && now.handles <= before.handles;
        if is_settled || begun.elapsed() > Duration::from_secs(30) {
            return now;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs `cycle` and asserts that the process holds no more afterwards than before.
fn assert_nothing_is_kept(what: &str, mut cycle: impl FnMut(bool)) {
    (0..WARM_UP).for_each(|i| cycle(i % LOOK == 0));
    let before = Held::now();
    let mut memory = Vec::new();
    for i in 0..CYCLES {
        cycle(i % LOOK == 0);
        if i % LOOK == 0 {
            memory.push(Held::now().memory_kib);
        }
    }
    let after = settle(&before);
    let growth = slope(&memory) * memory.len() as f64;
    println!(
        "{what}: {growth:+.0} KiB, {} threads, {} file handles",
        after.threads, after.handles
    );
    assert!(
        growth < MOST_GROWTH_KIB,
        "{what}: memory grows by {growth:.0} KiB: {memory:?}"
    );
    assert!(
        after.threads <= before.threads,
        "{what}: {} threads, then {}",
        before.threads,
        after.threads
    );
    assert!(
        after.handles <= before.handles,
        "{what}: {} file handles, then {}",
        before.handles,
        after.handles
    );
}

#[test]
fn two_hundred_starts_and_stops_keep_no_memory_threads_or_file_handles() {
    let every = Every::new();
    let source = "videotestsrc ! video/x-raw,format=RGB,width=32,height=24";
    let of = |element: &str| format!("{source} ! {element} ! fakesink");
    let all = format!(
        "candletestsrc ! video/x-raw,format=RGB,width=48,height=32 ! {} ! fakesink",
        every.all()
    );
    let lines = [
        "candletestsrc ! video/x-raw,format=RGB,width=48,height=32 ! fakesink".into(),
        of(&every.denoise),
        of(&every.anomaly),
        of(&every.classify),
        of(&every.segment),
        of(&every.embed),
        of(&every.overlay),
        of(&every.publish),
        all.clone(),
    ];
    let launch = |line: &str| gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
    for line in lines {
        let pipeline = launch(&line);
        assert_nothing_is_kept(&line, |reload| cycle(&pipeline, reload));
    }
    assert_nothing_is_kept("a new pipeline each time", |reload| cycle(&launch(&all), reload));
}

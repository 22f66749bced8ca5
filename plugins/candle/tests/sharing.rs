//! Many streams, one model: in a program of its own, so that the machine and the memory are its own.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use gst::prelude::*;
use support::*;

const STREAMS: usize = 8;

/// A stream of 640x480 through `candleanomaly` with the model at `path`, as fast as it goes.
fn stream(path: &Path) -> (gst::Pipeline, gst::Element) {
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc ! video/x-raw,format=I420,width=640,height=480 ! candleanomaly name=inspect model-file={} ! fakesink",
        path.display()
    ));
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    let element = pipeline.by_name("inspect").unwrap();
    (pipeline, element)
}

fn inferred(element: &gst::Element) -> u64 {
    element.property::<gst::Structure>("stats").get("inferred").unwrap()
}

/// Plays and waits until each has inferred `count` frames more than now.
fn run(streams: &[(gst::Pipeline, gst::Element)], count: u64) {
    let before: Vec<u64> = streams.iter().map(|(_, element)| inferred(element)).collect();
    let begun = Instant::now();
    for (pipeline, _) in streams {
        pipeline.set_state(gst::State::Playing).unwrap();
    }
    let done = || {
        let mut both = streams.iter().zip(&before);
        both.all(|((_, element), before)| inferred(element) >= before + count)
    };
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(120), "a stream stands still");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn stop(streams: &[(gst::Pipeline, gst::Element)]) {
    for (pipeline, _) in streams {
        pipeline.set_state(gst::State::Null).unwrap();
    }
}

/// This program's memory, in bytes.
fn memory() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn eight_streams_share_a_model_fairly() {
    init();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/anomaly-magnetic-tile.safetensors");
    // All that GStreamer loads for such a pipeline is there before memory counts.
    let folder = tempfile::tempdir().unwrap();
    let warm = [stream(Path::new(&folder.path().join("warm.safetensors")))];
    std::fs::copy(&shipped, folder.path().join("warm.safetensors")).unwrap();
    run(&warm, 5);
    stop(&warm);
    drop(warm);

    let before = memory();
    let mut streams = vec![stream(&shipped)];
    run(&streams, 10);
    let one = memory().saturating_sub(before);
    streams.extend((1..STREAMS).map(|_| stream(&shipped)));
    run(&streams, 10);
    let begin: Vec<u64> = streams.iter().map(|(_, element)| inferred(element)).collect();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) || inferred(&streams[0].1) < begin[0] + 10 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let seconds = begun.elapsed().as_secs_f64();
    let rates: Vec<f64> = (streams.iter().zip(begin))
        .map(|((_, element), begin)| (inferred(element) - begin) as f64 / seconds)
        .collect();
    let all = memory().saturating_sub(before);
    stop(&streams);

    // Loaded by each by itself, for comparison.
    let copies = (0..STREAMS).map(|i| {
        let copy = folder.path().join(format!("{i}.safetensors"));
        std::fs::copy(&shipped, &copy).unwrap();
        stream(&copy)
    });
    let before = memory();
    let copies: Vec<_> = copies.collect();
    run(&copies, 10);
    let apart = memory().saturating_sub(before);
    stop(&copies);

    let mean = rates.iter().sum::<f64>() / STREAMS as f64;
    let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    let told = format!(
        "{mean:.1} frames a second each, the least {least:.1}; one stream {:.1} MiB, eight that share {:.1}, eight apart {:.1}",
        mib(one),
        mib(all),
        mib(apart)
    );
    println!("{told}");
    assert!(least >= 0.8 * mean, "{told}");
    assert!(mib(all.saturating_sub(one)) < 16.0 * (STREAMS - 1) as f64, "{told}");
    assert!(all < apart, "{told}");
}

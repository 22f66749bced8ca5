//! Elements that are slower than the frames come: what leaves, what is told, what they answer.
//!
//! Time is a test clock's. Inference takes what the test says: the clock goes on by that when an element tells a result.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;
use gst_check::{Harness, TestClock};
use support::load::{TOLD, slow, stats};
use support::*;
use tempfile::NamedTempFile;

const MS: gst::ClockTime = gst::ClockTime::MSECOND;
const CAPS: &str = "format=GRAY8,width=16,height=8";

/// An element on a test clock behind a live source of 10 frames a second and 100 ms of latency.
struct Bench {
    harness: Harness,
    bus: gst::Bus,
    element: gst::Element,
    clock: TestClock,
    /// Milliseconds that an inference takes.
    load: Arc<AtomicU64>,
    frames: u64,
    _model: NamedTempFile,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Inferred,
    Stale,
}
use Is::{Inferred, Stale};

impl Bench {
    fn all(properties: &str) -> Vec<(&'static str, Self)> {
        init();
        let told = elements().into_iter().zip(TOLD);
        told.map(|((name, model), told)| (name, Self::new(name, model, told, properties)))
            .collect()
    }

    fn new(name: &str, model: NamedTempFile, told: &str, properties: &str) -> Self {
        let (mut harness, bus) = harness(name, &model, properties, CAPS);
        harness.use_testclock();
        harness.set_upstream_latency(100 * MS);
        let (element, clock) = (support::element(&harness), harness.testclock().unwrap());
        let load = Arc::new(AtomicU64::new(0));
        slow(&element, told, &clock, &load);
        Self {
            harness,
            bus,
            element,
            clock,
            load,
            frames: 0,
            _model: model,
        }
    }

    fn load(&self, ms: u64) {
        self.load.store(ms, Ordering::Relaxed);
    }

    /// Pushes the next frame as soon as its source has it and the element is free; it must leave.
    fn frame(&mut self) -> Is {
        let index = self.frames;
        self.frames += 1;
        let ready = (100 * index + 100) * MS;
        if self.clock.time() < ready {
            self.clock.set_time(ready);
        }
        let output = self.harness.push_and_pull(grey(&info_of(CAPS), 100, index)).unwrap();
        assert_eq!(output.pts(), Some(100 * index * MS));
        let kind = self.element.factory().unwrap().name().to_string();
        let result = result(&output, kind.strip_prefix("candle").unwrap()).unwrap();
        match result.get("stale").unwrap() {
            true => Stale,
            false => Inferred,
        }
    }

    fn frames<const N: usize>(&mut self) -> [Is; N] {
        [(); N].map(|()| self.frame())
    }

    /// A sink says that frame `index` was late by so many milliseconds; gives whether that goes on to upstream.
    fn qos(&mut self, index: u64, late_ms: i64) -> bool {
        let event = gst::event::Qos::builder(gst::QOSType::Underflow, 1.5, late_ms * 1_000_000)
            .timestamp(100 * index * MS)
            .build();
        self.harness.push_upstream_event(event);
        let events: Vec<_> = std::iter::from_fn(|| self.harness.try_pull_upstream_event()).collect();
        events.iter().any(|event| event.type_() == gst::EventType::Qos)
    }

    /// How often the element told that its latency has changed.
    fn latency_messages(&self) -> usize {
        let name = self.element.name();
        let messages = std::iter::from_fn(|| self.bus.pop_filtered(&[gst::MessageType::Latency]));
        messages
            .filter(|m| m.src().is_some_and(|src| src.name() == name))
            .count()
    }
}

#[test]
fn beyond_max_lag_frames_pass_with_the_last_result_until_it_is_made_up_for() {
    for (name, mut bench) in Bench::all("max-lag=200000000") {
        bench.load(150);
        // 0, 50, ... 200 ms behind, then 250: two of three can be inferred.
        let found: [_; 14] = bench.frames();
        let steady = [Stale, Inferred, Inferred];
        let expected = [[Inferred; 5].as_slice(), &steady, &steady, &steady].concat();
        assert_eq!(found, expected[..], "{name}: {found:?}");
        bench.load(0);
        // The load is gone: the first frame in time is inferred, and all after it.
        assert_eq!(bench.frames(), [Stale, Inferred, Inferred, Inferred], "{name}");
        assert_eq!(counts(&bench.element), [18, 14, 0, 4], "{name}");
        assert_eq!(stats(&bench.element).get("stale"), Ok(4u64), "{name}");
        let behind = stats(&bench.element).get::<f64>("latency-ms-p99").unwrap();
        assert_eq!(
            behind, 450.0,
            "{name}: 100 of the source, 200 that may be, 150 of inference"
        );
    }
}

#[test]
fn what_lags_does_so_behind_the_time_at_which_it_is_shown() {
    for (name, mut bench) in Bench::all("max-lag=10000000") {
        // A sink that waits for its frames holds the next one up: that is not late.
        shown_after(&mut bench, 180);
        bench.frame();
        for (late_ms, expected) in [(79, Inferred), (89, Inferred), (92, Stale), (89, Inferred)] {
            bench.clock.set_time((100 * bench.frames + 100 + late_ms) * MS);
            assert_eq!(bench.frame(), expected, "{name}: {late_ms} ms after it came");
        }
        shown_after(&mut bench, 0);
        bench.clock.set_time((100 * bench.frames + 100 + 89) * MS);
        assert_eq!(bench.frame(), Stale, "{name}: nothing is shown any more");
    }
}

#[test]
fn a_sink_that_is_late_costs_inferences_and_no_frames() {
    for (name, mut bench) in Bench::all("") {
        bench.load(40);
        bench.frames::<6>();
        // Inferred frames up to 500 + 130 + 40 would be late.
        assert!(
            !bench.qos(5, 130),
            "{name} does something about it and keeps it to itself"
        );
        assert_eq!(bench.frame(), Stale, "{name}");
        assert!(bench.qos(6, 20), "{name} can do no more about it");
        assert_eq!(bench.frame(), Inferred, "{name}: 700 is after 660");
        assert!(!bench.qos(7, 500));
        assert_eq!(bench.frame(), Stale);
        // In time again: the very next frame is inferred.
        assert!(bench.qos(8, -5), "{name} has nothing to do with it");
        assert_eq!(bench.frame(), Inferred, "{name}");
        assert!(!bench.qos(9, 500));
        bench.harness.push_event(gst::event::FlushStart::new());
        bench.harness.push_event(gst::event::FlushStop::new(false));
        bench
            .harness
            .push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
        assert_eq!(bench.frame(), Inferred, "{name}: after a flush");
        assert_eq!(counts(&bench.element), [11, 9, 0, 2], "{name}");
        assert!(
            bench.bus.pop_filtered(&[gst::MessageType::Qos]).is_none(),
            "{name} drops nothing"
        );
    }
}

/// The latency of the pipeline, as it is told to its elements.
fn shown_after(bench: &mut Bench, ms: u64) {
    let event = gst::event::Latency::new(ms * MS);
    assert!(bench.harness.push_upstream_event(event));
}

#[test]
fn what_would_be_shown_too_late_passes_before_a_sink_says_so() {
    for (name, mut bench) in Bench::all("") {
        bench.load(150);
        bench.frames::<5>();
        assert_eq!(bench.harness.query_latency(), Some((100 + 192) * MS), "{name}");
        // The source leaves some out.
        bench.frames += 10;
        // Each frame can be inferred that comes at once; behind one that was, the next one is 50 ms behind.
        shown_after(&mut bench, 100 + 192 + 15);
        assert_eq!(
            bench.frames(),
            [Inferred, Stale, Inferred, Stale, Inferred, Stale],
            "{name}"
        );
        bench.element.set_property("qos", false);
        assert_eq!(bench.frames(), [Inferred; 4], "{name}");
    }
}

#[test]
fn without_qos_every_frame_is_inferred_and_upstream_hears_of_it() {
    for (name, mut bench) in Bench::all("qos=false") {
        assert!(!bench.element.property::<bool>("qos"));
        bench.frames::<3>();
        assert!(bench.qos(2, 5000), "{name}");
        assert_eq!(bench.frames(), [Inferred; 3], "{name}");
        bench.element.set_property("qos", true);
        assert!(!bench.qos(5, 5000), "{name}");
        assert_eq!(bench.frame(), Stale, "{name}");
    }
}

#[test]
fn an_interval_and_late_frames_go_together() {
    for (name, mut bench) in Bench::all("inference-interval=3 max-lag=10000000") {
        bench.load(350);
        // Frame 3 has its turn 50 ms late and keeps it until frame 4, which is in time.
        assert_eq!(bench.frames(), [Inferred, Stale, Stale, Stale, Inferred], "{name}");
        assert_eq!(counts(&bench.element), [5, 2, 2, 1], "{name}");
    }
}

#[test]
fn what_inference_takes_is_added_to_the_latency_and_told_when_it_changes() {
    for (name, mut bench) in Bench::all("") {
        let next = |bench: &mut Bench, ms: u64| {
            bench.load(ms);
            bench.frame();
            bench.latency_messages()
        };
        // Not the first, in which memory and plans are made, and not before three are known.
        assert_eq!([500, 40, 41].map(|ms| next(&mut bench, ms)), [0, 0, 0], "{name}");
        assert_eq!(bench.harness.query_latency(), Some(100 * MS), "{name}");
        assert_eq!(next(&mut bench, 42), 1, "{name}");
        assert_eq!(bench.harness.query_latency(), Some(148 * MS), "{name}");
        assert_eq!(stats(&bench.element).get("reported-latency-ms"), Ok(48.0), "{name}");
        let wobbling: usize = (0..100).map(|i| next(&mut bench, 36 + i % 7)).sum();
        assert_eq!(wobbling, 0, "{name}");
        // Frames that pass take no time, which must not count.
        bench.element.set_property("inference-interval", 10u32);
        let passing: usize = (0..500).map(|_| next(&mut bench, 40)).sum();
        assert_eq!((passing, bench.harness.query_latency()), (0, Some(148 * MS)), "{name}");
        bench.element.set_property("inference-interval", 1u32);
        let slower: usize = (0..30).map(|_| next(&mut bench, 70)).sum();
        assert_eq!((slower, bench.harness.query_latency()), (1, Some(180 * MS)), "{name}");
        let faster: usize = (0..500).map(|_| next(&mut bench, 10)).sum();
        assert_eq!((faster, bench.harness.query_latency()), (1, Some(112 * MS)), "{name}");
    }
}

#[test]
fn statistics_are_told_at_their_interval_and_not_without() {
    for (name, mut bench) in Bench::all("post-messages=none") {
        // Who hears of it may ask and set whatever there is.
        bench.bus.set_sync_handler(|_, message| {
            if let Some(element) = message.src().and_then(|src| src.downcast_ref::<gst::Element>())
                && message.type_() == gst::MessageType::Element
            {
                stats(element);
                element.set_property("qos", true);
                element.set_property("stats-interval", 1u64);
            }
            gst::BusSyncReply::Pass
        });
        bench.frames::<5>();
        assert!(messages(&bench.bus).is_empty(), "{name}");
        bench.element.set_property("stats-interval", 1u64);
        bench.frames::<3>();
        let told = messages(&bench.bus);
        let frames: Vec<u64> = told.iter().map(|stats| stats.get("frames").unwrap()).collect();
        assert_eq!(frames, [7, 8], "{name}: the interval begins with a frame");
        let fields: Vec<_> = told[1].fields().map(|field| field.to_string()).collect();
        assert_eq!(
            fields,
            [
                "frames",
                "fps",
                "ms-p50",
                "ms-p99",
                "latency-ms-p50",
                "latency-ms-p99",
                "inferred",
                "skipped",
                "late",
                "stale",
                "inferred-fps",
                "reported-latency-ms"
            ],
            "{name}"
        );
        assert_eq!(told[1].name(), "candle-stats");
        bench.element.set_property("stats-interval", 0u64);
        bench.frames::<3>();
        assert!(messages(&bench.bus).is_empty(), "{name}");
    }
}

#[test]
fn elements_that_draw_have_statistics_too() {
    let line = "candletestsrc num-buffers=5 name=source ! video/x-raw,width=64,height=48 ! candleoverlay name=overlay show-truth=true \
         stats-interval=1 ! fakesink sync=false";
    init();
    let pipeline = gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let end = bus.timed_pop_filtered(
        gst::ClockTime::from_seconds(20),
        &[gst::MessageType::Eos, gst::MessageType::Error],
    );
    assert_eq!(end.unwrap().type_(), gst::MessageType::Eos);
    for name in ["source", "overlay"] {
        assert_eq!(
            stats(&pipeline.by_name(name).unwrap()).get("frames"),
            Ok(5u64),
            "{name}"
        );
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

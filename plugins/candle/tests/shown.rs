//! Live pipelines with a sink that waits for the clock, whose elements take longer than it allows for.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;
use gst_check::TestClock;
use support::load::{TOLD, slow, stats};
use support::*;

const MS: gst::ClockTime = gst::ClockTime::MSECOND;
const CAPS: &str = "format=GRAY8,width=16,height=8";

/// A pipeline of 25 frames a second on a test clock that only goes on when all have done what they can do.
struct Show {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    element: gst::Element,
    clock: TestClock,
    shown: Arc<std::sync::Mutex<Vec<(u64, u64)>>>,
    frames: u64,
}

impl Show {
    fn new(element: &str, load: &Arc<AtomicU64>, told: &str) -> Self {
        init();
        let line = format!(
            "appsrc name=in is-live=true format=time min-latency=40000000 ! {element} name=it ! \
             fakesink name=out sync=true qos=true processing-deadline=20000000 signal-handoffs=true"
        );
        let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
        let clock = TestClock::new();
        pipeline.use_clock(Some(&clock));
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(gst::ClockTime::ZERO);
        let source = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
        source.set_caps(Some(&caps_of(CAPS)));
        let element = pipeline.by_name("it").unwrap();
        slow(&element, told, &clock, load);
        let shown = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (to, at) = (shown.clone(), clock.clone());
        pipeline
            .by_name("out")
            .unwrap()
            .connect("handoff", false, move |values| {
                let buffer = values[1].get::<gst::Buffer>().unwrap();
                let frame = buffer.pts().unwrap().mseconds();
                to.lock().unwrap().push((frame, at.time().mseconds() - frame));
                None
            });
        pipeline.set_state(gst::State::Playing).unwrap();
        Self {
            pipeline,
            source,
            element,
            clock,
            shown,
            frames: 0,
        }
    }

    /// Sends the next frame when it is complete, and shows it; gives how long after its time that was.
    fn frame(&mut self) -> u64 {
        let pts = 40 * self.frames * MS;
        self.frames += 1;
        if self.clock.time() < pts + 40 * MS {
            self.clock.set_time(pts + 40 * MS);
        }
        let mut buffer = grey(&info_of(CAPS), 100, 0);
        buffer.get_mut().unwrap().set_pts(pts);
        buffer.get_mut().unwrap().set_duration(40 * MS);
        self.source.push_buffer(buffer).unwrap();
        let started = std::time::Instant::now();
        while self.shown.lock().unwrap().len() < self.frames as usize {
            assert!(started.elapsed().as_secs() < 20, "frame {} is not shown", self.frames);
            if self.clock.peek_id_count() > 0 {
                self.clock.crank();
            } else {
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        }
        // As applications do.
        let bus = self.pipeline.bus().unwrap();
        while bus.pop_filtered(&[gst::MessageType::Latency]).is_some() {
            self.pipeline.recalculate_latency().unwrap();
        }
        let (frame, after) = *self.shown.lock().unwrap().last().unwrap();
        assert_eq!(frame, pts.mseconds());
        after
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn a_live_pipeline_shows_each_frame_and_infers_what_it_can() {
    init();
    for ((name, model), told) in elements().into_iter().zip(TOLD) {
        let load = Arc::new(AtomicU64::new(30));
        let element = format!("{name} model-file={}", model.path().display());
        let mut show = Show::new(&element, &load, told);
        // 30 ms a frame are more than the 20 that the sink allows for: late until the latency is known.
        let first: Vec<u64> = (0..20).map(|_| show.frame()).collect();
        assert_eq!(first[0], 70, "{name}: {first:?}");
        // 40 of the source, 40 for 30 of inference, 20 of the sink.
        let steady: Vec<u64> = (0..25).map(|_| show.frame()).collect();
        assert_eq!(steady, [100; 25], "{name}: {first:?}");
        let before = counts(&show.element);
        assert!(before[3] <= 5, "{name}: some of the first frames pass: {before:?}");
        let most = query(&show.pipeline);
        assert_eq!(most, (true, 100 * MS, None), "{name}");

        // Four times more than it can do.
        load.store(150, Ordering::Relaxed);
        let overload: Vec<u64> = (0..200).map(|_| show.frame()).collect();
        let after = counts(&show.element);
        let inferred = after[1] - before[1];
        assert!((20..=67).contains(&inferred), "{name} infers {inferred} of 200");
        assert_eq!(after[1] + after[3], 245, "{name}");
        assert!(overload.iter().all(|&ms| ms < 500), "{name} falls behind: {overload:?}");

        // The load goes: as soon as a frame is in time.
        load.store(1, Ordering::Relaxed);
        let relieved: Vec<u64> = (0..20).map(|_| show.frame()).collect();
        let end = counts(&show.element);
        assert!(
            end[1] - after[1] >= 15,
            "{name}: {} of 20: {relieved:?}",
            end[1] - after[1]
        );
        let stale = stats(&show.element).get::<u64>("stale").unwrap();
        assert_eq!(stale, end[3], "{name}");
    }
}

/// What the pipeline answers to a LATENCY query.
fn query(pipeline: &gst::Pipeline) -> (bool, gst::ClockTime, Option<gst::ClockTime>) {
    let mut query = gst::query::Latency::new();
    assert!(pipeline.query(&mut query));
    query.result()
}

#[test]
fn a_pipeline_that_is_not_live_has_no_latency() {
    init();
    for ((name, model), told) in elements().into_iter().zip(TOLD) {
        let line = format!(
            "videotestsrc num-buffers=8 ! video/x-raw,format=GRAY8,width=16,height=8,framerate=100/1 ! {name} name=it model-file={} ! \
             fakesink sync=true",
            model.path().display()
        );
        let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
        let it = pipeline.by_name("it").unwrap();
        it.connect_notify(Some(told), |_, _| {
            std::thread::sleep(std::time::Duration::from_millis(20))
        });
        pipeline.set_state(gst::State::Playing).unwrap();
        let bus = pipeline.bus().unwrap();
        let mut from_it = 0;
        loop {
            let message = bus.timed_pop(gst::ClockTime::from_seconds(20)).expect("it ends");
            match message.view() {
                gst::MessageView::Eos(_) => break,
                gst::MessageView::Latency(_) => from_it += usize::from(message.src() == Some(it.upcast_ref())),
                gst::MessageView::Error(error) => panic!("{error:?}"),
                _ => {}
            }
        }
        assert_eq!(from_it, 0, "{name}");
        assert!(
            stats(&it).get::<f64>("reported-latency-ms").unwrap() >= 20.0,
            "{name} has measured it"
        );
        assert_eq!(query(&pipeline).1, gst::ClockTime::ZERO, "{name}");
        pipeline.set_state(gst::State::Null).unwrap();
    }
}

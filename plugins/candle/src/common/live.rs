//! What an element with a model knows of the time: what its frames take, how far they are behind, and what those around it say of that.
//!
//! Frames are worked on when they come and none is kept back. What that takes is the element's latency, see [`Latency`]. A sink that is shown its frames
//! too late says so by QoS events. Most elements lose frames then; this one, in overload usually the one to blame, lets frames pass without inference. In a
//! live pipeline it need not be told: it knows when a frame will be shown.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use gst::{glib, prelude::*};
use gst_base::prelude::*;

use super::latency::Latency;
use super::lock;
use super::pace::Pace;
use super::settings::get;
use super::stats::{Meter, Rate};

/// What an element with a model counts, times and tells.
#[derive(Debug, Default)]
pub struct Live {
    meter: Meter,
    counts: Mutex<Counts>,
    clock: Mutex<Clock>,
}

/// What became of the frames.
#[derive(Debug, Default)]
struct Counts {
    inferred: u64,
    skipped: u64,
    late: u64,
    stale: u64,
    rate: Rate,
}

/// What is known of the time.
#[derive(Debug)]
struct Clock {
    /// The property `qos`.
    qos: bool,
    latency: Latency,
    /// Whether the frame in work is inferred.
    infers: bool,
    /// The running time of the last frame that was inferred.
    inferred: Option<gst::ClockTime>,
    /// The running time before which an inferred frame would be late at a sink.
    earliest: Option<gst::ClockTime>,
    /// How long after its running time sinks show a frame, as the pipeline has set them.
    shown_after: gst::ClockTime,
    /// The least latency of what is upstream, once asked.
    upstream: Option<gst::ClockTime>,
    foresight: Foresight,
}

/// What is foreseen: frames that would be shown too late if they were inferred pass, as long as those behind them come sooner by it.
#[derive(Debug, Default)]
struct Foresight {
    /// The running time of the frame before and how far behind it was, if it passed.
    passed: Option<[gst::ClockTime; 2]>,
    /// How far behind frames are even after others have passed: where nothing queues behind the element, a sink that waits holds up the next frame.
    held_up: Option<gst::ClockTime>,
}

impl Foresight {
    /// Whether a frame of the running time `due` had better pass, which comes `behind` after it, with sinks that show it `shown_after` it, if inference
    /// takes `own`.
    fn is_late(
        &mut self,
        due: gst::ClockTime,
        behind: gst::ClockTime,
        own: gst::ClockTime,
        shown_after: gst::ClockTime,
    ) -> bool {
        let before = self.passed.take();
        if behind.saturating_add(own) <= shown_after {
            self.held_up = None;
            return false;
        }
        if self
            .held_up
            .is_some_and(|held_up| behind <= held_up.saturating_add(own / 2))
        {
            return false;
        }
        if let Some([due_before, behind_before]) = before
            && behind_before.saturating_sub(behind) * 2 < due.saturating_sub(due_before)
        {
            self.held_up = Some(behind);
            return false;
        }
        self.passed = Some([due, behind]);
        true
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            qos: true,
            latency: Latency::default(),
            infers: false,
            inferred: None,
            earliest: None,
            shown_after: gst::ClockTime::ZERO,
            upstream: None,
            foresight: Foresight::default(),
        }
    }
}

impl Clock {
    /// Takes in what a sink says of the frame at `running_time`, `diff` nanoseconds late if above 0. Gives whether that is the element's own affair: it
    /// can do something about it.
    fn hear(&mut self, running_time: gst::ClockTime, diff: i64) -> bool {
        let Ok(late @ 1..) = u64::try_from(diff) else {
            self.earliest = None;
            return false;
        };
        // Of frames that come now, one of the time `running_time + late` is just in time if it passes, and one of a time that much later if inferred.
        let late = gst::ClockTime::from_nseconds(late.min(gst::ClockTime::MAX.nseconds()));
        let next = running_time.saturating_add(late).saturating_add(self.latency.typical());
        self.earliest = Some(next);
        self.inferred.is_some_and(|inferred| running_time <= inferred)
    }

    /// Whether a sink would show the frame of the running time `due` too late if it were inferred, as sinks said or as can be foreseen.
    fn is_late(&mut self, due: gst::ClockTime, now: Option<gst::ClockTime>) -> bool {
        if self.earliest.is_some_and(|earliest| due < earliest) {
            return true;
        }
        let (own, shown_after) = (self.latency.said(), self.shown_after);
        let Some(now) = now.filter(|_| self.qos && !own.is_zero() && !shown_after.is_zero()) else {
            return false;
        };
        self.foresight.is_late(due, now.saturating_sub(due), own, shown_after)
    }
}

impl Live {
    /// The properties `stats`, `stats-interval` and `qos`.
    pub fn properties() -> Vec<glib::ParamSpec> {
        let stats = "Frames seen, inferred, skipped, late and stale since the start; frames and inferences a second over the last three \
             seconds; median and 99th percentile, in milliseconds, of the last inferences, and of how far the last frames were behind \
             the clock when they left; and the milliseconds of latency that the element reports.";
        let mut properties = Vec::from(Meter::properties(stats));
        properties.push(glib::ParamSpecOverride::for_class::<gst_base::BaseTransform>("qos"));
        properties
    }

    /// Sets the property `name`; `false` where it is none of these.
    pub fn set(&self, name: &str, value: &glib::Value) -> bool {
        let is_qos = name == "qos";
        if is_qos {
            let mut clock = lock(&self.clock);
            (clock.qos, clock.earliest) = (get(value), None);
        }
        is_qos || self.meter.set(name, value)
    }

    /// The value of the property `name`, if it is one of these.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        match name {
            "stats" => Some(self.to_structure().to_value()),
            "qos" => Some(lock(&self.clock).qos.to_value()),
            name => self.meter.get(name),
        }
    }

    /// The element starts.
    pub fn start(&self) {
        self.meter.reset();
        *lock(&self.counts) = Counts::default();
        let mut clock = lock(&self.clock);
        *clock = Clock {
            qos: clock.qos,
            ..Clock::default()
        };
    }

    /// What was said of frames that came before is void.
    pub fn flush(&self) {
        let mut clock = lock(&self.clock);
        (clock.earliest, clock.inferred, clock.upstream) = (None, None, None);
        clock.foresight = Foresight::default();
    }

    /// From now on inference is another one: frames of another size, or another model.
    pub fn work_changes(&self) {
        lock(&self.clock).latency.work_changes();
    }

    /// Counts a frame and what becomes of it; one that is not inferred, where there `is_result` of one before, is stale.
    pub fn count(&self, pace: Pace, is_result: bool, running_time: Option<gst::ClockTime>) {
        let infers = pace == Pace::Infer;
        {
            let mut clock = lock(&self.clock);
            clock.infers = infers;
            if infers {
                clock.inferred = running_time;
            }
        }
        let mut counts = lock(&self.counts);
        self.meter.count();
        match pace {
            Pace::Infer => {
                counts.inferred += 1;
                counts.rate.add(Instant::now());
            }
            Pace::Skip => counts.skipped += 1,
            Pace::Late => counts.late += 1,
        }
        counts.stale += u64::from(!infers && is_result);
    }

    /// Records how long an inference took.
    pub fn record(&self, time: Duration) {
        self.meter.record(time);
    }

    /// Whether a frame comes too late to be inferred: with `qos`, a sink would show it too late; or it is more than `max_lag` (0 = any time) behind when it
    /// should be shown, or have come where nothing is shown.
    pub fn is_late(
        &self,
        element: &gst::Element,
        max_lag: gst::ClockTime,
        running_time: Option<gst::ClockTime>,
    ) -> bool {
        let Some(due) = running_time else { return false };
        let now = element.current_running_time();
        let (shown_after, upstream) = {
            let mut clock = lock(&self.clock);
            if clock.is_late(due, now) {
                return true;
            }
            (clock.shown_after, clock.upstream)
        };
        let Some(now) = now.filter(|_| !max_lag.is_zero()) else {
            return false;
        };
        let upstream = upstream.unwrap_or_else(|| {
            let least = upstream_latency(element).map_or(gst::ClockTime::ZERO, |(_, least)| least);
            lock(&self.clock).upstream = Some(least);
            least
        });
        now.saturating_sub(due.saturating_add(upstream.max(shown_after))) > max_lag
    }

    /// Does the `work` on a frame, times it, and tells: a latency that has changed, `stats` if it is time for them. No lock is held meanwhile.
    pub fn frame<T>(
        &self,
        element: &gst::Element,
        cat: gst::DebugCategory,
        running_time: Option<gst::ClockTime>,
        work: impl FnOnce() -> Result<T, gst::FlowError>,
    ) -> Result<T, gst::FlowError> {
        let clock = element.clock();
        let now = || clock.as_ref().map(ClockExt::time);
        let came = now();
        let done = work()?;
        if let (Some(came), Some(now)) = (came, now()) {
            self.time(element, cat, now.saturating_sub(came), now);
        }
        self.meter.leave(element, cat, running_time, || self.to_structure());
        Ok(done)
    }

    /// The work on the last frame took `time`, at `now` by the clock.
    fn time(&self, element: &gst::Element, cat: gst::DebugCategory, time: gst::ClockTime, now: gst::ClockTime) {
        let said = {
            let mut clock = lock(&self.clock);
            let changed = clock.infers && clock.latency.update(time, now);
            changed.then(|| clock.latency.said())
        };
        let Some(said) = said else { return };
        gst::info!(cat, obj = element, "Latency is {said} now");
        if upstream_latency(element).is_some_and(|(live, _)| live) {
            // Fails only where there is no bus, which means that nobody listens.
            let _ = element.post_message(gst::message::Latency::builder().src(element).build());
        }
    }

    /// Takes in an event from downstream. QoS goes to upstream, unless this element does something about it, and not to the base class (`parent`), which
    /// would drop frames.
    pub fn src_event(
        &self,
        element: &gst_base::BaseTransform,
        event: gst::Event,
        parent: impl FnOnce(gst::Event) -> bool,
    ) -> bool {
        match event.view() {
            gst::EventView::Latency(latency) => {
                let mut clock = lock(&self.clock);
                (clock.shown_after, clock.upstream) = (latency.latency(), None);
                clock.foresight = Foresight::default();
            }
            gst::EventView::Qos(qos) => {
                let kept = self.hear(qos);
                return kept || element.sink_pad().push_event(event);
            }
            _ => {}
        }
        parent(event)
    }

    /// Takes in what a sink says of its frames; gives whether it goes no further.
    fn hear(&self, qos: &gst::event::Qos) -> bool {
        let (kind, _, diff, running_time) = qos.get();
        let mut clock = lock(&self.clock);
        match running_time {
            // Throttling asks for fewer frames, not for earlier ones.
            Some(running_time) if clock.qos && kind != gst::QOSType::Throttle => clock.hear(running_time, diff),
            _ => false,
        }
    }

    /// Answers a query as `parent` does, and adds the element's latency to what upstream answered, in a live pipeline.
    pub fn query(
        &self,
        direction: gst::PadDirection,
        query: &mut gst::QueryRef,
        parent: impl FnOnce(&mut gst::QueryRef) -> bool,
    ) -> bool {
        let answered = parent(query);
        if answered && direction == gst::PadDirection::Src {
            self.add_latency(query);
        }
        answered
    }

    fn add_latency(&self, query: &mut gst::QueryRef) {
        if let gst::QueryViewMut::Latency(query) = query.view_mut()
            && let (true, least, most) = query.result()
        {
            let own = lock(&self.clock).latency.said();
            query.set(
                true,
                least.saturating_add(own),
                most.map(|most| most.saturating_add(own)),
            );
        }
    }

    /// As the property `stats` shows it.
    fn to_structure(&self) -> gst::Structure {
        let said = lock(&self.clock).latency.said();
        let counts = lock(&self.counts);
        let mut stats = self.meter.to_structure();
        stats.set("inferred", counts.inferred);
        stats.set("skipped", counts.skipped);
        stats.set("late", counts.late);
        stats.set("stale", counts.stale);
        stats.set("inferred-fps", counts.rate.per_second(Instant::now()));
        stats.set("reported-latency-ms", said.nseconds() as f64 / 1e6);
        stats
    }
}

/// Whether what is upstream is live, and its least latency.
fn upstream_latency(element: &gst::Element) -> Option<(bool, gst::ClockTime)> {
    let mut query = gst::query::Latency::new();
    let answered = element.static_pad("sink")?.peer_query(&mut query);
    let (live, least, _) = query.result();
    answered.then_some((live, least))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: gst::ClockTime = gst::ClockTime::MSECOND;

    /// Some frames take 40 ms each.
    fn measure(clock: &mut Clock) {
        for i in 0..5 {
            clock.latency.update(40 * MS, 40 * i * MS);
        }
    }

    #[test]
    fn a_late_frame_that_was_inferred_is_the_elements_own_affair() {
        let mut clock = Clock::default();
        assert!(!clock.hear(100 * MS, 7_000_000), "nothing was inferred");
        measure(&mut clock);
        clock.inferred = Some(140 * MS);
        assert!(clock.hear(140 * MS, 7_000_000));
        assert_eq!(clock.earliest, Some((140 + 7 + 40) * MS));
        assert!(!clock.hear(180 * MS, 3_000_000), "late without inference");
        assert!(!clock.hear(220 * MS, -1));
        assert_eq!(clock.earliest, None);
        clock.hear(1000 * MS, i64::MAX);
        assert!(clock.earliest.is_some_and(|earliest| earliest > 1000 * MS));
    }

    #[test]
    fn frames_pass_that_would_be_late_while_that_helps() {
        let mut foresight = Foresight::default();
        // Frames of 40 ms, shown after 150; inference is said to take 100.
        let mut is_late =
            |(index, behind): (u64, u64)| foresight.is_late(40 * index * MS, behind * MS, 100 * MS, 150 * MS);
        assert_eq!(
            [(0, 40), (1, 50), (2, 51), (3, 40)].map(&mut is_late),
            [false, false, true, false]
        );
        // Each that passes brings the next one nearer.
        assert_eq!(
            [(4, 200), (5, 160), (6, 120), (7, 80), (8, 41)].map(&mut is_late),
            [true, true, true, true, false]
        );
        // A sink that waits holds them up until 110: it does not help that they pass.
        assert_eq!(
            [(9, 110), (10, 110), (11, 110), (12, 112)].map(&mut is_late),
            [true, false, false, false]
        );
        assert_eq!(
            [(13, 161), (14, 121), (15, 110)].map(&mut is_late),
            [true, false, false]
        );
        // Once one comes early, they are not held up any more.
        assert_eq!([(16, 40), (17, 110)].map(&mut is_late), [false, true]);
    }

    #[test]
    fn only_a_live_pipeline_has_latency() {
        gst::init().expect("GStreamer starts");
        let live = Live::default();
        measure(&mut lock(&live.clock));
        let answer = |is_live, most| {
            let mut query = gst::query::Latency::new();
            query.set(is_live, 33 * MS, most);
            assert!(live.query(gst::PadDirection::Src, &mut query, |_| true));
            query.result()
        };
        assert_eq!(answer(false, None), (false, 33 * MS, None));
        assert_eq!(answer(true, None), (true, 81 * MS, None));
        assert_eq!(answer(true, Some(66 * MS)), (true, 81 * MS, Some(114 * MS)));
    }
}

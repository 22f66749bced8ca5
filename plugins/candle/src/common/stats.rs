//! What an element counts and times, and how it tells: the properties `stats` and `stats-interval`.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gst::{glib, prelude::*};

use super::lock;
use super::settings::get;

/// How many times the percentiles look back on.
const WINDOW: usize = 512;
/// How far back a rate looks, and how many times at most.
const RATE_SPAN: Duration = Duration::from_secs(3);
const RATE_WINDOW: usize = 4096;

/// The last times that something took.
#[derive(Debug, Default)]
struct Window(VecDeque<Duration>);

impl Window {
    fn push(&mut self, time: Duration) {
        if self.0.len() == WINDOW {
            self.0.pop_front();
        }
        self.0.push_back(time);
    }

    /// The nearest-rank percentiles in milliseconds; 0 where there is no time.
    fn percentiles_ms(&self, percents: [usize; 2]) -> [f64; 2] {
        let mut times: Vec<_> = self.0.iter().collect();
        times.sort_unstable();
        percents.map(|percent| {
            let rank = (times.len() * percent).div_ceil(100);
            times
                .get(rank.saturating_sub(1))
                .map_or(0.0, |time| time.as_secs_f64() * 1e3)
        })
    }
}

/// How often something happened lately.
#[derive(Debug, Default)]
pub struct Rate(VecDeque<Instant>);

impl Rate {
    /// It happens `now`.
    pub fn add(&mut self, now: Instant) {
        if self.0.len() == RATE_WINDOW {
            self.0.pop_front();
        }
        self.0.push_back(now);
        while self
            .0
            .front()
            .is_some_and(|&first| now.duration_since(first) > RATE_SPAN)
        {
            self.0.pop_front();
        }
    }

    /// Times a second over the last three seconds; 0 when it stopped before them.
    pub fn per_second(&self, now: Instant) -> f64 {
        let recent = |time: &&Instant| now.duration_since(**time) <= RATE_SPAN;
        let Some(first) = self.0.iter().find(recent) else {
            return 0.0;
        };
        let intervals = self.0.iter().filter(recent).count() - 1;
        match now.duration_since(*first).as_secs_f64() {
            0.0 => 0.0,
            seconds => intervals as f64 / seconds,
        }
    }
}

/// What every element counts and times.
#[derive(Debug, Default)]
struct Stats {
    frames: u64,
    rate: Rate,
    work: Window,
    lag: Window,
}

/// Counts and times frames, and tells it as often as `stats-interval` says.
#[derive(Debug, Default)]
pub struct Meter {
    stats: Mutex<Stats>,
    /// Nanoseconds; 0 = never.
    interval: AtomicU64,
    told: Mutex<Option<Instant>>,
}

impl Meter {
    /// What `stats` shows of an element that draws.
    pub const DRAWING: &str = "Frames since the start; frames a second over the last three seconds; median and 99th percentile, in \
         milliseconds, of the last drawings, and of how far the last frames were behind the clock when they left.";

    /// The properties `stats`, which shows what `blurb` says, and `stats-interval`.
    pub fn properties(blurb: &'static str) -> [glib::ParamSpec; 2] {
        [
            glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                .nick("Statistics")
                .blurb(blurb)
                .read_only()
                .build(),
            glib::ParamSpecUInt64::builder("stats-interval")
                .nick("Statistics interval")
                .blurb(
                    "The time, in nanoseconds, between two tellings of `stats` while frames come: as an element message \
                     `candle-stats` on the bus and as a line of the level INFO in the element's debug category. 0 stands for none.",
                )
                .mutable_playing()
                .build(),
        ]
    }

    /// Sets the property `name`; `false` where it is none of these.
    pub fn set(&self, name: &str, value: &glib::Value) -> bool {
        let is_interval = name == "stats-interval";
        if is_interval {
            self.interval.store(get(value), Ordering::Relaxed);
        }
        is_interval
    }

    /// The value of the property `name`, if it is one of these.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        match name {
            "stats" => Some(self.to_structure().to_value()),
            "stats-interval" => Some(self.interval.load(Ordering::Relaxed).to_value()),
            _ => None,
        }
    }

    /// Begins anew.
    pub fn reset(&self) {
        *lock(&self.stats) = Stats::default();
        *lock(&self.told) = None;
    }

    /// Counts a frame.
    pub fn count(&self) {
        let mut stats = lock(&self.stats);
        stats.frames += 1;
        stats.rate.add(Instant::now());
    }

    /// Records how long the work on a frame took.
    pub fn record(&self, time: Duration) {
        lock(&self.stats).work.push(time);
    }

    /// A frame of this running time leaves `element`: records how far it is behind the clock, and tells `stats` if it is time.
    pub fn leave(
        &self,
        element: &gst::Element,
        cat: gst::DebugCategory,
        running_time: Option<gst::ClockTime>,
        stats: impl FnOnce() -> gst::Structure,
    ) {
        if let (Some(due), Some(now)) = (running_time, element.current_running_time()) {
            lock(&self.stats).lag.push(now.saturating_sub(due).into());
        }
        if self.is_due(Instant::now()) {
            let stats = stats();
            gst::info!(cat, obj = element, "{stats}");
            // Fails only where there is no bus, which means that nobody listens.
            let _ = element.post_message(gst::message::Element::builder(stats).src(element).build());
        }
    }

    /// Whether an interval is over `now`; the first begins with the first frame.
    fn is_due(&self, now: Instant) -> bool {
        let interval = Duration::from_nanos(self.interval.load(Ordering::Relaxed));
        let mut told = lock(&self.told);
        if interval.is_zero() {
            *told = None;
            return false;
        }
        let due = told.is_some_and(|last| now.duration_since(last) >= interval);
        if due || told.is_none() {
            *told = Some(now);
        }
        due
    }

    /// As the property `stats` shows it; percentiles are 0 before the first frame.
    pub fn to_structure(&self) -> gst::Structure {
        let stats = lock(&self.stats);
        let ([ms_p50, ms_p99], [lag_p50, lag_p99]) =
            (stats.work.percentiles_ms([50, 99]), stats.lag.percentiles_ms([50, 99]));
        gst::Structure::builder("candle-stats")
            .field("frames", stats.frames)
            .field("fps", stats.rate.per_second(Instant::now()))
            .field("ms-p50", ms_p50)
            .field("ms-p99", ms_p99)
            .field("latency-ms-p50", lag_p50)
            .field("latency-ms-p99", lag_p99)
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank_over_the_last_window() {
        let mut window = Window::default();
        assert_eq!(window.percentiles_ms([50, 99]), [0.0, 0.0]);
        window.push(Duration::from_secs(1000));
        for ms in (1..=WINDOW as u64).rev() {
            window.push(Duration::from_millis(ms));
        }
        assert_eq!(window.percentiles_ms([50, 99]), [256.0, 507.0]);
    }

    #[test]
    fn a_rate_is_of_the_last_seconds() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(start), 0.0);
        // Two seconds at 10 a second, then five at 100.
        (0..20).for_each(|i| rate.add(at(100 * i)));
        assert_eq!(rate.per_second(at(1900)), 10.0);
        (200..=700).for_each(|i| rate.add(at(10 * i)));
        assert_eq!(rate.per_second(at(7000)), 100.0);
        assert_eq!(rate.per_second(at(8000)), 200.0 / 3.0, "it stopped a second ago");
        assert_eq!(rate.per_second(at(10_001)), 0.0);
        (0..3 * RATE_WINDOW as u64)
            .for_each(|i| rate.add(start + Duration::from_secs(20) + Duration::from_micros(50 * i)));
        let last = start + Duration::from_secs(20) + Duration::from_micros(50 * (3 * RATE_WINDOW as u64 - 1));
        assert!((rate.per_second(last) - 20_000.0).abs() < 1.0, "more than it keeps");
    }

    #[test]
    fn an_interval_begins_with_the_first_frame() {
        let start = Instant::now();
        let meter = Meter::default();
        let due = |ms| meter.is_due(start + Duration::from_millis(ms));
        assert!(!due(0), "never");
        meter.interval.store(100_000_000, Ordering::Relaxed);
        assert_eq!(
            [5, 90, 105, 150, 204, 400].map(due),
            [false, false, true, false, false, true]
        );
    }
}

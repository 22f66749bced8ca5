//! What an element counts and times.

use std::collections::VecDeque;
use std::time::Duration;

use super::pace::Pace;

/// How many inferences the percentiles look back on.
const WINDOW: usize = 512;

/// Counts since the start, and the times of the last inferences.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    frames: u64,
    inferred: u64,
    skipped: u64,
    late: u64,
    times: VecDeque<Duration>,
}

impl Stats {
    /// Counts a frame and what became of it.
    pub fn count(&mut self, pace: Pace) {
        self.frames += 1;
        match pace {
            Pace::Infer => self.inferred += 1,
            Pace::Skip => self.skipped += 1,
            Pace::Late => self.late += 1,
        }
    }

    /// Records how long an inference took.
    pub fn record(&mut self, time: Duration) {
        if self.times.len() == WINDOW {
            self.times.pop_front();
        }
        self.times.push_back(time);
    }

    /// As the property `stats` shows it; percentiles are 0 before the first inference.
    pub fn to_structure(&self) -> gst::Structure {
        let mut times: Vec<_> = self.times.iter().copied().collect();
        times.sort_unstable();
        gst::Structure::builder("candle-stats")
            .field("frames", self.frames)
            .field("inferred", self.inferred)
            .field("skipped", self.skipped)
            .field("late", self.late)
            .field("ms-p50", percentile_ms(&times, 50))
            .field("ms-p99", percentile_ms(&times, 99))
            .build()
    }
}

/// The nearest-rank percentile of sorted times, in milliseconds.
fn percentile_ms(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted
        .get(rank.saturating_sub(1))
        .map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank_over_the_last_window() {
        gst::init().expect("GStreamer starts");
        let mut stats = Stats::default();
        let empty = stats.to_structure();
        assert_eq!(
            (empty.get::<f64>("ms-p50"), empty.get::<f64>("ms-p99")),
            (Ok(0.0), Ok(0.0))
        );

        stats.record(Duration::from_secs(1000));
        for ms in (1..=WINDOW as u64).rev() {
            stats.record(Duration::from_millis(ms));
        }
        let full = stats.to_structure();
        assert_eq!(
            (full.get::<f64>("ms-p50"), full.get::<f64>("ms-p99")),
            (Ok(256.0), Ok(507.0))
        );
    }

    #[test]
    fn every_frame_is_counted_once() {
        gst::init().expect("GStreamer starts");
        let mut stats = Stats::default();
        for pace in [Pace::Infer, Pace::Skip, Pace::Skip, Pace::Late, Pace::Late, Pace::Late] {
            stats.count(pace);
        }
        let s = stats.to_structure();
        let count = |name| s.get::<u64>(name).expect("a count");
        assert_eq!(
            (count("frames"), count("inferred"), count("skipped"), count("late")),
            (6, 1, 2, 3)
        );
    }
}

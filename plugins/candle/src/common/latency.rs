//! The latency that an element answers for: what its work on a frame takes, measured.
//!
//! GStreamer's sinks leave 15 or 20 ms for what all elements of a live pipeline do to a frame (`processing-deadline`). A network may take longer, and
//! the frame then is late at the sink unless the LATENCY query says so. What is said must be true, and must hardly ever change, because each change
//! moves the moment at which all sinks show their frames.

use std::collections::VecDeque;

use gst::ClockTime;

/// How many times are looked back on.
const WINDOW: usize = 100;
/// The first times that are not believed: plans and memory are made in them.
const WARM_UP: u32 = 1;
/// Times that it takes to say something.
const LEAST: usize = 3;
/// The shortest time between two rises.
const RISE: ClockTime = ClockTime::SECOND;
/// How long half must have been enough before less is said.
const FALL: ClockTime = ClockTime::from_seconds(30);
/// The most that is said: a slower network is for frames that pass it by.
const MOST: ClockTime = ClockTime::SECOND;

/// Measures, and decides what is said.
#[derive(Debug, Default)]
pub struct Latency {
    times: VecDeque<ClockTime>,
    warm_up: u32,
    said: ClockTime,
    /// When `said` was changed last, by the clock.
    changed: Option<ClockTime>,
    /// Since when half would do.
    low_since: Option<ClockTime>,
}

impl Latency {
    /// What is said; 0 at first.
    pub fn said(&self) -> ClockTime {
        self.said
    }

    /// What the work on a frame takes, usually; 0 where nothing is known.
    pub fn typical(&self) -> ClockTime {
        self.percentile(50)
    }

    /// From now on the work is another one: other frames, or another model. What is said stays until the new one is known.
    pub fn work_changes(&mut self) {
        self.times.clear();
        self.warm_up = 0;
        self.low_since = None;
    }

    /// The work on a frame took `time`, at `now` by the clock; gives whether there is something else to say.
    pub fn update(&mut self, time: ClockTime, now: ClockTime) -> bool {
        if self.warm_up < WARM_UP {
            self.warm_up += 1;
            return false;
        }
        if self.times.len() == WINDOW {
            self.times.pop_front();
        }
        self.times.push_back(time);
        if self.times.len() < LEAST {
            return false;
        }
        let needed = step(self.percentile(95));
        let since = |then: Option<ClockTime>| then.map_or(ClockTime::MAX, |then| now.saturating_sub(then));
        if needed > self.said {
            self.low_since = None;
            since(self.changed) >= RISE && self.say(needed, now)
        } else if needed * 2 > self.said || self.said.is_zero() {
            self.low_since = None;
            false
        } else {
            let low_since = *self.low_since.get_or_insert(now);
            since(Some(low_since)) >= FALL && self.say(needed, now)
        }
    }

    fn say(&mut self, time: ClockTime, now: ClockTime) -> bool {
        self.said = time;
        self.changed = Some(now);
        self.low_since = None;
        true
    }

    /// A percentile that one outlier among a few does not decide.
    fn percentile(&self, percent: usize) -> ClockTime {
        let mut times: Vec<_> = self.times.iter().copied().collect();
        times.sort_unstable();
        let at = times.len().saturating_sub(1) * percent / 100;
        times.get(at).copied().unwrap_or(ClockTime::ZERO)
    }
}

/// The time and a tenth, rounded up to one of eight steps an octave and to a millisecond at least. What is shorter than a millisecond is left to the
/// sinks' own allowance.
fn step(time: ClockTime) -> ClockTime {
    if time < ClockTime::MSECOND {
        return ClockTime::ZERO;
    }
    let ms = (time.min(MOST).nseconds() * 11).div_ceil(10_000_000);
    let unit = (ms.next_power_of_two() / 8).max(1);
    ClockTime::from_mseconds(ms.next_multiple_of(unit)).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: ClockTime = ClockTime::MSECOND;

    /// Frames at 25 a second, each taking so many milliseconds; the times and values of what was said.
    fn said(latency: &mut Latency, times: impl IntoIterator<Item = u64>) -> Vec<(usize, u64)> {
        let start = latency.changed.unwrap_or_default() + ClockTime::SECOND;
        let frames = times.into_iter().enumerate();
        frames
            .filter_map(|(i, ms)| {
                let changed = latency.update(ms * MS, start + 40 * i as u64 * MS);
                changed.then(|| (i, latency.said().mseconds()))
            })
            .collect()
    }

    #[test]
    fn steps_are_above_the_time_by_a_tenth_and_two_fifths_at_most() {
        assert_eq!(step(999 * ClockTime::USECOND), ClockTime::ZERO);
        assert_eq!(
            [1, 2, 12, 40, 100, 900, 5000].map(|ms| step(ms * MS).mseconds()),
            [2, 3, 14, 48, 112, 1000, 1000]
        );
        for ms in 3..900 {
            let ratio = step(ms * MS).nseconds() as f64 / (ms * MS).nseconds() as f64;
            assert!((1.1..1.4).contains(&ratio), "{ms} ms: {ratio}");
        }
    }

    #[test]
    fn a_steady_time_is_said_once_and_neither_warm_up_nor_outliers_are() {
        let mut latency = Latency::default();
        assert_eq!(said(&mut latency, [700, 40, 41, 39]), [(3, 48)]);
        let wobbling = (0..2000).map(|i| if i % 50 == 0 { 200 } else { 36 + i % 8 });
        assert_eq!(said(&mut latency, wobbling), []);
        assert_eq!(latency.typical().mseconds(), 40);
    }

    #[test]
    fn more_is_said_soon_and_less_late() {
        let mut latency = Latency::default();
        said(&mut latency, [0, 20, 20, 20]);
        assert_eq!(latency.said().mseconds(), 24);
        let rising = said(&mut latency, [60; 30]);
        assert_eq!((rising.len(), rising[0].1), (1, 80), "{rising:?}");
        // It needs four seconds until all are short, and thirty more.
        let falling = said(&mut latency, [20; 2000]);
        assert_eq!((falling.len(), falling[0].1), (1, 24), "{falling:?}");
        assert!((750..900).contains(&falling[0].0), "{falling:?}");
        assert_eq!(said(&mut latency, [14; 2000]), [], "not much less");
    }

    #[test]
    fn load_that_comes_and_goes_changes_it_once() {
        let mut latency = Latency::default();
        said(&mut latency, [0, 20, 20, 20]);
        let waves = (0..5000).map(|i| if i / 250 % 2 == 0 { 20 } else { 60 });
        assert_eq!(said(&mut latency, waves).len(), 1);
    }

    #[test]
    fn other_work_is_measured_anew() {
        let mut latency = Latency::default();
        said(&mut latency, [0, 20, 20, 20]);
        latency.work_changes();
        assert_eq!((latency.said().mseconds(), latency.typical()), (24, ClockTime::ZERO));
        assert_eq!(said(&mut latency, [500, 50, 50, 50]), [(3, 56)]);
    }
}

//! Which frame comes next, and when.

const NANOSECONDS: u128 = 1_000_000_000;

/// A frame's number and its place in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Frames before it since the start of the stream.
    pub frame: u64,
    /// When it begins.
    pub pts: gst::ClockTime,
    /// Until the next one begins.
    pub duration: gst::ClockTime,
    /// Whether frames were left out before it.
    pub discont: bool,
}

/// Counts frames at a rate that may change, forwards or backwards.
#[derive(Debug, Clone)]
pub struct Timeline {
    /// So many frames in so many seconds.
    rate: [u64; 2],
    /// The frame with which this rate began, and when.
    origin: (u64, gst::ClockTime),
    /// `None` behind the first frame on the way back.
    next: Option<u64>,
    backwards: bool,
    discont: bool,
}

impl Timeline {
    /// From frame 0 at time 0, `rate[0]` frames in `rate[1]` seconds; neither is 0.
    pub fn new(rate: [u64; 2]) -> Self {
        Self {
            rate,
            origin: (0, gst::ClockTime::ZERO),
            next: Some(0),
            backwards: false,
            discont: false,
        }
    }

    /// Goes on where it is at another rate.
    pub fn with_rate(mut self, rate: [u64; 2]) -> Self {
        if let Some(next) = self.next {
            self.origin = (next, self.time_of(next));
        }
        Self { rate, ..self }
    }

    /// How long `frames` frames last, rounded down to nanoseconds.
    pub fn length(&self, frames: u64) -> gst::ClockTime {
        let [rate, seconds] = self.rate.map(u128::from);
        let nanoseconds = u128::from(frames) * seconds * NANOSECONDS / rate;
        let most = gst::ClockTime::MAX.nseconds();
        gst::ClockTime::from_nseconds(u64::try_from(nanoseconds).unwrap_or(most).min(most))
    }

    /// Goes to the frame that is seen at `position`, or that ends there if `backwards`. All frames count as of the present rate.
    pub fn seek(&mut self, position: gst::ClockTime, backwards: bool) {
        self.origin = (0, gst::ClockTime::ZERO);
        self.backwards = backwards;
        let seen = self.frame_at(position);
        self.next = if backwards && self.time_of(seen) == position {
            seen.checked_sub(1)
        } else {
            Some(seen)
        };
        self.discont = true;
    }

    /// Leaves out the frames that are over at `now`.
    pub fn catch_up(&mut self, now: gst::ClockTime) {
        if let Some(next) = self.next
            && self.time_of(next + 1) < now
        {
            self.next = Some(self.frame_at(now));
            self.discont = true;
        }
    }

    /// Tells that a frame was lost.
    pub fn interrupt(&mut self) {
        self.discont = true;
    }

    /// The next frame; `None` behind the first one on the way back.
    pub fn advance(&mut self) -> Option<Tick> {
        let frame = self.next?;
        self.next = if self.backwards {
            frame.checked_sub(1)
        } else {
            Some(frame + 1)
        };
        let pts = self.time_of(frame);
        let duration = self.time_of(frame + 1).saturating_sub(pts);
        Some(Tick {
            frame,
            pts,
            duration,
            discont: std::mem::take(&mut self.discont),
        })
    }

    /// When `frame`, not before the origin, begins.
    fn time_of(&self, frame: u64) -> gst::ClockTime {
        self.origin
            .1
            .saturating_add(self.length(frame.saturating_sub(self.origin.0)))
    }

    /// The frame that is seen at `time`, not before the origin.
    fn frame_at(&self, time: gst::ClockTime) -> u64 {
        let [rate, seconds] = self.rate.map(u128::from);
        let since = u128::from(time.saturating_sub(self.origin.1).nseconds());
        let frame = self.origin.0 + u64::try_from(since * rate / (seconds * NANOSECONDS)).unwrap_or(u64::MAX / 2);
        // Times are rounded down, so that the next frame may have begun already.
        if self.time_of(frame + 1) <= time {
            frame + 1
        } else {
            frame
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NTSC: [u64; 2] = [30_000, 1001];

    fn ticks(timeline: &mut Timeline, count: usize) -> Vec<Tick> {
        (0..count).map_while(|_| timeline.advance()).collect()
    }

    #[test]
    fn frames_follow_without_gap_or_drift() {
        let all = ticks(&mut Timeline::new(NTSC), 30_001);
        assert!(all.windows(2).all(|pair| pair[0].pts + pair[0].duration == pair[1].pts));
        assert_eq!(all[30_000].pts, gst::ClockTime::from_seconds(1001));
        assert!(all.iter().all(|tick| !tick.discont));
    }

    #[test]
    fn every_frame_is_found_at_its_own_time() {
        for rate in [NTSC, [30, 1], [1, 3], [240, 7]] {
            let all = ticks(&mut Timeline::new(rate), 200);
            for tick in &all {
                let mut timeline = Timeline::new(rate);
                timeline.seek(tick.pts, false);
                assert_eq!(timeline.advance(), Some(Tick { discont: true, ..*tick }));
                timeline.seek(tick.pts + tick.duration - gst::ClockTime::from_nseconds(1), false);
                assert_eq!(timeline.advance().map(|tick| tick.frame), Some(tick.frame));
                timeline.seek(tick.pts + tick.duration, true);
                assert_eq!(timeline.advance().map(|tick| tick.frame), Some(tick.frame));
            }
        }
    }

    #[test]
    fn backwards_ends_behind_frame_0() {
        let mut timeline = Timeline::new([10, 1]);
        timeline.seek(gst::ClockTime::from_mseconds(250), true);
        assert_eq!(
            ticks(&mut timeline, 9)
                .iter()
                .map(|tick| tick.frame)
                .collect::<Vec<_>>(),
            [2, 1, 0]
        );
        timeline.seek(gst::ClockTime::ZERO, true);
        assert_eq!(timeline.advance(), None);
    }

    #[test]
    fn a_new_rate_goes_on_where_the_old_one_was() {
        let mut timeline = Timeline::new([10, 1]);
        ticks(&mut timeline, 5);
        let mut timeline = timeline.with_rate([100, 1]);
        let all = ticks(&mut timeline, 2);
        assert_eq!(all.iter().map(|tick| tick.frame).collect::<Vec<_>>(), [5, 6]);
        assert_eq!(
            all.iter().map(|tick| tick.pts.mseconds()).collect::<Vec<_>>(),
            [500, 510]
        );
        assert_eq!(all[1].duration.mseconds(), 10);
    }

    #[test]
    fn frames_that_are_over_are_left_out() {
        let mut timeline = Timeline::new([10, 1]);
        timeline.catch_up(gst::ClockTime::from_mseconds(99));
        assert_eq!(
            timeline.advance().map(|tick| (tick.frame, tick.discont)),
            Some((0, false))
        );
        timeline.catch_up(gst::ClockTime::from_mseconds(730));
        assert_eq!(
            timeline.advance().map(|tick| (tick.frame, tick.discont)),
            Some((7, true))
        );
        assert_eq!(
            timeline.advance().map(|tick| (tick.frame, tick.discont)),
            Some((8, false))
        );
    }

    #[test]
    fn the_far_end_of_time_does_not_overflow() {
        let mut timeline = Timeline::new([1, i32::MAX as u64]);
        timeline.seek(gst::ClockTime::MAX, false);
        assert!(timeline.advance().is_some());
        assert_eq!(timeline.length(u64::MAX), gst::ClockTime::MAX);
    }
}

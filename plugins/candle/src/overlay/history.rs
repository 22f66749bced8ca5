//! What the overlay remembers from frame to frame: the score over time, and how old results are.

/// Columns that the time looked back on is cut into.
pub const COLUMNS: usize = 240;

/// Where nothing was found for longer than this share of the time looked back on, the curve has a gap.
const BRIDGED: usize = COLUMNS / 8;

/// The highest score in one column of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Column {
    /// Between 0 and 1, 0.5 at the threshold.
    pub score: f32,
    /// Whether a frame in it was inferred.
    pub fresh: bool,
}

/// The score over the last seconds.
#[derive(Debug, Clone)]
pub struct History {
    columns: [Option<Column>; COLUMNS],
    /// The time looked back on.
    duration: gst::ClockTime,
    /// Number of the newest column, counted from time 0; it lies at this modulo [`COLUMNS`].
    newest: Option<u64>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            columns: [None; COLUMNS],
            duration: gst::ClockTime::ZERO,
            newest: None,
        }
    }
}

impl History {
    /// Adds the score of a frame shown at `time`. Where time goes back, or `duration` is another, it begins anew.
    pub fn push(&mut self, time: gst::ClockTime, score: f64, fresh: bool, duration: gst::ClockTime) {
        let index = time.nseconds() / (duration.nseconds() / COLUMNS as u64).max(1);
        if duration != self.duration || self.newest.is_some_and(|newest| index < newest) {
            *self = Self {
                duration,
                ..Self::default()
            };
        }
        let column = Column {
            score: score.clamp(0.0, 1.0) as f32,
            fresh,
        };
        if let Some(newest) = self.newest.filter(|&newest| newest < index) {
            let before = self.columns[(newest % COLUMNS as u64) as usize];
            let bridge = before.filter(|_| index - newest <= BRIDGED as u64);
            for passed in (newest + 1..index).take(COLUMNS) {
                self.columns[(passed % COLUMNS as u64) as usize] = bridge;
            }
        }
        let there = &mut self.columns[(index % COLUMNS as u64) as usize];
        *there = match *there {
            Some(other) if self.newest == Some(index) && (other.fresh, other.score) > (fresh, column.score) => {
                Some(other)
            }
            _ => Some(column),
        };
        self.newest = Some(index);
    }

    /// The time looked back on.
    pub fn duration(&self) -> gst::ClockTime {
        self.duration
    }

    /// The columns, oldest first.
    pub fn columns(&self) -> impl Iterator<Item = Option<Column>> {
        let oldest = self.newest.map_or(0, |newest| (newest + 1) % COLUMNS as u64) as usize;
        let (newer, older) = self.columns.split_at(oldest);
        older.iter().chain(newer).copied()
    }
}

/// How old a result is that was carried over to a frame that was not inferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Age {
    /// Of this frame, or of one less than a second ago.
    #[default]
    Young,
    /// So many whole seconds.
    Seconds(u64),
    /// The frame that it is of was never seen.
    Unknown,
}

/// When the last frame with a result of its own was shown.
#[derive(Debug, Clone, Default)]
pub struct Freshness(Option<gst::ClockTime>);

impl Freshness {
    /// The age of the result of the frame shown at `time`.
    pub fn age(&mut self, stale: bool, time: Option<gst::ClockTime>) -> Age {
        if !stale {
            self.0 = time;
            return Age::Young;
        }
        match (self.0, time) {
            (Some(last), Some(time)) => match time.saturating_sub(last).seconds() {
                0 => Age::Young,
                seconds => Age::Seconds(seconds),
            },
            _ => Age::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: gst::ClockTime = gst::ClockTime::SECOND;

    /// A history of 24 seconds, so that a column is a tenth of a second.
    fn push(history: &mut History, tenths: u64, score: f64, fresh: bool) {
        history.push(SECOND * tenths / 10, score, fresh, SECOND * 24);
    }

    fn scores(history: &History) -> Vec<f32> {
        history
            .columns()
            .map(|column| column.map_or(-1.0, |c| c.score))
            .collect()
    }

    #[test]
    fn it_scrolls_and_forgets() {
        let mut history = History::default();
        for i in 0..1000 {
            push(&mut history, i, i as f64 / 1000.0, true);
        }
        let found = scores(&history);
        assert_eq!(found.len(), COLUMNS);
        let expected: Vec<f32> = (1000 - COLUMNS..1000).map(|i| (i as f64 / 1000.0) as f32).collect();
        assert_eq!(found, expected);
        push(&mut history, 1000, 2.0, true);
        assert_eq!(scores(&history)[..COLUMNS - 1], expected[1..]);
        assert_eq!(scores(&history)[COLUMNS - 1], 1.0);
    }

    #[test]
    fn short_gaps_are_bridged_and_long_ones_are_not() {
        let mut history = History::default();
        push(&mut history, 5, 0.25, true);
        push(&mut history, 8, 0.5, true);
        push(&mut history, 50, 0.75, true);
        let found = scores(&history);
        assert_eq!(found[COLUMNS - 46..COLUMNS - 41], [0.25, 0.25, 0.25, 0.5, -1.0]);
        assert_eq!(found[COLUMNS - 2..], [-1.0, 0.75]);
        push(&mut history, 10_000, 0.5, true);
        assert_eq!(scores(&history).iter().filter(|&&score| score >= 0.0).count(), 1);
    }

    #[test]
    fn a_column_keeps_the_highest_of_the_inferred() {
        let mut history = History::default();
        for (score, fresh) in [(0.9, false), (0.2, true), (0.4, true), (0.3, true), (1.0, false)] {
            push(&mut history, 7, score, fresh);
        }
        let last = history.columns().last().flatten();
        assert_eq!(
            last,
            Some(Column {
                score: 0.4,
                fresh: true
            })
        );
    }

    #[test]
    fn it_begins_anew_when_time_goes_back_or_another_duration_is_asked_for() {
        let mut history = History::default();
        push(&mut history, 100, 0.5, true);
        push(&mut history, 20, 0.25, true);
        let seen = |history: &History| scores(history).into_iter().filter(|&s| s >= 0.0).collect::<Vec<_>>();
        assert_eq!(seen(&history), [0.25]);
        history.push(SECOND * 3, 0.125, true, SECOND * 5);
        assert_eq!(seen(&history), [0.125]);
        history.push(gst::ClockTime::ZERO, f64::NAN, true, SECOND * 5);
    }

    #[test]
    fn results_carried_over_grow_old() {
        let mut freshness = Freshness::default();
        let at = |tenths: u64| Some(SECOND * tenths / 10);
        assert_eq!(freshness.age(true, at(0)), Age::Unknown);
        assert_eq!(freshness.age(false, at(1)), Age::Young);
        assert_eq!(freshness.age(true, at(10)), Age::Young);
        assert_eq!(freshness.age(true, at(11)), Age::Seconds(1));
        assert_eq!(freshness.age(true, at(35)), Age::Seconds(3));
        assert_eq!(freshness.age(true, None), Age::Unknown);
        assert_eq!(freshness.age(false, None), Age::Young);
    }
}

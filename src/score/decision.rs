//! Decisions in time: a state that does not flicker. Times are nanoseconds of running time.
//!
//! Frames come in the order of their times. When a time lies before the last one, the stream has started anew: the state
//! forgets what was and begins with that frame.

use std::collections::VecDeque;

use super::metrics::largest;

/// Settings of [`AlarmState`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlarmSettings {
    /// Score at and above which a frame counts as anomalous.
    pub threshold: f32,
    /// Score at and above which a frame counts as anomalous while the alarm is on: at most `threshold`.
    pub release: f32,
    /// So many of the last `of_frames` frames must be anomalous before the alarm starts; 0 is 1.
    pub min_frames: usize,
    /// At least `min_frames`, or it is.
    pub of_frames: usize,
    /// How long the score must stay at or above the threshold before the alarm starts, in ns.
    pub min_duration_ns: u64,
    /// How long after the last anomalous frame the alarm holds, in ns.
    pub hold_duration_ns: u64,
}

/// The alarm of an anomaly element.
///
/// It starts with the frame that ends an unbroken row of anomalous frames as long as the least duration (the first one where that is 0)
/// and is the last needed of the least number of frames. It ends with the first good frame that comes the hold duration or more after the
/// last anomalous one; while it is on, a frame is anomalous by the lower threshold, and a single one prolongs it. A score that is not a
/// number counts as anomalous: a frame that cannot be judged is not a good one.
#[derive(Debug, Clone, Default)]
pub struct AlarmState {
    on: bool,
    /// Time of the first frame of the unbroken row of anomalous frames that the last frame belongs to.
    row_start: Option<u64>,
    last_anomalous: u64,
    last_time: Option<u64>,
    /// Whether each of the last frames was anomalous.
    recent: VecDeque<bool>,
}

impl AlarmState {
    /// Takes one frame's score at `time_ns`; returns whether the alarm is on, and whether that changed.
    pub fn update(&mut self, settings: &AlarmSettings, score: f32, time_ns: u64) -> (bool, bool) {
        let before = self.on;
        if self.last_time.is_some_and(|last| time_ns < last) {
            self.reset();
        }
        self.last_time = Some(time_ns);
        let anomalous = score >= settings.threshold || score.is_nan();
        self.recent.push_back(anomalous);
        while self.recent.len() > settings.of_frames.max(settings.min_frames).max(1) {
            self.recent.pop_front();
        }
        if anomalous {
            let start = *self.row_start.get_or_insert(time_ns);
            let frames = self.recent.iter().filter(|anomalous| **anomalous).count();
            self.on |= time_ns - start >= settings.min_duration_ns && frames >= settings.min_frames;
        } else {
            self.row_start = None;
        }
        if anomalous || (self.on && score >= settings.release) {
            self.last_anomalous = time_ns;
        } else {
            self.on &= time_ns - self.last_anomalous < settings.hold_duration_ns;
        }
        (self.on, self.on != before)
    }

    /// Forgets everything, as after a flush.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Settings of [`LabelState`].
#[derive(Debug, Clone, PartialEq)]
pub struct LabelSettings {
    /// Weight of the past in the running mean of probabilities, 0 (none) up to 1.
    pub smoothing: f32,
    /// Least probability for each class (one value for all when its length is 1); below it the label is unknown.
    pub thresholds: Vec<f32>,
    /// Largest distance from the nearest known code; beyond it the label is unknown.
    pub distance: f32,
    /// A label in force stays down to this share of its threshold, 0 to 1, unless another class reaches its own.
    pub leave: f32,
    /// How long a label stays at least, in ns.
    pub hold_duration_ns: u64,
}

/// The label of a classifier element.
///
/// The label is the class with the largest smoothed probability where that reaches the class's threshold and the smoothed distance from
/// known codes is not too large, else unknown. A label stays for the hold duration at least; unknown gives way at once. A frame whose
/// probabilities are not all finite leaves the running means as they are.
#[derive(Debug, Clone, Default)]
pub struct LabelState {
    smoothed: Vec<f32>,
    distance: f32,
    label: Option<usize>,
    /// When the label came into force.
    since: u64,
    last_time: Option<u64>,
}

impl LabelState {
    /// Takes one frame's probabilities and its distance from known codes (0 where there are none) at `time_ns`; returns the smoothed
    /// probabilities, the label in force (`None` = unknown), and whether it changed. The first frame counts as a change from unknown.
    pub fn update(
        &mut self,
        settings: &LabelSettings,
        probabilities: &[f32],
        distance: f32,
        time_ns: u64,
    ) -> (Vec<f32>, Option<usize>, bool) {
        let before = self.label;
        let back = self.last_time.is_some_and(|last| time_ns < last);
        if back || self.smoothed.len() != probabilities.len() {
            self.reset();
        }
        self.last_time = Some(time_ns);
        self.smooth(settings.smoothing, probabilities, distance);
        let held = self.label.is_some() && time_ns - self.since < settings.hold_duration_ns;
        let candidate = self.candidate(settings);
        if !held && candidate != self.label {
            self.label = candidate;
            self.since = time_ns;
        }
        let nothing_yet = self.smoothed.is_empty();
        let smoothed = if nothing_yet {
            vec![0.0; probabilities.len()]
        } else {
            self.smoothed.clone()
        };
        (smoothed, self.label, self.label != before)
    }

    /// Forgets everything, as after a flush.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    fn smooth(&mut self, past: f32, probabilities: &[f32], distance: f32) {
        if !probabilities.iter().all(|p| p.is_finite()) || !distance.is_finite() {
            return;
        }
        if self.smoothed.is_empty() {
            self.smoothed = probabilities.to_vec();
            self.distance = distance;
        } else {
            let past = past.clamp(0.0, 1.0);
            let values = self.smoothed.iter_mut().zip(probabilities);
            for (mean, now) in values.chain([(&mut self.distance, &distance)]) {
                *mean = past * *mean + (1.0 - past) * now;
            }
        }
    }

    fn candidate(&self, settings: &LabelSettings) -> Option<usize> {
        if self.smoothed.is_empty() {
            return None;
        }
        let class = largest(&self.smoothed);
        let stays = |class: usize| self.is_known(settings, class, settings.leave.clamp(0.0, 1.0));
        let known = self.is_known(settings, class, 1.0).then_some(class);
        known.or(self.label.filter(|&label| stays(label)))
    }

    /// Whether a class is sure enough, by this share of what it takes.
    fn is_known(&self, settings: &LabelSettings, class: usize, share: f32) -> bool {
        let threshold = match settings.thresholds.as_slice() {
            [one] => *one,
            all => all.get(class).copied().unwrap_or(0.0),
        };
        self.smoothed[class] >= share * threshold && share * self.distance <= settings.distance
    }
}

/// How strange a frame is whose most probable class has this probability and threshold, at this distance from known codes, of which there is
/// a largest: above 1 it is unknown.
pub fn strangeness([probability, threshold]: [f32; 2], [distance, most]: [f32; 2]) -> f32 {
    let unsure = (1.0 - probability) / (1.0 - threshold).max(f32::EPSILON);
    let far = distance / most.max(f32::EPSILON);
    unsure.max(far)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALARM: AlarmSettings = AlarmSettings {
        threshold: 0.5,
        release: 0.5,
        min_frames: 1,
        of_frames: 1,
        min_duration_ns: 20,
        hold_duration_ns: 30,
    };

    /// Whether the alarm is on after each `(score, time)`; checks that changes are reported.
    fn alarms(settings: &AlarmSettings, frames: &[(f32, u64)]) -> Vec<bool> {
        let mut state = AlarmState::default();
        let mut last = false;
        let mut all = Vec::new();
        for &(score, time) in frames {
            let (on, changed) = state.update(settings, score, time);
            assert_eq!(changed, on != last, "at {time}");
            last = on;
            all.push(on);
        }
        all
    }

    #[test]
    fn an_alarm_needs_an_unbroken_row() {
        let frames = [
            (0.5, 0),
            (0.9, 10),
            (0.4, 15),
            (0.5, 20),
            (0.5, 30),
            (0.5, 39),
            (0.5, 40),
        ];
        assert_eq!(
            alarms(&ALARM, &frames),
            [false, false, false, false, false, false, true]
        );
    }

    #[test]
    fn an_alarm_holds_and_is_prolonged_by_one_frame() {
        let frames = [
            (1.0, 0),
            (1.0, 20),
            (0.0, 40),
            (1.0, 45),
            (0.0, 50),
            (0.0, 74),
            (0.0, 75),
            (1.0, 80),
            (0.0, 81),
        ];
        assert_eq!(
            alarms(&ALARM, &frames),
            [false, true, true, true, true, true, false, false, false]
        );
    }

    #[test]
    fn without_durations_the_alarm_follows_the_score() {
        let settings = AlarmSettings {
            min_duration_ns: 0,
            hold_duration_ns: 0,
            ..ALARM
        };
        let frames = [(0.49, 0), (0.5, 1), (0.0, 2), (f32::NAN, 3), (0.0, 3)];
        assert_eq!(alarms(&settings, &frames), [false, true, false, true, false]);
    }

    #[test]
    fn some_of_the_last_frames_are_enough_for_an_alarm() {
        let settings = AlarmSettings {
            min_frames: 2,
            of_frames: 3,
            min_duration_ns: 0,
            hold_duration_ns: 0,
            ..ALARM
        };
        let frames = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0];
        let times: Vec<(f32, u64)> = frames.into_iter().zip(0..).collect();
        assert_eq!(
            alarms(&settings, &times),
            [false, false, false, false, false, true, true, false, true]
        );
        // More frames needed than looked at: that many are looked at.
        let all = AlarmSettings {
            of_frames: 0,
            ..settings
        };
        assert_eq!(alarms(&all, &times)[5..], [false, true, false, false]);
    }

    #[test]
    fn an_alarm_ends_at_a_lower_score_than_it_starts_at() {
        let settings = AlarmSettings {
            release: 0.3,
            min_duration_ns: 0,
            hold_duration_ns: 0,
            ..ALARM
        };
        let frames = [(0.4, 0), (0.5, 1), (0.4, 2), (0.3, 3), (0.29, 4), (0.4, 5)];
        assert_eq!(alarms(&settings, &frames), [false, true, true, true, false, false]);
    }

    #[test]
    fn time_that_jumps_back_starts_anew() {
        let frames = [(1.0, 100), (1.0, 120), (1.0, 50), (1.0, 69), (1.0, 70)];
        assert_eq!(alarms(&ALARM, &frames), [false, true, false, false, true]);
        let mut state = AlarmState::default();
        state.update(&ALARM, 1.0, 0);
        state.reset();
        assert_eq!(state.update(&ALARM, 1.0, 20), (false, false));
    }

    fn labels(smoothing: f32, thresholds: &[f32], hold: u64) -> (LabelSettings, LabelState) {
        let settings = LabelSettings {
            smoothing,
            thresholds: thresholds.to_vec(),
            distance: 1.0,
            leave: 1.0,
            hold_duration_ns: hold,
        };
        (settings, LabelState::default())
    }

    #[test]
    fn probabilities_are_an_exponential_mean() {
        let (settings, mut state) = labels(0.75, &[0.5], 0);
        assert_eq!(
            state.update(&settings, &[1.0, 0.0], 0.0, 0),
            (vec![1.0, 0.0], Some(0), true)
        );
        assert_eq!(
            state.update(&settings, &[0.0, 1.0], 0.0, 1),
            (vec![0.75, 0.25], Some(0), false)
        );
        assert_eq!(
            state.update(&settings, &[0.0, 1.0], 0.0, 2),
            (vec![0.5625, 0.4375], Some(0), false)
        );
        assert_eq!(
            state.update(&settings, &[f32::NAN, 1.0], 0.0, 3),
            (vec![0.5625, 0.4375], Some(0), false)
        );
        assert_eq!(
            state.update(&settings, &[0.0, 1.0], 0.0, 4),
            (vec![0.421875, 0.578125], Some(1), true)
        );
        assert_eq!(
            state.update(&settings, &[1.0, 0.0], 0.0, 3),
            (vec![1.0, 0.0], Some(0), true),
            "time went back"
        );
        assert_eq!(
            state.update(&settings, &[0.0, 0.0, 1.0], 0.0, 5),
            (vec![0.0, 0.0, 1.0], Some(2), true),
            "other classes"
        );
    }

    #[test]
    fn below_its_threshold_a_label_is_unknown() {
        let (settings, mut state) = labels(0.0, &[0.6, 0.4], 0);
        let mut label = |p: f32, time| state.update(&settings, &[p, 1.0 - p], 0.0, time).1;
        assert_eq!(
            [label(0.59, 0), label(0.6, 1), label(0.45, 2)],
            [None, Some(0), Some(1)]
        );
        let (settings, mut state) = labels(0.9, &[0.6], 0);
        assert_eq!(
            state.update(&settings, &[f32::NAN, 0.0], 0.0, 0),
            (vec![0.0, 0.0], None, false)
        );
        assert_eq!(
            state.update(&settings, &[0.0, 1.0], 0.0, 1),
            (vec![0.0, 1.0], Some(1), true),
            "the mean starts here"
        );
        assert_eq!(state.update(&settings, &[], 0.0, 2), (vec![], None, true));
    }

    #[test]
    fn a_label_is_held_but_unknown_is_not() {
        let (settings, mut state) = labels(0.0, &[0.7], 10);
        let mut label = |p: f32, time| state.update(&settings, &[p, 1.0 - p], 0.0, time).1;
        assert_eq!([label(1.0, 0), label(0.0, 5), label(0.5, 9)], [Some(0); 3]);
        assert_eq!(
            [label(0.5, 10), label(0.0, 11), label(1.0, 20), label(1.0, 21)],
            [None, Some(1), Some(1), Some(0)]
        );
    }

    #[test]
    fn far_from_what_is_known_a_label_is_unknown() {
        let (settings, mut state) = labels(0.5, &[0.0], 0);
        let mut label = |distance, time| state.update(&settings, &[0.9, 0.1], distance, time).1;
        assert_eq!([label(1.0, 0), label(2.0, 1), label(0.5, 2)], [Some(0), None, Some(0)]);
        assert_eq!(label(f32::NAN, 3), Some(0), "the mean is as it was");
    }

    #[test]
    fn a_label_leaves_later_than_it_enters() {
        let (mut settings, mut state) = labels(0.0, &[0.8], 0);
        settings.leave = 0.5;
        let mut label = |p: f32, distance, time| state.update(&settings, &[p, 1.0 - p], distance, time).1;
        assert_eq!([label(0.7, 0.0, 0), label(0.8, 0.0, 1)], [None, Some(0)]);
        assert_eq!(
            [label(0.4, 0.0, 2), label(0.39, 0.0, 3), label(0.4, 0.0, 4)],
            [Some(0), None, None]
        );
        assert_eq!(
            [label(0.9, 1.0, 5), label(0.9, 2.0, 6), label(0.9, 2.1, 7)],
            [Some(0), Some(0), None]
        );
        assert_eq!(
            [label(0.9, 1.0, 8), label(0.1, 1.0, 9)],
            [Some(0), Some(1)],
            "another class is sure"
        );
    }

    #[test]
    fn strange_is_what_is_unsure_or_far() {
        assert!((strangeness([0.7, 0.4], [0.1, 0.5]) - 0.5).abs() < 1e-6);
        assert!((strangeness([0.7, 0.4], [0.75, 0.5]) - 1.5).abs() < 1e-6);
        assert!(strangeness([0.3, 0.4], [0.0, f32::INFINITY]) > 1.0);
        assert!(strangeness([0.4, 0.4], [0.0, f32::INFINITY]) <= 1.0);
    }
}

//! Decisions in time: a state that does not flicker. Times are nanoseconds of running time.

/// Settings of [`AlarmState`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlarmSettings {
    /// Score at and above which a frame counts as anomalous.
    pub threshold: f32,
    /// How long the score must stay at or above the threshold before the alarm starts, in ns.
    pub min_duration_ns: u64,
    /// How long after the last anomalous frame the alarm holds, in ns.
    pub hold_duration_ns: u64,
}

/// The alarm of an anomaly element.
#[derive(Debug, Clone, Default)]
pub struct AlarmState {}

impl AlarmState {
    /// Takes one frame's score at `time_ns`; returns whether the alarm is on, and whether that changed.
    pub fn update(&mut self, settings: &AlarmSettings, score: f32, time_ns: u64) -> (bool, bool) {
        unimplemented!("{settings:?} {score} {time_ns}")
    }

    /// Forgets everything, as after a flush.
    pub fn reset(&mut self) {
        unimplemented!()
    }
}

/// Settings of [`LabelState`].
#[derive(Debug, Clone, PartialEq)]
pub struct LabelSettings {
    /// Weight of the past in the running mean of probabilities, 0 (none) up to 1.
    pub smoothing: f32,
    /// Least probability for each class (one value for all when its length is 1); below it the label is unknown.
    pub thresholds: Vec<f32>,
    /// How long a label stays at least, in ns.
    pub hold_duration_ns: u64,
}

/// The label of a classifier element.
#[derive(Debug, Clone, Default)]
pub struct LabelState {}

impl LabelState {
    /// Takes one frame's probabilities at `time_ns`; returns the smoothed probabilities, the label in force
    /// (`None` = unknown), and whether it changed.
    pub fn update(
        &mut self,
        settings: &LabelSettings,
        probabilities: &[f32],
        time_ns: u64,
    ) -> (Vec<f32>, Option<usize>, bool) {
        unimplemented!("{settings:?} {probabilities:?} {time_ns}")
    }

    /// Forgets everything, as after a flush.
    pub fn reset(&mut self) {
        unimplemented!()
    }
}

//! Thresholds from good frames alone, and probabilities that mean what they say.

use crate::model::{AnomalyCalibration, ClassCalibration, MapKind};
use crate::{Error, Result};

/// Constants of an anomaly decision from raw scores of good frames held out (one score a frame: the map's maximum).
/// Threshold at `false_alarm_rate` (0..1): the empirical quantile, beyond 1/N by a generalised-Pareto tail.
/// Errors when there are fewer than 5 scores or one is not finite.
pub fn anomaly(scores: &[f32], false_alarm_rate: f64, map: MapKind, smooth: usize) -> Result<AnomalyCalibration> {
    let _ = (scores, false_alarm_rate, map, smooth);
    Err(Error::Invalid("unimplemented".into()))
}

impl AnomalyCalibration {
    /// Threshold for another false-alarm rate, log-interpolated in the table and clamped to its ends.
    pub fn threshold_for(&self, false_alarm_rate: f64) -> f32 {
        unimplemented!("{false_alarm_rate}")
    }
}

/// Temperature by validation likelihood (`logits[i]` of sample i with true class `labels[i]`), and per-class thresholds.
pub fn classify(logits: &[Vec<f32>], labels: &[usize]) -> Result<ClassCalibration> {
    let _ = (logits, labels);
    Err(Error::Invalid("unimplemented".into()))
}

/// Softmax of `logits / temperature`.
pub fn probabilities(logits: &[f32], temperature: f32) -> Vec<f32> {
    unimplemented!("{logits:?} {temperature}")
}

//! Whether what a detector sees still looks as it did when it was calibrated.

use std::collections::VecDeque;

use crate::model::AnomalyCalibration;

/// Quantiles of the good scores between which a running median is as it should be: on good frames it lies near the middle one, and
/// what is anomalous now and then does not move it.
const BAND: [f32; 2] = [0.1, 0.9];

/// Watches the running median of a detector's raw scores.
#[derive(Debug, Clone, Default)]
pub struct Drift {
    /// The last scores, oldest first.
    scores: VecDeque<f32>,
    /// Memory to sort them in.
    sorted: Vec<f32>,
    outside: bool,
}

/// A running median that has left its band. All raw scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drifted {
    /// The median of the last scores.
    pub median: f32,
    /// The band, from the scores of the calibration's good frames.
    pub band: [f32; 2],
}

impl Drift {
    /// Takes a frame's score; says so, once, when the median of the last `window` scores has left the band of `calibration`. It says so
    /// again only after the median has been back. Medians are looked at each quarter of a window, the first one when the window is
    /// full; a window of 0 watches nothing. Scores that are not numbers do not count.
    pub fn update(&mut self, calibration: &AnomalyCalibration, score: f32, window: usize) -> Option<Drifted> {
        if window == 0 || score.is_nan() {
            return None;
        }
        self.scores.push_back(score);
        // Each quarter of a window, the oldest quarter makes room.
        let quarter = window.div_ceil(4);
        if self.scores.len() < window {
            return None;
        }
        let median = self.median();
        self.scores.drain(..self.scores.len() - (window - quarter));
        let band = band(calibration)?;
        let outside = median < band[0] || median > band[1];
        let told = std::mem::replace(&mut self.outside, outside);
        (outside && !told).then_some(Drifted { median, band })
    }

    /// Forgets all scores.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    fn median(&mut self) -> f32 {
        self.sorted.clear();
        self.sorted.extend(&self.scores);
        let middle = self.sorted.len() / 2;
        *self.sorted.select_nth_unstable_by(middle, f32::total_cmp).1
    }
}

/// `None` where the calibration does not have the quantiles.
fn band(calibration: &AnomalyCalibration) -> Option<[f32; 2]> {
    let quantile = |q: f32| calibration.quantiles.iter().find(|row| row[0] == q).map(|row| row[1]);
    Some([quantile(BAND[0])?, quantile(BAND[1])?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MapKind, Scoring};
    use crate::score::calibration;

    /// Of good scores from 0.1 to 0.3.
    fn calibrated() -> AnomalyCalibration {
        let scores: Vec<f32> = (0..=100).map(|i| 0.1 + 0.002 * i as f32).collect();
        let scoring = Scoring {
            map: MapKind::Msgms,
            smooth: 1,
            pool: 1,
            context: 1,
        };
        calibration::anomaly(&scores, 0.01, scoring).unwrap()
    }

    #[test]
    fn it_is_told_once_and_again_after_it_was_back() {
        let (calibration, mut drift) = (calibrated(), Drift::default());
        let mut told = Vec::new();
        let mut feed = |score: f32, count: usize| {
            for _ in 0..count {
                told.extend(drift.update(&calibration, score, 20).map(|drifted| drifted.median));
            }
        };
        feed(0.2, 40);
        feed(0.29, 200);
        feed(0.2, 40);
        feed(0.11, 60);
        assert_eq!(told, [0.29, 0.11]);
        let drifted = Drift::default().update(&calibration, 0.5, 1).unwrap();
        assert!(
            (drifted.band[0] - 0.12).abs() < 1e-3 && (drifted.band[1] - 0.28).abs() < 1e-3,
            "{drifted:?}"
        );
    }

    #[test]
    fn anomalies_now_and_then_are_no_drift() {
        let (calibration, mut drift) = (calibrated(), Drift::default());
        for i in 0..500 {
            let score = if i % 5 < 2 { 0.9 } else { 0.15 };
            assert_eq!(drift.update(&calibration, score, 50), None, "frame {i}");
        }
        assert_eq!(drift.update(&calibration, 0.9, 0), None, "nothing is watched");
        drift.reset();
        assert_eq!(drift.update(&calibration, 0.9, 2), None, "one score is not two");
    }
}

//! Raw scores and map values on a scale that a person can read: from 0 to 1, 0.5 at the threshold.

use crate::model::MapKind;

/// Probabilities nearer to 0 or 1 than this are taken for this near: half of what f32 tells from 1.
const NEAREST: f64 = f32::EPSILON as f64 / 2.0;

/// The scale of one kind of map at one threshold.
///
/// Probabilities, as [`MapKind::Direct`] gives them, go by their odds, o / (o + the threshold's): thresholds of them often lie close to 1, and
/// what is beyond would all be told as barely beyond.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Readable {
    kind: MapKind,
    threshold: f32,
}

impl Readable {
    /// For raw scores, or map values, that are anomalous from `threshold` on.
    pub fn new(kind: MapKind, threshold: f32) -> Self {
        Self { kind, threshold }
    }

    /// A raw score between 0 and 1, 0.5 at the threshold, never falling where it rises. What is no probability is score / (score + threshold).
    pub fn score(self, score: f32) -> f64 {
        if self.kind == MapKind::Direct {
            return self.odds_share(score);
        }
        let (score, threshold) = (f64::from(score.max(0.0)), f64::from(self.threshold));
        if threshold > 0.0 {
            score / (score + threshold)
        } else {
            0.5 + 0.5 * score / (score + 1.0)
        }
    }

    /// A map value as a heat map's code: 0 to 255, 127 at the threshold. What is no probability is hottest at twice the threshold.
    pub fn code(self, value: f32) -> u8 {
        let share = match self.kind {
            MapKind::Direct => self.odds_share(value),
            _ => f64::from(value / (2.0 * self.threshold.max(f32::MIN_POSITIVE))),
        };
        (255.0 * share) as u8
    }

    /// o / (o + t) of the odds o = p / (1 − p) of a probability and t of the threshold.
    fn odds_share(self, p: f32) -> f64 {
        let [p, mut t] = [p, self.threshold].map(|p| f64::from(p).clamp(NEAREST, 1.0 - NEAREST));
        if self.threshold > 1.0 {
            // Beyond what any probability reaches.
            t = 1.0 - 0.25 * NEAREST;
        }
        p * (1.0 - t) / (p * (1.0 - t) + t * (1.0 - p))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_half_is_the_threshold_and_more_is_more() {
        for kind in [MapKind::Msgms, MapKind::Squared, MapKind::Direct] {
            for threshold in [0.02, 0.5, 0.97, 0.9999] {
                let scale = Readable::new(kind, threshold);
                assert!((scale.score(threshold) - 0.5).abs() < 1e-6, "{kind:?} {threshold}");
                assert!(scale.code(threshold).abs_diff(127) <= 1, "{kind:?} {threshold}");
                let rising: Vec<f32> = (0..=100).map(|i| i as f32 / 100.0).collect();
                assert!(
                    rising.is_sorted_by(|a, b| scale.score(*a) < scale.score(*b)),
                    "{kind:?} {threshold}"
                );
                assert!(
                    rising.is_sorted_by(|a, b| scale.code(*a) <= scale.code(*b)),
                    "{kind:?} {threshold}"
                );
                assert!(rising.iter().all(|x| (0.0..=1.0).contains(&scale.score(*x))));
            }
        }
    }

    #[test]
    fn probabilities_beyond_a_high_threshold_are_told_apart() {
        let scale = Readable::new(MapKind::Direct, 0.97);
        assert!((scale.score(0.5) - 0.03).abs() < 1e-6);
        assert!((scale.score(0.99) - 0.7538).abs() < 1e-4, "99 to 99 + 32.33");
        assert!(scale.score(0.9999) > 0.99 && scale.code(0.9999) > 250);
        assert_eq!(
            Readable::new(MapKind::Direct, 1.0).code(1.0),
            127,
            "a threshold that only certainty reaches"
        );
    }

    #[test]
    fn thresholds_of_nothing_and_scores_of_less_have_a_place() {
        let scale = Readable::new(MapKind::Squared, 0.0);
        assert_eq!((scale.score(0.0), scale.score(1e30)), (0.5, 1.0));
        assert_eq!(Readable::new(MapKind::Squared, 0.1).code(9.0), 255);
        assert_eq!(Readable::new(MapKind::Msgms, 0.1).score(-1.0), 0.0);
    }
}

//! From scores of good frames to a threshold for any false-alarm rate.

use super::quantile;
use super::tail::Tail;
use crate::model::{AnomalyCalibration, MapKind, Scoring};
use crate::{Error, Result};

/// False-alarm rates of the table, beside the one asked for.
const RATES: [f64; 13] = [
    0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 5e-4, 2e-4, 1e-4, 1e-5,
];
/// Quantiles of the good scores that are kept.
const QUANTILES: [f64; 12] = [0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 1.0];
/// Fewer scores say nothing of a rate.
const FEWEST: usize = 5;
/// A threshold of probabilities beyond this could not be reached.
const LARGEST_PROBABILITY: f32 = 1.0 - f32::EPSILON / 2.0;
/// Where all scores are alike they do not tell their spread: the threshold lies this share of the score above it.
const MARGIN: f64 = 0.01;

/// Constants of an anomaly decision from raw scores of good frames held out (one a frame).
///
/// The threshold at a false-alarm rate (between 0 and 1) of at least 1/N is the empirical quantile at 1 − rate of the N
/// scores, at plotting positions i/(N+1), which fresh scores exceed at that rate in the mean; where scores are equal, it
/// lies above them. Beyond 1/N it follows a generalised-Pareto tail and lies above all scores; where scores are probabilities,
/// as [`MapKind::Direct`] gives them, the tail is that of their logits and stays below 1, unless a good frame reaches 1.
/// Thresholds never fall as the rate falls. A frame's score is a mean of its map's largest values, which its surroundings only
/// raise, so the pixel threshold is the frame's threshold: there is a region whenever the frame is anomalous.
///
/// # Errors
/// [`Error::Invalid`] when there are fewer than 5 scores, one is not finite, or the rate is not between 0 and 1.
pub fn anomaly(scores: &[f32], false_alarm_rate: f64, scoring: Scoring) -> Result<AnomalyCalibration> {
    check(scores, false_alarm_rate)?;
    let mut sorted: Vec<f64> = scores.iter().map(|&score| f64::from(score)).collect();
    sorted.sort_by(f64::total_cmp);
    // A rate that came as f32 is not quite one of the table's, but must not give a second row with the same f32.
    let mut rates = RATES.to_vec();
    rates.retain(|&rate| rate as f32 != false_alarm_rate as f32);
    rates.push(false_alarm_rate);
    rates.sort_by(|a, b| b.total_cmp(a));
    let scale = Scale::of(scoring.map, &sorted);
    let scaled: Vec<f64> = sorted.iter().map(|&score| scale.of_score(score)).collect();
    let tail = Tail::fit(&scaled);
    let mut least = f32::NEG_INFINITY;
    let mut table = Vec::with_capacity(rates.len());
    let mut asked = f32::INFINITY;
    for rate in rates {
        least = least.max(threshold(&sorted, scale, &tail, rate));
        table.push([rate as f32, least]);
        if rate == false_alarm_rate {
            asked = least;
        }
    }
    Ok(AnomalyCalibration {
        threshold: asked,
        rates: table,
        quantiles: QUANTILES
            .iter()
            .map(|&q| [q as f32, quantile(&sorted, q) as f32])
            .collect(),
        pixel_threshold: asked,
        frames: scores.len(),
        ..scoring.uncalibrated()
    })
}

fn check(scores: &[f32], rate: f64) -> Result<()> {
    if scores.len() < FEWEST {
        let reason = format!(
            "{} good frames held out are too few for a threshold: give at least {FEWEST}, better 100 and more",
            scores.len()
        );
        return Err(Error::Invalid(reason));
    }
    if let Some(i) = scores.iter().position(|score| !score.is_finite()) {
        let reason = format!(
            "the score of good frame {i} is {}: the network gives values that are not finite; train it again, with a \
             lower learning rate",
            scores[i]
        );
        return Err(Error::Invalid(reason));
    }
    // Tables hold f32, in which a rate may become 0 or 1.
    if !(rate as f32 > 0.0 && (rate as f32) < 1.0) {
        let reason = format!(
            "false-alarm rate {rate} is not between 0 and 1: give the share of good frames that may be flagged, such as 0.01"
        );
        return Err(Error::Invalid(reason));
    }
    Ok(())
}

/// Where a tail is fitted. Probabilities become logits, so that a tail of them ends before 1: a threshold beyond would be out of
/// any defect's reach.
#[derive(Clone, Copy)]
enum Scale {
    Score,
    Logit,
}

impl Scale {
    /// Probabilities nearer to 0 or 1 are taken for this near.
    const NEAREST: f64 = 1e-7;
    /// How far a mean filter may round them beyond 0 and 1.
    const ROUNDING: f64 = 1e-5;

    fn of(map: MapKind, sorted: &[f64]) -> Self {
        match map {
            MapKind::Direct if sorted[0] >= -Self::ROUNDING && sorted[sorted.len() - 1] <= 1.0 + Self::ROUNDING => {
                Self::Logit
            }
            _ => Self::Score,
        }
    }

    fn of_score(self, score: f64) -> f64 {
        match self {
            Self::Score => score,
            Self::Logit => {
                let p = score.clamp(Self::NEAREST, 1.0 - Self::NEAREST);
                (p / (1.0 - p)).ln()
            }
        }
    }

    fn to_score(self, value: f64) -> f64 {
        match self {
            Self::Score => value,
            Self::Logit => 1.0 / (1.0 + (-value).exp()),
        }
    }
}

/// The threshold at `rate`: above all scores, but where it can be within their scale, where `rate` is less than one in all of them.
fn threshold(sorted: &[f64], scale: Scale, tail: &Tail, rate: f64) -> f32 {
    let n = sorted.len();
    let largest = sorted[n - 1] as f32;
    let above = |value: f32| match scale {
        Scale::Score => value.max(largest.next_up()),
        Scale::Logit => value.min(LARGEST_PROBABILITY).max(largest.next_up()),
    };
    if sorted[0] as f32 == largest {
        return above(largest + (f64::from(largest.abs()) * MARGIN).max(1e-6) as f32);
    }
    if rate * (n as f64) < 1.0 {
        return above(scale.to_score(tail.threshold(rate)) as f32);
    }
    let position = ((n + 1) as f64 * (1.0 - rate) - 1.0).clamp(0.0, (n - 1) as f64);
    let low = position as usize;
    let high = (low + 1).min(n - 1);
    let value = (sorted[low] + (sorted[high] - sorted[low]) * (position - low as f64)) as f32;
    // One at the threshold itself is the quantile; more are ties, which would all be flagged.
    if sorted.iter().filter(|&&score| score as f32 == value).count() > 1 {
        value.next_up()
    } else {
        value
    }
}

impl AnomalyCalibration {
    /// What to say of a false-alarm rate that the frames of the calibration are too few to show; `None` where they suffice.
    pub fn caution(&self, false_alarm_rate: f64) -> Option<String> {
        (false_alarm_rate * (self.frames as f64) < 1.0).then(|| {
            format!(
                "a false-alarm rate of {false_alarm_rate} is less than one in the {} good frames of the calibration, so its \
                 threshold is extrapolated and may be beyond what any defect reaches: calibrate with {} frames or more",
                self.frames,
                (1.0 / false_alarm_rate).ceil()
            )
        })
    }

    /// Threshold for another false-alarm rate, log-interpolated in the table and clamped to its ends.
    /// The calibrated threshold where the table is empty or the rate is not a number.
    pub fn threshold_for(&self, false_alarm_rate: f64) -> f32 {
        let rate = false_alarm_rate as f32;
        let after = self.rates.partition_point(|row| row[0] > rate);
        let (Some(&first), Some(&last)) = (self.rates.first(), self.rates.last()) else {
            return self.threshold;
        };
        match after {
            _ if rate.is_nan() => self.threshold,
            0 => first[1],
            _ if after == self.rates.len() => last[1],
            _ => {
                let ([high, from], [low, to]) = (self.rates[after - 1], self.rates[after]);
                let share =
                    (f64::from(high).ln() - f64::from(rate).ln()) / (f64::from(high).ln() - f64::from(low).ln());
                // At the ends of a step the table's own values come back, not their rounding.
                if rate == low {
                    to
                } else {
                    from + (to - from) * share as f32
                }
            }
        }
    }
}

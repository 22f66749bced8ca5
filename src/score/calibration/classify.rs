//! From logits to probabilities and to "unknown".

use super::quantile;
use crate::model::ClassCalibration;
use crate::score::metrics::largest;
use crate::{Error, Result};

/// Temperatures that are tried.
const TEMPERATURES: [f64; 2] = [0.05, 20.0];
/// Temperature by validation likelihood (`logits[i]` of sample i with true class `labels[i]`), and per-class thresholds.
///
/// The temperature (Guo 2017) minimises the mean negative log-likelihood within 0.05..20. Where every sample is classified
/// rightly the likelihood only ever rises as the temperature falls, so there it is not taken below 1.
///
/// The threshold of a class is what all but `unknown_rate` of its rightly classified samples reach, but not below chance (1 / classes) and
/// not above half-way from chance to certainty, since frames met later are never as clear. A class without a rightly
/// classified sample takes that of all classes together.
///
/// # Errors
/// [`Error::Invalid`] without samples, when logits and labels do not fit each other, or a logit is not finite.
pub fn classify(logits: &[Vec<f32>], labels: &[usize], unknown_rate: f64) -> Result<ClassCalibration> {
    let classes = check(logits, labels)?;
    let right = logits
        .iter()
        .zip(labels)
        .filter(|(logits, label)| largest(logits) == **label)
        .count();
    let from = if right == labels.len() { 1.0 } else { TEMPERATURES[0] };
    let best = minimise(
        |log| negative_log_likelihood(logits, labels, log.exp()),
        from.ln(),
        TEMPERATURES[1].ln(),
    );
    let temperature = best.exp() as f32;

    let mut by_class = vec![Vec::new(); classes];
    for (logits, &label) in logits.iter().zip(labels) {
        if largest(logits) == label {
            by_class[label].push(f64::from(probabilities(logits, temperature)[label]));
        }
    }
    let chance = 1.0 / classes as f64;
    let reached = |mut samples: Vec<f64>| {
        samples.sort_by(f64::total_cmp);
        (!samples.is_empty()).then(|| quantile(&samples, unknown_rate).clamp(chance, (1.0 + chance) / 2.0) as f32)
    };
    let together = reached(by_class.concat()).unwrap_or(chance as f32);
    let thresholds = by_class
        .into_iter()
        .map(|samples| reached(samples).unwrap_or(together))
        .collect();
    Ok(ClassCalibration {
        temperature,
        thresholds,
        codes: None,
    })
}

/// What a share (0..1) of the `samples`, of which there is one at least, do not exceed.
///
/// # Panics
/// When there is none.
pub fn reached_by(samples: Vec<f32>, share: f64) -> f32 {
    let mut samples: Vec<f64> = samples.into_iter().map(f64::from).collect();
    samples.sort_by(f64::total_cmp);
    quantile(&samples, share) as f32
}

/// Softmax of `logits / temperature`; `temperature` is above 0.
pub fn probabilities(logits: &[f32], temperature: f32) -> Vec<f32> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| ((logit - top) / temperature).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// The number of classes.
fn check(logits: &[Vec<f32>], labels: &[usize]) -> Result<usize> {
    let invalid = |reason: String| Err(Error::Invalid(reason));
    if logits.is_empty() || logits.len() != labels.len() {
        return invalid(format!(
            "{} network outputs and {} labels: calibration needs validation samples, each with its label",
            logits.len(),
            labels.len()
        ));
    }
    let classes = logits[0].len();
    for (i, (logits, &label)) in logits.iter().zip(labels).enumerate() {
        if logits.len() != classes || label >= classes {
            let outputs = logits.len();
            return invalid(format!(
                "validation sample {i}: label {label}, {outputs} outputs, in a model of {classes} classes"
            ));
        }
        if let Some(logit) = logits.iter().find(|logit| !logit.is_finite()) {
            return invalid(format!(
                "validation sample {i}: the network gives {logit}; train it again, with a lower learning rate"
            ));
        }
    }
    Ok(classes)
}

fn negative_log_likelihood(logits: &[Vec<f32>], labels: &[usize], temperature: f64) -> f64 {
    let one = |logits: &[f32], label: usize| {
        let top = f64::from(logits[largest(logits)]);
        let sum: f64 = logits
            .iter()
            .map(|&logit| ((f64::from(logit) - top) / temperature).exp())
            .sum();
        sum.ln() - (f64::from(logits[label]) - top) / temperature
    };
    logits
        .iter()
        .zip(labels)
        .map(|(logits, &label)| one(logits, label))
        .sum::<f64>()
        / labels.len() as f64
}

/// Where `f`, which has one minimum, is least between `low` and `high`: golden-section search (Kiefer 1953).
fn minimise(f: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut left, mut right) = (high - golden * (high - low), low + golden * (high - low));
    let (mut at_left, mut at_right) = (f(left), f(right));
    while high - low > 1e-6 {
        // On a level the left part is kept: the lower temperature of equals.
        if at_left <= at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - golden * (high - low);
            at_left = f(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + golden * (high - low);
            at_right = f(right);
        }
    }
    (low + high) / 2.0
}

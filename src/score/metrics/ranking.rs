//! Figures of merit of scores that rank, exact over all distinct thresholds.
//!
//! Scores become integers of the same order, so that the 40 million pixels of a large test set sort in parallel and in
//! four bytes each. A score that is not a number counts as the largest of all: it is never quietly good.

use rayon::prelude::*;

/// Area under the ROC curve, ties by half. `None` unless both kinds are there.
///
/// # Panics
/// When the lengths differ.
pub fn auroc(scores: &[f32], positive: &[bool]) -> Option<f64> {
    let ranked = Ranked::new(scores, positive)?;
    let mut area = 0.0;
    let mut last = (0, 0);
    for step in ranked.steps() {
        area += (step.negatives - last.1) as f64 * (step.positives + last.0) as f64 / 2.0;
        last = (step.positives, step.negatives);
    }
    Some(area / (ranked.positive.len() as f64 * ranked.negative.len() as f64))
}

/// Average precision, as scikit-learn defines it: Σ (R_n − R_{n−1}) · P_n, no interpolation. `None` unless both kinds are there.
///
/// # Panics
/// When the lengths differ.
pub fn average_precision(scores: &[f32], positive: &[bool]) -> Option<f64> {
    let ranked = Ranked::new(scores, positive)?;
    let mut sum = 0.0;
    let mut last = 0;
    for step in ranked.steps() {
        let precision = step.positives as f64 / (step.positives + step.negatives) as f64;
        sum += (step.positives - last) as f64 * precision;
        last = step.positives;
    }
    Some(sum / ranked.positive.len() as f64)
}

/// Largest F1 over thresholds, and that threshold: scores at or above it count as positive. Of equal ones the highest.
/// `None` unless both kinds are there.
///
/// # Panics
/// When the lengths differ.
pub fn f1_max(scores: &[f32], positive: &[bool]) -> Option<(f64, f32)> {
    let ranked = Ranked::new(scores, positive)?;
    let f1 = |s: &Step| 2.0 * s.positives as f64 / (ranked.positive.len() + s.positives + s.negatives) as f64;
    let best = ranked
        .steps()
        .map(|step| (f1(&step), step.key))
        .reduce(|a, b| if b.0 > a.0 { b } else { a });
    best.map(|(f1, key)| (f1, score(key)))
}

/// Share of the positives that score above all but `false_rate` of the negatives: the largest recall at no more false positives. `None` unless
/// both kinds are there.
///
/// # Panics
/// When the lengths differ.
pub fn recall_at(scores: &[f32], positive: &[bool], false_rate: f64) -> Option<f64> {
    let ranked = Ranked::new(scores, positive)?;
    let allowed = (false_rate * ranked.negative.len() as f64).floor() as usize;
    let steps = ranked.steps().filter(|step| step.negatives <= allowed);
    let most = steps.map(|step| step.positives).max().unwrap_or(0);
    Some(most as f64 / ranked.positive.len() as f64)
}

/// Sorted keys of the two kinds, rising.
struct Ranked {
    positive: Vec<u32>,
    negative: Vec<u32>,
}

/// Counts at and above one threshold.
struct Step {
    key: u32,
    positives: usize,
    negatives: usize,
}

impl Ranked {
    /// `None` unless both kinds are there.
    fn new(scores: &[f32], is_positive: &[bool]) -> Option<Self> {
        assert_eq!(scores.len(), is_positive.len(), "one kind a score");
        let positives = is_positive.iter().filter(|&&p| p).count();
        if positives == 0 || positives == scores.len() {
            return None;
        }
        let mut positive = Vec::with_capacity(positives);
        let mut negative = Vec::with_capacity(scores.len() - positives);
        for (&score, &is_positive) in scores.iter().zip(is_positive) {
            if is_positive { &mut positive } else { &mut negative }.push(key(score));
        }
        positive.par_sort_unstable();
        negative.par_sort_unstable();
        Some(Self { positive, negative })
    }

    /// Every distinct score, from the highest on.
    fn steps(&self) -> impl Iterator<Item = Step> {
        let (mut positive, mut negative) = (&self.positive[..], &self.negative[..]);
        std::iter::from_fn(move || {
            let key = positive.last().max(negative.last()).copied()?;
            positive = below(positive, key);
            negative = below(negative, key);
            Some(Step {
                key,
                positives: self.positive.len() - positive.len(),
                negatives: self.negative.len() - negative.len(),
            })
        })
    }
}

/// What lies below `key` in a rising slice that has nothing above it.
pub(super) fn below(mut keys: &[u32], key: u32) -> &[u32] {
    while let [rest @ .., last] = keys
        && *last == key
    {
        keys = rest;
    }
    keys
}

/// An integer with the score's rank among all scores.
pub(super) fn key(score: f32) -> u32 {
    if score.is_nan() {
        return u32::MAX;
    }
    // Adding zero makes -0 and 0 equal.
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn score(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

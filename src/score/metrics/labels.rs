//! Figures of merit of labels.

/// Bins of [`expected_calibration_error`].
const BINS: usize = 15;

/// Index of the first largest value; 0 of none.
pub fn largest(values: &[f32]) -> usize {
    (0..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

/// `[true class][predicted class]` counts.
///
/// # Panics
/// When the lengths differ or a class is not below `classes`.
pub fn confusion(truth: &[usize], predicted: &[usize], classes: usize) -> Vec<Vec<usize>> {
    assert_eq!(truth.len(), predicted.len(), "one prediction a sample");
    let mut counts = vec![vec![0; classes]; classes];
    for (&truth, &predicted) in truth.iter().zip(predicted) {
        counts[truth][predicted] += 1;
    }
    counts
}

/// Share of equal entries; 0 when there are none at all.
///
/// # Panics
/// When the lengths differ.
pub fn accuracy(truth: &[usize], predicted: &[usize]) -> f64 {
    assert_eq!(truth.len(), predicted.len(), "one prediction a sample");
    let equal = truth.iter().zip(predicted).filter(|(a, b)| a == b).count();
    equal as f64 / truth.len().max(1) as f64
}

/// Expected calibration error over 15 equal bins of confidence (Guo 2017); a bin holds its upper end.
/// `confidence` is the probability of the predicted class, `correct` whether it was right. 0 without samples.
///
/// # Panics
/// When the lengths differ.
pub fn expected_calibration_error(confidence: &[f32], correct: &[bool]) -> f64 {
    assert_eq!(confidence.len(), correct.len(), "one confidence a sample");
    // Hits minus confidence, summed a bin: |accuracy - mean confidence| times the bin's count.
    let mut gaps = [0.0; BINS];
    for (&confidence, &correct) in confidence.iter().zip(correct) {
        let confidence = f64::from(confidence);
        let bin = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        gaps[bin] += f64::from(u8::from(correct)) - confidence;
    }
    gaps.iter().map(|gap| gap.abs()).sum::<f64>() / confidence.len().max(1) as f64
}

//! Figures of merit.

use crate::pixels::Image;

/// Peak signal-to-noise ratio in dB for values in 0..1, over all channels. Infinite for equal pictures.
pub fn psnr(a: &Image, b: &Image) -> f64 {
    unimplemented!("{} {}", a.width, b.width)
}

/// Mean structural similarity (Wang 2004): Gaussian window 11, sigma 1.5, values in 0..1, mean over channels.
pub fn ssim(a: &Image, b: &Image) -> f64 {
    unimplemented!("{} {}", a.width, b.width)
}

/// Area under the ROC curve, ties by half. `None` unless both kinds are there.
pub fn auroc(scores: &[f32], positive: &[bool]) -> Option<f64> {
    unimplemented!("{} {}", scores.len(), positive.len())
}

/// Average precision, as scikit-learn defines it.
pub fn average_precision(scores: &[f32], positive: &[bool]) -> Option<f64> {
    unimplemented!("{} {}", scores.len(), positive.len())
}

/// Largest F1 over thresholds, and that threshold.
pub fn f1_max(scores: &[f32], positive: &[bool]) -> Option<(f64, f32)> {
    unimplemented!("{} {}", scores.len(), positive.len())
}

/// Area under the per-region-overlap curve up to a false-positive rate of `limit` (0.3), divided by `limit` (Bergmann 2021).
/// `masks` are one-channel, above 0.5 = defect, of the maps' sizes; good pictures have empty masks.
pub fn aupro(maps: &[Image], masks: &[Image], limit: f64) -> Option<f64> {
    unimplemented!("{} {} {limit}", maps.len(), masks.len())
}

/// `[true class][predicted class]` counts.
pub fn confusion(truth: &[usize], predicted: &[usize], classes: usize) -> Vec<Vec<usize>> {
    unimplemented!("{} {} {classes}", truth.len(), predicted.len())
}

/// Share of equal entries.
pub fn accuracy(truth: &[usize], predicted: &[usize]) -> f64 {
    unimplemented!("{} {}", truth.len(), predicted.len())
}

/// Expected calibration error over 15 equal bins of confidence (Guo 2017).
pub fn expected_calibration_error(confidence: &[f32], correct: &[bool]) -> f64 {
    unimplemented!("{} {}", confidence.len(), correct.len())
}

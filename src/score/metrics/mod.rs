//! Figures of merit.

mod interval;
mod labels;
mod overlap;
mod ranking;
mod segments;

pub use interval::share_interval;
pub use labels::{accuracy, confusion, expected_calibration_error, largest};
pub use overlap::aupro;
pub use ranking::{auroc, average_precision, f1_max, recall_at};
pub use segments::Overlaps;

use super::similarity::{RADIUS, ssim_map};
use crate::pixels::Image;

/// Peak signal-to-noise ratio in dB for values in 0..1, over all channels. Infinite for equal pictures.
///
/// # Panics
/// When the shapes differ.
pub fn psnr(a: &Image, b: &Image) -> f64 {
    assert_same_shape(a, b);
    let squares: f64 = a
        .data
        .iter()
        .zip(&b.data)
        .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
        .sum();
    if squares == 0.0 {
        f64::INFINITY
    } else {
        10.0 * (a.data.len() as f64 / squares).log10()
    }
}

/// Mean squared difference of all planes where `mask`, one plane, is 1; 0 where that is nowhere.
pub fn mean_square(a: &Image, b: &Image, mask: &Image) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for channel in 0..a.channels {
        for ((a, b), mask) in a.plane(channel).iter().zip(b.plane(channel)).zip(&mask.data) {
            sum += f64::from(mask * (a - b) * (a - b));
            count += f64::from(*mask);
        }
    }
    sum / f64::max(count, 1.0)
}

/// Mean structural similarity (Wang 2004): Gaussian window 11, sigma 1.5, values in 0..1, mean over channels.
///
/// As in scikit-image the mean leaves out a border of 5 pixels, where the window sticks out. A picture with a side under
/// 11 is taken whole, its edges replicated.
///
/// # Panics
/// When the shapes differ.
pub fn ssim(a: &Image, b: &Image) -> f64 {
    assert_same_shape(a, b);
    if a.data.is_empty() {
        return 1.0;
    }
    let border = if a.width.min(a.height) > 2 * RADIUS { RADIUS } else { 0 };
    let mut sum = 0.0;
    for channel in 0..a.channels {
        let map = ssim_map(a.plane(channel), b.plane(channel), a.width);
        for row in map.chunks(a.width).take(a.height - border).skip(border) {
            sum += row[border..a.width - border].iter().map(|&v| f64::from(v)).sum::<f64>();
        }
    }
    sum / (a.channels * (a.height - 2 * border) * (a.width - 2 * border)) as f64
}

fn assert_same_shape(a: &Image, b: &Image) {
    assert_eq!(
        (a.channels, a.height, a.width),
        (b.channels, b.height, b.width),
        "shapes differ"
    );
}

#[cfg(test)]
mod tests;

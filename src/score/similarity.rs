//! Structural similarity (Wang, Bovik, Sheikh, Simoncelli: Image quality assessment, 2004), for maps and for the metric.

use rayon::prelude::*;

use super::filter::{ROWS_AT_LEAST, gaussian, separable};

/// Half of the window's side, rounded down: 11 pixels in all.
pub(super) const RADIUS: usize = 5;
const SIGMA: f64 = 1.5;
/// (0.01 · range)² and (0.03 · range)² with values in 0..1.
const C1: f32 = 1e-4;
const C2: f32 = 9e-4;

/// Local structural similarity of two planes of rows of `width`, edges replicated.
pub(super) fn ssim_map(a: &[f32], b: &[f32], width: usize) -> Vec<f32> {
    let taps = gaussian(SIGMA, RADIUS);
    let blurred = |f: fn(f32, f32) -> f32| {
        let plane: Vec<f32> = a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect();
        separable(&plane, width, &taps)
    };
    let mean_a = separable(a, width, &taps);
    let mean_b = separable(b, width, &taps);
    // The two variances only enter as a sum, so one filter serves both.
    let squares = blurred(|a, b| a * a + b * b);
    let mut map = blurred(|a, b| a * b);
    map.par_chunks_mut(width)
        .with_min_len(ROWS_AT_LEAST)
        .enumerate()
        .for_each(|(y, out)| {
            let row = y * width..(y + 1) * width;
            let means = mean_a[row.clone()].iter().zip(&mean_b[row.clone()]);
            for ((product, (&a, &b)), &squares) in out.iter_mut().zip(means).zip(&squares[row]) {
                let means_squared = a * a + b * b;
                let covariance = *product - a * b;
                let variances = squares - means_squared;
                *product = ((2.0 * a * b + C1) * (2.0 * covariance + C2)) / ((means_squared + C1) * (variances + C2));
            }
        });
    map
}

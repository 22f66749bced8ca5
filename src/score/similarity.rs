//! Structural similarity (Wang, Bovik, Sheikh, Simoncelli: Image quality assessment, 2004), for maps and for the metric.

use crate::kernels::ssim::{C1, C2, taps};
use crate::pixels::separable::correlate;

/// Half of the window's side, rounded down: 11 pixels in all.
pub(super) const RADIUS: usize = 5;

/// Local structural similarity of two planes of rows of `width`, edges replicated.
///
/// With d = a − b, 2·a·b = a² + b² − d² turns both factors into 1 − share of d, so that nothing is lost to rounding where
/// the planes are nearly equal: (1 − d̄² / (ā² + b̄² + c₁)) · (1 − var d / (var a + var b + c₂)).
pub(super) fn ssim_map(a: &[f32], b: &[f32], width: usize) -> Vec<f32> {
    let taps = taps();
    let filtered = |plane: Vec<f32>| correlate(&plane, width, &taps);
    let mut map = correlate(a, width, &taps);
    let difference = filtered(pairwise(a, b, |a, b| a - b));
    let difference_squares = filtered(pairwise(a, b, |a, b| (a - b) * (a - b)));
    let squares = filtered(pairwise(a, b, |a, b| a * a + b * b));
    let moments = difference.iter().zip(&difference_squares).zip(&squares);
    for (value, ((&d, &d_squares), &squares)) in map.iter_mut().zip(moments) {
        let a = *value;
        let means_squared = a * a + (a - d) * (a - d);
        let luminance = 1.0 - d * d / (means_squared + C1);
        let structure = 1.0 - (d_squares - d * d) / (squares - means_squared + C2);
        *value = luminance * structure;
    }
    map
}

fn pairwise(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> Vec<f32> {
    a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()
}

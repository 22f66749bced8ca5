//! Separable filters on one plane, edges replicated.

use rayon::prelude::*;

/// Rows that one worker takes at least: fewer are not worth waking it.
pub(super) const ROWS_AT_LEAST: usize = 32;

/// Correlates `plane` (rows of `width`) with `taps` along both axes. Tap `taps.len() / 2` lies on the pixel.
pub(super) fn separable(plane: &[f32], width: usize, taps: &[f32]) -> Vec<f32> {
    let before = taps.len() / 2;
    let last = plane.len() / width - 1;
    let mut filtered = vec![0.0; plane.len()];
    let rows = filtered.par_chunks_mut(width).with_min_len(ROWS_AT_LEAST).enumerate();
    rows.for_each_init(
        || vec![0.0; width + taps.len() - 1],
        |padded, (y, out)| {
            let middle = before..before + width;
            padded[middle.clone()].fill(0.0);
            accumulate(&mut padded[middle], taps, |k| {
                let row = (y + k).saturating_sub(before).min(last);
                &plane[row * width..(row + 1) * width]
            });
            let (left, right) = (padded[before], padded[before + width - 1]);
            padded[..before].fill(left);
            padded[before + width..].fill(right);
            accumulate(out, taps, |k| &padded[k..k + width]);
        },
    );
    filtered
}

/// Adds `taps[k] · row(k)` for all `k` to `out`. Four at a time, so that `out` goes through memory less often.
fn accumulate<'a>(out: &mut [f32], taps: &[f32], row: impl Fn(usize) -> &'a [f32]) {
    let (fours, rest) = taps.as_chunks::<4>();
    for (i, &[t0, t1, t2, t3]) in fours.iter().enumerate() {
        let [r0, r1, r2, r3] = [0, 1, 2, 3].map(|k| row(4 * i + k));
        for ((((out, v0), v1), v2), v3) in out.iter_mut().zip(r0).zip(r1).zip(r2).zip(r3) {
            *out += (t0 * v0 + t1 * v1) + (t2 * v2 + t3 * v3);
        }
    }
    for (k, &tap) in rest.iter().enumerate() {
        out.iter_mut()
            .zip(row(4 * fours.len() + k))
            .for_each(|(out, value)| *out += tap * value);
    }
}

/// Mean over a square of `side` pixels.
pub(super) fn box_mean(plane: &[f32], width: usize, side: usize) -> Vec<f32> {
    separable(plane, width, &vec![1.0 / side as f32; side])
}

/// Normalised Gaussian of standard deviation `sigma` over `2 · radius + 1` taps.
pub(super) fn gaussian(sigma: f64, radius: usize) -> Vec<f32> {
    let weight = |i: usize| (-0.5 * ((i as f64 - radius as f64) / sigma).powi(2)).exp();
    let sum: f64 = (0..=2 * radius).map(weight).sum();
    (0..=2 * radius).map(|i| (weight(i) / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn box_mean_replicates_edges() {
        // scipy.ndimage.uniform_filter1d / uniform_filter of the same arrays, mode="nearest".
        assert_eq!(box_mean(&[3.0, 0.0, 6.0], 3, 3), [2.0, 3.0, 4.0]);
        assert_eq!(box_mean(&[4.0, 0.0, 8.0], 3, 2), [4.0, 2.0, 4.0]);
        assert_eq!(box_mean(&[4.0, 0.0, 8.0], 1, 2), [4.0, 2.0, 4.0]);
        assert_eq!(box_mean(&[7.0], 1, 5), [7.0]);
    }

    #[test]
    fn gaussian_sums_to_one() {
        let taps = gaussian(1.5, 5);
        assert_eq!(taps.len(), 11);
        assert!((taps.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        // numpy: exp(-0.5 * (k / 1.5)^2) normalised over -5..=5.
        assert!((taps[5] - 0.266_011_74).abs() < 1e-6 && (taps[0] - 0.001_028_38).abs() < 1e-6);
    }
}

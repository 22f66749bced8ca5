//! Separable linear filters: weights that change from pixel to pixel, for resizing, and that stay, for fixed filters.

use super::Image;
use crate::kernels::simd::{Vector, Work, run_best};
use crate::kernels::team::share;

/// Rows that one worker takes at least: fewer are not worth waking it.
pub(crate) const ROWS_AT_LEAST: usize = 32;
/// Pixels that overlap less than this only touch: the difference is rounding.
const TOUCHING: f64 = 1e-6;

/// For every output position on one axis, the input positions it is made of and their weights, which sum to 1.
#[derive(Debug, Clone, Default)]
pub(super) struct Taps {
    /// First input position, one an output.
    first: Vec<usize>,
    /// How many weights an output has.
    counts: Vec<usize>,
    /// The weights of all outputs one after the other.
    weights: Vec<f32>,
}

impl Taps {
    /// A triangle filter for outputs whose centres lie at `start + (i + 0.5) · step` in input pixels (the first input
    /// pixel's centre is 0.5). It is `2 · max(step, 1)` wide and cut off at the edges. Outputs, `step` wide, that lie
    /// outside the input give the edge if `repeat`, else nothing.
    pub fn triangle(inputs: usize, outputs: usize, step: f64, start: f64, repeat: bool) -> Self {
        let end = inputs as f64;
        let support = step.max(1.0);
        let edge = (0.5 * step).min(0.5 * end);
        let mut taps = Self::default();
        let mut weights = Vec::new();
        for i in 0..outputs {
            let mut center = start + (i as f64 + 0.5) * step;
            if repeat {
                center = center.clamp(edge, end - edge);
            } else if center + 0.5 * step < TOUCHING || center - 0.5 * step > end - TOUCHING {
                taps.push(0, &[]);
                continue;
            } else {
                center = center.clamp(0.0, end);
            }
            let first = (center - support + 0.5).max(0.0) as usize;
            let last = ((center + support + 0.5) as usize).min(inputs);
            weights.clear();
            weights.extend((first..last).map(|x| (1.0 - ((x as f64 + 0.5 - center) / support).abs()).max(0.0)));
            taps.push(first, &weights);
        }
        taps
    }

    /// Adds an output; its weights are normalised, zeros at the ends left out.
    fn push(&mut self, first: usize, weights: &[f64]) {
        let skip = weights.iter().take_while(|w| **w == 0.0).count();
        let kept = weights[skip..]
            .iter()
            .rposition(|w| *w != 0.0)
            .map_or(0, |last| last + 1);
        let sum: f64 = weights.iter().sum();
        self.first.push(first + skip);
        self.weights
            .extend(weights[skip..skip + kept].iter().map(|w| (w / sum) as f32));
        self.counts.push(kept);
    }

    pub fn len(&self) -> usize {
        self.first.len()
    }

    /// First input and weights of every output.
    fn iter(&self) -> impl Iterator<Item = (usize, &[f32])> {
        let mut rest = &self.weights[..];
        self.first.iter().zip(&self.counts).map(move |(&first, &count)| {
            let (weights, others) = rest.split_at(count);
            rest = others;
            (first, weights)
        })
    }

    /// The same for inputs that each stand for a pair of neighbouring ones.
    pub fn of_pairs(&self) -> Self {
        let mut taps = Self::default();
        for (first, weights) in self.iter() {
            let mut pairs: Vec<f32> = Vec::with_capacity(weights.len() / 2 + 1);
            for (i, weight) in weights.iter().enumerate() {
                match pairs.get_mut((first + i) / 2 - first / 2) {
                    Some(pair) => *pair += weight,
                    None => pairs.push(*weight),
                }
            }
            taps.first.push(first / 2);
            taps.counts.push(pairs.len());
            taps.weights.extend(pairs);
        }
        taps
    }

    /// The same from `origin` on.
    pub fn shift(mut self, origin: usize) -> Self {
        self.first.iter_mut().for_each(|first| *first += origin);
        self
    }

    /// The inputs that any output needs.
    fn span(&self) -> std::ops::Range<usize> {
        let used = || self.iter().filter(|(_, weights)| !weights.is_empty());
        let start = used().map(|(first, _)| first).min().unwrap_or(0);
        start
            ..used()
                .map(|(first, weights)| first + weights.len())
                .max()
                .unwrap_or(start)
    }
}

/// Filters rows and columns. An output without weights is 0.
///
/// Sums run over differences from the first input, so that what is constant stays so exactly.
pub(super) fn resample(image: &Image, columns: &Taps, rows: &Taps) -> Image {
    let (width, height) = (columns.len(), rows.len());
    let mut out = Image::filled(image.channels, height, width, 0.0);
    let span = columns.span();
    let rows: Vec<_> = rows.iter().collect();
    let scratch = || vec![0.0; span.len()];
    let lines = out.data.chunks_mut(width.max(1)).enumerate();
    share(lines, 4, scratch, |mixed, (i, out)| {
        let (first, weights) = rows[i % height];
        if weights.is_empty() {
            return;
        }
        let plane = image.plane(i / height);
        let row = |y: usize| &plane[y * image.width..][span.clone()];
        let base = row(first);
        mixed.copy_from_slice(base);
        for (k, &weight) in weights.iter().enumerate().skip(1) {
            for ((mixed, value), base) in mixed.iter_mut().zip(row(first + k)).zip(base) {
                *mixed += weight * (value - base);
            }
        }
        for (out, (first, weights)) in out.iter_mut().zip(columns.iter()) {
            let [_, others @ ..] = weights else {
                continue;
            };
            let values = &mixed[first - span.start..][..weights.len()];
            *out = match (others, values) {
                // Enlarged maps are made of these alone.
                ([weight], [base, value]) => base + weight * (value - base),
                _ => {
                    let terms = others.iter().zip(&values[1..]);
                    terms.fold(values[0], |sum, (weight, value)| sum + weight * (value - values[0]))
                }
            };
        }
    });
    out
}

/// [`resample`] of rows of bytes with `step` bytes from pixel to pixel, of which those at `offsets` are filtered: for each
/// row of the result its pixels, each with as many values, in codes.
pub(super) fn resample_codes<'a>(
    row: impl Fn(usize) -> &'a [u8] + Sync,
    step: usize,
    offsets: &[usize],
    columns: &Taps,
    rows: &Taps,
) -> Vec<f32> {
    let pitch = columns.len() * offsets.len();
    let mut out = vec![0.0; pitch * rows.len()];
    let span = columns.span();
    let bytes = span.start * step..span.end * step;
    let rows: Vec<_> = rows.iter().collect();
    share(
        out.chunks_mut(pitch.max(1)).zip(rows),
        4,
        || vec![0.0; bytes.len()],
        |mixed, (out, (first, weights))| {
            if !weights.is_empty() {
                let row = |k: usize| &row(first + k)[bytes.clone()];
                let start = span.start;
                run_best(CodesRow {
                    row,
                    weights,
                    columns,
                    start,
                    step,
                    offsets,
                    mixed,
                    out,
                });
            }
        },
    );
    out
}

/// One row of the result of [`resample_codes`].
struct CodesRow<'a, R> {
    row: R,
    weights: &'a [f32],
    columns: &'a Taps,
    /// The first pixel of the rows.
    start: usize,
    step: usize,
    offsets: &'a [usize],
    mixed: &'a mut [f32],
    out: &'a mut [f32],
}

impl<'a, R: Fn(usize) -> &'a [u8]> Work for CodesRow<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let base = (self.row)(0);
        self.mixed
            .iter_mut()
            .zip(base)
            .for_each(|(mixed, byte)| *mixed = f32::from(*byte));
        for (k, &weight) in self.weights.iter().enumerate().skip(1) {
            let others = (self.row)(k).iter().zip(base);
            for (mixed, (value, base)) in self.mixed.iter_mut().zip(others) {
                *mixed += weight * (f32::from(*value) - f32::from(*base));
            }
        }
        match *self.offsets {
            [a, b, c] => self.columns::<3>([a, b, c]),
            [a] => self.columns::<1>([a]),
            _ => unreachable!("pixels have one or three values"),
        }
    }
}

impl<R> CodesRow<'_, R> {
    #[inline(always)]
    fn columns<const N: usize>(self, offsets: [usize; N]) {
        assert!(offsets.iter().all(|offset| *offset < self.step));
        for (out, (first, weights)) in self.out.as_chunks_mut::<N>().0.iter_mut().zip(self.columns.iter()) {
            let [_, others @ ..] = weights else {
                continue;
            };
            let mut pixels = self.mixed[(first - self.start) * self.step..].chunks_exact(self.step);
            let Some(pixel) = pixels.next() else {
                continue;
            };
            let base = offsets.map(|offset| pixel[offset]);
            *out = base;
            for (pixel, weight) in pixels.zip(others) {
                for i in 0..N {
                    out[i] += weight * (pixel[offsets[i]] - base[i]);
                }
            }
        }
    }
}

/// Correlates `plane` (rows of `width`) with `taps`, which sum to 1, along both axes, edges repeated. Tap `taps.len() / 2`
/// lies on the pixel.
///
/// Sums run over differences from the pixel, so that what is constant stays so exactly.
pub(crate) fn correlate(plane: &[f32], width: usize, taps: &[f32]) -> Vec<f32> {
    let before = taps.len() / 2;
    let last = plane.len() / width - 1;
    let mut filtered = plane.to_vec();
    share(
        filtered.chunks_mut(width).enumerate(),
        ROWS_AT_LEAST,
        || vec![0.0; width + taps.len() - 1],
        |padded, (y, out)| {
            let middle = before..before + width;
            // `out` still holds the row as it was.
            padded[middle.clone()].copy_from_slice(out);
            accumulate(&mut padded[middle.clone()], out, taps, |k| {
                let row = (y + k).saturating_sub(before).min(last);
                &plane[row * width..(row + 1) * width]
            });
            let (left, right) = (padded[before], padded[before + width - 1]);
            padded[..before].fill(left);
            padded[before + width..].fill(right);
            out.copy_from_slice(&padded[middle.clone()]);
            accumulate(out, &padded[middle], taps, |k| &padded[k..k + width]);
        },
    );
    filtered
}

/// Adds `taps[k] · (row(k) − base)` for all `k` to `out`. Four at a time, so that `out` goes through memory less often.
fn accumulate<'a>(out: &mut [f32], base: &[f32], taps: &[f32], row: impl Fn(usize) -> &'a [f32]) {
    let (fours, rest) = taps.as_chunks::<4>();
    for (i, &[t0, t1, t2, t3]) in fours.iter().enumerate() {
        let [r0, r1, r2, r3] = [0, 1, 2, 3].map(|k| row(4 * i + k));
        for (((((out, base), v0), v1), v2), v3) in out.iter_mut().zip(base).zip(r0).zip(r1).zip(r2).zip(r3) {
            *out += (t0 * (v0 - base) + t1 * (v1 - base)) + (t2 * (v2 - base) + t3 * (v3 - base));
        }
    }
    for (k, &tap) in rest.iter().enumerate() {
        for ((out, base), value) in out.iter_mut().zip(base).zip(row(4 * fours.len() + k)) {
            *out += tap * (value - base);
        }
    }
}

/// Normalised Gaussian of standard deviation `sigma` over `2 · radius + 1` taps.
pub(crate) fn gaussian_taps(sigma: f64, radius: usize) -> Vec<f32> {
    let weight = |i: usize| (-0.5 * ((i as f64 - radius as f64) / sigma).powi(2)).exp();
    let sum: f64 = (0..=2 * radius).map(weight).sum();
    (0..=2 * radius).map(|i| (weight(i) / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::{correlate, gaussian_taps};

    #[test]
    fn taps_are_correlated_along_both_axes() {
        // scipy.ndimage.uniform_filter1d of the same arrays, mode="nearest".
        assert_eq!(correlate(&[3.0, 0.0, 6.0], 3, &[1.0 / 3.0; 3]), [2.0, 3.0, 4.0]);
        assert_eq!(correlate(&[4.0, 0.0, 8.0], 3, &[0.5; 2]), [4.0, 2.0, 4.0]);
        assert_eq!(correlate(&[4.0, 0.0, 8.0], 1, &[0.5; 2]), [4.0, 2.0, 4.0]);
        assert_eq!(correlate(&[7.0], 1, &[0.2; 5]), [7.0]);
    }

    #[test]
    fn gaussian_sums_to_one() {
        let taps = gaussian_taps(1.5, 5);
        assert_eq!(taps.len(), 11);
        assert!((taps.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        // numpy: exp(-0.5 * (k / 1.5)^2) normalised over -5..=5.
        assert!((taps[5] - 0.266_011_74).abs() < 1e-6 && (taps[0] - 0.001_028_38).abs() < 1e-6);
    }
}

//! What is done to rows of pixels beside convolution. A pixel's channels lie side by side.

use std::ops::Range;

/// `out[x, c] = planes[c][x]`, for rows of planes.
pub(crate) fn interleave<'a>(planes: impl ExactSizeIterator<Item = &'a [f32]>, out: &mut [f32]) {
    let channels = planes.len();
    for (c, plane) in planes.enumerate() {
        if channels == 1 {
            out.copy_from_slice(plane);
        } else {
            let out = out[c..].iter_mut().step_by(channels);
            out.zip(plane).for_each(|(out, x)| *out = *x);
        }
    }
}

/// `out[x] = row[x, channel]`: one plane of a row.
pub(crate) fn plane(row: &[f32], channels: usize, channel: usize, out: &mut [f32]) {
    if channels == 1 {
        out.copy_from_slice(row);
    } else {
        let row = row[channel..].iter().step_by(channels);
        out.iter_mut().zip(row).for_each(|(out, x)| *out = *x);
    }
}

/// Largest values of windows: `rows` are those that a window covers, its part beyond the border left out.
pub(crate) fn max_pool<'a>(rows: impl Iterator<Item = &'a [f32]>, channels: usize, window: Window, out: &mut [f32]) {
    out.fill(f32::NEG_INFINITY);
    for row in rows {
        window.each(row, channels, out, |out, x| *out = if *out >= x { *out } else { x });
    }
}

/// Means of windows of `area` pixels, those beyond the border being zeros.
#[rustfmt::skip]
pub(crate) fn avg_pool<'a>(rows: impl Iterator<Item = &'a [f32]>, channels: usize, window: Window, area: usize, out: &mut [f32]) {
    out.fill(0.0);
    for row in rows {
        window.each(row, channels, out, |out, x| *out += x);
    }
    let share = 1.0 / area as f32;
    out.iter_mut().for_each(|out| *out *= share);
}

/// A square window that steps over a padded picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Side.
    pub kernel: usize,
    /// Step.
    pub stride: usize,
    /// Pixels added at every border.
    pub padding: usize,
}

impl Window {
    /// Rows or columns, of `length`, that window `at` covers.
    pub(super) fn inside(self, at: usize, length: usize) -> Range<usize> {
        let end = (at * self.stride + self.kernel)
            .saturating_sub(self.padding)
            .min(length);
        (at * self.stride).saturating_sub(self.padding).min(end)..end
    }

    /// Rows that window row `at` covers; they may go beyond the picture.
    pub(crate) fn rows(self, at: usize) -> Range<isize> {
        let first = (at * self.stride) as isize - self.padding as isize;
        first..first + self.kernel as isize
    }

    /// Calls `f(out, x)` for every value of a row that the window of an output covers.
    #[inline(always)]
    fn each(self, row: &[f32], channels: usize, out: &mut [f32], f: impl Fn(&mut f32, f32)) {
        let width = row.len() / channels;
        for (at, out) in out.chunks_exact_mut(channels).enumerate() {
            let columns = self.inside(at, width);
            for pixel in row[columns.start * channels..columns.end * channels].chunks_exact(channels) {
                out.iter_mut().zip(pixel).for_each(|(out, x)| f(out, *x));
            }
        }
    }
}

/// Mean of each channel over a whole picture of `pixels`.
pub(crate) fn global_avg<'a>(rows: impl Iterator<Item = &'a [f32]> + Clone, pixels: usize, out: &mut [f32]) {
    const SOME: usize = 16;
    let channels = out.len();
    for (first, out) in (0..).step_by(SOME).zip(out.chunks_mut(SOME)) {
        let mut sums = [0.0f64; SOME];
        for row in rows.clone() {
            // Rows first, so that no sum has many more terms than its precision can bear.
            let mut of_row = [0.0f32; SOME];
            for pixel in row.chunks_exact(channels) {
                of_row.iter_mut().zip(&pixel[first..]).for_each(|(sum, x)| *sum += x);
            }
            sums.iter_mut().zip(of_row).for_each(|(sum, x)| *sum += f64::from(x));
        }
        out.iter_mut()
            .zip(sums)
            .for_each(|(out, sum)| *out = (sum / pixels as f64) as f32);
    }
}

/// Each pixel `factor` times.
pub(crate) fn repeat(row: &[f32], channels: usize, factor: usize, out: &mut [f32]) {
    let pixels = row.chunks_exact(channels).zip(out.chunks_exact_mut(factor * channels));
    for (pixel, out) in pixels {
        out.chunks_exact_mut(channels)
            .for_each(|out| out.copy_from_slice(pixel));
    }
}

/// For each position of an axis enlarged by `factor`, two positions of the short axis and the share of the second:
/// half-pixel centres, clamped at the border.
pub(crate) fn linear_taps(side: usize, factor: usize) -> Vec<(usize, usize, f32)> {
    let tap = |i: usize| {
        let at = ((i as f64 + 0.5) / factor as f64 - 0.5).max(0.0);
        let low = (at as usize).min(side - 1);
        (low, (low + 1).min(side - 1), (at - low as f64) as f32)
    };
    (0..side * factor).map(tap).collect()
}

/// A row of an enlarged picture: `share` of the way from one row to another, and along the row by `columns` of (left pixel,
/// right pixel, share of the right one).
pub(crate) fn bilinear(
    [above, below]: [&[f32]; 2],
    share: f32,
    columns: &[(usize, usize, f32)],
    channels: usize,
    out: &mut [f32],
) {
    for ((left, right, part), out) in columns.iter().zip(out.chunks_exact_mut(channels)) {
        let (left, right) = (left * channels, right * channels);
        for (c, out) in out.iter_mut().enumerate() {
            let down = |at: usize| above[at + c] + share * (below[at + c] - above[at + c]);
            let (a, b) = (down(left), down(right));
            *out = a + part * (b - a);
        }
    }
}

/// Row `phase` of the `factor` that pixel shuffle makes of `row`; `channels` are those of `out`.
pub(crate) fn shuffle(row: &[f32], channels: usize, factor: usize, phase: usize, out: &mut [f32]) {
    let pixels = row.chunks_exact(channels * factor * factor);
    for (pixel, out) in pixels.zip(out.chunks_exact_mut(channels * factor)) {
        for (i, out) in out.iter_mut().enumerate() {
            *out = pixel[i % channels * factor * factor + phase * factor + i / channels];
        }
    }
}

/// Row `phase` of a cell of `factor` rows to its places in `out`: the inverse of [`shuffle`].
pub(crate) fn unshuffle(row: &[f32], channels: usize, factor: usize, phase: usize, out: &mut [f32]) {
    let pixels = out.chunks_exact_mut(channels * factor * factor);
    for (pixel, row) in pixels.zip(row.chunks_exact(channels * factor)) {
        for (i, x) in row.iter().enumerate() {
            pixel[i % channels * factor * factor + phase * factor + i / channels] = *x;
        }
    }
}

/// Puts the channels of `row` from channel `first` of `out` on, which has `all`.
pub(crate) fn join(row: &[f32], channels: usize, first: usize, all: usize, out: &mut [f32]) {
    for (out, pixel) in out.chunks_exact_mut(all).zip(row.chunks_exact(channels)) {
        out[first..first + channels].copy_from_slice(pixel);
    }
}

/// Softmax over the channels of each pixel.
pub(crate) fn softmax(row: &[f32], channels: usize, out: &mut [f32]) {
    for (out, pixel) in out.chunks_exact_mut(channels).zip(row.chunks_exact(channels)) {
        let max = pixel.iter().fold(f32::NEG_INFINITY, |max, x| max.max(*x));
        out.iter_mut().zip(pixel).for_each(|(out, x)| *out = (x - max).exp());
        let sum: f32 = out.iter().sum();
        out.iter_mut().for_each(|out| *out /= sum);
    }
}

/// Position `at` of an axis of `length` with a border of `padding`: the one inside that it shows, the nearest or, mirrored
/// about the border as often as needed, its reflection.
pub(crate) fn padded(at: usize, padding: usize, length: usize, reflect: bool) -> usize {
    let (at, last) = (at as isize - padding as isize, length as isize - 1);
    let inside = if reflect {
        let period = 2 * last.max(1);
        let folded = at.rem_euclid(period);
        folded.min(period - folded)
    } else {
        at
    };
    inside.clamp(0, last) as usize
}

/// All pixels of a picture, channel by channel.
pub(crate) fn flatten<'a>(rows: impl Iterator<Item = &'a [f32]>, channels: usize, plane: usize, out: &mut [f32]) {
    let pixels = rows.flat_map(|row| row.chunks_exact(channels));
    for (i, pixel) in pixels.enumerate() {
        out[i..]
            .iter_mut()
            .step_by(plane)
            .zip(pixel)
            .for_each(|(out, x)| *out = *x);
    }
}

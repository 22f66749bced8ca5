//! What is done to rows of pixels beside convolution. A pixel's channels lie side by side.

use crate::kernels::pointwise::at_least;

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
pub(crate) fn max_pool<'a>(rows: impl Iterator<Item = &'a [f32]>, channels: usize, window: Columns, out: &mut [f32]) {
    out.fill(f32::NEG_INFINITY);
    for row in rows {
        window.each(row, channels, out, |out, x| *out = if *out >= x { *out } else { x });
    }
}

/// Means of windows of `area` pixels, those beyond the border being zeros.
#[rustfmt::skip]
pub(crate) fn avg_pool<'a>(rows: impl Iterator<Item = &'a [f32]>, channels: usize, window: Columns, area: usize, out: &mut [f32]) {
    out.fill(0.0);
    for row in rows {
        window.each(row, channels, out, |out, x| *out += x);
    }
    let share = 1.0 / area as f32;
    out.iter_mut().for_each(|out| *out *= share);
}

/// A window's way along a row.
#[derive(Clone, Copy)]
pub(crate) struct Columns {
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
}

impl Columns {
    /// Calls `f(out, x)` for every value of a row that the window of an output covers.
    #[inline(always)]
    fn each(self, row: &[f32], channels: usize, out: &mut [f32], f: impl Fn(&mut f32, f32)) {
        let width = row.len() / channels;
        for (x, out) in out.chunks_exact_mut(channels).enumerate() {
            let first = (x * self.stride).saturating_sub(self.padding);
            let end = (x * self.stride + self.kernel).saturating_sub(self.padding).min(width);
            for pixel in row[first.min(end) * channels..end * channels].chunks_exact(channels) {
                out.iter_mut().zip(pixel).for_each(|(out, x)| f(out, *x));
            }
        }
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

/// `out = x · scale + shift` by channel, then at least `floor`.
pub(crate) fn affine(row: &[f32], scale: &[f32], shift: &[f32], floor: f32, out: &mut [f32]) {
    for (out, pixel) in out.chunks_exact_mut(scale.len()).zip(row.chunks_exact(scale.len())) {
        for (((out, x), scale), shift) in out.iter_mut().zip(pixel).zip(scale).zip(shift) {
            *out = at_least(floor, x * scale + shift);
        }
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

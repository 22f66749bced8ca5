//! Windows over planes: their largest value, their mean, and the gradients of both.

use std::ops::Range;

use rayon::prelude::*;

use super::Nchw;

/// A square window that steps over a padded plane.
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
    /// Positions `range` of the output whose tap `tap` lies inside an axis of length `side`.
    fn inside(&self, tap: usize, side: usize, positions: usize) -> Range<usize> {
        let first = self.padding.saturating_sub(tap).div_ceil(self.stride);
        let end = (side + self.padding)
            .saturating_sub(tap)
            .div_ceil(self.stride)
            .min(positions);
        first.min(end)..end
    }

    /// Pixel under tap `tap` at `position`; the caller knows that it is inside.
    fn pixel(&self, tap: usize, position: usize) -> usize {
        position * self.stride + tap - self.padding
    }

    /// Calls `f(first pixel, positions)` for each tap of row `y` of the output, in the order of the pixels: the first
    /// pixel is that of the first position, the others follow at the stride.
    fn row(&self, from: Nchw, to: Nchw, y: usize, mut f: impl FnMut(usize, Range<usize>)) {
        for ky in 0..self.kernel {
            if !self.inside(ky, from.h, to.h).contains(&y) {
                continue;
            }
            let row = self.pixel(ky, y) * from.w;
            for kx in 0..self.kernel {
                let positions = self.inside(kx, from.w, to.w);
                if !positions.is_empty() {
                    f(row + self.pixel(kx, positions.start), positions);
                }
            }
        }
    }
}

/// Runs `f` on every plane of `out` and the one of the same number in `x`.
fn planes(x: (&[f32], Nchw), out: (&mut [f32], Nchw), f: impl Fn(&[f32], &mut [f32]) + Sync) {
    assert!(x.0.len() == x.1.len() && out.0.len() == out.1.len() && (x.1.n, x.1.c) == (out.1.n, out.1.c));
    let pairs = out
        .0
        .par_chunks_exact_mut(out.1.plane())
        .zip(x.0.par_chunks_exact(x.1.plane()));
    pairs.for_each(|(out, x)| f(x, out));
}

/// Largest value of each window; padding never wins.
pub fn max_pool(window: &Window, x: (&[f32], Nchw), out: (&mut [f32], Nchw)) {
    let (from, to) = (x.1, out.1);
    planes(x, out, |x, out| {
        out.fill(f32::NEG_INFINITY);
        for (y, out) in out.chunks_exact_mut(to.w).enumerate() {
            window.row(from, to, y, |first, positions| {
                let values = x[first..].iter().step_by(window.stride);
                out[positions]
                    .iter_mut()
                    .zip(values)
                    .for_each(|(out, x)| *out = out.max(*x));
            });
        }
    });
}

/// Gradient of [`max_pool`]'s input: each window's goes to the first of its largest values.
pub fn max_pool_grad(window: &Window, x: (&[f32], Nchw), g: (&[f32], Nchw), dx: &mut [f32]) {
    let (from, to) = (x.1, g.1);
    assert_eq!(g.0.len(), to.len());
    let planes = dx
        .par_chunks_exact_mut(from.plane())
        .zip(x.0.par_chunks_exact(from.plane()));
    planes.zip(g.0.par_chunks_exact(to.plane())).for_each(|((dx, x), g)| {
        dx.fill(0.0);
        let mut best = vec![(f32::NEG_INFINITY, 0); to.w];
        for (y, g) in g.chunks_exact(to.w).enumerate() {
            best.fill((f32::NEG_INFINITY, usize::MAX));
            window.row(from, to, y, |first, positions| {
                let pixels = (first..).step_by(window.stride);
                for (best, pixel) in best[positions].iter_mut().zip(pixels) {
                    if x[pixel] > best.0 || best.1 == usize::MAX {
                        *best = (x[pixel], pixel);
                    }
                }
            });
            for ((_, pixel), g) in best.iter().zip(g) {
                // A window that lies in the padding alone has no pixel.
                if let Some(dx) = dx.get_mut(*pixel) {
                    *dx += g;
                }
            }
        }
    });
}

/// Mean of each window, padding counted as zeros.
pub fn avg_pool(window: &Window, x: (&[f32], Nchw), out: (&mut [f32], Nchw)) {
    let (from, to) = (x.1, out.1);
    let share = 1.0 / (window.kernel * window.kernel) as f32;
    planes(x, out, |x, out| {
        out.fill(0.0);
        for (y, out) in out.chunks_exact_mut(to.w).enumerate() {
            window.row(from, to, y, |first, positions| {
                let values = x[first..].iter().step_by(window.stride);
                out[positions].iter_mut().zip(values).for_each(|(out, x)| *out += x);
            });
            out.iter_mut().for_each(|out| *out *= share);
        }
    });
}

/// Gradient of [`avg_pool`]'s input.
pub fn avg_pool_grad(window: &Window, g: (&[f32], Nchw), dx: (&mut [f32], Nchw)) {
    let (from, to) = (dx.1, g.1);
    let share = 1.0 / (window.kernel * window.kernel) as f32;
    planes(g, dx, |g, dx| {
        dx.fill(0.0);
        for (y, g) in g.chunks_exact(to.w).enumerate() {
            window.row(from, to, y, |first, positions| {
                let pixels = dx[first..].iter_mut().step_by(window.stride);
                pixels.zip(&g[positions]).for_each(|(dx, g)| *dx += share * g);
            });
        }
    });
}

/// Mean of each plane: one value for each.
pub fn global_avg_pool(x: &[f32], shape: Nchw, out: &mut [f32]) {
    planes((x, shape), (out, Nchw { h: 1, w: 1, ..shape }), |x, out| {
        // Rows first, so that no sum has many more terms than its precision can bear.
        let rows = x.chunks_exact(shape.w).map(|row| f64::from(row.iter().sum::<f32>()));
        out[0] = (rows.sum::<f64>() / shape.plane() as f64) as f32;
    });
}

/// Gradient of [`global_avg_pool`]'s input.
pub fn global_avg_pool_grad(g: &[f32], shape: Nchw, dx: &mut [f32]) {
    planes((g, Nchw { h: 1, w: 1, ..shape }), (dx, shape), |g, dx| {
        dx.fill(g[0] / shape.plane() as f32)
    });
}

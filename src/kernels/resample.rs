//! Pixels moved, repeated and blended: padding, upsampling, pixel shuffle, and their gradients.

use rayon::prelude::*;

use super::Nchw;

/// For each row and column of the output, the one of the input that it shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Remap {
    rows: Vec<usize>,
    cols: Vec<usize>,
}

impl Remap {
    /// `pad` pixels more at every border of `h` x `w`, each the nearest pixel inside.
    pub fn replicate(h: usize, w: usize, pad: usize) -> Self {
        Self::axes(h, w, |side| {
            (0..side + 2 * pad)
                .map(|i| i.saturating_sub(pad).min(side - 1))
                .collect()
        })
    }

    /// `pad` pixels more at every border of `h` x `w`, mirrored about the border pixel, as often as needed.
    pub fn reflect(h: usize, w: usize, pad: usize) -> Self {
        let mirror = |side: usize| {
            let period = 2 * (side - 1).max(1) as isize;
            let fold = move |i: usize| {
                let at = (i as isize - pad as isize).rem_euclid(period);
                at.min(period - at).min(side as isize - 1) as usize
            };
            (0..side + 2 * pad).map(fold).collect()
        };
        Self::axes(h, w, mirror)
    }

    /// Every pixel of `h` x `w` repeated `factor` times on both axes.
    pub fn nearest(h: usize, w: usize, factor: usize) -> Self {
        Self::axes(h, w, |side| (0..side * factor).map(|i| i / factor).collect())
    }

    fn axes(h: usize, w: usize, axis: impl Fn(usize) -> Vec<usize>) -> Self {
        Self {
            rows: axis(h),
            cols: axis(w),
        }
    }

    /// Shape of the output for an input of this shape.
    pub fn output(&self, x: Nchw) -> Nchw {
        Nchw {
            h: self.rows.len(),
            w: self.cols.len(),
            ..x
        }
    }

    /// `out[y, x] = x[rows[y], cols[x]]` on every plane.
    pub fn forward(&self, x: (&[f32], Nchw), out: &mut [f32]) {
        let (shape, w) = (x.1, self.cols.len());
        assert!(x.0.len() == shape.len() && out.len() == self.output(shape).len());
        let planes = out
            .par_chunks_exact_mut(self.rows.len() * w)
            .zip(x.0.par_chunks_exact(shape.plane()));
        planes.for_each(|(out, x)| {
            for (i, row) in self.rows.iter().enumerate() {
                let (before, out) = out[..(i + 1) * w].split_at_mut(i * w);
                if i > 0 && self.rows[i - 1] == *row {
                    out.copy_from_slice(&before[(i - 1) * w..]);
                } else {
                    let x = &x[row * shape.w..(row + 1) * shape.w];
                    out.iter_mut().zip(&self.cols).for_each(|(out, col)| *out = x[*col]);
                }
            }
        });
    }

    /// Gradient of the input, `dx`, from that of the output: each pixel's are summed.
    pub fn backward(&self, g: &[f32], dx: (&mut [f32], Nchw)) {
        let ((dx, shape), w) = (dx, self.cols.len());
        assert!(dx.len() == shape.len() && g.len() == self.output(shape).len());
        let planes = dx
            .par_chunks_exact_mut(shape.plane())
            .zip(g.par_chunks_exact(self.rows.len() * w));
        planes.for_each(|(dx, g)| {
            dx.fill(0.0);
            for (row, g) in self.rows.iter().zip(g.chunks_exact(w)) {
                let dx = &mut dx[row * shape.w..(row + 1) * shape.w];
                self.cols.iter().zip(g).for_each(|(col, g)| dx[*col] += g);
            }
        });
    }
}

/// For each position of an axis enlarged by `factor`, two positions of the short axis and the share of the second:
/// half-pixel centres, clamped at the border.
pub fn linear_taps(side: usize, factor: usize) -> Vec<(usize, usize, f32)> {
    let tap = |i: usize| {
        let at = ((i as f64 + 0.5) / factor as f64 - 0.5).max(0.0);
        let low = (at as usize).min(side - 1);
        (low, (low + 1).min(side - 1), (at - low as f64) as f32)
    };
    (0..side * factor).map(tap).collect()
}

/// Enlarges every plane by `factor`, linear on both axes.
pub fn bilinear(x: (&[f32], Nchw), factor: usize, out: &mut [f32]) {
    let (x, shape) = x;
    assert!(x.len() == shape.len() && out.len() == shape.len() * factor * factor);
    let (rows, cols) = (linear_taps(shape.h, factor), linear_taps(shape.w, factor));
    let planes = out
        .par_chunks_exact_mut(shape.plane() * factor * factor)
        .zip(x.par_chunks_exact(shape.plane()));
    planes.for_each(|(out, x)| {
        let mut blend = vec![0.0; shape.w];
        for ((low, high, share), out) in rows.iter().zip(out.chunks_exact_mut(cols.len())) {
            let pairs = x[low * shape.w..].iter().zip(&x[high * shape.w..]);
            blend
                .iter_mut()
                .zip(pairs)
                .for_each(|(out, (a, b))| *out = a + share * (b - a));
            for ((low, high, share), out) in cols.iter().zip(out) {
                *out = blend[*low] + share * (blend[*high] - blend[*low]);
            }
        }
    });
}

/// Gradient of [`bilinear`]'s input.
pub fn bilinear_grad(g: &[f32], factor: usize, dx: (&mut [f32], Nchw)) {
    let (dx, shape) = dx;
    assert!(dx.len() == shape.len() && g.len() == shape.len() * factor * factor);
    let (rows, cols) = (linear_taps(shape.h, factor), linear_taps(shape.w, factor));
    let planes = dx
        .par_chunks_exact_mut(shape.plane())
        .zip(g.par_chunks_exact(shape.plane() * factor * factor));
    planes.for_each(|(dx, g)| {
        dx.fill(0.0);
        let mut blend = vec![0.0; shape.w];
        for ((low, high, share), g) in rows.iter().zip(g.chunks_exact(cols.len())) {
            blend.fill(0.0);
            for ((low, high, share), g) in cols.iter().zip(g) {
                blend[*low] += (1.0 - share) * g;
                blend[*high] += share * g;
            }
            for (row, share) in [(low, 1.0 - share), (high, *share)] {
                let dx = &mut dx[row * shape.w..(row + 1) * shape.w];
                dx.iter_mut().zip(&blend).for_each(|(dx, g)| *dx += share * g);
            }
        }
    });
}

/// `[N, C·f², H, W]` to `[N, C, H·f, W·f]`; `x` has the first shape. Its gradient is [`pixel_unshuffle`].
pub fn pixel_shuffle(x: (&[f32], Nchw), factor: usize, out: &mut [f32]) {
    let (x, shape) = x;
    assert!(x.len() == shape.len() && out.len() == shape.len() && shape.c.is_multiple_of(factor * factor));
    let area = shape.plane() * factor * factor;
    out.par_chunks_exact_mut(area)
        .zip(x.par_chunks_exact(area))
        .for_each(|(out, x)| {
            for (y, out) in out.chunks_exact_mut(shape.w * factor).enumerate() {
                for i in 0..factor {
                    let first = ((y % factor * factor + i) * shape.h + y / factor) * shape.w;
                    let x = &x[first..first + shape.w];
                    out[i..]
                        .iter_mut()
                        .step_by(factor)
                        .zip(x)
                        .for_each(|(out, x)| *out = *x);
                }
            }
        });
}

/// `[N, C, H·f, W·f]` to `[N, C·f², H, W]`; `out` has the second shape. Its gradient is [`pixel_shuffle`].
pub fn pixel_unshuffle(x: &[f32], factor: usize, out: (&mut [f32], Nchw)) {
    let (out, shape) = out;
    assert!(x.len() == shape.len() && out.len() == shape.len() && shape.c.is_multiple_of(factor * factor));
    let area = shape.plane() * factor * factor;
    out.par_chunks_exact_mut(area)
        .zip(x.par_chunks_exact(area))
        .for_each(|(out, x)| {
            for (row, out) in out.chunks_exact_mut(shape.w).enumerate() {
                let (phase, y) = (row / shape.h, row % shape.h);
                let x = &x[(y * factor + phase / factor) * shape.w * factor + phase % factor..];
                out.iter_mut()
                    .zip(x.iter().step_by(factor))
                    .for_each(|(out, x)| *out = *x);
            }
        });
}

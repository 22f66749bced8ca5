//! Batch normalisation over N, H, W (Ioffe and Szegedy 2015), with the ReLU that often follows it.

use rayon::prelude::*;

use super::Nhwc;
use super::pointwise::at_least;
use super::simd::{Vector, Work, run_best};

/// Pixels summed in f32 before the sums go on in f64.
const BLOCK: usize = 128;
/// Pixels that one task of rayon takes.
const PIXELS: usize = 8 * BLOCK;

/// Mean and biased variance of each channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// Means.
    pub mean: Vec<f32>,
    /// Mean squared distances to the mean.
    pub var: Vec<f32>,
}

/// What is multiplied and added, by channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Affine {
    /// Factors.
    pub scale: Vec<f32>,
    /// Addends.
    pub shift: Vec<f32>,
}

impl Affine {
    /// `(x - mean) / √(var + eps) · weight + bias` as one factor and one addend.
    pub fn new(mean: &[f32], var: &[f32], weight: &[f32], bias: &[f32], eps: f64) -> Self {
        let factor = |(weight, var): (&f32, &f32)| f64::from(*weight) / (f64::from(*var) + eps).sqrt();
        let scale: Vec<f32> = weight.iter().zip(var).map(|pair| factor(pair) as f32).collect();
        let shift = bias
            .iter()
            .zip(mean)
            .zip(&scale)
            .map(|((bias, mean), scale)| bias - mean * scale)
            .collect();
        Self { scale, shift }
    }
}

/// For each channel the sums of both parts of `f(constants, x, g)` over its values in `x` and `g`; the constants are the
/// channel's of each list.
fn channel_sums<const K: usize>(
    channels: usize,
    (x, g): (&[f32], &[f32]),
    constants: [&[f32]; K],
    f: impl Fn([f32; K], f32, f32) -> [f32; 2] + Sync,
) -> Vec<[f64; 2]> {
    let blocks = |(x, g): (&[f32], &[f32])| {
        let mut totals = vec![[0.0; 2]; channels];
        for (x, g) in x.chunks(BLOCK * channels).zip(g.chunks(BLOCK * channels)) {
            let (constants, f, totals) = (&constants, &f, &mut totals);
            #[rustfmt::skip]
            run_best(Sums { x, g, constants, f, totals });
        }
        totals
    };
    let tasks = x.par_chunks(PIXELS * channels).zip(g.par_chunks(PIXELS * channels));
    let parts: Vec<_> = tasks.map(blocks).collect();
    let mut sums = vec![[0.0; 2]; channels];
    for part in parts {
        sums.iter_mut()
            .zip(part)
            .for_each(|(sum, part)| *sum = [sum[0] + part[0], sum[1] + part[1]]);
    }
    sums
}

/// The sums of a block.
struct Sums<'a, F, const K: usize> {
    x: &'a [f32],
    g: &'a [f32],
    constants: &'a [&'a [f32]; K],
    f: &'a F,
    totals: &'a mut [[f64; 2]],
}

impl<F: Fn([f32; K], f32, f32) -> [f32; 2], const K: usize> Work for Sums<'_, F, K> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(mut self) {
        let channels = self.totals.len();
        let mut first = 0;
        while channels - first >= 8 {
            self.add::<8>(first);
            first += 8;
        }
        (first..channels).for_each(|channel| self.add::<1>(channel));
    }
}

impl<F: Fn([f32; K], f32, f32) -> [f32; 2], const K: usize> Sums<'_, F, K> {
    /// Of `W` channels from `first` on.
    #[inline(always)]
    fn add<const W: usize>(&mut self, first: usize) {
        let channels = self.totals.len();
        let some = |values: &[f32]| -> [f32; W] { std::array::from_fn(|i| values[first + i]) };
        let constants = self.constants.map(some);
        let mut sums = [[0.0; W]; 2];
        for (x, g) in self.x.chunks_exact(channels).zip(self.g.chunks_exact(channels)) {
            let (x, g) = (some(x), some(g));
            for i in 0..W {
                let [a, b] = (self.f)(constants.map(|values| values[i]), x[i], g[i]);
                sums[0][i] += a;
                sums[1][i] += b;
            }
        }
        for (i, total) in self.totals[first..first + W].iter_mut().enumerate() {
            *total = [total[0] + f64::from(sums[0][i]), total[1] + f64::from(sums[1][i])];
        }
    }
}

/// Sum of each channel: the gradient of a bias.
pub fn sum_channels(x: &[f32], shape: Nhwc) -> Vec<f32> {
    assert_eq!(x.len(), shape.len());
    let sums = channel_sums(shape.c, (x, x), [], |[], x, _| [x, 0.0]);
    sums.iter().map(|sums| sums[0] as f32).collect()
}

/// Moments of each channel of `x`.
pub fn moments(x: &[f32], shape: Nhwc) -> Moments {
    assert_eq!(x.len(), shape.len());
    // Distances from some value of the channel keep the squares small when the mean is far from zero.
    let near = &x[..shape.c];
    let sums = channel_sums(shape.c, (x, x), [near], |[near], x, _| {
        [x - near, (x - near) * (x - near)]
    });
    let count = (shape.n * shape.h * shape.w) as f64;
    let mean = |(sums, near): (&[f64; 2], &f32)| (f64::from(*near) + sums[0] / count) as f32;
    let var = |sums: &[f64; 2]| (sums[1] / count - (sums[0] / count).powi(2)).max(0.0) as f32;
    Moments {
        mean: sums.iter().zip(near).map(mean).collect(),
        var: sums.iter().map(var).collect(),
    }
}

/// `out = x · scale + shift` by channel, then, with `relu`, nothing below zero.
pub fn affine(x: &[f32], affine: &Affine, relu: bool, out: &mut [f32]) {
    assert!(x.len() == out.len() && x.len().is_multiple_of(affine.scale.len()));
    let (floor, len) = (if relu { 0.0 } else { f32::NEG_INFINITY }, PIXELS * affine.scale.len());
    let parts = out.par_chunks_mut(len).zip(x.par_chunks(len));
    parts.for_each(|(out, x)| affine_row(x, affine, floor, out));
}

/// [`affine`] for some pixels, on this thread alone, then at least `floor`.
pub(crate) fn affine_row(x: &[f32], affine: &Affine, floor: f32, out: &mut [f32]) {
    let Affine { scale, shift } = affine;
    for (out, x) in out.chunks_exact_mut(scale.len()).zip(x.chunks_exact(scale.len())) {
        for (((out, x), scale), shift) in out.iter_mut().zip(x).zip(scale).zip(shift) {
            *out = at_least(floor, x * scale + shift);
        }
    }
}

/// Gradients of batch normalisation by the batch's own moments, from the gradient `g` of its output (after the ReLU
/// where `relu`): fills `dx` and gives those of the weight and the bias.
///
/// `forward` is what [`affine`] was called with, `eps` and `moments` what it was made from.
pub fn batch_norm_grad(
    (x, shape): (&[f32], Nhwc),
    g: &[f32],
    moments: &Moments,
    forward: &Affine,
    eps: f64,
    relu: bool,
    dx: &mut [f32],
) -> (Vec<f32>, Vec<f32>) {
    assert!(x.len() == shape.len() && g.len() == shape.len() && dx.len() == shape.len());
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    // The ReLU passes what was above zero: the same sum as in `affine`.
    let pass = |x: f32, scale: f32, shift: f32, g: f32| if x * scale + shift > floor { g } else { 0.0 };
    let (scale, shift, mean) = (&forward.scale[..], &forward.shift[..], &moments.mean[..]);
    let sums = channel_sums(shape.c, (x, g), [scale, shift, mean], |[scale, shift, mean], x, g| {
        let g = pass(x, scale, shift, g);
        [g, g * (x - mean)]
    });
    let count = (shape.n * shape.h * shape.w) as f64;
    let inverse = |c: usize| 1.0 / (f64::from(moments.var[c]) + eps);
    let means: Vec<f32> = sums.iter().map(|sums| (sums[0] / count) as f32).collect();
    let slopes: Vec<f32> = (0..shape.c).map(|c| (sums[c][1] / count * inverse(c)) as f32).collect();
    let len = PIXELS * shape.c;
    let parts = dx.par_chunks_mut(len).zip(x.par_chunks(len)).zip(g.par_chunks(len));
    parts.for_each(|((dx, x), g)| {
        let pixels = dx.chunks_exact_mut(shape.c).zip(x.chunks_exact(shape.c));
        for ((dx, x), g) in pixels.zip(g.chunks_exact(shape.c)) {
            let constants = scale.iter().zip(shift).zip(mean).zip(means.iter().zip(&slopes));
            for (((dx, x), g), (((scale, shift), mean), (mean_g, slope))) in dx.iter_mut().zip(x).zip(g).zip(constants)
            {
                *dx = scale * (pass(*x, *scale, *shift, *g) - mean_g - slope * (x - mean));
            }
        }
    });
    let weight = |c: usize| (sums[c][1] * inverse(c).sqrt()) as f32;
    let weight = (0..shape.c).map(weight).collect();
    (weight, sums.iter().map(|sums| sums[0] as f32).collect())
}

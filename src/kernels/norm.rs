//! Batch normalisation over N, H, W (Ioffe and Szegedy 2015), with the ReLU that often follows it.

use rayon::prelude::*;

use super::Nchw;
use super::pointwise::at_least;

/// Values summed in f32 before the sum goes on in f64.
const BLOCK: usize = 512;

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

/// For each channel `c` the sums of both parts of `f(c, a, b)` over its values in `a` and `b`.
fn channel_sums(
    shape: Nchw,
    (a, b): (&[f32], &[f32]),
    f: impl Fn(usize, f32, f32) -> (f32, f32) + Sync,
) -> Vec<(f64, f64)> {
    const LANES: usize = 8;
    let channel = |c: usize| {
        let mut total = (0.0, 0.0);
        for n in 0..shape.n {
            let plane = (n * shape.c + c) * shape.plane()..(n * shape.c + c + 1) * shape.plane();
            for (a, b) in a[plane.clone()].chunks(BLOCK).zip(b[plane].chunks(BLOCK)) {
                let mut sums = ([0.0; LANES], [0.0; LANES]);
                let mut add = |lane: usize, a: f32, b: f32| {
                    let (first, second) = f(c, a, b);
                    sums.0[lane] += first;
                    sums.1[lane] += second;
                };
                let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
                for (a, b) in a.iter().zip(b) {
                    for lane in 0..LANES {
                        add(lane, a[lane], b[lane]);
                    }
                }
                a_rest.iter().zip(b_rest).for_each(|(a, b)| add(0, *a, *b));
                total.0 += f64::from(sums.0.iter().sum::<f32>());
                total.1 += f64::from(sums.1.iter().sum::<f32>());
            }
        }
        total
    };
    (0..shape.c).into_par_iter().map(channel).collect()
}

/// Sum of each channel: the gradient of a bias.
pub fn sum_channels(x: &[f32], shape: Nchw) -> Vec<f32> {
    assert_eq!(x.len(), shape.len());
    channel_sums(shape, (x, x), |_, x, _| (x, 0.0))
        .iter()
        .map(|sums| sums.0 as f32)
        .collect()
}

/// Moments of each channel of `x`.
pub fn moments(x: &[f32], shape: Nchw) -> Moments {
    assert_eq!(x.len(), shape.len());
    // Distances from some value of the channel keep the squares small when the mean is far from zero.
    let near: Vec<f32> = (0..shape.c).map(|c| x[c * shape.plane()]).collect();
    let sums = channel_sums(shape, (x, x), |c, x, _| (x - near[c], (x - near[c]) * (x - near[c])));
    let count = (shape.n * shape.plane()) as f64;
    let mean = sums
        .iter()
        .zip(&near)
        .map(|(sums, near)| (f64::from(*near) + sums.0 / count) as f32)
        .collect();
    let var = sums
        .iter()
        .map(|sums| (sums.1 / count - (sums.0 / count).powi(2)).max(0.0) as f32)
        .collect();
    Moments { mean, var }
}

/// `out = x · scale + shift` by channel, then, with `relu`, nothing below zero.
pub fn affine(x: &[f32], shape: Nchw, affine: &Affine, relu: bool, out: &mut [f32]) {
    assert!(x.len() == shape.len() && out.len() == shape.len());
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let planes = out
        .par_chunks_exact_mut(shape.plane())
        .zip(x.par_chunks_exact(shape.plane()));
    planes.enumerate().for_each(|(i, (out, x))| {
        let (scale, shift) = (affine.scale[i % shape.c], affine.shift[i % shape.c]);
        out.iter_mut()
            .zip(x)
            .for_each(|(out, x)| *out = at_least(floor, x * scale + shift));
    });
}

/// Gradients of batch normalisation by the batch's own moments, from the gradient `g` of its output (after the ReLU
/// where `relu`): fills `dx` and gives those of the weight and the bias.
///
/// `forward` is what [`affine`] was called with, `eps` and `moments` what it was made from.
pub fn batch_norm_grad(
    (x, shape): (&[f32], Nchw),
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
    let pass = |c: usize, x: f32, g: f32| {
        if x * forward.scale[c] + forward.shift[c] > floor {
            g
        } else {
            0.0
        }
    };
    let sums = channel_sums(shape, (x, g), |c, x, g| {
        let g = pass(c, x, g);
        (g, g * (x - moments.mean[c]))
    });
    let count = (shape.n * shape.plane()) as f64;
    let inverse = |c: usize| 1.0 / (f64::from(moments.var[c]) + eps);
    let means: Vec<(f32, f32)> = sums
        .iter()
        .enumerate()
        .map(|(c, sums)| ((sums.0 / count) as f32, (sums.1 / count * inverse(c)) as f32))
        .collect();
    let planes = dx
        .par_chunks_exact_mut(shape.plane())
        .zip(x.par_chunks_exact(shape.plane()));
    planes
        .zip(g.par_chunks_exact(shape.plane()))
        .enumerate()
        .for_each(|(i, ((dx, x), g))| {
            let c = i % shape.c;
            let ((mean_g, slope), mean, scale) = (means[c], moments.mean[c], forward.scale[c]);
            for ((dx, x), g) in dx.iter_mut().zip(x).zip(g) {
                *dx = scale * (pass(c, *x, *g) - mean_g - slope * (x - mean));
            }
        });
    let weight = sums
        .iter()
        .enumerate()
        .map(|(c, sums)| (sums.1 * inverse(c).sqrt()) as f32)
        .collect();
    (weight, sums.iter().map(|sums| sums.0 as f32).collect())
}

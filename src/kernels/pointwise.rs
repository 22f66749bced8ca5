//! Functions of single values and of channels: activations, sums, products, softmax, joined channels, and gradients.

use rayon::prelude::*;

use super::Nchw;

/// Values that one task of rayon takes.
const CHUNK: usize = 16 * 1024;

/// A function of one value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `x` above zero, this factor times `x` below.
    LeakyRelu(f32),
    /// Logistic function.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x · sigmoid(x)`.
    Silu,
}

impl Activation {
    /// `out = f(x)`, on this thread alone.
    pub fn row(self, x: &[f32], out: &mut [f32]) {
        let row = |f: &dyn Fn(f32) -> f32, out: &mut [f32]| out.iter_mut().zip(x).for_each(|(out, x)| *out = f(*x));
        match self {
            Self::Relu => row(&|x| at_least(0.0, x), out),
            Self::LeakyRelu(slope) => row(&|x| if x > 0.0 { x } else { slope * x }, out),
            Self::Sigmoid => row(&sigmoid, out),
            Self::Tanh => row(&f32::tanh, out),
            Self::Silu => row(&|x| x * sigmoid(x), out),
        }
    }

    /// `out = f(x)`.
    pub fn forward(self, x: &[f32], out: &mut [f32]) {
        match self {
            Self::Relu => map(x, out, |x| at_least(0.0, x)),
            Self::LeakyRelu(slope) => map(x, out, |x| if x > 0.0 { x } else { slope * x }),
            Self::Sigmoid => map(x, out, sigmoid),
            Self::Tanh => map(x, out, f32::tanh),
            Self::Silu => map(x, out, |x| x * sigmoid(x)),
        }
    }

    /// `dx = f'(x) · g`.
    pub fn backward(self, x: &[f32], g: &[f32], dx: &mut [f32]) {
        match self {
            Self::Relu => map2(x, g, dx, |x, g| if x > 0.0 { g } else { 0.0 }),
            Self::LeakyRelu(slope) => map2(x, g, dx, |x, g| if x > 0.0 { g } else { slope * g }),
            Self::Sigmoid => map2(x, g, dx, |x, g| sigmoid(x) * (1.0 - sigmoid(x)) * g),
            Self::Tanh => map2(x, g, dx, |x, g| (1.0 - x.tanh() * x.tanh()) * g),
            Self::Silu => map2(x, g, dx, |x, g| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x))) * g),
        }
    }
}

/// `x`, but not below `floor`. NaN stays NaN, which [`f32::max`] would hide.
pub(super) fn at_least(floor: f32, x: f32) -> f32 {
    if x < floor { floor } else { x }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// `out = f(x)` for every value.
pub fn map(x: &[f32], out: &mut [f32], f: impl Fn(f32) -> f32 + Sync) {
    assert_eq!(x.len(), out.len());
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| {
        out.iter_mut().zip(x).for_each(|(out, x)| *out = f(*x));
    });
}

/// `out = f(a, b)` for every pair of values.
pub fn map2(a: &[f32], b: &[f32], out: &mut [f32], f: impl Fn(f32, f32) -> f32 + Sync) {
    assert!(a.len() == out.len() && b.len() == out.len());
    out.par_chunks_mut(CHUNK)
        .zip(a.par_chunks(CHUNK))
        .zip(b.par_chunks(CHUNK))
        .for_each(|((out, a), b)| {
            out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = f(*a, *b));
        });
}

/// `out = f(out, x)` for every pair of values.
pub fn update(out: &mut [f32], x: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) {
    assert_eq!(x.len(), out.len());
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| {
        out.iter_mut().zip(x).for_each(|(out, x)| *out = f(*out, *x));
    });
}

/// Softmax over the channels of every pixel.
pub fn softmax(x: (&[f32], Nchw), out: &mut [f32]) {
    let (x, shape) = x;
    assert!(x.len() == shape.len() && out.len() == shape.len());
    let plane = shape.plane();
    out.par_chunks_exact_mut(shape.item())
        .zip(x.par_chunks_exact(shape.item()))
        .for_each(|(out, x)| {
            for i in 0..plane {
                let max = x[i..]
                    .iter()
                    .step_by(plane)
                    .fold(f32::NEG_INFINITY, |max, x| max.max(*x));
                let mut sum = 0.0;
                for (out, x) in out[i..].iter_mut().step_by(plane).zip(x[i..].iter().step_by(plane)) {
                    *out = (x - max).exp();
                    sum += *out;
                }
                out[i..].iter_mut().step_by(plane).for_each(|out| *out /= sum);
            }
        });
}

/// Gradient of [`softmax`]'s input from its output `y` and the output's gradient.
pub fn softmax_grad(y: (&[f32], Nchw), g: &[f32], dx: &mut [f32]) {
    let (y, shape) = y;
    assert!(y.len() == shape.len() && g.len() == shape.len() && dx.len() == shape.len());
    let (item, plane) = (shape.item(), shape.plane());
    dx.par_chunks_exact_mut(item)
        .zip(y.par_chunks_exact(item))
        .zip(g.par_chunks_exact(item))
        .for_each(|((dx, y), g)| {
            for i in 0..plane {
                let pairs = || y[i..].iter().step_by(plane).zip(g[i..].iter().step_by(plane));
                let dot: f32 = pairs().map(|(y, g)| y * g).sum();
                dx[i..]
                    .iter_mut()
                    .step_by(plane)
                    .zip(pairs())
                    .for_each(|(dx, (y, g))| *dx = y * (g - dot));
            }
        });
}

/// Joins inputs along the channels; each comes with its values for one picture.
pub fn concat(inputs: &[(&[f32], usize)], out: &mut [f32]) {
    let item: usize = inputs.iter().map(|input| input.1).sum();
    out.par_chunks_exact_mut(item).enumerate().for_each(|(n, mut out)| {
        for (x, len) in inputs {
            let (part, rest) = out.split_at_mut(*len);
            part.copy_from_slice(&x[n * len..(n + 1) * len]);
            out = rest;
        }
    });
}

/// Of every picture's `item` values in `g`, those from `first` on, as many as a picture of `dx` has: the gradient of one
/// of [`concat`]'s inputs.
pub fn concat_grad(g: &[f32], item: usize, first: usize, dx: &mut [f32]) {
    let len = dx.len() / (g.len() / item);
    let pairs = dx.par_chunks_exact_mut(len).zip(g.par_chunks_exact(item));
    pairs.for_each(|(dx, g)| dx.copy_from_slice(&g[first..first + len]));
}

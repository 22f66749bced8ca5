//! Functions of single values, and their gradients.

use rayon::prelude::*;

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
    pub fn forward(self, x: &[f32], out: &mut [f32]) {
        fn each(x: &[f32], out: &mut [f32], f: impl Fn(f32) -> f32) {
            out.iter_mut().zip(x).for_each(|(out, x)| *out = f(*x));
        }
        match self {
            Self::Relu => each(x, out, |x| at_least(0.0, x)),
            Self::LeakyRelu(slope) => each(x, out, |x| if x > 0.0 { x } else { slope * x }),
            Self::Sigmoid => each(x, out, sigmoid),
            Self::Tanh => each(x, out, f32::tanh),
            Self::Silu => each(x, out, |x| x * sigmoid(x)),
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

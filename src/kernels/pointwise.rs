//! Functions of single values, and their gradients.

use rayon::prelude::*;

use super::simd::{Vector, Work, run_best};

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
        match self {
            Self::Relu => each(x, out, |x| at_least(0.0, x)),
            Self::LeakyRelu(slope) => each(x, out, |x| if x > 0.0 { x } else { slope * x }),
            Self::Sigmoid => each(x, out, sigmoid),
            Self::Tanh => each(x, out, tanh),
            Self::Silu => each(x, out, |x| x * sigmoid(x)),
        }
    }

    /// `dx = f'(x) · g`.
    pub fn backward(self, x: &[f32], g: &[f32], dx: &mut [f32]) {
        match self {
            Self::Relu => map2(x, g, dx, |x, g| if x > 0.0 { g } else { 0.0 }),
            Self::LeakyRelu(slope) => map2(x, g, dx, |x, g| if x > 0.0 { g } else { slope * g }),
            Self::Sigmoid => map2(x, g, dx, |x, g| sigmoid(x) * (1.0 - sigmoid(x)) * g),
            Self::Tanh => map2(x, g, dx, |x, g| (1.0 - tanh(x) * tanh(x)) * g),
            Self::Silu => map2(x, g, dx, |x, g| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x))) * g),
        }
    }
}

/// `x`, but not below `floor`. NaN stays NaN, which [`f32::max`] would hide.
pub(super) fn at_least(floor: f32, x: f32) -> f32 {
    if x < floor { floor } else { x }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// To within 2e-7, not relatively so near zero.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// `e^x` to within 2e-7 of it, in instructions that every register has: a loop of it is compiled to vectors, which calls of
/// [`f32::exp`] are not. Beyond -87 and 87 it stays as there, so that no
/// result of a sigmoid is subnormal.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Added to a number and taken away again it rounds it, and leaves it in the lowest bits in between.
    const ROUNDING: f32 = 12_582_912.0;
    // ln 2 in two parts: a multiple of the first is exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    // Of 1/n!.
    const SERIES: [f32; 7] = [1.0, 1.0, 1.0 / 2.0, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0];
    let x = x.clamp(-87.0, 87.0);
    let whole = x * std::f32::consts::LOG2_E + ROUNDING;
    let n = whole - ROUNDING;
    let rest = x - n * LN_2[0] - n * LN_2[1];
    let part = SERIES.iter().rev().fold(0.0, |sum, factor| sum * rest + factor);
    part * f32::from_bits(whole.to_bits().wrapping_add(127) << 23)
}

/// `out = f(x)` for every value, on this thread alone.
fn each(x: &[f32], out: &mut [f32], f: impl Fn(f32) -> f32) {
    each2(x, x, out, |x, _| f(x));
}

/// `out = f(a, b)` for every pair of values, on this thread alone.
pub(crate) fn each2(a: &[f32], b: &[f32], out: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    struct Each<'a, F>([&'a [f32]; 2], &'a mut [f32], F);

    impl<F: Fn(f32, f32) -> f32> Work for Each<'_, F> {
        type Output = ();

        #[inline(always)]
        fn run<V: Vector>(self) {
            let Self([a, b], out, f) = self;
            out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = f(*a, *b));
        }
    }

    run_best(Each([a, b], out, f));
}

/// `out = f(x)` for every value.
pub fn map(x: &[f32], out: &mut [f32], f: impl Fn(f32) -> f32 + Sync) {
    assert_eq!(x.len(), out.len());
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| {
        each(x, out, &f);
    });
}

/// `out = f(a, b)` for every pair of values.
pub fn map2(a: &[f32], b: &[f32], out: &mut [f32], f: impl Fn(f32, f32) -> f32 + Sync) {
    assert!(a.len() == out.len() && b.len() == out.len());
    out.par_chunks_mut(CHUNK)
        .zip(a.par_chunks(CHUNK))
        .zip(b.par_chunks(CHUNK))
        .for_each(|((out, a), b)| each2(a, b, out, &f));
}

/// `out = f(out, x)` for every pair of values.
pub fn update(out: &mut [f32], x: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) {
    assert_eq!(x.len(), out.len());
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| {
        out.iter_mut().zip(x).for_each(|(out, x)| *out = f(*out, *x));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest difference of `f` from `exact` on a fine grid, relative to `scale` of the exact value.
    fn error(activation: Activation, exact: impl Fn(f64) -> f64, scale: impl Fn(f64) -> f64) -> f64 {
        let x: Vec<f32> = (-120_000..=120_000).map(|i| i as f32 * 1e-3).collect();
        let mut out = vec![0.0; x.len()];
        activation.forward(&x, &mut out);
        let difference = |(x, y): (&f32, &f32)| {
            let exact = exact(f64::from(*x));
            (f64::from(*y) - exact).abs() / scale(exact)
        };
        x.iter().zip(&out).map(difference).fold(0.0, f64::max)
    }

    #[test]
    fn curved_activations_are_as_exact_as_f32() {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        assert!(error(Activation::Sigmoid, sigmoid, |_| 1.0) < 2e-7);
        assert!(error(Activation::Sigmoid, sigmoid, |y| y.max(1e-30)) < 5e-7);
        assert!(error(Activation::Tanh, f64::tanh, |_| 1.0) < 2e-7);
        assert!(error(Activation::Silu, |x| x * sigmoid(x), |y| y.abs().max(1e-28)) < 5e-7);
    }

    #[test]
    fn curved_activations_take_every_value() {
        let x = [f32::NEG_INFINITY, f32::INFINITY, f32::NAN, f32::MIN_POSITIVE];
        let mut out = [0.0; 4];
        Activation::Sigmoid.forward(&x, &mut out);
        assert!((0.0..2e-38).contains(&out[0]) && out[0].is_normal());
        assert!(out[1] == 1.0 && out[2].is_nan() && out[3] == 0.5);
        Activation::Tanh.forward(&x, &mut out);
        assert!(out[0] == -1.0 && out[1] == 1.0 && out[2].is_nan() && out[3] == 0.0);
    }
}

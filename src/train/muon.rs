//! Steps of equal size in every direction.

use super::optimizer::ended;
use crate::kernels::conv::{Conv, conv2d};
use crate::kernels::{Arithmetic, Nhwc};

/// Decay of the mean of gradients.
pub const MOMENTUM: f32 = 0.95;
/// Least rows and columns of a matrix worth it.
const LEAST: usize = 16;
/// Root mean square of a step's values at a learning rate of 1: about Adam's, so that both take the same rates (Liu et al., "Muon is
/// scalable for LLM training", 2025).
const RMS: f32 = 0.2;
/// Longer sides than this make no larger steps. Else the more a layer takes, the faster it turns away from where it began: of a U-Net's
/// 256 channels on its coarsest level 114 ended on one side of their kink after 500 steps, with this 39 (and 28.47 dB, not 28.44).
const LONGEST: usize = 288;
/// Steps of the iteration, and the coefficients of x, x³ and x⁵ in each (Jordan 2024): singular values come to 0.7..1.2, which serves
/// as well as exactly 1.
const STEPS: usize = 5;
const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];
/// Most rows of pixels that a product is cut into.
const ROWS: usize = 16;

/// Rows and columns of the matrix that a weight of shape `dims` is: `[out, in · taps]`. `None` where it is too small to gain by it, such as
/// biases, norms and last layers.
pub fn matrix(dims: &[usize]) -> Option<[usize; 2]> {
    let (rows, rest) = dims.split_first()?;
    let columns = rest.iter().product();
    (!rest.is_empty() && *rows.min(&columns) >= LEAST).then_some([*rows, columns])
}

/// What a weight changes by at a learning rate of 1: the nearest matrix to `momentum` (and a last look at `gradient`, after Nesterov)
/// whose singular values are all alike, scaled. The mean of gradients in `momentum` is moved on first.
///
/// K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024).
pub fn step(momentum: &mut [f32], gradient: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let mut ahead = vec![0.0; gradient.len()];
    for ((mean, ahead), &now) in momentum.iter_mut().zip(&mut ahead).zip(gradient) {
        *mean = ended(*mean + (1.0 - MOMENTUM) * (now - *mean));
        *ahead = *mean + (1.0 - MOMENTUM) * (now - *mean);
    }
    let mut step = if rows > columns {
        transposed(&orthogonal(transposed(&ahead, columns), columns), rows)
    } else {
        orthogonal(ahead, rows)
    };
    let scale = RMS * (rows.max(columns).min(LONGEST) as f32).sqrt();
    step.iter_mut().for_each(|x| *x *= scale);
    step
}

/// A matrix of `rows` rows, no more than it has columns, its singular values brought near 1.
///
/// Each step of the iteration multiplies from the left by a polynomial of the matrix times its transpose. These polynomials are symmetric and
/// commute, so they are worked out on that square alone, which is smaller than the matrix, and their product is applied once.
fn orthogonal(mut x: Vec<f32>, rows: usize) -> Vec<f32> {
    let norm = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt() as f32;
    x.iter_mut().for_each(|x| *x /= norm + f32::MIN_POSITIVE);
    let [a, b, c] = COEFFICIENTS;
    let mut square = product(&x, &x, rows);
    let mut left: Option<Vec<f32>> = None;
    for step in 0..STEPS {
        let mut polynomial = product(&square, &square, rows);
        for (i, (p, square)) in polynomial.iter_mut().zip(&square).enumerate() {
            let one = f32::from(i % (rows + 1) == 0);
            *p = a * one + b * square + c * *p;
        }
        if step + 1 < STEPS {
            square = product(&product(&polynomial, &square, rows), &polynomial, rows);
        }
        left = Some(match left {
            Some(left) => product(&polynomial, &left, rows),
            None => polynomial,
        });
    }
    let left = left.expect("there is a step");
    product(&left, &transposed(&x, x.len() / rows), rows)
}

/// `a` of `rows` rows times the transpose of `b`, by the convolution of one tap, each row of `a` a pixel.
fn product(a: &[f32], b: &[f32], rows: usize) -> Vec<f32> {
    let depth = a.len() / rows;
    let outs = b.len() / depth;
    // Rows of pixels are what the threads share.
    let h = (1..=ROWS).rev().find(|h| rows.is_multiple_of(*h)).unwrap_or(1);
    let pixels = |c| Nhwc {
        n: 1,
        h,
        w: rows / h,
        c,
    };
    let mut out = vec![0.0; rows * outs];
    #[rustfmt::skip]
    let conv = Conv { kernel: 1, stride: 1, padding: 0, dilation: 1, groups: 1 };
    conv2d(
        Arithmetic::in_f32(),
        &conv,
        (a, pixels(depth)),
        b,
        None,
        false,
        (&mut out, pixels(outs)),
    );
    out
}

/// A matrix of `columns` columns, turned.
fn transposed(x: &[f32], columns: usize) -> Vec<f32> {
    let rows = x.len() / columns;
    let mut out = Vec::with_capacity(x.len());
    for column in 0..columns {
        out.extend((0..rows).map(|row| x[row * columns + column]));
    }
    out
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::data::random::stream;

    /// The step's lengths along each of the shorter side's directions, as a share of `RMS · sqrt(longer side)`.
    #[test]
    fn steps_are_alike_in_every_direction() {
        for [rows, columns] in [[16, 144], [80, 32]] {
            let mut random = stream(7, rows as u64, 0);
            // Directions that differ in strength a thousandfold.
            let gradient: Vec<f32> = (0..rows * columns)
                .map(|i| {
                    let normal: f32 = StandardNormal.sample(&mut random);
                    normal * 10f32.powf(-3.0 * (i / columns) as f32 / rows as f32)
                })
                .collect();
            let step = step(&mut vec![0.0; gradient.len()], &gradient, [rows, columns]);
            let scale = RMS * (rows.max(columns) as f32).sqrt();
            let step: Vec<f32> = step.iter().map(|x| x / scale).collect();
            let least = rows.min(columns);
            let step = if rows > columns {
                transposed(&step, columns)
            } else {
                step
            };
            let square = product(&step, &step, least);
            for (i, row) in square.chunks(least).enumerate() {
                assert!((0.2..1.6).contains(&row[i]), "{rows}x{columns}: {}", row[i]);
                let others = row.iter().enumerate().filter(|(j, _)| *j != i);
                assert!(others.map(|(_, v)| v.abs()).fold(0.0, f32::max) < 0.5);
            }
        }
    }

    #[test]
    fn products_are_sums_over_the_row() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, -1.0, 2.0, 2.0, 2.0]);
        assert_eq!(product(&a, &b, 2), [-2.0, 12.0, -2.0, 30.0]);
        assert_eq!(transposed(&a, 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    #[test]
    fn momentum_is_the_mean_of_gradients() {
        let mut momentum = vec![0.0; 256];
        let gradient: Vec<f32> = (0..256).map(|i| (i % 17) as f32 - 8.0).collect();
        for _ in 0..200 {
            step(&mut momentum, &gradient, [16, 16]);
        }
        assert!(momentum.iter().zip(&gradient).all(|(m, g)| (m - g).abs() < 1e-3));
        let nothing = step(&mut vec![0.0; 256], &vec![0.0; 256], [16, 16]);
        assert!(nothing.iter().all(|v| *v == 0.0), "no gradient, no step");
    }

    #[test]
    fn small_weights_are_left_to_others() {
        assert_eq!(matrix(&[32]), None);
        assert_eq!(matrix(&[4, 32, 3, 3]), None);
        assert_eq!(matrix(&[32, 1, 3, 3]), None);
        assert_eq!(matrix(&[32, 5, 3, 3]), Some([32, 45]));
    }
}

//! Steps of equal size in every direction.

use candle_core::{Device, Tensor};

use crate::Result;

/// Decay of the mean of gradients.
pub const MOMENTUM: f32 = 0.95;
/// Least rows and columns of a matrix worth it.
const LEAST: usize = 16;
/// Root mean square of a step's values at a learning rate of 1: about Adam's, so that both take the same rates (Liu et al., "Muon is
/// scalable for LLM training", 2025).
const RMS: f64 = 0.2;
/// Steps of the iteration, and the coefficients of x, x³ and x⁵ in each (Jordan 2024): singular values come to 0.7..1.2, which serves
/// as well as exactly 1.
const STEPS: usize = 5;
const COEFFICIENTS: [f64; 3] = [3.4445, -4.7750, 2.0315];

/// Rows and columns of the matrix that a weight of shape `dims` is: `[out, in · taps]`. `None` where it is too small to gain by it, such as
/// biases, norms and layers between pixels and channels.
pub fn matrix(dims: &[usize]) -> Option<[usize; 2]> {
    let (rows, rest) = dims.split_first()?;
    let columns = rest.iter().product();
    (!rest.is_empty() && *rows.min(&columns) >= LEAST).then_some([*rows, columns])
}

/// What a weight changes by at a learning rate of 1: the nearest matrix to `momentum` (and a last look at `gradient`, after Nesterov)
/// whose singular values are all alike, scaled. The mean of gradients in `momentum` is moved on first.
///
/// K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024).
pub fn step(momentum: &mut [f32], gradient: &[f32], [rows, columns]: [usize; 2]) -> Result<Vec<f32>> {
    let mut ahead = vec![0.0; gradient.len()];
    for ((mean, ahead), &now) in momentum.iter_mut().zip(&mut ahead).zip(gradient) {
        *mean += (1.0 - MOMENTUM) * (now - *mean);
        *ahead = *mean + (1.0 - MOMENTUM) * (now - *mean);
    }
    let matrix = Tensor::from_vec(ahead, (rows, columns), &Device::Cpu)?;
    let scale = RMS * (rows.max(columns) as f64).sqrt();
    let step = if rows > columns {
        orthogonal(&matrix.t()?.contiguous()?)?.t()?
    } else {
        orthogonal(&matrix)?
    };
    Ok((step * scale)?.flatten_all()?.to_vec1()?)
}

/// A matrix with no more rows than columns, its singular values brought near 1.
fn orthogonal(matrix: &Tensor) -> Result<Tensor> {
    let norm = f64::from(matrix.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?);
    let mut x = (matrix / (norm + f64::from(f32::MIN_POSITIVE)))?;
    let [a, b, c] = COEFFICIENTS;
    for _ in 0..STEPS {
        let square = x.matmul(&x.t()?)?;
        let mixed = ((&square * b)? + (square.matmul(&square)? * c)?)?;
        x = ((&x * a)? + mixed.matmul(&x)?)?;
    }
    Ok(x)
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
            let step = step(&mut vec![0.0; gradient.len()], &gradient, [rows, columns]).unwrap();
            let scale = RMS * (rows.max(columns) as f64).sqrt();
            let step = Tensor::from_vec(step, (rows, columns), &Device::Cpu).unwrap();
            let step = if rows > columns { step.t().unwrap() } else { step };
            let product = (step.matmul(&step.t().unwrap()).unwrap() / (scale * scale)).unwrap();
            let product: Vec<Vec<f32>> = product.to_vec2().unwrap();
            for (i, row) in product.iter().enumerate() {
                assert!((0.2..1.6).contains(&row[i]), "{rows}x{columns}: {}", row[i]);
                let others = row.iter().enumerate().filter(|(j, _)| *j != i);
                assert!(others.map(|(_, v)| v.abs()).fold(0.0, f32::max) < 0.5);
            }
        }
    }

    #[test]
    fn momentum_is_the_mean_of_gradients() {
        let mut momentum = vec![0.0; 256];
        let gradient: Vec<f32> = (0..256).map(|i| (i % 17) as f32 - 8.0).collect();
        for _ in 0..200 {
            step(&mut momentum, &gradient, [16, 16]).unwrap();
        }
        assert!(momentum.iter().zip(&gradient).all(|(m, g)| (m - g).abs() < 1e-3));
        let nothing = step(&mut vec![0.0; 256], &vec![0.0; 256], [16, 16]).unwrap();
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

//! Synthetic camera noise.

#[cfg(feature = "train")]
mod camera;
#[cfg(feature = "train")]
mod codec;
#[cfg(feature = "train")]
mod models;

use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;

#[cfg(feature = "train")]
pub use models::{NAMES, Noise, Noisy};

use crate::pixels::Image;

/// Adds white Gaussian noise with standard deviation `sigma` (0..1 of full scale). Not clipped.
pub fn add_gaussian(image: &mut Image, sigma: f32, rng: &mut Pcg64) {
    for value in &mut image.data {
        *value += sigma * normal(rng);
    }
}

fn normal(rng: &mut Pcg64) -> f32 {
    StandardNormal.sample(rng)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::stream;

    #[test]
    fn noise_is_gaussian_and_white() {
        let mut image = Image::filled(1, 300, 300, 0.9);
        add_gaussian(&mut image, 0.1, &mut stream(1, 0, 0));
        let noise: Vec<f64> = image.data.iter().map(|&v| f64::from(v - 0.9) / 0.1).collect();
        let n = noise.len() as f64;
        let moment = |power: i32| noise.iter().map(|v| v.powi(power)).sum::<f64>() / n;
        let neighbours = noise.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / n;
        // Five standard errors of each.
        assert!(moment(1).abs() < 5.0 / n.sqrt() && neighbours.abs() < 5.0 / n.sqrt());
        assert!((moment(2) - 1.0).abs() < 5.0 * (2.0 / n).sqrt());
        assert!((moment(4) - 3.0).abs() < 5.0 * (96.0 / n).sqrt());
    }

    #[test]
    fn the_stream_fixes_the_noise() {
        let draw = |seed| {
            let mut image = Image::filled(3, 4, 4, 0.0);
            add_gaussian(&mut image, 1.0, &mut stream(seed, 0, 0));
            image
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }
}

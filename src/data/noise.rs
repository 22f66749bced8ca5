//! Synthetic camera noise.

use rand_pcg::Pcg64;

use crate::pixels::Image;

/// Adds white Gaussian noise with standard deviation `sigma` (0..1 of full scale). Not clipped.
pub fn add_gaussian(image: &mut Image, sigma: f32, rng: &mut Pcg64) {
    let _ = rng;
    unimplemented!("{} {sigma}", image.width)
}

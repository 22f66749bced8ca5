//! Synthetic defects for training without real ones.

use rand_pcg::Pcg64;

use crate::pixels::Image;

/// A picture with made defects, and where they are.
#[derive(Debug, Clone)]
pub struct Defective {
    /// The picture.
    pub image: Image,
    /// One channel, 1 where it was changed visibly, 0 elsewhere.
    pub mask: Image,
}

/// Draws synthetic anomalies on `image` as FAIR's recipe does: feathered patches of `other` (NSA) and Perlin texture filled from it,
/// or CutPaste, each step left out half of the time (then the picture may come back unchanged, with an empty mask).
/// `other` is another normal picture of the same shape.
pub fn synthesize(image: &Image, other: &Image, rng: &mut Pcg64) -> Defective {
    let _ = (other, rng);
    unimplemented!("{}", image.width)
}

/// Perlin gradient noise in about -1..1, with `cells_x` x `cells_y` cells over the picture.
pub fn perlin(width: usize, height: usize, cells_x: usize, cells_y: usize, rng: &mut Pcg64) -> Vec<f32> {
    let _ = rng;
    unimplemented!("{width} {height} {cells_x} {cells_y}")
}

//! Changes a camera or its mounting could make to a picture.

use rand_pcg::Pcg64;

use crate::pixels::Image;

/// Turned by `turns` quarter turns clockwise and then, with `flip`, mirrored left to right.
pub fn turn(image: &Image, turns: u8, flip: bool) -> Image {
    unimplemented!("{} {turns} {flip}", image.width)
}

/// A random crop of `width` x `height`; a smaller picture is enlarged first.
pub fn random_crop(image: &Image, width: usize, height: usize, rng: &mut Pcg64) -> Image {
    let _ = rng;
    unimplemented!("{} {width} {height}", image.width)
}

/// How strong [`camera`] is, each 0 = off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CameraSettings {
    /// Largest shift as a share of each side.
    pub shift: f32,
    /// Largest change of scale, as a share.
    pub scale: f32,
    /// Largest exposure change, as a share of the values.
    pub exposure: f32,
    /// Largest noise standard deviation, of full scale.
    pub noise: f32,
    /// Largest blur, standard deviation in pixels.
    pub blur: f32,
    /// Whether left-right and up-down flips are allowed.
    pub flip: bool,
}

/// One random draw of all these; the picture keeps its size.
pub fn camera(image: &Image, settings: &CameraSettings, rng: &mut Pcg64) -> Image {
    let _ = rng;
    unimplemented!("{} {settings:?}", image.width)
}

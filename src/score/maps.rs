//! Difference maps between a picture and its reconstruction.

use crate::model::MapKind;
use crate::pixels::Image;

/// One-channel map of the pictures' size, larger where they differ more. `input` and `output` have the same shape and values in 0..1.
/// [`MapKind::Direct`] returns `output`'s first plane. `smooth` is the side in pixels of a mean filter on the map.
pub fn difference(kind: MapKind, input: &Image, output: &Image, smooth: usize) -> Image {
    unimplemented!("{kind:?} {} {} {smooth}", input.width, output.width)
}

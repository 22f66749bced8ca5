//! Convolution and its companions on rows of pixels, the channels of a pixel side by side.

mod filter;
pub(crate) mod gradients;
mod layout;
mod outer;
mod pixels;
mod taps;
#[cfg(test)]
mod tests;
mod tile;
mod tile_gradient;
mod tiles;
mod winograd;

pub use filter::Arithmetic;
pub(crate) use filter::{Filter, Finish, Narrow, Scratch, WINOGRAD, is_winograd};
pub(crate) use layout::{Layout, View};
pub(crate) use outer::Outer;
pub(crate) use pixels::*;
pub(crate) use tile_gradient::TileGradient;
pub use tiles::{BF16_VARIABLE, Tiles};
pub(crate) use winograd::{OUTPUTS, PRODUCTS, taps_gradient, transform, transform_gradient};

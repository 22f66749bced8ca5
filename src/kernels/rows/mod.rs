//! Kernels for frames that run live: rows of pixels, the channels of a pixel side by side.

mod pixels;
#[cfg(test)]
mod tests;
mod tile;
mod winograd;

pub(crate) use pixels::*;
pub(crate) use tile::{Panel, Source, Target};
pub(crate) use winograd::{PRODUCTS, TILE, Winograd};

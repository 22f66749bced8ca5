//! Convolution and its companions on rows of pixels, the channels of a pixel side by side.

mod filter;
mod layout;
mod outer;
mod pixels;
#[cfg(test)]
mod tests;
mod tile;
mod tiles;
mod winograd;

use std::ops::Range;

pub(crate) use filter::{Direct, Filter, Finish, Transposed, WINOGRAD, is_winograd, tiles, winograd_rows};
pub(crate) use layout::{Layout, View};
pub(crate) use outer::Outer;
pub(crate) use pixels::*;
pub(crate) use tile::Target;
pub use tiles::BF16_VARIABLE;
pub(crate) use tiles::{TileFilter, Tiles};
pub(crate) use winograd::{PRODUCTS, TILE, Winograd};

/// How the rows of a value lie after [`Winograd::transform`] for outputs of so many tiles.
pub(crate) fn transformed_layout(from: &Layout, tiles: usize) -> Layout {
    let layout = Layout::new(PRODUCTS * from.channels, from.height, tiles);
    #[rustfmt::skip]
    return Layout { capacity: from.capacity, ..layout };
}

/// Transforms some rows of a value into memory of layout `to`, and makes its row of zeros.
pub(crate) fn transform(
    filter: &Winograd,
    from: View,
    padding: usize,
    rows: Range<usize>,
    to: &Layout,
    out: &mut Vec<f32>,
) {
    out.resize(to.len(), 0.0);
    out[..to.pitch].fill(0.0);
    for row in rows {
        let row = row as isize;
        filter.transform(from.from(row, padding), to.width, &mut out[to.row(row)]);
    }
}

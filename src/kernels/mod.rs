//! Convolution and its companions on CPU vectors and tiles: forward and backward.
//!
//! Plain functions on slices, row-major N, H, W, C: the channels of a pixel lie side by side ([`ssim`] compares planes). Those
//! of training share their work out over rayon's current pool. Lengths that do not fit are a bug of the caller and panic. The same input gives the
//! same bits for any number of threads.

pub(crate) mod aligned;
pub mod conv;
pub mod norm;
pub(crate) mod parts;
pub mod peak;
pub mod pointwise;
pub(crate) mod rows;
pub(crate) mod simd;
pub mod ssim;
pub(crate) mod team;

pub use rows::{Arithmetic, BF16_VARIABLE, Tiles};
pub use simd::{ISA_VARIABLE, Isa};
pub use team::set_threads;

/// A shape N, H, W, C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nhwc {
    /// Pictures in the batch.
    pub n: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels.
    pub c: usize,
}

impl Nhwc {
    /// Values of a row.
    pub fn row(&self) -> usize {
        self.w * self.c
    }

    /// Values of one picture.
    pub fn item(&self) -> usize {
        self.h * self.row()
    }

    /// Values of all.
    pub fn len(&self) -> usize {
        self.n * self.item()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

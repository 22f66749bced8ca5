//! Convolution and its companions on CPU vectors: forward and backward.
//!
//! Plain functions on slices, row-major N, C, H, W, which share their work out over rayon's current pool. Lengths that
//! do not fit are a bug of the caller and panic. The same input gives the same bits for any number of threads.

pub mod conv;
pub mod gemm;
pub mod norm;
pub(crate) mod parts;
pub mod pointwise;
pub mod pool;
pub mod resample;
pub(crate) mod rows;
pub(crate) mod simd;
pub(crate) mod team;

pub use rows::BF16_VARIABLE;
pub use simd::{ISA_VARIABLE, Isa};

/// A shape N, C, H, W.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nchw {
    /// Pictures in the batch.
    pub n: usize,
    /// Channels.
    pub c: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

impl Nchw {
    /// Values of one channel of one picture.
    pub fn plane(&self) -> usize {
        self.h * self.w
    }

    /// Values of one picture.
    pub fn item(&self) -> usize {
        self.c * self.plane()
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

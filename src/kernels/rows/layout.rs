//! How rows of pixels lie in memory.

use std::ops::Range;

use crate::kernels::Nhwc;

/// How the rows of a value lie in memory: a row of zeros where `has_zeros`, then `capacity` rows, used in turn. A row is
/// `left` pixels of zeros, `width` pixels, and zeros up to `pitch` values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layout {
    pub channels: usize,
    pub width: usize,
    /// Rows of the whole value.
    pub height: usize,
    pub left: usize,
    pub right: usize,
    pub pitch: usize,
    pub capacity: usize,
    pub has_zeros: bool,
}

impl Layout {
    /// A whole value without border behind a row of zeros.
    pub fn new(channels: usize, height: usize, width: usize) -> Self {
        let (left, right, capacity, has_zeros) = (0, 0, height, true);
        let pitch = channels * width;
        #[rustfmt::skip]
        return Self { channels, width, height, left, right, pitch, capacity, has_zeros };
    }

    /// A picture and nothing else.
    pub fn plain(shape: Nhwc) -> Self {
        let layout = Self::new(shape.c, shape.h, shape.w);
        #[rustfmt::skip]
        return Self { has_zeros: false, ..layout };
    }

    /// Widens the border.
    pub fn reach(&mut self, left: usize, right: usize) {
        self.left = self.left.max(left);
        self.right = self.right.max(right);
        self.pitch = (self.left + self.width + self.right) * self.channels;
    }

    /// Values of memory.
    pub fn len(&self) -> usize {
        (self.capacity + usize::from(self.has_zeros)) * self.pitch
    }

    /// Where a row's memory is; rows beyond the value are the row of zeros.
    pub fn row(&self, row: isize) -> Range<usize> {
        let start = match usize::try_from(row) {
            Ok(row) if row < self.height => (usize::from(self.has_zeros) + row % self.capacity) * self.pitch,
            _ => {
                assert!(self.has_zeros, "row {row} of {}", self.height);
                0
            }
        };
        start..start + self.pitch
    }

    /// Where in a row its pixels are.
    pub fn inside(&self) -> Range<usize> {
        self.left * self.channels..(self.left + self.width) * self.channels
    }

    /// Puts a row of pixels between its zeros.
    pub fn fill(&self, pixels: &[f32], out: &mut [f32]) {
        let inside = self.inside();
        out[..inside.start].fill(0.0);
        out[inside.end..].fill(0.0);
        out[inside].copy_from_slice(pixels);
    }
}

/// A value that can be read.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub data: &'a [f32],
    pub layout: &'a Layout,
}

impl<'a> View<'a> {
    /// A row from `padding` pixels left of its first pixel on.
    pub fn from(&self, row: isize, padding: usize) -> &'a [f32] {
        let start = self.layout.row(row).start + (self.layout.left - padding) * self.layout.channels;
        &self.data[start..]
    }

    /// The pixels of a row without its border.
    pub fn pixels(&self, row: isize) -> &'a [f32] {
        &self.data[self.layout.row(row)][self.layout.inside()]
    }
}

//! How rows of pixels lie in memory.

use std::ops::Range;

/// How the rows of a value lie in memory: a row of zeros, then `capacity` rows, used in turn. A row is `left` pixels of
/// zeros, `width` pixels, and zeros up to `pitch` values.
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
}

impl Layout {
    pub fn new(channels: usize, height: usize, width: usize) -> Self {
        let (left, right, capacity) = (0, 0, height);
        let pitch = channels * width;
        #[rustfmt::skip]
        return Self { channels, width, height, left, right, pitch, capacity };
    }

    /// Widens the border.
    pub fn reach(&mut self, left: usize, right: usize) {
        self.left = self.left.max(left);
        self.right = self.right.max(right);
        self.pitch = (self.left + self.width + self.right) * self.channels;
    }

    /// Values of memory.
    pub fn len(&self) -> usize {
        (self.capacity + 1) * self.pitch
    }

    /// Where a row's memory is; rows beyond the value are the row of zeros.
    pub fn row(&self, row: isize) -> Range<usize> {
        let start = match usize::try_from(row) {
            Ok(row) if row < self.height => (1 + row % self.capacity) * self.pitch,
            _ => 0,
        };
        start..start + self.pitch
    }

    /// Where in a row its pixels are.
    pub fn inside(&self) -> Range<usize> {
        self.left * self.channels..(self.left + self.width) * self.channels
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

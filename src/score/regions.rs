//! Connected regions of a map.

use crate::pixels::Image;

/// A connected part of a map that reaches the threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Region {
    /// Left column.
    pub x: usize,
    /// Top row.
    pub y: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Pixels that reach the threshold.
    pub area: usize,
    /// Largest map value in it.
    pub score: f32,
}

/// Regions (8-connected) of the one-channel `map` at or above `threshold` with at least `min_area` pixels, highest score first.
pub fn find(map: &Image, threshold: f32, min_area: usize) -> Vec<Region> {
    unimplemented!("{} {threshold} {min_area}", map.width)
}

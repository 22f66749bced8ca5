//! An inspection line drawn from numbers: parts on a belt, seeded defects, noise. For `candletestsrc`, and to train without a camera.

use crate::pixels::Image;

/// What kinds of defect there are; also the class labels of the line, after `good`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefectKind {
    /// A thin bright or dark line across the part.
    Scratch,
    /// A dark spot.
    Spot,
    /// A bite out of the part's edge.
    Chip,
}

/// Settings of the line.
#[derive(Debug, Clone, PartialEq)]
pub struct LineSettings {
    /// Seeds parts, defects and noise.
    pub seed: u64,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Share of parts with a defect, 0..1.
    pub defect_rate: f64,
    /// Standard deviation of the sensor's noise, of full scale.
    pub noise: f32,
    /// Frames between one part and the next in the middle of the picture; each part moves through it.
    pub frames_per_part: u64,
}

/// A part that can be seen in a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// Number of the part since the start.
    pub index: u64,
    /// Bounding box in pixels `[x, y, width, height]`, cut to the frame.
    pub bounds: [usize; 4],
    /// Whether the whole part is inside the frame.
    pub whole: bool,
    /// Its defect and the defect's box in pixels `[x, y, width, height]`.
    pub defect: Option<(DefectKind, [usize; 4])>,
}

/// Draws frame `number`: RGB in 0..1, with the sensor's noise, and the parts in it. Any frame can be drawn at any time, the same each time.
pub fn render(settings: &LineSettings, number: u64) -> (Image, Vec<Part>) {
    unimplemented!("{settings:?} {number}")
}

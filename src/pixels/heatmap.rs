//! Heat maps over frames.

use std::ops::Range;

use super::FrameMut;
use super::blend::{Packed, blend_pixel, packed_with_alpha, premultiply};
use super::colormap::ColorMap;
use super::mix::{Mixer, parts};
use crate::kernels::simd::{Vector, Work, run_best};

mod classes;
mod enlarge;
mod mixes;

pub use classes::ClassPainter;

use enlarge::Enlarged;
use mixes::PlaneMixes;

/// Where the colours begin to show and where they are as opaque as they get, as shares of the largest code; the threshold is at 0.5.
const SHOWS: [f32; 2] = [0.3, 0.6];

/// The colour and opacity of each code of a heat map, clear where it is cold.
#[derive(Debug, Clone)]
pub struct HeatColors([u32; 256]);

impl HeatColors {
    /// Colours of the default map whose hottest are as opaque as `opacity`, 0..1.
    pub fn new(opacity: f32) -> Self {
        Self::of(ColorMap::default(), opacity)
    }

    /// Colours of `map` whose hottest are as opaque as `opacity`, 0..1.
    pub fn of(map: ColorMap, opacity: f32) -> Self {
        Self(std::array::from_fn(|code| {
            let value = code as f32 / 255.0;
            let step = ((value - SHOWS[0]) / (SHOWS[1] - SHOWS[0])).clamp(0.0, 1.0);
            premultiply(map.color(value), opacity * step * step * (3.0 - 2.0 * step))
        }))
    }

    /// The colour of a code, as a pixel of a [`super::blend::Layer`].
    pub fn color(&self, code: u8) -> u32 {
        self.0[usize::from(code)]
    }

    /// The least code that is not clear.
    fn least(&self) -> Option<u8> {
        self.0.iter().position(|color| color >> 24 > 0).map(|code| code as u8)
    }
}

/// A heat map with one byte a pixel: 127 stands for the threshold, 255 for the hottest.
#[derive(Debug, Clone, Copy)]
pub struct HeatMap<'a> {
    codes: &'a [u8],
    size: [usize; 2],
    covers: [f64; 4],
    /// Codes are numbers, between which there is nothing.
    is_of_classes: bool,
}

impl<'a> HeatMap<'a> {
    /// A map of `size` = `[width, height]` codes, row by row, over the rectangle `covers` = `[x, y, width, height]` of a frame, in pixels.
    /// `None` if there are fewer codes than the size says, none at all, or the rectangle is empty or not finite.
    pub fn new(codes: &'a [u8], size: [usize; 2], covers: [f64; 4]) -> Option<Self> {
        let count = size[0].checked_mul(size[1]).filter(|&count| count > 0)?;
        let codes = codes.get(..count)?;
        let is_area = covers.iter().all(|value| value.is_finite()) && covers[2] > 0.0 && covers[3] > 0.0;
        is_area.then_some(Self {
            codes,
            size,
            covers,
            is_of_classes: false,
        })
    }

    /// The same as a map of classes: codes are not mixed, each pixel takes the one that it lies in.
    pub fn of_classes(self) -> Self {
        Self {
            is_of_classes: true,
            ..self
        }
    }

    fn row(&self, y: usize) -> &'a [u8] {
        &self.codes[y * self.size[0]..][..self.size[0]]
    }

    /// Of each row, the columns from the first code of at least `least` to the last.
    fn hot(&self, least: u8) -> Vec<Range<usize>> {
        let columns = |row: &[u8]| {
            // Most rows are cold, and the highest code of a row is found faster than the place of one.
            if run_best(Highest(row)) < least {
                return 0..0;
            }
            let is_hot = |code: &u8| *code >= least;
            let first = row.iter().position(is_hot).unwrap_or(0);
            first..row.iter().rposition(is_hot).map_or(first, |last| last + 1)
        };
        (0..self.size[1]).map(|y| columns(self.row(y))).collect()
    }
}

/// The highest of some codes.
struct Highest<'a>(&'a [u8]);

impl Work for Highest<'_> {
    type Output = u8;

    #[inline(always)]
    fn run<V: Vector>(self) -> u8 {
        self.0.iter().fold(0, |most, &code| most.max(code))
    }
}

impl FrameMut<'_> {
    /// Draws a heat map, enlarged or reduced bilinearly, or one of classes. Costs time only where it is hot. Subsampled chroma takes the colour of the map at its
    /// middle.
    pub fn blend_heat(&mut self, map: &HeatMap<'_>, colors: &HeatColors) {
        let Some(least) = colors.least() else { return };
        let (size, hot) = ([self.width, self.height], map.hot(least));
        let alpha = packed_with_alpha(self.format);
        let mixer = Mixer::new(self.format, self.colorimetry);
        let planes: Vec<PlaneMixes> = (0..self.format.planes())
            .map(|plane| PlaneMixes::new(plane, self.format, &mixer, colors))
            .collect();
        // Planes of one size are done together.
        for group in planes.chunk_by(|a, b| a.shift == b.shift) {
            if let Some(enlarged) = Enlarged::new(map, &hot, least, size, group[0].shift) {
                enlarged.each(|y, column, codes| {
                    for mixes in group {
                        let start = y * self.strides[mixes.plane] + column * mixes.step;
                        let row = &mut self.planes[mixes.plane][start..];
                        match alpha.filter(|packed| !packed.is_opaque(&row[..codes.len() * mixes.step])) {
                            Some(packed) => mix_with_alpha(row, codes, packed, colors),
                            None => mixes.mix(row, codes),
                        }
                    }
                });
            }
        }
    }
}

fn mix_with_alpha(row: &mut [u8], codes: &[u8], packed: Packed, colors: &HeatColors) {
    for (pixel, &code) in row.chunks_exact_mut(packed.size).zip(codes) {
        blend_pixel(pixel, parts(colors.color(code)), packed);
    }
}

#[cfg(test)]
mod tests;

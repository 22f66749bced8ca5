//! Heat maps over frames.

use super::FrameMut;
use super::blend::{Layer, premultiply};
use super::colormap::inferno;

/// Rows blended at a time: few enough to stay in cache, and even, so that no chroma block is cut in two.
const STRIP: usize = 32;
/// Where the colours begin to show and where they are as opaque as they get, as shares of the largest code; the threshold is at 0.5.
const SHOWS: [f32; 2] = [0.3, 0.6];

/// The colour and opacity of each code of a heat map, clear where it is cold.
#[derive(Debug, Clone)]
pub struct HeatColors([u32; 256]);

impl HeatColors {
    /// Colours whose hottest are as opaque as `opacity`, 0..1.
    pub fn new(opacity: f32) -> Self {
        Self(std::array::from_fn(|code| {
            let value = code as f32 / 255.0;
            let step = ((value - SHOWS[0]) / (SHOWS[1] - SHOWS[0])).clamp(0.0, 1.0);
            premultiply(inferno(value), opacity * step * step * (3.0 - 2.0 * step))
        }))
    }
}

/// A heat map with one byte a pixel: 127 stands for the threshold, 255 for the hottest.
#[derive(Debug, Clone, Copy)]
pub struct HeatMap<'a> {
    codes: &'a [u8],
    size: [usize; 2],
    covers: [f64; 4],
}

impl<'a> HeatMap<'a> {
    /// A map of `size` = `[width, height]` codes, row by row, over the rectangle `covers` = `[x, y, width, height]` of a frame, in pixels.
    /// `None` if there are fewer codes than the size says, none at all, or the rectangle is empty or not finite.
    pub fn new(codes: &'a [u8], size: [usize; 2], covers: [f64; 4]) -> Option<Self> {
        let count = size[0].checked_mul(size[1]).filter(|&count| count > 0)?;
        let codes = codes.get(..count)?;
        let is_area = covers.iter().all(|value| value.is_finite()) && covers[2] > 0.0 && covers[3] > 0.0;
        is_area.then_some(Self { codes, size, covers })
    }

    fn row(&self, y: usize) -> &'a [u8] {
        &self.codes[y * self.size[0]..][..self.size[0]]
    }

    /// First and last column and row of the codes that are not clear.
    fn hot(&self, colors: &HeatColors) -> Option<[[usize; 2]; 2]> {
        let mut found: Option<[[usize; 2]; 2]> = None;
        for y in 0..self.size[1] {
            let is_hot = |code: &u8| colors.0[usize::from(*code)] >> 24 > 0;
            let row = self.row(y);
            if let (Some(first), Some(last)) = (row.iter().position(is_hot), row.iter().rposition(is_hot)) {
                let [[left, right], [top, _]] = found.unwrap_or([[first, last], [y, y]]);
                found = Some([[left.min(first), right.max(last)], [top, y]]);
            }
        }
        found
    }
}

/// Two neighbours in a map, and the share of the second in 1/256.
struct Tap {
    codes: [usize; 2],
    second: u32,
}

/// One axis of a map on a frame.
struct Axis {
    start: f64,
    /// Frame pixels to a code.
    scale: f64,
    codes: usize,
    frame: usize,
}

impl Axis {
    fn new(map: &HeatMap<'_>, axis: usize, frame: usize) -> Self {
        let codes = map.size[axis];
        Self {
            start: map.covers[axis],
            scale: map.covers[axis + 2] / codes as f64,
            codes,
            frame,
        }
    }

    /// The frame's pixels that codes `first` to `last` reach, bilinearly.
    fn pixels(&self, [first, last]: [usize; 2]) -> std::ops::Range<usize> {
        let edge = |code: f64| self.start + code.clamp(0.0, self.codes as f64) * self.scale;
        // A pixel belongs to the map if its middle does.
        let pixel = |edge: f64| ((edge - 0.5).ceil().max(0.0) as usize).min(self.frame);
        pixel(edge(first as f64 - 0.5))..pixel(edge(last as f64 + 1.5))
    }

    fn tap(&self, pixel: usize) -> Tap {
        let last = self.codes - 1;
        let at = ((pixel as f64 + 0.5 - self.start) / self.scale - 0.5).clamp(0.0, last as f64);
        let first = at as usize;
        Tap {
            codes: [first, (first + 1).min(last)],
            second: ((at - first as f64) * 256.0) as u32,
        }
    }
}

impl FrameMut<'_> {
    /// Draws a heat map, enlarged or reduced bilinearly. Costs time only where it is hot.
    pub fn blend_heat(&mut self, map: &HeatMap<'_>, colors: &HeatColors) {
        let Some([columns, rows]) = map.hot(colors) else { return };
        let (across, down) = (Axis::new(map, 0, self.width), Axis::new(map, 1, self.height));
        let (columns, rows) = (across.pixels(columns), down.pixels(rows));
        if columns.is_empty() || rows.is_empty() {
            return;
        }
        let taps: Vec<Tap> = columns.clone().map(|x| across.tap(x)).collect();
        let mut line = vec![0u32; map.size[0]];
        let mut strip = Vec::with_capacity(taps.len() * STRIP);
        let mut top = rows.start;
        while top < rows.end {
            let bottom = ((top / STRIP + 1) * STRIP).min(rows.end);
            strip.clear();
            for y in top..bottom {
                let Tap {
                    codes: [above, below],
                    second,
                } = down.tap(y);
                for ((mean, &a), &b) in line.iter_mut().zip(map.row(above)).zip(map.row(below)) {
                    *mean = u32::from(a) * (256 - second) + u32::from(b) * second;
                }
                strip.extend(taps.iter().map(
                    |Tap {
                         codes: [left, right],
                         second,
                     }| {
                        let code = (line[*left] * (256 - second) + line[*right] * second + (1 << 15)) >> 16;
                        colors.0[code as usize]
                    },
                ));
            }
            self.blend(&Layer::new(&strip, taps.len()), columns.start as i64, top as i64);
            top = bottom;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixels::{Colorimetry, PixelFormat};

    /// What drawing `map` on a black RGB frame gives, `[r, g, b]` a pixel.
    fn draw(map: &HeatMap<'_>, [width, height]: [usize; 2]) -> Vec<[u8; 3]> {
        let mut bytes = vec![0; 3 * width * height];
        FrameMut {
            format: PixelFormat::Rgb,
            width,
            height,
            planes: vec![&mut bytes],
            strides: vec![3 * width],
            colorimetry: Colorimetry::default(),
        }
        .blend_heat(map, &HeatColors::new(1.0));
        bytes
            .chunks_exact(3)
            .map(|pixel| [pixel[0], pixel[1], pixel[2]])
            .collect()
    }

    fn color(value: f32) -> [u8; 3] {
        inferno(value).map(|part| (part * 255.0).round() as u8)
    }

    #[test]
    fn the_cold_is_clear_and_the_threshold_shows() {
        let colors = HeatColors::new(0.8);
        let alpha = |share: f32| (colors.0[(share * 255.0) as usize] >> 24) as f32 / 255.0;
        assert_eq!(alpha(0.29), 0.0);
        assert!((0.3..0.7).contains(&alpha(0.5)), "{}", alpha(0.5));
        assert!((alpha(0.7) - 0.8).abs() < 0.01 && (alpha(1.0) - 0.8).abs() < 0.01);
    }

    #[test]
    fn a_map_lands_on_what_it_covers() {
        // Two codes over columns 2..6 of row 1..3.
        let map = HeatMap::new(&[255, 0], [2, 1], [2.0, 1.0, 4.0, 2.0]).unwrap();
        let found = draw(&map, [7, 4]);
        let is_drawn = |x: usize, y: usize| found[y * 7 + x] != [0; 3];
        for y in 0..4 {
            for x in 0..7 {
                // At columns 4 and 5 the bilinear value is below what shows: 0.25 and 0.
                assert_eq!(is_drawn(x, y), (1..3).contains(&y) && (2..4).contains(&x), "{x},{y}");
            }
        }
        assert_eq!(found[7 + 2], color(1.0));
        assert_eq!(found[7 + 3], color(191.0 / 255.0));
    }

    #[test]
    fn maps_larger_than_the_frame_and_beyond_it_are_cut() {
        let codes = vec![255; 90 * 80];
        let map = HeatMap::new(&codes, [90, 80], [-30.0, -20.0, 90.0, 80.0]).unwrap();
        assert!(draw(&map, [50, 47]).iter().all(|&pixel| pixel == color(1.0)));
        let map = HeatMap::new(&codes, [90, 80], [60.0, 0.0, 9.0, 9.0]).unwrap();
        assert!(draw(&map, [50, 47]).iter().all(|&pixel| pixel == [0; 3]));
        let map = HeatMap::new(&codes, [90, 80], [0.0, 0.0, 1.0, 1.0]).unwrap();
        assert_eq!(draw(&map, [1, 1]), [color(1.0)]);
    }

    #[test]
    fn what_is_no_map_is_refused() {
        assert!(HeatMap::new(&[1, 2, 3], [2, 2], [0.0, 0.0, 1.0, 1.0]).is_none());
        assert!(HeatMap::new(&[], [0, 2], [0.0, 0.0, 1.0, 1.0]).is_none());
        assert!(HeatMap::new(&[1], [usize::MAX, 2], [0.0, 0.0, 1.0, 1.0]).is_none());
        assert!(HeatMap::new(&[1], [1, 1], [0.0, 0.0, 0.0, 1.0]).is_none());
        assert!(HeatMap::new(&[1], [1, 1], [f64::NAN, 0.0, 1.0, 1.0]).is_none());
    }
}

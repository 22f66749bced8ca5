//! Heat maps over frames.

use std::ops::Range;

use super::blend::{blend_pixel, packed, premultiply};
use super::colormap::ColorMap;
use super::formats::Component;
use super::mix::{Mix, Mixer, parts};
use super::{FrameMut, PixelFormat};
use crate::kernels::simd::{Vector, Work, run_best};

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

/// One axis of a map on one component of a frame.
struct Axis {
    /// Codes from the map's edge to the middle of the component's first value.
    first: f64,
    /// Codes from one value to the next.
    step: f64,
    /// Codes from the map's edge to the middle of the last value, which may stand for fewer pixels than the others.
    last: f64,
    codes: usize,
    /// Values of the component along the axis.
    values: usize,
}

impl Axis {
    /// `shift` is the power of two by which the component is coarser than the frame of `frame` pixels.
    fn new(map: &HeatMap<'_>, axis: usize, frame: usize, shift: u32) -> Self {
        let (codes, block) = (map.size[axis], f64::from(1 << shift));
        let (a_pixel, values) = (codes as f64 / map.covers[axis + 2], frame.div_ceil(1 << shift));
        let code = |pixel: f64| (pixel - map.covers[axis]) * a_pixel;
        let before_last = (values.saturating_sub(1) << shift) as f64;
        Self {
            first: code(block / 2.0),
            step: block * a_pixel,
            last: code((before_last + frame as f64) / 2.0),
            codes,
            values,
        }
    }

    /// The values that codes `first` to `last` reach, bilinearly. A value belongs to the map if its middle does.
    fn reach(&self, [first, last]: [usize; 2]) -> Range<usize> {
        let value = |code: f64| {
            let code = code.clamp(0.0, self.codes as f64);
            match code > self.last {
                true => self.values,
                false => (((code - self.first) / self.step).ceil().max(0.0) as usize).min(self.values),
            }
        };
        value(first as f64 - 0.5)..value(last as f64 + 1.5)
    }

    /// Where value `index` lies between the middles of codes, in units of 2^-32 from the first.
    fn at(&self, index: usize) -> i64 {
        ((self.first + index as f64 * self.step - 0.5) * Self::ONE) as i64
    }

    /// The code in whose middle value `index` lies, if it is one.
    fn whole(&self, index: usize) -> Option<usize> {
        let at = self.at(index);
        let code = usize::try_from(at >> 32).ok().filter(|&code| code < self.codes)?;
        (at as u32 == 0).then_some(code)
    }

    /// How many values the codes lie after the beginning, if there is a value for each.
    fn whole_shift(&self) -> Option<i64> {
        let first = self.at(0);
        (self.step == 1.0 && first as u32 == 0).then_some(-(first >> 32))
    }

    const ONE: f64 = (1u64 << 32) as f64;
}

/// A map enlarged or reduced bilinearly to a component's size, row by row and only where it is hot.
struct Enlarged<'a> {
    map: HeatMap<'a>,
    /// What [`HeatMap::hot`] gave.
    hot: &'a [Range<usize>],
    axes: [Axis; 2],
    rows: Range<usize>,
    least: u8,
    /// A row of the map between two of its rows, in 1/256, the last value twice.
    line: Vec<u16>,
    codes: Vec<u8>,
}

impl<'a> Enlarged<'a> {
    fn new(map: &HeatMap<'a>, hot: &'a [Range<usize>], least: u8, frame: [usize; 2], shift: [u32; 2]) -> Option<Self> {
        let axes = [0, 1].map(|axis| Axis::new(map, axis, frame[axis], shift[axis]));
        let is_hot = |columns: &Range<usize>| !columns.is_empty();
        let ends = [hot.iter().position(is_hot)?, hot.iter().rposition(is_hot)?];
        Some(Self {
            map: *map,
            hot,
            rows: axes[1].reach(ends),
            least,
            line: vec![0; map.size[0] + 1],
            codes: vec![0; axes[0].values],
            axes,
        })
    }

    /// Calls `paint` with a row, the first of some columns and their codes, for all that may be hot, no value twice.
    fn each(mut self, mut paint: impl FnMut(usize, usize, &[u8])) {
        let least = (u16::from(self.least) << 8) - 128;
        let shift = self.axes[0].whole_shift();
        for y in self.rows.clone() {
            if let (Some(shift), Some(row)) = (shift, self.axes[1].whole(y)) {
                self.each_as_it_is(y, row, shift, &mut paint);
                continue;
            }
            let columns = self.turn_to(y);
            let line = &self.line[..columns.end];
            let mut from = columns.start;
            while let Some(first) = line[from..].iter().position(|&value| value >= least) {
                let first = from + first;
                let length = line[first..].iter().position(|&value| value < least);
                from = length.map_or(line.len(), |length| first + length);
                let reach = self.axes[0].reach([first, from - 1]);
                if !reach.is_empty() {
                    let codes = &mut self.codes[..reach.len()];
                    enlarge(&self.line, &self.axes[0], reach.start, codes);
                    paint(y, reach.start, codes);
                }
            }
        }
    }

    /// [`Self::each`] of row `y`, which is row `row` of the map as it is, moved by `shift` columns.
    fn each_as_it_is(&self, y: usize, row: usize, shift: i64, paint: &mut impl FnMut(usize, usize, &[u8])) {
        let (codes, columns) = (self.map.row(row), self.hot[row].clone());
        let inside = |column: usize| (column as i64 + shift).clamp(0, self.axes[0].values as i64);
        let mut from = columns.start;
        while let Some(first) = codes[from..columns.end].iter().position(|&code| code >= self.least) {
            let first = from + first;
            let length = codes[first..columns.end].iter().position(|&code| code < self.least);
            from = length.map_or(columns.end, |length| first + length);
            let [begin, end] = [inside(first), inside(from)];
            if begin < end {
                let cut = |value: i64| (value - shift) as usize;
                paint(y, begin as usize, &codes[cut(begin)..cut(end)]);
            }
        }
    }

    /// Makes `line` that of the component's row `y`, as far as it may be hot and its neighbours, and gives the columns where it may.
    fn turn_to(&mut self, y: usize) -> Range<usize> {
        let last = self.map.size[1] - 1;
        let at = self.axes[1].at(y).clamp(0, (last as i64) << 32);
        let (above, second) = ((at >> 32) as usize, (at >> 24 & 0xff) as u16);
        let below = (above + 1).min(last);
        let hot = match (self.hot[above].clone(), self.hot[below].clone()) {
            (hot, cold) | (cold, hot) if cold.is_empty() => hot,
            (a, b) => a.start.min(b.start)..a.end.max(b.end),
        };
        if hot.is_empty() {
            return hot;
        }
        let columns = self.map.size[0];
        let around = hot.start.saturating_sub(1)..(hot.end + 2).min(columns);
        let [above, below] = [above, below].map(|y| &self.map.row(y)[around.clone()]);
        for (value, (&a, &b)) in self.line[around].iter_mut().zip(above.iter().zip(below)) {
            *value = u16::from(a) * (256 - second) + u16::from(b) * second;
        }
        self.line[columns] = self.line[columns - 1];
        hot
    }
}

/// Codes of neighbouring values, the first of which is `first`.
fn enlarge(line: &[u16], axis: &Axis, first: usize, codes: &mut [u8]) {
    let (last, step) = ((axis.codes as i64 - 1) << 32, (axis.step * Axis::ONE) as i64);
    let mut at = axis.at(first);
    for code in codes {
        let place = at.clamp(0, last);
        let (left, second) = ((place >> 32) as usize, (place >> 24 & 0xff) as u32);
        let sum = u32::from(line[left]) * (256 - second) + u32::from(line[left + 1]) * second;
        *code = ((sum + (1 << 15)) >> 16) as u8;
        at += step;
    }
}

impl FrameMut<'_> {
    /// Draws a heat map, enlarged or reduced bilinearly. Costs time only where it is hot. Subsampled chroma takes the colour of the map at its
    /// middle.
    pub fn blend_heat(&mut self, map: &HeatMap<'_>, colors: &HeatColors) {
        let Some(least) = colors.least() else { return };
        let (size, hot) = ([self.width, self.height], map.hot(least));
        if packed(self.format).is_some_and(|packed| packed.alpha.is_some()) {
            if let Some(enlarged) = Enlarged::new(map, &hot, least, size, [0, 0]) {
                self.heat_with_alpha(enlarged, colors);
            }
            return;
        }
        let mixer = Mixer::new(self.format, self.colorimetry);
        let tables: [[Mix; 256]; 3] = std::array::from_fn(|component| match component < self.format.components() {
            true => colors.0.map(|color| mixer.mix(component, color)),
            false => [Mix::default(); 256],
        });
        let format = self.format;
        let shift = |component| format.component(component).shift;
        // Components of one size are done together.
        let [first, second] = match self.format.components() {
            1 => [0..1, 1..1],
            _ if shift(1) == [0, 0] => [0..3, 3..3],
            _ => [0..1, 1..3],
        };
        for group in [first, second].into_iter().filter(|group| !group.is_empty()) {
            if let Some(enlarged) = Enlarged::new(map, &hot, least, size, shift(group.start)) {
                self.heat_components(enlarged, group, &tables);
            }
        }
    }

    /// Components of one size.
    fn heat_components(&mut self, enlarged: Enlarged<'_>, group: Range<usize>, tables: &[[Mix; 256]; 3]) {
        let wide = self.format == PixelFormat::Gray16Le;
        enlarged.each(|y, column, codes| {
            for component in group.clone() {
                let at = self.format.component(component);
                let row = &mut self.planes[at.plane][y * self.strides[at.plane] + column * at.step..];
                mix_codes(row, at, codes, &tables[component], wide);
            }
        });
    }

    fn heat_with_alpha(&mut self, enlarged: Enlarged<'_>, colors: &HeatColors) {
        let Some(packed) = packed(self.format) else { return };
        enlarged.each(|y, column, codes| {
            let row = &mut self.planes[0][y * self.strides[0] + column * packed.size..];
            for (pixel, &code) in row.chunks_exact_mut(packed.size).zip(codes) {
                blend_pixel(pixel, parts(colors.color(code)), packed);
            }
        });
    }
}

/// Mixes the colours of `codes` into neighbouring values, the first of them at the beginning of `row`.
fn mix_codes(row: &mut [u8], at: Component, codes: &[u8], table: &[Mix; 256], wide: bool) {
    if wide {
        for (value, &code) in row.as_chunks_mut().0.iter_mut().zip(codes) {
            *value = table[usize::from(code)].on16(*value);
        }
        return;
    }
    if at.step == 1 {
        let row = &mut row[at.offset..];
        return run_best(MixRow { row, codes, table });
    }
    for (value, &code) in row[at.offset..].iter_mut().step_by(at.step).zip(codes) {
        *value = table[usize::from(code)].on8(*value);
    }
}

/// [`mix_codes`] of a plane of bytes.
struct MixRow<'a> {
    row: &'a mut [u8],
    codes: &'a [u8],
    table: &'a [Mix; 256],
}

impl Work for MixRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        for (value, &code) in self.row.iter_mut().zip(self.codes) {
            *value = self.table[usize::from(code)].on8(*value);
        }
    }
}

#[cfg(test)]
mod tests;

//! Maps enlarged or reduced bilinearly to the size of a frame's components.

use std::ops::Range;

use super::HeatMap;
use crate::kernels::simd::{Vector, Work, run_best};

/// Half a code, in units of 2^-32.
const HALF: i64 = 1 << 31;

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

    /// The code that value `index` lies in, or the nearest one.
    fn nearest(&self, index: usize) -> usize {
        let code = (self.at(index) + HALF) >> 32;
        code.clamp(0, self.codes as i64 - 1) as usize
    }

    /// How many values the codes lie after the beginning, if there is a value for each.
    fn whole_shift(&self) -> Option<i64> {
        let first = self.at(0);
        (self.step == 1.0 && first as u32 == 0).then_some(-(first >> 32))
    }

    const ONE: f64 = (1u64 << 32) as f64;
}

/// A map enlarged or reduced bilinearly to a component's size, row by row and only where it is hot.
pub(super) struct Enlarged<'a> {
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
    pub fn new(
        map: &HeatMap<'a>,
        hot: &'a [Range<usize>],
        least: u8,
        frame: [usize; 2],
        shift: [u32; 2],
    ) -> Option<Self> {
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
    pub fn each(mut self, mut paint: impl FnMut(usize, usize, &[u8])) {
        let least = (u16::from(self.least) << 8) - 128;
        let shift = self.axes[0].whole_shift();
        for y in self.rows.clone() {
            if let (Some(shift), Some(row)) = (shift, self.axes[1].whole(y)) {
                self.each_as_it_is(y, row, shift, &mut paint);
                continue;
            }
            if self.map.is_of_classes {
                self.each_nearest(y, &mut paint);
                continue;
            }
            let columns = self.turn_to(y);
            for hot in HotRuns::new(&self.line[..columns.end], columns.start, least) {
                let reach = self.axes[0].reach([hot.start, hot.end - 1]);
                if !reach.is_empty() {
                    let codes = &mut self.codes[..reach.len()];
                    run_best(Enlarge::new(&self.line, &self.axes[0], reach.start, codes));
                    paint(y, reach.start, codes);
                }
            }
        }
    }

    /// [`Self::each`] of row `y`, which is row `row` of the map as it is, moved by `shift` columns.
    fn each_as_it_is(&self, y: usize, row: usize, shift: i64, paint: &mut impl FnMut(usize, usize, &[u8])) {
        let (codes, columns) = (self.map.row(row), self.hot[row].clone());
        let inside = |column: usize| (column as i64 + shift).clamp(0, self.axes[0].values as i64);
        for hot in HotRuns::new(&codes[..columns.end], columns.start, self.least) {
            let [begin, end] = [inside(hot.start), inside(hot.end)];
            if begin < end {
                let cut = |value: i64| (value - shift) as usize;
                paint(y, begin as usize, &codes[cut(begin)..cut(end)]);
            }
        }
    }

    /// [`Self::each`] of row `y` of a map whose codes cannot be mixed.
    fn each_nearest(&mut self, y: usize, paint: &mut impl FnMut(usize, usize, &[u8])) {
        let row = self.axes[1].nearest(y);
        let (line, columns) = (self.map.row(row), self.hot[row].clone());
        for hot in HotRuns::new(&line[..columns.end], columns.start, self.least) {
            let reach = self.axes[0].reach([hot.start, hot.end - 1]);
            if !reach.is_empty() {
                let codes = &mut self.codes[..reach.len()];
                run_best(Pick::new(line, &self.axes[0], reach.start, codes));
                paint(y, reach.start, codes);
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
        run_best(Between {
            rows: [above, below],
            second,
            line: &mut self.line[around],
        });
        self.line[columns] = self.line[columns - 1];
        hot
    }
}

/// Values between two rows of a map, in 1/256.
struct Between<'a> {
    rows: [&'a [u8]; 2],
    /// How much of the second row, in 1/256.
    second: u16,
    line: &'a mut [u16],
}

impl Work for Between<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let [above, below] = self.rows;
        for (value, (&a, &b)) in self.line.iter_mut().zip(above.iter().zip(below)) {
            *value = u16::from(a) * (256 - self.second) + u16::from(b) * self.second;
        }
    }
}

/// Codes of neighbouring values between the values of a line.
struct Enlarge<'a> {
    line: &'a [u16],
    codes: &'a mut [u8],
    /// Where the first of the codes lies in the line, and from one to the next, in units of 2^-32.
    at: i64,
    step: i64,
    /// Where the line's last value lies.
    last: i64,
}

impl<'a> Enlarge<'a> {
    /// `codes` are those of the values from `first`.
    fn new(line: &'a [u16], axis: &Axis, first: usize, codes: &'a mut [u8]) -> Self {
        Self {
            line,
            codes,
            at: axis.at(first),
            step: (axis.step * Axis::ONE) as i64,
            last: (axis.codes as i64 - 1) << 32,
        }
    }

    /// The code between a value and the next, `second` of it in 1/256.
    #[inline(always)]
    fn code([left, right]: [u16; 2], second: u32) -> u8 {
        let sum = u32::from(left) * (256 - second) + u32::from(right) * second;
        ((sum + (1 << 15)) >> 16) as u8
    }
}

impl Work for Enlarge<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let end = self.at + self.step * (self.codes.len() as i64 - 1);
        // The chroma of a map as fine as the frame.
        if self.step == 2 << 32 && self.at >= 0 && end <= self.last {
            let (left, second) = ((self.at >> 32) as usize, (self.at >> 24 & 0xff) as u32);
            for (code, pair) in self.codes.iter_mut().zip(self.line[left..].as_chunks().0) {
                *code = Self::code(*pair, second);
            }
            return;
        }
        let mut at = self.at;
        for code in self.codes {
            let place = at.clamp(0, self.last);
            let (left, second) = ((place >> 32) as usize, (place >> 24 & 0xff) as u32);
            *code = Self::code([self.line[left], self.line[left + 1]], second);
            at += self.step;
        }
    }
}

/// The codes of a line that neighbouring values lie in.
struct Pick<'a> {
    line: &'a [u8],
    codes: &'a mut [u8],
    /// Where the first of the values lies in the line, and from one to the next, in units of 2^-32.
    at: i64,
    step: i64,
}

impl<'a> Pick<'a> {
    /// `codes` are those of the values from `first`.
    fn new(line: &'a [u8], axis: &Axis, first: usize, codes: &'a mut [u8]) -> Self {
        Self {
            line,
            codes,
            at: axis.at(first) + HALF,
            step: (axis.step * Axis::ONE) as i64,
        }
    }
}

impl Work for Pick<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        // The chroma of a map as fine as the frame.
        if self.step == 2 << 32
            && let Ok(first) = usize::try_from(self.at >> 32)
            && first + 2 * self.codes.len() <= self.line.len()
        {
            for (code, pair) in self.codes.iter_mut().zip(self.line[first..].as_chunks::<2>().0) {
                *code = pair[0];
            }
            return;
        }
        let last = self.line.len() as i64 - 1;
        let mut at = self.at;
        for code in self.codes {
            *code = self.line[(at >> 32).clamp(0, last) as usize];
            at += self.step;
        }
    }
}

/// The runs of values that may reach `least`, to whole blocks.
struct HotRuns<'a, T> {
    values: &'a [T],
    from: usize,
    least: T,
}

impl<'a, T> HotRuns<'a, T> {
    /// Of `values` from index `from`.
    fn new(values: &'a [T], from: usize, least: T) -> Self {
        Self { values, from, least }
    }
}

impl<T: Copy + Ord> Iterator for HotRuns<'_, T> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let find = |from: usize, hot: bool| {
            let (values, least) = (&self.values[from..], self.least);
            Some(from + run_best(FindBlock { values, least, hot })?)
        };
        let first = find(self.from, true)?;
        self.from = find(first, false).unwrap_or(self.values.len());
        Some(first..self.from)
    }
}

/// Finds the first block with a value of at least `least`, or where not `hot` without one.
struct FindBlock<'a, T> {
    values: &'a [T],
    least: T,
    hot: bool,
}

impl<T: Copy + Ord> Work for FindBlock<'_, T> {
    type Output = Option<usize>;

    #[inline(always)]
    fn run<V: Vector>(self) -> Option<usize> {
        const BLOCK: usize = 64;
        for (i, block) in self.values.chunks(BLOCK).enumerate() {
            let mut highest = block[0];
            for &value in block {
                highest = highest.max(value);
            }
            if (highest >= self.least) == self.hot {
                return Some(i * BLOCK);
            }
        }
        None
    }
}

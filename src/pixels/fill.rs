//! Rectangles of one colour.

use std::ops::Range;

use super::blend::{Packed, blend_pixel, packed_with_alpha};
use super::mix::{Mix, Mixer, parts};
use super::{FrameMut, PixelFormat};
use crate::kernels::simd::{Vector, Work, run_best};

/// Bytes of a row after which a [`Pattern`] begins anew: whole pixels of every format, and whole registers.
const PERIOD: usize = 48;

impl FrameMut<'_> {
    /// Draws a rectangle of one colour (see [`super::blend::premultiply`]); what lies outside of the frame is cut off.
    pub fn fill(&mut self, x: i64, y: i64, width: usize, height: usize, color: u32) {
        let clip = |at: i64, length: usize, frame: usize| {
            let from = at.clamp(0, frame as i64);
            let to = at.saturating_add_unsigned(length as u64).clamp(from, frame as i64);
            from as usize..to as usize
        };
        let (columns, rows) = (clip(x, width, self.width), clip(y, height, self.height));
        if columns.is_empty() || rows.is_empty() || color == 0 {
            return;
        }
        if let Some(packed) = packed_with_alpha(self.format) {
            let mut block = self.block(0, packed.size, [&columns, &rows]);
            if !block.rows().all(|row| packed.is_opaque(row)) {
                return block.mix_with_alpha(packed, color);
            }
        }
        let mixer = Mixer::new(self.format, self.colorimetry);
        for plane in 0..self.format.planes() {
            self.fill_plane(plane, [&columns, &rows], &mixer, color);
        }
    }

    /// Columns and rows of a plane whose values are `step` bytes apart.
    fn block(&mut self, plane: usize, step: usize, [columns, rows]: [&Range<usize>; 2]) -> Block<'_> {
        Block {
            bytes: &mut self.planes[plane][rows.start * self.strides[plane]..],
            stride: self.strides[plane],
            rows: rows.len(),
            columns: columns.start * step..columns.end * step,
        }
    }

    /// Fills the columns and rows, in pixels of the frame, of one plane.
    fn fill_plane(&mut self, plane: usize, [columns, rows]: [&Range<usize>; 2], mixer: &Mixer, color: u32) {
        // A byte that belongs to no component stays.
        let (mut mixes, mut step, mut shift) = ([Mix::NONE; 4], 1, [0; 2]);
        for component in 0..self.format.components() {
            let at = self.format.component(component);
            if at.plane == plane {
                (step, shift) = (at.step, at.shift);
                mixes[at.offset] = mixer.mix(component, color);
            }
        }
        let wide = self.format == PixelFormat::Gray16Le;
        for (rows, [part, whole]) in alike(rows, shift[1], self.height) {
            let mixes = mixes.map(|mix| mix.over(part, whole));
            for (columns, [part, whole]) in alike(columns, shift[0], self.width) {
                let mixes = mixes.map(|mix| mix.over(part, whole));
                let mut block = self.block(plane, step, [&columns, &rows]);
                match wide {
                    true => block.mix_wide(mixes[0]),
                    false => run_best(MixBlock {
                        block,
                        pattern: &Pattern::new(&mixes[..step]),
                    }),
                }
            }
        }
    }
}

/// The codes along an axis that stand for pixels of `range`, in runs that it covers alike: how many of the pixels of each code it covers, and how
/// many the code stands for at all.
fn alike(range: &Range<usize>, shift: u32, frame: usize) -> impl Iterator<Item = (Range<usize>, [usize; 2])> {
    let covered = move |code: usize, range: &Range<usize>| {
        let block = code << shift..((code + 1) << shift).min(frame);
        [block.end.min(range.end) - block.start.max(range.start), block.len()]
    };
    let is_cut = |code: usize| {
        let [part, whole] = covered(code, range);
        part < whole
    };
    let [first, end] = [range.start >> shift, range.end.div_ceil(1 << shift)];
    let inner = first + usize::from(is_cut(first));
    let inner_end = end - usize::from(end > inner && is_cut(end - 1));
    let runs = [first..inner, inner..inner_end, inner_end..end];
    let range = range.clone();
    runs.into_iter()
        .filter(|run| !run.is_empty())
        .map(move |run| (run.clone(), covered(run.start, &range)))
}

/// Bytes of some rows of a plane.
struct Block<'a> {
    /// From the beginning of the first row.
    bytes: &'a mut [u8],
    stride: usize,
    rows: usize,
    /// In bytes.
    columns: Range<usize>,
}

impl Block<'_> {
    #[inline(always)]
    fn rows(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let columns = self.columns.clone();
        let rows = self.bytes.chunks_mut(self.stride).take(self.rows);
        rows.map(move |row| &mut row[columns.clone()])
    }

    fn mix_with_alpha(&mut self, packed: Packed, color: u32) {
        let parts = parts(color);
        for row in self.rows() {
            for pixel in row.chunks_exact_mut(packed.size) {
                blend_pixel(pixel, parts, packed);
            }
        }
    }

    fn mix_wide(&mut self, mix: Mix) {
        for row in self.rows() {
            for code in row.as_chunks_mut().0 {
                *code = mix.on16(*code);
            }
        }
    }
}

/// What a colour does to each byte of a row, which is the same for every pixel.
struct Pattern([Mix; PERIOD]);

impl Pattern {
    /// `mixes` are those of a pixel's bytes.
    fn new(mixes: &[Mix]) -> Self {
        Self(std::array::from_fn(|byte| mixes[byte % mixes.len()]))
    }
}

struct MixBlock<'a> {
    block: Block<'a>,
    pattern: &'a Pattern,
}

impl Work for MixBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(mut self) {
        let Pattern(mixes) = self.pattern;
        for row in self.block.rows() {
            let (whole, rest) = row.as_chunks_mut::<PERIOD>();
            for bytes in whole {
                for (byte, mix) in bytes.iter_mut().zip(mixes) {
                    *byte = mix.on8(*byte);
                }
            }
            for (byte, mix) in rest.iter_mut().zip(mixes) {
                *byte = mix.on8(*byte);
            }
        }
    }
}

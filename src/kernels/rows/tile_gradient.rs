//! The gradient of a convolution's weight in bf16 on tiles.

use super::outer::Outer;
use super::tiles::{Block, DEPTH, ROWS, Ready, Sums, TILE, Tiles, as_bf16, as_bf16_mut, to_bf16};
use crate::kernels::conv::Conv;
use crate::kernels::simd::{Vector, Work, run_best};

/// Channels of the input whose sums are taken together.
const CHANNELS: usize = 2 * ROWS;

/// The gradient of a convolution's weight: sums over positions of the products of input and output's gradient, with as
/// many positions a piece as a tile is deep. The convolution has one group.
pub(crate) struct TileGradient {
    tiles: Tiles,
    conv: Conv,
    ins: usize,
    outs: usize,
    /// Pieces of a row of the output.
    pieces: usize,
    /// Values of a channel of a row, for one phase of the stride: whole cache lines.
    plane: usize,
}

impl TileGradient {
    /// For rows of `from` pixels of the input and `to` of the output.
    pub fn new(tiles: Tiles, conv: &Conv, [ins, outs]: [usize; 2], [from, to]: [usize; 2]) -> Self {
        let pieces = to.div_ceil(DEPTH);
        let read = pieces * DEPTH + (conv.kernel - 1) * conv.dilation / conv.stride;
        let plane = read
            .max((conv.padding + from).div_ceil(conv.stride))
            .next_multiple_of(DEPTH);
        #[rustfmt::skip]
        return Self { tiles, conv: *conv, ins, outs, pieces, plane };
    }

    /// f32 words of a row of the input in [`TileGradient::planes`]' form.
    pub fn input_words(&self) -> usize {
        (self.conv.stride * self.ins.next_multiple_of(CHANNELS) * self.plane).div_ceil(2)
    }

    /// f32 words of the gradient of `rows` rows in [`TileGradient::pairs`]' form.
    pub fn output_words(&self, rows: usize) -> usize {
        rows * self.pieces * self.outs.div_ceil(ROWS) * TILE / 2
    }

    /// A row of the input in bf16: planes of the phases' channels, with the padding before them.
    pub fn planes(&self, pixels: &[f32], out: &mut [f32]) {
        let (way, out) = (self, as_bf16_mut(out));
        #[rustfmt::skip]
        run_best(Planes { way, pixels, out });
    }

    /// Row `row` of `rows` of the output's gradient in bf16, in tiles of weights: for each pair of groups of 16 channels all
    /// rows' pieces.
    pub fn pairs(&self, pixels: &[f32], row: usize, rows: usize, out: &mut [f32]) {
        let out = as_bf16_mut(out);
        for first in (0..self.outs).step_by(2 * ROWS) {
            let groups = (self.outs - first).div_ceil(ROWS).min(2);
            let start = rows * self.pieces * first / ROWS + row * self.pieces * groups;
            let out = &mut out[start * TILE..][..self.pieces * groups * TILE];
            let outs = self.outs;
            #[rustfmt::skip]
            run_best(Pairs { pixels, outs, first, groups, out });
        }
    }

    /// Adds the sums over `rows` rows: for each tap and input channel a row of [`Outer::pitch`] values. `x` has rows by
    /// [`TileGradient::planes`], of which `start(row, tap)` is where the one begins that a tap of the kernel's columns reads; `g`
    /// has all rows by [`TileGradient::pairs`].
    #[rustfmt::skip]
    pub fn add(&self, x: &[f32], start: impl Fn(usize, usize) -> usize, g: &[f32], rows: usize, offsets: &mut Vec<usize>, sums: &mut [f32]) {
        let Conv { kernel, stride, dilation, .. } = self.conv;
        let (x, g, channels) = (as_bf16(x), as_bf16(g), self.ins.next_multiple_of(CHANNELS));
        let (ready, pitch) = (Ready::new(self.tiles), Outer::pitch(self.outs));
        let mut tile = Sums::ZERO;
        for (row, column) in (0..kernel * kernel).map(|tap| (tap / kernel, tap % kernel)) {
            let shift = column * dilation;
            let phase = shift % stride * channels * self.plane + shift / stride;
            offsets.clear();
            offsets.extend((0..rows * self.pieces).map(|piece| {
                2 * start(piece / self.pieces, row) + phase + piece % self.pieces * DEPTH
            }));
            for out in (0..self.outs).step_by(2 * ROWS) {
                let groups = (self.outs - out).div_ceil(ROWS).min(2);
                let g = &g[rows * self.pieces * out / ROWS * TILE..][..offsets.len() * groups * TILE];
                for i in (0..self.ins).step_by(CHANNELS) {
                    let (first, step, rows, weights) = (i * self.plane, self.plane, CHANNELS, g);
                    ready.multiply(Block { x, offsets, first, step, rows, weights, groups }, &mut tile);
                    let sums = &mut sums[((row * kernel + column) * self.ins + i) * pitch..];
                    for (sums, tile) in sums.chunks_mut(pitch).zip(tile.0.chunks_exact(groups * ROWS)).take(CHANNELS.min(self.ins - i)) {
                        let outs = (self.outs - out).min(2 * ROWS);
                        sums[out..out + outs].iter_mut().zip(tile).for_each(|(sum, x)| *sum += x);
                    }
                }
            }
        }
    }
}

/// See [`TileGradient::planes`].
struct Planes<'a> {
    way: &'a TileGradient,
    pixels: &'a [f32],
    out: &'a mut [u16],
}

impl Work for Planes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        const SIDE: usize = 8;
        let TileGradient {
            ins, plane, ref conv, ..
        } = *self.way;
        let channels = ins.next_multiple_of(CHANNELS);
        self.out.fill(0);
        let place = |x: usize| (conv.padding + x) % conv.stride * channels * plane + (conv.padding + x) / conv.stride;
        let mut whole = 0;
        if conv.stride == 1 {
            // Squares of pixels and channels, turned in registers; rounding is quick for a row as a whole.
            let squares = ins / SIDE * SIDE;
            let row: Vec<u16> = self.pixels.iter().map(|x| to_bf16(*x)).collect();
            for pixels in row.chunks_exact(SIDE * ins) {
                for first in (0..squares).step_by(SIDE) {
                    let square: [[u16; SIDE]; SIDE] =
                        std::array::from_fn(|x| *pixels[x * ins + first..].first_chunk().expect("within the pixel"));
                    let planes = self.out[first * plane + place(whole)..].chunks_mut(plane);
                    for (c, out) in planes.take(SIDE).enumerate() {
                        let line: [u16; SIDE] = std::array::from_fn(|x| square[x][c]);
                        out[..SIDE].copy_from_slice(&line);
                    }
                }
                for (x, c) in (0..SIDE).flat_map(|x| (squares..ins).map(move |c| (x, c))) {
                    self.out[c * plane + place(whole + x)] = pixels[x * ins + c];
                }
                whole += SIDE;
            }
        }
        for (x, pixel) in self.pixels.chunks_exact(ins).enumerate().skip(whole) {
            let planes = self.out[place(x)..].iter_mut().step_by(plane);
            planes.zip(pixel).for_each(|(out, x)| *out = to_bf16(*x));
        }
    }
}

/// See [`TileGradient::pairs`]: the pieces of one pair of groups, from channel `first` on.
struct Pairs<'a> {
    pixels: &'a [f32],
    outs: usize,
    first: usize,
    groups: usize,
    out: &'a mut [u16],
}

impl Work for Pairs<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        self.out.fill(0);
        for (pair, pixels) in self.pixels.chunks(2 * self.outs).enumerate() {
            let (a, b) = pixels.split_at(self.outs);
            for group in 0..self.groups {
                let channels = self.first + group * ROWS..self.outs.min(self.first + (group + 1) * ROWS);
                let tile = (pair / ROWS * self.groups + group) * TILE + pair % ROWS * DEPTH;
                let out = self.out[tile..tile + DEPTH].as_chunks_mut::<2>().0.iter_mut();
                if let Some(b) = b.get(channels.clone()) {
                    for (out, (a, b)) in out.zip(a[channels].iter().zip(b)) {
                        *out = [to_bf16(*a), to_bf16(*b)];
                    }
                } else {
                    // A row of odd length ends beside zeros.
                    out.zip(&a[channels]).for_each(|(out, a)| out[0] = to_bf16(*a));
                }
            }
        }
    }
}

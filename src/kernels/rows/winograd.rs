//! 3x3 convolution of stride 1 by Winograd's F(4, 3) along the row (Lavin and Gray 2016): four neighbouring outputs from
//! six products in place of twelve. Down the column the sums are taken directly, so that a row's transform serves the three
//! rows of the output that read it.

use std::ops::Range;

use super::tile::{Panel, Source, Target, start, store};
use crate::kernels::simd::{Isa, Vector, Work, run};

/// Outputs of a tile.
pub(crate) const OUTPUTS: usize = 4;
/// Products of a tile, for one pair of channels and one row of the kernel.
pub(crate) const PRODUCTS: usize = 6;
/// Tiles whose products lie in scratch at a time.
const BLOCK: usize = 48;

/// What the taps of a row of the kernel give to each product.
const G: [[f64; 3]; PRODUCTS] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// A filter, transformed and packed.
pub(crate) struct Winograd {
    isa: Isa,
    padding: usize,
    ins: usize,
    outs: usize,
    /// One for each product.
    panels: Vec<Panel>,
}

impl Winograd {
    /// For `weight(out, in, row · 3 + column)`.
    pub fn new(
        isa: Isa,
        padding: usize,
        outs: usize,
        ins: usize,
        weight: impl Fn(usize, usize, usize) -> f32 + Sync,
    ) -> Self {
        let panels = Panel::several(
            isa,
            outs,
            3 * ins,
            |first, end, width, mut data: [&mut [f32]; PRODUCTS]| {
                for i in 0..ins {
                    for out in first..end {
                        for row in 0..3 {
                            let taps = [0, 1, 2].map(|column| f64::from(weight(out, i, row * 3 + column)));
                            for (data, g) in data.iter_mut().zip(&G) {
                                let sum = g.iter().zip(taps).map(|(g, tap)| g * tap).sum::<f64>();
                                data[(row * ins + i) * width + out - first] = sum as f32;
                            }
                        }
                    }
                }
            },
        )
        .into();
        #[rustfmt::skip]
        return Self { isa, padding, ins, outs, panels };
    }

    /// Zeros before a row.
    pub fn padding(&self) -> usize {
        self.padding
    }

    /// Output channels.
    pub fn outs(&self) -> usize {
        self.outs
    }

    /// Products of an output value, on average.
    pub fn depth(&self) -> f64 {
        (3 * self.ins * PRODUCTS) as f64 / OUTPUTS as f64
    }

    /// Rows that row `row` of the result is made of.
    pub fn rows(&self, row: usize) -> Range<isize> {
        let first = row as isize - self.padding as isize;
        first..first + 3
    }

    /// See [`super::Filter::reach`].
    pub fn reach(&self, from: usize, to: usize) -> [usize; 2] {
        let read = OUTPUTS * to.div_ceil(OUTPUTS) + 2;
        [self.padding, read.saturating_sub(self.padding + from)]
    }

    /// Channels and width of a transformed row for `to` outputs.
    pub fn transformed(&self, to: usize) -> (usize, usize) {
        (PRODUCTS * self.ins, to.div_ceil(OUTPUTS))
    }

    /// Values of scratch that [`Winograd::multiply`] needs.
    pub fn scratch(&self) -> usize {
        PRODUCTS * BLOCK * self.outs.next_multiple_of(16)
    }

    /// [`transform`] for this filter.
    pub fn transform(&self, row: &[f32], out: &mut [f32]) {
        transform(self.isa, row, self.ins, out);
    }

    /// One row of `width` output pixels from the three transformed rows in `x` that begin at `rows`.
    pub fn multiply(&self, x: &[f32], rows: [usize; 3], width: usize, scratch: &mut [f32], to: Target) {
        let tiles = width.div_ceil(OUTPUTS);
        let pitch = self.outs.next_multiple_of(self.isa.lanes());
        let scratch = &mut scratch[..self.scratch()];
        let Target { out, step, bias, floor } = to;
        assert!(width == 0 || out.len() >= (width - 1) * step + self.outs);
        for first in (0..tiles).step_by(BLOCK) {
            let count = BLOCK.min(tiles - first);
            for (product, panel) in self.panels.iter().enumerate() {
                let offsets = rows.map(|row| row + (product * tiles + first) * self.ins);
                let (len, step) = (self.ins, self.ins);
                let out = &mut scratch[product * BLOCK * pitch..][..count * pitch];
                #[rustfmt::skip]
                let source = Source { x, offsets: &offsets, len, step };
                #[rustfmt::skip]
                panel.multiply(source, count, Target { out, step: pitch, bias: &[], floor: f32::NEG_INFINITY });
            }
            let (outs, width) = (self.outs, width.min((first + count) * OUTPUTS) - first * OUTPUTS);
            let out = &mut out[first * OUTPUTS * step..];
            let products = &*scratch;
            #[rustfmt::skip]
            run(self.isa, Combine { products, pitch, outs, width, to: Target { out, step, bias, floor } });
        }
    }
}

/// Transforms a row of pixels of 16 channels or more, which begins with its padding, for as many tiles as `out` has room for.
pub(crate) fn transform(isa: Isa, row: &[f32], ins: usize, out: &mut [f32]) {
    let tiles = out.len() / PRODUCTS / ins;
    assert!(row.len() >= (OUTPUTS * tiles + 2) * ins && out.len() == PRODUCTS * tiles * ins && ins >= 16);
    #[rustfmt::skip]
    run(isa, Transform { row, ins, tiles, out });
}

/// Transforms a row of the output's gradient, of as many tiles as `out` has room for: the factors of [`transform`]'s values
/// in the gradient of the products.
pub(crate) fn transform_gradient(isa: Isa, row: &[f32], outs: usize, out: &mut [f32]) {
    let tiles = out.len() / PRODUCTS / outs;
    assert!(row.len() == OUTPUTS * tiles * outs && out.len() == PRODUCTS * tiles * outs && outs >= 16);
    #[rustfmt::skip]
    run(isa, TransformGradient { row, outs, tiles, out });
}

/// The gradients of the taps of a row of the kernel from those of its products.
pub(crate) fn taps_gradient(products: [f32; PRODUCTS]) -> [f32; 3] {
    std::array::from_fn(|tap| products.iter().zip(G).map(|(x, g)| f64::from(*x) * g[tap]).sum::<f64>() as f32)
}

struct Transform<'a> {
    row: &'a [f32],
    ins: usize,
    tiles: usize,
    out: &'a mut [f32],
}

impl Work for Transform<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let (two, four, five) = (V::splat(2.0), V::splat(4.0), V::splat(-5.0));
        let plane = self.tiles * self.ins;
        for tile in 0..self.tiles {
            let row = &self.row[OUTPUTS * tile * self.ins..][..PRODUCTS * self.ins];
            for channel in (0..self.ins).step_by(V::LANES) {
                // The last register may overlap the one before.
                let channel = channel.min(self.ins - V::LANES);
                let load = |at: usize| {
                    // SAFETY: `row` has `PRODUCTS` pixels, and the register ends with the pixel.
                    V::load(unsafe { row.get_unchecked(at..at + V::LANES) })
                };
                let d: [V; PRODUCTS] = std::array::from_fn(|i| load(i * self.ins + channel));
                let (even, odd) = (d[4].mul_add(d[2], V::splat(-4.0)), d[3].mul_add(d[1], V::splat(-4.0)));
                let (near, far) = (d[4].sub(d[2]), d[3].sub(d[1]).mul(two));
                let all = [
                    d[4].mul_add(d[0], four).mul_add(d[2], five),
                    even.add(odd),
                    even.sub(odd),
                    near.add(far),
                    near.sub(far),
                    d[5].mul_add(d[1], four).mul_add(d[3], five),
                ];
                let at = tile * self.ins + channel;
                for (product, value) in all.into_iter().enumerate() {
                    let at = product * plane + at;
                    // SAFETY: `transform` asserts that `out` has `PRODUCTS` planes of `tiles · ins` values, and the register
                    // ends with the pixel.
                    value.store(unsafe { self.out.get_unchecked_mut(at..at + V::LANES) });
                }
            }
        }
    }
}

struct TransformGradient<'a> {
    row: &'a [f32],
    outs: usize,
    tiles: usize,
    out: &'a mut [f32],
}

impl Work for TransformGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let (two, four) = (V::splat(2.0), V::splat(4.0));
        let plane = self.tiles * self.outs;
        for tile in 0..self.tiles {
            let row = &self.row[OUTPUTS * tile * self.outs..][..OUTPUTS * self.outs];
            for channel in (0..self.outs).step_by(V::LANES) {
                // The last register may overlap the one before.
                let channel = channel.min(self.outs - V::LANES);
                let g: [V; OUTPUTS] = std::array::from_fn(|i| V::load(&row[i * self.outs + channel..]));
                let (even, odd) = (g[0].add(g[2]), g[1].add(g[3]));
                let (far_even, far_odd) = (g[0].mul_add(g[2], four), g[1].mul_add(g[3], four).mul(two));
                let all = [
                    g[0],
                    even.add(odd),
                    even.sub(odd),
                    far_even.add(far_odd),
                    far_even.sub(far_odd),
                    g[3],
                ];
                for (product, value) in all.into_iter().enumerate() {
                    value.store(&mut self.out[product * plane + tile * self.outs + channel..]);
                }
            }
        }
    }
}

struct Combine<'a> {
    products: &'a [f32],
    pitch: usize,
    outs: usize,
    width: usize,
    to: Target<'a>,
}

impl Work for Combine<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let floor = V::splat(self.to.floor);
        let (two, four, eight) = (V::splat(2.0), V::splat(4.0), V::splat(8.0));
        let plane = BLOCK * self.pitch;
        assert!(self.products.len() >= PRODUCTS * plane && self.width <= BLOCK * OUTPUTS);
        for channel in (0..self.outs).step_by(V::LANES) {
            let bias = start::<V>(self.to.bias, channel);
            let left = self.outs - channel;
            for (tile, x) in (0..self.width).step_by(OUTPUTS).enumerate() {
                let load = |i: usize| {
                    let at = i * plane + tile * self.pitch + channel;
                    // SAFETY: a plane has `BLOCK` tiles of `pitch` values, a multiple of the lanes, and there are `PRODUCTS`.
                    V::load(unsafe { self.products.get_unchecked(at..at + V::LANES) })
                };
                let m: [V; PRODUCTS] = std::array::from_fn(load);
                let (sum, difference) = (m[1].add(m[2]).add(bias), m[1].sub(m[2]).add(bias));
                let (far_sum, far_difference) = (m[3].add(m[4]), m[3].sub(m[4]));
                let all = [
                    sum.add(m[0]).add(far_sum),
                    difference.mul_add(far_difference, two),
                    sum.mul_add(far_sum, four),
                    difference.add(m[5]).mul_add(far_difference, eight),
                ];
                let columns = OUTPUTS.min(self.width - x);
                if columns == OUTPUTS && left >= V::LANES {
                    for (i, value) in all.into_iter().enumerate() {
                        let at = (x + i) * self.to.step + channel;
                        // SAFETY: `multiply` asserts that all channels of the last pixel lie in `out`.
                        let out = unsafe { self.to.out.get_unchecked_mut(at..at + V::LANES) };
                        value.at_least(floor).store(out);
                    }
                } else {
                    for (i, value) in all.into_iter().take(columns).enumerate() {
                        let at = (x + i) * self.to.step + channel;
                        store(value.at_least(floor), &mut self.to.out[at..], left);
                    }
                }
            }
        }
    }
}

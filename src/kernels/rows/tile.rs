//! The inner loop of every convolution on rows of pixels: a few positions times a few registers of output channels.

use crate::kernels::aligned::Aligned;
use crate::kernels::simd::{Isa, Vector, Work, run};
use crate::kernels::team::share;

/// Positions that pass through all output channels before the next ones do: what they read stays in the L1 cache.
const STRETCH: usize = 48;

/// Weights that one thread packs in less time than another needs to begin.
const ALONE: usize = 16 * 1024;

/// Products of a position that are added in one go.
const UNROLL: usize = 4;

/// Weights of some output channels, in the order in which [`Panel::multiply`] reads them: blocks of two registers (the
/// last may be of one) of output channels; in each the products of a position; in each the block's channels side by side.
pub(crate) struct Panel {
    isa: Isa,
    outs: usize,
    depth: usize,
    data: Aligned,
}

/// Where the factors of a position lie: `len` values from each of `offsets` on, `step` values further for the next one.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub x: &'a [f32],
    pub offsets: &'a [usize],
    pub len: usize,
    pub step: usize,
}

/// Where the sums of a position go, `step` values further for the next one, and what is done to them before: they start
/// from `bias` (zero where it is empty) and end at least at `floor`.
pub(crate) struct Target<'a, T = f32> {
    pub out: &'a mut [T],
    pub step: usize,
    pub bias: &'a [f32],
    pub floor: f32,
}

impl Panel {
    /// Packs `weight(out, k)`, `k` running over the `depth` products of a position.
    pub fn new(isa: Isa, outs: usize, depth: usize, weight: impl Fn(usize, usize) -> f32 + Sync) -> Self {
        let [panel] = Self::several(isa, outs, depth, |first, end, width, [data]| {
            for (k, data) in data.chunks_exact_mut(width).enumerate() {
                data.iter_mut()
                    .zip(first..end)
                    .for_each(|(value, out)| *value = weight(out, k));
            }
        });
        panel
    }

    /// `N` panels of the same shape at once. `fill(first, end, width, data)` packs the outputs from `first` to `end` for each of them: those
    /// of a product side by side, `width` values further for the next.
    pub fn several<const N: usize>(
        isa: Isa,
        outs: usize,
        depth: usize,
        fill: impl Fn(usize, usize, usize, [&mut [f32]; N]) + Sync,
    ) -> [Self; N] {
        let lanes = isa.lanes();
        let mut data: [Aligned; N] = std::array::from_fn(|_| Aligned::zeros(outs.next_multiple_of(lanes) * depth));
        let mut rest = data.each_mut().map(|data| &mut data[..]);
        let mut blocks = Vec::new();
        for first in (0..outs).step_by(2 * lanes) {
            let width = if outs - first > lanes { 2 * lanes } else { lanes };
            let block = rest.each_mut().map(|rest| {
                let (block, after) = std::mem::take(rest).split_at_mut(width * depth);
                *rest = after;
                block
            });
            blocks.push((first, width, block));
        }
        let at_a_time = (ALONE / (2 * lanes * N * depth.max(1))).max(1);
        share(
            blocks.into_iter(),
            at_a_time,
            || (),
            |(), (first, width, block)| fill(first, outs.min(first + width), width, block),
        );
        #[rustfmt::skip]
        return data.map(|data| Self { isa, outs, depth, data });
    }

    /// For each of `count` positions and every output channel the sum of its products.
    pub fn multiply(&self, from: Source, count: usize, to: Target) {
        let last = count.saturating_sub(1);
        let most = from
            .offsets
            .iter()
            .max()
            .map_or(0, |most| most + from.len + last * from.step);
        assert!(from.x.len() >= most && from.offsets.len() * from.len == self.depth);
        assert!(count == 0 || to.out.len() >= last * to.step + self.outs);
        assert!(to.bias.is_empty() || to.bias.len() == self.outs);
        let panel = self;
        #[rustfmt::skip]
        run(self.isa, Multiply { panel, from, count, to });
    }
}

struct Multiply<'a> {
    panel: &'a Panel,
    from: Source<'a>,
    count: usize,
    to: Target<'a>,
}

impl Work for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(mut self) {
        for first in (0..self.count).step_by(STRETCH) {
            let end = self.count.min(first + STRETCH);
            let mut data = &self.panel.data[..];
            for out in (0..self.panel.outs).step_by(2 * V::LANES) {
                let wide = self.panel.outs - out > V::LANES;
                let (block, rest) = data.split_at(self.panel.depth * V::LANES * if wide { 2 } else { 1 });
                data = rest;
                match (V::LANES, wide) {
                    (16, true) => self.positions::<V, 12, 8, 2>(block, out, first, end),
                    (16, false) => self.positions::<V, 16, 8, 1>(block, out, first, end),
                    (_, true) => self.positions::<V, 6, 4, 2>(block, out, first, end),
                    (_, false) => self.positions::<V, 12, 8, 1>(block, out, first, end),
                }
            }
        }
    }
}

impl Multiply<'_> {
    /// All positions of a stretch for one block, by tiles of `P`, and of `H` or 4 where those would do much twice; the last tile may
    /// overlap the one before.
    #[inline(always)]
    fn positions<V: Vector, const P: usize, const H: usize, const Q: usize>(
        &mut self,
        block: &[f32],
        out: usize,
        first: usize,
        end: usize,
    ) {
        let bias: [V; Q] = std::array::from_fn(|q| start(self.to.bias, out + q * V::LANES));
        if end - first < 4 {
            return (first..end).for_each(|position| self.tile::<V, 1, Q>(block, bias, out, position));
        }
        let mut position = first;
        while position < end {
            let left = end - position;
            position += if left > 2 * H || (left > H && left <= P && end - first >= P) {
                self.tile::<V, P, Q>(block, bias, out, position.min(end - P));
                P
            } else if left > 4 && end - first >= H {
                self.tile::<V, H, Q>(block, bias, out, position.min(end - H));
                H
            } else {
                self.tile::<V, 4, Q>(block, bias, out, position.min(end - 4));
                4
            };
        }
    }

    #[inline(always)]
    fn tile<V: Vector, const P: usize, const Q: usize>(
        &mut self,
        block: &[f32],
        bias: [V; Q],
        out: usize,
        position: usize,
    ) {
        let Source { x, offsets, len, step } = self.from;
        let mut sums = [bias; P];
        let mut weights = block;
        for offset in offsets {
            let mut at = offset + position * step;
            let end = at + len;
            while at + UNROLL <= end {
                products::<V, P, Q, UNROLL>(&mut sums, &mut weights, x, at, step);
                at += UNROLL;
            }
            while at < end {
                products::<V, P, Q, 1>(&mut sums, &mut weights, x, at, step);
                at += 1;
            }
        }
        let floor = V::splat(self.to.floor);
        let left = self.panel.outs - out;
        for (p, sums) in sums.into_iter().enumerate() {
            let at = (position + p) * self.to.step + out;
            // SAFETY: `multiply` asserts that all channels of the last position lie in `out`.
            let to = unsafe { self.to.out.get_unchecked_mut(at..at + left) };
            if left >= Q * V::LANES {
                for (q, sum) in sums.into_iter().enumerate() {
                    // SAFETY: `to` is as long.
                    let to = unsafe { to.get_unchecked_mut(q * V::LANES..(q + 1) * V::LANES) };
                    sum.at_least(floor).store(to);
                }
            } else {
                for (q, sum) in sums.into_iter().enumerate() {
                    store(sum.at_least(floor), &mut to[q * V::LANES..], left - q * V::LANES);
                }
            }
        }
    }
}

/// Adds `K` products of every position and channel, the values of the first position being those from `at` on.
#[inline(always)]
fn products<V: Vector, const P: usize, const Q: usize, const K: usize>(
    sums: &mut [[V; Q]; P],
    weights: &mut &[f32],
    x: &[f32],
    at: usize,
    step: usize,
) {
    // SAFETY: `multiply` asserts that the last value of the last position lies in `x`.
    let x: [&[f32]; P] = std::array::from_fn(|p| unsafe { x.get_unchecked(at + p * step..at + p * step + K) });
    // SAFETY: a block has `depth · Q · LANES` weights, and `multiply` asserts that `depth` products are asked for.
    let (now, rest) = unsafe { weights.split_at_unchecked(K * Q * V::LANES) };
    *weights = rest;
    for k in 0..K {
        let weights: [V; Q] = std::array::from_fn(|q| V::load(&now[(k * Q + q) * V::LANES..]));
        *sums = std::array::from_fn(|p| {
            // SAFETY: `x[p]` has `K` values.
            let x = V::splat(unsafe { *x[p].get_unchecked(k) });
            std::array::from_fn(|q| sums[p][q].mul_add(x, weights[q]))
        });
    }
}

/// The register of biases for the channels from `out` on; zero where there are none.
#[inline(always)]
pub(super) fn start<V: Vector>(bias: &[f32], out: usize) -> V {
    let bias = bias.get(out..).unwrap_or_default();
    if bias.len() >= V::LANES {
        return V::load(bias);
    }
    let mut padded = [0.0; 16];
    padded[..bias.len()].copy_from_slice(bias);
    V::load(&padded)
}

/// Writes the first `left` lanes, or all where there are fewer.
#[inline(always)]
pub(super) fn store<V: Vector>(x: V, out: &mut [f32], left: usize) {
    if left >= V::LANES {
        x.store(out);
    } else {
        x.store_part(out, left);
    }
}

//! A convolution as sums over taps, and the same the other way round.

use std::ops::Range;

use super::filter::{Arithmetic, Finish};
use super::layout::View;
use super::tile::{Panel, Source, Target};
use super::tiles::{self, Stored, TilePanel, Tiles};
use crate::kernels::Isa;
use crate::kernels::aligned::LINE;

/// Products of a cycle on tiles, about.
const TILES_RATE: f64 = 300.0;

/// Taps of one axis: where each reads, from the base of an output, and its number; ascending.
pub(super) type Axis = Vec<(isize, usize)>;

/// A convolution whose output `i · up + phase` reads pixels from `i · down` on, on both axes.
pub(crate) struct Taps {
    up: usize,
    down: usize,
    groups: usize,
    /// Channels of the source.
    ins: usize,
    /// Channels of the result in a group.
    outs: usize,
    /// Nearest and farthest pixel that any tap reads from its base, on each axis.
    ends: [isize; 2],
    /// For each pair of phases, down and across.
    phases: Vec<Phase>,
    tiles: Option<Tiles>,
}

/// Outputs with the same taps.
struct Phase {
    /// Row and first column of each run of pixels that lie side by side.
    runs: Vec<[isize; 2]>,
    /// Values of a run.
    len: usize,
    /// One for each group.
    weights: Vec<Weights>,
}

enum Weights {
    Vectors(Panel),
    Tiles(TilePanel),
}

impl Taps {
    /// From `ins` to `outs` channels; `axes` has the taps of each phase of `up`, and `weight(out, in, row, column)` those of
    /// the taps' numbers, `in` within the group.
    pub fn new(
        arithmetic: Arithmetic,
        groups: usize,
        [up, down]: [usize; 2],
        [ins, outs]: [usize; 2],
        axes: &[Axis],
        weight: impl Fn(usize, usize, usize, usize) -> f32 + Sync,
    ) -> Self {
        // A group's few channels would leave most of a tile empty.
        let tiles = arithmetic.tiles.filter(|_| groups == 1);
        let [per_in, per_out] = [ins, outs].map(|channels| channels / groups);
        let phase = |down: &Axis, across: &Axis| {
            // Where nothing lies between taps, those of a row are one run of memory.
            let is_run = groups == 1 && across.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0);
            let run = if is_run { across.len().max(1) } else { 1 };
            let starts = across.iter().step_by(run);
            let runs: Vec<_> = down.iter().flat_map(|y| starts.clone().map(|x| [y.0, x.0])).collect();
            let (count, len) = (runs.len(), run * per_in);
            // Channel, row and column of each product.
            let taps = down.iter().flat_map(|y| across.iter().map(|x| (y.1, x.1)));
            let places = taps.flat_map(|(row, column)| (0..per_in).map(move |i| (i, row, column)));
            let places: Vec<_> = places.collect();
            let weights = |group: usize| {
                let weight = |out: usize, k: usize| {
                    let (i, row, column) = places[k];
                    weight(group * per_out + out, i, row, column)
                };
                match tiles {
                    Some(tiles) => Weights::Tiles(TilePanel::new(tiles, per_out, count, len, weight)),
                    None => Weights::Vectors(Panel::new(arithmetic.isa, per_out, count * len, weight)),
                }
            };
            let weights = (0..groups).map(weights).collect();
            #[rustfmt::skip]
            return Phase { runs, len, weights };
        };
        let phases = axes.iter().flat_map(|y| axes.iter().map(move |x| (y, x)));
        let phases = phases.map(|(y, x)| phase(y, x)).collect();
        let places = || axes.iter().flatten().map(|(place, _)| *place);
        let ends = [places().min().unwrap_or(0), places().max().unwrap_or(0)];
        #[rustfmt::skip]
        return Self { up, down, groups, ins, outs: per_out, ends, phases, tiles };
    }

    /// Rows of the source that row `row` of the result is made of, and perhaps one more.
    pub fn rows(&self, row: usize) -> Range<isize> {
        let base = (row / self.up * self.down) as isize;
        base + self.ends[0]..base + self.ends[1] + 1
    }

    /// Pixels before a row that are read.
    fn left(&self) -> usize {
        (-self.ends[0]).max(0) as usize
    }

    /// The pixel after the last one that any of the first `to` outputs reads.
    fn end(&self, to: usize) -> usize {
        (((to - 1) / self.up * self.down) as isize + self.ends[1] + 1).max(0) as usize
    }

    /// See [`super::Filter::reach`].
    pub fn reach(&self, from: usize, to: usize) -> [usize; 2] {
        match self.tiles {
            Some(_) => [0, 0],
            None => [self.left(), self.end(to).saturating_sub(from)],
        }
    }

    /// f32 words of a row in bf16, with its border and what is read beyond it, up to whole cache lines; `None` where rows are read as they are.
    pub fn words(&self, from: usize, to: usize) -> Option<usize> {
        self.tiles?;
        let read = to.div_ceil(self.up).next_multiple_of(tiles::POSITIONS) * self.up;
        let pixels = self.left() + self.end(read).max(from);
        Some((pixels * self.ins + tiles::DEPTH).div_ceil(2).next_multiple_of(LINE))
    }

    /// A row of pixels to bf16, zeros around it.
    pub fn convert(&self, pixels: &[f32], out: &mut [f32]) {
        tiles::convert(pixels, self.before(), out);
    }

    /// Values before the pixels of a row in bf16.
    pub fn before(&self) -> usize {
        self.left() * self.ins
    }

    /// Channels of the result.
    pub fn outs(&self) -> usize {
        self.groups * self.outs
    }

    /// Whether it works on tiles.
    pub fn is_in_bf16(&self) -> bool {
        self.tiles.is_some()
    }

    /// Most offsets that [`Taps::compute`] lists.
    pub fn offsets(&self) -> usize {
        let pieces = |phase: &Phase| phase.runs.len() * phase.len.div_ceil(self.piece(phase.len));
        self.phases.iter().map(pieces).max().unwrap_or(0)
    }

    /// Values that are taken from each offset on.
    fn piece(&self, len: usize) -> usize {
        if self.tiles.is_some() { tiles::DEPTH } else { len }
    }

    /// Computes row `row`, of `width` pixels; in bf16 only on tiles.
    pub fn compute<T: Stored>(
        &self,
        from: View,
        row: usize,
        width: usize,
        finish: Finish,
        offsets: &mut Vec<usize>,
        out: &mut [T],
    ) {
        let Self {
            up, ins, outs, groups, ..
        } = *self;
        let layout = from.layout;
        // In bf16 the layout is one of f32 words that knows no pixels.
        let (scale, left) = match self.tiles {
            Some(_) => (2, self.left()),
            None => (1, layout.left),
        };
        let base = (row / up * self.down) as isize;
        for across in 0..up.min(width) {
            let Phase { runs, len, weights } = &self.phases[row % up * up + across];
            let count = (width - across).div_ceil(up);
            let piece = self.piece(*len);
            for (group, weights) in weights.iter().enumerate() {
                offsets.clear();
                for [y, x] in runs {
                    let pixel = (left as isize + x) as usize;
                    let start = scale * layout.row(base + y).start + pixel * ins + group * (ins / groups);
                    offsets.extend((0..*len).step_by(piece).map(|at| start + at));
                }
                let to = Target {
                    out: &mut out[(across * groups + group) * outs..],
                    step: up * groups * outs,
                    bias: finish.bias.get(group * outs..(group + 1) * outs).unwrap_or_default(),
                    floor: finish.floor,
                };
                let (x, len, step) = (from.data, piece, self.down * ins);
                match weights {
                    #[rustfmt::skip]
                    Weights::Vectors(panel) => T::multiply(panel, Source { x, offsets, len, step }, count, to),
                    Weights::Tiles(panel) => panel.multiply(tiles::as_bf16(x), offsets, step, count, to),
                }
            }
        }
    }

    /// Clock cycles of a core for so many values, roughly.
    pub fn cycles(&self, isa: Isa, values: f64) -> f64 {
        let depth = |phase: &Phase| phase.runs.len() * phase.len.next_multiple_of(self.piece(phase.len).max(1));
        let depth = self.phases.iter().map(depth).sum::<usize>() as f64 / self.phases.len() as f64;
        match self.tiles {
            Some(_) => values * depth / TILES_RATE + 2.0 * values,
            None => values * depth / (2 * isa.lanes()) as f64,
        }
    }
}

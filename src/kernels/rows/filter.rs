//! Convolutions that make one row of pixels at a time, in whichever way is fastest for them.

use std::ops::Range;

use super::layout::{Layout, View};
use super::taps::{Axis, Taps};
use super::tile::Target;
use super::tiles::{self, Tiles};
use super::winograd::Winograd;
use crate::kernels::Isa;
use crate::kernels::aligned::Aligned;
use crate::kernels::conv::Conv;

/// Least channels for Winograd's transforms to be worth their while.
pub(crate) const WINOGRAD: usize = 16;

/// What convolutions are computed with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arithmetic {
    /// Instructions for f32.
    pub isa: Isa,
    /// What multiplies in bf16, where convolutions of one group shall run so.
    pub tiles: Option<Tiles>,
}

impl Arithmetic {
    /// In f32, or in bf16. The error says what this CPU lacks, or what is wrong with [`crate::kernels::ISA_VARIABLE`].
    pub fn new(bf16: bool) -> Result<Self, &'static str> {
        let none = "bf16 needs a CPU with AMX, which this one (or its system) has not; set the precision to f32, or leave it at auto";
        let isa = Isa::chosen()?;
        Tiles::check_variable()?;
        let tiles = if bf16 { Some(Tiles::find().ok_or(none)?) } else { None };
        Ok(Self { isa, tiles })
    }

    /// In f32 by the best instructions of this CPU.
    pub fn in_f32() -> Self {
        let (isa, tiles) = (Isa::used(), None);
        Self { isa, tiles }
    }

    /// In bf16, by loops where this CPU has no AMX.
    pub fn in_bf16() -> Self {
        let tiles = Some(Tiles::find().unwrap_or(Tiles::Emulated));
        #[rustfmt::skip]
        return Self { tiles, ..Self::in_f32() };
    }
}

impl std::fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.tiles {
            Some(Tiles::Amx) => f.write_str("amx"),
            Some(Tiles::Emulated) => f.write_str("amx-emulated"),
            None => self.isa.fmt(f),
        }
    }
}

/// A convolution with its weights packed.
pub(crate) enum Filter {
    /// Sums over taps.
    Taps(Taps),
    /// Products of transformed rows.
    Winograd(Winograd),
}

/// What is done to the sums before they are stored: they start from `bias` (zero where it is empty) and end at least at
/// `floor`.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    pub bias: &'a [f32],
    pub floor: f32,
}

/// How a row lies in bf16: values of zeros before its pixels, and the pixels.
#[derive(Clone, Copy)]
pub(crate) struct Narrow {
    pub before: usize,
    pub width: usize,
}

/// What a thread needs beside the values.
#[derive(Default)]
pub(crate) struct Scratch {
    pub offsets: Vec<usize>,
    pub products: Aligned,
}

impl Filter {
    /// A convolution from `ins` to `outs` channels; `weight(out, in, row, column)`, `in` within the group.
    pub fn forward(
        arithmetic: Arithmetic,
        conv: &Conv,
        [ins, outs]: [usize; 2],
        weight: impl Fn(usize, usize, usize, usize) -> f32 + Sync,
    ) -> Self {
        if arithmetic.tiles.is_none() && is_winograd(conv, ins) {
            let weight = |out, i, tap| weight(out, i, tap / 3, tap % 3);
            return Self::Winograd(Winograd::new(arithmetic.isa, conv.padding, outs, ins, weight));
        }
        let place = |tap: usize| (tap * conv.dilation) as isize - conv.padding as isize;
        let axis: Axis = (0..conv.kernel).map(|tap| (place(tap), tap)).collect();
        let steps = [1, conv.stride];
        Self::Taps(Taps::new(arithmetic, conv.groups, steps, [ins, outs], &[axis], weight))
    }

    /// The gradient of a convolution's input, and the transposed convolution: from the `outs` channels of its output to
    /// its `ins` channels. The same `weight` as [`Filter::forward`]'s.
    pub fn backward(
        arithmetic: Arithmetic,
        conv: &Conv,
        [ins, outs]: [usize; 2],
        weight: impl Fn(usize, usize, usize, usize) -> f32 + Sync,
    ) -> Self {
        let [per_in, per_out] = [ins, outs].map(|channels| channels / conv.groups);
        // `to` is a channel of the convolution's input, `from` one of its output within the group.
        let turned = |to: usize, from: usize, row: usize, column: usize| {
            weight(to / per_in * per_out + from, to % per_in, row, column)
        };
        let span = (conv.kernel - 1) * conv.dilation;
        if conv.stride == 1 && conv.padding <= span {
            let (last, padding) = (conv.kernel - 1, span - conv.padding);
            #[rustfmt::skip]
            let conv = Conv { padding, ..*conv };
            return Self::forward(arithmetic, &conv, [outs, ins], |to, from, row, column| {
                turned(to, from, last - row, last - column)
            });
        }
        // Each phase of the stride is a convolution of its own, with the taps that hit a pixel.
        let stride = conv.stride as isize;
        let axis = |phase: usize| -> Axis {
            let place = |tap: usize| (phase + conv.padding) as isize - (tap * conv.dilation) as isize;
            let hits = (0..conv.kernel).rev().filter(|tap| place(*tap) % stride == 0);
            hits.map(|tap| (place(tap) / stride, tap)).collect()
        };
        let axes: Vec<Axis> = (0..conv.stride).map(axis).collect();
        let steps = [conv.stride, 1];
        Self::Taps(Taps::new(arithmetic, conv.groups, steps, [outs, ins], &axes, turned))
    }

    /// Rows of the source that row `row` of the result is made of; they may go beyond the source.
    pub fn rows(&self, row: usize) -> Range<isize> {
        match self {
            Self::Taps(taps) => taps.rows(row),
            Self::Winograd(winograd) => winograd.rows(row),
        }
    }

    /// Pixels of zeros wanted before and behind the source's rows of `from` pixels, for rows of `to`.
    pub fn reach(&self, from: usize, to: usize) -> [usize; 2] {
        match self {
            Self::Taps(taps) => taps.reach(from, to),
            Self::Winograd(winograd) => winograd.reach(from, to),
        }
    }

    /// Where it wants the source's rows in a form of its own, how they lie then; `from` is how the source lies.
    pub fn prepared(&self, from: &Layout, to: usize) -> Option<Layout> {
        let (channels, width) = match self {
            Self::Taps(taps) => (taps.words(from.width, to)?, 1),
            Self::Winograd(winograd) => winograd.transformed(to),
        };
        let layout = Layout::new(channels, from.height, width);
        #[rustfmt::skip]
        return Some(Layout { capacity: from.capacity, ..layout });
    }

    /// Brings row `row` of the source into that form.
    pub fn prepare(&self, from: View, row: isize, out: &mut [f32]) {
        match self {
            Self::Taps(taps) => taps.convert(from.pixels(row), out),
            Self::Winograd(winograd) => winograd.transform(from.from(row, winograd.padding()), out),
        }
    }

    /// Computes row `row`, of `width` pixels, from the source, or from its prepared rows.
    pub fn compute(
        &self,
        from: View,
        row: usize,
        width: usize,
        finish: Finish,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        match self {
            Self::Taps(taps) => taps.compute(from, row, width, finish, &mut scratch.offsets, out),
            Self::Winograd(winograd) => {
                let rows = winograd.rows(row);
                let rows = [0, 1, 2].map(|tap| from.layout.row(rows.start + tap).start);
                let (step, Finish { bias, floor }) = (winograd.outs(), finish);
                #[rustfmt::skip]
                winograd.multiply(from.data, rows, width, &mut scratch.products, Target { out, step, bias, floor });
            }
        }
    }

    /// How rows of the result would lie in bf16, as `reader` wants them; `None` where either of them does not work so.
    pub fn narrow(&self, reader: &Filter, width: usize) -> Option<Narrow> {
        match (self, reader) {
            (Self::Taps(taps), Self::Taps(reader)) if taps.is_in_bf16() && reader.is_in_bf16() => Some(Narrow {
                before: reader.before(),
                width,
            }),
            _ => None,
        }
    }

    /// As [`Filter::compute`], a row in bf16.
    pub fn compute_narrow(
        &self,
        from: View,
        row: usize,
        narrow: Narrow,
        finish: Finish,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        let Self::Taps(taps) = self else {
            unreachable!("only those by taps are in bf16")
        };
        let out = tiles::between_zeros(narrow.before, narrow.width * taps.outs(), out);
        taps.compute(from, row, narrow.width, finish, &mut scratch.offsets, out);
    }

    /// Makes `scratch` large enough.
    pub fn reserve(&self, scratch: &mut Scratch) {
        match self {
            Self::Taps(taps) => {
                scratch.offsets.clear();
                scratch.offsets.reserve(taps.offsets());
            }
            Self::Winograd(winograd) => {
                let len = scratch.products.len().max(winograd.scratch());
                scratch.products.resize(len);
            }
        }
    }

    /// Channels of the result.
    pub fn outs(&self) -> usize {
        match self {
            Self::Taps(taps) => taps.outs(),
            Self::Winograd(winograd) => winograd.outs(),
        }
    }

    /// Clock cycles of a core for a row of `width` pixels, roughly.
    pub fn cycles(&self, isa: Isa, width: usize) -> f64 {
        let values = (width * self.outs()) as f64;
        let padded = (width * self.outs().next_multiple_of(isa.lanes())) as f64;
        match self {
            Self::Taps(taps) => taps.cycles(isa, padded),
            Self::Winograd(winograd) => padded * winograd.depth() / (2 * isa.lanes()) as f64 + values,
        }
    }
}

/// Whether [`Filter::forward`] makes a Winograd filter in f32.
pub(crate) fn is_winograd(conv: &Conv, ins: usize) -> bool {
    [conv.kernel, conv.stride, conv.dilation, conv.groups] == [3, 1, 1, 1] && ins >= WINOGRAD
}

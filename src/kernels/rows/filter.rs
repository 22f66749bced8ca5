//! Convolutions that make one row of pixels at a time.

use std::ops::Range;

use super::layout::View;
use super::tile::{Panel, Source, Target};
use super::winograd::{TILE, Winograd};
use crate::kernels::Isa;
use crate::kernels::conv::Conv;

/// Least channels for Winograd's transforms to be worth their while.
pub(crate) const WINOGRAD: usize = 16;

/// A convolution with its weights packed.
pub(crate) enum Filter {
    /// Sums over taps.
    Direct(Direct),
    /// The other way round: each input pixel goes to several outputs.
    Transposed(Transposed),
    /// By products of transformed rows, for this padding.
    Winograd(Winograd, usize),
}

/// What is done to the sums before they are stored: they start from `bias` (zero where it is empty) and end at least at
/// `floor`.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    pub bias: &'a [f32],
    pub floor: f32,
}

impl Filter {
    /// A convolution from `ins` to `outs` channels; `weight(out, in, row, column)`, `in` within the group.
    pub fn forward(
        isa: Isa,
        conv: &Conv,
        ins: usize,
        outs: usize,
        weight: impl Fn(usize, usize, usize, usize) -> f32,
    ) -> Self {
        if is_winograd(conv, ins) {
            let filter = Winograd::new(isa, outs, ins, |out, i, tap| weight(out, i, tap / 3, tap % 3));
            return Self::Winograd(filter, conv.padding);
        }
        let [ins, outs] = [ins, outs].map(|channels| channels / conv.groups);
        let panel = |group: usize| {
            Panel::new(isa, outs, conv.area() * ins, |out, k| {
                let (tap, i) = (k / ins, k % ins);
                weight(group * outs + out, i, tap / conv.kernel, tap % conv.kernel)
            })
        };
        let panels = (0..conv.groups).map(panel).collect();
        Self::Direct(Direct { conv: *conv, panels })
    }

    /// The gradient of a convolution's input, and the transposed convolution: from the `outs` channels of its output to
    /// its `ins` channels. The same `weight` as [`Filter::forward`]'s.
    pub fn backward(
        isa: Isa,
        conv: &Conv,
        ins: usize,
        outs: usize,
        weight: impl Fn(usize, usize, usize, usize) -> f32,
    ) -> Self {
        let [per_in, per_out] = [ins, outs].map(|channels| channels / conv.groups);
        // `to` is a channel of the convolution's input, `from` one of its output within the group.
        let turned = |to: usize, from: usize, row: usize, column: usize| {
            weight(to / per_in * per_out + from, to % per_in, row, column)
        };
        let span = (conv.kernel - 1) * conv.dilation;
        if conv.stride == 1 && conv.padding <= span {
            let last = conv.kernel - 1;
            let conv = Conv {
                padding: span - conv.padding,
                ..*conv
            };
            return Self::forward(isa, &conv, outs, ins, |to, from, row, column| {
                turned(to, from, last - row, last - column)
            });
        }
        let mut panels = Vec::new();
        for (down, across) in (0..conv.stride * conv.stride).map(|phase| (phase / conv.stride, phase % conv.stride)) {
            let of = |phase: usize| (0..conv.kernel).filter(move |tap| tap * conv.dilation % conv.stride == phase);
            let taps: Vec<[usize; 2]> = of(down).flat_map(|y| of(across).map(move |x| [y, x])).collect();
            let panel = |group: usize| {
                Panel::new(isa, per_in, taps.len() * per_out, |to, k| {
                    let [y, x] = taps[k / per_out];
                    turned(group * per_in + to, k % per_out, y, x)
                })
            };
            let groups = (0..conv.groups).map(panel).collect();
            panels.push((taps, groups));
        }
        Self::Transposed(Transposed { conv: *conv, panels })
    }

    /// Rows of the source that make rows `rows` of the result; they may go beyond the source.
    pub fn rows(&self, rows: Range<usize>) -> Range<isize> {
        let (first, last) = (rows.start, rows.end - 1);
        match self {
            Self::Direct(direct) => direct.rows(first).start..direct.rows(last).end,
            Self::Transposed(transposed) => transposed.rows(first).start..transposed.rows(last).end,
            Self::Winograd(_, padding) => winograd_rows(first, *padding).start..winograd_rows(last, *padding).end,
        }
    }

    /// Pixels that it reads beyond either end of a row of `from` pixels to make one of `to`.
    pub fn reach(&self, from: usize, to: usize) -> [usize; 2] {
        match self {
            Self::Direct(Direct { conv, .. }) => {
                let end = (to - 1) * conv.stride + (conv.kernel - 1) * conv.dilation + 1;
                [conv.padding, end.saturating_sub(conv.padding + from)]
            }
            Self::Transposed(Transposed { conv, .. }) => {
                let span = ((conv.kernel - 1) * conv.dilation).div_ceil(conv.stride) + 1;
                let last = (to - 1 + conv.padding) / conv.stride + 1;
                [span, last.saturating_sub(from)]
            }
            Self::Winograd(_, padding) => [*padding, (TILE * tiles(to) + 2).saturating_sub(padding + from)],
        }
    }
}

/// Whether [`Filter::forward`] makes a Winograd filter.
pub(crate) fn is_winograd(conv: &Conv, ins: usize) -> bool {
    let Conv {
        kernel,
        stride,
        dilation,
        groups,
        ..
    } = *conv;
    [kernel, stride, dilation, groups] == [3, 1, 1, 1] && ins >= WINOGRAD
}

/// Rows that a Winograd filter makes row `row` of.
pub(crate) fn winograd_rows(row: usize, padding: usize) -> Range<isize> {
    let first = row as isize - padding as isize;
    first..first + 3
}

/// Tiles of a row of `width` outputs.
pub(crate) fn tiles(width: usize) -> usize {
    width.div_ceil(TILE)
}

/// A convolution as sums over taps.
pub(crate) struct Direct {
    conv: Conv,
    /// One for each group.
    panels: Vec<Panel>,
}

impl Direct {
    /// A fully connected layer.
    pub fn linear(isa: Isa, outs: usize, ins: usize, weight: &[f32]) -> Self {
        let panels = vec![Panel::new(isa, outs, ins, |out, i| weight[out * ins + i])];
        #[rustfmt::skip]
        let conv = Conv { kernel: 1, stride: 1, padding: 0, dilation: 1, groups: 1 };
        Self { conv, panels }
    }

    /// Products of one output value.
    pub fn depth(&self) -> usize {
        self.panels[0].depth()
    }

    /// Rows that row `row` of the result is made of.
    pub fn rows(&self, row: usize) -> Range<isize> {
        self.conv.rows(row)
    }

    /// Makes row `row`, of `width` pixels.
    pub fn compute(
        &self,
        from: View,
        row: usize,
        width: usize,
        finish: Finish,
        offsets: &mut Vec<usize>,
        out: &mut [f32],
    ) {
        let (layout, conv) = (from.layout, &self.conv);
        let (ins, outs) = (layout.channels / conv.groups, self.panels[0].outs());
        // Where nothing lies between taps, those of a row are one run of memory.
        let run = if conv.dilation == 1 && conv.groups == 1 {
            conv.kernel
        } else {
            1
        };
        for (group, panel) in self.panels.iter().enumerate() {
            offsets.clear();
            for y in self.rows(row).step_by(conv.dilation) {
                let start = layout.row(y).start + (layout.left - conv.padding) * layout.channels + group * ins;
                offsets.extend((0..conv.kernel / run).map(|tap| start + tap * conv.dilation * layout.channels));
            }
            let source = Source {
                x: from.data,
                offsets,
                len: run * ins,
                step: conv.stride * layout.channels,
            };
            let bias = finish.bias.get(group * outs..(group + 1) * outs).unwrap_or_default();
            let (out, step) = (&mut out[group * outs..], outs * conv.groups);
            panel.multiply(
                source,
                width,
                Target {
                    out,
                    step,
                    bias,
                    floor: finish.floor,
                },
            );
        }
    }
}

/// A convolution the other way round: each phase of the stride, down and across, is a convolution of its own.
pub(crate) struct Transposed {
    conv: Conv,
    /// For each pair of phases the taps (row and column of the kernel), and for each group their weights.
    panels: Vec<(Vec<[usize; 2]>, Vec<Panel>)>,
}

impl Transposed {
    /// Rows that row `row` of the result is made of.
    pub fn rows(&self, row: usize) -> Range<isize> {
        let (row, stride) = ((row + self.conv.padding) as isize, self.conv.stride as isize);
        let first = row - ((self.conv.kernel - 1) * self.conv.dilation) as isize;
        first.div_euclid(stride)..row.div_euclid(stride) + 1
    }

    /// Makes row `row`, of `width` pixels.
    pub fn compute(
        &self,
        from: View,
        row: usize,
        width: usize,
        finish: Finish,
        offsets: &mut Vec<usize>,
        out: &mut [f32],
    ) {
        let (layout, conv) = (from.layout, &self.conv);
        let down = (row + conv.padding) % conv.stride;
        for across in 0..conv.stride {
            let (taps, panels) = &self.panels[down * conv.stride + across];
            // The first output column of this phase, and how many there are.
            let column = (conv.stride + across - conv.padding % conv.stride) % conv.stride;
            if column >= width {
                continue;
            }
            let count = (width - column).div_ceil(conv.stride);
            let (ins, outs) = (layout.channels / conv.groups, panels[0].outs());
            for (group, panel) in panels.iter().enumerate() {
                offsets.clear();
                // Both distances are multiples of the stride: that is what makes a phase.
                let at = |place: usize, tap: usize| {
                    ((place + conv.padding) as isize - (tap * conv.dilation) as isize) / conv.stride as isize
                };
                offsets.extend(taps.iter().map(|[y, x]| {
                    let pixel = (layout.left as isize + at(column, *x)) as usize;
                    layout.row(at(row, *y)).start + pixel * layout.channels + group * ins
                }));
                let source = Source {
                    x: from.data,
                    offsets,
                    len: ins,
                    step: layout.channels,
                };
                let bias = finish.bias.get(group * outs..(group + 1) * outs).unwrap_or_default();
                let all = outs * conv.groups;
                let (out, step) = (&mut out[column * all + group * outs..], conv.stride * all);
                panel.multiply(
                    source,
                    count,
                    Target {
                        out,
                        step,
                        bias,
                        floor: finish.floor,
                    },
                );
            }
        }
    }

    /// Products of one output value, on average over the phases.
    pub fn depth(&self) -> usize {
        self.panels.iter().map(|(_, panels)| panels[0].depth()).sum::<usize>() / self.panels.len()
    }
}

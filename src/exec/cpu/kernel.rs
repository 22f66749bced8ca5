//! Steps of a graph, row by row: what plans and training run.

use std::ops::Range;
use std::sync::Arc;

use crate::graph::{Interpolation, Op, Padding};
use crate::kernels::Isa;
use crate::kernels::norm::{Affine, affine_row};
use crate::kernels::pointwise::{Activation, each2};
use crate::kernels::rows::{self, Filter, Finish, Layout, Narrow, Scratch, View, Window};

/// A step, with its constants in the form that its rows are computed from.
pub(super) enum Kernel {
    /// Rows of the network's input of this number.
    Input(usize),
    /// The rows of a value as a filter wants them.
    Prepare(Arc<Filter>),
    Conv {
        filter: Arc<Filter>,
        bias: Vec<f32>,
        floor: f32,
        /// Where its rows are made in bf16, for the only step that reads them.
        narrow: Option<Narrow>,
    },
    MaxPool(Window),
    AvgPool(Window),
    GlobalAvgPool,
    Nearest(usize),
    Bilinear {
        rows: Vec<(usize, usize, f32)>,
        columns: Vec<(usize, usize, f32)>,
    },
    Shuffle(usize),
    Unshuffle(usize),
    Concat,
    Add,
    Sub,
    Mul,
    Scale(f32, f32),
    Affine(Affine, f32),
    Activation(Activation),
    Softmax,
    Flatten,
    /// So many pixels more at every border, mirrored or else the nearest.
    Pad(usize, bool),
}

/// Everything that a step reads.
pub(super) trait Reads<'a>: Copy {
    /// Argument `i` of the step.
    fn arg(self, i: usize) -> View<'a>;
    /// Puts a row of an input of the network into `out`.
    fn input(self, number: usize, row: usize, out: &mut [f32]);
}

impl Kernel {
    /// What an op without weights does to a value that lies like this; `None` for the others.
    pub(super) fn of(op: &Op, from: &Layout) -> Option<Self> {
        Some(match *op {
            Op::MaxPool { .. } => Self::MaxPool(window_of(op)?),
            Op::AvgPool { .. } => Self::AvgPool(window_of(op)?),
            Op::GlobalAvgPool => Self::GlobalAvgPool,
            Op::Upsample {
                factor,
                mode: Interpolation::Nearest,
            } => Self::Nearest(factor),
            Op::Upsample {
                factor,
                mode: Interpolation::Bilinear,
            } => Self::Bilinear {
                rows: rows::linear_taps(from.height, factor),
                columns: rows::linear_taps(from.width, factor),
            },
            Op::PixelShuffle { factor } => Self::Shuffle(factor),
            Op::PixelUnshuffle { factor } => Self::Unshuffle(factor),
            Op::Softmax => Self::Softmax,
            Op::Concat => Self::Concat,
            Op::Add => Self::Add,
            Op::Sub => Self::Sub,
            Op::Mul => Self::Mul,
            Op::Scale { scale, shift } => Self::Scale(scale as f32, shift as f32),
            Op::Flatten => Self::Flatten,
            _ => Self::Activation(activation_of(op)?),
        })
    }

    /// The copy that pads a convolution's input, where it is not zeros.
    pub(super) fn padding(op: &Op) -> Option<(usize, bool)> {
        match *op {
            Op::Conv2d {
                padding, padding_mode, ..
            } if padding_mode != Padding::Zero => Some((padding, padding_mode == Padding::Reflect)),
            _ => None,
        }
    }

    /// Rows of its arguments that row `row` of its value is made of; they may go beyond the arguments, of `height` rows.
    pub(super) fn rows(&self, row: usize, height: usize) -> Range<isize> {
        let here = row as isize;
        match self {
            Self::Input(_) => 0..0,
            Self::Conv { filter, .. } => filter.rows(row),
            Self::MaxPool(window) | Self::AvgPool(window) => window.rows(row),
            Self::GlobalAvgPool | Self::Flatten => 0..height as isize,
            Self::Nearest(factor) | Self::Shuffle(factor) => here / *factor as isize..here / *factor as isize + 1,
            Self::Bilinear { rows, .. } => rows[row].0 as isize..rows[row].1 as isize + 1,
            Self::Unshuffle(factor) => here * *factor as isize..(here + 1) * *factor as isize,
            Self::Pad(padding, reflect) => {
                let row = rows::padded(row, *padding, height, *reflect) as isize;
                row..row + 1
            }
            _ => here..here + 1,
        }
    }

    /// Work of one row of its value, in clock cycles of a core, roughly.
    pub(super) fn cycles(&self, isa: Isa, from: &Layout, to: &Layout) -> f64 {
        match self {
            Self::Conv { filter, narrow, .. } => filter.cycles(isa, narrow.map_or(to.width, |narrow| narrow.width)),
            Self::Prepare(_) => (from.width * from.channels) as f64,
            _ => (to.width * to.channels) as f64,
        }
    }

    /// Rows of its arguments, of `height` rows, that `rows` of its value are made of, and perhaps a few more.
    pub(super) fn span(&self, rows: Range<usize>, height: usize) -> Range<usize> {
        let margin = if let Self::Pad(padding, _) = self {
            2 * padding
        } else {
            0
        };
        let (first, last) = (self.rows(rows.start, height), self.rows(rows.end - 1, height));
        let (start, end) = (
            first.start.min(last.start) - margin as isize,
            first.end.max(last.end) + margin as isize,
        );
        let end = end.clamp(0, height as isize);
        start.clamp(0, end) as usize..end as usize
    }

    /// Computes row `row` of the value, of layout `to`, into `out`, which is that row's memory.
    pub(super) fn compute<'a>(
        &self,
        reads: impl Reads<'a>,
        row: usize,
        to: &Layout,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let here = row as isize;
        if let Self::Prepare(filter) = self {
            return filter.prepare(reads.arg(0), here, out);
        }
        let channels = to.channels;
        let (before, out) = out.split_at_mut(to.left * channels);
        let (out, after) = out.split_at_mut(to.width * channels);
        before.fill(0.0);
        after.fill(0.0);
        let arg = |i: usize| reads.arg(i);
        let pixels = |i: usize| reads.arg(i).pixels(here);
        // The rows of a window that are not beyond the border.
        let covered = || {
            let height = arg(0).layout.height as isize;
            let rows = self.rows(row, 0).filter(move |row| (0..height).contains(row));
            rows.map(move |row| arg(0).pixels(row))
        };
        match self {
            Self::Prepare(_) => unreachable!("returned above"),
            Self::Input(input) => reads.input(*input, row, out),
            Self::Conv {
                filter,
                bias,
                floor,
                narrow,
            } => {
                let finish = Finish { bias, floor: *floor };
                match narrow {
                    Some(narrow) => filter.compute_narrow(arg(0), row, *narrow, finish, scratch, out),
                    None => filter.compute(arg(0), row, to.width, finish, scratch, out),
                }
            }
            Self::MaxPool(window) => rows::max_pool(covered(), channels, *window, out),
            Self::AvgPool(window) => {
                rows::avg_pool(covered(), channels, *window, window.kernel * window.kernel, out);
            }
            Self::GlobalAvgPool => {
                let View { layout, .. } = arg(0);
                let rows = (0..layout.height).map(|row| arg(0).pixels(row as isize));
                rows::global_avg(rows, layout.height * layout.width, out);
            }
            Self::Nearest(factor) => rows::repeat(arg(0).pixels(here / *factor as isize), channels, *factor, out),
            Self::Bilinear { rows, columns } => {
                let (above, below, share) = rows[row];
                let rows = [above, below].map(|row| arg(0).pixels(row as isize));
                rows::bilinear(rows, share, columns, channels, out);
            }
            Self::Shuffle(factor) => {
                rows::shuffle(
                    arg(0).pixels(here / *factor as isize),
                    channels,
                    *factor,
                    row % factor,
                    out,
                );
            }
            Self::Unshuffle(factor) => {
                for (phase, row) in self.rows(row, 0).enumerate() {
                    rows::unshuffle(arg(0).pixels(row), channels / (factor * factor), *factor, phase, out);
                }
            }
            Self::Concat => {
                let mut first = 0;
                for i in 0.. {
                    if first == channels {
                        break;
                    }
                    let own = arg(i).layout.channels;
                    rows::join(pixels(i), own, first, channels, out);
                    first += own;
                }
            }
            Self::Add => each2(pixels(0), pixels(1), out, |a, b| a + b),
            Self::Sub => each2(pixels(0), pixels(1), out, |a, b| a - b),
            Self::Mul => each2(pixels(0), pixels(1), out, |a, b| a * b),
            Self::Scale(scale, shift) => each2(pixels(0), pixels(0), out, |x, _| x * scale + shift),
            Self::Affine(affine, floor) => affine_row(pixels(0), affine, *floor, out),
            Self::Activation(activation) => activation.forward(pixels(0), out),
            Self::Softmax => rows::softmax(pixels(0), channels, out),
            Self::Flatten => {
                let View { layout, .. } = arg(0);
                let rows = (0..layout.height).map(|row| arg(0).pixels(row as isize));
                rows::flatten(rows, layout.channels, layout.height * layout.width, out);
            }
            Self::Pad(padding, reflect) => {
                let Layout { height, width, .. } = *arg(0).layout;
                let row = arg(0).pixels(rows::padded(row, *padding, height, *reflect) as isize);
                for (x, out) in out.chunks_exact_mut(channels).enumerate() {
                    let x = rows::padded(x, *padding, width, *reflect);
                    out.copy_from_slice(&row[x * channels..(x + 1) * channels]);
                }
            }
        }
    }
}

/// The activation that an op is.
pub(super) fn activation_of(op: &Op) -> Option<Activation> {
    match *op {
        Op::Relu => Some(Activation::Relu),
        Op::LeakyRelu { slope } => Some(Activation::LeakyRelu(slope as f32)),
        Op::Sigmoid => Some(Activation::Sigmoid),
        Op::Tanh => Some(Activation::Tanh),
        Op::Silu => Some(Activation::Silu),
        _ => None,
    }
}

/// The window of a pool.
pub(super) fn window_of(op: &Op) -> Option<Window> {
    match *op {
        #[rustfmt::skip]
        Op::MaxPool { kernel, stride, padding } | Op::AvgPool { kernel, stride, padding } => {
            Some(Window { kernel, stride, padding })
        },
        _ => None,
    }
}

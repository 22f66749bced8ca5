//! What a plan does, row by row.

use std::ops::Range;
use std::sync::Arc;

use crate::graph::{Interpolation, Padding};
use crate::kernels::Isa;
use crate::kernels::norm::Affine;
use crate::kernels::pointwise::Activation;
use crate::kernels::resample::linear_taps;
use crate::kernels::rows::{
    self, Columns, Direct, Finish, Layout, PRODUCTS, Target, TileFilter, Transposed, View, Winograd,
};

/// Products of a cycle on tiles, about.
const TILES_RATE: f64 = 300.0;

/// A step of a plan, with its constants in the form that its kernel wants.
pub(super) enum Kernel {
    /// Rows of the network's input of this number.
    Input(usize),
    Conv(Direct, Vec<f32>, f32),
    Transposed(Transposed, Vec<f32>),
    /// The rows of a value as a Winograd filter wants them.
    Transform(Arc<Winograd>, usize),
    /// The rows of a value in bf16, as a filter on tiles wants them.
    Convert(Arc<TileFilter>),
    Tiles(Arc<TileFilter>, Vec<f32>, f32),
    Winograd {
        filter: Arc<Winograd>,
        padding: usize,
        bias: Vec<f32>,
        floor: f32,
    },
    MaxPool(Columns),
    AvgPool(Columns),
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
    Pad(usize, Padding),
}

/// What the kernels of a thread need beside the values.
#[derive(Default)]
pub(super) struct Scratch {
    pub offsets: Vec<usize>,
    pub values: Vec<f32>,
}

/// Everything that a step reads.
pub(super) trait Reads<'a>: Copy {
    /// Argument `i` of the step.
    fn arg(self, i: usize) -> View<'a>;
    /// Puts a row of an input of the network into `out`.
    fn input(self, number: usize, row: usize, out: &mut [f32]);
}

impl Kernel {
    /// Rows of its arguments that row `row` of its value is made of; they may go beyond the arguments, of `height` rows.
    pub(super) fn rows(&self, row: usize, height: usize) -> Range<isize> {
        let here = row as isize;
        let window = |stride: usize, padding: usize, span: usize| {
            let first = (row * stride) as isize - padding as isize;
            first..first + span as isize
        };
        match self {
            Self::Input(_) => 0..0,
            Self::Conv(conv, ..) => conv.rows(row),
            Self::Transposed(conv, _) => conv.rows(row),
            Self::Tiles(filter, ..) => filter.rows(row),
            Self::Winograd { padding, .. } => rows::winograd_rows(row, *padding),
            Self::MaxPool(pool) | Self::AvgPool(pool) => window(pool.stride, pool.padding, pool.kernel),
            Self::GlobalAvgPool | Self::Flatten => 0..height as isize,
            Self::Nearest(factor) | Self::Shuffle(factor) => here / *factor as isize..here / *factor as isize + 1,
            Self::Bilinear { rows, .. } => rows[row].0 as isize..rows[row].1 as isize + 1,
            Self::Unshuffle(factor) => window(*factor, 0, *factor),
            Self::Pad(padding, mode) => {
                let row = source(here - *padding as isize, height, *mode) as isize;
                row..row + 1
            }
            _ => here..here + 1,
        }
    }

    /// Work of one row of its value, in clock cycles of a core, roughly.
    pub(super) fn cycles(&self, isa: Isa, from: &Layout, to: &Layout) -> f64 {
        let (values, lanes) = ((to.width * to.channels) as f64, 2.0 * isa.lanes() as f64);
        let padded = (to.width * to.channels.next_multiple_of(isa.lanes())) as f64;
        match self {
            Self::Conv(conv, ..) => padded * conv.depth() as f64 / lanes,
            Self::Transposed(conv, _) => padded * conv.depth() as f64 / lanes,
            Self::Tiles(filter, ..) => padded * filter.depth() as f64 / TILES_RATE + 2.0 * values,
            Self::Winograd { .. } => padded * (9 * from.channels / PRODUCTS) as f64 / 2.0 / lanes + values,
            Self::Transform(..) | Self::Convert(_) => (from.width * from.channels) as f64,
            _ => values,
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
        if let Self::Transform(filter, padding) = self {
            return filter.transform(reads.arg(0).from(here, *padding), to.width, out);
        }
        if let Self::Convert(filter) = self {
            return filter.convert(reads.arg(0).pixels(here), out);
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
            Self::Transform(..) | Self::Convert(_) => unreachable!("returned above"),
            Self::Tiles(filter, bias, floor) => {
                let finish = Finish { bias, floor: *floor };
                filter.compute(arg(0), row, to.width, finish, &mut scratch.offsets, out);
            }
            Self::Input(input) => reads.input(*input, row, out),
            Self::Conv(conv, bias, floor) => {
                let finish = Finish { bias, floor: *floor };
                conv.compute(arg(0), row, to.width, finish, &mut scratch.offsets, out);
            }
            Self::Transposed(conv, bias) => {
                let finish = Finish {
                    bias,
                    floor: f32::NEG_INFINITY,
                };
                conv.compute(arg(0), row, to.width, finish, &mut scratch.offsets, out);
            }
            Self::Winograd {
                filter,
                padding,
                bias,
                floor,
            } => {
                let View { data, layout } = arg(0);
                let first = here - *padding as isize;
                let rows = [0, 1, 2].map(|tap| layout.row(first + tap).start);
                let target = Target {
                    out,
                    step: channels,
                    bias,
                    floor: *floor,
                };
                filter.multiply(data, rows, to.width, &mut scratch.values, target);
            }
            Self::MaxPool(window) => rows::max_pool(covered(), channels, *window, out),
            Self::AvgPool(window) => {
                rows::avg_pool(covered(), channels, *window, window.kernel * window.kernel, out);
            }
            Self::GlobalAvgPool => {
                let height = arg(0).layout.height;
                out.fill(0.0);
                for pixel in (0..height).flat_map(|row| arg(0).pixels(row as isize).chunks_exact(channels)) {
                    out.iter_mut().zip(pixel).for_each(|(out, x)| *out += x);
                }
                let share = 1.0 / (height * arg(0).layout.width) as f32;
                out.iter_mut().for_each(|out| *out *= share);
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
            Self::Add => both(pixels(0), pixels(1), out, |a, b| a + b),
            Self::Sub => both(pixels(0), pixels(1), out, |a, b| a - b),
            Self::Mul => both(pixels(0), pixels(1), out, |a, b| a * b),
            Self::Scale(scale, shift) => both(pixels(0), pixels(0), out, |x, _| x * scale + shift),
            Self::Affine(affine, floor) => rows::affine(pixels(0), &affine.scale, &affine.shift, *floor, out),
            Self::Activation(activation) => activation.row(pixels(0), out),
            Self::Softmax => rows::softmax(pixels(0), channels, out),
            Self::Flatten => {
                let from = arg(0).layout;
                let plane = from.height * from.width;
                for (y, x) in (0..from.height).flat_map(|y| (0..from.width).map(move |x| (y, x))) {
                    let pixel = &arg(0).pixels(y as isize)[x * from.channels..][..from.channels];
                    let out = out[y * from.width + x..].iter_mut().step_by(plane);
                    out.zip(pixel).for_each(|(out, x)| *out = *x);
                }
            }
            Self::Pad(padding, mode) => {
                let from = arg(0);
                let row = from.pixels(source(here - *padding as isize, from.layout.height, *mode) as isize);
                for (x, out) in out.chunks_exact_mut(channels).enumerate() {
                    let x = source(x as isize - *padding as isize, from.layout.width, *mode);
                    out.copy_from_slice(&row[x * channels..(x + 1) * channels]);
                }
            }
        }
    }
}

/// How a value is enlarged, by rows and by columns.
pub(super) fn enlarge(factor: usize, mode: Interpolation, from: &Layout) -> Kernel {
    match mode {
        Interpolation::Nearest => Kernel::Nearest(factor),
        Interpolation::Bilinear => Kernel::Bilinear {
            rows: linear_taps(from.height, factor),
            columns: linear_taps(from.width, factor),
        },
    }
}

fn both(a: &[f32], b: &[f32], out: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = f(*a, *b));
}

/// The row or column inside `0..length` that is shown at `at`, which may lie outside.
fn source(at: isize, length: usize, mode: Padding) -> usize {
    let last = length as isize - 1;
    let inside = match mode {
        Padding::Reflect if at < 0 => -at,
        Padding::Reflect if at > last => 2 * last - at,
        _ => at,
    };
    inside.clamp(0, last) as usize
}

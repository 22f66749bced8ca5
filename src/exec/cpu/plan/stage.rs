//! What a plan does, row by row.

use std::ops::Range;

use crate::graph::{Interpolation, Op, Padding};
use crate::kernels::Isa;
use crate::kernels::norm::Affine;
use crate::kernels::pointwise::Activation;
use crate::kernels::resample::linear_taps;
use crate::kernels::rows::{self, Columns, PRODUCTS, Panel, Source, TILE, Target, Winograd};

/// How the rows of a value lie in memory: a row of zeros, then `capacity` rows, used in turn. A row is `left` pixels of
/// zeros, `width` pixels, and zeros up to `pitch` values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    pub channels: usize,
    pub width: usize,
    /// Rows of the whole value.
    pub height: usize,
    pub left: usize,
    pub right: usize,
    pub pitch: usize,
    pub capacity: usize,
}

impl Layout {
    pub(super) fn new(channels: usize, height: usize, width: usize) -> Self {
        let (left, right, capacity) = (0, 0, height);
        let pitch = channels * width;
        #[rustfmt::skip]
        return Self { channels, width, height, left, right, pitch, capacity };
    }

    /// Widens the border.
    pub(super) fn reach(&mut self, left: usize, right: usize) {
        self.left = self.left.max(left);
        self.right = self.right.max(right);
        self.pitch = (self.left + self.width + self.right) * self.channels;
    }

    /// Values of memory.
    pub(super) fn len(&self) -> usize {
        (self.capacity + 1) * self.pitch
    }

    /// Where a row's memory is; rows beyond the value are the row of zeros.
    pub(super) fn row(&self, row: isize) -> Range<usize> {
        let start = match usize::try_from(row) {
            Ok(row) if row < self.height => (1 + row % self.capacity) * self.pitch,
            _ => 0,
        };
        start..start + self.pitch
    }

    /// Where in a row its pixels are.
    pub(super) fn inside(&self) -> Range<usize> {
        self.left * self.channels..(self.left + self.width) * self.channels
    }
}

/// A value that can be read.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub data: &'a [f32],
    pub layout: &'a Layout,
}

impl<'a> View<'a> {
    /// The pixels of a row without its border.
    pub(super) fn pixels(&self, row: isize) -> &'a [f32] {
        &self.data[self.layout.row(row)][self.layout.inside()]
    }
}

/// A step of a plan, with its constants in the form that its kernel wants.
pub(super) enum Kernel {
    /// Rows of the network's input of this number.
    Input(usize),
    Conv(Conv),
    Transposed(Transposed),
    /// The rows of a value as a Winograd filter wants them.
    Transform {
        filter: usize,
        padding: usize,
    },
    Winograd {
        filter: usize,
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

/// A convolution as sums over taps.
pub(super) struct Conv {
    kernel: usize,
    stride: usize,
    pub padding: usize,
    dilation: usize,
    /// One for each group.
    panels: Vec<Panel>,
    bias: Vec<f32>,
    floor: f32,
}

/// A transposed convolution: each phase of the stride, down and across, is a convolution of its own.
pub(super) struct Transposed {
    kernel: usize,
    stride: usize,
    padding: usize,
    /// For each pair of phases and each group the taps (row and column of the kernel), and their weights.
    panels: Vec<(Vec<[usize; 2]>, Vec<Panel>)>,
    bias: Vec<f32>,
}

/// Weights `[out, in, row, column]` of one group as a function.
type Weight<'a> = &'a dyn Fn(usize, usize, usize, usize) -> f32;

impl Conv {
    /// `weight` is `[out, in / groups, kernel, kernel]`.
    pub(super) fn new(isa: Isa, op: &Op, ins: usize, weight: &[f32], bias: &[f32], floor: f32) -> Self {
        let Op::Conv2d {
            out,
            kernel,
            stride,
            padding,
            padding_mode,
            dilation,
            groups,
            ..
        } = *op
        else {
            unreachable!("called for convolutions")
        };
        let (ins, outs) = (ins / groups, out / groups);
        let panel = |group: usize| {
            Panel::new(isa, outs, kernel * kernel * ins, |out, k| {
                let (tap, i) = (k / ins, k % ins);
                weight[((group * outs + out) * ins + i) * kernel * kernel + tap]
            })
        };
        let panels = (0..groups).map(panel).collect();
        let padding = if padding_mode == Padding::Zero { padding } else { 0 };
        let bias = bias.to_vec();
        Self {
            kernel,
            stride,
            padding,
            dilation,
            panels,
            bias,
            floor,
        }
    }

    /// A fully connected layer, `[out, in]`.
    pub(super) fn linear(isa: Isa, out: usize, ins: usize, weight: &[f32], bias: &[f32]) -> Self {
        let panels = vec![Panel::new(isa, out, ins, |out, i| weight[out * ins + i])];
        let (kernel, stride, padding, dilation) = (1, 1, 0, 1);
        let (bias, floor) = (bias.to_vec(), f32::NEG_INFINITY);
        Self {
            kernel,
            stride,
            padding,
            dilation,
            panels,
            bias,
            floor,
        }
    }

    /// Pixels that it reads to the right of a row of `width`.
    pub(super) fn right(&self, width: usize, out: usize) -> usize {
        let last = (out - 1) * self.stride + (self.kernel - 1) * self.dilation;
        (last + 1).saturating_sub(self.padding + width)
    }

    fn compute(&self, from: View, row: usize, out: &mut [f32], width: usize, offsets: &mut Vec<usize>) {
        let layout = from.layout;
        let (ins, outs) = (layout.channels / self.panels.len(), self.panels[0].outs());
        let all = outs * self.panels.len();
        // Where nothing lies between taps, those of a row are one run of memory.
        let run = if self.dilation == 1 && self.panels.len() == 1 {
            self.kernel
        } else {
            1
        };
        for (group, panel) in self.panels.iter().enumerate() {
            offsets.clear();
            for tap in 0..self.kernel {
                let y = (row * self.stride + tap * self.dilation) as isize - self.padding as isize;
                let start = layout.row(y).start + (layout.left - self.padding) * layout.channels + group * ins;
                let runs = (0..self.kernel / run).map(|tap| start + tap * self.dilation * layout.channels);
                offsets.extend(runs);
            }
            let bias = self.bias.get(group * outs..(group + 1) * outs).unwrap_or_default();
            let source = Source {
                x: from.data,
                offsets,
                len: run * ins,
                step: self.stride * layout.channels,
            };
            panel.multiply(
                source,
                width,
                Target {
                    out: &mut out[group * outs..],
                    step: all,
                    bias,
                    floor: self.floor,
                },
            );
        }
    }
}

impl Transposed {
    /// `weight` is `[in, out / groups, kernel, kernel]`.
    pub(super) fn new(isa: Isa, op: &Op, ins: usize, weight: &[f32], bias: &[f32]) -> Self {
        let Op::ConvTranspose2d {
            out,
            kernel,
            stride,
            padding,
            groups,
            ..
        } = *op
        else {
            unreachable!("called for transposed convolutions")
        };
        let (ins, outs) = (ins / groups, out / groups);
        let at: Weight = &|group_out, group_in, y, x| weight[((group_in * outs + group_out) * kernel + y) * kernel + x];
        let mut panels = Vec::new();
        for (a, b) in (0..stride * stride).map(|phase| (phase / stride, phase % stride)) {
            let of = |phase: usize| (0..kernel).filter(move |tap| tap % stride == phase);
            let taps: Vec<[usize; 2]> = of(a).flat_map(|y| of(b).map(move |x| [y, x])).collect();
            let panel = |group: usize| {
                Panel::new(isa, outs, taps.len() * ins, |out, k| {
                    let [y, x] = taps[k / ins];
                    at(out, group * ins + k % ins, y, x)
                })
            };
            let groups = (0..groups).map(panel).collect();
            panels.push((taps.clone(), groups));
        }
        let bias = bias.to_vec();
        Self {
            kernel,
            stride,
            padding,
            panels,
            bias,
        }
    }

    /// Pixels that it reads beyond either end of a row.
    pub(super) fn reach(&self) -> usize {
        self.kernel.div_ceil(self.stride) + 1
    }

    fn rows(&self, row: usize) -> Range<isize> {
        let (row, stride) = ((row + self.padding) as isize, self.stride as isize);
        let first = (row - self.kernel as isize + 1).div_euclid(stride);
        first..row.div_euclid(stride) + 1
    }

    fn compute(&self, from: View, row: usize, out: &mut [f32], width: usize, offsets: &mut Vec<usize>) {
        let layout = from.layout;
        let down = (row + self.padding) % self.stride;
        for across in 0..self.stride {
            let (taps, panels) = &self.panels[down * self.stride + across];
            // The first output column of this phase, and how many there are.
            let column = (self.stride + across - self.padding % self.stride) % self.stride;
            if column >= width {
                continue;
            }
            let count = (width - column).div_ceil(self.stride);
            let (ins, outs) = (layout.channels / panels.len(), panels[0].outs());
            let all = outs * panels.len();
            for (group, panel) in panels.iter().enumerate() {
                offsets.clear();
                offsets.extend(taps.iter().map(|[y, x]| {
                    let row = (row + self.padding) as isize - *y as isize;
                    let x = (column + self.padding) as isize - *x as isize;
                    let pixel = layout.left as isize + x / self.stride as isize;
                    layout.row(row / self.stride as isize).start + pixel as usize * layout.channels + group * ins
                }));
                let bias = self.bias.get(group * outs..(group + 1) * outs).unwrap_or_default();
                let source = Source {
                    x: from.data,
                    offsets,
                    len: ins,
                    step: layout.channels,
                };
                let out = &mut out[column * all + group * outs..];
                panel.multiply(
                    source,
                    count,
                    Target {
                        out,
                        step: self.stride * all,
                        bias,
                        floor: f32::NEG_INFINITY,
                    },
                );
            }
        }
    }
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
    /// A Winograd filter.
    fn filter(self, number: usize) -> &'a Winograd;
    /// An input of the network for one picture: planes one after the other.
    fn input(self, number: usize) -> &'a [f32];
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
            Self::Conv(conv) => window(conv.stride, conv.padding, (conv.kernel - 1) * conv.dilation + 1),
            Self::Transposed(transposed) => transposed.rows(row),
            Self::Winograd { padding, .. } => window(1, *padding, 3),
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
            Self::Conv(conv) => padded * (conv.kernel * conv.kernel * from.channels / conv.panels.len()) as f64 / lanes,
            Self::Transposed(conv) => {
                padded * (conv.kernel * conv.kernel * from.channels) as f64 / (conv.stride * conv.stride) as f64 / lanes
            }
            Self::Winograd { .. } => padded * (9 * to_channels(from)) as f64 / 2.0 / lanes + values,
            Self::Transform { .. } => (from.width * from.channels) as f64,
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
        if let Self::Transform { filter, padding } = self {
            let View { data, layout } = reads.arg(0);
            let start = layout.row(here).start + (layout.left - padding) * layout.channels;
            return reads.filter(*filter).transform(&data[start..], to.width, out);
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
            Self::Transform { .. } => unreachable!("returned above"),
            Self::Input(input) => {
                let planes = reads.input(*input).chunks_exact(to.height * to.width);
                rows::interleave(planes.map(|plane| &plane[row * to.width..][..to.width]), out);
            }
            Self::Conv(conv) => conv.compute(arg(0), row, out, to.width, &mut scratch.offsets),
            Self::Transposed(conv) => conv.compute(arg(0), row, out, to.width, &mut scratch.offsets),
            Self::Winograd {
                filter,
                padding,
                bias,
                floor,
            } => {
                let View { data, layout } = arg(0);
                let rows = [0, 1, 2].map(|tap| layout.row(here + tap - *padding as isize).start);
                let target = Target {
                    out,
                    step: channels,
                    bias,
                    floor: *floor,
                };
                reads
                    .filter(*filter)
                    .multiply(data, rows, to.width, &mut scratch.values, target);
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

/// Channels of the value that a transformed row was made of.
fn to_channels(transformed: &Layout) -> usize {
    transformed.pitch / (PRODUCTS * transformed.width.max(1))
}

/// Tiles of a row of `width` outputs.
pub(super) fn tiles(width: usize) -> usize {
    width.div_ceil(TILE)
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

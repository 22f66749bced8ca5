//! 2-D convolution for training: forward, and its gradients with respect to the input and the weight.
//!
//! A strip of the input is copied into a scratch buffer that stays in cache, the channels of a pixel side by side and zeros
//! around it; there the kernels of [`super::rows`] do the work.

#[cfg(test)]
mod tests;
mod weight;

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::rows::{self, Filter, Finish, Layout, Target, View, tiles};
use super::{Isa, Nchw};

pub use weight::conv2d_grad_weight;

/// f32 values of scratch that a strip should not exceed: half of a megabyte, which the second-level cache holds.
const SCRATCH: usize = 128 * 1024;

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// A thread's scratch memory.
#[derive(Default)]
struct Buffers {
    /// A strip of the source, and the same transformed.
    strip: Vec<f32>,
    transformed: Vec<f32>,
    row: Vec<f32>,
    scratch: Vec<f32>,
    offsets: Vec<usize>,
}

/// The window of a convolution: a square kernel, the same stride, zero padding and dilation on both axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// Side of the kernel.
    pub kernel: usize,
    /// Step of the window.
    pub stride: usize,
    /// Zeros added at every border.
    pub padding: usize,
    /// Distance between taps.
    pub dilation: usize,
    /// Channel groups.
    pub groups: usize,
}

impl Conv {
    /// Length of the output for an input of length `side`; `None` where the kernel does not fit.
    pub fn output(&self, side: usize) -> Option<usize> {
        let span = (self.kernel - 1) * self.dilation + 1;
        Some((side + 2 * self.padding).checked_sub(span)? / self.stride + 1)
    }

    /// Rows of the input that row `row` of the output is made of; they may go beyond it.
    pub(crate) fn rows(&self, row: usize) -> Range<isize> {
        let first = (row * self.stride) as isize - self.padding as isize;
        first..first + ((self.kernel - 1) * self.dilation) as isize + 1
    }

    /// Taps.
    pub(super) fn area(&self) -> usize {
        self.kernel * self.kernel
    }

    /// `[out, in / groups, kernel, kernel]` as a function of these four.
    pub(crate) fn weight(self, ins: usize, weight: &[f32]) -> impl Fn(usize, usize, usize, usize) -> f32 {
        let (ins, kernel) = (ins / self.groups, self.kernel);
        move |out, i, row, column| weight[((out * ins + i) * kernel + row) * kernel + column]
    }
}

/// `out = x * weight + bias`, then, with `relu`, nothing below zero. `weight` is `[out.c, x.c / groups, kernel, kernel]`.
/// Panics when the shapes do not fit each other.
pub fn conv2d(
    conv: &Conv,
    x: (&[f32], Nchw),
    weight: &[f32],
    bias: Option<&[f32]>,
    relu: bool,
    out: (&mut [f32], Nchw),
) {
    check(conv, (x.0.len(), x.1), weight.len(), (out.0.len(), out.1));
    let filter = Filter::forward(Isa::used(), conv, x.1.c, out.1.c, conv.weight(x.1.c, weight));
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let bias = bias.unwrap_or_default();
    run(&filter, x, Finish { bias, floor }, out);
}

/// Gradient of [`conv2d`]'s input, `dx`, from that of its output, `g`; with `bias` (one value for each channel of `dx`)
/// also the forward pass of a transposed convolution.
pub fn conv2d_grad_input(conv: &Conv, g: (&[f32], Nchw), weight: &[f32], bias: Option<&[f32]>, dx: (&mut [f32], Nchw)) {
    check(conv, (dx.0.len(), dx.1), weight.len(), (g.0.len(), g.1));
    let filter = Filter::backward(Isa::used(), conv, dx.1.c, g.1.c, conv.weight(dx.1.c, weight));
    let (bias, floor) = (bias.unwrap_or_default(), f32::NEG_INFINITY);
    run(&filter, g, Finish { bias, floor }, dx);
}

/// Runs a filter, strip by strip.
fn run(filter: &Filter, (x, from): (&[f32], Nchw), finish: Finish, (out, to): (&mut [f32], Nchw)) {
    let [left, right] = filter.reach(from.w, to.w);
    let mut layout = Layout::new(from.c, from.h, from.w);
    layout.reach(left, right);
    let wanted = (4 * rayon::current_num_threads()).div_ceil(to.n);
    let fits = (SCRATCH / layout.pitch).max(8) * to.h / from.h;
    let strip = to.h.div_ceil(wanted).min(fits).max(4);
    let tasks = split_rows(out, to, strip);
    let strips = to.h.div_ceil(strip);
    tasks.into_par_iter().enumerate().for_each(|(task, mut planes)| {
        let (item, first) = (task / strips, task % strips * strip);
        let rows = first..(first + strip).min(to.h);
        let x = &x[item * from.item()..(item + 1) * from.item()];
        BUFFERS.with_borrow_mut(|buffers| {
            let Buffers {
                strip,
                transformed,
                row: line,
                scratch,
                offsets,
            } = buffers;
            let needed = filter.rows(rows.clone());
            let layout = fill(x, from, needed.clone(), layout.clone(), strip);
            let view = View {
                data: strip,
                layout: &layout,
            };
            let transformed = match filter {
                Filter::Winograd(filter, padding) => {
                    let (data, layout) = (&mut *transformed, rows::transformed_layout(&layout, tiles(to.w)));
                    rows::transform(filter, view, *padding, inside(&needed, from.h), &layout, data);
                    scratch.resize(filter.scratch(), 0.0);
                    Some((&*data, layout))
                }
                _ => None,
            };
            line.resize(to.w * to.c, 0.0);
            for (i, row) in rows.enumerate() {
                match (filter, &transformed) {
                    (Filter::Direct(filter), _) => filter.compute(view, row, to.w, finish, offsets, line),
                    (Filter::Transposed(filter), _) => filter.compute(view, row, to.w, finish, offsets, line),
                    (Filter::Winograd(filter, padding), Some((data, layout))) => {
                        let rows = rows::winograd_rows(row, *padding);
                        let rows = std::array::from_fn(|tap| layout.row(rows.start + tap as isize).start);
                        let (step, Finish { bias, floor }) = (to.c, finish);
                        filter.multiply(
                            data,
                            rows,
                            to.w,
                            scratch,
                            Target {
                                out: line,
                                step,
                                bias,
                                floor,
                            },
                        );
                    }
                    (Filter::Winograd(..), None) => unreachable!("transformed above"),
                }
                for (c, plane) in planes.iter_mut().enumerate() {
                    rows::plane(line, to.c, c, &mut plane[i * to.w..(i + 1) * to.w]);
                }
            }
        });
    });
}

/// Those of `rows` that lie in a picture of `height`.
fn inside(rows: &Range<isize>, height: usize) -> Range<usize> {
    let end = rows.end.clamp(0, height as isize) as usize;
    rows.start.clamp(0, end as isize) as usize..end
}

/// Copies those of `rows` of a picture's planes that it has, the channels of a pixel side by side. Returns where they lie.
fn fill(x: &[f32], from: Nchw, rows: Range<isize>, layout: Layout, strip: &mut Vec<f32>) -> Layout {
    let rows = inside(&rows, from.h);
    let layout = Layout {
        capacity: rows.len().max(1),
        ..layout
    };
    strip.resize(layout.len(), 0.0);
    strip[..layout.pitch].fill(0.0);
    for y in rows {
        let row = &mut strip[layout.row(y as isize)];
        let inside = layout.inside();
        row[..inside.start].fill(0.0);
        row[inside.end..].fill(0.0);
        let planes = x
            .chunks_exact(from.plane())
            .map(|plane| &plane[y * from.w..(y + 1) * from.w]);
        rows::interleave(planes, &mut row[inside]);
    }
    layout
}

/// Every `strip` rows of every plane: a list for each item and strip, in it a slice for each channel.
fn split_rows(out: &mut [f32], shape: Nchw, strip: usize) -> Vec<Vec<&mut [f32]>> {
    let strips = shape.h.div_ceil(strip);
    let mut tasks: Vec<Vec<&mut [f32]>> = (0..shape.n * strips).map(|_| Vec::with_capacity(shape.c)).collect();
    for (item, planes) in out.chunks_exact_mut(shape.item()).enumerate() {
        for plane in planes.chunks_exact_mut(shape.plane()) {
            for (i, rows) in plane.chunks_mut(strip * shape.w).enumerate() {
                tasks[item * strips + i].push(rows);
            }
        }
    }
    tasks
}

fn check(conv: &Conv, x: (usize, Nchw), weight: usize, out: (usize, Nchw)) {
    let ((x_len, x), (out_len, out)) = (x, out);
    assert!(
        x_len == x.len() && out_len == out.len() && x.n == out.n,
        "{x:?} {out:?}"
    );
    assert!(
        x.c.is_multiple_of(conv.groups) && out.c.is_multiple_of(conv.groups),
        "{conv:?} {x:?} {out:?}"
    );
    assert_eq!(
        weight,
        out.c * (x.c / conv.groups) * conv.area(),
        "{conv:?} {x:?} {out:?}"
    );
    // An input may be longer than the output needs: a transposed convolution's `output_padding`.
    assert!(
        [(x.h, out.h), (x.w, out.w)]
            .into_iter()
            .all(|(x, out)| conv.output(x) == Some(out)),
        "{conv:?} {x:?} {out:?}"
    );
}

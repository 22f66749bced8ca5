//! 2-D convolution for training: forward, and its gradients with respect to the input and the weight.
//!
//! A strip of the input is copied into a scratch buffer that stays in cache, with zeros around it or in the form that its
//! kernel wants, where it cannot be read as it is; there the kernels of [`super::rows`] do the work.

#[cfg(test)]
mod tests;
mod weight;

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::Nhwc;
use super::aligned::Aligned;
use super::rows::{Arithmetic, Filter, Finish, Layout, Scratch, View};

pub use weight::conv2d_grad_weight;

/// f32 values of scratch that a strip should not exceed: half of a megabyte, which the second-level cache holds.
const SCRATCH: usize = 128 * 1024;

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// A thread's scratch memory.
#[derive(Default)]
struct Buffers {
    /// A strip of the source, and the same in another form.
    strip: Aligned,
    prepared: Aligned,
    /// A strip of the output's gradient.
    gradient: Aligned,
    scratch: Scratch,
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
    arithmetic: Arithmetic,
    conv: &Conv,
    x: (&[f32], Nhwc),
    weight: &[f32],
    bias: Option<&[f32]>,
    relu: bool,
    out: (&mut [f32], Nhwc),
) {
    check(conv, (x.0.len(), x.1), weight.len(), (out.0.len(), out.1));
    let filter = Filter::forward(arithmetic, conv, [x.1.c, out.1.c], conv.weight(x.1.c, weight));
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let bias = bias.unwrap_or_default();
    run(&filter, x, Finish { bias, floor }, out);
}

/// Gradient of [`conv2d`]'s input, `dx`, from that of its output, `g`; with `bias` (one value for each channel of `dx`)
/// also the forward pass of a transposed convolution.
pub fn conv2d_grad_input(
    arithmetic: Arithmetic,
    conv: &Conv,
    g: (&[f32], Nhwc),
    weight: &[f32],
    bias: Option<&[f32]>,
    dx: (&mut [f32], Nhwc),
) {
    check(conv, (dx.0.len(), dx.1), weight.len(), (g.0.len(), g.1));
    let filter = Filter::backward(arithmetic, conv, [dx.1.c, g.1.c], conv.weight(dx.1.c, weight));
    let (bias, floor) = (bias.unwrap_or_default(), f32::NEG_INFINITY);
    run(&filter, g, Finish { bias, floor }, dx);
}

/// Runs a filter, strip by strip.
fn run(filter: &Filter, (x, from): (&[f32], Nhwc), finish: Finish, (out, to): (&mut [f32], Nhwc)) {
    let [left, right] = filter.reach(from.w, to.w);
    let mut bordered = Layout::new(from.c, from.h, from.w);
    bordered.reach(left, right);
    let wanted = (4 * rayon::current_num_threads()).div_ceil(to.n);
    let fits = (SCRATCH / bordered.pitch).max(8) * to.h / from.h;
    let strip = to.h.div_ceil(wanted).min(fits).max(4);
    let items = out.chunks_exact_mut(to.item()).zip(x.chunks_exact(from.item()));
    let strips = items.flat_map(|(out, x)| out.chunks_mut(strip * to.row()).enumerate().map(move |part| (part, x)));
    let strips: Vec<_> = strips.collect();
    strips.into_par_iter().for_each(|((number, out), x)| {
        BUFFERS.with_borrow_mut(|buffers| {
            filter.reserve(&mut buffers.scratch);
            let first = number * strip;
            let last = first + out.len() / to.row() - 1;
            let needed = filter.rows(first).start..filter.rows(last).end;
            let rows = inside(&needed, from.h);
            let (data, layout) = match filter.prepared(&bordered, to.w) {
                Some(layout) => {
                    let (line, to) = (&mut buffers.strip, &mut buffers.prepared);
                    let prepare = |line: View, y, out: &mut [f32]| filter.prepare(line, y, out);
                    let layout = prepare_rows((x, from), rows, &bordered, layout, line, to, prepare);
                    (&**to, layout)
                }
                None if [left, right] == [0, 0] && rows.len() == needed.len() => (x, Layout::plain(from)),
                None => {
                    let layout = copy_rows((x, from), rows, &bordered, &mut buffers.strip);
                    (&*buffers.strip, layout)
                }
            };
            let layout = &layout;
            for (row, out) in (first..).zip(out.chunks_exact_mut(to.row())) {
                filter.compute(View { data, layout }, row, to.w, finish, &mut buffers.scratch, out);
            }
        });
    });
}

/// Those of `rows` that lie in a picture of `height`.
fn inside(rows: &Range<isize>, height: usize) -> Range<usize> {
    let end = rows.end.clamp(0, height as isize) as usize;
    rows.start.clamp(0, end as isize) as usize..end
}

/// Copies some rows of a picture into memory of layout `to`. Returns how they lie there.
fn copy_rows((x, from): (&[f32], Nhwc), rows: Range<usize>, to: &Layout, out: &mut Aligned) -> Layout {
    let layout = start_rows(rows.len(), to, out);
    for y in rows {
        layout.fill(
            &x[y * from.row()..(y + 1) * from.row()],
            &mut out[layout.row(y as isize)],
        );
    }
    layout
}

/// Brings some rows of a picture by `prepare` into memory of layout `to`, each from a copy of layout `bordered` in `line`.
/// Returns how they lie there.
fn prepare_rows(
    (x, from): (&[f32], Nhwc),
    rows: Range<usize>,
    bordered: &Layout,
    to: Layout,
    line: &mut Aligned,
    out: &mut Aligned,
    prepare: impl Fn(View, isize, &mut [f32]),
) -> Layout {
    let (capacity, has_zeros) = (1, false);
    #[rustfmt::skip]
    let one = Layout { capacity, has_zeros, ..bordered.clone() };
    line.resize(one.len().max(line.len()));
    let layout = start_rows(rows.len(), &to, out);
    for y in rows {
        one.fill(&x[y * from.row()..(y + 1) * from.row()], &mut line[..one.len()]);
        let view = View {
            data: line,
            layout: &one,
        };
        prepare(view, y as isize, &mut out[layout.row(y as isize)]);
    }
    layout
}

/// Memory for some rows of layout `to`, and its row of zeros.
fn start_rows(rows: usize, to: &Layout, out: &mut Aligned) -> Layout {
    let capacity = rows.max(1);
    #[rustfmt::skip]
    let layout = Layout { capacity, ..to.clone() };
    out.resize(layout.len());
    out[..layout.pitch].fill(0.0);
    layout
}

fn check(conv: &Conv, x: (usize, Nhwc), weight: usize, out: (usize, Nhwc)) {
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

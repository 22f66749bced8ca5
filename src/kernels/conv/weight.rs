//! The gradient of a convolution's weight.

use rayon::prelude::*;

use super::{BUFFERS, Buffers, Conv, SCRATCH, check, fill, inside};
use crate::kernels::rows::{self, Layout, Outer, PRODUCTS, TILE, View, Winograd, is_winograd, tiles};
use crate::kernels::{Isa, Nchw};

/// Tasks that the pictures are shared out over, where the sums of so many fit into memory.
const SHARES: usize = 16;
/// f32 values of sums of all tasks together.
const SUMS: usize = 16 << 20;
/// Positions whose values stay in the L1 cache while all taps and channels use them.
const POSITIONS: usize = 96;

/// Gradient of [`super::conv2d`]'s weight, `dw`, from its input and the gradient of its output. The sums are taken in an
/// order that does not depend on the number of threads.
pub fn conv2d_grad_weight(conv: &Conv, x: (&[f32], Nchw), g: (&[f32], Nchw), dw: &mut [f32]) {
    let ((x, from), (g, to)) = (x, g);
    check(conv, (x.len(), from), dw.len(), (g.len(), to));
    let [ins, outs] = [from.c, to.c].map(|channels| channels / conv.groups);
    let winograd = is_winograd(conv, ins) && outs >= rows::WINOGRAD;
    let isa = Isa::used();
    let taps = if winograd { PRODUCTS * conv.kernel } else { conv.area() };
    let len = conv.groups * taps * ins * Outer::pitch(outs);

    // Strips of rows, and how many of them a task takes.
    let [left, right] = reach(conv, from.w, to.w);
    let mut layout = Layout::new(from.c, from.h, from.w);
    layout.reach(left, right);
    let strip = (SCRATCH / (layout.pitch * conv.stride)).clamp(4, 64).min(to.h);
    let strips = to.h.div_ceil(strip);
    let shares = SHARES.min(SUMS / len).clamp(1, to.n * strips);
    let sums: Vec<Vec<f32>> = (0..shares)
        .into_par_iter()
        .map(|share| {
            let mut sums = vec![0.0; len];
            let units = to.n * strips;
            for unit in units * share / shares..units * (share + 1) / shares {
                let (item, first) = (unit / strips, unit % strips * strip);
                let rows = first..(first + strip).min(to.h);
                let x = (&x[item * from.item()..(item + 1) * from.item()], from);
                let g = (&g[item * to.item()..(item + 1) * to.item()], to);
                let strip = Strip {
                    isa,
                    conv,
                    rows,
                    layout: &layout,
                };
                BUFFERS.with_borrow_mut(|buffers| {
                    if winograd {
                        strip.winograd(x, g, buffers, &mut sums);
                    } else {
                        strip.direct(x, g, buffers, &mut sums);
                    }
                });
            }
            sums
        })
        .collect();
    let pitch = Outer::pitch(outs);
    dw.par_chunks_exact_mut(ins * conv.area())
        .enumerate()
        .for_each(|(out, dw)| {
            let (group, out) = (out / outs, out % outs);
            let sum = |tap: usize, i: usize| -> f32 {
                let at = ((group * taps + tap) * ins + i) * pitch + out;
                sums.iter().map(|sums| sums[at]).sum()
            };
            for (i, dw) in dw.chunks_exact_mut(conv.area()).enumerate() {
                if winograd {
                    for (row, dw) in dw.chunks_exact_mut(conv.kernel).enumerate() {
                        dw.copy_from_slice(&Winograd::taps(std::array::from_fn(|product| {
                            sum(product * 3 + row, i)
                        })));
                    }
                } else {
                    dw.iter_mut().enumerate().for_each(|(tap, dw)| *dw = sum(tap, i));
                }
            }
        });
}

/// Pixels read beyond either end of a row.
fn reach(conv: &Conv, from: usize, to: usize) -> [usize; 2] {
    let end = TILE * tiles(to) * conv.stride + (conv.kernel - 1) * conv.dilation + 1;
    [conv.padding, end.saturating_sub(conv.padding + from)]
}

/// Some rows of the output of one picture.
struct Strip<'a> {
    isa: Isa,
    conv: &'a Conv,
    rows: std::ops::Range<usize>,
    /// Of the input.
    layout: &'a Layout,
}

impl Strip<'_> {
    /// Copies the strip of the input into `buffers`; returns how it lies there.
    fn fill(&self, (x, from): (&[f32], Nchw), strip: &mut Vec<f32>) -> (Layout, std::ops::Range<isize>) {
        let needed = self.conv.rows(self.rows.start).start..self.conv.rows(self.rows.end - 1).end;
        (fill(x, from, needed.clone(), self.layout.clone(), strip), needed)
    }

    fn direct(&self, x: (&[f32], Nchw), (g, to): (&[f32], Nchw), buffers: &mut Buffers, sums: &mut [f32]) {
        let conv = self.conv;
        let Buffers {
            strip,
            transformed: gradient,
            offsets,
            ..
        } = buffers;
        let (layout, _) = self.fill(x, strip);
        let own = fill(
            g,
            to,
            self.rows.start as isize..self.rows.end as isize,
            Layout::new(to.c, to.h, to.w),
            gradient,
        );
        gradient.resize(own.len() + Outer::SLACK, 0.0);
        let [ins, outs] = [layout.channels, to.c].map(|channels| channels / conv.groups);
        let per_group = sums.len() / conv.groups;
        for (group, sums) in sums.chunks_exact_mut(per_group).enumerate() {
            for (row, sums) in sums.chunks_exact_mut(per_group / conv.kernel).enumerate() {
                offsets.clear();
                offsets.extend((0..conv.kernel * ins).map(|k| k / ins * conv.dilation * layout.channels + k % ins));
                let begin = |y: usize| {
                    let source = (y * conv.stride + row * conv.dilation) as isize - conv.padding as isize;
                    let x = layout.row(source).start + (layout.left - conv.padding) * layout.channels + group * ins;
                    [x, own.row(y as isize).start + group * outs]
                };
                let steps = [conv.stride * layout.channels, to.c];
                self.add(begin, to.w, offsets, [strip, gradient], steps, outs, sums);
            }
        }
    }

    fn winograd(&self, x: (&[f32], Nchw), (g, to): (&[f32], Nchw), buffers: &mut Buffers, sums: &mut [f32]) {
        let Buffers {
            strip,
            transformed,
            row,
            scratch: gradient,
            offsets,
        } = buffers;
        let (layout, needed) = self.fill(x, strip);
        let count = tiles(to.w);
        let filter = Winograd::shape(self.isa, to.c, layout.channels);
        let view = View {
            data: strip,
            layout: &layout,
        };
        let far = rows::transformed_layout(&layout, count);
        rows::transform(
            &filter,
            view,
            self.conv.padding,
            inside(&needed, x.1.h),
            &far,
            transformed,
        );
        let own = Layout {
            capacity: self.rows.len(),
            ..Layout::new(PRODUCTS * to.c, to.h, count)
        };
        gradient.resize(own.len() + Outer::SLACK, 0.0);
        row.resize(TILE * count * to.c, 0.0);
        for y in self.rows.clone() {
            let planes = g.chunks_exact(to.plane()).map(|plane| &plane[y * to.w..(y + 1) * to.w]);
            let (body, rest) = row.split_at_mut(to.w * to.c);
            rows::interleave(planes, body);
            rest.fill(0.0);
            filter.transform_gradient(row, count, &mut gradient[own.row(y as isize)]);
        }
        offsets.clear();
        offsets.extend(0..layout.channels);
        let size = sums.len() / (PRODUCTS * 3);
        for (i, sums) in sums.chunks_exact_mut(size).enumerate() {
            let (product, tap) = (i / 3, i % 3);
            let begin = |y: usize| {
                let source = (y + tap) as isize - self.conv.padding as isize;
                let x = far.row(source).start + product * count * layout.channels;
                [x, own.row(y as isize).start + product * count * to.c]
            };
            self.add(
                begin,
                count,
                offsets,
                [transformed, gradient],
                [layout.channels, to.c],
                to.c,
                sums,
            );
        }
    }

    /// Adds the products of all rows, some at a time.
    #[rustfmt::skip]
    #[expect(clippy::too_many_arguments, reason = "the shapes of both callers' products")]
    fn add(&self, begin: impl Fn(usize) -> [usize; 2], count: usize, taps: &[usize], [x, g]: [&[f32]; 2], steps: [usize; 2], outs: usize, sums: &mut [f32]) {
        const MOST: usize = 16;
        let some = (POSITIONS / count).clamp(1, MOST);
        for first in self.rows.clone().step_by(some) {
            let mut rows = [[0; 2]; MOST];
            let end = (first + some).min(self.rows.end);
            rows.iter_mut().zip(first..end).for_each(|(row, y)| *row = begin(y));
            let rows = &rows[..end - first];
            Outer { x, taps, g, outs, steps, rows, count, sums }.add(self.isa);
        }
    }
}

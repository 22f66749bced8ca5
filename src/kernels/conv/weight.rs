//! The gradient of a convolution's weight.

use std::ops::Range;

use rayon::prelude::*;

use super::{BUFFERS, Buffers, Conv, SCRATCH, check, copy_rows, inside, prepare_rows};
use crate::kernels::rows::{self, Arithmetic, Layout, OUTPUTS, Outer, PRODUCTS, TileGradient, WINOGRAD, is_winograd};
use crate::kernels::{Isa, Nhwc};

/// Tasks that the pictures are shared out over, where the sums of so many fit into memory.
const SHARES: usize = 16;
/// f32 values of sums of all tasks together.
const SUMS: usize = 8 << 20;
/// Values that are summed up by one task.
const CHUNK: usize = 8 << 10;
/// Outputs whose sums lie in one cache line.
const TOGETHER: usize = 16;
/// Positions whose values stay in the L1 cache while all taps and channels use them.
const STRETCH: usize = 96;

/// How the sums are taken.
enum Way {
    Direct,
    Winograd,
    Tiles(TileGradient),
}

/// Gradient of [`super::conv2d`]'s weight, `dw`, from its input and the gradient of its output. The sums are taken in an
/// order that does not depend on the number of threads.
pub fn conv2d_grad_weight(arithmetic: Arithmetic, conv: &Conv, x: (&[f32], Nhwc), g: (&[f32], Nhwc), dw: &mut [f32]) {
    let ((x, from), (g, to)) = (x, g);
    check(conv, (x.len(), from), dw.len(), (g.len(), to));
    let [ins, outs] = [from.c, to.c].map(|channels| channels / conv.groups);
    let way = match arithmetic.tiles {
        Some(tiles) if conv.groups == 1 => Way::Tiles(TileGradient::new(tiles, conv, [ins, outs], [from.w, to.w])),
        _ if is_winograd(conv, ins) && outs >= WINOGRAD => Way::Winograd,
        _ => Way::Direct,
    };
    let is_winograd = matches!(way, Way::Winograd);
    let taps = if is_winograd {
        PRODUCTS * conv.kernel
    } else {
        conv.area()
    };
    let len = conv.groups * taps * ins * Outer::pitch(outs);

    // Strips of rows, and how many of them a task takes.
    let mut bordered = Layout::new(from.c, from.h, from.w);
    let end = to.w.next_multiple_of(OUTPUTS) * conv.stride + (conv.kernel - 1) * conv.dilation + 1;
    bordered.reach(conv.padding, end.saturating_sub(conv.padding + from.w));
    let rows = (SCRATCH / (bordered.pitch * conv.stride)).clamp(4, 64).min(to.h);
    let strips = to.h.div_ceil(rows);
    let shares = SHARES.min(SUMS / len).clamp(1, to.n * strips);
    let isa = arithmetic.isa;
    let sums: Vec<Vec<f32>> = (0..shares)
        .into_par_iter()
        .map(|share| {
            let mut sums = vec![0.0; len];
            let units = to.n * strips;
            for unit in units * share / shares..units * (share + 1) / shares {
                let (item, first) = (unit / strips, unit % strips * rows);
                let rows = first..(first + rows).min(to.h);
                let x = (&x[item * from.item()..(item + 1) * from.item()], from);
                let g = (&g[item * to.item()..(item + 1) * to.item()], to);
                let bordered = &bordered;
                #[rustfmt::skip]
                let strip = Strip { isa, conv, rows, bordered };
                BUFFERS.with_borrow_mut(|buffers| match &way {
                    Way::Direct => strip.direct(x, g, buffers, &mut sums),
                    Way::Winograd => strip.winograd(x, g, buffers, &mut sums),
                    Way::Tiles(gradient) => strip.tiles(gradient, x, g, buffers, &mut sums),
                });
            }
            sums
        })
        .collect();
    let sums = total(sums);
    let pitch = Outer::pitch(outs);
    let per_out = ins * conv.area();
    let some = dw.chunks_exact_mut(outs * per_out).enumerate().flat_map(|(group, dw)| {
        let some = dw.chunks_mut(TOGETHER * per_out).enumerate();
        some.map(move |(i, dw)| (group, i * TOGETHER, dw))
    });
    let some: Vec<_> = some.collect();
    some.into_par_iter().for_each(|(group, first, dw)| {
        let count = dw.len() / per_out;
        let sums = |tap: usize, i: usize| &sums[((group * taps + tap) * ins + i) * pitch + first..][..count];
        for i in 0..ins {
            let at = |out: usize| (out * ins + i) * conv.area();
            if !is_winograd {
                for tap in 0..conv.area() {
                    let sums = sums(tap, i).iter().enumerate();
                    sums.for_each(|(out, sum)| dw[at(out) + tap] = *sum);
                }
                continue;
            }
            for row in 0..conv.kernel {
                let products: [&[f32]; PRODUCTS] = std::array::from_fn(|product| sums(product * 3 + row, i));
                for out in 0..count {
                    let taps = rows::taps_gradient(products.map(|sums| sums[out]));
                    dw[at(out) + row * conv.kernel..][..conv.kernel].copy_from_slice(&taps);
                }
            }
        }
    });
}

/// The sums of all tasks, in their order.
fn total(sums: Vec<Vec<f32>>) -> Vec<f32> {
    let mut sums = sums.into_iter();
    let mut total = sums.next().unwrap_or_default();
    let rest: Vec<Vec<f32>> = sums.collect();
    total.par_chunks_mut(CHUNK).enumerate().for_each(|(i, total)| {
        for sums in &rest {
            let sums = &sums[i * CHUNK..][..total.len()];
            total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
    });
    total
}

/// Some rows of the output of one picture.
struct Strip<'a> {
    isa: Isa,
    conv: &'a Conv,
    rows: Range<usize>,
    /// How the input lies between zeros.
    bordered: &'a Layout,
}

impl Strip<'_> {
    /// Rows of the input, of `height`, that the strip reads.
    fn needed(&self, height: usize) -> Range<usize> {
        let needed = self.conv.rows(self.rows.start).start..self.conv.rows(self.rows.end - 1).end;
        inside(&needed, height)
    }

    /// Row of the input that a row of the kernel reads for row `y` of the output; it may lie beyond.
    fn source(&self, y: usize, tap: usize) -> isize {
        self.conv.rows(y).start + (tap * self.conv.dilation) as isize
    }

    fn direct(&self, x: (&[f32], Nhwc), (g, to): (&[f32], Nhwc), buffers: &mut Buffers, sums: &mut [f32]) {
        let conv = self.conv;
        let Buffers {
            strip,
            gradient,
            scratch,
            ..
        } = buffers;
        let layout = copy_rows(x, self.needed(x.1.h), self.bordered, strip);
        let own = copy_rows((g, to), self.rows.clone(), &Layout::new(to.c, to.h, to.w), gradient);
        gradient.resize(own.len() + Outer::SLACK);
        let [ins, outs] = [layout.channels, to.c].map(|channels| channels / conv.groups);
        let per_group = sums.len() / conv.groups;
        let taps = &mut scratch.offsets;
        taps.clear();
        taps.extend((0..conv.kernel * ins).map(|k| k / ins * conv.dilation * layout.channels + k % ins));
        for (group, sums) in sums.chunks_exact_mut(per_group).enumerate() {
            for (row, sums) in sums.chunks_exact_mut(per_group / conv.kernel).enumerate() {
                let begin = |y: usize| {
                    let x = layout.row(self.source(y, row)).start + group * ins;
                    [x, own.row(y as isize).start + group * outs]
                };
                let steps = [conv.stride * layout.channels, to.c];
                self.add(begin, to.w, taps, [strip, gradient], steps, outs, sums);
            }
        }
    }

    fn winograd(&self, x: (&[f32], Nhwc), (g, to): (&[f32], Nhwc), buffers: &mut Buffers, sums: &mut [f32]) {
        let Buffers {
            strip,
            prepared,
            gradient,
            scratch,
        } = buffers;
        let (ins, count) = (x.1.c, to.w.div_ceil(OUTPUTS));
        let layout = Layout::new(PRODUCTS * ins, x.1.h, count);
        let layout = prepare_rows(
            x,
            self.needed(x.1.h),
            self.bordered,
            layout,
            strip,
            prepared,
            |line, y, out| {
                rows::transform(self.isa, line.from(y, self.conv.padding), ins, out);
            },
        );
        let mut whole = Layout::new(to.c, to.h, to.w);
        whole.reach(0, count * OUTPUTS - to.w);
        let own = Layout::new(PRODUCTS * to.c, to.h, count);
        let own = prepare_rows(
            (g, to),
            self.rows.clone(),
            &whole,
            own,
            strip,
            gradient,
            |line, y, out| {
                rows::transform_gradient(self.isa, &line.from(y, 0)[..whole.pitch], to.c, out);
            },
        );
        gradient.resize(own.len() + Outer::SLACK);
        let taps = &mut scratch.offsets;
        taps.clear();
        taps.extend(0..ins);
        let size = sums.len() / (PRODUCTS * 3);
        for (i, sums) in sums.chunks_exact_mut(size).enumerate() {
            let (product, tap) = (i / 3, i % 3);
            let begin = |y: usize| {
                let x = layout.row(self.source(y, tap)).start + product * count * ins;
                [x, own.row(y as isize).start + product * count * to.c]
            };
            self.add(begin, count, taps, [prepared, gradient], [ins, to.c], to.c, sums);
        }
    }

    fn tiles(
        &self,
        way: &TileGradient,
        x: (&[f32], Nhwc),
        (g, to): (&[f32], Nhwc),
        buffers: &mut Buffers,
        sums: &mut [f32],
    ) {
        let Buffers {
            strip,
            prepared,
            gradient,
            scratch,
        } = buffers;
        let (plain, layout) = (Layout::plain(x.1), Layout::new(way.input_words(), x.1.h, 1));
        let layout = prepare_rows(
            x,
            self.needed(x.1.h),
            &plain,
            layout,
            strip,
            prepared,
            |line, y, out| {
                way.planes(line.pixels(y), out);
            },
        );
        let count = self.rows.len();
        gradient.resize(way.output_words(count));
        for (i, y) in self.rows.clone().enumerate() {
            way.pairs(&g[y * to.row()..(y + 1) * to.row()], i, count, gradient);
        }
        let start = |row: usize, tap: usize| layout.row(self.source(self.rows.start + row, tap)).start;
        way.add(prepared, start, gradient, count, &mut scratch.offsets, sums);
    }

    /// Adds the products of all rows, some at a time.
    #[rustfmt::skip]
    #[expect(clippy::too_many_arguments, reason = "the shapes of both callers' products")]
    fn add(&self, begin: impl Fn(usize) -> [usize; 2], count: usize, taps: &[usize], [x, g]: [&[f32]; 2], steps: [usize; 2], outs: usize, sums: &mut [f32]) {
        const MOST: usize = 16;
        let some = (STRETCH / count).clamp(1, MOST);
        for first in self.rows.clone().step_by(some) {
            let mut rows = [[0; 2]; MOST];
            let end = (first + some).min(self.rows.end);
            rows.iter_mut().zip(first..end).for_each(|(row, y)| *row = begin(y));
            let rows = &rows[..end - first];
            Outer { x, taps, g, outs, steps, rows, count, sums }.add(self.isa);
        }
    }
}

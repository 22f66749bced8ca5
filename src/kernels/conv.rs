//! 2-D convolution: forward, and its gradients with respect to the input and the weight.
//!
//! A strip of the input is copied, with its padding, into a scratch buffer that stays in cache; there each tap of the
//! kernel is the same run of memory at another offset, and the loops of [`super::simd`] do the rest. A stride splits the
//! rows and columns of the copy into phases, so that taps stay runs. Rows of the copy are laid end to end: positions
//! that fall on the padding between two rows are computed and dropped.

use std::cell::RefCell;

use rayon::prelude::*;

use super::Nchw;
use super::simd::{MAX_TILE, Packed, correlate, gather};

/// f32 values of scratch that a strip should not exceed: half of a megabyte, which the second-level cache holds.
const SCRATCH: usize = 128 * 1024;

thread_local! {
    static BUFFERS: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
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

    fn area(&self) -> usize {
        self.kernel * self.kernel
    }
}

/// How the taps of one axis fall on the phases of the stride.
struct Axis {
    /// Remainders that occur, rising.
    phases: Vec<usize>,
    /// For each tap, the index of its phase and its distance there.
    taps: Vec<(usize, usize)>,
    /// The largest distance.
    reach: usize,
}

impl Axis {
    fn new(conv: &Conv) -> Self {
        let at = |tap: usize| (tap * conv.dilation % conv.stride, tap * conv.dilation / conv.stride);
        let mut phases: Vec<usize> = (0..conv.kernel).map(|tap| at(tap).0).collect();
        phases.sort_unstable();
        phases.dedup();
        let index = |phase| phases.binary_search(&phase).expect("collected from the same taps");
        let taps: Vec<_> = (0..conv.kernel).map(|tap| (index(at(tap).0), at(tap).1)).collect();
        let reach = taps.iter().map(|tap| tap.1).max().unwrap_or(0);
        Self { phases, taps, reach }
    }
}

/// How a strip of the source is laid out in scratch: for each channel and pair of phases, `rows` rows of `cols`.
struct Layout {
    step: usize,
    phases: Vec<usize>,
    /// Source row and column of the first position of phase 0, for a strip that begins at 0.
    origin: [isize; 2],
    rows: usize,
    cols: usize,
}

impl Layout {
    fn channel(&self) -> usize {
        self.phases.len() * self.phases.len() * self.rows * self.cols
    }

    /// Copies `channels` planes of `source` (`h` x `w`), from row `step · first` on, to `scratch`, with `slack` zeros
    /// after them.
    fn fill(&self, source: &[f32], h: usize, w: usize, first: usize, slack: usize, scratch: &mut Vec<f32>) {
        let channels = source.len() / (h * w);
        scratch.resize(channels * self.channel() + slack, 0.0);
        let (body, tail) = scratch.split_at_mut(channels * self.channel());
        tail.fill(0.0);
        let top = self.origin[0] + (self.step * first) as isize;
        let mut rows = body.chunks_exact_mut(self.cols);
        for plane in source.chunks_exact(h * w) {
            for a in &self.phases {
                for b in &self.phases {
                    let left = self.origin[1] + *b as isize;
                    for (i, out) in rows.by_ref().take(self.rows).enumerate() {
                        let y = top + (a + self.step * i) as isize;
                        match usize::try_from(y).ok().filter(|y| *y < h) {
                            Some(y) => copy_row(&plane[y * w..(y + 1) * w], left, self.step, out),
                            None => out.fill(0.0),
                        }
                    }
                }
            }
        }
    }
}

/// `out[i] = row[left + step · i]`, zero outside the row.
fn copy_row(row: &[f32], left: isize, step: usize, out: &mut [f32]) {
    let begin = (-left).max(0) as usize;
    let begin = begin.div_ceil(step).min(out.len());
    let end = (row.len() as isize - left).max(0) as usize;
    let end = end.div_ceil(step).clamp(begin, out.len());
    out[..begin].fill(0.0);
    out[end..].fill(0.0);
    if begin < end {
        let row = &row[(left + (step * begin) as isize) as usize..];
        if step == 1 {
            out[begin..end].copy_from_slice(&row[..end - begin]);
        } else {
            out[begin..end]
                .iter_mut()
                .zip(row.iter().step_by(step))
                .for_each(|(out, x)| *out = *x);
        }
    }
}

/// What one set of taps gives: the pixels `step · position + origin` of the output.
struct Target {
    origin: [isize; 2],
    /// For each tap its place in the kernel (row and column), its pair of phases, and its row and column in scratch.
    taps: Vec<Tap>,
}

struct Tap {
    at: [usize; 2],
    phases: usize,
    place: [usize; 2],
}

/// A convolution as [`gather`] computes it. Forward, the source has the phases; backward, the output has them.
struct Plan {
    layout: Layout,
    /// Rows of `layout` beyond the positions of a strip.
    reach: usize,
    /// Positions down and across, for one target.
    extent: [usize; 2],
    /// Rows of the output from one position to the next.
    step: usize,
    targets: Vec<Target>,
}

impl Plan {
    fn forward(conv: &Conv, out: Nchw) -> Self {
        let axis = Axis::new(conv);
        let pad = -(conv.padding as isize);
        let mut taps = Vec::new();
        for (y, row) in axis.taps.iter().enumerate() {
            for (x, col) in axis.taps.iter().enumerate() {
                let phases = row.0 * axis.phases.len() + col.0;
                taps.push(Tap {
                    at: [y, x],
                    phases,
                    place: [row.1, col.1],
                });
            }
        }
        let cols = out.w + axis.reach;
        Self {
            layout: Layout {
                step: conv.stride,
                phases: axis.phases,
                origin: [pad, pad],
                rows: 0,
                cols,
            },
            reach: axis.reach,
            extent: [out.h, out.w],
            step: 1,
            targets: vec![Target { origin: [0, 0], taps }],
        }
    }

    /// `out` is the convolution's input, whose gradient is sought.
    fn backward(conv: &Conv, out: Nchw) -> Self {
        let axis = Axis::new(conv);
        let (pad, stride) = (conv.padding, conv.stride);
        let first = pad / stride;
        let extent = |side: usize| (pad + side - 1) / stride + 1 - first;
        let mut targets = Vec::new();
        for a in 0..stride {
            for b in 0..stride {
                let mut taps = Vec::new();
                for (y, row) in axis.taps.iter().enumerate().filter(|(_, tap)| axis.phases[tap.0] == a) {
                    for (x, col) in axis.taps.iter().enumerate().filter(|(_, tap)| axis.phases[tap.0] == b) {
                        taps.push(Tap {
                            at: [y, x],
                            phases: 0,
                            place: [axis.reach - row.1, axis.reach - col.1],
                        });
                    }
                }
                let origin = [a, b].map(|phase| (stride * first + phase) as isize - pad as isize);
                targets.push(Target { origin, taps });
            }
        }
        let origin = first as isize - axis.reach as isize;
        let extent = [extent(out.h), extent(out.w)];
        let cols = extent[1] + axis.reach;
        Self {
            layout: Layout {
                step: 1,
                phases: vec![0],
                origin: [origin, origin],
                rows: 0,
                cols,
            },
            reach: axis.reach,
            extent,
            step: stride,
            targets,
        }
    }

    /// Chooses the height of a strip, in positions: little enough for the cache, and enough strips for all threads.
    fn cut(&mut self, items: usize, channels: usize) -> usize {
        let threads = rayon::current_num_threads();
        let wanted = (4 * threads).div_ceil(items);
        let row = channels * self.layout.phases.len().pow(2) * self.layout.cols;
        let fits = (SCRATCH / row).saturating_sub(self.reach).max(4);
        let strip = even(self.extent[0], self.extent[0].div_ceil(wanted).max(4).min(fits));
        self.layout.rows = strip + self.reach;
        strip
    }

    fn offsets(&self, target: &Target, channels: usize) -> Vec<usize> {
        let (plane, cols) = (self.layout.rows * self.layout.cols, self.layout.cols);
        let place = |tap: &Tap| tap.phases * plane + tap.place[0] * cols + tap.place[1];
        (0..channels)
            .flat_map(|c| {
                target
                    .taps
                    .iter()
                    .map(move |tap| c * self.layout.channel() + place(tap))
            })
            .collect()
    }

    /// Runs the plan. `weight(group, out, source, tap)` is the factor between two channels of a group.
    fn run(
        mut self,
        groups: usize,
        source: (&[f32], Nchw),
        weight: impl Fn(usize, usize, usize, usize) -> f32 + Sync,
        kernel: usize,
        finish: Finish,
        out: (&mut [f32], Nchw),
    ) {
        let ((source, from), (out, to)) = (source, out);
        let (ins, outs) = (from.c / groups, to.c / groups);
        let strip = self.cut(from.n, ins);
        let jobs: Vec<Vec<(Packed, Vec<usize>)>> = (0..groups)
            .into_par_iter()
            .map(|group| {
                let pack = |target: &Target| {
                    let packed = Packed::new(outs, ins, target.taps.len(), |out, source, tap| {
                        let [y, x] = target.taps[tap].at;
                        weight(group, out, source, y * kernel + x)
                    });
                    (packed, self.offsets(target, ins))
                };
                self.targets.iter().map(pack).collect()
            })
            .collect();
        let origin = self.targets.iter().map(|target| target.origin[0]).min().unwrap_or(0);
        let row = |position: usize| ((self.step * position) as isize + origin).clamp(0, to.h as isize) as usize;
        let firsts: Vec<usize> = (0..self.extent[0]).step_by(strip).collect();
        let mut bounds: Vec<usize> = firsts.iter().map(|first| row(*first)).collect();
        bounds.push(to.h);
        split_rows(out, to, &bounds)
            .into_par_iter()
            .enumerate()
            .for_each(|(task, mut planes)| {
                let (item, i) = (task / firsts.len(), task % firsts.len());
                let height = strip.min(self.extent[0] - firsts[i]);
                let item = &source[item * from.item()..][..from.item()];
                BUFFERS.with_borrow_mut(|[scratch, _]| {
                    for (group, jobs) in jobs.iter().enumerate() {
                        let item = &item[group * ins * from.plane()..][..ins * from.plane()];
                        self.layout.fill(item, from.h, from.w, firsts[i], MAX_TILE, scratch);
                        for (target, (packed, offsets)) in self.targets.iter().zip(jobs) {
                            let y = target.origin[0] + (self.step * firsts[i]) as isize - bounds[i] as isize;
                            let pixels = Pixels {
                                step: self.step,
                                origin: [y, target.origin[1]],
                                cols: self.layout.cols,
                            };
                            let len = (height - 1) * self.layout.cols + self.extent[1];
                            gather(packed, offsets, scratch, len, &mut |first, p, tile, width| {
                                let planes = &mut planes[group * outs..(group + 1) * outs][first..];
                                pixels.store(p, width, len, tile, planes, to.w, finish.from(group * outs + first));
                            });
                        }
                    }
                });
            });
    }
}

/// The height of strips of at most `most` rows that share `total` rows out evenly.
fn even(total: usize, most: usize) -> usize {
    total.div_ceil(total.div_ceil(most))
}

/// What is done to a sum before it is stored.
#[derive(Clone, Copy)]
struct Finish<'a> {
    bias: Option<&'a [f32]>,
    relu: bool,
}

impl Finish<'_> {
    /// For the channels from `first` on.
    fn from(self, first: usize) -> Self {
        Self {
            bias: self.bias.map(|bias| &bias[first..]),
            relu: self.relu,
        }
    }
}

/// Where positions of a strip lie in the output's rows.
struct Pixels {
    step: usize,
    origin: [isize; 2],
    /// Positions from one row to the next.
    cols: usize,
}

impl Pixels {
    /// Stores a tile of `width` positions from `p` on, a row for each of some `planes` whose rows are `w` wide.
    fn store(
        &self,
        p: usize,
        width: usize,
        len: usize,
        tile: &[f32],
        planes: &mut [&mut [f32]],
        w: usize,
        finish: Finish,
    ) {
        let end = len.min(p + width);
        let mut from = p;
        while from < end {
            let (i, j) = (from / self.cols, from % self.cols);
            let run = (self.cols - j).min(end - from);
            let y = self.origin[0] + (self.step * i) as isize;
            let x = |j: usize| self.origin[1] + (self.step * j) as isize;
            // Positions of the run whose column lies in the output.
            let skip = ((-x(j)).max(0) as usize).div_ceil(self.step).min(run);
            let take = ((w as isize - x(j)).max(0) as usize)
                .div_ceil(self.step)
                .clamp(skip, run);
            for (m, (plane, tile)) in planes.iter_mut().zip(tile.chunks_exact(width)).enumerate() {
                if y < 0 || y as usize * w >= plane.len() || skip == take {
                    continue;
                }
                let bias = finish.bias.map_or(0.0, |bias| bias[m]);
                let sums = &tile[from - p + skip..from - p + take];
                let out = &mut plane[y as usize * w + x(j + skip) as usize..];
                let floor = if finish.relu { 0.0 } else { f32::NEG_INFINITY };
                if self.step == 1 {
                    out.iter_mut()
                        .zip(sums)
                        .for_each(|(out, sum)| *out = (sum + bias).max(floor));
                } else {
                    out.iter_mut()
                        .step_by(self.step)
                        .zip(sums)
                        .for_each(|(out, sum)| *out = (sum + bias).max(floor));
                }
            }
            from += run;
        }
    }
}

/// The rows from each bound to the next, of every plane: a list for each item and strip, in it a slice for each channel.
fn split_rows<'a>(out: &'a mut [f32], shape: Nchw, bounds: &[usize]) -> Vec<Vec<&'a mut [f32]>> {
    let strips = bounds.len() - 1;
    let mut tasks: Vec<Vec<&mut [f32]>> = (0..shape.n * strips).map(|_| Vec::with_capacity(shape.c)).collect();
    for (item, planes) in out.chunks_exact_mut(shape.item()).enumerate() {
        for mut plane in planes.chunks_exact_mut(shape.plane()) {
            for (i, rows) in bounds.windows(2).enumerate() {
                let (strip, rest) = plane.split_at_mut((rows[1] - rows[0]) * shape.w);
                tasks[item * strips + i].push(strip);
                plane = rest;
            }
        }
    }
    tasks
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
    let (ins, outs) = (x.1.c / conv.groups, out.1.c / conv.groups);
    let factor =
        |group: usize, o: usize, i: usize, tap: usize| weight[((group * outs + o) * ins + i) * conv.area() + tap];
    Plan::forward(conv, out.1).run(conv.groups, x, factor, conv.kernel, Finish { bias, relu }, out);
}

/// Gradient of [`conv2d`]'s input, `dx`, from that of its output, `g`; with `bias` (one value for each channel of `dx`)
/// also the forward pass of a transposed convolution.
pub fn conv2d_grad_input(conv: &Conv, g: (&[f32], Nchw), weight: &[f32], bias: Option<&[f32]>, dx: (&mut [f32], Nchw)) {
    check(conv, (dx.0.len(), dx.1), weight.len(), (g.0.len(), g.1));
    let (ins, outs) = (dx.1.c / conv.groups, g.1.c / conv.groups);
    let factor =
        |group: usize, i: usize, o: usize, tap: usize| weight[((group * outs + o) * ins + i) * conv.area() + tap];
    Plan::backward(conv, dx.1).run(conv.groups, g, factor, conv.kernel, Finish { bias, relu: false }, dx);
}

/// Gradient of [`conv2d`]'s weight, `dw`, from its input and the gradient of its output. The sums are taken in an order
/// that does not depend on the number of threads.
pub fn conv2d_grad_weight(conv: &Conv, x: (&[f32], Nchw), g: (&[f32], Nchw), dw: &mut [f32]) {
    check(conv, (x.0.len(), x.1), dw.len(), (g.0.len(), g.1));
    let ((x, from), (g, to)) = (x, g);
    let (ins, outs) = (from.c / conv.groups, to.c / conv.groups);
    // Tasks share the work out by group, input channels and (parts of) items: some sixteen of them, always the same.
    const TASKS: usize = 16;
    let part = ins.min(16);
    let parts = ins.div_ceil(part);
    let mut plan = Plan::forward(conv, to);
    let row = part * plan.layout.phases.len().pow(2) * plan.layout.cols + outs * plan.layout.cols;
    let strip = even(to.h, (SCRATCH / row).saturating_sub(plan.reach).max(4));
    plan.layout.rows = strip + plan.reach;
    let strips = to.h.div_ceil(strip);
    let units = to.n * strips;
    let share = units.div_ceil(TASKS.div_ceil(parts * conv.groups));
    let shares = units.div_ceil(share);
    let offsets = plan.offsets(&plan.targets[0], part);
    let pitch = (strip * plan.layout.cols).next_multiple_of(16);
    let slack = pitch - strip * plan.layout.cols + plan.reach;
    let gradient = Layout {
        step: 1,
        phases: vec![0],
        origin: [0, 0],
        rows: strip,
        cols: plan.layout.cols,
    };
    let sums: Vec<Vec<f32>> = (0..conv.groups * parts * shares)
        .into_par_iter()
        .map(|task| {
            let (group, i, units_of) = (task / shares / parts, task / shares % parts, task % shares);
            let width = part.min(ins - i * part);
            let offsets = &offsets[..width * conv.area()];
            let mut sums = vec![0.0; outs * offsets.len()];
            BUFFERS.with_borrow_mut(|[a, b]| {
                for unit in units_of * share..units.min((units_of + 1) * share) {
                    let (item, first) = (unit / strips, unit % strips * strip);
                    let planes =
                        &x[item * from.item() + (group * ins + i * part) * from.plane()..][..width * from.plane()];
                    plan.layout.fill(planes, from.h, from.w, first, slack, a);
                    fill_rows(
                        &gradient,
                        &g[item * to.item() + group * outs * to.plane()..][..outs * to.plane()],
                        to,
                        first,
                        pitch,
                        b,
                    );
                    correlate(b, pitch, a, offsets, pitch, &mut sums);
                }
            });
            sums
        })
        .collect();
    let area = conv.area();
    dw.par_chunks_exact_mut(ins * area).enumerate().for_each(|(out, dw)| {
        let (group, out) = (out / outs, out % outs);
        for (i, dw) in dw.chunks_mut(part * area).enumerate() {
            dw.fill(0.0);
            for sums in &sums[(group * parts + i) * shares..][..shares] {
                let sums = &sums[out * dw.len()..][..dw.len()];
                dw.iter_mut().zip(sums).for_each(|(dw, sum)| *dw += sum);
            }
        }
    });
}

/// Copies rows of `g` from `first` on as `layout` says, each channel `pitch` values long.
fn fill_rows(layout: &Layout, g: &[f32], shape: Nchw, first: usize, pitch: usize, scratch: &mut Vec<f32>) {
    scratch.resize(g.len() / shape.plane() * pitch, 0.0);
    for (plane, out) in g.chunks_exact(shape.plane()).zip(scratch.chunks_exact_mut(pitch)) {
        let (rows, tail) = out.split_at_mut(layout.rows * layout.cols);
        tail.fill(0.0);
        for (i, row) in rows.chunks_exact_mut(layout.cols).enumerate() {
            match first + i {
                y if y < shape.h => copy_row(&plane[y * shape.w..(y + 1) * shape.w], 0, 1, row),
                _ => row.fill(0.0),
            }
        }
    }
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

#[cfg(test)]
mod tests;

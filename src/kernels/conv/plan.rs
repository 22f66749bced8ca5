//! Convolutions as sums over taps at offsets: forward, and backward to the input.

use std::ops::Range;

use rayon::prelude::*;

use super::layout::{Axis, Layout, even, split_rows};
use super::{BUFFERS, Conv, SCRATCH};
use crate::kernels::Nchw;
use crate::kernels::pointwise::at_least;
use crate::kernels::simd::{MAX_TILE, Packed, gather};

/// What one set of taps gives: the pixels `step · position + origin` of the output.
pub(super) struct Target {
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
pub(super) struct Plan {
    pub(super) layout: Layout,
    /// Rows of `layout` beyond the positions of a strip.
    pub(super) reach: usize,
    /// Positions down and across, for one target.
    extent: [usize; 2],
    /// Rows of the output from one position to the next.
    step: usize,
    pub(super) targets: Vec<Target>,
}

impl Plan {
    pub(super) fn forward(conv: &Conv, out: Nchw) -> Self {
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
    pub(super) fn backward(conv: &Conv, out: Nchw) -> Self {
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

    pub(super) fn offsets(&self, target: &Target, channels: usize) -> Vec<usize> {
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
    pub(super) fn run(
        mut self,
        conv: &Conv,
        source: (&[f32], Nchw),
        weight: impl Fn(usize, usize, usize, usize) -> f32 + Sync,
        finish: Finish,
        out: (&mut [f32], Nchw),
    ) {
        let ((source, from), (out, to)) = (source, out);
        let (ins, outs) = (from.c / conv.groups, to.c / conv.groups);
        let strip = self.cut(from.n, ins);
        let pack = |target: &Target, group: usize| {
            Packed::new(outs, ins, target.taps.len(), |out, source, tap| {
                let [y, x] = target.taps[tap].at;
                weight(group, out, source, y * conv.kernel + x)
            })
        };
        let groups = (0..conv.groups).into_par_iter();
        let weights: Vec<Vec<Packed>> = groups
            .map(|group| self.targets.iter().map(|target| pack(target, group)).collect())
            .collect();
        let offsets = self.targets.iter().map(|target| self.offsets(target, ins)).collect();
        let job = Job {
            offsets,
            weights,
            source: from,
            out: to,
            finish,
        };
        // Every strip of positions owns the rows of the output from its first one to that of the next strip.
        let firsts: Vec<usize> = (0..self.extent[0]).step_by(strip).collect();
        let mut bounds: Vec<usize> = firsts
            .iter()
            .map(|first| self.row(*first).clamp(0, to.h as isize) as usize)
            .collect();
        bounds.push(to.h);
        split_rows(out, to, &bounds)
            .into_par_iter()
            .enumerate()
            .for_each(|(task, mut planes)| {
                let (item, i) = (task / firsts.len(), task % firsts.len());
                let height = strip.min(self.extent[0] - firsts[i]);
                let item = &source[item * from.item()..][..from.item()];
                self.strip(&job, item, firsts[i]..firsts[i] + height, bounds[i], &mut planes);
            });
    }

    /// Row of the output of the first target at this position; it may be above the first.
    fn row(&self, position: usize) -> isize {
        let origin = self.targets.iter().map(|target| target.origin[0]).min().unwrap_or(0);
        (self.step * position) as isize + origin
    }

    /// Computes the positions `rows` of one picture; the rows of `planes` are the output's from row `top` on.
    fn strip(&self, job: &Job, item: &[f32], rows: Range<usize>, top: usize, planes: &mut [&mut [f32]]) {
        let (from, to, cols) = (job.source, job.out, self.layout.cols);
        let (ins, outs) = (from.c / job.weights.len(), to.c / job.weights.len());
        let len = (rows.len() - 1) * cols + self.extent[1];
        BUFFERS.with_borrow_mut(|[scratch, _]| {
            for (group, weights) in job.weights.iter().enumerate() {
                let item = &item[group * ins * from.plane()..][..ins * from.plane()];
                self.layout.fill(item, from.h, from.w, rows.start, MAX_TILE, scratch);
                for ((target, weights), offsets) in self.targets.iter().zip(weights).zip(&job.offsets) {
                    let y = target.origin[0] + (self.step * rows.start) as isize - top as isize;
                    let pixels = Pixels {
                        step: self.step,
                        origin: [y, target.origin[1]],
                        cols,
                        width: to.w,
                    };
                    gather(weights, offsets, scratch, len, &mut |first, p, tile, width| {
                        let first = group * outs + first;
                        let planes = &mut planes[first..(group + 1) * outs];
                        pixels.store(
                            p..len.min(p + width),
                            tile.chunks_exact(width),
                            planes,
                            job.finish.from(first),
                        );
                    });
                }
            }
        });
    }
}

/// What all strips of one run share.
struct Job<'a> {
    /// For each target.
    offsets: Vec<Vec<usize>>,
    /// For each group and target.
    weights: Vec<Vec<Packed>>,
    source: Nchw,
    out: Nchw,
    finish: Finish<'a>,
}

/// What is done to a sum before it is stored.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    pub(super) bias: Option<&'a [f32]>,
    pub(super) relu: bool,
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
    /// Length of the output's rows.
    width: usize,
}

impl Pixels {
    /// Stores the sums of some `positions`, a row of `tile` for each plane.
    fn store<'a>(
        &self,
        positions: Range<usize>,
        tile: impl Iterator<Item = &'a [f32]> + Clone,
        planes: &mut [&mut [f32]],
        finish: Finish,
    ) {
        let floor = if finish.relu { 0.0 } else { f32::NEG_INFINITY };
        let mut from = positions.start;
        while from < positions.end {
            let (i, j) = (from / self.cols, from % self.cols);
            let run = (self.cols - j).min(positions.end - from);
            let y = self.origin[0] + (self.step * i) as isize;
            let x = self.origin[1] + (self.step * j) as isize;
            // Positions of the run whose column lies in the output.
            let skip = ((-x).max(0) as usize).div_ceil(self.step).min(run);
            let take = ((self.width as isize - x).max(0) as usize)
                .div_ceil(self.step)
                .clamp(skip, run);
            for (m, (plane, sums)) in planes.iter_mut().zip(tile.clone()).enumerate() {
                if y < 0 || y as usize * self.width >= plane.len() || skip == take {
                    break;
                }
                let bias = finish.bias.map_or(0.0, |bias| bias[m]);
                let sums = &sums[from - positions.start..][skip..take];
                let first = y as usize * self.width + (x + (self.step * skip) as isize) as usize;
                let end = |(out, sum): (&mut f32, &f32)| *out = at_least(floor, sum + bias);
                if self.step == 1 {
                    plane[first..].iter_mut().zip(sums).for_each(end);
                } else {
                    plane[first..].iter_mut().step_by(self.step).zip(sums).for_each(end);
                }
            }
            from += run;
        }
    }
}

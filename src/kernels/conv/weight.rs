//! The gradient of a convolution's weight.

use rayon::prelude::*;

use super::layout::{even, fill_rows};
use super::plan::Plan;
use super::{BUFFERS, Conv, SCRATCH, check};
use crate::kernels::Nchw;
use crate::kernels::simd::correlate;

/// Least number of tasks, where there is enough to do.
const TASKS: usize = 16;
/// Input channels of one task.
const PART: usize = 16;

/// How the work is shared out: by group, by input channels, and by strips of pictures. Threads have no say in it.
struct Shares {
    plan: Plan,
    /// Input and output channels of a group.
    channels: [usize; 2],
    /// Input channels of a task, and tasks that share those of a group out.
    part: usize,
    parts: usize,
    /// Rows of a strip, and strips of a picture.
    strip: usize,
    strips: usize,
    /// Strips of a task, and tasks that share all strips out.
    share: usize,
    shares: usize,
    /// Values of a plane of the output's gradient in scratch.
    pitch: usize,
}

impl Shares {
    fn new(conv: &Conv, from: Nchw, to: Nchw) -> Self {
        let [ins, outs] = [from.c / conv.groups, to.c / conv.groups];
        let part = ins.min(PART);
        let parts = ins.div_ceil(part);
        let mut plan = Plan::forward(conv, to);
        let row = (part * plan.layout.phases.len().pow(2) + outs) * plan.layout.cols;
        let strip = even(to.h, (SCRATCH / row).saturating_sub(plan.reach).max(4));
        plan.layout.rows = strip + plan.reach;
        let strips = to.h.div_ceil(strip);
        let share = (to.n * strips).div_ceil(TASKS.div_ceil(parts * conv.groups));
        let shares = (to.n * strips).div_ceil(share);
        let pitch = (strip * plan.layout.cols).next_multiple_of(16);
        Self {
            plan,
            channels: [ins, outs],
            part,
            parts,
            strip,
            strips,
            share,
            shares,
            pitch,
        }
    }

    /// Sums of one task: for each output channel of its group, its input channels and their taps.
    fn sums(&self, task: usize, offsets: &[usize], x: (&[f32], Nchw), g: (&[f32], Nchw)) -> Vec<f32> {
        let ((x, from), (g, to), [ins, outs]) = (x, g, self.channels);
        let (group, i, share) = (
            task / self.shares / self.parts,
            task / self.shares % self.parts,
            task % self.shares,
        );
        let width = self.part.min(ins - i * self.part);
        let offsets = &offsets[..offsets.len() / self.part * width];
        let (cols, reach) = (self.plan.layout.cols, self.plan.reach);
        let slack = self.pitch - self.strip * cols + reach;
        let mut sums = vec![0.0; outs * offsets.len()];
        BUFFERS.with_borrow_mut(|[a, b]| {
            for unit in share * self.share..(to.n * self.strips).min((share + 1) * self.share) {
                let (item, first) = (unit / self.strips, unit % self.strips * self.strip);
                let x = &x[item * from.item() + (group * ins + i * self.part) * from.plane()..][..width * from.plane()];
                let g = &g[item * to.item() + group * outs * to.plane()..][..outs * to.plane()];
                self.plan.layout.fill(x, from.h, from.w, first, slack, a);
                fill_rows(g, to, first, [self.strip, cols, self.pitch], b);
                correlate(b, self.pitch, a, offsets, self.pitch, &mut sums);
            }
        });
        sums
    }
}

/// Gradient of [`super::conv2d`]'s weight, `dw`, from its input and the gradient of its output. The sums are taken in an
/// order that does not depend on the number of threads.
pub fn conv2d_grad_weight(conv: &Conv, x: (&[f32], Nchw), g: (&[f32], Nchw), dw: &mut [f32]) {
    check(conv, (x.0.len(), x.1), dw.len(), (g.0.len(), g.1));
    let shares = Shares::new(conv, x.1, g.1);
    let offsets = shares.plan.offsets(&shares.plan.targets[0], shares.part);
    let tasks = (0..conv.groups * shares.parts * shares.shares).into_par_iter();
    let sums: Vec<Vec<f32>> = tasks.map(|task| shares.sums(task, &offsets, x, g)).collect();
    let (area, [ins, outs]) = (conv.kernel * conv.kernel, shares.channels);
    dw.par_chunks_exact_mut(ins * area).enumerate().for_each(|(out, dw)| {
        let (group, out) = (out / outs, out % outs);
        for (i, dw) in dw.chunks_mut(shares.part * area).enumerate() {
            dw.fill(0.0);
            for sums in &sums[(group * shares.parts + i) * shares.shares..][..shares.shares] {
                let sums = &sums[out * dw.len()..][..dw.len()];
                dw.iter_mut().zip(sums).for_each(|(dw, sum)| *dw += sum);
            }
        }
    });
}

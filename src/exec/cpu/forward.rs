//! The forward pass.

use std::sync::Arc;

use rayon::prelude::*;

use super::kernel::{Kernel, Reads};
use super::{Buffer, Executor, Shapes, Step, arithmetic_of, conv_of, has_bias};
use crate::graph::Op;
use crate::kernels::Nhwc;
use crate::kernels::conv::{Conv, conv2d, conv2d_grad_input};
use crate::kernels::norm::{Affine, Moments, affine, moments};
use crate::kernels::rows::{self, Layout, Scratch, View};

/// What a forward pass leaves.
pub(crate) struct Pass {
    /// Values by number; those that are done are gone.
    pub(super) values: Vec<Option<Arc<Buffer>>>,
    /// For each step, the moments of the batch that it normalised by.
    pub(super) moments: Vec<Option<Moments>>,
}

/// A forward pass under way.
struct Run<'a> {
    executor: &'a Executor,
    shapes: &'a [Nhwc],
    weights: &'a [&'a [f32]],
    values: Vec<Option<Arc<Buffer>>>,
}

impl Executor {
    /// Runs the graph on `inputs`, N, C, H, W. `weights` are in the order of [`super::Program::weights`]; with `train`, batch
    /// norms use the batch's moments, and what the backward pass reads is kept.
    pub(crate) fn forward(&self, inputs: &[&[f32]], shapes: &Shapes, weights: &[&[f32]], train: bool) -> Pass {
        let shapes = &shapes.values;
        let mut run = Run {
            executor: self,
            shapes,
            weights,
            values: vec![None; shapes.len()],
        };
        for (value, input) in self.program.inputs.iter().zip(inputs) {
            run.values[*value] = Some(Arc::new(self.interleave(input, shapes[*value])));
        }
        let mut moments = Vec::with_capacity(self.program.steps.len());
        for step in &self.program.steps {
            moments.push(if train { run.moments(step) } else { None });
            let value = run.step(step, moments.last().and_then(Option::as_ref));
            run.values[step.out] = Some(Arc::new(value));
            let done = &step.done[usize::from(train)];
            done.iter().for_each(|value| run.values[*value] = None);
        }
        Pass {
            values: run.values,
            moments,
        }
    }

    /// The values that leave the graph, N, C, H, W, in a row.
    pub(crate) fn outputs(&self, pass: &Pass, shapes: &Shapes) -> Vec<f32> {
        let mut out = Vec::new();
        for value in &self.program.outputs {
            let buffer = pass.values[*value].as_ref().expect("outputs are never freed");
            planes(buffer, shapes.values[*value], &mut out);
        }
        out
    }

    /// For every batch norm, the number of its running mean (that of its variance follows) and the batch's mean and
    /// unbiased variance.
    pub(crate) fn statistics(&self, pass: &Pass, shapes: &Shapes) -> Vec<(usize, Moments)> {
        let unbiased = |(step, moments): (&Step, &Option<Moments>)| {
            let Nhwc { n, h, w, .. } = shapes.values[step.out];
            let count = (n * h * w) as f32;
            let mut moments = moments.clone()?;
            let factor = count / (count - 1.0).max(1.0);
            moments.var.iter_mut().for_each(|var| *var *= factor);
            Some((step.weights + 2, moments))
        };
        self.program
            .steps
            .iter()
            .zip(&pass.moments)
            .filter_map(unbiased)
            .collect()
    }

    /// N, C, H, W to N, H, W, C.
    pub(super) fn interleave(&self, x: &[f32], shape: Nhwc) -> Buffer {
        let mut buffer = self.memory.take(shape.len());
        let items = buffer
            .par_chunks_exact_mut(shape.item())
            .zip(x.par_chunks_exact(shape.item()));
        items.for_each(|(out, x)| rows::interleave(x.chunks_exact(shape.h * shape.w), out));
        buffer
    }

    /// `x` with `padding` pixels more at every border.
    pub(super) fn pad(&self, x: (&[f32], Nhwc), (padding, reflect): (usize, bool)) -> (Buffer, Nhwc) {
        let shape = padded(x.1, padding);
        let mut buffer = self.memory.take(shape.len());
        each_row(&Kernel::Pad(padding, reflect), &[x], (&mut buffer, shape));
        (buffer, shape)
    }
}

/// N, H, W, C to N, C, H, W, behind what `out` has.
pub(super) fn planes(x: &[f32], shape: Nhwc, out: &mut Vec<f32>) {
    let (start, plane) = (out.len(), shape.h * shape.w);
    out.resize(start + x.len(), 0.0);
    let items = out[start..]
        .par_chunks_exact_mut(shape.item())
        .zip(x.par_chunks_exact(shape.item()));
    items.for_each(|(out, x)| {
        let planes = out.chunks_exact_mut(plane).enumerate();
        planes.for_each(|(channel, out)| rows::plane(x, shape.c, channel, out));
    });
}

/// The shape with a border.
pub(super) fn padded(shape: Nhwc, padding: usize) -> Nhwc {
    let (h, w) = (shape.h + 2 * padding, shape.w + 2 * padding);
    Nhwc { h, w, ..shape }
}

/// A fully connected layer is a convolution of one row of pixels, a picture each.
pub(super) fn of_linear(op: &Op, shape: Nhwc) -> Nhwc {
    match op {
        #[rustfmt::skip]
        Op::Linear { .. } => Nhwc { n: 1, w: shape.n, ..shape },
        _ => shape,
    }
}

/// Runs a step row by row.
pub(super) fn each_row(kernel: &Kernel, args: &[(&[f32], Nhwc)], (out, to): (&mut [f32], Nhwc)) {
    let layouts: Vec<Layout> = args.iter().map(|arg| Layout::plain(arg.1)).collect();
    let (layouts, layout) = (&layouts[..], Layout::plain(to));
    out.par_chunks_exact_mut(to.row()).enumerate().for_each(|(i, out)| {
        let (item, row) = (i / to.h, i % to.h);
        let reads = Whole { args, layouts, item };
        kernel.compute(reads, row, &layout, out, &mut Scratch::default());
    });
}

/// Whole values, of which one picture is read.
#[derive(Clone, Copy)]
struct Whole<'a> {
    args: &'a [(&'a [f32], Nhwc)],
    layouts: &'a [Layout],
    item: usize,
}

impl<'a> Reads<'a> for Whole<'a> {
    fn arg(self, i: usize) -> View<'a> {
        let ((data, shape), layout) = (self.args[i], &self.layouts[i]);
        let data = &data[self.item * shape.item()..(self.item + 1) * shape.item()];
        View { data, layout }
    }

    fn input(self, _: usize, _: usize, _: &mut [f32]) {
        unreachable!("inputs are values from the start");
    }
}

impl Run<'_> {
    fn arg(&self, step: &Step, i: usize) -> (&[f32], Nhwc) {
        let value = step.args[i];
        let buffer = self.values[value].as_ref();
        (
            buffer.expect("a value lives until its last reader ran"),
            self.shapes[value],
        )
    }

    fn moments(&self, step: &Step) -> Option<Moments> {
        let (x, shape) = self.arg(step, 0);
        matches!(self.executor.program.graph.nodes[step.node].op, Op::BatchNorm { .. }).then(|| moments(x, shape))
    }

    fn step(&self, step: &Step, of_batch: Option<&Moments>) -> Buffer {
        let op = &self.executor.program.graph.nodes[step.node].op;
        let shape = self.shapes[step.out];
        let mut out = self.executor.memory.take(shape.len());
        if let Some(conv) = conv_of(op) {
            self.convolution(step, op, &conv, (&mut out, shape));
        } else if let Op::BatchNorm { eps } = *op {
            let [weight, bias, mean, var] = [0, 1, 2, 3].map(|i| self.weights[step.weights + i]);
            let (mean, var) = of_batch.map_or((mean, var), |moments| (&moments.mean, &moments.var));
            let by = Affine::new(mean, var, weight, bias, eps);
            affine(self.arg(step, 0).0, &by, step.relu, &mut out);
        } else {
            let args: Vec<_> = (0..step.args.len()).map(|i| self.arg(step, i)).collect();
            let kernel = Kernel::of(op, &Layout::plain(args[0].1)).expect("no other ops are left");
            each_row(&kernel, &args, (&mut out, shape));
        }
        out
    }

    fn convolution(&self, step: &Step, op: &Op, conv: &Conv, (out, to): (&mut [f32], Nhwc)) {
        let arithmetic = arithmetic_of(op, self.executor.arithmetic);
        let weight = self.weights[step.weights];
        let bias = has_bias(op).then(|| self.weights[step.weights + 1]);
        let (x, from) = self.arg(step, 0);
        let (x, out) = ((x, of_linear(op, from)), (out, of_linear(op, to)));
        if let Op::ConvTranspose2d { .. } = op {
            conv2d_grad_input(arithmetic, conv, x, weight, bias, out);
        } else if let Some(padding) = Kernel::padding(op) {
            let (padded, shape) = self.executor.pad(x, padding);
            conv2d(arithmetic, conv, (&padded, shape), weight, bias, step.relu, out);
        } else {
            conv2d(arithmetic, conv, x, weight, bias, step.relu, out);
        }
    }
}

//! The forward pass.

use std::sync::Arc;

use super::{Buffer, Memory, Program, Shapes, Step, conv_of, window_of};
use crate::graph::{Interpolation, Op, Padding};
use crate::kernels::conv::{conv2d, conv2d_grad_input};
use crate::kernels::gemm::{Matrix, matmul};
use crate::kernels::norm::{Affine, Moments, affine, moments};
use crate::kernels::pointwise::{self, Activation};
use crate::kernels::resample::{self, Remap};
use crate::kernels::{Nchw, pool};

/// What a forward pass leaves.
pub(crate) struct Pass {
    /// Values by number; those that are done are gone.
    pub(super) values: Vec<Option<Arc<Buffer>>>,
    /// For each step, the moments of the batch that it normalised by.
    pub(super) moments: Vec<Option<Moments>>,
}

/// A forward pass under way.
struct Run<'a> {
    program: &'a Program,
    shapes: &'a [Nchw],
    weights: &'a [&'a [f32]],
    values: Vec<Option<Arc<Buffer>>>,
    memory: &'a Memory,
}

impl Program {
    /// Runs the graph. `weights` are in the order of [`Program::weights`]; with `train`, batch norms use the batch's
    /// moments, and what the backward pass reads is kept.
    pub(crate) fn forward(
        &self,
        inputs: &[&[f32]],
        shapes: &Shapes,
        weights: &[&[f32]],
        train: bool,
        memory: &Memory,
    ) -> Pass {
        let shapes = &shapes.values;
        let mut run = Run { program: self, shapes, weights, values: vec![None; shapes.len()], memory };
        for (value, input) in self.inputs.iter().zip(inputs) {
            let mut buffer = memory.take(input.len());
            buffer.copy_from_slice(input);
            run.values[*value] = Some(Arc::new(buffer));
        }
        let mut moments = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            moments.push(if train { run.moments(step) } else { None });
            let value = run.step(step, moments.last().and_then(Option::as_ref));
            run.values[step.out] = Some(value);
            step.done[usize::from(train)].iter().for_each(|value| run.values[*value] = None);
        }
        Pass { values: run.values, moments }
    }

    /// The values that leave the graph.
    pub(crate) fn outputs<'a>(&self, pass: &'a Pass) -> Vec<&'a [f32]> {
        let value = |value: &usize| -> &[f32] { pass.values[*value].as_ref().expect("outputs are never freed") };
        self.outputs.iter().map(value).collect()
    }

    /// For every batch norm, the number of its running mean (that of its variance follows) and the batch's mean and
    /// unbiased variance.
    pub(crate) fn statistics(&self, pass: &Pass, shapes: &Shapes) -> Vec<(usize, Moments)> {
        let unbiased = |(step, moments): (&Step, &Option<Moments>)| {
            let shape = shapes.values[step.out];
            let count = (shape.n * shape.plane()) as f32;
            let mut moments = moments.clone()?;
            moments.var.iter_mut().for_each(|var| *var *= count / (count - 1.0).max(1.0));
            Some((step.weights + 2, moments))
        };
        self.steps.iter().zip(&pass.moments).filter_map(unbiased).collect()
    }
}

impl Run<'_> {
    fn arg(&self, step: &Step, i: usize) -> (&[f32], Nchw) {
        let value = step.args[i];
        (self.values[value].as_ref().expect("a value lives until its last reader ran"), self.shapes[value])
    }

    fn moments(&self, step: &Step) -> Option<Moments> {
        let (x, shape) = self.arg(step, 0);
        matches!(self.program.graph.nodes[step.node].op, Op::BatchNorm { .. }).then(|| moments(x, shape))
    }

    fn step(&self, step: &Step, moments: Option<&Moments>) -> Arc<Buffer> {
        let op = &self.program.graph.nodes[step.node].op;
        if *op == Op::Flatten {
            return self.values[step.args[0]].clone().expect("a value lives until its last reader ran");
        }
        let shape = self.shapes[step.out];
        let mut buffer = self.memory.take(shape.len());
        let out = &mut buffer[..];
        let (x, from) = self.arg(step, 0);
        match *op {
            Op::Conv2d { .. } | Op::ConvTranspose2d { .. } | Op::Linear { .. } => self.linear(step, op, (out, shape)),
            Op::BatchNorm { eps } => {
                let [weight, bias, mean, var] = [0, 1, 2, 3].map(|i| self.weights[step.weights + i]);
                let (mean, var) = moments.map_or((mean, var), |moments| (&moments.mean, &moments.var));
                affine(x, from, &Affine::new(mean, var, weight, bias, eps), step.relu, out);
            }
            Op::MaxPool { .. } | Op::AvgPool { .. } => {
                let window = window_of(op).expect("a pool has a window");
                let pool = if matches!(op, Op::MaxPool { .. }) { pool::max_pool } else { pool::avg_pool };
                pool(&window, (x, from), (out, shape));
            }
            Op::GlobalAvgPool => pool::global_avg_pool(x, from, out),
            Op::Upsample { factor, mode: Interpolation::Nearest } => {
                Remap::nearest(from.h, from.w, factor).forward((x, from), out);
            }
            Op::Upsample { factor, mode: Interpolation::Bilinear } => resample::bilinear((x, from), factor, out),
            Op::PixelShuffle { factor } => resample::pixel_shuffle((x, from), factor, out),
            Op::PixelUnshuffle { factor } => resample::pixel_unshuffle(x, factor, (out, shape)),
            Op::Softmax => pointwise::softmax((x, from), out),
            Op::Concat => {
                let part = |i| (self.arg(step, i).0, self.arg(step, i).1.item());
                pointwise::concat(&(0..step.args.len()).map(part).collect::<Vec<_>>(), out);
            }
            Op::Add => pointwise::map2(x, self.arg(step, 1).0, out, |a, b| a + b),
            Op::Sub => pointwise::map2(x, self.arg(step, 1).0, out, |a, b| a - b),
            Op::Mul => pointwise::map2(x, self.arg(step, 1).0, out, |a, b| a * b),
            Op::Scale { scale, shift } => pointwise::map(x, out, |x| x * scale as f32 + shift as f32),
            _ => activation_of(op).expect("no other ops are left").forward(x, out),
        }
        Arc::new(buffer)
    }

    /// The ops with a weight matrix.
    fn linear(&self, step: &Step, op: &Op, out: (&mut [f32], Nchw)) {
        let weight = self.weights[step.weights];
        let bias = has_bias(op).then(|| self.weights[step.weights + 1]);
        let (x, from) = self.arg(step, 0);
        if let Op::Linear { .. } = op {
            let (out, to) = out;
            matmul(Matrix::new(x, from.n, from.c), Matrix::new(weight, to.c, from.c).t(), out);
            if let Some(bias) = bias {
                out.chunks_exact_mut(to.c).for_each(|row| row.iter_mut().zip(bias).for_each(|(out, b)| *out += b));
            }
            return;
        }
        let conv = conv_of(op).expect("no other ops are left");
        if let Op::ConvTranspose2d { .. } = op {
            conv2d_grad_input(&conv, (x, from), weight, bias, out);
        } else if let Some(remap) = padding_of(op, from) {
            let shape = remap.output(from);
            let mut padded = self.memory.take(shape.len());
            remap.forward((x, from), &mut padded);
            conv2d(&conv, (&padded, shape), weight, bias, step.relu, out);
        } else {
            conv2d(&conv, (x, from), weight, bias, step.relu, out);
        }
    }
}

/// Whether an op with a weight has a bias too.
pub(super) fn has_bias(op: &Op) -> bool {
    op.weight_names().contains(&"bias")
}

/// The copy that pads a convolution's input, where it is not zeros.
pub(super) fn padding_of(op: &Op, x: Nchw) -> Option<Remap> {
    match *op {
        Op::Conv2d { padding_mode: Padding::Replicate, padding, .. } => Some(Remap::replicate(x.h, x.w, padding)),
        Op::Conv2d { padding_mode: Padding::Reflect, padding, .. } => Some(Remap::reflect(x.h, x.w, padding)),
        _ => None,
    }
}

/// The activation that an op is.
pub(super) fn activation_of(op: &Op) -> Option<Activation> {
    match *op {
        Op::Relu => Some(Activation::Relu),
        Op::LeakyRelu { slope } => Some(Activation::LeakyRelu(slope as f32)),
        Op::Sigmoid => Some(Activation::Sigmoid),
        Op::Tanh => Some(Activation::Tanh),
        Op::Silu => Some(Activation::Silu),
        _ => None,
    }
}

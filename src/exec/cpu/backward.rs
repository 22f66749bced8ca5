//! The backward pass.

use super::forward::{activation_of, has_bias, padding_of};
use super::{Buffer, Memory, Pass, Program, Shapes, Step, conv_of, window_of};
use crate::graph::{Interpolation, Op};
use crate::kernels::conv::{Conv, conv2d, conv2d_grad_input, conv2d_grad_weight};
use crate::kernels::gemm::{Matrix, matmul};
use crate::kernels::norm::{Affine, batch_norm_grad, sum_channels};
use crate::kernels::resample::{self, Remap};
use crate::kernels::{Nchw, pointwise, pool};

/// What a backward pass finds.
pub(crate) struct Gradients {
    /// For each weight that is trained and has an effect.
    pub(crate) weights: Vec<Option<Vec<f32>>>,
    /// For each input that was asked for and has an effect.
    pub(crate) inputs: Vec<Option<Buffer>>,
}

/// What the forward pass kept.
#[derive(Clone, Copy)]
struct Kept<'a> {
    pass: &'a Pass,
    shapes: &'a [Nchw],
}

impl<'a> Kept<'a> {
    fn value(self, value: usize) -> (&'a [f32], Nchw) {
        let kept = self.pass.values[value].as_ref();
        (kept.expect("what a backward pass reads is kept"), self.shapes[value])
    }
}

/// A backward pass under way.
struct Run<'a> {
    program: &'a Program,
    kept: Kept<'a>,
    shapes: &'a [Nchw],
    weights: &'a [&'a [f32]],
    memory: &'a Memory,
    /// Whether a value depends on anything whose gradient is sought.
    sought: Vec<bool>,
    /// Gradients of values, as far as they are summed.
    grads: Vec<Option<Buffer>>,
    weight_grads: Vec<Option<Vec<f32>>>,
}

impl Program {
    /// Gradients of the trained weights and, where `inputs` says so, of the inputs, from those of the outputs.
    pub(crate) fn backward(
        &self,
        pass: &Pass,
        shapes: &Shapes,
        weights: &[&[f32]],
        outputs: &[&[f32]],
        inputs: &[bool],
        memory: &Memory,
    ) -> Gradients {
        let mut sought = vec![false; shapes.values.len()];
        self.inputs.iter().zip(inputs).for_each(|(value, wanted)| sought[*value] = *wanted);
        for step in &self.steps {
            let trained = self.trained(step);
            sought[step.out] = trained || step.args.iter().any(|arg| sought[*arg]);
        }
        let mut run = Run {
            program: self,
            kept: Kept { pass, shapes: &shapes.values },
            shapes: &shapes.values,
            weights,
            memory,
            sought,
            grads: (0..shapes.values.len()).map(|_| None).collect(),
            weight_grads: vec![None; weights.len()],
        };
        for (value, g) in self.outputs.iter().zip(outputs) {
            let mut buffer = memory.take(g.len());
            buffer.copy_from_slice(g);
            run.add(*value, buffer);
        }
        for (i, step) in self.steps.iter().enumerate().rev() {
            if let Some(g) = run.grads[step.out].take() {
                run.step(i, step, g);
            }
        }
        Gradients { inputs: self.inputs.iter().map(|value| run.grads[*value].take()).collect(), weights: run.weight_grads }
    }

    fn trained(&self, step: &Step) -> bool {
        let count = self.graph.nodes[step.node].op.weight_names().len();
        self.weights[step.weights..step.weights + count].iter().any(|weight| weight.trained)
    }
}

impl Run<'_> {
    /// Adds to the gradient of a value.
    fn add(&mut self, value: usize, g: Buffer) {
        match &mut self.grads[value] {
            _ if !self.sought[value] => {}
            Some(sum) => pointwise::update(sum, &g, |sum, g| sum + g),
            none => *none = Some(g),
        }
    }

    /// Adds what `fill` makes to the gradient of a step's input `i`, where it is sought.
    fn give(&mut self, step: &Step, i: usize, fill: impl FnOnce(&mut [f32], Nchw)) {
        let value = step.args[i];
        if self.sought[value] {
            let mut buffer = self.memory.take(self.shapes[value].len());
            fill(&mut buffer, self.shapes[value]);
            self.add(value, buffer);
        }
    }

    fn step(&mut self, i: usize, step: &Step, mut g: Buffer) {
        let (op, to) = (&self.program.graph.nodes[step.node].op, self.shapes[step.out]);
        let kept = self.kept;
        let x = || kept.value(step.args[0]);
        match *op {
            Op::Conv2d { .. } => {
                if step.relu {
                    let (y, _) = kept.value(step.out);
                    pointwise::update(&mut g, y, |g, y| if y > 0.0 { g } else { 0.0 });
                }
                self.conv(step, op, x(), (&g, to));
            }
            Op::ConvTranspose2d { .. } => self.conv_transpose(step, op, x(), (&g, to)),
            Op::Linear { .. } => self.linear(step, op, x(), (&g, to)),
            Op::BatchNorm { eps } => self.batch_norm(i, step, eps, x(), &g),
            Op::MaxPool { .. } => {
                let window = window_of(op).expect("a pool has a window");
                self.give(step, 0, |dx, _| pool::max_pool_grad(&window, x(), (&g, to), dx));
            }
            Op::AvgPool { .. } => {
                let window = window_of(op).expect("a pool has a window");
                self.give(step, 0, |dx, from| pool::avg_pool_grad(&window, (&g, to), (dx, from)));
            }
            Op::GlobalAvgPool => self.give(step, 0, |dx, from| pool::global_avg_pool_grad(&g, from, dx)),
            Op::Upsample { factor, mode: Interpolation::Nearest } => {
                self.give(step, 0, |dx, from| Remap::nearest(from.h, from.w, factor).backward(&g, (dx, from)));
            }
            Op::Upsample { factor, mode: Interpolation::Bilinear } => {
                self.give(step, 0, |dx, from| resample::bilinear_grad(&g, factor, (dx, from)));
            }
            Op::PixelShuffle { factor } => {
                self.give(step, 0, |dx, from| resample::pixel_unshuffle(&g, factor, (dx, from)));
            }
            Op::PixelUnshuffle { factor } => self.give(step, 0, |dx, _| resample::pixel_shuffle((&g, to), factor, dx)),
            Op::Softmax => self.give(step, 0, |dx, _| pointwise::softmax_grad(kept.value(step.out), &g, dx)),
            Op::Concat => {
                let mut first = 0;
                for (i, arg) in step.args.iter().enumerate() {
                    self.give(step, i, |dx, _| pointwise::concat_grad(&g, to.item(), first, dx));
                    first += self.shapes[*arg].item();
                }
            }
            Op::Sub => {
                self.give(step, 1, |dx, _| pointwise::map(&g, dx, |g| -g));
                self.add(step.args[0], g);
            }
            Op::Add => {
                self.give(step, 1, |dx, _| dx.copy_from_slice(&g));
                self.add(step.args[0], g);
            }
            Op::Mul => {
                let ((a, _), (b, _)) = (x(), kept.value(step.args[1]));
                self.give(step, 0, |dx, _| pointwise::map2(&g, b, dx, |g, b| g * b));
                self.give(step, 1, |dx, _| pointwise::map2(&g, a, dx, |g, a| g * a));
            }
            Op::Scale { scale, .. } => self.give(step, 0, |dx, _| pointwise::map(&g, dx, |g| g * scale as f32)),
            Op::Flatten => self.add(step.args[0], g),
            _ => {
                let activation = activation_of(op).expect("no other ops are left");
                self.give(step, 0, |dx, _| activation.backward(x().0, &g, dx));
            }
        }
    }

    /// Whether a step's weights are trained, and then the gradient of its bias.
    fn bias(&mut self, step: &Step, op: &Op, g: (&[f32], Nchw)) -> bool {
        let trained = self.program.trained(step);
        if trained && has_bias(op) {
            self.weight_grads[step.weights + 1] = Some(sum_channels(g.0, g.1));
        }
        trained
    }

    fn conv(&mut self, step: &Step, op: &Op, x: (&[f32], Nchw), g: (&[f32], Nchw)) {
        let (conv, weight) = (conv_of(op).expect("a convolution"), self.weights[step.weights]);
        let remap = padding_of(op, x.1);
        if self.bias(step, op, g) {
            let mut dw = vec![0.0; weight.len()];
            match &remap {
                None => conv2d_grad_weight(&conv, x, g, &mut dw),
                Some(remap) => {
                    let shape = remap.output(x.1);
                    let mut padded = self.memory.take(shape.len());
                    remap.forward(x, &mut padded);
                    conv2d_grad_weight(&conv, (&padded, shape), g, &mut dw);
                }
            }
            self.weight_grads[step.weights] = Some(dw);
        }
        let memory = self.memory;
        self.give(step, 0, |dx, from| match &remap {
            None => conv2d_grad_input(&conv, g, weight, None, (dx, from)),
            Some(remap) => {
                let shape = remap.output(from);
                let mut padded = memory.take(shape.len());
                conv2d_grad_input(&conv, g, weight, None, (&mut padded, shape));
                remap.backward(&padded, (dx, from));
            }
        });
    }

    /// A transposed convolution runs the gradient of a convolution forward, so its own gradients are that convolution's
    /// forward pass, and the gradient of its weight with the two sides exchanged.
    fn conv_transpose(&mut self, step: &Step, op: &Op, x: (&[f32], Nchw), g: (&[f32], Nchw)) {
        let conv: Conv = conv_of(op).expect("a convolution");
        let weight = self.weights[step.weights];
        if self.bias(step, op, g) {
            let mut dw = vec![0.0; weight.len()];
            conv2d_grad_weight(&conv, g, x, &mut dw);
            self.weight_grads[step.weights] = Some(dw);
        }
        self.give(step, 0, |dx, from| conv2d(&conv, g, weight, None, false, (dx, from)));
    }

    fn linear(&mut self, step: &Step, op: &Op, x: (&[f32], Nchw), g: (&[f32], Nchw)) {
        let weight = self.weights[step.weights];
        let ((x, from), (g, to)) = (x, g);
        let rows = Matrix::new(g, to.n, to.c);
        if self.bias(step, op, (g, to)) {
            let mut dw = vec![0.0; weight.len()];
            matmul(rows.t(), Matrix::new(x, from.n, from.c), &mut dw);
            self.weight_grads[step.weights] = Some(dw);
        }
        self.give(step, 0, |dx, _| matmul(rows, Matrix::new(weight, to.c, from.c), dx));
    }

    fn batch_norm(&mut self, i: usize, step: &Step, eps: f64, x: (&[f32], Nchw), g: &[f32]) {
        let moments = self.kept.pass.moments[i].as_ref().expect("a training pass takes moments");
        let [weight, bias] = [0, 1].map(|i| self.weights[step.weights + i]);
        let forward = Affine::new(&moments.mean, &moments.var, weight, bias, eps);
        let mut dx = self.memory.take(x.0.len());
        let (weight, bias) = batch_norm_grad(x, g, moments, &forward, eps, step.relu, &mut dx);
        self.weight_grads[step.weights] = Some(weight);
        self.weight_grads[step.weights + 1] = Some(bias);
        self.add(step.args[0], dx);
    }
}

//! The backward pass.

use rayon::prelude::*;

use super::forward::{each_row, of_linear, padded, planes};
use super::kernel::{Kernel, activation_of, window_of};
use super::{Buffer, Executor, Pass, Shapes, Step, arithmetic_of, conv_of, has_bias};
use crate::graph::{Interpolation, Op};
use crate::kernels::conv::{Conv, conv2d, conv2d_grad_input, conv2d_grad_weight};
use crate::kernels::norm::{Affine, batch_norm_grad, sum_channels};
use crate::kernels::rows::{self, gradients};
use crate::kernels::{Nhwc, pointwise};

/// What a backward pass finds.
pub(crate) struct Gradients {
    /// For each weight that is trained and has an effect.
    pub(crate) weights: Vec<Option<Vec<f32>>>,
    /// For each input that was asked for and has an effect, N, C, H, W.
    pub(crate) inputs: Vec<Option<Vec<f32>>>,
}

/// What the forward pass kept.
#[derive(Clone, Copy)]
struct Kept<'a> {
    pass: &'a Pass,
    shapes: &'a [Nhwc],
}

impl<'a> Kept<'a> {
    fn value(self, value: usize) -> (&'a [f32], Nhwc) {
        let kept = self.pass.values[value].as_ref();
        (kept.expect("what a backward pass reads is kept"), self.shapes[value])
    }
}

/// A backward pass under way.
struct Run<'a> {
    executor: &'a Executor,
    kept: Kept<'a>,
    shapes: &'a [Nhwc],
    weights: &'a [&'a [f32]],
    /// Whether a value depends on anything whose gradient is sought.
    sought: Vec<bool>,
    /// Gradients of values, as far as they are summed.
    grads: Vec<Option<Buffer>>,
    weight_grads: Vec<Option<Vec<f32>>>,
}

impl Executor {
    /// Gradients of the trained weights and, where `inputs` says so, of the inputs, from those of the outputs, N, C, H, W.
    pub(crate) fn backward(
        &self,
        pass: &Pass,
        shapes: &Shapes,
        weights: &[&[f32]],
        outputs: &[&[f32]],
        inputs: &[bool],
    ) -> Gradients {
        let (program, shapes) = (&self.program, &shapes.values[..]);
        let mut sought = vec![false; shapes.len()];
        for (value, wanted) in program.inputs.iter().zip(inputs) {
            sought[*value] = *wanted;
        }
        for step in &program.steps {
            sought[step.out] = self.trained(step) || step.args.iter().any(|arg| sought[*arg]);
        }
        let mut run = Run {
            executor: self,
            kept: Kept { pass, shapes },
            shapes,
            weights,
            sought,
            grads: (0..shapes.len()).map(|_| None).collect(),
            weight_grads: vec![None; weights.len()],
        };
        for (value, g) in program.outputs.iter().zip(outputs) {
            run.add(*value, self.interleave(g, shapes[*value]));
        }
        for (i, step) in program.steps.iter().enumerate().rev() {
            if let Some(g) = run.grads[step.out].take() {
                run.step(i, step, g);
            }
        }
        let input = |value: &usize| {
            let mut out = Vec::new();
            planes(&run.grads[*value].take()?, shapes[*value], &mut out);
            Some(out)
        };
        Gradients {
            inputs: program.inputs.iter().map(input).collect(),
            weights: run.weight_grads,
        }
    }

    fn trained(&self, step: &Step) -> bool {
        let count = self.program.graph.nodes[step.node].op.weight_names().len();
        self.program.weights[step.weights..step.weights + count]
            .iter()
            .any(|weight| weight.trained)
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
    fn give(&mut self, step: &Step, i: usize, fill: impl FnOnce(&mut [f32], Nhwc)) {
        let value = step.args[i];
        if self.sought[value] {
            let mut buffer = self.executor.memory.take(self.shapes[value].len());
            fill(&mut buffer, self.shapes[value]);
            self.add(value, buffer);
        }
    }

    /// [`Run::give`], picture by picture: `fill(item, g, dx)`.
    fn give_items(&mut self, step: &Step, i: usize, g: &[f32], fill: impl Fn(usize, &[f32], &mut [f32]) + Sync) {
        self.give(step, i, |dx, from| {
            let items = dx
                .par_chunks_exact_mut(from.item())
                .zip(g.par_chunks_exact(g.len() / from.n));
            items.enumerate().for_each(|(item, (dx, g))| fill(item, g, dx));
        });
    }

    fn step(&mut self, i: usize, step: &Step, mut g: Buffer) {
        let executor = self.executor;
        let (op, to) = (&executor.program.graph.nodes[step.node].op, self.shapes[step.out]);
        let (kept, from) = (self.kept, self.shapes[step.args[0]]);
        let x = || kept.value(step.args[0]);
        if let Some(conv) = conv_of(op) {
            if step.relu {
                let (y, _) = kept.value(step.out);
                pointwise::update(&mut g, y, |g, y| if y > 0.0 { g } else { 0.0 });
            }
            let (x, g) = ((x().0, of_linear(op, from)), (&g[..], of_linear(op, to)));
            return if let Op::ConvTranspose2d { .. } = op {
                self.conv_transpose(step, op, &conv, x, g);
            } else {
                self.conv(step, op, &conv, x, g);
            };
        }
        match *op {
            Op::BatchNorm { eps } => self.batch_norm(i, step, eps, x(), &g),
            Op::MaxPool { .. } => {
                let (window, x) = (window_of(op).expect("a pool has a window"), x().0);
                self.give_items(step, 0, &g, |item, g, dx| {
                    let x = &x[item * from.item()..(item + 1) * from.item()];
                    gradients::max_pool(window, (x, from), (g, to), dx);
                });
            }
            Op::AvgPool { .. } => {
                let window = window_of(op).expect("a pool has a window");
                self.give_items(step, 0, &g, |_, g, dx| gradients::avg_pool(window, from, (g, to), dx));
            }
            Op::GlobalAvgPool => self.give_items(step, 0, &g, |_, g, dx| gradients::global_avg(g, from, dx)),
            Op::Upsample {
                factor,
                mode: Interpolation::Nearest,
            } => {
                let place = |at: usize| at / factor;
                self.give_items(step, 0, &g, |_, g, dx| {
                    gradients::shown((g, to), place, place, (dx, from))
                });
            }
            Op::Upsample {
                factor,
                mode: Interpolation::Bilinear,
            } => {
                self.give_items(step, 0, &g, |_, g, dx| gradients::bilinear(g, factor, (dx, from)));
            }
            Op::PixelShuffle { factor } => {
                self.give(step, 0, |dx, from| {
                    each_row(&Kernel::Unshuffle(factor), &[(&g, to)], (dx, from))
                });
            }
            Op::PixelUnshuffle { factor } => {
                self.give(step, 0, |dx, from| {
                    each_row(&Kernel::Shuffle(factor), &[(&g, to)], (dx, from))
                });
            }
            Op::Softmax => {
                let y = kept.value(step.out).0;
                self.give_items(step, 0, &g, |item, g, dx| {
                    gradients::softmax(&y[item * to.item()..(item + 1) * to.item()], g, to.c, dx);
                });
            }
            Op::Concat => {
                let mut first = 0;
                for i in 0..step.args.len() {
                    let own = self.shapes[step.args[i]].c;
                    self.give_items(step, i, &g, |_, g, dx| gradients::part(g, to.c, first, own, dx));
                    first += own;
                }
            }
            Op::Flatten => self.give_items(step, 0, &g, |_, g, dx| {
                rows::interleave(g.chunks_exact(from.h * from.w), dx);
            }),
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
            _ => {
                let activation = activation_of(op).expect("no other ops are left");
                self.give(step, 0, |dx, _| activation.backward(x().0, &g, dx));
            }
        }
    }

    /// Whether a step's weights are trained, and then the gradient of its bias.
    fn bias(&mut self, step: &Step, op: &Op, g: (&[f32], Nhwc)) -> bool {
        let trained = self.executor.trained(step);
        if trained && has_bias(op) {
            self.weight_grads[step.weights + 1] = Some(sum_channels(g.0, g.1));
        }
        trained
    }

    #[rustfmt::skip]
    fn conv(&mut self, step: &Step, op: &Op, conv: &Conv, x: (&[f32], Nhwc), g: (&[f32], Nhwc)) {
        let (executor, weight) = (self.executor, self.weights[step.weights]);
        let (arithmetic, padding) = (arithmetic_of(op, executor.arithmetic), Kernel::padding(op));
        if self.bias(step, op, g) {
            let mut dw = vec![0.0; weight.len()];
            if let Some(padding) = padding {
                let (padded, shape) = executor.pad(x, padding);
                conv2d_grad_weight(arithmetic, conv, (&padded, shape), g, &mut dw);
            } else {
                conv2d_grad_weight(arithmetic, conv, x, g, &mut dw);
            }
            self.weight_grads[step.weights] = Some(dw);
        }
        self.give(step, 0, |dx, _| {
            let from = x.1;
            let Some((border, reflect)) = padding else {
                return conv2d_grad_input(arithmetic, conv, g, weight, None, (dx, from));
            };
            let shape = padded(from, border);
            let mut outer = executor.memory.take(shape.len());
            conv2d_grad_input(arithmetic, conv, g, weight, None, (&mut outer, shape));
            let row = |y: usize| rows::padded(y, border, from.h, reflect);
            let column = |x: usize| rows::padded(x, border, from.w, reflect);
            let items = dx.par_chunks_exact_mut(from.item()).zip(outer.par_chunks_exact(shape.item()));
            items.for_each(|(dx, outer)| gradients::shown((outer, shape), row, column, (dx, from)));
        });
    }

    /// A transposed convolution runs the gradient of a convolution forward, so its own gradients are that convolution's
    /// forward pass, and the gradient of its weight with the two sides exchanged.
    #[rustfmt::skip]
    fn conv_transpose(&mut self, step: &Step, op: &Op, conv: &Conv, x: (&[f32], Nhwc), g: (&[f32], Nhwc)) {
        let (arithmetic, weight) = (self.executor.arithmetic, self.weights[step.weights]);
        if self.bias(step, op, g) {
            let mut dw = vec![0.0; weight.len()];
            conv2d_grad_weight(arithmetic, conv, g, x, &mut dw);
            self.weight_grads[step.weights] = Some(dw);
        }
        self.give(step, 0, |dx, from| conv2d(arithmetic, conv, g, weight, None, false, (dx, from)));
    }

    fn batch_norm(&mut self, i: usize, step: &Step, eps: f64, x: (&[f32], Nhwc), g: &[f32]) {
        let moments = self.kept.pass.moments[i]
            .as_ref()
            .expect("a training pass takes moments");
        let [weight, bias] = [0, 1].map(|i| self.weights[step.weights + i]);
        let forward = Affine::new(&moments.mean, &moments.var, weight, bias, eps);
        let mut dx = self.executor.memory.take(x.0.len());
        let (weight, bias) = batch_norm_grad(x, g, moments, &forward, eps, step.relu, &mut dx);
        self.weight_grads[step.weights] = Some(weight);
        self.weight_grads[step.weights + 1] = Some(bias);
        self.add(step.args[0], dx);
    }
}

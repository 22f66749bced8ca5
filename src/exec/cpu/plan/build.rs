//! From the steps of a program to the stages of a plan.

use std::sync::Arc;

use super::stage::{Kernel, enlarge};
use super::{Machine, Stage};
use crate::exec::cpu::forward::{activation_of, has_bias};
use crate::exec::cpu::{Program, Step, conv_of, window_of};
use crate::graph::{Op, Padding};
use crate::kernels::Nchw;
use crate::kernels::norm::Affine;
use crate::kernels::rows::{self, Columns, Direct, Filter, Layout, TileFilter};

/// Stages and the layouts of their values.
pub(super) struct Built {
    pub stages: Vec<Stage>,
    pub layouts: Vec<Layout>,
    /// The stage that makes each value of the program.
    pub made: Vec<usize>,
}

/// Builds the stages of a program, for values of `shapes`. `weights` in the order of the program's.
pub(super) fn build(program: &Program, shapes: &[Nchw], weights: &[Vec<f32>], machine: Machine) -> Built {
    let (stages, layouts, made) = (Vec::new(), Vec::new(), vec![usize::MAX; shapes.len()]);
    let built = Built { stages, layouts, made };
    let mut builder = Builder {
        program,
        shapes,
        weights,
        machine,
        built,
    };
    for (number, value) in program.inputs.iter().enumerate() {
        let layout = builder.layout(*value);
        builder.built.made[*value] = builder.push(Kernel::Input(number), vec![], layout);
    }
    program.steps.iter().for_each(|step| builder.step(step));
    builder.built
}

/// Building under way.
struct Builder<'a> {
    program: &'a Program,
    shapes: &'a [Nchw],
    weights: &'a [Vec<f32>],
    machine: Machine,
    built: Built,
}

impl Builder<'_> {
    fn push(&mut self, kernel: Kernel, args: Vec<usize>, layout: Layout) -> usize {
        self.built.stages.push(Stage { kernel, args });
        self.built.layouts.push(layout);
        self.built.stages.len() - 1
    }

    fn layout(&self, value: usize) -> Layout {
        let Nchw { c, h, w, .. } = self.shapes[value];
        Layout::new(c, h, w)
    }

    /// The step's weight and its bias, empty where there is none.
    fn weight(&self, step: &Step, op: &Op) -> (&[f32], &[f32]) {
        let bias = if has_bias(op) {
            self.weights[step.weights + 1].as_slice()
        } else {
            &[]
        };
        (&self.weights[step.weights], bias)
    }

    fn step(&mut self, step: &Step) {
        let op = &self.program.graph.nodes[step.node].op;
        let args: Vec<usize> = step.args.iter().map(|arg| self.built.made[*arg]).collect();
        let floor = if step.relu { 0.0 } else { f32::NEG_INFINITY };
        let (to, from) = (self.layout(step.out), self.built.layouts[args[0]].clone());
        let kernel = match *op {
            Op::Conv2d { .. } | Op::ConvTranspose2d { .. } => {
                self.built.made[step.out] = self.convolution(step, op, args[0], floor, to);
                return;
            }
            Op::Linear { out, .. } => {
                let (weight, bias) = self.weight(step, op);
                Kernel::Conv(
                    Direct::linear(self.machine.isa, out, from.channels, weight),
                    bias.to_vec(),
                    floor,
                )
            }
            Op::BatchNorm { eps } => {
                let [weight, bias, mean, var] = [0, 1, 2, 3].map(|i| self.weights[step.weights + i].as_slice());
                Kernel::Affine(Affine::new(mean, var, weight, bias, eps), floor)
            }
            Op::MaxPool { .. } | Op::AvgPool { .. } => {
                let window = window_of(op).expect("a pool has a window");
                let (kernel, stride, padding) = (window.kernel, window.stride, window.padding);
                let columns = Columns {
                    kernel,
                    stride,
                    padding,
                };
                if matches!(op, Op::MaxPool { .. }) {
                    Kernel::MaxPool(columns)
                } else {
                    Kernel::AvgPool(columns)
                }
            }
            Op::GlobalAvgPool => Kernel::GlobalAvgPool,
            Op::Upsample { factor, mode } => enlarge(factor, mode, &from),
            Op::PixelShuffle { factor } => Kernel::Shuffle(factor),
            Op::PixelUnshuffle { factor } => Kernel::Unshuffle(factor),
            Op::Softmax => Kernel::Softmax,
            Op::Concat => Kernel::Concat,
            Op::Add => Kernel::Add,
            Op::Sub => Kernel::Sub,
            Op::Mul => Kernel::Mul,
            Op::Scale { scale, shift } => Kernel::Scale(scale as f32, shift as f32),
            Op::Flatten => Kernel::Flatten,
            _ => Kernel::Activation(activation_of(op).expect("no other ops are left")),
        };
        self.built.made[step.out] = self.push(kernel, args, to);
    }

    fn convolution(&mut self, step: &Step, op: &Op, mut arg: usize, floor: f32, to: Layout) -> usize {
        if let Op::Conv2d {
            padding,
            padding_mode: mode @ (Padding::Replicate | Padding::Reflect),
            ..
        } = *op
        {
            let from = &self.built.layouts[arg];
            let padded = Layout::new(from.channels, from.height + 2 * padding, from.width + 2 * padding);
            arg = self.push(Kernel::Pad(padding, mode), vec![arg], padded);
        }
        let conv = conv_of(op).expect("called for convolutions");
        let from = self.built.layouts[arg].clone();
        let (weight, bias) = self.weight(step, op);
        let bias = bias.to_vec();
        if let (Some(tiles), Op::Conv2d { groups: 1, .. }) = (self.machine.tiles, op) {
            let weight = conv.weight(from.channels, weight);
            let filter = Arc::new(TileFilter::new(tiles, &conv, from.channels, to.channels, weight));
            let converted = Layout::new(filter.words(from.width, to.width), from.height, 1);
            arg = self.push(Kernel::Convert(filter.clone()), vec![arg], converted);
            return self.push(Kernel::Tiles(filter, bias, floor), vec![arg], to);
        }
        let filter = if let Op::ConvTranspose2d { .. } = op {
            Filter::backward(
                self.machine.isa,
                &conv,
                to.channels,
                from.channels,
                conv.weight(to.channels, weight),
            )
        } else {
            Filter::forward(
                self.machine.isa,
                &conv,
                from.channels,
                to.channels,
                conv.weight(from.channels, weight),
            )
        };
        let [left, right] = filter.reach(from.width, to.width);
        self.built.layouts[arg].reach(left, right);
        let kernel = match filter {
            Filter::Direct(conv) => Kernel::Conv(conv, bias, floor),
            Filter::Transposed(conv) => Kernel::Transposed(conv, bias),
            Filter::Winograd(filter, padding) => {
                let filter = Arc::new(filter);
                let layout = rows::transformed_layout(&self.built.layouts[arg], rows::tiles(to.width));
                arg = self.push(Kernel::Transform(filter.clone(), padding), vec![arg], layout);
                Kernel::Winograd {
                    filter,
                    padding,
                    bias,
                    floor,
                }
            }
        };
        self.push(kernel, vec![arg], to)
    }
}

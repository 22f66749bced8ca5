//! From the steps of a program to the stages of a plan.

use std::sync::Arc;

use super::{Machine, Stage};
use crate::exec::cpu::kernel::Kernel;
use crate::exec::cpu::{Program, Step, arithmetic_of, conv_of, has_bias};
use crate::graph::Op;
use crate::kernels::Nhwc;
use crate::kernels::conv::Conv;
use crate::kernels::norm::Affine;
use crate::kernels::rows::{Filter, Layout};

/// Stages and the layouts of their values.
pub(super) struct Built {
    pub stages: Vec<Stage>,
    pub layouts: Vec<Layout>,
    /// The stage that makes each value of the program.
    pub made: Vec<usize>,
}

/// Builds the stages of a program, for values of `shapes`. `weights` in the order of the program's.
pub(super) fn build(program: &Program, shapes: &[Nhwc], weights: &[Vec<f32>], machine: Machine) -> Built {
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
    shapes: &'a [Nhwc],
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
        let Nhwc { c, h, w, .. } = self.shapes[value];
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
        let to = self.layout(step.out);
        let made = if let Some(conv) = conv_of(op) {
            self.convolution(step, op, &conv, args[0], floor, to)
        } else if let Op::BatchNorm { eps } = *op {
            let [weight, bias, mean, var] = [0, 1, 2, 3].map(|i| self.weights[step.weights + i].as_slice());
            let affine = Affine::new(mean, var, weight, bias, eps);
            self.push(Kernel::Affine(affine, floor), args, to)
        } else {
            let kernel = Kernel::of(op, &self.built.layouts[args[0]]).expect("no other ops are left");
            self.push(kernel, args, to)
        };
        self.built.made[step.out] = made;
    }

    fn convolution(&mut self, step: &Step, op: &Op, conv: &Conv, mut arg: usize, floor: f32, to: Layout) -> usize {
        if let Some((padding, reflect)) = Kernel::padding(op) {
            let from = &self.built.layouts[arg];
            let padded = Layout::new(from.channels, from.height + 2 * padding, from.width + 2 * padding);
            arg = self.push(Kernel::Pad(padding, reflect), vec![arg], padded);
        }
        let (weight, bias) = self.weight(step, op);
        let (arithmetic, bias) = (arithmetic_of(op, self.machine.arithmetic), bias.to_vec());
        let from = &self.built.layouts[arg];
        let (ins, outs) = (from.channels, to.channels);
        let filter = Arc::new(if let Op::ConvTranspose2d { .. } = op {
            Filter::backward(arithmetic, conv, [outs, ins], conv.weight(outs, weight))
        } else {
            Filter::forward(arithmetic, conv, [ins, outs], conv.weight(ins, weight))
        });
        let [left, right] = filter.reach(from.width, to.width);
        self.built.layouts[arg].reach(left, right);
        if let Some(prepared) = filter.prepared(&self.built.layouts[arg], to.width) {
            if self.try_narrow(step, arg, &filter) {
                self.built.layouts[arg] = prepared;
            } else {
                arg = self.push(Kernel::Prepare(filter.clone()), vec![arg], prepared);
            }
        }
        let narrow = None;
        #[rustfmt::skip]
        return self.push(Kernel::Conv { filter, bias, floor, narrow }, vec![arg], to);
    }

    /// Has stage `arg` make its rows in the form that `filter` wants, where that can be and `step`, by this filter, alone reads them. Returns
    /// whether it does.
    fn try_narrow(&mut self, step: &Step, arg: usize, filter: &Filter) -> bool {
        let width = self.built.layouts[arg].width;
        let Kernel::Conv {
            filter: giver, narrow, ..
        } = &mut self.built.stages[arg].kernel
        else {
            return false;
        };
        let value = step.args[0];
        let readers = self
            .program
            .steps
            .iter()
            .flat_map(|step| &step.args)
            .filter(|arg| **arg == value)
            .count();
        if readers > 1 || self.program.outputs.contains(&value) {
            return false;
        }
        *narrow = giver.narrow(filter, width);
        narrow.is_some()
    }
}

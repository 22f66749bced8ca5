//! A graph on the CPU by the kernels of this crate: forward, and backward through what a training pass kept.

mod backward;
mod forward;
mod kernel;
mod memory;
mod plan;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use crate::graph::{Graph, Node, Op};
use crate::kernels::conv::Conv;
use crate::kernels::{Arithmetic, Nhwc};
use crate::{Error, Result};

pub(crate) use forward::Pass;
pub(crate) use memory::{Buffer, Memory};
pub use plan::Rows;
pub(crate) use plan::{Machine, Planner, by_rows};

/// Momentum of running statistics: the share of the newest batch.
pub(crate) const MOMENTUM: f32 = 0.1;

/// A weight that a graph names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Weight {
    /// Its name in [`crate::graph::Weights`].
    pub(crate) name: String,
    /// Whether an optimiser may change it.
    pub(crate) trained: bool,
}

/// All weights of `graph`, in the order of its nodes.
pub(crate) fn weights_of(graph: &Graph) -> Vec<Weight> {
    let weights = |node: &Node| {
        let frozen = matches!(node.op, Op::Conv2d { frozen: true, .. });
        let weight = |name: &&str| Weight {
            name: node.weight(name),
            trained: !frozen && !name.starts_with("running_"),
        };
        node.op.weight_names().iter().map(weight).collect::<Vec<_>>()
    };
    graph.nodes.iter().flat_map(weights).collect()
}

/// A node to run. A value has the number of the node that makes it.
struct Step {
    node: usize,
    /// The values that it reads.
    args: Vec<usize>,
    /// The value that it makes: its own, or that of the ReLU that it does as well.
    out: usize,
    relu: bool,
    /// Number of its first weight; the others follow.
    weights: usize,
    /// Values that nothing reads afterwards: in inference, and in a forward pass that a backward pass follows.
    done: [Vec<usize>; 2],
}

/// A graph made ready: names are numbers, a ReLU belongs to the step before it, values are freed when they are done.
pub(crate) struct Program {
    graph: Graph,
    steps: Vec<Step>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    /// What the graph names, in the order in which every call takes them.
    pub(crate) weights: Vec<Weight>,
}

impl Program {
    pub(crate) fn new(graph: &Graph) -> Result<Self> {
        let numbers: HashMap<&str, usize> = graph
            .nodes
            .iter()
            .enumerate()
            .map(|(i, node)| (&*node.name, i))
            .collect();
        let number = |node: &str, input: &str| {
            let found = numbers.get(input).copied();
            found.ok_or_else(|| Error::graph(node, format!("there is no node `{input}`")))
        };
        let outputs = graph
            .outputs
            .iter()
            .map(|name| number(name, name))
            .collect::<Result<Vec<_>>>()?;
        let mut args = Vec::new();
        for node in &graph.nodes {
            args.push(
                node.inputs
                    .iter()
                    .map(|input| number(&node.name, input))
                    .collect::<Result<Vec<_>>>()?,
            );
        }
        let mut readers = vec![Vec::new(); graph.nodes.len()];
        for (i, args) in args.iter().enumerate() {
            args.iter().for_each(|arg| readers[*arg].push(i));
        }
        let follower = |i: usize| match readers[i][..] {
            [reader] if graph.nodes[reader].op == Op::Relu && !outputs.contains(&i) => Some(reader),
            _ => None,
        };
        let fuses = |i: usize| matches!(graph.nodes[i].op, Op::Conv2d { .. } | Op::BatchNorm { .. });
        let (mut steps, mut weights) = (Vec::new(), 0);
        for (i, node) in graph.nodes.iter().enumerate() {
            let first = weights;
            weights += node.op.weight_names().len();
            let done_before = node.op == Op::Relu && fuses(args[i][0]) && follower(args[i][0]) == Some(i);
            if matches!(node.op, Op::Input { .. }) || done_before {
                continue;
            }
            let relu = follower(i).filter(|_| fuses(i));
            let (args, done) = (args[i].clone(), [Vec::new(), Vec::new()]);
            steps.push(Step {
                node: i,
                args,
                out: relu.unwrap_or(i),
                relu: relu.is_some(),
                weights: first,
                done,
            });
        }
        let is_input = |i: &usize| matches!(graph.nodes[*i].op, Op::Input { .. });
        let inputs = (0..graph.nodes.len()).filter(is_input).collect();
        let mut program = Self {
            graph: graph.clone(),
            steps,
            inputs,
            outputs,
            weights: weights_of(graph),
        };
        program.find_done();
        Ok(program)
    }

    /// Fills every step's `done`.
    fn find_done(&mut self) {
        let mut last = vec![0; self.graph.nodes.len()];
        let mut kept = vec![false; self.graph.nodes.len()];
        for (i, step) in self.steps.iter().enumerate() {
            let (args, out) = self.backward_reads(step);
            step.args.iter().for_each(|arg| kept[*arg] |= args);
            kept[step.out] |= out;
            step.args.iter().chain([&step.out]).for_each(|value| last[*value] = i);
        }
        for (value, last) in last.into_iter().enumerate() {
            if self.outputs.contains(&value) || self.steps.is_empty() {
                continue;
            }
            let [inference, training] = &mut self.steps[last].done;
            inference.push(value);
            if !kept[value] {
                training.push(value);
            }
        }
    }

    /// Whether a step's backward pass reads its inputs, and its output.
    fn backward_reads(&self, step: &Step) -> (bool, bool) {
        match self.graph.nodes[step.node].op {
            Op::Conv2d { .. } => (true, step.relu),
            Op::Softmax => (false, true),
            Op::Input { .. }
            | Op::AvgPool { .. }
            | Op::GlobalAvgPool
            | Op::Upsample { .. }
            | Op::PixelShuffle { .. }
            | Op::PixelUnshuffle { .. }
            | Op::Concat
            | Op::Add
            | Op::Sub
            | Op::Scale { .. }
            | Op::Flatten => (false, false),
            _ => (true, false),
        }
    }

    /// Shape of every value for inputs of these shapes; `[N, features]` counts as pictures of one pixel.
    pub(crate) fn shapes(&self, inputs: &[Vec<usize>]) -> Result<Shapes> {
        let by_name = self.graph.shapes(inputs)?;
        let nhwc = |node: &Node| match by_name[&node.name][..] {
            [n, c, h, w] => Nhwc { n, h, w, c },
            ref shape => Nhwc {
                n: shape[0],
                h: 1,
                w: 1,
                c: shape[1..].iter().product(),
            },
        };
        Ok(Shapes {
            values: self.graph.nodes.iter().map(nhwc).collect(),
            by_name,
        })
    }

    /// Shapes of the graph's outputs.
    pub(crate) fn output_shapes<'a>(&self, shapes: &'a Shapes) -> Vec<&'a [usize]> {
        self.graph
            .outputs
            .iter()
            .map(|name| shapes.by_name[name].as_slice())
            .collect()
    }
}

/// Shapes of inputs that were checked, and of all values for them.
type Prepared = (Vec<Vec<usize>>, Arc<Shapes>);

/// A program, what its convolutions are computed with, its memory, and the shapes of its last call.
pub(crate) struct Executor {
    pub(crate) program: Program,
    pub(crate) arithmetic: Arithmetic,
    pub(crate) memory: Memory,
    last: Mutex<Option<Prepared>>,
}

impl Executor {
    pub(crate) fn new(graph: &Graph, arithmetic: Arithmetic) -> Result<Self> {
        Ok(Self {
            program: Program::new(graph)?,
            arithmetic,
            memory: Memory::default(),
            last: Mutex::default(),
        })
    }

    /// Checks inputs and weights against the graph; the weights by their lengths, in the order of the program's.
    pub(crate) fn prepare(&self, inputs: Vec<Vec<usize>>, weights: &[usize]) -> Result<Arc<Shapes>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, shapes)) = last.as_ref().filter(|(of, _)| *of == inputs) {
            return Ok(shapes.clone());
        }
        let shapes = Arc::new(self.program.shapes(&inputs)?);
        let wanted = self.program.graph.weight_shapes(&inputs)?;
        for (weight, len) in self.program.weights.iter().zip(weights) {
            let shape = &wanted[&weight.name];
            if shape.iter().product::<usize>() != *len {
                return Err(Error::Invalid(format!(
                    "weight `{}` has {len} values, not {shape:?}",
                    weight.name
                )));
            }
        }
        self.memory.clear();
        *last = Some((inputs, shapes.clone()));
        Ok(shapes)
    }
}

/// What [`Program::shapes`] finds.
#[derive(Debug, Clone)]
pub(crate) struct Shapes {
    values: Vec<Nhwc>,
    by_name: BTreeMap<String, Vec<usize>>,
}

/// The convolution of a node as the kernels take it; the padding is 0 where it is made by a copy of its own.
fn conv_of(op: &Op) -> Option<Conv> {
    match *op {
        Op::Conv2d {
            kernel,
            stride,
            padding,
            padding_mode,
            dilation,
            groups,
            ..
        } => {
            let padding = if padding_mode == crate::graph::Padding::Zero {
                padding
            } else {
                0
            };
            Some(Conv {
                kernel,
                stride,
                padding,
                dilation,
                groups,
            })
        }
        Op::ConvTranspose2d {
            kernel,
            stride,
            padding,
            groups,
            ..
        } => Some(Conv {
            kernel,
            stride,
            padding,
            dilation: 1,
            groups,
        }),
        // Of pictures of one pixel.
        Op::Linear { .. } => Some(Conv {
            kernel: 1,
            stride: 1,
            padding: 0,
            dilation: 1,
            groups: 1,
        }),
        _ => None,
    }
}

/// What an op is computed with: fully connected layers are small, and what they give is what a model says, so in f32.
fn arithmetic_of(op: &Op, arithmetic: Arithmetic) -> Arithmetic {
    match op {
        #[rustfmt::skip]
        Op::Linear { .. } => Arithmetic { tiles: None, ..arithmetic },
        _ => arithmetic,
    }
}

/// Whether an op with a weight has a bias too.
fn has_bias(op: &Op) -> bool {
    op.weight_names().contains(&"bias")
}

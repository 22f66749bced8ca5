//! A folded graph planned for one size of input, to run frame after frame without allocating.
//!
//! Values are rows of pixels, the channels of a pixel side by side. A [`cut::Segment`] of the plan is run depth-first: to
//! compute a row of its result, the rows that this one is made of are computed first, and so on up; each value keeps but
//! the few rows that are still needed. Only what later segments read is kept whole.

mod cut;
mod stage;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Mutex;

use self::cut::{BANDS, SINKS, Segment};
use self::stage::{Kernel, Reads, Scratch, enlarge};
use super::forward::{activation_of, has_bias};
use super::{Executor, Program, Shapes, Step, conv_of, window_of};
use crate::graph::{Array, Graph, Op, Padding, Weights};
use crate::kernels::norm::Affine;
use crate::kernels::parts::Parts;
use crate::kernels::rows::{self, Columns, Direct, Filter, Layout, View, Winograd};
use crate::kernels::{Isa, Nchw, team};
use crate::{Error, Result};

/// Most inputs of a network.
const INPUTS: usize = 8;
/// Pictures of a batch that run at a time.
const ITEMS: usize = Parts::MOST / BANDS;

/// Plans a network anew when the size of its inputs changes.
pub(crate) struct Planner {
    executor: Executor,
    /// In the order of the program's.
    weights: Vec<Vec<f32>>,
    isa: Isa,
    threads: usize,
    last: Option<Prepared>,
}

/// A plan, the shapes of the inputs that it is for, and those of its outputs.
struct Prepared {
    inputs: Vec<Vec<usize>>,
    outputs: Vec<Vec<usize>>,
    plan: Plan,
}

impl Planner {
    /// For a folded graph, to run on so many `threads`; 0 = all cores. Fails where a weight is missing, or
    /// [`crate::kernels::ISA_VARIABLE`] names what this CPU does not have.
    pub(crate) fn new(graph: &Graph, weights: &Weights, threads: usize) -> Result<Self> {
        let executor = Executor::new(graph)?;
        let values = |weight: &super::Weight| {
            let array = weights.get(&weight.name);
            let missing = || Error::Invalid(format!("weight `{}` is missing", weight.name));
            array.map(|array| array.data.clone()).ok_or_else(missing)
        };
        let weights = executor.program.weights.iter().map(values).collect::<Result<_>>()?;
        let isa = Isa::chosen().map_err(|error| Error::Invalid(error.into()))?;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if threads == 0 { cores() } else { threads };
        let last = None;
        Ok(Self {
            executor,
            weights,
            isa,
            threads,
            last,
        })
    }

    /// Runs the network on checked arrays.
    pub(crate) fn run(&mut self, inputs: &[Array], outputs: &mut Vec<Array>) -> Result<()> {
        let same = |last: &&mut Prepared| inputs.iter().map(|input| &input.shape).eq(&last.inputs);
        let prepared = match self.last.as_mut().filter(same) {
            Some(_) => self.last.as_mut(),
            None => Some(self.last.insert(Self::prepare(
                &self.executor,
                &self.weights,
                self.isa,
                self.threads,
                inputs,
            )?)),
        };
        let Prepared {
            outputs: shapes, plan, ..
        } = prepared.expect("made above");
        let mut data: [&[f32]; INPUTS] = [&[]; INPUTS];
        data.iter_mut()
            .zip(inputs)
            .for_each(|(data, input)| *data = &input.data);
        plan.run(&data);
        outputs.resize_with(shapes.len(), || Array {
            shape: Vec::new(),
            data: Vec::new(),
        });
        for (i, (output, shape)) in outputs.iter_mut().zip(shapes).enumerate() {
            output.shape.clone_from(shape);
            output.data.resize(shape.iter().product(), 0.0);
            plan.output(i, &mut output.data);
        }
        Ok(())
    }

    fn prepare(
        executor: &Executor,
        weights: &[Vec<f32>],
        isa: Isa,
        threads: usize,
        inputs: &[Array],
    ) -> Result<Prepared> {
        if inputs.len() > INPUTS {
            return Err(Error::Invalid(format!(
                "{} inputs; a network may have {INPUTS}",
                inputs.len()
            )));
        }
        let inputs: Vec<Vec<usize>> = inputs.iter().map(|input| input.shape.clone()).collect();
        let lens: Vec<usize> = weights.iter().map(Vec::len).collect();
        let shapes = executor.prepare(inputs.clone(), &lens)?;
        let outputs = executor
            .program
            .output_shapes(&shapes)
            .into_iter()
            .map(<[usize]>::to_vec)
            .collect();
        let plan = Plan::new(&executor.program, &shapes, weights, isa, threads);
        Ok(Prepared { inputs, outputs, plan })
    }
}

/// A step: its value has its number.
pub(super) struct Stage {
    kernel: Kernel,
    /// The values that it reads.
    args: Vec<usize>,
}

/// A network ready to run on pictures of one size.
pub(crate) struct Plan {
    stages: Vec<Stage>,
    filters: Vec<Winograd>,
    /// Of every value as a whole.
    layouts: Vec<Layout>,
    /// Of every value within its segment, and which of a thread's buffers it lies in; `None` where it goes straight to the
    /// whole value.
    rings: Vec<Option<(Layout, usize)>>,
    /// For values that are kept whole, the buffer.
    homes: Vec<Option<usize>>,
    segments: Vec<Segment>,
    outputs: Vec<(usize, Nchw)>,
    threads: usize,
    items: usize,
    homes_memory: Vec<Vec<f32>>,
    workers: Vec<Mutex<Worker>>,
}

/// A thread's memory.
struct Worker {
    rings: Vec<Vec<f32>>,
    done: Vec<usize>,
    scratch: Scratch,
}

/// Builds stages from a program's steps.
struct Builder<'a> {
    program: &'a Program,
    shapes: &'a [Nchw],
    weights: &'a [Vec<f32>],
    isa: Isa,
    stages: Vec<Stage>,
    layouts: Vec<Layout>,
    filters: Vec<Winograd>,
    /// The stage that makes each value of the program.
    made: Vec<usize>,
}

impl Builder<'_> {
    fn push(&mut self, kernel: Kernel, args: Vec<usize>, layout: Layout) -> usize {
        self.stages.push(Stage { kernel, args });
        self.layouts.push(layout);
        self.stages.len() - 1
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
        let args: Vec<usize> = step.args.iter().map(|arg| self.made[*arg]).collect();
        let floor = if step.relu { 0.0 } else { f32::NEG_INFINITY };
        let (to, from) = (self.layout(step.out), self.layouts[args[0]].clone());
        let kernel = match *op {
            Op::Conv2d { .. } | Op::ConvTranspose2d { .. } => {
                self.made[step.out] = self.convolution(step, op, args[0], floor, to);
                return;
            }
            Op::Linear { out, .. } => {
                let (weight, bias) = self.weight(step, op);
                Kernel::Conv(
                    Direct::linear(self.isa, out, from.channels, weight),
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
        self.made[step.out] = self.push(kernel, args, to);
    }

    fn convolution(&mut self, step: &Step, op: &Op, mut arg: usize, floor: f32, to: Layout) -> usize {
        if let Op::Conv2d {
            padding,
            padding_mode: mode @ (Padding::Replicate | Padding::Reflect),
            ..
        } = *op
        {
            let from = &self.layouts[arg];
            let padded = Layout::new(from.channels, from.height + 2 * padding, from.width + 2 * padding);
            arg = self.push(Kernel::Pad(padding, mode), vec![arg], padded);
        }
        let conv = conv_of(op).expect("called for convolutions");
        let from = self.layouts[arg].clone();
        let (weight, bias) = self.weight(step, op);
        let bias = bias.to_vec();
        let filter = if let Op::ConvTranspose2d { .. } = op {
            Filter::backward(
                self.isa,
                &conv,
                to.channels,
                from.channels,
                conv.weight(to.channels, weight),
            )
        } else {
            Filter::forward(
                self.isa,
                &conv,
                from.channels,
                to.channels,
                conv.weight(from.channels, weight),
            )
        };
        let [left, right] = filter.reach(from.width, to.width);
        self.layouts[arg].reach(left, right);
        let kernel = match filter {
            Filter::Direct(conv) => Kernel::Conv(conv, bias, floor),
            Filter::Transposed(conv) => Kernel::Transposed(conv, bias),
            Filter::Winograd(winograd, padding) => {
                let filter = self.filters.len();
                self.filters.push(winograd);
                let layout = rows::transformed_layout(&self.layouts[arg], rows::tiles(to.width));
                arg = self.push(Kernel::Transform { filter, padding }, vec![arg], layout);
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

impl Plan {
    /// Plans for a program, for values of `shapes`. `weights` in the order of the program's.
    pub(crate) fn new(program: &Program, shapes: &Shapes, weights: &[Vec<f32>], isa: Isa, threads: usize) -> Self {
        let shapes = &shapes.values;
        let (stages, layouts, filters, made) = (Vec::new(), Vec::new(), Vec::new(), vec![usize::MAX; shapes.len()]);
        let mut builder = Builder {
            program,
            shapes,
            weights,
            isa,
            stages,
            layouts,
            filters,
            made,
        };
        for (number, value) in program.inputs.iter().enumerate() {
            let layout = builder.layout(*value);
            builder.made[*value] = builder.push(Kernel::Input(number), vec![], layout);
        }
        program.steps.iter().for_each(|step| builder.step(step));
        let Builder {
            stages,
            layouts,
            filters,
            made,
            ..
        } = builder;
        let outputs: Vec<(usize, Nchw)> = program
            .outputs
            .iter()
            .map(|value| (made[*value], shapes[*value]))
            .collect();
        let mut last_reader: Vec<usize> = (0..stages.len()).collect();
        for (i, stage) in stages.iter().enumerate() {
            stage.args.iter().for_each(|arg| last_reader[*arg] = i);
        }
        outputs.iter().for_each(|(value, _)| last_reader[*value] = usize::MAX);
        let segments = cut::cut(&stages, &layouts, &last_reader, isa, threads);
        let items = outputs.first().map_or(1, |(_, shape)| shape.n);
        let mut plan = Self {
            rings: vec![None; stages.len()],
            homes: vec![None; stages.len()],
            stages,
            filters,
            layouts,
            segments,
            outputs,
            threads,
            items,
            homes_memory: Vec::new(),
            workers: Vec::new(),
        };
        plan.find_rings();
        plan.find_homes(&last_reader);
        plan
    }

    /// Finds how many rows of each value its segment keeps, and gives every thread the memory.
    fn find_rings(&mut self) {
        let mut sizes: Vec<usize> = Vec::new();
        for segment in &self.segments {
            let first = segment.stages.start;
            let mut capacity = vec![0; segment.stages.len()];
            let mut done = vec![0; segment.stages.len()];
            for band in &segment.bands {
                segment.walk(&self.stages, &self.layouts, band, &mut done, &mut |stage, row, done| {
                    let stage = &self.stages[stage];
                    for arg in stage.args.iter().filter(|arg| segment.stages.contains(*arg)) {
                        let rows = stage.kernel.rows(row, self.layouts[*arg].height);
                        let kept = done[arg - first].saturating_sub(rows.start.max(0) as usize).max(1);
                        capacity[arg - first] = kept.max(capacity[arg - first]);
                    }
                });
            }
            let mut slot = 0;
            for (i, capacity) in segment
                .stages
                .clone()
                .zip(capacity)
                .filter(|(_, capacity)| *capacity > 0)
            {
                let layout = Layout {
                    capacity,
                    ..self.layouts[i].clone()
                };
                sizes.resize(sizes.len().max(slot + 1), 0);
                sizes[slot] = sizes[slot].max(layout.len());
                self.rings[i] = Some((layout, slot));
                slot += 1;
            }
        }
        let steps = self
            .segments
            .iter()
            .map(|segment| segment.stages.len())
            .max()
            .unwrap_or(0);
        let scratch = self.filters.iter().map(Winograd::scratch).max().unwrap_or(0);
        let worker = || Worker {
            rings: sizes.iter().map(|size| vec![0.0; *size]).collect(),
            done: vec![0; steps],
            scratch: Scratch {
                offsets: Vec::with_capacity(1024),
                values: vec![0.0; scratch],
            },
        };
        self.workers = (0..self.threads).map(|_| Mutex::new(worker())).collect();
    }

    /// Finds a buffer for each value that is kept whole; values that are not needed at the same time share one.
    fn find_homes(&mut self, last_reader: &[usize]) {
        // Size, and the end of the segment that reads it last.
        let mut buffers: Vec<(usize, usize)> = Vec::new();
        for segment in &self.segments {
            for sink in &segment.sinks {
                let size = self.items * self.layouts[*sink].len();
                let free = (0..buffers.len()).filter(|i| buffers[*i].1 < segment.stages.start);
                let home = free.min_by_key(|i| buffers[*i].0.abs_diff(size)).unwrap_or_else(|| {
                    buffers.push((0, 0));
                    buffers.len() - 1
                });
                buffers[home] = (buffers[home].0.max(size), last_reader[*sink]);
                self.homes[*sink] = Some(home);
            }
        }
        self.homes_memory = buffers.iter().map(|(size, _)| vec![0.0; *size]).collect();
    }

    /// Bytes of memory for values.
    #[cfg(test)]
    fn memory(&self) -> usize {
        let workers = self
            .workers
            .iter()
            .map(|worker| worker.lock().unwrap().rings.iter().map(Vec::len).sum::<usize>());
        4 * (workers.sum::<usize>() + self.homes_memory.iter().map(Vec::len).sum::<usize>())
    }

    /// Runs the network. Each of `inputs` is N, C, H, W; so is what [`Plan::output`] gives afterwards.
    pub(crate) fn run(&mut self, inputs: &[&[f32]]) {
        for segment in 0..self.segments.len() {
            for first in (0..self.items).step_by(ITEMS) {
                self.run_segment(segment, first..self.items.min(first + ITEMS), inputs);
            }
        }
    }

    fn run_segment(&mut self, segment: usize, items: Range<usize>, inputs: &[&[f32]]) {
        let segment = &self.segments[segment];
        let home = |sink: &usize| self.homes[*sink].expect("every sink has a home");
        let mut written: [Vec<f32>; SINKS] = Default::default();
        for (sink, memory) in segment.sinks.iter().zip(&mut written) {
            *memory = std::mem::take(&mut self.homes_memory[home(sink)]);
        }
        let parts = written.each_mut().map(|memory| Parts::new(memory));
        let bands = segment.bands.len();
        let this = &*self;
        team::run(self.threads, items.len() * bands, &|task| {
            let (item, band) = (items.start + task / bands, task % bands);
            let free = this.workers.iter().find_map(|worker| match worker.try_lock() {
                Ok(worker) => Some(worker),
                Err(std::sync::TryLockError::Poisoned(worker)) => Some(worker.into_inner()),
                Err(std::sync::TryLockError::WouldBlock) => None,
            });
            let mut worker = free.expect("as many workers as threads that may join");
            this.run_band(segment, item, band, inputs, &parts, &mut worker);
        });
        drop(parts);
        for (sink, memory) in segment.sinks.iter().zip(written) {
            let home = self.homes[*sink].expect("every sink has a home");
            self.homes_memory[home] = memory;
        }
    }

    fn run_band(
        &self,
        segment: &Segment,
        item: usize,
        band: usize,
        inputs: &[&[f32]],
        parts: &[Parts; SINKS],
        worker: &mut Worker,
    ) {
        let first = segment.stages.start;
        let band_of = &segment.bands[band];
        let Worker { rings, done, scratch } = worker;
        let mut homes: [&mut [f32]; SINKS] = Default::default();
        for (i, (sink, own)) in segment.sinks.iter().zip(&band_of.own).enumerate() {
            let layout = &self.layouts[*sink];
            let start = item * layout.len();
            if band == 0 {
                parts[i].take(start..start + layout.pitch).fill(0.0);
            }
            homes[i] = parts[i].take(start + (1 + own.start) * layout.pitch..start + (1 + own.end) * layout.pitch);
        }
        for (layout, slot) in self.rings[segment.stages.clone()].iter().flatten() {
            rings[*slot][..layout.pitch].fill(0.0);
        }
        let done = &mut done[..segment.stages.len()];
        segment.walk(&self.stages, &self.layouts, band_of, done, &mut |stage, row, _| {
            let sink = segment.sinks.iter().position(|sink| *sink == stage);
            let own = sink.map(|sink| &band_of.own[sink]).filter(|own| own.contains(&row));
            let layout = &self.layouts[stage];
            let home = |own: &Range<usize>| (row - own.start) * layout.pitch..(row - own.start + 1) * layout.pitch;
            let kernel = &self.stages[stage].kernel;
            if let Some((ring, slot)) = &self.rings[stage] {
                let mut memory = std::mem::take(&mut rings[*slot]);
                let at = ring.row(row as isize);
                let reads = Band {
                    plan: self,
                    stage,
                    stages: &segment.stages,
                    item,
                    inputs,
                    rings,
                };
                kernel.compute(reads, row, layout, &mut memory[at.clone()], scratch);
                if let (Some(sink), Some(own)) = (sink, own) {
                    homes[sink][home(own)].copy_from_slice(&memory[at]);
                }
                rings[*slot] = memory;
            } else if let (Some(sink), Some(own)) = (sink, own) {
                let reads = Band {
                    plan: self,
                    stage,
                    stages: &segment.stages,
                    item,
                    inputs,
                    rings,
                };
                kernel.compute(reads, row, layout, &mut homes[sink][home(own)], scratch);
            }
        });
        debug_assert!(first + done.len() == segment.stages.end);
    }

    /// Writes output number `output` of the last run to `out`: N, C, H, W.
    pub(crate) fn output(&self, output: usize, out: &mut [f32]) {
        let (value, shape) = self.outputs[output];
        let (layout, home) = (&self.layouts[value], self.homes[value].expect("outputs are kept whole"));
        assert_eq!(out.len(), shape.len());
        for (n, out) in out.chunks_exact_mut(shape.item()).enumerate() {
            let view = View {
                data: &self.homes_memory[home][n * layout.len()..(n + 1) * layout.len()],
                layout,
            };
            for (c, out) in out.chunks_exact_mut(shape.plane()).enumerate() {
                for (y, out) in out.chunks_exact_mut(shape.w).enumerate() {
                    rows::plane(view.pixels(y as isize), shape.c, c, out);
                }
            }
        }
    }
}

impl Segment {
    /// Calls `visit(stage, row, done)` for each row that a band computes, after all that it is made of; `done` has for each
    /// step the row after the last one computed.
    fn walk(
        &self,
        stages: &[Stage],
        layouts: &[Layout],
        band: &cut::Band,
        done: &mut [usize],
        visit: &mut impl FnMut(usize, usize, &[usize]),
    ) {
        done.iter_mut()
            .zip(&band.rows)
            .for_each(|(done, rows)| *done = rows.start);
        let mut walk = Walk {
            segment: self,
            stages,
            layouts,
            done,
            visit,
        };
        let most = band.own.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        // All sinks go down at the same pace, so that none waits for rows that another has long needed.
        for step in 1..=most {
            for (sink, own) in self.sinks.iter().zip(&band.own) {
                walk.pull(*sink, own.start + own.len() * step / most);
            }
        }
    }
}

struct Walk<'a, F> {
    segment: &'a Segment,
    stages: &'a [Stage],
    layouts: &'a [Layout],
    done: &'a mut [usize],
    visit: &'a mut F,
}

impl<F: FnMut(usize, usize, &[usize])> Walk<'_, F> {
    /// Computes the rows of a value up to `end`.
    fn pull(&mut self, value: usize, end: usize) {
        let first = self.segment.stages.start;
        while self.done[value - first] < end {
            let row = self.done[value - first];
            let stage = &self.stages[value];
            for arg in stage.args.iter().filter(|arg| self.segment.stages.contains(*arg)) {
                let height = self.layouts[*arg].height;
                let end = stage.kernel.rows(row, height).end.clamp(0, height as isize) as usize;
                self.pull(*arg, end);
            }
            (self.visit)(value, row, self.done);
            self.done[value - first] += 1;
        }
    }
}

/// What a step of a band reads.
#[derive(Clone, Copy)]
struct Band<'a> {
    plan: &'a Plan,
    stage: usize,
    stages: &'a Range<usize>,
    item: usize,
    inputs: &'a [&'a [f32]],
    rings: &'a [Vec<f32>],
}

impl<'a> Reads<'a> for Band<'a> {
    fn arg(self, i: usize) -> View<'a> {
        let value = self.plan.stages[self.stage].args[i];
        if self.stages.contains(&value) {
            let (layout, slot) = self.plan.rings[value]
                .as_ref()
                .expect("what is read in its segment has a ring");
            return View {
                data: &self.rings[*slot],
                layout,
            };
        }
        let (layout, home) = (
            &self.plan.layouts[value],
            self.plan.homes[value].expect("what is read later has a home"),
        );
        let start = self.item * layout.len();
        View {
            data: &self.plan.homes_memory[home][start..start + layout.len()],
            layout,
        }
    }

    fn filter(self, number: usize) -> &'a Winograd {
        &self.plan.filters[number]
    }

    fn input(self, number: usize) -> &'a [f32] {
        let input = self.inputs[number];
        &input[input.len() / self.plan.items * self.item..][..input.len() / self.plan.items]
    }
}

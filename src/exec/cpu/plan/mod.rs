//! A folded graph planned for one size of input, to run frame after frame without allocating.
//!
//! Values are rows of pixels, the channels of a pixel side by side. A [`cut::Segment`] of the plan is run depth-first: to
//! compute a row of its result, the rows that this one is made of are computed first, and so on up; each value keeps but
//! the few rows that are still needed. Only what later segments read is kept whole.

mod cut;
mod stage;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

use self::cut::{SINKS, Segment};
use self::stage::{Kernel, Reads, Scratch, enlarge};
use super::forward::{activation_of, has_bias};
use super::{Executor, Program, Shapes, Step, conv_of, window_of};
use crate::graph::{Array, Graph, Op, Padding, Weights};
use crate::kernels::norm::Affine;
use crate::kernels::parts::{Claims, RowsMut};
use crate::kernels::rows::{self, Columns, Direct, Filter, Layout, TileFilter, Tiles, View};
use crate::kernels::{Isa, Nchw, team};
use crate::{Error, Result};

/// Sizes of inputs that plans are kept for: those of the components of a frame, and another.
const PLANS: usize = 4;

/// Where the rows of a network's inputs come from and those of its outputs go to. Called from several threads at a time,
/// for a row more than once where bands of the picture overlap, but written once.
pub trait Rows: Sync {
    /// Puts row `row` of picture `item` of input `input` into `out`, the channels of a pixel side by side.
    fn read(&self, input: usize, item: usize, row: usize, out: &mut [f32]);
    /// Takes row `row` of picture `item` of output `output`.
    fn write(&self, output: usize, item: usize, row: usize, values: &[f32]);
}

/// What a plan runs on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    /// Instructions for f32.
    pub isa: Isa,
    /// What multiplies in bf16, where convolutions shall run so.
    pub tiles: Option<Tiles>,
    /// Threads; at least one.
    pub threads: usize,
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.tiles {
            Some(Tiles::Amx) => f.write_str("amx"),
            Some(Tiles::Emulated) => f.write_str("amx-emulated"),
            None => self.isa.fmt(f),
        }
    }
}

impl Machine {
    /// All cores, in bf16 by AMX or else by loops.
    pub(crate) fn in_bf16() -> Result<Self> {
        let machine = Self::new(0, false)?;
        let tiles = Some(Tiles::find().unwrap_or(Tiles::Emulated));
        Ok(Self { tiles, ..machine })
    }

    /// Whether this CPU has what makes bf16 faster than f32.
    pub(crate) fn is_fast_in_bf16() -> bool {
        Tiles::find() == Some(Tiles::Amx)
    }

    /// So many `threads`, 0 = all cores, and the instructions of this CPU. Fails where bf16 is not to be had, or
    /// [`crate::kernels::ISA_VARIABLE`] names what this CPU does not have.
    pub(crate) fn new(threads: usize, bf16: bool) -> Result<Self> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let none =
            "bf16 needs a CPU with AMX, which this one (or its system) has not; use precision=f32 or precision=auto";
        Ok(Self {
            isa: Isa::chosen().map_err(|error| Error::Invalid(error.into()))?,
            tiles: if bf16 {
                Some(Tiles::find().ok_or_else(|| Error::Invalid(none.into()))?)
            } else {
                None
            },
            threads: if threads == 0 { cores() } else { threads },
        })
    }
}

/// Plans a network for each size of its inputs.
pub(crate) struct Planner {
    executor: Executor,
    /// In the order of the program's.
    weights: Vec<Vec<f32>>,
    machine: Machine,
    /// The latest last.
    plans: Vec<Prepared>,
    claims: Vec<Claims>,
}

/// A plan, the shapes of the inputs that it is for, and those of its outputs.
struct Prepared {
    inputs: Vec<Vec<usize>>,
    outputs: Vec<Vec<usize>>,
    plan: Plan,
}

impl Planner {
    /// For a folded graph. Fails where a weight is missing.
    pub(crate) fn new(graph: &Graph, weights: &Weights, machine: Machine) -> Result<Self> {
        let executor = Executor::new(graph)?;
        let values = |weight: &super::Weight| {
            let array = weights.get(&weight.name);
            let missing = || Error::Invalid(format!("weight `{}` is missing", weight.name));
            array.map(|array| array.data.clone()).ok_or_else(missing)
        };
        let weights = executor.program.weights.iter().map(values).collect::<Result<_>>()?;
        Ok(Self {
            executor,
            weights,
            machine,
            plans: Vec::new(),
            claims: Vec::new(),
        })
    }

    /// What it runs on.
    pub(crate) fn machine(&self) -> Machine {
        self.machine
    }

    /// Runs the network on checked arrays.
    pub(crate) fn run(&mut self, inputs: &[Array], outputs: &mut Vec<Array>) -> Result<()> {
        let at = self.prepare(|i| inputs.get(i).map(|input| input.shape.as_slice()))?;
        let Prepared {
            outputs: shapes, plan, ..
        } = &mut self.plans[at];
        outputs.resize_with(shapes.len(), || Array {
            shape: Vec::new(),
            data: Vec::new(),
        });
        self.claims.resize_with(shapes.len(), Claims::default);
        for (output, shape) in outputs.iter_mut().zip(&*shapes) {
            output.shape.clone_from(shape);
            output.data.resize(shape.iter().product(), 0.0);
        }
        let views = outputs.iter_mut().zip(&mut self.claims).zip(&*shapes);
        let written = views.map(|((output, claims), shape)| {
            RowsMut::new(&mut output.data, shape.get(3).copied().unwrap_or(1), claims)
        });
        let mut arrays = Arrays {
            inputs,
            outputs: [const { None }; OUTPUTS],
            shapes,
        };
        arrays
            .outputs
            .iter_mut()
            .zip(written)
            .for_each(|(slot, rows)| *slot = Some(rows));
        plan.run(&arrays);
        Ok(())
    }

    /// Runs the network on rows of inputs of these shapes, N, C, H, W.
    pub(crate) fn run_rows(&mut self, inputs: &[[usize; 4]], rows: &dyn Rows) -> Result<()> {
        let at = self.prepare(|i| inputs.get(i).map(<[usize; 4]>::as_slice))?;
        self.plans[at].plan.run(rows);
        Ok(())
    }

    /// Finds the plan for inputs of such shapes, or makes it; the one unused for longest makes room.
    fn prepare<'a>(&mut self, input: impl Fn(usize) -> Option<&'a [usize]>) -> Result<usize> {
        let shapes = || (0..).map_while(&input);
        let known = self
            .plans
            .iter()
            .position(|plan| shapes().eq(plan.inputs.iter().map(Vec::as_slice)));
        if let Some(known) = known {
            self.plans[known..].rotate_left(1);
            return Ok(self.plans.len() - 1);
        }
        let inputs: Vec<Vec<usize>> = shapes().map(<[usize]>::to_vec).collect();
        let lens: Vec<usize> = self.weights.iter().map(Vec::len).collect();
        let shapes = self.executor.prepare(inputs.clone(), &lens)?;
        let program = &self.executor.program;
        let outputs: Vec<_> = program
            .output_shapes(&shapes)
            .into_iter()
            .map(<[usize]>::to_vec)
            .collect();
        if outputs.len() > OUTPUTS {
            return Err(Error::Invalid(format!(
                "{} outputs; a network may have {OUTPUTS}",
                outputs.len()
            )));
        }
        if self.plans.len() == PLANS {
            self.plans.remove(0);
        }
        let plan = Plan::new(program, &shapes, &self.weights, self.machine);
        self.plans.push(Prepared { inputs, outputs, plan });
        Ok(self.plans.len() - 1)
    }
}

/// Most outputs of a network.
const OUTPUTS: usize = 8;

/// Inputs and outputs as arrays.
struct Arrays<'a> {
    inputs: &'a [Array],
    outputs: [Option<RowsMut<'a>>; OUTPUTS],
    shapes: &'a [Vec<usize>],
}

impl Rows for Arrays<'_> {
    fn read(&self, input: usize, item: usize, row: usize, out: &mut [f32]) {
        let Array { shape, data } = &self.inputs[input];
        let item = &data[data.len() / shape[0] * item..][..data.len() / shape[0]];
        let &[_, _, height, width] = &shape[..] else {
            return out.copy_from_slice(item);
        };
        let planes = item.chunks_exact(height * width);
        rows::interleave(planes.map(|plane| &plane[row * width..(row + 1) * width]), out);
    }

    fn write(&self, output: usize, item: usize, row: usize, values: &[f32]) {
        let (shape, to) = (
            &self.shapes[output],
            self.outputs[output].as_ref().expect("one for each output"),
        );
        let &[_, channels, height, _] = &shape[..] else {
            let features = shape[1];
            return to.take(item * features..(item + 1) * features).copy_from_slice(values);
        };
        for channel in 0..channels {
            let at = (item * channels + channel) * height + row;
            rows::plane(values, channels, channel, to.take(at..at + 1));
        }
    }
}

/// Runs an executor of arrays on rows.
pub(crate) fn by_rows(
    inputs: &[[usize; 4]],
    rows: &dyn Rows,
    run: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
) -> Result<()> {
    let array = |(input, &[n, c, h, w]): (usize, &[usize; 4])| {
        let mut data = vec![0.0; n * c * h * w];
        let mut row = vec![0.0; c * w];
        for (item, y) in (0..n * h).map(|i| (i / h, i % h)) {
            rows.read(input, item, y, &mut row);
            for channel in 0..c {
                rows::plane(&row, c, channel, &mut data[((item * c + channel) * h + y) * w..][..w]);
            }
        }
        Array {
            shape: vec![n, c, h, w],
            data,
        }
    };
    let arrays: Vec<Array> = inputs.iter().enumerate().map(array).collect();
    for (number, output) in run(&arrays)?.iter().enumerate() {
        let &[n, c, h, w] = &output.shape[..] else {
            let features = output.shape[1];
            let items = output.data.chunks_exact(features).enumerate();
            items.for_each(|(item, values)| rows.write(number, item, 0, values));
            continue;
        };
        let mut row = vec![0.0; c * w];
        for (item, y) in (0..n * h).map(|i| (i / h, i % h)) {
            let planes = output.data[item * c * h * w..][..c * h * w].chunks_exact(h * w);
            rows::interleave(planes.map(|plane| &plane[y * w..(y + 1) * w]), &mut row);
            rows.write(number, item, y, &row);
        }
    }
    Ok(())
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
    /// Of every value as a whole.
    layouts: Vec<Layout>,
    /// Of every value within its segment, and which of a thread's buffers it lies in; `None` where it goes straight to the
    /// whole value.
    rings: Vec<Option<(Layout, usize)>>,
    /// For values that are kept whole, the buffer.
    homes: Vec<Option<usize>>,
    segments: Vec<Segment>,
    /// For values that leave the network, the number of the output.
    outputs: Vec<Option<usize>>,
    threads: usize,
    items: usize,
    homes_memory: Vec<Vec<f32>>,
    /// For the sinks of a segment.
    claims: [Claims; SINKS],
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
    machine: Machine,
    stages: Vec<Stage>,
    layouts: Vec<Layout>,
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
        self.layouts[arg].reach(left, right);
        let kernel = match filter {
            Filter::Direct(conv) => Kernel::Conv(conv, bias, floor),
            Filter::Transposed(conv) => Kernel::Transposed(conv, bias),
            Filter::Winograd(filter, padding) => {
                let filter = Arc::new(filter);
                let layout = rows::transformed_layout(&self.layouts[arg], rows::tiles(to.width));
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

impl Plan {
    /// Plans for a program, for values of `shapes`. `weights` in the order of the program's.
    pub(crate) fn new(program: &Program, shapes: &Shapes, weights: &[Vec<f32>], machine: Machine) -> Self {
        let shapes = &shapes.values;
        let (stages, layouts, made) = (Vec::new(), Vec::new(), vec![usize::MAX; shapes.len()]);
        let mut builder = Builder {
            program,
            shapes,
            weights,
            machine,
            stages,
            layouts,
            made,
        };
        for (number, value) in program.inputs.iter().enumerate() {
            let layout = builder.layout(*value);
            builder.made[*value] = builder.push(Kernel::Input(number), vec![], layout);
        }
        program.steps.iter().for_each(|step| builder.step(step));
        let Builder {
            stages, layouts, made, ..
        } = builder;
        let mut outputs = vec![None; stages.len()];
        for (number, value) in program.outputs.iter().enumerate() {
            outputs[made[*value]] = Some(number);
        }
        let mut last_reader: Vec<usize> = (0..stages.len()).collect();
        for (i, stage) in stages.iter().enumerate() {
            stage.args.iter().for_each(|arg| last_reader[*arg] = i);
        }
        let leaves = |value: usize| outputs[value].is_some();
        let segments = cut::cut(&stages, &layouts, &last_reader, &leaves, machine);
        let items = program.outputs.first().map_or(1, |value| shapes[*value].n);
        let mut plan = Self {
            rings: vec![None; stages.len()],
            homes: vec![None; stages.len()],
            stages,
            layouts,
            segments,
            outputs,
            threads: machine.threads,
            items,
            homes_memory: Vec::new(),
            claims: Default::default(),
            workers: Vec::new(),
        };
        plan.find_rings(&last_reader);
        plan.find_homes(&last_reader);
        plan
    }

    /// Finds how many rows of each value its segment keeps, and gives every thread the memory.
    fn find_rings(&mut self, last_reader: &[usize]) {
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
            for (i, capacity) in segment.stages.clone().zip(capacity) {
                // What leaves the network and is not read later passes through a row of its own.
                let passing = self.outputs[i].is_some() && last_reader[i] < segment.stages.end;
                let capacity = capacity.max(usize::from(passing));
                if capacity == 0 {
                    continue;
                }
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
        let scratch = |stage: &Stage| match &stage.kernel {
            Kernel::Winograd { filter, .. } => filter.scratch(),
            _ => 0,
        };
        let scratch = self.stages.iter().map(scratch).max().unwrap_or(0);
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
            for sink in segment
                .sinks
                .iter()
                .filter(|sink| last_reader[**sink] >= segment.stages.end)
            {
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
        let rings = |worker: &Mutex<Worker>| worker.lock().unwrap().rings.iter().map(Vec::len).sum::<usize>();
        let values =
            self.workers.iter().map(rings).sum::<usize>() + self.homes_memory.iter().map(Vec::len).sum::<usize>();
        values * size_of::<f32>()
    }

    /// Runs the network.
    pub(crate) fn run(&mut self, rows: &dyn Rows) {
        for segment in 0..self.segments.len() {
            self.run_segment(segment, rows);
        }
    }

    fn run_segment(&mut self, segment: usize, rows: &dyn Rows) {
        let segment = &self.segments[segment];
        let homes = &self.homes;
        let kept = || segment.sinks.iter().filter_map(|sink| Some((*sink, homes[*sink]?)));
        let mut written: [Vec<f32>; SINKS] = Default::default();
        for ((_, home), memory) in kept().zip(&mut written) {
            *memory = std::mem::take(&mut self.homes_memory[home]);
        }
        let mut parts: [Option<RowsMut>; SINKS] = [const { None }; SINKS];
        for (((sink, _), memory), (part, claims)) in
            kept().zip(&mut written).zip(parts.iter_mut().zip(&mut self.claims))
        {
            *part = Some(RowsMut::new(memory, self.layouts[sink].pitch, claims));
        }
        let bands = segment.bands.len();
        let (plan, workers) = (
            Fixed {
                segment,
                stages: &self.stages,
                layouts: &self.layouts,
                rings: &self.rings,
                homes,
                outputs: &self.outputs,
                homes_memory: &self.homes_memory,
                rows,
            },
            &self.workers,
        );
        team::run(self.threads, self.items * bands, &|task| {
            let (item, band) = (task / bands, task % bands);
            let free = workers.iter().find_map(|worker| match worker.try_lock() {
                Ok(worker) => Some(worker),
                Err(std::sync::TryLockError::Poisoned(worker)) => Some(worker.into_inner()),
                Err(std::sync::TryLockError::WouldBlock) => None,
            });
            let mut worker = free.expect("as many workers as threads that may join");
            plan.run_band(item, band, &parts, &mut worker);
        });
        for ((_, home), memory) in kept().zip(written) {
            self.homes_memory[home] = memory;
        }
    }
}

/// What all threads read of a plan while a segment runs.
#[derive(Clone, Copy)]
struct Fixed<'a> {
    segment: &'a Segment,
    stages: &'a [Stage],
    layouts: &'a [Layout],
    rings: &'a [Option<(Layout, usize)>],
    homes: &'a [Option<usize>],
    outputs: &'a [Option<usize>],
    homes_memory: &'a [Vec<f32>],
    rows: &'a dyn Rows,
}

impl Fixed<'_> {
    /// Runs one band of one picture. `parts` are those of the sinks that are kept whole, in their order.
    fn run_band(&self, item: usize, band: usize, parts: &[Option<RowsMut>; SINKS], worker: &mut Worker) {
        let Self { segment, layouts, .. } = *self;
        let band_of = &segment.bands[band];
        let Worker { rings, done, scratch } = worker;
        let mut homes: [&mut [f32]; SINKS] = Default::default();
        let mut parts = parts.iter().flatten();
        for ((sink, own), to) in segment.sinks.iter().zip(&band_of.own).zip(&mut homes) {
            if self.homes[*sink].is_none() {
                continue;
            }
            let part = parts.next().expect("one for each sink with a home");
            let first = item * (layouts[*sink].capacity + 1);
            if band == 0 {
                part.take(first..first + 1).fill(0.0);
            }
            *to = part.take(first + 1 + own.start..first + 1 + own.end);
        }
        for (layout, slot) in self.rings[segment.stages.clone()].iter().flatten() {
            rings[*slot][..layout.pitch].fill(0.0);
        }
        let done = &mut done[..segment.stages.len()];
        segment.walk(self.stages, layouts, band_of, done, &mut |stage, row, _| {
            let sink = segment.sinks.iter().position(|sink| *sink == stage);
            let own = sink
                .map(|sink| (sink, &band_of.own[sink]))
                .filter(|(_, own)| own.contains(&row));
            let layout = &layouts[stage];
            let kernel = &self.stages[stage].kernel;
            let home = own.filter(|_| self.homes[stage].is_some()).map(|(sink, own)| {
                let row = row - own.start;
                (sink, row * layout.pitch..(row + 1) * layout.pitch)
            });
            let Some((ring, slot)) = &self.rings[stage] else {
                if let Some((sink, at)) = home {
                    let reads = Reading {
                        plan: self,
                        stage,
                        item,
                        rings,
                    };
                    kernel.compute(reads, row, layout, &mut homes[sink][at.clone()], scratch);
                    self.leave(stage, item, row, &homes[sink][at]);
                }
                return;
            };
            let mut memory = std::mem::take(&mut rings[*slot]);
            let at = ring.row(row as isize);
            kernel.compute(
                Reading {
                    plan: self,
                    stage,
                    item,
                    rings,
                },
                row,
                layout,
                &mut memory[at.clone()],
                scratch,
            );
            if let Some((sink, home)) = home {
                homes[sink][home].copy_from_slice(&memory[at.clone()]);
            }
            if own.is_some() {
                self.leave(stage, item, row, &memory[at]);
            }
            rings[*slot] = memory;
        });
    }

    /// Gives a row of an output away.
    fn leave(&self, stage: usize, item: usize, row: usize, values: &[f32]) {
        if let Some(output) = self.outputs[stage] {
            self.rows
                .write(output, item, row, &values[self.layouts[stage].inside()]);
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
struct Reading<'a> {
    plan: &'a Fixed<'a>,
    stage: usize,
    item: usize,
    rings: &'a [Vec<f32>],
}

impl<'a> Reads<'a> for Reading<'a> {
    fn arg(self, i: usize) -> View<'a> {
        let Fixed {
            segment,
            stages,
            layouts,
            ..
        } = *self.plan;
        let value = stages[self.stage].args[i];
        if segment.stages.contains(&value) {
            let ring = self.plan.rings[value].as_ref();
            let (layout, slot) = ring.expect("what is read in its segment has a ring");
            return View {
                data: &self.rings[*slot],
                layout,
            };
        }
        let home = self.plan.homes[value].expect("what is read later has a home");
        let (layout, start) = (&layouts[value], self.item * layouts[value].len());
        View {
            data: &self.plan.homes_memory[home][start..start + layout.len()],
            layout,
        }
    }

    fn input(self, number: usize, row: usize, out: &mut [f32]) {
        self.plan.rows.read(number, self.item, row, out);
    }
}

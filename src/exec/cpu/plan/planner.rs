//! Plans by size of input, and how networks are fed: by arrays or row by row.

use super::{Machine, Plan};
use crate::exec::cpu::{Executor, Weight};
use crate::graph::{Array, Graph, Weights};
use crate::kernels::parts::{Claims, RowsMut};
use crate::kernels::rows;
use crate::{Error, Result};

/// Sizes of inputs that plans are kept for, for each of those who share a planner: those of the components of a frame before and after a
/// change of its size.
const PLANS: usize = 8;
/// Most outputs of a network.
const OUTPUTS: usize = 8;

/// Where the rows of a network's inputs come from and those of its outputs go to. Called from several threads at a time,
/// for a row more than once where bands of the picture overlap, but written once.
pub trait Rows: Sync {
    /// Puts row `row` of picture `item` of input `input` into `out`, the channels of a pixel side by side.
    fn read(&self, input: usize, item: usize, row: usize, out: &mut [f32]);
    /// Takes row `row` of picture `item` of output `output`.
    fn write(&self, output: usize, item: usize, row: usize, values: &[f32]);
}

/// Plans a network for each size of its inputs.
pub(crate) struct Planner {
    executor: Executor,
    /// In the order of the program's.
    weights: Vec<Vec<f32>>,
    machine: Machine,
    /// The latest last.
    pub(super) plans: Vec<Prepared>,
    /// By how many it is shared.
    sharers: usize,
    claims: Vec<Claims>,
}

/// A plan, the shapes of the inputs that it is for, and those of its outputs.
pub(super) struct Prepared {
    pub inputs: Vec<Vec<usize>>,
    outputs: Vec<Vec<usize>>,
    pub plan: Plan,
}

impl Planner {
    /// For a folded graph. Fails where a weight is missing.
    pub(crate) fn new(graph: &Graph, weights: &Weights, machine: Machine) -> Result<Self> {
        let executor = Executor::new(graph, machine.arithmetic)?;
        let values = |weight: &Weight| {
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
            sharers: 1,
            claims: Vec::new(),
        })
    }

    /// Is shared by so many from now on; plans beyond theirs go.
    pub(crate) fn share_by(&mut self, sharers: usize) {
        self.sharers = sharers;
        let most = PLANS * sharers;
        self.plans.drain(..self.plans.len().saturating_sub(most));
    }

    /// What it runs on.
    pub(crate) fn machine(&self) -> Machine {
        self.machine
    }

    /// Runs the network on checked arrays.
    pub(crate) fn run(&mut self, inputs: &[Array], outputs: &mut Vec<Array>) -> Result<()> {
        let mut prepared = self.prepare(|i| inputs.get(i).map(|input| input.shape.as_slice()))?;
        let Prepared {
            outputs: shapes, plan, ..
        } = &mut prepared;
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
        self.plans.push(prepared);
        Ok(())
    }

    /// Runs the network on rows of inputs of these shapes, N, C, H, W.
    pub(crate) fn run_rows(&mut self, inputs: &[[usize; 4]], rows: &dyn Rows) -> Result<()> {
        let mut prepared = self.prepare(|i| inputs.get(i).map(<[usize; 4]>::as_slice))?;
        prepared.plan.run(rows);
        self.plans.push(prepared);
        Ok(())
    }

    /// Takes out the plan for inputs of such shapes, or makes it; the one unused for longest makes room. It comes back when it has run: one in
    /// which something panicked does not.
    fn prepare<'a>(&mut self, input: impl Fn(usize) -> Option<&'a [usize]>) -> Result<Prepared> {
        let shapes = || (0..).map_while(&input);
        let known = self
            .plans
            .iter()
            .position(|plan| shapes().eq(plan.inputs.iter().map(Vec::as_slice)));
        if let Some(known) = known {
            return Ok(self.plans.remove(known));
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
        if self.plans.len() >= PLANS * self.sharers {
            self.plans.remove(0);
        }
        let plan = Plan::new(program, &shapes, &self.weights, self.machine);
        Ok(Prepared { inputs, outputs, plan })
    }
}

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

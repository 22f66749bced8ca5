//! A folded graph planned for one size of input, to run frame after frame without allocating.
//!
//! Values are rows of pixels, the channels of a pixel side by side. A [`cut::Segment`] of the plan is run depth-first: to
//! compute a row of its result, the rows that this one is made of are computed first, and so on up; each value keeps but
//! the few rows that are still needed. Only what later segments read is kept whole.

mod build;
mod cut;
mod machine;
mod planner;
mod run;
#[cfg(test)]
mod tests;

use std::sync::Mutex;

use self::cut::{SINKS, Segment};
use super::kernel::Kernel;
use super::{Program, Shapes};
use crate::kernels::aligned::Aligned;
use crate::kernels::parts::Claims;
use crate::kernels::rows::{Layout, Scratch};

pub(crate) use machine::Machine;
pub use planner::Rows;
pub(crate) use planner::{Planner, by_rows};

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
    homes_memory: Vec<Aligned>,
    /// For the sinks of a segment.
    claims: [Claims; SINKS],
    workers: Vec<Mutex<Worker>>,
}

/// A thread's memory.
struct Worker {
    rings: Vec<Aligned>,
    done: Vec<usize>,
    scratch: Scratch,
}

impl Plan {
    /// Plans for a program, for values of `shapes`. `weights` in the order of the program's.
    pub(crate) fn new(program: &Program, shapes: &Shapes, weights: &[Vec<f32>], machine: Machine) -> Self {
        let shapes = &shapes.values;
        let build::Built { stages, layouts, made } = build::build(program, shapes, weights, machine);
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
        let worker = || {
            let mut scratch = Scratch::default();
            for stage in &self.stages {
                if let Kernel::Conv { filter, .. } = &stage.kernel {
                    filter.reserve(&mut scratch);
                }
            }
            Worker {
                rings: sizes.iter().map(|size| Aligned::zeros(*size)).collect(),
                done: vec![0; steps],
                scratch,
            }
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
        self.homes_memory = buffers.iter().map(|(size, _)| Aligned::zeros(*size)).collect();
    }

    /// Bytes of memory for values.
    #[cfg(test)]
    fn memory(&self) -> usize {
        let rings = |worker: &Mutex<Worker>| {
            worker
                .lock()
                .unwrap()
                .rings
                .iter()
                .map(|values| values.len())
                .sum::<usize>()
        };
        let values = self.workers.iter().map(rings).sum::<usize>()
            + self.homes_memory.iter().map(|values| values.len()).sum::<usize>();
        values * size_of::<f32>()
    }
}

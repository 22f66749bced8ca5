//! A plan at work.

use std::sync::TryLockError;

use super::cut::{Band, SINKS, Segment};
use super::{Plan, Rows, Stage, Worker};
use crate::exec::cpu::kernel::Reads;
use crate::kernels::aligned::Aligned;
use crate::kernels::parts::RowsMut;
use crate::kernels::rows::{Layout, View};
use crate::kernels::team;

impl Plan {
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
        let mut written: [Aligned; SINKS] = Default::default();
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
                Err(TryLockError::Poisoned(worker)) => Some(worker.into_inner()),
                Err(TryLockError::WouldBlock) => None,
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
    homes_memory: &'a [Aligned],
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
    pub(super) fn walk(
        &self,
        stages: &[Stage],
        layouts: &[Layout],
        band: &Band,
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
    rings: &'a [Aligned],
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

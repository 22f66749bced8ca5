//! How a strip of rows lies in scratch memory.

use super::Conv;
use crate::kernels::Nchw;

/// How the taps of one axis fall on the phases of the stride.
pub(super) struct Axis {
    /// Remainders that occur, rising.
    pub(super) phases: Vec<usize>,
    /// For each tap, the index of its phase and its distance there.
    pub(super) taps: Vec<(usize, usize)>,
    /// The largest distance.
    pub(super) reach: usize,
}

impl Axis {
    pub(super) fn new(conv: &Conv) -> Self {
        let at = |tap: usize| (tap * conv.dilation % conv.stride, tap * conv.dilation / conv.stride);
        let mut phases: Vec<usize> = (0..conv.kernel).map(|tap| at(tap).0).collect();
        phases.sort_unstable();
        phases.dedup();
        let index = |phase| phases.binary_search(&phase).expect("collected from the same taps");
        let taps: Vec<_> = (0..conv.kernel).map(|tap| (index(at(tap).0), at(tap).1)).collect();
        let reach = taps.iter().map(|tap| tap.1).max().unwrap_or(0);
        Self { phases, taps, reach }
    }
}

/// How a strip of the source is laid out in scratch: for each channel and pair of phases, `rows` rows of `cols`.
pub(super) struct Layout {
    pub(super) step: usize,
    pub(super) phases: Vec<usize>,
    /// Source row and column of the first position of phase 0, for a strip that begins at 0.
    pub(super) origin: [isize; 2],
    pub(super) rows: usize,
    pub(super) cols: usize,
}

impl Layout {
    pub(super) fn channel(&self) -> usize {
        self.phases.len() * self.phases.len() * self.rows * self.cols
    }

    /// Copies `channels` planes of `source` (`h` x `w`), from row `step · first` on, to `scratch`, with `slack` zeros
    /// after them.
    pub(super) fn fill(&self, source: &[f32], h: usize, w: usize, first: usize, slack: usize, scratch: &mut Vec<f32>) {
        let channels = source.len() / (h * w);
        scratch.resize(channels * self.channel() + slack, 0.0);
        let (body, tail) = scratch.split_at_mut(channels * self.channel());
        tail.fill(0.0);
        let top = self.origin[0] + (self.step * first) as isize;
        let mut rows = body.chunks_exact_mut(self.cols);
        for plane in source.chunks_exact(h * w) {
            for a in &self.phases {
                for b in &self.phases {
                    let left = self.origin[1] + *b as isize;
                    for (i, out) in rows.by_ref().take(self.rows).enumerate() {
                        let y = top + (a + self.step * i) as isize;
                        match usize::try_from(y).ok().filter(|y| *y < h) {
                            Some(y) => copy_row(&plane[y * w..(y + 1) * w], left, self.step, out),
                            None => out.fill(0.0),
                        }
                    }
                }
            }
        }
    }
}

/// `out[i] = row[left + step · i]`, zero outside the row.
fn copy_row(row: &[f32], left: isize, step: usize, out: &mut [f32]) {
    let begin = (-left).max(0) as usize;
    let begin = begin.div_ceil(step).min(out.len());
    let end = (row.len() as isize - left).max(0) as usize;
    let end = end.div_ceil(step).clamp(begin, out.len());
    out[..begin].fill(0.0);
    out[end..].fill(0.0);
    if begin < end {
        let row = &row[(left + (step * begin) as isize) as usize..];
        if step == 1 {
            out[begin..end].copy_from_slice(&row[..end - begin]);
        } else {
            out[begin..end]
                .iter_mut()
                .zip(row.iter().step_by(step))
                .for_each(|(out, x)| *out = *x);
        }
    }
}

/// Copies `rows` rows of every plane of `g` from row `first` on, each `cols` long with zeros at its end; a plane takes
/// `pitch` values.
pub(super) fn fill_rows(g: &[f32], shape: Nchw, first: usize, [rows, cols, pitch]: [usize; 3], scratch: &mut Vec<f32>) {
    scratch.resize(g.len() / shape.plane() * pitch, 0.0);
    for (plane, out) in g.chunks_exact(shape.plane()).zip(scratch.chunks_exact_mut(pitch)) {
        let (body, tail) = out.split_at_mut(rows * cols);
        tail.fill(0.0);
        for (i, row) in body.chunks_exact_mut(cols).enumerate() {
            match first + i {
                y if y < shape.h => copy_row(&plane[y * shape.w..(y + 1) * shape.w], 0, 1, row),
                _ => row.fill(0.0),
            }
        }
    }
}

/// The height of strips of at most `most` rows that share `total` rows out evenly.
pub(super) fn even(total: usize, most: usize) -> usize {
    total.div_ceil(total.div_ceil(most))
}

/// The rows from each bound to the next, of every plane: a list for each item and strip, in it a slice for each channel.
pub(super) fn split_rows<'a>(out: &'a mut [f32], shape: Nchw, bounds: &[usize]) -> Vec<Vec<&'a mut [f32]>> {
    let strips = bounds.len() - 1;
    let mut tasks: Vec<Vec<&mut [f32]>> = (0..shape.n * strips).map(|_| Vec::with_capacity(shape.c)).collect();
    for (item, planes) in out.chunks_exact_mut(shape.item()).enumerate() {
        for mut plane in planes.chunks_exact_mut(shape.plane()) {
            for (i, rows) in bounds.windows(2).enumerate() {
                let (strip, rest) = plane.split_at_mut((rows[1] - rows[0]) * shape.w);
                tasks[item * strips + i].push(strip);
                plane = rest;
            }
        }
    }
    tasks
}

//! Where a plan is cut: steps between two cuts are run depth-first, a band of rows at a time, so that what they hand to
//! each other stays in cache. A band computes some rows that its neighbours compute too; a cut costs memory traffic and a
//! meeting of the threads.

use std::ops::Range;

use super::{Machine, Stage};
use crate::kernels::Isa;
use crate::kernels::rows::Layout;

/// Cycles for a value that is written to memory and read again.
const TRAFFIC: f64 = 2.0;
/// Cycles for the threads to meet.
const MEETING: f64 = 100_000.0;
/// Most steps between two cuts.
const LONGEST: usize = 48;
/// Most values that leave a segment.
pub(super) const SINKS: usize = 8;
/// Most bands.
pub(super) const BANDS: usize = 16;
/// Time lost to threads that wait for each other at the end, as a share, for one band a thread; with more, less.
const IMBALANCE: f64 = 0.06;

/// Steps that run depth-first.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub stages: Range<usize>,
    /// Values that are read after it.
    pub sinks: Vec<usize>,
    pub bands: Vec<Band>,
}

/// A share of a segment's rows.
#[derive(Debug, Clone)]
pub(super) struct Band {
    /// For each step of the segment the rows that it computes.
    pub rows: Vec<Range<usize>>,
    /// For each sink the rows that are this band's own.
    pub own: Vec<Range<usize>>,
}

/// The cheapest cuts, and their bands.
pub(super) fn cut(
    stages: &[Stage],
    layouts: &[Layout],
    last_reader: &[usize],
    leaves: &dyn Fn(usize) -> bool,
    machine: Machine,
) -> Vec<Segment> {
    // best[end]: cost of all steps before `end`, and where the last segment begins.
    let mut best: Vec<(f64, Option<Segment>)> = vec![(0.0, None)];
    for end in 1..=stages.len() {
        let begins = end.saturating_sub(LONGEST)..end;
        let options = begins.filter_map(|begin| {
            let (cost, segment) = segment(stages, layouts, last_reader, leaves, begin..end, machine)?;
            Some((best[begin].0 + cost, Some(segment)))
        });
        let option = options.min_by(|a, b| a.0.total_cmp(&b.0));
        best.push(option.expect("a segment of one step is always possible"));
    }
    let (mut segments, mut end) = (Vec::new(), stages.len());
    while let Some(segment) = best[end].1.take() {
        end = segment.stages.start;
        segments.push(segment);
    }
    segments.reverse();
    segments
}

/// The cheapest bands for one segment, and their cost; `None` where too much leaves it.
fn segment(
    stages: &[Stage],
    layouts: &[Layout],
    last_reader: &[usize],
    leaves: &dyn Fn(usize) -> bool,
    range: Range<usize>,
    machine: Machine,
) -> Option<(f64, Segment)> {
    let threads = machine.threads;
    let sinks: Vec<usize> = range
        .clone()
        .filter(|value| last_reader[*value] >= range.end || leaves(*value))
        .collect();
    if sinks.len() > SINKS {
        return None;
    }
    let traffic: f64 = sinks.iter().map(|sink| layouts[*sink].len() as f64 * TRAFFIC).sum();
    let rows = sinks.iter().map(|sink| layouts[*sink].height).max().unwrap_or(1);
    let option = |bands: usize| {
        let share = |band: usize| band_of(stages, layouts, &range, &sinks, band, bands);
        let all: Vec<Band> = (0..bands).map(share).collect();
        let work: f64 = all
            .iter()
            .map(|band| cost(stages, layouts, &range, band, machine.arithmetic.isa))
            .sum();
        let rounds = bands.div_ceil(threads);
        let parallel = (work + traffic) / bands as f64 * rounds as f64;
        let imbalance = if threads > 1 {
            1.0 + IMBALANCE / rounds as f64
        } else {
            1.0
        };
        let meeting = if threads > 1 { MEETING } else { 0.0 };
        let (stages, sinks) = (range.clone(), sinks.clone());
        (
            parallel * imbalance + meeting,
            Segment {
                stages,
                sinks,
                bands: all,
            },
        )
    };
    let counts = [1, threads, 2 * threads, 4 * threads].map(|bands| bands.min(rows).min(BANDS));
    counts.into_iter().map(option).min_by(|a, b| a.0.total_cmp(&b.0))
}

/// Band number `band` of `bands`.
fn band_of(
    stages: &[Stage],
    layouts: &[Layout],
    range: &Range<usize>,
    sinks: &[usize],
    band: usize,
    bands: usize,
) -> Band {
    let mut rows = vec![0..0; range.len()];
    let own: Vec<Range<usize>> = sinks
        .iter()
        .map(|sink| layouts[*sink].height)
        .map(|height| height * band / bands..height * (band + 1) / bands)
        .collect();
    for (sink, own) in sinks.iter().zip(&own) {
        rows[sink - range.start] = own.clone();
    }
    for (i, stage) in range.clone().zip(&stages[range.clone()]).rev() {
        let computed = rows[i - range.start].clone();
        if Range::is_empty(&computed) {
            continue;
        }
        for arg in stage.args.iter().filter(|arg| range.contains(*arg)) {
            let needed = stage.kernel.span(computed.clone(), layouts[*arg].height);
            let row = &mut rows[arg - range.start];
            *row = if Range::is_empty(row) {
                needed
            } else {
                row.start.min(needed.start)..row.end.max(needed.end)
            };
        }
    }
    Band { rows, own }
}

fn cost(stages: &[Stage], layouts: &[Layout], range: &Range<usize>, band: &Band, isa: Isa) -> f64 {
    let stage = |(i, rows): (usize, &Range<usize>)| {
        let stage = &stages[i];
        let from = stage.args.first().map_or(&layouts[i], |arg| &layouts[*arg]);
        rows.len() as f64 * stage.kernel.cycles(isa, from, &layouts[i])
    };
    range.clone().zip(&band.rows).map(stage).sum()
}

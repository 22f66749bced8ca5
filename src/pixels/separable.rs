//! Separable linear filters whose weights are worked out beforehand: the ground of resizing and of fixed filters.

use rayon::prelude::*;

use super::Image;

/// Pixels that overlap less than this only touch: the difference is rounding.
const TOUCHING: f64 = 1e-6;

/// For every output position on one axis, the input positions it is made of and their weights, which sum to 1.
#[derive(Debug, Clone, Default)]
pub(super) struct Taps {
    /// First input position, one an output.
    first: Vec<usize>,
    /// How many weights an output has.
    counts: Vec<usize>,
    /// The weights of all outputs one after the other.
    weights: Vec<f32>,
}

impl Taps {
    /// A triangle filter for outputs whose centres lie at `start + (i + 0.5) · step` in input pixels (the first input
    /// pixel's centre is 0.5). It is `2 · max(step, 1)` wide and cut off at the edges. Outputs, `step` wide, that lie
    /// outside the input give the edge if `repeat`, else nothing.
    pub fn triangle(inputs: usize, outputs: usize, step: f64, start: f64, repeat: bool) -> Self {
        let end = inputs as f64;
        let support = step.max(1.0);
        let edge = (0.5 * step).min(0.5 * end);
        let mut taps = Self::default();
        let mut weights = Vec::new();
        for i in 0..outputs {
            let mut center = start + (i as f64 + 0.5) * step;
            if repeat {
                center = center.clamp(edge, end - edge);
            } else if center + 0.5 * step < TOUCHING || center - 0.5 * step > end - TOUCHING {
                taps.push(0, &[]);
                continue;
            } else {
                center = center.clamp(0.0, end);
            }
            let first = (center - support + 0.5).max(0.0) as usize;
            let last = ((center + support + 0.5) as usize).min(inputs);
            weights.clear();
            weights.extend((first..last).map(|x| (1.0 - ((x as f64 + 0.5 - center) / support).abs()).max(0.0)));
            taps.push(first, &weights);
        }
        taps
    }

    /// A symmetric filter of the same size out as in; `half[d]` weighs inputs `d` away, edges repeat.
    pub fn symmetric(inputs: usize, half: &[f64]) -> Self {
        let radius = half.len() - 1;
        let mut taps = Self::default();
        let mut weights = Vec::new();
        for i in 0..inputs {
            let (first, last) = (i.saturating_sub(radius), (i + radius).min(inputs - 1));
            weights.clear();
            weights.extend((first..=last).map(|x| half[x.abs_diff(i)]));
            let beyond = |inside: usize| half[inside + 1..].iter().sum::<f64>();
            weights[0] += beyond((i - first).min(radius));
            weights[last - first] += beyond((last - i).min(radius));
            taps.push(first, &weights);
        }
        taps
    }

    /// Adds an output; its weights are normalised, zeros at the ends left out.
    fn push(&mut self, first: usize, weights: &[f64]) {
        let skip = weights.iter().take_while(|w| **w == 0.0).count();
        let kept = weights[skip..]
            .iter()
            .rposition(|w| *w != 0.0)
            .map_or(0, |last| last + 1);
        let sum: f64 = weights.iter().sum();
        self.first.push(first + skip);
        self.weights
            .extend(weights[skip..skip + kept].iter().map(|w| (w / sum) as f32));
        self.counts.push(kept);
    }

    fn len(&self) -> usize {
        self.first.len()
    }

    /// First input and weights of every output.
    fn iter(&self) -> impl Iterator<Item = (usize, &[f32])> {
        let mut rest = &self.weights[..];
        self.first.iter().zip(&self.counts).map(move |(&first, &count)| {
            let (weights, others) = rest.split_at(count);
            rest = others;
            (first, weights)
        })
    }

    /// The inputs that any output needs.
    fn span(&self) -> std::ops::Range<usize> {
        let used = || self.iter().filter(|(_, weights)| !weights.is_empty());
        let start = used().map(|(first, _)| first).min().unwrap_or(0);
        start
            ..used()
                .map(|(first, weights)| first + weights.len())
                .max()
                .unwrap_or(start)
    }
}

/// Filters rows and columns. An output without weights is 0.
///
/// Sums run over differences from the first input, so that what is constant stays so exactly.
pub(super) fn resample(image: &Image, columns: &Taps, rows: &Taps) -> Image {
    let (width, height) = (columns.len(), rows.len());
    let mut out = Image::filled(image.channels, height, width, 0.0);
    let span = columns.span();
    let rows: Vec<_> = rows.iter().collect();
    let scratch = || vec![0.0; span.len()];
    out.data
        .par_chunks_mut(width)
        .with_min_len(4)
        .enumerate()
        .for_each_init(scratch, |mixed, (i, out)| {
            let (first, weights) = rows[i % height];
            if weights.is_empty() {
                return;
            }
            let plane = image.plane(i / height);
            let row = |y: usize| &plane[y * image.width..][span.clone()];
            let base = row(first);
            mixed.copy_from_slice(base);
            for (k, &weight) in weights.iter().enumerate().skip(1) {
                for ((mixed, value), base) in mixed.iter_mut().zip(row(first + k)).zip(base) {
                    *mixed += weight * (value - base);
                }
            }
            for (out, (first, weights)) in out.iter_mut().zip(columns.iter()) {
                if let [_, others @ ..] = weights {
                    let values = &mixed[first - span.start..][..weights.len()];
                    let base = values[0];
                    *out = others
                        .iter()
                        .zip(&values[1..])
                        .fold(base, |sum, (weight, value)| sum + weight * (value - base));
                }
            }
        });
    out
}

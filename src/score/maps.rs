//! Difference maps between a picture and its reconstruction.

use super::similarity::ssim_map;
use crate::kernels::team::share;
use crate::model::MapKind;
use crate::pixels::separable::ROWS_AT_LEAST;
use crate::pixels::{Image, box_mean};

/// Keeps the gradient similarity of flat parts at 1: 170 for values in 0..255 (Xue, Zhang, Mou, Bovik: Gradient magnitude
/// similarity deviation, 2014), here for 0..1.
const GRADIENT_C: f32 = 0.0026;
/// Share of the mean absolute difference in the MSGMS map: gradients do not see a part that is evenly too dark or of
/// another colour. Small, so that slow changes of the light stay below what an edge out of place gives.
const COLOR_WEIGHT: f32 = 0.1;

/// One-channel map of the pictures' size, larger where they differ more. `input` and `output` have the same shape and values in 0..1.
///
/// * [`MapKind::Msgms`]: 1 − gradient-magnitude similarity (Prewitt), mean of two scales and all channels, in 0..1, plus a
///   tenth of the mean absolute difference.
/// * [`MapKind::Ssim`]: 1 − structural similarity (Gaussian window 11, sigma 1.5), mean of the channels, in 0..2.
/// * [`MapKind::Squared`]: squared difference, mean of the channels.
/// * [`MapKind::Direct`]: `output`'s first plane; `input` is not used.
///
/// `smooth` is the side in pixels of a mean filter on the map, 0 or 1 for none. All filters replicate the edge.
///
/// # Panics
/// When the shapes differ.
pub fn difference(kind: MapKind, input: &Image, output: &Image, smooth: usize) -> Image {
    let Image { width, height, .. } = *output;
    if kind != MapKind::Direct {
        assert_eq!(
            (input.channels, input.height, input.width),
            (output.channels, height, width),
            "shapes differ"
        );
    }
    let data = match kind {
        _ if output.data.is_empty() => Vec::new(),
        MapKind::Msgms => msgms(input, output),
        MapKind::Ssim => mean_of_channels(input, output, |a, b| {
            let mut map = ssim_map(a, b, width);
            map.iter_mut().for_each(|v| *v = 1.0 - *v);
            map
        }),
        MapKind::Squared => mean_of_channels(input, output, |a, b| {
            a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).collect()
        }),
        MapKind::Direct => output.plane(0).to_vec(),
    };
    let map = Image {
        channels: 1,
        height,
        width,
        data,
    };
    box_mean(&map, smooth)
}

/// `map` of values in 0..1, each raised by what lies around it: 1 − (1 − m)(1 − c), c being the mean over a square of `side` pixels, taken
/// twice so that it fades out; edges are repeated. An even `side` counts as one more, 1 changes nothing.
///
/// Large defects are seldom conspicuous all over: what lies amid what is, is more suspect than what lies far from it.
pub fn with_surroundings(map: Image, side: usize) -> Image {
    if side < 2 {
        return map;
    }
    let around = box_mean(&box_mean(&map, side | 1), side | 1);
    let mut out = map;
    let pairs = out.data.iter_mut().zip(&around.data);
    // Maps of differences may go a little beyond 1.
    pairs.for_each(|(m, c)| *m += c.min(1.0) * (1.0 - *m).max(0.0));
    out
}

/// Mean of the `count` largest of `values`, or of all where they are fewer; NaN counts as less than anything.
pub fn mean_of_largest(values: impl Iterator<Item = f32>, count: usize) -> f32 {
    // Rising; nearly all values are below the first and are passed over.
    let mut largest: Vec<f32> = Vec::with_capacity(count);
    for value in values {
        if largest.len() < count {
            let at = largest.partition_point(|other| *other < value);
            largest.insert(at, value);
        } else if value > largest[0] {
            let at = largest.partition_point(|other| *other < value);
            largest.copy_within(1..at, 0);
            largest[at - 1] = value;
        }
    }
    largest.iter().sum::<f32>() / largest.len() as f32
}

fn mean_of_channels(a: &Image, b: &Image, map: impl Fn(&[f32], &[f32]) -> Vec<f32>) -> Vec<f32> {
    let mut sum = map(a.plane(0), b.plane(0));
    for channel in 1..a.channels {
        let one = map(a.plane(channel), b.plane(channel));
        sum.iter_mut().zip(one).for_each(|(sum, one)| *sum += one);
    }
    let share = 1.0 / a.channels as f32;
    sum.iter_mut().for_each(|v| *v *= share);
    sum
}

fn msgms(a: &Image, b: &Image) -> Vec<f32> {
    let width = a.width;
    let half_width = width.div_ceil(2);
    let mut fine = vec![0.0; width * a.height];
    let mut coarse = vec![0.0; half_width * a.height.div_ceil(2)];
    for channel in 0..a.channels {
        let (a, b) = (a.plane(channel), b.plane(channel));
        add_gradient_difference(&mut fine, a, b, width);
        add_gradient_difference(&mut coarse, &halve(a, width), &halve(b, width), half_width);
    }
    let weight = 0.5 / a.channels as f32;
    let color = mean_of_channels(a, b, |a, b| a.iter().zip(b).map(|(a, b)| (a - b).abs()).collect());
    share(
        fine.chunks_mut(width).enumerate(),
        ROWS_AT_LEAST,
        || vec![0.0; half_width],
        |mixed, (y, row)| {
            mix_rows(&coarse, half_width, y, mixed);
            let color = &color[y * width..(y + 1) * width];
            for (x, (value, color)) in row.iter_mut().zip(color).enumerate() {
                let (near, far) = doubled(x, half_width);
                let coarse = 0.75 * mixed[near] + 0.25 * mixed[far];
                *value = weight * (*value + coarse) + COLOR_WEIGHT * color;
            }
        },
    );
    fine
}

/// The two coarse positions that position `i` at double resolution lies between, the nearer one first (weights ¾ and ¼).
fn doubled(i: usize, coarse: usize) -> (usize, usize) {
    let near = i / 2;
    let far = if i.is_multiple_of(2) {
        near.saturating_sub(1)
    } else {
        (near + 1).min(coarse - 1)
    };
    (near, far)
}

fn mix_rows(coarse: &[f32], width: usize, y: usize, mixed: &mut [f32]) {
    let (near, far) = doubled(y, coarse.len() / width);
    let rows = coarse[near * width..][..width]
        .iter()
        .zip(&coarse[far * width..][..width]);
    mixed
        .iter_mut()
        .zip(rows)
        .for_each(|(mixed, (near, far))| *mixed = 0.75 * near + 0.25 * far);
}

/// Means of 2x2 pixels; an odd last column or row is repeated.
fn halve(plane: &[f32], width: usize) -> Vec<f32> {
    let height = plane.len() / width;
    let mut half = Vec::with_capacity(width.div_ceil(2) * height.div_ceil(2));
    for y in (0..height).step_by(2) {
        let top = &plane[y * width..][..width];
        let bottom = &plane[(y + 1).min(height - 1) * width..][..width];
        let pairs = top.chunks(2).zip(bottom.chunks(2));
        half.extend(pairs.map(|(t, b)| 0.25 * (t[0] + t[t.len() - 1] + b[0] + b[b.len() - 1])));
    }
    half
}

/// Adds 1 − (2·|∇a|·|∇b| + c) / (|∇a|² + |∇b|² + c) to `map`.
fn add_gradient_difference(map: &mut [f32], a: &[f32], b: &[f32], width: usize) {
    share(
        map.chunks_mut(width).enumerate(),
        ROWS_AT_LEAST,
        || (GradientRow::new(width), GradientRow::new(width)),
        |(row_a, row_b), (y, map)| {
            let squares = row_a.squares(a, y).iter().zip(row_b.squares(b, y));
            for (map, (&a, &b)) in map.iter_mut().zip(squares) {
                *map += 1.0 - (2.0 * (a * b).sqrt() + GRADIENT_C) / (a + b + GRADIENT_C);
            }
        },
    );
}

/// Squared Prewitt gradient magnitudes of one row, and what they are made of.
struct GradientRow {
    /// Sum of the three rows, and a repeated value on either side.
    sum: Vec<f32>,
    /// Row below minus row above, padded likewise.
    difference: Vec<f32>,
    squares: Vec<f32>,
}

impl GradientRow {
    fn new(width: usize) -> Self {
        Self {
            sum: vec![0.0; width + 2],
            difference: vec![0.0; width + 2],
            squares: vec![0.0; width],
        }
    }

    fn squares(&mut self, plane: &[f32], y: usize) -> &[f32] {
        let width = self.squares.len();
        let last = plane.len() / width - 1;
        let row = |y: usize| &plane[y * width..(y + 1) * width];
        let (above, middle, below) = (row(y.saturating_sub(1)), row(y), row((y + 1).min(last)));
        for (x, ((above, middle), below)) in above.iter().zip(middle).zip(below).enumerate() {
            self.sum[x + 1] = above + middle + below;
            self.difference[x + 1] = below - above;
        }
        for padded in [&mut self.sum, &mut self.difference] {
            padded[0] = padded[1];
            padded[width + 1] = padded[width];
        }
        let windows = self.sum.windows(3).zip(self.difference.windows(3));
        for (square, (sum, difference)) in self.squares.iter_mut().zip(windows) {
            let across = (sum[2] - sum[0]) / 3.0;
            let down = (difference[0] + difference[1] + difference[2]) / 3.0;
            *square = across * across + down * down;
        }
        &self.squares
    }
}

#[cfg(test)]
mod tests;

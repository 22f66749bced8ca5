//! Patches put in without a step at their border, by solving Poisson's equation (Pérez 2003): the patch keeps its own gradients, and
//! what its border is off by fades over it as evenly as it can.

use rand::RngExt;
use rand_distr::{Distribution, Gamma};
use rand_pcg::Pcg64;

use super::VISIBLE;
use crate::pixels::Image;

/// Sides of the coarsest grid, and sweeps on it, which nothing is known of before.
const COARSEST: usize = 8;
const FIRST_SWEEPS: usize = 40;
/// Sweeps on each finer one.
const SWEEPS: usize = 8;
/// Tries to draw a patch that can be seen.
const TRIES: usize = 4;

/// NSA's other blending: a rectangle of `source` put on another place of `out`, its values moved so that they meet those around it.
pub(super) fn patch(out: &mut Image, source: &Image, rng: &mut Pcg64) {
    let gamma = Gamma::new(2.0f32, 0.05).expect("shape and scale are positive");
    let sides = [out.width, out.height];
    if sides.iter().any(|side| *side < 4) {
        return;
    }
    for _ in 0..TRIES {
        let size = sides.map(|side| {
            let half = (gamma.sample(rng) + 0.03).min(0.4) * side as f32;
            ((2.0 * half) as usize).clamp(3, side)
        });
        let mut place = || [0, 1].map(|axis| rng.random_range(0..=sides[axis] - size[axis]));
        let (to, from) = (place(), place());
        let patch: Vec<Vec<f32>> = (0..out.channels)
            .map(|channel| blended(out.plane(channel), source.plane(channel), out.width, (to, from), size))
            .collect();
        let change = |(channel, patch): (usize, &Vec<f32>)| {
            let plane = out.plane(channel);
            let below = (0..size[1]).flat_map(|y| &plane[(to[1] + y) * sides[0] + to[0]..][..size[0]]);
            below.zip(patch).map(|(a, b)| (a - b).abs()).sum::<f32>() / patch.len() as f32
        };
        if patch.iter().enumerate().map(change).fold(0.0, f32::max) < VISIBLE / 2.0 {
            continue;
        }
        for (channel, patch) in patch.iter().enumerate() {
            let plane = out.plane_mut(channel);
            for (y, row) in patch.chunks(size[0]).enumerate() {
                plane[(to[1] + y) * sides[0] + to[0]..][..size[0]].copy_from_slice(row);
            }
        }
        return;
    }
}

/// The values of a patch of `[width, height]`, taken from `source` at one corner and put on `below` at another; both planes have rows of
/// `stride`.
fn blended(
    below: &[f32],
    source: &[f32],
    stride: usize,
    (to, from): ([usize; 2], [usize; 2]),
    [width, height]: [usize; 2],
) -> Vec<f32> {
    let at = |corner: [usize; 2], x: usize, y: usize| (corner[1] + y) * stride + corner[0] + x;
    let mut off = vec![0.0; width * height];
    for y in 0..height {
        for x in 0..width {
            if is_border(x, y, width, height) {
                off[y * width + x] = below[at(to, x, y)] - source[at(from, x, y)];
            }
        }
    }
    fill(&mut off, width, height);
    for (i, value) in off.iter_mut().enumerate() {
        *value = (*value + source[at(from, i % width, i / width)]).clamp(0.0, 1.0);
    }
    off
}

fn is_border(x: usize, y: usize, width: usize, height: usize) -> bool {
    x == 0 || y == 0 || x + 1 == width || y + 1 == height
}

/// Fills the inside of `grid` from its border: each value the mean of its four neighbours, as nearly as a few sweeps from coarse to fine
/// grids come to.
fn fill(grid: &mut [f32], width: usize, height: usize) {
    let mut sweeps = FIRST_SWEEPS;
    if width > COARSEST && height > COARSEST {
        sweeps = SWEEPS;
        let (w, h) = (width.div_ceil(2), height.div_ceil(2));
        // Corners lie on corners, and the rest evenly between them.
        let mut coarse = vec![0.0; w * h];
        for (i, value) in coarse.iter_mut().enumerate() {
            if is_border(i % w, i / w, w, h) {
                *value = sample(grid, [width, height], [i % w, i / w], [w, h]);
            }
        }
        fill(&mut coarse, w, h);
        for y in 1..height - 1 {
            for x in 1..width - 1 {
                grid[y * width + x] = sample(&coarse, [w, h], [x, y], [width, height]);
            }
        }
    }
    for _ in 0..sweeps {
        for y in 1..height.saturating_sub(1) {
            for x in 1..width.saturating_sub(1) {
                let i = y * width + x;
                grid[i] = 0.25 * (grid[i - 1] + grid[i + 1] + grid[i - width] + grid[i + width]);
            }
        }
    }
}

/// The value of `grid` of `[width, height]` where `at` of a grid of `size` over the same area lies, between its neighbours.
fn sample(grid: &[f32], [width, height]: [usize; 2], at: [usize; 2], size: [usize; 2]) -> f32 {
    let [(x, right), (y, down)] = [(at[0], size[0], width), (at[1], size[1], height)].map(|(at, size, length)| {
        let place = at as f32 * (length - 1) as f32 / (size - 1) as f32;
        let whole = (place as usize).min(length - 2);
        (whole, place - whole as f32)
    });
    let row = |y: usize| {
        let [a, b] = [grid[y * width + x], grid[y * width + x + 1]];
        a + right * (b - a)
    };
    row(y) + down * (row(y + 1) - row(y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::stream;

    #[test]
    fn a_filled_grid_is_harmonic() {
        // x² − y² solves Laplace's equation on a grid exactly.
        for (width, height) in [(3, 3), (7, 40), (61, 50), (128, 97)] {
            let exact = |i: usize| {
                let (x, y) = ((i % width) as f32 / 128.0, (i / width) as f32 / 128.0);
                x * x - y * y + 0.3 * x
            };
            let border = |i: usize| is_border(i % width, i / width, width, height);
            let mut grid: Vec<f32> = (0..width * height)
                .map(|i| if border(i) { exact(i) } else { 0.0 })
                .collect();
            fill(&mut grid, width, height);
            let worst = (0..width * height)
                .map(|i| (grid[i] - exact(i)).abs())
                .fold(0.0, f32::max);
            assert!(worst < 0.03, "{width}x{height}: {worst}");
        }
    }

    #[test]
    fn a_patch_meets_what_lies_around_it_and_keeps_its_texture() {
        let (width, height) = (64, 48);
        let mut below = Image::filled(1, height, width, 0.3);
        let mut source = Image::filled(1, height, width, 0.7);
        for i in 0..width * height {
            below.data[i] += 0.2 * (i % width) as f32 / width as f32;
            source.data[i] += 0.1 * f32::from((i % width / 2 + i / width / 2) % 2 == 0);
        }
        let mut changed = 0;
        for item in 0..40 {
            let mut out = below.clone();
            patch(&mut out, &source, &mut stream(12, 0, item));
            let steps = |image: &Image| image.data.windows(2).map(|p| (p[0] - p[1]).abs()).fold(0.0, f32::max);
            assert!(
                steps(&out) < 0.25,
                "item {item}: no step of 0.4 between the two pictures"
            );
            changed += usize::from(out != below);
        }
        assert!(changed > 30, "{changed}");
    }
}

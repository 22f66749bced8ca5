//! What is usual where: near things move by more pixels than far ones, and leaves never rest.

use super::calibration::quantile;
use crate::model::Grid;
use crate::pixels::{Image, box_mean};

/// Side of a cell in map pixels.
const CELL: usize = 8;
/// Share of the good frames that stay below what is usual.
const QUANTILE: f64 = 0.99;
/// Where nothing ever happens, what is usual is taken for this share of its mean over all places.
const LEAST: f32 = 0.1;

/// Maps of good frames, cell by cell.
#[derive(Debug, Default)]
pub struct Usual {
    /// `[width, height]` in cells.
    size: [usize; 2],
    /// Means over each cell, one a frame.
    cells: Vec<Vec<f64>>,
}

impl Usual {
    /// Adds a map; all must have the same size.
    ///
    /// # Panics
    /// When it has another size than those before.
    pub fn add(&mut self, map: &Image) {
        let size = [map.width, map.height].map(|side| side.div_ceil(CELL));
        if self.cells.is_empty() {
            self.size = size;
            self.cells = vec![Vec::new(); size[0] * size[1]];
        }
        assert_eq!(self.size, size, "maps differ in size");
        let mut sums = vec![(0.0, 0); self.cells.len()];
        for (i, value) in map.data.iter().enumerate() {
            let (sum, count) = &mut sums[i / map.width / CELL * size[0] + i % map.width / CELL];
            *sum += f64::from(*value);
            *count += 1;
        }
        for (cell, (sum, count)) in self.cells.iter_mut().zip(sums) {
            cell.push(sum / f64::from(count));
        }
    }

    /// What 99 % of the maps stay below in each cell, mean of 3x3 cells; `None` without a map that is not 0 all over.
    pub fn grid(mut self) -> Option<Grid> {
        let [width, height] = self.size;
        let reached = self.cells.iter_mut().map(|cell| {
            cell.sort_by(f64::total_cmp);
            quantile(cell, QUANTILE) as f32
        });
        let mut grid = Image::filled(1, height, width, 0.0);
        grid.data.iter_mut().zip(reached).for_each(|(to, value)| *to = value);
        let mean = grid.data.iter().sum::<f32>() / grid.data.len() as f32;
        let values: Vec<f32> = box_mean(&grid, 3).data.iter().map(|x| x.max(LEAST * mean)).collect();
        (mean > 0.0).then_some(Grid { width, height, values })
    }
}

/// Divides each value of `map` by what is usual there, `grid`'s cells laid evenly over it, bilinear between their middles.
pub fn divide(map: &mut Image, grid: &Grid) {
    let taps = |length: usize, cells: usize| -> Vec<(usize, usize, f32)> {
        let at = |i: usize| ((i as f32 + 0.5) * cells as f32 / length as f32 - 0.5).clamp(0.0, (cells - 1) as f32);
        let tap = |at: f32| (at as usize, (at as usize + 1).min(cells - 1), at.fract());
        (0..length).map(|i| tap(at(i))).collect()
    };
    let (columns, rows) = (taps(map.width, grid.width), taps(map.height, grid.height));
    for (row, (above, below, down)) in map.data.chunks_mut(map.width).zip(rows) {
        let [above, below] = [above, below].map(|y| &grid.values[y * grid.width..][..grid.width]);
        for (value, &(left, right, across)) in row.iter_mut().zip(&columns) {
            let mix = |cells: &[f32]| cells[left] + across * (cells[right] - cells[left]);
            *value /= mix(above) + down * (mix(below) - mix(above));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_are_usually_lively_count_less() {
        let mut usual = Usual::default();
        // The right half is ten times as lively, each frame by another amount, and a far corner never is.
        let map = |strength: f32| {
            let mut map = Image::filled(1, 40, 60, 0.0);
            for (i, value) in map.data.iter_mut().enumerate() {
                let (x, y) = (i % 60, i / 60);
                *value = if x < 24 && y < 24 {
                    0.0
                } else if x < 32 {
                    strength
                } else {
                    10.0 * strength
                };
            }
            map
        };
        for frame in 0..=100 {
            usual.add(&map(frame as f32 / 100.0));
        }
        let grid = usual.grid().unwrap();
        assert_eq!((grid.width, grid.height), (8, 5));
        let mut seen = map(0.99);
        divide(&mut seen, &grid);
        let at = |x: usize, y: usize| seen.data[y * 60 + x];
        assert!(
            (at(12, 36) - 1.0).abs() < 1e-3 && (at(56, 20) - 1.0).abs() < 1e-3,
            "{} {}",
            at(12, 36),
            at(56, 20)
        );
        let mut spot = Image::filled(1, 40, 60, 0.5);
        divide(&mut spot, &grid);
        let at = |x: usize, y: usize| spot.data[y * 60 + x];
        assert!(
            at(2, 2) > at(12, 36) && at(12, 36) > 9.0 * at(56, 20),
            "never, seldom, often"
        );
        assert!(at(2, 2).is_finite());
    }

    #[test]
    fn without_anything_nothing_is_usual() {
        assert!(Usual::default().grid().is_none());
        let mut usual = Usual::default();
        usual.add(&Image::filled(1, 5, 3, 0.0));
        assert!(usual.grid().is_none());
        let mut one = Usual::default();
        one.add(&Image::filled(1, 5, 3, 0.2));
        let mut map = Image::filled(1, 5, 3, 0.4);
        divide(&mut map, &one.grid().unwrap());
        assert!(map.data.iter().all(|x| (x - 2.0).abs() < 1e-5), "{:?}", map.data);
    }
}

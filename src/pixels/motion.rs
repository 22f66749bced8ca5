//! Where the parts of a frame were in the frame before.

mod carry;
mod pyramid;

use crate::kernels::team::share;
pub use pyramid::Pyramid;
use pyramid::{FARTHEST, PLANES, Plane};

/// Side in pixels of the blocks that move.
pub const MOTION_SIDE: usize = 16;
/// Side of a block on every smaller plane.
const SMALL_SIDE: usize = 8;
/// Side of the square that is compared, with the block in its middle; the same on all planes.
const WINDOW: usize = 16;
/// Steps to better neighbours on one plane.
const STEPS: usize = 3;
/// A block moves otherwise than the frame as a whole where its difference is less than this share of what that motion leaves: noise
/// alone makes some vectors look better than others.
const BETTER: f32 = 0.88;
/// So the frame as a whole, against one that stands still: one less this many times the deviation that noise gives the share.
const ALL_BETTER: f32 = 3.0;
/// Blocks that tell how the frame moves as a whole.
const SAMPLE: usize = 256;
/// Parts of a pixel that motion is told in.
const PARTS: i16 = 4;
/// A part of a pixel is told where the cost rises to both sides by so many times what noise does to it.
const CERTAIN: f32 = 8.0;

/// For each block of 16x16 pixels of a frame, how far it is to where it was in the frame before.
#[derive(Debug, Clone, Default)]
pub struct Motion {
    columns: usize,
    rows: usize,
    /// Columns and rows, in quarters of a pixel; in pixels during the search.
    vectors: Vec<[i16; 2]>,
    /// Of the frame as a whole.
    usual: [i16; 2],
}

/// What a vector costs, and what those cost that are a pixel less and a pixel more along x, and along y.
#[derive(Clone, Copy, Default)]
struct Valley {
    bottom: f32,
    sides: [[f32; 2]; 2],
    blocks: usize,
}

impl Valley {
    fn add(&mut self, other: &Self) {
        self.bottom += other.bottom;
        for (sum, side) in self.sides.iter_mut().flatten().zip(other.sides.iter().flatten()) {
            *sum += side;
        }
        self.blocks += other.blocks;
    }

    /// The lowest place between them, in parts of a pixel, by a parabola; `None` along a line that is too flat to tell.
    fn lowest(&self) -> [Option<i16>; 2] {
        let pixels = (self.blocks * MOTION_SIDE * MOTION_SIDE) as f32;
        self.sides.map(|[less, more]| {
            let curvature = less + more - 2.0 * self.bottom;
            if curvature <= 0.0 || curvature * pixels.sqrt() < CERTAIN * self.bottom {
                return None;
            }
            let place = (0.5 * (less - more) / curvature).clamp(-0.5, 0.5);
            Some((place * f32::from(PARTS)).round() as i16)
        })
    }
}

/// Sum of the absolute differences of two squares.
fn difference(a: &[u8], a_pitch: usize, b: &[u8], b_pitch: usize) -> u32 {
    (0..WINDOW)
        .map(|row| {
            let [a, b]: [&[u8; WINDOW]; 2] = [&a[row * a_pitch..], &b[row * b_pitch..]]
                .map(|row| row[..WINDOW].try_into().expect("a slice of its length"));
            a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b))).sum::<u32>()
        })
        .sum()
}

/// The two frames at one size.
struct Pair<'a> {
    before: &'a Plane,
    now: &'a Plane,
    side: usize,
    /// Farthest motion.
    reach: i16,
}

impl Pair<'_> {
    /// How far what block (`column`, `row`) shows differs from what the frame before has `vector` from there.
    fn cost(&self, [column, row]: [usize; 2], [dx, dy]: [i16; 2]) -> u32 {
        let [x, y] = [column, row].map(|i| (i * self.side) as isize - ((WINDOW - self.side) / 2) as isize);
        let (now, before) = (
            self.now.at(x, y),
            self.before.at(x + isize::from(dx), y + isize::from(dy)),
        );
        let (now_pitch, before_pitch) = (self.now.pitch(), self.before.pitch());
        difference(now, now_pitch, before, before_pitch)
    }

    /// The best of the `candidates` and their neighbours, or `usual` where they are not [`BETTER`].
    fn best(&self, block: [usize; 2], usual: [i16; 2], candidates: &[[i16; 2]]) -> [i16; 2] {
        let at_usual = self.cost(block, usual);
        let (mut best, mut least) = (usual, at_usual);
        let mut consider = |best: [i16; 2], vector: [i16; 2]| {
            let cost = self.cost(block, vector);
            if cost < least {
                least = cost;
                return vector;
            }
            best
        };
        for (i, vector) in candidates.iter().enumerate() {
            if *vector != usual && !candidates[..i].contains(vector) {
                best = consider(best, *vector);
            }
        }
        for _ in 0..STEPS {
            let next = self.around(best).fold(best, &mut consider);
            if next == best {
                break;
            }
            best = next;
        }
        if (least as f32) < BETTER * at_usual as f32 {
            best
        } else {
            usual
        }
    }

    /// The vector among `candidates` that suits the frame as a whole, or none.
    fn usual(&self, candidates: &[[i16; 2]]) -> [i16; 2] {
        let [columns, rows] = self.size();
        let every = (columns * rows).div_ceil(SAMPLE);
        let total = |vector: [i16; 2]| -> f32 {
            let blocks = (0..columns * rows).step_by(every);
            blocks
                .map(|i| self.cost([i % columns, i / columns], vector) as f32)
                .sum()
        };
        let least = |a: ([i16; 2], f32), vector: &[i16; 2]| {
            let cost = total(*vector);
            if cost < a.1 { (*vector, cost) } else { a }
        };
        let pixels = (columns * rows).div_ceil(every) * self.side.pow(2);
        let better = 1.0 - ALL_BETTER / (pixels as f32).sqrt();
        candidates.iter().fold(([0, 0], better * total([0, 0])), least).0
    }

    fn valley(&self, block: [usize; 2], [x, y]: [i16; 2]) -> Valley {
        let cost = |x, y| self.cost(block, [x, y]) as f32;
        Valley {
            bottom: cost(x, y),
            sides: [[cost(x - 1, y), cost(x + 1, y)], [cost(x, y - 1), cost(x, y + 1)]],
            blocks: 1,
        }
    }

    /// The vectors beside one.
    fn around(&self, [x, y]: [i16; 2]) -> impl Iterator<Item = [i16; 2]> {
        let ring = (0..9).filter(|i| *i != 4).map(move |i| [x + i % 3 - 1, y + i / 3 - 1]);
        ring.filter(|vector| vector.iter().all(|d| d.abs() <= self.reach))
    }

    fn size(&self) -> [usize; 2] {
        [self.now.width, self.now.height].map(|length| length.div_ceil(self.side))
    }
}

impl Motion {
    /// That of blocks whose vectors, in quarters of a pixel, stand in rows of `columns`.
    #[cfg(feature = "train")]
    pub(crate) fn of_vectors(columns: usize, vectors: Vec<[i16; 2]>) -> Self {
        Self {
            columns,
            rows: vectors.len() / columns,
            vectors,
            usual: [0, 0],
        }
    }

    /// What [`Motion::of_vectors`] takes.
    #[cfg(feature = "train")]
    pub(crate) fn vectors(&self) -> (usize, &[[i16; 2]]) {
        (self.columns, &self.vectors)
    }

    /// From `before` to `now`, frames of the same size: found from coarse to fine by the least sum of absolute differences, each block
    /// beginning with what its surroundings did at half the size (as H.-M. Hang et al. survey it, "Motion estimation for video coding
    /// standards", 1997). Up to 40 pixels either way.
    pub fn between(before: &Pyramid, now: &Pyramid) -> Self {
        let mut motion = Self::default();
        for level in (0..PLANES).rev() {
            let pair = Pair {
                before: &before.planes[level],
                now: &now.planes[level],
                side: if level == 0 { MOTION_SIDE } else { SMALL_SIDE },
                reach: (FARTHEST >> level) as i16,
            };
            // Blocks are of 16 pixels on the full plane, and on that of half its size: 8 there.
            motion = motion.refined(&pair, if level == 0 { 1 } else { 2 });
            if level == 0 {
                motion.tell_parts(&pair);
            }
        }
        motion
    }

    /// From pixels to parts of a pixel: by a block and those around it that move alike, else by all that move as the frame does.
    fn tell_parts(&mut self, pair: &Pair<'_>) {
        let (columns, rows) = (self.columns, self.rows);
        let mut valleys = vec![Valley::default(); columns * rows];
        let lines = valleys
            .chunks_mut(columns)
            .zip(self.vectors.chunks(columns))
            .enumerate();
        share(
            lines,
            2,
            || (),
            |(), (row, (valleys, vectors))| {
                for (column, (valley, vector)) in valleys.iter_mut().zip(vectors).enumerate() {
                    *valley = pair.valley([column, row], *vector);
                }
            },
        );
        let mut all = Valley::default();
        let usual = self.vectors.iter().zip(&valleys).filter(|(v, _)| **v == self.usual);
        usual.for_each(|(_, valley)| all.add(valley));
        let all = all.lowest().map(Option::unwrap_or_default);
        let in_parts = |i: usize| {
            let (column, row, vector) = (i % columns, i / columns, self.vectors[i]);
            let mut here = Valley::default();
            for y in row.saturating_sub(1)..rows.min(row + 2) {
                for x in column.saturating_sub(1)..columns.min(column + 2) {
                    if self.vectors[y * columns + x] == vector {
                        here.add(&valleys[y * columns + x]);
                    }
                }
            }
            let else_ = if vector == self.usual { all } else { [0, 0] };
            let parts = here.lowest();
            [0, 1].map(|axis| PARTS * vector[axis] + parts[axis].unwrap_or(else_[axis]))
        };
        self.vectors = (0..columns * rows).map(in_parts).collect();
    }

    /// At the size of `pair`, twice that of this one, with `scale` times as many blocks a side.
    fn refined(&self, pair: &Pair<'_>, scale: usize) -> Self {
        let [columns, rows] = pair.size();
        // On the smallest plane nothing is known yet.
        let all: Vec<[i16; 2]> = if self.vectors.is_empty() {
            let reach = -pair.reach..=pair.reach;
            reach.clone().flat_map(|y| reach.clone().map(move |x| [x, y])).collect()
        } else {
            let coarse = self.usual.map(|d| 2 * d);
            std::iter::once(coarse).chain(pair.around(coarse)).collect()
        };
        let usual = pair.usual(&all);
        let mut vectors = vec![[0; 2]; columns * rows];
        share(
            vectors.chunks_mut(columns).enumerate(),
            2,
            || (),
            |(), (row, out)| {
                for (column, out) in out.iter_mut().enumerate() {
                    let block = [column, row];
                    *out = if self.vectors.is_empty() {
                        pair.best(block, usual, &all)
                    } else {
                        let around = self.around(column / scale, row / scale).map(|v| v.map(|d| 2 * d));
                        pair.best(block, usual, &around)
                    };
                }
            },
        );
        #[rustfmt::skip]
        return Self { columns, rows, vectors, usual };
    }

    /// A block's vector, those of its four neighbours, and none at all.
    fn around(&self, column: usize, row: usize) -> [[i16; 2]; 6] {
        let (right, below) = ((column + 1).min(self.columns - 1), (row + 1).min(self.rows - 1));
        let at = |column: usize, row: usize| self.vectors[row * self.columns + column];
        let (left, above) = (column.saturating_sub(1), row.saturating_sub(1));
        [
            at(column, row),
            at(left, row),
            at(right, row),
            at(column, above),
            at(column, below),
            [0, 0],
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::noise::add_gaussian;
    use crate::data::random::stream;
    use crate::pixels::Image;
    use crate::pixels::gaussian;

    /// A picture with detail of all sizes, as nature has it.
    fn scene(width: usize, height: usize) -> Image {
        let mut scene = Image::filled(1, height, width, 0.5);
        for (i, size) in [1.5f32, 5.0, 15.0].into_iter().enumerate() {
            let mut image = Image::filled(1, height, width, 0.0);
            add_gaussian(&mut image, 0.4 * size, &mut stream(5, 0, i as u64));
            let values = gaussian(&image, size).data;
            scene.data.iter_mut().zip(values).for_each(|(x, value)| *x += value);
        }
        scene
    }

    fn between(before: &Image, now: &Image) -> Motion {
        Motion::between(&Pyramid::of(before), &Pyramid::of(now))
    }

    fn noisy(mut image: Image, seed: u64) -> Image {
        add_gaussian(&mut image, 0.1, &mut stream(seed, 0, 0));
        image
    }

    #[test]
    fn a_pan_is_found_through_noise() {
        let scene = scene(400, 300);
        for (dx, dy) in [(0, 0), (3, -1), (-7, 12), (31, 5), (-20, -32)] {
            let at = |x: i32, y: i32| scene.crop((50 + x) as usize, (50 + y) as usize, 300, 200);
            // What is at a pixel now was (dx, dy) from there.
            let motion = between(&noisy(at(0, 0), 1), &noisy(at(-dx, -dy), 2));
            assert_eq!((motion.columns, motion.rows), (19, 13));
            let inner = motion.vectors.iter().enumerate().filter(|(i, _)| {
                let (column, row) = (i % motion.columns, i / motion.columns);
                (2..16).contains(&column) && (2..10).contains(&row)
            });
            let (mut found, mut all) = (0, 0);
            for (_, vector) in inner {
                all += 1;
                found += usize::from(*vector == [-dx as i16, -dy as i16].map(|d| PARTS * d));
            }
            assert!(found * 20 >= all * 19, "({dx}, {dy}): {found} of {all}");
        }
    }

    #[test]
    fn nothing_moves_where_there_is_only_noise() {
        let still = Image::filled(3, 90, 130, 0.5);
        let motion = between(&noisy(still.clone(), 1), &noisy(still, 2));
        let moving = motion.vectors.iter().filter(|v| **v != [0, 0]).count();
        assert!(
            moving * 4 <= motion.vectors.len(),
            "{moving} of {}",
            motion.vectors.len()
        );
    }

    #[test]
    fn what_passes_moves_by_itself() {
        let (scene, thing) = (scene(320, 240), scene(100, 100).crop(20, 20, 64, 64));
        let with = |left: usize| {
            let mut image = scene.clone();
            for y in 0..64 {
                image.data[(80 + y) * 320 + left..][..64].copy_from_slice(&thing.data[y * 64..][..64]);
            }
            image
        };
        let motion = between(&noisy(with(128), 1), &noisy(with(138), 2));
        let at = |x: usize, y: usize| motion.vectors[y / MOTION_SIDE * motion.columns + x / MOTION_SIDE];
        let [dx, dy] = at(170, 110);
        assert!((-44..=-36).contains(&dx) && dy.abs() <= 4, "({dx}, {dy})");
        assert_eq!(at(40, 40), [0, 0]);
        assert_eq!(at(290, 200), [0, 0]);
    }

    /// Half a pixel, told through noise, and the picture there as it would be seen.
    #[test]
    fn parts_of_a_pixel_are_told() {
        let large = scene(640, 480);
        // A camera sees means of four pixels.
        let seen = |x: usize| {
            let mut image = Image::filled(1, 200, 280, 0.0);
            for (i, value) in image.data.iter_mut().enumerate() {
                let at = (i / 280 * 2 + 20) * 640 + i % 280 * 2 + x;
                *value = [0, 1, 640, 641].iter().map(|d| large.data[at + d]).sum::<f32>() / 4.0;
            }
            image
        };
        let (before, now) = (seen(20), seen(27));
        let motion = between(&noisy(before.clone(), 1), &noisy(now.clone(), 2));
        // Seven of the large picture's pixels are three and a half.
        let right = motion
            .vectors
            .iter()
            .filter(|[dx, dy]| (13..=15).contains(dx) && *dy == 0);
        assert!(right.count() * 10 >= motion.vectors.len() * 7, "{:?}", motion.vectors);
        let mean = |a: &[f32], b: &Image| {
            let inner = a.iter().zip(&b.data).enumerate().filter(|(i, _)| i % 280 < 250);
            inner.map(|(_, (a, b))| (a - b).abs()).sum::<f32>()
        };
        let carried = motion.carry(before.plane(0), 280, 1);
        assert!(mean(&carried, &now) < 0.3 * mean(&before.data, &now));
    }

    #[test]
    fn small_pictures_have_motion_too() {
        for side in [1, 2, 7, 17] {
            let picture = Image::filled(1, side, side, 0.3);
            assert_eq!(
                between(&picture, &picture).vectors.len(),
                side.div_ceil(MOTION_SIDE).pow(2)
            );
        }
    }
}

//! Values of the frame before, moved to where they are now.

use std::ops::Range;

use super::{MOTION_SIDE, Motion, PARTS};

/// Pixels of the frame on either side of the edge between two blocks where their motions pass into each other, a half of each at the edge
/// (overlapped block motion compensation, Orchard 1994).
const OVERLAP: f32 = 8.0;

impl Motion {
    /// A whole plane by [`Motion::carry_row`].
    pub fn carry(&self, plane: &[f32], width: usize, divide: usize) -> Vec<f32> {
        let mut out = vec![0.0; plane.len()];
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            self.carry_row(plane, [width, 1], divide, row, out);
        }
        out
    }

    /// The gradient of what [`Motion::carry`] was given, from that of what it gave.
    #[cfg(feature = "train")]
    pub(crate) fn carry_back(&self, gradient: &[f32], width: usize, divide: usize) -> Vec<f32> {
        let height = gradient.len() / width;
        let mut out = vec![0.0; gradient.len()];
        for (i, gradient) in gradient.iter().enumerate() {
            let (x, y) = (i % width, i / width);
            let columns = near(x, divide, self.columns);
            for (row, of_row) in near(y, divide, self.rows) {
                for (column, of_column) in columns {
                    let share = of_row * of_column * gradient;
                    if share == 0.0 {
                        continue;
                    }
                    let [(dx, part_x), (dy, part_y)] =
                        self.vectors[row * self.columns + column].map(|d| split(d, divide));
                    for (y, down) in (y as isize + dy - 1..).zip(weights(part_y)) {
                        for (x, across) in (x as isize + dx - 1..).zip(weights(part_x)) {
                            out[clamp(y, height) * width + clamp(x, width)] += down * across * share;
                        }
                    }
                }
            }
        }
        out
    }

    /// Row `row` of what the frame before had in `from`, moved to where it is now. `from` has rows of `width` times `channels` values and is
    /// `divide` times smaller than the frame; between pixels it is interpolated (Keys 1981), and what was not in it is taken from its border.
    /// Blocks that move differently pass into each other ([`OVERLAP`]).
    pub fn carry_row(&self, from: &[f32], [width, channels]: [usize; 2], divide: usize, row: usize, out: &mut [f32]) {
        let plane = Plane { from, width, channels };
        if self.vectors.is_empty() {
            out.copy_from_slice(plane.line(row as isize));
            return;
        }
        let side = MOTION_SIDE / divide;
        let rows = near(row, divide, self.rows);
        let mut moves = [Move::default(); MOST_MOVES];
        for (i, out) in out.chunks_mut(side * channels).enumerate() {
            out.fill(0.0);
            let x = i * side;
            let count = self.moves(x..x + out.len() / channels, rows, divide, &mut moves);
            for Move { vector, shares } in &moves[..count] {
                let shares = (count > 1).then_some(shares);
                plane.add([x, row], vector.map(|d| split(d, divide)), shares, out);
            }
        }
    }

    /// Writes by which vectors the pixels at `x` move, all of one block and in a row that the blocks `rows` are near to. Returns how many
    /// there are; a single one is that of all pixels, whatever its shares.
    fn moves(&self, x: Range<usize>, rows: Near, divide: usize, moves: &mut [Move; MOST_MOVES]) -> usize {
        let at = |row: usize, column: usize| self.vectors[row * self.columns + column];
        let [first, last] = [x.start, x.end - 1].map(|x| near(x, divide, self.columns));
        let own = at(rows[0].0, first[0].0);
        let alike = |(row, _): &(usize, f32)| first.iter().chain(&last).all(|(column, _)| at(*row, *column) == own);
        if rows.iter().all(alike) {
            moves[0].vector = own;
            return 1;
        }
        let mut count = 0;
        for (i, x) in x.enumerate() {
            for (column, across) in near(x, divide, self.columns) {
                for (row, down) in rows.into_iter().filter(|(_, down)| across * down > 0.0) {
                    let vector = at(row, column);
                    let known = moves[..count].iter().position(|known| known.vector == vector);
                    let known = known.unwrap_or_else(|| {
                        moves[count] = Move {
                            vector,
                            shares: [0.0; MOTION_SIDE],
                        };
                        count += 1;
                        count - 1
                    });
                    moves[known].shares[i] += across * down;
                }
            }
        }
        count
    }
}

/// Blocks that the pixels of one row of a block may move with: it, those beside it, and as many above or below.
const MOST_MOVES: usize = 6;

/// A vector, and the share of it that each pixel of a block's row has.
#[derive(Clone, Copy, Default)]
struct Move {
    vector: [i16; 2],
    shares: [f32; MOTION_SIDE],
}

/// Two blocks along an axis, and the shares of their motion.
type Near = [(usize, f32); 2];

/// The block that pixel `at` of a plane `divide` times smaller than the frame lies in, of `count` along this axis, and the nearest
/// beside it. The shares make one.
fn near(at: usize, divide: usize, count: usize) -> Near {
    let (side, overlap) = (MOTION_SIDE / divide, OVERLAP / divide as f32);
    let block = at / side;
    if block >= count {
        return [(count - 1, 1.0), (count - 1, 0.0)]; // padding
    }
    let inside = (at % side) as f32 + 0.5;
    let (beside, distance) = if 2.0 * inside < side as f32 {
        (block.checked_sub(1), inside)
    } else {
        (Some(block + 1).filter(|beside| *beside < count), side as f32 - inside)
    };
    let share = (0.5 - 0.5 * distance / overlap).max(0.0);
    match beside {
        Some(beside) if share > 0.0 => [(block, 1.0 - share), (beside, share)],
        _ => [(block, 1.0), (block, 0.0)],
    }
}

/// Values of the frame before, the channels of a pixel side by side.
struct Plane<'a> {
    from: &'a [f32],
    width: usize,
    channels: usize,
}

impl Plane<'_> {
    fn line(&self, y: isize) -> &[f32] {
        let pitch = self.width * self.channels;
        &self.from[clamp(y, self.from.len() / pitch) * pitch..][..pitch]
    }

    /// Adds to `out` the pixels from (`x` + dx, `y` + dy) on, or a share of each; dx and dy are pixels and [`PARTS`] of a pixel.
    fn add(
        &self,
        [x, y]: [usize; 2],
        [(dx, part_x), (dy, part_y)]: [(isize, i16); 2],
        shares: Option<&[f32; MOTION_SIDE]>,
        out: &mut [f32],
    ) {
        let channels = self.channels;
        for (y, down) in (y as isize + dy - 1..).zip(weights(part_y)) {
            let line = self.line(y);
            for (first, across) in (x as isize + dx - 1..).zip(weights(part_x)) {
                let weight = down * across;
                if weight == 0.0 {
                    continue;
                }
                let inside = usize::try_from(first).ok();
                let inside = inside.and_then(|first| line.get(first * channels..)?.get(..out.len()));
                if let (Some(line), None) = (inside, shares) {
                    out.iter_mut().zip(line).for_each(|(out, x)| *out += weight * x);
                    continue;
                }
                for (i, out) in out.chunks_exact_mut(channels).enumerate() {
                    let pixel = &line[clamp(first + i as isize, self.width) * channels..];
                    let share = weight * shares.map_or(1.0, |shares| shares[i]);
                    out.iter_mut().zip(pixel).for_each(|(out, x)| *out += share * x);
                }
            }
        }
    }
}

/// Pixels and parts of a pixel of a plane `divide` times smaller than the frame.
fn split(d: i16, divide: usize) -> (isize, i16) {
    let d = d.div_euclid(divide as i16);
    (d.div_euclid(PARTS).into(), d.rem_euclid(PARTS))
}

/// Of the pixel before, the two that a place lies between, and the one behind; `part` is of [`PARTS`].
fn weights(part: i16) -> [f32; 4] {
    let t = f32::from(part) / f32::from(PARTS);
    let (t2, t3) = (t * t, t * t * t);
    [
        -0.5 * t3 + t2 - 0.5 * t,
        1.5 * t3 - 2.5 * t2 + 1.0,
        -1.5 * t3 + 2.0 * t2 + 0.5 * t,
        0.5 * t3 - 0.5 * t2,
    ]
}

fn clamp(i: isize, n: usize) -> usize {
    i.clamp(0, n as isize - 1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_carried_to_where_they_are_now() {
        let (width, height) = (50, 37);
        let vectors: Vec<[i16; 2]> = (0..12).map(|i| [11 * i - 64, 29 - 8 * i]).collect();
        #[rustfmt::skip]
        let motion = Motion { columns: 4, rows: 3, vectors, usual: [0, 0] };
        for (divide, channels) in [(1, 1), (1, 3), (2, 2)] {
            let (w, h) = (width / divide, height / divide);
            // What changes evenly is interpolated exactly.
            let value = |x: f32, y: f32, c: usize| c as f32 * 100.0 + y * 7.0 + x;
            let from: Vec<f32> = (0..w * h * channels)
                .map(|i| value((i / channels % w) as f32, (i / channels / w) as f32, i % channels))
                .collect();
            let mut out = vec![0.0; w * channels];
            for y in 0..h {
                motion.carry_row(&from, [w, channels], divide, y, &mut out);
                for x in 0..w {
                    // A share of each block, from all at its middle to none at its neighbour's.
                    let shares = |at: usize, blocks: usize| {
                        let place = (at * divide) as f32 + 0.5 * divide as f32;
                        let place = (place / MOTION_SIDE as f32 - 0.5).clamp(0.0, blocks as f32 - 1.0);
                        (0..blocks).map(move |block| (1.0 - (place - block as f32).abs()).max(0.0))
                    };
                    let inside = |at: f32, n: usize| (1.0..=n as f32 - 3.0).contains(&at);
                    let (mut expected, mut all_inside) = (vec![0.0; channels], true);
                    for (row, down) in shares(y, 3).enumerate() {
                        for (column, across) in shares(x, 4).enumerate().filter(|(_, across)| across * down > 0.0) {
                            let [dx, dy] =
                                motion.vectors[row * 4 + column].map(|d| f32::from(d.div_euclid(divide as i16)) / 4.0);
                            let (sx, sy) = (x as f32 + dx, y as f32 + dy);
                            all_inside &= inside(sx, w) && inside(sy, h);
                            for (c, sum) in expected.iter_mut().enumerate() {
                                *sum += across
                                    * down
                                    * value(sx.clamp(0.0, w as f32 - 1.0), sy.clamp(0.0, h as f32 - 1.0), c);
                            }
                        }
                    }
                    // At borders interpolation sees the border twice.
                    let near = if all_inside { 1e-3 } else { 2.0 };
                    for (got, expected) in out[x * channels..].iter().zip(expected) {
                        assert!((got - expected).abs() <= near, "({x}, {y}): {got}, {expected}");
                    }
                }
            }
            Motion::default().carry_row(&from, [w, channels], divide, 1, &mut out);
            assert_eq!(out, from[w * channels..2 * w * channels]);
            // A state may be padded far beyond the last block.
            let (from, mut out) = (vec![0.5; 64 * 80], vec![0.0; 80]);
            for y in 0..64 {
                motion.carry_row(&from, [80, 1], 1, y, &mut out);
                assert!(out.iter().all(|x| (x - 0.5).abs() < 1e-6));
            }
        }
    }

    /// The one is the other's transpose.
    #[cfg(feature = "train")]
    #[test]
    fn gradients_go_back_to_where_values_came_from() {
        use rand::RngExt;

        let rng = &mut crate::data::random::stream(9, 0, 0);
        let vectors = (0..12).map(|_| [0, 1].map(|_| rng.random_range(-90..=90))).collect();
        let motion = Motion::of_vectors(4, vectors);
        for divide in [1, 2] {
            let (w, h) = (50 / divide, 37 / divide);
            let mut values = || -> Vec<f32> { (0..w * h).map(|_| rng.random_range(-1.0..=1.0)).collect() };
            let (x, g) = (values(), values());
            let sum = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
            let (forth, back) = (
                sum(&motion.carry(&x, w, divide), &g),
                sum(&x, &motion.carry_back(&g, w, divide)),
            );
            assert!((forth - back).abs() < 1e-3, "{forth}, {back}");
        }
    }
}

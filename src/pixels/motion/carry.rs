//! Values of the frame before, moved to where they are now.

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
            for (row, down) in near(y, divide, self.rows) {
                for (column, across) in columns {
                    let share = down * across * gradient;
                    if share == 0.0 {
                        continue;
                    }
                    let [(dx, part_x), (dy, part_y)] =
                        self.vectors[row * self.columns + column].map(|d| split(d, divide));
                    for (y, across) in (y as isize + dy - 1..).zip(weights(part_y)) {
                        for (x, weight) in (x as isize + dx - 1..).zip(weights(part_x)) {
                            out[clamp(y, height) * width + clamp(x, width)] += across * weight * share;
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
        let (mut moves, mut moved, mut scratch) = (Vec::new(), Vec::new(), Scratch::default());
        for (i, out) in out.chunks_mut(side * channels).enumerate() {
            let place = [i * side, row];
            self.moves(place, out.len() / channels, divide, rows, &mut moves);
            if let [(vector, _)] = moves[..] {
                plane.shift(place, vector.map(|d| split(d, divide)), &mut scratch, out);
                continue;
            }
            out.fill(0.0);
            moved.resize(out.len(), 0.0);
            for (vector, shares) in &moves {
                plane.shift(place, vector.map(|d| split(d, divide)), &mut scratch, &mut moved);
                let pixels = out.chunks_exact_mut(channels).zip(moved.chunks_exact(channels));
                for ((out, moved), share) in pixels.zip(shares) {
                    out.iter_mut().zip(moved).for_each(|(out, x)| *out += share * x);
                }
            }
        }
    }

    /// The vectors that `pixels` pixels of a plane from (`x`, `y`) on move by, all in one block, and each pixel's shares of them; `rows`
    /// is what is [`near`] in y.
    fn moves(&self, [x, _]: [usize; 2], pixels: usize, divide: usize, rows: Near, moves: &mut Vec<Move>) {
        moves.clear();
        let at = |row: usize, column: usize| self.vectors[row * self.columns + column];
        let (first, last) = (
            near(x, divide, self.columns),
            near(x + pixels - 1, divide, self.columns),
        );
        let own = at(rows[0].0, first[0].0);
        let alike = |(row, _): &(usize, f32)| first.iter().chain(&last).all(|(column, _)| at(*row, *column) == own);
        if rows.iter().all(alike) {
            moves.push((own, [1.0; MOTION_SIDE]));
            return;
        }
        for i in 0..pixels {
            for (column, across) in near(x + i, divide, self.columns) {
                for (row, down) in rows {
                    let vector = at(row, column);
                    let known = moves.iter().position(|(known, _)| *known == vector);
                    let known = known.unwrap_or_else(|| {
                        moves.push((vector, [0.0; MOTION_SIDE]));
                        moves.len() - 1
                    });
                    moves[known].1[i] += across * down;
                }
            }
        }
    }
}

/// A vector, and the share of it that each pixel has.
type Move = ([i16; 2], [f32; MOTION_SIDE]);

/// Two blocks along an axis, and the shares of their motion.
type Near = [(usize, f32); 2];

/// The block that pixel `at` of a plane `divide` times smaller than the frame lies in, of `count` along this axis, and the nearest
/// beside it. The shares make one.
fn near(at: usize, divide: usize, count: usize) -> Near {
    let (side, overlap) = (MOTION_SIDE / divide, OVERLAP / divide as f32);
    let block = at / side;
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

/// Rows between pixels.
#[derive(Default)]
struct Scratch {
    between: Vec<f32>,
    one: Vec<f32>,
}

impl Plane<'_> {
    fn line(&self, y: isize) -> &[f32] {
        let pitch = self.width * self.channels;
        &self.from[clamp(y, self.from.len() / pitch) * pitch..][..pitch]
    }

    /// The pixels from (`x` + dx, `y` + dy) on, of pixels and [`PARTS`] of a pixel.
    fn shift(
        &self,
        [x, y]: [usize; 2],
        [(dx, part_x), (dy, part_y)]: [(isize, i16); 2],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        let channels = self.channels;
        let (first, y) = (x as isize + dx, y as isize + dy);
        if [part_x, part_y] == [0, 0] {
            copy(self.line(y), first, channels, out);
            return;
        }
        let Scratch { between, one } = scratch;
        // From the pixel before the first to the second after the last one.
        between.clear();
        between.resize(out.len() + 3 * channels, 0.0);
        if part_y == 0 {
            copy(self.line(y), first - 1, channels, between);
        } else {
            one.resize(between.len(), 0.0);
            for (y, weight) in (y - 1..).zip(weights(part_y)) {
                copy(self.line(y), first - 1, channels, one);
                between.iter_mut().zip(&*one).for_each(|(sum, x)| *sum += weight * x);
            }
        }
        let [a, b, c, d] = weights(part_x);
        for (k, out) in out.iter_mut().enumerate() {
            let at = |i: usize| between[k + i * channels];
            *out = a * at(0) + b * at(1) + c * at(2) + d * at(3);
        }
    }
}

/// Pixels and parts of a pixel of a plane `divide` times smaller than the frame.
fn split(d: i16, divide: usize) -> (isize, i16) {
    let d = d.div_euclid(divide as i16);
    (d.div_euclid(PARTS).into(), d.rem_euclid(PARTS))
}

/// Pixels of `line` from `first` on, border pixels repeated.
fn copy(line: &[f32], first: isize, channels: usize, out: &mut [f32]) {
    let width = line.len() / channels;
    if first >= 0 && first as usize * channels + out.len() <= line.len() {
        out.copy_from_slice(&line[first as usize * channels..][..out.len()]);
        return;
    }
    for (x, out) in (first..).zip(out.chunks_exact_mut(channels)) {
        out.copy_from_slice(&line[clamp(x, width) * channels..][..channels]);
    }
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

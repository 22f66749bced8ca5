//! Values of the frame before, moved to where they are now.

use super::{MOTION_SIDE, Motion, PARTS};

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
        let side = MOTION_SIDE / divide;
        let mut out = vec![0.0; gradient.len()];
        for (i, gradient) in gradient.iter().enumerate() {
            let (x, y) = (i % width, i / width);
            let block = (y / side).min(self.rows - 1) * self.columns + (x / side).min(self.columns - 1);
            let [(dx, part_x), (dy, part_y)] = self.vectors[block].map(|d| split(d, divide));
            for (y, across) in (y as isize + dy - 1..).zip(weights(part_y)) {
                for (x, weight) in (x as isize + dx - 1..).zip(weights(part_x)) {
                    out[clamp(y, height) * width + clamp(x, width)] += across * weight * gradient;
                }
            }
        }
        out
    }

    /// Row `row` of what the frame before had in `from`, moved to where it is now. `from` has rows of `width` times `channels` values and is
    /// `divide` times smaller than the frame; between pixels it is interpolated (Keys 1981), and what was not in it is taken from its border.
    pub fn carry_row(&self, from: &[f32], [width, channels]: [usize; 2], divide: usize, row: usize, out: &mut [f32]) {
        let pitch = width * channels;
        let height = from.len() / pitch;
        let line = |y: isize| &from[clamp(y, height) * pitch..][..pitch];
        if self.vectors.is_empty() {
            out.copy_from_slice(line(row as isize));
            return;
        }
        let side = MOTION_SIDE / divide;
        let blocks = &self.vectors[(row / side).min(self.rows - 1) * self.columns..][..self.columns];
        let (mut between, mut one) = (Vec::new(), Vec::new());
        for (i, out) in out.chunks_mut(side * channels).enumerate() {
            let [(dx, part_x), (dy, part_y)] = blocks[i.min(self.columns - 1)].map(|d| split(d, divide));
            let (y, first) = (row as isize + dy, (i * side) as isize + dx);
            if [part_x, part_y] == [0, 0] {
                copy(line(y), first, channels, out);
                continue;
            }
            // From the pixel before the first to the second after the last one.
            between.clear();
            between.resize(out.len() + 3 * channels, 0.0);
            if part_y == 0 {
                copy(line(y), first - 1, channels, &mut between);
            } else {
                one.resize(between.len(), 0.0);
                for (y, weight) in (y - 1..).zip(weights(part_y)) {
                    copy(line(y), first - 1, channels, &mut one);
                    between.iter_mut().zip(&one).for_each(|(sum, x)| *sum += weight * x);
                }
            }
            let [a, b, c, d] = weights(part_x);
            for (k, out) in out.iter_mut().enumerate() {
                let at = |i: usize| between[k + i * channels];
                *out = a * at(0) + b * at(1) + c * at(2) + d * at(3);
            }
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
                    let vector = motion.vectors[y * divide / MOTION_SIDE * 4 + x * divide / MOTION_SIDE];
                    let [dx, dy] = vector.map(|d| f32::from(d.div_euclid(divide as i16)) / 4.0);
                    let (sx, sy) = (x as f32 + dx, y as f32 + dy);
                    let inside = |at: f32, n: usize| (1.0..=n as f32 - 3.0).contains(&at);
                    for c in 0..channels {
                        let got = out[x * channels + c];
                        let expected = value(sx.clamp(0.0, w as f32 - 1.0), sy.clamp(0.0, h as f32 - 1.0), c);
                        // At borders interpolation sees the border twice.
                        let near = if inside(sx, w) && inside(sy, h) { 1e-3 } else { 2.0 };
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

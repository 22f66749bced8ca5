//! Synthetic defects for training without real ones.
//!
//! Three kinds, as the recipe of FAIR (Liu et al. 2023, <https://arxiv.org/abs/2403.07032>) has them: patches of another normal picture blended
//! in (NSA, Schlüter et al. 2022), Perlin-shaped texture (DRAEM, Zavrtanik et al. 2021) and CutPaste (Li et al. 2021).

mod marks;
mod poisson;
mod real;

pub use marks::mark;
pub use real::{random_stretch, settle, transplant};

use rand::RngExt;
use rand_distr::{Distribution, Gamma};
use rand_pcg::Pcg64;

use crate::pixels::{Image, box_mean};

/// Least change of a value (of full scale) that counts as visible.
const VISIBLE: f32 = 0.03;

/// Side, in pixels, of the square around a pixel that is marked, too, where most of the square changed.
const AROUND: usize = 7;

/// A picture with made defects, and where they are.
#[derive(Debug, Clone)]
pub struct Defective {
    /// The picture.
    pub image: Image,
    /// One channel, 1 where it was changed visibly, or where most pixels around were, 0 elsewhere.
    pub mask: Image,
}

impl Defective {
    /// `good` became `image`; a change of more than `visible` in any plane is seen.
    fn of(good: &Image, image: Image, visible: f32) -> Self {
        let mut mask = Image::filled(1, good.height, good.width, 0.0);
        for channel in 0..good.channels {
            let changes = good.plane(channel).iter().zip(image.plane(channel));
            for (mask, (before, after)) in mask.data.iter_mut().zip(changes) {
                if (before - after).abs() > visible {
                    *mask = 1.0;
                }
            }
        }
        // Of foreign texture some pixels are by chance what was there before.
        let around = box_mean(&mask, AROUND);
        let most = around.data.iter().map(|share| f32::from(*share > 0.5));
        mask.data
            .iter_mut()
            .zip(most)
            .for_each(|(mask, most)| *mask = mask.max(most));
        Self { image, mask }
    }
}

/// Draws synthetic anomalies on `image` as FAIR's recipe does: patches of `other` (NSA), feathered or blended by Poisson's equation, and
/// Perlin texture filled from it, or CutPaste, each step left out half of the time (then the picture may come back unchanged, with an empty mask).
/// `other` is another normal picture of the same shape.
pub fn synthesize(image: &Image, other: &Image, rng: &mut Pcg64) -> Defective {
    let mut out = image.clone();
    if rng.random_bool(0.8) {
        if rng.random_bool(0.5) {
            for _ in 0..rng.random_range(1..=4) {
                if rng.random_bool(0.5) {
                    visible_stamp(&mut out, other, rng, natural_patch);
                } else {
                    poisson::patch(&mut out, other, rng);
                }
            }
        }
        if rng.random_bool(0.5) {
            perlin_texture(&mut out, other, rng);
        }
    } else if rng.random_bool(0.5) {
        let draw = if rng.random_bool(0.5) { cut_paste } else { scar };
        visible_stamp(&mut out, image, rng, draw);
    }
    Defective::of(image, out, VISIBLE)
}

/// A patch put on a picture. Positions and lengths in pixels.
struct Stamp {
    /// Its middle.
    to: [f32; 2],
    /// Half its sides.
    half: [f32; 2],
    /// Sine and cosine of its turn.
    turn: (f32, f32),
    /// Where its middle comes from, and source pixels a pixel.
    from: [f32; 2],
    scale: f32,
    /// Share of each half side over which it fades in; 0 = a hard edge.
    feather: f32,
    /// Change of the values.
    gain: f32,
    offset: [f32; 3],
}

impl Stamp {
    /// Weight of the patch at (`x`, `y`), and the place in the source; `None` outside.
    fn at(&self, x: f32, y: f32) -> Option<(f32, [f32; 2])> {
        let (dx, dy) = (x - self.to[0], y - self.to[1]);
        let (sin, cos) = self.turn;
        let (u, v) = (cos * dx + sin * dy, cos * dy - sin * dx);
        let inside = [1.0 - u.abs() / self.half[0], 1.0 - v.abs() / self.half[1]];
        if inside[0] < 0.0 || inside[1] < 0.0 {
            return None;
        }
        let weight = inside.map(|t| {
            if self.feather > 0.0 {
                smooth((t / self.feather).min(1.0))
            } else {
                1.0
            }
        });
        Some((
            weight[0] * weight[1],
            [self.from[0] + u * self.scale, self.from[1] + v * self.scale],
        ))
    }

    /// The value to draw in `channel` over `below`.
    fn value(&self, channel: usize, weight: f32, sample: f32, below: f32) -> f32 {
        let sample = (self.gain * sample + self.offset[channel.min(2)]).clamp(0.0, 1.0);
        below + weight * (sample - below)
    }

    fn draw(&self, out: &mut Image, source: &Image) {
        let [x0, x1] = self.span(0, out.width);
        let [y0, y1] = self.span(1, out.height);
        for y in y0..y1 {
            for x in x0..x1 {
                let Some((weight, place)) = self.at(x as f32, y as f32) else {
                    continue;
                };
                for channel in 0..out.channels {
                    let sample = source.sample(channel, place);
                    let pixel = &mut out.plane_mut(channel)[y * source.width + x];
                    *pixel = self.value(channel, weight, sample, *pixel);
                }
            }
        }
    }

    /// First pixel and end on an axis of `length` pixels.
    fn span(&self, axis: usize, length: usize) -> [usize; 2] {
        let (sin, cos) = self.turn;
        let reach = cos.abs() * self.half[axis] + sin.abs() * self.half[1 - axis];
        [self.to[axis] - reach, self.to[axis] + reach + 1.0].map(|v| v.clamp(0.0, length as f32) as usize)
    }

    /// Mean visible change, from 8 x 8 samples.
    fn change(&self, below: &Image, source: &Image) -> f32 {
        let mut sum = 0.0;
        for i in 0..64 {
            let [u, v] = [i % 8, i / 8].map(|k| (k as f32 - 3.5) / 4.0);
            let (sin, cos) = self.turn;
            let (a, b) = (u * self.half[0], v * self.half[1]);
            let [x, y] = [self.to[0] + cos * a - sin * b, self.to[1] + cos * b + sin * a];
            if let Some((weight, place)) = self.at(x, y) {
                let before = below.sample(0, [x, y]);
                sum += (self.value(0, weight, source.sample(0, place), before) - before).abs();
            }
        }
        sum / 64.0
    }
}

/// Draws a stamp that can be seen: on smooth pictures most places look alike, so it tries a few times.
fn visible_stamp(out: &mut Image, source: &Image, rng: &mut Pcg64, draw: fn(&Image, &Image, &mut Pcg64) -> Stamp) {
    for _ in 0..6 {
        let stamp = draw(out, source, rng);
        if stamp.change(out, source) > VISIBLE {
            return stamp.draw(out, source);
        }
    }
}

/// NSA: a patch of another place, a little resized, feathered, its mean partly drawn to its new place's.
fn natural_patch(below: &Image, source: &Image, rng: &mut Pcg64) -> Stamp {
    let gamma = Gamma::new(2.0f32, 0.05).expect("shape and scale are positive");
    let sides = [below.width as f32, below.height as f32];
    let half = sides.map(|side| ((gamma.sample(rng) + 0.03).min(0.4) * side).max(1.0));
    let mut place = || [0, 1].map(|axis| rng.random_range(0.0..=sides[axis] - 1.0));
    let (to, from) = (place(), place());
    let scale = rng.random_range(0.75..=1.3f32);
    let blend = rng.random_range(0.0..=1.0f32);
    let offset = std::array::from_fn(|channel| {
        let channel = channel.min(below.channels - 1);
        blend * (local_mean(below, channel, to, half) - local_mean(source, channel, from, half))
    });
    Stamp {
        to,
        half,
        turn: (0.0, 1.0),
        from,
        scale,
        feather: rng.random_range(0.15..=0.5),
        gain: 1.0,
        offset,
    }
}

/// CutPaste: a rectangle of the same picture, its colour jittered, put elsewhere.
fn cut_paste(below: &Image, _: &Image, rng: &mut Pcg64) -> Stamp {
    let area = rng.random_range(0.01..=0.12f32);
    let aspect = rng.random_range(-1.1..=1.1f32).exp();
    rectangle(
        below,
        [0.5 * (area * aspect).sqrt(), 0.5 * (area / aspect).sqrt()],
        0.0,
        rng,
    )
}

/// CutPaste's thin, turned variant.
fn scar(below: &Image, _: &Image, rng: &mut Pcg64) -> Stamp {
    let half = [rng.random_range(0.03..=0.14), rng.random_range(0.004..=0.022)];
    let turn = rng.random_range(0.0..std::f32::consts::PI);
    rectangle(below, half, turn, rng)
}

/// A hard-edged patch; `half` as shares of the sides.
fn rectangle(below: &Image, half: [f32; 2], turn: f32, rng: &mut Pcg64) -> Stamp {
    let sides = [below.width as f32, below.height as f32];
    let half = [0, 1].map(|axis| (half[axis].min(0.4) * sides[axis]).max(1.0));
    let mut place = || [0, 1].map(|axis| rng.random_range(0.0..=sides[axis] - 1.0));
    let (to, from) = (place(), place());
    let tone = rng.random_range(-0.1..=0.1f32);
    let offset = std::array::from_fn(|_| tone + rng.random_range(-0.05..=0.05f32));
    let gain = rng.random_range(0.8..=1.2);
    Stamp {
        to,
        half,
        turn: turn.sin_cos(),
        from,
        scale: 1.0,
        feather: 0.0,
        gain,
        offset,
    }
}

/// DRAEM's shapes: where rotated Perlin noise is above 0.5, the picture is mixed with `other`, which is flipped, moved and lit otherwise.
fn perlin_texture(out: &mut Image, other: &Image, rng: &mut Pcg64) {
    let (w, h) = (out.width, out.height);
    let cells = [1usize << rng.random_range(0..=5), 1usize << rng.random_range(0..=5)];
    let turn = rng.random_range(-std::f32::consts::FRAC_PI_2..=std::f32::consts::FRAC_PI_2);
    let noise = rotated_perlin(w, h, cells, turn, rng);
    let keep = rng.random_range(0.0..=0.8f32);
    let flips: [bool; 2] = rng.random();
    let (move_x, move_y) = (rng.random_range(0..w), rng.random_range(0..h));
    let gain = rng.random_range(0.7..=1.3f32);
    let offset: [f32; 3] = {
        let tone = rng.random_range(-0.15..=0.15f32);
        std::array::from_fn(|_| tone + rng.random_range(-0.05..=0.05f32))
    };
    let place = |i: usize, length: usize, flip: bool, by: usize| {
        let i = if flip { length - 1 - i } else { i };
        if i + by < length { i + by } else { i + by - length }
    };
    for y in 0..h {
        let from_y = place(y, h, flips[1], move_y);
        for x in 0..w {
            if noise[y * w + x] <= 0.5 {
                continue;
            }
            let from = from_y * w + place(x, w, flips[0], move_x);
            for channel in 0..out.channels {
                let texture = (gain * other.plane(channel)[from] + offset[channel.min(2)]).clamp(0.0, 1.0);
                let pixel = &mut out.plane_mut(channel)[y * w + x];
                *pixel = keep * *pixel + (1.0 - keep) * texture;
            }
        }
    }
}

/// Perlin gradient noise in about -1..1, with `cells_x` x `cells_y` cells over the picture. It is 0 at the cells' corners, the first
/// of which is the first pixel (Perlin 2002, with gradients of length √2).
pub fn perlin(width: usize, height: usize, cells_x: usize, cells_y: usize, rng: &mut Pcg64) -> Vec<f32> {
    rotated_perlin(width, height, [cells_x, cells_y], 0.0, rng)
}

/// [`perlin`], turned by `turn` radians around the middle.
fn rotated_perlin(width: usize, height: usize, cells: [usize; 2], turn: f32, rng: &mut Pcg64) -> Vec<f32> {
    // Turned corners reach half a diagonal out, so the lattice is taken modulo a size that covers it.
    let size = (2 * cells[0].max(cells[1]) + 2).next_power_of_two();
    let gradient = |_| {
        let (sin, cos) = rng.random_range(0.0..std::f32::consts::TAU).sin_cos();
        [std::f32::consts::SQRT_2 * cos, std::f32::consts::SQRT_2 * sin]
    };
    let gradients: Vec<[f32; 2]> = (0..size * size).map(gradient).collect();
    let (sin, cos) = turn.sin_cos();
    let per_pixel = [cells[0] as f32 / width as f32, cells[1] as f32 / height as f32];
    let middle = [width as f32 / 2.0, height as f32 / 2.0];
    let mut noise = Vec::with_capacity(width * height);
    for y in 0..height {
        let dy = y as f32 - middle[1];
        noise.extend((0..width).map(|x| {
            let dx = x as f32 - middle[0];
            // Adding `size` keeps the numbers positive, so that cutting off the fraction is rounding down.
            let u = (cos * dx + sin * dy + middle[0]) * per_pixel[0] + size as f32;
            let v = (cos * dy - sin * dx + middle[1]) * per_pixel[1] + size as f32;
            let (i, j) = (u as usize, v as usize);
            let (s, t) = (u - i as f32, v - j as f32);
            let dot = |a: usize, b: usize| {
                let [gx, gy] = gradients[((j + b) & (size - 1)) * size + ((i + a) & (size - 1))];
                gx * (s - a as f32) + gy * (t - b as f32)
            };
            let (fs, ft) = (fade(s), fade(t));
            let (top, bottom) = (mix(dot(0, 0), dot(1, 0), fs), mix(dot(0, 1), dot(1, 1), fs));
            mix(top, bottom, ft)
        }));
    }
    noise
}

/// Perlin's quintic ease.
fn fade(t: f32) -> f32 {
    t * t * t * (t * (t * 6.0 - 15.0) + 10.0)
}

fn smooth(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}

fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + t * (b - a)
}

/// Mean of 25 samples of the rectangle of half sides `half` around `middle`.
fn local_mean(image: &Image, channel: usize, middle: [f32; 2], half: [f32; 2]) -> f32 {
    let at = |i: usize| {
        let [u, v] = [i % 5, i / 5].map(|k| 0.4 * (k as f32 - 2.0));
        image.sample(channel, [middle[0] + u * half[0], middle[1] + v * half[1]])
    };
    (0..25).map(at).sum::<f32>() / 25.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::stream;

    /// A smooth picture with some structure.
    fn picture(channels: usize, side: usize, phase: f32) -> Image {
        let value = |c: usize, x: usize, y: usize| {
            let (u, v) = (x as f32 / side as f32, y as f32 / side as f32);
            0.5 + 0.3 * (9.0 * u + phase + c as f32).sin() * (7.0 * v - phase).cos()
        };
        let mut image = Image::filled(channels, side, side, 0.0);
        for c in 0..channels {
            for (i, out) in image.plane_mut(c).iter_mut().enumerate() {
                *out = value(c, i % side, i / side);
            }
        }
        image
    }

    #[test]
    fn the_mask_is_what_changed_and_what_lies_amid_it() {
        let good = Image::filled(1, 32, 32, 0.0);
        let masked = |changes: &dyn Fn(usize, usize) -> bool| {
            let mut image = good.clone();
            for (i, value) in image.data.iter_mut().enumerate() {
                *value = if changes(i % 32, i / 32) { -0.5 } else { 0.1 };
            }
            Defective::of(&good, image, 0.2).mask
        };
        let inside = |x: usize, y: usize| (8..24).contains(&x) && (8..24).contains(&y);
        let area = masked(&|x, y| inside(x, y) && (x + 2 * y) % 4 != 0);
        for (i, mask) in area.data.iter().enumerate() {
            let (x, y) = (i % 32, i / 32);
            let deep = (12..20).contains(&x) && (12..20).contains(&y);
            assert!(
                if deep {
                    *mask == 1.0
                } else {
                    inside(x, y) || *mask == 0.0
                },
                "{x}, {y}"
            );
        }
        let line = |x: usize, y: usize| x == y;
        let scattered = |x: usize, y: usize| (x + 2 * y).is_multiple_of(4);
        for changes in [&line as &dyn Fn(usize, usize) -> bool, &scattered] {
            let mask = masked(changes);
            assert!((0..32 * 32).all(|i| (mask.data[i] == 1.0) == changes(i % 32, i / 32)));
        }
    }

    #[test]
    fn what_changed_visibly_is_in_the_mask() {
        let (image, other) = (picture(3, 64, 0.0), picture(3, 64, 0.5));
        let (mut empty, mut area) = (0, 0.0);
        for item in 0..400 {
            let made = synthesize(&image, &other, &mut stream(17, 0, item));
            assert_eq!((made.mask.channels, made.mask.width, made.mask.height), (1, 64, 64));
            for i in 0..64 * 64 {
                let change = (0..3)
                    .map(|c| (image.plane(c)[i] - made.image.plane(c)[i]).abs())
                    .fold(0.0, f32::max);
                assert!(made.mask.data[i] == 1.0 || change <= 0.03, "item {item} of seed 17");
            }
            assert!(made.image.data.iter().all(|v| (0.0..=1.0).contains(v)));
            let changed: f32 = made.mask.data.iter().sum();
            empty += usize::from(changed == 0.0);
            area += changed / 4096.0 / 400.0;
        }
        // Nothing happens in 0.8 · 0.25 + 0.2 · 0.5 = 30 % of the draws, a little more where the noise stays below its threshold.
        assert!((95..180).contains(&empty), "{empty}");
        assert!((0.03..0.3).contains(&area), "{area}");
    }

    #[test]
    fn the_stream_fixes_the_draw_and_small_pictures_work() {
        let (image, other) = (picture(1, 40, 0.0), picture(1, 40, 2.0));
        for item in 0..20 {
            let draw = || synthesize(&image, &other, &mut stream(3, 1, item)).image;
            assert_eq!(draw(), draw());
            let tiny = Image::filled(3, 1, 2, 0.5);
            synthesize(&tiny, &tiny, &mut stream(3, 2, item));
        }
    }

    #[test]
    fn a_stamp_lies_where_it_should() {
        let (below, source) = (Image::filled(1, 20, 30, 0.2), Image::filled(1, 20, 30, 0.6));
        let mut stamp = Stamp {
            to: [10.0, 8.0],
            half: [4.0, 2.0],
            turn: (0.0, 1.0),
            from: [5.0, 5.0],
            scale: 1.0,
            feather: 0.0,
            gain: 1.0,
            offset: [0.1; 3],
        };
        let count = |stamp: &Stamp| {
            let mut out = below.clone();
            stamp.draw(&mut out, &source);
            let changed: Vec<usize> = (0..600).filter(|&i| (out.data[i] - 0.7).abs() < 1e-6).collect();
            (changed.len(), changed[0] % 30, changed[0] / 30)
        };
        assert_eq!(count(&stamp), (9 * 5, 6, 6));
        stamp.turn = (1.0, 0.0);
        assert_eq!(count(&stamp), (9 * 5, 8, 4));
    }

    #[test]
    fn perlin_noise_is_zero_at_corners_bounded_smooth_and_scaled() {
        let noise = perlin(128, 96, 8, 4, &mut stream(9, 0, 0));
        for y in (0..96).step_by(24) {
            for x in (0..128).step_by(16) {
                assert!(noise[y * 128 + x].abs() < 1e-4);
            }
        }
        assert!(noise.iter().all(|v| v.abs() <= 1.0));
        let deviation = (noise.iter().map(|v| v * v).sum::<f32>() / noise.len() as f32).sqrt();
        assert!((0.2..0.5).contains(&deviation), "{deviation}");
        // One cell is 16 pixels; the steepest slope of the noise is below 5 a cell.
        assert!(
            noise
                .chunks(128)
                .all(|row| row.windows(2).all(|p| (p[0] - p[1]).abs() < 5.0 / 16.0))
        );
        assert_ne!(noise, perlin(128, 96, 8, 4, &mut stream(10, 0, 0)));
    }
}

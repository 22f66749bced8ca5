//! Marks as a worn tool, a blow, dirt or a bad mould leave them: strokes, spots, shaded areas, foreign texture, chips at the edge, and
//! bands that were ground, coated or lit otherwise.
//!
//! They serve a network that learns to tell marks from all else ([`crate::nets`]' `unet`), so they are as various as
//! possible rather than true to one product.

use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Defective, perlin};
use crate::pixels::Image;

/// Least change, in standard deviations of the picture, that counts as visible.
const VISIBLE: f32 = 0.25;

/// Where a mark lies and how strongly: `weights` of the columns and rows from (`x`, `y`) on, 0..1.
struct Shape {
    x: usize,
    y: usize,
    width: usize,
    weights: Vec<f32>,
}

impl Shape {
    /// Evaluates `weight` at the pixels of the box `[x0, y0, x1, y1]`, as far as it lies in the picture.
    fn new(image: &Image, [x0, y0, x1, y1]: [f32; 4], weight: impl Fn(f32, f32) -> f32) -> Self {
        let cut = |v: f32, length: usize| (v.max(0.0) as usize).min(length);
        let (x, y) = (cut(x0, image.width), cut(y0, image.height));
        let (right, bottom) = (cut(x1 + 1.0, image.width), cut(y1 + 1.0, image.height));
        let width = right - x;
        let weights = (y..bottom)
            .flat_map(|row| (x..right).map(move |column| (column as f32, row as f32)))
            .map(|(column, row)| weight(column, row).clamp(0.0, 1.0))
            .collect();
        Self { x, y, width, weights }
    }
}

/// Draws one to `most` marks on `image`, whose values have a mean of about 0 and a standard deviation of about 1 (the
/// strength of the marks goes by that). `other` is another normal picture of the same shape, for foreign texture.
pub fn mark(image: &Image, other: &Image, most: usize, rng: &mut Pcg64) -> Defective {
    let mut out = image.clone();
    for _ in 0..rng.random_range(1..=most) {
        let kind = rng.random_range(0..6);
        let shape = match kind {
            0 | 1 => stroke(image, rng),
            2 => spot(image, rng),
            3 => cloud(image, rng),
            4 => patch(image, rng),
            _ => band(image, rng),
        };
        if kind == 5 {
            draw_finish(&mut out, &shape, rng);
            continue;
        }
        // A patch of the same tone as its surroundings can only be told by its texture.
        if kind == 4 || rng.random_bool(0.3) {
            draw_texture(&mut out, other, &shape, rng);
        } else {
            draw_tone(&mut out, &shape, rng);
        }
    }
    Defective::of(image, out, VISIBLE)
}

/// Changes `out` under the shape to `value(channel, index, below)`.
fn blend(out: &mut Image, shape: &Shape, opacity: f32, value: impl Fn(usize, usize, f32) -> f32) {
    let columns = out.width;
    for channel in 0..out.channels {
        let plane = out.plane_mut(channel);
        for (row, weights) in shape.weights.chunks(shape.width.max(1)).enumerate() {
            let start = (shape.y + row) * columns + shape.x;
            for (column, weight) in weights.iter().enumerate() {
                let below = plane[start + column];
                plane[start + column] += opacity * weight * (value(channel, start + column, below) - below);
            }
        }
    }
}

/// Darker (more often) or brighter, with less of the texture below.
fn draw_tone(out: &mut Image, shape: &Shape, rng: &mut Pcg64) {
    let sign = if rng.random_bool(0.67) { -1.0 } else { 1.0 };
    let (gain, shift) = (rng.random_range(0.1..=1.0f32), sign * rng.random_range(0.4..=2.5f32));
    let opacity = rng.random_range(0.4..=1.0);
    blend(out, shape, opacity, |_, _, below| gain * below + shift);
}

/// The same texture, stronger or weaker, and a little darker or brighter.
fn draw_finish(out: &mut Image, shape: &Shape, rng: &mut Pcg64) {
    let gain = log_uniform(0.5, 2.0, rng);
    let shift = log_uniform(0.2, 1.5, rng) * if rng.random() { 1.0 } else { -1.0 };
    blend(out, shape, 1.0, |_, _, below| gain * below + shift);
}

/// Filled from another place of another picture.
fn draw_texture(out: &mut Image, other: &Image, shape: &Shape, rng: &mut Pcg64) {
    let (gain, shift) = (rng.random_range(0.7..=1.3f32), rng.random_range(-0.4..=0.4f32));
    let moved = rng.random_range(0..other.plane(0).len());
    let opacity = rng.random_range(0.5..=1.0);
    blend(out, shape, opacity, |channel, index, _| {
        let plane = other.plane(channel);
        gain * plane[(index + moved) % plane.len()] + shift
    });
}

/// A number between `low` and `high`, every octave as likely as another.
fn log_uniform(low: f32, high: f32, rng: &mut Pcg64) -> f32 {
    rng.random_range(low.ln()..=high.max(low).ln()).exp()
}

fn place(image: &Image, rng: &mut Pcg64) -> [f32; 2] {
    [
        rng.random_range(0.0..image.width as f32),
        rng.random_range(0.0..image.height as f32),
    ]
}

/// A crack or scratch: a path that wanders, half a pixel to four pixels wide on each side.
fn stroke(image: &Image, rng: &mut Pcg64) -> Shape {
    const JOINTS: usize = 12;
    let shorter = image.width.min(image.height) as f32;
    let half = log_uniform(0.5, 4.0, rng);
    let step = log_uniform(0.1, 1.2, rng) * shorter / JOINTS as f32;
    let wander = rng.random_range(0.0..=0.45f32);
    let mut direction = rng.random_range(0.0..std::f32::consts::TAU);
    let mut points = vec![place(image, rng)];
    for i in 0..JOINTS {
        direction += rng.random_range(-wander..=wander);
        let [x, y] = points[i];
        points.push([x + step * direction.cos(), y + step * direction.sin()]);
    }
    let reach = |axis: usize, pick: fn(f32, f32) -> f32| points.iter().map(|p| p[axis]).reduce(pick).unwrap_or(0.0);
    let bounds = [
        reach(0, f32::min) - half,
        reach(1, f32::min) - half,
        reach(0, f32::max) + half,
        reach(1, f32::max) + half,
    ];
    Shape::new(image, bounds, |x, y| {
        let nearest = points
            .windows(2)
            .map(|ends| distance([x, y], ends[0], ends[1]))
            .fold(f32::INFINITY, f32::min);
        half + 0.5 - nearest
    })
}

/// Distance of `p` to the line from `a` to `b`.
fn distance(p: [f32; 2], a: [f32; 2], b: [f32; 2]) -> f32 {
    let along = [b[0] - a[0], b[1] - a[1]];
    let from = [p[0] - a[0], p[1] - a[1]];
    let length = along[0] * along[0] + along[1] * along[1];
    let t = ((from[0] * along[0] + from[1] * along[1]) / length.max(1e-6)).clamp(0.0, 1.0);
    (from[0] - t * along[0]).hypot(from[1] - t * along[1])
}

/// A hole, a stain or a shaded area: an ellipse with a ragged rim, hard or soft, of 1.5 pixels to a third of the side.
fn spot(image: &Image, rng: &mut Pcg64) -> Shape {
    let shorter = image.width.min(image.height) as f32;
    let radius = log_uniform(1.5, 0.3 * shorter, rng);
    let squeeze = rng.random_range(0.4..=1.0f32);
    let (sin, cos) = rng.random_range(0.0..std::f32::consts::PI).sin_cos();
    let cells = 1 << rng.random_range(1..=3);
    let rim = perlin(image.width, image.height, cells, cells, rng);
    // The larger, the softer it may be: from an edge of a pixel to one as wide as the spot.
    let softness = log_uniform(1.0, radius, rng);
    let [mut cx, mut cy] = place(image, rng);
    // Now and then it is a chip at the picture's edge.
    if rng.random_bool(0.2) {
        match rng.random_range(0..4) {
            0 => cx = 0.0,
            1 => cx = image.width as f32,
            2 => cy = 0.0,
            _ => cy = image.height as f32,
        }
    }
    let reach = 1.6 * radius + softness;
    Shape::new(image, [cx - reach, cy - reach, cx + reach, cy + reach], |x, y| {
        let (u, v) = (cos * (x - cx) + sin * (y - cy), cos * (y - cy) - sin * (x - cx));
        let ragged = 1.0 + 0.35 * rim[y as usize * image.width + x as usize];
        let d = u.hypot(v / squeeze) * ragged;
        (radius - d) / softness + 0.5
    })
}

/// Scattered islands: where Perlin noise is high.
fn cloud(image: &Image, rng: &mut Pcg64) -> Shape {
    let cells = [1 << rng.random_range(0..=5), 1 << rng.random_range(0..=5)];
    let noise = perlin(image.width, image.height, cells[0], cells[1], rng);
    let whole = [0.0, 0.0, image.width as f32, image.height as f32];
    Shape::new(image, whole, |x, y| {
        12.0 * (noise[y as usize * image.width + x as usize] - 0.5)
    })
}

/// A rectangle with a soft edge.
fn patch(image: &Image, rng: &mut Pcg64) -> Shape {
    let half = [image.width, image.height].map(|side| log_uniform(0.03, 0.3, rng) * side as f32);
    let softness = log_uniform(1.0, 6.0, rng);
    let [cx, cy] = place(image, rng);
    let bounds = [
        cx - half[0] - softness,
        cy - half[1] - softness,
        cx + half[0] + softness,
        cy + half[1] + softness,
    ];
    Shape::new(image, bounds, |x, y| {
        (half[0] - (x - cx).abs()).min(half[1] - (y - cy).abs()) / softness + 0.5
    })
}

/// All on one side of a wavy line, as far as a second one or the picture's edge; the lines lie along an axis, or nearly.
fn band(image: &Image, rng: &mut Pcg64) -> Shape {
    let shorter = image.width.min(image.height) as f32;
    let quarter = f32::from(rng.random_range(0..4u8)) * std::f32::consts::FRAC_PI_2;
    let (sin, cos) = (quarter + rng.random_range(-0.2..=0.2f32)).sin_cos();
    let [cx, cy] = place(image, rng);
    let (waves, phase) = (
        rng.random_range(0.5..=3.0f32) / shorter,
        rng.random_range(0.0..std::f32::consts::TAU),
    );
    let amplitude = rng.random_range(0.0..=0.05f32) * shorter;
    let softness = log_uniform(0.7, 12.0, rng);
    let width = if rng.random() {
        f32::INFINITY
    } else {
        log_uniform(0.05, 0.5, rng) * shorter
    };
    let whole = [0.0, 0.0, image.width as f32, image.height as f32];
    let mut shape = Shape::new(image, whole, |x, y| {
        let (along, across) = (cos * (x - cx) + sin * (y - cy), cos * (y - cy) - sin * (x - cx));
        let inside = across - amplitude * (std::f32::consts::TAU * waves * along + phase).sin();
        inside.min(width - inside) / softness + 0.5
    });
    // What is more than the rest is the rule.
    if shape.weights.iter().sum::<f32>() > 0.5 * shape.weights.len() as f32 {
        shape.weights.iter_mut().for_each(|weight| *weight = 1.0 - *weight);
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::stream;

    fn flat(value: f32) -> Image {
        Image::filled(1, 64, 80, value)
    }

    #[test]
    fn what_changed_is_in_the_mask() {
        let (image, other) = (flat(0.0), flat(1.0));
        for item in 0..200 {
            let Defective { image: marked, mask } = mark(&image, &other, 3, &mut stream(5, 0, item));
            for ((before, after), mask) in image.data.iter().zip(&marked.data).zip(&mask.data) {
                assert!((before - after).abs() <= VISIBLE || *mask == 1.0, "item {item}");
                assert!(after.is_finite());
            }
        }
    }

    #[test]
    fn marks_are_various_and_leave_most_of_the_picture_alone() {
        let (image, other) = (flat(0.0), flat(1.0));
        let shares: Vec<f32> = (0..300)
            .map(|item| {
                let mask = mark(&image, &other, 3, &mut stream(6, 0, item)).mask;
                mask.data.iter().sum::<f32>() / mask.data.len() as f32
            })
            .collect();
        let count = |low: f32, high: f32| shares.iter().filter(|&&s| s >= low && s < high).count();
        assert!(count(0.001, 0.02) > 30, "small: {}", count(0.001, 0.02));
        assert!(count(0.02, 0.2) > 60, "middle: {}", count(0.02, 0.2));
        assert!(count(0.6, 2.0) < 15, "nearly all: {}", count(0.6, 2.0));
    }

    #[test]
    fn a_stroke_is_as_wide_as_it_says() {
        let (a, b) = ([10.0, 10.0], [30.0, 10.0]);
        assert_eq!(distance([20.0, 13.0], a, b), 3.0);
        assert_eq!(distance([34.0, 13.0], a, b), 5.0);
        assert_eq!(distance([10.0, 10.0], a, a), 0.0);
    }

    #[test]
    fn tiny_pictures_can_be_marked() {
        for (height, width) in [(1, 1), (1, 9), (7, 2)] {
            let image = Image::filled(3, height, width, 0.0);
            for item in 0..50 {
                assert_eq!(
                    mark(&image, &image, 3, &mut stream(7, 0, item)).image.data.len(),
                    3 * height * width
                );
            }
        }
    }
}

//! An inspection line drawn from numbers: parts on a belt, seeded defects, noise. For `candletestsrc`, and to train without a camera.
//!
//! Lengths in this module are in units of the frame's shorter side, so that a line looks the same at any size.

mod belt;
mod part;

use rand::Rng;
use rand_pcg::Pcg64;

use super::random::stream;
use crate::kernels::simd::{Vector, Work, run_best};
use crate::kernels::team::share;
use crate::pixels::Image;
use belt::Belt;
use part::{Look, RADIUS};

/// Distance between the middles of two parts.
const SPACING: f64 = 1.05;
/// Side of [`middle_part`]'s crop, in diameters of the part.
const CROP: f64 = 1.12;

/// Rows that one task draws at least: the belt's texture is quick where rows follow each other.
const ROWS_AT_LEAST: usize = 32;

/// Class labels of the line: `good`, then the [`DefectKind`]s.
pub const CLASSES: [&str; 4] = ["good", "scratch", "spot", "chip"];

/// What kinds of defect there are; also the class labels of the line, after `good`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefectKind {
    /// A thin bright or dark line across the part.
    Scratch,
    /// A dark spot.
    Spot,
    /// A bite out of the part's edge.
    Chip,
}

impl DefectKind {
    /// All of them, in the order of [`CLASSES`].
    pub const ALL: [DefectKind; 3] = [Self::Scratch, Self::Spot, Self::Chip];

    /// Its class label, one of [`CLASSES`].
    pub fn name(self) -> &'static str {
        CLASSES[self as usize + 1]
    }
}

/// Settings of the line.
#[derive(Debug, Clone, PartialEq)]
pub struct LineSettings {
    /// Seeds parts, defects and noise.
    pub seed: u64,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Share of parts with a defect, 0..1.
    pub defect_rate: f64,
    /// Standard deviation of the sensor's noise, of full scale.
    pub noise: f32,
    /// Frames between one part and the next in the middle of the picture; each part moves through it. 0 counts as 1.
    pub frames_per_part: u64,
}

/// A part that can be seen in a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// Number of the part since the start. Part `p` is the one nearest the middle in frames `p·frames_per_part` and the
    /// `frames_per_part - 1` after it, but for its jitter.
    pub index: u64,
    /// Bounding box in pixels `[x, y, width, height]`, cut to the frame.
    pub bounds: [usize; 4],
    /// Whether the whole part is inside the frame.
    pub whole: bool,
    /// Its defect and the defect's box in pixels `[x, y, width, height]`, cut to the frame; `None` while outside.
    pub defect: Option<(DefectKind, [usize; 4])>,
}

/// A part on its place in one frame.
struct Placed {
    /// Middle of the part in pixels.
    x: f32,
    y: f32,
    look: Look,
}

/// Draws frame `number`: RGB in 0..1, with the sensor's noise, and the parts in it, from right to left (the oldest first).
/// Any frame can be drawn at any time, the same each time. No part comes before part 0: the first frames show the line as it starts up.
pub fn render(settings: &LineSettings, number: u64) -> (Image, Vec<Part>) {
    let mut image = Image::default();
    let parts = render_into(settings, number, &mut image);
    (image, parts)
}

/// [`render`] into `image`, whose memory is used again.
pub fn render_into(settings: &LineSettings, number: u64, image: &mut Image) -> Vec<Part> {
    let (width, height) = (settings.width, settings.height);
    image.reshape(3, height, width);
    if width == 0 || height == 0 {
        return Vec::new();
    }
    let placed = visible_parts(settings, number);
    let unit = unit(settings);
    let (turns, phase) = progress(settings, number);
    let belt = Belt::new(
        settings.seed,
        width,
        height,
        unit as f32,
        (turns as f64 + phase) * SPACING,
    );
    let (red, rest) = image.data.split_at_mut(width * height);
    let (green, blue) = rest.split_at_mut(width * height);
    let planes = red
        .chunks_mut(width)
        .zip(green.chunks_mut(width))
        .zip(blue.chunks_mut(width));
    share(
        planes.enumerate(),
        ROWS_AT_LEAST,
        Vec::new,
        |texture, (y, ((red, green), blue))| {
            let mut row = [red, green, blue];
            belt.draw_row(y, &mut row, texture);
            for part in &placed {
                draw_part(part, unit as f32, y, &mut row);
            }
            belt.light_row(y, &mut row);
            add_noise(&mut row, settings.noise, stream(settings.seed, number, y as u64));
        },
    );
    placed
        .iter()
        .filter_map(|part| describe(part, unit as f32, width, height))
        .collect()
}

/// The sensor's noise on one row, and its limits.
fn add_noise(row: &mut [&mut [f32]; 3], sigma: f32, mut rng: Pcg64) {
    for plane in row {
        let keys = [rng.next_u32(), rng.next_u32()];
        #[rustfmt::skip]
        run_best(Noise { plane, sigma, keys });
    }
}

/// Nearly normal noise (a sum of eight bytes of a hash of the position), which is made many values at a time.
struct Noise<'a> {
    plane: &'a mut [f32],
    sigma: f32,
    keys: [u32; 2],
}

impl Work for Noise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        /// Mean and standard deviation of a sum of eight bytes.
        const MEAN: f32 = 1020.0;
        const DEVIATION: f32 = 209.02;
        let scale = self.sigma / DEVIATION;
        for (i, value) in (0..).zip(self.plane) {
            let first = mix(mix(i ^ self.keys[0]) ^ self.keys[1]);
            let second = mix(first);
            let pairs = |x: u32| (x & 0x00ff_00ff) + (x >> 8 & 0x00ff_00ff);
            let sums = pairs(first) + pairs(second);
            let sum = (sums & 0xffff) + (sums >> 16);
            *value = (*value + scale * (sum as i32 as f32 - MEAN)).clamp(0.0, 1.0);
        }
    }
}

/// A hash of 32 bits (xor, shift and multiply; the constants are C. Wellons's `lowbias32` of 2018).
#[inline(always)]
fn mix(x: u32) -> u32 {
    let x = (x ^ x >> 16).wrapping_mul(0x7feb_352d);
    let x = (x ^ x >> 15).wrapping_mul(0x846c_a68b);
    x ^ x >> 16
}

/// The defect that part `index` has, whether it can be seen at the moment or not.
pub fn defect_of(settings: &LineSettings, index: u64) -> Option<DefectKind> {
    Look::new(settings.seed, index, settings.defect_rate, unit(settings) as f32)
        .defect
        .map(|defect| defect.kind)
}

/// The whole part nearest the middle of the frame, if there is one, and the square `[x, y, width, height]` around it, always of
/// the same size and inside the frame: what a classifier of single parts looks at.
pub fn middle_part(settings: &LineSettings, parts: &[Part]) -> Option<(Part, [usize; 4])> {
    let middle = |part: &Part| [2 * part.bounds[0] + part.bounds[2], 2 * part.bounds[1] + part.bounds[3]];
    let part = *parts
        .iter()
        .filter(|part| part.whole)
        .min_by_key(|part| middle(part)[0].abs_diff(settings.width))?;
    let largest = settings.width.min(settings.height);
    let side = ((2.0 * f64::from(RADIUS) * CROP * unit(settings)).round() as usize).clamp(1, largest);
    let [x, y] = middle(&part);
    let start = |middle: usize, length: usize| (middle.saturating_sub(side) / 2).min(length - side);
    Some((part, [start(x, settings.width), start(y, settings.height), side, side]))
}

/// Pixels of the frame's shorter side.
fn unit(settings: &LineSettings) -> f64 {
    settings.width.min(settings.height) as f64
}

/// How far the belt has run, in spacings: whole ones, and the rest 0..1.
fn progress(settings: &LineSettings, number: u64) -> (u64, f64) {
    let period = settings.frames_per_part.max(1);
    (number / period, (number % period) as f64 / period as f64)
}

/// Parts whose shadow or body may reach into the frame.
fn visible_parts(settings: &LineSettings, number: u64) -> Vec<Placed> {
    let unit = unit(settings);
    let (turns, phase) = progress(settings, number);
    let reach = settings.width as f64 / unit / 2.0 + 1.3 * f64::from(RADIUS);
    let spread = (reach / SPACING).ceil() as u64 + 1;
    (turns.saturating_sub(spread)..=turns.saturating_add(spread))
        .filter_map(|index| {
            let ahead = if turns >= index {
                (turns - index) as f64
            } else {
                -((index - turns) as f64)
            };
            let along = (ahead + phase - 0.5) * SPACING;
            (along.abs() < reach).then(|| {
                let look = Look::new(settings.seed, index, settings.defect_rate, unit as f32);
                let x = settings.width as f64 / 2.0 + (along + f64::from(look.shift[0])) * unit;
                let y = settings.height as f64 / 2.0 + f64::from(look.shift[1]) * unit;
                Placed {
                    x: x as f32,
                    y: y as f32,
                    look,
                }
            })
        })
        .collect()
}

/// Draws a part's pixels and shadow over one row.
fn draw_part(part: &Placed, unit: f32, y: usize, row: &mut [&mut [f32]; 3]) {
    let reach = part::REACH * unit;
    let dy = y as f32 + 0.5 - part.y;
    if dy.abs() >= reach {
        return;
    }
    let half = (reach * reach - dy * dy).sqrt();
    let width = row[0].len() as f32;
    let from = (part.x - half).clamp(0.0, width) as usize;
    let to = (part.x + half).ceil().clamp(0.0, width) as usize;
    let scale = 1.0 / unit;
    for x in from..to {
        let over = part.look.shade((x as f32 + 0.5 - part.x) * scale, dy * scale);
        for (plane, color) in row.iter_mut().zip(over.color) {
            plane[x] = plane[x] * over.shadow * (1.0 - over.cover) + color * over.cover;
        }
    }
}

/// What the frame shows of a part; `None` when only its shadow is inside.
fn describe(part: &Placed, unit: f32, width: usize, height: usize) -> Option<Part> {
    let r = RADIUS;
    let place = |[x0, y0, x1, y1]: [f32; 4]| {
        [
            part.x + x0 * unit,
            part.y + y0 * unit,
            part.x + x1 * unit,
            part.y + y1 * unit,
        ]
    };
    let body = place([-r, -r, r, r]);
    let bounds = cut(body, width, height)?;
    let whole = body[0] >= 0.0 && body[1] >= 0.0 && body[2] <= width as f32 && body[3] <= height as f32;
    let defect = part
        .look
        .defect
        .as_ref()
        .and_then(|d| Some((d.kind, cut(place(d.bounds), width, height)?)));
    Some(Part {
        index: part.look.index,
        bounds,
        whole,
        defect,
    })
}

/// `[x0, y0, x1, y1]` rounded outwards and cut to the frame, as `[x, y, width, height]`; `None` where nothing is left.
fn cut([x0, y0, x1, y1]: [f32; 4], width: usize, height: usize) -> Option<[usize; 4]> {
    let (x0, y0) = (x0.floor().max(0.0) as usize, y0.floor().max(0.0) as usize);
    let (x1, y1) = (
        (x1.ceil().max(0.0) as usize).min(width),
        (y1.ceil().max(0.0) as usize).min(height),
    );
    (x0 < x1 && y0 < y1).then(|| [x0, y0, x1 - x0, y1 - y0])
}

#[cfg(test)]
mod tests;

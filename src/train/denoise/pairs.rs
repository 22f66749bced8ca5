//! Which parts of two frames show the same.

use rayon::prelude::*;

use super::noisy::Shot;
use crate::data::layout::{Dataset, Source};
use crate::model::Color;
use crate::pixels::{Image, box_mean, gaussian};
use crate::train::packed::Packed;

/// Standard deviation in pixels of the blur before two frames are compared.
const BLUR: f32 = 2.0;
/// Blurred differences beyond so many deviations of the noise are motion.
const DEVIATIONS: f32 = 3.0;
/// Noise, unless it is white, is less than this share of the scene's own deviation.
const CONTRAST: f32 = 0.3;
/// Side in pixels of the surroundings of motion that count as moving.
const MARGIN: usize = 9;
/// Where two frames differ by less than this share of the noise that each of them has, the noise itself was copied: by a codec, or
/// because a frame was shown twice. Nothing can be learned there but to leave it.
const COPIED: f32 = 0.1;
/// The least share of a frame that must stand still for a pair.
const LEAST_STILL: f32 = 0.2;

/// A frame and the next.
pub(super) struct Pair {
    /// Of the first.
    index: usize,
    /// One plane, 1 where nothing moves but the noise.
    mask: Packed,
    /// Share of the frame where nothing moves.
    pub(super) still: f32,
    /// Share of the frame that is the same to the noise.
    copied: f32,
    /// What brings each plane of the first frame's light to the second's: times, plus.
    light: Vec<[f32; 2]>,
}

/// The same part of two frames.
pub(super) struct Cut {
    pub(super) noisy: Image,
    /// Of the other frame, in the first one's light.
    pub(super) other: Image,
    /// One plane, 1 where nothing moves.
    pub(super) mask: Image,
    /// Noise level of the first frame, 0..1.
    pub(super) level: f32,
}

impl Pair {
    /// All pairs of neighbours among `shots`, the frames of `data`, that are worth it, and the share of neighbours' pixels that have the
    /// same noise.
    pub(super) fn all(data: &Dataset, shots: &[Shot]) -> (Vec<Self>, f32) {
        let pair = |index: usize| {
            let [first, second] = [index, index + 1].map(|i| &data.samples[i].source);
            let pictures = match (first, second) {
                // Perhaps the frames of a video, one file each: what the two show decides.
                (Source::Picture(a), Source::Picture(b)) => a.parent() == b.parent(),
                _ => false,
            };
            let neighbours = pictures || second.follows(first);
            let [a, b] = [&shots[index], &shots[index + 1]];
            (neighbours && a.picture.size() == b.picture.size()).then(|| Self::new(index, a, b))
        };
        let indices = (0..shots.len().saturating_sub(1)).into_par_iter();
        let mut pairs: Vec<Self> = indices.filter_map(pair).collect();
        let copied = pairs.iter().map(|pair| pair.copied).sum::<f32>() / pairs.len().max(1) as f32;
        pairs.retain(|pair| pair.still >= LEAST_STILL);
        (pairs, copied)
    }

    fn new(index: usize, first: &Shot, second: &Shot) -> Self {
        let (a, b) = (first.picture.image(), second.picture.image());
        let light = (0..a.channels)
            .map(|channel| light(a.plane(channel), b.plane(channel)))
            .collect::<Vec<_>>();
        let mut difference = b;
        for (channel, [gain, offset]) in light.iter().enumerate() {
            let plane = difference.plane_mut(channel).iter_mut().zip(a.plane(channel));
            plane.for_each(|(b, a)| *b -= gain * a + offset);
        }
        let difference = difference.to_color(Color::Gray);
        let both = first.level.powi(2) + second.level.powi(2);
        let squares = Image {
            data: difference.data.iter().map(|x| x * x).collect(),
            ..difference
        };
        let mut copied = box_mean(&squares, MARGIN);
        let is_copied = |x: f32| x <= COPIED * COPIED * both;
        copied.data.iter_mut().for_each(|x| *x = f32::from(is_copied(*x)));
        let difference = gaussian(&difference, BLUR);
        // White noise of both frames after the blur, whose weights' squares sum to 1 / (4 pi BLUR²). Correlated noise is more, but motion
        // may look like it: it differs by as much as the scene does.
        let white = both.sqrt() / (BLUR * (4.0 * std::f32::consts::PI).sqrt());
        let most = CONTRAST * contrast(&gaussian(&a.to_color(Color::Gray), BLUR).data);
        let noise = deviation(&difference.data).clamp(0.5 * white, most.max(white));
        let threshold = (DEVIATIONS * noise).max(0.5 / 255.0);
        let moving = Image {
            data: difference.data.iter().map(|x| f32::from(x.abs() > threshold)).collect(),
            ..difference
        };
        let mut mask = box_mean(&moving, MARGIN);
        // A lone pixel beyond three deviations is chance: motion is more of them.
        let least = 3.5 / (MARGIN * MARGIN) as f32;
        let pixels = mask.data.iter_mut().zip(&copied.data);
        pixels.for_each(|(x, copied)| *x = f32::from(*x < least) * (1.0 - copied));
        let share = |image: &Image| image.data.iter().sum::<f32>() / image.data.len() as f32;
        let (still, copied) = (share(&mask), share(&copied));
        Self {
            index,
            mask: Packed::new(&mask),
            still,
            copied,
            light,
        }
    }

    /// `[width, height]`.
    pub(super) fn size(&self) -> [usize; 2] {
        self.mask.size()
    }

    /// The share of a square that stands still.
    pub(super) fn share(&self, at: [usize; 2], side: usize) -> f32 {
        let mask = self.mask.crop(at, [side; 2]);
        mask.data.iter().sum::<f32>() / mask.data.len() as f32
    }

    /// A part of the pair; `swapped` takes the later frame first.
    pub(super) fn cut(&self, shots: &[Shot], at: [usize; 2], size: [usize; 2], swapped: bool) -> Cut {
        let [first, second] = if swapped { [1, 0] } else { [0, 1] }.map(|i| &shots[self.index + i]);
        let mut other = second.picture.crop(at, size);
        for (channel, [gain, offset]) in self.light.iter().enumerate() {
            for x in other.plane_mut(channel) {
                *x = if swapped {
                    gain * *x + offset
                } else {
                    (*x - offset) / gain
                };
            }
        }
        Cut {
            noisy: first.picture.crop(at, size),
            other,
            mask: self.mask.crop(at, size),
            level: first.level,
        }
    }
}

/// The gain and offset between two planes of the same scene, from mean and deviation: noise is in both alike.
fn light(a: &[f32], b: &[f32]) -> [f32; 2] {
    let moments = |plane: &[f32]| {
        let n = plane.len() as f64;
        let mean = plane.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        (
            mean,
            (plane.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n).sqrt(),
        )
    };
    let ((mean_a, deviation_a), (mean_b, deviation_b)) = (moments(a), moments(b));
    let gain = if deviation_a > 0.0 {
        (deviation_b / deviation_a).clamp(0.5, 2.0)
    } else {
        1.0
    };
    [gain as f32, (mean_b - gain * mean_a) as f32]
}

/// Standard deviation of noise around zero, by the lowest quarter of its sizes: what moves does not change it.
fn deviation(values: &[f32]) -> f32 {
    /// Quantile of sizes of a normal value, in deviations.
    const QUARTER: f32 = 0.318_6;
    let mut sizes: Vec<f32> = values.iter().map(|x| x.abs()).collect();
    let at = sizes.len() / 4;
    let (_, quarter, _) = sizes.select_nth_unstable_by(at, f32::total_cmp);
    *quarter / QUARTER
}

/// Standard deviation.
fn contrast(values: &[f32]) -> f32 {
    let n = values.len() as f32;
    let mean = values.iter().sum::<f32>() / n;
    (values.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::noise::add_gaussian;
    use crate::data::random::stream;

    const LEVEL: f32 = 0.06;

    /// Texture, with a bright square at `left`, in the light of `gain`, noisy.
    fn shot(left: usize, gain: f32, number: u64) -> Shot {
        let (width, height) = (96, 64);
        let value = |i: usize| {
            let (x, y) = (i % width, i / width);
            let texture = 0.4 + 0.1 * (x as f32 * 0.9).sin() * (y as f32 * 0.7).cos();
            let inside = (left..left + 20).contains(&x) && (20..40).contains(&y);
            gain * if inside { 0.8 } else { texture }
        };
        let mut image = Image {
            channels: 1,
            height,
            width,
            data: (0..width * height).map(value).collect(),
        };
        add_gaussian(&mut image, LEVEL, &mut stream(2, number, 0));
        Shot {
            picture: Packed::new(&image),
            level: LEVEL,
        }
    }

    #[test]
    fn what_moves_is_left_out_and_light_is_made_equal() {
        let still = Pair::new(0, &shot(30, 1.0, 0), &shot(30, 1.0, 1));
        assert!(still.still > 0.9, "{}", still.still);
        let pair = Pair::new(0, &shot(20, 1.0, 2), &shot(50, 0.9, 3));
        assert!((0.6..0.9).contains(&pair.still), "{}", pair.still);
        assert!(
            pair.share([22, 22], 16) < 0.1 && pair.share([52, 22], 16) < 0.1,
            "the square has left, and come"
        );
        assert!(pair.share([0, 44], 20) > 0.9, "the ground is still");
        let shots = [shot(20, 1.0, 2), shot(50, 0.9, 3)];
        for swapped in [false, true] {
            let cut = pair.cut(&shots, [0, 0], [96, 64], swapped);
            let values = cut.noisy.data.iter().zip(&cut.other.data).zip(&cut.mask.data);
            let mean = values.map(|((a, b), m)| m * (a - b)).sum::<f32>() / cut.mask.data.iter().sum::<f32>();
            assert!(mean.abs() < 0.02, "swapped {swapped}: {mean}");
            assert_eq!(cut.level, LEVEL);
        }
        // Nor is a frame that is shown twice, or copied in part.
        let twice = Pair::new(0, &shots[0], &shots[0]);
        assert_eq!((twice.still, twice.copied), (0.0, 1.0));
        let silent = Shot {
            picture: Packed::new(&shots[0].picture.image()),
            level: 0.0,
        };
        assert_eq!(Pair::new(0, &silent, &silent).copied, 1.0);
        let (mut half, other) = (shots[0].picture.image(), shot(20, 1.0, 4).picture.image());
        half.data[..32 * 96].copy_from_slice(&other.data[..32 * 96]);
        let picture = Packed::new(&half);
        let half = Pair::new(0, &shots[0], &Shot { picture, level: LEVEL });
        assert!(
            (0.4..0.5).contains(&half.copied) && half.still < 0.6,
            "{}, {}",
            half.copied,
            half.still
        );
        assert_eq!(half.share([0, 40], 20), 0.0);
        // Another picture altogether is no pair.
        let blocks = |i: usize| {
            if (i % 96 / 24 + i / 96 / 16).is_multiple_of(2) {
                0.2
            } else {
                0.8
            }
        };
        let data = (0..96 * 64).map(blocks).collect();
        let picture = Packed::new(&Image {
            channels: 1,
            height: 64,
            width: 96,
            data,
        });
        let still = Pair::new(0, &shots[0], &Shot { picture, level: LEVEL }).still;
        assert!(still < LEAST_STILL, "{still}");
    }
}

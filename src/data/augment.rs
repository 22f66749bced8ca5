//! Changes a camera or its mounting could make to a picture.

use std::borrow::Cow;

use rand::RngExt;
use rand_pcg::Pcg64;

use super::noise::add_gaussian;
use crate::pixels::Image;

/// Turned by `turns` quarter turns clockwise and then, with `flip`, mirrored left to right.
pub fn turn(image: &Image, turns: u8, flip: bool) -> Image {
    let (h, w) = (image.height, image.width);
    let turns = turns % 4;
    let (height, width) = if turns % 2 == 1 { (w, h) } else { (h, w) };
    let mut data = Vec::with_capacity(image.data.len());
    for plane in image.data.chunks(h * w) {
        for y in 0..height {
            // Where the row starts in the source, and the step from one column to the next.
            let (start, step) = match turns {
                0 => (y * w, 1),
                1 => ((h - 1) * w + y, -(w as isize)),
                2 => ((h - 1 - y) * w + w - 1, -1),
                _ => (w - 1 - y, w as isize),
            };
            let at = |x: usize| plane[start.wrapping_add_signed(step * x as isize)];
            if flip {
                data.extend((0..width).rev().map(at))
            } else {
                data.extend((0..width).map(at))
            }
        }
    }
    Image {
        channels: image.channels,
        height,
        width,
        data,
    }
}

/// A random crop of `width` x `height`; a smaller picture is enlarged first, both sides by the same factor.
pub fn random_crop(image: &Image, width: usize, height: usize, rng: &mut Pcg64) -> Image {
    let mut image = Cow::Borrowed(image);
    if image.width < width || image.height < height {
        let factor = (width as f64 / image.width as f64).max(height as f64 / image.height as f64);
        let side = |length: usize, least: usize| ((length as f64 * factor).round() as usize).max(least);
        image = Cow::Owned(image.resize(side(image.width, width), side(image.height, height)));
    }
    let x = rng.random_range(0..=image.width - width);
    let y = rng.random_range(0..=image.height - height);
    image.crop(x, y, width, height)
}

/// How strong [`camera`] is, each 0 = off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CameraSettings {
    /// Largest shift as a share of each side.
    pub shift: f32,
    /// Largest change of scale, as a share.
    pub scale: f32,
    /// Largest exposure change, as a share of the values; the black level moves by up to a quarter of it.
    pub exposure: f32,
    /// Largest noise standard deviation, of full scale.
    pub noise: f32,
    /// Largest blur, standard deviation in pixels.
    pub blur: f32,
    /// Whether left-right and up-down flips are allowed.
    pub flip: bool,
    /// Largest turn either way around the middle, in degrees.
    pub rotate: f32,
}

/// One random draw of all these; the picture keeps its size. What comes in from outside repeats the edge. Values are not clipped.
pub fn camera(image: &Image, settings: &CameraSettings, rng: &mut Pcg64) -> Image {
    let mut draw = |most: f32| {
        if most > 0.0 {
            rng.random_range(-most..=most)
        } else {
            0.0
        }
    };
    let shift = [draw(settings.shift), draw(settings.shift)];
    let scale = draw(settings.scale);
    let gain = 1.0 + draw(settings.exposure);
    let offset = 0.25 * draw(settings.exposure);
    let blur = draw(settings.blur).abs();
    let noise = draw(settings.noise).abs();
    let angle = draw(settings.rotate).to_radians();
    let flips: [bool; 2] = if settings.flip { rng.random() } else { [false; 2] };
    let mut out = if angle != 0.0 {
        rotated(image, shift, 1.0 + scale, angle)
    } else if shift == [0.0; 2] && scale == 0.0 {
        image.clone()
    } else {
        resample(image, shift, 1.0 + scale)
    };
    if flips[0] || flips[1] {
        // Up-down is half a turn and left-right.
        out = turn(&out, if flips[1] { 2 } else { 0 }, flips[0] != flips[1]);
    }
    if blur > 0.0 {
        gaussian_blur(&mut out, blur);
    }
    if gain != 1.0 || offset != 0.0 {
        out.data.iter_mut().for_each(|v| *v = *v * gain + offset);
    }
    if noise > 0.0 {
        add_gaussian(&mut out, noise, rng);
    }
    out
}

/// What a poor camera makes of a picture of 0..1, at `strength` 1: exposed by up to 30 % more or less, blurred by up to 1.5 pixels, noise of
/// up to 8 % of full scale at mid-grey that grows with the light, and 8 bits. Each is drawn evenly from nothing to that.
#[cfg(feature = "train")]
pub fn degrade(image: &Image, strength: f32, rng: &mut Pcg64) -> Image {
    let settings = CameraSettings {
        shift: 0.0,
        scale: 0.0,
        exposure: 0.3 * strength,
        noise: 0.0,
        blur: 1.5 * strength,
        flip: false,
        rotate: 0.0,
    };
    let image = camera(image, &settings, rng);
    let sigma = 0.08 * strength * rng.random::<f32>();
    let mut image = super::noise::Noise::Poisson.apply(image, sigma, rng).noisy;
    for value in &mut image.data {
        *value = (value.clamp(0.0, 1.0) * 255.0).round() / 255.0;
    }
    image
}

/// Enlarged by `scale` around the middle and moved by `shift` (shares of width and height), bilinear, edges repeated.
pub(super) fn resample(image: &Image, shift: [f32; 2], scale: f32) -> Image {
    let (w, h) = (image.width, image.height);
    let axis = |length: usize, shift: f32| -> Vec<(usize, usize, f32)> {
        let middle = length as f32 / 2.0;
        let last = (length - 1) as f32;
        (0..length)
            .map(|i| {
                let at = ((i as f32 + 0.5 - middle) / scale + middle - 0.5 - shift * length as f32).clamp(0.0, last);
                let low = at as usize;
                (low, (low + 1).min(length - 1), at - low as f32)
            })
            .collect()
    };
    let (columns, rows) = (axis(w, shift[0]), axis(h, shift[1]));
    let mut data = Vec::with_capacity(image.data.len());
    for plane in image.data.chunks(w * h) {
        for &(y0, y1, ty) in &rows {
            let (upper, lower) = (&plane[y0 * w..(y0 + 1) * w], &plane[y1 * w..(y1 + 1) * w]);
            data.extend(columns.iter().map(|&(x0, x1, tx)| {
                let top = upper[x0] + tx * (upper[x1] - upper[x0]);
                let bottom = lower[x0] + tx * (lower[x1] - lower[x0]);
                top + ty * (bottom - top)
            }));
        }
    }
    Image { data, ..*image }
}

/// [`resample`], turned clockwise by `angle` radians around the middle first.
fn rotated(image: &Image, shift: [f32; 2], scale: f32, angle: f32) -> Image {
    let (w, h) = (image.width, image.height);
    let (sin, cos) = angle.sin_cos();
    let middle = [w as f32 / 2.0 - 0.5, h as f32 / 2.0 - 0.5];
    let mut out = image.clone();
    for channel in 0..image.channels {
        for (i, value) in out.plane_mut(channel).iter_mut().enumerate() {
            let at = [(i % w, w, shift[0], middle[0]), (i / w, h, shift[1], middle[1])];
            let [x, y] = at.map(|(i, length, shift, middle)| (i as f32 - middle) / scale - shift * length as f32);
            *value = image.sample(channel, [middle[0] + cos * x + sin * y, middle[1] + cos * y - sin * x]);
        }
    }
    out
}

/// Gaussian blur of standard deviation `sigma` pixels, separable, cut at three sigma, edges repeated; 0 is none.
pub fn gaussian_blur(image: &mut Image, sigma: f32) {
    if sigma <= 0.0 {
        return;
    }
    let (w, h) = (image.width, image.height);
    let radius = (3.0 * sigma).ceil() as usize;
    let weight = |i: usize| (-0.5 * ((i as f32 - radius as f32) / sigma).powi(2)).exp();
    let mut kernel: Vec<f32> = (0..=2 * radius).map(weight).collect();
    let sum: f32 = kernel.iter().sum();
    kernel.iter_mut().for_each(|k| *k /= sum);
    let mut padded = vec![0.0; w + 2 * radius];
    let mut rows = vec![0.0; w * h];
    for plane in image.data.chunks_mut(w * h) {
        for (out, row) in rows.chunks_mut(w).zip(plane.chunks(w)) {
            padded[..radius].fill(row[0]);
            padded[radius..radius + w].copy_from_slice(row);
            padded[radius + w..].fill(row[w - 1]);
            out.fill(0.0);
            for (k, shifted) in kernel.iter().zip(0..) {
                out.iter_mut().zip(&padded[shifted..]).for_each(|(o, v)| *o += k * v);
            }
        }
        for (y, out) in plane.chunks_mut(w).enumerate() {
            out.fill(0.0);
            for (i, k) in kernel.iter().enumerate() {
                let from = (y + i).saturating_sub(radius).min(h - 1);
                out.iter_mut()
                    .zip(&rows[from * w..(from + 1) * w])
                    .for_each(|(o, v)| *o += k * v);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::stream;

    const OFF: CameraSettings = CameraSettings {
        shift: 0.0,
        scale: 0.0,
        exposure: 0.0,
        noise: 0.0,
        blur: 0.0,
        flip: false,
        rotate: 0.0,
    };

    fn numbered(channels: usize, height: usize, width: usize) -> Image {
        let n = channels * height * width;
        Image {
            channels,
            height,
            width,
            data: (0..n).map(|i| i as f32 / n as f32).collect(),
        }
    }

    #[test]
    fn turns_are_the_eight_of_the_square() {
        // 0 1 2
        // 3 4 5
        let image = Image {
            channels: 1,
            height: 2,
            width: 3,
            data: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
        };
        assert_eq!(turn(&image, 0, false), image);
        assert_eq!(turn(&image, 1, false).data, [3.0, 0.0, 4.0, 1.0, 5.0, 2.0]);
        assert_eq!((turn(&image, 1, false).height, turn(&image, 1, false).width), (3, 2));
        assert_eq!(turn(&image, 2, false).data, [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]);
        assert_eq!(turn(&image, 3, false).data, [2.0, 5.0, 1.0, 4.0, 0.0, 3.0]);
        assert_eq!(turn(&image, 0, true).data, [2.0, 1.0, 0.0, 5.0, 4.0, 3.0]);
        assert_eq!(turn(&image, 1, true).data, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        let color = numbered(3, 2, 3);
        assert_eq!(turn(&turn(&color, 1, false), 3, false), color);
        assert_eq!(turn(&turn(&color, 1, true), 1, true), color);
    }

    #[test]
    fn crops_lie_inside_and_reach_every_corner() {
        let image = numbered(3, 6, 5);
        let mut rng = stream(5, 0, 0);
        let mut starts = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let crop = random_crop(&image, 4, 3, &mut rng);
            let start = (crop.data[0] * 90.0).round() as usize;
            assert_eq!(crop, image.crop(start % 5, start / 5, 4, 3));
            starts.insert(start);
        }
        assert_eq!(starts.len(), 2 * 4);
        let large = random_crop(&image, 11, 7, &mut rng);
        assert_eq!((large.channels, large.height, large.width), (3, 7, 11));
    }

    #[test]
    fn resampling_moves_and_enlarges() {
        let image = numbered(1, 8, 10);
        let moved = resample(&image, [0.2, -0.25], 1.0);
        for y in 0..8 {
            for x in 0..10 {
                let (from_x, from_y) = (x.max(2) - 2, (y + 2).min(7));
                assert!((moved.data[y * 10 + x] - image.data[from_y * 10 + from_x]).abs() < 1e-6);
            }
        }
        // A slope of 1/80 a column becomes half as steep at twice the size, the middle stays: row 4 is now the source's row 3.75.
        let larger = resample(&image, [0.0, 0.0], 2.0);
        let row = &larger.data[40..50];
        assert!((row[5] - row[4] - 0.5 / 80.0).abs() < 1e-6);
        assert!((row[4] + row[5] - 2.0 * (37.5 + 4.5) / 80.0).abs() < 1e-5);
    }

    #[cfg(feature = "train")]
    #[test]
    fn a_poor_camera_leaves_the_picture_to_be_seen_in_8_bits() {
        let image = numbered(1, 40, 50);
        let rounded: Vec<f32> = image.data.iter().map(|x| (x * 255.0).round() / 255.0).collect();
        assert_eq!(degrade(&image, 0.0, &mut stream(3, 0, 0)).data, rounded);
        let apart = |strength: f32, seed| {
            let poor = degrade(&image, strength, &mut stream(seed, 0, 0));
            assert!(
                poor.data
                    .iter()
                    .all(|x| (0.0..=1.0).contains(x) && (x * 255.0).fract().abs() < 1e-3)
            );
            let squares = poor.data.iter().zip(&image.data).map(|(a, b)| (a - b).powi(2));
            (squares.sum::<f32>() / 2000.0).sqrt()
        };
        let mean = |strength| (0..20).map(|seed| apart(strength, seed)).sum::<f32>() / 20.0;
        assert!((0.04..0.15).contains(&mean(1.0)), "{}", mean(1.0));
        assert!(mean(0.3) < 0.5 * mean(1.0));
        assert_ne!(apart(1.0, 1), apart(1.0, 2));
    }

    #[test]
    fn a_quarter_turn_by_angle_is_one_by_indices() {
        let image = numbered(2, 7, 7);
        let turned = rotated(&image, [0.0; 2], 1.0, std::f32::consts::FRAC_PI_2);
        let difference = |a: &Image, b: &Image| {
            a.data
                .iter()
                .zip(&b.data)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max)
        };
        assert!(difference(&turned, &turn(&image, 1, false)) < 1e-5);
        let moved = rotated(&image, [0.2, -0.25], 1.5, 0.0);
        assert!(difference(&moved, &resample(&image, [0.2, -0.25], 1.5)) < 1e-5);
    }

    #[test]
    fn blur_keeps_the_sum_and_has_its_width() {
        let mut image = Image::filled(2, 31, 33, 0.0);
        image.plane_mut(1)[15 * 33 + 16] = 1.0;
        gaussian_blur(&mut image, 2.0);
        assert!(image.plane(0).iter().all(|&v| v == 0.0));
        let sum: f32 = image.plane(1).iter().sum();
        let spread: f32 = image
            .plane(1)
            .iter()
            .enumerate()
            .map(|(i, v)| v * ((i % 33) as f32 - 16.0).powi(2))
            .sum();
        assert!((sum - 1.0).abs() < 1e-5);
        assert!((spread - 4.0).abs() < 0.15, "{spread}");
        let mut flat = Image::filled(1, 4, 3, 0.7);
        gaussian_blur(&mut flat, 5.0);
        assert!(flat.data.iter().all(|v| (v - 0.7).abs() < 1e-6));
        let before = image.clone();
        gaussian_blur(&mut image, 0.0);
        assert_eq!(image, before);
    }

    #[test]
    fn each_setting_does_its_own_and_off_is_off() {
        let image = numbered(3, 12, 9);
        let mut rng = stream(11, 0, 0);
        assert_eq!(camera(&image, &OFF, &mut rng), image);
        let exposed = camera(&image, &CameraSettings { exposure: 0.3, ..OFF }, &mut rng);
        let gain = (exposed.data[200] - exposed.data[100]) / (image.data[200] - image.data[100]);
        assert!(gain != 1.0 && (0.7..=1.3).contains(&gain), "{gain}");
        let noisy = camera(&image, &CameraSettings { noise: 0.1, ..OFF }, &mut rng);
        assert!(noisy.data.iter().zip(&image.data).filter(|(a, b)| a != b).count() > 300);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..40 {
            let flipped = camera(&image, &CameraSettings { flip: true, ..OFF }, &mut rng);
            seen.insert(
                flipped
                    .plane(0)
                    .iter()
                    .position(|&v| v == 0.0)
                    .expect("the first value is somewhere"),
            );
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 8, 11 * 9, 12 * 9 - 1]);
        let all = CameraSettings {
            shift: 0.1,
            scale: 0.1,
            exposure: 0.1,
            noise: 0.01,
            blur: 1.0,
            flip: true,
            rotate: 10.0,
        };
        let draw = |seed| camera(&image, &all, &mut stream(seed, 0, 0));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}

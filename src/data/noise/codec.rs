//! What codecs leave behind.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageFormat, ImageReader};
use rand::RngExt;
use rand_pcg::Pcg64;

use crate::pixels::{Image, dct_basis, reflect};

/// Side of the blocks that JPEG codes.
const JPEG_BLOCK: usize = 8;
/// Side of a video codec's transform.
const SIDE: usize = 4;
/// Part of a quantiser's step that becomes zero beyond half of it: H.264's encoders round down by about as much.
const DEAD_ZONE: f32 = 1.0 / 6.0;

/// Through JPEG of `quality` 1..100 and back, clamped to 0..1; the blocks' grid lies anywhere.
pub fn jpeg(image: &mut Image, quality: u8, rng: &mut Pcg64) {
    let shift = [0, 1].map(|_| rng.random_range(0..JPEG_BLOCK));
    let [width, height] = [image.width + shift[0], image.height + shift[1]];
    // Whatever lies before the picture is its reflection.
    let at = |i: usize, shift: usize, n: usize| reflect(i.abs_diff(shift), n);
    let mut bytes = Vec::with_capacity(width * height * image.channels);
    for y in 0..height {
        for x in 0..width {
            let pixel = at(y, shift[1], image.height) * image.width + at(x, shift[0], image.width);
            let values = (0..image.channels).map(|channel| image.plane(channel)[pixel]);
            bytes.extend(values.map(|value| (value.clamp(0.0, 1.0) * 255.0).round() as u8));
        }
    }
    let step = image.channels;
    let color = if step == 1 {
        ExtendedColorType::L8
    } else {
        ExtendedColorType::Rgb8
    };
    let mut file = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut file, quality);
    let encoded = encoder.encode(&bytes, width as u32, height as u32, color);
    encoded.expect("memory takes any picture");
    let decoded = ImageReader::with_format(Cursor::new(file), ImageFormat::Jpeg).decode();
    let decoded = decoded.expect("it was encoded just now");
    let columns = image.width;
    for channel in 0..step {
        for (i, value) in image.plane_mut(channel).iter_mut().enumerate() {
            let (x, y) = (i % columns + shift[0], i / columns + shift[1]);
            *value = f32::from(decoded.as_bytes()[(y * width + x) * step + channel]) / 255.0;
        }
    }
}

/// What a video codec such as H.264 leaves of an intra picture: 4x4 cosine transforms, all but their means quantised by `step`
/// with a dead zone, and steps between blocks smoothed where they are too small to be edges. Clamped to 0..1.
pub fn transform(image: &mut Image, step: f32, rng: &mut Pcg64) {
    let shift = [0, 1].map(|_| rng.random_range(0..SIDE));
    let basis = dct_basis::<SIDE>();
    let (width, height) = (image.width, image.height);
    for channel in 0..image.channels {
        let plane = image.plane_mut(channel);
        for y in (shift[1]..(height + 1).saturating_sub(SIDE)).step_by(SIDE) {
            for x in (shift[0]..(width + 1).saturating_sub(SIDE)).step_by(SIDE) {
                quantise(&mut plane[y * width + x..], width, step, &basis);
            }
        }
        deblock(plane, [width, height], shift, step);
        plane.iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0));
    }
}

/// A block whose first pixel is `corner[0]`, rows `stride` apart.
fn quantise(corner: &mut [f32], stride: usize, step: f32, basis: &[[f32; SIDE]; SIDE]) {
    let mut block = [[0.0f32; SIDE]; SIDE];
    for (v, row) in block.iter_mut().enumerate() {
        for (u, value) in row.iter_mut().enumerate() {
            for y in 0..SIDE {
                for x in 0..SIDE {
                    *value += basis[v][y] * basis[u][x] * corner[y * stride + x];
                }
            }
            if u + v > 0 {
                let levels = (value.abs() / step + 0.5 - DEAD_ZONE).floor();
                *value = levels * step * value.signum();
            }
        }
    }
    for y in 0..SIDE {
        for x in 0..SIDE {
            corner[y * stride + x] = (0..SIDE * SIDE)
                .map(|i| basis[i / SIDE][y] * basis[i % SIDE][x] * block[i / SIDE][i % SIDE])
                .sum();
        }
    }
}

/// Moves the two pixels at each border between blocks towards each other by a quarter where they differ by less than `step`.
fn deblock(plane: &mut [f32], [width, height]: [usize; 2], shift: [usize; 2], step: f32) {
    let mut smooth = |a: usize, b: usize| {
        let difference = plane[b] - plane[a];
        if difference.abs() < step {
            plane[a] += 0.25 * difference;
            plane[b] -= 0.25 * difference;
        }
    };
    for y in 0..height {
        (shift[0]..width)
            .step_by(SIDE)
            .filter(|x| *x > 0)
            .for_each(|x| smooth(y * width + x - 1, y * width + x));
    }
    for y in (shift[1]..height).step_by(SIDE).filter(|y| *y > 0) {
        (0..width).for_each(|x| smooth((y - 1) * width + x, y * width + x));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::noise::add_gaussian;
    use crate::data::random::stream;

    /// A slope with grain of deviation `sigma`.
    fn grainy(sigma: f32) -> Image {
        let (width, height) = (128, 96);
        let mut image = Image {
            channels: 1,
            height,
            width,
            data: (0..width * height)
                .map(|i| 0.3 + 0.4 * (i % width) as f32 / width as f32)
                .collect(),
        };
        add_gaussian(&mut image, sigma, &mut stream(4, 0, 0));
        image
    }

    /// Mean square of the steps between columns, by where the right one lies in blocks of `side`.
    fn steps(image: &Image, side: usize) -> Vec<f32> {
        let mut sums = vec![0.0; side];
        for row in image.data.chunks(image.width) {
            for x in 1..image.width {
                sums[x % side] += (row[x] - row[x - 1]).powi(2);
            }
        }
        sums
    }

    fn difference(a: &Image, b: &Image) -> f32 {
        let squares = a.data.iter().zip(&b.data).map(|(a, b)| (a - b).powi(2));
        (squares.sum::<f32>() / a.data.len() as f32).sqrt()
    }

    /// The largest of `steps` against the mean of the others.
    fn blockiness(steps: &[f32]) -> f32 {
        let most = steps.iter().copied().fold(0.0, f32::max);
        most * (steps.len() - 1) as f32 / (steps.iter().sum::<f32>() - most)
    }

    #[test]
    fn jpeg_leaves_blocks_of_eight() {
        let before = grainy(0.05);
        assert!(blockiness(&steps(&before, JPEG_BLOCK)) < 1.5);
        for (quality, [least, most]) in [(100, [0.0, 0.01]), (15, [0.02, 0.06])] {
            let mut after = before.clone();
            jpeg(&mut after, quality, &mut stream(5, 0, 0));
            let changed = difference(&before, &after);
            assert!((least..most).contains(&changed), "quality {quality}: {changed}");
            let blocks = blockiness(&steps(&after, JPEG_BLOCK));
            assert!((blocks > 2.0) == (quality == 15), "quality {quality}: {blocks}");
        }
    }

    #[test]
    fn a_transform_takes_grain_below_its_step_and_keeps_what_is_above() {
        let slope = grainy(0.0);
        for (step, [least, most]) in [(0.001, [0.0, 0.001]), (0.1, [0.012, 0.025])] {
            let before = grainy(0.02);
            let mut after = before.clone();
            transform(&mut after, step, &mut stream(5, 0, 0));
            let changed = difference(&before, &after);
            assert!((least..most).contains(&changed), "step {step}: {changed}");
            let left = difference(&after, &slope);
            assert!(
                (left < 0.012) == (step == 0.1),
                "step {step}: {left} of a grain of 0.02"
            );
        }
    }
}

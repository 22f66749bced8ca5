//! A camera's way from light to a picture, after T. Brooks et al., "Unprocessing images for learned raw denoising" (CVPR 2019).

use rand::RngExt;
use rand_pcg::Pcg64;

use super::{codec, normal};
use crate::data::augment::gaussian_blur;
use crate::model::Color;
use crate::pixels::Image;

/// Of the tone curve.
const GAMMA: f32 = 2.2;
/// Light that the tone curve makes mid-grey of.
const MID_LIGHT: f32 = 0.218;
/// Pixels of a camera are softer than those of pictures that were made small.
const MOST_BLUR: f32 = 1.5;
/// Standard deviation in pixels of what a mean over noise is taken over.
const BIAS_BLUR: f32 = 3.0;

/// One camera's settings.
struct Camera {
    /// Standard deviation in pixels of what the lens smears a point over.
    blur: f32,
    /// White balance of red, green and blue.
    gains: [f32; 3],
    /// Above 1, colours are spread away from grey after the white balance.
    saturation: f32,
    /// Variance of the noise on the sensor: the first times the light, plus the second.
    variance: [f32; 2],
    /// Standard deviations in pixels of what its noise reduction smooths brightness and colour with, if it has one.
    smoothing: Option<[f32; 2]>,
    /// Quality of the JPEG, if there is one.
    quality: Option<u8>,
}

impl Camera {
    /// A camera whose noise at mid-grey comes to about `sigma` of full scale in the picture.
    fn draw(sigma: f32, rng: &mut Pcg64) -> Self {
        // d picture / d light at the light of mid-grey.
        let slope = MID_LIGHT.powf(1.0 / GAMMA - 1.0) / GAMMA;
        let shot = rng.random_range(0.5..=0.98);
        let variance = (sigma / slope).powi(2);
        let gains = [rng.random_range(1.3..=2.4), 1.0, rng.random_range(1.3..=2.2)];
        // White balance makes noise stronger, that of photons by the gain and that of the amplifier by its square.
        let mean = |power: i32| gains.iter().map(|gain: &f32| gain.powi(power)).sum::<f32>() / 3.0;
        Self {
            blur: rng.random_range(0.0..=MOST_BLUR),
            gains,
            saturation: rng.random_range(1.0..=1.5),
            variance: [shot * variance / MID_LIGHT / mean(1), (1.0 - shot) * variance / mean(2)],
            smoothing: (rng.random::<f32>() < 0.7).then(|| [rng.random_range(0.3..=1.2), rng.random_range(0.5..=2.5)]),
            quality: (rng.random::<f32>() < 0.8).then(|| rng.random_range(80..=99)),
        }
    }

    /// The mosaic that light on the sensor gives, red at the first pixel of even rows and blue at the second of odd ones.
    fn mosaic(&self, picture: &Image) -> Vec<f32> {
        let mut picture = picture.clone();
        gaussian_blur(&mut picture, self.blur);
        let (width, n) = (picture.width, picture.width * picture.height);
        let planes = [0, 1, 2].map(|channel| picture.plane(channel.min(picture.channels - 1)));
        (0..n)
            .map(|i| {
                let channel = bayer(i % width, i / width);
                let light = [0, 1, 2].map(|c| planes[c][i].clamp(0.0, 1.0).powf(GAMMA));
                let grey = (light[0] + light[1] + light[2]) / 3.0;
                (grey + (light[channel] - grey) / self.saturation).max(0.0) / self.gains[channel]
            })
            .collect()
    }

    fn noise(&self, mosaic: &[f32], rng: &mut Pcg64) -> Vec<f32> {
        let noise = |light: &f32| (self.variance[0] * light + self.variance[1]).sqrt() * normal(rng);
        mosaic.iter().map(noise).collect()
    }

    /// The picture of a mosaic with `noise`, and the one that is to be made of it. That has the mean of such pictures, which the bend
    /// of the tone curve and the cut at black make brighter than without noise, and more so in red and blue: how much, differs from
    /// camera to camera, and to guess it wrong would be a cast.
    fn develop_noisy(&self, mosaic: &[f32], noise: &[f32], width: usize, height: usize) -> (Image, Image) {
        let with = |sign: f32| {
            let noisy: Vec<f32> = mosaic
                .iter()
                .zip(noise)
                .map(|(light, noise)| light + sign * noise)
                .collect();
            self.develop(&noisy, width, height)
        };
        let (noisy, mirrored) = (with(1.0), with(-1.0));
        let mut clean = self.develop(mosaic, width, height);
        let mut brighter = clean.clone();
        for (i, x) in brighter.data.iter_mut().enumerate() {
            *x = 0.5 * (noisy.data[i] + mirrored.data[i]) - *x;
        }
        gaussian_blur(&mut brighter, BIAS_BLUR);
        clean
            .data
            .iter_mut()
            .zip(&brighter.data)
            .for_each(|(x, bias)| *x += bias);
        (noisy, clean)
    }

    /// Demosaicing, white balance, colours, tone curve.
    fn develop(&self, mosaic: &[f32], width: usize, height: usize) -> Image {
        let mut picture = Image::filled(3, height, width, 0.0);
        let n = width * height;
        for y in 0..height {
            for x in 0..width {
                let light: [f32; 3] =
                    std::array::from_fn(|c| self.gains[c] * demosaic(mosaic, [width, height], [x, y], c));
                let grey = (light[0] + light[1] + light[2]) / 3.0;
                for (c, light) in light.into_iter().enumerate() {
                    let light = grey + self.saturation * (light - grey);
                    picture.data[c * n + y * width + x] = light.clamp(0.0, 1.0).powf(1.0 / GAMMA);
                }
            }
        }
        picture
    }
}

/// `clean` as a camera sees it, with noise and without; the noise comes to about `sigma` of full scale at mid-grey. A grey picture
/// becomes the luma of a colour one. The camera is drawn from `settings`, its noise from `rng`.
pub fn expose(clean: &Image, sigma: f32, settings: &mut Pcg64, rng: &mut Pcg64) -> (Image, Image) {
    let camera = Camera::draw(sigma, settings);
    let mosaic = camera.mosaic(clean);
    let noise = camera.noise(&mosaic, rng);
    let (mut noisy, without) = camera.develop_noisy(&mosaic, &noise, clean.width, clean.height);
    if let Some(smoothing) = camera.smoothing {
        smooth_noise(&mut noisy, &without, smoothing);
    }
    if let Some(quality) = camera.quality {
        codec::jpeg(&mut noisy, quality, settings);
    }
    let color = if clean.channels == 1 { Color::Gray } else { Color::Rgb };
    (noisy.to_color(color), without.to_color(color))
}

/// Makes the noise of `noisy` the grain that a camera's noise reduction leaves, coarser in colour than in brightness, and as strong as it was.
fn smooth_noise(noisy: &mut Image, without: &Image, [brightness, color]: [f32; 2]) {
    let n = noisy.width * noisy.height;
    let mut noise = noisy.clone();
    noise
        .data
        .iter_mut()
        .zip(&without.data)
        .for_each(|(x, clean)| *x -= clean);
    let strength = |noise: &Image| noise.data.iter().map(|x| x * x).sum::<f32>().sqrt();
    let before = strength(&noise);
    let mut gray = noise.to_color(Color::Gray);
    for (i, x) in noise.data.iter_mut().enumerate() {
        *x -= gray.data[i % n];
    }
    gaussian_blur(&mut gray, brightness);
    gaussian_blur(&mut noise, color);
    for (i, x) in noise.data.iter_mut().enumerate() {
        *x += gray.data[i % n];
    }
    let scale = before / strength(&noise).max(f32::MIN_POSITIVE);
    for ((x, clean), noise) in noisy.data.iter_mut().zip(&without.data).zip(&noise.data) {
        *x = clean + scale * noise;
    }
}

/// Channel of the filter over a pixel.
fn bayer(x: usize, y: usize) -> usize {
    [[0, 1], [1, 2]][y % 2][x % 2]
}

/// Channel `channel` at a pixel: its own value, else the mean of the neighbours that have it.
fn demosaic(mosaic: &[f32], [width, height]: [usize; 2], [x, y]: [usize; 2], channel: usize) -> f32 {
    if bayer(x, y) == channel {
        return mosaic[y * width + x];
    }
    let (mut sum, mut count) = (0.0, 0.0);
    for row in y.saturating_sub(1)..(y + 2).min(height) {
        for column in x.saturating_sub(1)..(x + 2).min(width) {
            if bayer(column, row) == channel {
                sum += mosaic[row * width + column];
                count += 1.0;
            }
        }
    }
    sum / f32::max(count, 1.0)
}

//! What makes pictures noisy.

use rand::RngExt;
use rand_pcg::Pcg64;

use super::{add_gaussian, camera, codec, normal};
use crate::data::augment::gaussian_blur;
use crate::data::random::stream;
use crate::model::Color;
use crate::pixels::{Image, estimate_noise, noise_of_residual};

/// What makes a training picture noisy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// White and Gaussian, the same everywhere.
    White,
    /// White and Gaussian, its variance growing with the pixel's value: photons and the amplifier (Foi 2008).
    Poisson,
    /// Gaussian, smeared over neighbouring pixels as demosaicing and resizing leave it.
    Correlated,
    /// White noise and an offset for each row (at times each column), as sensors read out by rows have it.
    Row,
    /// White noise, then JPEG.
    Jpeg,
    /// White noise, then what a video codec such as H.264 leaves: a small quantised transform and a deblocking filter.
    H264,
    /// A camera from sensor to picture: photons and read-out noise on a Bayer mosaic, demosaicing, white balance, saturation,
    /// tone curve, JPEG (after Brooks 2019). The clean picture goes through the same camera without noise, and
    /// gets what noise adds to its brightness there. With no noise at all it is left as it is: fine detail, which no lens of these leaves,
    /// is to be kept.
    Camera,
    /// Each patch one of the others but `Camera`.
    Mixed,
}

/// All that can be asked for, as the command line names them.
pub const NAMES: [(&str, Noise); 8] = [
    ("white", Noise::White),
    ("poisson", Noise::Poisson),
    ("correlated", Noise::Correlated),
    ("row", Noise::Row),
    ("jpeg", Noise::Jpeg),
    ("h264", Noise::H264),
    ("camera", Noise::Camera),
    ("mixed", Noise::Mixed),
];

/// A picture with noise, and what is to be made of it.
pub struct Noisy {
    /// With noise; not clipped where the noise is white.
    pub noisy: Image,
    /// Without.
    pub clean: Image,
    /// What an estimate would say of the noisy one: a standard deviation in 0..1 of full scale.
    pub level: f32,
}

impl std::str::FromStr for Noise {
    type Err = crate::Error;

    fn from_str(name: &str) -> crate::Result<Self> {
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, noise)| *noise).ok_or_else(|| {
            let names = NAMES.map(|(name, _)| name).join(", ");
            crate::Error::Invalid(format!("there is no noise `{name}`; choose one of {names}"))
        })
    }
}

impl std::fmt::Display for Noise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, _) = NAMES.iter().find(|(_, noise)| noise == self).expect("all are listed");
        f.write_str(name)
    }
}

impl Noisy {
    /// Both pictures in `color`.
    pub fn to_color(&self, color: Color) -> Self {
        Self {
            noisy: self.noisy.to_color(color),
            clean: self.clean.to_color(color),
            level: self.level,
        }
    }
}

impl Noise {
    /// Whether the picture has gone through a codec, or may have.
    pub fn is_coded(self) -> bool {
        matches!(self, Self::Jpeg | Self::H264 | Self::Camera | Self::Mixed)
    }

    /// Makes `clean` noisy: `sigma` is the noise's standard deviation in 0..1 of full scale at mid-grey, before a codec.
    pub fn apply(self, clean: Image, sigma: f32, rng: &mut Pcg64) -> Noisy {
        let camera = match self {
            // It has nothing to draw.
            Self::White => rng.clone(),
            _ => stream(rng.random(), 0, 0),
        };
        self.of_camera(camera, clean, sigma, rng)
    }

    /// [`Noise::apply`] to the frames of a clip, all of one camera: what is drawn once for a picture is drawn once for the clip.
    pub fn apply_to_clip(self, clean: Vec<Image>, sigma: f32, rng: &mut Pcg64) -> Vec<Noisy> {
        let camera = stream(rng.random(), 0, 0);
        let frame = |clean| self.of_camera(camera.clone(), clean, sigma, rng);
        clean.into_iter().map(frame).collect()
    }

    /// `camera` gives the kind and its settings, `rng` the noise.
    fn of_camera(self, mut camera: Pcg64, clean: Image, sigma: f32, rng: &mut Pcg64) -> Noisy {
        match self {
            Self::Mixed => {
                let kinds = [
                    Self::White,
                    Self::Poisson,
                    Self::Correlated,
                    Self::Row,
                    Self::Jpeg,
                    Self::H264,
                ];
                kinds[camera.random_range(0..kinds.len())].of_camera(camera, clean, sigma, rng)
            }
            Self::White => {
                let mut noisy = clean.clone();
                add_gaussian(&mut noisy, sigma, rng);
                #[rustfmt::skip]
                return Noisy { noisy, clean, level: sigma };
            }
            Self::Poisson | Self::Correlated | Self::Row => {
                let mut noise = Image::filled(clean.channels, clean.height, clean.width, 0.0);
                add_gaussian(&mut noise, sigma, rng);
                match self {
                    Self::Poisson => scale_with_light(&mut noise, &clean, camera.random_range(0.3..=1.0)),
                    Self::Correlated => smear(&mut noise, camera.random_range(0.3..=1.0)),
                    _ => add_rows(
                        &mut noise,
                        sigma * camera.random_range(0.2..=1.0),
                        camera.random::<f32>() < 0.3,
                        rng,
                    ),
                }
                let level = noise_of_residual(&noise);
                noise
                    .data
                    .iter_mut()
                    .zip(&clean.data)
                    .for_each(|(noise, clean)| *noise += clean);
                #[rustfmt::skip]
                return Noisy { noisy: noise, clean, level };
            }
            Self::Jpeg | Self::H264 => {
                let mut noisy = clean.clone();
                add_gaussian(&mut noisy, sigma, rng);
                match self {
                    Self::Jpeg => codec::jpeg(&mut noisy, camera.random_range(30..=95), &mut camera),
                    _ => codec::transform(
                        &mut noisy,
                        2f32.powf(camera.random_range(1.5..=5.0)) / 255.0,
                        &mut camera,
                    ),
                }
                let level = estimate_noise(&noisy);
                Noisy { noisy, clean, level }
            }
            Self::Camera => {
                let (noisy, clean) = if sigma > 0.0 {
                    camera::expose(&clean, sigma, &mut camera, rng)
                } else {
                    (clean.clone(), clean)
                };
                let level = estimate_noise(&noisy);
                Noisy { noisy, clean, level }
            }
        }
    }
}

/// Variance for a share of `shot` in proportion to the light, and the same everywhere for the rest; unchanged at mid-grey.
fn scale_with_light(noise: &mut Image, clean: &Image, shot: f32) {
    for (noise, light) in noise.data.iter_mut().zip(&clean.data) {
        *noise *= (1.0 - shot + shot * light.max(0.0) / 0.5).sqrt();
    }
}

/// Blurs by a Gaussian of `radius` pixels and brings the deviation back to what it was.
fn smear(noise: &mut Image, radius: f32) {
    let power = |noise: &Image| noise.data.iter().map(|v| v * v).sum::<f32>();
    let before = power(noise);
    gaussian_blur(noise, radius);
    let gain = (before / power(noise).max(f32::MIN_POSITIVE)).sqrt();
    noise.data.iter_mut().for_each(|v| *v *= gain);
}

/// Adds one offset of deviation `sigma` to each row, or to each column, the same in all planes.
fn add_rows(noise: &mut Image, sigma: f32, columns: bool, rng: &mut Pcg64) {
    let count = if columns { noise.width } else { noise.height };
    let offsets: Vec<f32> = (0..count).map(|_| sigma * normal(rng)).collect();
    let (width, height) = (noise.width, noise.height);
    for (i, value) in noise.data.iter_mut().enumerate() {
        *value += offsets[if columns { i % width } else { i / width % height }];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::metrics::psnr;

    const SIGMA: f32 = 0.08;

    /// A wide ramp from dark to light.
    fn ramp(channels: usize) -> Image {
        let (width, height) = (256, 128);
        let value = |i: usize| 0.1 + 0.8 * (i % width) as f32 / width as f32;
        let data = (0..channels * width * height).map(value).collect();
        Image {
            channels,
            height,
            width,
            data,
        }
    }

    fn residual(noise: Noise, channels: usize, sigma: f32) -> (Image, f32) {
        let Noisy {
            mut noisy,
            clean,
            level,
        } = noise.apply(ramp(channels), sigma, &mut stream(21, 0, noise as u64));
        noisy.data.iter_mut().zip(&clean.data).for_each(|(a, b)| *a -= b);
        (noisy, level)
    }

    /// Deviation of columns `from..to` of all planes.
    fn deviation(noise: &Image, from: usize, to: usize) -> f32 {
        let values: Vec<f32> = noise
            .data
            .chunks(noise.width)
            .flat_map(|row| &row[from..to])
            .copied()
            .collect();
        (values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32).sqrt()
    }

    /// Correlation of pixels `step` values apart.
    fn correlation(noise: &Image, step: usize) -> f32 {
        let product: f32 = noise.data.iter().zip(&noise.data[step..]).map(|(a, b)| a * b).sum();
        product / noise.data.iter().map(|x| x * x).sum::<f32>()
    }

    #[test]
    fn each_kind_is_as_strong_as_asked_and_its_level_told() {
        for (name, noise) in NAMES {
            let (made, level) = residual(noise, 3, SIGMA);
            let got = deviation(&made, 96, 160);
            let most = if matches!(noise, Noise::Row) { 1.5 } else { 1.25 };
            // Codecs and demosaicing smooth; so do estimates of what is smooth.
            let least = if matches!(noise, Noise::Jpeg | Noise::H264 | Noise::Camera | Noise::Mixed) {
                0.3
            } else {
                0.9
            };
            assert!((least..most).contains(&(got / SIGMA)), "{name}: {got}");
            assert!(level > 0.0 && level < 1.3 * SIGMA, "{name}: a level of {level}");
        }
        assert_eq!(residual(Noise::White, 1, SIGMA).1, SIGMA);
        let told = residual(Noise::Poisson, 1, SIGMA).1;
        assert!((told / SIGMA - 1.0).abs() < 0.1, "{told}");
    }

    #[test]
    fn each_kind_is_what_its_name_says() {
        let (poisson, _) = residual(Noise::Poisson, 1, SIGMA);
        assert!(
            deviation(&poisson, 224, 256) > 1.2 * deviation(&poisson, 0, 32),
            "more of it where there is light"
        );
        let (smeared, _) = residual(Noise::Correlated, 1, SIGMA);
        let (white, _) = residual(Noise::White, 1, SIGMA);
        assert!(correlation(&smeared, 1) > 0.02 && correlation(&white, 1).abs() < 0.02);
        let (rows, _) = residual(Noise::Row, 1, SIGMA);
        let along = [1, 100]
            .map(|step| correlation(&rows, step))
            .into_iter()
            .fold(0.0, f32::max);
        let down = correlation(&rows, 2 * rows.width);
        assert!(along.max(down) > 0.02, "{along} {down}");
        let (camera, _) = residual(Noise::Camera, 3, SIGMA);
        assert!(
            correlation(&camera, 1) > 0.1,
            "demosaicing makes grain: {}",
            correlation(&camera, 1)
        );
        let cast = camera.data.iter().sum::<f32>() / camera.data.len() as f32;
        assert!(cast.abs() < 0.1 * SIGMA, "noise makes no cast: {cast}");
    }

    #[test]
    fn a_clip_is_of_one_camera() {
        for (name, noise) in NAMES {
            let clip = noise.apply_to_clip(vec![ramp(3); 3], SIGMA, &mut stream(9, 0, 0));
            // A camera's clean pictures have the mean of their noise in them.
            let same = |frame: &Noisy| frame.clean == clip[0].clean || psnr(&frame.clean, &clip[0].clean) > 45.0;
            assert!(clip.iter().all(same), "{name}");
            assert_ne!(clip[0].noisy, clip[1].noisy, "{name}");
            let level = |i: usize| clip[i].level;
            assert!(
                (level(0) / level(1) - 1.0).abs() < 0.1,
                "{name}: {} and {}",
                level(0),
                level(1)
            );
        }
    }

    #[test]
    fn without_noise_little_is_changed() {
        for (name, noise) in NAMES {
            let Noisy { noisy, clean, .. } = noise.apply(ramp(3), 0.0, &mut stream(4, 0, 0));
            assert!(psnr(&noisy, &clean) > 32.0, "{name}: {}", psnr(&noisy, &clean));
        }
        // A camera's own picture is near what it saw.
        let clean = Noise::Camera.apply(ramp(1), SIGMA, &mut stream(4, 0, 0)).clean;
        assert!(psnr(&clean, &ramp(1)) > 35.0, "{}", psnr(&clean, &ramp(1)));
    }

    #[test]
    fn names_are_read_and_the_stream_fixes_the_noise() {
        for (name, noise) in NAMES {
            assert_eq!(name.parse::<Noise>().unwrap().to_string(), name);
            let draw = |seed| noise.apply(ramp(1), SIGMA, &mut stream(seed, 0, 0)).noisy;
            assert_eq!(draw(3), draw(3), "{name}");
            assert_ne!(draw(3), draw(4), "{name}");
        }
        assert!("pink".parse::<Noise>().unwrap_err().to_string().contains("`pink`"));
    }
}

//! Denoisers: PSNR and SSIM as the papers count them.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::super::common::{describe, figure};
use super::{Args, Outcome};
use crate::data::layout::{Dataset, Layout, Split};
use crate::data::random::stream;
use crate::data::{noise, pictures};
use crate::exec::Options;
use crate::model::Model;
use crate::pixels::{Image, box_mean};
use crate::score::metrics;
use crate::tasks::Denoiser;

/// Side in pixels of the mean of differences between two clean frames, and from where on it is motion, of full scale.
const MOTION_SIDE: usize = 5;
const MOTION: f32 = 8.0 / 255.0;

/// Noise is added in float and not clipped; the output is clipped to 0..1; nothing is cropped; figures are means over pictures.
pub fn evaluate(args: &Args, model: &Model, options: &Options) -> Result<Outcome> {
    let mut judge = Judge {
        denoiser: Denoiser::new(model, options).with_context(|| args.model.display().to_string())?,
        level: args.noise_level,
        video: args.video,
        before: None,
        sums: Sums::default(),
    };
    judge.video |= judge.denoiser.is_recurrent();
    if let (Some(noisy), Some(clean)) = (&args.noisy, &args.clean) {
        for path in pictures::list(noisy)? {
            let name = path.file_name().expect("a listed file has a name");
            judge.pair(&pictures::read(&path)?, &clean.join(name))?;
        }
    } else {
        let data = Dataset::open(&args.data, Split::Test, args.frames.limits())?;
        judge.video |= data.layout == Layout::Video;
        if data.layout != Layout::Pairs && args.sigma.is_none() {
            bail!(
                "{}: {} is a denoiser; to judge it on clean pictures give --sigma, the noise to add (25 is usual)",
                args.data[0],
                args.model.display()
            );
        }
        for (i, sample) in data.samples.iter().enumerate() {
            let picture = data.read(sample)?;
            if data.layout == Layout::Video && i > 0 && !sample.source.follows(&data.samples[i - 1].source) {
                judge.cut();
            }
            match (&sample.clean, args.sigma) {
                (Some(clean), None) => judge.pair(&picture, clean)?,
                (clean, sigma) => {
                    let picture = clean.as_deref().map_or(Ok(picture), pictures::read)?;
                    let sigma = sigma
                        .with_context(|| format!("{}: it has no clean picture beside it", describe(&sample.source)))?;
                    judge.still(&picture, sigma / 255.0, args.repeat.into(), args.seed, i as u64)?;
                }
            }
        }
    }
    if judge.sums.images == 0 {
        bail!(
            "{}: no pictures found",
            args.data.first().map_or("--noisy", String::as_str)
        );
    }
    Ok(Outcome {
        images: judge.sums.images,
        figures: judge.sums.figures(),
        text: String::new(),
    })
}

/// A denoiser at work, and what it came to.
struct Judge {
    denoiser: Denoiser,
    /// To tell the model; `None` = estimated.
    level: Option<f32>,
    /// Whether pictures are frames of a video, in order.
    video: bool,
    /// The clean picture before.
    before: Option<Image>,
    sums: Sums,
}

impl Judge {
    /// A noisy picture and the file of its clean one.
    fn pair(&mut self, noisy: &Image, clean: &Path) -> Result<()> {
        let picture = pictures::read(clean)?;
        let shape = |i: &Image| (i.channels, i.width, i.height);
        if shape(noisy) != shape(&picture) {
            bail!(
                "{}: its size or colour is not that of the noisy picture",
                clean.display()
            );
        }
        self.begin();
        self.frame(noisy, &picture, true)
    }

    /// A clean picture shown `repeat` times, with white noise of deviation `sigma` of full scale, each time anew; the last half counts.
    fn still(&mut self, clean: &Image, sigma: f32, repeat: u64, seed: u64, number: u64) -> Result<()> {
        if repeat > 1 {
            self.cut();
        } else {
            self.begin();
        }
        for time in 0..repeat {
            let mut noisy = clean.clone();
            noise::add_gaussian(&mut noisy, sigma, &mut stream(seed, time, number));
            self.frame(&noisy, clean, time >= repeat / 2)?;
        }
        Ok(())
    }

    /// What comes next has nothing to do with what was before.
    fn cut(&mut self) {
        self.denoiser.reset();
        self.before = None;
    }

    /// Before a picture that is not a frame of the video so far.
    fn begin(&mut self) {
        if !self.video {
            self.denoiser.reset();
        }
    }

    fn frame(&mut self, noisy: &Image, clean: &Image, counts: bool) -> Result<()> {
        let (mut output, level) = self.denoiser.denoise(noisy, self.level)?;
        output.data.iter_mut().for_each(|x| *x = x.clamp(0.0, 1.0));
        if !counts {
            return Ok(());
        }
        let sums = &mut self.sums;
        sums.psnr += metrics::psnr(&output, clean);
        sums.ssim += metrics::ssim(&output, clean);
        sums.psnr_noisy += metrics::psnr(noisy, clean);
        sums.noise_level += f64::from(level);
        sums.images += 1;
        if self.video {
            let moved = self.before.as_ref().and_then(|before| moving(before, clean));
            let error = moved.map_or(0.0, |moving| metrics::mean_square(&output, clean, &moving));
            if error > 0.0 {
                sums.psnr_moving -= 10.0 * error.log10();
                sums.moving += 1;
            }
            self.before = Some(clean.clone());
        }
        Ok(())
    }
}

/// 1 where a clean frame differs from the one before; `None` where they cannot be compared.
fn moving(before: &Image, now: &Image) -> Option<Image> {
    let shape = |i: &Image| (i.channels, i.width, i.height);
    if shape(before) != shape(now) {
        return None;
    }
    let mut difference = Image::filled(1, now.height, now.width, 0.0);
    for channel in 0..now.channels {
        let planes = now.plane(channel).iter().zip(before.plane(channel));
        for (out, (a, b)) in difference.data.iter_mut().zip(planes) {
            *out += (a - b).abs() / now.channels as f32;
        }
    }
    let mut moving = box_mean(&difference, MOTION_SIDE);
    moving.data.iter_mut().for_each(|x| *x = f32::from(*x > MOTION));
    Some(moving)
}

/// Sums over pictures.
#[derive(Default)]
struct Sums {
    psnr: f64,
    ssim: f64,
    psnr_noisy: f64,
    noise_level: f64,
    images: usize,
    /// Of frames in which something moves.
    psnr_moving: f64,
    moving: usize,
}

impl Sums {
    fn figures(&self) -> Map<String, Value> {
        let mean = |sum: f64, count: usize| figure(Some(sum / count as f64).filter(|x| x.is_finite()));
        let mut figures = Map::new();
        for (name, sum) in [
            ("psnr", self.psnr),
            ("ssim", self.ssim),
            ("psnr_noisy", self.psnr_noisy),
            ("noise_level", self.noise_level),
        ] {
            figures.insert(name.into(), mean(sum, self.images));
        }
        if self.moving > 0 {
            figures.insert("psnr_moving".into(), mean(self.psnr_moving, self.moving));
        }
        figures
    }
}

//! Denoisers: PSNR and SSIM as the papers count them.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::super::common::figure;
use super::{Args, Outcome};
use crate::data::layout::{Dataset, Layout, Source, Split};
use crate::data::random::stream;
use crate::data::{noise, pictures};
use crate::exec::Options;
use crate::model::Model;
use crate::pixels::Image;
use crate::score::metrics;
use crate::tasks::Denoiser;

/// Sums over pictures.
#[derive(Default)]
struct Sums {
    psnr: f64,
    ssim: f64,
    psnr_noisy: f64,
    images: usize,
}

/// Noise is added in float and not clipped; the output is clipped to 0..1; nothing is cropped; figures are means over pictures.
pub fn evaluate(args: &Args, model: &Model, options: &Options) -> Result<Outcome> {
    let mut denoiser = Denoiser::new(model, options).with_context(|| args.model.display().to_string())?;
    let mut sums = Sums::default();
    if let (Some(noisy), Some(clean)) = (&args.noisy, &args.clean) {
        for path in pictures::list(noisy)? {
            let name = path.file_name().expect("a listed file has a name");
            sums.add_pair(&mut denoiser, &pictures::read(&path)?, &clean.join(name))?;
        }
    } else {
        let data = Dataset::open(&args.data, Split::Test, args.frames.limits())?;
        if data.layout != Layout::Pairs && args.sigma.is_none() {
            bail!(
                "{}: {} is a denoiser; to judge it on clean pictures give --sigma, the noise to add (25 is usual)",
                args.data[0],
                args.model.display()
            );
        }
        for (i, sample) in data.samples.iter().enumerate() {
            let picture = data.read(sample)?;
            match (&sample.clean, args.sigma) {
                (Some(clean), None) => sums.add_pair(&mut denoiser, &picture, clean)?,
                (clean, sigma) => {
                    let picture = clean.as_deref().map_or(Ok(picture), pictures::read)?;
                    let sigma = sigma
                        .with_context(|| format!("{}: it has no clean picture beside it", describe(&sample.source)))?;
                    let mut noisy = picture.clone();
                    noise::add_gaussian(&mut noisy, sigma / 255.0, &mut stream(args.seed, 0, i as u64));
                    sums.add(&mut denoiser, &noisy, &picture, Some(sigma))?;
                }
            }
        }
    }
    if sums.images == 0 {
        bail!(
            "{}: no pictures found",
            args.data.first().map_or("--noisy", String::as_str)
        );
    }
    let mean = |sum: f64| figure(Some(sum / sums.images as f64).filter(|x| x.is_finite()));
    let figures: Map<String, Value> = [
        ("psnr".to_owned(), mean(sums.psnr)),
        ("ssim".to_owned(), mean(sums.ssim)),
        ("psnr_noisy".to_owned(), mean(sums.psnr_noisy)),
    ]
    .into_iter()
    .collect();
    Ok(Outcome {
        figures,
        images: sums.images,
        text: String::new(),
    })
}

fn describe(source: &Source) -> String {
    match source {
        Source::Picture(path) => path.display().to_string(),
        Source::Frame { video, index } => format!("{video}: frame {index}"),
    }
}

impl Sums {
    fn add_pair(&mut self, denoiser: &mut Denoiser, noisy: &Image, clean_path: &Path) -> Result<()> {
        let clean = pictures::read(clean_path)?;
        let shape = |i: &Image| (i.channels, i.width, i.height);
        if shape(noisy) != shape(&clean) {
            bail!(
                "{}: its size or colour is not that of the noisy picture",
                clean_path.display()
            );
        }
        // The level of real noise is not known: the model's user estimates it, and so does this.
        self.add(denoiser, noisy, &clean, None)
    }

    fn add(&mut self, denoiser: &mut Denoiser, noisy: &Image, clean: &Image, sigma: Option<f32>) -> Result<()> {
        let (mut output, _) = denoiser.denoise(noisy, sigma)?;
        output.data.iter_mut().for_each(|x| *x = x.clamp(0.0, 1.0));
        self.psnr += metrics::psnr(&output, clean);
        self.ssim += metrics::ssim(&output, clean);
        self.psnr_noisy += metrics::psnr(noisy, clean);
        self.images += 1;
        Ok(())
    }
}

//! Training of denoisers: clean pictures with made noise, or pairs of a noisy and a clean picture.

use std::sync::atomic::AtomicBool;

use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_pcg::Pcg64;
use rayon::prelude::*;
use serde_json::json;

use super::arrays::{first_output, infer, stack, to_images};
use super::card::purpose;
use super::common::{Common, Defaults, Product};
use super::feed::Batch;
use super::losses::PictureLoss;
use super::packed::{self, Packed};
use super::run::{Metrics, Objective, Outcome, run};
use super::samples::{Sets, at_least, draw};
use crate::data::layout::{Dataset, Layout};
use crate::data::random::stream;
use crate::data::{augment, noise, pictures};
use crate::exec::candle::Network;
use crate::exec::{BF16_LOSS, Session};
use crate::graph::Array;
use crate::model::{ExtraInput, InputSpec, Model, Task};
use crate::pixels::{Image, estimate_noise};
use crate::score::metrics;
use crate::{Error, Result};

/// Largest side of a validation picture's middle part.
const VAL_SIDE: usize = 256;
/// Most pictures of a validation.
const VAL_PICTURES: usize = 12;
/// Noise of the validation where training draws it at random, 0..255.
const VAL_SIGMA: f32 = 25.0;

/// Pictures that show what bf16 loses: few, because a CPU without AMX takes a second for each.
const BF16_PICTURES: usize = 4;

/// Options of this task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// One noise level to train for, 0..255.
    pub sigma: Option<f32>,
    /// Else levels are drawn uniformly from 0 to this.
    pub sigma_max: f32,
    /// Side of the square patches in pixels.
    pub patch: usize,
    /// Compared with the clean patch.
    pub loss: PictureLoss,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sigma: None,
            sigma_max: 55.0,
            patch: 64,
            loss: PictureLoss::L1,
        }
    }
}

/// A clean picture and, in pairs, the noisy one and its noise level in 0..1.
struct Scene {
    clean: Packed,
    noisy: Option<(Packed, f32)>,
}

/// Trains a denoiser.
pub fn train(common: &Common, options: &Options, stop: &AtomicBool) -> Result<Product> {
    let (train, apart) = common.sources.open(|_| Ok(true))?;
    at_least(1, &train, &common.sources.train, "pictures")?;
    let sets = Sets::new(train, apart, 0.05, common.seed);
    let data = sets.card()?;
    let mut scenes = load(&sets.train, options.patch)?;
    let mut held_out = load(&sets.val, options.patch)?;
    let clean: Vec<Packed> = scenes.iter().map(|s| s.clean.clone()).collect();
    let color = common.net.color.unwrap_or(packed::color_of(&clean));
    drop(clean);
    for scene in scenes.iter_mut().chain(&mut held_out) {
        scene.recolor(color);
    }
    let net = common.build(Task::Denoise, color, 0)?;
    if !options.patch.is_multiple_of(net.input.multiple_of) || options.patch == 0 {
        let multiple = net.input.multiple_of;
        return Err(Error::Invalid(format!(
            "--patch {} must be a multiple of {multiple} for this network",
            options.patch
        )));
    }
    let defaults = Defaults {
        batch: 32,
        learning_rate: if common.arch(Task::Denoise) == "dncnn" {
            1e-3
        } else {
            2e-3
        },
        weight_decay: 0.0,
    };
    let extra = json!({
        "sigma": options.sigma, "sigma-max": options.sigma_max, "patch": options.patch, "loss": options.loss.name(),
    });
    let settings = common.settings(Task::Denoise, defaults, &data, extra)?;
    let objective = Denoising {
        options: *options,
        scenes,
        held_out,
        input: net.input.clone(),
        batch: settings.batch,
        seed: common.seed,
        device: common.device.clone(),
    };
    match run(&objective, &net, &settings, stop)? {
        Outcome::Interrupted { step, total } => Ok(Product::Interrupted { step, total }),
        Outcome::Finished(trained) => {
            let mut model = common.model(Task::Denoise, &net, net.input.clone(), Vec::new(), *trained, &data);
            let loss = objective.bf16_loss(&model)?;
            model.training.metrics.insert(BF16_LOSS.into(), loss);
            Ok(Product::Model(Box::new(model)))
        }
    }
}

/// PSNR of an output, cut to 0..1.
fn psnr_cut(mut output: Image, clean: &Image) -> f64 {
    output.data.iter_mut().for_each(|x| *x = x.clamp(0.0, 1.0));
    metrics::psnr(&output, clean)
}

/// All pictures of a data set, enlarged where they are smaller than a patch.
fn load(data: &Dataset, patch: usize) -> Result<Vec<Scene>> {
    let enlarge = |image: Image| {
        let (width, height) = (image.width.max(patch), image.height.max(patch));
        if (width, height) == (image.width, image.height) {
            image
        } else {
            image.resize(width, height)
        }
    };
    if data.layout != Layout::Pairs {
        let clean = packed::load(data, &data.samples, enlarge)?;
        return Ok(clean.into_iter().map(|clean| Scene { clean, noisy: None }).collect());
    }
    let pair = |sample: &crate::data::layout::Sample| {
        let noisy = data.read(sample)?;
        let path = sample.clean.as_ref();
        let path =
            path.ok_or_else(|| Error::Invalid(format!("{:?}: it has no clean picture beside it", sample.source)))?;
        let clean = pictures::read(path)?;
        if (noisy.width, noisy.height) != (clean.width, clean.height) {
            let reason = format!(
                "{}x{} pixels, but the noisy picture has {}x{}",
                clean.width, clean.height, noisy.width, noisy.height
            );
            return Err(Error::data(path, reason));
        }
        // The live elements estimate on the whole frame, too.
        let level = estimate_noise(&noisy);
        Ok(Scene {
            clean: Packed::new(&enlarge(clean)),
            noisy: Some((Packed::new(&enlarge(noisy)), level)),
        })
    };
    data.samples.par_iter().map(pair).collect()
}

impl Scene {
    fn recolor(&mut self, color: crate::model::Color) {
        packed::to_color(std::slice::from_mut(&mut self.clean), color);
        if let Some((noisy, _)) = &mut self.noisy {
            packed::to_color(std::slice::from_mut(noisy), color);
        }
    }

    /// The same part of the noisy and the clean picture, and the noise level; noise is made where there is no noisy picture.
    fn part(&self, at: [usize; 2], size: [usize; 2], sigma: f32, rng: &mut Pcg64) -> (Image, Image, f32) {
        let clean = self.clean.crop(at, size);
        match &self.noisy {
            Some((noisy, level)) => (noisy.crop(at, size), clean, *level),
            None => {
                let mut noisy = clean.clone();
                noise::add_gaussian(&mut noisy, sigma / 255.0, rng);
                (noisy, clean, sigma / 255.0)
            }
        }
    }
}

/// Noisy patches and their clean ones.
struct Denoising {
    options: Options,
    scenes: Vec<Scene>,
    held_out: Vec<Scene>,
    input: InputSpec,
    batch: usize,
    seed: u64,
    device: Device,
}

impl Denoising {
    fn patch(&self, scene: &Scene, rng: &mut Pcg64) -> (Image, Image, f32) {
        let side = self.options.patch;
        let [width, height] = scene.clean.size();
        let at = [rng.random_range(0..=width - side), rng.random_range(0..=height - side)];
        let (turns, flip) = (rng.random_range(0..4u8), rng.random::<bool>());
        let sigma = self
            .options
            .sigma
            .unwrap_or_else(|| rng.random::<f32>() * self.options.sigma_max);
        let (noisy, clean, level) = scene.part(at, [side, side], sigma, rng);
        (
            augment::turn(&noisy, turns, flip),
            augment::turn(&clean, turns, flip),
            level,
        )
    }

    /// Middle parts of pictures held out, with noise: a noisy one, the clean one, and the noise level.
    fn validation_parts(&self) -> impl Iterator<Item = (Image, Image, f32)> {
        // One picture has nothing held out beside it, and is better than none.
        let scenes = if self.held_out.is_empty() {
            &self.scenes
        } else {
            &self.held_out
        };
        let sigma = self.options.sigma.unwrap_or(VAL_SIGMA.min(self.options.sigma_max));
        scenes.iter().take(VAL_PICTURES).enumerate().map(move |(i, scene)| {
            let mut rng = stream(purpose::seed(self.seed, purpose::VALIDATE), 0, i as u64);
            let multiple = self.input.multiple_of;
            let size = scene
                .clean
                .size()
                .map(|side| side.min(VAL_SIDE.max(multiple)) / multiple * multiple);
            let at = [0, 1].map(|axis| (scene.clean.size()[axis] - size[axis]) / 2);
            scene.part(at, size, sigma, &mut rng)
        })
    }

    /// What the model loses in bf16, in dB, on some pictures held out.
    fn bf16_loss(&self, model: &Model) -> Result<f64> {
        let mut sessions = [Session::in_f32(model)?, Session::in_bf16(model)?];
        let (mut psnr, mut count) = ([0.0; 2], 0.0);
        for (noisy, clean, level) in self.validation_parts().take(BF16_PICTURES) {
            let inputs = self.inputs(&[noisy], &[level]);
            for (session, psnr) in sessions.iter_mut().zip(&mut psnr) {
                let Array { data, .. } = session.run(&inputs)?.swap_remove(0);
                *psnr += psnr_cut(Image { data, ..clean }, &clean);
            }
            count += 1.0;
        }
        Ok((psnr[0] - psnr[1]) / count)
    }

    /// The network's inputs: the pictures and a plane for each extra input.
    fn inputs(&self, noisy: &[Image], levels: &[f32]) -> Vec<Array> {
        let (height, width) = (noisy[0].height, noisy[0].width);
        let mut inputs = vec![stack(noisy)];
        for extra in &self.input.extra {
            let ExtraInput::NoiseLevel { divide } = extra;
            let (height, width) = (height / divide, width / divide);
            let data = levels
                .iter()
                .flat_map(|&level| std::iter::repeat_n(level, height * width))
                .collect();
            inputs.push(Array {
                shape: vec![levels.len(), 1, height, width],
                data,
            });
        }
        inputs
    }
}

impl Objective for Denoising {
    /// Patches that cover the pictures once.
    fn epoch_items(&self) -> u64 {
        let pixels: usize = self
            .scenes
            .iter()
            .map(|s| s.clean.size().iter().product::<usize>())
            .sum();
        pixels.div_ceil(self.options.patch.pow(2)) as u64
    }

    fn batch(&self, step: u64) -> Result<Batch> {
        let patches = draw(self.seed, step, self.batch, self.scenes.len(), |index, rng| {
            self.patch(&self.scenes[index], rng)
        });
        let levels: Vec<f32> = patches.iter().map(|(.., level)| *level).collect();
        let (noisy, clean): (Vec<_>, Vec<_>) = patches.into_iter().map(|(noisy, clean, _)| (noisy, clean)).unzip();
        let mut batch = self.inputs(&noisy, &levels);
        batch.push(stack(&clean));
        Ok(batch)
    }

    fn loss(&self, network: &Network, batch: &[Tensor]) -> Result<Tensor> {
        let (clean, inputs) = batch.split_last().expect("a batch ends with the clean patches");
        self.options.loss.compute(&first_output(network, inputs, true)?, clean)
    }

    fn validate(&self, network: &Network) -> Result<Metrics> {
        let (mut psnr, mut before, mut count) = (0.0, 0.0, 0.0);
        for (noisy, clean, level) in self.validation_parts() {
            before += metrics::psnr(&noisy, &clean);
            let output = infer(network, &self.inputs(&[noisy], &[level]), &self.device)?;
            psnr += psnr_cut(to_images(&output)?.swap_remove(0), &clean);
            count += 1.0;
        }
        Ok(vec![("val_psnr", psnr / count), ("val_psnr_noisy", before / count)])
    }
}

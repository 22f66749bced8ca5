//! Learning with clean pictures at hand.

use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_pcg::Pcg64;

use super::scenes::Scene;
use super::teacher::Teacher;
use super::{Options, draw_gray, inputs, misjudged, psnr_cut, split_chroma, validation_sigma};
use crate::Result;
use crate::data::augment;
use crate::data::noise::Noisy;
use crate::data::random::stream;
use crate::exec::Session;
use crate::exec::candle::Network;
use crate::graph::Array;
use crate::model::{Color, InputSpec, Model};
use crate::pixels::{Image, Yuv420, noise_of_residual};
use crate::score::metrics;
use crate::train::arrays::infer_all;
use crate::train::card::purpose;
use crate::train::feed::Batch;
use crate::train::run::{Metrics, Objective};
use crate::train::samples::draw;

/// Largest side of a validation picture's middle part.
const VAL_SIDE: usize = 256;
/// Most pictures of a validation.
const VAL_PICTURES: usize = 12;
/// Weight of chroma's loss against luma's: it has half as many values.
const CHROMA_WEIGHT: f64 = 0.5;
/// Pictures that show what bf16 loses: few, because a CPU without AMX takes a second for each.
const BF16_PICTURES: usize = 4;

/// Noisy patches and their clean ones.
pub(super) struct Clean {
    pub(super) options: Options,
    pub(super) teacher: Option<Teacher>,
    pub(super) scenes: Vec<Scene>,
    pub(super) held_out: Vec<Scene>,
    pub(super) input: InputSpec,
    pub(super) batch: usize,
    pub(super) seed: u64,
    pub(super) device: Device,
}

impl Clean {
    fn patch(&self, scene: &Scene, rng: &mut Pcg64) -> Noisy {
        let side = self.options.patch;
        let [width, height] = scene.clean.size();
        let at = [rng.random_range(0..=width - side), rng.random_range(0..=height - side)];
        let (turns, flip) = (rng.random_range(0..4u8), rng.random::<bool>());
        let sigma = self
            .options
            .sigma
            .unwrap_or_else(|| rng.random::<f32>() * self.options.sigma_max);
        let gray = draw_gray(self.input.color, rng);
        let part = self.part(scene, at, [side, side], sigma, gray, rng);
        Noisy {
            noisy: augment::turn(&part.noisy, turns, flip),
            clean: augment::turn(&part.clean, turns, flip),
            level: misjudged(part.level, rng),
        }
    }

    /// A part of a scene, and the noise level that an estimate would find in what the network calls the picture.
    fn part(&self, scene: &Scene, at: [usize; 2], size: [usize; 2], sigma: f32, gray: bool, rng: &mut Pcg64) -> Noisy {
        let mut part = scene.part(at, size, self.options.noise, sigma, gray, rng);
        if self.input.takes_chroma() {
            let mut noise = part.noisy.clone();
            noise
                .data
                .iter_mut()
                .zip(&part.clean.data)
                .for_each(|(x, clean)| *x -= clean);
            let [all, luma] = [
                noise_of_residual(&noise),
                noise_of_residual(&noise.to_color(Color::Gray)),
            ];
            part.level *= luma / all.max(f32::MIN_POSITIVE);
        }
        part
    }

    /// PSNR of the network's picture against the clean one, cut to 0..1; that of luma and chroma is compared as such.
    fn psnr(&self, outputs: Vec<Array>, clean: &Image) -> f64 {
        let picture = |array: Array| Image {
            channels: array.shape[1],
            height: array.shape[2],
            width: array.shape[3],
            data: array.data,
        };
        let mut outputs = outputs.into_iter().map(picture);
        let first = outputs.next().expect("a network has an output");
        match outputs.next() {
            None => psnr_cut(first, clean),
            Some(chroma) => psnr_cut(Yuv420 { luma: first, chroma }.to_rgb(), &Yuv420::of(clean).to_rgb()),
        }
    }

    /// Middle parts of pictures held out, with noise: a noisy one, the clean one, and the noise level.
    fn validation_parts(&self) -> impl Iterator<Item = Noisy> {
        // One picture has nothing held out beside it, and is better than none.
        let scenes = if self.held_out.is_empty() {
            &self.scenes
        } else {
            &self.held_out
        };
        let sigma = validation_sigma(&self.options);
        scenes.iter().take(VAL_PICTURES).enumerate().map(move |(i, scene)| {
            let mut rng = stream(purpose::seed(self.seed, purpose::VALIDATE), 0, i as u64);
            let multiple = self.input.multiple_of;
            let size = scene
                .clean
                .size()
                .map(|side| side.min(VAL_SIDE.max(multiple)) / multiple * multiple);
            let at = [0, 1].map(|axis| (scene.clean.size()[axis] - size[axis]) / 2);
            self.part(scene, at, size, sigma, false, &mut rng)
        })
    }

    /// What the model loses in bf16, in dB, on some pictures held out.
    pub(super) fn bf16_loss(&self, model: &Model) -> Result<f64> {
        let mut sessions = [Session::in_f32(model)?, Session::in_bf16(model)?];
        let (mut psnr, mut count) = ([0.0; 2], 0.0);
        for Noisy { noisy, clean, level } in self.validation_parts().take(BF16_PICTURES) {
            let inputs = inputs(&self.input, std::slice::from_ref(&noisy), &[level]);
            for (session, psnr) in sessions.iter_mut().zip(&mut psnr) {
                *psnr += self.psnr(session.run(&inputs)?, &clean);
            }
            count += 1.0;
        }
        Ok((psnr[0] - psnr[1]) / count)
    }
}

impl Objective for Clean {
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
        let levels: Vec<f32> = patches.iter().map(|patch| patch.level).collect();
        let (noisy, clean): (Vec<_>, Vec<_>) = patches.into_iter().map(|patch| (patch.noisy, patch.clean)).unzip();
        let mut batch = inputs(&self.input, &noisy, &levels);
        let mut targets = split_chroma(&self.input, &clean);
        if let Some(teacher) = &self.teacher {
            for (target, taught) in targets.iter_mut().zip(teacher.denoise(&noisy, &levels)?) {
                let values = target.data.iter_mut().zip(taught.data);
                values.for_each(|(x, taught)| *x = 0.5 * (*x + taught));
            }
        }
        batch.append(&mut targets);
        Ok(batch)
    }

    fn loss(&self, network: &Network, batch: &[Tensor]) -> Result<Tensor> {
        let (inputs, targets) = batch.split_at(1 + self.input.extra.len());
        let outputs = network.forward(inputs, true)?;
        let mut loss = self.options.loss.compute(&outputs[0], &targets[0])?;
        for (output, target) in outputs.iter().zip(targets).skip(1) {
            loss = (loss + (self.options.loss.compute(output, target)? * CHROMA_WEIGHT)?)?;
        }
        Ok(loss)
    }

    fn validate(&self, network: &Network) -> Result<Metrics> {
        let (mut psnr, mut before, mut count) = (0.0, 0.0, 0.0);
        for Noisy { noisy, clean, level } in self.validation_parts() {
            before += metrics::psnr(&noisy, &clean);
            let outputs = infer_all(
                network,
                &inputs(&self.input, std::slice::from_ref(&noisy), &[level]),
                &self.device,
            )?;
            psnr += self.psnr(outputs, &clean);
            count += 1.0;
        }
        Ok(vec![("val_psnr", psnr / count), ("val_psnr_noisy", before / count)])
    }
}

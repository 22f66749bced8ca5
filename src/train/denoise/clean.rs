//! Learning with clean pictures at hand.

use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_pcg::Pcg64;

use super::scenes::Scene;
use super::teacher::Teacher;
use super::{Options, inputs, misjudged, psnr_cut};
use crate::Result;
use crate::data::augment;
use crate::data::noise::Noisy;
use crate::data::random::stream;
use crate::exec::Session;
use crate::exec::candle::Network;
use crate::graph::Array;
use crate::model::{InputSpec, Model};
use crate::pixels::Image;
use crate::score::metrics;
use crate::train::arrays::{first_output, infer, stack, to_images};
use crate::train::card::purpose;
use crate::train::feed::Batch;
use crate::train::run::{Metrics, Objective};
use crate::train::samples::draw;

/// Largest side of a validation picture's middle part.
const VAL_SIDE: usize = 256;
/// Most pictures of a validation.
const VAL_PICTURES: usize = 12;
/// Noise of the validation where training draws it at random, 0..255.
const VAL_SIGMA: f32 = 25.0;
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
        let part = scene.part(at, [side, side], self.options.noise, sigma, rng);
        Noisy {
            noisy: augment::turn(&part.noisy, turns, flip),
            clean: augment::turn(&part.clean, turns, flip),
            level: misjudged(part.level, rng),
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
        let sigma = self.options.sigma.unwrap_or(VAL_SIGMA.min(self.options.sigma_max));
        scenes.iter().take(VAL_PICTURES).enumerate().map(move |(i, scene)| {
            let mut rng = stream(purpose::seed(self.seed, purpose::VALIDATE), 0, i as u64);
            let multiple = self.input.multiple_of;
            let size = scene
                .clean
                .size()
                .map(|side| side.min(VAL_SIDE.max(multiple)) / multiple * multiple);
            let at = [0, 1].map(|axis| (scene.clean.size()[axis] - size[axis]) / 2);
            scene.part(at, size, self.options.noise, sigma, &mut rng)
        })
    }

    /// What the model loses in bf16, in dB, on some pictures held out.
    pub(super) fn bf16_loss(&self, model: &Model) -> Result<f64> {
        let mut sessions = [Session::in_f32(model)?, Session::in_bf16(model)?];
        let (mut psnr, mut count) = ([0.0; 2], 0.0);
        for Noisy { noisy, clean, level } in self.validation_parts().take(BF16_PICTURES) {
            let inputs = inputs(&self.input, &[noisy], &[level]);
            for (session, psnr) in sessions.iter_mut().zip(&mut psnr) {
                let Array { data, .. } = session.run(&inputs)?.swap_remove(0);
                *psnr += psnr_cut(Image { data, ..clean }, &clean);
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
        let mut target = stack(&clean);
        if let Some(teacher) = &self.teacher {
            let taught = teacher.denoise(&noisy, &levels)?;
            target
                .data
                .iter_mut()
                .zip(taught.data)
                .for_each(|(x, taught)| *x = 0.5 * (*x + taught));
        }
        batch.push(target);
        Ok(batch)
    }

    fn loss(&self, network: &Network, batch: &[Tensor]) -> Result<Tensor> {
        let (clean, inputs) = batch.split_last().expect("a batch ends with the clean patches");
        self.options.loss.compute(&first_output(network, inputs, true)?, clean)
    }

    fn validate(&self, network: &Network) -> Result<Metrics> {
        let (mut psnr, mut before, mut count) = (0.0, 0.0, 0.0);
        for Noisy { noisy, clean, level } in self.validation_parts() {
            before += metrics::psnr(&noisy, &clean);
            let output = infer(network, &inputs(&self.input, &[noisy], &[level]), &self.device)?;
            psnr += psnr_cut(to_images(&output)?.swap_remove(0), &clean);
            count += 1.0;
        }
        Ok(vec![("val_psnr", psnr / count), ("val_psnr_noisy", before / count)])
    }
}

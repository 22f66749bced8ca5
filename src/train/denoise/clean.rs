//! Learning with clean pictures at hand.

use candle_core::Tensor;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::scenes::{Material, Scene};
use super::teacher::Teacher;
use super::{Denoising, draw_gray, inputs, lost_in_bf16, misjudged, psnr_cut, split_chroma, validation_sigma};
use crate::Result;
use crate::data::augment;
use crate::data::noise::Noisy;
use crate::data::random::stream;
use crate::exec::candle::Network;
use crate::graph::Array;
use crate::model::{Color, Model};
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
/// Pictures that show what bf16 loses.
const BF16_PICTURES: usize = 4;

/// Noisy patches and their clean ones.
pub(super) struct Clean {
    pub(super) material: Material,
    pub(super) teacher: Option<Teacher>,
}

impl Clean {
    fn patch(&self, scene: &Scene, rng: &mut Pcg64) -> Noisy {
        let side = self.material.options.patch;
        let [width, height] = scene.clean.size();
        let at = [rng.random_range(0..=width - side), rng.random_range(0..=height - side)];
        let (turns, flip) = (rng.random_range(0..4u8), rng.random::<bool>());
        let sigma = self.material.draw_sigma(rng);
        let gray = draw_gray(self.material.input.color, rng);
        let part = self.part(scene, at, [side, side], sigma, gray, rng);
        Noisy {
            noisy: augment::turn(&part.noisy, turns, flip),
            clean: augment::turn(&part.clean, turns, flip),
            level: misjudged(part.level, self.material.options.noise, rng),
        }
    }

    /// A part of a scene, and the noise level that an estimate would find in what the network calls the picture.
    fn part(&self, scene: &Scene, at: [usize; 2], size: [usize; 2], sigma: f32, gray: bool, rng: &mut Pcg64) -> Noisy {
        let mut part = scene.part(at, size, self.material.options.noise, sigma, gray, rng);
        if self.material.input.takes_chroma() {
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
        let sigma = validation_sigma(&self.material.options);
        let scenes = self.material.judged().iter();
        scenes.take(VAL_PICTURES).enumerate().map(move |(i, scene)| {
            let mut rng = stream(purpose::seed(self.material.seed, purpose::VALIDATE), 0, i as u64);
            let multiple = self.material.input.multiple_of;
            let size = scene
                .clean
                .size()
                .map(|side| side.min(VAL_SIDE.max(multiple)) / multiple * multiple);
            let at = [0, 1].map(|axis| (scene.clean.size()[axis] - size[axis]) / 2);
            self.part(scene, at, size, sigma, false, &mut rng)
        })
    }
}

impl Denoising for Clean {
    fn bf16_loss(&self, model: &Model) -> Result<f64> {
        lost_in_bf16(model, self.validation_parts().take(BF16_PICTURES), |session, part| {
            let inputs = inputs(&self.material.input, std::slice::from_ref(&part.noisy), &[part.level]);
            Ok(self.psnr(session.run(&inputs)?, &part.clean))
        })
    }
}

impl Objective for Clean {
    fn epoch_items(&self) -> u64 {
        self.material.epoch_items()
    }

    fn batch(&self, step: u64) -> Result<Batch> {
        let patches = draw(
            self.material.seed,
            step,
            self.material.batch,
            self.material.scenes.len(),
            |index, rng| self.patch(&self.material.scenes[index], rng),
        );
        let levels: Vec<f32> = patches.iter().map(|patch| patch.level).collect();
        let (noisy, clean): (Vec<_>, Vec<_>) = patches.into_iter().map(|patch| (patch.noisy, patch.clean)).unzip();
        let mut batch = inputs(&self.material.input, &noisy, &levels);
        let mut targets = split_chroma(&self.material.input, &clean);
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
        let (inputs, targets) = batch.split_at(1 + self.material.input.extra.len());
        let outputs = network.forward(inputs, true)?;
        let mut loss = self.material.options.loss.compute(&outputs[0], &targets[0])?;
        for (output, target) in outputs.iter().zip(targets).skip(1) {
            loss = (loss + (self.material.options.loss.compute(output, target)? * CHROMA_WEIGHT)?)?;
        }
        Ok(loss)
    }

    fn validate(&self, network: &Network) -> Result<Metrics> {
        let (mut psnr, mut before, mut count) = (0.0, 0.0, 0.0);
        for Noisy { noisy, clean, level } in self.validation_parts() {
            before += metrics::psnr(&noisy, &clean);
            let outputs = infer_all(
                network,
                &inputs(&self.material.input, std::slice::from_ref(&noisy), &[level]),
                &self.material.device,
            )?;
            psnr += self.psnr(outputs, &clean);
            count += 1.0;
        }
        Ok(vec![("val_psnr", psnr / count), ("val_psnr_noisy", before / count)])
    }
}

//! Learning with clean pictures at hand.

use candle_core::Tensor;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::scenes::{Material, Scene};
use super::teacher::Teacher;
use super::{
    Denoising, draw_gray, inputs, loss_of, lost_in_bf16, misjudged, psnr_of, seen_share, split_chroma, validation_sigma,
};
use crate::Result;
use crate::data::augment;
use crate::data::noise::Noisy;
use crate::data::random::stream;
use crate::exec::candle::Network;
use crate::model::Model;
use crate::score::metrics;
use crate::train::arrays::infer_all;
use crate::train::card::purpose;
use crate::train::feed::Batch;
use crate::train::run::{Objective, Validation};
use crate::train::samples::draw;

/// Largest side of a validation picture's middle part.
const VAL_SIDE: usize = 256;
/// Most pictures of a validation.
const VAL_PICTURES: usize = 12;
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
        part.level *= seen_share(&self.material.input, &part);
        part
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
            Ok(psnr_of(&self.material.input, &session.run(&inputs)?, &part.clean))
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
        loss_of(self.material.options.loss, &outputs, targets)
    }

    fn validate(&self, network: &Network) -> Result<Validation> {
        let (mut psnr, mut before, mut count) = (0.0, 0.0, 0.0);
        for Noisy { noisy, clean, level } in self.validation_parts() {
            before += metrics::psnr(&noisy, &clean);
            let outputs = infer_all(
                network,
                &inputs(&self.material.input, std::slice::from_ref(&noisy), &[level]),
                &self.material.device,
            )?;
            psnr += psnr_of(&self.material.input, &outputs, &clean);
            count += 1.0;
        }
        Ok(vec![("val_psnr", psnr / count), ("val_psnr_noisy", before / count)].into())
    }
}

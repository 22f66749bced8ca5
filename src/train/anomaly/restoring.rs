//! Training of a network that restores what is normal, whole pictures at the network's size.

use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_pcg::Pcg64;

use super::Judgement;
use super::defects::Defects;
use crate::data::augment::{self, CameraSettings};
use crate::data::defects::{self, Defective};
use crate::data::random::stream;
use crate::exec::candle::Network;
use crate::model::{InputSpec, Scoring};
use crate::pixels::Image;
use crate::train::arrays::stack;
use crate::train::card::purpose;
use crate::train::feed::Batch;
use crate::train::losses::{PictureLoss, focal};
use crate::train::packed::Packed;
use crate::train::run::{Objective, Validation};
use crate::train::samples::draw;
use crate::{Error, Result};

/// Pictures with made defects, to be restored.
pub struct Restoring {
    pub loss: PictureLoss,
    pub scoring: Scoring,
    /// Whether parts may lie mirrored.
    pub flip: bool,
    /// Largest turn either way that parts may lie in, in degrees.
    pub rotate: f32,
    /// Whether the pictures get defects; else the network sees them as they are.
    pub synthesize: bool,
    /// Whether the network's first output marks the defects, and its second is the restored picture.
    pub marks: bool,
    /// Real defects, if there are any, for networks that mark them.
    pub defects: Defects,
    /// What the network takes; where it takes pieces of larger pictures, random ones are learned from.
    pub input: InputSpec,
    pub pictures: Vec<Packed>,
    pub held_out: Vec<Packed>,
    pub batch: usize,
    pub seed: u64,
    pub device: Device,
}

impl Restoring {
    /// A picture, or a random piece of it.
    fn picture(&self, picture: &Packed, rng: &mut Pcg64) -> Image {
        match self.input.tile() {
            Some(size) => picture.random_crop(size, rng),
            None => picture.image(),
        }
    }

    /// One training item: what the network sees, the good picture, and where they differ.
    fn item(&self, index: usize, rng: &mut Pcg64) -> (Image, Image, Image) {
        let settings = CameraSettings {
            shift: 0.02,
            scale: 0.02,
            exposure: 0.1,
            noise: 0.01,
            blur: 0.0,
            flip: self.flip,
            rotate: self.rotate,
        };
        let target = augment::camera(&self.picture(&self.pictures[index], rng), &settings, rng);
        let made = if let Some(real) = self.defects.draw(rng) {
            real.transplanted(&target, rng)
        } else if self.synthesize {
            let other = self.picture(&self.pictures[rng.random_range(0..self.pictures.len())], rng);
            defects::synthesize(&target, &other, rng)
        } else {
            let mask = Image::filled(1, target.height, target.width, 0.0);
            Defective {
                image: target.clone(),
                mask,
            }
        };
        (made.image, target, made.mask)
    }
}

impl Objective for Restoring {
    fn epoch_items(&self) -> u64 {
        self.pictures.len() as u64
    }

    fn batch(&self, step: u64) -> Result<Batch> {
        let items = draw(self.seed, step, self.batch, self.pictures.len(), |index, rng| {
            self.item(index, rng)
        });
        let (mut seen, mut targets, mut masks) = (Vec::new(), Vec::new(), Vec::new());
        for (image, target, mask) in items {
            seen.push(image);
            targets.push(target);
            masks.push(mask);
        }
        // Only networks that mark learn from masks.
        let used = if self.marks { 3 } else { 2 };
        Ok([seen, targets, masks][..used]
            .iter()
            .map(|images| stack(images))
            .collect())
    }

    fn loss(&self, network: &Network, batch: &[Tensor]) -> Result<Tensor> {
        let [seen, target, masks @ ..] = batch else {
            return Err(Error::Invalid(
                "a batch is pictures, their targets and perhaps masks".into(),
            ));
        };
        let outputs = network.forward(std::slice::from_ref(seen), true)?;
        match (&outputs[..], masks) {
            ([_, restored, logits], [mask]) => Ok((self.loss.compute(restored, target)? + focal(logits, mask)?)?),
            (outputs, _) => self.loss.compute(&outputs[0], target),
        }
    }

    /// How well defects on held-out pictures, made ones or real ones put there, are told from the pictures themselves.
    fn validate(&self, network: &Network) -> Result<Validation> {
        let mut judgement = Judgement::new(network, &self.input, self.scoring, &self.device);
        for (i, (picture, first)) in Judgement::rounds(&self.held_out).enumerate() {
            let mut rng = stream(purpose::seed(self.seed, purpose::VALIDATE), 0, i as u64);
            let good = self.picture(picture, &mut rng);
            if first {
                judgement.add(&good, &Image::filled(1, good.height, good.width, 0.0))?;
            }
            let other = self.picture(&self.held_out[(i + 1) % self.held_out.len()], &mut rng);
            let Defective { image, mask } = match self.defects.draw(&mut rng) {
                Some(real) => real.transplanted(&good, &mut rng),
                None => defects::synthesize(&good, &other, &mut rng),
            };
            if mask.data.iter().any(|&m| m > 0.5) {
                judgement.add(&image, &mask)?;
            }
        }
        Ok(judgement.metrics().into())
    }
}

//! Training of a network that restores what is normal, whole pictures at the network's size.

use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{VAL_PICTURES, score, told_apart};
use crate::data::augment::{self, CameraSettings};
use crate::data::defects::{self, Defective};
use crate::data::random::stream;
use crate::exec::candle::Network;
use crate::model::MapKind;
use crate::pixels::Image;
use crate::train::arrays::{first_output, stack};
use crate::train::card::purpose;
use crate::train::feed::Batch;
use crate::train::losses::PictureLoss;
use crate::train::packed::Packed;
use crate::train::run::{Metrics, Objective};
use crate::train::samples::draw;
use crate::{Error, Result};

/// Pictures with made defects, to be restored.
pub struct Restoring {
    pub loss: PictureLoss,
    /// How the map is made.
    pub map: MapKind,
    /// Side of the map's mean filter.
    pub smooth: usize,
    /// Whether parts may lie mirrored.
    pub flip: bool,
    /// Whether the pictures get defects; else the network sees them as they are.
    pub synthesize: bool,
    pub pictures: Vec<Packed>,
    pub held_out: Vec<Packed>,
    pub batch: usize,
    pub seed: u64,
    pub device: Device,
}

impl Restoring {
    /// One training item: what the network sees, and what it should give.
    fn item(&self, index: usize, rng: &mut Pcg64) -> (Image, Image) {
        let settings = CameraSettings {
            shift: 0.02,
            scale: 0.02,
            exposure: 0.1,
            noise: 0.01,
            blur: 0.0,
            flip: self.flip,
        };
        let target = augment::camera(&self.pictures[index].image(), &settings, rng);
        let mut seen = target.clone();
        if self.synthesize {
            let other = self.pictures[rng.random_range(0..self.pictures.len())].image();
            seen = defects::synthesize(&target, &other, rng).image;
        }
        (seen, target)
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
        let (seen, target): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        Ok(vec![stack(&seen), stack(&target)])
    }

    fn loss(&self, network: &Network, batch: &[Tensor]) -> Result<Tensor> {
        let [seen, target] = batch else {
            return Err(Error::Invalid("a batch is pictures and their targets".into()));
        };
        let output = first_output(network, std::slice::from_ref(seen), true)?;
        self.loss.compute(&output, target)
    }

    /// How well made defects on held-out pictures are told from the pictures themselves.
    fn validate(&self, network: &Network) -> Result<Metrics> {
        let map = (self.map, self.smooth);
        let (mut scores, mut defective) = (Vec::new(), Vec::new());
        for (i, picture) in self.held_out.iter().take(VAL_PICTURES).enumerate() {
            let mut rng = stream(purpose::seed(self.seed, purpose::VALIDATE), 0, i as u64);
            let good = picture.image();
            scores.push(score(network, &good, map, &self.device)?);
            defective.push(false);
            let other = self.held_out[(i + 1) % self.held_out.len()].image();
            let Defective { image, mask } = defects::synthesize(&good, &other, &mut rng);
            if mask.data.iter().any(|&m| m > 0.5) {
                scores.push(score(network, &image, map, &self.device)?);
                defective.push(true);
            }
        }
        Ok(told_apart(&scores, &defective))
    }
}

//! Training of a network that marks what is wrong: normal pictures at their own resolution, with made marks.

use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_pcg::Pcg64;
use rayon::prelude::*;

use super::defects::Defects;
use super::{VAL_PICTURES, score, told_apart};
use crate::data::augment::{self, CameraSettings};
use crate::data::defects::{self, Defective};
use crate::data::random::stream;
use crate::exec::candle::Network;
use crate::model::{InputSpec, MapKind};
use crate::pixels::Image;
use crate::tasks::{Scaling, fit, normalize};
use crate::train::arrays::{first_output, stack};
use crate::train::card::purpose;
use crate::train::feed::Batch;
use crate::train::losses::cross_entropy_dice;
use crate::train::packed::Packed;
use crate::train::run::{Metrics, Objective};
use crate::train::samples::draw;
use crate::{Error, Result};

/// Share of the training crops that stay as they are.
const UNMARKED: f64 = 0.2;

/// Each picture as the network will see it, padded to a size that it takes, with the scaling that it has as a whole.
pub fn with_scaling(pictures: Vec<Packed>, input: &InputSpec) -> Vec<(Packed, Scaling)> {
    let prepare = |picture: Packed| {
        let fitted = fit(input, &picture.image()).0;
        (Packed::new(&fitted), Scaling::of(input, &fitted.data))
    };
    pictures.into_par_iter().map(prepare).collect()
}

/// Normal pictures, crops of which are marked.
pub struct Marking {
    pub input: InputSpec,
    /// With the scaling of the whole picture.
    pub pictures: Vec<(Packed, Scaling)>,
    pub held_out: Vec<Packed>,
    /// Real defects, if there are any.
    pub defects: Defects,
    /// Side of the square crops.
    pub crop: usize,
    /// Side of the map's mean filter.
    pub smooth: usize,
    /// Whether parts may lie mirrored.
    pub flip: bool,
    /// Largest turn either way that parts may lie in, in degrees.
    pub rotate: f32,
    pub batch: usize,
    pub seed: u64,
    pub device: Device,
}

impl Marking {
    /// A random crop, normalised as the whole picture will be in use.
    fn crop(&self, (picture, scaling): &(Packed, Scaling), rng: &mut Pcg64) -> Image {
        let mut crop = picture.random_crop([self.crop; 2], rng);
        scaling.apply(&mut crop);
        crop
    }

    /// One training item: what the network sees, and the mask it should give.
    fn item(&self, index: usize, rng: &mut Pcg64) -> (Image, Image) {
        let settings = CameraSettings {
            shift: 0.0,
            scale: 0.05,
            // Pictures are normalised, so these are shares of their contrast.
            exposure: 0.15,
            noise: 0.1,
            blur: 0.5,
            flip: self.flip,
            rotate: self.rotate,
        };
        let real = self.defects.draw(rng);
        // Half of the real defects stay where they were.
        if let Some(real) = real
            && rng.random()
        {
            let Defective { image, mask } = real.crop(self.crop, self.flip, rng);
            // What is marked does not move.
            let settings = CameraSettings {
                scale: 0.0,
                flip: false,
                rotate: 0.0,
                ..settings
            };
            return (augment::camera(&image, &settings, rng), mask);
        }
        let good = augment::camera(&self.crop(&self.pictures[index], rng), &settings, rng);
        if let Some(real) = real {
            let Defective { image, mask } = real.transplanted(&good, rng);
            return (image, mask);
        }
        if rng.random_bool(UNMARKED) {
            let mask = Image::filled(1, good.height, good.width, 0.0);
            return (good, mask);
        }
        let other = self.crop(&self.pictures[rng.random_range(0..self.pictures.len())], rng);
        let Defective { image, mask } = defects::mark(&good, &other, rng);
        (image, mask)
    }
}

impl Objective for Marking {
    fn epoch_items(&self) -> u64 {
        self.pictures.len() as u64
    }

    fn batch(&self, step: u64) -> Result<Batch> {
        let items = draw(self.seed, step, self.batch, self.pictures.len(), |index, rng| {
            self.item(index, rng)
        });
        let (seen, masks): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        Ok(vec![stack(&seen), stack(&masks)])
    }

    fn loss(&self, network: &Network, batch: &[Tensor]) -> Result<Tensor> {
        let [seen, mask] = batch else {
            return Err(Error::Invalid("a batch is pictures and their masks".into()));
        };
        cross_entropy_dice(&first_output(network, std::slice::from_ref(seen), true)?, mask)
    }

    /// How well made marks on held-out pictures are told from the pictures themselves.
    fn validate(&self, network: &Network) -> Result<Metrics> {
        let (mut scores, mut defective) = (Vec::new(), Vec::new());
        for (i, picture) in self.held_out.iter().take(VAL_PICTURES).enumerate() {
            let mut rng = stream(purpose::seed(self.seed, purpose::VALIDATE), 0, i as u64);
            let (good, _) = normalize(&self.input, fit(&self.input, &picture.image()).0);
            let marked = defects::mark(&good, &good, &mut rng);
            for (image, is_marked) in [(&good, false), (&marked.image, true)] {
                scores.push(score(network, image, (MapKind::Direct, self.smooth), &self.device)?);
                defective.push(is_marked);
            }
        }
        Ok(told_apart(&scores, &defective))
    }
}

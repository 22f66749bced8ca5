//! Training of a network that marks what is wrong: normal pictures at their own resolution, with made marks.

use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_pcg::Pcg64;
use rayon::prelude::*;

use super::defects::Defects;
use super::{Judgement, VAL_PICTURES};
use crate::data::augment::{self, CameraSettings};
use crate::data::defects::{self, Defective};
use crate::data::random::stream;
use crate::exec::candle::Network;
use crate::model::{InputSpec, Scoring};
use crate::pixels::Image;
use crate::tasks::{Scaling, fit, normalize};
use crate::train::arrays::stack;
use crate::train::card::purpose;
use crate::train::feed::Batch;
use crate::train::losses::cross_entropy_dice;
use crate::train::packed::Packed;
use crate::train::run::{Metrics, Objective};
use crate::train::samples::draw;
use crate::{Error, Result};

/// Share of the training parts that stay as they are.
const UNMARKED: f64 = 0.2;
/// Most marks on a part, and on a picture.
const MARKS: usize = 3;

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
    /// Side of the square parts of pictures, in half of the batches.
    pub patch: usize,
    pub scoring: Scoring,
    /// Whether parts may lie mirrored.
    pub flip: bool,
    /// Largest turn either way that parts may lie in, in degrees.
    pub rotate: f32,
    /// Parts of that side in a batch.
    pub batch: usize,
    pub seed: u64,
    pub device: Device,
}

impl Marking {
    /// Side of the parts of batch `step`, and their number. Those of every second batch are of twice the side, a quarter as many: what a
    /// large defect is, only its surroundings say.
    fn parts(&self, step: u64) -> (usize, usize) {
        match step % 2 {
            0 => (self.patch, self.batch),
            _ => (2 * self.patch, self.batch.div_ceil(4)),
        }
    }

    /// A random part, normalised as the whole picture will be in use.
    fn part(&self, side: usize, (picture, scaling): &(Packed, Scaling), rng: &mut Pcg64) -> Image {
        let mut part = picture.random_crop([side; 2], rng);
        scaling.apply(&mut part);
        part
    }

    /// One training item of this side: what the network sees, and the mask it should give.
    fn item(&self, side: usize, index: usize, rng: &mut Pcg64) -> (Image, Image) {
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
            let Defective { image, mask } = real.crop(side, self.flip, rng);
            // What is marked does not move.
            let settings = CameraSettings {
                scale: 0.0,
                flip: false,
                rotate: 0.0,
                ..settings
            };
            return (augment::camera(&image, &settings, rng), mask);
        }
        let good = augment::camera(&self.part(side, &self.pictures[index], rng), &settings, rng);
        if let Some(real) = real {
            let Defective { image, mask } = real.transplanted(&good, rng);
            return (image, mask);
        }
        if rng.random_bool(UNMARKED) {
            let mask = Image::filled(1, good.height, good.width, 0.0);
            return (good, mask);
        }
        let other = self.part(side, &self.pictures[rng.random_range(0..self.pictures.len())], rng);
        let most = MARKS * side / self.patch;
        let Defective { image, mask } = defects::mark(&good, &other, most, rng);
        (image, mask)
    }
}

impl Objective for Marking {
    fn epoch_items(&self) -> u64 {
        self.pictures.len() as u64
    }

    fn batch(&self, step: u64) -> Result<Batch> {
        let (side, count) = self.parts(step);
        let items = draw(self.seed, step, count, self.pictures.len(), |index, rng| {
            self.item(side, index, rng)
        });
        let (seen, masks): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        Ok(vec![stack(&seen), stack(&masks)])
    }

    fn loss(&self, network: &Network, batch: &[Tensor]) -> Result<Tensor> {
        let [seen, mask] = batch else {
            return Err(Error::Invalid("a batch is pictures and their masks".into()));
        };
        let outputs = network.forward(std::slice::from_ref(seen), true)?;
        let [_, logits] = &outputs[..] else {
            return Err(Error::Invalid("the network gives a map and its logits".into()));
        };
        cross_entropy_dice(logits, mask)
    }

    /// How well made marks on held-out pictures are told from the pictures themselves.
    fn validate(&self, network: &Network) -> Result<Metrics> {
        let mut judgement = Judgement::new(network, self.scoring, &self.device);
        for (i, picture) in self.held_out.iter().take(VAL_PICTURES).enumerate() {
            let mut rng = stream(purpose::seed(self.seed, purpose::VALIDATE), 0, i as u64);
            let (good, _) = normalize(&self.input, fit(&self.input, &picture.image()).0);
            judgement.add(&good, &Image::filled(1, good.height, good.width, 0.0))?;
            let Defective { image, mask } = defects::mark(&good, &good, MARKS, &mut rng);
            judgement.add(&image, &mask)?;
        }
        Ok(judgement.metrics())
    }
}

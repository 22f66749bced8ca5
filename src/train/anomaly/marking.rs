//! Training of a network that marks what is wrong: normal pictures at their own resolution, with made marks.

use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_pcg::Pcg64;
use rayon::prelude::*;

use super::Judgement;
use super::defects::Defects;
use crate::data::augment::{self, CameraSettings};
use crate::data::defects::{self, Defective};
use crate::data::random::stream;
use crate::exec::candle::Network;
use crate::model::{InputSpec, Scoring};
use crate::pixels::Image;
use crate::tasks::{Scaling, normalize};
use crate::train::arrays::stack;
use crate::train::card::purpose;
use crate::train::feed::Batch;
use crate::train::losses::cross_entropy_dice;
use crate::train::packed::Packed;
use crate::train::run::{Objective, Validation};
use crate::train::samples::draw;
use crate::{Error, Result};

/// Share of the training parts that stay as they are.
const UNMARKED: f64 = 0.2;
/// Most marks on a part, and on a picture.
const MARKS: usize = 3;

/// Each picture with the scaling that it has as a whole.
pub fn with_scaling(pictures: Vec<Packed>, input: &InputSpec) -> Vec<(Packed, Scaling)> {
    let prepare = |picture: Packed| {
        let scaling = Scaling::of(input, &picture.image().data);
        (picture, scaling)
    };
    pictures.into_par_iter().map(prepare).collect()
}

/// Normal pictures, crops of which are marked.
pub struct Marking {
    pub input: InputSpec,
    /// With the scaling of the whole picture.
    pub pictures: Vec<(Packed, Scaling)>,
    /// Side of the square that every picture fits into as the network takes it.
    pub largest: usize,
    pub held_out: Vec<Packed>,
    /// Real defects, if there are any.
    pub defects: Defects,
    /// Side of the square parts of pictures, in three batches of four.
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
    /// Side of the parts of batch `step`, and their number. Those of every fourth batch are of twice the side, a quarter as many: what a
    /// large defect is, only its surroundings say.
    fn parts(&self, step: u64) -> (usize, usize) {
        let (side, count) = match step % 4 {
            3 => (2 * self.patch, self.batch.div_ceil(4)),
            _ => (self.patch, self.batch),
        };
        (side.min(self.largest), count)
    }

    /// One training item of this side: what the network sees, and the mask it should give. Beyond the picture's edges both are 0: in use the
    /// picture, too, is continued so.
    fn item(&self, side: usize, index: usize, rng: &mut Pcg64) -> (Image, Image) {
        let Defective { image, mask } = self.part(side, index, rng);
        (image.extend_to([side; 2]), mask.extend_to([side; 2]))
    }

    /// A random part, normalised as the whole picture will be in use, and what is wrong in it.
    fn part(&self, side: usize, index: usize, rng: &mut Pcg64) -> Defective {
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
            let Defective { image, mask } = real.crop(side, self.input.multiple_of, self.flip, rng);
            // What is marked does not move.
            let settings = CameraSettings {
                scale: 0.0,
                flip: false,
                rotate: 0.0,
                ..settings
            };
            let image = augment::camera(&image, &settings, rng);
            return Defective { image, mask };
        }
        let (picture, scaling) = &self.pictures[index];
        let mut good = picture.random_part([side; 2], self.input.multiple_of, rng);
        scaling.apply(&mut good);
        let good = augment::camera(&good, &settings, rng);
        let blank = Image::filled(1, good.height, good.width, 0.0);
        let Defective { image: good, mask } = match real {
            Some(real) => real.transplanted(&good, rng),
            None => Defective {
                image: good,
                mask: blank,
            },
        };
        // Where there are real defects, made marks remain the more various ones.
        if rng.random_bool(if real.is_some() { 0.5 } else { UNMARKED }) {
            return Defective { image: good, mask };
        }
        let (other, scaling) = &self.pictures[rng.random_range(0..self.pictures.len())];
        let mut other = other.random_crop([good.width, good.height], rng);
        scaling.apply(&mut other);
        let mut marked = defects::mark(&good, &other, (MARKS * side / self.patch).max(1), rng);
        marked
            .mask
            .data
            .iter_mut()
            .zip(&mask.data)
            .for_each(|(mark, real)| *mark = mark.max(*real));
        marked
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

    /// How well marks on held-out pictures, made ones or real defects put there, are told from the pictures themselves.
    fn validate(&self, network: &Network) -> Result<Validation> {
        let mut judgement = Judgement::new(network, &self.input, self.scoring, &self.device);
        for (i, (picture, first)) in Judgement::rounds(&self.held_out).enumerate() {
            let mut rng = stream(purpose::seed(self.seed, purpose::VALIDATE), 0, i as u64);
            let (good, _) = normalize(&self.input, picture.image());
            if first {
                judgement.add(&good, &Image::filled(1, good.height, good.width, 0.0))?;
            }
            let Defective { image, mask } = match self.defects.draw(&mut rng) {
                Some(real) => real.transplanted(&good, &mut rng),
                None => defects::mark(&good, &good, MARKS, &mut rng),
            };
            if mask.data.iter().any(|&m| m > 0.5) {
                judgement.add(&image, &mask)?;
            }
        }
        Ok(judgement.metrics().into())
    }
}

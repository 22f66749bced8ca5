//! Learning to denoise video: short clips, each frame with noise of its own, through a network that keeps something from frame to frame.

use candle_core::Tensor;
use rand::RngExt;
use rand_pcg::Pcg64;
use rayon::prelude::*;

use super::carry::carry;
use super::motion::{Camera, Passing};
use super::scenes::{Material, Scene};
use super::{
    Denoising, draw_gray, inputs, loss_of, lost_in_bf16, misjudged, psnr_of, seen_share, split_chroma, validation_sigma,
};
use crate::data::augment;
use crate::data::noise::Noisy;
use crate::data::random::stream;
use crate::exec::candle::Network;
use crate::graph::Array;
use crate::model::{Color, ExtraInput, Model};
use crate::pixels::{Image, Motion, Pyramid};
use crate::train::arrays::infer_all;
use crate::train::card::purpose;
use crate::train::feed::Batch;
use crate::train::run::{Objective, Validation};
use crate::train::samples::draw;
use crate::{Error, Result};

/// Share of clips in which something passes before the scene.
const PASSING: f32 = 0.3;
/// Share of clips with a cut.
const CUT: f32 = 0.05;
/// Share of clips that are frames of a video, where there are any.
const FILMED: f32 = 0.7;
/// Clips, frames and pixels of a validation.
const VAL_CLIPS: usize = 8;
const VAL_FRAMES: usize = 12;
const VAL_SIDE: usize = 192;
/// Pixels a frame that the camera pans in half of its clips.
const VAL_SPEED: f32 = 1.7;
/// Frames at a clip's end that count in a validation.
const VAL_LAST: usize = 4;
/// Clips and frames that show what bf16 loses.
const BF16_CLIPS: usize = 2;
const BF16_FRAMES: usize = 4;

/// Clips made of pictures, or cut from videos.
pub(super) struct Clips {
    pub(super) material: Material,
}

impl Clips {
    /// Clean frames of a clip around scene `index`.
    fn clean(&self, index: usize, rng: &mut Pcg64) -> Vec<Image> {
        let (side, frames) = (self.material.options.patch, self.material.options.clip_frames());
        let (turns, flip) = (rng.random_range(0..4u8), rng.random::<bool>());
        let turned = |image: Image| augment::turn(&image, turns, flip);
        let filmed = self.material.scenes[index..].iter().take(frames);
        if filmed.len() == frames
            && filmed.clone().take(frames - 1).all(|scene| scene.goes_on)
            && rng.random::<f32>() < FILMED
        {
            let [width, height] = self.material.scenes[index].clean.size();
            let at = [rng.random_range(0..=width - side), rng.random_range(0..=height - side)];
            return filmed.map(|scene| turned(scene.clean.crop(at, [side; 2]))).collect();
        }
        let other = &self.material.scenes[rng.random_range(0..self.material.scenes.len())];
        let cut = if rng.random::<f32>() < CUT {
            rng.random_range(1..frames.max(2))
        } else {
            frames
        };
        let passing = (rng.random::<f32>() < PASSING).then(|| Passing::draw(other, side, frames, rng));
        let [before, after] =
            [&self.material.scenes[index], other].map(|scene| (scene, Camera::draw(scene.clean.size(), side, rng)));
        (0..frames)
            .map(|frame| {
                let (scene, camera) = if frame < cut { &before } else { &after };
                let mut image = camera.look(scene, frame);
                if let Some(passing) = &passing {
                    passing.put_on(&mut image, frame);
                }
                turned(image)
            })
            .collect()
    }

    /// With noise of deviation `sigma` of 255, with `gray` the same on all planes of grey frames.
    fn make_noisy(&self, clean: Vec<Image>, sigma: f32, gray: bool, rng: &mut Pcg64) -> Vec<Noisy> {
        let noise = self.material.options.noise;
        if !gray {
            return noise.apply_to_clip(clean, sigma / 255.0, rng);
        }
        let clean = clean.iter().map(|image| image.to_color(Color::Gray)).collect();
        let clip = noise.apply_to_clip(clean, sigma / 255.0, rng);
        clip.iter().map(|frame| frame.to_color(Color::Rgb)).collect()
    }

    /// A clip for the validation: every other one pans, slowly.
    fn held_out(&self, i: usize, scene: &Scene, frames: usize) -> Vec<Noisy> {
        let mut rng = stream(purpose::seed(self.material.seed, purpose::VALIDATE), 0, i as u64);
        let multiple = self.material.input.multiple_of;
        let side = scene.clean.size().into_iter().fold(VAL_SIDE, usize::min) / multiple * multiple;
        let speed = if is_still(i) { 0.0 } else { VAL_SPEED };
        let camera = Camera::panning(scene.clean.size(), side, speed, &mut rng);
        let sigma = validation_sigma(&self.material.options);
        let clean = (0..frames).map(|frame| camera.look(scene, frame));
        self.make_noisy(clean.collect(), sigma, false, &mut rng)
    }

    /// Which extra input each state is, which output it was, and how many times smaller than the frame.
    fn states(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let extra = self.material.input.extra.iter().enumerate();
        extra.filter_map(|(i, extra)| match *extra {
            ExtraInput::State { output, divide, .. } => Some((i, output, divide)),
            ExtraInput::NoiseLevel { .. } | ExtraInput::Chroma => None,
        })
    }

    fn judged(&self) -> impl Iterator<Item = (usize, &Scene)> {
        let scenes = self.material.judged();
        scenes.iter().step_by(scenes.len().div_ceil(VAL_CLIPS)).enumerate()
    }

    /// Mean PSNR of the last `last` frames of a clip, which `run` runs frame by frame.
    fn psnr(&self, clip: &[Noisy], last: usize, mut run: impl FnMut(&[Array]) -> Result<Vec<Array>>) -> Result<f64> {
        let mut outputs: Vec<Array> = Vec::new();
        let mut sum = 0.0;
        let motions = motions(clip);
        for (frame, Noisy { noisy, clean, level }) in clip.iter().enumerate() {
            let level = level * seen_share(&self.material.input, &clip[frame]);
            let mut inputs = inputs(&self.material.input, std::slice::from_ref(noisy), &[level]);
            for (input, output, divide) in self.states().filter(|_| frame > 0) {
                let Array { shape, data } = &outputs[output];
                let (height, width) = (shape[2], shape[3]);
                let planes = data.chunks_exact(height * width);
                let carried = planes.flat_map(|plane| motions[frame - 1].carry(plane, width, divide));
                inputs[1 + input].data = carried.collect();
            }
            outputs = run(&inputs)?;
            if frame + last >= clip.len() {
                sum += psnr_of(&self.material.input, &outputs, clean) / last as f64;
            }
        }
        Ok(sum)
    }
}

/// From each frame to the next, as the network's states will follow it.
fn motions(clip: &[Noisy]) -> Vec<Motion> {
    let pyramids: Vec<Pyramid> = clip.iter().map(|frame| Pyramid::of(&frame.noisy)).collect();
    let pairs = pyramids.windows(2);
    pairs.map(|pair| Motion::between(&pair[0], &pair[1])).collect()
}

/// Vectors of one frame of all clips, `[N, rows, columns, 2]`, for [`carry`].
fn stacked<'a>(motions: impl Iterator<Item = &'a Motion>) -> Array {
    let (mut data, mut shape) = (Vec::new(), vec![0, 0, 0, 2]);
    for motion in motions {
        let (columns, vectors) = motion.vectors();
        shape = vec![shape[0] + 1, vectors.len() / columns, columns, 2];
        data.extend(vectors.as_flattened().iter().map(|d| f32::from(*d)));
    }
    Array { shape, data }
}

fn is_still(clip: usize) -> bool {
    clip.is_multiple_of(2)
}

impl Denoising for Clips {
    fn bf16_loss(&self, model: &Model) -> Result<f64> {
        let clips = self.judged().take(BF16_CLIPS);
        let clips = clips.map(|(i, scene)| self.held_out(i, scene, BF16_FRAMES));
        lost_in_bf16(model, clips, |session, clip| {
            self.psnr(clip, 1, |inputs| session.run(inputs))
        })
    }
}

impl Objective for Clips {
    fn epoch_items(&self) -> u64 {
        self.material.epoch_items()
    }

    /// The extra inputs of the first frame, then each frame's noisy and clean patches in turn, the chroma of each perhaps beside it; for
    /// later ones also how they move.
    fn batch(&self, step: u64) -> Result<Batch> {
        let clips: Vec<(Vec<Noisy>, f32)> = draw(
            self.material.seed,
            step,
            self.material.batch,
            self.material.scenes.len(),
            |index, rng| {
                let sigma = self.material.draw_sigma(rng);
                let clean = self.clean(index, rng);
                let gray = draw_gray(self.material.input.color, rng);
                let clip = self.make_noisy(clean, sigma, gray, rng);
                let levels = clip
                    .iter()
                    .map(|frame| frame.level * seen_share(&self.material.input, frame));
                let level = levels.sum::<f32>() / clip.len() as f32;
                let level = misjudged(level, self.material.options.noise, rng);
                (clip, level)
            },
        );
        let levels: Vec<f32> = clips.iter().map(|(_, level)| *level).collect();
        let motions: Vec<Vec<Motion>> = clips.par_iter().map(|(clip, _)| motions(clip)).collect();
        let mut batch = Batch::new();
        for frame in 0..self.material.options.clip_frames() {
            let pictures = |of: fn(&Noisy) -> &Image| -> Vec<Image> {
                clips.iter().map(|(clip, _)| of(&clip[frame]).clone()).collect()
            };
            let (noisy, clean) = (pictures(|n| &n.noisy), pictures(|n| &n.clean));
            if frame == 0 {
                batch.extend_from_slice(&inputs(&self.material.input, &noisy, &levels)[1..]);
            }
            batch.extend(split_chroma(&self.material.input, &noisy));
            batch.extend(split_chroma(&self.material.input, &clean));
            if frame > 0 {
                batch.push(stacked(motions.iter().map(|clip| &clip[frame - 1])));
            }
        }
        Ok(batch)
    }

    fn loss(&self, network: &Network, batch: &[Tensor]) -> Result<Tensor> {
        let input = &self.material.input;
        let mut batch = batch.iter().cloned();
        let mut extra: Vec<Tensor> = batch.by_ref().take(input.extra.len()).collect();
        let chroma = input.extra.iter().position(|extra| *extra == ExtraInput::Chroma);
        let parts = 1 + usize::from(chroma.is_some());
        let (mut losses, mut outputs) = (Vec::new(), Vec::new());
        for frame in 0..self.material.options.clip_frames() {
            let mut next = || batch.by_ref().take(parts).collect::<Vec<Tensor>>();
            let (mut noisy, clean) = (next(), next());
            if frame > 0 {
                let motions = batch
                    .next()
                    .ok_or_else(|| Error::Invalid("a frame has no motion".into()))?;
                for (input, output, divide) in self.states() {
                    extra[input] = carry(&outputs[output], &motions, divide)?;
                }
            }
            if let Some(chroma) = chroma {
                extra[chroma] = noisy.remove(1);
            }
            noisy.extend(extra.iter().cloned());
            outputs = network.forward(&noisy, true)?;
            losses.push(loss_of(self.material.options.loss, &outputs, &clean)?);
        }
        Ok(Tensor::stack(&losses, 0)?.mean_all()?)
    }

    fn validate(&self, network: &Network) -> Result<Validation> {
        let run = |inputs: &[Array]| infer_all(network, inputs, &self.material.device);
        let mut psnr = [Vec::new(), Vec::new()];
        for (i, scene) in self.judged() {
            let clip = self.held_out(i, scene, VAL_FRAMES);
            psnr[usize::from(is_still(i))].push(self.psnr(&clip, VAL_LAST, run)?);
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let mut metrics = vec![("val_psnr", mean(&psnr.concat()))];
        for (name, values) in ["val_psnr_moving", "val_psnr_still"].into_iter().zip(&psnr) {
            if !values.is_empty() {
                metrics.push((name, mean(values)));
            }
        }
        Ok(metrics.into())
    }
}

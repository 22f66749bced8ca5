//! Learning to denoise video: short clips, each frame with noise of its own, through a network that keeps something from frame to frame.

use candle_core::{DType, Tensor};
use rand::RngExt;
use rand_pcg::Pcg64;
use rayon::prelude::*;

use super::scenes::{Material, Scene};
use super::{Denoising, draw_gray, inputs, lost_in_bf16, misjudged, psnr_cut, validation_sigma};
use crate::Result;
use crate::data::augment;
use crate::data::noise::Noisy;
use crate::data::random::stream;
use crate::exec::candle::Network;
use crate::graph::Array;
use crate::model::{Color, ExtraInput, Model};
use crate::pixels::{Image, Motion, Pyramid};
use crate::train::arrays::{infer_all, stack};
use crate::train::card::purpose;
use crate::train::feed::Batch;
use crate::train::run::{Metrics, Objective};
use crate::train::samples::draw;

/// Fastest motion, in pixels a frame.
const FASTEST: f32 = 8.0;
/// Shares of clips whose camera stands still, and in which something passes before the scene; the rest of either pans, and does not.
const STILL: f32 = 0.4;
const PASSING: f32 = 0.3;
/// Share of clips with a cut.
const CUT: f32 = 0.05;
/// Share of clips that are frames of a video, where there are any.
const FILMED: f32 = 0.7;
/// Clips, frames and pixels of a validation.
const VAL_CLIPS: usize = 8;
const VAL_FRAMES: usize = 12;
const VAL_SIDE: usize = 192;
/// Frames at a clip's end that count in a validation.
const VAL_LAST: usize = 4;
/// Clips and frames that show what bf16 loses.
const BF16_CLIPS: usize = 2;
const BF16_FRAMES: usize = 4;

/// Clips made of pictures, or cut from videos.
pub(super) struct Clips {
    pub(super) material: Material,
}

/// Where something is, frame by frame: along a straight line that comes back at the borders.
struct Path {
    start: [f32; 2],
    velocity: [f32; 2],
    room: [usize; 2],
}

impl Path {
    /// A square of `side` in a picture of `size`.
    fn draw(size: [usize; 2], side: usize, speed: f32, rng: &mut Pcg64) -> Self {
        let room = size.map(|length| length - side);
        let angle = rng.random_range(0.0..std::f32::consts::TAU);
        Self {
            start: room.map(|room| rng.random::<f32>() * room as f32),
            velocity: [speed * angle.cos(), speed * angle.sin()],
            room,
        }
    }

    fn at(&self, frame: usize) -> [usize; 2] {
        std::array::from_fn(|axis| {
            let room = self.room[axis] as f32;
            let at = (self.start[axis] + self.velocity[axis] * frame as f32).rem_euclid((2.0 * room).max(1.0));
            (if at > room { 2.0 * room - at } else { at }).clamp(0.0, room).round() as usize
        })
    }
}

/// More often slow than fast.
fn speed(rng: &mut Pcg64) -> f32 {
    FASTEST * rng.random::<f32>().powi(2)
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
        let pan = if rng.random::<f32>() < STILL { 0.0 } else { speed(rng) };
        let cut = if rng.random::<f32>() < CUT {
            rng.random_range(1..frames.max(2))
        } else {
            frames
        };
        let passing = (rng.random::<f32>() < PASSING).then(|| Passing::draw(other, side, rng));
        let [before, after] =
            [&self.material.scenes[index], other].map(|scene| (scene, Path::draw(scene.clean.size(), side, pan, rng)));
        (0..frames)
            .map(|frame| {
                let (scene, path) = if frame < cut { &before } else { &after };
                let mut image = scene.clean.crop(path.at(frame), [side; 2]);
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
        let path = Path::draw(scene.clean.size(), side, if is_still(i) { 0.0 } else { 1.5 }, &mut rng);
        let sigma = validation_sigma(&self.material.options);
        let clean = (0..frames).map(|frame| scene.clean.crop(path.at(frame), [side; 2]));
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
            let mut inputs = inputs(&self.material.input, std::slice::from_ref(noisy), &[*level]);
            for (input, extra) in inputs[1..].iter_mut().zip(&self.material.input.extra) {
                match *extra {
                    ExtraInput::State { output, divide, .. } if frame > 0 => {
                        let state = &outputs[output];
                        let [.., height, width] = state.shape[..] else {
                            unreachable!("a state has four dimensions")
                        };
                        let planes = state.data.chunks_exact(height * width);
                        input.data = planes
                            .flat_map(|plane| motions[frame - 1].carry(plane, width, divide))
                            .collect();
                    }
                    _ => {}
                }
            }
            outputs = run(&inputs)?;
            if frame + last >= clip.len() {
                let data = outputs[0].data.clone();
                sum += psnr_cut(Image { data, ..*clean }, clean) / last as f64;
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

/// `state`, `[N, C, H, W]`, each pixel taken from where `sources`, `[N, 1, H · W]`, says.
fn carry(state: &Tensor, sources: &Tensor) -> Result<Tensor> {
    let (n, channels, height, width) = state.dims4()?;
    let sources = sources.to_dtype(DType::U32)?;
    let sources = sources.broadcast_as((n, channels, height * width))?.contiguous()?;
    let carried = state.flatten_from(2)?.contiguous()?.gather(&sources, 2)?;
    Ok(carried.reshape((n, channels, height, width))?)
}

fn is_still(clip: usize) -> bool {
    clip.is_multiple_of(2)
}

/// A round piece of another picture on its way through the frame.
struct Passing {
    piece: Image,
    path: Path,
}

impl Passing {
    fn draw(from: &Scene, side: usize, rng: &mut Pcg64) -> Self {
        let size = rng.random_range(side / 4..=side * 3 / 4).max(1);
        let [width, height] = from.clean.size();
        let at = [rng.random_range(0..=width - size), rng.random_range(0..=height - size)];
        Self {
            piece: from.clean.crop(at, [size; 2]),
            path: Path::draw([side; 2], size, speed(rng), rng),
        }
    }

    fn put_on(&self, image: &mut Image, frame: usize) {
        let (size, [left, top]) = (self.piece.width, self.path.at(frame));
        let middle = (size as f32 - 1.0) / 2.0;
        let width = image.width;
        for channel in 0..image.channels {
            let piece = self.piece.plane(channel);
            for (i, value) in piece.iter().enumerate() {
                let (x, y) = (i % size, i / size);
                if (x as f32 - middle).hypot(y as f32 - middle) <= middle {
                    image.plane_mut(channel)[(top + y) * width + left + x] = *value;
                }
            }
        }
    }
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

    /// The extra inputs of the first frame, then each frame's noisy and clean patches in turn; for later ones also where each state's
    /// pixels come from.
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
                let level = clip.iter().map(|frame| frame.level).sum::<f32>() / clip.len() as f32;
                let level = misjudged(level, rng);
                (clip, level)
            },
        );
        let levels: Vec<f32> = clips.iter().map(|(_, level)| *level).collect();
        let motions: Vec<Vec<Motion>> = clips.par_iter().map(|(clip, _)| motions(clip)).collect();
        let side = self.material.options.patch;
        let mut batch = Batch::new();
        for frame in 0..self.material.options.clip_frames() {
            let pictures = |of: fn(&Noisy) -> &Image| -> Vec<Image> {
                clips.iter().map(|(clip, _)| of(&clip[frame]).clone()).collect()
            };
            let (noisy, clean) = (pictures(|n| &n.noisy), pictures(|n| &n.clean));
            if frame == 0 {
                batch.extend_from_slice(&inputs(&self.material.input, &noisy, &levels)[1..]);
            }
            batch.extend([stack(&noisy), stack(&clean)]);
            if frame == 0 {
                continue;
            }
            for divide in self.states().map(|(.., divide)| divide) {
                let (width, n) = (side / divide, (side / divide).pow(2));
                let here: Vec<f32> = (0..n).map(|i| i as f32).collect();
                let sources = motions.iter().map(|clip| clip[frame - 1].carry(&here, width, divide));
                batch.push(Array {
                    shape: vec![clips.len(), 1, n],
                    data: sources.flatten().collect(),
                });
            }
        }
        Ok(batch)
    }

    fn loss(&self, network: &Network, batch: &[Tensor]) -> Result<Tensor> {
        let mut batch = batch.iter().cloned();
        let mut extra: Vec<Tensor> = batch.by_ref().take(self.material.input.extra.len()).collect();
        let (mut losses, mut outputs) = (Vec::new(), Vec::new());
        while let (Some(noisy), Some(clean)) = (batch.next(), batch.next()) {
            if !outputs.is_empty() {
                for ((input, output), sources) in self
                    .states()
                    .map(|(input, output, _)| (input, output))
                    .zip(batch.by_ref())
                {
                    extra[input] = carry(&outputs[output], &sources)?;
                }
            }
            let inputs: Vec<Tensor> = std::iter::once(noisy).chain(extra.iter().cloned()).collect();
            outputs = network.forward(&inputs, true)?;
            losses.push(self.material.options.loss.compute(&outputs[0], &clean)?);
        }
        Ok(Tensor::stack(&losses, 0)?.mean_all()?)
    }

    fn validate(&self, network: &Network) -> Result<Metrics> {
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
        Ok(metrics)
    }
}

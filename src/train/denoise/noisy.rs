//! Learning from noisy frames alone.
//!
//! Where a camera stands still, a frame and the next show the same scene with noise of their own: one predicts the other, and what is
//! best at that is the clean scene (Noise2Noise, Lehtinen 2018). Else each picture is split into two of half the size, cell by cell
//! (Neighbor2Neighbor, Huang 2021).

use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_pcg::Pcg64;

use super::judged::{self, Judged, mean_error, psnr, psnr_before};
use super::pairs::{Cut, Pair};
use super::{Denoising, Options, inputs, misjudged};
use crate::data::augment;
use crate::data::layout::Dataset;
use crate::data::noise::Noise;
use crate::data::random::stream;
use crate::exec::Session;
use crate::exec::candle::Network;
use crate::graph::Array;
use crate::model::{Color, InputSpec, Model};
use crate::pixels::{Image, estimate_noise};
use crate::score::metrics::mean_square;
use crate::train::arrays::{first_output, infer_all, stack, to_images};
use crate::train::card::purpose;
use crate::train::feed::Batch;
use crate::train::packed::{self, Packed};
use crate::train::run::{Objective, Settings, Validation};
use crate::train::samples::draw;
use crate::{Error, Result};

/// Weight of Neighbor2Neighbor's second term, which keeps detail that the two halves do not share.
const GAMMA: f64 = 1.0;
/// Places that are tried for a patch of which enough stands still.
const TRIES: usize = 8;
/// The share of a patch that must.
const STILL: f32 = 0.5;
/// The share of noise copied from frame to frame that is worth a word.
const MUCH_COPIED: f32 = 0.1;
/// Most frames or pairs of a validation.
const VAL_ITEMS: usize = 12;
/// Frames or pairs that show what bf16 loses.
const BF16_ITEMS: usize = 4;
/// PSNR from where on there is no noise to speak of: less than 1.5 of 255.
const NEARLY_CLEAN: f64 = 45.0;
/// Largest side of what it looks at.
const VAL_SIDE: usize = 256;
/// What the picture is changed by to see how the output follows, of full scale.
const PROBE: f32 = 1e-3;

/// A noisy frame and its noise level, 0..1.
pub(super) struct Shot {
    pub(super) picture: Packed,
    pub(super) level: f32,
}

/// All frames of a data set in `color`, or in the colour that they have.
pub(super) fn load(data: &Dataset, color: Option<Color>) -> Result<(Vec<Shot>, Color)> {
    let mut pictures = packed::load(data, &data.samples, |image| image)?;
    let color = color.unwrap_or(packed::color_of(&pictures));
    packed::to_color(&mut pictures, color);
    let shot = |picture: Packed| Shot {
        level: estimate_noise(&picture.image()),
        picture,
    };
    Ok((pictures.into_iter().map(shot).collect(), color))
}

/// Noisy frames, and pairs of them where they stand still.
pub(super) struct NoisyOnly {
    train: Set,
    held_out: Set,
    /// Side of what the network sees.
    side: usize,
    input: InputSpec,
    batch: usize,
    seed: u64,
    device: Device,
}

/// Frames, and pairs of them; where there are pairs, they are what is learned from.
struct Set {
    shots: Vec<Shot>,
    pairs: Vec<Pair>,
    /// Share of the pixels whose noise is that of the frame before.
    copied: f32,
}

impl Set {
    fn new(data: &Dataset, shots: Vec<Shot>) -> Self {
        let (pairs, copied) = Pair::all(data, &shots);
        Self { shots, pairs, copied }
    }

    /// What is learned from it, and why.
    fn describe(&self) -> String {
        let mut text = String::new();
        if self.copied > MUCH_COPIED {
            text = format!(
                "{:.0} % of each frame's noise is that of the frame before: a codec copied it, or frames are shown twice; record with less \
                 compression, or take frames farther apart (--every)\n",
                100.0 * self.copied
            );
        }
        let (shots, pairs) = (self.shots.len(), self.pairs.len());
        if pairs == 0 {
            let reason = if text.is_empty() {
                "no camera that stands still is seen in them"
            } else {
                "too little is left of what stands still"
            };
            return text + &format!("learning from {shots} single pictures: {reason} (Neighbor2Neighbor)");
        }
        let still = self.pairs.iter().map(|pair| pair.still).sum::<f32>() / pairs as f32;
        text + &format!(
            "learning from {pairs} pairs of frames in time, {:.0} % of each stands still (Noise2Noise)",
            100.0 * still
        )
    }
}

impl NoisyOnly {
    /// Finds out how the frames of the data to train and to hold out can be learned from, and says so.
    pub(super) fn new(
        options: &Options,
        [data, held_out]: [&Dataset; 2],
        [shots, held_out_shots]: [Vec<Shot>; 2],
        input: &InputSpec,
        settings: &Settings,
    ) -> Result<Self> {
        let all = shots.iter().chain(&held_out_shots);
        let smallest = all.flat_map(|shot| shot.picture.size()).min().unwrap_or(0);
        let (mut train, mut held_out) = (Set::new(data, shots), Set::new(held_out, held_out_shots));
        // A pair for half of the frames at least: else what little stands still is not what the camera sees.
        if 2 * (train.pairs.len() + 1) < train.shots.len() || train.pairs.is_empty() {
            train.pairs.clear();
        }
        if train.pairs.is_empty() {
            held_out.pairs.clear();
        }
        let multiple = input.multiple_of;
        let room = if train.pairs.is_empty() { smallest / 2 } else { smallest };
        let side = options.patch.min(room / multiple * multiple);
        if side < multiple.max(16) {
            return Err(Error::Invalid(format!(
                "frames of {smallest} pixels a side are too small to learn from without clean ones"
            )));
        }
        eprintln!("{}", train.describe());
        let learning = Self {
            train,
            held_out,
            side,
            input: input.clone(),
            batch: settings.batch,
            seed: settings.seed,
            device: settings.device.clone(),
        };
        let judged = learning.judge(VAL_ITEMS, |inputs| Ok(inputs[0].clone()))?;
        let noisy = psnr_before(&judged);
        if noisy > NEARLY_CLEAN {
            eprintln!(
                "warning: what changes from frame to frame, or from pixel to pixel, is as little as {noisy:.0} dB: the frames have no noise, or a \
                 codec has frozen it, and there is next to nothing to learn"
            );
        }
        Ok(learning)
    }

    /// A patch of a frame, the same of its neighbour, and what of it stands still.
    fn in_time(&self, pair: &Pair, rng: &mut Pcg64) -> Cut {
        let [width, height] = pair.size();
        let side = self.side;
        let mut at = || [rng.random_range(0..=width - side), rng.random_range(0..=height - side)];
        let mut best = at();
        for _ in 1..TRIES {
            if pair.share(best, side) >= STILL {
                break;
            }
            let other = at();
            if pair.share(other, side) > pair.share(best, side) {
                best = other;
            }
        }
        let Cut {
            noisy,
            other,
            mask,
            level,
        } = pair.cut(&self.train.shots, best, [side, side], rng.random());
        let (turns, flip) = (rng.random_range(0..4u8), rng.random::<bool>());
        let [noisy, other, mask] = [noisy, other, mask].map(|image| augment::turn(&image, turns, flip));
        let level = misjudged(level, Noise::White, rng);
        #[rustfmt::skip]
        return Cut { noisy, other, mask, level };
    }

    /// A patch of twice the side, and for each 2x2 cell of it which two neighbours of the cell are taken.
    fn in_place(&self, shot: &Shot, rng: &mut Pcg64) -> (Image, Image, f32) {
        let side = 2 * self.side;
        let [width, height] = shot.picture.size();
        let at = [rng.random_range(0..=width - side), rng.random_range(0..=height - side)];
        let whole = augment::turn(
            &shot.picture.crop(at, [side; 2]),
            rng.random_range(0..4u8),
            rng.random(),
        );
        (
            whole,
            picks(self.side, self.side, rng),
            misjudged(shot.level, Noise::White, rng),
        )
    }

    /// Validation without a clean frame, on some frames.
    fn judge(&self, items: usize, mut run: impl FnMut(&[Array]) -> Result<Array>) -> Result<Vec<Judged>> {
        let mut output = |noisy: &Image, level: f32| -> Result<Image> {
            let mut data = run(&inputs(&self.input, std::slice::from_ref(noisy), &[level]))?.data;
            data.iter_mut().for_each(|x| *x = x.clamp(0.0, 1.0));
            Ok(Image { data, ..*noisy })
        };
        // One clip has nothing held out beside it, and is better than none.
        let by_time = !self.train.pairs.is_empty();
        let count = |set: &Set| if by_time { set.pairs.len() } else { set.shots.len() };
        let set = if count(&self.held_out) == 0 {
            &self.train
        } else {
            &self.held_out
        };
        let mut judged = Vec::new();
        for i in (0..count(set)).step_by(count(set).div_ceil(items)) {
            match by_time {
                true => judged.extend(self.judge_pair(set, i, &mut output)?),
                false => judged.push(self.judge_shot(set, i, &mut output)?),
            }
        }
        if judged.is_empty() {
            return Err(Error::Invalid(
                "nothing in the middle of the frames held out can be judged: everything there moves, or has the noise of the frame before".into(),
            ));
        }
        Ok(judged)
    }

    /// The squared error against the other frame, less the noise of that frame, is an estimate of the error against the clean scene. `None`
    /// where nothing of the pair counts.
    fn judge_pair(
        &self,
        set: &Set,
        i: usize,
        mut output: impl FnMut(&Image, f32) -> Result<Image>,
    ) -> Result<Option<Judged>> {
        let pair = &set.pairs[i];
        let [at, size] = self.middle(pair.size());
        let cut = pair.cut(&set.shots, at, size, false);
        if cut.mask.data.iter().all(|x| *x == 0.0) {
            return Ok(None);
        }
        let clean = output(&cut.noisy, cut.level)?;
        // Both frames have the same noise.
        let variance = mean_square(&cut.noisy, &cut.other, &cut.mask) / 2.0;
        let error = mean_square(&clean, &cut.other, &cut.mask) - variance;
        Ok(Some(Judged::new(&cut.noisy, &clean, error, variance)))
    }

    /// Stein's unbiased estimate of the squared error under white Gaussian noise (Stein 1981), the divergence by one probe (Ramani 2008).
    fn judge_shot(&self, set: &Set, i: usize, mut output: impl FnMut(&Image, f32) -> Result<Image>) -> Result<Judged> {
        let Shot { picture, level } = &set.shots[i];
        let [at, size] = self.middle(picture.size());
        let noisy = picture.crop(at, size);
        let clean = output(&noisy, *level)?;
        let mut rng = stream(purpose::seed(self.seed, purpose::VALIDATE), 0, i as u64);
        let signs: Vec<f32> = noisy
            .data
            .iter()
            .map(|_| if rng.random() { 1.0 } else { -1.0 })
            .collect();
        let probe = Image {
            data: noisy
                .data
                .iter()
                .zip(&signs)
                .map(|(x, sign)| x + PROBE * sign)
                .collect(),
            ..noisy
        };
        let moved = output(&probe, *level)?;
        let inside = inside(&clean, *level);
        let (mut divergence, mut count) = (0.0, 0.0);
        for (i, (moved, clean)) in moved.data.iter().zip(&clean.data).enumerate() {
            let weight = inside.data[i % inside.data.len()];
            divergence += f64::from(weight * (moved - clean) * signs[i] / PROBE);
            count += f64::from(weight);
        }
        let variance = f64::from(*level).powi(2);
        let error = mean_square(&clean, &noisy, &inside) + (2.0 * divergence / count - 1.0) * variance;
        Ok(Judged::new(&noisy, &clean, error, variance))
    }

    /// Corner and size of the middle part of a frame of `size`.
    fn middle(&self, size: [usize; 2]) -> [[usize; 2]; 2] {
        let multiple = self.input.multiple_of;
        let part = size.map(|side| side.min(VAL_SIDE) / multiple * multiple);
        [[0, 1].map(|axis| (size[axis] - part[axis]) / 2), part]
    }
}

/// 1 where the noise is not cut off at black or white, or everywhere where that is nearly nowhere.
fn inside(clean: &Image, level: f32) -> Image {
    let mut inside = Image::filled(1, clean.height, clean.width, 1.0);
    let within = 2.5 * level..=1.0 - 2.5 * level;
    for channel in 0..clean.channels {
        for (inside, value) in inside.data.iter_mut().zip(clean.plane(channel)) {
            *inside *= f32::from(within.contains(value));
        }
    }
    if inside.data.iter().sum::<f32>() < 0.05 * inside.data.len() as f32 {
        inside.data.fill(1.0);
    }
    inside
}

/// For each cell of 2x2 pixels the two that are taken: 0..8, a side of the cell and which of its ends comes first.
fn picks(width: usize, height: usize, rng: &mut Pcg64) -> Image {
    Image {
        data: (0..width * height).map(|_| rng.random_range(0..8u8).into()).collect(),
        ..Image::filled(1, height, width, 0.0)
    }
}

/// Two pictures of half the size.
fn split(whole: &Image, picks: &Image) -> [Image; 2] {
    /// `[x, y]` of both ends.
    const ENDS: [[[usize; 2]; 2]; 4] = [[[0, 0], [1, 0]], [[0, 1], [1, 1]], [[0, 0], [0, 1]], [[1, 0], [1, 1]]];
    let (width, height) = (picks.width, picks.height);
    let mut halves = [0, 1].map(|_| Image::filled(whole.channels, height, width, 0.0));
    for channel in 0..whole.channels {
        let plane = whole.plane(channel);
        for (i, pick) in picks.data.iter().enumerate() {
            let ends = ENDS[*pick as usize / 2];
            for (which, half) in halves.iter_mut().enumerate() {
                let [x, y] = ends[(which + *pick as usize) % 2];
                let at = (i / width * 2 + y) * whole.width + i % width * 2 + x;
                half.plane_mut(channel)[i] = plane[at];
            }
        }
    }
    halves
}

impl Denoising for NoisyOnly {
    /// As far as that can be told without a clean frame.
    fn bf16_loss(&self, model: &Model) -> Result<f64> {
        let [f32, bf16] = [Session::in_f32(model)?, Session::in_bf16(model)?];
        let (mut square, mut count) = (0.0, 0);
        let judged = self.judge(BF16_ITEMS, |inputs| {
            let [exact, rounded] = [f32.run(inputs)?.swap_remove(0), bf16.run(inputs)?.swap_remove(0)];
            let differences = exact.data.iter().zip(&rounded.data);
            square += differences.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
            count += exact.data.len();
            Ok(exact)
        })?;
        Ok(psnr(mean_error(&judged)) - psnr(mean_error(&judged) + square / count as f64))
    }
}

impl Objective for NoisyOnly {
    /// Patches that cover the frames once.
    fn epoch_items(&self) -> u64 {
        let pixels: usize = self
            .train
            .shots
            .iter()
            .map(|shot| shot.picture.size().iter().product::<usize>())
            .sum();
        let side = if self.train.pairs.is_empty() {
            2 * self.side
        } else {
            self.side
        };
        pixels.div_ceil(side.pow(2)) as u64
    }

    /// The network's inputs; then the other frame's patches and what of them stands still; or the other halves, the whole patches as the
    /// network's inputs, and the picks.
    fn batch(&self, step: u64) -> Result<Batch> {
        let Set { shots, pairs, .. } = &self.train;
        if !pairs.is_empty() {
            let patches = draw(self.seed, step, self.batch, pairs.len(), |index, rng| {
                self.in_time(&pairs[index], rng)
            });
            let levels: Vec<f32> = patches.iter().map(|cut| cut.level).collect();
            let pictures =
                |of: fn(&Cut) -> &Image| -> Vec<Image> { patches.iter().map(|cut| of(cut).clone()).collect() };
            let mut batch = inputs(&self.input, &pictures(|cut| &cut.noisy), &levels);
            batch.extend([stack(&pictures(|cut| &cut.other)), stack(&pictures(|cut| &cut.mask))]);
            return Ok(batch);
        }
        let patches = draw(self.seed, step, self.batch, shots.len(), |index, rng| {
            self.in_place(&shots[index], rng)
        });
        let levels: Vec<f32> = patches.iter().map(|(.., level)| *level).collect();
        let (first, second): (Vec<_>, Vec<_>) = patches
            .iter()
            .map(|(whole, picks, _)| split(whole, picks))
            .map(|[a, b]| (a, b))
            .unzip();
        let (whole, picks): (Vec<_>, Vec<_>) = patches.into_iter().map(|(whole, picks, _)| (whole, picks)).unzip();
        let mut batch = inputs(&self.input, &first, &levels);
        batch.push(stack(&second));
        batch.extend(inputs(&self.input, &whole, &levels));
        batch.push(stack(&picks));
        Ok(batch)
    }

    fn loss(&self, network: &Network, batch: &[Tensor]) -> Result<Tensor> {
        let (inputs, rest) = batch.split_at(1 + self.input.extra.len());
        let output = first_output(network, inputs, true)?;
        let (other, rest) = rest.split_first().expect("a batch has targets");
        let difference = (output - other)?;
        if let [mask] = rest {
            return Ok(difference.sqr()?.broadcast_mul(mask)?.mean_all()?);
        }
        let (picks, whole) = rest.split_last().expect("a batch of halves has picks");
        let whole = to_images(&first_output(network, whole, false)?)?;
        let picks = to_images(picks)?;
        let gaps: Vec<Image> = whole
            .iter()
            .zip(&picks)
            .map(|(whole, picks)| {
                let [mut first, second] = split(whole, picks);
                first.data.iter_mut().zip(&second.data).for_each(|(a, b)| *a -= b);
                first
            })
            .collect();
        let Array { shape, data } = stack(&gaps);
        let gap = Tensor::from_vec(data, shape, &self.device)?;
        let regular = (&difference - gap)?.sqr()?.mean_all()?;
        Ok((difference.sqr()?.mean_all()? + (regular * GAMMA)?)?)
    }

    fn validate(&self, network: &Network) -> Result<Validation> {
        let judged = self.judge(VAL_ITEMS, |inputs| {
            Ok(infer_all(network, inputs, &self.device)?.swap_remove(0))
        })?;
        let correlation = judged.iter().map(|j| j.correlation).sum::<f64>() / judged.len() as f64;
        Ok(vec![
            (judged::ESTIMATED, psnr(mean_error(&judged))),
            (judged::NOISY_ESTIMATED, psnr_before(&judged)),
            ("val_residual_correlation", correlation),
        ]
        .into())
    }
}

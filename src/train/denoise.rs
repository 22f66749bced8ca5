//! Training of denoisers: clean pictures with made noise, pairs of a noisy and a clean picture, or noisy frames alone.

mod budget;
mod carry;
mod clean;
mod clips;
mod judged;
mod motion;
mod noisy;
mod pairs;
mod scenes;
mod teacher;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use candle_core::Tensor;
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use serde_json::json;

pub use self::budget::Budget;
use self::clean::Clean;
use self::clips::Clips;
use self::noisy::NoisyOnly;
use self::scenes::Material;
use self::teacher::Teacher;
use super::arrays::stack;
use super::common::{Common, Defaults, Product, check_patch, sha256};
use super::losses::PictureLoss;
use super::optimizer::Method;
use super::packed;
use super::run::{Objective, Outcome, Settings, run};
use super::samples::{DataCard, Sets, at_least};
use crate::data::layout::Layout;
use crate::data::noise::{Noise, Noisy};
use crate::exec::{self, BF16_LOSS, Session};
use crate::graph::Array;
use crate::model::{Color, ExtraInput, InputSpec, Model, Task};
use crate::nets::Net;
use crate::pixels::{Image, Yuv420, noise_of_residual};
use crate::score::metrics;
use crate::{Error, Result};

/// Usual noise of a validation, 0..255.
const VAL_SIGMA: f32 = 25.0;
/// Usual frames of a training clip.
const CLIP_FRAMES: usize = 8;
/// Deviation of the logarithm of an estimated noise level.
const MISJUDGED: f32 = 0.04;

/// Weight of chroma's loss against luma's: it has half as many values.
const CHROMA_WEIGHT: f64 = 0.5;

/// Standard deviations of white noise that no value is changed by more than. On pictures of cbsd68 without noise (a `recurrent` network, the
/// level estimated) 4 gave 45.7 dB, 3 gave 47.2, no limit 41.4; at sigma 15 32.202, 32.201 and 32.202. With 3, single pixels stay noisy.
const LIMIT: u8 = 4;

/// Share of a colour network's patches, or clips, that are grey with one noise on red, green and blue: what cameras without colour
/// give it.
const GRAY_SHARE: f32 = 0.1;

/// Options of this task.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// One noise level to train for, 0..255.
    pub sigma: Option<f32>,
    /// Else levels are drawn uniformly from 0 to this.
    pub sigma_max: f32,
    /// Side of the square patches in pixels.
    pub patch: usize,
    /// Frames of a clip, for recurrent networks alone; `None` = a usual number.
    pub frames: Option<usize>,
    /// What makes clean pictures noisy.
    pub noise: Noise,
    /// Compared with the clean patch.
    pub loss: PictureLoss,
    /// Whether the pictures are noisy and there are no clean ones.
    pub noisy_only: bool,
    /// A model whose pictures count as much as the clean ones.
    pub teacher: Option<PathBuf>,
    /// Time of a frame that decides the network's width.
    pub budget: Option<Budget>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sigma: None,
            sigma_max: 55.0,
            patch: 64,
            frames: None,
            noise: Noise::White,
            loss: PictureLoss::L1,
            noisy_only: false,
            teacher: None,
            budget: None,
        }
    }
}

impl Options {
    fn clip_frames(&self) -> usize {
        self.frames.unwrap_or(CLIP_FRAMES)
    }
}

/// Trains a denoiser.
pub fn train(common: &Common, options: &Options, exec: &exec::Options, stop: &AtomicBool) -> Result<Product> {
    check(common, options)?;
    let (train, apart) = common.sources.open(|_| Ok(true))?;
    at_least(1, &train, &common.sources.train, "pictures")?;
    let sets = Sets::new(train, apart, 0.05, common.seed);
    let data = sets.card()?;
    if options.noisy_only {
        return train_noisy_only(common, options, exec, &sets, &data, stop);
    }
    if sets.train.layout == Layout::Pairs && options.noise != Noise::White {
        let reason = "pairs have their own noise: leave --noise out";
        return Err(Error::data(&common.sources.train[0], reason));
    }
    let mut scenes = scenes::load(&sets.train, options.patch)?;
    let mut held_out = scenes::load(&sets.val, options.patch)?;
    let seen = || packed::color_of(scenes.iter().map(|scene| &scene.clean));
    let color = common.net.color.unwrap_or_else(seen);
    for scene in scenes.iter_mut().chain(&mut held_out) {
        scene.recolor(if common.net.chroma { Color::Rgb } else { color });
    }
    let color = if common.net.chroma { Color::Gray } else { color };
    let common = &fit_budget(common, options, color, exec)?;
    let (mut net, settings) = prepare(common, options, color, &data)?;
    if sets.train.layout != Layout::Pairs && options.noise == Noise::White {
        net.input.limit_change(LIMIT);
    }
    if net.input.is_recurrent() && sets.train.layout == Layout::Pairs {
        let reason = "pairs are for networks of single frames; a recurrent one learns from clean pictures or videos";
        return Err(Error::data(&common.sources.train[0], reason));
    }
    let material = Material {
        options: options.clone(),
        scenes,
        held_out,
        input: net.input.clone(),
        batch: settings.batch,
        seed: common.seed,
        device: common.device.clone(),
    };
    let objective: Box<dyn Denoising> = if net.input.is_recurrent() {
        Box::new(Clips { material })
    } else {
        let teacher = options.teacher.as_deref();
        let teacher = teacher.map(|path| Teacher::load(path, &net.input, options.patch));
        let teacher = teacher.transpose()?;
        Box::new(Clean { material, teacher })
    };
    finish(common, &*objective, &net, &settings, &data, stop)
}

fn train_noisy_only(
    common: &Common,
    options: &Options,
    exec: &exec::Options,
    sets: &Sets,
    data: &DataCard,
    stop: &AtomicBool,
) -> Result<Product> {
    let (shots, color) = noisy::load(&sets.train, common.net.color)?;
    let (held_out, _) = noisy::load(&sets.val, Some(color))?;
    let common = &fit_budget(common, options, color, exec)?;
    let (net, settings) = prepare(common, options, color, data)?;
    let objective = NoisyOnly::new(
        options,
        [&sets.train, &sets.val],
        [shots, held_out],
        &net.input,
        &settings,
    )?;
    let product = finish(common, &objective, &net, &settings, data, stop)?;
    if let Product::Model(model) = &product {
        let figure = |name: &str| model.training.metrics.get(name).copied();
        if let (Some(denoised), Some(noisy)) = (figure(judged::ESTIMATED), figure(judged::NOISY_ESTIMATED))
            && (denoised.is_nan() || denoised <= noisy)
        {
            eprintln!(
                "warning: by this estimate the frames are better as they are ({noisy:.1} dB) than denoised ({denoised:.1} dB): do not use this model"
            );
        }
    }
    Ok(product)
}

/// Refuses options that do not go together, before any work is done for them.
fn check(common: &Common, options: &Options) -> Result<()> {
    let input = common.build(Task::Denoise, Color::Gray, 0)?.input;
    check_patch(&input, options.patch)?;
    if input.is_recurrent() && (options.noisy_only || options.teacher.is_some()) {
        let reason = "--noisy-only and --teacher are for networks of single frames, not for a recurrent one";
        return Err(Error::Invalid(reason.into()));
    }
    if options.frames.is_some() && !input.is_recurrent() {
        return Err(Error::Invalid(
            "--clip-frames is for a recurrent network (--arch recurrent)".into(),
        ));
    }
    Ok(())
}

/// Noise of the validation, 0..255: that of the training, or a usual one where training draws it at random.
fn validation_sigma(options: &Options) -> f32 {
    options.sigma.unwrap_or(VAL_SIGMA.min(options.sigma_max))
}

/// With the width that the budget allows, where there is one; a run that goes on keeps its width.
fn fit_budget(common: &Common, options: &Options, color: Color, exec: &exec::Options) -> Result<Common> {
    let mut common = common.clone();
    let Some(budget) = options.budget else {
        return Ok(common);
    };
    common.net.width = if common.resume {
        common.saved_width()?
    } else {
        let (width, ms) = budget::widest(&common, color, budget, exec)?;
        let [columns, rows] = budget.size;
        eprintln!(
            "--width {width}: a frame of {columns}x{rows} takes {ms:.1} of {} ms on this machine",
            budget.ms
        );
        Some(width)
    };
    Ok(common)
}

/// The network and how its run goes.
fn prepare(common: &Common, options: &Options, color: Color, data: &DataCard) -> Result<(Net, Settings)> {
    let net = common.build(Task::Denoise, color, 0)?;
    let method = common.method.unwrap_or(Method::Muon);
    let defaults = Defaults {
        batch: if net.input.is_recurrent() { 4 } else { 16 },
        learning_rate: learning_rate(method, common.arch(Task::Denoise)),
        method,
        weight_decay: 0.0,
    };
    let extra = json!({
        "sigma": options.sigma, "sigma-max": options.sigma_max, "patch": options.patch, "noise": options.noise.to_string(),
        "loss": options.loss.name(), "noisy-only": options.noisy_only, "frames": net.input.is_recurrent().then_some(options.clip_frames()),
        "teacher": options.teacher.as_deref().map(sha256).transpose()?,
    });
    let settings = common.settings(Task::Denoise, &net, defaults, data, extra)?;
    Ok((net, settings))
}

/// Default learning rate.
fn learning_rate(method: Method, arch: &str) -> f64 {
    match (method, arch) {
        (Method::Muon, _) => 4e-3,
        (Method::AdamW, "dncnn") => 1e-3,
        (Method::AdamW, _) => 2e-3,
        (Method::Sgd, _) => 2e-2,
    }
}

/// What a denoiser learns, however.
trait Denoising: Objective {
    /// What the model loses in bf16, in dB, on a few frames held out: few, because a CPU without AMX takes a second for each.
    fn bf16_loss(&self, model: &Model) -> Result<f64>;
}

/// Runs, and makes the model.
fn finish(
    common: &Common,
    objective: &dyn Denoising,
    net: &Net,
    settings: &Settings,
    data: &DataCard,
    stop: &AtomicBool,
) -> Result<Product> {
    match run(objective, net, settings, stop)? {
        Outcome::Interrupted { step, total } => Ok(Product::Interrupted { step, total }),
        Outcome::Finished(trained) => {
            let mut model = common.model(Task::Denoise, net, net.input.clone(), Vec::new(), *trained, data);
            let loss = objective.bf16_loss(&model)?;
            model.training.metrics.insert(BF16_LOSS.into(), loss);
            Ok(Product::Model(Box::new(model)))
        }
    }
}

/// What `model` loses in bf16, in dB: the mean over `items`, whose PSNR `psnr` finds.
fn lost_in_bf16<T>(
    model: &Model,
    items: impl Iterator<Item = T>,
    mut psnr: impl FnMut(&Session, &T) -> Result<f64>,
) -> Result<f64> {
    let mut sessions = [Session::in_f32(model)?, Session::in_bf16(model)?];
    let (mut lost, mut count) = (0.0, 0.0);
    for item in items {
        let [exact, rounded] = sessions.each_mut().map(|session| psnr(session, &item));
        lost += exact? - rounded?;
        count += 1.0;
    }
    Ok(lost / count)
}

/// PSNR of a network's picture against the clean one, cut to 0..1; that of luma and `chroma` is compared as such.
fn psnr_of(input: &InputSpec, outputs: &[Array], clean: &Image) -> f64 {
    let cut = |array: &Array| Image {
        channels: array.shape[1],
        height: array.shape[2],
        width: array.shape[3],
        data: array.data.iter().map(|x| x.clamp(0.0, 1.0)).collect(),
    };
    if !input.takes_chroma() {
        return metrics::psnr(&cut(&outputs[0]), clean);
    }
    let [luma, chroma] = [0, 1].map(|i| cut(&outputs[i]));
    let mut picture = Yuv420 { luma, chroma }.to_rgb();
    picture.data.iter_mut().for_each(|x| *x = x.clamp(0.0, 1.0));
    metrics::psnr(&picture, &Yuv420::of(clean).to_rgb())
}

/// The loss of a network's picture, and of its chroma where there is a target for it.
fn loss_of(loss: PictureLoss, outputs: &[Tensor], targets: &[Tensor]) -> Result<Tensor> {
    let mut sum = loss.compute(&outputs[0], &targets[0])?;
    if let Some(chroma) = targets.get(1) {
        sum = (sum + (loss.compute(&outputs[1], chroma)? * CHROMA_WEIGHT)?)?;
    }
    Ok(sum)
}

/// The noise of what the network calls the picture, luma perhaps, as a share of that of all planes.
fn seen_share(input: &InputSpec, part: &Noisy) -> f32 {
    if !input.takes_chroma() {
        return 1.0;
    }
    let mut noise = part.noisy.clone();
    let values = noise.data.iter_mut().zip(&part.clean.data);
    values.for_each(|(x, clean)| *x -= clean);
    let [all, luma] = [
        noise_of_residual(&noise),
        noise_of_residual(&noise.to_color(Color::Gray)),
    ];
    luma / all.max(f32::MIN_POSITIVE)
}

/// Whether the next patch for a network of `color` is to be grey.
fn draw_gray(color: Color, rng: &mut Pcg64) -> bool {
    color == Color::Rgb && rng.random::<f32>() < GRAY_SHARE
}

/// A level as an estimate would have it: off by a few percent. Of what went through a codec it may see anything less: in flat parts
/// the finest detail, which it measures, is gone, more so in a whole frame than in a patch.
fn misjudged(level: f32, noise: Noise, rng: &mut Pcg64) -> f32 {
    let normal: f32 = StandardNormal.sample(rng);
    let level = level * (MISJUDGED * normal).exp();
    if noise.is_coded() {
        level * rng.random::<f32>()
    } else {
        level
    }
}

/// The network's inputs: the pictures, and for each extra input planes of the noise levels, the pictures' chroma, or zeros: nothing was
/// before.
fn inputs(spec: &InputSpec, noisy: &[Image], levels: &[f32]) -> Vec<Array> {
    let (height, width) = (noisy[0].height, noisy[0].width);
    let mut inputs = split_chroma(spec, noisy);
    let chroma = (inputs.len() > 1).then(|| inputs.swap_remove(1));
    for extra in &spec.extra {
        if let (ExtraInput::Chroma, Some(chroma)) = (extra, &chroma) {
            inputs.push(chroma.clone());
            continue;
        }
        let (channels, height, width) = (extra.channels(), height / extra.divide(), width / extra.divide());
        let plane = |&level: &f32| {
            let value = if matches!(extra, ExtraInput::State { .. }) {
                0.0
            } else {
                level
            };
            std::iter::repeat_n(value, channels * height * width)
        };
        inputs.push(Array {
            shape: vec![levels.len(), channels, height, width],
            data: levels.iter().flat_map(plane).collect(),
        });
    }
    inputs
}

/// What the network takes of pictures, or gives back: as they are, or their luma and their chroma.
fn split_chroma(spec: &InputSpec, pictures: &[Image]) -> Vec<Array> {
    if !spec.takes_chroma() {
        return vec![stack(pictures)];
    }
    let (luma, chroma): (Vec<_>, Vec<_>) = pictures
        .iter()
        .map(Yuv420::of)
        .map(|yuv| (yuv.luma, yuv.chroma))
        .unzip();
    vec![stack(&luma), stack(&chroma)]
}

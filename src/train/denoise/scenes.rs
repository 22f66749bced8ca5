//! Pictures to learn from, with their clean ones.

use candle_core::Device;
use rand::RngExt;
use rand_pcg::Pcg64;
use rayon::prelude::*;

use super::Options;
use crate::data::layout::{Dataset, Layout, Sample};
use crate::data::noise::{Noise, Noisy};
use crate::data::pictures;
use crate::model::{Color, InputSpec};
use crate::pixels::{Image, estimate_noise};
use crate::train::packed::{self, Packed};
use crate::{Error, Result};

/// A clean picture and, in pairs, the noisy one and its noise level in 0..1.
pub(super) struct Scene {
    pub(super) clean: Packed,
    /// Whether the next scene is a later frame of the same video.
    pub(super) goes_on: bool,
    noisy: Option<(Packed, f32)>,
}

/// Share of the patches that have little noise, 0..255, beside those that happen to, half of them none: what is clean is to pass as it is.
const FAINT_SHARE: f32 = 0.1;
const FAINT: f32 = 4.0;

/// Clean pictures, and how they are learned from.
pub(super) struct Material {
    pub(super) options: Options,
    pub(super) scenes: Vec<Scene>,
    pub(super) held_out: Vec<Scene>,
    pub(super) input: InputSpec,
    pub(super) batch: usize,
    pub(super) seed: u64,
    pub(super) device: Device,
}

impl Material {
    /// Patches that cover the pictures once.
    pub(super) fn epoch_items(&self) -> u64 {
        let pixels = self
            .scenes
            .iter()
            .map(|scene| scene.clean.size().iter().product::<usize>());
        pixels.sum::<usize>().div_ceil(self.options.patch.pow(2)) as u64
    }

    /// The scenes of a validation: one picture has nothing held out beside it, and is better than none.
    pub(super) fn judged(&self) -> &[Scene] {
        if self.held_out.is_empty() {
            &self.scenes
        } else {
            &self.held_out
        }
    }

    /// Noise level of a patch, 0..255.
    pub(super) fn draw_sigma(&self, rng: &mut Pcg64) -> f32 {
        let Options { sigma, sigma_max, .. } = self.options;
        let range = if rng.random::<f32>() < FAINT_SHARE {
            let most = FAINT.min(sigma_max);
            -most..=most
        } else {
            0.0..=sigma_max
        };
        sigma.unwrap_or_else(|| rng.random_range(range).max(0.0))
    }
}

/// All pictures of a data set, enlarged where they are smaller than a patch.
pub(super) fn load(data: &Dataset, patch: usize) -> Result<Vec<Scene>> {
    let enlarge = |image: Image| {
        let (width, height) = (image.width.max(patch), image.height.max(patch));
        if (width, height) == (image.width, image.height) {
            image
        } else {
            image.resize(width, height)
        }
    };
    if data.layout != Layout::Pairs {
        let clean = packed::load(data, &data.samples, enlarge)?;
        let next = data.samples.iter().skip(1).map(Some).chain([None]);
        let scenes = clean.into_iter().zip(data.samples.iter().zip(next));
        let scene = |(clean, (now, next)): (Packed, (&Sample, Option<&Sample>))| Scene {
            clean,
            goes_on: next.is_some_and(|next| next.source.follows(&now.source)),
            noisy: None,
        };
        return Ok(scenes.map(scene).collect());
    }
    let pair = |sample: &Sample| {
        let noisy = data.read(sample)?;
        let path = sample.clean.as_ref();
        let path =
            path.ok_or_else(|| Error::Invalid(format!("{:?}: it has no clean picture beside it", sample.source)))?;
        let clean = pictures::read(path)?;
        if (noisy.width, noisy.height) != (clean.width, clean.height) {
            let reason = format!(
                "{}x{} pixels, but the noisy picture has {}x{}",
                clean.width, clean.height, noisy.width, noisy.height
            );
            return Err(Error::data(path, reason));
        }
        Ok(Scene {
            clean: Packed::new(&enlarge(clean)),
            goes_on: false,
            noisy: Some((Packed::new(&enlarge(noisy)), 0.0)),
        })
    };
    data.samples.par_iter().map(pair).collect()
}

impl Scene {
    #[cfg(test)]
    pub(super) fn still(clean: &Image) -> Self {
        Self {
            clean: Packed::new(clean),
            goes_on: false,
            noisy: None,
        }
    }

    /// In `color`, and the noise level found; to be called once after loading.
    pub(super) fn recolor(&mut self, color: Color) {
        packed::to_color(std::slice::from_mut(&mut self.clean), color);
        if let Some((noisy, level)) = &mut self.noisy {
            packed::to_color(std::slice::from_mut(noisy), color);
            // Of what the network sees, as the live elements estimate it, on the whole frame.
            *level = estimate_noise(&noisy.image());
        }
    }

    /// The same part of the noisy and the clean picture, and the noise level; noise is made where there is no noisy picture, with
    /// `gray` the same on all planes of a grey one.
    pub(super) fn part(
        &self,
        at: [usize; 2],
        size: [usize; 2],
        noise: Noise,
        sigma: f32,
        gray: bool,
        rng: &mut Pcg64,
    ) -> Noisy {
        let clean = self.clean.crop(at, size);
        match &self.noisy {
            Some((noisy, level)) => Noisy {
                noisy: noisy.crop(at, size),
                clean,
                level: *level,
            },
            None if gray => noise
                .apply(clean.to_color(Color::Gray), sigma / 255.0, rng)
                .to_color(Color::Rgb),
            None => noise.apply(clean, sigma / 255.0, rng),
        }
    }
}

//! Noisy frames in, clean frames out.

use crate::Result;
use crate::exec::Options;
use crate::model::Model;
use crate::pixels::{Frame, FrameMut, Image};

/// A denoising model ready to run.
pub struct Denoiser {}

impl Denoiser {
    /// Refuses a model of another task.
    pub fn new(model: &Model, options: &Options) -> Result<Self> {
        unimplemented!("{:?} {options:?}", model.task)
    }

    /// The denoised picture, same shape. A grey model runs on each plane; a colour model sees a grey picture three times.
    /// `noise_level` is the standard deviation in 0..255 of full scale; `None` estimates it. Returns the level used, too.
    pub fn denoise(&mut self, image: &Image, noise_level: Option<f32>) -> Result<(Image, f32)> {
        unimplemented!("{} {noise_level:?}", image.width)
    }

    /// Denoises `input` into `output` (same format and size). A grey model runs on each component without going through RGB.
    /// `strength` 0..1 blends from the noisy to the denoised values. Returns the noise level used, 0..255.
    pub fn process(
        &mut self,
        input: &Frame<'_>,
        output: &mut FrameMut<'_>,
        noise_level: Option<f32>,
        strength: f32,
    ) -> Result<f32> {
        unimplemented!("{} {} {noise_level:?} {strength}", input.width, output.width)
    }
}

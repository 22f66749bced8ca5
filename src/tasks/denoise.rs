//! Noisy frames in, clean frames out.

use crate::exec::{Options, Session};
use crate::graph::Array;
use crate::model::{Color, ExtraInput, InputSpec, Model, Task};
use crate::pixels::{Frame, FrameMut, Image, estimate_noise};
use crate::{Error, Result};

use super::input::{batch, item, normalize};

/// A denoising model ready to run.
pub struct Denoiser {
    session: Session,
    input: InputSpec,
}

impl Denoiser {
    /// Refuses a model of another task, or one of fixed size.
    pub fn new(model: &Model, options: &Options) -> Result<Self> {
        super::require(model, Task::Denoise)?;
        if let Some([width, height]) = model.input.size {
            return Err(Error::Invalid(format!(
                "this model takes {width}x{height} only; a denoiser must take any size"
            )));
        }
        Ok(Self {
            session: Session::new(model, options)?,
            input: model.input.clone(),
        })
    }

    /// The denoised picture, same shape. A grey model runs on each plane; a colour model sees a grey picture three times.
    /// `noise_level` is the standard deviation in 0..255 of full scale; `None` estimates it. Returns the level used, too.
    pub fn denoise(&mut self, image: &Image, noise_level: Option<f32>) -> Result<(Image, f32)> {
        let level = noise_level.unwrap_or_else(|| 255.0 * estimate_noise(image));
        let padded = image.pad_to_multiple(self.input.multiple_of);
        let planes = match self.input.color {
            Color::Rgb => vec![padded.to_color(Color::Rgb)],
            Color::Gray => (0..padded.channels)
                .map(|c| Image {
                    channels: 1,
                    data: padded.plane(c).to_vec(),
                    ..padded
                })
                .collect(),
        };
        let normalized: Vec<_> = planes.into_iter().map(|plane| normalize(&self.input, plane)).collect();
        let mut inputs = vec![batch(&normalized.iter().map(|(image, _)| image).collect::<Vec<_>>())];
        for extra in &self.input.extra {
            let ExtraInput::NoiseLevel { divide } = *extra;
            let shape = vec![normalized.len(), 1, padded.height / divide, padded.width / divide];
            inputs.push(Array {
                data: vec![level / 255.0; shape.iter().product()],
                shape,
            });
        }
        let output = &self.session.run(&inputs)?[0];
        let mut data = Vec::with_capacity(image.data.len());
        for (index, (_, scaling)) in normalized.iter().enumerate() {
            let mut denoised = item(output, index);
            scaling.restore(&mut denoised);
            let denoised = denoised.crop(0, 0, image.width, image.height);
            let denoised = if image.channels == 1 {
                denoised.to_color(Color::Gray)
            } else {
                denoised
            };
            data.extend_from_slice(&denoised.data);
        }
        Ok((Image { data, ..*image }, level))
    }

    /// Denoises `input` into `output` (same format and size). A grey model runs on each component without going through RGB.
    /// `strength` 0..1 blends from the noisy to the denoised values. Returns the noise level used, 0..255: the largest
    /// of the components'.
    pub fn process(
        &mut self,
        input: &Frame<'_>,
        output: &mut FrameMut<'_>,
        noise_level: Option<f32>,
        strength: f32,
    ) -> Result<f32> {
        let mut used = 0.0f32;
        let by_component = self.input.color == Color::Gray;
        if by_component || strength <= 0.0 {
            for component in 0..input.format.components() {
                let noisy = input.component(component);
                let (clean, level) = self.blend(noisy, noise_level, strength)?;
                output.write_component(component, &clean);
                used = used.max(level);
            }
        } else {
            let noisy = input.to_image(input.format.color());
            let (clean, level) = self.blend(noisy, noise_level, strength)?;
            output.write(&clean);
            used = level;
        }
        output.copy_alpha(input);
        Ok(used)
    }

    /// `strength` of the denoised picture, the rest of the noisy one.
    fn blend(&mut self, mut noisy: Image, noise_level: Option<f32>, strength: f32) -> Result<(Image, f32)> {
        if strength <= 0.0 {
            return Ok((noisy, noise_level.unwrap_or(0.0)));
        }
        let (clean, level) = self.denoise(&noisy, noise_level)?;
        if strength >= 1.0 {
            return Ok((clean, level));
        }
        noisy
            .data
            .iter_mut()
            .zip(&clean.data)
            .for_each(|(n, c)| *n += strength * (c - *n));
        Ok((noisy, level))
    }
}

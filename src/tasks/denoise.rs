//! Noisy frames in, clean frames out.

mod memory;

use self::memory::{Kept, Memory};
use crate::exec::{Options, Rows, Session};
use crate::kernels::parts::{Claims, RowsMut};
use crate::model::{Color, ExtraInput, InputSpec, Model, Task};
use crate::pixels::{Frame, FrameMut, Image, estimate_noise, luma_of, reflect};
use crate::{Error, Result};

use super::input::Scaling;

/// Most inputs beside the picture.
const MOST_EXTRA: usize = 4;

/// A denoising model ready to run.
pub struct Denoiser {
    network: Network,
    /// What a recurrent network keeps, for each part of a frame that it runs on by itself.
    memories: Vec<Memory>,
    /// Memory for pictures.
    noisy: Image,
    clean: Image,
}

/// The network, and what it takes.
struct Network {
    session: Session,
    input: InputSpec,
    claims: Claims,
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
        if model.input.extra.len() > MOST_EXTRA {
            let extra = model.input.extra.len();
            return Err(Error::Invalid(format!(
                "this model takes {extra} inputs beside the picture; {MOST_EXTRA} at most are known here"
            )));
        }
        let (session, input, claims) = (Session::new(model, options)?, model.input.clone(), Claims::default());
        Ok(Self {
            network: Network { session, input, claims },
            memories: Vec::new(),
            noisy: Image::default(),
            clean: Image::default(),
        })
    }

    /// The denoised picture, same shape. A grey model runs on each plane; a colour model sees a grey picture three times.
    /// `noise_level` is the standard deviation in 0..255 of full scale; `None` estimates it. Returns the level used, too.
    ///
    /// Pictures are taken as frames of a video, in order, unless there is a [`Denoiser::reset`] between them: an estimated level is a
    /// mean over time, and a recurrent model remembers the frames before.
    pub fn denoise(&mut self, image: &Image, noise_level: Option<f32>) -> Result<(Image, f32)> {
        let mut clean = image.clone();
        let memory = memory(&mut self.memories, 0);
        let level = self.network.denoise(image, noise_level, 1.0, memory, &mut clean)?;
        Ok((clean, level))
    }

    /// Whether it keeps something from frame to frame.
    pub fn is_recurrent(&self) -> bool {
        let extra = &self.network.input.extra;
        extra.iter().any(|extra| matches!(extra, ExtraInput::State { .. }))
    }

    /// Forgets the frames so far: what comes next has nothing to do with them. A recurrent model finds out by itself where a scene is cut
    /// or the size changes, and the estimated level where the noise does.
    pub fn reset(&mut self) {
        self.memories.iter_mut().for_each(Memory::forget);
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
        let Self {
            network,
            memories,
            noisy,
            clean,
        } = self;
        let mut used = 0.0f32;
        if network.input.color == Color::Gray || strength <= 0.0 {
            for component in 0..input.format.components() {
                input.read_component(component, noisy);
                let memory = memory(memories, component);
                used = used.max(network.denoise(noisy, noise_level, strength, memory, clean)?);
                output.write_component(component, clean);
            }
        } else {
            input.read(input.format.color(), noisy);
            used = network.denoise(noisy, noise_level, strength, memory(memories, 0), clean)?;
            output.write(clean);
        }
        output.copy_alpha(input);
        Ok(used)
    }
}

/// The memory of part `part` of a frame.
fn memory(memories: &mut Vec<Memory>, part: usize) -> &mut Memory {
    if memories.len() <= part {
        memories.resize_with(part + 1, Memory::default);
    }
    &mut memories[part]
}

impl Network {
    /// `strength` of the denoised picture, the rest of the noisy one, into `clean`. Returns the noise level used.
    fn denoise(
        &mut self,
        noisy: &Image,
        noise_level: Option<f32>,
        strength: f32,
        memory: &mut Memory,
        clean: &mut Image,
    ) -> Result<f32> {
        let Image {
            channels,
            height,
            width,
            ..
        } = *noisy;
        clean.reshape(channels, height, width);
        if strength <= 0.0 {
            clean.data.copy_from_slice(&noisy.data);
            memory.forget();
            return Ok(noise_level.unwrap_or(0.0));
        }
        let level = noise_level.unwrap_or_else(|| memory.level(255.0 * estimate_noise(noisy)));
        let [h, w] = [height, width].map(|side| side.next_multiple_of(self.input.multiple_of));
        let items = if self.input.color == Color::Gray { channels } else { 1 };
        let extra = &self.input.extra;
        let mut shapes = [[0; 4]; 1 + MOST_EXTRA];
        shapes[0] = [items, self.input.color.channels(), h, w];
        for (shape, extra) in shapes[1..].iter_mut().zip(extra) {
            *shape = [items, extra.channels(), h / extra.divide(), w / extra.divide()];
        }
        memory.expect(noisy, extra, &shapes[1..]);
        let scaling = |item: usize| match items {
            1 => Scaling::of(&self.input, &noisy.data),
            _ => Scaling::of(&self.input, noisy.plane(item)),
        };
        let picture = Picture {
            noisy,
            color: self.input.color,
            scalings: (0..items).map(scaling).collect(),
            level: level / 255.0,
            strength,
            clean: RowsMut::new(&mut clean.data, width, &mut self.claims),
            kept: memory.kept(),
        };
        self.session.run_rows(&shapes[..1 + extra.len()], &picture)?;
        drop(picture);
        memory.turn();
        Ok(level)
    }
}

/// A picture on its way through the network: reflected to the right and below as far as the network needs.
struct Picture<'a> {
    noisy: &'a Image,
    /// Of the network.
    color: Color,
    /// One for each item of the batch.
    scalings: Vec<Scaling>,
    /// 0..1.
    level: f32,
    strength: f32,
    clean: RowsMut<'a>,
    /// States of a recurrent network.
    kept: Vec<Kept<'a>>,
}

impl Picture<'_> {
    /// The plane of the picture that channel `channel` of item `item` is.
    fn plane(&self, item: usize, channel: usize) -> usize {
        match self.color {
            Color::Gray => item,
            Color::Rgb => channel.min(self.noisy.channels - 1),
        }
    }

    fn row(&self, plane: usize, row: usize) -> &[f32] {
        let width = self.noisy.width;
        &self.noisy.plane(plane)[row * width..(row + 1) * width]
    }
}

impl Rows for Picture<'_> {
    fn read(&self, input: usize, item: usize, row: usize, out: &mut [f32]) {
        if input > 0 {
            return match self.kept.iter().find(|kept| kept.input == input) {
                Some(kept) => out.copy_from_slice(kept.row(item, row)),
                None => out.fill(self.level),
            };
        }
        let (channels, width) = (self.color.channels(), self.noisy.width);
        for channel in 0..channels {
            let row = self.row(self.plane(item, channel), reflect(row, self.noisy.height));
            let (mean, std) = self.scalings[item].channel(channel);
            let mut out = out[channel..].iter_mut().step_by(channels);
            out.by_ref().zip(row).for_each(|(out, x)| *out = (x - mean) / std);
            out.zip(width..)
                .for_each(|(out, x)| *out = (row[reflect(x, width)] - mean) / std);
        }
    }

    fn write(&self, output: usize, item: usize, row: usize, values: &[f32]) {
        let Image { channels, height, .. } = *self.noisy;
        let kept = self.kept.iter().filter(|kept| kept.output == output);
        kept.for_each(|kept| kept.keep(item, row, values));
        if output > 0 || row >= height {
            return;
        }
        let network_channels = self.color.channels();
        let of_item = if self.color == Color::Gray {
            item..item + 1
        } else {
            0..channels
        };
        for plane in of_item {
            let noisy = self.row(plane, row);
            let clean = self.clean.take(plane * height + row..plane * height + row + 1);
            let restored = |pixel: &[f32], channel: usize| {
                let (mean, std) = self.scalings[item].channel(channel);
                pixel[channel] * std + mean
            };
            let pixels = clean.iter_mut().zip(noisy).zip(values.chunks_exact(network_channels));
            for ((clean, noisy), pixel) in pixels {
                let value = match (self.color, channels) {
                    (Color::Gray, _) => restored(pixel, 0),
                    (Color::Rgb, 1) => luma_of([0, 1, 2].map(|channel| restored(pixel, channel))),
                    (Color::Rgb, _) => restored(pixel, plane),
                };
                *clean = if self.strength < 1.0 {
                    noisy + self.strength * (value - noisy)
                } else {
                    value
                };
            }
        }
    }
}

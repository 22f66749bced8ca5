//! Noisy frames in, clean frames out.

mod memory;

use self::memory::{Kept, Memory};
use crate::exec::{Options, Rows, Session};
use crate::kernels::parts::{Claims, RowsMut};
use crate::model::{Color, ExtraInput, InputSpec, Model, Task};
use crate::pixels::{
    Frame, FrameMut, Image, PixelFormat, Yuv420, estimate_noise, estimate_noise_in_rgb, luma_of, reflect,
};
use crate::{Error, Result};

use super::input::Scaling;

/// Most inputs beside the picture.
const MOST_EXTRA: usize = 5;
/// Detail of colour beyond so many noise levels is no noise.
const CHROMA_DEVIATIONS: f32 = 2.0;

/// A denoising model ready to run.
pub struct Denoiser {
    network: Network,
    /// What a recurrent network keeps, for each part of a frame that it runs on by itself.
    memories: Vec<Memory>,
    /// Memory for pictures.
    noisy: Image,
    clean: Image,
    yuv: [Yuv420; 2],
}

/// The network, and what it takes.
struct Network {
    session: Session,
    input: InputSpec,
    /// For the picture, and for its chroma.
    claims: [Claims; 2],
}

impl Denoiser {
    /// Refuses a model of another task, or one of fixed size.
    pub fn new(model: &Model, options: &Options) -> Result<Self> {
        Self::with_session(model, Session::new(model, options)?)
    }

    /// The same on a session of this model, whose own weights are not looked at.
    pub fn with_session(model: &Model, session: Session) -> Result<Self> {
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
        let (input, claims) = (model.input.clone(), Default::default());
        Ok(Self {
            network: Network { session, input, claims },
            memories: Vec::new(),
            noisy: Image::default(),
            clean: Image::default(),
            yuv: Default::default(),
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
        let level = self
            .network
            .denoise_picture(image, noise_level, 1.0, memory, &mut clean)?;
        Ok((clean, level))
    }

    /// Whether it keeps something from frame to frame.
    pub fn is_recurrent(&self) -> bool {
        self.network.input.is_recurrent()
    }

    /// Forgets the frames so far: what comes next has nothing to do with them. A recurrent model finds out by itself where a scene is cut
    /// or the size changes, and the estimated level where the noise does.
    pub fn reset(&mut self) {
        self.memories.iter_mut().for_each(Memory::forget);
    }

    /// Denoises `input` into `output` (same format and size). A grey model runs on each component, and one of luma and chroma on those of
    /// I420 and NV12, without going through RGB. `strength` 0..1 blends from the noisy to the denoised values. Returns the noise level used,
    /// 0..255: the largest of the components', that of luma, or that of red, green and blue.
    pub fn process(
        &mut self,
        input: &Frame<'_>,
        output: &mut FrameMut<'_>,
        noise_level: Option<f32>,
        strength: f32,
    ) -> Result<f32> {
        let format = input.format;
        let Self {
            network,
            memories,
            noisy,
            clean,
            yuv: [before, after],
        } = self;
        let mut used = 0.0f32;
        // What has a limit of so many noise levels changes nothing then, not even by way of RGB.
        let strength = if noise_level == Some(0.0) && network.limit().is_some() {
            0.0
        } else {
            strength
        };
        if network.input.takes_chroma() && matches!(format, PixelFormat::I420 | PixelFormat::Nv12) && strength > 0.0 {
            before.read(input, noisy);
            used = network.denoise_yuv(before, noise_level, strength, memory(memories, 0), after)?;
            after.write(output, noisy);
        } else if (network.input.color == Color::Gray && !network.input.takes_chroma()) || strength <= 0.0 {
            for component in 0..format.components() {
                input.read_component(component, noisy);
                // Chroma alone may not show a cut.
                let is_cut = component > 0 && memory(memories, 0).is_cut();
                let memory = memory(memories, component);
                if is_cut {
                    memory.forget();
                }
                used = used.max(network.denoise(noisy, None, noise_level, strength, memory, clean)?);
                output.write_component(component, clean);
            }
        } else {
            let memory = memory(memories, 0);
            let estimate = noise_level.is_none() && format.is_yuv() && !network.input.takes_chroma();
            let noise_level = if estimate {
                Some(memory.level(255.0 * estimate_noise_in_rgb(input, noisy)))
            } else {
                noise_level
            };
            input.read(format.color(), noisy);
            used = network.denoise_picture(noisy, noise_level, strength, memory, clean)?;
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
    /// Noise levels that no value is changed by more than.
    fn limit(&self) -> Option<u8> {
        self.input.extra.iter().find_map(|extra| match extra {
            ExtraInput::NoiseLevel { limit, .. } => *limit,
            _ => None,
        })
    }

    /// [`Network::denoise`] of a picture in grey or RGB, whatever the network takes.
    fn denoise_picture(
        &mut self,
        noisy: &Image,
        noise_level: Option<f32>,
        strength: f32,
        memory: &mut Memory,
        clean: &mut Image,
    ) -> Result<f32> {
        if !self.input.takes_chroma() {
            return self.denoise(noisy, None, noise_level, strength, memory, clean);
        }
        let (halved, mut denoised) = (Yuv420::of(noisy), Yuv420::default());
        let level = self.denoise_yuv(&halved, noise_level, 1.0, memory, &mut denoised)?;
        *clean = match noisy.channels {
            1 => denoised.luma,
            _ => {
                // What chroma loses at half the size comes back, as far as it is more than noise.
                let (mut clean, halved) = (denoised.to_rgb(), halved.to_rgb());
                let noise = (CHROMA_DEVIATIONS * level / 255.0).max(0.0);
                for ((clean, halved), noisy) in clean.data.iter_mut().zip(&halved.data).zip(&noisy.data) {
                    let lost = noisy - halved;
                    *clean += lost - lost.clamp(-noise, noise);
                }
                clean
            }
        };
        for (clean, noisy) in clean.data.iter_mut().zip(&noisy.data) {
            *clean = noisy + strength * (*clean - noisy);
        }
        Ok(level)
    }

    /// [`Network::denoise`] of luma and chroma.
    fn denoise_yuv(
        &mut self,
        noisy: &Yuv420,
        noise_level: Option<f32>,
        strength: f32,
        memory: &mut Memory,
        clean: &mut Yuv420,
    ) -> Result<f32> {
        let chroma = Some((&noisy.chroma, &mut clean.chroma));
        self.denoise(&noisy.luma, chroma, noise_level, strength, memory, &mut clean.luma)
    }

    /// `strength` of the denoised picture, the rest of the noisy one, into `clean`, and so the chroma. Returns the noise level used.
    fn denoise(
        &mut self,
        noisy: &Image,
        chroma: Option<(&Image, &mut Image)>,
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
        let [w, h] = self.input.size_for([width, height]);
        let items = if self.input.color == Color::Gray { channels } else { 1 };
        let extra = &self.input.extra;
        let mut shapes = [[0; 4]; 1 + MOST_EXTRA];
        shapes[0] = [items, self.input.color.channels(), h, w];
        for (shape, extra) in shapes[1..].iter_mut().zip(extra) {
            *shape = [items, extra.channels(), h / extra.divide(), w / extra.divide()];
        }
        memory.expect(noisy, level / 255.0, extra, &shapes[1..]);
        let scaling = |item: usize| match items {
            1 => Scaling::of(&self.input, &noisy.data),
            _ => Scaling::of(&self.input, noisy.plane(item)),
        };
        let change = Change {
            strength,
            limit: self
                .limit()
                .map_or(f32::INFINITY, |limit| largest_change(limit, level) / 255.0),
        };
        let [claims, chroma_claims] = &mut self.claims;
        let chroma_input = 1 + extra
            .iter()
            .position(|extra| *extra == ExtraInput::Chroma)
            .unwrap_or(extra.len());
        let picture = Picture {
            planes: Planes::new(noisy, clean, change, claims),
            color: self.input.color,
            scalings: (0..items).map(scaling).collect(),
            chroma: chroma.map(|(noisy, clean)| {
                clean.reshape(noisy.channels, noisy.height, noisy.width);
                (chroma_input, Planes::new(noisy, clean, change, chroma_claims))
            }),
            level: level / 255.0,
            kept: memory.kept(),
        };
        self.session.run_rows(&shapes[..1 + extra.len()], &picture)?;
        drop(picture);
        memory.turn();
        Ok(level)
    }
}

/// Planes on their way through the network: reflected to the right and below as far as the network needs.
struct Planes<'a> {
    noisy: &'a Image,
    clean: RowsMut<'a>,
    change: Change,
}

/// The largest change of a value where the noise level is `level`, of 255: `limit` times as much, and less below 1, where an estimate is of
/// texture as often as of noise.
fn largest_change(limit: u8, level: f32) -> f32 {
    f32::from(limit) * level * level.min(1.0)
}

/// What of the network's changes comes into the frame.
#[derive(Clone, Copy)]
struct Change {
    /// Share of them, 0..1.
    strength: f32,
    /// Largest one of a value.
    limit: f32,
}

impl Change {
    fn of(self, noisy: f32, clean: f32) -> f32 {
        let clean = clean.max(noisy - self.limit).min(noisy + self.limit);
        if self.strength < 1.0 {
            noisy + self.strength * (clean - noisy)
        } else {
            clean
        }
    }
}

impl<'a> Planes<'a> {
    fn new(noisy: &'a Image, clean: &'a mut Image, change: Change, claims: &'a mut Claims) -> Self {
        let clean = RowsMut::new(&mut clean.data, noisy.width, claims);
        #[rustfmt::skip]
        return Self { noisy, clean, change };
    }

    fn row(&self, plane: usize, row: usize) -> &[f32] {
        let width = self.noisy.width;
        &self.noisy.plane(plane)[row * width..(row + 1) * width]
    }

    /// A row of plane `plane` as channel `channel` of `channels`.
    fn read(
        &self,
        plane: usize,
        row: usize,
        (mean, std): (f32, f32),
        [channel, channels]: [usize; 2],
        out: &mut [f32],
    ) {
        let width = self.noisy.width;
        let row = self.row(plane, reflect(row, self.noisy.height));
        let mut out = out[channel..].iter_mut().step_by(channels);
        out.by_ref().zip(row).for_each(|(out, x)| *out = (x - mean) / std);
        out.zip(width..)
            .for_each(|(out, x)| *out = (row[reflect(x, width)] - mean) / std);
    }

    /// A row of plane `plane` from the network's values.
    fn write(&self, plane: usize, row: usize, values: impl Iterator<Item = f32>) {
        let (noisy, height) = (self.row(plane, row), self.noisy.height);
        let clean = self.clean.take(plane * height + row..plane * height + row + 1);
        for ((clean, noisy), value) in clean.iter_mut().zip(noisy).zip(values) {
            *clean = self.change.of(*noisy, value);
        }
    }
}

/// A picture on its way through the network.
struct Picture<'a> {
    planes: Planes<'a>,
    /// Of the network.
    color: Color,
    /// One for each item of the batch.
    scalings: Vec<Scaling>,
    /// The chroma, and which input it is.
    chroma: Option<(usize, Planes<'a>)>,
    /// 0..1.
    level: f32,
    /// States of a recurrent network.
    kept: Vec<Kept<'a>>,
}

impl Picture<'_> {
    /// The plane of the picture that channel `channel` of item `item` is.
    fn plane(&self, item: usize, channel: usize) -> usize {
        match self.color {
            Color::Gray => item,
            Color::Rgb => channel.min(self.planes.noisy.channels - 1),
        }
    }
}

impl Rows for Picture<'_> {
    fn read(&self, input: usize, item: usize, row: usize, out: &mut [f32]) {
        if input == 0 {
            let channels = self.color.channels();
            for channel in 0..channels {
                let scaling = self.scalings[item].channel(channel);
                let plane = self.plane(item, channel);
                self.planes.read(plane, row, scaling, [channel, channels], out);
            }
        } else if let Some((_, chroma)) = self.chroma.as_ref().filter(|(chroma, _)| *chroma == input) {
            for plane in 0..2 {
                chroma.read(plane, row, (0.0, 1.0), [plane, 2], out);
            }
        } else if let Some(kept) = self.kept.iter().find(|kept| kept.input == input) {
            kept.read(item, row, out);
        } else {
            out.fill(self.level);
        }
    }

    fn write(&self, output: usize, item: usize, row: usize, values: &[f32]) {
        let kept = self.kept.iter().filter(|kept| kept.output == output);
        kept.for_each(|kept| kept.keep(item, row, values));
        if let Some((_, chroma)) = &self.chroma
            && output == 1
            && row < chroma.noisy.height
        {
            (0..2).for_each(|plane| chroma.write(plane, row, values[plane..].iter().step_by(2).copied()));
        }
        let Image { channels, height, .. } = *self.planes.noisy;
        if output > 0 || row >= height {
            return;
        }
        let pixels = values.chunks_exact(self.color.channels());
        let restored = |pixel: &[f32], channel: usize| {
            let (mean, std) = self.scalings[item].channel(channel);
            pixel[channel] * std + mean
        };
        match (self.color, channels) {
            (Color::Gray, _) => self.planes.write(item, row, pixels.map(|pixel| restored(pixel, 0))),
            (Color::Rgb, 1) => {
                let luma = pixels.map(|pixel| luma_of([0, 1, 2].map(|channel| restored(pixel, channel))));
                self.planes.write(0, row, luma);
            }
            (Color::Rgb, _) => (0..channels).for_each(|plane| {
                let values = pixels.clone().map(|pixel| restored(pixel, plane));
                self.planes.write(plane, row, values);
            }),
        }
    }
}

//! Frames and tensors: formats, strides, colour, resizing, fixed filters, noise level.
//!
//! [`Frame`] and [`FrameMut`] lend the memory of a video frame, [`Image`] is a picture in working form: planes of `f32`.
//! Work on whole pictures is shared out by rows over the threads that run networks: all cores, or as many as
//! [`crate::kernels::set_threads`] says.

pub mod blend;
mod color;
pub mod colormap;
mod fill;
mod filter;
mod formats;
mod frame;
mod frame_mut;
pub mod heatmap;
mod mix;
mod motion;
mod noise_level;
mod placement;
mod resize;
mod scene;
pub(crate) mod separable;
#[cfg(test)]
mod tests;
mod yuv420;

pub(crate) use color::luma_of;
pub use filter::{box_mean, gaussian};
pub use frame::Frame;
pub use frame_mut::FrameMut;
pub use motion::{MOTION_SIDE, Motion, Pyramid};
#[cfg(feature = "train")]
pub(crate) use noise_level::{dct_basis, noise_of_residual};
pub use noise_level::{estimate_noise, estimate_noise_in_rgb};
pub use placement::Placement;
pub use scene::Scene;
pub use yuv420::Yuv420;

use crate::model::Color;

/// A picture in working form: `channels` planes of `height` rows of `width` values, planes one after the other.
/// Values are 0..1 for pictures (they may go a little beyond), anything for maps.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Image {
    /// Planes: 1 (grey, maps) or 3 (red, green, blue).
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `channels · height · width` values.
    pub data: Vec<f32>,
}

/// Pixel formats of frames, named as GStreamer names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "GStreamer's names")]
pub enum PixelFormat {
    Gray8,
    Gray16Le,
    Rgb,
    Bgr,
    Rgbx,
    Bgrx,
    Rgba,
    Bgra,
    Argb,
    Abgr,
    I420,
    Nv12,
    Y42b,
    Y444,
}

/// Luma weights of YUV formats, from the caps' colorimetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Matrix {
    /// ITU-R BT.601.
    #[default]
    Bt601,
    /// ITU-R BT.709.
    Bt709,
    /// ITU-R BT.2020, non-constant luminance.
    Bt2020,
}

/// Which values mean black and white in YUV and grey formats. RGB formats always use every code.
///
/// GStreamer's default for grey caps is [`Range::Limited`], as for YUV; whoever knows that a grey camera uses every code
/// says [`Range::Full`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Range {
    /// 16..235 for luma, 16..240 for chroma; 16 bits: 4096..60160.
    #[default]
    Limited,
    /// 0..255; 16 bits: 0..65535.
    Full,
    /// 16 bits: 0 to this code, such as 4095 for a camera of 12 bits; 8 bits: 0..255.
    Codes(u16),
}

impl Range {
    /// The largest code of 16 bits in use.
    fn largest16(self) -> u16 {
        match self {
            Self::Codes(white) => white.max(1),
            Self::Limited | Self::Full => 65535,
        }
    }
}

/// How values of a frame are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Colorimetry {
    /// Luma weights.
    pub matrix: Matrix,
    /// Black and white.
    pub range: Range,
}

impl Image {
    /// A picture of one value.
    pub fn filled(channels: usize, height: usize, width: usize, value: f32) -> Self {
        Self {
            channels,
            height,
            width,
            data: vec![value; channels * height * width],
        }
    }

    /// Makes it a picture of another shape, its values anything; the memory is used again.
    pub(crate) fn reshape(&mut self, channels: usize, height: usize, width: usize) {
        self.data.resize(channels * height * width, 0.0);
        (self.channels, self.height, self.width) = (channels, height, width);
    }

    /// One plane, row by row.
    pub fn plane(&self, channel: usize) -> &[f32] {
        let n = self.height * self.width;
        &self.data[channel * n..(channel + 1) * n]
    }

    /// One plane to write to.
    pub fn plane_mut(&mut self, channel: usize) -> &mut [f32] {
        let n = self.height * self.width;
        &mut self.data[channel * n..(channel + 1) * n]
    }

    /// The value of a plane at column `x` and row `y`, between pixels; edges repeated.
    pub(crate) fn sample(&self, channel: usize, [x, y]: [f32; 2]) -> f32 {
        let (w, h) = (self.width, self.height);
        let (x, y) = (x.clamp(0.0, (w - 1) as f32), y.clamp(0.0, (h - 1) as f32));
        let (x0, y0) = (x as usize, y as usize);
        let (x1, y1) = ((x0 + 1).min(w - 1), (y0 + 1).min(h - 1));
        let (s, t) = (x - x0 as f32, y - y0 as f32);
        let plane = self.plane(channel);
        let row = |y: usize| plane[y * w + x0] + s * (plane[y * w + x1] - plane[y * w + x0]);
        let (above, below) = (row(y0), row(y1));
        above + t * (below - above)
    }

    /// As grey (BT.601 weights) or as three planes; itself where it is so already.
    ///
    /// # Panics
    /// If it has neither 1 nor 3 channels.
    pub fn to_color(&self, color: Color) -> Image {
        match (self.channels, color) {
            (1, Color::Gray) | (3, Color::Rgb) => self.clone(),
            (1, Color::Rgb) => Image {
                channels: 3,
                data: self.data.repeat(3),
                ..*self
            },
            (3, Color::Gray) => {
                let mut gray = Image::filled(1, self.height, self.width, 0.0);
                color::luma([self.plane(0), self.plane(1), self.plane(2)], &mut gray.data);
                gray
            }
            (channels, _) => panic!("a picture has 1 or 3 channels, not {channels}"),
        }
    }

    /// The part of `width` x `height` whose left top corner is (`x`, `y`).
    ///
    /// # Panics
    /// If that part does not lie inside.
    pub fn crop(&self, x: usize, y: usize, width: usize, height: usize) -> Image {
        assert!(
            x + width <= self.width && y + height <= self.height,
            "a part of {width}x{height} at ({x}, {y}) does not lie in a picture of {}x{}",
            self.width,
            self.height
        );
        let mut data = Vec::with_capacity(self.channels * height * width);
        for channel in 0..self.channels {
            let plane = self.plane(channel);
            for row in y..y + height {
                data.extend_from_slice(&plane[row * self.width + x..][..width]);
            }
        }
        Image {
            channels: self.channels,
            height,
            width,
            data,
        }
    }

    /// Continued by zeros to the right and below until it has `size` = `[width, height]`, or on an axis where it is longer, its own.
    pub fn extend_to(&self, size: [usize; 2]) -> Image {
        let (width, height) = (self.width.max(size[0]), self.height.max(size[1]));
        let mut out = Image::filled(self.channels, height, width, 0.0);
        for (plane, from) in out
            .data
            .chunks_mut(width * height)
            .zip(self.data.chunks(self.width * self.height))
        {
            for (row, from) in plane.chunks_mut(width).zip(from.chunks(self.width)) {
                row[..self.width].copy_from_slice(from);
            }
        }
        out
    }

    /// Reflected to the right and below, without repeating the edge, until it has `size` = `[width, height]`, or on an axis where it is
    /// longer, its own.
    pub fn pad_to(&self, size: [usize; 2]) -> Image {
        let (width, height) = (self.width.max(size[0]), self.height.max(size[1]));
        let mut data = Vec::with_capacity(self.channels * height * width);
        for channel in 0..self.channels {
            let plane = self.plane(channel);
            for y in 0..height {
                let row = &plane[reflect(y, self.height) * self.width..][..self.width];
                data.extend_from_slice(row);
                data.extend((self.width..width).map(|x| row[reflect(x, self.width)]));
            }
        }
        Image {
            channels: self.channels,
            height,
            width,
            data,
        }
    }
}

/// The index inside `0..n` that a mirror at the centres of the first and the last pixel shows at `i`.
pub(crate) fn reflect(i: usize, n: usize) -> usize {
    let period = (2 * (n - 1)).max(1);
    let i = i % period;
    if i < n { i } else { period - i }
}

//! Frames and tensors: formats, strides, colour, resizing.

pub mod blend;

/// A picture in working form: `channels` planes of `height` rows of `width` values, planes one after the other.
/// Values are 0..1 for pictures (they may go a little beyond), anything for maps.
#[derive(Debug, Clone, PartialEq)]
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

/// Which values mean black and white in YUV formats (and grey).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Range {
    /// 16..235 for luma, 16..240 for chroma.
    #[default]
    Limited,
    /// 0..255.
    Full,
}

/// How values of a frame are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Colorimetry {
    /// Luma weights.
    pub matrix: Matrix,
    /// Black and white.
    pub range: Range,
}

/// A frame somebody else owns. Plane `i` starts at `planes[i][0]` and has rows `strides[i]` bytes apart.
#[derive(Debug, Clone)]
pub struct Frame<'a> {
    /// Layout of the planes.
    pub format: PixelFormat,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// One slice a plane, at least `strides[i] · (rows - 1)` plus a row long.
    pub planes: Vec<&'a [u8]>,
    /// Bytes from row to row, one a plane.
    pub strides: Vec<usize>,
    /// How to read the values.
    pub colorimetry: Colorimetry,
}

/// A [`Frame`] to write to.
#[derive(Debug)]
pub struct FrameMut<'a> {
    /// Layout of the planes.
    pub format: PixelFormat,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// One slice a plane.
    pub planes: Vec<&'a mut [u8]>,
    /// Bytes from row to row, one a plane.
    pub strides: Vec<usize>,
    /// How to write the values.
    pub colorimetry: Colorimetry,
}

use crate::Result;
use crate::model::{Color, Resize};

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

    /// As grey (BT.601 weights) or as three planes; itself where it is so already.
    pub fn to_color(&self, color: Color) -> Image {
        unimplemented!("{color:?}")
    }

    /// The part of `width` x `height` whose left top corner is (`x`, `y`); must lie inside.
    pub fn crop(&self, x: usize, y: usize, width: usize, height: usize) -> Image {
        unimplemented!("{x} {y} {width} {height}")
    }

    /// Reflected to the right and below until both sides are multiples of `multiple`.
    pub fn pad_to_multiple(&self, multiple: usize) -> Image {
        unimplemented!("{multiple}")
    }

    /// Antialiased bilinear resize (a triangle filter as wide as the step when it shrinks).
    pub fn resize(&self, width: usize, height: usize) -> Image {
        unimplemented!("{width} {height}")
    }
}

impl PixelFormat {
    /// All of them.
    pub const ALL: [PixelFormat; 14] = [
        Self::Gray8,
        Self::Gray16Le,
        Self::Rgb,
        Self::Bgr,
        Self::Rgbx,
        Self::Bgrx,
        Self::Rgba,
        Self::Bgra,
        Self::Argb,
        Self::Abgr,
        Self::I420,
        Self::Nv12,
        Self::Y42b,
        Self::Y444,
    ];

    /// GStreamer's name, such as `I420`.
    pub fn name(self) -> &'static str {
        unimplemented!()
    }

    /// The format GStreamer calls `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        unimplemented!("{name}")
    }

    /// 1 for grey formats, 3 for the others; alpha is not counted.
    pub fn components(self) -> usize {
        unimplemented!()
    }

    /// Grey for grey formats, else RGB.
    pub fn color(self) -> Color {
        unimplemented!()
    }

    /// Whether components are Y, U, V.
    pub fn is_yuv(self) -> bool {
        unimplemented!()
    }
}

impl<'a> Frame<'a> {
    /// Checks that the planes are as long as format, size and strides need.
    pub fn new(
        format: PixelFormat,
        width: usize,
        height: usize,
        planes: Vec<&'a [u8]>,
        strides: Vec<usize>,
        colorimetry: Colorimetry,
    ) -> Result<Self> {
        unimplemented!(
            "{format:?} {width} {height} {} {strides:?} {colorimetry:?}",
            planes.len()
        )
    }

    /// The frame as a picture in 0..1: RGB formats as they are, YUV by its matrix and range, chroma enlarged by repetition.
    pub fn to_image(&self, color: Color) -> Image {
        unimplemented!("{color:?}")
    }

    /// One component (R, G, B or Y, U, V or grey) at its own resolution, code value divided by the largest code.
    pub fn component(&self, component: usize) -> Image {
        unimplemented!("{component}")
    }
}

impl<'a> FrameMut<'a> {
    /// As [`Frame::new`].
    pub fn new(
        format: PixelFormat,
        width: usize,
        height: usize,
        planes: Vec<&'a mut [u8]>,
        strides: Vec<usize>,
        colorimetry: Colorimetry,
    ) -> Result<Self> {
        unimplemented!(
            "{format:?} {width} {height} {} {strides:?} {colorimetry:?}",
            planes.len()
        )
    }

    /// Writes a picture of the frame's size, clamped to 0..1 and rounded. Alpha and padding stay as they are.
    pub fn write(&mut self, image: &Image) {
        unimplemented!("{}", image.width)
    }

    /// Writes one component, the inverse of [`Frame::component`].
    pub fn write_component(&mut self, component: usize, image: &Image) {
        unimplemented!("{component} {}", image.width)
    }

    /// Copies the alpha or padding byte of every pixel of a frame of the same format and size; nothing where there is none.
    pub fn copy_alpha(&mut self, from: &Frame<'_>) {
        unimplemented!("{}", from.width)
    }
}

/// Where a frame lies in a network's input, and how to come back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// `[width, height]` of the frame in pixels.
    pub frame: [usize; 2],
    /// `[width, height]` of the network's input in pixels.
    pub input: [usize; 2],
    /// Input pixels a frame pixel, on each axis.
    pub scale: [f64; 2],
    /// Position of the frame's left top corner in the input, in input pixels; negative where cropped.
    pub offset: [f64; 2],
}

impl Placement {
    /// Places a frame of `frame` = `[width, height]` in an input of `input`.
    pub fn new(frame: [usize; 2], input: [usize; 2], resize: Resize) -> Self {
        unimplemented!("{frame:?} {input:?} {resize:?}")
    }

    /// The frame brought to the network's input size; letterbox borders repeat the edge.
    pub fn apply(&self, image: &Image) -> Image {
        unimplemented!("{}", image.width)
    }

    /// A map of the input's size (or any size that covers the same area) brought back to the frame's own pixels, bilinear.
    /// Where a crop saw nothing, the map is 0.
    pub fn restore(&self, map: &Image) -> Image {
        unimplemented!("{}", map.width)
    }
}

/// Standard deviation (0..1 of full scale) of the white noise in `image`, from its flat parts.
pub fn estimate_noise(image: &Image) -> f32 {
    unimplemented!("{}", image.width)
}

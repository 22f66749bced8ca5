//! Drawing over a frame in the frame's own format.
//!
//! What is drawn is a [`Layer`] of 8-bit red, green, blue and alpha, the colour already multiplied by alpha. Each pixel becomes
//! `layer + frame · (1 - alpha)` (Porter and Duff's "over", 1984). For YUV formats the layer is turned into the frame's own codes, by its
//! matrix and range; subsampled chroma takes the mean of the layer over the pixels it stands for.

use std::ops::Range;

use super::formats::Component;
use super::mix::{Codes, Mix, Mixer, dot, parts};
use super::{FrameMut, PixelFormat};
use crate::kernels::simd::{Vector, Work, run_best};

/// A picture to lay over a frame, rows one after the other. A pixel is `0xAARRGGBB`, red, green and blue multiplied by alpha, which
/// is also what Cairo calls ARGB32.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    width: usize,
    height: usize,
    pixels: &'a [u32],
}

impl<'a> Layer<'a> {
    /// A layer `width` pixels wide and as high as `pixels` has whole rows.
    pub fn new(pixels: &'a [u32], width: usize) -> Self {
        Self {
            width,
            height: pixels.len().checked_div(width).unwrap_or(0),
            pixels,
        }
    }
}

/// One colour for [`FrameMut::fill`] and [`Layer`] from red, green, blue and alpha in 0..1, not multiplied by alpha.
pub fn premultiply(rgb: [f32; 3], alpha: f32) -> u32 {
    let alpha = alpha.clamp(0.0, 1.0);
    let code = |value: f32| (value.clamp(0.0, 1.0) * alpha * 255.0).round() as u32;
    ((alpha * 255.0).round() as u32) << 24 | code(rgb[0]) << 16 | code(rgb[1]) << 8 | code(rgb[2])
}

impl FrameMut<'_> {
    /// Draws `layer` with its left top corner at (`x`, `y`) in pixels; what lies outside of the frame is cut off.
    pub fn blend(&mut self, layer: &Layer<'_>, x: i64, y: i64) {
        let Some(cut) = Cut::new(layer, [x, y], [self.width, self.height]) else {
            return;
        };
        match packed(self.format) {
            Some(packed) => blend_packed(self, &cut, packed),
            None => {
                let codes = Codes::new(self.colorimetry);
                blend_luma(self, &cut, &codes);
                if let Some(chroma) = chroma(self.format) {
                    blend_chroma(self, &cut, &codes, chroma);
                }
            }
        }
    }

    /// Draws a rectangle of one colour (see [`premultiply`]); what lies outside of the frame is cut off.
    pub fn fill(&mut self, x: i64, y: i64, width: usize, height: usize, color: u32) {
        let clip = |at: i64, length: usize, frame: usize| {
            let from = at.clamp(0, frame as i64);
            let to = at.saturating_add_unsigned(length as u64).clamp(from, frame as i64);
            from as usize..to as usize
        };
        let (columns, rows) = (clip(x, width, self.width), clip(y, height, self.height));
        if columns.is_empty() || rows.is_empty() || color == 0 {
            return;
        }
        if let Some(packed) = packed(self.format).filter(|packed| packed.alpha.is_some()) {
            let (parts, bytes) = (parts(color), columns.start * packed.size..columns.end * packed.size);
            for row in self.planes[0]
                .chunks_mut(self.strides[0])
                .skip(rows.start)
                .take(rows.len())
            {
                for pixel in row[bytes.clone()].chunks_exact_mut(packed.size) {
                    blend_pixel(pixel, parts, packed);
                }
            }
            return;
        }
        let mixer = Mixer::new(self.format, self.colorimetry);
        for component in 0..self.format.components() {
            fill_component(self, component, [&columns, &rows], mixer.mix(component, color));
        }
    }
}

/// Fills the columns and rows, in pixels of the frame, of one component.
fn fill_component(frame: &mut FrameMut<'_>, component: usize, [columns, rows]: [&Range<usize>; 2], mix: Mix) {
    let at = frame.format.component(component);
    let (stride, [width, height]) = (frame.strides[at.plane], [frame.width, frame.height]);
    let wide = frame.format == PixelFormat::Gray16Le;
    let lines = frame.planes[at.plane].chunks_mut(stride).enumerate();
    let coarse = |range: &Range<usize>, shift: u32| range.start >> shift..range.end.div_ceil(1 << shift);
    let inner = coarse(rows, at.shift[1]);
    for (y, line) in lines.skip(inner.start).take(inner.len()) {
        let [part, whole] = covered(rows, y, at.shift[1], height);
        let mix = mix.over(part, whole);
        let mut inner = coarse(columns, at.shift[0]);
        // Where only a part of what a code stands for is covered: the first and the last column.
        for end in [inner.start, inner.end - 1] {
            let [part, whole] = covered(columns, end, at.shift[0], width);
            if part < whole && inner.contains(&end) {
                mix_run(line, at, end..end + 1, mix.over(part, whole), wide);
                inner = if end == inner.start {
                    end + 1..inner.end
                } else {
                    inner.start..end
                };
            }
        }
        mix_run(line, at, inner, mix, wide);
    }
}

/// How many of the pixels of `range` the code `at` stands for, and how many it stands for at all.
fn covered(range: &Range<usize>, at: usize, shift: u32, frame: usize) -> [usize; 2] {
    let block = at << shift..((at + 1) << shift).min(frame);
    [block.end.min(range.end) - block.start.max(range.start), block.len()]
}

/// Mixes one colour into codes of a row.
fn mix_run(line: &mut [u8], at: Component, columns: Range<usize>, mix: Mix, wide: bool) {
    if columns.is_empty() {
        return;
    }
    let bytes = &mut line[columns.start * at.step..(columns.end - 1) * at.step + at.offset + if wide { 2 } else { 1 }];
    match at.step {
        1 => run_best(MixRun { bytes, mix }),
        _ if wide => bytes
            .as_chunks_mut()
            .0
            .iter_mut()
            .for_each(|code| *code = mix.on16(*code)),
        step => {
            for byte in bytes.iter_mut().skip(at.offset).step_by(step) {
                *byte = mix.on8(*byte);
            }
        }
    }
}

/// [`mix_run`] of bytes side by side.
struct MixRun<'a> {
    bytes: &'a mut [u8],
    mix: Mix,
}

impl Work for MixRun<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        for byte in self.bytes {
            *byte = self.mix.on8(*byte);
        }
    }
}

/// The part of a layer that lies on the frame.
struct Cut<'a> {
    layer: &'a Layer<'a>,
    /// First column and row in the layer.
    from: [usize; 2],
    /// First column and row in the frame.
    to: [usize; 2],
    width: usize,
    height: usize,
}

impl<'a> Cut<'a> {
    fn new(layer: &'a Layer<'a>, at: [i64; 2], frame: [usize; 2]) -> Option<Self> {
        let axis = |at: i64, layer: usize, frame: usize| {
            let from = usize::try_from(at.saturating_neg()).unwrap_or(0);
            let to = usize::try_from(at).unwrap_or(0);
            let length = layer.checked_sub(from)?.min(frame.checked_sub(to)?);
            (length > 0).then_some((from, to, length))
        };
        let (from_x, to_x, width) = axis(at[0], layer.width, frame[0])?;
        let (from_y, to_y, height) = axis(at[1], layer.height, frame[1])?;
        Some(Self {
            layer,
            from: [from_x, from_y],
            to: [to_x, to_y],
            width,
            height,
        })
    }

    /// Row `y` of the part.
    fn row(&self, y: usize) -> &'a [u32] {
        &self.layer.pixels[(self.from[1] + y) * self.layer.width + self.from[0]..][..self.width]
    }

    /// The layer's pixels on frame row `y`, from frame column `to[0]`; none where the part does not reach.
    fn on_frame(&self, y: usize) -> &'a [u32] {
        match y.checked_sub(self.to[1]) {
            Some(y) if y < self.height => self.row(y),
            _ => &[],
        }
    }
}

/// Where a packed format keeps its bytes.
#[derive(Clone, Copy)]
pub(super) struct Packed {
    /// Bytes a pixel.
    pub size: usize,
    /// Offsets of red, green and blue.
    rgb: [usize; 3],
    /// Offset of alpha.
    pub alpha: Option<usize>,
}

pub(super) fn packed(format: PixelFormat) -> Option<Packed> {
    let (size, rgb, alpha) = match format {
        PixelFormat::Rgb => (3, [0, 1, 2], None),
        PixelFormat::Bgr => (3, [2, 1, 0], None),
        PixelFormat::Rgbx => (4, [0, 1, 2], None),
        PixelFormat::Bgrx => (4, [2, 1, 0], None),
        PixelFormat::Rgba => (4, [0, 1, 2], Some(3)),
        PixelFormat::Bgra => (4, [2, 1, 0], Some(3)),
        PixelFormat::Argb => (4, [1, 2, 3], Some(0)),
        PixelFormat::Abgr => (4, [3, 2, 1], Some(0)),
        _ => return None,
    };
    Some(Packed { size, rgb, alpha })
}

fn blend_packed(frame: &mut FrameMut<'_>, cut: &Cut<'_>, packed: Packed) {
    let stride = frame.strides[0];
    for y in 0..cut.height {
        let start = (cut.to[1] + y) * stride + cut.to[0] * packed.size;
        let row = &mut frame.planes[0][start..][..cut.width * packed.size];
        for (pixel, &layer) in row.chunks_exact_mut(packed.size).zip(cut.row(y)) {
            if layer != 0 {
                blend_pixel(pixel, parts(layer), packed);
            }
        }
    }
}

#[inline(always)]
pub(super) fn blend_pixel(pixel: &mut [u8], [red, green, blue, alpha]: [i32; 4], packed: Packed) {
    let rest = 255 - alpha;
    let under = packed.alpha.map_or(255, |offset| i32::from(pixel[offset]));
    for (offset, value) in packed.rgb.into_iter().zip([red, green, blue]) {
        let byte = i32::from(pixel[offset]);
        // The frame's colour is not multiplied by its alpha, so the sum has to be divided by the alpha it ends with.
        let code = if under == 255 {
            value + (byte * rest + 127) / 255
        } else {
            let total = alpha * 255 + under * rest;
            (value * 255 * 255 + byte * under * rest + total / 2) / total.max(1)
        };
        pixel[offset] = code.min(255) as u8;
    }
    if let Some(offset) = packed.alpha {
        pixel[offset] = (alpha + (under * rest + 127) / 255).min(255) as u8;
    }
}

fn blend_luma(frame: &mut FrameMut<'_>, cut: &Cut<'_>, codes: &Codes) {
    let size = if frame.format == PixelFormat::Gray16Le { 2 } else { 1 };
    let stride = frame.strides[0];
    for y in 0..cut.height {
        let start = (cut.to[1] + y) * stride + cut.to[0] * size;
        let row = &mut frame.planes[0][start..][..cut.width * size];
        let pixels = cut.row(y).iter().enumerate().filter(|(_, layer)| **layer != 0);
        if size == 1 {
            for (x, &layer) in pixels {
                let parts = parts(layer);
                let sum = dot(codes.luma, parts) + i32::from(row[x]) * (255 - parts[3]) * 256;
                row[x] = ((sum + Codes::ONE / 2) / Codes::ONE).clamp(0, 255) as u8;
            }
        } else {
            for (x, &layer) in pixels {
                let parts = parts(layer);
                let under = i64::from(u16::from_le_bytes([row[2 * x], row[2 * x + 1]]));
                let sum = i64::from(dot(codes.luma, parts)) * codes.wide + under * i64::from(255 - parts[3]) * 256;
                let code = (sum + i64::from(Codes::ONE / 2)) / i64::from(Codes::ONE);
                row[2 * x..2 * x + 2].copy_from_slice(&(code.clamp(0, 65535) as u16).to_le_bytes());
            }
        }
    }
}

/// Where a YUV format keeps its chroma.
#[derive(Clone, Copy)]
struct Chroma {
    /// Pixels that one value stands for, across and down.
    block: [usize; 2],
    /// Plane and offset of U and V.
    at: [(usize, usize); 2],
    /// Bytes from value to value.
    step: usize,
}

fn chroma(format: PixelFormat) -> Option<Chroma> {
    let planes = [(1, 0), (2, 0)];
    match format {
        PixelFormat::I420 => Some(Chroma {
            block: [2, 2],
            at: planes,
            step: 1,
        }),
        PixelFormat::Nv12 => Some(Chroma {
            block: [2, 2],
            at: [(1, 0), (1, 1)],
            step: 2,
        }),
        PixelFormat::Y42b => Some(Chroma {
            block: [2, 1],
            at: planes,
            step: 1,
        }),
        PixelFormat::Y444 => Some(Chroma {
            block: [1, 1],
            at: planes,
            step: 1,
        }),
        _ => None,
    }
}

fn blend_chroma(frame: &mut FrameMut<'_>, cut: &Cut<'_>, codes: &Codes, chroma: Chroma) {
    let [across, down] = chroma.block;
    let rows = cut.to[1] / down..(cut.to[1] + cut.height).div_ceil(down);
    let columns = cut.to[0] / across..(cut.to[0] + cut.width).div_ceil(across);
    for row in rows {
        let lines = row * down..((row + 1) * down).min(frame.height);
        for column in columns.clone() {
            let block = column * across..((column + 1) * across).min(frame.width);
            let mut sum = [0; 4];
            for line in lines.clone().map(|y| cut.on_frame(y)) {
                for pixel in block.clone().filter_map(|x| line.get(x.wrapping_sub(cut.to[0]))) {
                    let parts = parts(*pixel);
                    sum = std::array::from_fn(|i| sum[i] + parts[i]);
                }
            }
            if sum == [0; 4] {
                continue;
            }
            // 1, 2 or 4.
            let pixels = (block.len() * lines.len()) as i32;
            for (factors, (plane, offset)) in codes.chroma.into_iter().zip(chroma.at) {
                let at = row * frame.strides[plane] + column * chroma.step + offset;
                let byte = &mut frame.planes[plane][at];
                let total = dot(factors, sum) + i32::from(*byte) * (255 * pixels - sum[3]) * 256;
                let mean = (total + Codes::ONE * pixels / 2).max(0) >> pixels.trailing_zeros();
                *byte = (mean / Codes::ONE).min(255) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests;

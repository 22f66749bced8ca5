//! Drawing over a frame in the frame's own format.
//!
//! What is drawn is a [`Layer`] of 8-bit red, green, blue and alpha, the colour already multiplied by alpha. Each pixel becomes
//! `layer + frame · (1 - alpha)` (Porter and Duff's "over", 1984). For YUV formats the layer is turned into the frame's own codes, by its
//! matrix and range; subsampled chroma takes the mean of the layer over the pixels it stands for.

use super::mix::{Codes, dot, parts};
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

impl Packed {
    /// Whether each pixel of a row is; without alpha, they all are.
    pub fn is_opaque(&self, row: &[u8]) -> bool {
        self.alpha.is_none_or(|offset| run_best(CommonBits(row))[offset] == 255)
    }
}

/// The bits that every pixel of four bytes has.
struct CommonBits<'a>(&'a [u8]);

impl Work for CommonBits<'_> {
    type Output = [u8; 4];

    #[inline(always)]
    fn run<V: Vector>(self) -> [u8; 4] {
        let pixels = self.0.as_chunks::<4>().0;
        let all = pixels
            .iter()
            .fold(u32::MAX, |all, pixel| all & u32::from_ne_bytes(*pixel));
        all.to_ne_bytes()
    }
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

/// The same for a format with alpha.
pub(super) fn packed_with_alpha(format: PixelFormat) -> Option<Packed> {
    packed(format).filter(|packed| packed.alpha.is_some())
}

fn blend_packed(frame: &mut FrameMut<'_>, cut: &Cut<'_>, packed: Packed) {
    let stride = frame.strides[0];
    for y in 0..cut.height {
        let start = (cut.to[1] + y) * stride + cut.to[0] * packed.size;
        let row = &mut frame.planes[0][start..][..cut.width * packed.size];
        // Opaque pixels stay so, and need no look at their alpha.
        let alpha = packed.alpha.filter(|_| !packed.is_opaque(row));
        let packed = Packed { alpha, ..packed };
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
        let (layer, factors) = (cut.row(y), codes.luma);
        match size {
            1 => run_best(BlendLuma { row, layer, factors }),
            _ => blend_luma16(row, layer, codes),
        }
    }
}

/// A row of luma codes of 8 bits.
struct BlendLuma<'a> {
    row: &'a mut [u8],
    layer: &'a [u32],
    factors: [i32; 4],
}

impl Work for BlendLuma<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        for (code, &layer) in self.row.iter_mut().zip(self.layer) {
            let parts = parts(layer);
            let sum = dot(self.factors, parts) + i32::from(*code) * (255 - parts[3]) * 256;
            *code = ((sum + Codes::ONE / 2).max(0) / Codes::ONE).min(255) as u8;
        }
    }
}

fn blend_luma16(row: &mut [u8], layer: &[u32], codes: &Codes) {
    for (code, &layer) in row.as_chunks_mut().0.iter_mut().zip(layer) {
        let parts = parts(layer);
        let under = i64::from(u16::from_le_bytes(*code));
        let sum = i64::from(dot(codes.luma, parts)) * codes.wide + under * i64::from(255 - parts[3]) * 256;
        let mixed = (sum + i64::from(Codes::ONE / 2)) / i64::from(Codes::ONE);
        *code = (mixed.clamp(0, 65535) as u16).to_le_bytes();
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
    let mut sums = vec![Sum::default(); columns.len()];
    // A row of the layer with clear pixels before and after, up to whole blocks.
    let mut line = vec![0; columns.len() * across];
    let inside = cut.to[0] - columns.start * across;
    // The last column may stand for fewer pixels.
    let last = frame.width - (columns.end - 1) * across;
    let whole = columns.len() - usize::from(last < across);
    for row in rows {
        let lines = row * down..((row + 1) * down).min(frame.height);
        sums.fill(Sum::default());
        for pixels in lines.clone().map(|y| cut.on_frame(y)).filter(|line| !line.is_empty()) {
            line[inside..][..cut.width].copy_from_slice(pixels);
            match across {
                1 => run_best(AddBlocks::<1> {
                    line: &line,
                    sums: &mut sums,
                }),
                _ => run_best(AddBlocks::<2> {
                    line: &line,
                    sums: &mut sums,
                }),
            }
        }
        for (factors, (plane, offset)) in codes.chroma.into_iter().zip(chroma.at) {
            let first = row * frame.strides[plane] + columns.start * chroma.step + offset;
            let row = &mut frame.planes[plane][first..][..(columns.len() - 1) * chroma.step + 1];
            for (from, sums, width) in [(0, &sums[..whole], across), (whole, &sums[whole..], last)] {
                if !sums.is_empty() {
                    run_best(BlendChroma {
                        row: &mut row[from * chroma.step..],
                        step: chroma.step,
                        sums,
                        factors,
                        pixels: width * lines.len(),
                    });
                }
            }
        }
    }
}

/// The sums of a block's blue and red, and of its green and alpha, in two halves of 16 bits.
type Sum = [u32; 2];

/// Adds the pixels of a line to the sums of blocks of `ACROSS` of them.
struct AddBlocks<'a, const ACROSS: usize> {
    line: &'a [u32],
    sums: &'a mut [Sum],
}

impl<const ACROSS: usize> Work for AddBlocks<'_, ACROSS> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        for (sum, block) in self.sums.iter_mut().zip(self.line.as_chunks::<ACROSS>().0) {
            for pixel in block {
                sum[0] += pixel & 0xff00ff;
                sum[1] += pixel >> 8 & 0xff00ff;
            }
        }
    }
}

/// A row of codes of one chroma component, `step` bytes apart.
struct BlendChroma<'a> {
    row: &'a mut [u8],
    step: usize,
    sums: &'a [Sum],
    factors: [i32; 4],
    /// How many a code stands for: 1, 2 or 4.
    pixels: usize,
}

impl BlendChroma<'_> {
    #[inline(always)]
    fn code(&self, code: u8, [blue_red, green_alpha]: Sum) -> u8 {
        let low = |pair: u32| (pair & 0xffff) as i32;
        let high = |pair: u32| (pair >> 16) as i32;
        let parts = [high(blue_red), low(green_alpha), low(blue_red), high(green_alpha)];
        let pixels = self.pixels as i32;
        let total = dot(self.factors, parts) + i32::from(code) * (255 * pixels - parts[3]) * 256;
        let mean = (total + Codes::ONE * pixels / 2).max(0) >> pixels.trailing_zeros();
        (mean / Codes::ONE).min(255) as u8
    }
}

impl Work for BlendChroma<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(mut self) {
        let row = std::mem::take(&mut self.row);
        match self.step {
            1 => {
                for (code, sum) in row.iter_mut().zip(self.sums) {
                    *code = self.code(*code, *sum);
                }
            }
            step => {
                for (code, sum) in row.iter_mut().step_by(step).zip(self.sums) {
                    *code = self.code(*code, *sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

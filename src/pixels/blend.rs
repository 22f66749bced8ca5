//! Drawing over a frame in the frame's own format.
//!
//! What is drawn is a [`Layer`] of 8-bit red, green, blue and alpha, the colour already multiplied by alpha. Each pixel becomes
//! `layer + frame · (1 - alpha)` (Porter and Duff's "over", 1984). For YUV formats the layer is turned into the frame's own codes, by its
//! matrix and range; subsampled chroma takes the mean of the layer over the pixels it stands for.

use super::{Colorimetry, FrameMut, Matrix, PixelFormat, Range};

/// A picture to lay over a frame, rows one after the other. A pixel is `0xAARRGGBB`, red, green and blue multiplied by alpha, which
/// is also what Cairo calls ARGB32.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    width: usize,
    height: usize,
    /// Pixels from row to row; 0 repeats one row.
    stride: usize,
    pixels: &'a [u32],
}

impl<'a> Layer<'a> {
    /// A layer `width` pixels wide and as high as `pixels` has whole rows.
    pub fn new(pixels: &'a [u32], width: usize) -> Self {
        Self {
            width,
            height: pixels.len().checked_div(width).unwrap_or(0),
            stride: width,
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
        // Only what is on the frame, so that a box may reach as far beyond it as it likes.
        let left = x.clamp(0, self.width as i64);
        let right = x.saturating_add_unsigned(width as u64).clamp(left, self.width as i64);
        let row = vec![color; (right - left) as usize];
        let layer = Layer {
            width: row.len(),
            height,
            stride: 0,
            pixels: &row,
        };
        self.blend(&layer, left, y);
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
        &self.layer.pixels[(self.from[1] + y) * self.layer.stride + self.from[0]..][..self.width]
    }

    /// The layer's pixels on frame row `y`, from frame column `to[0]`; none where the part does not reach.
    fn on_frame(&self, y: usize) -> &'a [u32] {
        match y.checked_sub(self.to[1]) {
            Some(y) if y < self.height => self.row(y),
            _ => &[],
        }
    }
}

/// Red, green, blue and alpha of a layer's pixel.
fn parts(pixel: u32) -> [i32; 4] {
    let byte = |shift: u32| (pixel >> shift & 0xff) as i32;
    [byte(16), byte(8), byte(0), byte(24)]
}

/// Where a packed format keeps its bytes.
#[derive(Clone, Copy)]
struct Packed {
    /// Bytes a pixel.
    size: usize,
    /// Offsets of red, green and blue.
    rgb: [usize; 3],
    /// Offset of alpha.
    alpha: Option<usize>,
}

fn packed(format: PixelFormat) -> Option<Packed> {
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

#[inline]
fn blend_pixel(pixel: &mut [u8], [red, green, blue, alpha]: [i32; 4], packed: Packed) {
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

/// Turns layer pixels into code values: factors of red, green, blue and alpha for Y, U and V, in units of 1 / [`Codes::ONE`].
struct Codes {
    luma: [i32; 4],
    chroma: [[i32; 4]; 2],
    /// From 8-bit luma codes to 16-bit ones.
    wide: i64,
}

impl Codes {
    /// 255 times 256, so that `frame · (255 - alpha) · 256` is in the same unit.
    const ONE: i32 = 255 * 256;

    fn new(colorimetry: Colorimetry) -> Self {
        let (kr, kb) = match colorimetry.matrix {
            Matrix::Bt601 => (0.299, 0.114),
            Matrix::Bt709 => (0.2126, 0.0722),
            Matrix::Bt2020 => (0.2627, 0.0593),
        };
        let (black, luma_range, chroma_range, wide) = match colorimetry.range {
            Range::Limited => (16.0, 219.0, 224.0, 256),
            // 257 where every code is used.
            range => (0.0, 255.0, 255.0, i64::from(range.largest16() / 255).max(1)),
        };
        let weights = [kr, 1.0 - kr - kb, kb];
        let factors = |range: f64, rgb: [f64; 3], offset: f64| {
            let code = |value: f64| (value / 255.0 * f64::from(Self::ONE)).round() as i32;
            [
                code(range * rgb[0]),
                code(range * rgb[1]),
                code(range * rgb[2]),
                code(offset),
            ]
        };
        // Cb = (B - Y) / (2 (1 - kb)), Cr = (R - Y) / (2 (1 - kr)); ITU-R BT.601-7, 2.5.1.
        let difference = |component: usize, k: f64| {
            let mut rgb = weights.map(|weight| -weight / (2.0 * (1.0 - k)));
            rgb[component] = 0.5;
            rgb
        };
        Self {
            luma: factors(luma_range, weights, black),
            chroma: [
                factors(chroma_range, difference(2, kb), 128.0),
                factors(chroma_range, difference(0, kr), 128.0),
            ],
            wide,
        }
    }
}

fn dot(factors: [i32; 4], parts: [i32; 4]) -> i32 {
    factors.iter().zip(parts).map(|(factor, part)| factor * part).sum()
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
    let mut sums = vec![[0; 4]; columns.len()];
    for row in rows {
        let lines = row * down..((row + 1) * down).min(frame.height);
        sums.fill([0; 4]);
        for layer in lines.clone().map(|y| cut.on_frame(y)) {
            for (x, &pixel) in (cut.to[0]..).zip(layer) {
                let sum = &mut sums[x / across - columns.start];
                let parts = parts(pixel);
                *sum = std::array::from_fn(|i| sum[i] + parts[i]);
            }
        }
        for (factors, (plane, offset)) in codes.chroma.into_iter().zip(chroma.at) {
            let line = &mut frame.planes[plane][row * frame.strides[plane]..];
            let bytes = line
                .iter_mut()
                .skip(columns.start * chroma.step + offset)
                .step_by(chroma.step);
            for ((column, sum), byte) in columns.clone().zip(&sums).zip(bytes) {
                if *sum == [0; 4] {
                    continue;
                }
                // 1, 2 or 4.
                let pixels = (across.min(frame.width - column * across) * lines.len()) as i32;
                let total = dot(factors, *sum) + i32::from(*byte) * (255 * pixels - sum[3]) * 256;
                let mean = (total + Codes::ONE * pixels / 2).max(0) >> pixels.trailing_zeros();
                *byte = (mean / Codes::ONE).min(255) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests;

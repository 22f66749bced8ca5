//! What a colour does to the code values of a frame's own format.

use super::{Colorimetry, Matrix, PixelFormat, Range};

/// Red, green, blue and alpha of a layer's pixel.
#[inline(always)]
pub(super) fn parts(pixel: u32) -> [i32; 4] {
    let byte = |shift: u32| (pixel >> shift & 0xff) as i32;
    [byte(16), byte(8), byte(0), byte(24)]
}

/// Turns layer pixels into code values: factors of red, green, blue and alpha for Y, U and V, in units of 1 / [`Codes::ONE`].
pub(super) struct Codes {
    pub luma: [i32; 4],
    pub chroma: [[i32; 4]; 2],
    /// From 8-bit luma codes to 16-bit ones.
    pub wide: i64,
}

impl Codes {
    /// 255 times 256, so that `frame · (255 - alpha) · 256` is in the same unit.
    pub const ONE: i32 = 255 * 256;

    pub fn new(colorimetry: Colorimetry) -> Self {
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

#[inline(always)]
pub(super) fn dot(factors: [i32; 4], parts: [i32; 4]) -> i32 {
    factors.iter().zip(parts).map(|(factor, part)| factor * part).sum()
}

/// What a colour does to the codes of one component: `keep · code + add`, in units of 1/65536.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mix {
    keep: u32,
    add: u32,
}

impl Mix {
    const ONE: u32 = 1 << 16;

    /// What leaves a code as it is.
    pub const NONE: Self = Self {
        keep: Self::ONE,
        add: 0,
    };

    /// The same where the colour covers only the share `part` of `whole` of what a code stands for.
    pub fn over(self, part: usize, whole: usize) -> Self {
        if part == whole {
            return self;
        }
        let share = |value: u32| (u64::from(value) * part as u64 / whole as u64) as u32;
        Self {
            keep: Self::ONE - share(Self::ONE - self.keep),
            add: share(self.add),
        }
    }

    /// On a code of 8 bits.
    #[inline(always)]
    pub fn on8(self, code: u8) -> u8 {
        ((u32::from(code) * self.keep + self.add + Self::ONE / 2) >> 16).min(255) as u8
    }

    /// On a code of 16 bits.
    #[inline]
    pub fn on16(self, code: [u8; 2]) -> [u8; 2] {
        let sum = u64::from(u16::from_le_bytes(code)) * u64::from(self.keep) + u64::from(self.add);
        (((sum + u64::from(Self::ONE / 2)) >> 16).min(65535) as u16).to_le_bytes()
    }
}

/// Makes the [`Mix`]es of a format; alpha, where it has one, stays.
pub(super) struct Mixer {
    format: PixelFormat,
    codes: Codes,
}

impl Mixer {
    pub fn new(format: PixelFormat, colorimetry: Colorimetry) -> Self {
        Self {
            format,
            codes: Codes::new(colorimetry),
        }
    }

    /// What a layer's pixel does to a component (red, green, blue, or Y, U, V, or grey).
    pub fn mix(&self, component: usize, pixel: u32) -> Mix {
        let parts = parts(pixel);
        let is_packed = !self.format.is_yuv() && self.format.components() == 3;
        let code = match component {
            _ if is_packed => i64::from(parts[component]) * i64::from(Codes::ONE),
            0 if self.format == PixelFormat::Gray16Le => i64::from(dot(self.codes.luma, parts)) * self.codes.wide,
            0 => dot(self.codes.luma, parts).into(),
            _ => dot(self.codes.chroma[component - 1], parts).into(),
        };
        let rest = 255 - parts[3] as u32;
        Mix {
            keep: (rest * Mix::ONE + 127) / 255,
            // From 1 / (255 · 256) to 1 / 65536. A colour rounded to 8 bits may lie just below 0.
            add: u32::try_from((code * 256 + 127) / 255).unwrap_or(if code < 0 { 0 } else { u32::MAX - Mix::ONE }),
        }
    }
}

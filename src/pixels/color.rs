//! Code values and colour spaces, row by row.

use super::formats::Component;
use super::{Matrix, PixelFormat, Range};

/// BT.601 luma weights of red, green and blue.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// How code values stand for values: `code = zero + scale · value`, for values in `low..=high`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coding {
    zero: f64,
    scale: f64,
    low: f64,
    high: f64,
}

impl Coding {
    /// Every code used, `largest` means 1.
    pub fn unit(largest: u16) -> Self {
        Self {
            zero: 0.0,
            scale: f64::from(largest),
            low: 0.0,
            high: 1.0,
        }
    }

    /// Luma and grey of 1 or 2 bytes (ITU-R BT.601, BT.709, BT.2020: 219 steps from 16, times 256 for 16 bits).
    pub fn luma(range: Range, bytes: usize) -> Self {
        let step = if bytes == 2 { 256.0 } else { 1.0 };
        match range {
            Range::Full | Range::Codes(_) => Self::unit(if bytes == 2 { range.largest16() } else { 255 }),
            Range::Limited => Self {
                zero: 16.0 * step,
                scale: 219.0 * step,
                low: 0.0,
                high: 1.0,
            },
        }
    }

    /// Colour differences, -0.5..0.5 around code 128. In full range both ends fall between two codes; the inner one is taken.
    pub fn chroma(range: Range) -> Self {
        match range {
            Range::Full | Range::Codes(_) => Self {
                zero: 128.0,
                scale: 255.0,
                low: -127.0 / 255.0,
                high: 127.0 / 255.0,
            },
            Range::Limited => Self {
                zero: 128.0,
                scale: 224.0,
                low: -0.5,
                high: 0.5,
            },
        }
    }

    /// Codes from 0 to 1.
    pub fn scale(&self) -> f32 {
        self.scale as f32
    }

    fn value(&self, code: u16) -> f32 {
        ((f64::from(code) - self.zero) / self.scale) as f32
    }

    /// The value of what lies between codes.
    pub fn of(&self, code: f32) -> f32 {
        ((f64::from(code) - self.zero) / self.scale) as f32
    }

    /// The value of every 8-bit code, beyond `low..=high` too.
    pub fn table(&self) -> [f32; 256] {
        std::array::from_fn(|code| self.value(code as u16))
    }

    /// As [`Coding::table`], cut to `low..=high`.
    pub fn clamped_table(&self) -> [f32; 256] {
        self.table().map(|value| value.clamp(self.low as f32, self.high as f32))
    }

    /// Reads 16-bit codes, cut to `low..=high`.
    pub fn read16(&self, row: &[u8], out: &mut [f32]) {
        let (low, high) = (self.low as f32, self.high as f32);
        for (out, &bytes) in out.iter_mut().zip(row.as_chunks::<2>().0) {
            *out = self.value(u16::from_le_bytes(bytes)).clamp(low, high);
        }
    }

    /// The nearest code in the low bits; what is not a number becomes the lowest.
    ///
    /// Adding 2^23 leaves no bits for a fraction, so the sum rounds to the nearest integer and holds it in its low bits:
    /// unlike a cast, this compiles to vector code on every machine.
    fn encoder(&self) -> impl Fn(f32) -> u32 + Copy {
        let (zero, scale, low, high) = (self.zero as f32, self.scale as f32, self.low as f32, self.high as f32);
        move |value| (value.max(low).min(high) * scale + zero + 8_388_608.0).to_bits()
    }

    /// Writes the codes of a frame's format where `at` says.
    pub fn write_row(&self, format: PixelFormat, values: &[f32], row: &mut [u8], at: Component) {
        if format == PixelFormat::Gray16Le {
            self.write16(values, row);
        } else {
            self.write8(values, row, at);
        }
    }

    /// Writes 16-bit codes.
    fn write16(&self, values: &[f32], row: &mut [u8]) {
        let code = self.encoder();
        for (&value, bytes) in values.iter().zip(row.as_chunks_mut::<2>().0) {
            *bytes = (code(value) as u16).to_le_bytes();
        }
    }

    /// Writes 8-bit codes where `at` says.
    pub fn write8(&self, values: &[f32], row: &mut [u8], at: Component) {
        match at.step {
            1 => self.write_strided::<1>(values, row, at.offset),
            2 => self.write_strided::<2>(values, row, at.offset),
            3 => self.write_strided::<3>(values, row, at.offset),
            _ => self.write_strided::<4>(values, row, at.offset),
        }
    }

    fn write_strided<const STEP: usize>(&self, values: &[f32], row: &mut [u8], offset: usize) {
        assert!(offset < STEP, "an offset lies inside a pixel");
        let code = self.encoder();
        for (&value, pixel) in values.iter().zip(row.as_chunks_mut::<STEP>().0) {
            pixel[offset] = code(value) as u8;
        }
    }
}

/// Reads 8-bit codes from where `at` says through a table of values.
pub(super) fn read8(row: &[u8], at: Component, table: &[f32; 256], out: &mut [f32]) {
    match at.step {
        1 => read_strided::<1>(row, at.offset, table, out),
        2 => read_strided::<2>(row, at.offset, table, out),
        3 => read_strided::<3>(row, at.offset, table, out),
        _ => read_strided::<4>(row, at.offset, table, out),
    }
}

fn read_strided<const STEP: usize>(row: &[u8], offset: usize, table: &[f32; 256], out: &mut [f32]) {
    assert!(offset < STEP, "an offset lies inside a pixel");
    for (out, pixel) in out.iter_mut().zip(row.as_chunks::<STEP>().0) {
        *out = table[usize::from(pixel[offset])];
    }
}

/// BT.601 luma of rows of red, green and blue.
pub(super) fn luma([red, green, blue]: [&[f32]; 3], out: &mut [f32]) {
    for (((out, r), g), b) in out.iter_mut().zip(red).zip(green).zip(blue) {
        *out = luma_of([*r, *g, *b]);
    }
}

/// BT.601 luma of one pixel.
pub(crate) fn luma_of([red, green, blue]: [f32; 3]) -> f32 {
    LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
}

/// The weights between RGB and Y, Cb, Cr (ITU-R BT.601-7 2.5, BT.709-6 3, BT.2020-2 table 4), all from Kr and Kb.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights {
    kr: f32,
    kg: f32,
    kb: f32,
    /// Range of B' - Y' over that of Cb.
    blue: f32,
    /// Range of R' - Y' over that of Cr.
    red: f32,
}

impl Weights {
    pub fn new(matrix: Matrix) -> Self {
        let (kr, kb) = match matrix {
            Matrix::Bt601 => (0.299, 0.114),
            Matrix::Bt709 => (0.2126, 0.0722),
            Matrix::Bt2020 => (0.2627, 0.0593),
        };
        let f = |x: f64| x as f32;
        Self {
            kr: f(kr),
            kg: f(1.0 - kr - kb),
            kb: f(kb),
            blue: f(2.0 * (1.0 - kb)),
            red: f(2.0 * (1.0 - kr)),
        }
    }

    /// Rows of Y, Cb, Cr to rows of red, green, blue in 0..1, all of the same length.
    pub fn to_rgb(self, [y, cb, cr]: [&[f32]; 3], [red, green, blue]: [&mut [f32]; 3]) {
        let n = y.len();
        let (cb, cr, red, green, blue) = (&cb[..n], &cr[..n], &mut red[..n], &mut green[..n], &mut blue[..n]);
        let (green_cb, green_cr) = self.green();
        for i in 0..n {
            red[i] = unit(y[i] + self.red * cr[i]);
            green[i] = unit(y[i] - green_cb * cb[i] - green_cr * cr[i]);
            blue[i] = unit(y[i] + self.blue * cb[i]);
        }
    }

    /// Standard deviation of the noise of red, green and blue where that of Y, Cb and Cr is `y`, `cb` and `cr`: the root of their mean
    /// variance, as if it were independent, and no more than what white noise in RGB has that makes as much in Y.
    pub fn noise_in_rgb(self, [y, cb, cr]: [f32; 3]) -> f32 {
        let (green_cb, green_cr) = self.green();
        let of_cb = self.blue.powi(2) + green_cb.powi(2);
        let of_cr = self.red.powi(2) + green_cr.powi(2);
        let all = (y * y + (of_cb * cb * cb + of_cr * cr * cr) / 3.0).sqrt();
        let white = y / (self.kr.powi(2) + self.kg.powi(2) + self.kb.powi(2)).sqrt();
        all.min(white)
    }

    /// How much of Cb and of Cr is taken from green.
    fn green(self) -> (f32, f32) {
        (self.kb * self.blue / self.kg, self.kr * self.red / self.kg)
    }

    /// Rows of red, green, blue (cut to 0..1) to a row of Y; Cb and Cr are added to what is there.
    pub fn add_yuv(self, [red, green, blue]: [&[f32]; 3], [y, cb, cr]: [&mut [f32]; 3]) {
        let n = red.len();
        let (green, blue, y, cb, cr) = (&green[..n], &blue[..n], &mut y[..n], &mut cb[..n], &mut cr[..n]);
        let (per_blue, per_red) = (1.0 / self.blue, 1.0 / self.red);
        for i in 0..n {
            let (r, g, b) = (unit(red[i]), unit(green[i]), unit(blue[i]));
            let luma = self.kr * r + self.kg * g + self.kb * b;
            y[i] = luma;
            cb[i] += (b - luma) * per_blue;
            cr[i] += (r - luma) * per_red;
        }
    }
}

/// Cut to 0..1; what is not a number becomes 0.
#[expect(clippy::manual_clamp, reason = "`clamp` keeps NaN")]
fn unit(value: f32) -> f32 {
    value.max(0.0).min(1.0)
}

/// Repeats every value `2^shift` times (`shift` 0 or 1), as far as `out` goes.
pub(super) fn widen(values: &[f32], shift: u32, out: &mut [f32]) {
    if shift == 0 {
        return out.copy_from_slice(values);
    }
    let (pairs, rest) = out.as_chunks_mut::<2>();
    for (pair, &value) in pairs.iter_mut().zip(values) {
        *pair = [value; 2];
    }
    if let ([last], Some(&value)) = (rest, values.last()) {
        *last = value;
    }
}

/// Sums of `rows` rows to means over `2^shift` columns (`shift` 0 or 1), fewer at an odd right edge.
pub(super) fn narrow(sums: &[f32], shift: u32, rows: usize, out: &mut [f32]) {
    let step = 1 << shift;
    for (out, group) in out.iter_mut().zip(sums.chunks(step)) {
        *out = group.iter().sum::<f32>() / (group.len() * rows) as f32;
    }
}

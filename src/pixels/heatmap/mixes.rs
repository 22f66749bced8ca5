//! The colours of a heat map mixed into the planes of a frame.

use super::HeatColors;
use crate::kernels::simd::{Vector, Work, run_best};
use crate::pixels::PixelFormat;
use crate::pixels::formats::Component;
use crate::pixels::mix::{Mix, Mixer};

/// What each code of a heat map does to the values of a plane.
pub(super) struct PlaneMixes {
    pub plane: usize,
    pub shift: [u32; 2],
    /// Bytes from value to value.
    pub step: usize,
    mixes: CodeMixes,
}

enum CodeMixes {
    /// One byte a value.
    Bytes(Box<[Mix; 256]>),
    /// One value of 16 bits.
    Wide(Box<[Mix; 256]>),
    Pairs(Box<[PixelMix<2>; 256]>),
    /// Three or four bytes a value.
    Pixels(Box<[PixelMix<4>; 256]>),
}

impl PlaneMixes {
    pub fn new(plane: usize, format: PixelFormat, mixer: &Mixer, colors: &HeatColors) -> Self {
        let components = (0..format.components()).filter(|&i| format.component(i).plane == plane);
        let components: Vec<(usize, Component)> = components.map(|i| (i, format.component(i))).collect();
        let (first, Component { step, shift, .. }) = components[0];
        let alone = || colors.0.map(|color| mixer.mix(first, color));
        let mixes = match step {
            1 => CodeMixes::Bytes(Box::new(alone())),
            _ if format == PixelFormat::Gray16Le => CodeMixes::Wide(Box::new(alone())),
            2 => CodeMixes::Pairs(Box::new(colors.0.map(|color| PixelMix::new(&components, mixer, color)))),
            _ => CodeMixes::Pixels(Box::new(colors.0.map(|color| PixelMix::new(&components, mixer, color)))),
        };
        Self {
            plane,
            shift,
            step,
            mixes,
        }
    }

    /// Mixes the colours of `codes` into neighbouring values, the first of them at the beginning of `row`.
    pub fn mix(&self, row: &mut [u8], codes: &[u8]) {
        match &self.mixes {
            CodeMixes::Bytes(mixes) => run_best(MixRow { row, codes, mixes }),
            CodeMixes::Wide(mixes) => {
                for (value, &code) in row.as_chunks_mut().0.iter_mut().zip(codes) {
                    *value = mixes[usize::from(code)].on16(*value);
                }
            }
            CodeMixes::Pairs(mixes) => run_best(MixPixels::<2, 2> { row, codes, mixes }),
            CodeMixes::Pixels(mixes) if self.step == 3 => run_best(MixPixels::<3, 4> { row, codes, mixes }),
            CodeMixes::Pixels(mixes) => run_best(MixPixels::<4, 4> { row, codes, mixes }),
        }
    }
}

/// What a code does to the bytes of a pixel. Those that belong to no component stay.
#[derive(Clone, Copy)]
struct PixelMix<const BYTES: usize>([Mix; BYTES]);

impl<const BYTES: usize> PixelMix<BYTES> {
    fn new(components: &[(usize, Component)], mixer: &Mixer, color: u32) -> Self {
        let mut mixes = [Mix::NONE; BYTES];
        for &(component, at) in components {
            mixes[at.offset] = mixer.mix(component, color);
        }
        Self(mixes)
    }

    #[inline(always)]
    fn on(&self, pixel: &mut [u8; BYTES]) {
        for (byte, mix) in pixel.iter_mut().zip(&self.0) {
            *byte = mix.on8(*byte);
        }
    }
}

/// A plane of bytes.
struct MixRow<'a> {
    row: &'a mut [u8],
    codes: &'a [u8],
    mixes: &'a [Mix; 256],
}

impl Work for MixRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        for (value, &code) in self.row.iter_mut().zip(self.codes) {
            *value = self.mixes[usize::from(code)].on8(*value);
        }
    }
}

/// A plane of pixels of `STEP` bytes. The [`PixelMix`] may be wider: it leaves the next pixel's first byte as it is.
struct MixPixels<'a, const STEP: usize, const BYTES: usize> {
    row: &'a mut [u8],
    codes: &'a [u8],
    mixes: &'a [PixelMix<BYTES>; 256],
}

impl<const STEP: usize, const BYTES: usize> Work for MixPixels<'_, STEP, BYTES> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        for (x, &code) in self.codes.iter().enumerate() {
            let (mix, rest) = (&self.mixes[usize::from(code)], &mut self.row[x * STEP..]);
            match rest.first_chunk_mut() {
                Some(pixel) => mix.on(pixel),
                None => {
                    // The last pixel of the plane.
                    for (byte, mix) in rest.iter_mut().zip(&mix.0) {
                        *byte = mix.on8(*byte);
                    }
                }
            }
        }
    }
}

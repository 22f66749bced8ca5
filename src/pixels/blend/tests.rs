use rand::{Rng, RngExt};

use super::*;
use crate::data::random::stream;
use crate::pixels::heatmap::{HeatColors, HeatMap};
use crate::pixels::{Colorimetry, Matrix, Range};

/// A frame's memory: every row followed by `PADDING` bytes of 0xAA that nobody may touch.
struct Memory {
    format: PixelFormat,
    size: [usize; 2],
    planes: Vec<Vec<u8>>,
    /// Bytes of a row, without padding, one a plane.
    rows: Vec<usize>,
}

const PADDING: usize = 5;

impl Memory {
    fn new(format: PixelFormat, [width, height]: [usize; 2], mut byte: impl FnMut() -> u8) -> Self {
        let half = |size: usize| size.div_ceil(2);
        let shapes = match format {
            PixelFormat::Gray8 => vec![(width, height)],
            PixelFormat::Gray16Le => vec![(2 * width, height)],
            PixelFormat::Rgb | PixelFormat::Bgr => vec![(3 * width, height)],
            PixelFormat::I420 => vec![
                (width, height),
                (half(width), half(height)),
                (half(width), half(height)),
            ],
            PixelFormat::Nv12 => vec![(width, height), (2 * half(width), half(height))],
            PixelFormat::Y42b => vec![(width, height), (half(width), height), (half(width), height)],
            PixelFormat::Y444 => vec![(width, height); 3],
            _ => vec![(4 * width, height)],
        };
        let plane = |&(row, rows): &(usize, usize)| {
            (0..rows)
                .flat_map(|_| {
                    (0..row + PADDING)
                        .map(|x| if x < row { byte() } else { 0xAA })
                        .collect::<Vec<_>>()
                })
                .collect()
        };
        Self {
            format,
            size: [width, height],
            planes: shapes.iter().map(plane).collect(),
            rows: shapes.iter().map(|shape| shape.0).collect(),
        }
    }

    fn frame(&mut self, colorimetry: Colorimetry) -> FrameMut<'_> {
        FrameMut {
            format: self.format,
            width: self.size[0],
            height: self.size[1],
            planes: self.planes.iter_mut().map(|plane| plane.as_mut_slice()).collect(),
            strides: self.rows.iter().map(|row| row + PADDING).collect(),
            colorimetry,
        }
    }

    fn at(&self, plane: usize, x: usize, y: usize) -> u8 {
        self.planes[plane][y * (self.rows[plane] + PADDING) + x]
    }

    fn padding_is_whole(&self) -> bool {
        self.planes.iter().zip(&self.rows).all(|(plane, row)| {
            plane
                .chunks_exact(row + PADDING)
                .all(|line| line[*row..] == [0xAA; PADDING])
        })
    }
}

const LIMITED: Colorimetry = Colorimetry {
    matrix: Matrix::Bt601,
    range: Range::Limited,
};

#[test]
fn opaque_red_is_red_in_every_format() {
    // Codes of 100 % red from ITU-R BT.601-7 and BT.709-6.
    let red = premultiply([1.0, 0.0, 0.0], 1.0);
    for (format, bytes) in [
        (PixelFormat::Rgb, vec![255, 0, 0]),
        (PixelFormat::Bgr, vec![0, 0, 255]),
        (PixelFormat::Rgbx, vec![255, 0, 0, 7]),
        (PixelFormat::Bgrx, vec![0, 0, 255, 7]),
        (PixelFormat::Rgba, vec![255, 0, 0, 255]),
        (PixelFormat::Bgra, vec![0, 0, 255, 255]),
        (PixelFormat::Argb, vec![255, 255, 0, 0]),
        (PixelFormat::Abgr, vec![255, 0, 0, 255]),
        (PixelFormat::Gray8, vec![81]),
        (PixelFormat::Gray16Le, 20859u16.to_le_bytes().to_vec()),
    ] {
        let mut memory = Memory::new(format, [1, 1], || 7);
        memory.frame(LIMITED).fill(0, 0, 1, 1, red);
        assert_eq!(memory.planes[0][..memory.rows[0]], bytes, "{format:?}");
    }
    for (matrix, range, codes) in [
        (Matrix::Bt601, Range::Limited, [81, 90, 240]),
        (Matrix::Bt601, Range::Full, [76, 85, 255]),
        (Matrix::Bt709, Range::Limited, [63, 102, 240]),
        (Matrix::Bt2020, Range::Limited, [74, 97, 240]),
    ] {
        for (format, u, v) in [
            (PixelFormat::I420, (1, 0), (2, 0)),
            (PixelFormat::Nv12, (1, 0), (1, 1)),
            (PixelFormat::Y42b, (1, 0), (2, 0)),
            (PixelFormat::Y444, (1, 0), (2, 0)),
        ] {
            let mut memory = Memory::new(format, [3, 3], || 7);
            memory
                .frame(Colorimetry { matrix, range })
                .fill(-(1 << 40), -1, 1 << 41, 9, red);
            let found = [memory.at(0, 2, 2), memory.at(u.0, u.1, 0), memory.at(v.0, v.1, 0)];
            assert_eq!(found, codes, "{format:?} {matrix:?} {range:?}");
            assert!(memory.padding_is_whole());
        }
    }
}

#[test]
fn half_of_white_over_black_is_in_the_middle() {
    let white = premultiply([1.0; 3], 0.5);
    assert_eq!(white, 0x80808080);
    let mut rgb = Memory::new(PixelFormat::Rgb, [1, 1], || 0);
    rgb.frame(LIMITED).fill(0, 0, 1, 1, white);
    assert_eq!(rgb.planes[0][..3], [128; 3]);
    // Chroma of one white pixel in a block of four blue ones: a quarter of neutral, three quarters of what was there.
    let mut yuv = Memory::new(PixelFormat::I420, [2, 2], || 240);
    yuv.frame(LIMITED).fill(1, 1, 1, 1, premultiply([1.0; 3], 1.0));
    assert_eq!([yuv.at(0, 0, 0), yuv.at(0, 1, 1), yuv.at(1, 0, 0)], [240, 235, 212]);
    // Colour over a clear pixel shows undimmed.
    let mut rgba = Memory::new(PixelFormat::Rgba, [1, 1], || 0);
    rgba.frame(LIMITED).fill(0, 0, 1, 1, white);
    assert_eq!(rgba.planes[0][..4], [255, 255, 255, 128]);
}

/// A layer laid on a frame of `frame` pixels, for a reference in floating point.
struct Laid {
    pixels: Vec<u32>,
    size: [usize; 2],
    at: [i64; 2],
    frame: [usize; 2],
}

impl Laid {
    /// Red, green, blue and alpha in 0..1 on a pixel of the frame.
    fn over(&self, x: usize, y: usize) -> [f64; 4] {
        let inside = |axis: usize, n: usize| {
            let n = usize::try_from(n as i64 - self.at[axis]).ok();
            n.filter(|&n| n < self.size[axis])
        };
        match (inside(0, x), inside(1, y)) {
            (Some(x), Some(y)) => parts(self.pixels[y * self.size[0] + x]).map(|part| f64::from(part) / 255.0),
            _ => [0.0; 4],
        }
    }

    /// What the byte `x` of row `y` of a plane should become, from the definition.
    fn expected(&self, format: PixelFormat, plane: usize, [x, y]: [usize; 2], under: f64) -> f64 {
        let mean = |layer: &[[f64; 4]], full: f64, factors: [f64; 3], offset: f64| {
            let code = |[r, g, b, a]: &[f64; 4]| {
                (factors[0] * r + factors[1] * g + factors[2] * b + offset * a) * full + under * (1.0 - a)
            };
            layer.iter().map(code).sum::<f64>() / layer.len() as f64
        };
        let value = match (format, plane) {
            (PixelFormat::Bgrx, _) if x % 4 == 3 => under,
            (PixelFormat::Bgrx, _) => {
                let mut factors = [0.0; 3];
                factors[2 - x % 4] = 1.0;
                mean(&[self.over(x / 4, y)], 255.0, factors, 0.0)
            }
            (_, 0) => mean(&[self.over(x, y)], 219.0, [0.299, 0.587, 0.114], 16.0 / 219.0),
            _ => {
                let [across, down] = if format == PixelFormat::Y42b { [2, 1] } else { [2, 2] };
                let is_nv12 = format == PixelFormat::Nv12;
                let (column, is_v) = if is_nv12 { (x / 2, x % 2 == 1) } else { (x, plane == 2) };
                let columns = column * across..((column + 1) * across).min(self.frame[0]);
                let rows = y * down..((y + 1) * down).min(self.frame[1]);
                let block: Vec<_> = rows
                    .flat_map(|y| columns.clone().map(move |x| self.over(x, y)))
                    .collect();
                let (u, v) = ([-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]);
                mean(&block, 224.0, if is_v { v } else { u }, 128.0 / 224.0)
            }
        };
        value.clamp(0.0, 255.0)
    }
}

#[test]
fn random_layers_agree_with_the_definition_in_floating_point() {
    let seed = 11;
    println!("seed {seed}");
    let mut rng = stream(seed, 0, 0);
    for round in 0..40 {
        let frame = [rng.random_range(1..12), rng.random_range(1..12)];
        let size = [rng.random_range(1..9), rng.random_range(1..9)];
        let at = [rng.random_range(-8..12), rng.random_range(-8..12)];
        let pixels = (0..size[0] * size[1])
            .map(|_| premultiply([rng.random(), rng.random(), rng.random()], rng.random_range(-0.3..1.3)))
            .collect();
        let laid = Laid {
            pixels,
            size,
            at,
            frame,
        };
        for format in [
            PixelFormat::Bgrx,
            PixelFormat::I420,
            PixelFormat::Y42b,
            PixelFormat::Nv12,
        ] {
            let mut memory = Memory::new(format, frame, || rng.next_u32() as u8);
            let before = memory.planes.clone();
            memory
                .frame(LIMITED)
                .blend(&Layer::new(&laid.pixels, size[0]), at[0], at[1]);
            assert!(memory.padding_is_whole(), "round {round} {format:?}");
            for (plane, before) in before.iter().enumerate() {
                let stride = memory.rows[plane] + PADDING;
                for (i, &under) in before
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| i % stride < memory.rows[plane])
                {
                    let (found, place) = (memory.planes[plane][i], [i % stride, i / stride]);
                    let expected = laid.expected(format, plane, place, f64::from(under));
                    let difference = (f64::from(found) - expected).abs();
                    assert!(
                        difference <= 0.51,
                        "round {round} {format:?} {plane} {place:?}: {found} {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_outside_or_clear_leaves_the_frame_alone() {
    for format in PixelFormat::ALL {
        for size in [[1, 1], [5, 3]] {
            let mut memory = Memory::new(format, size, || 99);
            let before = memory.planes.clone();
            let mut frame = memory.frame(LIMITED);
            for at in [[-9, 0], [9, 0], [0, 9], [i64::MIN, 0], [0, i64::MAX]] {
                frame.fill(at[0], at[1], 2, 2, u32::MAX);
            }
            frame.fill(i64::MIN, 0, usize::MAX / 2, 1, u32::MAX);
            frame.fill(0, 0, 5, 3, 0);
            frame.fill(0, 0, 0, 0, u32::MAX);
            frame.blend(&Layer::new(&[], 0), 0, 0);
            frame.blend(&Layer::new(&[1, 2], 3), 0, 0);
            assert_eq!(memory.planes, before, "{format:?}");
        }
    }
}

#[test]
fn a_fill_is_a_layer_of_one_colour() {
    let seed = 12;
    println!("seed {seed}");
    let mut rng = stream(seed, 0, 0);
    for round in 0..60 {
        let frame = [rng.random_range(1..12), rng.random_range(1..12)];
        let [width, height] = [rng.random_range(1..9), rng.random_range(1..9)];
        let [x, y] = [rng.random_range(-8..12), rng.random_range(-8..12)];
        let color = premultiply([rng.random(), rng.random(), rng.random()], rng.random_range(-0.3..1.3));
        for format in PixelFormat::ALL {
            let mut filled = Memory::new(format, frame, || rng.next_u32() as u8);
            let mut laid = Memory {
                planes: filled.planes.clone(),
                rows: filled.rows.clone(),
                ..filled
            };
            filled.frame(LIMITED).fill(x, y, width, height, color);
            let pixels = vec![color; width * height];
            laid.frame(LIMITED).blend(&Layer::new(&pixels, width), x, y);
            assert!(filled.padding_is_whole(), "round {round} {format:?}");
            for (a, b) in filled.planes.iter().flatten().zip(laid.planes.iter().flatten()) {
                // The low byte of a code of 16 bits may be anything.
                let apart = if format == PixelFormat::Gray16Le { 255 } else { 1 };
                assert!(a.abs_diff(*b) <= apart, "round {round} {format:?}: {a} {b}");
            }
        }
    }
}

#[test]
fn opaque_pixels_take_what_pixels_without_alpha_take() {
    // One clear pixel, whose row goes the slower way, changes nothing for the others.
    let [width, height] = [37, 6];
    let codes: Vec<u8> = (0..width * height).map(|i| (i * 7 % 256) as u8).collect();
    let map = HeatMap::new(&codes, [width, height], [0.0, 0.0, width as f64, height as f64]).unwrap();
    let pixels: Vec<u32> = (0..20u32)
        .map(|i| premultiply([0.1, 0.5, 0.9], i as f32 / 19.0))
        .collect();
    let draws: [&dyn Fn(&mut FrameMut<'_>); 3] = [
        &|frame| frame.fill(2, 1, 30, 4, premultiply([0.2, 0.9, 0.4], 0.3)),
        &|frame| frame.blend(&Layer::new(&pixels, 10), 5, 2),
        &|frame| frame.blend_heat(&map, &HeatColors::new(0.6)),
    ];
    for format in [
        PixelFormat::Rgba,
        PixelFormat::Bgra,
        PixelFormat::Argb,
        PixelFormat::Abgr,
    ] {
        let alpha = packed(format).and_then(|packed| packed.alpha).unwrap();
        for (draw, clear) in draws
            .iter()
            .flat_map(|draw| [(draw, None), (draw, Some(3 * width + 13))])
        {
            let mut plain = Memory::new(PixelFormat::Rgb, [width, height], || 100);
            let mut opaque = Memory::new(format, [width, height], || 100);
            let offset = |memory: &Memory, pixel: usize| {
                let step = memory.rows[0] / width;
                pixel / width * (memory.rows[0] + PADDING) + pixel % width * step
            };
            for pixel in 0..width * height {
                let at = offset(&opaque, pixel) + alpha;
                opaque.planes[0][at] = if clear == Some(pixel) { 0 } else { 255 };
            }
            draw(&mut plain.frame(LIMITED));
            draw(&mut opaque.frame(LIMITED));
            assert!(opaque.padding_is_whole());
            assert!(
                plain.planes[0].iter().any(|byte| ![100, 0xAA].contains(byte)),
                "something is drawn"
            );
            for pixel in (0..width * height).filter(|&pixel| clear != Some(pixel)) {
                let found = &opaque.planes[0][offset(&opaque, pixel)..][..4];
                assert_eq!(found[alpha], 255, "{format:?} {pixel}");
                for component in 0..3 {
                    let expected = plain.planes[0][offset(&plain, pixel) + component];
                    let code = found[format.component(component).offset];
                    assert!(code.abs_diff(expected) <= 1, "{format:?} {pixel}: {code} {expected}");
                }
            }
            if let Some(pixel) = clear {
                // Under a colour, a clear pixel becomes the colour and as opaque as it.
                let found = opaque.planes[0][offset(&opaque, pixel) + alpha];
                assert!((1..255).contains(&found), "{format:?}: {found}");
            }
        }
    }
}

use rand::{Rng, RngExt};

use super::*;
use crate::data::random::stream;

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

/// What a blended component should be, in floating point, from the definition.
fn expected(under: f64, full: f64, layer: &[[f64; 4]], factors: [f64; 3], offset: f64) -> f64 {
    let count = layer.len() as f64;
    layer
        .iter()
        .map(|[r, g, b, a]| (factors[0] * r + factors[1] * g + factors[2] * b + offset * a) * full + under * (1.0 - a))
        .sum::<f64>()
        / count
}

#[test]
fn random_layers_agree_with_the_definition_in_floating_point() {
    let seed = 11;
    println!("seed {seed}");
    let mut rng = stream(seed, 0, 0);
    for round in 0..40 {
        let size = [rng.random_range(1..12), rng.random_range(1..12)];
        let layer_size = [rng.random_range(1..9), rng.random_range(1..9)];
        let at = [rng.random_range(-8..12), rng.random_range(-8..12)];
        let pixels: Vec<u32> = (0..layer_size[0] * layer_size[1])
            .map(|_| premultiply([rng.random(), rng.random(), rng.random()], rng.random_range(-0.3..1.3)))
            .collect();
        let layer = Layer::new(&pixels, layer_size[0]);
        let on_frame = |x: usize, y: usize| {
            let inside = |at: i64, n: usize, size: usize| usize::try_from(n as i64 - at).ok().filter(|&n| n < size);
            match (inside(at[0], x, layer_size[0]), inside(at[1], y, layer_size[1])) {
                (Some(x), Some(y)) => parts(pixels[y * layer_size[0] + x]).map(|part| f64::from(part) / 255.0),
                _ => [0.0; 4],
            }
        };
        for (format, [across, down]) in [
            (PixelFormat::Bgrx, [1, 1]),
            (PixelFormat::I420, [2, 2]),
            (PixelFormat::Y42b, [2, 1]),
            (PixelFormat::Nv12, [2, 2]),
        ] {
            let mut memory = Memory::new(format, size, || rng.next_u32() as u8);
            let before = memory.planes.clone();
            memory.frame(LIMITED).blend(&layer, at[0], at[1]);
            assert!(memory.padding_is_whole(), "seed {seed} round {round} {format:?}");
            for plane in 0..memory.planes.len() {
                let stride = memory.rows[plane] + PADDING;
                for (i, (&found, &under)) in memory.planes[plane].iter().zip(&before[plane]).enumerate() {
                    let (x, y) = (i % stride, i / stride);
                    if x >= memory.rows[plane] {
                        continue;
                    }
                    let under = f64::from(under);
                    let value = match (format, plane) {
                        (PixelFormat::Bgrx, _) if x % 4 == 3 => under,
                        (PixelFormat::Bgrx, _) => {
                            let mut factors = [0.0; 3];
                            factors[2 - x % 4] = 1.0;
                            expected(under, 255.0, &[on_frame(x / 4, y)], factors, 0.0)
                        }
                        (_, 0) => expected(under, 219.0, &[on_frame(x, y)], [0.299, 0.587, 0.114], 16.0 / 219.0),
                        _ => {
                            let (column, v) = if format == PixelFormat::Nv12 {
                                (x / 2, x % 2 == 1)
                            } else {
                                (x, plane == 2)
                            };
                            let block: Vec<_> = (y * down..((y + 1) * down).min(size[1]))
                                .flat_map(|y| {
                                    (column * across..((column + 1) * across).min(size[0])).map(move |x| (x, y))
                                })
                                .map(|(x, y)| on_frame(x, y))
                                .collect();
                            let factors = if v {
                                [0.5, -0.418688, -0.081312]
                            } else {
                                [-0.168736, -0.331264, 0.5]
                            };
                            expected(under, 224.0, &block, factors, 128.0 / 224.0)
                        }
                    };
                    let difference = (f64::from(found) - value.clamp(0.0, 255.0)).abs();
                    assert!(
                        difference <= 0.51,
                        "seed {seed} round {round} {format:?} plane {plane} {x},{y}: {found} {value}"
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

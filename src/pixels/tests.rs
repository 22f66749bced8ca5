//! Frames of every format, to pictures and back.

use rand::RngExt;

use super::*;
use crate::data::random::stream;

const SIZES: [[usize; 2]; 8] = [[1, 1], [2, 1], [1, 2], [3, 3], [5, 4], [4, 5], [17, 9], [4099, 3]];
const FULL: Colorimetry = Colorimetry {
    matrix: Matrix::Bt601,
    range: Range::Full,
};
const LIMITED: Colorimetry = Colorimetry {
    matrix: Matrix::Bt601,
    range: Range::Limited,
};

/// A frame's memory. Rows are `padding` bytes further apart than they need, and the last one ends with its last pixel.
#[derive(Clone, PartialEq, Debug)]
struct Memory {
    format: PixelFormat,
    size: [usize; 2],
    strides: Vec<usize>,
    planes: Vec<Vec<u8>>,
}

impl Memory {
    fn new(format: PixelFormat, size: [usize; 2], padding: usize, mut byte: impl FnMut(usize) -> u8) -> Self {
        let sizes = (0..format.planes()).map(|i| format.plane_size(i, size[0], size[1]));
        let (strides, planes) = sizes
            .map(|[bytes, rows]| {
                let stride = bytes + padding;
                (stride, (0..stride * (rows - 1) + bytes).map(&mut byte).collect())
            })
            .unzip();
        Self {
            format,
            size,
            strides,
            planes,
        }
    }

    fn random(format: PixelFormat, size: [usize; 2], padding: usize) -> Self {
        let seed = 7;
        println!("seed {seed}");
        let mut rng = stream(seed, size[0] as u64, size[1] as u64);
        Self::new(format, size, padding, |_| rng.random())
    }

    fn frame(&self, colorimetry: Colorimetry) -> Frame<'_> {
        let planes = self.planes.iter().map(Vec::as_slice).collect();
        Frame::new(
            self.format,
            self.size[0],
            self.size[1],
            planes,
            self.strides.clone(),
            colorimetry,
        )
        .unwrap()
    }

    fn frame_mut(&mut self, colorimetry: Colorimetry) -> FrameMut<'_> {
        let planes = self.planes.iter_mut().map(Vec::as_mut_slice).collect();
        FrameMut::new(
            self.format,
            self.size[0],
            self.size[1],
            planes,
            self.strides.clone(),
            colorimetry,
        )
        .unwrap()
    }

    /// The codes of a component at a pixel of the frame, found the slow way.
    fn code(&self, component: usize, x: usize, y: usize) -> u16 {
        let at = self.format.component(component);
        let start = (y >> at.shift[1]) * self.strides[at.plane] + (x >> at.shift[0]) * at.step + at.offset;
        let plane = &self.planes[at.plane];
        match self.format {
            PixelFormat::Gray16Le => u16::from_le_bytes([plane[start], plane[start + 1]]),
            _ => u16::from(plane[start]),
        }
    }
}

fn close(got: f32, wanted: f64, what: &str) {
    assert!((f64::from(got) - wanted).abs() < 1e-5, "{what}: {got}, not {wanted}");
}

#[test]
fn names_go_both_ways() {
    for format in PixelFormat::ALL {
        assert_eq!(PixelFormat::from_name(format.name()), Some(format));
    }
    assert_eq!(PixelFormat::from_name("YUY2"), None);
    assert_eq!(PixelFormat::from_name("gray8"), None);
}

#[test]
fn chroma_sizes_round_up() {
    let sizes = |format: PixelFormat| [0, 1, 2].map(|i| format.component_size(i, 5, 3));
    assert_eq!(sizes(PixelFormat::I420), [[5, 3], [3, 2], [3, 2]]);
    assert_eq!(sizes(PixelFormat::Nv12), [[5, 3], [3, 2], [3, 2]]);
    assert_eq!(sizes(PixelFormat::Y42b), [[5, 3], [3, 3], [3, 3]]);
    assert_eq!(sizes(PixelFormat::Y444), [[5, 3]; 3]);
    assert_eq!(PixelFormat::Nv12.plane_size(1, 5, 3), [6, 2]);
    assert_eq!(PixelFormat::Gray16Le.plane_size(0, 5, 3), [10, 3]);
}

/// Every pixel of every format against the formulas of the standards in f64, at odd sizes and padded strides.
#[test]
fn frames_read_as_the_standards_say() {
    for format in PixelFormat::ALL {
        for (size, padding) in SIZES.into_iter().zip([0, 3, 5, 0, 1, 7, 64, 2]) {
            for colorimetry in [
                FULL,
                LIMITED,
                Colorimetry {
                    matrix: Matrix::Bt709,
                    range: Range::Limited,
                },
            ] {
                let memory = Memory::random(format, size, padding);
                let frame = memory.frame(colorimetry);
                let (rgb, gray) = (frame.to_image(Color::Rgb), frame.to_image(Color::Gray));
                for (y, x) in (0..size[1]).flat_map(|y| (0..size[0]).map(move |x| (y, x))) {
                    let (wanted, luma) = slow_rgb(&memory, colorimetry, x, y);
                    let what = format!("{} {size:?} +{padding} {colorimetry:?} at ({x}, {y})", format.name());
                    for (channel, wanted) in wanted.into_iter().enumerate() {
                        close(rgb.plane(channel)[y * size[0] + x], wanted, &what);
                    }
                    close(gray.data[y * size[0] + x], luma, &what);
                }
            }
        }
    }
}

/// Red, green, blue and grey of a pixel.
fn slow_rgb(memory: &Memory, colorimetry: Colorimetry, x: usize, y: usize) -> ([f64; 3], f64) {
    let code = |i| f64::from(memory.code(i, x, y));
    let (black, luma, chroma) = match colorimetry.range {
        Range::Limited => (16.0, 219.0, 224.0),
        Range::Full => (0.0, 255.0, 255.0),
    };
    let unit = |v: f64| v.clamp(0.0, 1.0);
    match memory.format {
        PixelFormat::Gray8 => ([unit((code(0) - black) / luma); 3], unit((code(0) - black) / luma)),
        PixelFormat::Gray16Le => {
            let step = if colorimetry.range == Range::Full { 257.0 } else { 256.0 };
            let value = unit((code(0) / step - black) / luma);
            ([value; 3], value)
        }
        format if format.is_yuv() => {
            let (y, u, v) = (
                (code(0) - black) / luma,
                (code(1) - 128.0) / chroma,
                (code(2) - 128.0) / chroma,
            );
            // Published constants (BT.601: 1.402, 1.772, 0.344136, 0.714136; BT.709: 1.5748, 1.8556, 0.187324, 0.468124).
            let rgb = match colorimetry.matrix {
                Matrix::Bt601 => [y + 1.402 * v, y - 0.344_136 * u - 0.714_136 * v, y + 1.772 * u],
                _ => [y + 1.5748 * v, y - 0.187_324 * u - 0.468_124 * v, y + 1.8556 * u],
            };
            (rgb.map(unit), unit(y))
        }
        _ => {
            let rgb = [0, 1, 2].map(|i| code(i) / 255.0);
            (rgb, 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2])
        }
    }
}

/// Byte orders by GStreamer's documentation of `GstVideoFormat`: one red, half green, no blue; alpha 7.
#[test]
fn packed_formats_have_their_byte_order() {
    let image = Image {
        channels: 3,
        height: 1,
        width: 1,
        data: vec![1.0, 0.5, 0.0],
    };
    for (format, wanted) in [
        (PixelFormat::Rgb, vec![255, 128, 0]),
        (PixelFormat::Bgr, vec![0, 128, 255]),
        (PixelFormat::Rgbx, vec![255, 128, 0, 7]),
        (PixelFormat::Bgrx, vec![0, 128, 255, 7]),
        (PixelFormat::Rgba, vec![255, 128, 0, 7]),
        (PixelFormat::Bgra, vec![0, 128, 255, 7]),
        (PixelFormat::Argb, vec![7, 255, 128, 0]),
        (PixelFormat::Abgr, vec![7, 0, 128, 255]),
    ] {
        let mut memory = Memory::new(format, [1, 1], 0, |_| 7);
        memory.frame_mut(FULL).write(&image);
        assert_eq!(memory.planes[0], wanted, "{}", format.name());
    }
}

/// Primary colours and two others, in codes; Y, Cb, Cr by NumPy from Kr and Kb of the standards.
#[test]
fn known_colours() {
    for (matrix, range, wanted) in YUV {
        let colorimetry = Colorimetry {
            matrix: *matrix,
            range: *range,
        };
        let mut image = Image::filled(3, 1, COLORS.len(), 0.0);
        for (i, color) in COLORS.iter().enumerate() {
            for (channel, code) in color.iter().enumerate() {
                image.plane_mut(channel)[i] = f32::from(*code) / 255.0;
            }
        }
        let mut memory = Memory::new(PixelFormat::Y444, [COLORS.len(), 1], 3, |_| 1);
        memory.frame_mut(colorimetry).write(&image);
        for (i, wanted) in wanted.iter().enumerate() {
            let got = [0, 1, 2].map(|c| memory.planes[c][i]);
            assert_eq!(got, *wanted, "{colorimetry:?}: colour {:?}", COLORS[i]);
        }
        let back = memory.frame(colorimetry).to_image(Color::Rgb);
        for (got, wanted) in back.data.iter().zip(&image.data) {
            assert!(
                (got - wanted).abs() < 1.5 / 255.0,
                "{colorimetry:?}: {got}, not {wanted}"
            );
        }
    }
}

#[test]
fn every_code_comes_back() {
    for format in PixelFormat::ALL.into_iter().filter(|format| !format.is_yuv()) {
        let size = if format == PixelFormat::Gray16Le {
            [256, 256]
        } else {
            [64, 64]
        };
        let wide = format == PixelFormat::Gray16Le;
        let memory = Memory::new(format, size, 0, |i| {
            if wide && i % 2 == 1 {
                (i / 512) as u8
            } else {
                (i / 2) as u8
            }
        });
        let mut copy = memory.clone();
        copy.planes[0].fill(0);
        copy.frame_mut(FULL).write(&memory.frame(FULL).to_image(format.color()));
        copy.frame_mut(FULL).copy_alpha(&memory.frame(FULL));
        assert_eq!(copy, memory);
    }
    let ramp = Memory::new(PixelFormat::Gray8, [256, 1], 0, |i| i as u8);
    for range in [Range::Full, Range::Limited] {
        let colorimetry = Colorimetry { range, ..FULL };
        let mut copy = Memory::new(PixelFormat::Gray8, [256, 1], 0, |_| 0);
        copy.frame_mut(colorimetry)
            .write(&ramp.frame(colorimetry).to_image(Color::Gray));
        let cut = |code: u8| {
            if range == Range::Full {
                code
            } else {
                code.clamp(16, 235)
            }
        };
        assert!(copy.planes[0].iter().zip(0..=255).all(|(got, code)| *got == cut(code)));
    }
}

#[test]
fn colours_come_back_through_yuv_within_a_code() {
    let (width, height) = (64, 72);
    let memory = Memory::random(PixelFormat::Rgb, [width, height], 0);
    let image = memory.frame(FULL).to_image(Color::Rgb);
    for matrix in [Matrix::Bt601, Matrix::Bt709, Matrix::Bt2020] {
        for range in [Range::Limited, Range::Full] {
            let colorimetry = Colorimetry { matrix, range };
            let mut yuv = Memory::new(PixelFormat::Y444, [width, height], 1, |_| 0);
            yuv.frame_mut(colorimetry).write(&image);
            let back = yuv.frame(colorimetry).to_image(Color::Rgb);
            let mut again = yuv.clone();
            again.frame_mut(colorimetry).write(&back);
            for plane in 0..3 {
                let pairs = yuv.planes[plane].iter().zip(&again.planes[plane]);
                assert!(
                    pairs.into_iter().all(|(a, b)| a.abs_diff(*b) <= 1),
                    "{colorimetry:?} plane {plane}"
                );
            }
        }
    }
}

/// Components come back bit for bit, and nothing else is touched: not padding, not alpha, not other components.
#[test]
fn components_come_back() {
    for format in PixelFormat::ALL {
        for (size, padding) in SIZES.into_iter().zip([0, 3, 5, 0, 1, 7, 64, 2]) {
            let memory = Memory::random(format, size, padding);
            let mut copy = memory.clone();
            for i in 0..format.components() {
                let component = memory.frame(LIMITED).component(i);
                assert_eq!(
                    [component.width, component.height],
                    format.component_size(i, size[0], size[1])
                );
                let largest = if format == PixelFormat::Gray16Le {
                    65535.0
                } else {
                    255.0
                };
                close(
                    component.data[0],
                    f64::from(memory.code(i, 0, 0)) / largest,
                    format.name(),
                );
                let inverted = component.data.iter().map(|v| 1.0 - v).collect();
                copy.frame_mut(LIMITED).write_component(
                    i,
                    &Image {
                        data: inverted,
                        ..component.clone()
                    },
                );
                assert_eq!(copy.code(i, 0, 0), largest as u16 - memory.code(i, 0, 0));
                copy.frame_mut(LIMITED).write_component(i, &component);
            }
            assert_eq!(copy, memory);
        }
    }
}

#[test]
fn writing_leaves_padding_and_alpha() {
    for format in PixelFormat::ALL {
        let size = [5, 3];
        let mut memory = Memory::new(format, size, 6, |_| 77);
        memory
            .frame_mut(LIMITED)
            .write(&Image::filled(3, size[1], size[0], 1.0));
        for (i, plane) in memory.planes.iter().enumerate() {
            let [bytes, _] = format.plane_size(i, size[0], size[1]);
            for (at, byte) in plane.iter().enumerate() {
                let x = at % memory.strides[i];
                let kept = x >= bytes || format.spare_byte().is_some_and(|spare| x % 4 == spare);
                assert_eq!(*byte == 77, kept, "{} plane {i} byte {at} is {byte}", format.name());
            }
        }
    }
}

#[test]
fn chroma_is_the_mean_of_what_it_covers() {
    // One red pixel in each group of covered pixels: at the odd right and lower edge fewer pixels share it.
    let (width, height) = (3, 3);
    let mut image = Image::filled(3, height, width, 0.0);
    for i in [0, 2, 6, 8] {
        image.data[i] = 1.0;
    }
    // Full-range Cr of red is 255.5, cut to 255; of n pixels one red: 128 + 127.5 / n; Cb 128 - 43.03 / n.
    let wanted =
        |n: f64| [128.0 - 0.168_736 * 255.0 / n, 128.0 + 127.5 / n].map(|v| (v + 0.5).floor().min(255.0) as u8);
    for (format, groups) in [
        (PixelFormat::I420, vec![4.0, 2.0, 2.0, 1.0]),
        (PixelFormat::Nv12, vec![4.0, 2.0, 2.0, 1.0]),
        (
            PixelFormat::Y42b,
            vec![2.0, 1.0, f64::INFINITY, f64::INFINITY, 2.0, 1.0],
        ),
    ] {
        let mut memory = Memory::new(format, [width, height], 5, |_| 9);
        memory.frame_mut(FULL).write(&image);
        let [columns, _] = format.component_size(1, width, height);
        for (i, n) in groups.into_iter().enumerate() {
            let (x, y) = ((i % columns) << 1, (i / columns) << format.component(1).shift[1]);
            let got = [1, 2].map(|c| memory.code(c, x, y) as i32);
            let close = got
                .into_iter()
                .zip(wanted(n))
                .all(|(a, b)| (a - i32::from(b)).abs() <= i32::from(n == 4.0));
            assert!(close, "{} group {i}: {got:?}, not {:?}", format.name(), wanted(n));
        }
    }
}

#[test]
fn grey_into_colour_and_colour_into_grey() {
    let gray = Image::filled(1, 3, 5, 0.5);
    for format in PixelFormat::ALL {
        for (colorimetry, luma) in [(FULL, 128), (LIMITED, 126)] {
            let mut memory = Memory::new(format, [5, 3], 2, |_| 9);
            memory.frame_mut(colorimetry).write(&gray);
            let codes = [0, 1, 2].map(|i| memory.code(i.min(format.components() - 1), 4, 2));
            let wanted = match format {
                PixelFormat::Gray8 => [luma; 3],
                PixelFormat::Gray16Le if colorimetry == FULL => [32768; 3],
                PixelFormat::Gray16Le => [32128; 3],
                _ if format.is_yuv() => [luma, 128, 128],
                _ => [128; 3],
            };
            assert_eq!(codes, wanted, "{} {colorimetry:?}", format.name());
        }
    }
    let mut memory = Memory::new(PixelFormat::Gray8, [3, 1], 0, |_| 9);
    let data = vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    memory.frame_mut(FULL).write(&Image {
        channels: 3,
        height: 1,
        width: 3,
        data,
    });
    assert_eq!(memory.planes[0], [76, 150, 29]);
}

#[test]
fn wild_values_are_cut_off() {
    let data = vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.1, 1.1, 1e30];
    let image = Image {
        channels: 1,
        height: 1,
        width: 6,
        data,
    };
    for (format, colorimetry, low, high) in [
        (PixelFormat::Gray8, FULL, 0, 255),
        (PixelFormat::Gray8, LIMITED, 16, 235),
        (PixelFormat::Gray16Le, FULL, 0, 65535),
        (PixelFormat::Bgra, LIMITED, 0, 255),
        (PixelFormat::I420, LIMITED, 16, 235),
    ] {
        let wanted = [low, high, low, low, high, high];
        let mut memory = Memory::new(format, [6, 1], 0, |_| 9);
        memory.frame_mut(colorimetry).write(&image);
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(|x| memory.code(0, x, 0)),
            wanted,
            "{}",
            format.name()
        );
        memory.frame_mut(colorimetry).write(&image.to_color(Color::Rgb));
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(|x| memory.code(0, x, 0)),
            wanted,
            "{} from RGB",
            format.name()
        );
    }
}

#[test]
fn frames_that_do_not_fit_are_refused() {
    let bytes = [0; 64];
    let refused = |format, width, height, lengths: &[usize], strides: &[usize]| {
        let planes = lengths.iter().map(|n| &bytes[..*n]).collect();
        Frame::new(format, width, height, planes, strides.to_vec(), FULL)
            .unwrap_err()
            .to_string()
    };
    let short = refused(PixelFormat::I420, 5, 3, &[18, 8, 7], &[6, 4, 5]);
    assert!(
        short.contains("I420 frame of 5x3: plane 0 is 18 bytes long") || short.contains("plane 2"),
        "{short}"
    );
    assert!(refused(PixelFormat::Nv12, 5, 3, &[17, 13], &[6, 8]).contains("plane 1 is 13 bytes long"));
    assert!(refused(PixelFormat::Rgb, 2, 2, &[12], &[5]).contains("stride of 5 bytes, but a row takes 6"));
    assert!(refused(PixelFormat::I420, 2, 2, &[4], &[2]).contains("needs 3 planes"));
    assert!(refused(PixelFormat::Gray8, 0, 2, &[4], &[2]).contains("both sides"));
    assert!(refused(PixelFormat::Gray8, 2, 3, &[4], &[usize::MAX]).contains("more than memory holds"));
    assert!(
        Frame::new(
            PixelFormat::Nv12,
            5,
            3,
            vec![&bytes[..17], &bytes[..14]],
            vec![6, 8],
            FULL
        )
        .is_ok()
    );
    let mut bytes = [0; 3];
    assert!(FrameMut::new(PixelFormat::Gray8, 2, 2, vec![&mut bytes], vec![2], FULL).is_err());
}

#[test]
fn padding_reflects_and_is_cropped_off() {
    let row = |width: usize| Image {
        channels: 1,
        height: 1,
        width,
        data: (0..width).map(|x| x as f32).collect(),
    };
    assert_eq!(
        row(5).pad_to_multiple(8).data[..8],
        [0.0, 1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0]
    );
    // Smaller than its padding: the reflection is reflected again, as NumPy's `pad(mode="reflect")` does.
    assert_eq!(
        row(2).pad_to_multiple(8).data[..8],
        [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    );
    assert_eq!(
        row(3).pad_to_multiple(8).data[..8],
        [0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 2.0, 1.0]
    );
    assert_eq!(
        Image::filled(3, 1, 1, 0.5).pad_to_multiple(16),
        Image::filled(3, 16, 16, 0.5)
    );
    let image = Memory::random(PixelFormat::Rgb, [13, 6], 0)
        .frame(FULL)
        .to_image(Color::Rgb);
    let padded = image.pad_to_multiple(4);
    assert_eq!((padded.width, padded.height), (16, 8));
    assert_eq!(padded.plane(2)[6 * 16..][..13], padded.plane(2)[4 * 16..][..13]);
    assert_eq!(padded.crop(0, 0, 13, 6), image);
    assert_eq!(image.pad_to_multiple(1), image);
    assert_eq!(image.crop(3, 2, 4, 1).plane(1), &image.plane(1)[2 * 13 + 3..][..4]);
}

const COLORS: [[u8; 3]; 10] = [
    [255, 0, 0],
    [0, 255, 0],
    [0, 0, 255],
    [255, 255, 0],
    [0, 255, 255],
    [255, 0, 255],
    [255, 255, 255],
    [0, 0, 0],
    [128, 128, 128],
    [200, 100, 50],
];

#[rustfmt::skip]
const YUV: &[(Matrix, Range, [[u8; 3]; 10])] = &[
    (Matrix::Bt601, Range::Limited, [[81, 90, 240], [145, 54, 34], [41, 240, 110], [210, 16, 146], [170, 166, 16], [106, 202, 222], [235, 128, 128], [16, 128, 128], [126, 128, 128], [123, 91, 175]]),
    (Matrix::Bt601, Range::Full, [[76, 85, 255], [150, 44, 21], [29, 255, 107], [226, 1, 149], [179, 171, 1], [105, 212, 235], [255, 128, 128], [0, 128, 128], [128, 128, 128], [124, 86, 182]]),
    (Matrix::Bt709, Range::Limited, [[63, 102, 240], [173, 42, 26], [32, 240, 118], [219, 16, 138], [188, 154, 16], [78, 214, 230], [235, 128, 128], [16, 128, 128], [126, 128, 128], [117, 96, 174]]),
    (Matrix::Bt709, Range::Full, [[54, 99, 255], [182, 30, 12], [18, 255, 116], [237, 1, 140], [201, 157, 1], [73, 226, 244], [255, 128, 128], [0, 128, 128], [128, 128, 128], [118, 92, 180]]),
    (Matrix::Bt2020, Range::Limited, [[74, 97, 240], [164, 47, 25], [29, 240, 119], [222, 16, 137], [177, 159, 16], [87, 209, 231], [235, 128, 128], [16, 128, 128], [126, 128, 128], [122, 94, 174]]),
    (Matrix::Bt2020, Range::Full, [[67, 92, 255], [173, 36, 11], [15, 255, 118], [240, 1, 138], [188, 164, 1], [82, 220, 245], [255, 128, 128], [0, 128, 128], [128, 128, 128], [123, 89, 180]]),
];

//! Pictures to frames.

use super::*;

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

//! Frames to pictures.

use super::*;
use crate::model::Resize;

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
        Range::Full | Range::Codes(_) => (0.0, 255.0, 255.0),
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

/// Codes well inside of what YUV and RGB share, so that nothing is cut off.
#[test]
fn a_frame_resampled_is_its_picture_resampled() {
    for format in PixelFormat::ALL {
        for (size, part, input) in [
            ([97, 61], [0, 0, 97, 61], [32, 24]),
            ([97, 61], [11, 7, 60, 43], [16, 40]),
            ([40, 30], [3, 5, 30, 21], [64, 48]),
            ([40, 30], [4, 4, 32, 16], [32, 16]),
        ] {
            for resize in [Resize::Stretch, Resize::Letterbox, Resize::Crop] {
                let mut rng = stream(3, size[0] as u64, part[0] as u64);
                let memory = Memory::new(format, size, 5, |_| rng.random_range(112..144));
                let frame = memory.frame(LIMITED);
                let [x, y, width, height] = part;
                let placement = Placement::new([width, height], input, resize);
                for color in [Color::Gray, Color::Rgb] {
                    let got = placement.apply_frame(&frame, [x, y], color);
                    let wanted = placement.apply(&frame.to_image(color).crop(x, y, width, height));
                    assert_eq!(
                        (got.channels, got.width, got.height),
                        (wanted.channels, wanted.width, wanted.height)
                    );
                    for (got, wanted) in got.data.iter().zip(&wanted.data) {
                        close(
                            *got,
                            f64::from(*wanted),
                            &format!("{} {part:?} {input:?} {resize:?}", format.name()),
                        );
                    }
                }
            }
        }
    }
}

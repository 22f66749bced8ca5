use super::*;
use crate::pixels::{Colorimetry, PixelFormat};

/// What drawing `map` on a black RGB frame gives, `[r, g, b]` a pixel.
fn draw(map: &HeatMap<'_>, [width, height]: [usize; 2]) -> Vec<[u8; 3]> {
    let mut bytes = vec![0; 3 * width * height];
    FrameMut {
        format: PixelFormat::Rgb,
        width,
        height,
        planes: vec![&mut bytes],
        strides: vec![3 * width],
        colorimetry: Colorimetry::default(),
    }
    .blend_heat(map, &HeatColors::new(1.0));
    bytes
        .chunks_exact(3)
        .map(|pixel| [pixel[0], pixel[1], pixel[2]])
        .collect()
}

fn color(value: f32) -> [u8; 3] {
    ColorMap::default()
        .color(value)
        .map(|part| (part * 255.0).round() as u8)
}

#[test]
fn the_cold_is_clear_and_the_threshold_shows() {
    let colors = HeatColors::new(0.8);
    let alpha = |share: f32| (colors.0[(share * 255.0) as usize] >> 24) as f32 / 255.0;
    assert_eq!(alpha(0.29), 0.0);
    assert!((0.3..0.7).contains(&alpha(0.5)), "{}", alpha(0.5));
    assert!((alpha(0.7) - 0.8).abs() < 0.01 && (alpha(1.0) - 0.8).abs() < 0.01);
}

#[test]
fn a_map_lands_on_what_it_covers() {
    // Two codes over columns 2..6 of row 1..3.
    let map = HeatMap::new(&[255, 0], [2, 1], [2.0, 1.0, 4.0, 2.0]).unwrap();
    let found = draw(&map, [7, 4]);
    let is_drawn = |x: usize, y: usize| found[y * 7 + x] != [0; 3];
    for y in 0..4 {
        for x in 0..7 {
            // At columns 4 and 5 the bilinear value is below what shows: 0.25 and 0.
            assert_eq!(is_drawn(x, y), (1..3).contains(&y) && (2..4).contains(&x), "{x},{y}");
        }
    }
    assert_eq!(found[7 + 2], color(1.0));
    assert_eq!(found[7 + 3], color(191.0 / 255.0));
}

#[test]
fn maps_larger_than_the_frame_and_beyond_it_are_cut() {
    let codes = vec![255; 90 * 80];
    let map = HeatMap::new(&codes, [90, 80], [-30.0, -20.0, 90.0, 80.0]).unwrap();
    assert!(draw(&map, [50, 47]).iter().all(|&pixel| pixel == color(1.0)));
    let map = HeatMap::new(&codes, [90, 80], [60.0, 0.0, 9.0, 9.0]).unwrap();
    assert!(draw(&map, [50, 47]).iter().all(|&pixel| pixel == [0; 3]));
    let map = HeatMap::new(&codes, [90, 80], [0.0, 0.0, 1.0, 1.0]).unwrap();
    assert_eq!(draw(&map, [1, 1]), [color(1.0)]);
}

#[test]
fn what_is_no_map_is_refused() {
    assert!(HeatMap::new(&[1, 2, 3], [2, 2], [0.0, 0.0, 1.0, 1.0]).is_none());
    assert!(HeatMap::new(&[], [0, 2], [0.0, 0.0, 1.0, 1.0]).is_none());
    assert!(HeatMap::new(&[1], [usize::MAX, 2], [0.0, 0.0, 1.0, 1.0]).is_none());
    assert!(HeatMap::new(&[1], [1, 1], [0.0, 0.0, 0.0, 1.0]).is_none());
    assert!(HeatMap::new(&[1], [1, 1], [f64::NAN, 0.0, 1.0, 1.0]).is_none());
}

/// What drawing `map` on a frame of one code gives, its planes one after the other.
fn drawn(format: PixelFormat, map: &HeatMap<'_>, [width, height]: [usize; 2], opacity: f32) -> Vec<Vec<u8>> {
    let size = |plane| format.plane_size(plane, width, height);
    let mut planes: Vec<Vec<u8>> = (0..format.planes())
        .map(|plane| vec![100; size(plane)[0] * size(plane)[1]])
        .collect();
    let strides = (0..format.planes()).map(|plane| size(plane)[0]).collect();
    let lent = planes.iter_mut().map(Vec::as_mut_slice).collect();
    let mut frame = FrameMut::new(format, width, height, lent, strides, Colorimetry::default()).unwrap();
    frame.blend_heat(map, &HeatColors::new(opacity));
    planes
}

#[test]
fn every_format_takes_the_colours_of_one_pixel_drawn_alone() {
    // A map of one code is one colour all over: that of a rectangle.
    for code in [70, 127, 200, 255] {
        let map = HeatMap::new(std::slice::from_ref(&code), [1, 1], [0.0, 0.0, 7.0, 5.0]).unwrap();
        for format in PixelFormat::ALL {
            let found = drawn(format, &map, [7, 5], 0.6);
            let mut expected = drawn(format, &map, [7, 5], 0.0);
            assert!(
                expected.iter().flatten().all(|&byte| byte == 100),
                "nothing is drawn at opacity 0"
            );
            let strides = (0..format.planes())
                .map(|plane| format.plane_size(plane, 7, 5)[0])
                .collect();
            let lent = expected.iter_mut().map(Vec::as_mut_slice).collect();
            let mut frame = FrameMut::new(format, 7, 5, lent, strides, Colorimetry::default()).unwrap();
            frame.fill(0, 0, 7, 5, HeatColors::new(0.6).color(code));
            assert_eq!(found, expected, "{format:?} {code}");
        }
    }
}

#[test]
fn a_map_of_the_frames_own_fineness_is_drawn_code_by_code() {
    let codes: Vec<u8> = (0..40 * 30)
        .map(|i: u32| (i.wrapping_mul(2654435761) >> 24) as u8)
        .collect();
    for [left, top] in [[0, 0], [3, 2], [-5, -7], [20, 25]] {
        let map = HeatMap::new(&codes, [40, 30], [left as f64, top as f64, 40.0, 30.0]).unwrap();
        let found = &drawn(PixelFormat::Gray8, &map, [50, 41], 0.7)[0];
        for (i, &value) in found.iter().enumerate() {
            let [x, y] = [(i % 50) as i32 - left, (i / 50) as i32 - top];
            let inside = (0..40).contains(&x) && (0..30).contains(&y);
            let code = if inside { codes[(y * 40 + x) as usize] } else { 0 };
            let alone = HeatMap::new(std::slice::from_ref(&code), [1, 1], [0.0, 0.0, 1.0, 1.0]).unwrap();
            assert_eq!(
                value,
                drawn(PixelFormat::Gray8, &alone, [1, 1], 0.7)[0][0],
                "{left},{top}: {i}"
            );
        }
    }
}

#[test]
fn hot_places_apart_are_drawn_once_each() {
    // Three codes hot, three cold, and so on, of four columns each. Where a colour is laid on twice, it is stronger than on the frame's first
    // column.
    let codes: [u8; 15] = std::array::from_fn(|i| if i / 3 % 2 == 0 { 255 } else { 0 });
    let map = HeatMap::new(&codes, [15, 1], [0.0, 0.0, 60.0, 4.0]).unwrap();
    for format in PixelFormat::ALL {
        let row = format.plane_size(0, 60, 4)[0];
        let found = &drawn(format, &map, [60, 4], 0.7)[0];
        let alone = found[..row / 60].to_vec();
        for x in [30, 59] {
            assert_eq!(found[x * row / 60..][..row / 60], alone, "{format:?} {x}");
        }
        let is_drawn = |x: usize| found[x * row / 60..][..row / 60].iter().any(|&byte| byte != 100);
        assert!(
            is_drawn(0) && is_drawn(10) && !is_drawn(18) && !is_drawn(42),
            "{format:?}"
        );
    }
}

#[test]
fn every_value_takes_the_mean_code_of_its_pixels() {
    // As fine as the frame, wider than the blocks in which cold places are skipped, cold between three hot places.
    let [width, height] = [401, 7];
    let is_hot = |x: usize| [0..11, 197..206, 390..401].iter().any(|hot| hot.contains(&x));
    let codes: Vec<u8> = (0..width * height)
        .map(|i| match is_hot(i % width) {
            true => ((i as u32).wrapping_mul(2654435761) >> 24) as u8,
            false => 0,
        })
        .collect();
    let map = HeatMap::new(&codes, [width, height], [0.0, 0.0, width as f64, height as f64]).unwrap();
    for format in PixelFormat::ALL {
        let found = drawn(format, &map, [width, height], 0.7);
        let alone: Vec<Vec<Vec<u8>>> = (0..=255)
            .map(|code| {
                HeatMap::new(std::slice::from_ref(&code), [1, 1], [0.0, 0.0, 2.0, 2.0])
                    .map(|map| drawn(format, &map, [2, 2], 0.7))
            })
            .map(Option::unwrap)
            .collect();
        for component in 0..format.components() {
            let at = format.component(component);
            let [columns, rows] = format.component_size(component, width, height);
            let [across, down] = at.shift.map(|shift| 1 << shift);
            // At the frame's end a value may stand for fewer pixels.
            for (x, y) in (0..rows).flat_map(|y| (0..columns).map(move |x| (x, y))) {
                let count = down * across;
                let pixels = (0..count)
                    .map(|i| {
                        [
                            (x * across + i % across).min(width - 1),
                            (y * down + i / across).min(height - 1),
                        ]
                    })
                    .map(|[x, y]| usize::from(codes[y * width + x]));
                let mean = (pixels.sum::<usize>() + count / 2) / count;
                let place = y * format.plane_size(at.plane, width, height)[0] + x * at.step + at.offset;
                assert_eq!(
                    found[at.plane][place], alone[mean][at.plane][at.offset],
                    "{format:?} {component} {x},{y}"
                );
            }
        }
    }
}

#[test]
fn codes_of_classes_are_never_mixed() {
    // The mean of any two would show, too.
    const CODES: [u8; 3] = [0, 140, 255];
    let codes: Vec<u8> = (0..40 * 30)
        .map(|i: u32| CODES[(i.wrapping_mul(2654435761) >> 24) as usize % 3])
        .collect();
    for [width, height] in [[40, 30], [80, 60], [53, 41], [20, 15], [7, 3]] {
        let covers = [0.0, 0.0, width as f64, height as f64];
        let map = HeatMap::new(&codes, [40, 30], covers).unwrap().of_classes();
        for format in [
            PixelFormat::Gray8,
            PixelFormat::Rgb,
            PixelFormat::I420,
            PixelFormat::Nv12,
        ] {
            let alone = CODES.map(|code| {
                let map = HeatMap::new(std::slice::from_ref(&code), [1, 1], [0.0, 0.0, 2.0, 2.0]).unwrap();
                drawn(format, &map, [2, 2], 0.7)
            });
            for (plane, values) in drawn(format, &map, [width, height], 0.7).iter().enumerate() {
                let step = match (format, plane) {
                    (PixelFormat::Rgb, _) => 3,
                    (PixelFormat::Nv12, 1) => 2,
                    _ => 1,
                };
                for (i, value) in values.iter().enumerate() {
                    let [x, y] = [i / step % width, i / step / width];
                    let of = |code: &[Vec<u8>]| code[plane][i % step];
                    assert!(
                        alone.iter().any(|code| of(code) == *value),
                        "{format:?} {plane}: {x},{y}"
                    );
                    // A pixel's middle may lie where two cells meet.
                    let meets =
                        ((2 * x + 1) * 40).is_multiple_of(2 * width) || ((2 * y + 1) * 30).is_multiple_of(2 * height);
                    if (step == 3 || plane == 0) && !meets {
                        let code = codes[(2 * y + 1) * 30 / (2 * height) * 40 + (2 * x + 1) * 40 / (2 * width)];
                        let place = CODES.iter().position(|known| *known == code).unwrap();
                        assert_eq!(*value, of(&alone[place]), "{format:?} {width}x{height}: {x},{y}");
                    }
                }
            }
        }
    }
}

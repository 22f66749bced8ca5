use super::*;
use crate::score::samples::{pictures, uniform};

/// Mean, maximum, and the values at the first, the n/3-th and the last pixel.
fn figures(map: &Image) -> [f64; 5] {
    let n = map.data.len();
    let mean = map.data.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64;
    let largest = map.data.iter().copied().fold(f32::MIN, f32::max);
    let [largest, first, third, last] = [largest, map.data[0], map.data[n / 3], map.data[n - 1]].map(f64::from);
    [mean, largest, first, third, last]
}

fn assert_map(kind: MapKind, [channels, height, width]: [usize; 3], smooth: usize, expected: [f64; 5]) {
    let (a, b) = pictures(channels, height, width);
    let map = difference(kind, &a, &b, smooth);
    assert_eq!(
        (map.channels, map.height, map.width, map.data.len()),
        (1, height, width, height * width)
    );
    for (value, expected) in figures(&map).into_iter().zip(expected) {
        assert!(
            (value - expected).abs() < 2e-6,
            "{kind:?} {height}x{width}: {:?} is not {expected:?}",
            figures(&map)
        );
    }
}

/// scipy.ndimage: prewitt(mode="nearest") / 3 along both axes; coarse scale from 2x2 means of the picture padded by
/// numpy.pad(mode="edge"), enlarged by map_coordinates(order=1, mode="nearest"); uniform_filter(mode="nearest").
#[test]
fn msgms_equals_scipy() {
    use MapKind::Msgms;
    assert_map(
        Msgms,
        [3, 13, 17],
        1,
        [0.0482577, 0.1381157, 0.1049660, 0.0387779, 0.1105556],
    );
    assert_map(
        Msgms,
        [3, 13, 17],
        5,
        [0.0482276, 0.0829634, 0.0796663, 0.0359400, 0.0829634],
    );
    assert_map(Msgms, [1, 1, 1], 1, [0.0023607; 5]);
    assert_map(Msgms, [1, 1, 1], 21, [0.0023607; 5]);
    assert_map(
        Msgms,
        [1, 1, 6],
        0,
        [0.0927602, 0.2884110, 0.0825395, 0.1150373, 0.2884110],
    );
    assert_map(
        Msgms,
        [1, 8, 2],
        1,
        [0.0650268, 0.1533257, 0.0552610, 0.0425754, 0.1525925],
    );
}

/// scipy.ndimage.gaussian_filter(sigma=1.5, truncate=3.5, mode="nearest") for all moments.
#[test]
fn ssim_equals_scipy() {
    use MapKind::Ssim;
    assert_map(
        Ssim,
        [3, 13, 17],
        1,
        [0.0545678, 0.1016139, 0.0960312, 0.0466575, 0.1016139],
    );
    assert_map(Ssim, [1, 1, 1], 1, [0.0010630; 5]);
    assert_map(
        Ssim,
        [1, 1, 6],
        1,
        [0.0576924, 0.0985060, 0.0743270, 0.0364321, 0.0985060],
    );
    assert_map(
        Ssim,
        [1, 8, 2],
        1,
        [0.1430676, 0.1906695, 0.1288016, 0.1480897, 0.1906695],
    );
}

/// numpy, and scipy.ndimage.uniform_filter(size=4, mode="nearest").
#[test]
fn squared_equals_numpy() {
    use MapKind::Squared;
    assert_map(
        Squared,
        [3, 13, 17],
        1,
        [0.0064452, 0.0154685, 0.0111863, 0.0135553, 0.0110902],
    );
    assert_map(
        Squared,
        [3, 13, 17],
        4,
        [0.0063751, 0.0086552, 0.0085648, 0.0053985, 0.0086552],
    );
}

#[test]
fn equal_pictures_have_an_empty_map() {
    let (a, _) = pictures(3, 9, 10);
    for kind in [MapKind::Msgms, MapKind::Ssim, MapKind::Squared] {
        let map = difference(kind, &a, &a, 3);
        assert!(map.data.iter().all(|v| v.abs() < 1e-5), "{kind:?}: {:?}", figures(&map));
    }
}

#[test]
fn many_rows_are_the_rows_of_one() {
    // Tall enough that several workers share the rows: each must see its own.
    let (a, b) = pictures(1, 301, 9);
    let map = difference(MapKind::Msgms, &a, &b, 3);
    let half = |image: &Image| Image {
        height: 100,
        data: image.data[1800..2700].to_vec(),
        ..*image
    };
    let part = difference(MapKind::Msgms, &half(&a), &half(&b), 3);
    assert!((8..92).all(|y| (0..9).all(|x| (map.data[(y + 200) * 9 + x] - part.data[y * 9 + x]).abs() < 1e-6)));
}

#[test]
fn direct_is_the_first_plane_of_any_size() {
    let (input, _) = pictures(3, 4, 4);
    let (_, output) = pictures(2, 2, 3);
    assert_eq!(difference(MapKind::Direct, &input, &output, 1).data, output.plane(0));
}

#[test]
fn a_picture_without_pixels_has_a_map_without_pixels() {
    let empty = Image::filled(1, 0, 0, 0.0);
    for kind in [MapKind::Msgms, MapKind::Ssim, MapKind::Squared, MapKind::Direct] {
        assert_eq!(difference(kind, &empty, &empty, 3), empty);
    }
}

#[test]
fn the_largest_values_are_those_of_a_sort() {
    let values: Vec<f32> = (0..1000).map(|i| uniform(i * 7 % 1000) as f32).collect();
    let mut sorted = values.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    for count in [1, 2, 16, 999, 1000] {
        let expected = sorted[..count].iter().sum::<f32>() / count as f32;
        let found = mean_of_largest(values.iter().copied(), count);
        assert!((found - expected).abs() < 1e-5, "{count}: {found} {expected}");
    }
    assert_eq!(mean_of_largest([3.0, 1.0].into_iter(), 16), 2.0);
}

#[test]
fn surroundings_raise_what_lies_amid() {
    let mut map = Image::filled(1, 40, 60, 0.0);
    for (i, value) in map.data.iter_mut().enumerate() {
        let (x, y) = (i % 60, i / 60);
        // The rim of a square, and a lone pixel that is certain.
        let (dx, dy) = (x.abs_diff(20), y.abs_diff(20));
        *value = if dx.max(dy) == 6 { 0.8 } else { 0.0 };
    }
    map.data[20 * 60 + 50] = 1.0;
    let told = with_surroundings(map.clone(), 9);
    let at = |x: usize, y: usize| told.data[y * 60 + x];
    assert!(
        told.data
            .iter()
            .zip(&map.data)
            .all(|(told, own)| told >= own && *told <= 1.0)
    );
    assert!(
        at(20, 20) > 0.1 && at(20, 20) > 4.0 * at(33, 20),
        "{} {}",
        at(20, 20),
        at(33, 20)
    );
    assert_eq!((at(50, 20), at(59, 39)), (1.0, 0.0));
    let weight = |n: usize| (9 - n) as f32 / 81.0;
    assert!(
        (at(52, 20) - weight(0) * weight(2)).abs() < 1e-6,
        "two means are a pyramid"
    );
    assert_eq!(with_surroundings(map.clone(), 1), map);
}

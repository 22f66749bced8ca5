//! Numbers for tests that a few lines of numpy make, too, so that other libraries can be asked for the right answer.

use crate::pixels::Image;

/// `((i * 2654435761) % 2**32) / 2**32`.
pub(super) fn uniform(i: usize) -> f64 {
    (i as u64 * 2_654_435_761 % (1 << 32)) as f64 / (1u64 << 32) as f64
}

/// Two pictures: with X, Y, C the column, row and plane, `0.5 + 0.4 * sin(0.9 * X + 0.37 * Y + 2.3 * C)` and four fifths
/// of it plus `0.2 * uniform((C * height + Y) * width + X + 1)`, both rounded to f32.
pub(super) fn pictures(channels: usize, height: usize, width: usize) -> (Image, Image) {
    let mut a = Image::filled(channels, height, width, 0.0);
    let mut b = a.clone();
    for i in 0..a.data.len() {
        let (x, y, c) = (i % width, i / width % height, i / width / height);
        let value = 0.5 + 0.4 * (0.9 * x as f64 + 0.37 * y as f64 + 2.3 * c as f64).sin();
        a.data[i] = value as f32;
        b.data[i] = (0.8 * value + 0.2 * uniform(i + 1)) as f32;
    }
    (a, b)
}

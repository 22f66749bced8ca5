//! Fixed filters on pictures and maps.

use super::Image;
use super::separable::{correlate, gaussian_taps};
use crate::kernels::team::share;

/// Mean over a square of `side` pixels, edges repeated. Takes the same time for every `side`.
///
/// An even square reaches one pixel further left and up than right and down. `side` 0 and 1 change nothing.
pub fn box_mean(image: &Image, side: usize) -> Image {
    if side < 2 || image.data.is_empty() {
        return image.clone();
    }
    let (width, height) = (image.width, image.height);
    let mut across = Image::filled(image.channels, height, width, 0.0);
    let rows = across.data.chunks_mut(width).zip(image.data.chunks(width));
    share(rows, 16, || (), |(), (out, row)| mean_row(row, side, out));

    let mut out = Image::filled(image.channels, height, width, 0.0);
    // A band starts with a sum over `side` rows, so it should not be shorter than that.
    let band = side.clamp(32, height.max(32));
    for channel in 0..image.channels {
        let plane = across.plane(channel);
        let bands = out.plane_mut(channel).chunks_mut(band * width).enumerate();
        share(
            bands,
            1,
            || (),
            |(), (i, out)| mean_down(plane, width, side, i * band, out),
        );
    }
    out
}

/// Sum over a window of `side` around position 0 of `n` values, edges repeated: the weight of each value.
fn window_weights(start: usize, n: usize, side: usize) -> impl Iterator<Item = (usize, f64)> {
    let (left, right) = (side / 2, side - 1 - side / 2);
    let (first, last) = (start.saturating_sub(left), start.saturating_add(right).min(n - 1));
    let before = (left - (start - first)) as f64;
    let after = (right - (last - start)) as f64;
    (first..=last).map(move |i| {
        let beyond = if i == first { before } else { 0.0 } + if i == last { after } else { 0.0 };
        (i, 1.0 + beyond)
    })
}

/// What enters and what leaves the window when it moves from position `i` to the next of `n`.
fn window_step(i: usize, n: usize, side: usize) -> (usize, usize) {
    let (left, right) = (side / 2, side - 1 - side / 2);
    (i.saturating_add(right + 1).min(n - 1), i.saturating_sub(left))
}

fn mean_row(row: &[f32], side: usize, out: &mut [f32]) {
    // In f64 a running sum of f32 loses nothing that an f32 could show.
    let mut sum: f64 = window_weights(0, row.len(), side)
        .map(|(i, weight)| weight * f64::from(row[i]))
        .sum();
    for (i, out) in out.iter_mut().enumerate() {
        *out = (sum / side as f64) as f32;
        let (enters, leaves) = window_step(i, row.len(), side);
        sum += f64::from(row[enters]) - f64::from(row[leaves]);
    }
}

/// Means down the columns of `plane` for the rows from `start` that `out` holds.
fn mean_down(plane: &[f32], width: usize, side: usize, start: usize, out: &mut [f32]) {
    let height = plane.len() / width;
    let row = |y: usize| &plane[y * width..][..width];
    let mut sums = vec![0.0f64; width];
    for (y, weight) in window_weights(start, height, side) {
        for (sum, value) in sums.iter_mut().zip(row(y)) {
            *sum += weight * f64::from(*value);
        }
    }
    for (i, out) in out.chunks_mut(width).enumerate() {
        let (enters, leaves) = window_step(start + i, height, side);
        let moved = row(enters).iter().zip(row(leaves));
        for ((out, sum), (enters, leaves)) in out.iter_mut().zip(&mut sums).zip(moved) {
            *out = (*sum / side as f64) as f32;
            *sum += f64::from(*enters) - f64::from(*leaves);
        }
    }
}

/// Gaussian blur with standard deviation `sigma` in pixels, cut off at four of them, edges repeated.
/// A `sigma` that is not positive changes nothing.
pub fn gaussian(image: &Image, sigma: f32) -> Image {
    if sigma.is_nan() || sigma <= 0.0 || image.data.is_empty() {
        return image.clone();
    }
    let sigma = f64::from(sigma);
    // Beyond the picture's longer side all is edge, so a longer filter would only cost time.
    let radius = ((4.0 * sigma + 0.5) as usize).min(image.width.max(image.height));
    let taps = gaussian_taps(sigma, radius);
    let planes = (0..image.channels).flat_map(|channel| correlate(image.plane(channel), image.width, &taps));
    Image {
        data: planes.collect(),
        ..*image
    }
}

#[cfg(test)]
mod tests {
    use super::{Image, box_mean, gaussian};

    fn sample(width: usize, height: usize) -> Image {
        let value = |i: usize| ((i * 7919 + i * i * 31) % 251) as f32 / 250.0;
        Image {
            channels: 1,
            height,
            width,
            data: (0..width * height).map(value).collect(),
        }
    }

    fn close(got: &[f32], wanted: &[f32], what: &str) {
        assert_eq!(got.len(), wanted.len());
        for (got, wanted) in got.iter().zip(wanted) {
            assert!((got - wanted).abs() < 2e-6, "{what}: {got}, not {wanted}");
        }
    }

    /// The mean by its definition.
    fn naive(image: &Image, side: usize) -> Vec<f32> {
        let (w, h, left) = (image.width as isize, image.height as isize, (side / 2) as isize);
        let window = -left..side as isize - left;
        let mut out = Vec::new();
        for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
            let mut sum = 0.0;
            for (dy, dx) in window.clone().flat_map(|dy| window.clone().map(move |dx| (dy, dx))) {
                let at = (y + dy).clamp(0, h - 1) * w + (x + dx).clamp(0, w - 1);
                sum += f64::from(image.data[at as usize]);
            }
            out.push((sum / (side * side) as f64) as f32);
        }
        out
    }

    #[test]
    fn box_mean_is_the_mean() {
        for (width, height) in [(1, 1), (7, 5), (3, 70), (40, 2)] {
            for side in [1, 2, 3, 5, 21, 50] {
                let image = sample(width, height);
                close(
                    &box_mean(&image, side).data,
                    &naive(&image, side),
                    &format!("{width}x{height} side {side}"),
                );
            }
        }
    }

    #[test]
    fn constants_stay_exactly() {
        let image = Image::filled(2, 45, 31, 0.1);
        assert_eq!(box_mean(&image, 21), image);
        assert_eq!(box_mean(&image, usize::MAX / 2).data.len(), image.data.len());
        assert_eq!(gaussian(&image, 2.5), image);
        assert_eq!(gaussian(&image, 1e9), image);
    }

    /// By SciPy: `gaussian_filter(a, sigma, mode="nearest")` of the 6x4 sample, rows 0 and 3.
    #[test]
    fn gaussian_equals_scipy() {
        for (sigma, wanted) in SCIPY {
            let out = gaussian(&sample(6, 4), *sigma).data;
            close(&[&out[..6], &out[18..]].concat(), wanted, &format!("sigma {sigma}"));
        }
    }

    const SCIPY: &[(f32, &[f32])] = &[
        (
            0.5,
            &[
                0.145894, 0.619536, 0.602507, 0.703823, 0.370111, 0.791615, 0.771036, 0.164387, 0.362459, 0.148257,
                0.746494, 0.877271,
            ],
        ),
        (
            1.0,
            &[
                0.344343, 0.51239, 0.604429, 0.610583, 0.611009, 0.714225, 0.588971, 0.397041, 0.33334, 0.390298,
                0.576276, 0.718654,
            ],
        ),
        (
            1.25,
            &[
                0.364142, 0.48762, 0.570859, 0.59653, 0.622654, 0.694079, 0.577792, 0.440956, 0.383001, 0.439319,
                0.576468, 0.697941,
            ],
        ),
    ];
}

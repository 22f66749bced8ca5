//! Structural similarity (Wang 2004) of planes, and its gradient.
//!
//! Windows are Gaussian, of 11 x 11 pixels and a standard deviation of 1.5, wholly inside of the plane; values about 0..1.

use rayon::prelude::*;

use super::simd::{Vector, Work, run_best};

/// Side of the window in pixels.
pub const WINDOW: usize = 11;
/// Its standard deviation in pixels.
const SIGMA: f32 = 1.5;
/// (0.01)² and (0.03)², for values in 0..1.
pub(crate) const C1: f32 = 1e-4;
pub(crate) const C2: f32 = 9e-4;

/// The window's weights along either axis; they sum to 1.
pub(crate) fn taps() -> [f32; WINDOW] {
    let taps: [f32; WINDOW] = std::array::from_fn(|i| {
        let distance = i as f32 - (WINDOW / 2) as f32;
        (-distance * distance / (2.0 * SIGMA * SIGMA)).exp()
    });
    let sum: f32 = taps.iter().sum();
    taps.map(|tap| tap / sum)
}

/// For each plane of `[height, width]` in `a` and `b` the mean similarity over all windows, into `means`.
///
/// # Panics
/// When a side is shorter than [`WINDOW`], or a length does not fit.
pub fn ssim(a: &[f32], b: &[f32], size: [usize; 2], means: &mut [f32]) {
    let windows = check(a, b, size, means.len());
    let planes = a
        .par_chunks_exact(size[0] * size[1])
        .zip(b.par_chunks_exact(size[0] * size[1]));
    planes.zip(means).for_each(|((a, b), mean)| {
        let [mean_a, mean_b, products, squares] = blurred(a, b, size);
        let means = mean_a.iter().zip(&mean_b);
        let terms = means.zip(products.iter().zip(&squares));
        let sum: f64 = terms
            .map(|((a, b), (product, squares))| f64::from(Terms::new(*a, *b, *product, *squares).similarity()))
            .sum();
        *mean = (sum / windows as f64) as f32;
    });
}

/// Writes to `out`, of `a`'s shape, the gradient by `a` of what [`ssim`] computes; `grads` is the gradient by each plane's mean.
///
/// # Panics
/// As [`ssim`].
pub fn ssim_grad(a: &[f32], b: &[f32], size: [usize; 2], grads: &[f32], out: &mut [f32]) {
    let windows = check(a, b, size, grads.len());
    assert_eq!(out.len(), a.len());
    let plane = size[0] * size[1];
    let planes = a.par_chunks_exact(plane).zip(b.par_chunks_exact(plane));
    planes
        .zip(grads)
        .zip(out.par_chunks_exact_mut(plane))
        .for_each(|(((a, b), grad), out)| {
            let scale = grad / windows as f32;
            let [mut by_mean, mean_b, mut by_product, mut by_square] = blurred(a, b, size);
            let sums = by_mean.iter_mut().zip(&mean_b);
            for ((a, b), (product, square)) in sums.zip(by_product.iter_mut().zip(&mut by_square)) {
                let gradient = Terms::new(*a, *b, *product, *square).gradient(*a, *b);
                [*a, *product, *square] = gradient.map(|x| x * scale);
            }
            let [by_mean, by_product, by_square] = [by_mean, by_product, by_square].map(|x| spread(&x, size));
            let pixels = a
                .iter()
                .zip(b)
                .zip(by_mean.iter().zip(by_product.iter().zip(&by_square)));
            for (out, ((a, b), (mean, (product, square)))) in out.iter_mut().zip(pixels) {
                *out = mean + b * product + 2.0 * a * square;
            }
        });
}

/// Windows of a plane.
fn check(a: &[f32], b: &[f32], [height, width]: [usize; 2], planes: usize) -> usize {
    assert!(
        height >= WINDOW && width >= WINDOW,
        "planes of {width}x{height} hold no window"
    );
    assert!(a.len() == b.len() && a.len() == planes * height * width);
    (height + 1 - WINDOW) * (width + 1 - WINDOW)
}

/// What the similarity of a window is a quotient of.
struct Terms {
    luminance: [f32; 2],
    structure: [f32; 2],
}

impl Terms {
    /// From a window's means of a, b, a·b and a² + b².
    #[inline(always)]
    fn new(a: f32, b: f32, product: f32, squares: f32) -> Self {
        let (means, means_squared) = (a * b, a * a + b * b);
        Self {
            luminance: [2.0 * means + C1, means_squared + C1],
            structure: [2.0 * (product - means) + C2, squares - means_squared + C2],
        }
    }

    #[inline(always)]
    fn similarity(&self) -> f32 {
        let ([l, l_below], [s, s_below]) = (self.luminance, self.structure);
        l * s / (l_below * s_below)
    }

    /// By the mean of a (those of the products held), by that of a·b, and by that of a² + b².
    #[inline(always)]
    fn gradient(&self, a: f32, b: f32) -> [f32; 3] {
        let ([l, l_below], [s, s_below]) = (self.luminance, self.structure);
        let (below, similarity) = (l_below * s_below, self.similarity());
        let by_mean = 2.0 * b * (s - l) / below - 2.0 * a * similarity * (1.0 / l_below - 1.0 / s_below);
        [by_mean, 2.0 * l / below, -similarity / s_below]
    }
}

/// Every window's means of a, b, a·b and a² + b².
fn blurred(a: &[f32], b: &[f32], size: [usize; 2]) -> [Vec<f32>; 4] {
    let pairs = || a.iter().zip(b);
    let products: Vec<f32> = pairs().map(|(a, b)| a * b).collect();
    let squares: Vec<f32> = pairs().map(|(a, b)| a * a + b * b).collect();
    [a, b, &products, &squares].map(|x| blur(x, size))
}

/// `[height − 10, width − 10]` from `[height, width]`.
fn blur(x: &[f32], [height, width]: [usize; 2]) -> Vec<f32> {
    let mut out = vec![0.0; (height + 1 - WINDOW) * (width + 1 - WINDOW)];
    run_best(Blur {
        x,
        width,
        out: &mut out,
    });
    out
}

/// What the gradient of a blurred plane is to the plane itself: `[height, width]` from `[height − 10, width − 10]`.
fn spread(x: &[f32], [height, width]: [usize; 2]) -> Vec<f32> {
    let mut out = vec![0.0; height * width];
    run_best(Spread {
        x,
        width,
        out: &mut out,
    });
    out
}

struct Blur<'a> {
    x: &'a [f32],
    width: usize,
    out: &'a mut [f32],
}

impl Work for Blur<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { x, width, out } = self;
        let taps = taps();
        let mut mixed = vec![0.0; width];
        for (y, out) in out.chunks_exact_mut(width + 1 - WINDOW).enumerate() {
            mixed.fill(0.0);
            for (k, tap) in taps.iter().enumerate() {
                add(&mut mixed, &x[(y + k) * width..], *tap);
            }
            for (k, tap) in taps.iter().enumerate() {
                add(out, &mixed[k..], *tap);
            }
        }
    }
}

struct Spread<'a> {
    x: &'a [f32],
    width: usize,
    out: &'a mut [f32],
}

impl Work for Spread<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { x, width, out } = self;
        let taps = taps();
        let mut mixed = vec![0.0; width];
        for (y, x) in x.chunks_exact(width + 1 - WINDOW).enumerate() {
            mixed.fill(0.0);
            for (k, tap) in taps.iter().enumerate() {
                add(&mut mixed[k..], x, *tap);
            }
            for (k, tap) in taps.iter().enumerate() {
                add(&mut out[(y + k) * width..][..width], &mixed, *tap);
            }
        }
    }
}

/// `out += factor · x`, as far as both go.
#[inline(always)]
fn add(out: &mut [f32], x: &[f32], factor: f32) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += factor * x;
    }
}

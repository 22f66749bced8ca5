//! How well frames were denoised, as far as that can be told without clean ones.

use crate::pixels::Image;

/// Names of PSNR that is estimated without a clean frame: of what the network makes, and of the frames as they are.
pub(super) const ESTIMATED: &str = "val_psnr_estimated";
pub(super) const NOISY_ESTIMATED: &str = "val_psnr_noisy_estimated";

/// Least squared error that is told from none, of full scale: 60 dB.
const LEAST_ERROR: f64 = 1e-6;

/// One frame.
pub(super) struct Judged {
    /// Mean squared error, of full scale.
    error: f64,
    /// The same before.
    error_before: f64,
    /// Correlation of neighbouring pixels in what was taken away: 0 for white noise, positive where detail went with it.
    pub(super) correlation: f64,
}

impl Judged {
    pub(super) fn new(noisy: &Image, clean: &Image, error: f64, error_before: f64) -> Self {
        let (mut product, mut square) = (0.0, 0.0);
        for channel in 0..noisy.channels {
            let planes = noisy.plane(channel).iter().zip(clean.plane(channel));
            let residual: Vec<f64> = planes.map(|(a, b)| f64::from(a - b)).collect();
            square += residual.iter().map(|x| x * x).sum::<f64>();
            product += residual.windows(2).map(|x| x[0] * x[1]).sum::<f64>();
        }
        Self {
            error,
            error_before,
            correlation: product / square.max(f64::MIN_POSITIVE),
        }
    }
}

/// Mean squared error of the frames.
pub(super) fn mean_error(judged: &[Judged]) -> f64 {
    mean(judged, |judged| judged.error)
}

/// PSNR of the frames as they are.
pub(super) fn psnr_before(judged: &[Judged]) -> f64 {
    psnr(mean(judged, |judged| judged.error_before))
}

/// PSNR of a squared error.
pub(super) fn psnr(error: f64) -> f64 {
    -10.0 * error.log10()
}

fn mean(judged: &[Judged], error: impl Fn(&Judged) -> f64) -> f64 {
    let mean = judged.iter().map(error).sum::<f64>() / judged.len() as f64;
    // What is not a number stays so.
    if mean < LEAST_ERROR { LEAST_ERROR } else { mean }
}

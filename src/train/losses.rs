//! Losses on candle tensors, with gradients that are right (see `tests`, which compare with finite differences). All are means over the batch.

use candle_core::{CpuStorage, CustomOp2, D, Device, Layout, Shape, Tensor};

use crate::kernels::ssim::{self, C1, C2, WINDOW};
use crate::{Error, Result};

/// MSGMS's constant for values in 0..1 (Zavrtanik 2021).
const GMS_C: f64 = 0.0026;
/// Resolutions MSGMS looks at.
const GMS_SCALES: usize = 2;

/// A loss between pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureLoss {
    /// Mean absolute difference.
    L1,
    /// Mean squared difference.
    L2,
    /// 1 − structural similarity.
    Ssim,
    /// 1 − multi-scale gradient-magnitude similarity.
    Msgms,
    /// [`PictureLoss::L2`] + [`PictureLoss::Ssim`], as FAIR trains.
    L2Ssim,
    /// [`PictureLoss::L2`] + the mean absolute difference of the sizes of neighbours' differences (Mathieu 2016), for predictions, which L2
    /// alone blurs.
    L2Gradient,
}

impl PictureLoss {
    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::L1 => "l1",
            Self::L2 => "l2",
            Self::Ssim => "ssim",
            Self::Msgms => "msgms",
            Self::L2Ssim => "l2+ssim",
            Self::L2Gradient => "l2+gradient",
        }
    }

    /// The loss of `output` against `target`, both `[N, C, H, W]` with values about 0..1: a scalar.
    /// SSIM and MSGMS need sides of at least 11 and 6 pixels.
    pub fn compute(self, output: &Tensor, target: &Tensor) -> Result<Tensor> {
        match self {
            Self::L1 => Ok((output - target)?.abs()?.mean_all()?),
            Self::L2 => Ok((output - target)?.sqr()?.mean_all()?),
            Self::Ssim => one_minus(&ssim(output, target)?),
            Self::Msgms => one_minus(&msgms(output, target)?),
            Self::L2Ssim => Ok((Self::L2.compute(output, target)? + Self::Ssim.compute(output, target)?)?),
            Self::L2Gradient => Ok((Self::L2.compute(output, target)? + gradient_difference(output, target)?)?),
        }
    }
}

fn one_minus(x: &Tensor) -> Result<Tensor> {
    Ok(x.affine(-1.0, 1.0)?)
}

/// Mean over both axes of `||∇output| − |∇target||`.
fn gradient_difference(output: &Tensor, target: &Tensor) -> Result<Tensor> {
    let steps = |x: &Tensor, axis: usize| -> Result<Tensor> {
        let n = x.dim(axis)? - 1;
        Ok((x.narrow(axis, 1, n)? - x.narrow(axis, 0, n)?)?.abs()?)
    };
    let along =
        |axis: usize| -> Result<Tensor> { Ok((steps(output, axis)? - steps(target, axis)?)?.abs()?.mean_all()?) };
    Ok((along(2)? + along(3)?)?)
}

/// Mean structural similarity (see [`crate::kernels::ssim`]) of two tensors `[N, C, H, W]`, as a scalar tensor; it has a gradient by `a`,
/// and none by `b`.
pub fn ssim(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = a.dims4()?;
    if a.dims() != b.dims() {
        return Err(Error::Invalid(format!(
            "the SSIM loss compares pictures of one size, not {:?} and {:?}",
            a.dims(),
            b.dims()
        )));
    }
    if height < WINDOW || width < WINDOW {
        return Err(Error::Invalid(format!(
            "the SSIM loss needs pictures of {WINDOW}x{WINDOW} pixels or more"
        )));
    }
    let b = b.detach();
    if a.device().is_cpu() {
        return Ok(a.contiguous()?.apply_op2(&b.contiguous()?, Ssim)?.mean_all()?);
    }
    ssim_by_tensors(a, &b)
}

/// Mean similarity of each plane by the kernels: `[N, C]`.
struct Ssim;

impl CustomOp2 for Ssim {
    fn name(&self) -> &'static str {
        "ssim"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (n, c, height, width) = a_layout.shape().dims4()?;
        let mut means = vec![0.0; n * c];
        let [a, b] = [values(a, a_layout)?, values(b, b_layout)?];
        ssim::ssim(a, b, [height, width], &mut means);
        Ok((CpuStorage::F32(means), (n, c).into()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (_, _, height, width) = a.dims4()?;
        let of = |x: &Tensor| x.flatten_all()?.to_vec1::<f32>();
        let mut out = vec![0.0; a.elem_count()];
        ssim::ssim_grad(&of(a)?, &of(b)?, [height, width], &of(grad)?, &mut out);
        Ok((Some(Tensor::from_vec(out, a.shape(), a.device())?), None))
    }
}

/// The values of a tensor that lies in a row.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let (start, end) = layout
        .contiguous_offsets()
        .expect("`ssim` makes its tensors contiguous");
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// [`ssim`] for devices without kernels of ours.
fn ssim_by_tensors(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = a.dims4()?;
    let along_width = band(width, a.device())?;
    let along_height = band(height, a.device())?;
    let blur = |x: &Tensor| blur(x, &along_width, &along_height);
    let (mean_a, mean_b) = (blur(a)?, blur(b)?);
    let product = (&mean_a * &mean_b)?;
    let squares = (mean_a.sqr()? + mean_b.sqr()?)?;
    let covariance = (blur(&(a * b)?)? - &product)?;
    let variances = (blur(&(a.sqr()? + b.sqr()?)?)? - &squares)?;
    let [c1, c2] = [C1, C2].map(f64::from);
    let above = (product.affine(2.0, c1)? * covariance.affine(2.0, c2)?)?;
    let below = (squares.affine(1.0, c1)? * variances.affine(1.0, c2)?)?;
    Ok((above / below)?.mean_all()?)
}

/// `x` blurred by SSIM's window, without padding: `[N, C, W − 10, H − 10]` with the axes swapped, which a mean does not see.
/// Each axis is one matrix product with a banded matrix: quick on every device, and its gradient is the product's.
fn blur(x: &Tensor, along_width: &Tensor, along_height: &Tensor) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let rows = x.contiguous()?.reshape((n * c * h, w))?.matmul(along_width)?;
    let columns = rows.reshape((n, c, h, w + 1 - WINDOW))?.transpose(2, 3)?.contiguous()?;
    let blurred = columns.reshape((n * c * (w + 1 - WINDOW), h))?.matmul(along_height)?;
    Ok(blurred.reshape((n, c, w + 1 - WINDOW, h + 1 - WINDOW))?)
}

/// `[length, length − 10]`: column j holds the Gaussian window from row j on.
fn band(length: usize, device: &Device) -> Result<Tensor> {
    let columns = length + 1 - WINDOW;
    let mut data = vec![0f32; length * columns];
    for j in 0..columns {
        for (i, tap) in ssim::taps().into_iter().enumerate() {
            data[(i + j) * columns + j] = tap;
        }
    }
    Ok(Tensor::from_vec(data, (length, columns), device)?)
}

/// Mean gradient-magnitude similarity over [`GMS_SCALES`] resolutions, as a scalar tensor.
pub fn msgms(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = a.dims4()?;
    if height.min(width) < 3 << (GMS_SCALES - 1) {
        return Err(Error::Invalid(
            "the MSGMS loss needs pictures of 6x6 pixels or more".into(),
        ));
    }
    let (mut a, mut b) = (a.clone(), b.clone());
    let mut sum: Option<Tensor> = None;
    for scale in 0..GMS_SCALES {
        if scale > 0 {
            (a, b) = (halve(&a)?, halve(&b)?);
        }
        let (ga, gb) = (gradient_magnitude(&a)?, gradient_magnitude(&b)?);
        let above = (&ga * &gb)?.affine(2.0, GMS_C)?;
        let below = (ga.sqr()? + gb.sqr()?)?.affine(1.0, GMS_C)?;
        let mean = (above / below)?.mean_all()?;
        sum = Some(match sum {
            Some(sum) => (sum + mean)?,
            None => mean,
        });
    }
    let sum = sum.expect("there is at least one scale");
    Ok((sum / GMS_SCALES as f64)?)
}

/// Means of 2x2 cells; an odd last row or column is left out.
fn halve(x: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let x = x
        .narrow(2, 0, height / 2 * 2)?
        .narrow(3, 0, width / 2 * 2)?
        .contiguous()?;
    Ok(x.avg_pool2d(2)?)
}

/// Magnitude of Prewitt's gradient inside the border: `[N, C, H − 2, W − 2]`.
fn gradient_magnitude(x: &Tensor) -> Result<Tensor> {
    let gx = smooth_and_differ(x, 2, 3)?;
    let gy = smooth_and_differ(x, 3, 2)?;
    // The small constant keeps the root's gradient finite where the picture is flat.
    Ok((gx.sqr()? + gy.sqr()?)?.affine(1.0, 1e-8)?.sqrt()?)
}

fn smooth_and_differ(x: &Tensor, smooth: usize, differ: usize) -> Result<Tensor> {
    let n = x.dim(smooth)? - 2;
    let mean = ((x.narrow(smooth, 0, n)? + x.narrow(smooth, 1, n)?)? + x.narrow(smooth, 2, n)?)?;
    let n = x.dim(differ)? - 2;
    Ok(((mean.narrow(differ, 2, n)? - mean.narrow(differ, 0, n)?)? / 3.0)?)
}

/// Pixels that count as rightly marked in every picture: what a picture without marks is wrongly given weighs by them.
const DICE_PIXELS: f64 = 16.0;

/// Mean cross-entropy plus one minus the mean soft Dice coefficient (Milletari 2016, picture by picture) of logits
/// `[N, 1, H, W]` against a mask of 0 and 1: a scalar. The first makes the values probabilities, the second keeps few
/// marked pixels from being lost among many good ones.
pub fn cross_entropy_dice(logits: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let probabilities = sigmoid(logits)?;
    let right = given_to_truth(&probabilities, mask)?;
    let sums = |x: &Tensor| x.flatten_from(1)?.sum(1);
    let overlap = sums(&(&probabilities * mask)?)?.affine(2.0, DICE_PIXELS)?;
    let both = (sums(&probabilities)? + sums(mask)?)?.affine(1.0, DICE_PIXELS)?;
    let dice = (overlap / both)?.mean_all()?;
    Ok((one_minus(&dice)? - right.log()?.mean_all()?)?)
}

/// Mean cross-entropy over the pixels that are of a class plus one minus the mean soft Dice coefficient of the classes from `first` on,
/// picture by picture, of logits `[N, K, H, W]` against planes `[N, K, H, W]` that are 1 where a class is: a scalar. Where no plane is 1,
/// nothing counts.
pub fn cross_entropy_dice_of_classes(logits: &Tensor, targets: &Tensor, first: usize) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(1)?.detach())?;
    let powers = shifted.exp()?;
    let sum = powers.sum_keepdim(1)?;
    let log_probabilities = shifted.broadcast_sub(&sum.log()?)?;
    let count = targets.sum_all()?.maximum(1.0)?;
    let cross_entropy = ((&log_probabilities * targets)?.sum_all()? / count)?.neg()?;
    let judged = targets.sum_keepdim(1)?;
    let probabilities = powers.broadcast_div(&sum)?.broadcast_mul(&judged)?;
    let sums = |x: &Tensor| -> Result<Tensor> {
        let classes = x.dim(1)? - first;
        Ok(x.narrow(1, first, classes)?.contiguous()?.flatten_from(2)?.sum(2)?)
    };
    let overlap = sums(&(&probabilities * targets)?)?.affine(2.0, DICE_PIXELS)?;
    let both = (sums(&probabilities)? + sums(targets)?)?.affine(1.0, DICE_PIXELS)?;
    Ok((cross_entropy + one_minus(&(overlap / both)?.mean_all()?)?)?)
}

/// Mean focal loss (Lin 2017, with an exponent of 2) of logits `[N, 1, H, W]` against a mask of 0 and 1: a scalar. What is already
/// right weighs little, so that the few marked pixels count.
pub fn focal(logits: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let right = given_to_truth(&sigmoid(logits)?, mask)?;
    Ok((one_minus(&right)?.sqr()? * right.log()?)?.mean_all()?.neg()?)
}

/// By the hyperbolic tangent, whose gradient is finite wherever its argument is.
fn sigmoid(logits: &Tensor) -> Result<Tensor> {
    Ok(logits.affine(0.5, 0.0)?.tanh()?.affine(0.5, 0.5)?)
}

/// The probability given to what is true, off 0 by a little: logarithms stay finite.
fn given_to_truth(probabilities: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let p = probabilities.affine(1.0 - 2e-6, 1e-6)?;
    Ok(((&p * mask)? + (p.affine(-1.0, 1.0)? * mask.affine(-1.0, 1.0)?)?)?)
}

/// Cross-entropy of `logits` `[N, K]` against `targets` `[N, K]`, each row a distribution (see [`smooth_targets`]): a scalar.
pub fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let log_probabilities = shifted.broadcast_sub(&log_sum)?;
    let per_sample = (log_probabilities * targets)?.sum(D::Minus1)?;
    Ok(per_sample.mean_all()?.neg()?)
}

/// The distribution that label smoothing aims at (Szegedy 2016): `1 − smoothing` on the true class and `smoothing` spread over all.
pub fn smooth_targets(class: usize, classes: usize, smoothing: f32) -> Vec<f32> {
    let mut row = vec![smoothing / classes as f32; classes];
    row[class] += 1.0 - smoothing;
    row
}

#[cfg(test)]
mod tests;

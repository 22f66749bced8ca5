//! A graph node by node in candle's own operations: for CUDA, and for checking other executors.
//!
//! Some of candle 0.11.1's gradients are missing or wrong: nearest upsampling overwrites what other readers gave,
//! bilinear upsampling has none, pools know only steps of a whole window, and convolutions with a stride fail where
//! rows and columns leave different rests. What stands here avoids them. Equal largest values of a max-pool share its
//! gradient here, where the kernels give it to the first.

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor, Var};

use super::single::Forward;
use crate::Result;
use crate::graph::{Graph, Interpolation, Node, Op, Padding};
use crate::kernels::rows::linear_taps;

/// See [`super::Network::forward`]; the shapes have been checked.
pub(super) fn forward(
    graph: &Graph,
    vars: &[(String, Var)],
    state: &BTreeMap<String, Tensor>,
    inputs: &[Tensor],
    train: bool,
) -> Result<Forward> {
    let vars = vars.iter().map(|(name, var)| {
        let tensor = if train {
            var.as_tensor().clone()
        } else {
            var.as_tensor().detach()
        };
        (name.as_str(), tensor)
    });
    let weights: HashMap<&str, Tensor> = vars
        .chain(state.iter().map(|(name, t)| (name.as_str(), t.clone())))
        .collect();
    let mut last: HashMap<&str, usize> = HashMap::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        last.extend(node.inputs.iter().map(|input| (input.as_str(), i)));
    }
    last.extend(graph.outputs.iter().map(|output| (output.as_str(), usize::MAX)));
    let mut inputs = inputs.iter();
    let mut values: HashMap<&str, Tensor> = HashMap::new();
    let mut statistics = Vec::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        let value = match (&node.op, train) {
            (Op::Input { .. }, true) => inputs.next().expect("the shapes were checked").clone(),
            (Op::Input { .. }, false) => inputs.next().expect("the shapes were checked").detach(),
            _ => {
                let args: Vec<&Tensor> = node.inputs.iter().map(|input| &values[input.as_str()]).collect();
                run(node, &args, &weights, train, &mut statistics)?
            }
        };
        values.insert(&node.name, value);
        values.retain(|name, _| last.get(name).is_some_and(|last| *last > i));
    }
    let outputs = graph
        .outputs
        .iter()
        .map(|output| values[output.as_str()].clone())
        .collect();
    Ok((outputs, statistics))
}

fn run(
    node: &Node,
    args: &[&Tensor],
    weights: &HashMap<&str, Tensor>,
    train: bool,
    statistics: &mut Vec<(String, Tensor)>,
) -> Result<Tensor> {
    let x = args[0];
    let weight = |name: &str| weights.get(node.weight(name).as_str());
    Ok(match node.op {
        Op::Input { .. } => x.clone(),
        Op::Conv2d { .. } | Op::ConvTranspose2d { .. } => {
            let kernel = weight("weight").expect("all weights were checked");
            let y = if matches!(node.op, Op::Conv2d { .. }) {
                conv(&node.op, x, kernel)?
            } else {
                conv_transpose(&node.op, x, kernel)?
            };
            match weight("bias") {
                Some(bias) => y.broadcast_add(&bias.reshape((1, (), 1, 1))?)?,
                None => y,
            }
        }
        Op::Linear { .. } => {
            let y = x.matmul(&weight("weight").expect("all weights were checked").t()?)?;
            match weight("bias") {
                Some(bias) => y.broadcast_add(bias)?,
                None => y,
            }
        }
        Op::BatchNorm { eps } => {
            let [scale, shift, mean, var] = ["weight", "bias", "running_mean", "running_var"]
                .map(|name| weight(name).expect("all weights were checked").reshape((1, (), 1, 1)));
            let (scale, shift) = (scale?, shift?);
            if train {
                let (n, _, h, w) = x.dims4()?;
                let mean = mean_of(x, &[0, 2, 3])?;
                let centred = x.broadcast_sub(&mean)?;
                let var = mean_of(&centred.sqr()?, &[0, 2, 3])?;
                let unbiased = (n * h * w) as f64 / ((n * h * w) as f64 - 1.0).max(1.0);
                statistics.push((node.weight("running_mean"), mean.detach().flatten_all()?));
                statistics.push((node.weight("running_var"), (var.detach().flatten_all()? * unbiased)?));
                let normal = centred.broadcast_div(&(var + eps)?.sqrt()?)?;
                normal.broadcast_mul(&scale)?.broadcast_add(&shift)?
            } else {
                let scale = scale.broadcast_div(&(var? + eps)?.sqrt()?)?;
                x.broadcast_sub(&mean?)?.broadcast_mul(&scale)?.broadcast_add(&shift)?
            }
        }
        Op::Relu => x.relu()?,
        Op::LeakyRelu { slope } => (x.relu()? - (x.neg()?.relu()? * slope)?)?,
        Op::Sigmoid => sigmoid(x)?,
        Op::Tanh => x.tanh()?,
        Op::Silu => (x * sigmoid(x)?)?,
        Op::Softmax => {
            let exp = x.broadcast_sub(&x.detach().max_keepdim(1)?)?.exp()?;
            exp.broadcast_div(&exp.sum_keepdim(1)?)?
        }
        Op::MaxPool {
            kernel,
            stride,
            padding,
        } => {
            let mut windows = taps(x, [kernel, stride, padding], f64::from(f32::MIN))?.into_iter();
            let first = windows.next().expect("a kernel has a tap");
            windows.try_fold(first, |max, x| max.maximum(&x))?
        }
        Op::AvgPool {
            kernel,
            stride,
            padding,
        } => {
            let mut windows = taps(x, [kernel, stride, padding], 0.0)?.into_iter();
            let first = windows.next().expect("a kernel has a tap");
            (windows.try_fold(first, |sum, x| sum + x)? / (kernel * kernel) as f64)?
        }
        Op::GlobalAvgPool => mean_of(x, &[2, 3])?,
        Op::Upsample { factor, mode } => upsample(x, factor, mode)?,
        Op::PixelShuffle { factor: f } => {
            let (n, c, h, w) = x.dims4()?;
            let cells = x
                .reshape(vec![n, c / (f * f), f, f, h, w])?
                .permute(vec![0, 1, 4, 2, 5, 3])?;
            cells.contiguous()?.reshape((n, c / (f * f), h * f, w * f))?
        }
        Op::PixelUnshuffle { factor: f } => {
            let (n, c, h, w) = x.dims4()?;
            let cells = x
                .reshape(vec![n, c, h / f, f, w / f, f])?
                .permute(vec![0, 1, 3, 5, 2, 4])?;
            cells.contiguous()?.reshape((n, c * f * f, h / f, w / f))?
        }
        Op::Concat => Tensor::cat(args, 1)?,
        Op::Add => (x + args[1])?,
        Op::Sub => (x - args[1])?,
        Op::Mul => (x * args[1])?,
        Op::Scale { scale, shift } => x.affine(scale, shift)?,
        Op::Flatten => x.flatten_from(1)?,
    })
}

/// Mean over some axes, which stay with length 1.
fn mean_of(x: &Tensor, axes: &[usize]) -> Result<Tensor> {
    Ok(x.mean_keepdim(axes)?)
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok((x.neg()?.exp()? + 1.0)?.recip()?)
}

/// `before` and `after` values more on an axis, all `value`.
fn pad(x: &Tensor, axis: usize, before: usize, after: usize, value: f64) -> Result<Tensor> {
    let filled = |len: usize| {
        let mut shape = x.dims().to_vec();
        shape[axis] = len;
        Tensor::full(value as f32, shape, x.device())?.to_dtype(x.dtype())
    };
    let mut parts = Vec::new();
    if before > 0 {
        parts.push(filled(before)?);
    }
    parts.push(x.clone());
    if after > 0 {
        parts.push(filled(after)?);
    }
    Ok(if parts.len() == 1 {
        x.clone()
    } else {
        Tensor::cat(&parts, axis)?
    })
}

/// `x` with `padding` pixels of `value` at every border, and on each axis exactly as long as the last window of `span`
/// pixels needs.
fn pad_to_windows(x: &Tensor, padding: usize, span: usize, stride: usize, value: f64) -> Result<Tensor> {
    let mut x = x.clone();
    for axis in [2, 3] {
        let padded = x.dim(axis)? + 2 * padding;
        let rest = (padded - span) % stride;
        let (cut, after) = (rest.saturating_sub(padding), padding.saturating_sub(rest));
        x = pad(&x.narrow(axis, 0, x.dim(axis)? - cut)?, axis, padding, after, value)?;
    }
    Ok(x)
}

fn conv(op: &Op, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let &Op::Conv2d {
        kernel,
        stride,
        padding,
        padding_mode,
        dilation,
        groups,
        ..
    } = op
    else {
        return Ok(x.clone());
    };
    let (mut x, mut padding) = (x.clone(), padding);
    if padding_mode != Padding::Zero {
        for axis in [2, 3] {
            let side = x.dim(axis)?;
            let source = (0..side + 2 * padding).map(|i| border(i, padding, side, padding_mode) as u32);
            let index = Tensor::from_vec(source.collect::<Vec<_>>(), side + 2 * padding, x.device())?;
            x = x.index_select(&index, axis)?;
        }
        padding = 0;
    }
    let span = (kernel - 1) * dilation + 1;
    if stride > 1 {
        x = pad_to_windows(&x, padding, span, stride, 0.0)?;
        padding = 0;
    }
    Ok(x.contiguous()?
        .conv2d(&weight.contiguous()?, padding, stride, dilation, groups)?)
}

/// The pixel inside that pixel `i` of a padded axis shows.
fn border(i: usize, padding: usize, side: usize, mode: Padding) -> usize {
    match (mode, i.checked_sub(padding)) {
        (Padding::Reflect, None) => padding - i,
        (Padding::Reflect, Some(i)) if i >= side => 2 * (side - 1) - i,
        (_, None) => 0,
        (_, Some(i)) => i.min(side - 1),
    }
}

fn conv_transpose(op: &Op, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let &Op::ConvTranspose2d {
        stride,
        padding,
        output_padding,
        groups,
        ..
    } = op
    else {
        return Ok(x.clone());
    };
    let (x, weight) = (x.chunk(groups, 1)?, weight.chunk(groups, 0)?);
    let group = |(x, weight): (&Tensor, &Tensor)| {
        x.contiguous()?
            .conv_transpose2d(&weight.contiguous()?, padding, output_padding, stride, 1)
    };
    Ok(Tensor::cat(
        &x.iter().zip(&weight).map(group).collect::<Result<Vec<_>, _>>()?,
        1,
    )?)
}

/// For each tap of a window, in order, what it sees at every position.
fn taps(x: &Tensor, [kernel, stride, padding]: [usize; 3], value: f64) -> Result<Vec<Tensor>> {
    let x = pad_to_windows(x, padding, kernel, stride, value)?;
    let positions = |side: usize| (side - kernel) / stride + 1;
    let (rows, cols) = (positions(x.dim(2)?), positions(x.dim(3)?));
    // The last step of every tap must be whole, for a reshape to take one pixel of each.
    let x = pad(&pad(&x, 2, 0, stride, value)?, 3, 0, stride, value)?;
    let mut taps = Vec::new();
    for ky in 0..kernel {
        for kx in 0..kernel {
            let tap = x
                .narrow(2, ky, rows * stride)?
                .narrow(3, kx, cols * stride)?
                .contiguous()?;
            let (n, c, _, _) = tap.dims4()?;
            let tap = tap
                .reshape((n, c, rows, stride, cols * stride))?
                .narrow(3, 0, 1)?
                .contiguous()?;
            taps.push(
                tap.reshape((n, c, rows, cols, stride))?
                    .narrow(4, 0, 1)?
                    .squeeze(4)?
                    .contiguous()?,
            );
        }
    }
    Ok(taps)
}

fn upsample(x: &Tensor, factor: usize, mode: Interpolation) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    if mode == Interpolation::Nearest {
        let cells = x
            .reshape(vec![n, c, h, 1, w, 1])?
            .broadcast_as(vec![n, c, h, factor, w, factor])?;
        return Ok(cells.contiguous()?.reshape((n, c, h * factor, w * factor))?);
    }
    let rows = blend(h, factor, x)?.broadcast_left((n, c))?.contiguous()?;
    let cols = blend(w, factor, x)?.t()?.broadcast_left((n, c))?.contiguous()?;
    Ok(rows.matmul(&x.contiguous()?)?.matmul(&cols)?)
}

/// The matrix that enlarges an axis of length `side`, of `x`'s device and type.
fn blend(side: usize, factor: usize, x: &Tensor) -> Result<Tensor> {
    let mut matrix = vec![0.0f32; side * factor * side];
    for (row, (low, high, share)) in matrix.chunks_exact_mut(side).zip(linear_taps(side, factor)) {
        row[low] += 1.0 - share;
        row[high] += share;
    }
    Ok(Tensor::from_vec(matrix, (side * factor, side), &Device::Cpu)?
        .to_device(x.device())?
        .to_dtype(x.dtype())?)
}

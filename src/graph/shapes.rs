//! Shape inference: what every op makes of the shapes that feed it.

use std::collections::BTreeMap;

use super::{Graph, Op, Padding};
use crate::{Error, Result};

/// Largest channel count, stride, padding, dilation or factor.
const MAX_PARAMETER: usize = 65_536;
/// Largest side of a kernel.
const MAX_KERNEL: usize = 255;
/// Most elements of one value or weight: 8 GiB of 32-bit floats.
const MAX_ELEMENTS: usize = 1 << 31;

/// A shape, or what is wrong in words that the node's name is put before.
type Inferred<T = Vec<usize>> = std::result::Result<T, String>;

impl Graph {
    /// Checks names, order, arity and cycles, and infers the shape of every node's value for inputs of these shapes
    /// (`[N, C, H, W]`, in the order of the graph's `Input` nodes). The error names the node at fault.
    pub fn shapes(&self, inputs: &[Vec<usize>]) -> Result<BTreeMap<String, Vec<usize>>> {
        self.check()?;
        let takes = self
            .nodes
            .iter()
            .filter(|node| matches!(node.op, Op::Input { .. }))
            .count();
        if takes != inputs.len() {
            return Err(Error::Invalid(format!(
                "the graph takes {takes} inputs, not {}",
                inputs.len()
            )));
        }
        let mut given = inputs.iter();
        let mut shapes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for node in &self.nodes {
            let shape = if let Op::Input { channels } = node.op {
                let shape = given.next().expect("as many inputs as Input nodes, counted above");
                input(channels, shape, inputs[0].first())
            } else {
                let sources: Vec<&[usize]> = node.inputs.iter().map(|name| shapes[name].as_slice()).collect();
                infer(&node.op, &sources)
            };
            let shape = shape.and_then(|shape| elements(&shape).map(|_| shape));
            shapes.insert(
                node.name.clone(),
                shape.map_err(|reason| Error::graph(&node.name, reason))?,
            );
        }
        Ok(shapes)
    }
}

/// Number of elements, when there are not too many.
pub(super) fn elements(shape: &[usize]) -> Inferred<usize> {
    let count = shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
    count
        .filter(|&n| n <= MAX_ELEMENTS)
        .ok_or_else(|| format!("{shape:?} is more than {MAX_ELEMENTS} values"))
}

fn input(channels: usize, shape: &[usize], batch: Option<&usize>) -> Inferred {
    parameter("channels", channels)?;
    let [n, c, h, w] = picture(shape)?;
    if c != channels {
        return Err(format!("takes {channels} channels, not {c}"));
    }
    if n == 0 || h == 0 || w == 0 {
        return Err(format!("an empty input {shape:?}"));
    }
    if batch != Some(&n) {
        return Err(format!("a batch of {n} where the first input has another"));
    }
    Ok(shape.to_vec())
}

/// Shape of the value of any op but `Input`; the number of `sources` has been checked.
pub(super) fn infer(op: &Op, sources: &[&[usize]]) -> Inferred {
    let source = sources[0];
    match *op {
        Op::Input { .. } => Err("has no sources".into()),
        Op::Conv2d { .. } => conv(op, picture(source)?),
        Op::ConvTranspose2d { .. } => conv_transpose(op, picture(source)?),
        Op::Linear { out, .. } => {
            parameter("out", out)?;
            match *source {
                [n, _] => Ok(vec![n, out]),
                _ => Err(format!("takes [N, features], not {source:?}; put a flatten before it")),
            }
        }
        Op::BatchNorm { eps } => {
            picture(source)?;
            if eps.is_finite() && eps > 0.0 {
                Ok(source.to_vec())
            } else {
                Err(format!("eps {eps} is not above 0"))
            }
        }
        Op::LeakyRelu { slope } => finite("slope", slope).map(|()| source.to_vec()),
        Op::Scale { scale, shift } => {
            finite("scale", scale)?;
            finite("shift", shift).map(|()| source.to_vec())
        }
        Op::Relu | Op::Sigmoid | Op::Tanh | Op::Silu | Op::Softmax => Ok(source.to_vec()),
        Op::MaxPool {
            kernel,
            stride,
            padding,
        }
        | Op::AvgPool {
            kernel,
            stride,
            padding,
        } => {
            let [n, c, h, w] = picture(source)?;
            if padding > kernel / 2 {
                return Err(format!("padding {padding} is more than half the kernel {kernel}"));
            }
            Ok(vec![
                n,
                c,
                window(h, kernel, stride, padding, 1)?,
                window(w, kernel, stride, padding, 1)?,
            ])
        }
        Op::GlobalAvgPool => picture(source).map(|[n, c, _, _]| vec![n, c, 1, 1]),
        Op::Upsample { .. } | Op::PixelShuffle { .. } | Op::PixelUnshuffle { .. } => rearranged(op, picture(source)?),
        Op::Concat => concat(sources),
        Op::Add | Op::Sub | Op::Mul if sources[1] != source => Err(format!(
            "its inputs have different shapes, {source:?} and {:?}",
            sources[1]
        )),
        Op::Add | Op::Sub | Op::Mul => Ok(source.to_vec()),
        Op::Flatten => {
            let [n, c, h, w] = picture(source)?;
            Ok(vec![n, times(c, times(h, w)?)?])
        }
    }
}

/// Ops that move or repeat pixels by a whole factor.
fn rearranged(op: &Op, [n, c, h, w]: [usize; 4]) -> Inferred {
    let (&Op::Upsample { factor, .. } | &Op::PixelShuffle { factor } | &Op::PixelUnshuffle { factor }) = op else {
        return Err("has no factor".into());
    };
    parameter("factor", factor)?;
    let cells = times(factor, factor)?;
    match op {
        Op::PixelUnshuffle { .. } => {
            divides("height", h, factor)?;
            divides("width", w, factor)?;
            Ok(vec![n, times(c, cells)?, h / factor, w / factor])
        }
        Op::PixelShuffle { .. } => {
            divides("channels", c, cells)?;
            Ok(vec![n, c / cells, times(h, factor)?, times(w, factor)?])
        }
        _ => Ok(vec![n, c, times(h, factor)?, times(w, factor)?]),
    }
}

fn conv(op: &Op, [n, c, h, w]: [usize; 4]) -> Inferred {
    let &Op::Conv2d {
        out,
        kernel,
        stride,
        padding,
        padding_mode,
        dilation,
        groups,
        ..
    } = op
    else {
        return Err("not a convolution".into());
    };
    parameter("out", out)?;
    parameter("groups", groups)?;
    divides("channels in", c, groups)?;
    divides("channels out", out, groups)?;
    if padding_mode == Padding::Reflect && padding >= h.min(w) {
        return Err(format!(
            "reflection by {padding} pixels needs a larger picture than {w}x{h}"
        ));
    }
    Ok(vec![
        n,
        out,
        window(h, kernel, stride, padding, dilation)?,
        window(w, kernel, stride, padding, dilation)?,
    ])
}

fn conv_transpose(op: &Op, [n, c, h, w]: [usize; 4]) -> Inferred {
    let &Op::ConvTranspose2d {
        out,
        kernel,
        stride,
        padding,
        output_padding,
        groups,
        ..
    } = op
    else {
        return Err("not a transposed convolution".into());
    };
    parameter("out", out)?;
    parameter("groups", groups)?;
    divides("channels in", c, groups)?;
    divides("channels out", out, groups)?;
    check_window(kernel, stride, padding, 1)?;
    // Each of stride² phases is a filter of its own.
    if stride > MAX_KERNEL {
        return Err(format!("stride {stride} is not in 1..={MAX_KERNEL}"));
    }
    if output_padding >= stride {
        return Err(format!(
            "output_padding {output_padding} is not below the stride {stride}"
        ));
    }
    let side = |len: usize| {
        let whole = times(len - 1, stride)?.saturating_add(kernel + output_padding);
        let cut = whole.checked_sub(2 * padding).filter(|&rest| rest > 0);
        cut.ok_or_else(|| format!("padding {padding} cuts away all {whole} pixels"))
    };
    Ok(vec![n, out, side(h)?, side(w)?])
}

fn concat(sources: &[&[usize]]) -> Inferred {
    let mut shape = sources[0].to_vec();
    if shape.len() < 2 {
        return Err(format!("cannot join {shape:?}"));
    }
    for source in &sources[1..] {
        if source.len() != shape.len() || source[0] != shape[0] || source[2..] != shape[2..] {
            return Err(format!("cannot join the channels of {:?} and {source:?}", sources[0]));
        }
        shape[1] = shape[1].saturating_add(source[1]);
    }
    Ok(shape)
}

/// Positions of a window along an axis of `len` pixels.
fn window(len: usize, kernel: usize, stride: usize, padding: usize, dilation: usize) -> Inferred<usize> {
    check_window(kernel, stride, padding, dilation)?;
    let (reach, padded) = (dilation * (kernel - 1) + 1, len.saturating_add(2 * padding));
    match padded.checked_sub(reach) {
        Some(rest) => Ok(rest / stride + 1),
        None => Err(format!("a kernel reaching {reach} pixels does not fit in {padded}")),
    }
}

fn check_window(kernel: usize, stride: usize, padding: usize, dilation: usize) -> Inferred<()> {
    if kernel == 0 || kernel > MAX_KERNEL {
        return Err(format!("kernel {kernel} is not in 1..={MAX_KERNEL}"));
    }
    parameter("stride", stride)?;
    parameter("dilation", dilation)?;
    if padding > MAX_PARAMETER {
        Err(format!("padding {padding} is above {MAX_PARAMETER}"))
    } else {
        Ok(())
    }
}

fn picture(shape: &[usize]) -> Inferred<[usize; 4]> {
    shape
        .try_into()
        .map_err(|_| format!("takes pictures [N, C, H, W], not {shape:?}"))
}

fn parameter(name: &str, value: usize) -> Inferred<()> {
    if (1..=MAX_PARAMETER).contains(&value) {
        Ok(())
    } else {
        Err(format!("{name} {value} is not in 1..={MAX_PARAMETER}"))
    }
}

fn finite(name: &str, value: f64) -> Inferred<()> {
    if value.is_finite() {
        Ok(())
    } else {
        Err(format!("{name} is {value}"))
    }
}

fn divides(name: &str, value: usize, by: usize) -> Inferred<()> {
    if value.is_multiple_of(by) {
        Ok(())
    } else {
        Err(format!("{name} {value} is not a multiple of {by}"))
    }
}

fn times(a: usize, b: usize) -> Inferred<usize> {
    a.checked_mul(b)
        .filter(|&n| n <= MAX_ELEMENTS)
        .ok_or_else(|| format!("{a} x {b} is too large"))
}

#[cfg(test)]
mod tests;

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
fn infer(op: &Op, sources: &[&[usize]]) -> Inferred {
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
        Op::Upsample { factor, .. } => {
            parameter("factor", factor)?;
            let [n, c, h, w] = picture(source)?;
            Ok(vec![n, c, times(h, factor)?, times(w, factor)?])
        }
        Op::PixelShuffle { factor } => {
            parameter("factor", factor)?;
            let [n, c, h, w] = picture(source)?;
            let cells = times(factor, factor)?;
            divides("channels", c, cells)?;
            Ok(vec![n, c / cells, times(h, factor)?, times(w, factor)?])
        }
        Op::PixelUnshuffle { factor } => {
            parameter("factor", factor)?;
            let [n, c, h, w] = picture(source)?;
            divides("height", h, factor)?;
            divides("width", w, factor)?;
            Ok(vec![n, times(c, times(factor, factor)?)?, h / factor, w / factor])
        }
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
mod tests {
    use super::*;
    use crate::graph::{Builder, Interpolation};

    const CONV: Op = Op::Conv2d {
        out: 6,
        kernel: 3,
        stride: 1,
        padding: 1,
        padding_mode: Padding::Zero,
        dilation: 1,
        groups: 1,
        bias: true,
        frozen: false,
    };

    /// Shape or message of one op named `y` on an input of `shape`.
    fn one(op: Op, shape: [usize; 4]) -> std::result::Result<Vec<usize>, String> {
        let mut b = Builder::new();
        let x = b.input("x", shape[1]);
        let y = b.node("y", op, &[&x]);
        let shapes = b.finish(&[&y]).shapes(&[shape.to_vec()]).map_err(|e| e.to_string())?;
        Ok(shapes["y"].clone())
    }

    /// A convolution with some of its fields changed.
    fn conv_with(change: impl FnOnce(&mut usize, &mut usize, &mut usize, &mut usize, &mut usize)) -> Op {
        let mut op = CONV;
        if let Op::Conv2d {
            kernel,
            stride,
            padding,
            dilation,
            groups,
            ..
        } = &mut op
        {
            change(kernel, stride, padding, dilation, groups);
        }
        op
    }

    #[test]
    fn convolution_sizes() {
        assert_eq!(one(CONV, [2, 3, 5, 7]).unwrap(), [2, 6, 5, 7]);
        let strided = conv_with(|k, s, p, _, _| (*k, *s, *p) = (4, 2, 1));
        assert_eq!(one(strided, [1, 3, 8, 9]).unwrap(), [1, 6, 4, 4]);
        let dilated = conv_with(|_, _, p, d, _| (*p, *d) = (0, 3));
        assert_eq!(one(dilated.clone(), [1, 3, 7, 8]).unwrap(), [1, 6, 1, 2]);
        assert!(
            one(dilated, [1, 3, 6, 8])
                .unwrap_err()
                .starts_with("node `y`: a kernel reaching 7 pixels")
        );
    }

    #[test]
    fn convolution_faults_name_the_node() {
        let fault = |op, shape, text: &str| {
            let message = one(op, shape).unwrap_err();
            assert!(message.starts_with("node `y`: ") && message.contains(text), "{message}");
        };
        fault(
            conv_with(|_, _, _, _, g| *g = 2),
            [1, 3, 8, 8],
            "channels in 3 is not a multiple of 2",
        );
        fault(
            conv_with(|_, _, _, _, g| *g = 5),
            [1, 5, 8, 8],
            "channels out 6 is not a multiple of 5",
        );
        fault(conv_with(|_, _, _, _, g| *g = 0), [1, 5, 8, 8], "groups 0");
        fault(conv_with(|_, s, _, _, _| *s = 0), [1, 3, 8, 8], "stride 0");
        fault(conv_with(|k, _, _, _, _| *k = 0), [1, 3, 8, 8], "kernel 0");
        fault(conv_with(|k, _, _, _, _| *k = 257), [1, 3, 8, 8], "kernel 257");
        fault(conv_with(|_, _, _, d, _| *d = usize::MAX), [1, 3, 8, 8], "dilation");
        fault(conv_with(|_, _, p, _, _| *p = usize::MAX), [1, 3, 8, 8], "padding");
        let mut reflect = conv_with(|_, _, p, _, _| *p = 2);
        if let Op::Conv2d { padding_mode, .. } = &mut reflect {
            *padding_mode = Padding::Reflect;
        }
        fault(reflect, [1, 3, 8, 2], "reflection by 2");
    }

    #[test]
    fn transposed_convolution_sizes() {
        let op = |kernel, stride, padding, output_padding| Op::ConvTranspose2d {
            out: 4,
            kernel,
            stride,
            padding,
            output_padding,
            groups: 2,
            bias: false,
        };
        assert_eq!(one(op(4, 2, 1, 0), [1, 6, 5, 7]).unwrap(), [1, 4, 10, 14]);
        assert_eq!(one(op(3, 2, 1, 1), [1, 6, 5, 7]).unwrap(), [1, 4, 10, 14]);
        assert!(
            one(op(3, 2, 1, 2), [1, 6, 5, 7])
                .unwrap_err()
                .contains("output_padding 2")
        );
        assert!(
            one(op(2, 1, 3, 0), [1, 6, 2, 2])
                .unwrap_err()
                .contains("cuts away all 3")
        );
    }

    #[test]
    fn pools_and_shuffles() {
        let max = |kernel, stride, padding| Op::MaxPool {
            kernel,
            stride,
            padding,
        };
        assert_eq!(one(max(2, 2, 0), [1, 3, 7, 8]).unwrap(), [1, 3, 3, 4]);
        assert_eq!(
            one(
                Op::AvgPool {
                    kernel: 3,
                    stride: 2,
                    padding: 1
                },
                [1, 3, 7, 8]
            )
            .unwrap(),
            [1, 3, 4, 4]
        );
        assert!(one(max(2, 2, 2), [1, 3, 7, 8]).unwrap_err().contains("half the kernel"));
        assert!(one(max(9, 1, 0), [1, 3, 8, 8]).unwrap_err().contains("does not fit"));
        assert_eq!(one(Op::GlobalAvgPool, [2, 3, 7, 8]).unwrap(), [2, 3, 1, 1]);
        assert_eq!(
            one(Op::PixelUnshuffle { factor: 2 }, [1, 3, 6, 8]).unwrap(),
            [1, 12, 3, 4]
        );
        assert!(
            one(Op::PixelUnshuffle { factor: 2 }, [1, 3, 6, 7])
                .unwrap_err()
                .contains("width 7")
        );
        assert!(
            one(Op::PixelUnshuffle { factor: 0 }, [1, 3, 6, 7])
                .unwrap_err()
                .contains("factor 0")
        );
        assert_eq!(
            one(Op::PixelShuffle { factor: 2 }, [1, 12, 3, 4]).unwrap(),
            [1, 3, 6, 8]
        );
        assert!(
            one(Op::PixelShuffle { factor: 2 }, [1, 6, 3, 4])
                .unwrap_err()
                .contains("channels 6")
        );
        let up = Op::Upsample {
            factor: 3,
            mode: Interpolation::Nearest,
        };
        assert_eq!(one(up, [1, 2, 3, 4]).unwrap(), [1, 2, 9, 12]);
        assert_eq!(one(Op::Flatten, [2, 3, 4, 5]).unwrap(), [2, 60]);
    }

    #[test]
    fn joins_and_sums_agree_in_size() {
        let two = |op: Op, a: [usize; 4], b: [usize; 4]| {
            let mut graph = Builder::new();
            let (x, z) = (graph.input("x", a[1]), graph.input("z", b[1]));
            let y = graph.node("y", op, &[&x, &z]);
            graph
                .finish(&[&y])
                .shapes(&[a.to_vec(), b.to_vec()])
                .map(|s| s["y"].clone())
                .map_err(|e| e.to_string())
        };
        assert_eq!(two(Op::Concat, [2, 3, 4, 5], [2, 1, 4, 5]).unwrap(), [2, 4, 4, 5]);
        assert!(
            two(Op::Concat, [2, 3, 4, 5], [2, 3, 4, 6])
                .unwrap_err()
                .starts_with("node `y`: cannot join")
        );
        assert_eq!(two(Op::Sub, [2, 3, 4, 5], [2, 3, 4, 5]).unwrap(), [2, 3, 4, 5]);
        assert!(
            two(Op::Add, [2, 3, 4, 5], [2, 3, 1, 1])
                .unwrap_err()
                .contains("different shapes")
        );
        assert!(
            two(Op::Add, [2, 3, 4, 5], [1, 3, 4, 5])
                .unwrap_err()
                .starts_with("node `z`: a batch of 1")
        );
    }

    #[test]
    fn scalars_are_finite() {
        assert!(
            one(Op::BatchNorm { eps: 0.0 }, [1, 1, 1, 1])
                .unwrap_err()
                .contains("eps")
        );
        assert!(
            one(Op::LeakyRelu { slope: f64::NAN }, [1, 1, 1, 1])
                .unwrap_err()
                .contains("slope")
        );
        assert!(
            one(
                Op::Scale {
                    scale: 1.0,
                    shift: f64::INFINITY
                },
                [1, 1, 1, 1]
            )
            .unwrap_err()
            .contains("shift")
        );
        assert!(
            one(Op::Linear { out: 3, bias: true }, [1, 3, 1, 1])
                .unwrap_err()
                .contains("[N, features]")
        );
    }

    #[test]
    fn inputs_fit_and_huge_sizes_do_not_overflow() {
        let mut b = Builder::new();
        let x = b.input("x", 3);
        let graph = b.finish(&[&x]);
        assert!(
            graph
                .shapes(&[])
                .unwrap_err()
                .to_string()
                .contains("takes 1 inputs, not 0")
        );
        assert!(
            graph
                .shapes(&[vec![1, 1, 8, 8]])
                .unwrap_err()
                .to_string()
                .contains("3 channels, not 1")
        );
        assert!(
            graph
                .shapes(&[vec![1, 3, 0, 8]])
                .unwrap_err()
                .to_string()
                .contains("empty")
        );
        assert!(
            graph
                .shapes(&[vec![1, 3, 8]])
                .unwrap_err()
                .to_string()
                .contains("[N, C, H, W]")
        );
        assert!(graph.shapes(&[vec![usize::MAX, 3, usize::MAX, 2]]).is_err());

        let mut b = Builder::new();
        let mut x = b.input("x", 1);
        for i in 0..8 {
            let up = Op::Upsample {
                factor: 65_536,
                mode: Interpolation::Nearest,
            };
            x = b.node(format!("up{i}"), up, &[&x]);
        }
        let message = b.finish(&[&x]).shapes(&[vec![1, 1, 1, 1]]).unwrap_err().to_string();
        assert!(message.starts_with("node `up0`"), "{message}");
    }
}

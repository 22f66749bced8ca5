//! Layers: what has weights or windows.

use std::rc::Rc;

use super::MOST_BYTES;
use super::arithmetic::shaped;
use super::constant::Whole;
use super::node::Reader;
use super::source::{Read, Source, Value};
use crate::graph::{Array, Op, Padding};

/// Largest side of a kernel that is made square.
const LARGEST_SQUARE: usize = 31;

/// Borders of a window: top, left, bottom, right.
type Pads = [usize; 4];

impl Reader {
    pub fn conv(&mut self, source: &Source<'_>, name: &str) -> Read<Value> {
        let weight = source.array(1)?;
        let [out, _, height, width] = four(weight)?;
        let dilation = source.same("dilations", 1)?;
        let stride = source.same("strides", 1)?;
        let (x, pads, padding_mode) = match source.any(0)? {
            Value::Padded(x, pads, mode) => (x, pads, mode),
            _ => (source.value(0)?.to_owned(), [0; 4], Padding::Zero),
        };
        let mut sides = self.sides(&x);
        for (axis, side) in sides.iter_mut().enumerate() {
            *side = side.and_then(|n| n.checked_add(pads[axis])?.checked_add(pads[axis + 2]));
        }
        let own = own_pads(source, sides, [height, width], stride, dilation)?;
        if padding_mode != Padding::Zero && own != [0; 4] {
            return Err("padding beyond padding that is not of zeros is not read".into());
        }
        let pads: Pads = std::array::from_fn(|side| pads[side].saturating_add(own[side]));
        let (weight, padding) = square(weight, pads, dilation, padding_mode)?;
        let op = Op::Conv2d {
            out,
            kernel: weight.shape[2],
            stride,
            padding,
            padding_mode,
            dilation,
            groups: source.count("group", 1)?,
            bias: source.has(2),
            frozen: false,
        };
        let mut weights = vec![weight];
        if source.has(2) {
            weights.push(source.array(2)?.clone());
        }
        Ok(Value::Node(self.layer(name, op, &x, &weights)?))
    }

    pub fn conv_transpose(&mut self, source: &Source<'_>, name: &str) -> Read<Value> {
        let weight = source.array(1)?;
        let [_, of_group, height, width] = four(weight)?;
        if height != width {
            return Err(format!("a kernel of {width}x{height}: only square ones are read"));
        }
        if source.same("dilations", 1)? != 1 || source.attribute("output_shape").is_some() {
            return Err("dilations and output_shape are not read".into());
        }
        if !matches!(source.text("auto_pad", "NOTSET")?, "NOTSET" | "VALID") {
            return Err("auto_pad is not read: give the pads themselves".into());
        }
        let groups = source.count("group", 1)?;
        let op = Op::ConvTranspose2d {
            out: of_group.checked_mul(groups).ok_or("too many groups")?,
            kernel: height,
            stride: source.same("strides", 1)?,
            padding: source.same("pads", 0)?,
            output_padding: source.same("output_padding", 0)?,
            groups,
            bias: source.has(2),
        };
        let mut weights = vec![weight.clone()];
        if source.has(2) {
            weights.push(source.array(2)?.clone());
        }
        Ok(Value::Node(self.layer(name, op, source.value(0)?, &weights)?))
    }

    pub fn linear(&mut self, source: &Source<'_>, name: &str) -> Read<Value> {
        let x = source.value(0)?;
        if self.known(x).len() != 2 {
            return Err("a matrix product of pictures: it is read of what is flattened".into());
        }
        let matrix = source.array(1)?;
        let (rows, columns) = match matrix.shape[..] {
            [rows, columns] if rows > 0 && columns > 0 => (rows, columns),
            _ => return Err(format!("weights of shape {:?}: expected a matrix", matrix.shape)),
        };
        let is_plain = source.float("alpha", 1.0) == 1.0 && source.float("beta", 1.0) == 1.0;
        if !is_plain || source.int("transA", 0) != 0 {
            return Err("alpha, beta and transA are not read".into());
        }
        let weight = match source.int("transB", 0) {
            0 => Rc::new(transposed(matrix, rows, columns)),
            _ => matrix.clone(),
        };
        let out = weight.shape[0];
        let mut weights = vec![weight];
        if source.has(2) {
            weights.push(bias(source.array(2)?, out)?);
        }
        let op = Op::Linear {
            out,
            bias: source.has(2),
        };
        Ok(Value::Node(self.layer(name, op, x, &weights)?))
    }

    pub fn batch_norm(&mut self, source: &Source<'_>, name: &str) -> Read<Value> {
        // Before opset 14 means and variances that leave it, too, said so.
        let outputs = source.node.output.iter().filter(|name| !name.is_empty());
        if source.int("training_mode", 0) != 0 || source.int("spatial", 1) != 1 || outputs.count() > 1 {
            return Err("it is written for training: export the network in eval mode".into());
        }
        let eps = source.float("epsilon", 1e-5);
        let parts: Vec<Rc<Array>> = (1..5).map(|at| source.array(at).cloned()).collect::<Read<_>>()?;
        let x = source.value(0)?;
        if self.known(x).len() != 2 {
            return Ok(Value::Node(self.layer(name, Op::BatchNorm { eps }, x, &parts)?));
        }
        let [scale, shift, mean, variance] = [0, 1, 2, 3].map(|at| parts[at].data.as_slice());
        if [shift, mean, variance].iter().any(|part| part.len() != scale.len()) {
            return Err("its weights have different lengths".into());
        }
        let pair = |i: usize| {
            let factor = f64::from(scale[i]) / (f64::from(variance[i]) + eps).sqrt();
            (
                factor as f32,
                (f64::from(shift[i]) - f64::from(mean[i]) * factor) as f32,
            )
        };
        let pairs: Vec<(f32, f32)> = (0..scale.len()).map(pair).collect();
        self.affine(source, name, 0, &[scale.len()], &pairs)
    }

    pub fn pool(&mut self, source: &Source<'_>, name: &str) -> Read<Value> {
        let x = source.value(0)?;
        let (kernel, stride) = (source.same("kernel_shape", 0)?, source.same("strides", 1)?);
        if source.same("dilations", 1)? != 1 {
            return Err("dilations of pools are not read".into());
        }
        let pads = own_pads(source, self.sides(x), [kernel; 2], stride, 1)?;
        let padding = pads[0];
        if pads != [padding; 4] {
            return Err(format!("pads {pads:?}: only the same at all four borders are read"));
        }
        if source.int("ceil_mode", 0) != 0 {
            // No rounding, no difference.
            let exact = |side: &Option<usize>| {
                let rest = side.and_then(|n| n.checked_add(padding.checked_mul(2)?)?.checked_sub(kernel));
                rest.is_some_and(|rest| stride > 0 && rest.is_multiple_of(stride))
            };
            if !self.known(x)[2..].iter().all(exact) {
                return Err("ceil_mode: only sizes that need no rounding are read, or are rounded down".into());
            }
        }
        #[rustfmt::skip]
        let op = match source.op() {
            "MaxPool" => Op::MaxPool { kernel, stride, padding },
            _ if padding > 0 && source.int("count_include_pad", 0) == 0 => {
                return Err("a mean that leaves out what is padded: export it with count_include_pad".into());
            }
            _ => Op::AvgPool { kernel, stride, padding },
        };
        Ok(Value::Node(self.add(name, op, &[x])?))
    }

    pub fn softmax(&mut self, source: &Source<'_>, name: &str) -> Read<Value> {
        let x = source.value(0)?;
        let shape = self.known(x);
        let is_new = source.opset >= 13;
        let axis = source.axis(if is_new { -1 } else { 1 }, shape.len())?;
        // Before, all axes from this one on were one.
        let is_one = |side: &Option<usize>| *side == Some(1);
        if axis != 1 || !(is_new || shape[2..].iter().all(is_one)) {
            return Err(format!("axis {axis}: only a softmax over channels is read"));
        }
        match source.op() {
            "LogSoftmax" => Ok(Value::LogSoftmax(x.to_owned())),
            _ => Ok(Value::Node(self.add(name, Op::Softmax, &[x])?)),
        }
    }

    pub fn dropout(&self, source: &Source<'_>) -> Read<Value> {
        match source.integers(2) {
            None if !source.has(2) => source.any(0),
            Some([Whole::Is(0)]) => source.any(0),
            _ => Err("it is written for training: export the network in eval mode".into()),
        }
    }

    /// Height and width of a value's planes, as far as they are known.
    fn sides(&self, x: &str) -> [Option<usize>; 2] {
        [2, 3].map(|axis| self.known(x).get(axis).copied().flatten())
    }
}

/// Borders of a window over planes of these sides, height and width.
fn own_pads(
    source: &Source<'_>,
    sides: [Option<usize>; 2],
    kernel: [usize; 2],
    stride: usize,
    dilation: usize,
) -> Read<Pads> {
    let upper = match source.text("auto_pad", "NOTSET")? {
        "NOTSET" => {
            let found = source.attribute("pads").map_or(&[0; 4][..], |found| &found.ints);
            let pads: Option<Vec<usize>> = found.iter().map(|n| usize::try_from(*n).ok()).collect();
            let pads = pads.and_then(|pads| pads.try_into().ok());
            return pads.ok_or_else(|| format!("pads {found:?}: expected four, from 0 on"));
        }
        "VALID" => return Ok([0; 4]),
        "SAME_UPPER" => true,
        "SAME_LOWER" => false,
        other => return Err(format!("auto_pad {other} is not read")),
    };
    let mut pads = [0; 4];
    for axis in 0..2 {
        let reach = kernel[axis].saturating_sub(1).saturating_mul(dilation);
        let whole = match (stride, sides[axis]) {
            (1, _) => reach,
            (2.., Some(side)) => {
                let moved = (side.div_ceil(stride) - 1).saturating_mul(stride);
                moved.saturating_add(reach).saturating_add(1).saturating_sub(side)
            }
            _ => return Err("auto_pad: give the size of the pictures, by --size, or the pads themselves".into()),
        };
        let (less, more) = (whole / 2, whole.div_ceil(2));
        [pads[axis], pads[axis + 2]] = if upper { [less, more] } else { [more, less] };
    }
    Ok(pads)
}

/// A square kernel with the same padding at all borders that does the same, by taps of 0, and that padding.
fn square(weight: &Rc<Array>, pads: Pads, dilation: usize, mode: Padding) -> Read<(Rc<Array>, usize)> {
    let [out, of_group, height, width] = four(weight)?;
    let padding = pads.into_iter().max().unwrap_or(0);
    if pads == [padding; 4] && height == width {
        return Ok((weight.clone(), padding));
    }
    let fail = || format!("a kernel of {width}x{height} with pads {pads:?} is not read");
    if mode != Padding::Zero || dilation == 0 || padding > LARGEST_SQUARE {
        return Err(fail());
    }
    // Taps before and after those that are given.
    let starts = [padding - pads[0], padding - pads[1]];
    let ends = [padding - pads[2], padding - pads[3]];
    if !starts.iter().chain(&ends).all(|n| n.is_multiple_of(dilation)) {
        return Err(fail());
    }
    let side = |axis: usize, taps: usize| (starts[axis] + ends[axis]) / dilation + taps;
    let kernel = side(0, height);
    let plane = kernel
        .checked_mul(kernel)
        .filter(|_| kernel <= LARGEST_SQUARE && kernel == side(1, width));
    let values = plane.and_then(|plane| plane.checked_mul(out)?.checked_mul(of_group));
    let values = values
        .filter(|n| *n <= MOST_BYTES / size_of::<f32>())
        .ok_or_else(fail)?;
    let [top, left] = starts.map(|start| start / dilation);
    let mut data = vec![0.0; values];
    for (plane, taps) in weight.data.chunks(height * width).enumerate() {
        for (y, row) in taps.chunks(width).enumerate() {
            let at = (plane * kernel + top + y) * kernel + left;
            data[at..at + width].copy_from_slice(row);
        }
    }
    Ok((shaped(&[out, of_group, kernel, kernel], data), padding))
}

/// Lengths of a kernel's axes.
fn four(weight: &Array) -> Read<[usize; 4]> {
    let shape = <[usize; 4]>::try_from(weight.shape.as_slice()).ok();
    let shape = shape.filter(|shape| !shape.contains(&0));
    shape.ok_or_else(|| {
        format!(
            "weights of shape {:?}: expected those of pictures, of 4 axes",
            weight.shape
        )
    })
}

fn transposed(matrix: &Array, rows: usize, columns: usize) -> Array {
    Array {
        shape: vec![columns, rows],
        data: (0..rows * columns)
            .map(|i| matrix.data[i % rows * columns + i / rows])
            .collect(),
    }
}

/// A bias of `out` values, given as one for all or as one each.
fn bias(bias: &Array, out: usize) -> Read<Rc<Array>> {
    match bias.data.as_slice() {
        [one] => Ok(shaped(&[out], vec![*one; out])),
        all if all.len() == out => Ok(shaped(&[out], all.to_vec())),
        all => Err(format!("a bias of {} values for {out}", all.len())),
    }
}

/// Weight and bias of a linear layer, which is 0 where it has none.
pub(super) fn with_bias(weights: &[Rc<Array>], out: usize) -> (Vec<f32>, Vec<f32>) {
    let weight = weights.first().map_or_else(Vec::new, |array| array.data.clone());
    let bias = weights
        .get(1)
        .map_or_else(|| vec![0.0; out], |array| array.data.clone());
    (weight, bias)
}

//! Arithmetic with constants and between values, and activations made of it.

use std::rc::Rc;

use super::constant::Whole;
use super::integers::whole;
use super::layers::with_bias;
use super::node::Reader;
use super::source::{Read, Source, Value, decimal};
use crate::graph::{Array, Interpolation, Node, Op, Padding};

/// Most features that a factor each is read for, where no linear layer stands before: it becomes one.
const MOST_DIAGONAL: usize = 2048;

impl Reader {
    pub fn arithmetic(&mut self, source: &Source<'_>, name: &str) -> Read<Value> {
        if let (Some(a), Some(b)) = (source.integers(0), source.integers(1)) {
            return of_integers(source.op(), a, b);
        }
        let is_constant = |at: usize| matches!(source.values.get(at), Some(Some(Value::Constant(_))));
        let (at, constant) = match [is_constant(0), is_constant(1)] {
            [false, false] => return self.of_two(source, name),
            [false, true] => (0, 1),
            [true, false] => (1, 0),
            [true, true] => return Err("arithmetic of constants in fractions is not read".into()),
        };
        let array = source.array(constant)?;
        let reversed = constant == 0;
        let factor = |value: f32| match source.op() {
            "Mul" => Some((value, 0.0)),
            "Div" => Some((1.0 / value, 0.0)).filter(|_| !reversed),
            "Sub" if reversed => Some((-1.0, value)),
            "Sub" => Some((1.0, -value)),
            _ => Some((1.0, value)),
        };
        let pairs: Option<Vec<(f32, f32)>> = array.data.iter().map(|value| factor(*value)).collect();
        let pairs = pairs.ok_or("division of a constant by a picture is not read")?;
        self.affine(source, name, at, &array.shape, &pairs)
    }

    fn of_two(&mut self, source: &Source<'_>, name: &str) -> Read<Value> {
        let (a, b) = (source.value(0)?.to_owned(), source.value(1)?.to_owned());
        let op = match source.op() {
            "Add" => Op::Add,
            "Sub" => Op::Sub,
            "Mul" => Op::Mul,
            _ => return Err("division of two pictures is not read".into()),
        };
        if op == Op::Mul {
            for (x, at) in [(&a, 1), (&b, 0)] {
                if self.gates(source.value(at)?, x) && self.take(source, at).is_some() {
                    return Ok(Value::Node(self.add(name, Op::Silu, &[x])?));
                }
            }
        }
        let (a, b) = (self.spread(name, &a, &b)?, self.spread(name, &b, &a)?);
        Ok(Value::Node(self.add(name, op, &[&a, &b])?))
    }

    /// Whether the newest node is `gate`, the sigmoid of `x`.
    fn gates(&self, gate: &str, x: &str) -> bool {
        self.newest()
            .is_some_and(|node| node.name == gate && node.op == Op::Sigmoid && node.inputs == [x])
    }

    /// `x`, repeated over the picture `other` if it is one pixel.
    fn spread(&mut self, name: &str, x: &str, other: &str) -> Read<String> {
        match (self.known(x).as_slice(), self.known(other).as_slice()) {
            ([_, _, Some(1), Some(1)], [_, _, height, width]) if [*height, *width] != [Some(1); 2] => {
                let (&height, &width) = (height, width);
                let factor = height.filter(|_| height == width).ok_or(
                    "one number for each plane is read for square pictures of a size that is known: give --size",
                )?;
                let mode = Interpolation::Nearest;
                self.add(&format!("{name}.spread"), Op::Upsample { factor, mode }, &[x])
            }
            _ => Ok(x.to_owned()),
        }
    }

    /// Each channel of the input `at` times the first plus the second of its pair, or all of them by one. The pairs have this shape.
    pub fn affine(
        &mut self,
        source: &Source<'_>,
        name: &str,
        at: usize,
        shape: &[usize],
        pairs: &[(f32, f32)],
    ) -> Read<Value> {
        let x = source.value(at)?.to_owned();
        let known = self.known(&x).clone();
        let fail = || {
            Err(format!(
                "a constant of shape {shape:?}: one number, or one a channel, is read"
            ))
        };
        if shape.len() > known.len() || pairs.is_empty() {
            return fail();
        }
        if let [(scale, shift)] = *pairs {
            return self
                .scaled(source, name, at, decimal(scale), decimal(shift))
                .map(Value::Node);
        }
        let channels = match (shape, known.as_slice()) {
            ([1, channels, 1, 1] | [channels, 1, 1], [_, _, _, _]) | ([1, channels] | [channels], [_, _]) => *channels,
            _ => return fail(),
        };
        if known[1] != Some(channels) || channels != pairs.len() {
            return fail();
        }
        match known.len() {
            2 => self.of_features(source, name, at, pairs),
            _ => self.of_channels(name, &x, pairs),
        }
    }

    /// A scale of the newest node and this one become one.
    fn scaled(&mut self, source: &Source<'_>, name: &str, at: usize, scale: f64, shift: f64) -> Read<String> {
        let x = source.value(at)?.to_owned();
        let factor = match self.newest() {
            Some(Node {
                name: newest,
                op: Op::Scale {
                    scale: before,
                    shift: 0.0,
                },
                ..
            }) if *newest == x && scale == 1.0 => Some(*before),
            _ => None,
        };
        if let Some(scale) = factor
            && let Some((before, _)) = self.take(source, at)
        {
            return self.add(name, Op::Scale { scale, shift }, &[&before.inputs[0]]);
        }
        self.add(name, Op::Scale { scale, shift }, &[&x])
    }

    fn of_channels(&mut self, name: &str, x: &str, pairs: &[(f32, f32)]) -> Read<Value> {
        let channels = pairs.len();
        let op = Op::Conv2d {
            out: channels,
            kernel: 1,
            stride: 1,
            padding: 0,
            padding_mode: Padding::Zero,
            dilation: 1,
            groups: channels,
            bias: true,
            frozen: true,
        };
        let (scales, shifts): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
        let weights = [shaped(&[channels, 1, 1, 1], scales), shaped(&[channels], shifts)];
        Ok(Value::Node(self.layer(name, op, x, &weights)?))
    }

    /// A linear layer takes the pairs in, if it stands before; else they are one.
    fn of_features(&mut self, source: &Source<'_>, name: &str, at: usize, pairs: &[(f32, f32)]) -> Read<Value> {
        let out = pairs.len();
        let x = source.value(at)?.to_owned();
        let is_linear = |node: &Node| node.name == x && matches!(node.op, Op::Linear { .. });
        let before = if self.newest().is_some_and(is_linear) {
            self.take(source, at)
        } else {
            None
        };
        let (x, weight, bias) = match before {
            Some((node, weights)) => {
                let (weight, bias) = with_bias(&weights, out);
                (node.inputs[0].clone(), weight, bias)
            }
            None if out <= MOST_DIAGONAL => {
                let one = |i: usize| f32::from(u8::from(i % out == i / out));
                (x, (0..out * out).map(one).collect(), vec![0.0; out])
            }
            None => {
                return Err(format!(
                    "one number for each of {out} features is read after a linear layer alone"
                ));
            }
        };
        let features = weight.len() / out;
        let scaled = weight
            .iter()
            .enumerate()
            .map(|(i, value)| value * pairs[i / features].0);
        let moved = bias
            .iter()
            .zip(pairs)
            .map(|(bias, (scale, shift))| bias * scale + shift);
        let weights = [
            shaped(&[out, features], scaled.collect()),
            shaped(&[out], moved.collect()),
        ];
        Ok(Value::Node(self.layer(
            name,
            Op::Linear { out, bias: true },
            &x,
            &weights,
        )?))
    }

    pub fn neg(&mut self, source: &Source<'_>, name: &str) -> Read<Value> {
        let minus = Op::Scale {
            scale: -1.0,
            shift: 0.0,
        };
        Ok(Value::Node(self.add(name, minus, &[source.value(0)?])?))
    }

    pub fn clip(&mut self, source: &Source<'_>, name: &str) -> Read<Value> {
        let x = source.value(0)?.to_owned();
        let limits = [source.limit("min", 1)?, source.limit("max", 2)?];
        self.clamp(name, &x, limits).map(Value::Node)
    }

    /// relu(x − low) + low, and high − relu(high − that): beyond the limits it is exactly these.
    fn clamp(&mut self, name: &str, x: &str, limits: [Option<f64>; 2]) -> Read<String> {
        let mut y = x.to_owned();
        if let [Some(low), high] = limits {
            let last = if high.is_some() { &format!("{name}.above") } else { name };
            y = match low {
                0.0 => self.add(last, Op::Relu, &[&y])?,
                low => {
                    let moved = self.add(&format!("{name}.from_low"), shifted(1.0, -low), &[&y])?;
                    let above = self.add(&format!("{name}.above_low"), Op::Relu, &[&moved])?;
                    self.add(last, shifted(1.0, low), &[&above])?
                }
            };
        }
        if let [_, Some(high)] = limits {
            let turned = self.add(&format!("{name}.from_high"), shifted(-1.0, high), &[&y])?;
            let below = self.add(&format!("{name}.below_high"), Op::Relu, &[&turned])?;
            y = self.add(name, shifted(-1.0, high), &[&below])?;
        }
        Ok(y)
    }

    /// max(x, 0) − slope · max(−x, 0), a slope for each channel.
    pub fn prelu(&mut self, source: &Source<'_>, name: &str) -> Read<Value> {
        let x = source.value(0)?.to_owned();
        let slopes = source.array(1)?;
        if let [slope] = slopes.data[..] {
            let slope = decimal(slope);
            return Ok(Value::Node(self.add(name, Op::LeakyRelu { slope }, &[&x])?));
        }
        let channels = match (slopes.shape.as_slice(), self.known(&x).as_slice()) {
            ([channels, 1, 1] | [1, channels, 1, 1], [_, known, _, _]) if *known == Some(*channels) => *channels,
            _ => {
                return Err(format!(
                    "slopes of shape {:?}: one, or one a channel, is read",
                    slopes.shape
                ));
            }
        };
        debug_assert_eq!(channels, slopes.data.len());
        let above = self.add(&format!("{name}.above"), Op::Relu, &[&x])?;
        let turned = self.add(&format!("{name}.turned"), shifted(-1.0, 0.0), &[&x])?;
        let below = self.add(&format!("{name}.below"), Op::Relu, &[&turned])?;
        let pairs: Vec<(f32, f32)> = slopes.data.iter().map(|slope| (*slope, 0.0)).collect();
        let Value::Node(below) = self.of_channels(&format!("{name}.slope"), &below, &pairs)? else {
            return Err("slopes are not read here".into());
        };
        Ok(Value::Node(self.add(name, Op::Sub, &[&above, &below])?))
    }

    pub fn hard(&mut self, source: &Source<'_>, name: &str) -> Read<Value> {
        let x = source.value(0)?.to_owned();
        let is_swish = source.op() == "HardSwish";
        let (scale, shift) = match is_swish {
            true => (1.0 / 6.0, 0.5),
            false => (source.float("alpha", 0.2), source.float("beta", 0.5)),
        };
        let gate = if is_swish { &format!("{name}.gate") } else { name };
        let line = self.add(&format!("{gate}.line"), shifted(scale, shift), &[&x])?;
        let gate = self.clamp(gate, &line, [Some(0.0), Some(1.0)])?;
        match is_swish {
            true => Ok(Value::Node(self.add(name, Op::Mul, &[&x, &gate])?)),
            false => Ok(Value::Node(gate)),
        }
    }
}

fn shifted(scale: f64, shift: f64) -> Op {
    Op::Scale { scale, shift }
}

pub(super) fn shaped(shape: &[usize], data: Vec<f32>) -> Rc<Array> {
    let shape = shape.to_vec();
    Rc::new(Array { shape, data })
}

/// Of lengths of axes.
fn of_integers(op: &str, a: &[Whole], b: &[Whole]) -> Read<Value> {
    let worked_out = |a: &Whole, b: &Whole| {
        let (a, b) = (a.known()?, b.known()?);
        match op {
            "Add" => a.checked_add(b),
            "Sub" => a.checked_sub(b),
            "Mul" => a.checked_mul(b),
            _ => a.checked_div(b),
        }
    };
    let pair = |a: &Whole, b: &Whole| Whole::from(worked_out(a, b));
    let values: Vec<Whole> = match (a, b) {
        (a, [b]) => a.iter().map(|a| pair(a, b)).collect(),
        ([a], b) => b.iter().map(|b| pair(a, b)).collect(),
        (a, b) if a.len() == b.len() => a.iter().zip(b).map(|(a, b)| pair(a, b)).collect(),
        (a, b) => return Err(format!("{} and {} whole numbers", a.len(), b.len())),
    };
    whole(values)
}

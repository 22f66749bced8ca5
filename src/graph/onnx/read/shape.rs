//! What changes the shape of values.

use super::constant::{Constant, Whole};
use super::integers::whole;
use super::node::Reader;
use super::source::{Read, Source, Value};
use crate::graph::{Interpolation, Op, Padding};

impl Reader {
    pub fn concat(&mut self, source: &Source<'_>, name: &str) -> Read<Value> {
        let count = source.values.len();
        if count == 0 {
            return Err("it has no inputs".into());
        }
        let constants: Option<Vec<&[Whole]>> = (0..count).map(|i| source.integers(i)).collect();
        if let Some(parts) = constants {
            // A limited number: each may be what was joined before.
            return whole(parts.iter().flat_map(|part| part.iter().copied()).take(1000).collect());
        }
        let inputs: Vec<&str> = (0..count).map(|i| source.value(i)).collect::<Read<_>>()?;
        let axes = self.known(inputs[0]).len();
        match source.axis(1, axes)? {
            1 => Ok(Value::Node(self.add(name, Op::Concat, &inputs)?)),
            axis => Err(format!("axis {axis}: only channels are joined")),
        }
    }

    /// Pictures to features: by their shape, or by their means.
    pub fn flatten(&mut self, source: &Source<'_>, name: &str) -> Read<Value> {
        if matches!(
            source.any(0)?,
            Value::Constant(Constant::Integers(_) | Constant::Rows(..))
        ) {
            // Lengths of axes keep their order.
            return match source.op() {
                "Flatten" | "ReduceMean" => Err("a picture is expected".into()),
                _ => self.integers(source),
            };
        }
        let x = source.value(0)?.to_owned();
        let shape = self.known(&x).clone();
        let is_plane = |found: Option<Vec<i64>>| {
            let found = found.unwrap_or_default();
            let mut found: Vec<i64> = found
                .iter()
                .map(|axis| if *axis < 0 { axis.saturating_add(4) } else { *axis })
                .collect();
            found.sort_unstable();
            shape.len() == 4 && found == [2, 3]
        };
        match source.op() {
            "ReduceMean" if is_plane(source.list("axes", 1)) => {
                let keeps = source.int("keepdims", 1) != 0;
                let mean = if keeps { name } else { &format!("{name}.mean") };
                let mean = self.add(mean, Op::GlobalAvgPool, &[&x])?;
                return match keeps {
                    true => Ok(Value::Node(mean)),
                    false => Ok(Value::Node(self.add(name, Op::Flatten, &[&mean])?)),
                };
            }
            "ReduceMean" => return Err("only the mean of whole planes, axes 2 and 3, is read".into()),
            "Squeeze"
                if is_plane(source.list("axes", 1)) && shape[2..].iter().all(|side| matches!(side, None | Some(1))) => {
            }
            "Squeeze" => return Err("only height and width of one pixel may go, axes 2 and 3".into()),
            "Flatten" => match source.axis(1, shape.len())? {
                1 => {}
                axis => return Err(format!("axis {axis}: only axis 1 is read")),
            },
            _ if self.reshaped(source, &shape)? == shape.len() => return Ok(Value::Node(x)),
            _ => {}
        }
        match shape.len() {
            2 => Ok(Value::Node(x)),
            _ => Ok(Value::Node(self.add(name, Op::Flatten, &[&x])?)),
        }
    }

    /// Number of axes that a Reshape gives: a row of features for each picture, or the picture as it is.
    fn reshaped(&self, source: &Source<'_>, shape: &[Option<usize>]) -> Read<usize> {
        let wanted = source.lengths(1, "to a shape that is worked out otherwise than of lengths of axes")?;
        let batch = self.batch.and_then(|n| i64::try_from(n).ok());
        let is_batch =
            |n: Whole| matches!(n, Whole::Batch | Whole::Is(-1..=1)) || n.known().is_some_and(|n| Some(n) == batch);
        let length = |n: Option<usize>| n.and_then(|n| i64::try_from(n).ok());
        let is_same = |(wanted, found): (&Whole, &Option<usize>)| match wanted {
            Whole::Is(-1 | 0) => true,
            Whole::Is(wanted) => Some(*wanted) == length(*found),
            Whole::Batch | Whole::Open => false,
        };
        let features = shape[1..]
            .iter()
            .try_fold(1usize, |product, n| product.checked_mul((*n)?));
        match wanted {
            // Where it is not known how many features there are, the weights that follow tell.
            [first, count] if is_batch(*first) => match (length(features), *count) {
                (Some(found), Whole::Is(wanted @ 1..)) if found != wanted => Err(format!(
                    "{found} features of a picture become rows of {wanted}: only one row a picture is read"
                )),
                (_, Whole::Is(0)) if shape.len() > 2 && shape[2..] != [Some(1); 2] => {
                    Err("channels alone of a picture are no row of all its features".into())
                }
                // What is left for each picture is all of it, whatever that is.
                (_, Whole::Open) if *first == Whole::Is(-1) => Err(format!(
                    "to {}: give --size, from which the lengths follow",
                    shown(wanted)
                )),
                (_, Whole::Batch) => Err(format!("to {}: only one row a picture is read", shown(wanted))),
                _ => Ok(2),
            },
            [first, rest @ ..]
                if rest.len() + 1 == shape.len() && is_batch(*first) && rest.iter().zip(&shape[1..]).all(is_same) =>
            {
                Ok(shape.len())
            }
            _ => {
                let told = if wanted.contains(&Whole::Open) {
                    "; --size may tell which these are"
                } else {
                    ""
                };
                Err(format!(
                    "to {}: only pictures to rows of features, one a picture, are reshaped{told}",
                    shown(wanted)
                ))
            }
        }
    }

    pub fn resize(&mut self, source: &Source<'_>, name: &str) -> Read<Value> {
        let x = source.value(0)?.to_owned();
        let factor = self.factor(source, &x)?;
        // Before opset 11 pixels were counted from their corners, and those between rounded down.
        let is_old = source.opset < 11;
        let default = if is_old { "asymmetric" } else { "half_pixel" };
        let place = source.text("coordinate_transformation_mode", default)?;
        let rounding = source.text("nearest_mode", if is_old { "floor" } else { "round_prefer_floor" })?;
        let rounds_to_nearest = matches!(rounding, "round_prefer_floor" | "round_prefer_ceil");
        let mode = match (source.text("mode", "nearest")?, place, rounding) {
            ("nearest", "asymmetric" | "tf_half_pixel_for_nn", "floor") => Interpolation::Nearest,
            ("nearest", "asymmetric", "round_prefer_floor") if factor <= 2 => Interpolation::Nearest,
            ("nearest", "half_pixel" | "pytorch_half_pixel", _) if rounds_to_nearest => Interpolation::Nearest,
            ("linear", "half_pixel" | "pytorch_half_pixel", _) => Interpolation::Bilinear,
            ("linear", place, _) => {
                return Err(format!(
                    "linear with {place}: only half_pixel is read (align_corners=False, opset 11 or later)"
                ));
            }
            (mode, place, rounding) => return Err(format!("mode {mode} with {place} and {rounding} is not read")),
        };
        match factor {
            1 => Ok(Value::Node(x)),
            _ => Ok(Value::Node(self.add(name, Op::Upsample { factor, mode }, &[&x])?)),
        }
    }

    /// How many times as large both sides of `x` become.
    fn factor(&self, source: &Source<'_>, x: &str) -> Read<usize> {
        let is_old = source.op() == "Upsample" || source.opset < 11;
        let (scales, sizes) = if is_old { (1, usize::MAX) } else { (2, 3) };
        let fail = |what: String| Err(format!("{what}: only the same whole factor of both sides is read"));
        if let Some(sizes) = source.integers(sizes) {
            let length = |at: usize| self.known(x).get(at).copied().flatten();
            let times = |at: usize| {
                let (before, after) = (length(at)?, usize::try_from(sizes.get(at)?.known()?).ok()?);
                (before > 0 && after.is_multiple_of(before)).then(|| after / before)
            };
            return match (sizes.len(), times(2), times(3)) {
                (4, Some(a @ 1..), Some(b)) if a == b => Ok(a),
                (4, _, _) if length(2).is_none() || sizes[2..].iter().any(|size| size.known().is_none()) => {
                    Err("to a size that depends on the picture's: give --size, or export it with scale_factor".into())
                }
                _ => fail(format!("to sizes {}", shown(sizes))),
            };
        }
        let scales = match source.attribute("scales") {
            Some(found) => found.floats.as_slice(),
            None => source.array(scales)?.data.as_slice(),
        };
        match scales {
            [1.0, 1.0, a, b] if a == b && (1.0..=65536.0).contains(a) && a.fract() == 0.0 => Ok(*a as usize),
            other => fail(format!("scales {:?}", &other[..other.len().min(8)])),
        }
    }

    pub fn cells(&mut self, source: &Source<'_>, name: &str) -> Read<Value> {
        let x = source.value(0)?;
        let factor = source.count("blocksize", 0)?;
        if !(1..=256).contains(&factor) {
            return Err(format!("blocksize {factor} is not in 1..=256"));
        }
        match source.op() {
            "SpaceToDepth" => Ok(Value::Cells(x.to_owned(), factor)),
            _ if source.text("mode", "DCR")? == "CRD" => {
                Ok(Value::Node(self.add(name, Op::PixelShuffle { factor }, &[x])?))
            }
            _ => Err("mode DCR: only CRD is read, which is PixelShuffle".into()),
        }
    }

    pub fn gather(&mut self, source: &Source<'_>, name: &str) -> Read<Value> {
        let Value::Cells(x, factor) = source.any(0)? else {
            return self.integers(source);
        };
        let cells = factor * factor;
        let channels = self.known(&x)[1].ok_or("how many channels it sees is not known")?;
        let order = source
            .integers(1)
            .filter(|order| order.len() <= 1 << 16)
            .unwrap_or_default();
        let is_ours = channels.checked_mul(cells) == Some(order.len())
            && (0..order.len()).all(|i| order[i].known() == i64::try_from(i % cells * channels + i / cells).ok());
        if source.int("axis", 0) != 1 || !is_ours {
            return Err("this order of SpaceToDepth's channels is not read".into());
        }
        Ok(Value::Node(self.add(name, Op::PixelUnshuffle { factor }, &[&x])?))
    }

    pub fn pad(&self, source: &Source<'_>) -> Read<Value> {
        let x = source.value(0)?.to_owned();
        let pads = source
            .list("pads", 1)
            .ok_or("pads that depend on the picture are not read")?;
        if source.has(3) {
            return Err("axes of their own are not read".into());
        }
        let sides = match pads.as_slice() {
            [0, 0, top, left, 0, 0, bottom, right] => [top, left, bottom, right].map(|n| usize::try_from(*n).ok()),
            _ => [None; 4],
        };
        let [Some(top), Some(left), Some(bottom), Some(right)] = sides else {
            let shown = &pads[..pads.len().min(8)];
            return Err(format!("pads {shown:?}: only borders of pictures, from 0 on, are read"));
        };
        let mode = match source.text("mode", "constant")? {
            "constant" if source.limit("value", 2)?.is_none_or(|value| value == 0.0) => Padding::Zero,
            "constant" => return Err("with a value other than 0 it is not read".into()),
            "edge" => Padding::Replicate,
            "reflect" => Padding::Reflect,
            other => return Err(format!("mode {other} is not read")),
        };
        match [top, left, bottom, right] {
            [0, 0, 0, 0] => Ok(Value::Node(x)),
            sides => Ok(Value::Padded(x, sides, mode)),
        }
    }
}

/// Lengths of axes for a message.
fn shown(lengths: &[Whole]) -> String {
    let length = |length: &Whole| match length {
        Whole::Is(n) => n.to_string(),
        Whole::Batch => "N".into(),
        Whole::Open => "?".into(),
    };
    let lengths: Vec<String> = lengths.iter().take(8).map(length).collect();
    format!("[{}]", lengths.join(", "))
}

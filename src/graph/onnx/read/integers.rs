//! What is worked out of lengths of axes.

use std::rc::Rc;

use super::constant::{Constant, Whole};
use super::node::Reader;
use super::source::{Read, Source, Value};

/// Most whole numbers that are worked out at once: shapes have few.
pub(super) const MOST: usize = 64;

impl Reader {
    /// Shape, and what picks from it; what depends on the batch or on a size that is not known stays open.
    pub fn integers(&self, source: &Source<'_>) -> Read<Value> {
        let values = match (source.op(), source.any(0)?) {
            ("Shape", Value::Node(x)) => {
                let lengths = self.known(&x)[1..].iter();
                let lengths = lengths.map(|length| length.and_then(|n| i64::try_from(n).ok()).into());
                let shape: Vec<Whole> = [Whole::Batch].into_iter().chain(lengths).collect();
                part_of_shape(source, &shape)
            }
            ("Shape", Value::Constant(Constant::Integers(values))) => {
                part_of_shape(source, &[Whole::Is(values.len() as i64)])
            }
            ("Cast", Value::Node(x)) if source.int("to", 0) == 1 => return Ok(Value::Node(x)),
            (op, Value::Constant(Constant::Integers(values))) => match op {
                "Slice" => slice(source, &values)?,
                "Reshape" => return reshaped(source, &values),
                "Gather" => picked(&values, source.lengths(1, "it picks by what is not whole numbers")?),
                _ => return Ok(Value::Constant(Constant::Integers(values))),
            },
            (op, Value::Constant(Constant::Rows(values, columns))) => return of_rows(op, source, &values, columns),
            (_, Value::Constant(Constant::Unread(reason))) => return Err(reason.to_string()),
            ("Cast", value @ Value::Constant(Constant::Array(_))) => return Ok(value),
            _ => return Err("it is read where it works out lengths of axes, not of pictures".into()),
        };
        whole(values)
    }
}

/// As many of one whole number as an input says.
pub(super) fn repeated(source: &Source<'_>, value: Whole) -> Read<Value> {
    match source.integers(0) {
        Some([Whole::Is(count @ 0..)]) => {
            // One more than are allowed is enough to be refused.
            let count = usize::try_from(*count).map_or(MOST + 1, |count| count.min(MOST + 1));
            whole(vec![value; count])
        }
        _ => Err("it is read for a list of whole numbers alone".into()),
    }
}

/// As rows, or as the list that they are.
fn reshaped(source: &Source<'_>, values: &Rc<[Whole]>) -> Read<Value> {
    let columns = match source.list("shape", 1).as_deref() {
        Some([] | [_]) => None,
        Some([_, columns]) if *columns > 0 => usize::try_from(*columns).ok(),
        _ => return Err("whole numbers become a list or rows alone".into()),
    };
    Ok(Value::Constant(match columns {
        Some(_) if values.len() > MOST => return Err(too_many(values.len())),
        Some(columns) if values.len().is_multiple_of(columns) => Constant::Rows(values.clone(), columns),
        Some(columns) => {
            return Err(format!(
                "{} whole numbers do not become rows of {columns}",
                values.len()
            ));
        }
        None => Constant::Integers(values.clone()),
    }))
}

/// Rows as a list, in the opposite order, or as columns.
fn of_rows(op: &str, source: &Source<'_>, values: &Rc<[Whole]>, columns: usize) -> Read<Value> {
    let is = |name: &str, at: usize, wanted: i64| source.list(name, at).as_deref() == Some(&[wanted]);
    let from_last = || {
        let ends = source.list("ends", 2);
        matches!(ends.as_deref(), Some([end]) if *end < -(MOST as i64))
            && is("starts", 1, -1)
            && is("axes", 3, 0)
            && is("steps", 4, -1)
    };
    match op {
        "Reshape" => reshaped(source, values),
        "Cast" => Ok(Value::Constant(Constant::Rows(values.clone(), columns))),
        "Slice" if from_last() => {
            let turned = values.chunks(columns).rev().flatten().copied().collect();
            Ok(Value::Constant(Constant::Rows(turned, columns)))
        }
        "Transpose" if source.attribute("perm").is_none_or(|perm| perm.ints == [1, 0]) => {
            let rows = values.len() / columns;
            let turned = (0..values.len())
                .map(|i| values[i % rows * columns + i / rows])
                .collect();
            Ok(Value::Constant(Constant::Rows(turned, rows.max(1))))
        }
        _ => Err("of rows of whole numbers it is read as PyTorch turns pads round".into()),
    }
}

/// Whole numbers as a value, unless they are so many that they are none of a shape.
pub(super) fn whole(values: Vec<Whole>) -> Read<Value> {
    match values.len() {
        0..=MOST => Ok(Value::Constant(Constant::Integers(values.into()))),
        more => Err(too_many(more)),
    }
}

fn too_many(count: usize) -> String {
    format!("it works out {count} whole numbers, more than {MOST}")
}

fn picked(values: &[Whole], indices: &[Whole]) -> Vec<Whole> {
    let count = values.len() as i64;
    let at = |index: i64| if index < 0 { index.saturating_add(count) } else { index };
    let pick = |index: &Whole| values.get(usize::try_from(at(index.known()?)).ok()?).copied();
    // One more than are allowed is enough to be refused.
    indices
        .iter()
        .take(MOST + 1)
        .map(|index| pick(index).unwrap_or(Whole::Open))
        .collect()
}

fn slice(source: &Source<'_>, values: &[Whole]) -> Read<Vec<Whole>> {
    let bound = |name: &str, at: usize| match source.list(name, at).as_deref() {
        Some([bound]) => Ok(*bound),
        _ => Err(format!("{name} that depend on the picture are not read")),
    };
    let is_plain = |name: &str, at: usize, plain: i64| {
        !source.has(at) && source.attribute(name).is_none() || source.list(name, at).as_deref() == Some(&[plain])
    };
    if !is_plain("axes", 3, 0) || !is_plain("steps", 4, 1) {
        return Err("only steps of 1 along the first axis are read".into());
    }
    Ok(part(values, bound("starts", 1)?, bound("ends", 2)?).to_vec())
}

/// What a Shape gives of a shape.
fn part_of_shape(source: &Source<'_>, shape: &[Whole]) -> Vec<Whole> {
    part(shape, source.int("start", 0), source.int("end", i64::MAX)).to_vec()
}

/// From one index to before another; those below 0 count from the end.
fn part(values: &[Whole], from: i64, to: i64) -> &[Whole] {
    let count = values.len() as i64;
    let clamp = |n: i64| (if n < 0 { n.saturating_add(count) } else { n }).clamp(0, count) as usize;
    values.get(clamp(from)..clamp(to)).unwrap_or_default()
}

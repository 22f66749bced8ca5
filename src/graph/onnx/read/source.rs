//! A node of ONNX and what feeds it.

use std::rc::Rc;

use super::constant::{Constant, Whole};
use super::integers::MOST;
use crate::graph::onnx::proto;
use crate::graph::{Array, Padding};

/// Why a node cannot be read, in words that its name is put before.
pub(super) type Read<T> = std::result::Result<T, String>;

/// Where a value of ONNX is found.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// It is that of a node of ours.
    Node(String),
    /// It does not depend on the picture.
    Constant(Constant),
    /// A node's with so many pixels beyond each border (top, left, bottom, right), for a convolution.
    Padded(String, [usize; 4], Padding),
    /// The cells of a node's picture, as SpaceToDepth orders them, so many on each side: what follows orders them anew.
    Cells(String, usize),
    /// The LogSoftmax of a node's, which only leaves the network.
    LogSoftmax(String),
}

/// A node of ONNX with what feeds it.
pub(super) struct Source<'a> {
    pub node: &'a proto::Node,
    pub opset: i64,
    pub values: Vec<Option<Value>>,
}

impl Source<'_> {
    pub fn op(&self) -> &str {
        &self.node.op_type
    }

    pub fn attribute(&self, name: &str) -> Option<&proto::Attribute> {
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |found| found.i.unwrap_or(0))
    }

    /// A whole number from 0 on.
    pub fn count(&self, name: &str, default: i64) -> Read<usize> {
        let found = self.int(name, default);
        found.try_into().map_err(|_| format!("{name} {found} is below 0"))
    }

    pub fn float(&self, name: &str, default: f32) -> f64 {
        decimal(self.attribute(name).map_or(default, |found| found.f.unwrap_or(0.0)))
    }

    pub fn text(&self, name: &str, default: &'static str) -> Read<&str> {
        match self.attribute(name) {
            Some(found) => std::str::from_utf8(found.s.as_deref().unwrap_or_default())
                .map_err(|_| format!("attribute `{name}` is not text")),
            None => Ok(default),
        }
    }

    /// An axis of a value of so many, counted from the first.
    pub fn axis(&self, default: i64, axes: usize) -> Read<usize> {
        let axis = self.int("axis", default);
        let from_first = if axis < 0 {
            axis.saturating_add(axes as i64)
        } else {
            axis
        };
        let legal = usize::try_from(from_first).ok().filter(|&axis| axis < axes);
        legal.ok_or_else(|| format!("axis {axis} of a value of {axes} axes"))
    }

    /// The one number that all of a list are.
    pub fn same(&self, name: &str, default: usize) -> Read<usize> {
        let Some(found) = self.attribute(name).filter(|found| !found.ints.is_empty()) else {
            return Ok(default);
        };
        let first = found.ints[0];
        match usize::try_from(first) {
            Ok(number) if found.ints.iter().all(|n| *n == first) => Ok(number),
            _ => Err(format!("{name} {:?}: only the same on all sides is read", found.ints)),
        }
    }

    /// Whether the input `at` is there.
    pub fn has(&self, at: usize) -> bool {
        matches!(self.values.get(at), Some(Some(_)))
    }

    fn given(&self, at: usize) -> Read<&Value> {
        let value = self.values.get(at).and_then(Option::as_ref);
        value.ok_or_else(|| format!("its input {at} is missing"))
    }

    /// The input `at`, whatever it is.
    pub fn any(&self, at: usize) -> Read<Value> {
        self.given(at).cloned()
    }

    /// The node of ours that gives the input `at`.
    pub fn value(&self, at: usize) -> Read<&str> {
        match self.given(at)? {
            Value::Node(name) => Ok(name),
            Value::Constant(Constant::Unread(reason)) => Err(reason.to_string()),
            Value::Constant(_) => Err("a constant where a picture is expected".into()),
            Value::Padded(..) => Err("padding is read before convolutions alone".into()),
            Value::Cells(..) => {
                Err("SpaceToDepth is read where a Gather orders its channels as PixelUnshuffle does".into())
            }
            Value::LogSoftmax(_) => Err("LogSoftmax is read at the end of a classifier or segmenter alone".into()),
        }
    }

    /// The input `at`, which is an array of numbers.
    pub fn array(&self, at: usize) -> Read<&Rc<Array>> {
        match self.given(at)? {
            Value::Constant(Constant::Array(array)) => Ok(array),
            Value::Constant(Constant::Unread(reason)) => Err(reason.to_string()),
            _ => Err(format!(
                "its input {at} is not a constant in float32: weights that are worked out are not read"
            )),
        }
    }

    /// The input `at`, if it is whole numbers.
    pub fn integers(&self, at: usize) -> Option<&[Whole]> {
        match self.values.get(at) {
            Some(Some(Value::Constant(Constant::Integers(values)))) => Some(values),
            _ => None,
        }
    }

    /// The same; an error that says why, or else that it is `otherwise`.
    pub fn lengths(&self, at: usize, otherwise: &str) -> Read<&[Whole]> {
        self.integers(at).ok_or_else(|| match self.values.get(at) {
            Some(Some(Value::Constant(Constant::Unread(reason)))) => reason.to_string(),
            _ => otherwise.to_owned(),
        })
    }

    /// A few whole numbers from an attribute, or from the input `at`, as newer opsets have them.
    pub fn list(&self, name: &str, at: usize) -> Option<Vec<i64>> {
        match self.attribute(name) {
            Some(found) => Some(found.ints.clone()),
            None => self
                .integers(at)
                .filter(|values| values.len() <= MOST)?
                .iter()
                .map(|n| n.known())
                .collect(),
        }
    }

    /// A finite number from an attribute, or from the input `at`.
    pub fn limit(&self, name: &str, at: usize) -> Read<Option<f64>> {
        let found = match self.attribute(name) {
            Some(_) => self.float(name, 0.0),
            None if self.has(at) => match self.array(at)?.data.as_slice() {
                [one] => decimal(*one),
                _ => return Err(format!("its input {at} is not one number")),
            },
            None => return Ok(None),
        };
        match found {
            number if number.is_nan() => Err(format!("{name} is not a number")),
            // PyTorch and others write their least and greatest numbers for no limit.
            number => Ok(Some(number).filter(|number| number.abs() < f64::from(f32::MAX))),
        }
    }
}

/// 1e-5 is to stay 1e-5, not what the nearest f32 is.
pub(super) fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| value.into())
}

//! Values that do not depend on the picture.

use std::cell::Cell;
use std::rc::Rc;

use super::{Beside, MOST_BYTES};
use crate::graph::Array;
use crate::graph::onnx::proto::{BOOL, EXTERNAL, F32, F64, I32, I64, Tensor, type_name};
use crate::{Error, Result};

/// A whole number, such as the length of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    /// This one.
    Is(i64),
    /// How many pictures there are in a batch.
    Batch,
    /// It follows from a size that is not known, or is worked out of the batch.
    Open,
}

impl Whole {
    pub fn known(self) -> Option<i64> {
        match self {
            Self::Is(n) => Some(n),
            Self::Batch | Self::Open => None,
        }
    }
}

impl From<Option<i64>> for Whole {
    fn from(known: Option<i64>) -> Self {
        known.map_or(Self::Open, Self::Is)
    }
}

/// A value that does not depend on the picture.
#[derive(Debug, Clone)]
pub(super) enum Constant {
    /// Numbers.
    Array(Rc<Array>),
    /// Whole numbers.
    Integers(Rc<[Whole]>),
    /// Rows of so many of them: PyTorch turns the pads of a Pad round by way of these.
    Rows(Rc<[Whole]>, usize),
    /// Of a type that is not read, or too long: why, for the node that needs it.
    Unread(Rc<str>),
}

/// Most whole numbers of a tensor, and of all tensors of a file: each takes 16 bytes, for one in the file. The longest lists in use are the
/// orders of channels.
const MOST_OF_TENSOR: usize = 1 << 16;
const MOST_OF_FILE: usize = 1 << 22;

impl Constant {
    /// Whole numbers that are known.
    pub fn integers(values: impl IntoIterator<Item = i64>) -> Self {
        Self::Integers(values.into_iter().map(Whole::Is).collect())
    }
}

/// Reads the tensors of a file.
pub(super) struct Tensors<'a> {
    beside: &'a Beside<'a>,
    /// Bytes that may still come from files beside.
    left: Cell<usize>,
    /// Whole numbers that may still come.
    whole_left: Cell<usize>,
}

impl<'a> Tensors<'a> {
    pub fn new(beside: &'a Beside<'a>) -> Self {
        Self {
            beside,
            left: Cell::new(MOST_BYTES),
            whole_left: Cell::new(MOST_OF_FILE),
        }
    }

    /// The values of a tensor.
    pub fn read(&self, tensor: &Tensor) -> Result<Constant> {
        let fail = |reason: String| Error::Invalid(format!("tensor `{}`: {reason}", tensor.name));
        let shape: Option<Vec<usize>> = tensor.dims.iter().map(|&n| usize::try_from(n).ok()).collect();
        let shape = shape.ok_or_else(|| fail(format!("a shape of {:?}", tensor.dims)))?;
        let width = match tensor.data_type {
            F32 | I32 => 4,
            F64 | I64 => 8,
            BOOL => 1,
            other => {
                let name = type_name(other);
                let reason = format!("tensor `{}` is of {name}: export the network in float32", tensor.name);
                return Ok(Constant::Unread(reason.into()));
            }
        };
        let bytes = shape
            .iter()
            .try_fold(width, |product: usize, &n| product.checked_mul(n));
        let bytes = bytes
            .filter(|&n| n <= MOST_BYTES)
            .ok_or_else(|| fail(format!("a shape of {shape:?} is too large")))?;
        if !matches!(tensor.data_type, F32 | F64) {
            let count = bytes / width;
            let left = self.whole_left.get().checked_sub(count);
            let Some(left) = left.filter(|_| count <= MOST_OF_TENSOR) else {
                let name = &tensor.name;
                return Ok(Constant::Unread(
                    format!("tensor `{name}` has {count} whole numbers, which are too many").into(),
                ));
            };
            self.whole_left.set(left);
        }
        let apart = match tensor.data_location {
            EXTERNAL => Some(self.apart(tensor, bytes)?),
            _ => None,
        };
        let raw = apart.as_deref().unwrap_or(&tensor.raw_data);
        let values = match tensor.data_type {
            F32 => numbers(raw, &tensor.float_data, bytes, f32::from_le_bytes).map(|data| array(shape, data)),
            F64 => numbers(raw, &tensor.double_data, bytes, f64::from_le_bytes)
                .map(|data| array(shape, data.into_iter().map(|x| x as f32).collect())),
            I64 => numbers(raw, &tensor.int64_data, bytes, i64::from_le_bytes).map(whole),
            I32 => numbers(raw, &tensor.int32_data, bytes, i32::from_le_bytes).map(whole),
            _ if raw.is_empty() => numbers(raw, &tensor.int32_data, 4 * bytes, i32::from_le_bytes).map(whole),
            _ => numbers(raw, &[], bytes, u8::from_le_bytes).map(whole),
        };
        values.ok_or_else(|| fail(format!("it does not hold the values of a shape of {:?}", tensor.dims)))
    }

    /// So many bytes of a tensor that lie in a file beside.
    fn apart(&self, tensor: &Tensor, bytes: usize) -> Result<Vec<u8>> {
        let fail = |reason: &str| Err(Error::Invalid(format!("tensor `{}`: {reason}", tensor.name)));
        let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key);
        let number = |key: &str| entry(key).map(|entry| entry.value.parse::<u64>()).transpose();
        let (Ok(offset), Ok(length)) = (number("offset"), number("length")) else {
            return fail("where it lies in the file beside is not said in numbers");
        };
        if length.is_some_and(|length| length != bytes as u64) {
            return fail("its length in the file beside is not that of its shape");
        }
        let Some(left) = self.left.get().checked_sub(bytes) else {
            return fail("with it there are more than 2 GiB of weights");
        };
        self.left.set(left);
        let name = entry("location").map_or("", |entry| entry.value.as_str());
        (self.beside)(name, offset.unwrap_or(0), bytes)
            .map_err(|error| Error::Invalid(format!("tensor `{}`: {error}", tensor.name)))
    }
}

pub(super) fn array(shape: Vec<usize>, data: Vec<f32>) -> Constant {
    Constant::Array(Rc::new(Array { shape, data }))
}

fn whole<T: Into<i64>>(values: Vec<T>) -> Constant {
    Constant::integers(values.into_iter().map(Into::into))
}

/// What is `listed`, or where that is empty what `raw` holds; `None` unless it is `bytes` long.
fn numbers<T: Copy, const N: usize>(
    raw: &[u8],
    listed: &[T],
    bytes: usize,
    from_bytes: impl Fn([u8; N]) -> T,
) -> Option<Vec<T>> {
    match listed {
        [] => (raw.len() == bytes).then(|| raw.as_chunks().0.iter().map(|bytes| from_bytes(*bytes)).collect()),
        _ => (listed.len() * N == bytes).then(|| listed.to_vec()),
    }
}

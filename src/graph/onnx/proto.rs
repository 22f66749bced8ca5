//! The messages of ONNX (onnx.proto, IR version 8) that networks of this crate need, by their field numbers.

use prost::Message;
use prost::bytes::Bytes;

/// IR version that goes with opset 17.
pub(super) const IR_VERSION: i64 = 8;
/// Version of the operator set.
pub(super) const OPSET: i64 = 17;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Model {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(string, tag = "2")]
    pub producer_name: String,
    #[prost(string, tag = "3")]
    pub producer_version: String,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSet>,
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OperatorSet {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, tag = "2")]
    pub version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<Node>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<Attribute>,
    /// Whose op it is; empty = ONNX's own.
    #[prost(string, tag = "7")]
    pub domain: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Attribute {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub s: Option<Vec<u8>>,
    #[prost(message, optional, tag = "5")]
    pub t: Option<Tensor>,
    #[prost(float, repeated, packed = "false", tag = "7")]
    pub floats: Vec<f32>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    pub r#type: i32,
}

/// Values of [`Attribute::type`].
pub(super) const FLOAT: i32 = 1;
pub(super) const INT: i32 = 2;
pub(super) const STRING: i32 = 3;
pub(super) const INTS: i32 = 7;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Tensor {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    #[prost(float, repeated, tag = "4")]
    pub float_data: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    pub int32_data: Vec<i32>,
    #[prost(int64, repeated, tag = "7")]
    pub int64_data: Vec<i64>,
    #[prost(string, tag = "8")]
    pub name: String,
    /// Little-endian values; of a file that is read, a part of its bytes.
    #[prost(bytes = "bytes", tag = "9")]
    pub raw_data: Bytes,
    #[prost(double, repeated, tag = "10")]
    pub double_data: Vec<f64>,
    /// Where the values are if not here: `location` is a file beside this one, `offset` and `length` are in bytes.
    #[prost(message, repeated, tag = "13")]
    pub external_data: Vec<Entry>,
    #[prost(int32, tag = "14")]
    pub data_location: i32,
}

/// Value of [`Tensor::data_location`] for values in another file.
pub(super) const EXTERNAL: i32 = 1;

/// Values of [`Tensor::data_type`] and [`TensorType::elem_type`].
pub(super) const F32: i32 = 1;
pub(super) const I32: i32 = 6;
pub(super) const I64: i32 = 7;
pub(super) const BOOL: i32 = 9;
pub(super) const F64: i32 = 11;

/// Name of a [`Tensor::data_type`].
pub(super) fn type_name(data_type: i32) -> String {
    let names = [
        "undefined",
        "float32",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "int32",
        "int64",
        "string",
        "bool",
        "float16",
        "float64",
        "uint32",
        "uint64",
        "complex64",
        "complex128",
        "bfloat16",
    ];
    let name = usize::try_from(data_type).ok().and_then(|at| names.get(at));
    name.map_or_else(|| format!("type {data_type}"), |name| (*name).to_owned())
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ValueInfo {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Type {
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorType {
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Shape {
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Dim {
    #[prost(int64, optional, tag = "1")]
    pub dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    pub dim_param: Option<String>,
}

/// What a message of the kind `of` has in its field `tag`, if that is a message of a kind above.
fn inside(of: &str, tag: usize) -> Option<&'static str> {
    Some(match (of, tag) {
        ("model", 7) => "graph",
        ("model", 8 | 14) | ("tensor", 13) | ("shape", 1) => "plain",
        ("graph", 1) => "node",
        ("graph", 5) | ("attribute", 5) => "tensor",
        ("graph", 11 | 12) => "value",
        ("node", 5) => "attribute",
        ("value", 2) => "type",
        ("type", 1) => "tensor type",
        ("tensor type", 2) => "shape",
        _ => return None,
    })
}

/// Whether the field `tag` of a message holds whole numbers that may be of one byte each, instead of as little-endian bytes.
fn is_packed(of: &str, tag: usize) -> bool {
    matches!((of, tag), ("tensor", 1 | 5 | 7) | ("attribute", 8))
}

/// Checks that a model's messages are whole and have `most` fields or fewer altogether, numbers in lists included; an error says what is
/// wrong. Two bytes of a file can become hundreds in memory, so that this is asked before it is decoded.
pub(super) fn check_fields(bytes: &[u8], most: usize) -> Result<(), String> {
    let (mut open, mut count) = (vec![("model", bytes)], 0);
    while let Some((kind, mut rest)) = open.pop() {
        while !rest.is_empty() {
            let (key, value, after) = field(rest).ok_or_else(|| format!("a {kind} is cut off or damaged"))?;
            let tag = key >> 3;
            count += if is_packed(kind, tag) { value.len().max(1) } else { 1 };
            if count > most {
                return Err(format!("it has more than {most} fields and listed numbers"));
            }
            let kind = inside(kind, tag).filter(|_| key & 7 == 2);
            open.extend(kind.map(|kind| (kind, value)));
            rest = after;
        }
    }
    Ok(())
}

/// Key and content of the field that `bytes` begin with, and what follows.
fn field(mut bytes: &[u8]) -> Option<(usize, &[u8], &[u8])> {
    let mut number = || prost::decode_length_delimiter(&mut bytes).ok();
    let key = number()?;
    let length = match key & 7 {
        0 => number().map(|_| 0)?,
        1 => 8,
        2 => number()?,
        5 => 4,
        _ => return None,
    };
    let (value, after) = bytes.split_at_checked(length)?;
    Some((key, value, after))
}

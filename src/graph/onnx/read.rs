//! A network from ONNX that stays within the ops of [`Op`](crate::graph::Op).

mod arithmetic;
mod constant;
mod integers;
mod known;
mod layers;
mod node;
mod shape;
mod source;

use std::collections::BTreeMap;

use prost::Message;
use prost::bytes::Bytes;

use self::constant::Tensors;
use self::node::Reader;
use super::proto::{self, F32};
use crate::graph::{Graph, Weights};
use crate::{Error, Result};

/// What an ONNX file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The network.
    pub graph: Graph,
    /// Its weights.
    pub weights: Weights,
    /// Axes N, C, H, W of each input; `None` where any length goes.
    pub inputs: Vec<[Option<usize>; 4]>,
    /// The file's first output is the LogSoftmax of the graph's.
    pub log_softmax: bool,
    /// The file's metadata: what `gst-candle export` writes, or others.
    pub notes: BTreeMap<String, String>,
}

/// Reads from a file beside the ONNX file, by its name, so many bytes from an offset on.
pub type Beside<'a> = dyn Fn(&str, u64, usize) -> Result<Vec<u8>> + 'a;

/// Versions of the operator set in which the ops that are read mean what is said here.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=24;
/// Most bytes of a file, and of the weights of the network: what a model file may have.
const MOST_BYTES: usize = 2 << 30;
/// Most fields of all messages of a file together. The largest networks that people use have some ten thousand.
const MOST_FIELDS: usize = 1 << 20;

/// Reads an ONNX model of opset 7 to 24. `size` (width, height) is that of the pictures where the file leaves a side open; `beside` reads
/// weights that are kept apart. Errors name the node of the file that is at fault. What a file takes of memory is within some gigabytes,
/// whatever it holds.
pub fn read(bytes: Vec<u8>, size: Option<[usize; 2]>, beside: &Beside<'_>) -> Result<Imported> {
    let invalid = |reason: String| Error::Invalid(format!("not an ONNX file that can be read: {reason}"));
    if bytes.len() > MOST_BYTES {
        return Err(invalid(format!("it is longer than {MOST_BYTES} bytes")));
    }
    proto::check_fields(&bytes, MOST_FIELDS).map_err(invalid)?;
    let model = proto::Model::decode(Bytes::from(bytes)).map_err(|error| invalid(error.to_string()))?;
    let graph = model.graph.ok_or_else(|| invalid("it has no graph".into()))?;
    let opset = opset(&model.opset_import)?;
    let tensors = Tensors::new(beside);
    let mut reader = Reader::new(opset, &graph);
    for tensor in &graph.initializer {
        reader.constant(&tensor.name, tensors.read(tensor)?);
    }
    let mut inputs = Vec::new();
    // Old files list their weights among the inputs.
    for input in graph
        .input
        .iter()
        .filter(|input| !reader.knows(&input.name))
        .collect::<Vec<_>>()
    {
        let axes = picture(input)?;
        inputs.push(axes);
        let side = |axis: usize, of_size: usize| axes[axis].or(size.map(|size| size[of_size]));
        reader.input(&input.name, [axes[0], axes[1], side(2, 1), side(3, 0)])?;
    }
    if inputs.is_empty() {
        return Err(Error::Invalid("the network has no inputs".into()));
    }
    for node in &graph.node {
        reader.node(node, &tensors)?;
    }
    let outputs: Vec<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
    let (graph, weights, log_softmax) = reader.finish(&outputs)?;
    let notes = model.metadata_props.into_iter();
    Ok(Imported {
        graph,
        weights,
        inputs,
        log_softmax,
        notes: notes.map(|entry| (entry.key, entry.value)).collect(),
    })
}

/// Version of ONNX's own ops.
fn opset(sets: &[proto::OperatorSet]) -> Result<i64> {
    let own = sets.iter().find(|set| is_own(&set.domain));
    match own.map_or(0, |set| set.version) {
        version if OPSETS.contains(&version) => Ok(version),
        version => Err(Error::Invalid(format!(
            "ONNX opset {version}: this program reads {} to {}; export it with opset 17",
            OPSETS.start(),
            OPSETS.end()
        ))),
    }
}

/// Whether ops of this domain are ONNX's own.
fn is_own(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// Lengths of an input's axes; an error unless it is pictures.
fn picture(input: &proto::ValueInfo) -> Result<[Option<usize>; 4]> {
    let fail = |reason: String| Error::Invalid(format!("input `{}` {reason}", input.name));
    let tensor = input.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref());
    let tensor = tensor.ok_or_else(|| fail("does not say what it is".into()))?;
    if tensor.elem_type != F32 {
        let name = proto::type_name(tensor.elem_type);
        return Err(fail(format!("takes values of {name}: export the network in float32")));
    }
    let axes = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
    let length = |dim: &proto::Dim| dim.dim_value.and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
    let axes: Vec<Option<usize>> = axes.iter().map(length).collect();
    axes.try_into().map_err(|axes: Vec<_>| {
        let found = axes.len();
        fail(format!(
            "has {found} axes: expected pictures of 4, batch, channels, height and width"
        ))
    })
}

#[cfg(test)]
mod tests;

//! One node of ONNX after another.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::constant::{Constant, Tensors, array};
use super::integers::repeated;
use super::known::{Known, known};
use super::source::{Read, Source, Value};
use super::{MOST_BYTES, is_own};
use crate::graph::onnx::proto;
use crate::graph::{Array, Graph, Node, Op, Weights};
use crate::{Error, Result};

/// Longest name of a node of ours, and the room for a number behind one that is taken.
const LONGEST_NAME: usize = 128;
const ROOM: usize = 8;

/// The network so far.
pub(super) struct Reader {
    opset: i64,
    nodes: Vec<Node>,
    /// Of each node, what its value's shape is.
    known: HashMap<String, Known>,
    /// Those that several names of ONNX stand for: they cannot change any more.
    shared: HashSet<String>,
    /// Nodes that were made, those merged with others since among them.
    made: usize,
    weights: HashMap<String, Rc<Array>>,
    /// Values of the weights.
    held: usize,
    /// By their names in ONNX.
    values: HashMap<String, Value>,
    /// How often each is read.
    readers: HashMap<String, usize>,
    /// Where counting goes on for a name that is taken, by what stands before the number.
    numbers: HashMap<String, usize>,
    /// Pictures in a batch, if the file says it.
    pub batch: Option<usize>,
}

impl Reader {
    pub fn new(opset: i64, graph: &proto::Graph) -> Self {
        let mut readers: HashMap<String, usize> = HashMap::new();
        let inputs = graph.node.iter().flat_map(|node| &node.input);
        for name in inputs.chain(graph.output.iter().map(|output| &output.name)) {
            *readers.entry(name.clone()).or_default() += 1;
        }
        Self {
            opset,
            readers,
            nodes: Vec::new(),
            known: HashMap::new(),
            shared: HashSet::new(),
            made: 0,
            weights: HashMap::new(),
            held: 0,
            values: HashMap::new(),
            numbers: HashMap::new(),
            batch: None,
        }
    }

    pub fn constant(&mut self, name: &str, value: Constant) {
        self.values.insert(name.into(), Value::Constant(value));
    }

    pub fn knows(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub fn input(&mut self, name: &str, axes: [Option<usize>; 4]) -> Result<()> {
        let fail = |reason: &str| Error::Invalid(format!("input `{name}` {reason}"));
        let channels =
            axes[1].ok_or_else(|| fail("does not say how many channels it has: export it with a fixed second axis"))?;
        self.batch = self.batch.or(axes[0]);
        let given = self.named(name, Op::Input { channels }, &[]);
        let shape = [None].into_iter().chain(axes[1..].iter().copied());
        self.known.insert(given.clone(), shape.collect());
        self.values.insert(name.into(), Value::Node(given));
        Ok(())
    }

    /// Adds what a node does.
    pub fn node(&mut self, node: &proto::Node, tensors: &Tensors<'_>) -> Result<()> {
        let shown = match (node.name.as_str(), node.output.first()) {
            ("", Some(output)) => output,
            (name, _) => name,
        };
        let fail = |reason: String| Error::Invalid(format!("ONNX node `{shown}` ({}): {reason}", node.op_type));
        let output = node.output.first().ok_or_else(|| fail("it has no output".into()))?;
        if !is_own(&node.domain) {
            let reason = format!(
                "an op of `{}`: only ONNX's own are read; export it without",
                node.domain
            );
            return Err(fail(reason));
        }
        let value = |name: &String| match (name.as_str(), self.values.get(name)) {
            ("", _) => Ok(None),
            (_, Some(value)) => Ok(Some(value.clone())),
            _ => Err(fail(format!("nothing gives its input `{name}`"))),
        };
        let source = Source {
            node,
            opset: self.opset,
            values: node.input.iter().map(value).collect::<Result<_>>()?,
        };
        let before = self.made;
        let result = match node.op_type.as_str() {
            "Constant" => {
                Value::Constant(given(&source, tensors)?.ok_or_else(|| fail("a kind that is not read".into()))?)
            }
            "ConstantOfShape" => match given(&source, tensors)? {
                Some(Constant::Integers(value)) if value.len() == 1 => repeated(&source, value[0]).map_err(fail)?,
                _ => return Err(fail("it is read of whole numbers alone".into())),
            },
            _ => self.read(&source, shown).map_err(fail)?,
        };
        if let Value::Node(node) = &result
            && self.made == before
        {
            self.shared.insert(node.clone());
        }
        self.values.insert(output.clone(), result);
        Ok(())
    }

    /// The network that gives these values, its weights, and whether the first is LogSoftmax of what it gives.
    pub fn finish(mut self, outputs: &[&str]) -> Result<(Graph, Weights, bool)> {
        let mut log_softmax = false;
        let output = |(i, name): (usize, &&str)| match self.values.get(*name) {
            Some(Value::Node(node)) => Ok(node.clone()),
            Some(Value::LogSoftmax(node)) if i == 0 => {
                log_softmax = true;
                Ok(node.clone())
            }
            _ => Err(Error::Invalid(format!(
                "output `{name}` is not what a node gives that is read: leave it out of the export"
            ))),
        };
        let outputs = outputs.iter().enumerate().map(output).collect::<Result<_>>()?;
        // What nothing else holds is not copied.
        self.values.clear();
        let mut graph = Graph {
            nodes: self.nodes,
            outputs,
        };
        graph.check()?;
        let weights = self.weights.into_iter();
        let mut weights = weights
            .map(|(name, array)| (name, Rc::unwrap_or_clone(array)))
            .collect();
        graph.prune(&mut weights);
        Ok((graph, weights, log_softmax))
    }

    /// Adds a node of ours under a name like this one; an error where its op does not fit what feeds it.
    pub fn add(&mut self, name: &str, op: Op, inputs: &[&str]) -> Read<String> {
        let sources: Vec<&Known> = inputs.iter().map(|input| &self.known[*input]).collect();
        let shape = known(&op, &sources)?;
        let name = self.named(name, op, inputs);
        self.known.insert(name.clone(), shape);
        Ok(name)
    }

    /// The same, with weights.
    pub fn layer(&mut self, name: &str, op: Op, x: &str, weights: &[Rc<Array>]) -> Read<String> {
        let source = &self.known[x];
        if let Some(channels) = source[1] {
            for (&part, array) in op.weight_names().iter().zip(weights) {
                let groups = match op {
                    Op::Conv2d { groups, .. } | Op::ConvTranspose2d { groups, .. } => groups,
                    _ => 1,
                };
                if groups == 0 {
                    return Err("it has 0 groups".into());
                }
                let wanted = op.weight_shape(part, &[1, channels]);
                if array.shape != wanted {
                    let found = &array.shape;
                    return Err(format!(
                        "{part} of shape {found:?}, where {channels} channels need {wanted:?}"
                    ));
                }
            }
        }
        let node = self.add(name, op.clone(), &[x])?;
        for (part, array) in op.weight_names().iter().zip(weights) {
            self.held += array.data.len();
            if self.held > MOST_BYTES / size_of::<f32>() {
                return Err("with its weights the network has more than 2 GiB of them".into());
            }
            self.weights.insert(format!("{node}.{part}"), array.clone());
        }
        Ok(node)
    }

    fn named(&mut self, name: &str, op: Op, inputs: &[&str]) -> String {
        let mut name = legal(name);
        if self.known.contains_key(&name) {
            let base = name[..name.len().min(LONGEST_NAME - ROOM)].to_owned();
            let number = self.numbers.entry(base.clone()).or_insert(1);
            while self.known.contains_key(&name) {
                *number += 1;
                name = format!("{base}.{number}");
            }
        }
        self.made += 1;
        self.nodes.push(Node {
            name: name.clone(),
            op,
            inputs: inputs.iter().map(|&input| input.into()).collect(),
        });
        name
    }

    /// What is known of the shape of a node's value.
    pub fn known(&self, node: &str) -> &Known {
        &self.known[node]
    }

    pub fn newest(&self) -> Option<&Node> {
        self.nodes.last()
    }

    /// Takes the newest node away, where it gives the input `at` and nothing else will read it. Its weights, by their places, come with it.
    pub fn take(&mut self, source: &Source<'_>, at: usize) -> Option<(Node, Vec<Rc<Array>>)> {
        let input = source.node.input.get(at)?;
        let name = source.value(at).ok()?;
        let is_newest = self.nodes.last().is_some_and(|node| node.name == name);
        if !is_newest || self.readers.get(input) != Some(&1) || self.shared.contains(name) {
            return None;
        }
        let node = self.nodes.pop()?;
        self.known.remove(&node.name);
        let parts = node.op.weight_names().iter();
        let weights: Vec<Rc<Array>> = parts
            .filter_map(|part| self.weights.remove(&node.weight(part)))
            .collect();
        self.held -= weights.iter().map(|array| array.data.len()).sum::<usize>();
        Some((node, weights))
    }

    fn read(&mut self, source: &Source<'_>, name: &str) -> Read<Value> {
        let simple = match source.op() {
            "Relu" => Some(Op::Relu),
            "LeakyRelu" => Some(Op::LeakyRelu {
                slope: source.float("alpha", 0.01),
            }),
            "Sigmoid" => Some(Op::Sigmoid),
            "Tanh" => Some(Op::Tanh),
            "GlobalAveragePool" => Some(Op::GlobalAvgPool),
            _ => None,
        };
        if let Some(op) = simple {
            return Ok(Value::Node(self.add(name, op, &[source.value(0)?])?));
        }
        match source.op() {
            "Conv" => self.conv(source, name),
            "ConvTranspose" => self.conv_transpose(source, name),
            "Gemm" | "MatMul" => self.linear(source, name),
            "BatchNormalization" => self.batch_norm(source, name),
            "MaxPool" | "AveragePool" => self.pool(source, name),
            "Softmax" | "LogSoftmax" => self.softmax(source, name),
            "Add" | "Sub" | "Mul" | "Div" => self.arithmetic(source, name),
            "Neg" => self.neg(source, name),
            "Clip" => self.clip(source, name),
            "PRelu" => self.prelu(source, name),
            "HardSigmoid" | "HardSwish" => self.hard(source, name),
            "Concat" => self.concat(source, name),
            "Flatten" | "Reshape" | "Squeeze" | "ReduceMean" => self.flatten(source, name),
            "Resize" | "Upsample" => self.resize(source, name),
            "DepthToSpace" | "SpaceToDepth" => self.cells(source, name),
            "Gather" => self.gather(source, name),
            "Pad" => self.pad(source),
            "Identity" => source.any(0),
            "Dropout" => self.dropout(source),
            "Shape" | "Cast" | "Unsqueeze" | "Slice" | "Transpose" => self.integers(source),
            _ => Err("this op is not read; docs/onnx.md has those that are".into()),
        }
    }
}

/// A legal name of ours like this one.
fn legal(name: &str) -> String {
    let legal: String = name
        .trim_matches('/')
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() || "_-.".contains(c) => c,
            '/' => '.',
            _ => '_',
        })
        .take(LONGEST_NAME)
        .collect();
    if legal.is_empty() { "node".to_owned() } else { legal }
}

/// What a node `Constant` holds; `None` of a kind that is not read.
fn given(source: &Source<'_>, tensors: &Tensors<'_>) -> Result<Option<Constant>> {
    let Some(attribute) = source.node.attribute.first() else {
        return Ok(None);
    };
    let whole = |values: &[i64]| Constant::integers(values.iter().copied());
    Ok(match (attribute.name.as_str(), &attribute.t) {
        ("value", Some(tensor)) => Some(tensors.read(tensor)?),
        ("value_float", _) => Some(array(Vec::new(), vec![attribute.f.unwrap_or(0.0)])),
        ("value_floats", _) => Some(array(vec![attribute.floats.len()], attribute.floats.clone())),
        ("value_int", _) => Some(whole(&[attribute.i.unwrap_or(0)])),
        ("value_ints", _) => Some(whole(&attribute.ints)),
        _ => None,
    })
}

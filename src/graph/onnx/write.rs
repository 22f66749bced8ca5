//! A network as ONNX, opset 17.

use prost::Message;

use super::proto::{self, Attribute, Dim, F32, I64, Node, Tensor, ValueInfo};
use crate::graph::{self, Array, Graph, Interpolation, Op, Padding, Weights};
use crate::{Error, Result};

/// Length of an axis of an input in ONNX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Axis {
    /// Always this.
    Fixed(usize),
    /// Any, under this name.
    Named(String),
}

impl Graph {
    /// The graph as an ONNX model. `inputs` are the axes N, C, H, W of each input; `shapes` gives an example of them,
    /// from which the ranks of the outputs follow. `notes` become the model's metadata.
    pub fn to_onnx(
        &self,
        weights: &Weights,
        inputs: &[Vec<Axis>],
        shapes: &[Vec<usize>],
        notes: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Vec<u8>> {
        let shapes = self.shapes(shapes)?;
        let mut writer = Writer::default();
        let (mut given, mut taken) = (inputs.iter(), Vec::new());
        for node in &self.nodes {
            if let Op::Input { .. } = node.op {
                let axes = given.next().expect("as many as the shapes that were checked");
                taken.push(value(&node.name, axes.iter().cloned().map(dim).collect()));
                continue;
            }
            for name in node.op.weight_names() {
                let name = node.weight(name);
                let array = weights.get(&name);
                let array = array.ok_or_else(|| Error::graph(&node.name, format!("its weight `{name}` is missing")))?;
                writer.array(&name, array);
            }
            writer.op(node, shapes[&node.inputs[0]][1]);
        }
        let output = |name: &String| {
            let axis = |i: usize| match shapes[name][i] {
                _ if i != 1 => Axis::Named(format!("{name}.{i}")),
                channels => Axis::Fixed(channels),
            };
            value(name, (0..shapes[name].len()).map(axis).map(dim).collect())
        };
        let graph = proto::Graph {
            node: writer.nodes,
            name: "gst-candle".into(),
            initializer: writer.tensors,
            input: taken,
            output: self.outputs.iter().map(output).collect(),
        };
        let model = proto::Model {
            ir_version: proto::IR_VERSION,
            producer_name: env!("CARGO_PKG_NAME").into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(graph),
            opset_import: vec![proto::OperatorSet {
                domain: String::new(),
                version: proto::OPSET,
            }],
            metadata_props: notes
                .into_iter()
                .map(|(key, value)| proto::Entry { key, value })
                .collect(),
        };
        Ok(model.encode_to_vec())
    }
}

fn dim(axis: Axis) -> Dim {
    match axis {
        Axis::Fixed(length) => Dim {
            dim_value: Some(length as i64),
            dim_param: None,
        },
        Axis::Named(name) => Dim {
            dim_value: None,
            dim_param: Some(name),
        },
    }
}

fn value(name: &str, dim: Vec<Dim>) -> ValueInfo {
    let tensor = proto::TensorType {
        elem_type: F32,
        shape: Some(proto::Shape { dim }),
    };
    ValueInfo {
        name: name.into(),
        r#type: Some(proto::Type {
            tensor_type: Some(tensor),
        }),
    }
}

fn attribute(name: &str, kind: i32) -> Attribute {
    Attribute {
        name: name.into(),
        r#type: kind,
        ..Attribute::default()
    }
}

fn int(name: &str, value: usize) -> Attribute {
    Attribute {
        i: Some(value as i64),
        ..attribute(name, proto::INT)
    }
}

fn ints(name: &str, values: &[usize]) -> Attribute {
    Attribute {
        ints: values.iter().map(|value| *value as i64).collect(),
        ..attribute(name, proto::INTS)
    }
}

fn float(name: &str, value: f64) -> Attribute {
    Attribute {
        f: Some(value as f32),
        ..attribute(name, proto::FLOAT)
    }
}

fn string(name: &str, value: &str) -> Attribute {
    Attribute {
        s: Some(value.into()),
        ..attribute(name, proto::STRING)
    }
}

/// The same window on both axes.
fn window(kernel: usize, stride: usize, padding: usize) -> Vec<Attribute> {
    vec![
        ints("kernel_shape", &[kernel; 2]),
        ints("strides", &[stride; 2]),
        ints("pads", &[padding; 4]),
    ]
}

/// Nodes and constants written so far. Names of ours have no `/`, so those with one are free.
#[derive(Default)]
struct Writer {
    nodes: Vec<Node>,
    tensors: Vec<Tensor>,
}

impl Writer {
    fn array(&mut self, name: &str, array: &Array) -> String {
        self.tensors.push(Tensor {
            dims: array.shape.iter().map(|n| *n as i64).collect(),
            data_type: F32,
            name: name.into(),
            raw_data: array
                .data
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect::<Vec<u8>>()
                .into(),
            ..Tensor::default()
        });
        name.into()
    }

    fn scalar(&mut self, name: String, value: f64) -> String {
        let (shape, data) = (Vec::new(), vec![value as f32]);
        self.array(&name, &Array { shape, data })
    }

    fn integers(&mut self, name: String, values: &[usize]) -> String {
        self.tensors.push(Tensor {
            dims: vec![values.len() as i64],
            data_type: I64,
            name: name.clone(),
            raw_data: values
                .iter()
                .flat_map(|n| (*n as i64).to_le_bytes())
                .collect::<Vec<u8>>()
                .into(),
            ..Tensor::default()
        });
        name
    }

    /// Adds a node that makes the value `output`, which is its name as well.
    fn node(&mut self, op: &str, inputs: &[String], output: &str, attributes: Vec<Attribute>) {
        self.nodes.push(Node {
            input: inputs.to_vec(),
            output: vec![output.into()],
            name: output.into(),
            op_type: op.into(),
            attribute: attributes,
            domain: String::new(),
        });
    }

    /// Adds what `node` does to a value of `channels`.
    fn op(&mut self, node: &graph::Node, channels: usize) {
        let name = node.name.as_str();
        let part = |part: &str| format!("{name}/{part}");
        let weights = node.op.weight_names().iter().map(|weight| node.weight(weight));
        let mut inputs: Vec<String> = node.inputs.iter().cloned().chain(weights).collect();
        let (op, attributes) = match node.op {
            Op::Input { .. } => unreachable!("inputs are no nodes in ONNX"),
            #[rustfmt::skip]
            Op::Conv2d { kernel, stride, padding, padding_mode, dilation, groups, .. } => {
                let mut inside = padding;
                let mode = match padding_mode {
                    Padding::Zero => None,
                    Padding::Replicate => Some("edge"),
                    Padding::Reflect => Some("reflect"),
                };
                if let Some(mode) = mode {
                    let pads = self.integers(part("pads"), &[0, 0, padding, padding, 0, 0, padding, padding]);
                    self.node("Pad", &[inputs[0].clone(), pads], &part("pad"), vec![string("mode", mode)]);
                    inputs[0] = part("pad");
                    inside = 0;
                }
                let mut attributes = window(kernel, stride, inside);
                attributes.extend([ints("dilations", &[dilation; 2]), int("group", groups)]);
                ("Conv", attributes)
            }
            #[rustfmt::skip]
            Op::ConvTranspose2d { kernel, stride, padding, output_padding, groups, .. } => {
                let mut attributes = window(kernel, stride, padding);
                attributes.extend([ints("output_padding", &[output_padding; 2]), int("group", groups)]);
                ("ConvTranspose", attributes)
            }
            Op::Linear { .. } => ("Gemm", vec![int("transB", 1)]),
            Op::BatchNorm { eps } => ("BatchNormalization", vec![float("epsilon", eps)]),
            Op::Relu => ("Relu", vec![]),
            Op::LeakyRelu { slope } => ("LeakyRelu", vec![float("alpha", slope)]),
            Op::Sigmoid => ("Sigmoid", vec![]),
            Op::Tanh => ("Tanh", vec![]),
            Op::Silu => {
                self.node("Sigmoid", &inputs, &part("gate"), vec![]);
                inputs.push(part("gate"));
                ("Mul", vec![])
            }
            Op::Softmax => ("Softmax", vec![int("axis", 1)]),
            #[rustfmt::skip]
            Op::MaxPool { kernel, stride, padding } => ("MaxPool", window(kernel, stride, padding)),
            #[rustfmt::skip]
            Op::AvgPool { kernel, stride, padding } => {
                let mut attributes = window(kernel, stride, padding);
                attributes.push(int("count_include_pad", 1));
                ("AveragePool", attributes)
            }
            Op::GlobalAvgPool => ("GlobalAveragePool", vec![]),
            Op::Upsample { factor, mode } => {
                let (shape, f) = (vec![4], factor as f32);
                let data = vec![1.0, 1.0, f, f];
                let scales = self.array(&part("scales"), &Array { shape, data });
                inputs.extend([String::new(), scales]);
                let attributes = match mode {
                    Interpolation::Nearest => vec![
                        string("mode", "nearest"),
                        string("coordinate_transformation_mode", "asymmetric"),
                        string("nearest_mode", "floor"),
                    ],
                    Interpolation::Bilinear => vec![
                        string("mode", "linear"),
                        string("coordinate_transformation_mode", "half_pixel"),
                    ],
                };
                ("Resize", attributes)
            }
            Op::PixelShuffle { factor } => ("DepthToSpace", vec![int("blocksize", factor), string("mode", "CRD")]),
            Op::PixelUnshuffle { factor } => {
                // SpaceToDepth puts the place in the cell before the channel, we put it after.
                self.node("SpaceToDepth", &inputs, &part("cells"), vec![int("blocksize", factor)]);
                let cells = factor * factor;
                let order: Vec<usize> = (0..channels * cells)
                    .map(|i| i % cells * channels + i / cells)
                    .collect();
                inputs = vec![part("cells"), self.integers(part("order"), &order)];
                ("Gather", vec![int("axis", 1)])
            }
            Op::Concat => ("Concat", vec![int("axis", 1)]),
            Op::Add => ("Add", vec![]),
            Op::Sub => ("Sub", vec![]),
            Op::Mul => ("Mul", vec![]),
            Op::Scale { scale, shift } => {
                inputs.push(self.scalar(part("scale"), scale));
                self.node("Mul", &inputs, &part("scaled"), vec![]);
                inputs = vec![part("scaled"), self.scalar(part("shift"), shift)];
                ("Add", vec![])
            }
            Op::Flatten => ("Flatten", vec![int("axis", 1)]),
        };
        self.node(op, &inputs, name, attributes);
    }
}

#[cfg(test)]
pub(super) mod tests;

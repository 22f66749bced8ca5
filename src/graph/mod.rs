//! A network as data: named nodes, each an [`Op`] of a small closed set, in the order they run.

mod builder;
mod check;
mod codes;
mod fold;
mod json;
#[cfg(feature = "train")]
pub mod onnx;
mod shapes;
mod weights;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use builder::Builder;
pub use codes::CodeSource;

/// Weights, buffers and what goes in and out of a network: `shape` and its values in row-major order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Array {
    /// Lengths of the axes; pictures are N, C, H, W.
    pub shape: Vec<usize>,
    /// The values; as many as the product of `shape`.
    pub data: Vec<f32>,
}

/// Weights by name: `<node>.weight`, `.bias`, `.running_mean`, `.running_var`.
pub type Weights = BTreeMap<String, Array>;

/// How a convolution treats what lies beyond the border.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Padding {
    /// Zeros.
    #[default]
    Zero,
    /// The nearest pixel inside.
    Replicate,
    /// Mirrored about the border pixel, which is not repeated.
    Reflect,
}

/// How [`Op::Upsample`] makes new pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Repeat.
    #[default]
    Nearest,
    /// Linear on both axes, half-pixel centres (`align_corners=false`).
    Bilinear,
}

/// One operation. Pictures are N, C, H, W; the batch axis is never touched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// What the caller gives: `channels` planes of any size, each side a multiple of what the network needs.
    Input {
        /// Number of planes.
        channels: usize,
    },
    /// 2-D convolution. `weight` is `[out, in / groups, kernel, kernel]`, `bias` is `[out]`.
    Conv2d {
        /// Channels out.
        out: usize,
        /// Side of the square kernel.
        kernel: usize,
        /// Step of the window.
        stride: usize,
        /// Pixels added at every border.
        padding: usize,
        /// What is added there.
        padding_mode: Padding,
        /// Distance between taps.
        dilation: usize,
        /// Channel groups.
        groups: usize,
        /// Whether there is a bias.
        bias: bool,
        /// A fixed filter: never trained.
        frozen: bool,
    },
    /// Transposed 2-D convolution. `weight` is `[in, out / groups, kernel, kernel]`, `bias` is `[out]`.
    ConvTranspose2d {
        /// Channels out.
        out: usize,
        /// Side of the square kernel.
        kernel: usize,
        /// Step.
        stride: usize,
        /// Pixels cut at every border.
        padding: usize,
        /// Pixels added at the far border.
        output_padding: usize,
        /// Channel groups.
        groups: usize,
        /// Whether there is a bias.
        bias: bool,
    },
    /// Fully connected on `[N, features]`. `weight` is `[out, in]`, `bias` is `[out]`.
    Linear {
        /// Features out.
        out: usize,
        /// Whether there is a bias.
        bias: bool,
    },
    /// Batch normalisation over N, H, W of a picture with `weight`, `bias`, `running_mean`, `running_var`, all `[C]`.
    BatchNorm {
        /// Added to the variance.
        eps: f64,
    },
    /// `max(x, 0)`.
    Relu,
    /// `x` above zero, `slope · x` below.
    LeakyRelu {
        /// Factor below zero.
        slope: f64,
    },
    /// Logistic function.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x · sigmoid(x)`.
    Silu,
    /// Softmax over channels (or features).
    Softmax,
    /// Largest of each window. Padding never wins; it is at most half the kernel.
    MaxPool {
        /// Side of the window.
        kernel: usize,
        /// Step.
        stride: usize,
        /// Pixels added at every border.
        padding: usize,
    },
    /// Mean of each window, padding counted as zeros; it is at most half the kernel.
    AvgPool {
        /// Side of the window.
        kernel: usize,
        /// Step.
        stride: usize,
        /// Pixels added at every border.
        padding: usize,
    },
    /// Mean of each plane: `[N, C, 1, 1]`.
    GlobalAvgPool,
    /// Enlarges both sides by a whole factor.
    Upsample {
        /// The factor.
        factor: usize,
        /// How.
        mode: Interpolation,
    },
    /// `[N, C·f², H, W]` to `[N, C, H·f, W·f]`.
    PixelShuffle {
        /// The factor.
        factor: usize,
    },
    /// `[N, C, H·f, W·f]` to `[N, C·f², H, W]`.
    PixelUnshuffle {
        /// The factor.
        factor: usize,
    },
    /// Joins channels of any number of inputs.
    Concat,
    /// Sum of two inputs of the same shape.
    Add,
    /// First input minus the second, of the same shape.
    Sub,
    /// Product, element by element, of two inputs of the same shape.
    Mul,
    /// `x · scale + shift`, the same for every element.
    Scale {
        /// Factor.
        scale: f64,
        /// Addend.
        shift: f64,
    },
    /// `[N, C, H, W]` to `[N, C·H·W]`.
    Flatten,
}

/// One step of a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub struct Node {
    /// Unique in its graph; letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// What it does.
    #[serde(flatten)]
    pub op: Op,
    /// Names of the nodes that feed it, all earlier in the list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
}

/// A network: nodes in the order they run, and which of them leave it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Graph {
    /// The nodes, each after those that feed it.
    pub nodes: Vec<Node>,
    /// Names of the nodes whose values leave the network.
    pub outputs: Vec<String>,
}

impl Graph {
    /// Takes away what no output needs, save for inputs, and its weights.
    pub(crate) fn prune(&mut self, weights: &mut Weights) {
        let mut needed: BTreeSet<&str> = self.outputs.iter().map(String::as_str).collect();
        for node in self.nodes.iter().rev() {
            if needed.contains(node.name.as_str()) {
                needed.extend(node.inputs.iter().map(String::as_str));
            }
        }
        let is_needed = |node: &Node| matches!(node.op, Op::Input { .. }) || needed.contains(node.name.as_str());
        let keep: Vec<bool> = self.nodes.iter().map(is_needed).collect();
        for (node, _) in self.nodes.iter().zip(&keep).filter(|(_, keep)| !**keep) {
            for name in node.op.weight_names() {
                weights.remove(&node.weight(name));
            }
        }
        let mut keep = keep.into_iter();
        self.nodes.retain(|_| keep.next().unwrap_or(true));
    }
}

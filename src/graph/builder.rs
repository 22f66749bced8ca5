//! Writes graphs down.

use super::{Graph, Node, Op, Padding};

/// Makes a graph node by node. Each method returns the new node's name, to feed the next.
///
/// ```
/// use gst_candle::graph::{Builder, Op};
///
/// let mut net = Builder::new();
/// let x = net.input("input", 1);
/// let y = net.conv("conv", &x, 8, 3, true);
/// let y = net.node("relu", Op::Relu, &[&y]);
/// let graph = net.finish(&[&y]);
/// assert_eq!(graph.shapes(&[vec![1, 1, 20, 30]])?["relu"], [1, 8, 20, 30]);
/// # Ok::<(), gst_candle::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Builder {
    nodes: Vec<Node>,
}

impl Builder {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Any op, fed by the nodes called `inputs`.
    pub fn node(&mut self, name: impl Into<String>, op: Op, inputs: &[&str]) -> String {
        let name = name.into();
        self.nodes.push(Node {
            name: name.clone(),
            op,
            inputs: inputs.iter().map(|&s| s.into()).collect(),
        });
        name
    }

    /// An input of `channels` planes.
    pub fn input(&mut self, name: impl Into<String>, channels: usize) -> String {
        self.node(name, Op::Input { channels }, &[])
    }

    /// A trained convolution of stride 1 that keeps the size (for odd kernels), zeros beyond the border.
    pub fn conv(&mut self, name: impl Into<String>, input: &str, out: usize, kernel: usize, bias: bool) -> String {
        let padding = kernel / 2;
        self.node(name, conv(out, kernel, 1, padding, bias), &[input])
    }

    /// A trained convolution of any stride and padding, zeros beyond the border.
    pub fn strided_conv(
        &mut self,
        name: impl Into<String>,
        input: &str,
        out: usize,
        [kernel, stride, padding]: [usize; 3],
        bias: bool,
    ) -> String {
        self.node(name, conv(out, kernel, stride, padding, bias), &[input])
    }

    /// A batch norm with the usual epsilon of 1e-5.
    pub fn batch_norm(&mut self, name: impl Into<String>, input: &str) -> String {
        self.node(name, Op::BatchNorm { eps: 1e-5 }, &[input])
    }

    /// A fully connected layer with a bias.
    pub fn linear(&mut self, name: impl Into<String>, input: &str, out: usize) -> String {
        self.node(name, Op::Linear { out, bias: true }, &[input])
    }

    /// The graph, with the nodes called `outputs` leaving it.
    pub fn finish(self, outputs: &[&str]) -> Graph {
        Graph {
            nodes: self.nodes,
            outputs: outputs.iter().map(|&s| s.into()).collect(),
        }
    }
}

fn conv(out: usize, kernel: usize, stride: usize, padding: usize, bias: bool) -> Op {
    Op::Conv2d {
        out,
        kernel,
        stride,
        padding,
        padding_mode: Padding::Zero,
        dilation: 1,
        groups: 1,
        bias,
        frozen: false,
    }
}

//! What weights a graph needs, and how much work they make.

use std::collections::BTreeMap;

use super::shapes::elements;
use super::{Graph, Node, Op};
use crate::{Error, Result};

impl Op {
    /// Last parts of the names of its weights: `weight`, `bias`, `running_mean`, `running_var`.
    pub fn weight_names(&self) -> &'static [&'static str] {
        match self {
            Self::Conv2d { bias, .. } | Self::ConvTranspose2d { bias, .. } | Self::Linear { bias, .. } => {
                if *bias {
                    &["weight", "bias"]
                } else {
                    &["weight"]
                }
            }
            Self::BatchNorm { .. } => &["weight", "bias", "running_mean", "running_var"],
            _ => &[],
        }
    }

    /// Shape of the weight called `name` for a value of shape `source`; nothing but `weight` depends on it, save
    /// for batch norms.
    pub(super) fn weight_shape(&self, name: &str, source: &[usize]) -> Vec<usize> {
        match *self {
            Self::Conv2d {
                out, kernel, groups, ..
            } if name == "weight" => {
                vec![out, source[1] / groups, kernel, kernel]
            }
            Self::ConvTranspose2d {
                out, kernel, groups, ..
            } if name == "weight" => {
                vec![source[1], out / groups, kernel, kernel]
            }
            Self::Linear { out, .. } if name == "weight" => vec![out, source[1]],
            Self::Conv2d { out, .. } | Self::ConvTranspose2d { out, .. } | Self::Linear { out, .. } => vec![out],
            _ => vec![source[1]],
        }
    }
}

impl Node {
    /// Whole name of its weight `name`.
    pub fn weight(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }
}

impl Graph {
    /// Name and shape of every weight, for inputs of these shapes.
    pub fn weight_shapes(&self, inputs: &[Vec<usize>]) -> Result<BTreeMap<String, Vec<usize>>> {
        let shapes = self.shapes(inputs)?;
        let mut weights = BTreeMap::new();
        for node in &self.nodes {
            for name in node.op.weight_names() {
                let shape = node.op.weight_shape(name, &shapes[&node.inputs[0]]);
                elements(&shape).map_err(|reason| Error::graph(&node.name, format!("{name}: {reason}")))?;
                weights.insert(node.weight(name), shape);
            }
        }
        Ok(weights)
    }

    /// Multiply-adds of convolutions and linear layers for inputs of these shapes.
    pub fn multiply_adds(&self, inputs: &[Vec<usize>]) -> Result<u64> {
        let shapes = self.shapes(inputs)?;
        let mut sum = 0u64;
        for node in self
            .nodes
            .iter()
            .filter(|node| node.op.weight_names().contains(&"weight"))
        {
            let source = &shapes[&node.inputs[0]];
            let weight = node.op.weight_shape("weight", source);
            // Each weight is used once for every position (and item) of the value that it slides over.
            let positions = match node.op {
                Op::Conv2d { .. } => {
                    let value = &shapes[&node.name];
                    value[0] * value[2] * value[3]
                }
                Op::ConvTranspose2d { .. } => source[0] * source[2] * source[3],
                Op::Linear { .. } => source[0],
                _ => continue,
            };
            let count = weight
                .iter()
                .try_fold(positions as u64, |product, &n| product.checked_mul(n as u64));
            sum = count
                .and_then(|n| sum.checked_add(n))
                .ok_or_else(|| Error::graph(&node.name, "more than 2^64 multiply-adds"))?;
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Builder, Padding};

    /// Every op that has weights, and one of each kind of weight.
    fn graph() -> Graph {
        let mut b = Builder::new();
        let x = b.input("x", 4);
        let conv = Op::Conv2d {
            out: 6,
            kernel: 3,
            stride: 2,
            padding: 1,
            padding_mode: Padding::Zero,
            dilation: 1,
            groups: 2,
            bias: true,
            frozen: false,
        };
        let c = b.node("c", conv, &[&x]);
        let n = b.batch_norm("n", &c);
        let up = Op::ConvTranspose2d {
            out: 9,
            kernel: 2,
            stride: 2,
            padding: 0,
            output_padding: 0,
            groups: 3,
            bias: false,
        };
        let t = b.node("t", up, &[&n]);
        let f = b.node("f", Op::Flatten, &[&t]);
        let l = b.linear("l", &f, 5);
        b.finish(&[&l])
    }

    #[test]
    fn every_weight_has_its_shape() {
        let shapes = graph().weight_shapes(&[vec![1, 4, 4, 6]]).unwrap();
        let expected: [(&str, &[usize]); 9] = [
            ("c.bias", &[6]),
            ("c.weight", &[6, 2, 3, 3]),
            ("l.bias", &[5]),
            ("l.weight", &[5, 9 * 4 * 6]),
            ("n.bias", &[6]),
            ("n.running_mean", &[6]),
            ("n.running_var", &[6]),
            ("n.weight", &[6]),
            ("t.weight", &[6, 3, 2, 2]),
        ];
        let found: Vec<_> = shapes
            .iter()
            .map(|(name, shape)| (name.as_str(), shape.as_slice()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn multiply_adds_count_every_use_of_a_weight() {
        // Convolution 6·2·9 at 2x3 positions, transposed 6·3·4 at 2x3, linear 5·216; all of it for each of 2 items.
        let expected = 2 * (6 * 2 * 9 * 6 + 6 * 3 * 4 * 6 + 5 * 216);
        assert_eq!(graph().multiply_adds(&[vec![2, 4, 4, 6]]).unwrap(), expected);
    }

    #[test]
    fn a_huge_weight_names_its_node() {
        let mut b = Builder::new();
        let x = b.input("x", 65_536);
        let c = b.conv("wide", &x, 65_536, 3, false);
        let message = b
            .finish(&[&c])
            .weight_shapes(&[vec![1, 65_536, 1, 1]])
            .unwrap_err()
            .to_string();
        assert!(message.starts_with("node `wide`: weight: "), "{message}");
    }
}

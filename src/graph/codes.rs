//! The output of a classifier that codes of pictures are made of.

use serde::{Deserialize, Serialize};

use super::{Graph, Node, Op};
use crate::Result;

/// What a network says of a picture beside its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeSource {
    /// What its last layer sees.
    #[default]
    Features,
    /// Of every channel of every level the mean over all places, then in the same order the mean of squares.
    Moments,
}

impl Graph {
    /// Adds an output `[N, features]` for inputs of these shapes and says what it is. `None`, and nothing added, where the first output is
    /// not that of a linear layer.
    ///
    /// Where that layer sees means over all places, means and deviations of all levels tell more: what the last level keeps of a picture
    /// is little more than its class, and a class that the network does not know looks there like one that it does.
    pub fn add_codes(&mut self, inputs: &[Vec<usize>]) -> Result<Option<CodeSource>> {
        let Some(features) = self.features().map(str::to_owned) else {
            return Ok(None);
        };
        let levels = match self.is_pooled(&features) {
            true => self.levels(inputs)?,
            false => Vec::new(),
        };
        if levels.is_empty() {
            self.outputs.push(features);
            return Ok(Some(CodeSource::Features));
        }
        let mut add = |name: String, op: Op, inputs: Vec<String>| {
            let node = Node {
                name: self.unused(name),
                op,
                inputs,
            };
            self.nodes.push(node);
            self.nodes[self.nodes.len() - 1].name.clone()
        };
        let (mut means, mut squares) = (Vec::new(), Vec::new());
        for (i, level) in levels.into_iter().enumerate() {
            let square = add(format!("code.square{i}"), Op::Mul, vec![level.clone(), level.clone()]);
            means.push(add(format!("code.mean{i}"), Op::GlobalAvgPool, vec![level]));
            squares.push(add(format!("code.mean_square{i}"), Op::GlobalAvgPool, vec![square]));
        }
        means.append(&mut squares);
        let all = add("code.all".into(), Op::Concat, means);
        let codes = add("codes".into(), Op::Flatten, vec![all]);
        self.outputs.push(codes);
        Ok(Some(CodeSource::Moments))
    }

    /// What the linear layer sees that the first output comes from, if it does.
    fn features(&self) -> Option<&str> {
        let output = self.node(self.outputs.first()?)?;
        let is_linear = matches!(output.op, Op::Linear { .. });
        output.inputs.first().filter(|_| is_linear).map(String::as_str)
    }

    /// Whether a value is that of a global mean, flattened or not.
    fn is_pooled(&self, name: &str) -> bool {
        self.node(name).is_some_and(|node| match node.op {
            Op::Flatten => self.is_pooled(&node.inputs[0]),
            _ => node.op == Op::GlobalAvgPool,
        })
    }

    fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Of each size that the network's planes have, the node that comes last.
    fn levels(&self, inputs: &[Vec<usize>]) -> Result<Vec<String>> {
        let shapes = self.shapes(inputs)?;
        let mut levels: Vec<([usize; 2], String)> = Vec::new();
        for node in self.nodes.iter().filter(|node| !matches!(node.op, Op::Input { .. })) {
            let &[_, _, height, width] = shapes[&node.name].as_slice() else {
                continue;
            };
            match levels.iter_mut().find(|level| level.0 == [height, width]) {
                _ if height * width == 1 => (),
                Some(level) => level.1.clone_from(&node.name),
                None => levels.push(([height, width], node.name.clone())),
            }
        }
        Ok(levels.into_iter().map(|level| level.1).collect())
    }

    /// `name`, or where a node has it, with so many underscores behind it that none has.
    pub(crate) fn unused(&self, mut name: String) -> String {
        while self.node(&name).is_some() {
            name.push('_');
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Builder;

    fn nets() -> [Graph; 2] {
        let pool = Op::MaxPool {
            kernel: 2,
            stride: 2,
            padding: 0,
        };
        [true, false].map(|is_pooled| {
            let mut b = Builder::new();
            let input = b.input("input", 1);
            let mut x = b.conv("conv0", &input, 3, 3, true);
            x = b.node("relu0", Op::Relu, &[&x]);
            x = b.node("pool", pool.clone(), &[&x]);
            x = b.conv("codes", &x, 2, 3, true);
            if is_pooled {
                x = b.node("mean", Op::GlobalAvgPool, &[&x]);
            }
            x = b.node("flatten", Op::Flatten, &[&x]);
            let x = b.linear("output", &x, 4);
            b.finish(&[&x])
        })
    }

    #[test]
    fn pooled_networks_give_moments_of_every_level() {
        let [mut graph, mut plain] = nets();
        let inputs = [vec![1, 1, 8, 6]];
        assert_eq!(graph.add_codes(&inputs).unwrap(), Some(CodeSource::Moments));
        assert_eq!(graph.outputs, ["output", "codes_"]);
        assert_eq!(graph.shapes(&inputs).unwrap()["codes_"], [1, 10]);
        let of = |name: &str| graph.node(name).unwrap().inputs.clone();
        assert_eq!([of("code.mean0"), of("code.mean1")], [["relu0"], ["codes"]]);
        assert_eq!(of("code.square1"), ["codes", "codes"]);
        assert_eq!(plain.add_codes(&inputs).unwrap(), Some(CodeSource::Features));
        assert_eq!(plain.outputs, ["output", "flatten"]);
    }

    #[test]
    fn other_outputs_have_no_codes() {
        let [mut graph, _] = nets();
        graph.outputs = vec!["mean".into()];
        let before = graph.clone();
        assert_eq!(graph.add_codes(&[vec![1, 1, 8, 8]]).unwrap(), None);
        assert_eq!(graph, before);
    }
}

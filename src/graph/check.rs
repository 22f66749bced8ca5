//! Whether a graph hangs together: names, order, arity, cycles, outputs.

use std::collections::HashMap;

use super::{Graph, Node, Op};
use crate::{Error, Result};

/// Most nodes of a graph.
const MAX_NODES: usize = 10_000;
/// Longest name of a node, in bytes.
const MAX_NAME: usize = 128;

impl Graph {
    /// Checks names, arity, order, cycles and outputs. The error names the node at fault.
    pub fn check(&self) -> Result<()> {
        if self.nodes.len() > MAX_NODES {
            return Err(Error::Invalid(format!(
                "the graph has {} nodes, more than {MAX_NODES}",
                self.nodes.len()
            )));
        }
        let mut position = HashMap::with_capacity(self.nodes.len());
        for (i, node) in self.nodes.iter().enumerate() {
            check_name(&node.name)?;
            if position.insert(node.name.as_str(), i).is_some() {
                return Err(Error::graph(&node.name, "two nodes have this name"));
            }
        }
        for (i, node) in self.nodes.iter().enumerate() {
            check_arity(node)?;
            for input in &node.inputs {
                match position.get(input.as_str()) {
                    Some(&at) if at < i => {}
                    Some(&at) => return Err(Error::graph(&node.name, self.misplaced(i, at, &position))),
                    None => return Err(Error::graph(&node.name, format!("unknown input `{input}`"))),
                }
            }
        }
        if self.outputs.is_empty() {
            return Err(Error::Invalid("the graph has no outputs".into()));
        }
        for (i, output) in self.outputs.iter().enumerate() {
            if !position.contains_key(output.as_str()) {
                return Err(Error::graph(
                    output,
                    "an output of the graph, but no node has this name",
                ));
            }
            if self.outputs[..i].contains(output) {
                return Err(Error::graph(output, "twice among the outputs of the graph"));
            }
        }
        Ok(())
    }

    /// Says whether node `at`, which feeds the earlier node `node`, is itself fed by it.
    fn misplaced(&self, node: usize, at: usize, position: &HashMap<&str, usize>) -> String {
        let name = |i: usize| self.nodes[i].name.as_str();
        let mut read_by: Vec<Option<usize>> = vec![None; self.nodes.len()];
        let mut open = vec![at];
        while let Some(i) = open.pop() {
            if i == node {
                let readers = std::iter::successors(Some(node), |&j| read_by[j]);
                let path: Vec<&str> = readers.chain([node]).map(name).collect();
                return format!("cycle: {}", path.join(" -> "));
            }
            for &source in self.nodes[i]
                .inputs
                .iter()
                .filter_map(|input| position.get(input.as_str()))
            {
                if read_by[source].is_none() && source != at {
                    read_by[source] = Some(i);
                    open.push(source);
                }
            }
        }
        format!(
            "its input `{}` stands later in the list; nodes stand after those that feed them",
            name(at)
        )
    }
}

fn check_name(name: &str) -> Result<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(legal) {
        let shown: String = name.chars().take(MAX_NAME).collect();
        return Err(Error::graph(
            shown.escape_debug().to_string(),
            format!("a name is 1 to {MAX_NAME} letters, digits, `_`, `-` and `.`"),
        ));
    }
    Ok(())
}

fn check_arity(node: &Node) -> Result<()> {
    let n = node.inputs.len();
    let (fits, wanted) = match node.op {
        Op::Input { .. } => (n == 0, "none"),
        Op::Concat => (n >= 1, "one or more"),
        Op::Add | Op::Sub | Op::Mul => (n == 2, "two"),
        _ => (n == 1, "one"),
    };
    if fits {
        Ok(())
    } else {
        Err(Error::graph(
            &node.name,
            format!("has {n} inputs; its op takes {wanted}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, op: Op, inputs: &[&str]) -> Node {
        Node {
            name: name.into(),
            op,
            inputs: inputs.iter().map(|s| s.to_string()).collect(),
        }
    }

    fn message(nodes: Vec<Node>, outputs: &[&str]) -> String {
        let graph = Graph {
            nodes,
            outputs: outputs.iter().map(|s| s.to_string()).collect(),
        };
        graph.check().unwrap_err().to_string()
    }

    const INPUT: Op = Op::Input { channels: 1 };

    #[test]
    fn names_are_legal_and_unique() {
        assert!(message(vec![node("a b", INPUT, &[])], &["a b"]).contains("node `a b`: a name is"));
        assert!(message(vec![node("", INPUT, &[])], &[""]).contains("a name is"));
        assert!(message(vec![node(&"x".repeat(129), INPUT, &[])], &[]).contains("a name is"));
        let twice = vec![node("x", INPUT, &[]), node("x", Op::Relu, &["x"])];
        assert_eq!(message(twice, &["x"]), "node `x`: two nodes have this name");
    }

    #[test]
    fn inputs_are_known_and_earlier() {
        let unknown = vec![node("x", INPUT, &[]), node("y", Op::Relu, &["z"])];
        assert_eq!(message(unknown, &["y"]), "node `y`: unknown input `z`");
        let late = vec![node("y", Op::Relu, &["x"]), node("x", INPUT, &[])];
        let text = message(late, &["y"]);
        assert!(
            text.contains("node `y`: its input `x` stands later") && !text.contains("cycle"),
            "{text}"
        );
    }

    #[test]
    fn cycles_are_called_so_and_shown() {
        let itself = vec![node("x", INPUT, &[]), node("y", Op::Add, &["x", "y"])];
        assert_eq!(message(itself, &["y"]), "node `y`: cycle: y -> y");
        let three = vec![
            node("x", INPUT, &[]),
            node("a", Op::Add, &["x", "c"]),
            node("b", Op::Relu, &["a"]),
            node("c", Op::Relu, &["b"]),
        ];
        assert_eq!(message(three, &["c"]), "node `a`: cycle: a -> b -> c -> a");
    }

    #[test]
    fn arity_outputs_and_count() {
        let two = vec![node("x", INPUT, &[]), node("y", Op::Relu, &["x", "x"])];
        assert_eq!(message(two, &["y"]), "node `y`: has 2 inputs; its op takes one");
        assert!(message(vec![node("x", INPUT, &["x"])], &["x"]).contains("takes none"));
        assert_eq!(message(vec![node("x", INPUT, &[])], &[]), "the graph has no outputs");
        assert!(message(vec![node("x", INPUT, &[])], &["y"]).contains("node `y`: an output of the graph"));
        assert!(message(vec![node("x", INPUT, &[])], &["x", "x"]).contains("twice"));
        let many = (0..=MAX_NODES).map(|i| node(&format!("n{i}"), INPUT, &[])).collect();
        assert!(message(many, &["n0"]).contains("more than 10000"));
    }
}

//! Graphs as JSON, read with errors that name the node.

use serde::Deserialize;
use serde_json::Value;

use super::{Graph, Node, Op};
use crate::{Error, Result};

impl Graph {
    /// The graph as JSON; the same graph gives the same text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("names, numbers and strings always have a JSON form")
    }

    /// Reads what [`Graph::to_json`] writes. An error names the node and its op. The graph is not checked further:
    /// [`Graph::check`] and [`Graph::shapes`] do that.
    pub fn from_json(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            nodes: Vec<Value>,
            outputs: Vec<String>,
        }
        let raw: Raw = serde_json::from_str(text).map_err(|e| Error::Invalid(e.to_string()))?;
        let nodes = raw.nodes.into_iter().map(Node::try_from).collect::<Result<_>>()?;
        Ok(Self {
            nodes,
            outputs: raw.outputs,
        })
    }
}

impl TryFrom<Value> for Node {
    type Error = Error;

    fn try_from(value: Value) -> Result<Self> {
        let Value::Object(mut fields) = value else {
            return Err(Error::Invalid("a node of the graph is not a JSON object".into()));
        };
        let Some(Value::String(name)) = fields.remove("name") else {
            return Err(Error::Invalid("a node of the graph has no `name`".into()));
        };
        let inputs = match fields.remove("inputs") {
            None => Vec::new(),
            Some(list) => serde_json::from_value(list).map_err(|e| Error::graph(&name, format!("inputs: {e}")))?,
        };
        let Some(Value::String(kind)) = fields.get("op").cloned() else {
            return Err(Error::graph(name, "has no `op`"));
        };
        let fault = |reason: String| Error::graph(&name, format!("op `{kind}`: {reason}"));
        let op: Op = serde_json::from_value(Value::Object(fields.clone())).map_err(|e| fault(e.to_string()))?;
        // Serde lets surplus fields pass where an op has none of its own.
        let known = serde_json::to_value(&op).map_err(|e| fault(e.to_string()))?;
        if let Some(field) = fields.keys().find(|field| known.get(field.as_str()).is_none()) {
            return Err(fault(format!("unknown field `{field}`")));
        }
        Ok(Self { name, op, inputs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Builder, Interpolation, Padding};

    #[test]
    fn every_op_comes_back() {
        let ops = [
            Op::Conv2d {
                out: 2,
                kernel: 3,
                stride: 1,
                padding: 1,
                padding_mode: Padding::Reflect,
                dilation: 1,
                groups: 2,
                bias: false,
                frozen: true,
            },
            Op::ConvTranspose2d {
                out: 2,
                kernel: 2,
                stride: 2,
                padding: 0,
                output_padding: 1,
                groups: 1,
                bias: true,
            },
            Op::Linear { out: 3, bias: false },
            Op::BatchNorm { eps: 1e-5 },
            Op::Relu,
            Op::LeakyRelu { slope: 0.2 },
            Op::Sigmoid,
            Op::Tanh,
            Op::Silu,
            Op::Softmax,
            Op::MaxPool {
                kernel: 3,
                stride: 2,
                padding: 1,
            },
            Op::AvgPool {
                kernel: 2,
                stride: 2,
                padding: 0,
            },
            Op::GlobalAvgPool,
            Op::Upsample {
                factor: 2,
                mode: Interpolation::Bilinear,
            },
            Op::PixelShuffle { factor: 2 },
            Op::PixelUnshuffle { factor: 2 },
            Op::Concat,
            Op::Add,
            Op::Sub,
            Op::Mul,
            Op::Scale {
                scale: 0.1,
                shift: -3.0,
            },
            Op::Flatten,
        ];
        let mut b = Builder::new();
        let mut last = b.input("x", 3);
        for (i, op) in ops.into_iter().enumerate() {
            last = b.node(format!("n{i}"), op, &[&last, "x"]);
        }
        let graph = b.finish(&[&last, "x"]);
        let text = graph.to_json();
        assert_eq!(Graph::from_json(&text).unwrap(), graph);
        assert_eq!(serde_json::from_str::<Graph>(&text).unwrap(), graph);
        assert!(
            text.starts_with(r#"{"nodes":[{"name":"x","op":"input","channels":3},"#),
            "{text}"
        );
    }

    #[test]
    fn errors_name_the_node_and_the_op() {
        let message = |node: &str| {
            let text = format!(r#"{{"nodes":[{node}],"outputs":[]}}"#);
            let direct = Graph::from_json(&text).unwrap_err().to_string();
            let serde = serde_json::from_str::<Graph>(&text).unwrap_err().to_string();
            assert!(serde.starts_with(&direct), "{serde} / {direct}");
            direct
        };
        let unknown = message(r#"{"name":"a","op":"attention","heads":8,"inputs":["x"]}"#);
        assert!(
            unknown.starts_with("node `a`: op `attention`: unknown variant"),
            "{unknown}"
        );
        assert!(unknown.contains("`conv2d`"), "{unknown}");
        assert_eq!(message(r#"{"name":"a"}"#), "node `a`: has no `op`");
        assert!(message(r#"{"name":"a","op":"linear","out":3}"#).contains("op `linear`: missing field `bias`"));
        assert!(message(r#"{"name":"a","op":"linear","out":-3,"bias":true}"#).contains("op `linear`"));
        assert!(message(r#"{"name":"a","op":"relu","slope":3}"#).contains("unknown field `slope`"));
        assert!(message(r#"{"name":"a","op":"scale","scale":1,"shift":0,"x":3}"#).contains("unknown field `x`"));
        assert!(message(r#"{"name":"a","op":"relu","inputs":[3]}"#).starts_with("node `a`: inputs: "));
        assert!(message(r#"{"op":"relu"}"#).contains("no `name`"));
        assert!(message("7").contains("not a JSON object"));
    }

    #[test]
    fn garbage_is_an_error() {
        for text in [
            "",
            "[]",
            "{\"nodes\":[]}",
            "{\"nodes\":[],\"outputs\":[],\"code\":1}",
            &"[".repeat(100_000),
        ] {
            assert!(Graph::from_json(text).is_err(), "{text:.60}");
        }
    }
}

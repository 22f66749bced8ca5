//! Fresh weights.

use std::collections::{HashMap, HashSet};

use rand_distr::{Distribution, StandardNormal};

use super::Net;
use crate::data::random::stream;
use crate::graph::{Array, Graph, Op, Weights};
use crate::{Error, Result};

/// Factor on the weights nearest to an output or a sum: a residual network, or a residual block, then starts as the identity, nearly,
/// and logits start small, while gradients still reach the layers before.
const LAST_GAIN: f64 = 0.1;

/// Fresh weights: He-normal (He 2015, fan-in) for convolutions and linear layers, a tenth of that for the last ones
/// before an output or a sum, zero biases, identity batch norms; but what the architecture gives, frozen filters above all, as it is
/// given. The same `seed` gives the same weights.
pub fn init(net: &Net, seed: u64) -> Result<Weights> {
    let [width, height] = net.input.size.unwrap_or([net.input.nominal_side(); 2]);
    let shapes = net.graph.weight_shapes(&net.input.shapes(width, height))?;
    let last = last_layers(&net.graph);
    let mut weights = Weights::new();
    for node in &net.graph.nodes {
        let frozen = matches!(node.op, Op::Conv2d { frozen: true, .. });
        for name in node.op.weight_names() {
            let full_name = node.weight(name);
            let shape = shapes[&full_name].clone();
            let array = if let Some(given) = net.given.get(&full_name) {
                debug_assert_eq!(given.shape, shape, "{full_name}");
                given.clone()
            } else if frozen {
                return Err(Error::graph(&node.name, format!("the fixed `{name}` is missing")));
            } else if matches!(node.op, Op::BatchNorm { .. }) || *name == "bias" {
                let value = if matches!(*name, "weight" | "running_var") {
                    1.0
                } else {
                    0.0
                };
                Array {
                    data: vec![value; shape.iter().product()],
                    shape,
                }
            } else {
                let gain = if last.contains(node.name.as_str()) {
                    LAST_GAIN
                } else {
                    1.0
                };
                let index = shapes
                    .keys()
                    .position(|key| *key == full_name)
                    .expect("a key of this map");
                he_normal(&node.op, shape, gain, seed, index)
            };
            weights.insert(full_name, array);
        }
    }
    debug_assert!(net.given.keys().all(|name| weights.contains_key(name)));
    Ok(weights)
}

/// Normal values with a standard deviation of `gain` · sqrt(2 / fan-in).
fn he_normal(op: &Op, shape: Vec<usize>, gain: f64, seed: u64, index: usize) -> Array {
    let taps: usize = shape[2..].iter().product();
    let fan_in = match op {
        // As many of the window's weights meet one pixel as strides leave over.
        Op::ConvTranspose2d { stride, groups, .. } => (shape[0] / groups * taps / (stride * stride)).max(1),
        _ => shape[1] * taps,
    };
    let deviation = gain * (2.0 / fan_in as f64).sqrt();
    let mut random = stream(seed, 0, index as u64);
    let mut value = || {
        let normal: f64 = StandardNormal.sample(&mut random);
        (normal * deviation) as f32
    };
    let data = (0..shape.iter().product()).map(|_| value()).collect();
    Array { shape, data }
}

/// Convolutions and linear layers with no other between them and an output, and those that a sum takes as they are.
fn last_layers(graph: &Graph) -> HashSet<&str> {
    let nodes: HashMap<&str, _> = graph.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    let mut open: Vec<&str> = graph.outputs.iter().map(String::as_str).collect();
    let is_layer = |op: &Op| matches!(op, Op::Conv2d { .. } | Op::ConvTranspose2d { .. } | Op::Linear { .. });
    let sums = graph.nodes.iter().filter(|node| node.op == Op::Add);
    let summands = sums.flat_map(|sum| sum.inputs.iter().map(String::as_str));
    let mut last: HashSet<&str> = summands.filter(|name| is_layer(&nodes[name].op)).collect();
    let mut seen = HashSet::new();
    while let Some(name) = open.pop() {
        if !seen.insert(name) {
            continue;
        }
        let node = nodes[name];
        if is_layer(&node.op) {
            last.insert(name);
        } else {
            open.extend(node.inputs.iter().map(String::as_str));
        }
    }
    last
}

//! Batch norms folded into the convolutions before them.

use std::collections::HashMap;

use super::{Array, Graph, Node, Op, Weights};
use crate::{Error, Result};

impl Graph {
    /// Folds each batch norm into the convolution before it, where nothing else reads that convolution and it is not
    /// frozen. The folded network gives the same values in inference.
    ///
    /// The convolution keeps its name and has a bias; what read the batch norm reads the convolution, outputs of the
    /// graph included. Weights that no node names any more are left out.
    pub fn fold(&self, weights: &Weights) -> Result<(Graph, Weights)> {
        self.check()?;
        let mut readers: HashMap<&str, usize> = HashMap::new();
        for name in self.nodes.iter().flat_map(|node| &node.inputs).chain(&self.outputs) {
            *readers.entry(name).or_default() += 1;
        }
        let mut graph = Graph {
            nodes: Vec::with_capacity(self.nodes.len()),
            outputs: self.outputs.clone(),
        };
        let mut folded = Weights::new();
        let mut position: HashMap<&str, usize> = HashMap::new();
        let mut renamed: HashMap<&str, String> = HashMap::new();
        for node in &self.nodes {
            let before = node.inputs.first().filter(|name| readers[name.as_str()] == 1);
            if let (Op::BatchNorm { eps }, Some(&at)) = (&node.op, before.and_then(|name| position.get(name.as_str())))
                && foldable(&graph.nodes[at].op)
            {
                let conv = &mut graph.nodes[at];
                fold_one(conv, &mut folded, &channel_factors(node, *eps, weights)?)?;
                renamed.insert(&node.name, conv.name.clone());
                continue;
            }
            let mut kept = node.clone();
            for input in &mut kept.inputs {
                rename(input, &renamed);
            }
            for name in node.op.weight_names() {
                let name = node.weight(name);
                let array = find(node, weights, &name)?.clone();
                folded.insert(name, array);
            }
            position.insert(&node.name, graph.nodes.len());
            graph.nodes.push(kept);
        }
        for output in &mut graph.outputs {
            rename(output, &renamed);
        }
        Ok((graph, folded))
    }
}

fn foldable(op: &Op) -> bool {
    matches!(op, Op::Conv2d { frozen: false, .. } | Op::ConvTranspose2d { .. })
}

fn rename(name: &mut String, renamed: &HashMap<&str, String>) {
    if let Some(new) = renamed.get(name.as_str()) {
        name.clone_from(new);
    }
}

fn find<'a>(node: &Node, weights: &'a Weights, name: &str) -> Result<&'a Array> {
    weights
        .get(name)
        .ok_or_else(|| Error::graph(&node.name, format!("its weight `{name}` is missing")))
}

/// Factor and addend of each channel: `y = x · factor + addend`.
fn channel_factors(norm: &Node, eps: f64, weights: &Weights) -> Result<Vec<(f64, f64)>> {
    let get = |name| find(norm, weights, &norm.weight(name)).map(|array| &array.data);
    let (weight, bias, mean, var) = (get("weight")?, get("bias")?, get("running_mean")?, get("running_var")?);
    if [bias, mean, var].iter().any(|other| other.len() != weight.len()) {
        return Err(Error::graph(&norm.name, "its weights have different lengths"));
    }
    let channel = |i: usize| {
        let factor = f64::from(weight[i]) / (f64::from(var[i]) + eps).sqrt();
        (factor, f64::from(bias[i]) - f64::from(mean[i]) * factor)
    };
    Ok((0..weight.len()).map(channel).collect())
}

/// Multiplies the weights of `conv` by the factors and gives it the bias that makes the batch norm needless.
fn fold_one(conv: &mut Node, weights: &mut Weights, factors: &[(f64, f64)]) -> Result<()> {
    let (name, bias_name) = (conv.weight("weight"), conv.weight("bias"));
    let Some(array) = weights.get_mut(&name) else {
        return Err(Error::graph(&conv.name, format!("its weight `{name}` is missing")));
    };
    let channel = output_channel(&conv.op, &array.shape)
        .filter(|_| array.data.len() == array.shape.iter().product::<usize>())
        .ok_or_else(|| Error::graph(&conv.name, format!("its weight has the wrong shape {:?}", array.shape)))?;
    let (Op::Conv2d { out, bias, .. } | Op::ConvTranspose2d { out, bias, .. }) = &mut conv.op else {
        return Err(Error::graph(&conv.name, "a batch norm cannot be folded into it"));
    };
    if factors.len() != *out {
        return Err(Error::graph(
            &conv.name,
            format!("has {out} channels, its batch norm {}", factors.len()),
        ));
    }
    for (i, value) in array.data.iter_mut().enumerate() {
        *value = (f64::from(*value) * factors[channel(i)].0) as f32;
    }
    let old = weights
        .get(&bias_name)
        .map(|array| array.data.as_slice())
        .filter(|_| *bias);
    if old.is_some_and(|old| old.len() != *out) {
        return Err(Error::graph(&conv.name, "its bias has the wrong length"));
    }
    let new = |(i, &(factor, addend)): (usize, &(f64, f64))| {
        (old.map_or(0.0, |old| f64::from(old[i])) * factor + addend) as f32
    };
    let data: Vec<f32> = factors.iter().enumerate().map(new).collect();
    *bias = true;
    weights.insert(
        bias_name,
        Array {
            shape: vec![*out],
            data,
        },
    );
    Ok(())
}

/// Which output channel the `i`-th value of a convolution's weight belongs to; `None` when `shape` does not fit the op.
fn output_channel(op: &Op, shape: &[usize]) -> Option<impl Fn(usize) -> usize + use<>> {
    let &[first, second, height, width] = shape else {
        return None;
    };
    let (out, groups, transposed) = match *op {
        Op::Conv2d { out, .. } => (out, 1, false),
        Op::ConvTranspose2d { out, groups, .. } => (out, groups, true),
        _ => return None,
    };
    let fits = if transposed {
        groups > 0 && first > 0 && first.is_multiple_of(groups) && second.checked_mul(groups) == Some(out)
    } else {
        first == out
    };
    let taps = height * width;
    (fits && second > 0 && taps > 0).then_some(move |i: usize| {
        let (row, column) = (i / taps / second, i / taps % second);
        if transposed {
            row / (first / groups) * second + column
        } else {
            row
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::stream;
    use crate::graph::{Builder, Padding};
    use rand::RngExt;

    /// Values of a 1x1 convolution of stride 1 on `x` = `[channels][pixels]`.
    fn conv_1x1(weight: &Array, bias: Option<&Array>, x: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let row = |o: usize| {
            let sum = |p: usize| {
                let b = bias.map_or(0.0, |b| b.data[o]);
                (0..x.len())
                    .map(|i| weight.data[o * x.len() + i] * x[i][p])
                    .sum::<f32>()
                    + b
            };
            (0..x[0].len()).map(sum).collect()
        };
        (0..weight.shape[0]).map(row).collect()
    }

    fn batch_norm(w: &Weights, name: &str, eps: f32, x: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let get = |part: &str, c: usize| w[&format!("{name}.{part}")].data[c];
        let value = |c: usize, v: f32| {
            (v - get("running_mean", c)) / (get("running_var", c) + eps).sqrt() * get("weight", c) + get("bias", c)
        };
        x.iter()
            .enumerate()
            .map(|(c, row)| row.iter().map(|&v| value(c, v)).collect())
            .collect()
    }

    /// Random weights for `graph` on one picture of `channels`x4x4.
    fn weights(graph: &Graph, channels: usize, seed: u64) -> Weights {
        println!("seed {seed}");
        let shapes = graph.weight_shapes(&[vec![1, channels, 4, 4]]).unwrap();
        let array = |(i, (name, shape)): (usize, (String, Vec<usize>))| {
            let mut random = stream(seed, 0, i as u64);
            let low = if name.ends_with("var") { 0.1 } else { -1.0 };
            let data = (0..shape.iter().product())
                .map(|_| random.random_range(low..1.0))
                .collect();
            (name, Array { shape, data })
        };
        shapes.into_iter().enumerate().map(array).collect()
    }

    #[test]
    fn folded_values_are_the_unfolded_ones() {
        for bias in [false, true] {
            let mut b = Builder::new();
            let x = b.input("x", 3);
            let c = b.conv("c", &x, 5, 1, bias);
            let n = b.batch_norm("n", &c);
            let y = b.node("y", Op::Relu, &[&n]);
            let graph = b.finish(&[&y, &n]);
            let w = weights(&graph, 3, 7);
            let (folded, new) = graph.fold(&w).unwrap();

            assert_eq!(
                folded.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(),
                ["x", "c", "y"]
            );
            assert_eq!(folded.nodes[2].inputs, ["c"]);
            assert_eq!(folded.outputs, ["y", "c"]);
            assert_eq!(new.keys().collect::<Vec<_>>(), ["c.bias", "c.weight"]);
            let shapes = folded.weight_shapes(&[vec![1, 3, 4, 4]]).unwrap();
            assert!(new.iter().all(|(name, array)| shapes[name] == array.shape));

            let pixels: Vec<Vec<f32>> = vec![vec![0.1, -2.0], vec![0.7, 0.0], vec![-0.3, 1.5]];
            let before = batch_norm(&w, "n", 1e-5, &conv_1x1(&w["c.weight"], w.get("c.bias"), &pixels));
            let after = conv_1x1(&new["c.weight"], new.get("c.bias"), &pixels);
            for (a, b) in before.iter().flatten().zip(after.iter().flatten()) {
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        }
    }

    #[test]
    fn transposed_convolutions_scale_the_channels_of_their_group() {
        let mut b = Builder::new();
        let x = b.input("x", 4);
        let op = Op::ConvTranspose2d {
            out: 6,
            kernel: 2,
            stride: 2,
            padding: 0,
            output_padding: 0,
            groups: 2,
            bias: false,
        };
        let t = b.node("t", op, &[&x]);
        let n = b.batch_norm("n", &t);
        let graph = b.finish(&[&n]);
        let w = weights(&graph, 4, 8);
        let (_, new) = graph.fold(&w).unwrap();
        for (input, column, tap) in (0..4).flat_map(|i| (0..3).flat_map(move |c| (0..4).map(move |t| (i, c, t)))) {
            let (at, channel) = ((input * 3 + column) * 4 + tap, input / 2 * 3 + column);
            let factor = w["n.weight"].data[channel] / (w["n.running_var"].data[channel] + 1e-5).sqrt();
            assert!((new["t.weight"].data[at] - w["t.weight"].data[at] * factor).abs() < 1e-5);
        }
        let shift = |c: usize| {
            let factor = w["n.weight"].data[c] / (w["n.running_var"].data[c] + 1e-5).sqrt();
            w["n.bias"].data[c] - w["n.running_mean"].data[c] * factor
        };
        assert!((0..6).all(|c| (new["t.bias"].data[c] - shift(c)).abs() < 1e-5));
    }

    #[test]
    fn what_others_read_or_is_frozen_stays() {
        let mut b = Builder::new();
        let x = b.input("x", 2);
        let frozen = Op::Conv2d {
            out: 2,
            kernel: 1,
            stride: 1,
            padding: 0,
            padding_mode: Padding::Zero,
            dilation: 1,
            groups: 1,
            bias: false,
            frozen: true,
        };
        let f = b.node("f", frozen, &[&x]);
        let nf = b.batch_norm("nf", &f);
        let c = b.conv("c", &nf, 2, 1, false);
        let nc = b.batch_norm("nc", &c);
        let sum = b.node("sum", Op::Add, &[&c, &nc]);
        let d = b.conv("d", &sum, 2, 1, false);
        let nd = b.batch_norm("nd", &d);
        let graph = b.finish(&[&nd, &d]);
        let w = weights(&graph, 2, 9);
        assert_eq!(graph.fold(&w).unwrap(), (graph, w));
    }

    #[test]
    fn bad_weights_are_errors() {
        let mut b = Builder::new();
        let x = b.input("x", 2);
        let c = b.conv("c", &x, 3, 1, true);
        let n = b.batch_norm("n", &c);
        let graph = b.finish(&[&n]);
        let good = weights(&graph, 2, 10);
        assert!(graph.fold(&good).is_ok());
        for name in good.keys() {
            let mut missing = good.clone();
            missing.remove(name);
            assert!(
                graph.fold(&missing).unwrap_err().to_string().contains(name.as_str()),
                "{name}"
            );
            let mut short = good.clone();
            *short.get_mut(name).unwrap() = Array {
                shape: vec![1],
                data: vec![1.0],
            };
            let message = graph.fold(&short).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("node `{}`", &name[..1])),
                "{name}: {message}"
            );
        }
    }
}

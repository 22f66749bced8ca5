#[cfg(feature = "cuda")]
mod cuda;

use rand::RngExt;

use super::*;
use crate::data::random::stream;
use crate::graph::{Interpolation, Node, Op, Padding};

/// A graph of `ops` in a chain behind an input, of which some read the input too; its weights are random.
fn chain(channels: usize, ops: &[Op]) -> Graph {
    let mut nodes = vec![Node {
        name: "x".into(),
        op: Op::Input { channels },
        inputs: Vec::new(),
    }];
    for (i, op) in ops.iter().enumerate() {
        let last = nodes[i].name.clone();
        let inputs = match op {
            Op::Add | Op::Sub | Op::Mul => vec![last, nodes[i - 1].name.clone()],
            Op::Concat => vec![last.clone(), nodes[i - 1].name.clone(), last],
            _ => vec![last],
        };
        nodes.push(Node {
            name: format!("n{i}"),
            op: op.clone(),
            inputs,
        });
    }
    let outputs = vec![nodes[nodes.len() - 1].name.clone()];
    Graph { nodes, outputs }
}

fn array(shape: &[usize], seed: u64, item: u64) -> Array {
    let rng = &mut stream(seed, 1, item);
    let data = (0..shape.iter().product::<usize>())
        .map(|_| rng.random_range(-1.0f32..1.0))
        .collect();
    Array {
        shape: shape.to_vec(),
        data,
    }
}

fn random_weights(graph: &Graph, inputs: &[Vec<usize>], seed: u64) -> Weights {
    let shapes = graph.weight_shapes(inputs).unwrap();
    let weight = |(i, (name, shape)): (usize, (String, Vec<usize>))| {
        let mut array = array(&shape, seed, 100 + i as u64);
        if name.ends_with("running_var") {
            array.data.iter_mut().for_each(|var| *var = var.abs() + 0.5);
        }
        (name, array)
    };
    shapes.into_iter().enumerate().map(weight).collect()
}

fn conv(out: usize, kernel: usize, stride: usize, padding: usize) -> Op {
    let (padding_mode, dilation, groups) = (Padding::Zero, 1, 1);
    Op::Conv2d {
        out,
        kernel,
        stride,
        padding,
        padding_mode,
        dilation,
        groups,
        bias: true,
        frozen: false,
    }
}

/// Every op at least once, with the input shape that it is tried on.
fn cases() -> Vec<(Graph, Vec<usize>)> {
    let bent = |mode| {
        let (out, kernel, stride, padding, dilation, groups) = (4, 3, 2, 2, 2, 2);
        let (padding_mode, bias, frozen) = (mode, false, false);
        Op::Conv2d {
            out,
            kernel,
            stride,
            padding,
            padding_mode,
            dilation,
            groups,
            bias,
            frozen,
        }
    };
    let up = |mode| Op::Upsample { factor: 2, mode };
    let transposed = |kernel, stride, padding, output_padding, groups| Op::ConvTranspose2d {
        out: 4,
        kernel,
        stride,
        padding,
        output_padding,
        groups,
        bias: true,
    };
    let pool = |kernel, stride, padding| {
        [
            Op::MaxPool {
                kernel,
                stride,
                padding,
            },
            Op::AvgPool {
                kernel,
                stride,
                padding,
            },
        ]
    };
    let [max, avg] = pool(3, 2, 1);
    let [max2, avg2] = pool(2, 2, 0);
    let norm = || Op::BatchNorm { eps: 1e-3 };
    [
        (2, vec![conv(3, 3, 1, 1)], [2, 7, 6]),
        (2, vec![conv(3, 3, 1, 1), Op::Relu], [2, 7, 6]),
        (2, vec![conv(3, 3, 2, 1), conv(2, 1, 2, 0)], [2, 8, 11]),
        (2, vec![bent(Padding::Zero)], [1, 9, 8]),
        (2, vec![bent(Padding::Replicate)], [1, 9, 8]),
        (2, vec![bent(Padding::Reflect)], [1, 9, 8]),
        (2, vec![transposed(3, 2, 1, 1, 1)], [2, 4, 5]),
        (2, vec![transposed(4, 2, 1, 0, 2)], [2, 3, 5]),
        (2, vec![conv(3, 3, 1, 1), norm()], [3, 5, 4]),
        (2, vec![conv(3, 3, 1, 1), norm(), Op::Relu], [3, 5, 4]),
        (2, vec![norm()], [2, 3, 3]),
        (2, vec![Op::Relu, Op::Add], [1, 4, 5]),
        (2, vec![Op::LeakyRelu { slope: 0.2 }], [1, 4, 5]),
        (2, vec![Op::Sigmoid, Op::Mul], [1, 4, 5]),
        (2, vec![Op::Tanh, Op::Sub], [1, 4, 5]),
        (2, vec![Op::Silu, Op::Concat, conv(2, 1, 1, 0)], [2, 4, 5]),
        (3, vec![Op::Softmax], [2, 2, 3]),
        (2, vec![max], [2, 7, 8]),
        (2, vec![avg], [2, 7, 8]),
        (2, vec![max2], [2, 7, 8]),
        (2, vec![avg2, Op::GlobalAvgPool], [2, 7, 8]),
        (
            2,
            vec![
                up(Interpolation::Nearest),
                Op::Scale {
                    scale: -1.5,
                    shift: 0.5,
                },
            ],
            [2, 3, 4],
        ),
        (2, vec![up(Interpolation::Bilinear)], [2, 3, 4]),
        (8, vec![Op::PixelShuffle { factor: 2 }], [2, 3, 4]),
        (2, vec![Op::PixelUnshuffle { factor: 2 }], [2, 4, 6]),
        (
            2,
            vec![Op::Flatten, Op::Linear { out: 3, bias: true }, Op::Relu, Op::Softmax],
            [3, 2, 2],
        ),
    ]
    .map(|(c, ops, [n, h, w])| (chain(c, &ops), vec![n, c, h, w]))
    .into()
}

/// Outputs, gradients by name (the input's is `x`), and weights afterwards.
fn train_step(network: &Network, x: &Array) -> (Vec<f32>, BTreeMap<String, Vec<f32>>, Weights) {
    let device = network.device();
    let x = Var::from_slice(&x.data, x.shape.as_slice(), device).unwrap();
    let y = network.forward(&[x.as_tensor().clone()], true).unwrap().remove(0);
    // An uneven loss, so that no gradient is the same for all outputs.
    let len = y.elem_count();
    let factors: Vec<f32> = (0..len).map(|i| ((i * 7 + 3) % 11) as f32 / 5.0 - 1.0).collect();
    let loss = (y.flatten_all().unwrap() * Tensor::from_vec(factors, len, device).unwrap())
        .unwrap()
        .sum_all()
        .unwrap();
    let grads = loss.backward().unwrap();
    let mut vars = network.trainable();
    vars.push(("x".into(), x));
    let grad = |(name, var): (String, Var)| {
        let grad = grads
            .get(var.as_tensor())
            .unwrap_or_else(|| panic!("no gradient for {name}"));
        (name, grad.flatten_all().unwrap().to_vec1().unwrap())
    };
    let y = y.flatten_all().unwrap().to_vec1().unwrap();
    (y, vars.into_iter().map(grad).collect(), network.weights().unwrap())
}

#[track_caller]
fn assert_close(got: &[f32], want: &[f32], bound: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1.0f32, |max, x| max.max(x.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= bound * scale, "{what} [{i}]: {got} for {want}");
    }
}

#[test]
fn kernels_agree_with_candle_node_by_node() {
    for (seed, (graph, shape)) in cases().into_iter().enumerate() {
        let seed = seed as u64;
        let what = format!("seed {seed}: {:?}", graph.nodes);
        let weights = random_weights(&graph, std::slice::from_ref(&shape), seed);
        let x = array(&shape, seed, 0);
        let network = Network::new(&graph, &weights, &Device::Cpu).unwrap();
        let reference = Network::by_nodes(&graph, &weights, &Device::Cpu, DType::F32).unwrap();
        let tensor = Tensor::from_slice(&x.data, shape.as_slice(), &Device::Cpu).unwrap();
        let infer = |network: &Network| -> Vec<f32> {
            let y = network.forward(std::slice::from_ref(&tensor), false).unwrap().remove(0);
            y.flatten_all().unwrap().to_vec1().unwrap()
        };
        assert_close(&infer(&network), &infer(&reference), 1e-5, &what);
        let (y, grads, after) = train_step(&network, &x);
        let (want_y, want_grads, want_after) = train_step(&reference, &x);
        assert_close(&y, &want_y, 1e-5, &what);
        for (name, want) in &want_grads {
            assert_close(&grads[name], want, 3e-5, &format!("{name} of {what}"));
        }
        for (name, want) in &want_after {
            assert_close(&after[name].data, &want.data, 1e-5, &format!("{name} of {what}"));
            assert_eq!(after[name].shape, want.shape);
        }
    }
}

/// The gradients against differences of the outputs, which know nothing of gradients.
#[test]
fn gradients_are_the_slopes() {
    const STEP: f32 = 1e-2;
    for (seed, (graph, shape)) in cases().into_iter().enumerate() {
        let seed = seed as u64 + 50;
        let weights = random_weights(&graph, std::slice::from_ref(&shape), seed);
        let x = array(&shape, seed, 0);
        let loss = |weights: &Weights, x: &Array| {
            let network = Network::new(&graph, weights, &Device::Cpu).unwrap();
            let tensor = Tensor::from_slice(&x.data, shape.as_slice(), &Device::Cpu).unwrap();
            let y: Vec<f32> = network.forward(&[tensor], true).unwrap()[0]
                .flatten_all()
                .unwrap()
                .to_vec1()
                .unwrap();
            y.iter()
                .enumerate()
                .map(|(i, y)| f64::from(*y) * (((i * 7 + 3) % 11) as f64 / 5.0 - 1.0))
                .sum::<f64>()
        };
        let network = Network::new(&graph, &weights, &Device::Cpu).unwrap();
        let (_, grads, _) = train_step(&network, &x);
        for (name, grads) in grads {
            let scale = grads.iter().fold(1.0f32, |max, g| max.max(g.abs()));
            let mut off = 0;
            for (i, grad) in grads.iter().enumerate().step_by(grads.len().div_ceil(12)) {
                let moved = |by: f32| {
                    let (mut weights, mut x) = (weights.clone(), x.clone());
                    let array = if name == "x" {
                        &mut x
                    } else {
                        weights.get_mut(&name).unwrap()
                    };
                    array.data[i] += by;
                    loss(&weights, &x)
                };
                let slope = (moved(STEP) - moved(-STEP)) / f64::from(2.0 * STEP);
                off += usize::from((slope - f64::from(*grad)).abs() > 0.02 * f64::from(scale));
            }
            // A step may cross the bend of a ReLU or change the winner of a pool.
            assert!(
                off <= 2,
                "seed {seed}: {off} slopes of {name} are wrong: {:?}",
                graph.nodes
            );
        }
    }
}

/// What candle's own nearest upsampling gets wrong: a value that is upsampled and read elsewhere too.
#[test]
fn gradients_of_all_readers_add_up() {
    let up = |name: &str| Node {
        name: name.into(),
        op: Op::Upsample {
            factor: 2,
            mode: Interpolation::Nearest,
        },
        inputs: vec!["x".into()],
    };
    let sum = Node {
        name: "sum".into(),
        op: Op::Add,
        inputs: vec!["a".into(), "b".into()],
    };
    let graph = Graph {
        nodes: vec![
            Node {
                name: "x".into(),
                op: Op::Input { channels: 1 },
                inputs: Vec::new(),
            },
            up("a"),
            up("b"),
            sum,
        ],
        outputs: vec!["sum".into(), "x".into()],
    };
    for network in [
        Network::new(&graph, &Weights::new(), &Device::Cpu).unwrap(),
        Network::by_nodes(&graph, &Weights::new(), &Device::Cpu, DType::F32).unwrap(),
    ] {
        let x = Var::from_slice(&[1.0f32, 2.0], (1, 1, 1, 2), &Device::Cpu).unwrap();
        let y = network.forward(&[x.as_tensor().clone()], true).unwrap();
        assert_eq!(
            y[0].flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            [2.0, 2.0, 4.0, 4.0, 2.0, 2.0, 4.0, 4.0]
        );
        let loss = (y[0].sum_all().unwrap() + y[1].sqr().unwrap().sum_all().unwrap()).unwrap();
        let grads = loss.backward().unwrap();
        let grad = grads.get(x.as_tensor()).unwrap().flatten_all().unwrap();
        assert_eq!(grad.to_vec1::<f32>().unwrap(), [8.0 + 2.0, 8.0 + 4.0]);
    }
}

#[test]
fn frozen_filters_and_statistics_are_not_trained() {
    let frozen = Op::Conv2d {
        out: 2,
        kernel: 3,
        stride: 1,
        padding: 1,
        padding_mode: Padding::Replicate,
        dilation: 1,
        groups: 1,
        bias: false,
        frozen: true,
    };
    let graph = chain(1, &[frozen, conv(2, 3, 1, 1), Op::BatchNorm { eps: 1e-5 }]);
    let weights = random_weights(&graph, &[vec![1, 1, 4, 4]], 3);
    let network = Network::new(&graph, &weights, &Device::Cpu).unwrap();
    let names: Vec<String> = network.trainable().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["n1.weight", "n1.bias", "n2.weight", "n2.bias"]);
    assert_eq!(network.weights().unwrap(), weights);
    let (_, _, after) = train_step(&network, &array(&[2, 1, 4, 4], 3, 0));
    let changed: Vec<&String> = weights.keys().filter(|name| weights[*name] != after[*name]).collect();
    assert_eq!(changed, ["n2.running_mean", "n2.running_var"]);
}

#[test]
fn running_statistics_follow_the_batch() {
    let graph = chain(1, &[Op::BatchNorm { eps: 1e-5 }]);
    let one = |value: f32| Array {
        shape: vec![1],
        data: vec![value],
    };
    let weights: Weights = [
        ("weight", 2.0),
        ("bias", 1.0),
        ("running_mean", 0.5),
        ("running_var", 2.0),
    ]
    .map(|(name, value)| (format!("n0.{name}"), one(value)))
    .into();
    let network = Network::new(&graph, &weights, &Device::Cpu).unwrap();
    let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 6.0], (2, 1, 1, 2), &Device::Cpu).unwrap();
    let y = network.forward(&[x], true).unwrap()[0]
        .flatten_all()
        .unwrap()
        .to_vec1::<f32>()
        .unwrap();
    // Mean 3, biased variance 14 / 4, unbiased 14 / 3.
    let want = [1.0f32, 2.0, 3.0, 6.0].map(|x| (x - 3.0) / 3.50001f32.sqrt() * 2.0 + 1.0);
    assert_close(&y, &want, 1e-6, "batch norm");
    let after = network.weights().unwrap();
    assert_close(&after["n0.running_mean"].data, &[0.9 * 0.5 + 0.1 * 3.0], 1e-6, "mean");
    assert_close(
        &after["n0.running_var"].data,
        &[0.9 * 2.0 + 0.1 * 14.0 / 3.0],
        1e-6,
        "variance",
    );
}

#[test]
fn the_same_step_gives_the_same_bits() {
    let graph = chain(
        3,
        &[
            conv(12, 3, 1, 1),
            Op::BatchNorm { eps: 1e-5 },
            Op::Relu,
            conv(7, 3, 2, 1),
        ],
    );
    let weights = random_weights(&graph, &[vec![4, 3, 33, 21]], 4);
    let x = array(&[4, 3, 33, 21], 4, 0);
    let step = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| train_step(&Network::new(&graph, &weights, &Device::Cpu).unwrap(), &x))
    };
    let (first, second) = (step(2), step(3));
    assert!(first == second);
}

/// Rounding to 8 bits turns a gradient by little.
#[test]
fn gradients_in_bf16_are_close() {
    for (seed, (graph, shape)) in cases().into_iter().enumerate() {
        let seed = seed as u64;
        let weights = random_weights(&graph, std::slice::from_ref(&shape), seed);
        let x = array(&shape, seed, 0);
        let step = |arithmetic| {
            let executor = Arc::new(Executor::new(&graph, arithmetic).unwrap());
            let network = Network::with(&graph, &weights, &Device::Cpu, DType::F32, Some(executor)).unwrap();
            train_step(&network, &x)
        };
        let (exact, rounded) = (step(Arithmetic::in_f32()), step(Arithmetic::in_bf16()));
        for (name, want) in &exact.1 {
            let size = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x * x)).sum::<f64>().sqrt();
            let off = size(&mut rounded.1[name].iter().zip(want).map(|(got, want)| got - want));
            let whole = size(&mut want.iter().copied()).max(1e-2);
            assert!(
                off < 0.05 * whole,
                "seed {seed}, {name}: off by {off} of {whole}: {:?}",
                graph.nodes
            );
        }
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let graph = chain(2, &[conv(3, 3, 1, 1)]);
    let mut weights = random_weights(&graph, &[vec![1, 2, 4, 4]], 5);
    let refusal = |weights: &Weights, shape: &[usize], dtype| {
        let x = Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
        let outputs = Network::new(&graph, weights, &Device::Cpu).and_then(|network| network.forward(&[x], true));
        outputs.unwrap_err().to_string()
    };
    assert!(refusal(&weights, &[1, 2, 4, 4], DType::F64).contains("f32"));
    assert!(refusal(&weights, &[1, 3, 4, 4], DType::F32).contains("`x`"));
    weights.insert("n0.weight".into(), array(&[3, 2, 2, 2], 0, 0));
    assert!(refusal(&weights, &[1, 2, 4, 4], DType::F32).contains("n0.weight"));
    weights.remove("n0.weight");
    assert!(refusal(&weights, &[1, 2, 4, 4], DType::F32).contains("n0.weight"));
}

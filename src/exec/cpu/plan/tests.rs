use candle_core::{DType, Device, Tensor};
use rand::{Rng, RngExt};

use super::*;
use crate::data::random::stream;
use crate::exec::candle::Network;
use crate::graph::{Array, Builder as Net, Graph, Interpolation, Node, Op, Padding, Weights};
use crate::kernels::{Arithmetic, Isa};

fn array(rng: &mut impl Rng, shape: Vec<usize>, range: std::ops::Range<f32>) -> Array {
    let data = (0..shape.iter().product())
        .map(|_| rng.random_range(range.clone()))
        .collect();
    Array { shape, data }
}

/// Weights of the size that training gives, so that values neither die nor explode.
fn weights(graph: &Graph, inputs: &[Vec<usize>], rng: &mut impl Rng) -> Weights {
    let shapes = graph.weight_shapes(inputs).unwrap();
    let weight = |(name, shape): (String, Vec<usize>)| {
        let fan: usize = shape[1..].iter().product();
        let size = (3.0 / fan as f32).sqrt();
        let range = if name.ends_with("var") { 0.5..1.5 } else { -size..size };
        (name, array(rng, shape, range))
    };
    shapes.into_iter().map(weight).collect()
}

/// A random network: some ops in a row, each on a random value among the latest, joined where shapes allow.
fn random(rng: &mut impl Rng, inputs: &[Vec<usize>]) -> Graph {
    let mut net = Net::new();
    let mut values: Vec<String> = (0..inputs.len())
        .map(|i| net.input(format!("x{i}"), inputs[i][1]))
        .collect();
    let channels = [1, 2, 3, 8, 16, 20, 33];
    for i in 0..rng.random_range(2..12) {
        let pick = |rng: &mut dyn Rng, values: &[String]| {
            let near = values.len().saturating_sub(3)..values.len();
            values[rng.random_range(near)].clone()
        };
        let (a, b) = (pick(rng, &values), pick(rng, &values));
        let groups = |rng: &mut dyn Rng| if rng.random_range(0..4) == 0 { 2 } else { 1 };
        let conv = |rng: &mut dyn Rng, kernel: usize| Op::Conv2d {
            out: 2 * channels[rng.random_range(0..channels.len())],
            kernel,
            stride: [1, 1, 1, 2][rng.random_range(0..4)],
            padding: rng.random_range(0..=kernel / 2 + 1),
            padding_mode: [Padding::Zero, Padding::Zero, Padding::Replicate, Padding::Reflect][rng.random_range(0..4)],
            dilation: [1, 1, 2][rng.random_range(0..3)],
            groups: groups(rng),
            bias: rng.random(),
            frozen: false,
        };
        let window = |rng: &mut dyn Rng| {
            let kernel = rng.random_range(1..4);
            (kernel, rng.random_range(1..4), rng.random_range(0..=kernel / 2))
        };
        let (op, args) = match rng.random_range(0..22) {
            0..=2 => (conv(rng, 3), vec![a]),
            3 => (
                Op::Conv2d {
                    out: 16,
                    kernel: 3,
                    stride: 1,
                    padding: 1,
                    padding_mode: Padding::Zero,
                    dilation: 1,
                    groups: 1,
                    bias: true,
                    frozen: false,
                },
                vec![a],
            ),
            4 => {
                let kernel = [1, 2, 5, 7][rng.random_range(0..4)];
                (conv(rng, kernel), vec![a])
            }
            5 => {
                let (kernel, stride) = (rng.random_range(1..5), rng.random_range(1..4));
                let op = Op::ConvTranspose2d {
                    out: 6,
                    kernel,
                    stride,
                    padding: rng.random_range(0..kernel),
                    output_padding: rng.random_range(0..stride),
                    groups: groups(rng),
                    bias: rng.random(),
                };
                (op, vec![a])
            }
            6 => (Op::BatchNorm { eps: 1e-5 }, vec![a]),
            7 | 8 => (Op::Relu, vec![a]),
            9 => {
                let ops = [
                    Op::LeakyRelu { slope: 0.1 },
                    Op::Sigmoid,
                    Op::Tanh,
                    Op::Silu,
                    Op::Softmax,
                ];
                (ops[rng.random_range(0..ops.len())].clone(), vec![a])
            }
            10 => {
                let (kernel, stride, padding) = window(rng);
                (
                    Op::MaxPool {
                        kernel,
                        stride,
                        padding,
                    },
                    vec![a],
                )
            }
            11 => {
                let (kernel, stride, padding) = window(rng);
                (
                    Op::AvgPool {
                        kernel,
                        stride,
                        padding,
                    },
                    vec![a],
                )
            }
            12 | 13 => {
                let mode = [Interpolation::Nearest, Interpolation::Bilinear][rng.random_range(0..2)];
                (
                    Op::Upsample {
                        factor: rng.random_range(1..4),
                        mode,
                    },
                    vec![a],
                )
            }
            14 => (Op::PixelShuffle { factor: 2 }, vec![a]),
            15 => (Op::PixelUnshuffle { factor: 2 }, vec![a]),
            16 => (Op::Concat, vec![a, b]),
            17 => (Op::Add, vec![a, b]),
            18 => (Op::Sub, vec![a, b]),
            19 => (Op::Mul, vec![a, b]),
            20 => (Op::Scale { scale: 0.5, shift: 0.1 }, vec![a]),
            _ => (Op::GlobalAvgPool, vec![a]),
        };
        let name = format!("n{i}");
        let node = Node { name, op, inputs: args };
        let mut longer = net.clone().finish(&[]);
        longer.nodes.push(node.clone());
        longer.outputs = vec![node.name.clone()];
        // What does not fit, or grows beyond all measure, is left out.
        if longer
            .shapes(inputs)
            .is_ok_and(|shapes| shapes[&node.name].iter().product::<usize>() < 200_000)
        {
            let args: Vec<&str> = node.inputs.iter().map(String::as_str).collect();
            values.push(net.node(node.name.clone(), node.op.clone(), &args));
        }
    }
    let mut last = values.last().expect("there are inputs").clone();
    if rng.random_range(0..4) == 0 {
        last = net.node("flat", Op::Flatten, &[&last]);
        last = net.linear("linear", &last, 7);
    }
    let other = values[rng.random_range(0..values.len())].clone();
    if other == last {
        net.finish(&[&last])
    } else {
        net.finish(&[&last, &other])
    }
}

/// Runs `graph` by plans and by candle, and compares; in bf16, too, where `rounded`, by loops that take their time.
fn compare(graph: &Graph, weights: &Weights, inputs: &[Array], rounded: bool, what: &str) {
    let network = Network::by_nodes(graph, weights, &Device::Cpu, DType::F32).unwrap();
    let tensors: Vec<Tensor> = inputs
        .iter()
        .map(|x| Tensor::from_slice(&x.data, x.shape.as_slice(), &Device::Cpu).unwrap())
        .collect();
    let want = network.forward(&tensors, false).unwrap();
    let (folded, kept) = graph.fold(weights).unwrap();
    let isas = Isa::ALL.into_iter().filter(|isa| isa.is_here());
    let in_f32 = isas.map(|isa| (Arithmetic { isa, tiles: None }, 1e-4));
    // Two rounded factors a product; a few layers on, some of the errors have grown.
    let in_bf16 = (Arithmetic::in_bf16(), 0.1);
    for (arithmetic, bound) in in_f32.chain(rounded.then_some(in_bf16)) {
        for threads in [1, 3] {
            let machine = Machine { arithmetic, threads };
            let mut planner = Planner::new(&folded, &kept, machine).unwrap();
            let mut got = Vec::new();
            // The second run finds memory as the first left it.
            for run in 0..2 {
                planner.run(inputs, &mut got).unwrap();
                for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                    assert_eq!(got.shape, want.dims(), "{what}");
                    let want: Vec<f32> = want.flatten_all().unwrap().to_vec1().unwrap();
                    let size = want.iter().fold(1e-3f32, |size, x| size.max(x.abs()));
                    for (at, (got, want)) in got.data.iter().zip(&want).enumerate() {
                        assert!(
                            (got - want).abs() <= bound * size,
                            "{what}, {arithmetic}, {threads} threads, run {run}, output {i} [{at}]: {got} for {want} of {size}\n{}",
                            graph.to_json()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn random_networks_equal_candle() {
    let seed = 31;
    for case in 0..300 {
        let rng = &mut stream(seed, 0, case);
        let (n, h, w) = (rng.random_range(1..3), rng.random_range(1..40), rng.random_range(1..40));
        let inputs: Vec<Vec<usize>> = (0..rng.random_range(1..3))
            .map(|_| vec![n, rng.random_range(1..20), h, w])
            .collect();
        let graph = random(rng, &inputs);
        let weights = weights(&graph, &inputs, rng);
        let inputs: Vec<Array> = inputs.into_iter().map(|shape| array(rng, shape, -1.0..1.0)).collect();
        compare(
            &graph,
            &weights,
            &inputs,
            case % 10 == 0,
            &format!("seed {seed} case {case}"),
        );
    }
}

/// The planner of an architecture with weights of no meaning, and inputs for one picture.
fn planner(task: crate::model::Task, arch: &str, [width, height]: [usize; 2], threads: usize) -> (Planner, Vec<Array>) {
    let net = crate::nets::build(task, arch, &crate::nets::NetOptions::default()).unwrap();
    let weights = crate::nets::init(&net, 1).unwrap();
    let (graph, weights) = net.graph.fold(&weights).unwrap();
    let rng = &mut stream(5, 0, 0);
    let inputs = net
        .input
        .shapes(width, height)
        .into_iter()
        .map(|shape| array(rng, shape, 0.0..1.0));
    (
        Planner::new(&graph, &weights, Machine::new(threads, false).unwrap()).unwrap(),
        inputs.collect(),
    )
}

#[test]
fn a_full_hd_frame_takes_little_memory() {
    let (mut planner, inputs) = planner(crate::model::Task::Denoise, "fast", [1920, 1080], 2);
    let mut outputs = Vec::new();
    planner.run(&inputs, &mut outputs).unwrap();
    let bytes = planner.plans[0].plan.memory();
    assert!(bytes < 40 << 20, "{bytes}");
}

#[test]
fn every_size_keeps_its_plan() {
    let (mut planner, _) = planner(crate::model::Task::Denoise, "fast", [16, 16], 1);
    let run = |planner: &mut Planner, side: usize| {
        let inputs = [[1, 1, side, side], [1, 1, side / 2, side / 2]].map(|shape| {
            let (shape, data) = (shape.to_vec(), vec![0.5; shape.iter().product()]);
            Array { shape, data }
        });
        let mut outputs = Vec::new();
        planner.run(&inputs, &mut outputs).unwrap();
        planner.plans.iter().map(|plan| plan.inputs[0][3]).collect::<Vec<_>>()
    };
    for (side, kept) in [
        (16, vec![16]),
        (8, vec![16, 8]),
        (16, vec![8, 16]),
        (24, vec![8, 16, 24]),
    ] {
        assert_eq!(run(&mut planner, side), kept);
    }
    (4..9).for_each(|eighth| drop(run(&mut planner, 8 * eighth)));
    assert_eq!(run(&mut planner, 72), [16, 24, 32, 40, 48, 56, 64, 72]);
    planner.share_by(2);
    assert_eq!(run(&mut planner, 80).len(), 9, "two who share it may have more");
    planner.share_by(1);
    assert_eq!(run(&mut planner, 72), [24, 32, 40, 48, 56, 64, 80, 72]);
}

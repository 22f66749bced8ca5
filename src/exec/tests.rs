use candle_core::{Device, Tensor};

use super::*;
use crate::data::random::stream;
use crate::exec::cpu::Executor;
use crate::graph::{Interpolation, Node, Op};
use crate::kernels::{Arithmetic, Tiles};
use rand::RngExt;

/// A small residual network: convolutions with batch norms, a pool and its way back.
fn network() -> (Graph, Weights) {
    let mut net = crate::graph::Builder::new();
    let x = net.input("x", 3);
    let a = net.conv("a", &x, 8, 3, false);
    let a = net.batch_norm("a_norm", &a);
    let a = net.node("a_relu", Op::Relu, &[&a]);
    let b = net.node(
        "pool",
        Op::MaxPool {
            kernel: 2,
            stride: 2,
            padding: 0,
        },
        &[&a],
    );
    let b = net.conv("b", &b, 8, 3, true);
    let b = net.batch_norm("b_norm", &b);
    let b = net.node(
        "up",
        Op::Upsample {
            factor: 2,
            mode: Interpolation::Nearest,
        },
        &[&b],
    );
    let sum = net.node("sum", Op::Add, &[&a, &b]);
    let y = net.conv("y", &sum, 3, 3, true);
    let graph = net.finish(&[&y]);
    let rng = &mut stream(21, 0, 0);
    let weight = |(name, shape): (String, Vec<usize>)| {
        let low = if name.ends_with("running_var") { 0.5 } else { -0.5 };
        let data = (0..shape.iter().product::<usize>())
            .map(|_| rng.random_range(low..low + 1.0))
            .collect();
        (name, Array { shape, data })
    };
    let weights = graph
        .weight_shapes(&[vec![1, 3, 8, 8]])
        .unwrap()
        .into_iter()
        .map(weight)
        .collect();
    (graph, weights)
}

fn picture(n: usize, h: usize, w: usize) -> Array {
    let rng = &mut stream(22, 0, 0);
    Array {
        shape: vec![n, 3, h, w],
        data: (0..n * 3 * h * w).map(|_| rng.random_range(0.0..1.0)).collect(),
    }
}

fn session(graph: &Graph, weights: &Weights, threads: usize) -> Session {
    let (graph, weights) = graph.fold(weights).unwrap();
    let options = Options {
        device: DeviceSpec::Cpu,
        threads,
        ..Options::default()
    };
    Session::folded(&graph, &weights, &options).unwrap()
}

#[test]
fn a_folded_session_equals_the_network() {
    let (graph, weights) = network();
    let network = Network::new(&graph, &weights, &Device::Cpu).unwrap();
    let session = session(&graph, &weights, 2);
    // One session takes any size, and the same size again.
    for (n, h, w) in [(1, 10, 14), (2, 64, 70), (1, 10, 14), (1, 10, 14)] {
        let x = picture(n, h, w);
        let tensor = Tensor::from_slice(&x.data, x.shape.as_slice(), &Device::Cpu).unwrap();
        let want: Vec<f32> = network.forward(&[tensor], false).unwrap()[0]
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap();
        let got = session.run(&[x]).unwrap().remove(0);
        assert_eq!(got.shape, [n, 3, h, w]);
        for (got, want) in got.data.iter().zip(&want) {
            assert!((got - want).abs() <= 1e-4 * (1.0 + want.abs()), "{got} for {want}");
        }
    }
}

#[test]
fn values_are_freed_after_their_last_reader() {
    let mut net = crate::graph::Builder::new();
    let mut x = net.input("x", 4);
    for i in 0..20 {
        x = net.node(format!("n{i}"), Op::Tanh, &[&x]);
    }
    let executor = Executor::new(&net.finish(&[&x]), Arithmetic::in_f32()).unwrap();
    let shape = vec![1, 4, 16, 16];
    let shapes = executor.prepare(vec![shape], &[]).unwrap();
    drop(executor.forward(&[&[0.5; 1024]], &shapes, &[], false));
    // The input of a node and its output; no third buffer was ever needed.
    let buffers: Vec<_> = (0..3).map(|_| executor.memory.take(1024)).collect();
    assert_eq!(
        buffers.iter().filter(|buffer| buffer.iter().any(|x| *x != 0.0)).count(),
        2
    );
}

#[test]
fn refuses_inputs_that_do_not_fit() {
    let (graph, weights) = network();
    let session = session(&graph, &weights, 0);
    let mut x = picture(1, 8, 8);
    x.data.pop();
    assert!(session.run(&[x]).unwrap_err().to_string().contains("191 values"));
    let error = session.run(&[picture(1, 7, 8)]).unwrap_err().to_string();
    assert!(error.contains("node `sum`"), "{error}");
    assert!(session.run(&[]).is_err());
}

#[test]
fn names_of_devices_and_precisions() {
    for (name, spec) in [
        ("auto", DeviceSpec::Auto),
        ("cpu", DeviceSpec::Cpu),
        ("cuda:3", DeviceSpec::Cuda(3)),
    ] {
        assert_eq!(name.parse::<DeviceSpec>().unwrap(), spec);
        assert_eq!(spec.to_string(), name);
    }
    assert_eq!("cuda".parse::<DeviceSpec>().unwrap(), DeviceSpec::Cuda(0));
    for name in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
        let error = name.parse::<DeviceSpec>().unwrap_err().to_string();
        assert!(
            error.contains(&format!("`{name}`")) && error.contains("cuda:N"),
            "{error}"
        );
    }
    for precision in [Precision::Auto, Precision::F32, Precision::Bf16] {
        assert_eq!(precision.to_string().parse::<Precision>().unwrap(), precision);
    }
    assert!("f16".parse::<Precision>().unwrap_err().to_string().contains("bf16"));
}

#[test]
fn says_what_this_build_lacks() {
    let (graph, weights) = network();
    let refusal = |options: Options| Session::folded(&graph, &weights, &options).err().unwrap().to_string();
    let bf16 = Options {
        device: DeviceSpec::Cpu,
        precision: Precision::Bf16,
        threads: 0,
    };
    if Tiles::find().is_none() {
        assert!(refusal(bf16).contains("set the precision to f32"));
    } else {
        let session = Session::folded(&graph, &weights, &bf16).unwrap();
        assert_eq!(session.precision(), Precision::Bf16);
    }
    #[cfg(not(feature = "cuda"))]
    {
        let cuda = Options {
            device: DeviceSpec::Cuda(1),
            ..Options::default()
        };
        let error = refusal(cuda);
        assert!(error.contains("cuda:1") && error.contains("--features cuda"), "{error}");
        assert!(DeviceSpec::Auto.open().unwrap().is_cpu());
    }
}

#[test]
fn a_card_says_whether_bf16_will_do() {
    let keeps = |figure: &str, lost| keeps_in_bf16(&[(figure.to_owned(), lost)].into());
    assert!(keeps(BF16_LOSS, 0.02) && !keeps(BF16_LOSS, 0.03));
    assert!(keeps(BF16_SHIFT, 0.05) && !keeps(BF16_SHIFT, 0.06) && !keeps(BF16_SHIFT, f64::INFINITY));
    assert!(!keeps("val_auroc_synthetic", 0.0));
}

#[test]
fn an_unknown_input_is_named() {
    let node = Node {
        name: "a".into(),
        op: Op::Relu,
        inputs: vec!["missing".into()],
    };
    let graph = Graph {
        nodes: vec![node],
        outputs: vec!["a".into()],
    };
    let error = Session::folded(&graph, &Weights::new(), &Options::default())
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("`a`") && error.contains("`missing`"), "{error}");
}

//! The same on a GPU against the CPU's kernels. They need one: `cargo test --release --features cuda --lib -- --ignored cuda`.

use super::*;
use crate::exec::{DeviceSpec, Options, Session};
use crate::model::{InputSpec, Task};
use crate::nets::{self, Net, NetOptions};

fn gpu() -> Device {
    DeviceSpec::Cuda(0).open().unwrap()
}

/// Distance of two lists of values, as a share of the length of the second.
fn distance(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let length = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let off = length(&mut got.iter().zip(want).map(|(got, want)| got - want));
    off / length(&mut want.iter().copied()).max(1e-6)
}

#[test]
#[ignore = "needs a GPU"]
fn every_op_and_its_gradient_agree() {
    let gpu = gpu();
    for (seed, (graph, shape)) in cases().into_iter().enumerate() {
        let seed = seed as u64;
        let what = format!("seed {seed}: {:?}", graph.nodes);
        let weights = random_weights(&graph, std::slice::from_ref(&shape), seed);
        let x = array(&shape, seed, 0);
        let got = Network::by_nodes(&graph, &weights, &gpu, DType::F32).unwrap();
        let want = Network::new(&graph, &weights, &Device::Cpu).unwrap();
        assert_close(&infer(&got, &[&x]), &infer(&want, &[&x]), 1e-4, &what);
        let (y, grads, after) = train_step(&got, &x);
        let (want_y, want_grads, want_after) = train_step(&want, &x);
        assert_close(&y, &want_y, 1e-4, &what);
        for (name, want) in &want_grads {
            assert_close(&grads[name], want, 1e-4, &format!("{name} of {what}"));
        }
        for (name, want) in &want_after {
            assert_close(&after[name].data, &want.data, 1e-4, &format!("{name} of {what}"));
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn every_op_in_bf16_is_close() {
    let gpu = gpu();
    for (seed, (graph, shape)) in cases().into_iter().enumerate() {
        let seed = seed as u64;
        let weights = random_weights(&graph, std::slice::from_ref(&shape), seed);
        let x = array(&shape, seed, 0);
        let want = infer(&Network::new(&graph, &weights, &Device::Cpu).unwrap(), &[&x]);
        let got = infer(&Network::by_nodes(&graph, &weights, &gpu, DType::BF16).unwrap(), &[&x]);
        let off = distance(&got, &want);
        assert!(off < 0.02, "seed {seed}: off by {off}: {:?}", graph.nodes);
    }
}

fn infer(network: &Network, inputs: &[&Array]) -> Vec<f32> {
    let inputs: Vec<Tensor> = inputs
        .iter()
        .map(|x| Tensor::from_slice(&x.data, x.shape.as_slice(), network.device()).unwrap())
        .collect();
    let y = network.forward(&inputs, false).unwrap().remove(0);
    y.to_dtype(DType::F32)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap()
}

/// Every architecture, with random weights, and inputs of `n` pictures.
fn networks(n: usize) -> Vec<(String, Net, Weights, Vec<Array>)> {
    let mut all = Vec::new();
    for task in [Task::Denoise, Task::Anomaly, Task::Classify, Task::Predict] {
        for name in nets::names(task) {
            let options = NetOptions {
                classes: 5,
                ..NetOptions::default()
            };
            let net = nets::build(task, name, &options).unwrap();
            let inputs = inputs(&net.input, n);
            let shapes: Vec<_> = inputs.iter().map(|input| input.shape.clone()).collect();
            // Some begin with layers of zeros, behind which nothing can be told apart.
            let mut weights = random_weights(&net.graph, &shapes, 1);
            let begun = nets::init(&net, 1).unwrap();
            for (name, weight) in &mut weights {
                let begun = &begun[name].data;
                if begun.iter().any(|x| *x != begun[0]) || name.contains(".running_") {
                    weight.data.clone_from(begun);
                } else {
                    let norm = name.ends_with(".weight") && begun[0] == 1.0;
                    weight.data.iter_mut().for_each(|x| *x = 0.1 * *x + f32::from(norm));
                }
            }
            all.push((format!("{task} {name}"), net, weights, inputs));
        }
    }
    all
}

fn inputs(input: &InputSpec, n: usize) -> Vec<Array> {
    let [width, height] = input.size.unwrap_or([64, 48]);
    let shapes = input.shapes(width, height).into_iter().enumerate();
    shapes
        .map(|(i, mut shape)| {
            shape[0] = n;
            array(&shape, 7, i as u64)
        })
        .collect()
}

#[test]
#[ignore = "needs a GPU"]
fn every_architecture_runs_in_both_precisions() {
    let mut wrong = Vec::new();
    for (name, net, weights, inputs) in networks(1) {
        let (graph, weights) = net.graph.fold(&weights).unwrap();
        let run = |device, precision| {
            let options = Options {
                device,
                precision,
                threads: 0,
            };
            let session = Session::folded(&graph, &weights, &options).unwrap();
            session.run(&inputs).unwrap().remove(0).data
        };
        let want = run(DeviceSpec::Cpu, Precision::F32);
        for (precision, bound) in [(Precision::F32, 1e-4), (Precision::Bf16, 0.15)] {
            let off = distance(&run(DeviceSpec::Cuda(0), precision), &want);
            println!("{name} in {precision}: off by {off:.2e}");
            if off.is_nan() || off >= bound {
                wrong.push(format!("{name} in {precision}: off by {off:.2e}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
#[ignore = "needs a GPU"]
fn every_architecture_trains() {
    let mut wrong = Vec::new();
    let gpu = gpu();
    for (name, net, weights, inputs) in networks(2) {
        let gradients = |network: Network| {
            let tensors: Vec<Tensor> = inputs
                .iter()
                .map(|x| Tensor::from_slice(&x.data, x.shape.as_slice(), network.device()).unwrap())
                .collect();
            let outputs = network.forward(&tensors, true).unwrap();
            let loss = outputs
                .iter()
                .map(|y| y.sqr().unwrap().mean_all().unwrap())
                .reduce(|a, b| (a + b).unwrap())
                .unwrap();
            let store = loss.backward().unwrap();
            let grad = |(name, var): (String, Var)| {
                let grad = store.get(var.as_tensor()).unwrap().flatten_all().unwrap();
                (name, grad.to_vec1::<f32>().unwrap())
            };
            let vars = network.trainable().into_iter();
            (loss.to_scalar::<f32>().unwrap(), vars.map(grad).collect::<Vec<_>>())
        };
        let (got, got_grads) = gradients(Network::by_nodes(&net.graph, &weights, &gpu, DType::F32).unwrap());
        let (want, want_grads) = gradients(Network::new(&net.graph, &weights, &Device::Cpu).unwrap());
        let flat = |grads: &[(String, Vec<f32>)]| grads.iter().flat_map(|(_, grad)| grad.clone()).collect::<Vec<f32>>();
        let off = [
            distance(&[got], &[want]),
            distance(&flat(&got_grads), &flat(&want_grads)),
        ];
        println!("{name}: loss and gradients off by {:.2e} and {:.2e}", off[0], off[1]);
        // A sum that differs in its last bit may lie on the other side of a kink.
        if off.iter().any(|off| off.is_nan()) || off[0] >= 1e-4 || off[1] >= 0.03 {
            wrong.push(format!("{name}: loss and gradients off by {off:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Sessions have streams of their own, and clones of one share its.
#[test]
#[ignore = "needs a GPU"]
fn sessions_do_not_disturb_each_other() {
    let (_, net, weights, inputs) = networks(1).remove(0);
    let (graph, weights) = net.graph.fold(&weights).unwrap();
    let session = || {
        let options = Options {
            device: DeviceSpec::Cuda(0),
            precision: Precision::F32,
            threads: 0,
        };
        Session::folded(&graph, &weights, &options).unwrap()
    };
    let (first, second) = (session(), session());
    let want = first.run(&inputs).unwrap();
    std::thread::scope(|scope| {
        for session in [first.clone(), first.clone(), second.clone(), second.clone()] {
            let (inputs, want) = (&inputs, &want);
            scope.spawn(move || {
                for _ in 0..50 {
                    assert!(session.run(inputs).unwrap() == *want);
                }
            });
        }
    });
}

#[test]
#[ignore = "needs a GPU"]
fn a_gpu_that_is_not_there_is_named() {
    let error = DeviceSpec::Cuda(99).open().unwrap_err().to_string();
    assert!(error.contains("cuda:99"), "{error}");
}

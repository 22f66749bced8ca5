//! Convolution in training against candle's own, and whole training steps: `cargo bench --bench conv`.

use std::hint::black_box;
use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};
use gst_candle::exec::candle::Network;
use gst_candle::kernels::conv::{Conv, conv2d, conv2d_grad_input, conv2d_grad_weight};
use gst_candle::kernels::{Arithmetic, Nhwc};
use gst_candle::model::Task;
use gst_candle::nets;

/// Least seconds of `runs` runs, after one to warm up: what the machine can do when nothing else disturbs it.
fn seconds(runs: usize, mut f: impl FnMut()) -> f64 {
    f();
    let time = |_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    (0..runs).map(time).fold(f64::INFINITY, f64::min)
}

/// One row: GFLOP/s of a 3x3 convolution that keeps the shape.
fn convolution([n, c, side]: [usize; 3]) -> candle_core::Result<()> {
    let (kernel, stride, padding, dilation, groups) = (3, 1, 1, 1, 1);
    #[rustfmt::skip]
    let conv = Conv { kernel, stride, padding, dilation, groups };
    let (h, w) = (side, side);
    let (arithmetic, shape) = (Arithmetic::in_f32(), Nhwc { n, h, w, c });
    let (x, weight) = (vec![0.5; shape.len()], vec![0.1; c * c * 9]);
    let (mut out, mut dw) = (vec![0.0; shape.len()], vec![0.0; weight.len()]);
    let theirs = Var::from_slice(&x, (n, c, h, w), &Device::Cpu)?;
    let filter = Var::from_slice(&weight, (c, c, 3, 3), &Device::Cpu)?;
    let candle = || theirs.conv2d(&filter, 1, 1, 1, 1).expect("the shapes fit");
    let x = (x.as_slice(), shape);
    let forward = seconds(5, || {
        conv2d(arithmetic, &conv, x, &weight, None, false, (&mut out, shape))
    });
    let input = seconds(5, || {
        conv2d_grad_input(arithmetic, &conv, x, &weight, None, (&mut out, shape))
    });
    let grad = seconds(5, || conv2d_grad_weight(arithmetic, &conv, x, (&out, shape), &mut dw));
    let theirs = [
        seconds(2, || drop(black_box(candle()))),
        seconds(1, || drop(black_box(candle().backward()))) / 3.0,
    ];
    let work = 2.0 * (shape.len() * c * 9) as f64 / 1e9;
    let [ours, [a, b]] = [[forward, (forward + input + grad) / 3.0], theirs].map(|times| times.map(|time| work / time));
    let (input, grad) = (work / input, work / grad);
    println!(
        "[{n:3}, {c:3}, {h:3}, {w:3}] {:8.0} {input:8.0} {grad:7.0} {:6.0} {a:15.0} {b:13.0}",
        ours[0], ours[1]
    );
    Ok(())
}

/// One row: milliseconds and GFLOP/s of a training step with a squared loss.
fn step(task: Task, name: &str, n: usize, side: usize) -> gst_candle::Result<()> {
    let options = nets::NetOptions {
        classes: 4,
        ..Default::default()
    };
    let net = nets::build(task, name, &options)?;
    let network = Network::new(&net.graph, &nets::init(&net, 1)?, &Device::Cpu)?;
    let mut shapes = net.input.shapes(side, side);
    shapes.iter_mut().for_each(|shape| shape[0] = n);
    let zeros = |shape: &Vec<usize>| Tensor::zeros(shape.as_slice(), DType::F32, &Device::Cpu);
    let inputs = shapes.iter().map(zeros).collect::<Result<Vec<_>, _>>()?;
    let run = || -> gst_candle::Result<_> { Ok(network.forward(&inputs, true)?[0].sqr()?.mean_all()?.backward()?) };
    run()?;
    let time = seconds(3, || drop(black_box(run())));
    let work = 6.0 * net.graph.multiply_adds(&shapes)? as f64 / 1e9;
    println!(
        "{name:10} [{n:3}, {side:3}x{side:3}] {:9.0} {:9.0}",
        time * 1e3,
        work / time
    );
    Ok(())
}

fn main() -> gst_candle::Result<()> {
    println!("3x3, GFLOP/s          forward  grad-in  grad-w  train  candle forward  candle train");
    for shape in [
        [8, 16, 256],
        [8, 32, 128],
        [8, 64, 64],
        [8, 128, 32],
        [8, 128, 16],
        [64, 32, 32],
        [128, 64, 40],
    ] {
        convolution(shape)?;
    }
    println!("\ntraining step                 ms   GFLOP/s");
    step(Task::Anomaly, "fair", 8, 256)?;
    step(Task::Denoise, "fast", 64, 64)?;
    step(Task::Denoise, "dncnn", 32, 40)
}

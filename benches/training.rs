//! Images a second of training a reference network, over forward pass, backward pass and optimiser step, by precision:
//! `cargo bench --bench training -- dncnn-17x64`. `make bench-train` runs the same networks in PyTorch, too.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use gst_candle::exec::Precision;
use gst_candle::exec::candle::Network;
use gst_candle::graph::{Builder, Graph, Interpolation, Op, Weights};
use gst_candle::kernels::Tiles;
use gst_candle::model::{Color, InputSpec, Normalization, Resize};
use gst_candle::nets::{self, Net};
use gst_candle::train::optimizer::{Optimizer, Params};

/// A convolution with batch norm and ReLU.
fn block(b: &mut Builder, name: &str, x: &str, outs: usize) -> String {
    let x = b.conv(format!("{name}.conv"), x, outs, 3, false);
    let x = b.batch_norm(format!("{name}.norm"), &x);
    b.node(format!("{name}.relu"), Op::Relu, &[&x])
}

/// `depth` convolutions of `width` channels between `channels` and `channels`.
fn plain(b: &mut Builder, x: &str, channels: usize, [width, depth]: [usize; 2], norm: bool) -> String {
    let x = b.conv("first", x, width, 3, true);
    let mut x = b.node("first.relu", Op::Relu, &[&x]);
    for i in 2..depth {
        if norm {
            x = block(b, &format!("{i}"), &x, width);
        } else {
            x = b.conv(format!("{i}"), &x, width, 3, true);
            x = b.node(format!("{i}.relu"), Op::Relu, &[&x]);
        }
    }
    b.conv("last", &x, channels, 3, true)
}

fn dncnn(b: &mut Builder, x: &str) -> String {
    plain(b, x, 1, [64, 17], true)
}

fn ffdnet(b: &mut Builder, x: &str) -> String {
    let x = b.node("unshuffle", Op::PixelUnshuffle { factor: 2 }, &[x]);
    let x = plain(b, &x, 4, [32, 8], false);
    b.node("shuffle", Op::PixelShuffle { factor: 2 }, &[&x])
}

/// Five levels, two blocks each; additive skips.
fn unet(b: &mut Builder, x: &str) -> String {
    let widths = [16, 32, 64, 128, 128];
    let (mut x, mut skips) = (x.to_owned(), Vec::new());
    for (level, width) in widths.into_iter().enumerate() {
        if level > 0 {
            skips.push(x.clone());
            #[rustfmt::skip]
            let pool = Op::MaxPool { kernel: 2, stride: 2, padding: 0 };
            x = b.node(format!("down{level}"), pool, &[&x]);
        }
        for i in 0..2 {
            x = block(b, &format!("encode{level}.{i}"), &x, width);
        }
    }
    for (level, skip) in skips.iter().enumerate().rev() {
        #[rustfmt::skip]
        let enlarge = Op::Upsample { factor: 2, mode: Interpolation::Nearest };
        x = b.node(format!("enlarge{level}"), enlarge, &[&x]);
        x = block(b, &format!("up{level}"), &x, widths[level]);
        x = b.node(format!("skip{level}"), Op::Add, &[&x, skip]);
        for i in 0..2 {
            x = block(b, &format!("decode{level}.{i}"), &x, widths[level]);
        }
    }
    b.conv("output", &x, 3, 3, true)
}

/// Steps of at least four seconds, after one to warm up.
fn images_per_second(graph: &Graph, n: usize, side: usize, precision: Precision) -> gst_candle::Result<f64> {
    let input = InputSpec {
        color: Color::Gray,
        size: None,
        multiple_of: 16,
        resize: Resize::Stretch,
        normalization: Normalization::None,
        frames: 1,
        extra: Vec::new(),
    };
    let given = Weights::new();
    let graph = graph.clone();
    let net = Net { graph, input, given };
    let network = Network::in_precision(&net.graph, &nets::init(&net, 1)?, &Device::Cpu, precision)?;
    let mut optimizer = Optimizer::new(network.trainable(), Params::default())?;
    let x = Tensor::full(0.5f32, (n, 1, side, side), &Device::Cpu)?.to_dtype(DType::F32)?;
    let mut step = || -> gst_candle::Result<()> {
        let loss = network.forward(std::slice::from_ref(&x), true)?[0].sqr()?.mean_all()?;
        optimizer.step(&loss.backward()?, 1e-3)
    };
    step()?;
    let (mut steps, begun) = (0, Instant::now());
    while steps < 2 || begun.elapsed().as_secs() < 4 {
        step()?;
        steps += 1;
    }
    Ok((steps * n) as f64 / begun.elapsed().as_secs_f64())
}

fn main() -> gst_candle::Result<()> {
    type Make = fn(&mut Builder, &str) -> String;
    let nets: [(&str, Make, usize, usize); 3] = [
        ("dncnn-17x64", dncnn, 16, 40),
        ("ffdnet-8x32", ffdnet, 32, 64),
        ("unet-16", unet, 8, 256),
    ];
    // Cargo adds options of its own.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|name| !name.starts_with("--"))
        .collect();
    for (_, make, n, side) in nets.into_iter().filter(|net| wanted.iter().any(|name| name == net.0)) {
        let mut b = Builder::new();
        let x = b.input("x", 1);
        let out = make(&mut b, &x);
        let graph = b.finish(&[&out]);
        for precision in [Precision::F32, Precision::Bf16] {
            if precision == Precision::F32 || Tiles::find() == Some(Tiles::Amx) {
                let rate = images_per_second(&graph, n, side, precision)?;
                println!("{precision} {rate:.2}");
            }
        }
    }
    Ok(())
}

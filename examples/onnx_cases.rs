//! Writes ONNX files of every op and of every shipped model, with inputs and what they give, for `make check-export`.
//!
//!     cargo run --release --example onnx_cases -- OUT

use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use gst_candle::data::random::stream;
use gst_candle::exec::candle::Network;
use gst_candle::graph::onnx::Axis;
use gst_candle::graph::{Array, Builder, Graph, Interpolation, Op, Padding, Weights};
use gst_candle::model::Model;
use rand::RngExt;
use serde_json::{Value, json};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [out] = arguments.as_slice() else {
        bail!("usage: onnx_cases OUT");
    };
    let out = Path::new(out);
    std::fs::create_dir_all(out)?;
    let mut cases = Vec::new();
    for (name, op, inputs) in ops() {
        let (graph, weights, shape) = network(op, inputs)?;
        let open = ["batch", "height", "width"].map(|name| Axis::Named(name.into()));
        let [batch, height, width] = open;
        let axes = vec![batch, Axis::Fixed(shape[1]), height, width];
        let shapes = [shape];
        let bytes = graph.to_onnx(&weights, &[axes], &shapes, [])?;
        cases.push(case(out, name, &bytes, &graph, &weights, &shapes)?);
    }
    let mut files: Vec<_> = std::fs::read_dir("models")?
        .map(|file| file.map(|file| file.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|end| end == "safetensors"));
    files.sort();
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let model = Model::load(&file)?;
        let [width, height] = model.input.size.unwrap_or([128, 96]);
        let shapes = model.input.shapes(width, height);
        let bytes = model.to_onnx(None)?;
        cases.push(case(out, &name, &bytes, &model.graph, &model.weights, &shapes)?);
    }
    std::fs::write(out.join("cases.json"), serde_json::to_string_pretty(&cases)?)?;
    Ok(())
}

/// Every op with options that matter, and how many inputs it has.
fn ops() -> Vec<(&'static str, Op, usize)> {
    #[rustfmt::skip]
    let conv = |kernel, stride, padding, padding_mode, dilation, groups| Op::Conv2d {
        out: 8, kernel, stride, padding, padding_mode, dilation, groups, bias: true, frozen: false,
    };
    #[rustfmt::skip]
    let back = |kernel, stride, padding, output_padding, groups| Op::ConvTranspose2d {
        out: 6, kernel, stride, padding, output_padding, groups, bias: true,
    };
    let upsample = |factor, mode| Op::Upsample { factor, mode };
    #[rustfmt::skip]
    let max = |kernel, stride, padding| Op::MaxPool { kernel, stride, padding };
    #[rustfmt::skip]
    let mean = |kernel, stride, padding| Op::AvgPool { kernel, stride, padding };
    vec![
        ("conv", conv(3, 1, 1, Padding::Zero, 1, 1), 1),
        ("conv-stride", conv(5, 2, 2, Padding::Zero, 1, 2), 1),
        ("conv-dilated", conv(3, 1, 2, Padding::Zero, 2, 4), 1),
        ("conv-replicate", conv(3, 1, 1, Padding::Replicate, 1, 1), 1),
        ("conv-reflect", conv(7, 1, 3, Padding::Reflect, 1, 1), 1),
        ("conv-transpose", back(4, 2, 1, 0, 1), 1),
        ("conv-transpose-odd", back(3, 2, 1, 1, 2), 1),
        ("batch-norm", Op::BatchNorm { eps: 1e-3 }, 1),
        ("relu", Op::Relu, 1),
        ("leaky-relu", Op::LeakyRelu { slope: 0.2 }, 1),
        ("sigmoid", Op::Sigmoid, 1),
        ("tanh", Op::Tanh, 1),
        ("silu", Op::Silu, 1),
        ("softmax", Op::Softmax, 1),
        ("max-pool", max(3, 2, 1), 1),
        ("avg-pool", mean(3, 2, 1), 1),
        ("global-avg-pool", Op::GlobalAvgPool, 1),
        ("upsample-nearest-2", upsample(2, Interpolation::Nearest), 1),
        ("upsample-nearest-3", upsample(3, Interpolation::Nearest), 1),
        ("upsample-bilinear-2", upsample(2, Interpolation::Bilinear), 1),
        ("upsample-bilinear-4", upsample(4, Interpolation::Bilinear), 1),
        ("pixel-shuffle", Op::PixelShuffle { factor: 2 }, 1),
        ("pixel-unshuffle", Op::PixelUnshuffle { factor: 2 }, 1),
        ("concat", Op::Concat, 2),
        ("add", Op::Add, 2),
        ("sub", Op::Sub, 2),
        ("mul", Op::Mul, 2),
        (
            "scale",
            Op::Scale {
                scale: -0.3,
                shift: 1.7,
            },
            1,
        ),
        ("flatten", Op::Flatten, 1),
        ("linear", Op::Linear { out: 5, bias: true }, 1),
    ]
}

/// One op behind a convolution, or behind two, and a shape for it.
fn network(op: Op, inputs: usize) -> Result<(Graph, Weights, Vec<usize>)> {
    let mut b = Builder::new();
    let x = b.input("x", 3);
    let mut values: Vec<String> = (0..inputs)
        .map(|i| b.conv(format!("before{i}"), &x, 8, 3, true))
        .collect();
    if let Op::Linear { .. } = op {
        values[0] = b.node("flat", Op::Flatten, &[&values[0]]);
    }
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let y = b.node("y", op, &values);
    let graph = b.finish(&[&y]);
    let shape = vec![2, 3, 12, 16];
    let mut rng = stream(71, 0, 0);
    let shaped = |(name, shape): (String, Vec<usize>)| {
        let low = if name.ends_with("running_var") { 0.5 } else { -0.5 };
        let data = (0..shape.iter().product())
            .map(|_| rng.random_range(low..low + 1.0))
            .collect();
        (name, Array { shape, data })
    };
    let weights = graph
        .weight_shapes(std::slice::from_ref(&shape))?
        .into_iter()
        .map(shaped)
        .collect();
    Ok((graph, weights, shape))
}

/// Writes NAME.onnx, NAME.N.input and NAME.N.output; returns the line of the list.
fn case(out: &Path, name: &str, onnx: &[u8], graph: &Graph, weights: &Weights, shapes: &[Vec<usize>]) -> Result<Value> {
    std::fs::write(out.join(format!("{name}.onnx")), onnx)?;
    let network = Network::by_nodes(graph, weights, &Device::Cpu, DType::F32)?;
    let mut rng = stream(72, 0, 0);
    let mut inputs = Vec::new();
    for shape in shapes {
        let data: Vec<f32> = (0..shape.iter().product())
            .map(|_| rng.random_range(0.0f32..1.0))
            .collect();
        inputs.push(Tensor::from_vec(data, shape.as_slice(), &Device::Cpu)?);
    }
    let outputs = network.forward(&inputs, false).context(name.to_owned())?;
    for (kind, tensors) in [("input", &inputs), ("output", &outputs)] {
        for (i, tensor) in tensors.iter().enumerate() {
            let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
            let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            std::fs::write(out.join(format!("{name}.{i}.{kind}")), bytes)?;
        }
    }
    let outputs: Vec<&[usize]> = outputs.iter().map(Tensor::dims).collect();
    Ok(json!({ "name": name, "inputs": shapes, "outputs": outputs }))
}

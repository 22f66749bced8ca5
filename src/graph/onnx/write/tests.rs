use std::collections::BTreeSet;

use super::*;
use crate::graph::Builder;

/// Every op once.
pub fn graph() -> Graph {
    let mut b = Builder::new();
    let x = b.input("x", 4);
    let mut conv = |name: &str, padding_mode| {
        let op = Op::Conv2d {
            out: 4,
            kernel: 3,
            stride: 1,
            padding: 1,
            padding_mode,
            dilation: 1,
            groups: 2,
            bias: true,
            frozen: false,
        };
        b.node(name, op, &["x"])
    };
    let mut values = vec![
        conv("zero", Padding::Zero),
        conv("edge", Padding::Replicate),
        conv("mirror", Padding::Reflect),
    ];
    values.push(b.batch_norm("norm", &x));
    let slope = 0.1;
    let plain = [
        Op::Relu,
        Op::LeakyRelu { slope },
        Op::Sigmoid,
        Op::Tanh,
        Op::Silu,
        Op::Softmax,
    ];
    for (i, op) in plain.into_iter().enumerate() {
        values.push(b.node(format!("plain{i}"), op, &[&x]));
    }
    values.push(b.node("scale", Op::Scale { scale: 2.0, shift: 1.0 }, &[&x]));
    let sum = b.node("sum", Op::Add, &[&values[0], &values[1]]);
    let difference = b.node("difference", Op::Sub, &[&sum, &values[2]]);
    values.push(b.node("product", Op::Mul, &[&difference, &x]));
    let all: Vec<&str> = values.iter().map(String::as_str).collect();
    let joined = b.node("joined", Op::Concat, &all);
    let shuffled = b.node("shuffled", Op::PixelShuffle { factor: 2 }, &[&joined]);
    let cells = b.node("cells", Op::PixelUnshuffle { factor: 2 }, &[&shuffled]);
    let (kernel, stride, padding) = (2, 2, 0);
    let small = b.node(
        "largest",
        Op::MaxPool {
            kernel,
            stride,
            padding,
        },
        &[&cells],
    );
    let small = b.node(
        "mean",
        Op::AvgPool {
            kernel,
            stride,
            padding,
        },
        &[&small],
    );
    let (factor, mode) = (2, Interpolation::Nearest);
    let large = b.node("repeated", Op::Upsample { factor, mode }, &[&small]);
    let mode = Interpolation::Bilinear;
    let large = b.node("blended", Op::Upsample { factor, mode }, &[&large]);
    #[rustfmt::skip]
    let back = Op::ConvTranspose2d { out: 3, kernel: 2, stride: 2, padding: 0, output_padding: 0, groups: 1, bias: false };
    let back = b.node("back", back, &[&large]);
    let mean = b.node("means", Op::GlobalAvgPool, &[&back]);
    let flat = b.node("flat", Op::Flatten, &[&mean]);
    let out = b.linear("out", &flat, 5);
    b.finish(&[&out])
}

#[test]
fn every_op_is_written_with_all_that_it_reads() {
    let graph = graph();
    let shapes = [vec![1, 4, 8, 8]];
    let weights: Weights = graph
        .weight_shapes(&shapes)
        .unwrap()
        .into_iter()
        .map(|(name, shape)| {
            let data = vec![0.5; shape.iter().product()];
            (name, Array { shape, data })
        })
        .collect();
    let axes = [
        Axis::Fixed(1),
        Axis::Fixed(4),
        Axis::Named("height".into()),
        Axis::Named("width".into()),
    ];
    let notes = [("task".to_owned(), "denoise".to_owned())];
    let bytes = graph.to_onnx(&weights, &[axes.to_vec()], &shapes, notes).unwrap();
    let model = proto::Model::decode(bytes.as_slice()).unwrap();
    assert_eq!((model.ir_version, model.opset_import[0].version), (8, 17));
    assert_eq!(
        (
            model.metadata_props[0].key.as_str(),
            model.metadata_props[0].value.as_str()
        ),
        ("task", "denoise")
    );
    let written = model.graph.unwrap();
    let mut known: BTreeSet<&str> = written.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    for tensor in &written.initializer {
        let size = if tensor.data_type == I64 { 8 } else { 4 };
        let values: i64 = tensor.dims.iter().product();
        assert_eq!(tensor.raw_data.len() as i64, values * size, "{}", tensor.name);
    }
    known.extend(written.input.iter().map(|input| input.name.as_str()));
    known.insert("");
    for node in &written.node {
        for input in &node.input {
            assert!(
                known.contains(input.as_str()),
                "{} reads `{input}`, which nothing makes",
                node.name
            );
        }
        assert!(known.insert(&node.output[0]), "{} is made twice", node.name);
    }
    assert!(weights.keys().all(|name| known.contains(name.as_str())));
    assert!(known.contains(written.output[0].name.as_str()));
    let ops: BTreeSet<&str> = written.node.iter().map(|node| node.op_type.as_str()).collect();
    let wanted = "Add AveragePool BatchNormalization Concat Conv ConvTranspose DepthToSpace Flatten Gather Gemm \
                  GlobalAveragePool LeakyRelu MaxPool Mul Pad Relu Resize Sigmoid Softmax SpaceToDepth Sub Tanh";
    assert_eq!(ops, wanted.split(' ').filter(|op| !op.is_empty()).collect());
}

#[test]
fn a_missing_weight_is_named() {
    let axes = vec![Axis::Fixed(1), Axis::Fixed(4), Axis::Fixed(8), Axis::Fixed(8)];
    let error = graph()
        .to_onnx(&Weights::new(), &[axes], &[vec![1, 4, 8, 8]], [])
        .unwrap_err();
    assert!(error.to_string().contains("`zero.weight`"), "{error}");
}

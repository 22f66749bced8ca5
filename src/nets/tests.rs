use candle_core::{Device, Tensor};

use super::*;
use crate::exec::candle::Network;
use crate::graph::Op;

fn net(task: Task, name: &str, options: NetOptions) -> Net {
    build(task, name, &options).unwrap()
}

fn color(color: Color) -> NetOptions {
    NetOptions {
        color: Some(color),
        ..Default::default()
    }
}

fn classes(classes: usize) -> NetOptions {
    NetOptions {
        classes,
        ..Default::default()
    }
}

/// Trained parameters: running statistics and fixed filters are none.
fn parameters(net: &Net) -> usize {
    let counted = |name: &&String| !name.contains(".running_") && !name.starts_with("highpass.");
    let weights = init(net, 0).unwrap();
    weights
        .keys()
        .filter(counted)
        .map(|name| weights[name].data.len())
        .sum()
}

fn message(task: Task, name: &str, options: NetOptions) -> String {
    build(task, name, &options).unwrap_err().to_string()
}

#[test]
fn parameters_are_the_published_ones() {
    use Color::{Gray, Rgb};
    let count = |task, name, options| parameters(&net(task, name, options));
    assert_eq!(count(Task::Denoise, "micro", color(Gray)), 22_804);
    // In colour the published ones, and what makes the share of the input that is kept.
    assert_eq!(count(Task::Denoise, "micro", color(Rgb)), 26_268 + 25 * 12);
    assert_eq!(count(Task::Denoise, "fast", color(Gray)), 58_116);
    assert_eq!(count(Task::Denoise, "fast", color(Rgb)), 62_732 + 33 * 12);
    assert_eq!(count(Task::Denoise, "ffdnet", color(Gray)), 485_316);
    assert_eq!(count(Task::Denoise, "ffdnet", color(Rgb)), 852_108);
    assert_eq!(count(Task::Denoise, "dncnn", color(Gray)), 556_097);
    let blind = NetOptions {
        depth: Some(20),
        ..Default::default()
    };
    assert_eq!(count(Task::Denoise, "dncnn", blind), 667_073);
    assert_eq!(count(Task::Classify, "lenet", classes(10)), 61_706);
    assert_eq!(count(Task::Classify, "tiny", classes(10)), 295_002);
    let in_color = NetOptions {
        color: Some(Rgb),
        ..classes(10)
    };
    // Published as 0.27 and 11.2 million.
    assert_eq!(count(Task::Classify, "resnet20", in_color.clone()), 272_474);
    assert_eq!(count(Task::Classify, "resnet18", in_color), 11_173_962);
    // Encoder 9·65,312, decoder 9·54,528, two for each of 1,344 normalised channels, output 16·9 + 1.
    assert_eq!(count(Task::Anomaly, "fair", color(Gray)), 1_081_393);
    // Blocks 489,152, between the levels 86,688, at the ends 592 and 580.
    assert_eq!(count(Task::Anomaly, "unet", color(Gray)), 577_012);
    // Two more levels, of 128 channels as the fourth: blocks 1,669,824, between the levels 350,112, at the ends as above.
    let deeper = NetOptions {
        depth: Some(6),
        ..color(Gray)
    };
    assert_eq!(count(Task::Anomaly, "unet", deeper), 2_021_108);
}

#[test]
fn work_is_as_published() {
    let fast = net(Task::Denoise, "fast", color(Color::Rgb));
    let work = fast.graph.multiply_adds(&fast.input.shapes(1280, 720)).unwrap();
    // The published 62,496, and the share of the input that is kept.
    assert_eq!(work, (62_496 + 32 * 12) * 640 * 360);
    let fair = net(Task::Anomaly, "fair", NetOptions::default());
    let work = fair.graph.multiply_adds(&fair.input.shapes(256, 256)).unwrap() as f64;
    assert!((2.4e9..2.6e9).contains(&work), "{work}");
}

#[test]
fn every_network_keeps_its_promises() {
    for task in [Task::Denoise, Task::Anomaly, Task::Classify, Task::Predict] {
        for name in names(task) {
            for c in [Color::Gray, Color::Rgb] {
                let net = net(task, name, NetOptions { classes: 5, ..color(c) });
                let (w, h) = net.input.size.map_or((64, 48), |[w, h]| (w, h));
                let inputs = net.input.shapes(w, h);
                let shapes = net.graph.shapes(&inputs).unwrap();
                let output = shapes[&net.graph.outputs[0]].as_slice();
                assert_eq!(inputs[0], [1, c.channels() * net.input.frames, h, w], "{name}");
                let expected = match (task, *name) {
                    (Task::Classify, _) => vec![1, 5],
                    (Task::Anomaly, "unet" | "fair-seg") => vec![1, 1, h, w],
                    _ => vec![1, c.channels(), h, w],
                };
                assert_eq!(output, expected, "{name}");
                let weights = init(&net, 3).unwrap();
                assert_eq!(weights, init(&net, 3).unwrap(), "{name}");
                assert_ne!(weights, init(&net, 4).unwrap(), "{name}");
                let (folded, left) = net.graph.fold(&weights).unwrap();
                assert!(
                    folded.nodes.iter().all(|node| !matches!(node.op, Op::BatchNorm { .. })),
                    "{name}"
                );
                assert_eq!(folded.weight_shapes(&inputs).unwrap().len(), left.len(), "{name}");
            }
        }
    }
}

#[test]
fn fixed_sizes_and_code_sizes_are_obeyed() {
    let options = NetOptions {
        size: Some([96, 64]),
        width: Some(4),
        code_size: Some(7),
        depth: Some(5),
        ..classes(0)
    };
    let net = net(Task::Anomaly, "autoencoder", options);
    let shapes = net.graph.shapes(&net.input.shapes(96, 64)).unwrap();
    assert_eq!(shapes["code"], [1, 7, 2, 3]);
    assert_eq!(shapes["encode4.conv"], [1, 32, 2, 3]);
    assert_eq!(shapes["output"], [1, 1, 64, 96]);
}

#[test]
fn the_marking_net_takes_any_size_and_gives_shares() {
    let net = net(Task::Anomaly, "unet", NetOptions::default());
    assert_eq!(net.input.size, None);
    assert_eq!(net.input.normalization, Normalization::PerFrame);
    assert_eq!(net.input.multiple_of, 16);
    for [w, h] in [[16, 16], [48, 160], [1280, 720]] {
        let shapes = net.graph.shapes(&net.input.shapes(w, h)).unwrap();
        assert_eq!(shapes["output"], [1, 1, h, w]);
    }
    assert_eq!(net.graph.outputs, ["output", "logits"]);
    let output = net.graph.nodes.iter().find(|node| node.name == "output").unwrap();
    assert!(matches!(output.op, Op::Sigmoid));
    let sized = NetOptions {
        size: Some([64, 64]),
        ..Default::default()
    };
    assert!(message(Task::Anomaly, "unet", sized).contains("no option size"));
}

#[test]
fn weights_are_he_normal_and_the_last_ones_small() {
    let net = net(Task::Denoise, "ffdnet", NetOptions::default());
    let weights = init(&net, 1).unwrap();
    let deviation = |name: &str| {
        let data = &weights[name].data;
        (data.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / data.len() as f64).sqrt()
    };
    let he = (2.0 / (64.0 * 9.0_f64)).sqrt();
    assert!(
        (deviation("conv7.weight") / he - 1.0).abs() < 0.02,
        "{}",
        deviation("conv7.weight")
    );
    assert!(
        (deviation("conv15.weight") / he - 0.1).abs() < 0.01,
        "{}",
        deviation("conv15.weight")
    );
    assert!(weights["conv7.bias"].data.iter().all(|&v| v == 0.0));
    assert_ne!(weights["conv7.weight"], weights["conv8.weight"]);
}

#[test]
fn the_highpass_is_frozen_and_sees_no_constant() {
    let net = net(Task::Anomaly, "fair", color(Color::Rgb));
    let highpass = net.graph.nodes.iter().find(|node| node.name == "highpass").unwrap();
    assert!(matches!(
        highpass.op,
        Op::Conv2d {
            frozen: true,
            bias: false,
            groups: 3,
            ..
        }
    ));
    let array = &init(&net, 5).unwrap()["highpass.weight"];
    assert_eq!(array, &net.given["highpass.weight"]);
    for filter in array.data.chunks(9) {
        assert_eq!(filter.iter().sum::<f32>(), 0.0);
        assert_eq!(filter.iter().filter(|&&v| v > 0.0).sum::<f32>(), 1.0);
    }
}

#[test]
fn marks_are_rare_before_training() {
    let net = net(Task::Anomaly, "unet", color(Color::Gray));
    assert_eq!(init(&net, 5).unwrap()["logit.bias"].data, [-4.6; 4]);
}

#[test]
fn errors_name_the_architecture_and_the_option() {
    let none = NetOptions::default;
    let text = message(Task::Denoise, "fair", none());
    assert_eq!(
        text,
        "there is no architecture `fair` for denoise; choose one of fast, micro, ffdnet, dncnn, unet, recurrent"
    );
    assert_eq!(
        message(Task::Embed, "unet", none()),
        "there is no architecture for embed yet"
    );
    let text = message(
        Task::Denoise,
        "fast",
        NetOptions {
            size: Some([64, 64]),
            ..none()
        },
    );
    assert_eq!(text, "architecture `fast`: it has no option size; leave it out");
    let text = message(
        Task::Anomaly,
        "fair",
        NetOptions {
            size: Some([64, 40]),
            ..none()
        },
    );
    assert_eq!(text, "architecture `fair`: size 40 is not a multiple of 16");
    assert!(
        message(
            Task::Anomaly,
            "fair",
            NetOptions {
                code_size: Some(4),
                ..none()
            }
        )
        .contains("code size")
    );
    assert!(message(Task::Classify, "tiny", none()).contains("the number of classes 0 is not in 2..="));
    assert!(
        message(
            Task::Classify,
            "lenet",
            NetOptions {
                size: Some([12, 32]),
                ..classes(3)
            }
        )
        .contains("12x32")
    );
    assert!(
        message(
            Task::Denoise,
            "fast",
            NetOptions {
                width: Some(0),
                ..none()
            }
        )
        .contains("width 0")
    );
    assert!(
        message(
            Task::Denoise,
            "fast",
            NetOptions {
                depth: Some(1),
                ..none()
            }
        )
        .contains("depth 1")
    );
}

#[test]
fn the_background_alone_is_raised() {
    for name in ["unet", "fcn"] {
        let net = net(Task::Segment, name, classes(3));
        let input = Tensor::rand(0f32, 1.0, (1, 1, 32, 32), &Device::Cpu).unwrap();
        let logits = |weights: &Weights| {
            let network = Network::new(&net.graph, weights, &Device::Cpu).unwrap();
            let output = network
                .forward(std::slice::from_ref(&input), false)
                .unwrap()
                .swap_remove(0);
            output.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let mut weights = init(&net, 1).unwrap();
        let before = logits(&weights);
        raise_background(&net.graph, &mut weights, 3, 1.5);
        let after = logits(&weights);
        for (i, (before, after)) in before.iter().zip(&after).enumerate() {
            let wanted = if i < 32 * 32 { 1.5 } else { 0.0 };
            assert!((after - before - wanted).abs() < 1e-4, "{name} {i}: {before} {after}");
        }
    }
}

use super::*;
use crate::data::random::stream;
use crate::graph::onnx::read;
use crate::graph::{Array, Builder, Weights};
use rand::RngExt;

/// A network as another program would export it: without a word on what it is for. An axis of 0 is open.
fn foreign(graph: &Graph, [height, width]: [usize; 2]) -> Imported {
    let side = |n: usize| if n == 0 { 16 } else { n };
    let channels = graph.nodes.iter().find_map(|node| match node.op {
        Op::Input { channels } => Some(channels),
        _ => None,
    });
    let shapes = [vec![1, channels.unwrap(), side(height), side(width)]];
    let mut rng = stream(61, 0, 0);
    let shaped = |(name, shape): (String, Vec<usize>)| {
        let data = (0..shape.iter().product())
            .map(|_| rng.random_range(0.1f32..1.0))
            .collect();
        (name, Array { shape, data })
    };
    let weights: Weights = graph.weight_shapes(&shapes).unwrap().into_iter().map(shaped).collect();
    let axis = |n: usize, name: &str| match n {
        0 => Axis::Named(name.into()),
        n => Axis::Fixed(n),
    };
    let axes = vec![
        Axis::Named("batch".into()),
        Axis::Fixed(shapes[0][1]),
        axis(height, "height"),
        axis(width, "width"),
    ];
    let bytes = graph.to_onnx(&weights, &[axes], &shapes, []).unwrap();
    read(bytes, None, &|_, _, _| Err(Error::Invalid("nothing is beside".into()))).unwrap()
}

fn told(task: Task) -> Foreign {
    Foreign {
        task: Some(task),
        labels: Vec::new(),
        size: None,
        resize: None,
        mean: Vec::new(),
        std: Vec::new(),
    }
}

fn reason(imported: Imported, told: Foreign) -> String {
    Model::from_onnx(imported, told).unwrap_err().to_string()
}

/// Two convolutions and, with `classes`, a linear layer, then `end`.
fn network(channels: usize, classes: Option<usize>, end: Option<Op>) -> Graph {
    let mut b = Builder::new();
    let x = b.input("x", channels);
    let x = b.conv("a", &x, 4, 3, true);
    let mut y = b.conv("b", &x, channels, 3, true);
    if let Some(classes) = classes {
        let mean = b.node("mean", Op::GlobalAvgPool, &[&y]);
        let flat = b.node("flat", Op::Flatten, &[&mean]);
        y = b.linear("fc", &flat, classes);
    }
    if let Some(end) = end {
        y = b.node("end", end, &[&y]);
    }
    b.finish(&[&y])
}

#[test]
fn a_classifier_gets_what_it_is_told() {
    let imported = || foreign(&network(3, Some(4), None), [20, 30]);
    let model = Model::from_onnx(imported(), told(Task::Classify)).unwrap();
    assert_eq!(model.labels, ["class 0", "class 1", "class 2", "class 3"]);
    assert_eq!((model.input.size, model.input.color), (Some([30, 20]), Color::Rgb));
    assert_eq!(model.input.normalization, Normalization::None);
    let labels: Vec<String> = ["a", "b", "c", "d"].map(String::from).into();
    let all = Foreign {
        labels: labels.clone(),
        size: Some([30, 20]),
        resize: Some(Resize::Crop),
        mean: vec![0.5],
        std: vec![0.25, 0.5, 1.0],
        ..told(Task::Classify)
    };
    let model = Model::from_onnx(imported(), all).unwrap();
    assert_eq!((model.labels, model.input.resize), (labels, Resize::Crop));
    let (mean, std) = (vec![0.5; 3], vec![0.25, 0.5, 1.0]);
    assert_eq!(model.input.normalization, Normalization::Fixed { mean, std });

    for (wrong, words) in [
        (
            Foreign {
                task: None,
                ..told(Task::Classify)
            },
            "give --task",
        ),
        (
            Foreign {
                labels: vec!["a".into()],
                ..told(Task::Classify)
            },
            "1 labels for a network of 4 outputs",
        ),
        (
            Foreign {
                labels: vec!["a".into(); 4],
                ..told(Task::Classify)
            },
            "`a` is there twice",
        ),
        (
            Foreign {
                size: Some([20, 30]),
                ..told(Task::Classify)
            },
            "30x20 alone",
        ),
        (
            Foreign {
                mean: vec![1.0; 2],
                ..told(Task::Classify)
            },
            "--mean: 2 values for 3 channels",
        ),
        (
            Foreign {
                std: vec![0.0],
                ..told(Task::Classify)
            },
            "stds finite and above 0",
        ),
        (
            Foreign {
                resize: Some(Resize::Tile),
                ..told(Task::Classify)
            },
            "resize tile",
        ),
        (told(Task::Segment), "a plane of the picture's size for each label"),
        (told(Task::Denoise), "the picture's shape"),
    ] {
        let reason = reason(imported(), wrong);
        assert!(reason.contains(words), "{words}: {reason}");
    }
}

#[test]
fn classifiers_of_any_size_need_one() {
    let open = || foreign(&network(1, Some(2), None), [0, 0]);
    assert!(reason(open(), told(Task::Classify)).contains("give --size"));
    let size = Some([24, 16]);
    let model = Model::from_onnx(
        open(),
        Foreign {
            size,
            ..told(Task::Classify)
        },
    )
    .unwrap();
    assert_eq!((model.input.size, model.input.color), (size, Color::Gray));
}

#[test]
fn the_end_of_a_classifier_is_its_logits() {
    let plain = network(3, Some(4), None);
    let model = |graph: &Graph| Model::from_onnx(foreign(graph, [16, 16]), told(Task::Classify));
    let with_softmax = model(&network(3, Some(4), Some(Op::Softmax))).unwrap();
    assert_eq!(with_softmax.graph, plain);
    assert_eq!(with_softmax.weights, model(&plain).unwrap().weights);
    let sigmoid = model(&network(3, Some(4), Some(Op::Sigmoid))).unwrap_err().to_string();
    assert!(sigmoid.contains("sigmoid") && sigmoid.contains("logits"), "{sigmoid}");
    let one = model(&network(3, Some(1), None)).unwrap_err().to_string();
    assert!(one.contains("1 output: a classifier has one for each class"), "{one}");
    // Where a softmax is not at the end, it is the network's own.
    assert_eq!(
        Model::from_onnx(
            foreign(&network(3, Some(4), Some(Op::Softmax)), [16, 16]),
            told(Task::Embed)
        )
        .unwrap()
        .graph
        .nodes
        .len(),
        plain.nodes.len() + 1
    );
    let logarithm = Imported {
        log_softmax: true,
        ..foreign(&plain, [16, 16])
    };
    assert_eq!(
        Model::from_onnx(logarithm.clone(), told(Task::Classify)).unwrap().graph,
        plain
    );
    assert!(reason(logarithm, told(Task::Embed)).contains("LogSoftmax"));
}

#[test]
fn a_segmenter_has_a_plane_of_logits_for_each_class() {
    let model = |graph: &Graph| Model::from_onnx(foreign(graph, [0, 0]), told(Task::Segment));
    let plain = network(3, None, None);
    let with_softmax = model(&network(3, None, Some(Op::Softmax))).unwrap();
    assert_eq!(with_softmax.graph, plain);
    assert_eq!(with_softmax.labels, ["class 0", "class 1", "class 2"]);
    let logarithm = Imported {
        log_softmax: true,
        ..foreign(&plain, [0, 0])
    };
    assert_eq!(Model::from_onnx(logarithm, told(Task::Segment)).unwrap().graph, plain);
    let sigmoid = model(&network(3, None, Some(Op::Sigmoid))).unwrap_err().to_string();
    assert!(sigmoid.contains("a sigmoid") && sigmoid.contains("logits"), "{sigmoid}");
    for end in [None, Some(Op::Softmax)] {
        let one = model(&network(1, None, end)).unwrap_err().to_string();
        assert!(
            one.contains("1 plane: a segmenter has one for each class") && one.contains("torch.cat"),
            "{one}"
        );
    }
    let one = model(&network(1, None, Some(Op::Sigmoid))).unwrap_err().to_string();
    assert!(one.contains("a sigmoid") && one.contains("torch.cat"), "{one}");
}

#[test]
fn each_side_is_its_own() {
    let imported = |sides| foreign(&network(3, Some(4), None), sides);
    let sized = |task, size| Foreign { size, ..told(task) };
    // Height and width of the file, width and height of the model.
    for sides in [[20, 0], [0, 30], [20, 30], [0, 0]] {
        let model = Model::from_onnx(imported(sides), sized(Task::Classify, Some([30, 20]))).unwrap();
        assert_eq!(model.input.size, Some([30, 20]));
    }
    for (sides, words) in [
        ([20, 0], "width any and height 20 alone"),
        ([0, 30], "width 30 and height any alone"),
    ] {
        for size in [Some([20, 30]), None] {
            let reason = reason(imported(sides), sized(Task::Classify, size));
            assert!(
                reason.contains(words) && reason.contains("--size") == size.is_none(),
                "{reason}"
            );
        }
    }
    let of_any = Foreign {
        resize: Some(Resize::Crop),
        ..told(Task::Denoise)
    };
    assert!(reason(foreign(&network(3, None, None), [0, 0]), of_any).contains("--resize goes with a --size"));
}

#[test]
fn outputs_beyond_the_first_are_left_out_with_what_they_need() {
    let mut graph = network(3, Some(4), None);
    let Op::Conv2d { .. } = graph.nodes[1].op else { panic!() };
    graph.nodes.push(crate::graph::Node {
        name: "aside".into(),
        op: Op::BatchNorm { eps: 1e-5 },
        inputs: vec!["b".into()],
    });
    graph.outputs.push("aside".into());
    let model = Model::from_onnx(foreign(&graph, [16, 16]), told(Task::Classify)).unwrap();
    assert_eq!(model.graph, network(3, Some(4), None));
}

#[test]
fn other_channels_than_grey_and_rgb_are_refused() {
    let four = foreign(&network(4, Some(2), None), [16, 16]);
    assert!(reason(four, told(Task::Classify)).contains("an input of 4 channels: expected 1, grey, or 3, RGB"));
}

#[test]
fn what_sides_a_network_takes_is_found_out() {
    let halving = |levels: usize| {
        let mut b = Builder::new();
        let mut x = b.input("x", 1);
        for level in 0..levels {
            x = b.node(format!("down{level}"), Op::PixelUnshuffle { factor: 2 }, &[&x]);
        }
        let channels = 1 << (2 * levels);
        x = b.conv("body", &x, channels, 3, true);
        for level in 0..levels {
            x = b.node(format!("up{level}"), Op::PixelShuffle { factor: 2 }, &[&x]);
        }
        b.finish(&[&x])
    };
    for levels in 0..4 {
        let model = Model::from_onnx(foreign(&halving(levels), [0, 0]), told(Task::Denoise)).unwrap();
        assert_eq!((model.input.size, model.input.multiple_of), (None, 1 << levels));
    }
    let anomaly = Model::from_onnx(foreign(&halving(1), [0, 0]), told(Task::Anomaly)).unwrap();
    assert!(matches!(anomaly.calibration, Some(Calibration::Anomaly(_))));
    let mut b = Builder::new();
    let x = b.input("x", 1);
    let (kernel, stride, padding) = (2, 2, 0);
    let half = b.node(
        "half",
        Op::MaxPool {
            kernel,
            stride,
            padding,
        },
        &[&x],
    );
    let half = foreign(&b.finish(&[&half]), [0, 0]);
    assert!(reason(half, told(Task::Denoise)).contains("not of the picture's size"));
}

#[test]
fn an_export_of_ours_says_all_itself() {
    let graph = network(3, Some(2), None);
    let labels: Vec<String> = ["good", "bad"].map(String::from).into();
    let before = Foreign {
        labels,
        mean: vec![0.5],
        std: vec![0.5],
        ..told(Task::Classify)
    };
    let model = Model::from_onnx(foreign(&graph, [16, 16]), before).unwrap();
    let exported = || read(model.to_onnx(None).unwrap(), None, &|_, _, _| Ok(Vec::new())).unwrap();
    let nothing = || Foreign {
        task: None,
        ..told(Task::Classify)
    };
    assert_eq!(Model::from_onnx(exported(), nothing()).unwrap(), model);
    assert_eq!(Model::from_onnx(exported(), told(Task::Classify)).unwrap(), model);
    let labels: Vec<String> = ["yes", "no"].map(String::from).into();
    let renamed = Model::from_onnx(
        exported(),
        Foreign {
            labels: labels.clone(),
            ..nothing()
        },
    )
    .unwrap();
    assert_eq!(renamed.labels, labels);
    for wrong in [
        told(Task::Embed),
        Foreign {
            size: Some([16, 16]),
            ..nothing()
        },
        Foreign {
            mean: vec![0.0],
            ..nothing()
        },
        Foreign {
            resize: Some(Resize::Stretch),
            ..nothing()
        },
    ] {
        assert!(reason(exported(), wrong).contains("only labels can be given"));
    }
    let mut damaged = exported();
    damaged.notes.insert("input".into(), "{".into());
    assert!(reason(damaged, nothing()).contains("`input`"));
    let mut newer = exported();
    newer.notes.insert("format".into(), "gst-candle/9".into());
    assert!(reason(newer, nothing()).contains("gst-candle/9"));
}

use super::*;
use crate::model::Color;
use crate::nets::{self, NetOptions};

fn model(task: Task, name: &str, labels: &[&str]) -> Model {
    let (width, size) = match name {
        "lenet" => (None, None),
        "fast" => (Some(2), None),
        _ => (Some(2), Some([32, 16])),
    };
    let net = nets::build(
        task,
        name,
        &NetOptions {
            width,
            size,
            classes: labels.len(),
            ..Default::default()
        },
    )
    .unwrap();
    let weights = nets::init(&net, 1).unwrap();
    let labels = labels.iter().map(|s| s.to_string()).collect();
    Model {
        task,
        graph: net.graph,
        input: net.input,
        labels,
        calibration: None,
        training: Training::default(),
        weights,
    }
}

fn anomaly() -> (Model, AnomalyCalibration) {
    let calibration = AnomalyCalibration {
        map: MapKind::Msgms,
        smooth: 21,
        pool: 1,
        context: 1,
        threshold: 0.3,
        rates: vec![[0.1, 0.2], [0.01, 0.3], [0.001, 0.3]],
        quantiles: vec![[0.5, 0.1], [0.9, 0.2]],
        pixel_threshold: 0.3,
        frames: 40,
    };
    (model(Task::Anomaly, "fair", &[]), calibration)
}

/// Message of the check after a change, which must open with `key`.
fn fault(mut model: Model, key: &str, change: impl FnOnce(&mut Model)) -> String {
    model.check().unwrap();
    change(&mut model);
    let message = model.check().unwrap_err().to_string();
    assert!(message.starts_with(key), "{message}");
    message
}

#[test]
fn classes_of_pixels_have_a_number_each() {
    let names: Vec<String> = (0..256).map(|class| class.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    model(Task::Segment, "fcn", &names[..255]).check().unwrap();
    let reason = model(Task::Segment, "fcn", &names).check().unwrap_err().to_string();
    assert_eq!(reason, "key `labels`: 256 labels; segment has at most 255");
}

#[test]
fn input_is_sane() {
    let fault = |change: &dyn Fn(&mut InputSpec)| {
        fault(model(Task::Anomaly, "fair", &[]), "key `input`: ", |model| {
            change(&mut model.input)
        })
    };
    assert!(fault(&|i| i.multiple_of = 0).contains("multiple_of 0"));
    assert!(fault(&|i| i.multiple_of = usize::MAX).contains("multiple_of"));
    assert!(fault(&|i| i.size = Some([0, 16])).contains("size 0"));
    assert!(fault(&|i| i.size = Some([32, 16_400])).contains("size 16400"));
    assert!(fault(&|i| i.size = Some([33, 16])).contains("33 is not a multiple of 16"));
    assert!(fault(&|i| i.frames = 4).contains("anomaly takes 1 to 1"));
    let fixed = |mean: &[f32], std: &[f32]| Normalization::Fixed {
        mean: mean.to_vec(),
        std: std.to_vec(),
    };
    assert!(fault(&|i| i.normalization = fixed(&[0.5, 0.5, 0.5], &[0.5])).contains("3 means and 1 stds"));
    assert!(fault(&|i| i.normalization = fixed(&[0.5], &[0.0])).contains("above 0"));
    assert!(fault(&|i| i.normalization = fixed(&[f32::NAN], &[1.0])).contains("finite"));
    assert!(fault(&|i| i.extra = vec![ExtraInput::NoiseLevel { divide: 0, limit: None }]).contains("divided by 0"));
    assert!(fault(&|i| i.extra = vec![ExtraInput::NoiseLevel { divide: 5, limit: None }]).contains("divided by 5"));
    let state = |divide| ExtraInput::State {
        output: 0,
        channels: 1,
        divide,
    };
    let of_blocks = |i: &mut InputSpec| (i.size, i.multiple_of, i.extra) = (None, 32, vec![state(32)]);
    assert!(fault(&of_blocks).contains("blocks of 16 pixels"));
}

#[test]
fn graph_takes_the_input_and_gives_what_the_task_wants() {
    let fast = || model(Task::Denoise, "fast", &[]);
    assert!(fault(fast(), "key `graph`: ", |m| m.input.extra.clear()).contains("takes 2 inputs, not 1"));
    assert!(fault(fast(), "key `graph`: ", |m| m.input.color = Color::Rgb).contains("node `input`: takes 1 channels"));
    let text = fault(fast(), "key `graph`: ", |m| m.graph.outputs = vec!["unshuffle".into()]);
    assert!(
        text.contains("[1, 4, 32, 32]; denoise wants the picture's shape"),
        "{text}"
    );
    let two = |m: &mut Model| m.graph.outputs.push("input".into());
    assert!(fault(fast(), "key `graph`: ", two).contains("one output beside those of its extra inputs, not 2"));
    assert!(fault(fast(), "key `graph`: ", |m| m.task = Task::Classify).contains("classify wants [N, classes]"));
    let mut lenet = model(Task::Classify, "lenet", &["a", "b"]);
    lenet.input.size = None;
    lenet.input.multiple_of = 32;
    assert!(
        lenet
            .check()
            .unwrap_err()
            .to_string()
            .contains("depend on the picture's size")
    );
}

#[test]
fn direct_maps_have_one_plane() {
    let (mut model, mut calibration) = anomaly();
    model.calibration = Some(Calibration::Anomaly(calibration.clone()));
    let text = fault(model.clone(), "key `graph`: ", |m| {
        m.graph.outputs = vec!["highpass".into()]
    });
    assert!(text.contains("anomaly wants the picture's shape"), "{text}");
    calibration.map = MapKind::Direct;
    model.calibration = Some(Calibration::Anomaly(calibration));
    let text = fault(model, "key `graph`: ", |m| {
        m.graph.outputs = vec!["encode0.0.conv".into()]
    });
    assert!(text.contains("one plane of the picture's size"), "{text}");
}

#[test]
fn labels_match_the_outputs() {
    let lenet = || model(Task::Classify, "lenet", &["a", "b", "c"]);
    let text = fault(lenet(), "key `labels`: ", |m| m.labels.truncate(2));
    assert!(text.ends_with("2 labels for a network of 3 outputs"), "{text}");
    assert!(fault(lenet(), "key `labels`: ", |m| m.labels[1] = "a".into()).contains("`a` is there twice"));
    assert!(fault(lenet(), "key `labels`: ", |m| m.labels[1] = String::new()).contains("label 1 is empty"));
    let fair = model(Task::Anomaly, "fair", &[]);
    assert!(fault(fair, "key `labels`: ", |m| m.labels.push("a".into())).contains("anomaly has none"));
}

#[test]
fn calibration_fits_task_and_ranges() {
    let fault_of = |change: &dyn Fn(&mut AnomalyCalibration)| {
        let (mut model, mut calibration) = anomaly();
        model.calibration = Some(Calibration::Anomaly(calibration.clone()));
        change(&mut calibration);
        fault(model, "key `calibration`: ", |m| {
            m.calibration = Some(Calibration::Anomaly(calibration))
        })
    };
    assert!(fault_of(&|c| c.threshold = f32::NAN).contains("threshold is NaN"));
    assert!(fault_of(&|c| c.pixel_threshold = f32::INFINITY).contains("pixel_threshold is inf"));
    assert!(fault_of(&|c| c.smooth = 0).contains("smooth 0"));
    assert!(fault_of(&|c| c.pool = 0).contains("pool 0"));
    assert!(fault_of(&|c| c.context = 0).contains("context 0"));
    assert!(fault_of(&|c| c.rates[0][0] = 0.01).contains("rate falling"));
    assert!(fault_of(&|c| c.rates[0][0] = 1.5).contains("rates"));
    assert!(fault_of(&|c| c.rates[2][1] = 0.1).contains("threshold not falling"));
    assert!(fault_of(&|c| c.quantiles[0][0] = 0.95).contains("quantile rising"));
    assert!(fault_of(&|c| c.quantiles[1][1] = f32::NAN).contains("quantiles"));

    let classes = ClassCalibration {
        temperature: 1.5,
        thresholds: vec![0.0, 1.0],
        codes: None,
    };
    let lenet = || model(Task::Classify, "lenet", &["a", "b"]);
    let classify = |change: &dyn Fn(&mut ClassCalibration)| {
        let mut calibration = classes.clone();
        change(&mut calibration);
        fault(lenet(), "key `calibration`: ", |m| {
            m.calibration = Some(Calibration::Classify(calibration))
        })
    };
    assert!(classify(&|c| c.temperature = 0.0).contains("temperature 0"));
    assert!(classify(&|c| c.thresholds.truncate(1)).contains("1 thresholds for 2 labels"));
    assert!(classify(&|c| c.thresholds[0] = f32::NAN).contains("threshold NaN"));
    let good = Model {
        calibration: Some(Calibration::Classify(classes.clone())),
        ..lenet()
    };
    good.check().unwrap();
    let (fair, _) = anomaly();
    let text = fault(fair, "key `calibration`: ", |m| {
        m.calibration = Some(Calibration::Classify(classes))
    });
    assert!(text.contains("is for classify, the model for anomaly"), "{text}");
}

#[test]
fn weights_are_those_of_the_graph() {
    let fair = || model(Task::Anomaly, "fair", &[]);
    let with = |change: &dyn Fn(&mut Vec<f32>)| {
        fault(fair(), "tensor `up0.norm.running_var`", |m| {
            change(&mut m.weights.get_mut("up0.norm.running_var").unwrap().data);
        })
    };
    assert!(with(&|d| d[1] = f32::NAN).ends_with("value 1 is NaN"));
    assert!(with(&|d| d[0] = -1.0).contains("negative variance"));
    assert!(with(&|d| d.push(1.0)).contains("3 values for shape [2]"));
    let missing = |m: &mut Model| drop(m.weights.remove("output.bias"));
    assert_eq!(fault(fair(), "tensor", missing), "tensor `output.bias` is missing");
    let surplus = |m: &mut Model| drop(m.weights.insert("zz.bias".into(), m.weights["output.bias"].clone()));
    assert_eq!(fault(fair(), "tensor", surplus), "tensor `zz.bias` is not in the graph");
    let shape = |m: &mut Model| m.weights.get_mut("output.weight").unwrap().shape = vec![2, 1, 3, 3];
    let text = fault(fair(), "tensor", shape);
    assert_eq!(
        text,
        "tensor `output.weight` has shape [2, 1, 3, 3]; the graph wants [1, 2, 3, 3]"
    );
}

#[test]
fn figures_are_finite() {
    let change = |m: &mut Model| m.training.metrics.extend([("psnr".to_owned(), f64::INFINITY)]);
    assert!(fault(model(Task::Denoise, "fast", &[]), "key `training`: ", change).contains("`psnr` is inf"));
}

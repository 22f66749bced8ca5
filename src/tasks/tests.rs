use super::*;
use crate::exec::Options;
use crate::model::{AnomalyCalibration, Calibration, MapKind};
use crate::nets::{self, NetOptions};
use crate::pixels::Image;

/// A small untrained model, every bias of which is `bias`.
fn model(task: Task, name: &str, options: &NetOptions, bias: f32) -> Model {
    let net = nets::build(task, name, options).unwrap();
    let mut weights = nets::init(&net, 1).unwrap();
    for (name, array) in &mut weights {
        if name.ends_with(".bias") {
            array.data.fill(bias);
        }
    }
    Model {
        task,
        graph: net.graph,
        input: net.input,
        labels: Vec::new(),
        calibration: None,
        training: Default::default(),
        weights,
    }
}

fn message<T>(result: Result<T>) -> String {
    result.err().expect("it must not give a score").to_string()
}

#[test]
fn an_anomaly_score_is_never_made_of_values_that_are_not_finite() {
    for (name, map) in [("fair", MapKind::Msgms), ("unet", MapKind::Direct)] {
        let inspect = |bias: f32| {
            let options = NetOptions {
                width: Some(2),
                size: (name == "fair").then_some([32, 32]),
                ..Default::default()
            };
            let mut model = model(Task::Anomaly, name, &options, bias);
            model.calibration = Some(Calibration::Anomaly(AnomalyCalibration {
                map,
                smooth: 3,
                threshold: 0.5,
                rates: vec![],
                quantiles: vec![],
                pixel_threshold: 0.5,
                frames: 1,
            }));
            let mut detector = AnomalyDetector::new(&model, &Options::default()).unwrap();
            detector.inspect(&Image::filled(1, 30, 40, 0.4))
        };
        assert!(inspect(0.1).unwrap().score.is_finite(), "{name}");
        let text = message(inspect(f32::NAN));
        assert!(text.contains("not finite"), "{name}: {text}");
    }
}

#[test]
fn logits_are_finite_or_an_error() {
    let logits = |bias: f32| {
        let options = NetOptions {
            classes: 2,
            ..Default::default()
        };
        let mut model = model(Task::Classify, "lenet", &options, bias);
        model.labels = vec!["a".into(), "b".into()];
        let mut classifier = Classifier::new(&model, &Options::default()).unwrap();
        classifier.classify(&Image::filled(1, 30, 40, 0.4))
    };
    assert!((logits(0.1).unwrap().iter().sum::<f32>() - 1.0).abs() < 1e-5);
    for bias in [f32::NAN, f32::INFINITY] {
        let text = message(logits(bias));
        assert!(text.contains("not finite"), "{bias}: {text}");
    }
}

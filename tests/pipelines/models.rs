//! Models so small that what they say is known without running them.

use std::path::Path;

use gst_candle::graph::{Array, Builder, Graph, Op, Weights};
use gst_candle::model::{
    AnomalyCalibration, Calibration, ClassCalibration, Color, InputSpec, MapKind, Model, Normalization, Resize, Task,
    Training,
};

fn save(path: &Path, task: Task, net: (Graph, Weights), labels: &[&str], calibration: Option<Calibration>) {
    let model = Model {
        task,
        graph: net.0,
        input: InputSpec {
            color: Color::Gray,
            size: (task == Task::Classify).then_some([8, 8]),
            multiple_of: 1,
            resize: Resize::Stretch,
            normalization: Normalization::None,
            frames: 1,
            extra: Vec::new(),
        },
        labels: labels.iter().map(|&label| label.into()).collect(),
        calibration,
        training: Training::default(),
        weights: net.1,
    };
    model.save(path).unwrap();
}

fn array(shape: &[usize], data: &[f32]) -> Array {
    Array {
        shape: shape.into(),
        data: data.into(),
    }
}

fn gain(factor: f32) -> (Graph, Weights) {
    let mut net = Builder::new();
    let x = net.input("input", 1);
    let y = net.conv("gain", &x, 1, 1, false);
    let weights = Weights::from([("gain.weight".into(), array(&[1, 1, 1, 1], &[factor]))]);
    (net.finish(&[&y]), weights)
}

/// A denoiser that halves every value.
pub fn halving(path: &Path) {
    save(path, Task::Denoise, gain(0.5), &[], None);
}

/// A denoiser that changes nothing.
pub fn keeping(path: &Path) {
    save(path, Task::Denoise, gain(1.0), &[], None);
}

/// An anomaly model whose map is the frame's own brightness; 0.5 and more is anomalous.
pub fn brightness(path: &Path) {
    let calibration = AnomalyCalibration {
        map: MapKind::Direct,
        smooth: 1,
        pool: 1,
        context: 1,
        threshold: 0.5,
        rates: vec![[0.1, 0.25], [0.01, 0.75]],
        quantiles: vec![[0.5, 0.125], [0.99, 0.5]],
        pixel_threshold: 0.5,
        frames: 100,
    };
    let calibration = Some(Calibration::Anomaly(calibration));
    save(path, Task::Anomaly, gain(1.0), &[], calibration);
}

/// A classifier that says `bright` or `dark` with the logits of 8 and -8 times the mean's distance from 0.5.
pub fn light(path: &Path) {
    let mut net = Builder::new();
    let x = net.input("input", 1);
    let x = net.node("mean", Op::GlobalAvgPool, &[&x]);
    let x = net.node("flat", Op::Flatten, &[&x]);
    let y = net.linear("logits", &x, 2);
    let weights = Weights::from([
        ("logits.weight".into(), array(&[2, 1], &[8.0, -8.0])),
        ("logits.bias".into(), array(&[2], &[-4.0, 4.0])),
    ]);
    let calibration = Calibration::Classify(ClassCalibration {
        temperature: 1.0,
        thresholds: vec![0.75, 0.75],
        codes: None,
    });
    save(
        path,
        Task::Classify,
        (net.finish(&[&y]), weights),
        &["bright", "dark"],
        Some(calibration),
    );
}

/// A segmenter by brightness: `background` up to a quarter, `grey` from there, `white` from three quarters on.
pub fn bands(path: &Path) {
    let mut net = Builder::new();
    let x = net.input("input", 1);
    let y = net.conv("bands", &x, 3, 1, true);
    let weights = Weights::from([
        ("bands.weight".into(), array(&[3, 1, 1, 1], &[0.0, 16.0, 32.0])),
        ("bands.bias".into(), array(&[3], &[0.0, -4.0, -16.0])),
    ]);
    let labels = ["background", "grey", "white"];
    save(path, Task::Segment, (net.finish(&[&y]), weights), &labels, None);
}

/// Models under the names that `testsrc.sh` asks for.
pub fn testsrc(folder: &Path) {
    halving(&folder.join("denoise-testsrc.safetensors"));
    brightness(&folder.join("anomaly-testsrc.safetensors"));
    light(&folder.join("classify-testsrc.safetensors"));
}

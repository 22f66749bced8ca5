//! Whether the parts of a model fit together.

use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;

use super::{
    AnomalyCalibration, Calibration, ClassCalibration, Codes, Color, ExtraInput, InputSpec, MapKind, Model,
    Normalization, Resize,
};
use super::{Task, Training};
use crate::graph::CodeSource;
use crate::pixels::MOTION_SIDE;
use crate::{Error, Result};

/// Longest side of a network's input in pixels.
const MAX_SIDE: usize = 16_384;
/// Largest `multiple_of`, divisor of an extra input and side of a mean filter.
const MAX_MULTIPLE: usize = 1_024;
/// Frames that a network may predict from.
const WINDOWS: RangeInclusive<usize> = 1..=16;

/// Most classes of pixels: a mask has a byte for each pixel, of which 255 says that there is none.
const MOST_PIXEL_CLASSES: usize = 255;

/// What is wrong, opening with the metadata key or the tensor.
type Checked<T = ()> = std::result::Result<T, String>;

impl Model {
    /// Checks that input, graph, weights, labels and calibration fit the task and each other, and that every weight
    /// is finite. The error names the metadata key or the tensor at fault. [`Model::load`] and [`Model::save`] call it.
    pub fn check(&self) -> Result<()> {
        let check = || {
            check_input(self.task, &self.input).map_err(|reason| format!("key `input`: {reason}"))?;
            self.check_graph().map_err(|reason| format!("key `graph`: {reason}"))?;
            self.check_labels()
                .map_err(|reason| format!("key `labels`: {reason}"))?;
            self.check_calibration()
                .map_err(|reason| format!("key `calibration`: {reason}"))?;
            check_training(&self.training).map_err(|reason| format!("key `training`: {reason}"))?;
            self.check_weights()
        };
        check().map_err(Error::Invalid)
    }

    /// Shapes of the inputs to check with: the fixed size, or any that the network must take.
    fn nominal_inputs(&self) -> Vec<Vec<usize>> {
        self.input.shapes_of_any()
    }

    fn check_graph(&self) -> Checked {
        let inputs = self.nominal_inputs();
        let text = |e: Error| e.to_string();
        let shapes = self.graph.shapes(&inputs).map_err(text)?;
        if self.input.size.is_none() {
            let side = 2 * self.input.nominal_side();
            let larger = self.graph.weight_shapes(&self.input.shapes(side, side)).map_err(text)?;
            if larger != self.graph.weight_shapes(&inputs).map_err(text)? {
                return Err("its weights depend on the picture's size, but the input has no fixed size".into());
            }
        }
        self.check_outputs(&inputs, &shapes)?;
        let (picture, output) = (&inputs[0], &shapes[&self.graph.outputs[0]]);
        let one_plane = [1, 1, picture[2], picture[3]];
        let direct = match &self.calibration {
            Some(Calibration::Anomaly(calibration)) => Some(calibration.map == MapKind::Direct),
            _ => None,
        };
        let (fits, wanted) = match self.task {
            Task::Denoise => (output == picture, "the picture's shape"),
            Task::Anomaly => match direct {
                Some(true) => (*output == one_plane, "one plane of the picture's size"),
                Some(false) => (output == picture, "the picture's shape"),
                None => (
                    output == picture || *output == one_plane,
                    "the picture's shape or one plane of its size",
                ),
            },
            Task::Predict => {
                let next = [1, self.input.color.channels(), picture[2], picture[3]];
                (*output == next, "one frame")
            }
            Task::Classify => (output.len() == 2, "[N, classes]"),
            Task::Segment => {
                let planes = [1, self.labels.len(), picture[2], picture[3]];
                (*output == planes, "a plane of the picture's size for each label")
            }
            Task::Embed => (true, ""),
        };
        if fits {
            Ok(())
        } else {
            Err(format!(
                "its output for a picture {picture:?} has shape {output:?}; {} wants {wanted}",
                self.task
            ))
        }
    }

    /// One output, and those that come back as inputs with the next frame.
    fn check_outputs(&self, inputs: &[Vec<usize>], shapes: &BTreeMap<String, Vec<usize>>) -> Checked {
        let outputs = &self.graph.outputs;
        let mut kept = HashSet::from([0]);
        for (extra, shape) in self.input.extra.iter().zip(&inputs[1..]) {
            let output = match *extra {
                ExtraInput::NoiseLevel { .. } => continue,
                ExtraInput::Chroma => 1,
                ExtraInput::State { output, .. } => output,
            };
            if self.task != Task::Denoise {
                return Err(format!(
                    "only networks for denoise give an extra input back, not those for {}",
                    self.task
                ));
            }
            let given = outputs.get(output).map(|name| &shapes[name]);
            if given != Some(shape) {
                return Err(format!(
                    "its extra input of shape {shape:?} is output {output}, which is {given:?}"
                ));
            }
            kept.insert(output);
        }
        if let Some(codes) = self.codes() {
            let code = outputs.get(1).map(|name| shapes[name].as_slice());
            if !matches!(code, Some([_, features]) if codes.scale.len() == *features) {
                let features = codes.scale.len();
                return Err(format!(
                    "codes of {features} features need a second output [N, features] of as many, not {code:?}"
                ));
            }
            kept.insert(1);
        }
        let single = self.task != Task::Embed;
        if single && outputs.len() != kept.len() {
            return Err(format!(
                "a network for {} has one output beside those of its extra inputs, not {}",
                self.task,
                outputs.len() + 1 - kept.len()
            ));
        }
        Ok(())
    }

    fn check_labels(&self) -> Checked {
        let mut seen = HashSet::new();
        for (i, label) in self.labels.iter().enumerate() {
            if label.is_empty() {
                return Err(format!("label {i} is empty"));
            }
            if !seen.insert(label) {
                return Err(format!("`{label}` is there twice"));
            }
        }
        match self.task {
            Task::Classify => {
                let shapes = self.graph.shapes(&self.nominal_inputs()).map_err(|e| e.to_string())?;
                let outputs = shapes[&self.graph.outputs[0]][1];
                let known = |class: usize| self.codes().is_some_and(|codes| codes.classes.contains(&class));
                // Labels beyond the network's outputs are known by their codes.
                if outputs <= self.labels.len() && (outputs..self.labels.len()).all(known) {
                    Ok(())
                } else {
                    Err(format!(
                        "{} labels for a network of {outputs} outputs",
                        self.labels.len()
                    ))
                }
            }
            Task::Segment if self.labels.len() > MOST_PIXEL_CLASSES => Err(format!(
                "{} labels; segment has at most {MOST_PIXEL_CLASSES}",
                self.labels.len()
            )),
            Task::Denoise | Task::Anomaly | Task::Predict if !self.labels.is_empty() => {
                Err(format!("{} labels; {} has none", self.labels.len(), self.task))
            }
            _ => Ok(()),
        }
    }

    fn check_calibration(&self) -> Checked {
        match (&self.calibration, self.task) {
            (None, _) => Ok(()),
            (Some(Calibration::Anomaly(calibration)), Task::Predict) if calibration.map == MapKind::Direct => {
                Err("a predicted frame is no map: `map` cannot be direct".into())
            }
            (Some(Calibration::Anomaly(calibration)), Task::Anomaly | Task::Predict) => check_anomaly(calibration),
            (Some(Calibration::Classify(calibration)), Task::Classify) => {
                check_classify(calibration, self.labels.len())?;
                calibration
                    .codes
                    .as_ref()
                    .map_or(Ok(()), |codes| check_codes(codes, self.labels.len()))
            }
            (Some(Calibration::Anomaly(_)), task) => Err(format!("is for anomaly, the model for {task}")),
            (Some(Calibration::Classify(_)), task) => Err(format!("is for classify, the model for {task}")),
        }
    }

    fn check_weights(&self) -> Checked {
        let wanted = self
            .graph
            .weight_shapes(&self.nominal_inputs())
            .map_err(|e| format!("key `graph`: {e}"))?;
        if let Some(name) = wanted.keys().find(|name| !self.weights.contains_key(*name)) {
            return Err(format!("tensor `{name}` is missing"));
        }
        for (name, array) in &self.weights {
            let Some(shape) = wanted.get(name) else {
                return Err(format!("tensor `{name}` is not in the graph"));
            };
            if array.shape != *shape {
                return Err(format!(
                    "tensor `{name}` has shape {:?}; the graph wants {shape:?}",
                    array.shape
                ));
            }
            if array.data.len() != shape.iter().product::<usize>() {
                return Err(format!(
                    "tensor `{name}` holds {} values for shape {shape:?}",
                    array.data.len()
                ));
            }
            if let Some(i) = array.data.iter().position(|value| !value.is_finite()) {
                return Err(format!("tensor `{name}`: value {i} is {}", array.data[i]));
            }
            if name.ends_with(".running_var")
                && let Some(i) = array.data.iter().position(|&value| value < 0.0)
            {
                return Err(format!(
                    "tensor `{name}`: value {i} is a negative variance {}",
                    array.data[i]
                ));
            }
        }
        Ok(())
    }
}

fn check_input(task: Task, input: &InputSpec) -> Checked {
    let multiple = input.multiple_of;
    if !(1..=MAX_MULTIPLE).contains(&multiple) {
        return Err(format!("multiple_of {multiple} is not in 1..={MAX_MULTIPLE}"));
    }
    for side in input.size.iter().flatten() {
        if !(1..=MAX_SIDE).contains(side) {
            return Err(format!("size {side} is not in 1..={MAX_SIDE}"));
        }
        if !side.is_multiple_of(multiple) {
            return Err(format!("size {side} is not a multiple of {multiple}"));
        }
    }
    let frames = if task == Task::Predict { WINDOWS } else { 1..=1 };
    if !frames.contains(&input.frames) {
        return Err(format!(
            "frames {}: a network for {task} takes {} to {}",
            input.frames,
            frames.start(),
            frames.end()
        ));
    }
    let in_pieces = matches!(task, Task::Anomaly | Task::Segment);
    if input.resize == Resize::Tile && (!in_pieces || input.size.is_none()) {
        return Err("resize tile: pieces of a fixed size are for anomaly and segment".into());
    }
    if let Normalization::Fixed { mean, std } = &input.normalization {
        let channels = input.color.channels();
        if mean.len() != channels || std.len() != channels {
            return Err(format!(
                "normalization has {} means and {} stds for {channels} channels",
                mean.len(),
                std.len()
            ));
        }
        if !mean.iter().chain(std).all(|value| value.is_finite()) || !std.iter().all(|&value| value > 0.0) {
            return Err("normalization: means are finite, stds finite and above 0".into());
        }
    }
    if input.extra.contains(&ExtraInput::Chroma)
        && (input.color, &input.normalization) != (Color::Gray, &Normalization::None)
    {
        return Err("beside chroma the picture is luma, `gray`, without normalization".into());
    }
    for extra in &input.extra {
        let divide = extra.divide();
        if !(1..=MAX_MULTIPLE).contains(&divide) || !multiple.is_multiple_of(divide) {
            return Err(format!(
                "an extra input whose sides are divided by {divide} needs sides that are multiples of it"
            ));
        }
        if matches!(extra, ExtraInput::State { .. }) && !MOTION_SIDE.is_multiple_of(divide) {
            return Err(format!(
                "a state follows blocks of {MOTION_SIDE} pixels; its sides cannot be divided by {divide}"
            ));
        }
    }
    Ok(())
}

/// Most pixels that a score is the mean of.
const MAX_POOL: usize = 1 << 16;

fn check_anomaly(calibration: &AnomalyCalibration) -> Checked {
    let AnomalyCalibration {
        smooth,
        pool,
        context,
        threshold,
        rates,
        quantiles,
        pixel_threshold,
        ..
    } = calibration;
    for (name, side) in [("smooth", smooth), ("context", context)] {
        if !(1..=MAX_MULTIPLE).contains(side) {
            return Err(format!("{name} {side} is not in 1..={MAX_MULTIPLE}"));
        }
    }
    if !(1..=MAX_POOL).contains(pool) {
        return Err(format!("pool {pool} is not in 1..={MAX_POOL}"));
    }
    for (name, value) in [("threshold", threshold), ("pixel_threshold", pixel_threshold)] {
        if !value.is_finite() {
            return Err(format!("{name} is {value}"));
        }
    }
    let in_range = |row: &[f32; 2]| (0.0..=1.0).contains(&row[0]) && row[1].is_finite();
    if !rates.iter().all(in_range) || !rates.is_sorted_by(|a, b| a[0] > b[0] && a[1] <= b[1]) {
        return Err("rates are rows of [rate in 0..1, threshold], rate falling and threshold not falling".into());
    }
    if !quantiles.iter().all(in_range) || !quantiles.is_sorted_by(|a, b| a[0] < b[0] && a[1] <= b[1]) {
        return Err("quantiles are rows of [quantile in 0..1, score], quantile rising and score not falling".into());
    }
    Ok(())
}

fn check_classify(calibration: &ClassCalibration, labels: usize) -> Checked {
    let ClassCalibration {
        temperature,
        thresholds,
        ..
    } = calibration;
    if !(temperature.is_finite() && *temperature > 0.0) {
        return Err(format!("temperature {temperature} is not above 0"));
    }
    if thresholds.len() != labels {
        return Err(format!("{} thresholds for {labels} labels", thresholds.len()));
    }
    match thresholds.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        Some(value) => Err(format!("threshold {value} is not in 0..1")),
        None => Ok(()),
    }
}

pub(super) fn check_codes(codes: &Codes, labels: usize) -> Checked {
    let Codes {
        distance,
        source,
        scale,
        basis,
        classes,
        vectors,
    } = codes;
    if !(distance.is_finite() && *distance >= 0.0) {
        return Err(format!("codes: distance {distance} is not 0 or above"));
    }
    if vectors.shape.len() != 2
        || vectors.shape[0] != classes.len()
        || vectors.data.len() != vectors.shape.iter().product::<usize>()
    {
        let (shape, values) = (&vectors.shape, vectors.data.len());
        return Err(format!(
            "codes: tensor `codes` has shape {shape:?} and {values} values for {} classes",
            classes.len()
        ));
    }
    let (features, length) = (scale.len(), vectors.shape[1]);
    if scale.iter().any(|x| !x.is_finite()) {
        return Err("codes: not all scales are numbers".into());
    }
    let whole = match basis.data.is_empty() {
        true => length == features,
        false => basis.shape == [features + 1, length] && basis.data.len() == (features + 1) * length,
    };
    if !whole {
        let shape = &basis.shape;
        return Err(format!(
            "codes: {features} features by a tensor `codes.basis` of shape {shape:?} do not make codes of length {length}"
        ));
    }
    if basis.data.iter().any(|x| !x.is_finite()) {
        return Err("codes: not all values of tensor `codes.basis` are finite".into());
    }
    if *source == CodeSource::Moments && !features.is_multiple_of(2) {
        return Err(format!(
            "codes: {features} features are not as many deviations as means"
        ));
    }
    if let Some(class) = classes.iter().find(|class| **class >= labels) {
        return Err(format!("codes: class {class} of {labels} labels"));
    }
    match vectors.data.iter().position(|value| !value.is_finite()) {
        Some(i) => Err(format!("codes: value {i} of tensor `codes` is {}", vectors.data[i])),
        None => Ok(()),
    }
}

/// JSON has no infinities: such a figure would be written and not read again.
fn check_training(training: &Training) -> Checked {
    match training.metrics.iter().find(|(_, value)| !value.is_finite()) {
        Some((name, value)) => Err(format!("metric `{name}` is {value}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;

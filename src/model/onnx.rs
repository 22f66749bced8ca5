//! Models to and from ONNX.

use std::collections::{HashMap, HashSet};

use super::{
    AnomalyCalibration, Calibration, Color, InputSpec, MapKind, Model, Normalization, Resize, Scoring, Task, Training,
    file,
};
use crate::graph::onnx::{Axis, Imported};
use crate::graph::{Graph, Node, Op};
use crate::{Error, Result};

/// What a file of another program does not say of its network; where the file is an export of ours, empty and `None` leave what it says.
#[derive(Debug, Clone, PartialEq)]
pub struct Foreign {
    /// What it is for.
    pub task: Option<Task>,
    /// Names of its classes; empty = `class 0`, `class 1` and so on.
    pub labels: Vec<String>,
    /// `[width, height]` that frames are brought to, where the network takes any.
    pub size: Option<[usize; 2]>,
    /// How they are; `None` = stretched, where they are.
    pub resize: Option<Resize>,
    /// Subtracted from values of 0..1, one a channel or one for all; empty = 0.
    pub mean: Vec<f32>,
    /// What they are divided by then; empty = 1.
    pub std: Vec<f32>,
}

/// How the metadata's `format` begins in exports of ours.
const PROGRAM: &str = "gst-candle/";
/// Key of the metadata for the names of fixed filters, a space between: to ONNX they are convolutions like others.
const FROZEN: &str = "frozen";

impl Model {
    /// The network as ONNX, with everything but graph and weights as metadata. Without a `size` (width, height) of its own
    /// or given, the axes stay open. An error when a size is given that the model does not take.
    pub fn to_onnx(&self, size: Option<[usize; 2]>) -> Result<Vec<u8>> {
        let (takes, multiple) = (self.input.size, self.input.multiple_of);
        if let Some([width, height]) = size
            && (takes.is_some_and(|takes| takes != [width, height])
                || !width.is_multiple_of(multiple)
                || !height.is_multiple_of(multiple))
        {
            let sides = match takes {
                Some([width, height]) => format!("{width}x{height} only"),
                None => format!("sides that are multiples of {multiple}"),
            };
            return Err(Error::Invalid(format!("{width}x{height}: this model takes {sides}")));
        }
        let fixed = takes.or(size);
        let side = self.input.nominal_side();
        let [width, height] = fixed.unwrap_or([side; 2]);
        let shapes = self.input_shapes(width, height);
        let axis = |input: usize, i: usize| match (i, fixed) {
            (2, None) => Axis::Named(format!("height_{input}")),
            (3, None) => Axis::Named(format!("width_{input}")),
            _ => Axis::Fixed(shapes[input][i]),
        };
        let axes: Vec<Vec<Axis>> = (0..shapes.len())
            .map(|input| (0..4).map(|i| axis(input, i)).collect())
            .collect();
        let mut told = self.clone();
        if let Some(Calibration::Classify(calibration)) = &mut told.calibration
            && calibration.codes.take().is_some()
        {
            // Codes have no place in the file, nor have classes that are known by them alone.
            let outputs = self.graph.shapes(&shapes)?[&self.graph.outputs[0]].last().copied();
            told.labels.truncate(outputs.unwrap_or(0));
            calibration.thresholds.truncate(told.labels.len());
        }
        let notes = file::metadata(&told)
            .map_err(|error| Error::Invalid(error.to_string()))?
            .into_iter()
            .filter(|(key, _)| *key != "graph")
            .map(|(key, value)| (key.to_owned(), value))
            .chain(frozen(&self.graph));
        self.graph.to_onnx(&self.weights, &axes, &shapes, notes)
    }

    /// The model of a network that was read from ONNX. A softmax at the end of a classifier or segmenter is left out, which the element makes
    /// itself, and so are outputs beyond the first. An error where something is missing, contradicts the file, or does not fit the task.
    pub fn from_onnx(imported: Imported, told: Foreign) -> Result<Self> {
        if imported
            .notes
            .get("format")
            .is_some_and(|format| format.starts_with(PROGRAM))
        {
            return exported(imported, &told);
        }
        let task = told
            .task
            .ok_or_else(|| Error::Invalid("what is it for? give --task".into()))?;
        let [axes] = imported.inputs[..] else {
            return Err(Error::Invalid(format!(
                "{} inputs: only networks of one picture are imported",
                imported.inputs.len()
            )));
        };
        let (mut graph, mut weights) = (imported.graph, imported.weights);
        graph.outputs.truncate(1);
        if matches!(task, Task::Classify | Task::Segment) {
            without_softmax(&mut graph, task)?;
        } else if imported.log_softmax {
            return Err(Error::Invalid(format!(
                "it ends in a LogSoftmax, which is read of classifiers and segmenters alone: export it without for {task}"
            )));
        }
        graph.prune(&mut weights);
        let color = match axes[1] {
            Some(1) => Color::Gray,
            Some(3) => Color::Rgb,
            other => {
                return Err(Error::Invalid(format!(
                    "an input of {} channels: expected 1, grey, or 3, RGB",
                    other.map_or("unknown".into(), |n| n.to_string())
                )));
            }
        };
        let size = size([axes[3], axes[2]], told.size)?;
        if size.is_none() && matches!(task, Task::Classify | Task::Embed) {
            return Err(Error::Invalid(
                "it takes pictures of any size: give --size WxH, to which frames are brought".into(),
            ));
        }
        if size.is_none() && told.resize.is_some() {
            return Err(Error::Invalid(
                "it takes pictures of any size, as they are: --resize goes with a --size that they are brought to"
                    .into(),
            ));
        }
        let keeps_size = matches!(task, Task::Denoise | Task::Anomaly | Task::Segment);
        let multiple_of = match size {
            Some(_) => 1,
            None => multiple(&graph, color, keeps_size)?,
        };
        let input = InputSpec {
            color,
            size,
            multiple_of,
            resize: told.resize.unwrap_or_default(),
            normalization: normalization(color, &told)?,
            frames: 1,
            extra: Vec::new(),
        };
        let shapes = graph.shapes(&input.shapes_of_any())?;
        let classes = shapes[&graph.outputs[0]].get(1).copied().unwrap_or(0);
        if task == Task::Classify && classes < 2 {
            return Err(Error::Invalid(format!(
                "{classes} output: a classifier has one for each class, two or more"
            )));
        }
        if task == Task::Segment && classes < 2 {
            return Err(Error::Invalid(format!(
                "{classes} plane: a segmenter has one for each class, two or more. {ONE_PLANE}"
            )));
        }
        let labels = match task {
            Task::Classify | Task::Segment if told.labels.is_empty() => {
                (0..classes).map(|class| format!("class {class}")).collect()
            }
            _ => told.labels,
        };
        // Of a grey network one plane is taken for the picture restored, which is what others train.
        let is_map = classes == 1 && color == Color::Rgb;
        let calibration = (task == Task::Anomaly).then(|| Calibration::Anomaly(uncalibrated(is_map)));
        let training = Training {
            arch: "imported from ONNX".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ..Training::default()
        };
        let model = Self {
            task,
            graph,
            input,
            labels,
            calibration,
            training,
            weights,
        };
        model.check()?;
        Ok(model)
    }
}

/// What metadata say of the fixed filters of a network, if it has any.
fn frozen(graph: &Graph) -> Option<(String, String)> {
    let is_frozen = |node: &&Node| matches!(node.op, Op::Conv2d { frozen: true, .. });
    let names: Vec<&str> = graph
        .nodes
        .iter()
        .filter(is_frozen)
        .map(|node| node.name.as_str())
        .collect();
    (!names.is_empty()).then(|| (FROZEN.to_owned(), names.join(" ")))
}

/// What was exported from a model, with what was told instead.
fn exported(imported: Imported, told: &Foreign) -> Result<Model> {
    let mut notes: HashMap<String, String> = imported.notes.into_iter().collect();
    let names = notes.remove(FROZEN).unwrap_or_default();
    let names: HashSet<&str> = names.split(' ').collect();
    file::check_keys(&notes).map_err(Error::Invalid)?;
    let mut model = file::described(&notes, imported.graph).map_err(Error::Invalid)?;
    for node in &mut model.graph.nodes {
        if let Op::Conv2d { frozen, .. } = &mut node.op {
            *frozen = names.contains(node.name.as_str());
        }
    }
    let nothing_else = told.mean.is_empty() && told.std.is_empty() && told.size.is_none() && told.resize.is_none();
    if !nothing_else || told.task.is_some_and(|task| task != model.task) {
        return Err(Error::Invalid(
            "an export of this program, which says itself what it is for and what it takes: only labels can be given"
                .into(),
        ));
    }
    if !told.labels.is_empty() {
        model.labels.clone_from(&told.labels);
    }
    model.weights = imported.weights;
    if model.task == Task::Classify {
        model.graph.outputs.truncate(1);
        model.graph.prune(&mut model.weights);
    }
    model.check()?;
    Ok(model)
}

/// What makes a segmenter of a network that says of each pixel whether it is of one class.
const ONE_PLANE: &str =
    "Of one plane of logits x, torch.cat([0 * x, x], 1) makes two, of which the first is the background";

/// `[width, height]` of a network, of which the file fixes some sides (`None` = open); `None` where it takes any size.
fn size(sides: [Option<usize>; 2], told: Option<[usize; 2]>) -> Result<Option<[usize; 2]>> {
    let shown = || {
        let [width, height] = sides.map(|side| side.map_or("any".to_owned(), |side| side.to_string()));
        match sides {
            [Some(_), Some(_)] => format!("pictures of {width}x{height} alone"),
            _ => format!("pictures of width {width} and height {height} alone"),
        }
    };
    match (sides, told) {
        ([None, None], told) => Ok(told),
        (_, Some([width, height])) => {
            let fits = sides[0].is_none_or(|side| side == width) && sides[1].is_none_or(|side| side == height);
            let reason = || Error::Invalid(format!("this network takes {}", shown()));
            fits.then_some(told).ok_or_else(reason)
        }
        ([Some(width), Some(height)], None) => Ok(Some([width, height])),
        (_, None) => Err(Error::Invalid(format!(
            "this network takes {}: give --size WxH, to which frames are brought",
            shown()
        ))),
    }
}

/// Has a graph end before its last softmax; an error where it does not choose one of several classes.
fn without_softmax(graph: &mut Graph, task: Task) -> Result<()> {
    let last = graph
        .nodes
        .iter()
        .find(|node| Some(&node.name) == graph.outputs.first());
    match last.map(|node| (&node.op, &node.inputs)) {
        Some((Op::Softmax, inputs)) => graph.outputs.clone_from(inputs),
        Some((Op::Sigmoid, _)) if task == Task::Segment => {
            return Err(Error::Invalid(format!(
                "it ends in a sigmoid, one answer for each class; a segmenter here gives one class a pixel: end it before, with logits. {ONE_PLANE}"
            )));
        }
        Some((Op::Sigmoid, _)) => {
            return Err(Error::Invalid(
                "it ends in a sigmoid, one answer for each class; a classifier here gives one label: end it before, with logits".into(),
            ));
        }
        _ => {}
    }
    Ok(())
}

/// Least number of which all sides that the network takes are multiples.
fn multiple(graph: &Graph, color: Color, keeps_size: bool) -> Result<usize> {
    let fits = |side: usize| {
        let shape = vec![1, color.channels(), side, side];
        let found = graph.shapes(std::slice::from_ref(&shape))?;
        let output = &found[&graph.outputs[0]];
        if keeps_size && output.get(2..) != shape.get(2..) {
            return Err(Error::Invalid(format!(
                "its output for a picture {shape:?} is {output:?}, not of the picture's size"
            )));
        }
        Ok(())
    };
    let sizes = |multiple: usize| [2, 3, 5, 7].map(|n| n * multiple.max(8).next_multiple_of(multiple) + multiple);
    let works = |multiple: &usize| sizes(*multiple).into_iter().all(|side| fits(side).is_ok());
    match [1, 2, 4, 8, 16, 32, 64].into_iter().find(works) {
        Some(multiple) => Ok(multiple),
        None => {
            fits(sizes(64)[0])?;
            Err(Error::Invalid(
                "it does not take pictures of any size: export it with a fixed one".into(),
            ))
        }
    }
}

fn normalization(color: Color, told: &Foreign) -> Result<Normalization> {
    if told.mean.is_empty() && told.std.is_empty() {
        return Ok(Normalization::None);
    }
    let channels = color.channels();
    let of_channels = |values: &[f32], own: f32, name: &str| match values {
        [] => Ok(vec![own; channels]),
        [one] => Ok(vec![*one; channels]),
        all if all.len() == channels => Ok(all.to_vec()),
        all => Err(Error::Invalid(format!(
            "--{name}: {} values for {channels} channels",
            all.len()
        ))),
    };
    Ok(Normalization::Fixed {
        mean: of_channels(&told.mean, 0.0, "mean")?,
        std: of_channels(&told.std, 1.0, "std")?,
    })
}

/// An anomaly network's scoring before `calibrate` found its threshold.
fn uncalibrated(is_map: bool) -> AnomalyCalibration {
    Scoring {
        map: if is_map { MapKind::Direct } else { MapKind::Msgms },
        smooth: if is_map { 1 } else { 21 },
        pool: if is_map { 16 } else { 1 },
        context: 1,
    }
    .uncalibrated()
}

#[cfg(test)]
mod tests;

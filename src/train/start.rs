//! Weights to begin a training with.

use std::collections::HashSet;
use std::path::Path;

use crate::graph::{Array, Graph, Weights};
use crate::model::{Color, Model, Task};
use crate::nets::{self, Net};
use crate::{Error, Result};

/// The weights of the model at `path` for `net`, which must be its network but for its last layers: where those are others, as for other
/// classes, they begin with random weights of `seed`, which is said. For a denoiser in colour it may be the network for grey, too: then
/// each weight for grey stands for red, green and blue, so that on a grey picture both give the same.
pub fn begin_with(path: &Path, net: &Net, seed: u64) -> Result<Weights> {
    let model = Model::load(path)?;
    if let Some((weights, anew)) = shared(&model, net, seed)? {
        if !anew.is_empty() {
            let layers = anew.join("`, `");
            eprintln!("{}: layer `{layers}` is another there: it begins anew", path.display());
        }
        return Ok(weights);
    }
    let names = |graph: &Graph| -> Vec<String> { graph.nodes.iter().map(|node| node.name.clone()).collect() };
    // Elsewhere a layer takes more than one picture, and colours do not lie as they do here.
    let of_one_picture = model.task == Task::Denoise && !net.input.is_recurrent();
    let weights = match (model.input.color, net.input.color) {
        (Color::Gray, Color::Rgb) if of_one_picture && names(&model.graph) == names(&net.graph) => {
            in_color(model.weights, net)?
        }
        _ => None,
    };
    weights.ok_or_else(|| {
        let reason = format!(
            "its network ({} for `{}`) is not the one to train: give a model of the same --arch, --width, --depth, --color, --size and \
             --yuv420",
            model.training.arch, model.task
        );
        Error::model(path, reason)
    })
}

/// The model's weights where the networks are the same, and the names of the last layers that have others; `None` where any other layer
/// differs.
fn shared(model: &Model, net: &Net, seed: u64) -> Result<Option<(Weights, Vec<String>)>> {
    let is_same_input = model.input.normalization == net.input.normalization && model.input.frames == net.input.frames;
    let of = |name: &str| model.graph.nodes.iter().find(|node| node.name == name);
    let ends = ends(&net.graph);
    let mut weights = nets::init(net, seed)?;
    let mut anew = Vec::new();
    for node in &net.graph.nodes {
        let is_end = ends.contains(node.name.as_str());
        let names: Vec<String> = node.op.weight_names().iter().map(|name| node.weight(name)).collect();
        let shape = |weights: &Weights, name: &str| weights.get(name).map(|array| array.shape.clone());
        let shapes_fit = names
            .iter()
            .all(|name| shape(&weights, name) == shape(&model.weights, name));
        match of(&node.name) {
            Some(other) if other.op == node.op && other.inputs == node.inputs && shapes_fit => {
                let theirs = names.into_iter().filter_map(|name| model.weights.get_key_value(&name));
                weights.extend(theirs.map(|(name, array)| (name.clone(), array.clone())));
            }
            _ if is_end && !names.is_empty() => anew.push(node.name.clone()),
            _ if is_end => (),
            _ => return Ok(None),
        }
    }
    let has_begun = net
        .graph
        .nodes
        .iter()
        .any(|node| !node.op.weight_names().is_empty() && !anew.contains(&node.name));
    Ok((is_same_input && has_begun).then_some((weights, anew)))
}

/// The last layers, and what is between them and the layers before, such as a mean over places: nodes with weights after which no node has any,
/// and nodes without weights that only such nodes see.
fn ends(graph: &Graph) -> HashSet<&str> {
    // Nodes that one with weights comes after, and nodes that one sees which is no end.
    let (mut before, mut inner) = (HashSet::new(), HashSet::new());
    let mut ends = HashSet::new();
    for node in graph.nodes.iter().rev() {
        let (name, inputs) = (node.name.as_str(), node.inputs.iter().map(String::as_str));
        let has_weights = !node.op.weight_names().is_empty();
        let is_end = !if has_weights { &before } else { &inner }.contains(name);
        if is_end {
            ends.insert(name);
        } else {
            inner.extend(inputs.clone());
        }
        if has_weights || before.contains(name) {
            before.extend(inputs);
        }
    }
    ends
}

/// Weights of a grey network for the same one in colour; `None` where shapes differ by more than that.
fn in_color(gray: Weights, net: &Net) -> Result<Option<Weights>> {
    let [width, height] = net.input.size.unwrap_or([net.input.nominal_side(); 2]);
    let shapes = net.graph.weight_shapes(&net.input.shapes(width, height))?;
    let widened = |(name, array): (String, Array)| {
        let wanted = shapes.get(&name)?;
        let mut array = array;
        for axis in 0..wanted.len().min(2) {
            array = spread(array, axis, *wanted.get(axis)?)?;
        }
        (array.shape == *wanted).then_some((name, array))
    };
    let count = gray.len();
    let weights: Weights = gray.into_iter().map_while(widened).collect();
    Ok((weights.len() == count && count == shapes.len()).then_some(weights))
}

/// `array` with `length` places on `axis` (0: what a layer gives, 1: what it takes): as many as it has, or its first ones three times, once
/// for each colour, and then the rest, which is not of the picture. What a layer takes from three colours counts a third each. `None`
/// where no number of places on the axis gives that length.
fn spread(array: Array, axis: usize, length: usize) -> Option<Array> {
    let own = *array.shape.get(axis)?;
    if own == length {
        return Some(array);
    }
    let colors = Color::Rgb.channels();
    let extra = length.checked_sub(own)?;
    let picture = extra / (colors - 1);
    if !extra.is_multiple_of(colors - 1) || picture > own {
        return None;
    }
    let share = if axis == 1 { 1.0 / colors as f32 } else { 1.0 };
    let inner: usize = array.shape[axis + 1..].iter().product();
    let mut shape = array.shape.clone();
    shape[axis] = length;
    let mut data = Vec::with_capacity(shape.iter().product());
    for block in array.data.chunks(own * inner) {
        let (picture, rest) = block.split_at(picture * inner);
        for _ in 0..colors {
            data.extend(picture.iter().map(|x| share * x));
        }
        data.extend(rest);
    }
    Some(Array { shape, data })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Options, Session};
    use crate::nets::NetOptions;

    fn net(task: Task, arch: &str, color: Color, width: usize) -> Net {
        let options = NetOptions {
            width: Some(width),
            color: Some(color),
            ..Default::default()
        };
        nets::build(task, arch, &options).unwrap()
    }

    fn model(task: Task, net: &Net, weights: Weights) -> Model {
        Model {
            task,
            graph: net.graph.clone(),
            input: net.input.clone(),
            labels: Vec::new(),
            calibration: None,
            training: Default::default(),
            weights,
        }
    }

    #[test]
    fn a_grey_network_serves_colour_and_gives_the_same_on_grey() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        for arch in ["unet", "dncnn"] {
            let [gray, rgb] = [Color::Gray, Color::Rgb].map(|color| net(Task::Denoise, arch, color, 8));
            let mut weights = nets::init(&gray, 3).unwrap();
            for (name, array) in &mut weights {
                if name.ends_with(".bias") {
                    array
                        .data
                        .iter_mut()
                        .enumerate()
                        .for_each(|(i, x)| *x = 0.01 * i as f32);
                }
            }
            let first = model(Task::Denoise, &gray, weights);
            first.save(&path).unwrap();
            let second = model(Task::Denoise, &rgb, begin_with(&path, &rgb, 1).unwrap());
            let run = |model: &Model| {
                let inputs: Vec<Array> = model
                    .input_shapes(32, 32)
                    .into_iter()
                    .map(|shape| {
                        let plane: usize = shape[2..].iter().product();
                        let data = (0..shape.iter().product())
                            .map(|i: usize| ((i % plane) as f32 * 0.37).sin())
                            .collect();
                        Array { shape, data }
                    })
                    .collect();
                Session::new(model, &Options::default()).unwrap().run(&inputs).unwrap()[0]
                    .data
                    .clone()
            };
            let (gray, rgb) = (run(&first), run(&second));
            for plane in rgb.chunks(gray.len()) {
                let worst = plane.iter().zip(&gray).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst < 1e-4, "{arch}: {worst}");
            }
        }
    }

    #[test]
    fn other_classes_begin_with_a_last_layer_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        let of = |task: Task, arch: &str, classes: usize| {
            let options = NetOptions {
                width: Some(8),
                color: Some(Color::Gray),
                classes,
                ..Default::default()
            };
            nets::build(task, arch, &options).unwrap()
        };
        let cases = [
            (
                of(Task::Classify, "tiny", 3),
                Task::Classify,
                of(Task::Classify, "tiny", 5),
                "output",
            ),
            (
                of(Task::Anomaly, "unet", 0),
                Task::Anomaly,
                of(Task::Segment, "unet", 2),
                "logit",
            ),
            // Of the way down alone.
            (
                of(Task::Anomaly, "unet", 0),
                Task::Anomaly,
                of(Task::Classify, "encoder", 3),
                "output",
            ),
        ];
        for (first, task, second, last) in cases {
            let theirs = nets::init(&first, 3).unwrap();
            let mut before = model(task, &first, theirs.clone());
            if task == Task::Classify {
                before.labels = ["a", "b", "c"].map(String::from).to_vec();
            }
            // A detector gives less than its training does.
            before.graph.outputs.truncate(1);
            before.save(&path).unwrap();
            let own = nets::init(&second, 4).unwrap();
            for (name, array) in begin_with(&path, &second, 4).unwrap() {
                let from = if name.starts_with(last) { &own } else { &theirs };
                assert!(from[&name] == array, "{name}");
            }
        }
    }

    #[test]
    fn other_networks_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        let save = |task: Task, arch: &str| {
            let gray = net(task, arch, Color::Gray, 8);
            model(task, &gray, nets::init(&gray, 1).unwrap()).save(&path).unwrap();
        };
        let refuse = |net: &Net| {
            let error = begin_with(&path, net, 1).unwrap_err().to_string();
            assert!(error.contains("is not the one to train"), "{error}");
        };
        save(Task::Denoise, "unet");
        for (arch, color, width) in [
            ("unet", Color::Rgb, 4),
            ("unet", Color::Gray, 4),
            ("ffdnet", Color::Rgb, 8),
        ] {
            refuse(&net(Task::Denoise, arch, color, width));
        }
        for (task, arch) in [
            (Task::Denoise, "recurrent"),
            (Task::Predict, "unet"),
            (Task::Anomaly, "fair"),
        ] {
            save(task, arch);
            refuse(&net(task, arch, Color::Rgb, 8));
        }
    }
}

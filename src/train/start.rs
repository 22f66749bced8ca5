//! Weights to begin a training with.

use std::path::Path;

use crate::graph::{Array, Weights};
use crate::model::{Color, Model, Task};
use crate::nets::Net;
use crate::{Error, Result};

/// The weights of the model at `path` for `net`, which must be its network, or for a denoiser in colour the network for grey: then each weight for grey
/// stands for red, green and blue, so that on a grey picture both give the same.
pub fn begin_with(path: &Path, net: &Net) -> Result<Weights> {
    let model = Model::load(path)?;
    // A network may have given more in its training than its model gives.
    if model.graph.nodes == net.graph.nodes && net.graph.outputs.starts_with(&model.graph.outputs) {
        return Ok(model.weights);
    }
    let names =
        |graph: &crate::graph::Graph| -> Vec<String> { graph.nodes.iter().map(|node| node.name.clone()).collect() };
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
            "its network ({} for `{}`) is not the one to train: give a model for the same task, and the same --arch, --width, --depth, \
             --color and --yuv420",
            model.training.arch, model.task
        );
        Error::model(path, reason)
    })
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
    use crate::nets::{self, NetOptions};

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
            let second = model(Task::Denoise, &rgb, begin_with(&path, &rgb).unwrap());
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
    fn other_networks_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        let save = |task: Task, arch: &str| {
            let gray = net(task, arch, Color::Gray, 8);
            model(task, &gray, nets::init(&gray, 1).unwrap()).save(&path).unwrap();
        };
        let refuse = |net: &Net| {
            let error = begin_with(&path, net).unwrap_err().to_string();
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

//! The part of a model that gives codes of pictures, whatever else the model is for.

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Calibration, ClassCalibration, Codes, InputSpec, Model, Task, Training};
use crate::graph::{Array, CodeSource, Graph, Node, Op, Weights};
use crate::{Error, Result};

impl Model {
    /// The part of this model that gives codes, with one output, `[N, features]`: of a classifier what its own codes are made of, of others the
    /// means over all places of the narrowest planes.
    ///
    /// Its calibration holds how codes are made, and the classifier's own codes, if there are any. Of its card `data` is left, which is the
    /// SHA-256 of the network and its weights: codes of different networks have nothing to do with each other. It is to be run, not saved.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a model that gives none: a denoiser, which sees no more than a few pixels at a time, one that predicts, which
    /// sees several frames, and a classifier whose last layer is not linear.
    pub fn coder(&self) -> Result<Model> {
        let shapes = self.input.shapes_of_any();
        let mut graph = self.graph.clone();
        let source = match (self.task, self.codes()) {
            (Task::Classify, Some(codes)) => codes.source,
            (Task::Classify, None) => graph.add_codes(&shapes)?.ok_or_else(|| {
                Error::Invalid("this classifier gives no codes: its last layer is not a linear one".into())
            })?,
            (Task::Anomaly | Task::Segment, _) if self.input.extra.is_empty() => {
                let narrowest = graph.narrowest(&shapes)?;
                graph.pool(&narrowest);
                CodeSource::Features
            }
            (Task::Embed, _) => {
                let output = graph.outputs[0].clone();
                if graph.shapes(&shapes)?[&output].len() == 4 {
                    graph.pool(&output);
                } else {
                    graph.outputs = vec![output.clone(), output];
                }
                CodeSource::Features
            }
            (task, _) => {
                let reason = format!("a model for `{task}` gives no codes; a classifier or an anomaly detector does");
                return Err(Error::Invalid(reason));
            }
        };
        graph.outputs = vec![graph.outputs[graph.outputs.len() - 1].clone()];
        let mut weights = self.weights.clone();
        graph.prune(&mut weights);
        let features = graph.shapes(&shapes)?[&graph.outputs[0]].iter().skip(1).product();
        let plain = || Codes {
            distance: 2.0,
            source,
            scale: vec![1.0; features],
            basis: Array::default(),
            classes: Vec::new(),
            vectors: Array {
                shape: vec![0, features],
                data: Vec::new(),
            },
        };
        let codes = self.codes().cloned().unwrap_or_else(plain);
        let calibration = ClassCalibration {
            temperature: 1.0,
            thresholds: Vec::new(),
            codes: Some(codes),
        };
        let training = Training {
            data: digest(&self.input, &graph, &weights),
            ..Training::default()
        };
        Ok(Model {
            task: self.task,
            graph,
            input: self.input.clone(),
            labels: self.labels.clone(),
            calibration: Some(Calibration::Classify(calibration)),
            training,
            weights,
        })
    }
}

impl Graph {
    /// Of the smallest planes the node with the fewest, the last one of several: what a picture is squeezed into.
    fn narrowest(&self, inputs: &[Vec<usize>]) -> Result<String> {
        let shapes = self.shapes(inputs)?;
        let planes = self.nodes.iter().filter_map(|node| match shapes[&node.name][..] {
            [_, channels, height, width] => Some(([height * width, channels], &node.name)),
            _ => None,
        });
        // Of equals, `reduce` keeps the last so.
        let narrowest = planes.reduce(|best, next| if next.0 <= best.0 { next } else { best });
        let name = narrowest.map(|(_, name)| name.clone());
        name.ok_or_else(|| Error::Invalid("this network has no planes to make codes of".into()))
    }

    /// Adds an output: the mean of each plane of a node.
    fn pool(&mut self, name: &str) {
        let [mean, code] = ["code.mean", "codes"].map(|name| self.unused(name.into()));
        let node = |name: &str, op: Op, input: &str| Node {
            name: name.into(),
            op,
            inputs: vec![input.into()],
        };
        self.nodes.push(node(&mean, Op::GlobalAvgPool, name));
        self.nodes.push(node(&code, Op::Flatten, &mean));
        self.outputs.push(code);
    }
}

/// SHA-256 of a network, its weights and how pictures come to it, hexadecimal.
fn digest(input: &InputSpec, graph: &Graph, weights: &Weights) -> String {
    let mut hash = Sha256::new();
    hash.update(json!(input).to_string());
    hash.update(graph.to_json());
    for (name, array) in weights {
        hash.update(name);
        array.data.iter().for_each(|value| hash.update(value.to_le_bytes()));
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nets::{self, NetOptions};

    fn model(task: Task, arch: &str) -> Model {
        let options = NetOptions {
            size: Some([32, 32]),
            width: (arch != "lenet").then_some(4),
            code_size: (arch == "autoencoder").then_some(8),
            classes: 2,
            ..NetOptions::default()
        };
        let net = nets::build(task, arch, &options).unwrap();
        let weights = net.graph.weight_shapes(&net.input.shapes_of_any()).unwrap();
        let filled = |shape: Vec<usize>| {
            let data = (0..shape.iter().product()).map(|i| (1 + i % 7) as f32 * 0.1).collect();
            Array { shape, data }
        };
        Model {
            task,
            graph: net.graph,
            input: net.input,
            labels: Vec::new(),
            calibration: None,
            training: Training::default(),
            weights: weights.into_iter().map(|(name, shape)| (name, filled(shape))).collect(),
        }
    }

    /// What the code is made of, and how long it is.
    fn code(model: &Model) -> (String, usize) {
        let coder = model.coder().unwrap();
        let [codes] = coder.graph.outputs.as_slice() else {
            panic!("{:?}", coder.graph.outputs)
        };
        let shapes = coder.graph.shapes(&coder.input.shapes_of_any()).unwrap();
        let node = |name: &str| coder.graph.nodes.iter().find(|node| node.name == name).unwrap();
        let mean = &node(codes).inputs[0];
        assert_eq!(coder.codes().unwrap().scale.len(), shapes[codes][1]);
        assert_eq!(
            coder.graph.weight_shapes(&coder.input.shapes_of_any()).unwrap().len(),
            coder.weights.len(),
            "all weights that are needed and no others"
        );
        (node(mean).inputs[0].clone(), shapes[codes][1])
    }

    #[test]
    fn what_pictures_are_squeezed_into_is_their_code() {
        let of = |task, arch| code(&model(task, arch));
        assert_eq!(of(Task::Anomaly, "autoencoder"), ("code".into(), 8));
        assert_eq!(of(Task::Anomaly, "fair"), ("encode4.1.relu".into(), 32));
        // Means and deviations of 4, 8, 16, 32 and again 32 channels.
        assert_eq!(of(Task::Classify, "tiny").1, 2 * (4 + 8 + 16 + 32 + 32));
        assert_eq!(
            model(Task::Classify, "lenet")
                .coder()
                .unwrap()
                .codes()
                .unwrap()
                .scale
                .len(),
            84
        );
        for task in [Task::Denoise, Task::Predict] {
            let mut model = model(Task::Anomaly, "fair");
            model.task = task;
            let error = model.coder().unwrap_err().to_string();
            assert!(error.contains(&format!("`{task}` gives no codes")), "{error}");
        }
    }

    #[test]
    fn networks_are_told_apart_by_what_their_codes_come_from() {
        let first = model(Task::Anomaly, "autoencoder");
        let digest = |model: &Model| model.coder().unwrap().training.data;
        assert_eq!(digest(&first).len(), 64);
        let mut other = first.clone();
        other.weights.get_mut("output.conv.bias").unwrap().data[0] = 9.0;
        assert_eq!(digest(&first), digest(&other), "nothing behind the code counts");
        other.weights.get_mut("code.bias").unwrap().data[0] = 9.0;
        assert_ne!(digest(&first), digest(&other));
    }
}

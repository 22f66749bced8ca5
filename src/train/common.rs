//! What all trainings share: options, the run's settings, the model's card.

use std::path::{Path, PathBuf};
use std::time::Duration;

use candle_core::Device;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::card;
use super::checkpoint::{Checkpoint, path_for};
use super::optimizer::Method;
use super::run::{Settings, Trained};
use super::samples::{DataCard, Sources};
use super::schedule::Budget;
use super::start::begin_with;
use crate::exec::Precision;
use crate::model::{Color, InputSpec, Model, Task, Training};
use crate::nets::{self, Net, NetOptions};
use crate::{Error, Result};

/// Share of the usual learning rate for what begins with another model's weights.
const FROM_SHARE: f64 = 0.25;

/// Options of every training; `None` = the task's own default.
#[derive(Debug, Clone)]
pub struct Common {
    /// The data.
    pub sources: Sources,
    /// Name of the architecture.
    pub arch: Option<String>,
    /// Its options; colour and classes are filled in from the data.
    pub net: NetOptions,
    /// How long.
    pub budget: Budget,
    /// Validations on the way.
    pub validations: Option<u64>,
    /// Validations in a row without a better one after which the run ends; `None` = it goes to its end.
    pub patience: Option<u64>,
    /// Items a batch.
    pub batch: Option<usize>,
    /// Largest learning rate.
    pub learning_rate: Option<f64>,
    /// How steps are made of gradients.
    pub method: Option<Method>,
    /// Decoupled weight decay.
    pub weight_decay: Option<f64>,
    /// A model whose weights to begin with: of the same network, or of the same for grey; its last layer may be another, which begins anew.
    pub from: Option<PathBuf>,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Where to train.
    pub device: Device,
    /// Number format of convolutions; [`Precision::Auto`] is f32.
    pub precision: Precision,
    /// The model file to make; the checkpoint lies beside it.
    pub output: PathBuf,
    /// Time between two checkpoints.
    pub checkpoint_every: Duration,
    /// Whether to go on from the checkpoint.
    pub resume: bool,
    /// Folder of `train.csv`.
    pub log: Option<PathBuf>,
    /// Terms of the data, for the card.
    pub license: String,
    /// Command line, for the card.
    pub command: String,
}

/// A task's defaults.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// Items a batch.
    pub batch: usize,
    /// Largest learning rate.
    pub learning_rate: f64,
    /// How steps are made of gradients.
    pub method: Method,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

/// What a training ends with.
#[derive(Debug)]
pub enum Product {
    /// The model, not yet saved.
    Model(Box<Model>),
    /// Stopped from outside after so many steps of so many; its checkpoint is written.
    Interrupted {
        /// Steps done.
        step: u64,
        /// Steps of the whole run.
        total: u64,
    },
}

impl Common {
    /// The architecture's name.
    pub fn arch(&self, task: Task) -> &str {
        self.arch.as_deref().unwrap_or(nets::names(task)[0])
    }

    /// Builds the network for pictures of `color` (an option given wins) and `classes` labels.
    pub fn build(&self, task: Task, color: Color, classes: usize) -> Result<Net> {
        let options = NetOptions {
            color: self.net.color.or(Some(color)),
            classes,
            ..self.net.clone()
        };
        nets::build(task, self.arch(task), &options)
    }

    /// The width of the run that the checkpoint is of, where it was not the architecture's own.
    pub(super) fn saved_width(&self) -> Result<Option<usize>> {
        let saved = Checkpoint::load(&path_for(&self.output))?;
        Ok(saved
            .state
            .identity
            .get("width")
            .and_then(Value::as_u64)
            .map(|width| width as usize))
    }

    /// The run's settings. `extra` are the task's own options that decide the result, an object.
    pub fn settings(
        &self,
        task: Task,
        net: &Net,
        defaults: Defaults,
        data: &DataCard,
        extra: Value,
    ) -> Result<Settings> {
        let batch = self.batch.unwrap_or(defaults.batch);
        // What was learned already is soon lost at the rate of a beginner.
        let share = if self.from.is_some() { FROM_SHARE } else { 1.0 };
        let learning_rate = self.learning_rate.unwrap_or(share * defaults.learning_rate);
        let weight_decay = self.weight_decay.unwrap_or(defaults.weight_decay);
        let method = self.method.unwrap_or(defaults.method);
        let start = self
            .from
            .as_deref()
            .map(|path| begin_with(path, net, self.seed))
            .transpose()?;
        if batch == 0 {
            return Err(Error::Invalid("--batch must be at least 1".into()));
        }
        if !(learning_rate > 0.0 && learning_rate.is_finite()) {
            return Err(Error::Invalid(format!("--lr {learning_rate} must be above 0")));
        }
        let budget = match self.budget {
            Budget::Steps(n) => json!({ "steps": n }),
            Budget::Epochs(n) => json!({ "epochs": n }),
            Budget::Minutes(n) => json!({ "minutes": n }),
        };
        let identity = json!({
            "task": task, "arch": self.arch(task), "width": self.net.width, "depth": self.net.depth,
            "code-size": self.net.code_size, "size": self.net.size, "color": self.net.color, "yuv420": self.net.chroma, "batch": batch,
            "lr": learning_rate, "optimizer": method.name(), "weight-decay": weight_decay, "from": self.from.as_deref().map(sha256).transpose()?, "seed": self.seed, "length": budget,
            "validations": self.validations, "patience": self.patience, "data": data.digest,
            "precision": if self.precision == Precision::Bf16 { "bf16" } else { "f32" },
        });
        let object = |value| match value {
            Value::Object(object) => object,
            _ => Map::new(),
        };
        let mut identity = object(identity);
        identity.extend(object(extra));
        Ok(Settings {
            budget: self.budget,
            validations: self.validations,
            patience: self.patience,
            batch,
            learning_rate,
            method,
            weight_decay,
            start,
            seed: self.seed,
            device: self.device.clone(),
            precision: self.precision,
            checkpoint: path_for(&self.output),
            checkpoint_every: self.checkpoint_every,
            resume: self.resume,
            log: self.log.clone(),
            command: self.command.clone(),
            identity,
        })
    }

    /// The model without calibration.
    pub fn model(
        &self,
        task: Task,
        net: &Net,
        input: InputSpec,
        labels: Vec<String>,
        trained: Trained,
        data: &DataCard,
    ) -> Model {
        let mut arch = self.arch(task).to_owned();
        let named = [
            ("width", self.net.width),
            ("depth", self.net.depth),
            ("code-size", self.net.code_size),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                arch.push_str(&format!(" {name}={value}"));
            }
        }
        if self.net.chroma {
            arch.push_str(" yuv420");
        }
        let training = Training {
            arch,
            command: trained.command,
            seed: self.seed,
            data: data.summary.clone(),
            date: trained.date,
            steps: trained.steps,
            hardware: card::hardware(),
            metrics: trained.metrics.into_iter().collect(),
            version: env!("CARGO_PKG_VERSION").into(),
            license: self.license.clone(),
        };
        let weights = trained.weights;
        Model {
            task,
            graph: net.graph.clone(),
            input,
            labels,
            calibration: None,
            training,
            weights,
        }
    }
}

/// Refuses parts of pictures that a network with this `input` cannot take.
pub(super) fn check_patch(input: &InputSpec, patch: usize) -> Result<()> {
    let multiple = input.multiple_of;
    match patch.is_multiple_of(multiple) && patch > 0 {
        true => Ok(()),
        false => Err(Error::Invalid(format!(
            "--patch {patch} must be a multiple of {multiple} for this network"
        ))),
    }
}

/// SHA-256 of the file at `path`, hexadecimal.
pub(super) fn sha256(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
    Ok(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

//! The loop: forward, backward, step, average; validation, checkpoints, logs on the way.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use serde_json::{Map, Value};

use super::arrays::to_tensor;
use super::card;
use super::checkpoint::{Checkpoint, State};
use super::ema::Ema;
use super::feed::{Batch, with_feed};
use super::log::{CsvLog, Row};
use super::optimizer::{Method, Optimizer, Params};
use super::pace::Pace;
use super::progress::Progress;
use super::schedule::{Budget, Schedule, epoch_steps, timed_steps};
use crate::exec::Precision;
use crate::exec::candle::Network;
use crate::graph::Weights;
use crate::nets::{self, Net};
use crate::{Error, Result};

/// Decay of the weights' moving average.
const EMA_DECAY: f32 = 0.999;
/// Validations in a run, where they take no more than [`VALIDATION_SHARE`] of its time.
const VALIDATIONS: u64 = 8;
/// Share of a run with `--minutes` that validations may take.
const VALIDATION_SHARE: f64 = 0.1;
/// Steps below which no network is of use.
const FEW_STEPS: u64 = 50;
/// Rows of a run's log, about.
const LOG_ROWS: u64 = 500;

/// Figures by name, the first the one to watch.
pub type Metrics = Vec<(&'static str, f64)>;

/// What is learned: one task's share of a run.
pub trait Objective: Sync {
    /// Items in one pass over the data, for `--epochs`.
    fn epoch_items(&self) -> u64;

    /// Arrays of batch `step`, a function of the step alone. Called in a background thread.
    fn batch(&self, step: u64) -> Result<Batch>;

    /// Scalar loss of the network on a batch, with gradients.
    fn loss(&self, network: &Network, batch: &[Tensor]) -> Result<Tensor>;

    /// Figures on the held-out data.
    fn validate(&self, network: &Network) -> Result<Metrics>;
}

/// How a run goes, whatever the task.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long.
    pub budget: Budget,
    /// Items a batch.
    pub batch: usize,
    /// Largest learning rate.
    pub learning_rate: f64,
    /// How steps are made of gradients.
    pub method: Method,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Weights to begin with; `None` = random ones.
    pub start: Option<Weights>,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Where to train.
    pub device: Device,
    /// Number format of convolutions.
    pub precision: Precision,
    /// The checkpoint's file.
    pub checkpoint: PathBuf,
    /// Time between two checkpoints.
    pub checkpoint_every: Duration,
    /// Whether to go on from the checkpoint.
    pub resume: bool,
    /// Folder of `train.csv`.
    pub log: Option<PathBuf>,
    /// Command line for the card.
    pub command: String,
    /// What decides the result, beside the code: a checkpoint of another identity is refused.
    pub identity: Map<String, Value>,
}

/// A finished run.
#[derive(Debug, Clone)]
pub struct Trained {
    /// Moving average of the weights.
    pub weights: Weights,
    /// Optimiser steps.
    pub steps: u64,
    /// Last validation.
    pub metrics: Metrics,
    /// Day the run began.
    pub date: String,
    /// The command that began it.
    pub command: String,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// To its end.
    Finished(Box<Trained>),
    /// Stopped from outside after so many steps of so many; its checkpoint is written.
    Interrupted {
        /// Steps done.
        step: u64,
        /// Steps of the whole run.
        total: u64,
    },
}

/// Trains `net` from its seed, or on from its checkpoint, until the end or until `stop` is set.
pub fn run(objective: &dyn Objective, net: &Net, settings: &Settings, stop: &AtomicBool) -> Result<Outcome> {
    let mut training = if settings.resume {
        Training::resume(net, settings)?
    } else {
        let (total, validations) = match settings.budget {
            Budget::Steps(steps) => (steps.max(1), VALIDATIONS),
            Budget::Epochs(epochs) => (
                epoch_steps(epochs, objective.epoch_items(), settings.batch),
                VALIDATIONS,
            ),
            Budget::Minutes(minutes) => plan(objective, net, settings, minutes * 60.0)?,
        };
        Training {
            validations,
            ..Training::begin(net, settings, total)?
        }
    };
    let first = training.step;
    let total = training.schedule.total;
    with_feed(
        first..total,
        |step| objective.batch(step),
        |feed| {
            let mut pace = Pace::new(settings.batch);
            let mut saved = Instant::now();
            while training.step < total {
                let batch = feed
                    .recv()
                    .map_err(|_| Error::Invalid("the batches ended early".into()))??;
                let loss = training.step(objective, batch)?;
                pace.push(loss);
                training.report(objective, &mut pace)?;
                let stopped = stop.load(Ordering::Relaxed);
                if stopped || saved.elapsed() >= settings.checkpoint_every {
                    training.save()?;
                    saved = Instant::now();
                }
                if stopped {
                    return Ok(Outcome::Interrupted {
                        step: training.step,
                        total,
                    });
                }
            }
            training.finish(objective, pace.loss())
        },
    )
}

/// Steps and validations that fit into `seconds`, measured on a network that is thrown away, so that the run itself is the same
/// as one with that number of `--steps`.
fn plan(objective: &dyn Objective, net: &Net, settings: &Settings, seconds: f64) -> Result<(u64, u64)> {
    let began = Instant::now();
    let settings = &Settings {
        log: None,
        ..settings.clone()
    };
    let mut probe = Training::begin(net, settings, u64::MAX)?;
    let limit = Duration::from_secs_f64((0.04 * seconds).min(20.0));
    let mut times = Vec::new();
    with_feed(
        0..u64::MAX,
        |step| objective.batch(step),
        |feed| {
            // The first step warms caches and allocators up and is not counted.
            while times.len() < 4 || (began.elapsed() < limit && times.len() < 200) {
                let start = Instant::now();
                let batch = feed
                    .recv()
                    .map_err(|_| Error::Invalid("the batches ended early".into()))??;
                probe.step(objective, batch)?;
                times.push(start.elapsed().as_secs_f64());
            }
            Ok::<_, Error>(())
        },
    )?;
    let start = Instant::now();
    objective.validate(&probe.network)?;
    let validation_seconds = start.elapsed().as_secs_f64();
    let validations = ((VALIDATION_SHARE * seconds / validation_seconds) as u64).clamp(1, VALIDATIONS);
    times[1..].sort_by(f64::total_cmp);
    let step_seconds = times[1 + (times.len() - 1) / 2];
    let left = seconds - began.elapsed().as_secs_f64() - validations as f64 * validation_seconds;
    let steps = timed_steps(left, step_seconds);
    eprintln!(
        "planned {steps} steps of {:.0} ms: the same run again is --steps {steps}",
        step_seconds * 1e3
    );
    if steps < FEW_STEPS {
        eprintln!("warning: so few steps teach a network next to nothing: give more --minutes");
    }
    Ok((steps, validations))
}

/// A run in progress.
struct Training<'a> {
    settings: &'a Settings,
    net: &'a Net,
    network: Network,
    optimizer: Optimizer,
    ema: Ema,
    schedule: Schedule,
    step: u64,
    /// Validations in the whole run; they do not change its result.
    validations: u64,
    date: String,
    command: String,
    log: Option<CsvLog>,
    progress: Option<Progress>,
}

impl<'a> Training<'a> {
    fn begin(net: &'a Net, settings: &'a Settings, total: u64) -> Result<Self> {
        let weights = match &settings.start {
            Some(weights) => weights.clone(),
            None => nets::init(net, settings.seed)?,
        };
        let state = State::new(
            settings.identity.clone(),
            0,
            total,
            card::today(),
            settings.command.clone(),
        );
        let ema = Ema::new(weights.clone(), EMA_DECAY);
        Self::new(net, settings, &weights, ema, state)
    }

    fn resume(net: &'a Net, settings: &'a Settings) -> Result<Self> {
        let path = &settings.checkpoint;
        let saved = Checkpoint::load(path)?;
        saved.state.check(path, &settings.identity)?;
        let expected = nets::init(net, settings.seed)?;
        for group in [&saved.weights, &saved.ema] {
            let same = |(name, array): (&String, &crate::graph::Array)| {
                group.get(name).is_some_and(|a| a.shape == array.shape)
            };
            if group.len() != expected.len() || !expected.iter().all(same) {
                return Err(Error::model(path, "its weights are not those of this network"));
            }
        }
        let ema = Ema::new(saved.ema, EMA_DECAY);
        let mut training = Self::new(net, settings, &saved.weights, ema, saved.state)?;
        let restored = training.optimizer.restore(&saved.first, &saved.second, training.step);
        restored.map_err(|e| Error::model(path, e.to_string()))?;
        Ok(training)
    }

    fn new(net: &'a Net, settings: &'a Settings, weights: &Weights, ema: Ema, state: State) -> Result<Self> {
        let network = Network::in_precision(&net.graph, weights, &settings.device, settings.precision)?;
        let params = Params {
            method: settings.method,
            weight_decay: settings.weight_decay,
            ..Params::default()
        };
        let optimizer = Optimizer::new(network.trainable(), params)?;
        let State {
            step,
            total,
            date,
            command,
            ..
        } = state;
        let log = settings
            .log
            .as_deref()
            .map(|folder| CsvLog::open(folder, step))
            .transpose()?;
        let progress = (total != u64::MAX).then(|| Progress::new(step, total));
        let schedule = Schedule::new(settings.learning_rate, total);
        Ok(Self {
            settings,
            net,
            network,
            optimizer,
            ema,
            schedule,
            step,
            validations: VALIDATIONS,
            date,
            command,
            log,
            progress,
        })
    }

    /// One optimiser step; returns the loss before it.
    fn step(&mut self, objective: &dyn Objective, batch: Batch) -> Result<f32> {
        let batch = batch
            .iter()
            .map(|a| to_tensor(a, &self.settings.device))
            .collect::<Result<Vec<_>>>()?;
        let loss = objective.loss(&self.network, &batch)?;
        let value = loss.to_scalar::<f32>()?;
        if !value.is_finite() {
            let step = self.step + 1;
            return Err(Error::Invalid(format!(
                "the loss is {value} at step {step}: train with a smaller --lr"
            )));
        }
        self.optimizer.step(&loss.backward()?, self.schedule.rate(self.step))?;
        self.ema.update(&self.network.weights()?, self.step);
        self.step += 1;
        Ok(value)
    }

    /// Progress, log and validation after a step.
    fn report(&mut self, objective: &dyn Objective, pace: &mut Pace) -> Result<()> {
        let (step, total) = (self.step, self.schedule.total);
        let images_per_s = pace.images_per_s();
        if let Some(progress) = &mut self.progress {
            let left = (total - step) as f64 * self.settings.batch as f64 / images_per_s;
            progress.update(step, pace.loss(), images_per_s, left);
        }
        // The last validation is made by `finish`, which a resumed run calls, too.
        let validate = step.is_multiple_of((total / self.validations).max(1)) && step < total;
        if validate {
            self.validate(objective, pace.loss())?;
            pace.restart();
        } else if step.is_multiple_of((total / LOG_ROWS).max(1)) {
            self.write_log(pace.loss(), images_per_s, None)?;
        }
        Ok(())
    }

    fn validate(&mut self, objective: &dyn Objective, loss: f64) -> Result<Metrics> {
        let averaged = Network::new(&self.net.graph, self.ema.weights(), &self.settings.device)?;
        let metrics = objective.validate(&averaged)?;
        let figures: Vec<String> = metrics
            .iter()
            .map(|(name, value)| format!("{name} {value:.4}"))
            .collect();
        if let Some(progress) = &self.progress {
            progress.say(&format!(
                "step {}/{}  {}",
                self.step,
                self.schedule.total,
                figures.join("  ")
            ));
        }
        self.write_log(loss, 0.0, metrics.first().copied())?;
        Ok(metrics)
    }

    fn write_log(&mut self, loss: f64, images_per_s: f64, metric: Option<(&str, f64)>) -> Result<()> {
        let rate = self.schedule.rate(self.step - 1);
        match &mut self.log {
            Some(log) => log.write(&Row {
                step: self.step,
                loss,
                rate,
                images_per_s,
                metric,
            }),
            None => Ok(()),
        }
    }

    fn save(&self) -> Result<()> {
        let (first, second) = self.optimizer.moments();
        let settings = self.settings;
        let total = self.schedule.total;
        let state = State::new(
            settings.identity.clone(),
            self.step,
            total,
            self.date.clone(),
            self.command.clone(),
        );
        let (weights, ema) = (self.network.weights()?, self.ema.weights().clone());
        Checkpoint {
            state,
            weights,
            ema,
            first,
            second,
        }
        .save(&settings.checkpoint)
    }

    fn finish(mut self, objective: &dyn Objective, loss: f64) -> Result<Outcome> {
        let metrics = self.validate(objective, loss)?;
        let Self {
            ema,
            step,
            date,
            command,
            ..
        } = self;
        Ok(Outcome::Finished(Box::new(Trained {
            weights: ema.weights().clone(),
            steps: step,
            metrics,
            date,
            command,
        })))
    }
}

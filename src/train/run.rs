//! The loop: forward, backward, step, average; validation, checkpoints, logs on the way.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use serde_json::{Map, Value};

use super::arrays::to_tensor;
use super::card;
use super::checkpoint::{Best, Checkpoint, State};
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
/// Validations in a run where no number is asked for, in one with `--minutes` fewer where they took more than [`VALIDATION_SHARE`] of it.
const VALIDATIONS: u64 = 8;
/// Share of a run with `--minutes` that validations may take.
const VALIDATION_SHARE: f64 = 0.1;
/// Steps below which no network is of use.
const FEW_STEPS: u64 = 50;
/// Rows of a run's log, about.
const LOG_ROWS: u64 = 500;

/// Figures by name, the first the one to watch: the more of it, the better.
pub type Metrics = Vec<(&'static str, f64)>;

/// What a validation found.
pub struct Validation {
    /// The figures.
    pub metrics: Metrics,
    /// How far the first of them may be off by which samples were held out. A later validation that is less good by no more is as good.
    pub doubt: f64,
}

impl Validation {
    /// Figures of samples that are rated so one by one; in doubt by the standard error of the ratings' mean.
    pub fn of(metrics: Metrics, ratings: &[f64]) -> Self {
        let n = ratings.len().max(1) as f64;
        let mean = ratings.iter().sum::<f64>() / n;
        let variance = ratings.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        Self {
            metrics,
            doubt: (variance / n).sqrt(),
        }
    }
}

impl From<Metrics> for Validation {
    fn from(metrics: Metrics) -> Self {
        Self { metrics, doubt: 0.0 }
    }
}

/// What is learned: one task's share of a run.
pub trait Objective: Sync {
    /// Items in one pass over the data, for `--epochs`.
    fn epoch_items(&self) -> u64;

    /// Arrays of batch `step`, a function of the step alone. Called in a background thread.
    fn batch(&self, step: u64) -> Result<Batch>;

    /// Scalar loss of the network on a batch, with gradients.
    fn loss(&self, network: &Network, batch: &[Tensor]) -> Result<Tensor>;

    /// Figures on the held-out data.
    fn validate(&self, network: &Network) -> Result<Validation>;
}

/// How a run goes, whatever the task.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long.
    pub budget: Budget,
    /// Validations on the way; `None` = a usual number.
    pub validations: Option<u64>,
    /// Validations in a row without a better one after which the run ends; `None` = it goes to its end.
    pub patience: Option<u64>,
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
    /// Moving average of the weights, as it was at the best validation.
    pub weights: Weights,
    /// Optimiser steps.
    pub steps: u64,
    /// The best validation, of those alike the last.
    pub metrics: Vec<(String, f64)>,
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
        let usual = settings.validations.unwrap_or(VALIDATIONS);
        let (total, validations) = match settings.budget {
            Budget::Steps(steps) => (steps.max(1), usual),
            Budget::Epochs(epochs) => (epoch_steps(epochs, objective.epoch_items(), settings.batch), usual),
            Budget::Minutes(minutes) => plan(objective, net, settings, minutes * 60.0)?,
        };
        Training::begin(net, settings, total, validations)?
    };
    let first = training.state.step;
    if first == 0 && settings.start.is_some() {
        // What it begins with is kept, unless something better comes.
        training.validate(objective, 0.0)?;
    }
    let total = training.schedule.total;
    with_feed(
        first..total,
        |step| objective.batch(step),
        |feed| {
            let mut pace = Pace::new(settings.batch);
            let mut saved = Instant::now();
            while training.state.step < total && !training.has_lost_patience() {
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
                    let step = training.state.step;
                    return Ok(Outcome::Interrupted { step, total });
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
    let mut probe = Training::begin(net, settings, u64::MAX, 1)?;
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
    let affordable = ((VALIDATION_SHARE * seconds / validation_seconds) as u64).clamp(1, VALIDATIONS);
    let validations = settings.validations.unwrap_or(affordable);
    times[1..].sort_by(f64::total_cmp);
    let step_seconds = times[1 + (times.len() - 1) / 2];
    // That of what it begins with comes on top.
    let all = validations + u64::from(settings.start.is_some());
    let left = seconds - began.elapsed().as_secs_f64() - all as f64 * validation_seconds;
    let steps = timed_steps(left, step_seconds);
    let fewer = match validations {
        VALIDATIONS => String::new(),
        validations => format!(" --validations {validations}"),
    };
    eprintln!(
        "planned {steps} steps of {:.0} ms: the same run again is --steps {steps}{fewer}",
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
    state: State,
    /// Moving average at the best validation.
    best: Weights,
    log: Option<CsvLog>,
    progress: Option<Progress>,
}

impl<'a> Training<'a> {
    fn begin(net: &'a Net, settings: &'a Settings, total: u64, validations: u64) -> Result<Self> {
        let weights = match &settings.start {
            Some(weights) => weights.clone(),
            None => nets::init(net, settings.seed)?,
        };
        let (identity, command) = (settings.identity.clone(), settings.command.clone());
        let state = State::new(identity, total, validations, card::today(), command);
        let ema = Ema::new(weights.clone(), EMA_DECAY);
        Self::new(net, settings, &weights, ema, state)
    }

    fn resume(net: &'a Net, settings: &'a Settings) -> Result<Self> {
        let path = &settings.checkpoint;
        let saved = Checkpoint::load(path)?;
        saved.state.check(path, &settings.identity)?;
        let expected = nets::init(net, settings.seed)?;
        let best = saved.state.best.as_ref().map(|_| &saved.best);
        for group in [&saved.weights, &saved.ema].into_iter().chain(best) {
            let same = |(name, array): (&String, &crate::graph::Array)| {
                group.get(name).is_some_and(|a| a.shape == array.shape)
            };
            if group.len() != expected.len() || !expected.iter().all(same) {
                return Err(Error::model(path, "its weights are not those of this network"));
            }
        }
        let ema = Ema::new(saved.ema, EMA_DECAY);
        let mut training = Self::new(net, settings, &saved.weights, ema, saved.state)?;
        training.best = saved.best;
        let restored = training
            .optimizer
            .restore(&saved.first, &saved.second, training.state.step);
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
        let log = settings
            .log
            .as_deref()
            .map(|folder| CsvLog::open(folder, state.step))
            .transpose()?;
        let progress = (state.total != u64::MAX).then(|| Progress::new(state.step, state.total));
        let schedule = Schedule::new(settings.learning_rate, state.total);
        Ok(Self {
            settings,
            net,
            network,
            optimizer,
            ema,
            schedule,
            state,
            best: Weights::new(),
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
            let step = self.state.step + 1;
            return Err(Error::Invalid(format!(
                "the loss is {value} at step {step}: train with a smaller --lr"
            )));
        }
        let step = self.state.step;
        self.optimizer.step(&loss.backward()?, self.schedule.rate(step))?;
        self.ema.update(&self.network.weights()?, step);
        self.state.step += 1;
        Ok(value)
    }

    /// Progress, log and validation after a step.
    fn report(&mut self, objective: &dyn Objective, pace: &mut Pace) -> Result<()> {
        let (step, total) = (self.state.step, self.schedule.total);
        let images_per_s = pace.images_per_s();
        if let Some(progress) = &mut self.progress {
            let left = (total - step) as f64 * self.settings.batch as f64 / images_per_s;
            progress.update(step, pace.loss(), images_per_s, left);
        }
        // The last validation is made by `finish`, which a resumed run calls, too.
        let between = total / self.state.validations.max(1);
        let validate = step.is_multiple_of(between.max(1)) && step < total;
        if validate {
            self.validate(objective, pace.loss())?;
            pace.restart();
        } else if step.is_multiple_of((total / LOG_ROWS).max(1)) {
            self.write_log(pace.loss(), images_per_s, None)?;
        }
        Ok(())
    }

    /// Validates, and keeps the weights where none before were better; of those alike, as far as the samples held out can tell, the later ones,
    /// which have learned longer.
    fn validate(&mut self, objective: &dyn Objective, loss: f64) -> Result<()> {
        let averaged = Network::new(&self.net.graph, self.ema.weights(), &self.settings.device)?;
        let Validation { metrics, doubt } = objective.validate(&averaged)?;
        let figures: Vec<String> = metrics
            .iter()
            .map(|(name, value)| format!("{name} {value:.4}"))
            .collect();
        let step = self.state.step;
        if let Some(progress) = &self.progress {
            progress.say(&format!("step {step}/{}  {}", self.schedule.total, figures.join("  ")));
        }
        if step > 0 {
            self.write_log(loss, 0.0, metrics.first().copied())?;
        }
        let figure = metrics.first().map_or(0.0, |(_, value)| *value);
        let before = self.state.best.take();
        let most = before.as_ref().map_or(figure, Best::most);
        let since = before
            .as_ref()
            .filter(|_| figure < most)
            .map_or(0, |best| best.since + 1);
        // What a run begins with stays unless something is better.
        let doubt = if before.as_ref().is_some_and(|best| best.step == 0) {
            0.0
        } else {
            doubt
        };
        self.state.best = Some(match before {
            Some(best) if figure < most - doubt => Best { since, ..best },
            _ => {
                self.best.clone_from(self.ema.weights());
                Best {
                    step,
                    metrics: metrics
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect(),
                    most: Some(most.max(figure)),
                    since,
                }
            }
        });
        Ok(())
    }

    /// Whether so many validations in a row have found nothing better that the run shall end.
    fn has_lost_patience(&self) -> bool {
        let since = self.state.best.as_ref().map_or(0, |best| best.since);
        self.settings.patience.is_some_and(|patience| since >= patience)
    }

    fn write_log(&mut self, loss: f64, images_per_s: f64, metric: Option<(&str, f64)>) -> Result<()> {
        let step = self.state.step;
        let rate = self.schedule.rate(step - 1);
        match &mut self.log {
            Some(log) => log.write(&Row {
                step,
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
        Checkpoint {
            state: self.state.clone(),
            weights: self.network.weights()?,
            ema: self.ema.weights().clone(),
            first,
            second,
            best: self.best.clone(),
        }
        .save(&self.settings.checkpoint)
    }

    fn finish(mut self, objective: &dyn Objective, loss: f64) -> Result<Outcome> {
        let is_early = self.has_lost_patience();
        if !is_early {
            self.validate(objective, loss)?;
        }
        let Self { state, best, .. } = self;
        let (step, metrics) = state
            .best
            .map_or((state.step, Vec::new()), |best| (best.step, best.metrics));
        if step < state.step {
            let ends = if is_early {
                " (nothing better came: this is the end)"
            } else {
                ""
            };
            eprintln!(
                "the weights after step {step} of {} are kept, the best that validations found{ends}",
                state.step
            );
        }
        Ok(Outcome::Finished(Box::new(Trained {
            weights: best,
            steps: state.step,
            metrics,
            date: state.date,
            command: state.command,
        })))
    }
}

#[cfg(test)]
mod tests;

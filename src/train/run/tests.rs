use std::collections::VecDeque;
use std::sync::Mutex;

use super::*;
use crate::graph::{Array, Builder};
use crate::model::{Color, InputSpec, Normalization, Resize};

/// A convolution that learns to give its input, and validations that find what they are told to.
struct Told {
    figures: Mutex<VecDeque<f64>>,
    doubt: f64,
    /// The run is to stop after so many of them.
    stop_after: usize,
    stop: AtomicBool,
}

impl Told {
    fn new(figures: &[f64], stop_after: usize) -> Self {
        Self {
            figures: Mutex::new(figures.iter().copied().collect()),
            doubt: 0.0,
            stop_after,
            stop: AtomicBool::new(false),
        }
    }

    fn run(&self, settings: &Settings) -> Outcome {
        run(self, &net(), settings, &self.stop).unwrap()
    }
}

impl Objective for Told {
    fn epoch_items(&self) -> u64 {
        1
    }

    fn batch(&self, step: u64) -> Result<Batch> {
        let data = (0..16).map(|i| ((step + i) % 5) as f32).collect();
        let shape = vec![1, 1, 4, 4];
        Ok(vec![Array { shape, data }])
    }

    fn loss(&self, network: &Network, batch: &[Tensor]) -> Result<Tensor> {
        let output = network.forward(batch, true)?.swap_remove(0);
        Ok((output - &batch[0])?.sqr()?.mean_all()?)
    }

    fn validate(&self, _: &Network) -> Result<Validation> {
        let mut figures = self.figures.lock().unwrap();
        let figure = figures.pop_front().expect("no more validations than expected");
        let left = figures.len();
        if self.stop_after > 0 && left == self.stop_after {
            self.stop.store(true, Ordering::Relaxed);
        }
        Ok(Validation {
            metrics: vec![("val", figure)],
            doubt: self.doubt,
        })
    }
}

fn net() -> Net {
    let mut b = Builder::new();
    let input = b.input("input", 1);
    let output = b.conv("conv", &input, 1, 3, true);
    Net {
        graph: b.finish(&[&output]),
        input: InputSpec {
            color: Color::Gray,
            size: Some([4, 4]),
            multiple_of: 1,
            resize: Resize::Stretch,
            normalization: Normalization::None,
            frames: 1,
            extra: Vec::new(),
        },
        given: Weights::new(),
    }
}

fn settings(folder: &std::path::Path, steps: u64, patience: Option<u64>) -> Settings {
    Settings {
        budget: Budget::Steps(steps),
        validations: Some(4),
        patience,
        batch: 1,
        learning_rate: 0.05,
        method: Method::AdamW,
        weight_decay: 0.0,
        start: None,
        seed: 1,
        device: Device::Cpu,
        precision: Precision::F32,
        checkpoint: folder.join("run.ckpt"),
        checkpoint_every: Duration::MAX,
        resume: false,
        log: None,
        command: String::new(),
        identity: Map::new(),
    }
}

fn finished(outcome: Outcome) -> Trained {
    match outcome {
        Outcome::Finished(trained) => *trained,
        Outcome::Interrupted { step, .. } => panic!("interrupted after step {step}"),
    }
}

#[test]
fn the_weights_of_the_best_validation_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), 40, None);
    let trained = |figures: &[f64]| finished(Told::new(figures, 0).run(&settings));
    let last = trained(&[1.0, 2.0, 3.0, 4.0]);
    let second = trained(&[1.0, 5.0, 3.0, 4.0]);
    assert_eq!(
        (second.steps, &second.metrics[..]),
        (40, &[("val".to_owned(), 5.0)][..])
    );
    assert_ne!(second.weights, last.weights);
    // Of those alike it is the last.
    assert_eq!(trained(&[4.0; 4]).weights, last.weights);

    // Stopped after the third validation, the run goes on with the second one's weights.
    let stopped = Told::new(&[1.0, 5.0, 3.0, 4.0], 1);
    assert!(matches!(
        stopped.run(&settings),
        Outcome::Interrupted { step: 30, total: 40 }
    ));
    let settings = Settings {
        resume: true,
        ..settings
    };
    let resumed = finished(Told::new(&[4.0], 0).run(&settings));
    assert_eq!((resumed.weights, resumed.metrics), (second.weights, second.metrics));
}

#[test]
fn of_validations_that_samples_held_out_do_not_tell_apart_the_last_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), 40, None);
    let kept = |figures: &[f64], doubt| {
        let told = Told {
            doubt,
            ..Told::new(figures, 0)
        };
        finished(told.run(&settings)).metrics[0].1
    };
    assert_eq!(kept(&[1.0, 5.0, 3.0, 4.0], 1.0), 4.0);
    assert_eq!(
        kept(&[1.0, 5.0, 4.5, 3.9], 1.0),
        4.5,
        "the best is what counts, not the one kept"
    );
    assert_eq!(kept(&[1.0, 5.0, 3.0, 4.0], 0.5), 5.0);
    let rated = Validation::of(vec![("val", 0.5)], &[0.0, 1.0, 0.0, 1.0]);
    assert_eq!(rated.doubt, 0.25);
}

#[test]
fn a_run_that_gets_no_better_ends_when_patience_does() {
    let folder = tempfile::tempdir().unwrap();
    let ended = |patience, figures: &[f64]| {
        finished(Told::new(figures, 0).run(&settings(folder.path(), 40, Some(patience)))).steps
    };
    assert_eq!(ended(1, &[2.0, 1.0]), 20);
    assert_eq!(ended(2, &[2.0, 1.0, 1.5]), 30);
    assert_eq!(ended(2, &[2.0, 1.0, 3.0, 2.0]), 40);
}

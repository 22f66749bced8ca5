//! How long to train, and the learning rate on the way.

use std::f64::consts::PI;

/// How much training was asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// Optimiser steps.
    Steps(u64),
    /// Passes over the data.
    Epochs(f64),
    /// Wall-clock minutes, turned into steps once by a measurement.
    Minutes(f64),
}

/// Cosine from `peak` to zero over `total` steps after a linear warm-up (Loshchilov and Hutter 2017, without restarts).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Largest learning rate.
    pub peak: f64,
    /// Steps of the warm-up.
    pub warmup: u64,
    /// All steps.
    pub total: u64,
}

impl Schedule {
    /// A schedule whose warm-up is a twentieth of the steps, at most 500.
    pub fn new(peak: f64, total: u64) -> Self {
        Self {
            peak,
            warmup: (total / 20).min(500),
            total,
        }
    }

    /// Learning rate of step `step`, from 0. Zero from `total` on.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        if step >= self.total {
            return 0.0;
        }
        let done = (step - self.warmup) as f64 / (self.total - self.warmup) as f64;
        0.5 * self.peak * (1.0 + (PI * done).cos())
    }
}

/// Steps in `epochs` passes over `items` items in batches of `batch`; at least one.
pub fn epoch_steps(epochs: f64, items: u64, batch: usize) -> u64 {
    ((epochs * items as f64 / batch as f64).ceil() as u64).max(1)
}

/// Steps that fit into `seconds` when a step takes `step_seconds`; at least one. A twentieth is kept back for what
/// comes after the last step.
pub fn timed_steps(seconds: f64, step_seconds: f64) -> u64 {
    ((0.95 * seconds / step_seconds) as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_linearly_then_falls_as_a_cosine() {
        let schedule = Schedule {
            peak: 2e-3,
            warmup: 4,
            total: 104,
        };
        assert!((schedule.rate(0) - 0.5e-3).abs() < 1e-12);
        assert!((schedule.rate(3) - 2e-3).abs() < 1e-12);
        assert!((schedule.rate(4) - 2e-3).abs() < 1e-12);
        assert!((schedule.rate(54) - 1e-3).abs() < 1e-12, "half way it is half the peak");
        assert!(schedule.rate(103) < 1e-6);
        assert_eq!(schedule.rate(104), 0.0);
        assert!((4..103).all(|s| schedule.rate(s + 1) < schedule.rate(s)));
    }

    #[test]
    fn short_runs_have_no_warm_up() {
        assert_eq!(Schedule::new(1.0, 3).warmup, 0);
        assert_eq!(Schedule::new(1.0, 3).rate(0), 1.0);
        assert_eq!(Schedule::new(1.0, 100_000).warmup, 500);
    }

    #[test]
    fn budgets_become_steps() {
        assert_eq!(epoch_steps(2.0, 100, 32), 7);
        assert_eq!(epoch_steps(0.001, 10, 32), 1);
        assert_eq!(timed_steps(100.0, 0.5), 190);
        assert_eq!(timed_steps(-3.0, 0.5), 1);
    }
}

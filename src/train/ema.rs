//! A running mean of the weights: what is validated and saved.

use rayon::prelude::*;

use crate::graph::Weights;

/// Exponential moving average of all weights, running statistics included.
#[derive(Debug, Clone)]
pub struct Ema {
    decay: f32,
    weights: Weights,
}

impl Ema {
    /// Starts at `weights`.
    pub fn new(weights: Weights, decay: f32) -> Self {
        Self { decay, weights }
    }

    /// Takes the weights after step `step`, from 0. The decay is `min(decay, (1 + step) / (10 + step))`, so that a short
    /// run forgets its random start. Weights that do not change keep their exact value.
    pub fn update(&mut self, weights: &Weights, step: u64) {
        let share = 1.0 - self.decay.min((1 + step) as f32 / (10 + step) as f32);
        let pairs: Vec<_> = self.weights.values_mut().zip(weights.values()).collect();
        pairs.into_par_iter().for_each(|(mean, now)| {
            for (mean, &now) in mean.data.iter_mut().zip(&now.data) {
                *mean += share * (now - *mean);
            }
        });
    }

    /// The mean.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Array;

    fn one(value: f32) -> Weights {
        Weights::from([(
            "a.weight".to_owned(),
            Array {
                shape: vec![2],
                data: vec![value, 0.1],
            },
        )])
    }

    #[test]
    fn follows_the_formula_with_warm_up() {
        let mut ema = Ema::new(one(0.0), 0.5);
        ema.update(&one(1.0), 0); // decay 0.1
        assert!((ema.weights()["a.weight"].data[0] - 0.9).abs() < 1e-6);
        ema.update(&one(2.0), 1000); // decay 0.5
        assert!((ema.weights()["a.weight"].data[0] - 1.45).abs() < 1e-6);
        assert_eq!(
            ema.weights()["a.weight"].data[1],
            0.1,
            "what stays the same stays bit for bit"
        );
    }
}

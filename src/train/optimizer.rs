//! Optimisers whose state can be saved.

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use rayon::prelude::*;

use super::muon;
use crate::graph::{Array, Weights};
use crate::{Error, Result};

/// Values a task of the thread pool works on.
const CHUNK: usize = 16 * 1024;

/// How steps are made of gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// Adam with decoupled weight decay (Kingma and Ba 2015; Loshchilov and Hutter 2019).
    #[default]
    AdamW,
    /// Muon (Jordan 2024) for the matrices between channels, [`Method::AdamW`] for all else.
    Muon,
    /// Stochastic gradient descent with Nesterov's momentum (Sutskever 2013) and decoupled weight decay.
    Sgd,
}

impl Method {
    /// As options and checkpoints name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AdamW => "adamw",
            Self::Muon => "muon",
            Self::Sgd => "sgd",
        }
    }
}

/// Constants of an [`Optimizer`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Params {
    /// How.
    pub method: Method,
    /// Adam's decay of the mean of gradients; of SGD their sum's, which is its momentum.
    pub beta1: f64,
    /// Adam's decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root of the latter.
    pub eps: f64,
    /// Decoupled weight decay, times the learning rate a step. Only on weights of two axes or more: not on biases and norms.
    pub weight_decay: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            method: Method::AdamW,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
        }
    }
}

/// One variable and its moments, all on the host.
struct Slot {
    name: String,
    var: Var,
    /// Rows and columns where it is Muon's.
    matrix: Option<[usize; 2]>,
    value: Vec<f32>,
    first: Vec<f32>,
    /// Not used by Muon and SGD.
    second: Vec<f32>,
}

/// Changes variables by their gradients.
pub struct Optimizer {
    params: Params,
    slots: Vec<Slot>,
    steps: u64,
}

impl Optimizer {
    /// An optimiser of these variables, moments zero.
    pub fn new(vars: Vec<(String, Var)>, params: Params) -> Result<Self> {
        let slots = vars
            .into_iter()
            .map(|(name, var)| {
                let value = values(&var)?;
                let zeros = vec![0.0; value.len()];
                Ok(Slot {
                    matrix: muon::matrix(var.dims()).filter(|_| params.method == Method::Muon),
                    name,
                    var,
                    value,
                    first: zeros.clone(),
                    second: zeros,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            params,
            slots,
            steps: 0,
        })
    }

    /// One step with learning rate `rate`. An error names a variable that no gradient reaches.
    pub fn step(&mut self, gradients: &GradStore, rate: f64) -> Result<()> {
        self.steps += 1;
        let p = self.params;
        let correction1 = 1.0 - p.beta1.powf(self.steps as f64);
        let correction2 = 1.0 - p.beta2.powf(self.steps as f64);
        let (beta1, beta2, eps) = (p.beta1 as f32, p.beta2 as f32, p.eps as f32);
        // One minus the f32 next to 0.999 would be off by 5e-5 of itself.
        let (share1, share2) = ((1.0 - p.beta1) as f32, (1.0 - p.beta2) as f32);
        let (rate1, root2) = ((rate / correction1) as f32, correction2.sqrt() as f32);
        self.slots.par_iter_mut().try_for_each(|slot| {
            let gradient = gradients
                .get(&slot.var)
                .ok_or_else(|| Error::Invalid(format!("weight `{}`: no gradient reaches it", slot.name)))?;
            let gradient = values(gradient)?;
            let keep = if slot.var.rank() > 1 {
                (1.0 - rate * p.weight_decay) as f32
            } else {
                1.0
            };
            if let Some(matrix) = slot.matrix {
                let step = muon::step(&mut slot.first, &gradient, matrix);
                for (w, step) in slot.value.iter_mut().zip(step) {
                    *w = keep * *w - rate as f32 * step;
                }
            } else if p.method == Method::Sgd {
                for ((w, m), g) in slot.value.iter_mut().zip(&mut slot.first).zip(gradient) {
                    *m = ended(beta1 * *m + g);
                    *w = keep * *w - rate as f32 * (g + beta1 * *m);
                }
            } else {
                let chunks = slot.value.par_chunks_mut(CHUNK).zip(slot.first.par_chunks_mut(CHUNK));
                chunks
                    .zip(slot.second.par_chunks_mut(CHUNK))
                    .zip(gradient.par_chunks(CHUNK))
                    .for_each(|(((value, first), second), gradient)| {
                        for (((w, m), v), &g) in value.iter_mut().zip(first).zip(second).zip(gradient) {
                            *m = ended(beta1 * *m + share1 * g);
                            *v = ended(beta2 * *v + share2 * g * g);
                            *w = keep * *w - rate1 * *m / (v.sqrt() / root2 + eps);
                        }
                    });
            }
            let value = Tensor::from_slice(&slot.value, slot.var.shape(), slot.var.device())?;
            Ok(slot.var.set(&value)?)
        })
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Means of gradients and of squared gradients, by weight name.
    pub fn moments(&self) -> (Weights, Weights) {
        let array = |slot: &Slot, data: &[f32]| Array {
            shape: slot.var.dims().to_vec(),
            data: data.to_vec(),
        };
        let first = self
            .slots
            .iter()
            .map(|s| (s.name.clone(), array(s, &s.first)))
            .collect();
        let second = self
            .slots
            .iter()
            .map(|s| (s.name.clone(), array(s, &s.second)))
            .collect();
        (first, second)
    }

    /// Takes back what [`Optimizer::moments`] and [`Optimizer::steps`] gave. An error names a moment that is missing or of another shape.
    pub fn restore(&mut self, first: &Weights, second: &Weights, steps: u64) -> Result<()> {
        for slot in &mut self.slots {
            for (mine, theirs) in [(&mut slot.first, first), (&mut slot.second, second)] {
                let found = theirs.get(&slot.name).filter(|a| a.shape == slot.var.dims());
                let found = found.ok_or_else(|| {
                    Error::Invalid(format!(
                        "optimiser state of `{}` is missing or has another shape",
                        slot.name
                    ))
                })?;
                mine.clone_from(&found.data);
            }
        }
        self.steps = steps;
        Ok(())
    }
}

/// Moments smaller than this are 0.
const ENDED: f32 = 1e-30;

/// `x`, or 0 once it is so small that it says nothing. The moments of a weight that gradients no longer reach halve for ever else, and
/// numbers near the least that f32 holds are worked with a hundred times slower: a quarter of the weights of a U-Net in such a state made
/// its training six times slower.
pub(super) fn ended(x: f32) -> f32 {
    if x.abs() < ENDED { 0.0 } else { x }
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Two steps by hand (torch 2's formula in Python floats): w = [1, -2], gradient of sum(w²)/2 = w, rate 0.1, decay 0.01.
    #[test]
    fn two_steps_match_a_calculation_by_hand() {
        let var = Var::from_tensor(&Tensor::new(&[[1.0f32, -2.0]], &Device::Cpu).unwrap()).unwrap();
        let params = Params {
            weight_decay: 0.01,
            ..Params::default()
        };
        let mut adam = Optimizer::new(vec![("a.weight".into(), var.clone())], params).unwrap();
        let (mut w, mut m, mut v) = ([1.0f64, -2.0], [0.0f64; 2], [0.0f64; 2]);
        for t in 1..=2 {
            let loss = (var.as_tensor().sqr().unwrap().sum_all().unwrap() * 0.5).unwrap();
            adam.step(&loss.backward().unwrap(), 0.1).unwrap();
            for i in 0..2 {
                let g = w[i];
                w[i] *= 1.0 - 0.1 * 0.01;
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (mh, vh) = (m[i] / (1.0 - 0.9f64.powi(t)), v[i] / (1.0 - 0.999f64.powi(t)));
                w[i] -= 0.1 * mh / (vh.sqrt() + 1e-8);
            }
        }
        // Once more as a number from outside (the formula in Python floats), so that a slip in both places shows.
        let now = var.to_vec2::<f32>().unwrap();
        for i in 0..2 {
            assert!((f64::from(now[0][i]) - w[i]).abs() < 1e-6, "{now:?} {w:?}");
        }
        assert!((now[0][0] - 0.798_519).abs() < 1e-5, "{now:?}");
    }

    /// The same for SGD: three steps of rate 0.1 on w²/2 from 1, by Sutskever's formula.
    #[test]
    fn sgd_gathers_speed() {
        let var = Var::from_tensor(&Tensor::new(&[1.0f32], &Device::Cpu).unwrap()).unwrap();
        let params = Params {
            method: Method::Sgd,
            ..Params::default()
        };
        let mut sgd = Optimizer::new(vec![("a.bias".into(), var.clone())], params).unwrap();
        // v = 1, w = 1 - 0.1 · 1.9; v = 0.9 + 0.81, w = 0.81 - 0.1 · (0.81 + 0.9 · 1.71); and so on.
        for expected in [0.81, 0.5751, 0.327_321] {
            let loss = (var.as_tensor().sqr().unwrap().sum_all().unwrap() * 0.5).unwrap();
            sgd.step(&loss.backward().unwrap(), 0.1).unwrap();
            let found = var.to_vec1::<f32>().unwrap()[0];
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn biases_do_not_decay_and_state_comes_back_exactly() {
        let make = || {
            let var = Var::from_tensor(&Tensor::new(&[0.5f32, 0.25, -1.0], &Device::Cpu).unwrap()).unwrap();
            let params = Params {
                weight_decay: 0.5,
                ..Params::default()
            };
            (
                var.clone(),
                Optimizer::new(vec![("a.bias".into(), var)], params).unwrap(),
            )
        };
        let step = |var: &Var, adam: &mut Optimizer| {
            let loss = var.as_tensor().sqr().unwrap().sum_all().unwrap();
            adam.step(&loss.backward().unwrap(), 0.01).unwrap();
        };
        let (var, mut adam) = make();
        step(&var, &mut adam);
        let first_step = var.to_vec1::<f32>().unwrap();
        assert!(
            (first_step[0] - 0.49).abs() < 1e-6,
            "a first step is the rate itself, without decay: {first_step:?}"
        );
        let (first, second) = adam.moments();
        let (other, mut resumed) = make();
        other.set(var.as_tensor()).unwrap();
        let mut resumed_slots = Optimizer::new(vec![("a.bias".into(), other.clone())], resumed.params).unwrap();
        resumed_slots.restore(&first, &second, adam.steps()).unwrap();
        step(&var, &mut adam);
        step(&other, &mut resumed_slots);
        assert_eq!(var.to_vec1::<f32>().unwrap(), other.to_vec1::<f32>().unwrap());
        assert!(
            resumed
                .restore(&Weights::new(), &second, 1)
                .unwrap_err()
                .to_string()
                .contains("a.bias")
        );
    }

    #[test]
    fn moments_end_where_gradients_do() {
        for method in [Method::AdamW, Method::Muon, Method::Sgd] {
            let var = Var::ones((16, 16), candle_core::DType::F32, &Device::Cpu).unwrap();
            let params = Params {
                method,
                ..Params::default()
            };
            let mut optimizer = Optimizer::new(vec![("a.weight".into(), var.clone())], params).unwrap();
            for step in 0..2000 {
                let scale = Tensor::full(if step < 2 { 1.0f32 } else { 0.0 }, (16, 16), &Device::Cpu).unwrap();
                let loss = (var.as_tensor().sqr().unwrap() * scale).unwrap().sum_all().unwrap();
                optimizer.step(&loss.backward().unwrap(), 1e-3).unwrap();
                if step == 100 {
                    assert!(optimizer.moments().0["a.weight"].data.iter().all(|m| *m != 0.0));
                }
            }
            let first = &optimizer.moments().0["a.weight"].data;
            assert!(first.iter().all(|m| *m == 0.0), "{}: {}", method.name(), first[0]);
        }
    }

    #[test]
    fn a_variable_without_gradient_is_an_error() {
        let var = Var::from_tensor(&Tensor::new(&[0.5f32], &Device::Cpu).unwrap()).unwrap();
        let other = Var::from_tensor(&Tensor::new(&[0.5f32], &Device::Cpu).unwrap()).unwrap();
        let mut adam = Optimizer::new(vec![("lost.bias".into(), var)], Params::default()).unwrap();
        let gradients = other.as_tensor().sum_all().unwrap().backward().unwrap();
        assert!(
            adam.step(&gradients, 0.1)
                .unwrap_err()
                .to_string()
                .contains("lost.bias")
        );
    }
}

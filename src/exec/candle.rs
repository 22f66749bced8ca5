//! A graph on candle tensors: training, CUDA, and the reference for every other executor.

use candle_core::{Device, Tensor, Var};

use crate::Result;
use crate::graph::{Graph, Weights};

/// A network whose weights are candle variables.
pub struct Network {}

impl Network {
    /// Puts `weights` on `device`. Frozen filters and running statistics are not among [`Network::trainable`].
    pub fn new(graph: &Graph, weights: &Weights, device: &Device) -> Result<Self> {
        unimplemented!("{graph:?} {} {device:?}", weights.len())
    }

    /// Values of the graph's outputs. With `train`, batch norms use the batch's statistics and update the running
    /// ones (momentum 0.1), and gradients flow to the weights and the inputs.
    pub fn forward(&self, inputs: &[Tensor], train: bool) -> Result<Vec<Tensor>> {
        unimplemented!("{} {train}", inputs.len())
    }

    /// Variables that an optimiser may change, by weight name, in a fixed order.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        unimplemented!()
    }

    /// All weights as they are now.
    pub fn weights(&self) -> Result<Weights> {
        unimplemented!()
    }
}

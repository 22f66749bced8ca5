//! A graph on candle tensors: training, CUDA, and the reference for every other executor.
//!
//! On the CPU the whole network is one candle operation, run forward and backward by [`super::cpu`]; elsewhere every node
//! is its own. Losses and optimisers see no difference.

mod ops;
mod single;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor, Var};

use super::Precision;
use super::cpu::{Executor, MOMENTUM, weights_of};
use crate::graph::{Array, Graph, Weights};
use crate::kernels::Arithmetic;
use crate::{Error, Result};

/// What the convolutions of a training in `precision` are computed with on the CPU; `None` elsewhere. Fails where the
/// precision is not to be had.
pub(crate) fn arithmetic(device: &Device, precision: Precision) -> Result<Option<Arithmetic>> {
    let bf16 = precision == Precision::Bf16;
    if !device.is_cpu() {
        let reason = "training on CUDA runs in f32; leave --precision out";
        return if bf16 {
            Err(Error::Invalid(reason.into()))
        } else {
            Ok(None)
        };
    }
    Arithmetic::new(bf16)
        .map(Some)
        .map_err(|error| Error::Invalid(error.into()))
}

/// A network whose weights are candle variables.
pub struct Network {
    graph: Graph,
    device: Device,
    dtype: DType,
    /// Trained weights, in the order of the graph.
    vars: Vec<(String, Var)>,
    /// All others: frozen filters and running statistics.
    state: Mutex<BTreeMap<String, Tensor>>,
    /// On the CPU.
    executor: Option<Arc<Executor>>,
}

impl Network {
    /// Puts `weights` on `device`. Frozen filters and running statistics are not among [`Network::trainable`].
    /// A weight that is missing is an error.
    pub fn new(graph: &Graph, weights: &Weights, device: &Device) -> Result<Self> {
        Self::in_precision(graph, weights, device, Precision::F32)
    }

    /// [`Network::new`] with convolutions and their gradients in `precision`; the weights and all else are in f32, and
    /// [`Precision::Auto`] is f32.
    pub fn in_precision(graph: &Graph, weights: &Weights, device: &Device, precision: Precision) -> Result<Self> {
        let arithmetic = arithmetic(device, precision)?;
        let executor = match arithmetic {
            Some(arithmetic) => Some(Arc::new(Executor::new(graph, arithmetic)?)),
            None => None,
        };
        Self::with(graph, weights, device, DType::F32, executor)
    }

    /// One candle operation a node, on any device and in any float type: what every other executor is compared with.
    pub fn by_nodes(graph: &Graph, weights: &Weights, device: &Device, dtype: DType) -> Result<Self> {
        Self::with(graph, weights, device, dtype, None)
    }

    fn with(
        graph: &Graph,
        weights: &Weights,
        device: &Device,
        dtype: DType,
        executor: Option<Arc<Executor>>,
    ) -> Result<Self> {
        let (mut vars, mut state) = (Vec::new(), BTreeMap::new());
        for weight in weights_of(graph) {
            let array = weights.get(&weight.name);
            let array = array.ok_or_else(|| Error::Invalid(format!("weight `{}` is missing", weight.name)))?;
            let tensor = Tensor::from_slice(&array.data, array.shape.as_slice(), device)?.to_dtype(dtype)?;
            if weight.trained {
                vars.push((weight.name, Var::from_tensor(&tensor)?));
            } else {
                state.insert(weight.name, tensor);
            }
        }
        Ok(Self {
            graph: graph.clone(),
            device: device.clone(),
            dtype,
            vars,
            state: Mutex::new(state),
            executor,
        })
    }

    /// Values of the graph's outputs. With `train`, batch norms use the batch's statistics and update the running
    /// ones (momentum 0.1, unbiased variance), and gradients flow to the weights and the inputs; without, no gradient
    /// flows.
    pub fn forward(&self, inputs: &[Tensor], train: bool) -> Result<Vec<Tensor>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (outputs, statistics) = match &self.executor {
            Some(executor) => single::forward(executor, &self.vars, &state, inputs, train)?,
            None => {
                let inputs: Vec<Tensor> = inputs
                    .iter()
                    .map(|input| input.to_dtype(self.dtype))
                    .collect::<Result<_, _>>()?;
                self.graph
                    .shapes(&inputs.iter().map(|input| input.dims().to_vec()).collect::<Vec<_>>())?;
                ops::forward(&self.graph, &self.vars, &state, &inputs, train)?
            }
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, new) in statistics {
            let (keep, take) = (f64::from(1.0 - MOMENTUM), f64::from(MOMENTUM));
            let mixed = ((&state[&name] * keep)? + (new * take)?)?;
            state.insert(name, mixed);
        }
        Ok(outputs)
    }

    /// Variables that an optimiser may change, by weight name, in a fixed order.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        self.vars.clone()
    }

    /// All weights as they are now.
    pub fn weights(&self) -> Result<Weights> {
        let array = |tensor: &Tensor| -> Result<Array> {
            let data = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            Ok(Array {
                shape: tensor.dims().to_vec(),
                data,
            })
        };
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let vars = self.vars.iter().map(|(name, var)| (name, var.as_tensor()));
        vars.chain(state.iter())
            .map(|(name, tensor)| Ok((name.clone(), array(tensor)?)))
            .collect()
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }
}

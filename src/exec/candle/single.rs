//! The whole network as one candle operation of two arguments: all inputs in a row, and all trained weights in a row.
//!
//! candle's own way, an operation a node, starts every gradient as a tensor of zeros and adds to it, on one thread and in
//! fresh memory; that takes longer than the convolutions.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp2, DType, Device, Layout, Shape, Storage, Tensor, Var};

use crate::exec::cpu::{Executor, Pass, Shapes};
use crate::{Error, Result};

/// Outputs, and new running statistics by name.
pub(super) type Forward = (Vec<Tensor>, Vec<(String, Tensor)>);

/// See [`super::Network::forward`].
pub(super) fn forward(
    executor: &Arc<Executor>,
    vars: &[(String, Var)],
    state: &BTreeMap<String, Tensor>,
    inputs: &[Tensor],
    train: bool,
) -> Result<Forward> {
    if let Some(other) = inputs
        .iter()
        .find(|input| input.dtype() != DType::F32 || !input.device().is_cpu())
    {
        let (dtype, device) = (other.dtype(), other.device());
        return Err(Error::Invalid(format!(
            "the network is on the CPU in f32, its input is {dtype:?} on {device:?}"
        )));
    }
    let mut trained = vars.iter().map(|(_, var)| var.elem_count());
    let weights = &executor.program.weights;
    let lens: Vec<usize> = weights
        .iter()
        .map(|weight| match weight.trained {
            true => trained.next().expect("a variable for each trained weight"),
            false => state[&weight.name].elem_count(),
        })
        .collect();
    let shapes = executor.prepare(inputs.iter().map(|input| input.dims().to_vec()).collect(), &lens)?;
    let fixed = weights
        .iter()
        .filter(|weight| !weight.trained)
        .map(|weight| state[&weight.name].flatten_all()?.to_vec1());
    let pass = Arc::new(OnceLock::new());
    let op = Single {
        executor: executor.clone(),
        shapes: shapes.clone(),
        lens,
        fixed: fixed.collect::<Result<_, _>>()?,
        inputs: inputs
            .iter()
            .map(|input| (input.elem_count(), input.track_op() || input.is_variable()))
            .collect(),
        train,
        pass: pass.clone(),
    };
    let inputs = row(inputs)?;
    let params = row(&vars.iter().map(|(_, var)| var.as_tensor().clone()).collect::<Vec<_>>())?;
    let out = if train {
        inputs.apply_op2(&params, op)?
    } else {
        inputs.apply_op2_no_bwd(&params, &op)?
    };
    let mut statistics = Vec::new();
    if let Some(pass) = pass.get().filter(|_| train) {
        for (i, moments) in executor.statistics(pass, &shapes) {
            for (weight, values) in [(i, moments.mean), (i + 1, moments.var)] {
                let len = values.len();
                statistics.push((
                    weights[weight].name.clone(),
                    Tensor::from_vec(values, len, &Device::Cpu)?,
                ));
            }
        }
    }
    let mut first = 0;
    let mut outputs = Vec::new();
    for shape in executor.program.output_shapes(&shapes) {
        let len = shape.iter().product();
        outputs.push(out.narrow(0, first, len)?.reshape(shape)?);
        first += len;
    }
    Ok((outputs, statistics))
}

/// The values of all tensors in a row; one zero where there are none.
fn row(tensors: &[Tensor]) -> Result<Tensor> {
    let flat: Vec<Tensor> = tensors.iter().map(Tensor::flatten_all).collect::<Result<_, _>>()?;
    Ok(match &flat[..] {
        [] => Tensor::zeros(1, DType::F32, &Device::Cpu)?,
        [one] => one.contiguous()?,
        many => Tensor::cat(many, 0)?,
    })
}

/// One call of the network.
struct Single {
    executor: Arc<Executor>,
    shapes: Arc<Shapes>,
    /// Lengths of all weights.
    lens: Vec<usize>,
    /// Values of those that are not trained.
    fixed: Vec<Vec<f32>>,
    /// Length of each input, and whether its gradient is sought.
    inputs: Vec<(usize, bool)>,
    train: bool,
    /// What the forward pass left for the backward pass.
    pass: Arc<OnceLock<Pass>>,
}

impl Single {
    /// All weights, the trained ones cut from `params`.
    fn weights<'a>(&'a self, mut params: &'a [f32]) -> Vec<&'a [f32]> {
        let mut fixed = self.fixed.iter();
        let weight = |(weight, len): (&crate::exec::cpu::Weight, &usize)| match weight.trained {
            true => params.split_off(..*len).expect("as long as all trained weights"),
            false => fixed.next().expect("values for each weight that is not trained"),
        };
        self.executor
            .program
            .weights
            .iter()
            .zip(&self.lens)
            .map(weight)
            .collect()
    }
}

impl CustomOp2 for Single {
    fn name(&self) -> &'static str {
        "network"
    }

    fn cpu_fwd(
        &self,
        inputs: &CpuStorage,
        inputs_layout: &Layout,
        params: &CpuStorage,
        params_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (mut inputs, params) = (values(inputs, inputs_layout)?, values(params, params_layout)?);
        let cut = |(len, _): &(usize, bool)| inputs.split_off(..*len).expect("as long as all inputs");
        let inputs: Vec<&[f32]> = self.inputs.iter().map(cut).collect();
        let pass = self
            .executor
            .forward(&inputs, &self.shapes, &self.weights(params), self.train);
        let out = self.executor.outputs(&pass, &self.shapes);
        let len = out.len();
        if self.train {
            // The operation runs once: candle makes a new one for every call.
            let _ = self.pass.set(pass);
        }
        Ok((CpuStorage::F32(out), len.into()))
    }

    fn bwd(
        &self,
        inputs: &Tensor,
        params: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let pass = self
            .pass
            .get()
            .ok_or_else(|| candle_core::Error::msg("backward before forward"))?;
        let g = g.contiguous()?;
        let ((g, g_layout), (params_in, params_layout)) = (g.storage_and_layout(), params.storage_and_layout());
        let (Storage::Cpu(g), Storage::Cpu(values_in)) = (&*g, &*params_in) else {
            candle_core::bail!("the network is on the CPU");
        };
        let weights = self.weights(values(values_in, params_layout)?);
        let mut g = values(g, g_layout)?;
        let program = &self.executor.program;
        let lens = program
            .output_shapes(&self.shapes)
            .into_iter()
            .map(|shape| shape.iter().product());
        let outputs: Vec<&[f32]> = lens
            .map(|len: usize| g.split_off(..len).expect("as long as all outputs"))
            .collect();
        let wanted: Vec<bool> = self.inputs.iter().map(|input| input.1).collect();
        let found = self.executor.backward(pass, &self.shapes, &weights, &outputs, &wanted);
        let mut flat = Vec::with_capacity(params.elem_count());
        for ((weight, len), grad) in program.weights.iter().zip(&self.lens).zip(found.weights) {
            match grad {
                Some(grad) if weight.trained => flat.extend(grad),
                None if weight.trained => flat.resize(flat.len() + len, 0.0),
                _ => {}
            }
        }
        flat.resize(params.elem_count(), 0.0);
        let dp = Tensor::from_vec(flat, params.shape(), &Device::Cpu)?;
        if !wanted.contains(&true) {
            return Ok((None, Some(dp)));
        }
        let mut flat = Vec::with_capacity(inputs.elem_count());
        for ((len, _), grad) in self.inputs.iter().zip(found.inputs) {
            match grad {
                Some(grad) => flat.extend(grad),
                None => flat.resize(flat.len() + len, 0.0),
            }
        }
        Ok((Some(Tensor::from_vec(flat, inputs.shape(), &Device::Cpu)?), Some(dp)))
    }
}

/// The values of a contiguous f32 tensor.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let (first, last) = layout
        .contiguous_offsets()
        .ok_or_else(|| candle_core::Error::msg("not contiguous"))?;
    Ok(&storage.as_slice::<f32>()?[first..last])
}

//! States on their way from frame to frame, with gradients.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::pixels::Motion;

/// `state`, `[N, C, H, W]`, `divide` times smaller than its frames, each item moved as its frame has; `motions` is what `clips::stacked` made.
pub(super) fn carry(state: &Tensor, motions: &Tensor, divide: usize) -> Result<Tensor> {
    let (_, _, columns, _) = motions.dims4()?;
    let motion = |item: Vec<f32>| {
        let vectors = item.chunks_exact(2).map(|v| [v[0] as i16, v[1] as i16]);
        Motion::of_vectors(columns, vectors.collect())
    };
    let items = motions.flatten_from(1)?.to_vec2()?;
    let motions = items.into_iter().map(motion).collect();
    let device = state.device();
    let state = state.to_device(&candle_core::Device::Cpu)?;
    let back = false;
    #[rustfmt::skip]
    let op = Carry { motions, divide, back };
    state.apply_op1(op)?.to_device(device)
}

#[derive(Clone)]
struct Carry {
    /// One for each item.
    motions: Vec<Motion>,
    divide: usize,
    /// Whether it brings gradients back.
    back: bool,
}

impl CustomOp1 for Carry {
    fn name(&self) -> &'static str {
        "carry"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, channels, height, width) = layout.shape().dims4()?;
        let CpuStorage::F32(data) = storage else {
            candle_core::bail!("states are f32")
        };
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("a state must be contiguous")
        };
        let planes = data[start..end].par_chunks_exact(height * width).enumerate();
        let carried = planes.flat_map_iter(|(i, plane)| {
            let motion = &self.motions[i / channels];
            match self.back {
                true => motion.carry_back(plane, width, self.divide),
                false => motion.carry(plane, width, self.divide),
            }
        });
        Ok((CpuStorage::F32(carried.collect()), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let back = Self {
            back: true,
            ..self.clone()
        };
        Ok(Some(gradient.contiguous()?.apply_op1_no_bwd(&back)?))
    }
}

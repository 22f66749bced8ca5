//! What a larger model makes of a noisy patch, to learn from.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::inputs;
use crate::exec::Session;
use crate::graph::Array;
use crate::model::{Color, InputSpec, Model, Task};
use crate::pixels::Image;
use crate::{Error, Result};

/// A denoiser whose pictures another learns to make (knowledge distillation, Hinton 2015).
pub(super) struct Teacher {
    session: Mutex<Session>,
    input: InputSpec,
}

impl Teacher {
    /// The model at `path`, which must denoise patches of `side` pixels in `color`.
    pub(super) fn load(path: &Path, color: Color, side: usize) -> Result<Self> {
        let model = Model::load(path)?;
        let input = model.input.clone();
        let reason = if model.task != Task::Denoise {
            Some(format!(
                "a teacher must be a denoiser; this model is for `{}`",
                model.task
            ))
        } else if input.color != color {
            Some("the teacher's colour is not that of the network to train: give --color".to_owned())
        } else if !side.is_multiple_of(input.multiple_of) {
            Some(format!(
                "the teacher takes patches of a multiple of {} pixels: give --patch",
                input.multiple_of
            ))
        } else {
            None
        };
        if let Some(reason) = reason {
            return Err(Error::model(path, reason));
        }
        Ok(Self {
            session: Mutex::new(Session::in_f32(&model)?),
            input,
        })
    }

    /// The patches denoised, `[N, C, H, W]`.
    pub(super) fn denoise(&self, noisy: &[Image], levels: &[f32]) -> Result<Array> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(session.run(&inputs(&self.input, noisy, levels))?.swap_remove(0))
    }
}

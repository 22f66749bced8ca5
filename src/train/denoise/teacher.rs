//! What a larger model makes of a noisy patch, to learn from.

use std::path::Path;

use super::inputs;
use crate::exec::Session;
use crate::graph::Array;
use crate::model::{InputSpec, Model, Normalization, Task};
use crate::pixels::Image;
use crate::{Error, Result};

/// A denoiser whose pictures another learns to make (knowledge distillation, Hinton 2015).
pub(super) struct Teacher {
    session: Session,
    input: InputSpec,
}

impl Teacher {
    /// The model at `path`, which must denoise patches of `side` pixels of what `student` takes.
    pub(super) fn load(path: &Path, student: &InputSpec, side: usize) -> Result<Self> {
        let model = Model::load(path)?;
        let input = model.input.clone();
        let plain = input.size.is_none() && input.frames == 1 && input.normalization == Normalization::None;
        let reason = if model.task != Task::Denoise {
            Some(format!(
                "a teacher must be a denoiser; this model is for `{}`",
                model.task
            ))
        } else if input.is_recurrent() || !plain {
            Some("a teacher must take single frames of any size, as they are".to_owned())
        } else if input.takes_chroma() != student.takes_chroma() {
            let [teacher, student] =
                [&input, student].map(|input| if input.takes_chroma() { "with" } else { "without" });
            Some(format!(
                "this teacher was trained {teacher} --yuv420, the network to train is {student} it"
            ))
        } else if input.color != student.color {
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
            session: Session::in_f32(&model)?,
            input,
        })
    }

    /// The patches denoised: all outputs.
    pub(super) fn denoise(&self, noisy: &[Image], levels: &[f32]) -> Result<Vec<Array>> {
        self.session.run(&inputs(&self.input, noisy, levels))
    }
}

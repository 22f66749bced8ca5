//! A model at work on frames: what the elements and the trainer's `eval` and `run` share.

mod anomaly;
mod classify;
mod denoise;
mod embed;
mod input;
mod segment;
mod tiles;

pub use anomaly::{AnomalyDetector, Inspection};
pub use classify::{Classifier, Named, Seen};
pub use denoise::Denoiser;
pub use embed::Embedder;
pub use input::{Scaling, batch, extend, fit, normalize};
pub use segment::{Segmentation, Segmenter, Segments, VOID};

use crate::model::{Model, Task};
use crate::{Error, Result};

/// Refuses a model that was made for something else.
fn require(model: &Model, task: Task) -> Result<()> {
    if model.task == task {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "this model is for `{}`; here a model for `{task}` is needed",
        model.task
    )))
}

/// Refuses outputs with infinities or NaN, of which no score could be made that means anything.
fn require_finite(values: &[f32]) -> Result<()> {
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(value) => Err(Error::Invalid(format!(
            "the network gave values that are not finite ({value}): the model's weights are damaged, or the frame holds \
             such values"
        ))),
    }
}

#[cfg(test)]
mod tests;

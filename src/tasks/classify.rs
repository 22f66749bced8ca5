//! Frames in, labels out.

use crate::exec::{Options, Session};
use crate::model::{Calibration, ClassCalibration, InputSpec, Model, Task};
use crate::pixels::Image;
use crate::score::calibration::probabilities;
use crate::{Error, Result};

use super::input::{alone, extend, fit, normalize};

/// A classifier ready to run.
pub struct Classifier {
    session: Session,
    input: InputSpec,
    labels: Vec<String>,
    calibration: ClassCalibration,
}

impl Classifier {
    /// Refuses a model of another task or without labels. A model never calibrated gets temperature 1 and no thresholds.
    pub fn new(model: &Model, options: &Options) -> Result<Self> {
        Self::with_session(model, Session::new(model, options)?)
    }

    /// The same on a session of this model, whose own weights are not looked at.
    pub fn with_session(model: &Model, session: Session) -> Result<Self> {
        super::require(model, Task::Classify)?;
        if model.labels.is_empty() {
            return Err(Error::Invalid("this classifier has no labels; train it again".into()));
        }
        let calibration = match &model.calibration {
            Some(Calibration::Classify(calibration)) => calibration.clone(),
            _ => ClassCalibration {
                temperature: 1.0,
                thresholds: vec![0.0; model.labels.len()],
            },
        };
        Ok(Self {
            session,
            input: model.input.clone(),
            labels: model.labels.clone(),
            calibration,
        })
    }

    /// Class names, in the order of the probabilities.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Temperature and thresholds.
    pub fn calibration(&self) -> &ClassCalibration {
        &self.calibration
    }

    /// Network outputs before softmax and temperature, one a label. An error when they are not finite.
    pub fn logits(&mut self, image: &Image) -> Result<Vec<f32>> {
        let (normalized, _) = normalize(&self.input, fit(&self.input, image).0);
        let seen = alone(extend(&self.input, normalized));
        let logits = self.session.run(&[seen])?.swap_remove(0).data;
        super::require_finite(&logits)?;
        Ok(logits)
    }

    /// Probabilities of a picture of any size and colour, one a label.
    pub fn classify(&mut self, image: &Image) -> Result<Vec<f32>> {
        Ok(probabilities(&self.logits(image)?, self.calibration.temperature))
    }
}

//! Frames in, labels out.

use crate::Result;
use crate::exec::Options;
use crate::model::{ClassCalibration, Model};
use crate::pixels::Image;

/// A classifier ready to run.
pub struct Classifier {}

impl Classifier {
    /// Refuses a model of another task, or one whose labels do not match its network.
    pub fn new(model: &Model, options: &Options) -> Result<Self> {
        unimplemented!("{:?} {options:?}", model.task)
    }

    /// Class names, in the order of the probabilities.
    pub fn labels(&self) -> &[String] {
        unimplemented!()
    }

    /// Temperature and thresholds.
    pub fn calibration(&self) -> &ClassCalibration {
        unimplemented!()
    }

    /// Network outputs before softmax and temperature.
    pub fn logits(&mut self, image: &Image) -> Result<Vec<f32>> {
        unimplemented!("{}", image.width)
    }

    /// Probabilities of a picture of any size and colour.
    pub fn classify(&mut self, image: &Image) -> Result<Vec<f32>> {
        unimplemented!("{}", image.width)
    }
}

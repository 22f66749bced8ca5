//! Frames in, scores and maps out.

use crate::Result;
use crate::exec::Options;
use crate::model::{AnomalyCalibration, Model};
use crate::pixels::{Image, Placement};

/// An anomaly model ready to run.
pub struct AnomalyDetector {}

/// What an anomaly model says of one frame.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Raw score: the map's maximum.
    pub score: f32,
    /// One-channel map at the network's size.
    pub map: Image,
    /// The network's reconstruction, 0..1, at the network's size.
    pub reconstruction: Image,
    /// How map and frame lie on each other.
    pub placement: Placement,
}

impl AnomalyDetector {
    /// Refuses a model of another task, or one without calibration of its map.
    pub fn new(model: &Model, options: &Options) -> Result<Self> {
        unimplemented!("{:?} {options:?}", model.task)
    }

    /// The model's calibration.
    pub fn calibration(&self) -> &AnomalyCalibration {
        unimplemented!()
    }

    /// Inspects a picture of any size and colour.
    pub fn inspect(&mut self, image: &Image) -> Result<Inspection> {
        unimplemented!("{}", image.width)
    }
}

impl Inspection {
    /// The map at the frame's own size.
    pub fn frame_map(&self) -> Image {
        self.placement.restore(&self.map)
    }
}

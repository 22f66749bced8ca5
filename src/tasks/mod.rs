//! A model at work on frames: what the elements and the trainer's `eval` and `run` share.

mod anomaly;
mod classify;
mod denoise;

pub use anomaly::{AnomalyDetector, Inspection};
pub use classify::Classifier;
pub use denoise::Denoiser;

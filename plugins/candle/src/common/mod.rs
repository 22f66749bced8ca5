//! What the elements share: properties, frames, models, the pace of inference, results and messages.

pub mod engine;
pub mod frame;
pub mod messages;
pub mod pace;
pub mod result;
pub mod settings;
pub mod stats;

//! Learned vision for live video: convolutional networks as data, run and trained on candle.
//!
//! Imports point one way: `cli` → `train` → [`tasks`], [`data`] → [`exec`], [`score`] → [`model`] → [`graph`],
//! [`pixels`], [`kernels`]. The GStreamer elements in `plugins/` use this library without its `train` feature.

mod atomic;
pub mod data;
pub mod error;
pub mod exec;
pub mod graph;
pub mod kernels;
pub mod model;
pub mod nets;
pub mod pixels;
pub mod score;
pub mod tasks;

#[cfg(feature = "train")]
pub mod cli;
#[cfg(feature = "train")]
pub mod train;

pub use error::{Error, Result};

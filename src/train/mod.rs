//! Training: loop, losses, optimiser, schedule, checkpoints, logs.
//!
//! [`run::run`] is the loop; what is learned comes from an [`run::Objective`]: [`denoise`], [`anomaly`] or [`classify`].
//! Every random draw is made by [`crate::data::random::stream`] from the seed, the step and the item, so a run needs no
//! generator state to be resumed, and threads cannot change it.

pub mod anomaly;
pub mod arrays;
pub mod card;
pub mod checkpoint;
pub mod classify;
pub mod common;
pub mod denoise;
pub mod ema;
pub mod feed;
pub mod log;
pub mod losses;
mod muon;
pub mod optimizer;
pub mod pace;
pub mod packed;
pub mod predict;
pub mod progress;
pub mod run;
pub mod samples;
pub mod schedule;
pub mod segment;
mod start;
pub mod teach;
pub mod whiten;

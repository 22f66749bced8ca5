//! From what a network says to what a person acts on: maps, regions, calibration, decisions in time, metrics.

pub mod calibration;
pub mod codes;
pub mod decision;
pub mod drift;
pub mod labels;
pub mod maps;
pub mod metrics;
pub mod readable;
pub mod regions;
mod similarity;

#[cfg(test)]
mod samples;

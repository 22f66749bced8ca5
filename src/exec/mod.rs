//! Runs a graph on a device.

pub mod candle;

use std::str::FromStr;

use crate::graph::Array;
use crate::model::Model;
use crate::{Error, Result};

/// Where to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceSpec {
    /// CUDA's first device where the build and the machine have it, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// CUDA's device of this number.
    Cuda(usize),
}

/// Number format of the arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// The fastest that keeps the model's quality.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// 16-bit brain floats with 32-bit sums.
    Bf16,
}

/// How to run a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Where.
    pub device: DeviceSpec,
    /// In which numbers.
    pub precision: Precision,
    /// CPU threads; 0 = all cores.
    pub threads: usize,
}

impl FromStr for DeviceSpec {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        unimplemented!("{s}")
    }
}

impl std::fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

/// A model ready to run frames.
pub struct Session {}

impl Session {
    /// Prepares `model`: batch norms folded, weights on the device.
    pub fn new(model: &Model, options: &Options) -> Result<Self> {
        unimplemented!("{:?} {options:?}", model.task)
    }

    /// Runs the network once. `inputs` in the order of the graph's inputs, `[N, C, H, W]` each; returns its outputs.
    pub fn run(&mut self, inputs: &[Array]) -> Result<Vec<Array>> {
        unimplemented!("{}", inputs.len())
    }
}

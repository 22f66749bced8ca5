//! Architectures: each function returns a graph.

use crate::Result;
use crate::graph::{Graph, Weights};
use crate::model::{Color, InputSpec, Task};

/// What a user may set of an architecture; `None` = the architecture's own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetOptions {
    /// Channels of the first level.
    pub width: Option<usize>,
    /// Layers or levels.
    pub depth: Option<usize>,
    /// Length of an autoencoder's code, in channels at its smallest level.
    pub code_size: Option<usize>,
    /// Number of classes, for classifiers.
    pub classes: usize,
    /// Colour of the pictures.
    pub color: Option<Color>,
    /// `[width, height]` of the network's input, for fixed-size networks.
    pub size: Option<[usize; 2]>,
}

/// A new network: its graph and what it takes.
#[derive(Debug, Clone)]
pub struct Net {
    /// The graph, batch norms not folded.
    pub graph: Graph,
    /// What it takes.
    pub input: InputSpec,
}

/// Names of the architectures for `task`, the default first.
pub fn names(task: Task) -> &'static [&'static str] {
    unimplemented!("{task:?}")
}

/// Builds the architecture `name` for `task`. Errors say which names there are, or which option does not fit.
pub fn build(task: Task, name: &str, options: &NetOptions) -> Result<Net> {
    unimplemented!("{task:?} {name} {options:?}")
}

/// Fresh weights: He-normal for convolutions and linear layers, identity batch norms; frozen filters keep what
/// the architecture fixed. The same `seed` gives the same weights.
pub fn init(net: &Net, seed: u64) -> Result<Weights> {
    unimplemented!("{seed} {net:?}")
}

//! Architectures: each function returns a graph.

mod anomaly;
mod blocks;
mod classify;
mod denoise;
mod init;
mod segment;

use std::ops::RangeInclusive;

pub use init::init;
pub use segment::{favour_background, raise_background};

use crate::graph::{Graph, Weights};
use crate::model::{Color, InputSpec, Normalization, Resize, Task};
use crate::{Error, Result};

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
    /// Colour of the pictures; every architecture's own is grey.
    pub color: Option<Color>,
    /// Whether the picture is luma and its chroma comes beside it, at half size: for networks that denoise, and grey.
    pub chroma: bool,
    /// `[width, height]` of the network's input, for fixed-size networks.
    pub size: Option<[usize; 2]>,
}

/// A new network: its graph, what it takes, and the weights that are not random.
#[derive(Debug, Clone)]
pub struct Net {
    /// The graph, batch norms not folded.
    pub graph: Graph,
    /// What it takes.
    pub input: InputSpec,
    /// Weights that the architecture gives: of frozen convolutions, which stay, and where it matters how others start.
    pub given: Weights,
}

/// Names of the architectures for `task`, the default first. Empty where there are none.
pub fn names(task: Task) -> &'static [&'static str] {
    match task {
        Task::Denoise => &["fast", "micro", "ffdnet", "dncnn", "unet", "recurrent"],
        Task::Anomaly => &["fair", "unet", "fair-seg", "autoencoder"],
        Task::Classify => &["tiny", "lenet", "inception", "resnet20", "resnet18", "encoder"],
        Task::Predict => &["unet"],
        Task::Segment => &["unet", "fcn"],
        Task::Embed => &[],
    }
}

/// Builds the architecture `name` for `task`. Errors say which names there are, or which option does not fit.
pub fn build(task: Task, name: &str, options: &NetOptions) -> Result<Net> {
    let o = Checked { name, options };
    let net = match (task, name) {
        (Task::Denoise, "fast") => denoise::fast(&o),
        (Task::Denoise, "micro") => denoise::micro(&o),
        (Task::Denoise, "ffdnet") => denoise::ffdnet(&o),
        (Task::Denoise, "dncnn") => denoise::dncnn(&o),
        (Task::Denoise, "unet") => denoise::unet(&o),
        (Task::Denoise, "recurrent") => denoise::recurrent(&o),
        (Task::Anomaly, "fair") => anomaly::fair(&o),
        (Task::Anomaly, "fair-seg") => anomaly::fair_seg(&o),
        (Task::Anomaly, "unet") => anomaly::unet(&o),
        (Task::Anomaly, "autoencoder") => anomaly::autoencoder(&o),
        (Task::Predict, "unet") => anomaly::predict(&o),
        (Task::Classify, "tiny") => classify::tiny(&o),
        (Task::Classify, "lenet") => classify::lenet(&o),
        (Task::Classify, "inception") => classify::inception(&o),
        (Task::Classify, "resnet20") => classify::resnet20(&o),
        (Task::Classify, "resnet18") => classify::resnet18(&o),
        (Task::Classify, "encoder") => classify::encoder(&o),
        (Task::Segment, "unet") => segment::unet(&o),
        (Task::Segment, "fcn") => segment::fcn(&o),
        _ => return Err(unknown(task, name)),
    }?;
    debug_assert!(net.graph.check().is_ok(), "{:?}", net.graph.check());
    Ok(net)
}

fn unknown(task: Task, name: &str) -> Error {
    Error::Invalid(match names(task) {
        [] => format!("there is no architecture for {task} yet"),
        all => format!(
            "there is no architecture `{name}` for {task}; choose one of {}",
            all.join(", ")
        ),
    })
}

/// Options read with errors that name the architecture and the option.
struct Checked<'a> {
    name: &'a str,
    options: &'a NetOptions,
}

/// Channels that a user may ask for.
const WIDTHS: RangeInclusive<usize> = 1..=1024;
/// Sides that a user may ask for, in pixels.
const SIDES: RangeInclusive<usize> = 8..=4096;

impl Checked<'_> {
    fn invalid(&self, reason: String) -> Error {
        Error::Invalid(format!("architecture `{}`: {reason}", self.name))
    }

    fn ranged(&self, what: &str, value: Option<usize>, own: usize, range: RangeInclusive<usize>) -> Result<usize> {
        let value = value.unwrap_or(own);
        if range.contains(&value) {
            Ok(value)
        } else {
            Err(self.invalid(format!("{what} {value} is not in {}..={}", range.start(), range.end())))
        }
    }

    fn width(&self, own: usize) -> Result<usize> {
        self.ranged("width", self.options.width, own, WIDTHS)
    }

    fn depth(&self, own: usize, range: RangeInclusive<usize>) -> Result<usize> {
        self.ranged("depth", self.options.depth, own, range)
    }

    fn code_size(&self, own: usize) -> Result<usize> {
        self.ranged("code size", self.options.code_size, own, 1..=4096)
    }

    fn classes(&self) -> Result<usize> {
        self.ranged("the number of classes", Some(self.options.classes), 0, 2..=10_000)
    }

    fn color(&self) -> Color {
        self.options.color.unwrap_or(Color::Gray)
    }

    /// `[width, height]`, both multiples of `multiple_of`.
    fn size(&self, own: usize, multiple_of: usize) -> Result<[usize; 2]> {
        let size = self.options.size.unwrap_or([own; 2]);
        for side in size {
            self.ranged("size", Some(side), own, SIDES)?;
            if !side.is_multiple_of(multiple_of) {
                return Err(self.invalid(format!("size {side} is not a multiple of {multiple_of}")));
            }
        }
        Ok(size)
    }

    /// The same of a network that takes any size where none is given.
    fn size_if_given(&self, multiple_of: usize) -> Result<Option<[usize; 2]>> {
        self.options.size.map(|_| self.size(0, multiple_of)).transpose()
    }

    /// Refuses options that the architecture does not have.
    fn without(&self, options: &[&str]) -> Result<()> {
        let given = |option: &&&str| match **option {
            "width" => self.options.width.is_some(),
            "depth" => self.options.depth.is_some(),
            "code size" => self.options.code_size.is_some(),
            "size" => self.options.size.is_some(),
            "yuv420" => self.options.chroma,
            _ => false,
        };
        match options.iter().find(given) {
            Some(option) => Err(self.invalid(format!("it has no option {option}; leave it out"))),
            None => Ok(()),
        }
    }
}

/// Input of a network that takes frames stretched to `size`.
fn fixed_size(color: Color, size: [usize; 2], multiple_of: usize, normalization: Normalization) -> InputSpec {
    let resize = Resize::Stretch;
    InputSpec {
        color,
        size: Some(size),
        multiple_of,
        resize,
        normalization,
        frames: 1,
        extra: Vec::new(),
    }
}

#[cfg(test)]
mod tests;

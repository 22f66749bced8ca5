//! Values of options by their names.

use clap::ValueEnum;

use crate::data::symmetry::Symmetry;
use crate::model::{Color, MapKind, Resize, Task};
use crate::train::losses::PictureLoss;
use crate::train::optimizer::Method;

#[derive(Clone, Copy, ValueEnum)]
pub enum Loss {
    /// Mean absolute difference
    L1,
    /// Mean squared difference
    L2,
    /// Structural similarity
    Ssim,
    /// Gradient-magnitude similarity
    Msgms,
    /// Squared difference and structural similarity
    #[value(name = "l2+ssim")]
    L2Ssim,
    /// Squared difference and that of edges
    #[value(name = "l2+gradient")]
    L2Gradient,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Map {
    /// Multi-scale gradient-magnitude similarity
    Msgms,
    /// Structural similarity
    Ssim,
    /// Squared difference
    Squared,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum ResizeArg {
    /// Each axis by its own factor
    Stretch,
    /// One factor, the whole frame inside
    Letterbox,
    /// One factor, what sticks out cut off
    Crop,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum TaskArg {
    /// A noisy frame in, a clean frame of its size out
    Denoise,
    /// A frame restored, or of a colour frame a map of one plane that is 1 where it is anomalous
    Anomaly,
    /// Scores of classes
    Classify,
    /// Scores of classes at each pixel
    Segment,
    /// A code
    Embed,
}

impl From<TaskArg> for Task {
    fn from(task: TaskArg) -> Self {
        match task {
            TaskArg::Denoise => Self::Denoise,
            TaskArg::Anomaly => Self::Anomaly,
            TaskArg::Classify => Self::Classify,
            TaskArg::Segment => Self::Segment,
            TaskArg::Embed => Self::Embed,
        }
    }
}

impl From<Loss> for PictureLoss {
    fn from(loss: Loss) -> Self {
        match loss {
            Loss::L1 => Self::L1,
            Loss::L2 => Self::L2,
            Loss::Ssim => Self::Ssim,
            Loss::Msgms => Self::Msgms,
            Loss::L2Ssim => Self::L2Ssim,
            Loss::L2Gradient => Self::L2Gradient,
        }
    }
}

impl From<Map> for MapKind {
    fn from(map: Map) -> Self {
        match map {
            Map::Msgms => Self::Msgms,
            Map::Ssim => Self::Ssim,
            Map::Squared => Self::Squared,
        }
    }
}

impl From<ResizeArg> for Resize {
    fn from(resize: ResizeArg) -> Self {
        match resize {
            ResizeArg::Stretch => Self::Stretch,
            ResizeArg::Letterbox => Self::Letterbox,
            ResizeArg::Crop => Self::Crop,
        }
    }
}

/// How pictures may be mirrored and turned; `auto` is `None`.
#[derive(Clone, Copy)]
pub struct Symmetries(pub Option<Symmetry>);

pub fn symmetry(text: &str) -> Result<Symmetries, String> {
    match text {
        "auto" => Ok(Symmetries(None)),
        _ => known_symmetry(text)
            .map(|known| Symmetries(Some(known)))
            .map_err(|reason| format!("{reason}, or auto")),
    }
}

pub fn known_symmetry(text: &str) -> Result<Symmetry, String> {
    let mut symmetry = Symmetry::NONE;
    for word in text.split('+').filter(|_| text != "none") {
        match word {
            "horizontal" => symmetry.horizontal = true,
            "vertical" => symmetry.vertical = true,
            "turns" => symmetry.turns = true,
            _ => return Err("expected none, or some of horizontal, vertical and turns with + between them".into()),
        }
    }
    Ok(symmetry)
}

pub fn color(text: &str) -> Result<Color, String> {
    match text {
        "gray" | "grey" => Ok(Color::Gray),
        "rgb" => Ok(Color::Rgb),
        _ => Err("expected gray or rgb".into()),
    }
}

pub fn method(text: &str) -> Result<Method, String> {
    match text {
        "adamw" => Ok(Method::AdamW),
        "muon" => Ok(Method::Muon),
        "sgd" => Ok(Method::Sgd),
        _ => Err("expected adamw, muon or sgd".into()),
    }
}

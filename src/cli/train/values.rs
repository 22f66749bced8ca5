//! Values of options by their names.

use clap::ValueEnum;

use crate::model::{Color, MapKind, Resize};
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
        _ => Err("expected adamw or muon".into()),
    }
}

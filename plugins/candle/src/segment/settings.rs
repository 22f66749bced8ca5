//! Properties of `candlesegment`.

use gst::{glib, prelude::*};

use crate::common::analyzer::Properties;
use crate::common::settings::{self, get};

/// What the frames that leave show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstCandleSegmentOutput")]
#[repr(i32)]
pub enum Output {
    #[default]
    #[enum_value(name = "The frame as it came", nick = "passthrough")]
    Passthrough,
    #[enum_value(name = "The frame, each class in its colour over it", nick = "overlay")]
    Overlay,
    #[enum_value(name = "Each class in its colour, the background black", nick = "mask")]
    Mask,
}

/// What the user set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What all elements share.
    pub common: settings::Settings,
    /// Least probability of a class other than the background; 0 = whichever is the most probable.
    pub threshold: f32,
    /// Pixels that a region has at least.
    pub min_area: u32,
    pub output: Output,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            common: settings::Settings::default(),
            threshold: 0.0,
            min_area: 1,
            output: Output::default(),
        }
    }
}

impl Properties for Settings {
    fn common(&self) -> &settings::Settings {
        &self.common
    }

    fn common_mut(&mut self) -> &mut settings::Settings {
        &mut self.common
    }

    fn own_properties() -> Vec<glib::ParamSpec> {
        let defaults = Self::default();
        vec![
            glib::ParamSpecFloat::builder("threshold")
                .nick("Threshold")
                .blurb(
                    "The least probability for a pixel to be of another class than the background; 0 stands for the most probable class.",
                )
                .maximum(1.0)
                .minimum(0.0)
                .default_value(defaults.threshold)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("min-area")
                .nick("Least area")
                .blurb("The least number of pixels of a region; smaller ones become background, or none where there is no such class.")
                .minimum(1)
                .default_value(defaults.min_area)
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder::<Output>("output")
                .nick("Output")
                .blurb("What the frames that leave show.")
                .mutable_playing()
                .build(),
            glib::ParamSpecString::builder("label")
                .nick("Label")
                .blurb("The class, the background left out, that takes most of the frame; nothing where there is only background.")
                .read_only()
                .build(),
            glib::ParamSpecDouble::builder("share")
                .nick("Share")
                .blurb("The share of the frame that is not background, from 0 to 1.")
                .minimum(0.0)
                .maximum(1.0)
                .read_only()
                .build(),
        ]
    }

    fn set(&mut self, name: &str, value: &glib::Value) -> Result<(), String> {
        match name {
            "threshold" => self.threshold = get(value),
            "min-area" => self.min_area = get(value),
            "output" => self.output = get(value),
            name => unreachable!("`{name}` is not writable"),
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "threshold" => self.threshold.to_value(),
            "min-area" => self.min_area.to_value(),
            "output" => self.output.to_value(),
            _ => return None,
        })
    }
}

//! Properties of `candleembed`.

use gst::{glib, prelude::*};

use crate::common::analyzer::Properties;
use crate::common::settings::{self, get};

/// What the user set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What all elements share.
    pub common: settings::Settings,
    /// The file of codes to compare with; without one the model's own.
    pub codes_file: Option<String>,
    /// Largest distance of what is known; below 0 that of the file or the model.
    pub max_distance: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            common: settings::Settings::default(),
            codes_file: None,
            max_distance: -1.0,
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
            glib::ParamSpecString::builder("codes-file")
                .nick("Codes file")
                .blurb("The codes to compare with, a file made by `gst-candle embed` with the same model; nothing stands for those that the model keeps itself. Read at the start, and with each model that takes over.")
                .mutable_playing()
                .build(),
            glib::ParamSpecFloat::builder("max-distance")
                .nick("Largest distance")
                .blurb("The largest distance from the nearest code at which a frame is known, from 0 to 2; -1 stands for that of the file or the model.")
                .minimum(-1.0)
                .maximum(2.0)
                .default_value(defaults.max_distance)
                .mutable_playing()
                .build(),
            glib::ParamSpecDouble::builder("distance")
                .nick("Distance")
                .blurb("The distance of the last frame's code from the nearest known one; -1 where none is known, and before the first inference.")
                .minimum(-1.0)
                .maximum(2.0)
                .default_value(-1.0)
                .read_only()
                .build(),
            glib::ParamSpecString::builder("nearest")
                .nick("Nearest picture")
                .blurb("The name of the picture whose code is nearest, its class where it has no name; nothing where none is known.")
                .read_only()
                .build(),
            glib::ParamSpecString::builder("label")
                .nick("Label")
                .blurb("The class of the nearest picture; nothing where it has none.")
                .read_only()
                .build(),
            glib::ParamSpecBoolean::builder("known")
                .nick("Known")
                .blurb("Whether the nearest code is near enough.")
                .read_only()
                .build(),
        ]
    }

    fn set(&mut self, name: &str, value: &glib::Value) -> Result<(), String> {
        match name {
            "codes-file" => self.codes_file = get(value),
            "max-distance" => self.max_distance = get(value),
            name => unreachable!("`{name}` is not writable"),
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "codes-file" => self.codes_file.to_value(),
            "max-distance" => self.max_distance.to_value(),
            _ => return None,
        })
    }
}

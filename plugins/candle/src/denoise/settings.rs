//! Properties of `candledenoise`.

use gst::{glib, prelude::*};

use crate::common::settings::{self, get};

/// What the user set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What all elements share.
    pub common: settings::Settings,
    /// 0 leaves the frame as it is, 1 denoises it fully.
    pub strength: f32,
    /// Standard deviation in 0..255; below 0 it is estimated on each frame.
    pub noise_level: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            common: settings::Settings::default(),
            strength: 1.0,
            noise_level: -1.0,
        }
    }
}

impl Settings {
    /// The specifications of all of the element's properties.
    pub fn properties() -> Vec<glib::ParamSpec> {
        let defaults = Self::default();
        let mut properties = settings::Settings::properties();
        properties.extend([
            glib::ParamSpecFloat::builder("strength")
                .nick("Strength")
                .blurb("How much of the noise is removed: 0 leaves the frame as it is, 1 removes all that the model finds.")
                .minimum(0.0)
                .maximum(1.0)
                .default_value(defaults.strength)
                .controllable()
                .mutable_playing()
                .build(),
            glib::ParamSpecFloat::builder("noise-level")
                .nick("Noise level")
                .blurb("The standard deviation of the noise, 0 to 255 of full scale; -1 stands for an estimate, a mean over the last frames.")
                .minimum(-1.0)
                .maximum(255.0)
                .default_value(defaults.noise_level)
                .mutable_playing()
                .build(),
            glib::ParamSpecFloat::builder("last-noise-level")
                .nick("Last noise level")
                .blurb("The noise level of the last denoised frame, 0 to 255 of full scale; -1 before the first.")
                .minimum(-1.0)
                .maximum(f32::MAX)
                .default_value(-1.0)
                .read_only()
                .build(),
        ]);
        properties
    }

    /// Sets a property.
    pub fn set(&mut self, name: &str, value: &glib::Value) {
        match name {
            "strength" => self.strength = get(value),
            "noise-level" => self.noise_level = get(value),
            name => assert!(self.common.set(name, value), "`{name}` is not writable"),
        }
    }

    /// The value of a property that can be set.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        match name {
            "strength" => Some(self.strength.to_value()),
            "noise-level" => Some(self.noise_level.to_value()),
            name => self.common.get(name),
        }
    }
}

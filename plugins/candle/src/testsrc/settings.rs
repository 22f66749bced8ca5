//! What the user can say about the line.

use gst::glib;
use gst::prelude::*;
use gst_candle::data::line::LineSettings;

/// Noise that a common industrial camera has at some gain, of 255.
const DEFAULT_NOISE: f64 = 8.0;

/// The element's properties.
#[derive(Debug, Clone)]
pub struct Settings {
    pub seed: u64,
    pub defect_rate: f64,
    pub noise: f64,
    pub frames_per_part: u32,
    pub is_live: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 0,
            defect_rate: 0.2,
            noise: DEFAULT_NOISE,
            frames_per_part: 30,
            is_live: false,
        }
    }
}

impl Settings {
    /// The specifications of the properties.
    pub fn properties() -> Vec<glib::ParamSpec> {
        let default = Self::default();
        vec![
            glib::ParamSpecUInt64::builder("seed")
                .nick("Seed")
                .blurb("Number that fixes the parts, their defects and the noise.")
                .default_value(default.seed)
                .mutable_playing()
                .build(),
            glib::ParamSpecDouble::builder("defect-rate")
                .nick("Defect rate")
                .blurb("Share of the parts that have a defect.")
                .minimum(0.0)
                .maximum(1.0)
                .default_value(default.defect_rate)
                .mutable_playing()
                .build(),
            glib::ParamSpecDouble::builder("noise")
                .nick("Noise")
                .blurb("Standard deviation of the sensor's noise, on the scale where white is 255.")
                .minimum(0.0)
                .maximum(255.0)
                .default_value(default.noise)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("frames-per-part")
                .nick("Frames per part")
                .blurb("Frames from one part to the next; fewer make the belt run faster.")
                .minimum(1)
                .default_value(default.frames_per_part)
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("is-live")
                .nick("Is live")
                .blurb("Whether frames come at their time by the pipeline's clock, as a camera's do; otherwise as fast as they are taken.")
                .default_value(default.is_live)
                .mutable_ready()
                .build(),
        ]
    }

    /// Sets the property `name`; its type is checked by GObject.
    pub fn set(&mut self, name: &str, value: &glib::Value) {
        match name {
            "seed" => self.seed = value.get().expect("type checked upstream"),
            "defect-rate" => self.defect_rate = value.get().expect("type checked upstream"),
            "noise" => self.noise = value.get().expect("type checked upstream"),
            "frames-per-part" => self.frames_per_part = value.get().expect("type checked upstream"),
            "is-live" => self.is_live = value.get().expect("type checked upstream"),
            _ => unreachable!("no property {name}"),
        }
    }

    /// The value of the property `name`.
    pub fn get(&self, name: &str) -> glib::Value {
        match name {
            "seed" => self.seed.to_value(),
            "defect-rate" => self.defect_rate.to_value(),
            "noise" => self.noise.to_value(),
            "frames-per-part" => self.frames_per_part.to_value(),
            "is-live" => self.is_live.to_value(),
            _ => unreachable!("no property {name}"),
        }
    }

    /// The library's settings for frames of `size` = `[width, height]`.
    pub fn line(&self, size: [usize; 2]) -> LineSettings {
        LineSettings {
            seed: self.seed,
            width: size[0],
            height: size[1],
            defect_rate: self.defect_rate,
            noise: (self.noise / 255.0) as f32,
            frames_per_part: self.frames_per_part.into(),
        }
    }
}

//! Properties of `candleclassify`.

use gst::{glib, prelude::*};

use crate::common::analyzer::Properties;
use crate::common::settings::{self, get, nanoseconds};

/// What is classified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstCandleClassifyRegions")]
#[repr(i32)]
pub enum Regions {
    #[default]
    #[enum_value(name = "The whole frame", nick = "frame")]
    Frame,
    #[enum_value(name = "Each region of interest that upstream left on the frame", nick = "metas")]
    Metas,
}

/// What the user set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What all elements share.
    pub common: settings::Settings,
    /// Labels told, best first.
    pub top_k: u32,
    /// Least probability of a label; below 0 the model's.
    pub threshold: f32,
    /// Weight of the past, 0 to 1.
    pub smoothing: f32,
    /// The share by which a label in force may fall below its threshold, 0 to 1.
    pub hysteresis: f32,
    pub hold_duration: gst::ClockTime,
    pub regions: Regions,
    /// Least side of what is seen of a region, in pixels; 0 = the region alone.
    pub region_context: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            common: settings::Settings::default(),
            top_k: 3,
            threshold: -1.0,
            smoothing: 0.0,
            hysteresis: 0.0,
            hold_duration: gst::ClockTime::ZERO,
            regions: Regions::default(),
            region_context: 0,
        }
    }
}

impl Settings {
    fn decision_properties() -> [glib::ParamSpec; 7] {
        let defaults = Self::default();
        [
            glib::ParamSpecUInt::builder("top-k")
                .nick("Top labels")
                .blurb("How many of the most probable labels are told, best first.")
                .minimum(1)
                .default_value(defaults.top_k)
                .mutable_playing()
                .build(),
            glib::ParamSpecFloat::builder("threshold")
                .nick("Threshold")
                .blurb("The least probability for a label to be said, below it the answer is `unknown`; -1 stands for the model's own thresholds, and its largest distance from known codes.")
                .minimum(-1.0)
                .maximum(1.0)
                .default_value(defaults.threshold)
                .mutable_playing()
                .build(),
            glib::ParamSpecFloat::builder("smoothing")
                .nick("Smoothing")
                .blurb("The weight of earlier frames in the running mean of probabilities, from 0 (none) up to 1; the mean begins anew where the scene is cut, and regions are not smoothed.")
                .minimum(0.0)
                .maximum(1.0)
                .default_value(defaults.smoothing)
                .mutable_playing()
                .build(),
            glib::ParamSpecFloat::builder("hysteresis")
                .nick("Hysteresis")
                .blurb("How far the frame's label may fall below its threshold once it is in force, as a share of that from 0 to 1, unless another reaches its own or the scene is cut.")
                .minimum(0.0)
                .maximum(1.0)
                .default_value(defaults.hysteresis)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt64::builder("hold-duration")
                .nick("Hold duration")
                .blurb("How long, in nanoseconds, the frame's label stays at least, unless the scene is cut.")
                .default_value(defaults.hold_duration.nseconds())
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder::<Regions>("regions")
                .nick("Regions")
                .blurb("What is classified: the whole frame, or each region of interest on it.")
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("region-context")
                .nick("Region context")
                .blurb("Least side, in pixels, of the square around a region that is classified with it, as the model's training pictures were cut; 0 is the region alone.")
                .default_value(defaults.region_context)
                .mutable_playing()
                .build(),
        ]
    }

    fn result_properties() -> [glib::ParamSpec; 2] {
        [
            glib::ParamSpecString::builder("label")
                .nick("Label")
                .blurb("The label in force, with `regions=metas` that of the region which is surest of a defect (a label other than good, ok, normal and none); `unknown` where none is sure enough, empty where there is no region to name, nothing before the first inference.")
                .read_only()
                .build(),
            glib::ParamSpecDouble::builder("confidence")
                .nick("Confidence")
                .blurb("The probability of the most probable label, smoothed.")
                .minimum(0.0)
                .maximum(1.0)
                .read_only()
                .build(),
        ]
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
        let mut properties = Vec::new();
        properties.extend(Self::decision_properties());
        properties.extend(Self::result_properties());
        properties
    }

    fn set(&mut self, name: &str, value: &glib::Value) -> Result<(), String> {
        match name {
            "top-k" => self.top_k = get(value),
            "threshold" => self.threshold = get(value),
            "smoothing" => self.smoothing = get(value),
            "hysteresis" => self.hysteresis = get(value),
            "hold-duration" => self.hold_duration = nanoseconds(value),
            "regions" => self.regions = get(value),
            "region-context" => self.region_context = get(value),
            name => unreachable!("`{name}` is not writable"),
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "top-k" => self.top_k.to_value(),
            "threshold" => self.threshold.to_value(),
            "smoothing" => self.smoothing.to_value(),
            "hysteresis" => self.hysteresis.to_value(),
            "hold-duration" => self.hold_duration.nseconds().to_value(),
            "regions" => self.regions.to_value(),
            "region-context" => self.region_context.to_value(),
            _ => return None,
        })
    }
}

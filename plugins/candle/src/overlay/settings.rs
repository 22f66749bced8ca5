//! What the user can say about the drawing.

use gst::glib;
use gst::prelude::*;
use gst_candle::pixels::colormap::ColorMap;

use crate::common::settings::{get, gray16_white, nanoseconds};

/// What is drawn.
#[glib::flags(name = "GstCandleOverlayLayers")]
pub enum Layers {
    #[flags_value(name = "The heat map of an anomaly", nick = "heatmap")]
    HEATMAP = 0b000_0001,
    #[flags_value(name = "Boxes around regions, with names and scores", nick = "regions")]
    REGIONS = 0b000_0010,
    #[flags_value(name = "A bar with the labels, their confidence and the score", nick = "label")]
    LABEL = 0b000_0100,
    #[flags_value(
        name = "A frame and a word while the alarm is on, or the frame anomalous",
        nick = "frame"
    )]
    FRAME = 0b000_1000,
    #[flags_value(
        name = "The scale of the heat map's colours, and the classes with their colours and shares",
        nick = "legend"
    )]
    LEGEND = 0b001_0000,
    #[flags_value(name = "A strip of the score over the last seconds", nick = "history")]
    HISTORY = 0b010_0000,
    #[flags_value(name = "The parts and defects that candletestsrc knows of", nick = "truth")]
    TRUTH = 0b100_0000,
    #[flags_value(
        name = "The classes of candlesegment, each in its colour, with their borders",
        nick = "mask"
    )]
    MASK = 0b1000_0000,
}

impl Default for Layers {
    fn default() -> Self {
        Self::all().difference(Self::TRUTH)
    }
}

/// Colours of heat maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstCandleHeatmapColors")]
#[repr(i32)]
pub enum HeatmapColors {
    #[default]
    #[enum_value(name = "Violet over red to pale yellow, evenly lighter", nick = "inferno")]
    Inferno,
    #[enum_value(name = "Violet over green to yellow, evenly lighter", nick = "viridis")]
    Viridis,
    #[enum_value(name = "Blue over green to dark red: many hues, dark at both ends", nick = "turbo")]
    Turbo,
}

impl From<HeatmapColors> for ColorMap {
    fn from(colors: HeatmapColors) -> Self {
        match colors {
            HeatmapColors::Inferno => Self::Inferno,
            HeatmapColors::Viridis => Self::Viridis,
            HeatmapColors::Turbo => Self::Turbo,
        }
    }
}

/// The element's properties.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub layers: Layers,
    pub text_scale: f64,
    pub heatmap_opacity: f64,
    pub heatmap_colors: HeatmapColors,
    pub mask_opacity: f64,
    pub history_duration: gst::ClockTime,
    pub gray16_white: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            layers: Layers::default(),
            text_scale: 1.0,
            heatmap_opacity: 0.7,
            heatmap_colors: HeatmapColors::default(),
            mask_opacity: 0.4,
            history_duration: gst::ClockTime::from_seconds(10),
            gray16_white: 0,
        }
    }
}

/// The properties that switch one layer each.
const SWITCHES: [(&str, &str, Layers); 6] = [
    ("show-heatmap", "Show heat map", Layers::HEATMAP),
    ("show-regions", "Show regions", Layers::REGIONS),
    ("show-label", "Show label", Layers::LABEL),
    ("show-frame", "Show frame", Layers::FRAME),
    ("show-truth", "Show truth", Layers::TRUTH),
    ("show-mask", "Show mask", Layers::MASK),
];

fn switched_by(property: &str) -> Option<Layers> {
    SWITCHES
        .iter()
        .find(|(name, ..)| *name == property)
        .map(|(_, _, layer)| *layer)
}

impl Settings {
    /// The specifications of the properties.
    pub fn properties() -> Vec<glib::ParamSpec> {
        let default = Self::default();
        let mut properties = vec![
            gray16_white(),
            glib::ParamSpecFlags::builder::<Layers>("layers")
                .nick("Layers")
                .blurb(
                    "What is drawn, where it was found. On small frames the history is left out first, then the legend, then the word on the \
                     frame, then the label bar.",
                )
                .default_value(default.layers)
                .mutable_playing()
                .build(),
            glib::ParamSpecDouble::builder("text-scale")
                .nick("Text scale")
                .blurb("Factor on the size of text, which follows the frame's size by itself.")
                .minimum(0.1)
                .maximum(10.0)
                .default_value(default.text_scale)
                .mutable_playing()
                .build(),
            glib::ParamSpecDouble::builder("heatmap-opacity")
                .nick("Heat map opacity")
                .blurb("Opacity of the heat map where it is hottest; normal places stay clear.")
                .minimum(0.0)
                .maximum(1.0)
                .default_value(default.heatmap_opacity)
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder_with_default("heatmap-colors", default.heatmap_colors)
                .nick("Heat map colours")
                .blurb("The colours of the heat map, from normal to anomalous.")
                .mutable_playing()
                .build(),
            glib::ParamSpecDouble::builder("mask-opacity")
                .nick("Mask opacity")
                .blurb("Opacity of the classes of a segmentation; their borders are opaque, the background stays clear.")
                .minimum(0.0)
                .maximum(1.0)
                .default_value(default.mask_opacity)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt64::builder("history-duration")
                .nick("History duration")
                .blurb("The stream time that the history of the score looks back on, in nanoseconds.")
                .minimum(gst::ClockTime::SECOND.nseconds())
                .maximum(24 * 3600 * gst::ClockTime::SECOND.nseconds())
                .default_value(default.history_duration.nseconds())
                .mutable_playing()
                .build(),
        ];
        properties.extend(SWITCHES.map(|(name, nick, layer)| {
            let class = glib::FlagsClass::new::<Layers>();
            let layer_nick = class.value(layer.bits()).map_or("", |value| value.nick());
            glib::ParamSpecBoolean::builder(name)
                .nick(nick)
                .blurb(&format!("Whether `{layer_nick}` is among the `layers`."))
                .default_value(default.layers.contains(layer))
                .mutable_playing()
                .build()
        }));
        properties
    }

    /// Sets the property `name`; its type is checked by GObject.
    pub fn set(&mut self, name: &str, value: &glib::Value) {
        match name {
            "layers" => self.layers = get(value),
            "text-scale" => self.text_scale = get(value),
            "heatmap-opacity" => self.heatmap_opacity = get(value),
            "heatmap-colors" => self.heatmap_colors = get(value),
            "mask-opacity" => self.mask_opacity = get(value),
            "history-duration" => self.history_duration = nanoseconds(value),
            "gray16-white" => self.gray16_white = get::<u32>(value) as u16,
            _ => match switched_by(name) {
                Some(layer) => self.layers.set(layer, get(value)),
                None => unreachable!("no property {name}"),
            },
        }
    }

    /// The value of the property `name`.
    pub fn get(&self, name: &str) -> glib::Value {
        match name {
            "layers" => self.layers.to_value(),
            "text-scale" => self.text_scale.to_value(),
            "heatmap-opacity" => self.heatmap_opacity.to_value(),
            "heatmap-colors" => self.heatmap_colors.to_value(),
            "mask-opacity" => self.mask_opacity.to_value(),
            "history-duration" => self.history_duration.nseconds().to_value(),
            "gray16-white" => u32::from(self.gray16_white).to_value(),
            _ => match switched_by(name) {
                Some(layer) => self.layers.contains(layer).to_value(),
                None => unreachable!("no property {name}"),
            },
        }
    }
}

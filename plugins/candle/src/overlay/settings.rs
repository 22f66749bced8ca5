//! What the user can say about the drawing.

use gst::glib;
use gst::prelude::*;

use crate::common::settings::gray16_white;

/// The element's properties.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub text_scale: f64,
    pub heatmap_opacity: f64,
    pub show_heatmap: bool,
    pub show_regions: bool,
    pub show_label: bool,
    pub show_frame: bool,
    pub show_truth: bool,
    pub gray16_white: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            text_scale: 1.0,
            heatmap_opacity: 0.7,
            show_heatmap: true,
            show_regions: true,
            show_label: true,
            show_frame: true,
            show_truth: false,
            gray16_white: 0,
        }
    }
}

impl Settings {
    /// The specifications of the properties.
    pub fn properties() -> Vec<glib::ParamSpec> {
        let default = Self::default();
        let switch = |name, nick, blurb, value| {
            glib::ParamSpecBoolean::builder(name)
                .nick(nick)
                .blurb(blurb)
                .default_value(value)
                .mutable_playing()
                .build()
        };
        vec![
            gray16_white(),
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
            switch(
                "show-heatmap",
                "Show heat map",
                "Whether the heat map of an anomaly is drawn.",
                default.show_heatmap,
            ),
            switch(
                "show-regions",
                "Show regions",
                "Whether boxes are drawn around anomalous regions and regions of interest, with their labels.",
                default.show_regions,
            ),
            switch(
                "show-label",
                "Show label",
                "Whether a bar with the label, its confidence and the anomaly score is drawn.",
                default.show_label,
            ),
            switch(
                "show-frame",
                "Show frame",
                "Whether a red frame is drawn around the picture while the alarm is on.",
                default.show_frame,
            ),
            switch(
                "show-truth",
                "Show truth",
                "Whether the parts and defects that candletestsrc knows of are drawn.",
                default.show_truth,
            ),
        ]
    }

    /// Sets the property `name`; its type is checked by GObject.
    pub fn set(&mut self, name: &str, value: &glib::Value) {
        let switch = match name {
            "text-scale" => return self.text_scale = value.get().expect("type checked upstream"),
            "heatmap-opacity" => return self.heatmap_opacity = value.get().expect("type checked upstream"),
            "gray16-white" => return self.gray16_white = value.get::<u32>().expect("type checked upstream") as u16,
            "show-heatmap" => &mut self.show_heatmap,
            "show-regions" => &mut self.show_regions,
            "show-label" => &mut self.show_label,
            "show-frame" => &mut self.show_frame,
            "show-truth" => &mut self.show_truth,
            _ => unreachable!("no property {name}"),
        };
        *switch = value.get().expect("type checked upstream");
    }

    /// The value of the property `name`.
    pub fn get(&self, name: &str) -> glib::Value {
        match name {
            "text-scale" => self.text_scale.to_value(),
            "heatmap-opacity" => self.heatmap_opacity.to_value(),
            "show-heatmap" => self.show_heatmap.to_value(),
            "show-regions" => self.show_regions.to_value(),
            "show-label" => self.show_label.to_value(),
            "show-frame" => self.show_frame.to_value(),
            "show-truth" => self.show_truth.to_value(),
            "gray16-white" => u32::from(self.gray16_white).to_value(),
            _ => unreachable!("no property {name}"),
        }
    }
}

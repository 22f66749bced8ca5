//! The element `candleoverlay`: what the others found, drawn on the frame.

use gst::glib;
use gst::prelude::*;

mod draw;
mod findings;
mod history;
mod imp;
mod layout;
mod marks;
mod panels;
mod settings;
mod text;

glib::wrapper! {
    /// See the implementation for its description.
    pub struct CandleOverlay(ObjectSubclass<imp::CandleOverlay>)
        @extends gst_video::VideoFilter, gst_base::BaseTransform, gst::Element, gst::Object, @implements gst::Preset;
}

/// Registers the element.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "candleoverlay",
        gst::Rank::NONE,
        CandleOverlay::static_type(),
    )
}

//! The element `candlesegment`.

use gst::{glib, prelude::*};

mod imp;
mod outline;
mod settings;

glib::wrapper! {
    /// Tells the class of each pixel.
    ///
    /// The mask, the share of the frame that each class takes and the connected regions of each class are on the frame and on the bus;
    /// `candleoverlay` draws them. With `output=mask` the frame itself shows the classes.
    ///
    /// ```text
    /// gst-launch-1.0 -m filesrc location=tile.jpg ! decodebin ! videoconvert ! candlesegment model-file=models/segment-magnetic-tile.safetensors ! candleoverlay ! videoconvert ! autovideosink
    /// ```
    pub struct CandleSegment(ObjectSubclass<imp::CandleSegment>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object, @implements gst::Preset;
}

/// Registers the element.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "candlesegment",
        gst::Rank::NONE,
        CandleSegment::static_type(),
    )
}

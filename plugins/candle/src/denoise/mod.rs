//! The element `candledenoise`.

use gst::{glib, prelude::*};

mod imp;
mod settings;

glib::wrapper! {
    /// Removes noise from video with a learned model.
    ///
    /// ```text
    /// gst-launch-1.0 candletestsrc num-buffers=300 ! candledenoise model-file=models/denoise-testsrc.safetensors ! videoconvert ! autovideosink
    /// ```
    pub struct CandleDenoise(ObjectSubclass<imp::CandleDenoise>)
        @extends gst_video::VideoFilter, gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Registers the element.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "candledenoise",
        gst::Rank::NONE,
        CandleDenoise::static_type(),
    )
}

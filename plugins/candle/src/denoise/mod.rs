//! The element `candledenoise`.

use gst::{glib, prelude::*};

mod imp;
mod settings;

glib::wrapper! {
    /// Removes noise from video with a learned model.
    ///
    /// It estimates how strong the noise is, over the last frames, unless `noise-level` says so, and hands the model frame after frame; a recurrent
    /// model remembers those before. Frames that are not its turn pass as they are.
    ///
    /// ```text
    /// gst-launch-1.0 candletestsrc num-buffers=300 ! candledenoise model-file=models/denoise-testsrc.safetensors ! videoconvert ! autovideosink
    /// ```
    pub struct CandleDenoise(ObjectSubclass<imp::CandleDenoise>)
        @extends gst_video::VideoFilter, gst_base::BaseTransform, gst::Element, gst::Object, @implements gst::Preset;
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

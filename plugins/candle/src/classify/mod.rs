//! The element `candleclassify`.

use gst::{glib, prelude::*};

mod imp;
mod name;
mod settings;

glib::wrapper! {
    /// Names what a frame, or each region on it, shows.
    ///
    /// The label is the class with the largest probability, smoothed over time, where that reaches the class's threshold and the
    /// frame lies near enough to what the model knows; else it is `unknown`.
    ///
    /// ```text
    /// gst-launch-1.0 -m candletestsrc num-buffers=300 ! candledenoise model-file=models/denoise-testsrc.safetensors ! candleanomaly model-file=models/anomaly-testsrc.safetensors min-area=20 ! candleclassify model-file=models/classify-testsrc.safetensors regions=metas ! fakesink
    /// ```
    pub struct CandleClassify(ObjectSubclass<imp::CandleClassify>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object, @implements gst::Preset;
}

/// Registers the element.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "candleclassify",
        gst::Rank::NONE,
        CandleClassify::static_type(),
    )
}

//! The element `candleanomaly`.

use gst::{glib, prelude::*};

mod attach;
mod imp;
mod inspect;
mod paint;
mod settings;

glib::wrapper! {
    /// Finds what does not look like the good frames a model was trained on.
    ///
    /// It scores each frame, compares the score with a threshold, and raises an alarm as soon as enough frames are anomalous for long enough. The
    /// pixels stay as they are unless `output` says otherwise.
    ///
    /// ```text
    /// gst-launch-1.0 -m candletestsrc num-buffers=300 ! candledenoise model-file=models/denoise-testsrc.safetensors ! candleanomaly model-file=models/anomaly-testsrc.safetensors output=heatmap ! videoconvert ! autovideosink
    /// ```
    pub struct CandleAnomaly(ObjectSubclass<imp::CandleAnomaly>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object, @implements gst::Preset;
}

/// Registers the element.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "candleanomaly",
        gst::Rank::NONE,
        CandleAnomaly::static_type(),
    )
}

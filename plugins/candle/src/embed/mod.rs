//! The element `candleembed`.

use gst::{glib, prelude::*};

mod imp;
pub mod result;
mod settings;
mod vicinity;

pub use result::EmbedResult;

glib::wrapper! {
    /// Says what a frame looks like in numbers, and which known picture it looks like most.
    ///
    /// The code is a row of numbers, of length 1: frames that look alike to the model have codes that lie near each other. Any classifier,
    /// anomaly detector or model for segmentation gives one. It is compared with those of known pictures: of the file that `gst-candle embed` wrote,
    /// which `codes-file` names, or without one of the pictures that a classifier keeps from its training.
    ///
    /// ```text
    /// gst-launch-1.0 -m candletestsrc num-buffers=100 ! candleembed model-file=models/anomaly-testsrc.safetensors post-messages=interval ! fakesink
    /// ```
    pub struct CandleEmbed(ObjectSubclass<imp::CandleEmbed>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object, @implements gst::Preset;
}

/// Registers the element.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "candleembed", gst::Rank::NONE, CandleEmbed::static_type())
}

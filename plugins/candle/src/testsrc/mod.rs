//! The element `candletestsrc`: an inspection line without a camera.

use gst::glib;
use gst::prelude::*;

mod imp;
mod settings;
mod timeline;

glib::wrapper! {
    /// See the implementation for its description.
    pub struct CandleTestSrc(ObjectSubclass<imp::CandleTestSrc>) @extends gst_base::PushSrc, gst_base::BaseSrc, gst::Element, gst::Object;
}

/// Registers the element.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "candletestsrc",
        gst::Rank::NONE,
        CandleTestSrc::static_type(),
    )
}

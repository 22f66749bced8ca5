//! The element `candlepublish`: what was found, as lines of JSON.

use gst::glib;
use gst::prelude::*;

mod imp;
mod line;
mod writer;

/// Which frames get a line.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstCandlePublishMode")]
#[repr(i32)]
pub enum PublishMode {
    /// The frames in which the alarm or the label is another than before, and the first one.
    #[default]
    #[enum_value(
        name = "Change: the first result, then each change of the alarm or of the label",
        nick = "change"
    )]
    Change,
    /// Each frame that has a result.
    #[enum_value(name = "All: each frame that has a result", nick = "all")]
    All,
}

glib::wrapper! {
    /// See the implementation for its description.
    pub struct CandlePublish(ObjectSubclass<imp::CandlePublish>) @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Registers the element.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    PublishMode::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    gst::Element::register(
        Some(plugin),
        "candlepublish",
        gst::Rank::NONE,
        CandlePublish::static_type(),
    )
}

//! The element `candlepublish`: what was found, as JSON, to files and to an MQTT broker.
//!
//! The streaming thread (`imp`) makes events and hands them to threads that write: `lines` to a file, `mqtt` through the `queue` on disk
//! to a broker.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gst::glib;
use gst::prelude::*;

mod counters;
mod event;
mod imp;
mod lines;
mod mqtt;
mod outbox;
mod queue;
mod report;
mod settings;
mod source;
mod worker;
mod writer;

/// Which results are told.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstCandlePublishMode")]
#[repr(i32)]
pub enum PublishMode {
    /// An element's first result, and each in which the alarm, the label, the classes or the nearest code are others than before.
    #[default]
    #[enum_value(
        name = "Change: the first result, then each change of the alarm, the label, the classes or the nearest code",
        nick = "change"
    )]
    Change,
    /// Each result.
    #[enum_value(name = "All: each frame that has a result", nick = "all")]
    All,
    /// Changes, and one result each `message-interval`.
    #[enum_value(name = "Interval: changes, and one frame each message-interval", nick = "interval")]
    Interval,
}

/// The version of MQTT, by its protocol level.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstCandleMqttVersion")]
#[repr(i32)]
pub enum MqttVersion {
    /// MQTT 3.1.1.
    #[default]
    #[enum_value(name = "MQTT 3.1.1", nick = "3.1.1")]
    V311 = 4,
    /// MQTT 5.
    #[enum_value(name = "MQTT 5", nick = "5")]
    V5 = 5,
}

glib::wrapper! {
    /// See the implementation for its description.
    pub struct CandlePublish(ObjectSubclass<imp::CandlePublish>) @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Registers the element.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    PublishMode::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    MqttVersion::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    gst::Element::register(
        Some(plugin),
        "candlepublish",
        gst::Rank::NONE,
        CandlePublish::static_type(),
    )
}

/// Locks; what a panicking holder left is whole, because each holder changes it by single assignments.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

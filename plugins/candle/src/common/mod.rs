//! What the elements share: properties, frames, models, the pace of inference, results and messages.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gst_base::prelude::*;

#[cfg(feature = "analytics")]
pub mod analytics;
pub mod analyzer;
pub mod engine;
pub mod frame;
pub mod latency;
pub mod live;
pub mod messages;
pub mod pace;
pub mod preset;
pub mod reload;
pub mod result;
pub mod settings;
pub mod shared;
pub mod slot;
pub mod stats;

/// Locks; what a panicking holder left is whole, because each holder changes it by single assignments.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Frames that come too late for the sink still leave, and gaps stay gaps.
pub fn keep_every_frame(element: &impl IsA<gst_base::BaseTransform>) {
    element.set_qos(false);
    element.set_gap_aware(true);
}

/// Posts the error and gives what the frame's function is to return.
pub fn failed(element: &impl IsA<gst::Element>, error: gst::ErrorMessage) -> gst::FlowError {
    element.post_error_message(error);
    gst::FlowError::Error
}

/// Whether an event ends what came before it, so that temporal state must go.
pub fn starts_anew(event: &gst::Event) -> bool {
    matches!(
        event.type_(),
        gst::EventType::FlushStop | gst::EventType::Segment | gst::EventType::StreamStart
    )
}

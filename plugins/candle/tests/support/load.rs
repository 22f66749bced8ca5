//! Inference that takes as long as a test says, by a test clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;
use gst_check::TestClock;

/// The property that each element notifies when it has inferred a frame.
pub const TOLD: [&str; 5] = ["last-noise-level", "last-score", "confidence", "share", "distance"];

/// Lets the clock go on by `load` milliseconds in each inference.
pub fn slow(element: &gst::Element, told: &str, clock: &TestClock, load: &Arc<AtomicU64>) {
    let (clock, load) = (clock.clone(), load.clone());
    element.connect_notify(Some(told), move |_, _| {
        clock.advance_time((load.load(Ordering::Relaxed) * 1_000_000) as i64);
    });
}

/// The property `stats`.
pub fn stats(element: &gst::Element) -> gst::Structure {
    element.property("stats")
}

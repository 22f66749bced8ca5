//! What the threads that write tell the application.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use gst::glib;
use gst::prelude::*;

/// Posts on the bus of an element that may be gone.
#[derive(Debug, Clone)]
pub struct Reporter(glib::WeakRef<super::CandlePublish>);

impl Reporter {
    /// Of `element`.
    pub fn new(element: &super::CandlePublish) -> Self {
        Self(element.downgrade())
    }

    /// Posts a warning.
    pub fn warn<T: gst::MessageErrorDomain>(&self, domain: T, text: &str) {
        if let Some(element) = self.0.upgrade() {
            gst::element_warning!(element, domain, ("{text}"));
        }
    }

    /// Posts the element message `candlepublish`: whether the broker is there, and the reason where it is not.
    pub fn connection(&self, broker: &str, queued: u64, lost: Option<&str>) {
        let Some(element) = self.0.upgrade() else { return };
        let structure = gst::Structure::builder("candlepublish")
            .field("connected", lost.is_none())
            .field("broker", broker)
            .field("queued", queued)
            .field_if_some("reason", lost)
            .build();
        // Fails only where there is no bus, which means that nobody listens.
        let _ = element.post_message(gst::message::Element::builder(structure).src(&element).build());
    }
}

/// A trouble that is told when it begins, and not again before it has ended.
#[derive(Debug, Default)]
pub struct Trouble(AtomicBool);

impl Trouble {
    /// Whether it begins now.
    pub fn begins(&self) -> bool {
        !self.0.swap(true, Relaxed)
    }

    /// Says that all is well.
    pub fn ends(&self) {
        self.0.store(false, Relaxed);
    }
}

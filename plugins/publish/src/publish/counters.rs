//! What the element counts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Counts since the start, shared by the streaming thread and those that write.
#[derive(Debug, Default)]
pub struct Counters {
    /// Results that became events.
    pub events: AtomicU64,
    /// Lines handed to the system.
    pub lines_written: AtomicU64,
    /// Lines that could not be written.
    pub lines_dropped: AtomicU64,
    /// Events that the broker has acknowledged.
    pub published: AtomicU64,
    /// Events on their way to the broker, those of an earlier run among them.
    pub queued: AtomicU64,
    /// Events dropped on the way to the queue, because its thread did not keep up.
    pub dropped_before_queue: AtomicU64,
    /// Events dropped by the queue for want of room.
    pub dropped_by_queue: AtomicU64,
    /// Events that the broker refused.
    pub refused: AtomicU64,
    /// Records in the queue on disk that could not be read.
    pub damaged: AtomicU64,
    /// Bytes of the queue on disk.
    pub queue_bytes: AtomicU64,
    /// Connections made after the first.
    pub reconnects: AtomicU64,
    /// Whether the broker is there.
    pub connected: AtomicBool,
}

impl Counters {
    /// As the property `stats` shows it.
    pub fn to_structure(&self) -> gst::Structure {
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        gst::Structure::builder("candle-publish-stats")
            .field("events", count(&self.events))
            .field("lines-written", count(&self.lines_written))
            .field("lines-dropped", count(&self.lines_dropped))
            .field("connected", self.connected.load(Relaxed))
            .field("published", count(&self.published))
            .field("queued", count(&self.queued))
            .field("queue-bytes", count(&self.queue_bytes))
            .field(
                "dropped",
                count(&self.dropped_before_queue) + count(&self.dropped_by_queue),
            )
            .field("refused", count(&self.refused))
            .field("damaged", count(&self.damaged))
            .field("reconnects", count(&self.reconnects))
            .build()
    }
}

//! What the streaming thread hands to a thread that writes: it never waits, the oldest goes where there is no room.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use tokio::sync::Notify;

use super::event::Event;
use super::lock;

/// Events on their way to one writer.
#[derive(Debug)]
pub struct Outbox {
    inner: Mutex<Inner>,
    ready: Condvar,
    notify: Notify,
    /// The most bytes of JSON that may wait.
    most_bytes: usize,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    closed: bool,
}

impl Outbox {
    /// An empty one for `most_bytes` of JSON.
    pub fn new(most_bytes: usize) -> Self {
        Self {
            inner: Mutex::default(),
            ready: Condvar::new(),
            notify: Notify::new(),
            most_bytes,
        }
    }

    /// Adds an event and returns how many of the oldest had to go for it.
    pub fn push(&self, event: Arc<Event>) -> u64 {
        let mut dropped = 0;
        {
            let mut inner = lock(&self.inner);
            inner.bytes += event.json.len();
            inner.events.push_back(event);
            while inner.bytes > self.most_bytes
                && let Some(oldest) = inner.events.pop_front()
            {
                inner.bytes -= oldest.json.len();
                dropped += 1;
            }
        }
        self.wake();
        dropped
    }

    /// Says that nothing more will come.
    pub fn close(&self) {
        lock(&self.inner).closed = true;
        self.wake();
    }

    /// Whether nothing more will come.
    pub fn is_closed(&self) -> bool {
        lock(&self.inner).closed
    }

    /// Everything that waits, oldest first.
    pub fn take(&self) -> VecDeque<Arc<Event>> {
        let mut inner = lock(&self.inner);
        inner.bytes = 0;
        std::mem::take(&mut inner.events)
    }

    /// Waits for the next event; `None` as soon as it is closed and empty.
    pub fn next(&self) -> Option<Arc<Event>> {
        let mut inner = lock(&self.inner);
        loop {
            if let Some(event) = inner.events.pop_front() {
                inner.bytes -= event.json.len();
                return Some(event);
            }
            if inner.closed {
                return None;
            }
            inner = self.ready.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many events wait.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        lock(&self.inner).events.len()
    }

    /// Resolves when something has come, or it was closed, since the last time.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }

    fn wake(&self) {
        self.ready.notify_one();
        self.notify.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::event::tests::event;

    #[test]
    fn the_oldest_goes_where_there_is_no_room() {
        let outbox = Outbox::new(25);
        let dropped: Vec<u64> = ["0123456789", "1123456789", "2123456789", "tiny", &"x".repeat(30)]
            .iter()
            .map(|json| outbox.push(event(json)))
            .collect();
        assert_eq!(dropped, [0, 0, 1, 0, 4], "what is larger than all the room goes too");
        outbox.push(event("a"));
        outbox.push(event("b"));
        outbox.close();
        let next = || outbox.next().map(|event| event.json.clone());
        assert_eq!([next(), next(), next()], [Some("a".into()), Some("b".into()), None]);
    }
}

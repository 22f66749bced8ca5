//! A thread that writes what the streaming thread hands over.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::event::Event;
use super::outbox::Outbox;

/// Bytes of JSON that may wait for a thread: minutes of events that come at full rate.
const MOST_WAITING: usize = 16 << 20;

/// The thread and what waits for it.
#[derive(Debug)]
pub struct Worker {
    outbox: Arc<Outbox>,
    /// Disconnected when the thread has ended.
    ended: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts a thread that is to end soon after its outbox is closed.
    pub fn spawn(name: &str, work: impl FnOnce(&Outbox) + Send + 'static) -> io::Result<Self> {
        let outbox = Arc::new(Outbox::new(MOST_WAITING));
        let (end, ended) = mpsc::channel();
        let theirs = outbox.clone();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            let _end: mpsc::Sender<()> = end;
            work(&theirs);
        })?;
        Ok(Self {
            outbox,
            ended,
            thread: Some(thread),
        })
    }

    /// Hands over an event; returns how many older ones had to go.
    pub fn push(&self, event: Arc<Event>) -> u64 {
        self.outbox.push(event)
    }

    /// Says that nothing more will come.
    pub fn close(&self) {
        self.outbox.close();
    }

    /// Waits until `deadline` for the thread to end, which it is left to do by itself after that; returns how many events it has not
    /// taken by then.
    pub fn finish(mut self, deadline: Instant) -> usize {
        self.close();
        let wait = deadline.saturating_duration_since(Instant::now());
        let in_time = self.ended.recv_timeout(wait) != Err(RecvTimeoutError::Timeout);
        if in_time && let Some(thread) = self.thread.take() {
            // A panic has been printed, and leaves nothing to do here.
            let _ = thread.join();
        }
        self.outbox.take().len()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.close();
    }
}

/// How long an element that stops waits for what it has made to be written or delivered.
pub const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::event::tests::event;

    #[test]
    fn a_thread_that_hangs_is_not_waited_for_beyond_the_deadline() {
        let (release, hang) = mpsc::channel::<()>();
        let worker = Worker::spawn("hangs", move |outbox| {
            outbox.next();
            let _ = hang.recv();
        })
        .unwrap();
        for json in ["one", "two", "three"] {
            assert_eq!(worker.push(event(json)), 0);
        }
        // Wait for the first to be taken, so that two are left.
        while worker.outbox.waiting() > 2 {
            std::thread::yield_now();
        }
        let left = worker.finish(Instant::now() + Duration::from_millis(20));
        assert_eq!(left, 2);
        drop(release);
    }
}

//! Threads that end within a bounded time, and waiting for what they have to do.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::common::lock;

/// A thread that ends by itself when nobody can send it work any more.
pub struct Worker {
    handle: JoinHandle<()>,
    /// Closed when the thread's work is over.
    end: Receiver<()>,
}

impl Worker {
    /// Starts `work` in a thread of this name.
    pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (alive, end) = channel();
        let handle = std::thread::Builder::new().name(name.into()).spawn(move || {
            work();
            drop(alive);
        })?;
        Ok(Self { handle, end })
    }

    /// Waits for its end; after `deadline` it is left alone, and the answer is `false`.
    pub fn join(self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        if self.end.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            return false;
        }
        // A panic has been told on standard error.
        let _ = self.handle.join();
        true
    }
}

#[derive(Debug, Default)]
struct Count {
    open: usize,
    /// Somebody wants no more waiting.
    hurried: bool,
}

/// How much there is still to do.
#[derive(Debug, Default, Clone)]
pub struct Pending(Arc<(Mutex<Count>, Condvar)>);

/// A piece of work; done when dropped.
#[derive(Debug)]
pub struct Ticket(Pending);

impl Pending {
    /// One more piece of work.
    pub fn ticket(&self) -> Ticket {
        lock(&self.0.0).open += 1;
        Ticket(self.clone())
    }

    /// Waits until all is done, or `limit` has passed, or somebody hurries.
    pub fn wait(&self, limit: Duration) {
        let (count, changed) = &*self.0;
        let end = Instant::now() + limit;
        let mut count = lock(count);
        while count.open > 0 && !count.hurried {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = changed.wait_timeout(count, left);
            count = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the waiting, now and until it is `false` again.
    pub fn hurry(&self, hurried: bool) {
        lock(&self.0.0).hurried = hurried;
        self.0.1.notify_all();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let (count, changed) = &*self.0.0;
        lock(count).open -= 1;
        changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn waiting_ends_with_the_work_or_when_hurried() {
        let pending = Pending::default();
        pending.wait(LONG);
        let ticket = pending.ticket();
        pending.wait(Duration::from_millis(1));
        let worker = Worker::spawn("work", move || drop(ticket)).expect("threads can be made");
        pending.wait(LONG);
        assert!(worker.join(Instant::now() + LONG));
        let _ticket = pending.ticket();
        pending.hurry(true);
        pending.wait(LONG);
    }

    #[test]
    fn a_thread_that_does_not_end_is_left() {
        let (send, receive) = channel::<()>();
        let work = move || assert!(receive.recv().is_err());
        let worker = Worker::spawn("stuck", work).expect("threads can be made");
        assert!(!worker.join(Instant::now()));
        drop(send);
    }
}

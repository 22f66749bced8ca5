//! Batches made ahead of time, in a thread of their own.

use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};

use crate::Result;
use crate::graph::Array;

/// Batches that may wait.
const DEPTH: usize = 2;

/// Arrays of a batch, `[N, …]` each.
pub type Batch = Vec<Array>;

/// Calls `body` with the batches of `steps`, in order, while a background thread makes the next ones by `make`.
pub fn with_feed<T>(
    steps: Range<u64>,
    make: impl Fn(u64) -> Result<Batch> + Sync,
    body: impl FnOnce(Receiver<Result<Batch>>) -> T,
) -> T {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(DEPTH);
        let make = &make;
        scope.spawn(move || {
            for step in steps {
                // The receiver is gone when the run ends early.
                if sender.send(make(step)).is_err() {
                    break;
                }
            }
        });
        body(receiver)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn batches_come_in_order_and_errors_come_through() {
        let make = |step| {
            if step == 5 {
                return Err(Error::Invalid("five".into()));
            }
            Ok(vec![Array {
                shape: vec![1],
                data: vec![step as f32],
            }])
        };
        let got: Vec<_> = with_feed(2..7, make, |r| r.iter().map(|b| b.map(|b| b[0].data[0])).collect());
        assert_eq!(got.len(), 5);
        assert_eq!(got[0].as_ref().unwrap(), &2.0);
        assert_eq!(got[3].as_ref().unwrap_err().to_string(), "five");
        assert_eq!(got[4].as_ref().unwrap(), &6.0);
    }

    #[test]
    fn leaving_early_does_not_hang() {
        let first = with_feed(0..u64::MAX, |_| Ok(Batch::new()), |r| r.recv().unwrap().unwrap().len());
        assert_eq!(first, 0);
    }
}

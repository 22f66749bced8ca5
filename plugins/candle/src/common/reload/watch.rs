//! A model's file that is looked at: when it changes, it is asked for anew.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use gst::prelude::*;

use super::super::engine::Worker;
use super::super::lock;
use super::super::shared::Version;
use super::Reload;

/// How often a watched file is looked at. It is loaded when it has stayed the same for as long.
const LOOK: Duration = Duration::from_millis(250);

impl<W: Worker> Reload<W> {
    /// Looks from now on, or no more, whether the file of the model in force has changed; in an element that runs.
    pub fn watch(&self, element: &gst_base::BaseTransform, on: bool) {
        let mut next = lock(&self.0);
        let number = next.watch.0 + 1;
        next.watch = (number, None);
        if !on || next.running.is_none() {
            return;
        }
        let (stop, stopped) = channel();
        next.watch.1 = Some(stop);
        drop(next);
        let (reload, watched) = (self.clone(), element.downgrade());
        let look = move || {
            let mut seen = Stamp::default();
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let Some(element) = watched.upgrade() else { return };
                let path = lock(&reload.0).known.path.clone();
                let now = Stamp::of(path.as_deref());
                if now == seen {
                    reload.look(number, &element, now);
                } else {
                    seen = now;
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("candle-watch".into()).spawn(look) {
            gst::element_warning!(
                element,
                gst::ResourceError::Failed,
                ("The model is not watched: no thread can be had: {error}")
            );
        }
    }

    /// Loads the file in force again if it is not `now` what it was, unless something else is asked for.
    fn look(&self, watch: u64, element: &gst_base::BaseTransform, now: Stamp) {
        let next = lock(&self.0);
        let changed = now.path == next.known.path && now != next.known;
        if next.watch.0 == watch
            && next.asked.is_none()
            && changed
            && let Some(settings) = next.running.clone()
        {
            self.request(next, element, settings);
        }
    }
}

/// What shows that a file has changed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stamp {
    pub path: Option<String>,
    /// `None` where the file is not to be had.
    version: Option<Version>,
}

impl Stamp {
    /// Of the file at `path` as it is now.
    pub fn of(path: Option<&str>) -> Self {
        let version = path.and_then(|path| Version::of(Path::new(path)).ok());
        let path = path.map(str::to_owned);
        Self { path, version }
    }
}

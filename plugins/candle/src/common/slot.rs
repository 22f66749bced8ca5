//! Where an element keeps what the stream made.

use std::sync::Mutex;

use super::lock;

/// What is there between start and stop. While a frame is worked on it is taken out, so that no lock is held over
/// inference, messages and signals.
pub struct Slot<S>(Mutex<Option<S>>);

impl<S> Default for Slot<S> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<S> Slot<S> {
    /// Fills or empties it.
    pub fn set(&self, state: Option<S>) {
        *lock(&self.0) = state;
    }

    /// Changes it where it is there: a moment's work only.
    pub fn change(&self, change: impl FnOnce(&mut S)) {
        if let Some(state) = lock(&self.0).as_mut() {
            change(state);
        }
    }

    /// Takes it out for `work` and puts it back. An element that has stopped refuses the frame.
    pub fn work<T>(&self, work: impl FnOnce(&mut S) -> T) -> Result<T, gst::FlowError> {
        let mut state = lock(&self.0).take().ok_or(gst::FlowError::Flushing)?;
        let result = work(&mut state);
        self.set(Some(state));
        Ok(result)
    }
}

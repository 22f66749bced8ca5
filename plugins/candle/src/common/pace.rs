//! Which frames are inferred.

use super::live::Live;
use super::settings::Settings;

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// The model runs.
    Infer,
    /// The frame is between two that are inferred, or is marked as a gap.
    Skip,
    /// The frame comes too late.
    Late,
}

/// Decides frame by frame.
#[derive(Debug, Default)]
pub struct Pacer {
    /// Frames to pass before the next inference.
    wait: u32,
}

impl Pacer {
    /// What to do with `buffer`, whose time is `running_time`.
    pub fn decide(
        &mut self,
        element: &gst::Element,
        live: &Live,
        settings: &Settings,
        buffer: &gst::BufferRef,
        running_time: Option<gst::ClockTime>,
    ) -> Pace {
        if buffer.flags().contains(gst::BufferFlags::GAP) {
            return Pace::Skip;
        }
        // A shorter interval set meanwhile counts at once.
        self.wait = self.wait.min(settings.inference_interval - 1);
        if self.wait > 0 {
            self.wait -= 1;
            return Pace::Skip;
        }
        // A late frame does not use up its turn: the next one in time is inferred.
        if live.is_late(element, settings.max_lag, running_time) {
            return Pace::Late;
        }
        self.wait = settings.inference_interval - 1;
        Pace::Infer
    }
}

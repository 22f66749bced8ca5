//! Which frames are inferred.

use gst::prelude::*;
use gst_base::prelude::*;

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
    /// The least latency upstream adds, once asked.
    latency: Option<gst::ClockTime>,
}

impl Pacer {
    /// What to do with `buffer`, whose time is `running_time`.
    pub fn decide(
        &mut self,
        element: &impl IsA<gst_base::BaseTransform>,
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
        if !settings.max_lag.is_zero() && self.lag(element, running_time) > settings.max_lag {
            return Pace::Late;
        }
        self.wait = settings.inference_interval - 1;
        Pace::Infer
    }

    /// How far a frame is behind the clock, beyond the latency with which it left its source.
    fn lag(
        &mut self,
        element: &impl IsA<gst_base::BaseTransform>,
        running_time: Option<gst::ClockTime>,
    ) -> gst::ClockTime {
        let (Some(due), Some(now)) = (running_time, element.as_ref().current_running_time()) else {
            return gst::ClockTime::ZERO;
        };
        let latency = *self.latency.get_or_insert_with(|| upstream_latency(element.as_ref()));
        now.saturating_sub(due.saturating_add(latency))
    }
}

fn upstream_latency(element: &gst_base::BaseTransform) -> gst::ClockTime {
    let mut query = gst::query::Latency::new();
    match element.sink_pad().peer_query(&mut query) {
        true => query.result().1,
        false => gst::ClockTime::ZERO,
    }
}

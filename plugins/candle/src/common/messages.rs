//! Results on the bus: element messages, each named after its element, on the frames that `post-messages` asks for.
//!
//! | message | tells a change of | fields besides the times |
//! |---|---|---|
//! | `candleanomaly` | the alarm | those of `anomaly` in the meta `candle-result`, without `stale` and the map; `state-changed` |
//! | `candleclassify` | the label, or a region's | those of `classify`, without `stale`; `state-changed` |
//! | `candlesegment` | which classes are there, the background left out | those of `segment`, without `stale` and the mask; `state-changed` |
//! | `candleembed` | the class that is nearest, or whether that is known | those of `embed`, without `stale`; `state-changed` |
//! | `candledenoise` | the noise level, by a quarter and 1 at least | those of `denoise`, without `stale` |
//!
//! Others come when what they tell happens: `model-reloaded` (`model-file`) and `model-rejected` (`model-file`, `reason`) of an element that was given
//! another model; `candle-stats`, every `stats-interval`, with what the property `stats` holds; `candlesnapshot` (`path`, `kind`, `event`, and what was
//! found) when a picture or clip is complete; `candlepublish` (`connected`, `broker`, `queued`, `reason`) when a broker goes or comes.
//!
//! The times are `timestamp` (of the buffer), `stream-time`, `running-time` and `duration` (guint64, nanoseconds); those unknown are left out.
//! `state-changed` (gboolean) is whether the alarm, a label or the classes are others than before. No field is text to be parsed.

use gst::prelude::*;
use gst_base::prelude::*;

use super::settings::{PostMessages, Settings};

/// When a frame is shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    timestamp: Option<gst::ClockTime>,
    /// Time in the stream, for controlled properties.
    pub stream: Option<gst::ClockTime>,
    /// Time since the pipeline plays.
    pub running: Option<gst::ClockTime>,
    duration: Option<gst::ClockTime>,
}

impl Times {
    /// Of a buffer that the element is working on.
    pub fn of(element: &impl IsA<gst_base::BaseTransform>, buffer: &gst::BufferRef) -> Self {
        let segment = element.segment();
        let segment = segment.downcast_ref::<gst::ClockTime>();
        let pts = buffer.pts();
        Self {
            timestamp: pts,
            stream: segment.and_then(|s| s.to_stream_time(pts)),
            running: segment.and_then(|s| s.to_running_time(pts)),
            duration: buffer.duration(),
        }
    }

    /// A message's structure with the fields of these times; those unknown are left out.
    fn to_structure(self, name: &str) -> gst::Structure {
        gst::Structure::builder(name)
            .field_if_some("timestamp", self.timestamp.map(|t| t.nseconds()))
            .field_if_some("stream-time", self.stream.map(|t| t.nseconds()))
            .field_if_some("running-time", self.running.map(|t| t.nseconds()))
            .field_if_some("duration", self.duration.map(|t| t.nseconds()))
            .build()
    }
}

/// Decides which results are posted.
#[derive(Debug, Default)]
pub struct Poster {
    last: Option<gst::ClockTime>,
}

impl Poster {
    /// Whether a result at `running_time` is due; `changed` is whether it differs from the one before.
    pub fn is_due(&mut self, settings: &Settings, changed: bool, running_time: Option<gst::ClockTime>) -> bool {
        let due = match settings.post_messages {
            PostMessages::None => false,
            PostMessages::Change => changed,
            PostMessages::All => true,
            PostMessages::Interval => {
                changed
                    || match (self.last, running_time) {
                        // Time went back: a seek.
                        (Some(last), Some(now)) => now < last || now - last >= settings.message_interval,
                        _ => true,
                    }
            }
        };
        if due {
            self.last = running_time;
        }
        due
    }
}

/// Fields of a result that belong to its frame and are not told on the bus.
const UNTOLD: [&str; 9] = [
    "stale",
    "mask",
    "map",
    "map-width",
    "map-height",
    "map-x",
    "map-y",
    "map-w",
    "map-h",
];

/// Posts an element message named `name` with the times and a result's fields.
pub fn post(element: &impl IsA<gst::Element>, name: &str, times: Times, fields: &gst::StructureRef) {
    let mut structure = times.to_structure(name);
    for (field, value) in fields.iter().filter(|(field, _)| !UNTOLD.contains(&field.as_str())) {
        structure.set_value(field, value.clone());
    }
    // Fails only where there is no bus, which means that nobody listens.
    let _ = element.post_message(gst::message::Element::builder(structure).src(element.as_ref()).build());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(rule: PostMessages, frames: &[(bool, u64)]) -> Vec<bool> {
        let settings = Settings {
            post_messages: rule,
            message_interval: gst::ClockTime::from_mseconds(100),
            ..Settings::default()
        };
        let mut poster = Poster::default();
        let ms = |ms| Some(gst::ClockTime::from_mseconds(ms));
        frames
            .iter()
            .map(|&(changed, time)| poster.is_due(&settings, changed, ms(time)))
            .collect()
    }

    #[test]
    fn each_rule_posts_its_frames() {
        let frames = [
            (false, 0),
            (false, 40),
            (true, 80),
            (false, 120),
            (false, 180),
            (false, 220),
            (false, 10),
        ];
        assert_eq!(due(PostMessages::None, &frames), [false; 7]);
        assert_eq!(due(PostMessages::All, &frames), [true; 7]);
        assert_eq!(
            due(PostMessages::Change, &frames),
            [false, false, true, false, false, false, false]
        );
        // 180 is 100 after the change at 80; 10 is a step back.
        assert_eq!(
            due(PostMessages::Interval, &frames),
            [true, false, true, false, true, false, true]
        );
    }
}

//! What a frame is kept for.

use std::time::SystemTime;

use gst::glib;

use super::settings::Settings;
use crate::common::messages::Times;
use crate::common::result::{AnomalyResult, ClassifyResult, Kind, SegmentResult};

/// What makes a picture.
#[glib::flags(name = "GstCandleSnapshotOn")]
pub enum SnapshotOn {
    #[flags_value(name = "The alarm of candleanomaly goes on", nick = "alarm-begin")]
    ALARM_BEGIN = 1,
    #[flags_value(name = "The alarm goes off", nick = "alarm-end")]
    ALARM_END = 2,
    #[flags_value(name = "The label of candleclassify changes", nick = "label-change")]
    LABEL_CHANGE = 4,
    #[flags_value(
        name = "Each frame that candleanomaly judges anomalous by itself",
        nick = "anomalous"
    )]
    ANOMALOUS = 8,
    #[flags_value(
        name = "candlesegment finds a class that was not there before, the background left out",
        nick = "class-begin"
    )]
    CLASS_BEGIN = 16,
}

/// What may happen, by the names that files and messages have; of what happens at once, the first names the event.
pub const NAMES: [(SnapshotOn, &str); 5] = [
    (SnapshotOn::ALARM_BEGIN, "alarm-begin"),
    (SnapshotOn::ALARM_END, "alarm-end"),
    (SnapshotOn::LABEL_CHANGE, "label-change"),
    (SnapshotOn::CLASS_BEGIN, "class-begin"),
    (SnapshotOn::ANOMALOUS, "anomalous"),
];

/// What happened on a frame.
#[derive(Debug, Clone)]
pub struct Event {
    /// One of [`NAMES`].
    pub name: &'static str,
    pub times: Times,
    /// When the frame came by.
    pub at: SystemTime,
    /// The frame's raw score, and the least one that is anomalous.
    pub score: Option<(f64, f64)>,
    /// The label in force, and the probability of the most probable one.
    pub label: Option<(String, f64)>,
    /// The class that came into the mask, and the share of the frame that it takes.
    pub class: Option<(String, f64)>,
}

impl Event {
    /// What a message says of it beside its times.
    pub fn fields(&self) -> gst::Structure {
        gst::Structure::builder("candlesnapshot")
            .field("event", self.name)
            .field_if_some("score", self.score.map(|(score, _)| score))
            .field_if_some("threshold", self.score.map(|(_, threshold)| threshold))
            .field_if_some("label", self.label.as_ref().map(|(label, _)| label))
            .field_if_some("confidence", self.label.as_ref().map(|(_, confidence)| *confidence))
            .field_if_some("class", self.class.as_ref().map(|(class, _)| class))
            .field_if_some("share", self.class.as_ref().map(|(_, share)| *share))
            .build()
    }
}

/// Follows what the frames say.
#[derive(Debug, Default)]
pub struct Watch {
    alarm: bool,
    label: Option<String>,
    /// Those that were there, the background left out.
    classes: Vec<String>,
}

impl Watch {
    /// Looks at the next frame; what happened on it that is asked for.
    pub fn see(&mut self, buffer: &gst::BufferRef, settings: &Settings, times: Times) -> Option<Event> {
        let anomaly = AnomalyResult::read(buffer);
        let classify = ClassifyResult::read(buffer);
        let mut happened = SnapshotOn::empty();
        if let Some(result) = &anomaly {
            happened |= match (std::mem::replace(&mut self.alarm, result.state), result.state) {
                (false, true) => SnapshotOn::ALARM_BEGIN,
                (true, false) => SnapshotOn::ALARM_END,
                _ => SnapshotOn::empty(),
            };
            if result.anomalous && !result.stale {
                happened |= SnapshotOn::ANOMALOUS;
            }
        }
        if let Some(result) = &classify
            && self.renames(&result.labels.label, settings)
        {
            happened |= SnapshotOn::LABEL_CHANGE;
        }
        let begun = SegmentResult::read(buffer).and_then(|result| self.begun(&result, settings));
        if begun.is_some() {
            happened |= SnapshotOn::CLASS_BEGIN;
        }
        let asked = happened & settings.on;
        let (_, name) = NAMES.into_iter().find(|(flag, _)| asked.contains(*flag))?;
        Some(Event {
            name,
            times,
            at: SystemTime::now(),
            score: anomaly.map(|result| (result.score, result.threshold)),
            label: classify
                .map(|result| (result.labels.label, result.labels.confidence))
                .filter(|(label, _)| !label.is_empty()),
            class: begun,
        })
    }

    /// Takes over the classes; the largest of those that count and were not there before, and its share of the frame.
    fn begun(&mut self, result: &SegmentResult, settings: &Settings) -> Option<(String, f64)> {
        let found = result.found();
        let now = found.iter().map(|(class, _)| (*class).to_owned()).collect();
        let before = std::mem::replace(&mut self.classes, now);
        let counts = |class: &str| match settings.wanted_labels() {
            Some(mut wanted) => wanted.any(|wanted| wanted == class),
            None => true,
        };
        let is_new = |class: &str| !before.iter().any(|before| before == class);
        let (class, share) = found.into_iter().find(|(class, _)| is_new(class) && counts(class))?;
        Some((class.to_owned(), share))
    }

    /// Takes over the label; whether it is a change that counts.
    fn renames(&mut self, label: &str, settings: &Settings) -> bool {
        if self.label.as_deref() == Some(label) {
            return false;
        }
        let before = self.label.replace(label.to_owned());
        match settings.wanted_labels() {
            Some(mut wanted) => wanted.any(|wanted| wanted == label),
            // Where there is nothing to name any more, there is nothing to show.
            None => before.is_some() && !label.is_empty(),
        }
    }
}

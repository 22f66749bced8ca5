//! Counts, warnings and messages.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use gst::glib;

use super::event::Event;
use super::folder::Folder;
use super::settings::Settings;
use super::worker::Pending;
use crate::common::{lock, messages};

/// Kinds of what may fail. That the encoder works again nobody sees, so that its failures are warned of once.
pub const PICTURE: &str = "picture";
pub const CLIP: &str = "clip";
pub const ENCODER: &str = "encoder";
const REMOVAL: &str = "removal";

/// What the property `stats` shows, and of what was warned.
#[derive(Debug, Default)]
struct Counts {
    events: u64,
    written: u64,
    dropped: u64,
    dropped_frames: u64,
    failed: u64,
    removed: u64,
    /// What has failed since it last went well.
    failing: Vec<&'static str>,
    warned_of_drops: bool,
    warned_of_frames: bool,
}

/// Where the element's threads say what became of their work.
pub struct Report {
    element: glib::WeakRef<super::CandleSnapshot>,
    settings: Arc<Mutex<Settings>>,
    counts: Mutex<Counts>,
    /// What is still to be written.
    pub pending: Pending,
}

impl Report {
    /// Of the element with these settings.
    pub fn new(element: glib::WeakRef<super::CandleSnapshot>, settings: Arc<Mutex<Settings>>) -> Self {
        Self {
            element,
            settings,
            counts: Mutex::default(),
            pending: Pending::default(),
        }
    }

    /// The settings as they are now.
    pub fn settings(&self) -> Settings {
        lock(&self.settings).clone()
    }

    /// As the property `stats` shows it.
    pub fn to_structure(&self) -> gst::Structure {
        let counts = lock(&self.counts);
        gst::Structure::builder("candlesnapshot-stats")
            .field("events", counts.events)
            .field("written", counts.written)
            .field("dropped", counts.dropped)
            .field("dropped-frames", counts.dropped_frames)
            .field("failed", counts.failed)
            .field("removed", counts.removed)
            .build()
    }

    /// Something happened of which a picture is made.
    pub fn event(&self) {
        lock(&self.counts).events += 1;
    }

    /// A file is complete: removes old ones, and tells.
    pub fn wrote(&self, kind: &'static str, path: &Path, event: &Event, folder: &Folder) {
        {
            let mut counts = lock(&self.counts);
            counts.written += 1;
            counts.failing.retain(|failing| *failing != kind);
        }
        let settings = self.settings();
        match folder.thin(settings.max_files, settings.max_size) {
            Ok(removed) => {
                let mut counts = lock(&self.counts);
                counts.removed += removed;
                counts.failing.retain(|failing| *failing != REMOVAL);
            }
            Err(error) => self.failed(REMOVAL, "Cannot remove old files", &error),
        }
        let Some(element) = self.element.upgrade() else { return };
        let mut fields = event.fields();
        fields.set("kind", kind);
        fields.set("path", path.to_string_lossy().as_ref());
        messages::post(&element, "candlesnapshot", event.times, &fields);
    }

    /// A picture or a clip is not written because too much waits; the first time, the text is a warning.
    pub fn dropped(&self, text: &str) {
        let is_first = {
            let mut counts = lock(&self.counts);
            counts.dropped += 1;
            !std::mem::replace(&mut counts.warned_of_drops, true)
        };
        if is_first {
            self.warn(gst::ResourceError::Busy, &format!("{text}; `stats` counts them"));
        }
    }

    /// Frames are missing in a clip, or would be; the first time, it is a warning.
    pub fn dropped_frames(&self, number: u64) {
        if number == 0 {
            return;
        }
        let is_first = {
            let mut counts = lock(&self.counts);
            counts.dropped_frames += number;
            !std::mem::replace(&mut counts.warned_of_frames, true)
        };
        if is_first {
            let text = "Frames are missing in clips: the clips' encoder or the disk is behind. Set a faster `clip-encoder`, or record \
                        fewer or smaller frames; `stats` counts them";
            self.warn(gst::ResourceError::Busy, text);
        }
    }

    /// Something of this kind could not be done; of failures in a row, the first is a warning.
    pub fn failed(&self, kind: &'static str, what: &str, error: &io::Error) {
        {
            let mut counts = lock(&self.counts);
            counts.failed += 1;
            if counts.failing.contains(&kind) {
                return;
            }
            counts.failing.push(kind);
        }
        let text = format!("{what}: {error}. The stream goes on; `stats` counts what fails from here");
        if error.kind() == io::ErrorKind::StorageFull {
            self.warn(gst::ResourceError::NoSpaceLeft, &text);
        } else {
            self.warn(gst::ResourceError::Write, &text);
        }
    }

    /// A clip that was asked for cannot be made.
    pub fn lost_clip(&self, reason: &str) {
        self.failed(ENCODER, "A clip is lost", &io::Error::other(reason));
    }

    /// Posts a warning; no lock is held.
    fn warn(&self, domain: impl gst::MessageErrorDomain, text: &str) {
        if let Some(element) = self.element.upgrade() {
            gst::element_warning!(element, domain, ("{text}"));
        }
    }
}

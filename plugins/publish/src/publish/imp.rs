//! What the element does.

use std::io;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;

use super::PublishMode;
use super::line::{Moment, Situation, line, truth};
use super::writer::LineWriter;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "candlepublish",
        gst::DebugColorFlags::empty(),
        Some("Results as lines of JSON"),
    )
});

/// Name of the meta that the candle elements leave on buffers.
const META: &str = "candle-result";

/// Locks; what a panicking holder left is whole, because each holder assigns whole values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Clone, Default)]
struct Settings {
    location: Option<String>,
    mode: PublishMode,
    append: bool,
}

impl Settings {
    /// The file, or `None` for standard output.
    fn file(&self) -> Option<&str> {
        self.location
            .as_deref()
            .filter(|location| !location.is_empty() && *location != "-")
    }
}

struct State {
    writer: LineWriter,
    /// Frames since the start.
    frames: u64,
    last: Option<Situation>,
}

/// Writes what `candleanomaly`, `candleclassify` and `candledenoise` found as lines of JSON to a file or to standard output, and lets every buffer pass.
///
/// `gst-launch-1.0 candletestsrc num-buffers=300 ! candleanomaly model-file=part.safetensors ! candlepublish location=events.jsonl ! fakesink`
///
/// Each line is one object with the fields below; those of an element that did not look at the frame are left out.
///
/// | field | content |
/// |---|---|
/// | `time` | stream time in seconds; null where the stream has none |
/// | `timestamp` | timestamp of the buffer in nanoseconds; null where it has none |
/// | `frame` | frames since the start, 0 for the first |
/// | `score`, `threshold` | the frame's score, and the least one that is anomalous |
/// | `anomalous` | the verdict on this frame alone |
/// | `state` | the alarm, after the minimum and hold durations |
/// | `stale` | whether the values are those of an earlier frame |
/// | `regions` | list of objects with `x`, `y`, `width`, `height` and `area` in pixels, and `score` |
/// | `label`, `confidence`, `known` | the label in force, its probability, and whether it is one of the model's |
/// | `noise_level`, `strength` | on frames that `candledenoise` denoised: the noise's standard deviation, 0..255, and the strength; no change of theirs makes a line |
/// | `truth` | from `candletestsrc`: list of whole parts with `index`, `defect`, and their `x`, `y`, `width`, `height` |
/// | `objects` | list of objects with `x`, `y`, `width`, `height`, `label`, `confidence`, `known`: regions classified one by one, if any |
///
/// A line is handed to the system as soon as the frame passes. If the disk fills up, the file ends with its last whole line and the
/// element posts an error that names the file.
#[derive(Default)]
pub struct CandlePublish {
    settings: Mutex<Settings>,
    state: Mutex<Option<State>>,
}

#[glib::object_subclass]
impl ObjectSubclass for CandlePublish {
    const NAME: &'static str = "GstCandlePublish";
    type Type = super::CandlePublish;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for CandlePublish {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            vec![
                glib::ParamSpecString::builder("location")
                    .nick("Location")
                    .blurb("File to write the lines to; \"-\" or nothing stands for standard output.")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecEnum::builder::<PublishMode>("mode")
                    .nick("Mode")
                    .blurb("Whether each frame with a result gets a line, or only those that change the alarm or the label.")
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoolean::builder("append")
                    .nick("Append")
                    .blurb("Whether lines go behind those already in the file; otherwise the file starts empty.")
                    .mutable_ready()
                    .build(),
            ]
        });
        PROPERTIES.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = lock(&self.settings);
        match pspec.name() {
            "location" => settings.location = value.get().expect("type checked upstream"),
            "mode" => settings.mode = value.get().expect("type checked upstream"),
            "append" => settings.append = value.get().expect("type checked upstream"),
            name => unreachable!("no property {name}"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = lock(&self.settings);
        match pspec.name() {
            "location" => settings.location.to_value(),
            "mode" => settings.mode.to_value(),
            "append" => settings.append.to_value(),
            name => unreachable!("no property {name}"),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.obj().set_passthrough(true);
    }
}

impl GstObjectImpl for CandlePublish {}

impl ElementImpl for CandlePublish {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Candle result publisher",
                "Generic",
                "Writes what the candle elements find as lines of JSON to a file or to standard output",
                "The gst-candle authors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            [("sink", gst::PadDirection::Sink), ("src", gst::PadDirection::Src)]
                .map(|(name, direction)| {
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &gst::Caps::new_any())
                        .expect("the template is valid")
                })
                .into()
        });
        TEMPLATES.as_ref()
    }
}

impl BaseTransformImpl for CandlePublish {
    const MODE: gst_base::subclass::BaseTransformMode = gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = true;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let writer = LineWriter::open(settings.file(), settings.append).map_err(|error| {
            gst::error_msg!(
                gst::ResourceError::OpenWrite,
                (
                    "Cannot open {} to write results: {error}",
                    settings.file().unwrap_or("standard output")
                )
            )
        })?;
        *lock(&self.state) = Some(State {
            writer,
            frames: 0,
            last: None,
        });
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.state) = None;
        Ok(())
    }

    fn transform_ip_passthrough(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let Err(error) = self.publish(buffer) else {
            return Ok(gst::FlowSuccess::Ok);
        };
        let settings = lock(&self.settings).clone();
        let file = settings.file().unwrap_or("standard output");
        if error.kind() == io::ErrorKind::StorageFull {
            gst::element_imp_error!(
                self,
                gst::ResourceError::NoSpaceLeft,
                ("No space left to write results to {file}")
            );
        } else {
            gst::element_imp_error!(
                self,
                gst::ResourceError::Write,
                ("Cannot write results to {file}: {error}")
            );
        }
        Err(gst::FlowError::Error)
    }
}

impl CandlePublish {
    /// Counts the frame, and writes its line if it has a result that the mode asks for.
    fn publish(&self, buffer: &gst::BufferRef) -> io::Result<()> {
        let mode = lock(&self.settings).mode;
        let segment = self.obj().segment();
        let mut state = lock(&self.state);
        let Some(state) = state.as_mut() else { return Ok(()) };
        let frame = state.frames;
        state.frames += 1;
        let Ok(meta) = gst::meta::CustomMeta::from_buffer(buffer, META) else {
            return Ok(());
        };
        let result = meta.structure();
        let situation = Situation::of(result);
        if mode == PublishMode::Change && (situation.is_empty() || state.last.as_ref() == Some(&situation)) {
            return Ok(());
        }
        gst::debug!(CAT, imp = self, "frame {frame}: {situation:?}");
        state.last = Some(situation);
        let stream_time = segment
            .downcast_ref::<gst::ClockTime>()
            .and_then(|segment| segment.to_stream_time(buffer.pts()));
        state.writer.write(&line(
            result,
            &truth(buffer),
            &Moment {
                stream_time,
                pts: buffer.pts(),
                frame,
            },
        ))
    }
}

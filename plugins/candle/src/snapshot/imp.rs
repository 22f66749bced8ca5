//! What the element does.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use gst::glib;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use gst_video::VideoInfo;

use super::clip;
use super::event::Watch;
use super::folder::Folder;
use super::picture::{self, Pictures};
use super::report::Report;
use super::ring::Backlog;
use super::settings::Settings;
use super::tape::{self, Tape};
use super::worker::Worker;
use crate::common::messages::Times;
use crate::common::settings::warn_if_late;
use crate::common::slot::Slot;
use crate::common::{frame, keep_every_frame, lock, starts_anew};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "candlesnapshot",
        gst::DebugColorFlags::empty(),
        Some("Pictures and clips of what was flagged"),
    )
});

/// How long the end of the stream waits for what is being written, and so a stop for both threads together.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the stream made.
struct State {
    info: Option<VideoInfo>,
    watch: Watch,
    /// Running time of the last frame of which a picture was made.
    last: Option<gst::ClockTime>,
    pictures: Pictures,
    /// Where there are clips.
    tape: Option<Tape>,
}

impl State {
    /// What comes has nothing to do with what came.
    fn cut(&mut self) {
        self.last = None;
        if let Some(tape) = &mut self.tape {
            tape.end();
        }
    }

    /// Whether enough time has passed since the last picture.
    fn is_due(&mut self, settings: &Settings, now: Option<gst::ClockTime>) -> bool {
        let is_due = match (self.last, now) {
            // Time went back: a seek.
            (Some(last), Some(now)) => now < last || now - last >= settings.min_interval,
            _ => true,
        };
        if is_due {
            self.last = now;
        }
        is_due
    }
}

/// Keeps what was flagged: on an alarm of `candleanomaly`, another label of `candleclassify` or a class that `candlesegment` did not find before, it
/// writes the frame as a picture, and if asked the seconds before and after as a clip, and lets every frame pass.
///
/// `gst-launch-1.0 candletestsrc is-live=true ! candleanomaly model-file=part.safetensors ! candleoverlay !
/// candlesnapshot location=flagged clip-before=2000000000 clip-after=3000000000 max-files=200 ! fakesink`
///
/// Put it behind `candleoverlay`, and pictures and clips show what that draws. It reads the `candle-result` meta. Files are named by the
/// time (UTC), the element's name, what happened, the label or class and the score, and appear when they are whole; a message `candlesnapshot`
/// with the `path` tells of each. `docs/snapshots.md` says more.
///
/// Encoding and writing happen in other threads. What they cannot follow is dropped and counted in `stats`, and what cannot be written
/// is a warning; the stream goes on. Its end and a stop wait until all is written, 15 seconds each at the most.
#[derive(Default)]
pub struct CandleSnapshot {
    settings: Arc<Mutex<Settings>>,
    state: Slot<State>,
    workers: Mutex<Vec<Worker>>,
    report: Mutex<Option<Arc<Report>>>,
}

impl CandleSnapshot {
    /// The counts of this start or of the last one.
    fn report(&self) -> Arc<Report> {
        let new = || Arc::new(Report::new(self.obj().downgrade(), self.settings.clone()));
        lock(&self.report).get_or_insert_with(new).clone()
    }

    /// Makes what the settings ask for; threads come last, so that an error leaves none.
    fn prepare(&self, settings: &Settings) -> Result<State, gst::ErrorMessage> {
        let location = settings.location.as_deref().filter(|location| !location.is_empty());
        let location = location.ok_or_else(|| {
            gst::error_msg!(
                gst::ResourceError::NotFound,
                ("No folder for pictures: set the property `location`")
            )
        })?;
        let folder = Folder::open(location, &self.obj().name()).map_err(|error| {
            gst::error_msg!(
                gst::ResourceError::OpenWrite,
                ("Cannot write to the folder {location}, which the property `location` names: {error}")
            )
        })?;
        picture::check(settings.format)
            .map_err(|reason| gst::error_msg!(gst::CoreError::MissingPlugin, ("{reason}")))?;
        if settings.has_clips() {
            tape::check(&settings.clip_encoder).map_err(|reason| {
                gst::error_msg!(
                    gst::ResourceError::Settings,
                    ("Clips cannot be encoded as the property `clip-encoder` says: {reason}")
                )
            })?;
        }
        let no_thread = |error| gst::error_msg!(gst::ResourceError::Failed, ("Cannot start a thread: {error}"));
        let report = self.report();
        let (pictures, worker) = Pictures::start(folder.clone(), report.clone()).map_err(no_thread)?;
        lock(&self.workers).push(worker);
        let mut tape = None;
        if settings.has_clips() {
            let backlog = Backlog::default();
            let (jobs, worker) = clip::start(folder, report.clone(), backlog.clone()).map_err(no_thread)?;
            lock(&self.workers).push(worker);
            tape = Some(Tape::new(settings.clone(), jobs, backlog, report));
        }
        Ok(State {
            info: None,
            watch: Watch::default(),
            last: None,
            pictures,
            tape,
        })
    }

    /// Looks at a frame, and hands it on to be written where it is to be kept.
    fn look(&self, state: &mut State, buffer: &gst::Buffer, times: Times) {
        let Some(info) = state.info.clone() else { return };
        // Nothing is known of what a gap's buffer stands for.
        if buffer.flags().contains(gst::BufferFlags::GAP) {
            return;
        }
        let settings = lock(&self.settings).clone();
        let event = state.watch.see(buffer, &settings, times);
        let event = event.filter(|event| state.is_due(&settings, event.times.running));
        if let Some(event) = &event {
            gst::debug!(CAT, imp = self, "{event:?}");
            self.report().event();
            state.pictures.take(buffer, &info, event, &settings);
        }
        if let Some(tape) = &mut state.tape {
            tape.frame(buffer, &info, times.running, event.as_ref(), settings.clip_max);
        }
    }
}

#[glib::object_subclass]
impl ObjectSubclass for CandleSnapshot {
    const NAME: &'static str = "GstCandleSnapshot";
    type Type = super::CandleSnapshot;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for CandleSnapshot {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(Settings::properties);
        &PROPERTIES
    }

    fn constructed(&self) {
        self.parent_constructed();
        keep_every_frame(&*self.obj());
        self.obj().set_passthrough(true);
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        warn_if_late(*CAT, &*self.obj(), pspec);
        lock(&self.settings).set(pspec.name(), value);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "stats" => self.report().to_structure().to_value(),
            name => lock(&self.settings).get(name),
        }
    }
}

impl GstObjectImpl for CandleSnapshot {}

impl ElementImpl for CandleSnapshot {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Snapshots of results",
                "Filter/Analyzer/Video",
                "Writes pictures and clips of what the candle elements flagged",
                "The gst-candle authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        frame::pad_templates()
    }

    fn change_state(&self, transition: gst::StateChange) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::PausedToReady {
            // The stop waits itself.
            self.report().pending.hurry(true);
        }
        self.parent_change_state(transition)
    }
}

impl BaseTransformImpl for CandleSnapshot {
    const MODE: gst_base::subclass::BaseTransformMode = gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = true;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        *lock(&self.report) = None;
        self.state.set(Some(self.prepare(&settings)?));
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        // The threads end when they have done what they were given.
        self.state.set(None);
        let workers = std::mem::take(&mut *lock(&self.workers));
        let deadline = Instant::now() + PATIENCE;
        for worker in workers {
            if !worker.join(deadline) {
                gst::warning!(
                    CAT,
                    imp = self,
                    "A file takes too long to be written; its thread is left alone"
                );
            }
        }
        Ok(())
    }

    fn accept_caps(&self, direction: gst::PadDirection, caps: &gst::Caps) -> bool {
        self.parent_accept_caps(direction, &frame::progressive_by_default(caps))
    }

    fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let info = VideoInfo::from_caps(incaps)?;
        self.state.change(|state| {
            if state.info.as_ref() != Some(&info) {
                state.cut();
                state.info = Some(info);
            }
        });
        Ok(())
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        let pending = &self.report().pending;
        if starts_anew(&event) {
            self.state.change(State::cut);
        }
        match event.type_() {
            gst::EventType::FlushStart => pending.hurry(true),
            gst::EventType::FlushStop => pending.hurry(false),
            gst::EventType::Eos => {
                self.state.change(State::cut);
                // Who stops at the end of the stream has heard of every file by then.
                pending.wait(PATIENCE);
            }
            _ => {}
        }
        self.parent_sink_event(event)
    }

    fn transform_ip_passthrough(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let times = Times::of(&*self.obj(), buffer);
        self.state.work(|state| self.look(state, buffer, times))?;
        Ok(gst::FlowSuccess::Ok)
    }
}

//! How `candledenoise` works.

use std::sync::{LazyLock, Mutex};
use std::time::Instant;

use gst::glib;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use gst_candle::exec::Session;
use gst_candle::model::{Model, Task};
use gst_candle::tasks::Denoiser;
use gst_video::VideoInfo;
use gst_video::subclass::prelude::*;

use super::settings::Settings;
use crate::common::engine::Worker;
use crate::common::live::Live;
use crate::common::messages::{self, Poster, Times};
use crate::common::pace::{Pace, Pacer};
use crate::common::reload::Reload;
use crate::common::result::{DenoiseResult, Kind};
use crate::common::settings::warn_if_late;
use crate::common::shared::Held;
use crate::common::slot::Slot;
use crate::common::{engine, failed, frame, lock, preset, starts_anew};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "candledenoise",
        gst::DebugColorFlags::empty(),
        Some("Denoising by a learned model"),
    )
});

impl Worker for Denoiser {
    const TASKS: &[Task] = &[Task::Denoise];
    type Settings = Settings;

    fn new(model: &Model, session: Session) -> gst_candle::Result<Self> {
        Self::with_session(model, session)
    }

    fn try_on(&mut self, buffer: &gst::BufferRef, info: &VideoInfo, settings: &Settings) -> gst_candle::Result<()> {
        let mut output = buffer
            .copy_deep()
            .map_err(|_| gst_candle::Error::Invalid("no memory for a frame".into()))?;
        let output = output.get_mut().expect("the copy is nobody else's");
        let (input, mut output) = (frame::map(buffer, info)?, frame::map_mut(output, info)?);
        let white = settings.common.gray16_white;
        self.process(
            &frame::frame(&input, white)?,
            &mut frame::frame_mut(&mut output, white)?,
            None,
            1.0,
        )?;
        self.reset();
        Ok(())
    }
}

/// What the stream made.
struct State {
    denoiser: Held<Denoiser>,
    info: Option<VideoInfo>,
    pacer: Pacer,
    poster: Poster,
    last: Option<DenoiseResult>,
    /// The noise level that counts as told.
    told: Option<f64>,
}

impl State {
    fn info(&self) -> Result<VideoInfo, gst::ErrorMessage> {
        self.info
            .clone()
            .ok_or_else(|| gst::error_msg!(gst::CoreError::Negotiation, ("No caps yet")))
    }

    fn reset(&mut self) {
        self.denoiser.reset();
        self.pacer = Pacer::default();
        self.last = None;
    }

    /// Whether the noise level has moved by a quarter, and by 1 at least, since it was told.
    fn level_changed(&mut self, level: f64) -> bool {
        let changed = self
            .told
            .is_none_or(|told| (level - told).abs() >= (told / 4.0).max(1.0));
        if changed {
            self.told = Some(level);
        }
        changed
    }
}

/// A result that is new.
struct Told {
    result: DenoiseResult,
    /// Whether it goes on the bus.
    due: bool,
}

/// The element's instance.
#[derive(Default)]
pub struct CandleDenoise {
    settings: Mutex<Settings>,
    state: Slot<State>,
    reload: Reload<Denoiser>,
    live: Live,
    /// What `last-noise-level` shows.
    last_noise_level: Mutex<Option<f64>>,
}

impl CandleDenoise {
    /// Goes over to a model that was loaded meanwhile.
    fn renew(&self, state: &mut State, settings: &Settings, frame: &gst::BufferRef) {
        let Some(info) = state.info.clone() else { return };
        let obj = self.obj();
        self.reload
            .renew(obj.upcast_ref(), frame, &info, settings, |denoiser, file| {
                let before = std::mem::replace(&mut state.denoiser, denoiser);
                state.reset();
                lock(&self.settings).common.model_file = Some(file);
                self.live.work_changes();
                before
            });
    }

    /// Writes the output frame, denoised if it is its turn, and attaches the result; returns what is to be told.
    fn work(
        &self,
        state: &mut State,
        settings: &Settings,
        times: Times,
        input: &gst::BufferRef,
        output: &mut gst::BufferRef,
    ) -> Result<Option<Told>, gst::ErrorMessage> {
        if input.flags().contains(gst::BufferFlags::DISCONT) {
            state.denoiser.reset();
        }
        let pace = if settings.strength == 0.0 {
            // What is remembered grows old meanwhile.
            state.denoiser.reset();
            Pace::Skip
        } else {
            state.pacer.decide(
                self.obj().upcast_ref(),
                &self.live,
                &settings.common,
                input,
                times.running,
            )
        };
        self.live.count(pace, state.last.is_some(), times.running);
        if pace == Pace::Infer {
            self.denoise(state, settings, input, output)?;
        } else {
            pass(state, input, output)?;
        }
        let Some(result) = state.last else {
            return Ok(None);
        };
        if settings.common.attach_meta {
            result.attach(output);
        }
        if result.stale {
            return Ok(None);
        }
        let changed = state.level_changed(result.noise_level);
        let due = state.poster.is_due(&settings.common, changed, times.running);
        Ok(Some(Told { result, due }))
    }

    /// Runs the model.
    fn denoise(
        &self,
        state: &mut State,
        settings: &Settings,
        input: &gst::BufferRef,
        output: &mut gst::BufferRef,
    ) -> Result<(), gst::ErrorMessage> {
        let info = state.info()?;
        let noise_level = (settings.noise_level >= 0.0).then_some(settings.noise_level);
        let begin = Instant::now();
        let level = engine::run(|| {
            let (input, mut output) = (frame::map(input, &info)?, frame::map_mut(output, &info)?);
            let white = settings.common.gray16_white;
            let (input, mut output) = (frame::frame(&input, white)?, frame::frame_mut(&mut output, white)?);
            state
                .denoiser
                .process(&input, &mut output, noise_level, settings.strength)
        });
        // What it was to remember may be half of this frame.
        let level = level.inspect_err(|_| state.denoiser.reset())?;
        self.live.record(begin.elapsed());
        let (noise_level, strength) = (f64::from(level), f64::from(settings.strength));
        state.last = Some(DenoiseResult {
            noise_level,
            strength,
            stale: false,
        });
        Ok(())
    }
}

/// Copies the frame as it is; the last result is an old one then.
fn pass(state: &mut State, input: &gst::BufferRef, output: &mut gst::BufferRef) -> Result<(), gst::ErrorMessage> {
    let info = state.info()?;
    engine::run(|| {
        let (input, mut output) = (frame::map(input, &info)?, frame::map_mut(output, &info)?);
        // A frame that is none must not be copied either.
        frame::frame(&input, 0)?;
        let copied = input.copy(&mut output);
        copied.map_err(|error| gst_candle::Error::Invalid(error.to_string()))
    })?;
    if let Some(last) = &mut state.last {
        last.stale = true;
    }
    Ok(())
}

#[glib::object_subclass]
impl ObjectSubclass for CandleDenoise {
    const NAME: &'static str = "GstCandleDenoise";
    type Type = super::CandleDenoise;
    type ParentType = gst_video::VideoFilter;
    type Interfaces = (gst::Preset,);

    fn class_init(class: &mut Self::Class) {
        preset::choose_properties::<Self>(class);
    }
}

impl ObjectImpl for CandleDenoise {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(Settings::properties);
        &PROPERTIES
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.obj().set_gap_aware(true);
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let obj = self.obj();
        warn_if_late(*CAT, &*obj, pspec);
        if self.live.set(pspec.name(), value) || self.reload.intercepts(obj.upcast_ref(), pspec.name(), value) {
            return;
        }
        lock(&self.settings).set(pspec.name(), value);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "last-noise-level" => lock(&self.last_noise_level)
                .map_or(-1.0, |level| level as f32)
                .to_value(),
            name => self
                .live
                .get(name)
                .or_else(|| lock(&self.settings).get(name))
                .expect("every property listed has a value"),
        }
    }
}

impl GstObjectImpl for CandleDenoise {}

impl PresetImpl for CandleDenoise {}

impl ElementImpl for CandleDenoise {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Learned denoiser",
                "Filter/Effect/Video",
                "Removes noise from video with a learned model",
                "The gst-candle authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        frame::pad_templates()
    }
}

impl BaseTransformImpl for CandleDenoise {
    const MODE: gst_base::subclass::BaseTransformMode = gst_base::subclass::BaseTransformMode::NeverInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let denoiser = self.reload.start(self.obj().upcast_ref(), &settings.common)?;
        self.live.start();
        *lock(&self.last_noise_level) = None;
        self.state.set(Some(State {
            denoiser,
            info: None,
            pacer: Pacer::default(),
            poster: Poster::default(),
            last: None,
            told: None,
        }));
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        self.state.set(None);
        if let Some(asked) = self.reload.stop() {
            lock(&self.settings).common.model_file = Some(asked);
        }
        Ok(())
    }

    fn accept_caps(&self, direction: gst::PadDirection, caps: &gst::Caps) -> bool {
        self.parent_accept_caps(direction, &frame::progressive_by_default(caps))
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        if starts_anew(&event) {
            self.state.change(State::reset);
            self.live.flush();
        }
        self.parent_sink_event(event)
    }

    fn src_event(&self, event: gst::Event) -> bool {
        let obj = self.obj();
        self.live
            .src_event(obj.upcast_ref(), event, |event| self.parent_src_event(event))
    }

    fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
        self.live.query(direction, query, |query| {
            BaseTransformImplExt::parent_query(self, direction, query)
        })
    }

    fn before_transform(&self, inbuf: &gst::BufferRef) {
        let obj = self.obj();
        if let Some(time) = Times::of(&*obj, inbuf).stream
            && let Err(error) = obj.sync_values(time)
        {
            gst::warning!(CAT, imp = self, "Cannot read the controlled properties: {error}");
        }
    }

    fn transform_meta<'a>(
        &self,
        _outbuf: &mut gst::BufferRef,
        _meta: gst::MetaRef<'a, gst::Meta>,
        _inbuf: &'a gst::BufferRef,
    ) -> bool {
        // Size, place and time of everything in the frame stay the same.
        true
    }

    fn transform(&self, inbuf: &gst::Buffer, outbuf: &mut gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
        let obj = self.obj();
        let settings = lock(&self.settings).clone();
        let times = Times::of(&*obj, inbuf);
        self.live.frame(obj.upcast_ref(), *CAT, times.running, || {
            let told = self
                .state
                .work(|state| {
                    self.renew(state, &settings, inbuf);
                    self.work(state, &settings, times, inbuf, outbuf)
                })?
                .map_err(|error| failed(&*obj, error))?;
            if let Some(Told { result, due }) = told {
                *lock(&self.last_noise_level) = Some(result.noise_level);
                obj.notify("last-noise-level");
                if due {
                    messages::post(&*obj, "candledenoise", times, &result.to_structure());
                }
            }
            Ok(gst::FlowSuccess::Ok)
        })
    }
}

impl VideoFilterImpl for CandleDenoise {
    fn set_info(
        &self,
        _incaps: &gst::Caps,
        in_info: &VideoInfo,
        _outcaps: &gst::Caps,
        _out_info: &VideoInfo,
    ) -> Result<(), gst::LoggableError> {
        self.state.change(|state| {
            state.reset();
            state.info = Some(in_info.clone());
        });
        self.live.work_changes();
        Ok(())
    }
}

//! How `candleanomaly` works.

use std::sync::{LazyLock, Mutex};
use std::time::Instant;

use gst::glib;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use gst_candle::score::decision::{AlarmSettings, AlarmState};
use gst_candle::score::drift::{Drift, Drifted};
use gst_video::VideoInfo;

use super::attach::attach;
#[cfg(feature = "analytics")]
use super::attach::relate;
use super::inspect::{Finding, Inspector};
use super::paint::paint;
use super::settings::{Output, Settings};
use crate::common::live::Live;
use crate::common::messages::{self, Poster, Times};
use crate::common::pace::{Pace, Pacer};
use crate::common::reload::Reload;
use crate::common::result::{AnomalyResult, Kind};
use crate::common::settings::warn_if_late;
use crate::common::shared::Held;
use crate::common::slot::Slot;
use crate::common::{engine, failed, frame, lock, preset, starts_anew};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "candleanomaly",
        gst::DebugColorFlags::empty(),
        Some("Inspection by a learned model"),
    )
});

/// What the stream made.
struct State {
    inspector: Held<Inspector>,
    info: Option<VideoInfo>,
    pacer: Pacer,
    poster: Poster,
    alarm: AlarmState,
    drift: Drift,
    /// The alarm as it was told last: the change that counts is the one from this, even over a reset.
    told: bool,
    last: Option<(Finding, AnomalyResult)>,
    /// The false-alarm rate that was looked at last, if one decided.
    rate: Option<f64>,
}

impl State {
    fn reset(&mut self) {
        self.alarm.reset();
        self.pacer = Pacer::default();
        self.inspector.reset();
        self.last = None;
    }
}

/// A result that is new.
struct Told {
    result: AnomalyResult,
    /// Whether the alarm went on or off.
    changed: bool,
    /// Whether it goes on the bus.
    due: bool,
}

/// What the read-only properties show.
#[derive(Default, Clone, Copy)]
struct Last {
    score: f64,
    anomalous: bool,
    alarm: bool,
}

/// The element's instance.
#[derive(Default)]
pub struct CandleAnomaly {
    settings: Mutex<Settings>,
    state: Slot<State>,
    reload: Reload<Inspector>,
    live: Live,
    last: Mutex<Last>,
}

impl CandleAnomaly {
    /// Goes over to a model that was loaded meanwhile.
    fn renew(&self, state: &mut State, settings: &Settings, frame: &gst::BufferRef) {
        let Some(info) = state.info.clone() else { return };
        let obj = self.obj();
        self.reload
            .renew(obj.upcast_ref(), frame, &info, settings, |inspector, file| {
                let before = std::mem::replace(&mut state.inspector, inspector);
                state.reset();
                state.drift.reset();
                state.rate = None;
                lock(&self.settings).common.model_file = Some(file);
                self.live.work_changes();
                before
            });
    }

    /// Inspects the frame if it is its turn, draws on it and attaches the result; returns what is to be told.
    fn work(
        &self,
        state: &mut State,
        settings: &Settings,
        times: Times,
        buffer: &mut gst::BufferRef,
    ) -> Result<Option<Told>, gst::ErrorMessage> {
        let info = state
            .info
            .clone()
            .ok_or_else(|| gst::error_msg!(gst::CoreError::Negotiation, ("No caps yet")))?;
        if buffer.flags().contains(gst::BufferFlags::DISCONT) {
            // Frames are missing before this one. All but a network that sees several goes by the frames there are and by their times: where a
            // live source or a leaky queue leaves some out again and again, no alarm would ever start otherwise.
            state.inspector.reset();
        }
        let pace = state.pacer.decide(
            self.obj().upcast_ref(),
            &self.live,
            &settings.common,
            buffer,
            times.running,
        );
        self.live.count(pace, state.last.is_some(), times.running);
        if pace == Pace::Infer {
            self.inspect(state, settings, &info, buffer, times.running)?;
        } else {
            self.look(state, settings, &info, buffer)?;
            if let Some((_, result)) = &mut state.last {
                result.stale = true;
            }
        }
        let Some((finding, result)) = &mut state.last else {
            return Ok(None);
        };
        // Also on a frame that was not inspected the output is as it is set now.
        result.size = settings.output.size([info.width() as i32, info.height() as i32]);
        if settings.output != Output::Passthrough {
            engine::run(|| {
                frame::draw(buffer, &info, settings.common.gray16_white, |frame| {
                    paint(settings.output, frame, finding)
                })
            })?;
        }
        if settings.common.attach_meta {
            let size = [info.width(), info.height()];
            attach(buffer, result, size);
            #[cfg(feature = "analytics")]
            relate(buffer, finding, result, size);
        }
        if result.stale {
            return Ok(None);
        }
        let changed = state.told != result.state;
        state.told = result.state;
        let due = state.poster.is_due(&settings.common, changed, times.running);
        Ok(Some(Told {
            result: result.clone(),
            changed,
            due,
        }))
    }

    /// Runs the model on the frame and decides.
    fn inspect(
        &self,
        state: &mut State,
        settings: &Settings,
        info: &VideoInfo,
        buffer: &gst::BufferRef,
        running_time: Option<gst::ClockTime>,
    ) -> Result<(), gst::ErrorMessage> {
        self.caution(state, settings);
        let begin = Instant::now();
        let finding = engine::run(|| {
            let mapped = frame::map(buffer, info)?;
            let frame = frame::frame(&mapped, settings.common.gray16_white)?;
            state.inspector.inspect(&frame, settings)
        })?;
        self.live.record(begin.elapsed());
        if !finding.inspection.judged {
            state.last = None;
            return Ok(());
        }
        let alarm = AlarmSettings {
            threshold: finding.threshold,
            release: settings.release(finding.threshold),
            min_frames: settings.min_frames as usize,
            of_frames: settings.of_frames as usize,
            min_duration_ns: settings.min_duration.nseconds(),
            hold_duration_ns: settings.hold_duration.nseconds(),
        };
        let time_ns = running_time.map_or(0, gst::ClockTime::nseconds);
        let (on, _) = state.alarm.update(&alarm, finding.counted, time_ns);
        if settings.roi.is_none() {
            self.watch(state, finding.inspection.score, settings.drift_window as usize);
        }
        let result = AnomalyResult {
            score: f64::from(finding.inspection.score),
            threshold: f64::from(finding.threshold),
            normalized: finding.normalized(),
            anomalous: finding.counted >= finding.threshold,
            state: on,
            stale: false,
            size: [info.width() as i32, info.height() as i32],
            regions: finding.regions.clone(),
            map: finding.heat_map(),
        };
        state.last = Some((finding, result));
        Ok(())
    }

    /// Lets a model that predicts see a frame that is not inspected, so that the next one can be.
    fn look(
        &self,
        state: &mut State,
        settings: &Settings,
        info: &VideoInfo,
        buffer: &gst::BufferRef,
    ) -> Result<(), gst::ErrorMessage> {
        // Nothing is known of what a gap's buffer stands for.
        if buffer.flags().contains(gst::BufferFlags::GAP) {
            state.inspector.reset();
            return Ok(());
        }
        if !state.inspector.predicts() {
            return Ok(());
        }
        engine::run(|| {
            let mapped = frame::map(buffer, info)?;
            let frame = frame::frame(&mapped, settings.common.gray16_white)?;
            state.inspector.look(&frame, settings)
        })?;
        Ok(())
    }

    /// Warns of a false-alarm rate that is new and that the model's calibration cannot show.
    fn caution(&self, state: &mut State, settings: &Settings) {
        let rate = settings.deciding_rate();
        if rate == state.rate {
            return;
        }
        state.rate = rate;
        if let Some(text) = rate.and_then(|rate| state.inspector.calibration().caution(rate)) {
            gst::element_imp_warning!(self, gst::ResourceError::Settings, ("{text}"));
        }
    }

    /// Warns when scores are no longer what they were at the calibration.
    fn watch(&self, state: &mut State, score: f32, window: usize) {
        let State { drift, inspector, .. } = state;
        if let Some(Drifted {
            median,
            band: [low, high],
        }) = drift.update(inspector.calibration(), score, window)
        {
            gst::element_imp_warning!(
                self,
                gst::StreamError::Failed,
                ("The scores have drifted: the median of the last {window} frames is {median:.4}, that of good frames lay \
                     between {low:.4} and {high:.4} at the calibration. Look at light, focus and the camera's place, or calibrate \
                     or train anew with frames as they are now")
            );
        }
    }

    /// Tells the result of the frame just inspected: properties, their signals, and the bus. No lock is held meanwhile.
    fn tell(&self, told: &Told, times: Times) {
        let result = &told.result;
        let now = Last {
            score: result.score,
            anomalous: result.anomalous,
            alarm: result.state,
        };
        let before = std::mem::replace(&mut *lock(&self.last), now);
        let obj = self.obj();
        obj.notify("last-score");
        if before.anomalous != now.anomalous {
            obj.notify("anomalous");
        }
        if before.alarm != now.alarm {
            obj.notify("alarm");
        }
        if told.due {
            let mut fields = result.to_structure();
            fields.set("state-changed", told.changed);
            messages::post(&*obj, "candleanomaly", times, &fields);
        }
    }
}

#[glib::object_subclass]
impl ObjectSubclass for CandleAnomaly {
    const NAME: &'static str = "GstCandleAnomaly";
    type Type = super::CandleAnomaly;
    type ParentType = gst_base::BaseTransform;
    type Interfaces = (gst::Preset,);

    fn class_init(class: &mut Self::Class) {
        preset::choose_properties::<Self>(class);
    }
}

impl ObjectImpl for CandleAnomaly {
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
        let set = lock(&self.settings).set(pspec.name(), value);
        // Before the start there may be nobody to hear it; the start fails with the same words.
        if let Err(reason) = set
            && obj.current_state() > gst::State::Ready
        {
            gst::element_imp_warning!(
                self,
                gst::ResourceError::Settings,
                ("{reason}; the region before stays in force")
            );
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "last-score" => lock(&self.last).score.to_value(),
            "anomalous" => lock(&self.last).anomalous.to_value(),
            "alarm" => lock(&self.last).alarm.to_value(),
            name => self
                .live
                .get(name)
                .or_else(|| lock(&self.settings).get(name))
                .expect("every property listed has a value"),
        }
    }
}

impl GstObjectImpl for CandleAnomaly {}

impl PresetImpl for CandleAnomaly {}

impl ElementImpl for CandleAnomaly {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Learned inspection",
                "Filter/Analyzer/Video",
                "Finds what does not look like the good frames a model was trained on",
                "The gst-candle authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        frame::pad_templates()
    }
}

impl BaseTransformImpl for CandleAnomaly {
    const MODE: gst_base::subclass::BaseTransformMode = gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        if let Err(reason) = settings.parse_roi() {
            return Err(gst::error_msg!(gst::ResourceError::Settings, ("{reason}")));
        }
        let inspector = self.reload.start(self.obj().upcast_ref(), &settings.common)?;
        self.live.start();
        *lock(&self.last) = Last::default();
        self.state.set(Some(State {
            inspector,
            info: None,
            pacer: Pacer::default(),
            poster: Poster::default(),
            alarm: AlarmState::default(),
            drift: Drift::default(),
            told: false,
            last: None,
            rate: None,
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

    fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let info = VideoInfo::from_caps(incaps)?;
        self.state.change(|state| {
            state.reset();
            state.drift.reset();
            state.info = Some(info);
        });
        self.live.work_changes();
        Ok(())
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

    fn transform_ip(&self, buffer: &mut gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
        let obj = self.obj();
        let settings = lock(&self.settings).clone();
        let times = Times::of(&*obj, buffer);
        self.live.frame(obj.upcast_ref(), *CAT, times.running, || {
            let told = self
                .state
                .work(|state| {
                    self.renew(state, &settings, buffer);
                    self.work(state, &settings, times, buffer)
                })?
                .map_err(|error| failed(&*obj, error))?;
            if let Some(told) = told {
                self.tell(&told, times);
            }
            Ok(gst::FlowSuccess::Ok)
        })
    }
}

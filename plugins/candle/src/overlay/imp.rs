//! What the element does.

use std::sync::{LazyLock, Mutex};
use std::time::Instant;

use gst::glib;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use gst_video::VideoFrameRef;
use gst_video::prelude::*;
use gst_video::subclass::prelude::*;

use super::draw::Canvas;
use super::findings::{Findings, Results};
use super::history::{Freshness, History};
use super::settings::Settings;
use crate::common::messages::Times;
use crate::common::stats::Meter;
use crate::common::{frame, keep_every_frame, lock, preset, starts_anew};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "candleoverlay",
        gst::DebugColorFlags::empty(),
        Some("What was found, drawn on the frame"),
    )
});

/// What the stream made.
#[derive(Default)]
struct State {
    /// `[width, height]` of the frames.
    size: [usize; 2],
    /// What there is to draw on the frame in work.
    findings: Findings,
    history: History,
    /// When `candleanomaly`, `candleclassify`, `candlesegment` and `candleembed` last had a result of their own.
    fresh: [Freshness; 4],
}

impl State {
    /// Forgets what came before.
    fn reset(&mut self) {
        *self = Self {
            size: self.size,
            ..Self::default()
        };
    }

    /// What there is to draw on the frame in `buffer`, which becomes a part of the history.
    fn findings(&mut self, buffer: &gst::BufferRef, settings: &Settings) -> Findings {
        let (results, time) = (Results::read(buffer), buffer.pts());
        if let (Some(anomaly), Some(time)) = (&results.anomaly, time) {
            let is_fresh = !anomaly.stale;
            self.history
                .push(time, anomaly.normalized, is_fresh, settings.history_duration);
        }
        let stale = [
            results.anomaly.as_ref().map(|result| result.stale),
            results.classify.as_ref().map(|result| result.stale),
            results.segment.as_ref().map(|result| result.stale),
            results.embed.as_ref().map(|result| result.stale),
        ];
        let mut fresh = self.fresh.iter_mut();
        let ages = stale.map(|stale| {
            fresh
                .next()
                .and_then(|fresh| Some(fresh.age(stale?, time)))
                .unwrap_or_default()
        });
        results.findings(buffer, settings.layers, self.size, ages)
    }
}

/// Draws on each frame what `candleanomaly`, `candleclassify`, `candlesegment` and `candleembed` found in it.
///
/// `gst-launch-1.0 candletestsrc is-live=true ! candledenoise model-file=models/denoise-testsrc.safetensors !
/// candleanomaly model-file=models/anomaly-testsrc.safetensors ! candleoverlay ! videoconvert ! autovideosink`
///
/// What is drawn are the `layers`: a heat map, which begins to show at six tenths of the threshold, so that normal parts stay clean; its legend,
/// with the threshold marked; the classes of pixels, each in a colour of its own with its border, and a list of them with the share of the frame
/// that each takes; a box around each other region, with its name and score or confidence; a bar with the label, the next probable ones and the
/// score against the threshold; a strip of the score over the last seconds, the threshold in its middle; and a frame, red (on grey frames white) with the word `ALARM` while
/// the alarm is on (`ALARM held` where it is kept up over a normal frame), dashed and amber with the word `anomalous` where a frame is anomalous and
/// the alarm is not on.
///
/// It reads the `candle-result` meta and the regions of interest, also those of other elements, which get a box with their type's name.
/// Boxes and maps follow when the frame was scaled in between. Sizes of text and lines follow the frame; what has no room is left out, first the
/// history, then the legend, the word and the bar. Results that were carried over to a frame that was not inferred are drawn as its own for up to a
/// second; older ones are told with their age, their boxes dashed, heat map and mask fainter. The history shows them fainter at once.
/// The history looks at the frames' timestamps; it begins anew after a flush, in a new segment and with new caps.
/// Frames on which nothing was found, and gaps, pass untouched and are not copied.
#[derive(Default)]
pub struct CandleOverlay {
    settings: Mutex<Settings>,
    state: Mutex<State>,
    /// Of the streaming thread alone.
    canvas: Mutex<Canvas>,
    meter: Meter,
}

impl CandleOverlay {
    /// The frame leaves.
    fn leave(&self, frame: &gst::BufferRef) {
        let obj = self.obj();
        let running_time = Times::of(&*obj, frame).running;
        self.meter
            .leave(obj.upcast_ref(), *CAT, running_time, || self.meter.to_structure());
    }
}

#[glib::object_subclass]
impl ObjectSubclass for CandleOverlay {
    const NAME: &'static str = "GstCandleOverlay";
    type Type = super::CandleOverlay;
    type ParentType = gst_video::VideoFilter;
    type Interfaces = (gst::Preset,);

    fn class_init(class: &mut Self::Class) {
        preset::choose_properties::<Self>(class);
    }
}

impl ObjectImpl for CandleOverlay {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let mut properties = Settings::properties();
            properties.extend(Meter::properties(Meter::DRAWING));
            properties
        });
        &PROPERTIES
    }

    fn constructed(&self) {
        self.parent_constructed();
        keep_every_frame(&*self.obj());
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if !self.meter.set(pspec.name(), value) {
            lock(&self.settings).set(pspec.name(), value);
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let stats = self.meter.get(pspec.name());
        stats.unwrap_or_else(|| lock(&self.settings).get(pspec.name()))
    }
}

impl GstObjectImpl for CandleOverlay {}

impl PresetImpl for CandleOverlay {}

impl ElementImpl for CandleOverlay {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Result overlay",
                "Filter/Editor/Video",
                "Draws labels, scores, heat maps, classes, regions and the score's history that the candle elements found",
                "The gst-candle authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        frame::pad_templates()
    }
}

impl BaseTransformImpl for CandleOverlay {
    const MODE: gst_base::subclass::BaseTransformMode = gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        self.meter.reset();
        Ok(())
    }

    fn accept_caps(&self, direction: gst::PadDirection, caps: &gst::Caps) -> bool {
        self.parent_accept_caps(direction, &frame::progressive_by_default(caps))
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        if starts_anew(&event) {
            lock(&self.state).reset();
        }
        self.parent_sink_event(event)
    }

    fn before_transform(&self, inbuf: &gst::BufferRef) {
        let settings = lock(&self.settings).clone();
        let findings = match inbuf.flags().contains(gst::BufferFlags::GAP) {
            true => Findings::default(),
            false => lock(&self.state).findings(inbuf, &settings),
        };
        self.meter.count();
        let nothing = findings.is_empty();
        self.obj().set_passthrough(nothing);
        lock(&self.state).findings = findings;
        if nothing {
            self.leave(inbuf);
        }
    }
}

impl VideoFilterImpl for CandleOverlay {
    fn set_info(
        &self,
        _incaps: &gst::Caps,
        in_info: &gst_video::VideoInfo,
        _outcaps: &gst::Caps,
        _out_info: &gst_video::VideoInfo,
    ) -> Result<(), gst::LoggableError> {
        let mut state = lock(&self.state);
        state.size = [in_info.width() as usize, in_info.height() as usize];
        state.reset();
        Ok(())
    }

    fn transform_frame_ip(
        &self,
        frame: &mut VideoFrameRef<&mut gst::BufferRef>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let begin = Instant::now();
        let settings = lock(&self.settings).clone();
        let (findings, history) = {
            let mut state = lock(&self.state);
            (std::mem::take(&mut state.findings), state.history.clone())
        };
        let mut view = frame::frame_mut(frame, settings.gray16_white).map_err(|error| {
            gst::element_imp_error!(self, gst::StreamError::Format, ("Cannot draw on the frame: {error}"));
            gst::FlowError::Error
        })?;
        let drawn = lock(&self.canvas).draw(&mut view, &findings, &settings, &history);
        if let Err(error) = drawn {
            gst::warning!(CAT, imp = self, "Cannot draw text: {error}");
        }
        self.meter.record(begin.elapsed());
        self.leave(frame.buffer());
        Ok(gst::FlowSuccess::Ok)
    }
}

//! What the element does.

use std::sync::{LazyLock, Mutex};

use gst::glib;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use gst_candle::pixels::heatmap::HeatColors;
use gst_video::VideoFrameRef;
use gst_video::subclass::prelude::*;

use super::draw::draw;
use super::findings::Findings;
use super::settings::Settings;
use crate::common::{frame, keep_every_frame, lock, preset};

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
    /// The opacity that the heat map's colours are for.
    colors: Option<(f64, HeatColors)>,
}

impl State {
    /// The heat map's colours with this opacity.
    fn colors(&mut self, opacity: f64) -> HeatColors {
        match &self.colors {
            Some((known, colors)) if *known == opacity => colors.clone(),
            _ => {
                let colors = HeatColors::new(opacity as f32);
                self.colors = Some((opacity, colors.clone()));
                colors
            }
        }
    }
}

/// Draws on each frame what `candleanomaly` and `candleclassify` found in it: a bar with the label, its confidence and the score,
/// the heat map, a box around each region, and a red frame while the alarm is on.
///
/// `gst-launch-1.0 candletestsrc is-live=true ! candleanomaly model-file=part.safetensors ! candleoverlay ! videoconvert ! autovideosink`
///
/// It reads the `candle-result` meta and the regions of interest, also those of other elements, which get a box with their type's name.
/// Boxes and maps follow when the frame was scaled in between. Sizes of text and lines follow the frame. The heat map begins to show at
/// six tenths of the threshold, so that normal parts stay clean. Frames on which nothing was found, and gaps, pass untouched and are not copied.
#[derive(Default)]
pub struct CandleOverlay {
    settings: Mutex<Settings>,
    state: Mutex<State>,
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
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(Settings::properties);
        &PROPERTIES
    }

    fn constructed(&self) {
        self.parent_constructed();
        keep_every_frame(&*self.obj());
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        lock(&self.settings).set(pspec.name(), value);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        lock(&self.settings).get(pspec.name())
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
                "Draws labels, scores, heat maps and regions that the candle elements found",
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

    fn accept_caps(&self, direction: gst::PadDirection, caps: &gst::Caps) -> bool {
        self.parent_accept_caps(direction, &frame::progressive_by_default(caps))
    }

    fn before_transform(&self, inbuf: &gst::BufferRef) {
        let settings = lock(&self.settings).clone();
        let size = lock(&self.state).size;
        let is_gap = inbuf.flags().contains(gst::BufferFlags::GAP);
        let findings = if is_gap {
            Findings::default()
        } else {
            Findings::read(inbuf, &settings, size)
        };
        self.obj().set_passthrough(findings.is_empty());
        lock(&self.state).findings = findings;
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
        lock(&self.state).size = [in_info.width() as usize, in_info.height() as usize];
        Ok(())
    }

    fn transform_frame_ip(
        &self,
        frame: &mut VideoFrameRef<&mut gst::BufferRef>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let settings = lock(&self.settings).clone();
        let (findings, colors) = {
            let mut state = lock(&self.state);
            (
                std::mem::take(&mut state.findings),
                state.colors(settings.heatmap_opacity),
            )
        };
        let mut view = frame::frame_mut(frame, settings.gray16_white).map_err(|error| {
            gst::element_imp_error!(self, gst::StreamError::Format, ("Cannot draw on the frame: {error}"));
            gst::FlowError::Error
        })?;
        if let Err(error) = draw(&mut view, &findings, &settings, &colors) {
            gst::warning!(CAT, imp = self, "Cannot draw text: {error}");
        }
        Ok(gst::FlowSuccess::Ok)
    }
}

//! How `candleclassify` works.

use std::sync::{LazyLock, Mutex};
use std::time::Instant;

use gst::glib;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use gst_video::{VideoInfo, VideoRegionOfInterestMeta};

use super::name::{Namer, surest};
use super::settings::{Regions, Settings};
#[cfg(feature = "analytics")]
use crate::common::analytics;
use crate::common::live::Live;
use crate::common::messages::{self, Poster, Times};
use crate::common::pace::{Pace, Pacer};
use crate::common::reload::Reload;
use crate::common::result::{ClassifyResult, Kind, LabelledRegion, Labels};
use crate::common::settings::warn_if_late;
use crate::common::shared::Held;
use crate::common::slot::Slot;
use crate::common::{engine, failed, frame, lock, preset, starts_anew};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "candleclassify",
        gst::DebugColorFlags::empty(),
        Some("Classification by a learned model"),
    )
});

/// What the stream made.
struct State {
    namer: Held<Namer>,
    info: Option<VideoInfo>,
    pacer: Pacer,
    poster: Poster,
    /// The labels as they were told last, the regions' in their order.
    told: Option<Vec<String>>,
    last: Option<ClassifyResult>,
}

impl State {
    fn reset(&mut self) {
        self.pacer = Pacer::default();
        self.namer.reset();
        self.last = None;
    }
}

/// A result that is new.
struct Told {
    result: ClassifyResult,
    /// Whether a label is another than before.
    changed: bool,
    /// Whether it goes on the bus.
    due: bool,
}

/// The element's instance.
#[derive(Default)]
pub struct CandleClassify {
    settings: Mutex<Settings>,
    state: Slot<State>,
    reload: Reload<Namer>,
    live: Live,
    /// What the read-only properties show.
    last: Mutex<Option<(String, f64)>>,
}

impl CandleClassify {
    /// Goes over to a model that was loaded meanwhile.
    fn renew(&self, state: &mut State, settings: &Settings, frame: &gst::BufferRef) {
        let Some(info) = state.info.clone() else { return };
        let obj = self.obj();
        self.reload
            .renew(obj.upcast_ref(), frame, &info, settings, |namer, file| {
                let before = std::mem::replace(&mut state.namer, namer);
                state.reset();
                lock(&self.settings).common.model_file = Some(file);
                self.live.work_changes();
                before
            });
    }

    /// Names what the frame shows if it is its turn, and attaches the result; returns what is to be told.
    fn work(
        &self,
        state: &mut State,
        settings: &Settings,
        times: Times,
        buffer: &mut gst::BufferRef,
    ) -> Result<Option<Told>, gst::ErrorMessage> {
        let pace = state.pacer.decide(
            self.obj().upcast_ref(),
            &self.live,
            &settings.common,
            buffer,
            times.running,
        );
        self.live.count(pace, state.last.is_some(), times.running);
        if pace != Pace::Infer {
            if let Some(last) = state.last.as_mut().filter(|_| settings.common.attach_meta) {
                last.stale = true;
                last.attach(buffer);
            }
            return Ok(None);
        }
        let result = self.name(state, settings, times, buffer)?;
        if settings.common.attach_meta {
            result.attach(buffer);
            #[cfg(feature = "analytics")]
            match settings.regions {
                Regions::Frame => analytics::add_labels(buffer, &result.labels, result.size),
                Regions::Metas => analytics::add_labelled_regions(buffer, &result.regions, result.size),
            }
        }
        let labels = match settings.regions {
            Regions::Frame => vec![result.labels.label.clone()],
            Regions::Metas => result
                .regions
                .iter()
                .map(|region| region.labels.label.clone())
                .collect(),
        };
        let changed = state.told.as_ref() != Some(&labels);
        state.told = Some(labels);
        state.last = Some(result.clone());
        let due = state.poster.is_due(&settings.common, changed, times.running);
        Ok(Some(Told { result, changed, due }))
    }

    /// Runs the model on the frame or on each of its regions, whose metas get the labels too.
    fn name(
        &self,
        state: &mut State,
        settings: &Settings,
        times: Times,
        buffer: &mut gst::BufferRef,
    ) -> Result<ClassifyResult, gst::ErrorMessage> {
        let State {
            namer,
            info: Some(info),
            ..
        } = state
        else {
            return Err(gst::error_msg!(gst::CoreError::Negotiation, ("No caps yet")));
        };
        let begin = Instant::now();
        let size = [info.width() as i32, info.height() as i32];
        let (labels, regions) = engine::run(|| {
            let mapped = frame::map(buffer, info)?;
            let frame = frame::frame(&mapped, settings.common.gray16_white)?;
            match settings.regions {
                Regions::Frame => {
                    let time_ns = times.running.map_or(0, gst::ClockTime::nseconds);
                    Ok((Some(namer.name_frame(&frame, settings, time_ns)?), Vec::new()))
                }
                Regions::Metas => {
                    let regions = region_metas(buffer);
                    #[cfg(feature = "analytics")]
                    let regions = analytics::with_objects(regions, buffer, size);
                    Ok((None, namer.name_regions(&frame, settings, &regions)?))
                }
            }
        })?;
        self.live.record(begin.elapsed());
        if settings.common.attach_meta {
            label_metas(buffer, &regions);
        }
        let regions: Vec<_> = regions.into_iter().flatten().collect();
        Ok(ClassifyResult {
            labels: labels.unwrap_or_else(|| surest(&regions)),
            stale: false,
            size,
            regions,
        })
    }

    /// Tells the result of the frame just named: properties, their signals, and the bus. No lock is held meanwhile.
    fn tell(&self, told: &Told, times: Times) {
        let Labels { label, confidence, .. } = &told.result.labels;
        let before = lock(&self.last).replace((label.clone(), *confidence));
        let obj = self.obj();
        obj.notify("confidence");
        if before.is_none_or(|(before, _)| before != *label) {
            obj.notify("label");
        }
        if told.due {
            let mut fields = told.result.to_structure();
            fields.set("state-changed", told.changed);
            messages::post(&*obj, "candleclassify", times, &fields);
        }
    }
}

/// The regions of interest on the buffer, the truth about it left out.
fn region_metas(buffer: &gst::BufferRef) -> Vec<[u32; 4]> {
    let metas = buffer.iter_meta::<VideoRegionOfInterestMeta>();
    metas
        .filter(|meta| meta.roi_type() != frame::TRUTH)
        .map(|meta| meta.rect().into())
        .collect()
}

/// Adds each region's labels to its meta, as the parameter `candle-classify`.
fn label_metas(buffer: &mut gst::BufferRef, regions: &[Option<LabelledRegion>]) {
    let metas = buffer.iter_meta_mut::<VideoRegionOfInterestMeta>();
    for (mut meta, region) in metas.filter(|meta| meta.roi_type() != frame::TRUTH).zip(regions) {
        if let Some(region) = region {
            let mut param = gst::Structure::new_empty("candle-classify");
            region.labels.write(&mut param);
            meta.add_param(param);
        }
    }
}

#[glib::object_subclass]
impl ObjectSubclass for CandleClassify {
    const NAME: &'static str = "GstCandleClassify";
    type Type = super::CandleClassify;
    type ParentType = gst_base::BaseTransform;
    type Interfaces = (gst::Preset,);

    fn class_init(class: &mut Self::Class) {
        preset::choose_properties::<Self>(class);
    }
}

impl ObjectImpl for CandleClassify {
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
            "label" => lock(&self.last).as_ref().map(|(label, _)| label.as_str()).to_value(),
            "confidence" => lock(&self.last)
                .as_ref()
                .map_or(0.0, |(_, confidence)| *confidence)
                .to_value(),
            name => self
                .live
                .get(name)
                .or_else(|| lock(&self.settings).get(name))
                .expect("every property listed has a value"),
        }
    }
}

impl GstObjectImpl for CandleClassify {}

impl PresetImpl for CandleClassify {}

impl ElementImpl for CandleClassify {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Learned classifier",
                "Filter/Analyzer/Video",
                "Names what a frame, or each region on it, shows, with a learned model",
                "The gst-candle authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        frame::pad_templates()
    }
}

impl BaseTransformImpl for CandleClassify {
    const MODE: gst_base::subclass::BaseTransformMode = gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let namer = self.reload.start(self.obj().upcast_ref(), &settings.common)?;
        self.live.start();
        *lock(&self.last) = None;
        self.state.set(Some(State {
            namer,
            info: None,
            pacer: Pacer::default(),
            poster: Poster::default(),
            told: None,
            last: None,
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

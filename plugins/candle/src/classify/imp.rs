//! How `candleclassify` works.

use std::sync::{LazyLock, Mutex};

use gst::glib;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use gst_video::VideoRegionOfInterestMeta;

use super::name::{Namer, of_frame};
use super::settings::{Regions, Settings};
#[cfg(feature = "analytics")]
use crate::common::analytics;
use crate::common::analyzer::{self, Analyze, Own, State, Told, analyzer};
use crate::common::messages::Times;
use crate::common::pace::Pace;
use crate::common::result::{ClassifyResult, Kind, LabelledRegion, Labels};
use crate::common::{frame, lock};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "candleclassify",
        gst::DebugColorFlags::empty(),
        Some("Classification by a learned model"),
    )
});

/// What the stream made.
#[derive(Default)]
pub struct Memory {
    /// The labels as they were told last, the regions' in their order.
    told: Option<Vec<String>>,
    last: Option<ClassifyResult>,
}

/// The element's instance.
#[derive(Default)]
pub struct CandleClassify {
    own: Own<Self>,
    /// What the read-only properties show.
    last: Mutex<Option<(String, f64)>>,
}

impl CandleClassify {
    /// Runs the model on the frame or on each of its regions, whose metas get the labels too.
    fn name(
        &self,
        state: &mut State<Self>,
        settings: &Settings,
        times: Times,
        buffer: &mut gst::BufferRef,
    ) -> Result<ClassifyResult, gst::ErrorMessage> {
        let info = state.info()?;
        let size = [info.width() as i32, info.height() as i32];
        let white = settings.common.gray16_white;
        let (labels, regions) = state.infer(self, buffer, white, |namer, frame| match settings.regions {
            Regions::Frame => {
                let time_ns = times.running.map_or(0, gst::ClockTime::nseconds);
                Ok((Some(namer.name_frame(frame, settings, time_ns)?), Vec::new()))
            }
            Regions::Metas => {
                let regions = region_metas(buffer);
                #[cfg(feature = "analytics")]
                let regions = analytics::with_objects(regions, buffer, size);
                Ok((None, namer.name_regions(frame, settings, &regions)?))
            }
        })?;
        if settings.common.attach_meta {
            label_metas(buffer, &regions);
        }
        let regions: Vec<_> = regions.into_iter().flatten().collect();
        Ok(ClassifyResult {
            labels: labels.unwrap_or_else(|| of_frame(&regions)),
            stale: false,
            size,
            regions,
        })
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

impl Analyze for CandleClassify {
    type Settings = Settings;
    type Worker = Namer;
    type Memory = Memory;
    type Result = ClassifyResult;

    fn category() -> gst::DebugCategory {
        *CAT
    }

    fn own(&self) -> &Own<Self> {
        &self.own
    }

    fn forget(namer: &mut Namer, memory: &mut Memory) {
        namer.reset();
        memory.last = None;
    }

    fn work(
        &self,
        state: &mut State<Self>,
        settings: &Settings,
        times: Times,
        buffer: &mut gst::BufferRef,
    ) -> Result<Option<Told<ClassifyResult>>, gst::ErrorMessage> {
        let is_result = state.memory.last.is_some();
        if state.pace(self, &settings.common, times, buffer, is_result) != Pace::Infer {
            let last = &mut state.memory.last;
            if let Some(last) = last.as_mut().filter(|_| settings.common.attach_meta) {
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
        let changed = state.memory.told.as_ref() != Some(&labels);
        state.memory.told = Some(labels);
        state.memory.last = Some(result.clone());
        let due = state.poster.is_due(&settings.common, changed, times.running);
        Ok(Some(Told { result, changed, due }))
    }

    fn show(&self, result: &ClassifyResult) {
        let Labels { label, confidence, .. } = &result.labels;
        let before = lock(&self.last).replace((label.clone(), *confidence));
        let obj = self.obj();
        obj.notify("confidence");
        if before.is_none_or(|(before, _)| before != *label) {
            obj.notify("label");
        }
    }

    fn shown(&self, name: &str) -> Option<glib::Value> {
        let last = lock(&self.last);
        match name {
            "label" => Some(last.as_ref().map(|(label, _)| label.as_str()).to_value()),
            "confidence" => Some(last.as_ref().map_or(0.0, |(_, confidence)| *confidence).to_value()),
            _ => None,
        }
    }

    fn show_nothing(&self) {
        *lock(&self.last) = None;
    }
}

analyzer!(
    CandleClassify,
    super::CandleClassify,
    "GstCandleClassify",
    [
        "Learned classifier",
        "Filter/Analyzer/Video",
        "Names what a frame, or each region on it, shows, with a learned model"
    ]
);

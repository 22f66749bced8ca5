//! How `candlesegment` works.

use std::sync::{LazyLock, Mutex};

use gst::glib;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use gst_candle::pixels::FrameMut;
use gst_candle::pixels::blend::premultiply;
use gst_candle::pixels::heatmap::ClassPainter;
use gst_video::VideoRegionOfInterestMeta;

use super::outline::Outliner;
use super::settings::{Output, Settings};
#[cfg(feature = "analytics")]
use crate::common::analytics;
use crate::common::analyzer::{self, Analyze, Own, State, Told, analyzer};
use crate::common::messages::Times;
use crate::common::pace::Pace;
use crate::common::result::{Kind, SegmentResult};
use crate::common::{engine, frame, lock};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "candlesegment",
        gst::DebugColorFlags::empty(),
        Some("Segmentation by a learned model"),
    )
});

/// Opacity of the classes over the frame.
const OPACITY: f32 = 0.5;

/// What the stream made.
#[derive(Default)]
pub struct Memory {
    /// The classes that were there when that was told last, sorted.
    told: Option<Vec<String>>,
    last: Option<SegmentResult>,
    painter: ClassPainter,
}

/// The element's instance.
#[derive(Default)]
pub struct CandleSegment {
    own: Own<Self>,
    /// What the read-only properties show: the largest class, and the share of all of them.
    last: Mutex<(Option<String>, f64)>,
}

/// Draws the classes on the frame, or instead of it.
fn paint(frame: &mut FrameMut<'_>, output: Output, result: &SegmentResult, painter: &mut ClassPainter) {
    let Ok(mask) = result.mask.map_readable() else { return };
    let opacity = match output {
        Output::Passthrough => return,
        Output::Overlay => OPACITY,
        Output::Mask => {
            frame.fill(0, 0, frame.width, frame.height, premultiply([0.0; 3], 1.0));
            1.0
        }
    };
    let size = result.size.map(|side| side as usize);
    painter.paint(frame, &mask, size, result.background, opacity);
}

impl Analyze for CandleSegment {
    type Settings = Settings;
    type Worker = Outliner;
    type Memory = Memory;
    type Result = SegmentResult;

    fn category() -> gst::DebugCategory {
        *CAT
    }

    fn own(&self) -> &Own<Self> {
        &self.own
    }

    fn forget(_outliner: &mut Outliner, memory: &mut Memory) {
        memory.last = None;
    }

    fn work(
        &self,
        state: &mut State<Self>,
        settings: &Settings,
        times: Times,
        buffer: &mut gst::BufferRef,
    ) -> Result<Option<Told<SegmentResult>>, gst::ErrorMessage> {
        let (info, white) = (state.info()?, settings.common.gray16_white);
        let is_result = state.memory.last.is_some();
        if state.pace(self, &settings.common, times, buffer, is_result) == Pace::Infer {
            let result = state.infer(self, buffer, white, |outliner, frame| outliner.outline(frame, settings))?;
            state.memory.last = Some(result);
        } else if let Some(last) = &mut state.memory.last {
            last.stale = true;
        }
        let Memory { told, last, painter } = &mut state.memory;
        let Some(result) = last else {
            return Ok(None);
        };
        // Also on a frame that was not segmented the output is as it is set now.
        if settings.output != Output::Passthrough {
            engine::run(|| {
                frame::draw(buffer, &info, white, |frame| {
                    paint(frame, settings.output, result, painter);
                })
            })?;
        }
        if settings.common.attach_meta {
            attach(buffer, result);
            #[cfg(feature = "analytics")]
            if !result.stale {
                analytics::add_segments(buffer, result);
            }
        }
        if result.stale {
            return Ok(None);
        }
        let mut found: Vec<String> = result.found().iter().map(|(label, _)| (*label).to_owned()).collect();
        found.sort_unstable();
        let changed = told.as_ref() != Some(&found);
        let result = result.clone();
        *told = Some(found);
        let due = state.poster.is_due(&settings.common, changed, times.running);
        Ok(Some(Told { result, changed, due }))
    }

    fn show(&self, result: &SegmentResult) {
        let (label, share) = result.label_and_share();
        let label = label.map(str::to_owned);
        let before = std::mem::replace(&mut *lock(&self.last), (label.clone(), share));
        let obj = self.obj();
        obj.notify("share");
        if before.0 != label {
            obj.notify("label");
        }
    }

    fn shown(&self, name: &str) -> Option<glib::Value> {
        let last = lock(&self.last);
        match name {
            "label" => Some(last.0.to_value()),
            "share" => Some(last.1.to_value()),
            _ => None,
        }
    }

    fn show_nothing(&self) {
        *lock(&self.last) = (None, 0.0);
    }
}

/// Attaches the result, and the regions where the frame itself was segmented.
fn attach(buffer: &mut gst::BufferRef, result: &SegmentResult) {
    result.attach(buffer);
    if result.stale {
        return;
    }
    for region in &result.regions {
        let [x, y, width, height] = region.rect.map(|n| n as u32);
        let mut meta = VideoRegionOfInterestMeta::add(buffer, "segment", (x, y, width, height));
        meta.add_param(region.to_structure("candle-region"));
    }
}

analyzer!(
    CandleSegment,
    super::CandleSegment,
    "GstCandleSegment",
    [
        "Learned segmentation",
        "Filter/Analyzer/Video",
        "Tells the class of each pixel, with a learned model"
    ]
);

//! From a frame to its labels.

use gst_candle::Result;
use gst_candle::exec::Session;
use gst_candle::model::{Color, Model, Task};
use gst_candle::pixels::{Frame, Image};
use gst_candle::score::decision::{LabelSettings, LabelState};
use gst_candle::tasks::Classifier;
use gst_video::VideoInfo;

use super::settings::Settings;
use crate::common::engine::Worker;
use crate::common::frame;
use crate::common::result::{LabelledRegion, Labels};

/// What is said where no label is sure enough.
const UNKNOWN: &str = "unknown";

/// A model at work.
pub struct Namer {
    classifier: Classifier,
    color: Color,
    state: LabelState,
}

impl Worker for Namer {
    const TASKS: &[Task] = &[Task::Classify];
    type Settings = Settings;

    fn new(model: &Model, session: Session) -> Result<Self> {
        Ok(Self {
            classifier: Classifier::with_session(model, session)?,
            color: model.input.color,
            state: LabelState::default(),
        })
    }

    fn try_on(&mut self, buffer: &gst::BufferRef, info: &VideoInfo, settings: &Settings) -> Result<()> {
        let mapped = frame::map(buffer, info)?;
        let frame = frame::frame(&mapped, settings.common.gray16_white)?;
        self.name_frame(&frame, settings, 0)?;
        self.reset();
        Ok(())
    }
}

impl Namer {
    /// Forgets the frames before.
    pub fn reset(&mut self) {
        self.state.reset();
    }

    /// Names the whole frame, in the light of those before.
    pub fn name_frame(&mut self, frame: &Frame<'_>, settings: &Settings, time_ns: u64) -> Result<Labels> {
        let probabilities = self.classifier.classify(&frame.to_image(self.color))?;
        let (smoothed, label, _) = self.state.update(&self.decision(settings), &probabilities, time_ns);
        Ok(self.labels(&smoothed, label, settings.top_k))
    }

    /// Names each region `[x, y, width, height]`, by itself; those that lie outside of the frame are left out, with
    /// their place in the list.
    pub fn name_regions(
        &mut self,
        frame: &Frame<'_>,
        settings: &Settings,
        regions: &[[u32; 4]],
    ) -> Result<Vec<Option<LabelledRegion>>> {
        if regions.is_empty() {
            return Ok(Vec::new());
        }
        let image = frame.to_image(self.color);
        regions
            .iter()
            .map(|&region| self.name_region(&image, settings, region))
            .collect()
    }

    fn name_region(&mut self, image: &Image, settings: &Settings, region: [u32; 4]) -> Result<Option<LabelledRegion>> {
        let [x, y, width, height] = region.map(|n| n as usize);
        let (x, y) = (x.min(image.width), y.min(image.height));
        let (width, height) = (width.min(image.width - x), height.min(image.height - y));
        if width == 0 || height == 0 {
            return Ok(None);
        }
        let probabilities = self.classifier.classify(&image.crop(x, y, width, height))?;
        let (smoothed, label, _) = LabelState::default().update(&self.decision(settings), &probabilities, 0);
        let labels = self.labels(&smoothed, label, settings.top_k);
        Ok(Some(LabelledRegion {
            rect: [x, y, width, height].map(|n| n as i32),
            labels,
        }))
    }

    fn decision(&self, settings: &Settings) -> LabelSettings {
        LabelSettings {
            smoothing: settings.smoothing,
            thresholds: match settings.threshold {
                model if model < 0.0 => self.classifier.calibration().thresholds.clone(),
                own => vec![own],
            },
            hold_duration_ns: settings.hold_duration.nseconds(),
        }
    }

    fn labels(&self, probabilities: &[f32], label: Option<usize>, top_k: u32) -> Labels {
        let names = self.classifier.labels();
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
        order.truncate(top_k as usize);
        let top: Vec<_> = order
            .iter()
            .map(|&i| (names[i].clone(), f64::from(probabilities[i])))
            .collect();
        Labels {
            label: label.map_or_else(|| UNKNOWN.to_owned(), |i| names[i].clone()),
            confidence: top.first().map_or(0.0, |(_, confidence)| *confidence),
            known: label.is_some(),
            top,
        }
    }
}

/// What stands for a frame of which only regions were named: the surest of them, or an empty label where there are none.
pub fn surest(regions: &[LabelledRegion]) -> Labels {
    let surest = regions
        .iter()
        .max_by(|a, b| a.labels.confidence.total_cmp(&b.labels.confidence));
    surest.map_or_else(
        || Labels {
            label: String::new(),
            confidence: 0.0,
            known: false,
            top: Vec::new(),
        },
        |region| region.labels.clone(),
    )
}

//! From a frame to its labels.

use gst_candle::Result;
use gst_candle::exec::Session;
use gst_candle::model::{Model, Task};
use gst_candle::pixels::{Frame, Image, Scene};
use gst_candle::score::decision::{LabelSettings, LabelState};
use gst_candle::score::labels::{UNKNOWN, standing};
use gst_candle::score::regions;
use gst_candle::tasks::{Classifier, Named};
use gst_video::VideoInfo;

use super::settings::Settings;
use crate::common::engine::Worker;
use crate::common::frame;
use crate::common::result::{LabelledRegion, Labels};

/// Standard deviation of the noise that pictures may have without being of another scene, of full scale: on a flat part nothing else changes.
const NOISE: f32 = 0.03;

/// A model at work.
pub struct Namer {
    classifier: Classifier,
    scene: Scene,
    state: LabelState,
}

impl Worker for Namer {
    const TASKS: &[Task] = &[Task::Classify];
    type Settings = Settings;

    fn new(model: &Model, session: Session) -> Result<Self> {
        Ok(Self {
            classifier: Classifier::with_session(model, session)?,
            scene: Scene::default(),
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
        self.scene.forget();
    }

    /// Names the whole frame, in the light of those before it in its scene.
    pub fn name_frame(&mut self, frame: &Frame<'_>, settings: &Settings, time_ns: u64) -> Result<Labels> {
        let picture = self.classifier.fit_frame(frame, [0, 0, frame.width, frame.height]);
        if self.scene.is_cut(&picture, NOISE) {
            self.state.reset();
        }
        let named = self.classifier.classify(&[picture])?.swap_remove(0);
        let decision = self.decision(settings);
        let (smoothed, label, _) = self
            .state
            .update(&decision, &named.probabilities, distance(&named), time_ns);
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
        let size = [frame.width, frame.height];
        let inside = regions.iter().map(|region| {
            let region = region.map(|n| n as usize);
            let context = settings.region_context as usize;
            Some((regions::seen(region, 0, size)?, regions::seen(region, context, size)?))
        });
        let inside: Vec<Option<([usize; 4], [usize; 4])>> = inside.collect();
        let parts = inside.iter().flatten();
        let pictures: Vec<Image> = parts.map(|(_, part)| self.classifier.fit_frame(frame, *part)).collect();
        let mut all = self.classifier.classify(&pictures)?.into_iter();
        let decision = self.decision(settings);
        let mut label = |region: [usize; 4]| {
            let named = all.next()?;
            let mut alone = LabelState::default();
            let (smoothed, label, _) = alone.update(&decision, &named.probabilities, distance(&named), 0);
            Some(LabelledRegion {
                rect: region.map(|n| n as i32),
                labels: self.labels(&smoothed, label, settings.top_k),
            })
        };
        Ok(inside.into_iter().map(|inside| label(inside?.0)).collect())
    }

    fn decision(&self, settings: &Settings) -> LabelSettings {
        LabelSettings {
            smoothing: settings.smoothing,
            thresholds: match settings.threshold {
                model if model < 0.0 => self.classifier.calibration().thresholds.clone(),
                own => vec![own],
            },
            distance: match (settings.threshold, &self.classifier.calibration().codes) {
                (model, Some(codes)) if model < 0.0 => codes.distance,
                _ => f32::INFINITY,
            },
            leave: 1.0 - settings.hysteresis,
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

/// From what the model knows; 0 where it keeps no codes.
fn distance(named: &Named) -> f32 {
    named.distance.unwrap_or(0.0)
}

/// What stands for a frame of which only regions were named; an empty label where there are none.
pub fn of_frame(regions: &[LabelledRegion]) -> Labels {
    let names = regions
        .iter()
        .map(|region| (region.labels.label.as_str(), region.labels.confidence));
    standing(names).map_or_else(
        || Labels {
            label: String::new(),
            confidence: 0.0,
            known: false,
            top: Vec::new(),
        },
        |i| regions[i].labels.clone(),
    )
}

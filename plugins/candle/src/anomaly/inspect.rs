//! From a frame to what is wrong with it.

use gst_candle::exec::Session;
use gst_candle::model::{AnomalyCalibration, Model, Task};
use gst_candle::pixels::{Frame, Image};
use gst_candle::score::readable::Readable;
use gst_candle::score::regions;
use gst_candle::tasks::{AnomalyDetector, Inspection};
use gst_candle::{Error, Result};
use gst_video::VideoInfo;

use super::settings::{Rect, Settings};
use crate::common::engine::Worker;
use crate::common::frame;
use crate::common::result::{HeatMap, MAX_REGIONS, Region};

/// A model at work.
pub struct Inspector {
    detector: AnomalyDetector,
    /// The part of the frame looked at last.
    part: [usize; 4],
}

/// What it finds in one frame.
pub struct Finding {
    pub inspection: Inspection,
    /// The part of the frame that was inspected.
    pub roi: Rect,
    /// Least raw score that is anomalous.
    pub threshold: f32,
    /// The score that counts: no more than what regions that are large enough reach.
    pub counted: f32,
    /// The worst 64, worst first, in the frame's pixels; none in a frame that is not anomalous.
    pub regions: Vec<Region>,
    /// How map values are shown.
    heat: Readable,
    /// How the score is told.
    scale: Readable,
}

impl Worker for Inspector {
    const TASKS: &[Task] = &[Task::Anomaly, Task::Predict];
    type Settings = Settings;

    fn new(model: &Model, session: Session) -> Result<Self> {
        Ok(Self {
            detector: AnomalyDetector::with_session(model, session)?,
            part: [0; 4],
        })
    }

    fn try_on(&mut self, buffer: &gst::BufferRef, info: &VideoInfo, settings: &Settings) -> Result<()> {
        let mapped = frame::map(buffer, info)?;
        let frame = frame::frame(&mapped, settings.common.gray16_white)?;
        // A model that predicts judges none before it has seen enough.
        for _ in 0..=self.detector.frames_before() {
            self.inspect(&frame, settings)?;
        }
        self.reset();
        Ok(())
    }
}

impl Inspector {
    /// What the model's decisions rest on.
    pub fn calibration(&self) -> &AnomalyCalibration {
        self.detector.calibration()
    }

    /// Whether the model judges frames by those before them.
    pub fn predicts(&self) -> bool {
        self.detector.predicts()
    }

    /// Forgets the frames before.
    pub fn reset(&mut self) {
        self.detector.reset();
    }

    /// Sees `frame` without judging it.
    pub fn look(&mut self, frame: &Frame<'_>, settings: &Settings) -> Result<()> {
        let part = self.turn_to(region_of_interest(settings.roi, [frame.width, frame.height])?);
        self.detector.watch_frame(frame, part);
        Ok(())
    }

    /// The part to look at, `[x, y, width, height]`; what was seen of another one is forgotten.
    fn turn_to(&mut self, roi: Rect) -> [usize; 4] {
        let part = [roi.x, roi.y, roi.width, roi.height];
        if std::mem::replace(&mut self.part, part) != part {
            self.detector.reset();
        }
        part
    }

    /// Inspects `frame`, or the part of it that `settings` name.
    pub fn inspect(&mut self, frame: &Frame<'_>, settings: &Settings) -> Result<Finding> {
        let roi = region_of_interest(settings.roi, [frame.width, frame.height])?;
        let part = self.turn_to(roi);
        let inspection = self.detector.inspect_frame(frame, part)?;
        let calibration = self.calibration();
        let threshold = settings.threshold(calibration);
        let pixel_threshold = calibration.pixel_threshold.min(threshold);
        let mut finding = Finding {
            counted: inspection.score,
            inspection,
            roi,
            threshold,
            regions: Vec::new(),
            heat: Readable::new(calibration.map, calibration.pixel_threshold),
            scale: Readable::new(calibration.map, threshold),
        };
        let release = settings.release(threshold);
        if finding.counted >= release {
            finding.find_regions(
                pixel_threshold,
                release.min(pixel_threshold),
                settings.min_area as usize,
            );
        }
        Ok(finding)
    }
}

fn region_of_interest(roi: Option<Rect>, size: [usize; 2]) -> Result<Rect> {
    let [width, height] = size;
    let whole = Rect {
        x: 0,
        y: 0,
        width,
        height,
    };
    roi.unwrap_or(whole).within(size).ok_or_else(|| {
        Error::Invalid(format!(
            "the property `roi` names a region that lies outside of the frame of {width}x{height} pixels"
        ))
    })
}

impl Finding {
    /// Regions at or above `pixel_threshold` of at least `min_area` pixels, of an anomalous frame. Where a least area is set and none is so
    /// large, the frame is not anomalous; whether it keeps an alarm up, is what there is at `release` and above.
    fn find_regions(&mut self, pixel_threshold: f32, release: f32, min_area: usize) {
        let anomalous = self.inspection.score >= self.threshold;
        if !anomalous && min_area <= 1 {
            return;
        }
        let map = self.inspection.frame_map();
        let [dx, dy] = [self.roi.x, self.roi.y];
        if anomalous {
            self.regions = regions::find(&map, pixel_threshold, min_area)
                .iter()
                .take(MAX_REGIONS)
                .map(|region| Region {
                    rect: [region.x + dx, region.y + dy, region.width, region.height].map(|n| n as i32),
                    area: region.area as i32,
                    score: f64::from(region.score),
                })
                .collect();
        }
        if min_area > 1 && self.regions.is_empty() {
            self.counted = match regions::find(&map, release, min_area).is_empty() {
                true => 0.0,
                false => self.counted.min(self.threshold.next_down()),
            };
        }
    }

    /// The map as the result's readers take it.
    pub fn heat_map(&self) -> HeatMap {
        let (codes, size, covers) = self.heat_codes();
        HeatMap {
            data: gst::Buffer::from_slice(codes),
            size: size.map(|side| side as i32),
            covers,
        }
    }

    /// One byte a map pixel, the map's `[width, height]`, and the `[x, y, width, height]` of the frame that it covers.
    pub fn heat_codes(&self) -> (Vec<u8>, [usize; 2], [f64; 4]) {
        let Inspection { map, placement, .. } = &self.inspection;
        let axes = [(0, map.width, self.roi.x), (1, map.height, self.roi.y)].map(|(axis, length, origin)| {
            let (scale, offset) = (placement.scale[axis], placement.offset[axis]);
            // What lies in a letterbox's borders is not the frame's.
            let fineness = placement.input[axis] as f64 / length as f64;
            let inside = move |i: usize| {
                let at = (i as f64 + 0.5) * fineness - offset;
                (0.0..=placement.frame[axis] as f64 * scale).contains(&at)
            };
            (
                inside,
                origin as f64 - offset / scale,
                placement.input[axis] as f64 / scale,
            )
        });
        let [(inside_x, x, width), (inside_y, y, height)] = axes;
        let code = |(i, value): (usize, &f32)| match inside_x(i % map.width) && inside_y(i / map.width) {
            true => self.heat.code(*value),
            false => 0,
        };
        let codes = map.data.iter().enumerate().map(code).collect();
        (codes, [map.width, map.height], [x, y, width, height])
    }

    /// The score between 0 and 1, 0.5 at the threshold.
    pub fn normalized(&self) -> f64 {
        self.scale.score(self.inspection.score)
    }

    /// How hot a region is, between 0 and 1, 0.5 at the pixel threshold.
    #[cfg(feature = "analytics")]
    pub fn confidence(&self, region: &Region) -> f64 {
        self.heat.score(region.score as f32)
    }

    /// The reconstruction at the size of the inspected part.
    pub fn reconstruction(&self) -> Image {
        self.inspection.placement.restore(&self.inspection.reconstruction)
    }
}

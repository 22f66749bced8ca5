//! From a frame to what is wrong with it.

use gst_candle::exec::Options;
use gst_candle::model::{Color, Model};
use gst_candle::pixels::{Frame, Image};
use gst_candle::score::regions;
use gst_candle::tasks::{AnomalyDetector, Inspection};
use gst_candle::{Error, Result};

use super::settings::{Rect, Settings};
use crate::common::result::{HeatMap, Region};

/// A model at work.
pub struct Inspector {
    detector: AnomalyDetector,
    color: Color,
}

/// What it finds in one frame.
pub struct Finding {
    pub inspection: Inspection,
    /// The part of the frame that was inspected.
    pub roi: Rect,
    /// Least raw score that is anomalous.
    pub threshold: f32,
    /// The score that counts: 0 where no region is large enough.
    pub counted: f32,
    /// Worst first, in the frame's pixels; none in a frame that is not anomalous.
    pub regions: Vec<Region>,
    /// Map value at the top of the heat map's scale.
    pub full_scale: f32,
}

impl Inspector {
    /// Makes a model ready to run.
    pub fn new(model: &Model, options: &Options) -> Result<Self> {
        Ok(Self {
            detector: AnomalyDetector::new(model, options)?,
            color: model.input.color,
        })
    }

    /// Inspects `frame`, or the part of it that `settings` name.
    pub fn inspect(&mut self, frame: &Frame<'_>, settings: &Settings) -> Result<Finding> {
        let roi = region_of_interest(settings.roi, [frame.width, frame.height])?;
        let image = frame.to_image(self.color);
        let inspection = match (roi.width, roi.height) == (frame.width, frame.height) {
            true => self.detector.inspect(&image)?,
            false => self
                .detector
                .inspect(&image.crop(roi.x, roi.y, roi.width, roi.height))?,
        };
        let calibration = self.detector.calibration();
        let threshold = settings.threshold(calibration);
        let pixel_threshold = calibration.pixel_threshold.min(threshold);
        let mut finding = Finding {
            counted: inspection.score,
            inspection,
            roi,
            threshold,
            regions: Vec::new(),
            full_scale: (2.0 * calibration.pixel_threshold).max(f32::MIN_POSITIVE),
        };
        if finding.inspection.score >= threshold {
            finding.find_regions(pixel_threshold, settings.min_area as usize);
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
    /// Regions at or above `pixel_threshold` of at least `min_area` pixels; without any the frame does not count,
    /// where a least area is set.
    fn find_regions(&mut self, pixel_threshold: f32, min_area: usize) {
        let map = self.inspection.frame_map();
        let [dx, dy] = [self.roi.x, self.roi.y];
        self.regions = regions::find(&map, pixel_threshold, min_area)
            .iter()
            .map(|region| Region {
                rect: [region.x + dx, region.y + dy, region.width, region.height].map(|n| n as i32),
                area: region.area as i32,
                score: f64::from(region.score),
            })
            .collect();
        if min_area > 1 && self.regions.is_empty() {
            self.counted = 0.0;
        }
    }

    /// The map as the result's readers take it.
    pub fn heat_map(&self) -> HeatMap {
        let Inspection { map, placement, .. } = &self.inspection;
        let bytes: Vec<u8> = map
            .data
            .iter()
            .map(|value| (255.0 * value / self.full_scale) as u8)
            .collect();
        let covers = |axis: usize, origin: usize| {
            (
                origin as f64 - placement.offset[axis] / placement.scale[axis],
                placement.input[axis] as f64 / placement.scale[axis],
            )
        };
        let ((x, width), (y, height)) = (covers(0, self.roi.x), covers(1, self.roi.y));
        HeatMap {
            data: gst::Buffer::from_slice(bytes),
            size: [map.width as i32, map.height as i32],
            covers: [x, y, width, height],
        }
    }

    /// The score between 0 and 1, 0.5 at the threshold: score / (score + threshold).
    pub fn normalized(&self) -> f64 {
        let (score, threshold) = (f64::from(self.inspection.score.max(0.0)), f64::from(self.threshold));
        if threshold > 0.0 {
            score / (score + threshold)
        } else {
            0.5 + 0.5 * score / (score + 1.0)
        }
    }

    /// The reconstruction at the size of the inspected part.
    pub fn reconstruction(&self) -> Image {
        self.inspection.placement.restore(&self.inspection.reconstruction)
    }
}

//! From a frame to the classes of its pixels.

use gst_candle::Result;
use gst_candle::exec::Session;
use gst_candle::model::{Model, Task};
use gst_candle::pixels::Frame;
use gst_candle::score::regions::Region;
use gst_candle::tasks::Segmenter;
use gst_video::VideoInfo;

use super::settings::Settings;
use crate::common::engine::Worker;
use crate::common::frame;
use crate::common::result::{ClassRegion, MAX_REGIONS, SegmentResult};

/// A model at work.
pub struct Outliner {
    segmenter: Segmenter,
}

impl Worker for Outliner {
    const TASKS: &[Task] = &[Task::Segment];
    type Settings = Settings;

    fn new(model: &Model, session: Session) -> Result<Self> {
        Ok(Self {
            segmenter: Segmenter::with_session(model, session)?,
        })
    }

    fn try_on(&mut self, buffer: &gst::BufferRef, info: &VideoInfo, settings: &Settings) -> Result<()> {
        let mapped = frame::map(buffer, info)?;
        let frame = frame::frame(&mapped, settings.common.gray16_white)?;
        self.outline(&frame, settings)?;
        Ok(())
    }
}

impl Outliner {
    /// The classes of the frame's pixels, and their regions.
    pub fn outline(&mut self, frame: &Frame<'_>, settings: &Settings) -> Result<SegmentResult> {
        let segmentation = self.segmenter.segment_frame(frame, [0, 0, frame.width, frame.height])?;
        let found = self
            .segmenter
            .segments(&segmentation, settings.threshold, settings.min_area as usize);
        let labels = self.segmenter.labels();
        let region = |(class, region): &(usize, Region)| ClassRegion {
            rect: [region.x, region.y, region.width, region.height].map(|n| n as i32),
            area: region.area as i32,
            label: labels[*class].clone(),
        };
        Ok(SegmentResult {
            labels: labels.to_vec(),
            shares: found.shares,
            background: self.segmenter.background(),
            stale: false,
            size: found.size.map(|side| side as i32),
            regions: found.regions.iter().take(MAX_REGIONS).map(region).collect(),
            mask: gst::Buffer::from_slice(found.mask),
        })
    }
}

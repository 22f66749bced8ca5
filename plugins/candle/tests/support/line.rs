//! Pipelines that end in an appsink.

use gst::prelude::*;
use gst_video::VideoInfo;

use super::{component, init};

const WAIT: gst::ClockTime = gst::ClockTime::from_seconds(20);

/// A pipeline that ends in an appsink; stops when dropped.
pub struct Line {
    pub pipeline: gst::Pipeline,
    pub sink: gst_app::AppSink,
}

impl Line {
    pub fn new(launch: &str) -> Self {
        init();
        let launch = format!("{launch} ! appsink name=out sync=false max-buffers=2");
        let pipeline = gst::parse::launch(&launch)
            .unwrap()
            .downcast::<gst::Pipeline>()
            .unwrap();
        let sink = pipeline.by_name("out").unwrap().downcast().unwrap();
        Self { pipeline, sink }
    }

    pub fn playing(launch: &str) -> Self {
        let line = Self::new(launch);
        line.pipeline.set_state(gst::State::Playing).unwrap();
        line
    }

    pub fn paused(launch: &str) -> Self {
        let line = Self::new(launch);
        line.pipeline.set_state(gst::State::Paused).unwrap();
        line.sink.try_pull_preroll(WAIT).unwrap();
        line
    }

    /// The next sample; `None` at the end of the stream.
    pub fn pull(&self) -> Option<gst::Sample> {
        let sample = self.sink.try_pull_sample(WAIT);
        let error = || self.pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error]);
        assert!(sample.is_some() || self.sink.is_eos(), "no frame comes: {:?}", error());
        sample
    }

    pub fn rest(&self) -> Vec<gst::Sample> {
        std::iter::from_fn(|| self.pull()).collect()
    }

    pub fn all(launch: &str) -> Vec<gst::Sample> {
        Self::playing(launch).rest()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }
}

/// The layout of a sample's frame.
pub fn info(sample: &gst::Sample) -> VideoInfo {
    VideoInfo::from_caps(sample.caps().unwrap()).unwrap()
}

/// The values of every component but alpha.
pub fn values(sample: &gst::Sample) -> Vec<Vec<u32>> {
    let info = info(sample);
    let components = if info.is_gray() { 1 } else { 3 };
    (0..components)
        .map(|c| component(sample.buffer().unwrap(), &info, c))
        .collect()
}

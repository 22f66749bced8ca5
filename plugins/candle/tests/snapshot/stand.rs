//! The element between a source of made-up results and a sink, and readers of what it writes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_video::VideoInfo;
use tempfile::TempDir;

use crate::support::{caps_of, grey, info_of, init};

const WAIT: gst::ClockTime = gst::ClockTime::from_seconds(60);

/// Ten frames a second.
pub const CAPS: &str = "format=GRAY8,width=64,height=48";

/// What a frame's result says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Says<'a> {
    /// The alarm, and whether the frame itself is anomalous.
    pub alarm: Option<bool>,
    pub label: Option<&'a str>,
    /// Of a mask, each a quarter of the frame.
    pub classes: &'a [&'a str],
}

pub const QUIET: Says = Says {
    alarm: Some(false),
    label: None,
    classes: &[],
};
pub const ALARM: Says = Says {
    alarm: Some(true),
    label: None,
    classes: &[],
};

pub fn label(label: &str) -> Says<'_> {
    Says {
        alarm: None,
        label: Some(label),
        classes: &[],
    }
}

pub fn classes<'a>(classes: &'a [&'a str]) -> Says<'a> {
    Says {
        classes,
        ..Says::default()
    }
}

/// The frame with a result on it.
pub fn saying(mut buffer: gst::Buffer, says: Says) -> gst::Buffer {
    let mut meta = gst::meta::CustomMeta::add(buffer.get_mut().unwrap(), "candle-result").unwrap();
    let frame = |name: &str| {
        gst::Structure::builder(name)
            .field("stale", false)
            .field("width", 64)
            .field("height", 48)
            .field("regions", gst::Array::new(Vec::<gst::Structure>::new()))
    };
    if let Some(alarm) = says.alarm {
        let anomaly = frame("anomaly")
            .field("score", if alarm { 0.875 } else { 0.25 })
            .field("threshold", 0.5)
            .field("normalized", 0.5)
            .field("anomalous", alarm)
            .field("state", alarm)
            .field("map", gst::Buffer::from_slice([0u8]))
            .field("map-width", 1)
            .field("map-height", 1)
            .field("map-x", 0.0)
            .field("map-y", 0.0)
            .field("map-w", 64.0)
            .field("map-h", 48.0);
        meta.mut_structure().set("anomaly", anomaly.build());
    }
    if let Some(label) = says.label {
        let classify = frame("classify")
            .field("label", label)
            .field("confidence", 0.75)
            .field("known", true)
            .field("labels", gst::Array::new([label]))
            .field("confidences", gst::Array::new([0.75f64]));
        meta.mut_structure().set("classify", classify.build());
    }
    if !says.classes.is_empty() {
        let all = ["background", "crack", "dent"];
        let share = |label: &str| if says.classes.contains(&label) { 0.25 } else { 0.0 };
        let segment = frame("segment")
            .field("labels", gst::Array::new(all))
            .field("shares", gst::Array::new(all.map(share)))
            .field("background", 0)
            .field("mask", gst::Buffer::from_slice([0u8; 64 * 48]));
        meta.mut_structure().set("segment", segment.build());
    }
    buffer
}

/// What the element did until the end of the stream.
pub struct Outcome {
    /// Element messages, as they came.
    pub messages: Vec<gst::Structure>,
    pub warnings: Vec<String>,
    pub stats: Stats,
}

impl Outcome {
    /// The warnings but for the one that a busy machine may cause.
    pub fn complaints(&self) -> Vec<&String> {
        let is_told = |warning: &&String| !warning.starts_with("Frames are missing");
        self.warnings.iter().filter(is_told).collect()
    }
}

/// The property `stats`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    pub events: u64,
    pub written: u64,
    pub dropped: u64,
    pub dropped_frames: u64,
    pub failed: u64,
    pub removed: u64,
}

impl Stats {
    pub fn of(element: &gst::Element) -> Self {
        let stats = element.property::<gst::Structure>("stats");
        let get = |name| stats.get::<u64>(name).unwrap();
        Self {
            events: get("events"),
            written: get("written"),
            dropped: get("dropped"),
            dropped_frames: get("dropped-frames"),
            failed: get("failed"),
            removed: get("removed"),
        }
    }
}

/// `appsrc ! candlesnapshot name=snap ! fakesink`, with a folder that is gone with it.
pub struct Stand {
    pub pipeline: gst::Pipeline,
    pub src: gst_app::AppSrc,
    pub snap: gst::Element,
    sink: gst::Element,
    pub folder: TempDir,
    pub info: VideoInfo,
    pushed: u64,
}

impl Stand {
    pub fn new(properties: &str, caps: &str) -> Self {
        init();
        let folder = tempfile::tempdir().unwrap();
        let launch = format!(
            "appsrc name=in format=time max-bytes=0 ! candlesnapshot name=snap location={} {properties} ! fakesink name=out sync=false",
            folder.path().join("flagged").display()
        );
        let pipeline = gst::parse::launch(&launch)
            .unwrap()
            .downcast::<gst::Pipeline>()
            .unwrap();
        let src = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
        src.set_caps(Some(&caps_of(caps)));
        let by_name = |name| pipeline.by_name(name).unwrap();
        let (snap, sink) = (by_name("snap"), by_name("out"));
        pipeline.set_state(gst::State::Playing).unwrap();
        Self {
            src,
            snap,
            sink,
            pipeline,
            folder,
            info: info_of(caps),
            pushed: 0,
        }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("flagged")
    }

    pub fn push(&mut self, buffer: gst::Buffer) {
        self.src.push_buffer(buffer).unwrap();
        self.pushed += 1;
    }

    /// Pushes a grey frame of this index, whose value tells it apart, at a pace that any encoder follows; returns when it is through.
    pub fn frame(&mut self, index: u64, says: Says) {
        self.push(saying(grey(&self.info, shade(index), index), says));
        self.settle();
        std::thread::sleep(Duration::from_millis(5));
    }

    /// The same without clips, at a pace that the writer of pictures follows.
    pub fn picture(&mut self, index: u64, says: Says) {
        self.frame(index, says);
        let end = Instant::now() + Duration::from_secs(60);
        let is_behind = || {
            let stats = Stats::of(&self.snap);
            stats.written + stats.failed < stats.events
        };
        while is_behind() {
            assert!(Instant::now() < end, "no picture is written");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until all frames have come out.
    pub fn settle(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.came_out() < self.pushed {
            assert!(Instant::now() < end, "the stream stands still");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn came_out(&self) -> u64 {
        let stats = self.sink.property::<gst::Structure>("stats");
        stats.get::<u64>("rendered").unwrap() + stats.get::<u64>("dropped").unwrap()
    }

    /// Ends the stream, and waits for that.
    pub fn end(self) -> (Outcome, TempDir) {
        self.src.end_of_stream().unwrap();
        let bus = self.pipeline.bus().unwrap();
        let (mut messages, mut warnings) = (Vec::new(), Vec::new());
        loop {
            let message = bus.timed_pop(WAIT).expect("the stream ends");
            match message.view() {
                gst::MessageView::Eos(_) => break,
                gst::MessageView::Error(error) => panic!("{}: {:?}", error.error(), error.debug()),
                gst::MessageView::Warning(warning) => warnings.push(warning.error().message().to_owned()),
                gst::MessageView::Element(element) => messages.push(element.structure().unwrap().to_owned()),
                _ => {}
            }
        }
        self.settle();
        let stats = Stats::of(&self.snap);
        self.pipeline.set_state(gst::State::Null).unwrap();
        let outcome = Outcome {
            messages,
            warnings,
            stats,
        };
        (outcome, self.folder)
    }
}

/// The grey of a frame; frames of near indices differ by more than encoders do.
pub fn shade(index: u64) -> u8 {
    20 + (index % 8) as u8 * 28
}

/// The index of a frame of this grey, up to a multiple of 8.
pub fn index_of(value: u32) -> u64 {
    (u64::from(value.saturating_sub(6))) / 28
}

/// Names in the folder for files, sorted.
pub fn names(folder: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path().join("flagged")).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Paths of the files with this extension, sorted.
pub fn files(folder: &TempDir, extension: &str) -> Vec<PathBuf> {
    let names = names(folder).into_iter().filter(|name| name.ends_with(extension));
    names.map(|name| folder.path().join("flagged").join(name)).collect()
}

/// All frames of a picture or a clip, in this format.
pub fn decode(path: &Path, format: &str) -> Vec<gst::Sample> {
    let launch = format!(
        "filesrc name=file ! decodebin ! videoconvert ! video/x-raw,format={format} ! appsink name=out sync=false max-buffers=2"
    );
    let pipeline = gst::parse::launch(&launch)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    pipeline.by_name("file").unwrap().set_property("location", path);
    let sink = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let samples: Vec<_> = std::iter::from_fn(|| sink.try_pull_sample(WAIT)).collect();
    let errors = pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error]);
    assert!(sink.is_eos() && errors.is_none(), "{}: {errors:?}", path.display());
    pipeline.set_state(gst::State::Null).unwrap();
    samples
}

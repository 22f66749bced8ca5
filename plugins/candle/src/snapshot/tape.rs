//! The encoder of clips, and what it is given.

use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gst_video::{UpstreamForceKeyUnitEvent, VideoColorRange, VideoFormat, VideoInfo, VideoMeta};

use super::clip::{self, Job};
use super::event::Event;
use super::picture::whitened;
use super::pipe::{Pipe, make};
use super::report::{self, Report};
use super::ring::{Backlog, Ring};
use super::settings::Settings;
use crate::common::lock;

/// How many frames may wait for the encoder, and of how many bytes; those for which a clip is made find room for as many more.
const QUEUE: u64 = 8;
const QUEUE_BYTES: u64 = 64 << 20;

/// How long an encoder that failed is left alone.
const RETRY: gst::ClockTime = gst::ClockTime::from_seconds(10);

/// The time from frame to frame where frames have no times.
const PERIOD: gst::ClockTime = gst::ClockTime::from_mseconds(40);

/// How far timestamps may go back without the stream having jumped.
const JITTER: gst::ClockTime = gst::ClockTime::from_seconds(1);

/// Encodes the stream, so that clips can begin in the past. It never waits.
pub struct Tape {
    /// As they were at the start: `clip-before`, `clip-after` and `clip-encoder` stay until the next one.
    settings: Settings,
    jobs: Sender<Job>,
    backlog: Backlog,
    report: Arc<Report>,
    recorder: Option<Recorder>,
    /// How many recorders there were.
    recorders: u64,
    /// Running time of the last frame.
    last: Option<gst::ClockTime>,
    /// Until when no encoder is made.
    rests_until: Option<gst::ClockTime>,
}

impl Tape {
    /// Of clips as `settings` say, that `jobs` are sent of.
    pub fn new(settings: Settings, jobs: Sender<Job>, backlog: Backlog, report: Arc<Report>) -> Self {
        Self {
            settings,
            jobs,
            backlog,
            report,
            recorder: None,
            recorders: 0,
            last: None,
            rests_until: None,
        }
    }

    /// Takes the next frame, at this running time if it has one, and what happened on it, which makes no clip longer than `longest`.
    pub fn frame(
        &mut self,
        buffer: &gst::Buffer,
        info: &VideoInfo,
        time: Option<gst::ClockTime>,
        event: Option<&Event>,
        longest: gst::ClockTime,
    ) {
        let next = || self.last.map_or(gst::ClockTime::ZERO, |last| last + PERIOD);
        let mut time = time.unwrap_or_else(next);
        if let Some(last) = self.last
            && time < last
        {
            if last - time > JITTER {
                self.end();
            } else {
                time = last;
            }
        }
        self.last = Some(time);
        if self.recorder.is_none() && self.rests_until.is_none_or(|until| time >= until) {
            match self.record(info) {
                Ok(recorder) => self.recorder = Some(recorder),
                Err(error) => self.broke(time, &error),
            }
        }
        let Some(recorder) = &self.recorder else {
            if event.is_some() {
                self.report.lost_clip("it has no encoder");
            }
            return;
        };
        if let Some(event) = event {
            let ticket = self.report.pending.ticket();
            let after = self.settings.clip_after;
            let has_room = lock(&recorder.ring).trigger(event, ticket, time, after, longest);
            if !has_room {
                self.report
                    .dropped("Clips are dropped: their encoder is behind. Set a faster `clip-encoder`");
            }
        }
        match recorder.feed(buffer, info, time, event.is_some()) {
            Ok(true) => {}
            Ok(false) => self.report.dropped_frames(1),
            Err(error) => self.broke(time, &error),
        }
    }

    /// The stream ends or jumps: ends the clip being cut, and forgets what came before.
    pub fn end(&mut self) {
        self.last = None;
        self.rests_until = None;
        if let Some(recorder) = self.recorder.take() {
            recorder.pipe.end();
            let retired = (recorder.pipe, recorder.ring, self.report.pending.ticket());
            let _ = self.jobs.send(Job::Retire(Box::new(retired)));
        }
    }

    fn record(&mut self, info: &VideoInfo) -> io::Result<Recorder> {
        self.recorders += 1;
        let ring = Ring::new(
            self.recorders,
            self.settings.clip_before,
            self.jobs.clone(),
            self.backlog.clone(),
        );
        Recorder::new(info, &self.settings.clip_encoder, ring, self.report.clone())
    }

    /// The encoder failed.
    fn broke(&mut self, time: gst::ClockTime, error: &io::Error) {
        self.report.failed(report::ENCODER, "The clips' encoder stopped", error);
        self.end();
        self.last = Some(time);
        self.rests_until = Some(time.saturating_add(RETRY));
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.end();
    }
}

/// Encodes frames of one size into a ring.
struct Recorder {
    pipe: Pipe,
    ring: Arc<Mutex<Ring>>,
    /// `[width, height]` of what is encoded.
    size: [u32; 2],
}

impl Recorder {
    fn new(info: &VideoInfo, description: &str, ring: Ring, report: Arc<Report>) -> io::Result<Self> {
        let size = even(info);
        let mut caps = info.to_caps().map_err(io::Error::other)?;
        caps.make_mut().set("width", size[0] as i32);
        caps.make_mut().set("height", size[1] as i32);
        let cut = VideoInfo::from_caps(&caps).map_err(io::Error::other)?;
        let (pipe, sink) = encoder(&cut, description).map_err(io::Error::other)?;
        let ring = Arc::new(Mutex::new(ring));
        sink.set_callbacks(callbacks(ring.clone(), report.clone()));
        let pad = pipe.src().static_pad("src").expect("a source has a source pad");
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, probe| {
            let white = report.settings().gray16_white;
            if let Some(buffer) = probe.buffer_mut()
                && let Ok(white) = whitened(buffer.clone(), &cut, white)
            {
                *buffer = white;
            }
            gst::PadProbeReturn::Ok
        });
        pipe.set_state(gst::State::Playing)?;
        Ok(Self { pipe, ring, size })
    }

    /// Hands a frame to the encoder; `false` where too many wait.
    fn feed(&self, buffer: &gst::Buffer, info: &VideoInfo, time: gst::ClockTime, must: bool) -> io::Result<bool> {
        let share = if must { 2 } else { 1 };
        let src = self.pipe.src();
        if src.current_level_buffers() >= share * QUEUE || src.current_level_bytes() >= share * QUEUE_BYTES {
            return self.pipe.error().map_or(Ok(false), Err);
        }
        let frame = wrap(buffer, info, self.size, time).map_err(io::Error::other)?;
        self.pipe.push(frame).map(|()| true)
    }
}

/// Whether clips can be encoded by these elements.
pub fn check(description: &str) -> Result<(), String> {
    let info = VideoInfo::builder(VideoFormat::I420, 640, 480)
        .fps(gst::Fraction::new(25, 1))
        .build()
        .map_err(|error| error.to_string())?;
    let (pipe, _) = encoder(&info, description)?;
    pipe.set_state(gst::State::Ready).map_err(|error| error.to_string())
}

/// From frames to what a clip can hold.
fn encoder(info: &VideoInfo, description: &str) -> Result<(Pipe, gst_app::AppSink), String> {
    let convert = make("videoconvert", "GStreamer's base plugins")?;
    let filter = make("capsfilter", "GStreamer")?;
    if info.is_gray() {
        // `videoconvert` leaves grey values as they are, whatever the ranges are called.
        let is_full = info.colorimetry().range() == VideoColorRange::Range0_255;
        let colorimetry = if is_full { "1:4:0:0" } else { "2:4:0:0" };
        let caps = gst::Caps::builder("video/x-raw").field("colorimetry", colorimetry);
        filter.set_property("caps", caps.build());
    }
    let encoder = gst::parse::bin_from_description(description, true).map_err(|error| error.message().to_owned())?;
    encoder.set_property("name", "clip-encoder");
    for pad in ["sink", "src"] {
        if encoder.static_pad(pad).is_none() {
            return Err(format!("`{description}` has no free {pad} pad"));
        }
    }
    let sink = gst_app::AppSink::builder()
        .caps(&clip::caps()?)
        .sync(false)
        .async_(false)
        .build();
    let caps = info.to_caps().map_err(|error| error.to_string())?;
    let pipe = Pipe::new(&caps, &[&convert, &filter, encoder.upcast_ref(), sink.upcast_ref()])?;
    Ok((pipe, sink))
}

fn callbacks(ring: Arc<Mutex<Ring>>, report: Arc<Report>) -> gst_app::AppSinkCallbacks {
    gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let taken = lock(&ring).take(&sample);
            report.dropped_frames(taken.missing);
            if taken.key_is_due
                && let Some(pad) = sink.static_pad("sink")
            {
                pad.push_event(UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
            }
            Ok(gst::FlowSuccess::Ok)
        })
        .build()
}

/// The frame's size without a last odd column or row, which most encoders refuse.
fn even(info: &VideoInfo) -> [u32; 2] {
    [info.width(), info.height()].map(|side| if side > 1 { side & !1 } else { side })
}

/// The pixels of a frame, without a copy, at another time and no larger than `size`.
fn wrap(
    buffer: &gst::Buffer,
    info: &VideoInfo,
    size: [u32; 2],
    time: gst::ClockTime,
) -> Result<gst::Buffer, gst::glib::BoolError> {
    let planes = info.n_planes() as usize;
    let (offsets, strides) = match buffer.meta::<VideoMeta>() {
        Some(meta) => (meta.offset().to_vec(), meta.stride().to_vec()),
        None => (info.offset()[..planes].to_vec(), info.stride()[..planes].to_vec()),
    };
    let mut wrapped = gst::Buffer::new();
    let frame = wrapped.make_mut();
    buffer.copy_into(frame, gst::BufferCopyFlags::MEMORY, ..)?;
    VideoMeta::add_full(
        frame,
        gst_video::VideoFrameFlags::empty(),
        info.format(),
        size[0],
        size[1],
        &offsets,
        &strides,
    )?;
    // Its memory may be of a pool, which is not to have it back before.
    gst::ParentBufferMeta::add(frame, buffer);
    frame.set_pts(time);
    frame.set_duration(buffer.duration());
    Ok(wrapped)
}

//! Video through GStreamer: whatever it can play.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_video::VideoFrameExt;

use crate::pixels::Image;
use crate::{Error, Result};

mod length;
mod writer;

pub use writer::{EXTENSIONS, VideoWriter};

/// How long a source may give nothing before it counts as broken.
const PATIENCE: Duration = Duration::from_secs(30);
/// Ticks without a running thread after which a file's stream counts as broken.
const STILL_TICKS: u32 = 20;
/// How often the bus is looked at while waiting.
const TICK: gst::ClockTime = gst::ClockTime::from_mseconds(50);
/// Demultiplexers whose duration stands in the file's header. Others count it from what is there, or estimate it.
const TIMED: [&str; 4] = ["qtdemux", "matroskademux", "flvdemux", "asfdemux"];

/// One decoded frame.
#[derive(Debug, Clone)]
pub struct VideoFrame {
    /// The picture, grey or RGB by what the video is.
    pub image: Image,
    /// Time from the start in nanoseconds, where it is known.
    pub time_ns: Option<u64>,
}

/// Frames of a video file or URI, in order, as fast as they are taken. Sound is left aside.
pub struct VideoReader {
    location: String,
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
    /// The frame that [`VideoReader::open`] waited for.
    first: Option<VideoFrame>,
    /// The path of a local file.
    file: Option<PathBuf>,
    /// When the last frame ended, and the longest time from one frame to the next, in nanoseconds.
    end_ns: u64,
    step_ns: u64,
    /// What GStreamer has no plugin for.
    missing: Vec<String>,
    ended: bool,
}

impl VideoReader {
    /// Opens a path or URI. Fails when there is no such file, no video in it, or no decoder for it, and says which. A file that
    /// is shorter than its container says fails, too: better now than after hours.
    pub fn open(location: &str) -> Result<Self> {
        init(location)?;
        let uri = if location.contains("://") {
            location.to_owned()
        } else {
            let metadata = std::fs::metadata(location).map_err(|e| Error::io(location, e))?;
            if !metadata.is_file() {
                return Err(Error::data(location, "not a file"));
            }
            gst::glib::filename_to_uri(std::path::absolute(location).map_err(|e| Error::io(location, e))?, None)
                .map_err(|e| Error::data(location, format!("the name makes no URI: {e}")))?
                .to_string()
        };
        let (pipeline, sink) = build(&uri).map_err(|e| Error::data(location, e.to_string()))?;
        let file = gst::glib::filename_from_uri(&uri).ok().map(|(path, _)| path);
        if let Some(length::Bytes { there, promised }) = file.as_deref().and_then(length::cut_off) {
            let reason =
                format!("breaks off: {there} of {promised} bytes are there; copy it again, or repair it by remuxing");
            return Err(Error::data(location, reason));
        }
        let mut reader = Self {
            file,
            location: location.to_owned(),
            pipeline,
            sink,
            first: None,
            end_ns: 0,
            step_ns: 0,
            missing: Vec::new(),
            ended: false,
        };
        // A failed change of state posts its reason on the bus, where `pull` finds it.
        let _ = reader.pipeline.set_state(gst::State::Playing);
        match reader.pull()? {
            Some(frame) => reader.first = Some(frame),
            None => return Err(Error::data(location, reader.explain("there is no video in it"))),
        }
        Ok(reader)
    }

    /// The next frame, `None` at the end.
    fn pull(&mut self) -> Result<Option<VideoFrame>> {
        let start = Instant::now();
        let mut still = 0;
        loop {
            if let Some(sample) = self.sink.try_pull_sample(TICK) {
                self.note_time(&sample);
                return self.convert(&sample).map(Some);
            }
            // Frames that were queued before an error have been taken by now.
            if let Some(error) = self.bus_error() {
                return Err(Error::data(&self.location, self.explain(&error)));
            }
            if self.sink.is_eos() {
                return self
                    .missing_end()
                    .map_or(Ok(None), |reason| Err(Error::data(&self.location, reason)));
            }
            still = if self.stands_still() { still + 1 } else { 0 };
            if still > STILL_TICKS {
                return Err(Error::data(
                    &self.location,
                    self.explain("it is damaged, or nothing in it can be played"),
                ));
            }
            if start.elapsed() > PATIENCE {
                return Err(Error::data(
                    &self.location,
                    format!("no frame came for {} s", PATIENCE.as_secs()),
                ));
            }
        }
    }

    /// Whether a file's streaming threads have all stopped. decodebin (1.22) now and then swallows the error of an element that it
    /// is still setting up, and nothing more would come then.
    fn stands_still(&self) -> bool {
        let running = |pad: gst::Pad| pad.task_state() == gst::TaskState::Started;
        let elements = self.pipeline.iterate_recurse().into_iter().filter_map(Result::ok);
        self.file.is_some() && !elements.flat_map(|element| element.pads()).any(running)
    }

    /// The error posted since, if any. Missing plugins are noted.
    fn bus_error(&mut self) -> Option<String> {
        let bus = self.pipeline.bus()?;
        while let Some(message) = bus.pop_filtered(&[gst::MessageType::Error, gst::MessageType::Element]) {
            match message.view() {
                gst::MessageView::Error(error) => {
                    // The missing-plugin message may come after the error that follows from it.
                    self.note_missing(&bus);
                    return Some(error.error().to_string());
                }
                _ => self.note(&message),
            }
        }
        None
    }

    fn note_missing(&mut self, bus: &gst::Bus) {
        while let Some(message) = bus.pop_filtered(&[gst::MessageType::Element]) {
            self.note(&message);
        }
    }

    fn note(&mut self, message: &gst::Message) {
        let structure = message.structure().filter(|s| s.name() == "missing-plugin");
        self.missing
            .extend(structure.and_then(|s| s.get::<String>("name").ok()));
    }

    fn explain(&self, error: &str) -> String {
        if self.missing.is_empty() {
            format!("cannot be played: {error}")
        } else {
            format!(
                "cannot be played: GStreamer has no {}; install the plugin for it",
                self.missing.join(", ")
            )
        }
    }

    /// What is missing after the last frame of a file, if anything. Most demultiplexers take a file's end for the video's.
    ///
    /// Of a file with sound the duration may be the sound's, frames at uneven times may each last long, and headers are off by a
    /// frame or two. So it counts only for a lone video stream that lacks a second, a twentieth of the whole and twice the
    /// longest wait between frames.
    fn missing_end(&self) -> Option<String> {
        self.file.as_ref()?;
        let duration = self.duration_ns().filter(|_| self.end_ns > 0)?;
        let short = 1_000_000_000.max(duration / 20).max(2 * self.step_ns);
        (duration.saturating_sub(self.end_ns) > short).then(|| {
            let [end, whole] = [self.end_ns, duration].map(|ns| ns as f64 / 1e9);
            format!("breaks off after {end:.1} s of {whole:.1} s; copy it again")
        })
    }

    /// The duration in the file's header, where a video stream is all there is in it.
    fn duration_ns(&self) -> Option<u64> {
        let elements = self.pipeline.iterate_recurse().into_iter().filter_map(Result::ok);
        let timed = |element: &gst::Element| element.factory().is_some_and(|f| TIMED.contains(&f.name().as_str()));
        let streams: u16 = elements.filter(timed).map(|element| element.num_src_pads()).sum();
        let duration = self.pipeline.query_duration::<gst::ClockTime>()?;
        (streams == 1).then_some(duration.nseconds())
    }

    /// Keeps account of when frames end.
    fn note_time(&mut self, sample: &gst::Sample) {
        let Some(start) = stream_time_ns(sample) else {
            return;
        };
        let shown = sample.buffer().and_then(gst::BufferRef::duration);
        let end = start.saturating_add(shown.map_or(0, gst::ClockTime::nseconds));
        self.step_ns = self.step_ns.max(end.saturating_sub(self.end_ns));
        self.end_ns = self.end_ns.max(end);
    }

    fn convert(&self, sample: &gst::Sample) -> Result<VideoFrame> {
        let broken = |what: &str| Error::data(&self.location, format!("a decoded frame has {what}"));
        let caps = sample.caps().ok_or_else(|| broken("no caps"))?;
        let info = gst_video::VideoInfo::from_caps(caps).map_err(|_| broken("unknown caps"))?;
        let buffer = sample.buffer().ok_or_else(|| broken("no buffer"))?;
        let frame =
            gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).map_err(|_| broken("no memory"))?;
        let pixels = frame.plane_data(0).map_err(|_| broken("no plane"))?;
        let (width, height) = (info.width() as usize, info.height() as usize);
        let stride = frame.plane_stride()[0] as usize;
        let channels = if info.format() == gst_video::VideoFormat::Gray8 {
            1
        } else {
            3
        };
        let mut data = Vec::with_capacity(channels * width * height);
        for channel in 0..channels {
            for row in pixels.chunks(stride).take(height) {
                data.extend(
                    row[..channels * width]
                        .iter()
                        .skip(channel)
                        .step_by(channels)
                        .map(|&v| f32::from(v) / 255.0),
                );
            }
        }
        Ok(VideoFrame {
            image: Image {
                channels,
                height,
                width,
                data,
            },
            time_ns: stream_time_ns(sample),
        })
    }
}

impl Iterator for VideoReader {
    /// An error where the stream breaks off, or a file ends before it says that it does; it is the last item then. A file that
    /// does not say (a transport stream, say) just ends.
    type Item = Result<VideoFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(frame) = self.first.take() {
            return Some(Ok(frame));
        }
        if self.ended {
            return None;
        }
        let item = self.pull().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

impl Drop for VideoReader {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Time of a frame from the start of the video.
fn stream_time_ns(sample: &gst::Sample) -> Option<u64> {
    let pts = sample.buffer()?.pts()?;
    let segment = sample
        .segment()
        .and_then(|segment| segment.downcast_ref::<gst::ClockTime>());
    let time = segment.map_or(Some(pts), |segment| segment.to_stream_time(pts));
    time.map(gst::ClockTime::nseconds)
}

/// Prepares GStreamer; again and again if need be.
fn init(location: impl AsRef<Path>) -> Result<()> {
    gst::init().map_err(|e| Error::data(location, format!("GStreamer does not start: {e}")))
}

/// `uridecodebin ! videoconvert ! appsink`, video only.
fn build(uri: &str) -> Result<(gst::Pipeline, gst_app::AppSink), gst::glib::BoolError> {
    let any_video = gst::Caps::builder("video/x-raw").any_features().build();
    let source = gst::ElementFactory::make("uridecodebin")
        .property("uri", uri)
        .property("caps", &any_video)
        .property("expose-all-streams", false)
        .build()?;
    let convert = gst::ElementFactory::make("videoconvert").build()?;
    let formats = [gst_video::VideoFormat::Rgb, gst_video::VideoFormat::Gray8];
    let sink = gst_app::AppSink::builder()
        .caps(&gst_video::VideoCapsBuilder::new().format_list(formats).build())
        .max_buffers(4)
        .sync(false)
        .build();
    let pipeline = gst::Pipeline::new();
    pipeline.add_many([&source, &convert, sink.upcast_ref()])?;
    gst::Element::link_many([&convert, sink.upcast_ref()])?;
    let target = convert.static_pad("sink").expect("videoconvert has a sink pad");
    source.connect_pad_added(move |_, pad| {
        // The first video stream is taken; a second one finds the pad linked.
        if !target.is_linked() {
            let _ = pad.link(&target);
        }
    });
    Ok((pipeline, sink))
}

#[cfg(test)]
mod tests;

//! Frames to a video file.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::init;
use crate::atomic::{sync_and_name, temporary_beside};
use crate::pixels::Image;
use crate::{Error, Result};

/// A way to write a file: the elements it needs, and how they are launched.
type Recipe = (&'static [&'static str], &'static str);

/// Encoders for MP4, the best first.
const MP4: [Recipe; 3] = [
    (
        &["x264enc", "mp4mux"],
        "video/x-raw,format=I420 ! x264enc speed-preset=veryfast pass=qual quantizer=18 bitrate=200000 ! video/x-h264,profile=high ! mp4mux",
    ),
    (
        &["openh264enc", "h264parse", "mp4mux"],
        "video/x-raw,format=I420 ! openh264enc bitrate=8000000 ! h264parse ! mp4mux",
    ),
    (
        &["avenc_mpeg4", "mp4mux"],
        "video/x-raw,format=I420 ! avenc_mpeg4 bitrate=8000000 ! mp4mux",
    ),
];
/// Encoders for AVI. JPEG's values have the full range (colorimetry 1:4:0:0), which jpegenc does not ask for by itself.
const AVI: [Recipe; 1] = [(
    &["jpegenc", "avimux"],
    "video/x-raw,format=I420,colorimetry=1:4:0:0 ! jpegenc quality=95 ! avimux",
)];
/// Extensions of the videos that can be written, in lower case.
pub const EXTENSIONS: [&str; 4] = ["mp4", "m4v", "mov", "avi"];
/// Frames that may wait for the encoder.
const QUEUE: u64 = 4;
/// How long the encoder may stand still before it counts as broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes frames of one size to a video file: MP4 (H.264 where an encoder is installed, else MPEG-4) or AVI (Motion JPEG), by its
/// extension, one of [`EXTENSIONS`]. MP4 needs even sides: an odd one grows by a pixel that repeats the edge.
pub struct VideoWriter {
    path: PathBuf,
    /// Removes the file unless it was finished.
    temporary: Option<tempfile::NamedTempFile>,
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    info: gst_video::VideoInfo,
    size: [usize; 2],
    frames: u64,
}

impl VideoWriter {
    /// Starts the file. `fps` is a fraction.
    pub fn create(path: &Path, width: usize, height: usize, fps: (i32, i32)) -> Result<Self> {
        init(path)?;
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default()
            .to_ascii_lowercase();
        let (encoders, even): (&[Recipe], usize) = match extension.as_str() {
            "avi" => (&AVI, 1),
            other if EXTENSIONS.contains(&other) => (&MP4, 2),
            _ => {
                let reason = format!("videos are written as {}; name one of these", EXTENSIONS.join(", "));
                return Err(Error::data(path, reason));
            }
        };
        let installed = |names: &[&str]| names.iter().all(|name| gst::ElementFactory::find(name).is_some());
        let Some((_, encoder)) = encoders.iter().find(|(names, _)| installed(names)) else {
            let names: Vec<&str> = encoders.iter().map(|(names, _)| names[0]).collect();
            return Err(Error::data(
                path,
                format!("no encoder for it: GStreamer needs {}", names.join(" or ")),
            ));
        };
        let side = |n: usize| {
            u32::try_from(n.next_multiple_of(even))
                .ok()
                .filter(|&n| n > 0 && n <= 1 << 15)
        };
        let (Some(w), Some(h), true) = (side(width), side(height), fps.0 > 0 && fps.1 > 0) else {
            return Err(Error::data(
                path,
                format!("cannot write {width}x{height} at {}/{} frames a second", fps.0, fps.1),
            ));
        };
        let failed = |e: &dyn std::fmt::Display| Error::data(path, format!("cannot start the encoder: {e}"));
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, w, h)
            .fps(gst::Fraction::new(fps.0, fps.1))
            .build()
            .map_err(|e| failed(&e))?;
        let temporary = temporary_beside(path).map_err(|e| Error::io(path, e))?;
        let line =
            format!("appsrc name=source format=time max-bytes=0 ! videoconvert ! {encoder} ! filesink name=sink");
        let pipeline = gst::parse::launch(&line).map_err(|e| failed(&e))?;
        let pipeline = pipeline
            .downcast::<gst::Pipeline>()
            .map_err(|_| failed(&"not a pipeline"))?;
        let sink = pipeline.by_name("sink").ok_or_else(|| failed(&"no sink"))?;
        sink.set_property(
            "location",
            temporary
                .path()
                .to_str()
                .ok_or_else(|| failed(&"the path is not UTF-8"))?,
        );
        let source = pipeline
            .by_name("source")
            .and_then(|e| e.downcast::<gst_app::AppSrc>().ok());
        let source = source.ok_or_else(|| failed(&"no source"))?;
        source.set_caps(Some(&info.to_caps().map_err(|e| failed(&e))?));
        let (path, size) = (path.to_owned(), [width, height]);
        let writer = Self {
            path,
            temporary: Some(temporary),
            pipeline,
            source,
            info,
            size,
            frames: 0,
        };
        writer
            .pipeline
            .set_state(gst::State::Playing)
            .map_err(|e| writer.error_or(&e.to_string()))?;
        Ok(writer)
    }

    /// Adds a frame, grey or RGB.
    pub fn write(&mut self, image: &Image) -> Result<()> {
        if [image.width, image.height] != self.size || ![1, 3].contains(&image.channels) {
            let [w, h] = self.size;
            let reason = format!(
                "frame {} has {} planes of {}x{}, not 1 or 3 of {w}x{h}",
                self.frames, image.channels, image.width, image.height
            );
            return Err(Error::data(&self.path, reason));
        }
        let mut buffer = gst::Buffer::from_mut_slice(self.pixels(image));
        let fps = self.info.fps();
        let time = |frame: u64| {
            frame
                .mul_div_floor(1_000_000_000 * fps.denom() as u64, fps.numer() as u64)
                .map(gst::ClockTime::from_nseconds)
        };
        let (from, to) = (time(self.frames), time(self.frames + 1));
        let meta = buffer.get_mut().expect("nobody else has the new buffer");
        meta.set_pts(from);
        meta.set_duration(to.zip(from).map(|(to, from)| to - from));
        self.source
            .push_buffer(buffer)
            .map_err(|e| self.error_or(&e.to_string()))?;
        self.frames += 1;
        let full = QUEUE * self.info.size() as u64;
        self.wait(|writer, _| writer.source.current_level_bytes() < full)
    }

    /// Ends the file. Dropped without this, the file is removed.
    pub fn finish(mut self) -> Result<()> {
        if self.frames == 0 {
            return Err(Error::data(&self.path, "no frames to write"));
        }
        self.source.end_of_stream().map_err(|e| self.error_or(&e.to_string()))?;
        self.wait(|_, ended| ended)?;
        self.pipeline
            .set_state(gst::State::Null)
            .map_err(|e| self.error_or(&e.to_string()))?;
        if let Some(temporary) = self.temporary.take() {
            let (file, temporary) = temporary.into_parts();
            sync_and_name(file, temporary, &self.path).map_err(|e| Error::io(&self.path, e))?;
        }
        Ok(())
    }

    /// Waits until an error, the end of patience, or `done`, which gets to know whether the stream has ended. (An appsrc that blocks
    /// would never wake up from an error downstream.)
    fn wait(&self, done: impl Fn(&Self, bool) -> bool) -> Result<()> {
        let start = Instant::now();
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        let mut ended = false;
        loop {
            // Both at once: looking for one throws away the other. After an error the stream may end, too, or never.
            while let Some(message) = bus.pop_filtered(&[gst::MessageType::Eos, gst::MessageType::Error]) {
                if message.type_() == gst::MessageType::Error {
                    return Err(self.error(&message));
                }
                ended = true;
            }
            if done(self, ended) {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(Error::data(&self.path, "the encoder stands still"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The error on the bus, or `otherwise`.
    fn error_or(&self, otherwise: &str) -> Error {
        let message = self
            .pipeline
            .bus()
            .and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
        message.map_or_else(
            || Error::data(&self.path, format!("cannot be written: {otherwise}")),
            |m| self.error(&m),
        )
    }

    fn error(&self, message: &gst::Message) -> Error {
        let text = match message.view() {
            gst::MessageView::Error(error) => error.error().to_string(),
            _ => String::new(),
        };
        Error::data(&self.path, format!("cannot be written: {text}"))
    }

    /// The frame as packed RGB with GStreamer's stride, the edge repeated where the file is larger.
    fn pixels(&self, image: &Image) -> Vec<u8> {
        let (w, h) = (self.info.width() as usize, self.info.height() as usize);
        let stride = self.info.stride()[0] as usize;
        let mut pixels = vec![0; self.info.size()];
        for (y, row) in pixels.chunks_mut(stride).take(h).enumerate() {
            let from = y.min(image.height - 1) * image.width;
            for channel in 0..3 {
                let line = &image.plane(channel.min(image.channels - 1))[from..from + image.width];
                for (x, out) in row[channel..].iter_mut().step_by(3).take(w).enumerate() {
                    *out = (line[x.min(image.width - 1)].clamp(0.0, 1.0) * 255.0).round() as u8;
                }
            }
        }
        pixels
    }
}

impl Drop for VideoWriter {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

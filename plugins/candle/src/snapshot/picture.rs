//! Frames as pictures.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use gst::prelude::*;
use gst_video::{VideoFormat, VideoInfo};

use super::event::Event;
use super::folder::{Folder, JPEG, PNG};
use super::pipe::{Pipe, make};
use super::report::{PICTURE, Report};
use super::settings::{Settings, SnapshotFormat};
use super::worker::{Ticket, Worker};
use crate::common::frame;

/// How many pictures may wait; each holds a frame.
const QUEUE: usize = 4;

/// zlib's level: the usual 6 takes a quarter longer for a hundredth less (a noisy frame of 1080p).
const PNG_LEVEL: u32 = 3;

/// A frame that is to be a picture.
struct Job {
    buffer: gst::Buffer,
    info: VideoInfo,
    event: Event,
    settings: Settings,
    _ticket: Ticket,
}

/// Writes pictures in a thread of its own.
#[derive(Clone)]
pub struct Pictures {
    jobs: SyncSender<Job>,
    report: Arc<Report>,
}

impl Pictures {
    /// Starts the thread, which ends when this and its clones are gone and the pictures that wait are written.
    pub fn start(folder: Folder, report: Arc<Report>) -> io::Result<(Self, Worker)> {
        let (jobs, receive) = sync_channel(QUEUE);
        let worker = {
            let report = report.clone();
            Worker::spawn("candlesnapshot", move || write_all(&receive, &folder, &report))?
        };
        Ok((Self { jobs, report }, worker))
    }

    /// Puts a frame among those that wait, or counts it as dropped where there are too many.
    pub fn take(&self, buffer: &gst::Buffer, info: &VideoInfo, event: &Event, settings: &Settings) {
        let job = Job {
            buffer: buffer.clone(),
            info: info.clone(),
            event: event.clone(),
            settings: settings.clone(),
            _ticket: self.report.pending.ticket(),
        };
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self
                .report
                .dropped("Pictures are dropped: more come than can be written. Set `min-interval`, or `format=jpeg`"),
        }
    }
}

fn write_all(jobs: &Receiver<Job>, folder: &Folder, report: &Report) {
    for job in jobs {
        let extension = match job.settings.format {
            SnapshotFormat::Png => PNG,
            SnapshotFormat::Jpeg => JPEG,
        };
        let stem = folder.stem(&job.event);
        let written = folder.begin(&stem, extension).and_then(|mut part| {
            let picture = encode(&job.buffer, &job.info, &job.settings).map_err(io::Error::other)?;
            part.file()
                .write_all(&picture.map_readable().map_err(io::Error::other)?)?;
            let path = part.path().to_owned();
            part.commit().map(|()| path)
        });
        match written {
            Ok(path) => report.wrote(PICTURE, &path, &job.event, folder),
            Err(error) => report.failed(PICTURE, &format!("Cannot write the picture {stem}.{extension}"), &error),
        }
    }
}

/// Whether there is what pictures need.
pub fn check(format: SnapshotFormat) -> Result<(), String> {
    convert()?;
    encoder(format, 0).map(drop)
}

fn convert() -> Result<gst::Element, String> {
    make("videoconvert", "GStreamer's base plugins")
}

fn encoder(format: SnapshotFormat, quality: u32) -> Result<gst::Element, String> {
    let good = "GStreamer's good plugins (on Debian gstreamer1.0-plugins-good)";
    match format {
        SnapshotFormat::Png => {
            let encoder = make("pngenc", good)?;
            encoder.set_property("compression-level", PNG_LEVEL);
            Ok(encoder)
        }
        SnapshotFormat::Jpeg => {
            let encoder = make("jpegenc", good)?;
            encoder.set_property("quality", quality as i32);
            // The default saves time by errors that show from a quality of 97 on.
            encoder.set_property_from_str("idct-method", "islow");
            Ok(encoder)
        }
    }
}

/// The frame as a picture of the same size: grey stays grey, of 16 bits where the format can, all else is RGB without alpha.
fn encode(buffer: &gst::Buffer, info: &VideoInfo, settings: &Settings) -> Result<gst::Buffer, String> {
    let is_wide = info.format() == VideoFormat::Gray16Le && settings.format == SnapshotFormat::Png;
    let pixels = gst::Caps::builder("video/x-raw");
    let pixels = match (info.is_gray(), is_wide) {
        // Pictures know no other range.
        (true, false) => pixels.field("format", "GRAY8").field("colorimetry", "1:4:0:0"),
        (true, true) => pixels.field("format", "GRAY16_BE").field("colorimetry", "1:4:0:0"),
        (false, _) => pixels.field("format", "RGB"),
    };
    let filter = make("capsfilter", "GStreamer")?;
    filter.set_property("caps", pixels.build());
    let sink = gst_app::AppSink::builder()
        .sync(false)
        .async_(false)
        .wait_on_eos(false)
        .build();
    let mut caps = info.to_caps().map_err(|error| error.to_string())?;
    caps.make_mut().set("framerate", gst::Fraction::new(1, 1));
    let encoder = encoder(settings.format, settings.quality)?;
    let pipe = Pipe::new(&caps, &[&convert()?, &filter, &encoder, sink.upcast_ref()])?;

    let said = |error: io::Error| error.to_string();
    pipe.set_state(gst::State::Playing).map_err(said)?;
    let mut buffer = whitened(buffer.clone(), info, settings.gray16_white).map_err(|error| error.to_string())?;
    buffer.make_mut().set_pts(gst::ClockTime::ZERO);
    pipe.push(buffer).map_err(said)?;
    pipe.end();
    pipe.wait_end().map_err(said)?;
    let sample = sink.try_pull_sample(gst::ClockTime::ZERO);
    let picture = sample.and_then(|sample| sample.buffer_owned());
    picture.ok_or_else(|| "the encoder makes no picture of it".into())
}

/// The frame with the code `white` of GRAY16_LE brought to 65535, which it is to everybody else; 0 and other formats leave it as it is.
pub fn whitened(buffer: gst::Buffer, info: &VideoInfo, white: u16) -> Result<gst::Buffer, gst::glib::BoolError> {
    if white == 0 || info.format() != VideoFormat::Gray16Le {
        return Ok(buffer);
    }
    let mut copy = buffer.copy_deep()?;
    let frame = copy.make_mut();
    let mut frame = frame::map_mut(frame, info).map_err(|error| gst::glib::bool_error!("{error}"))?;
    for code in frame.plane_data_mut(0)?.as_chunks_mut().0 {
        let value = u32::from(u16::from_le_bytes(*code).min(white)) * 65535 / u32::from(white);
        *code = (value as u16).to_le_bytes();
    }
    drop(frame);
    Ok(copy)
}

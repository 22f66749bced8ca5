//! Clips as files.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use gst::prelude::*;

use super::event::Event;
use super::folder::{CLIP, Folder, Part};
use super::pipe::{Pipe, make};
use super::report::{self, Report};
use super::ring::{Backlog, Ring};
use super::worker::{Ticket, Worker};
use crate::common::lock;

/// How much the muxer may be behind, in bytes, before the writer waits for it.
const MUXER_BYTES: u64 = 1 << 20;

/// What the writer is to do. The numbers are those of rings: of each, jobs come in the order of the stream, and it has one clip at a time.
pub enum Job {
    /// A clip of frames of these caps begins.
    Begin(u64, Box<(Event, gst::Caps, Ticket)>),
    /// The next frame of the clip, with its running time as timestamp; the first is a key frame.
    Frame(u64, gst::Buffer),
    /// The clip is over.
    End(u64),
    /// An encoder has got its last frame: to be waited for, then stopped.
    Retire(Box<(Pipe, Arc<Mutex<Ring>>, Ticket)>),
}

/// Starts the thread that writes clips, which ends when nobody can send to it any more.
pub fn start(folder: Folder, report: Arc<Report>, backlog: Backlog) -> io::Result<(Sender<Job>, Worker)> {
    let (jobs, receive) = channel();
    let worker = Worker::spawn("candlesnapshot-clip", move || {
        write_all(&receive, &folder, &report, &backlog);
    })?;
    Ok((jobs, worker))
}

fn write_all(jobs: &Receiver<Job>, folder: &Folder, report: &Report, backlog: &Backlog) {
    // More than one only while the encoder before drains.
    let mut clips = HashMap::new();
    for job in jobs {
        match job {
            Job::Begin(ring, begin) => {
                let (event, caps, ticket) = *begin;
                let stem = folder.stem(&event);
                match Clip::begin(folder, &stem, &caps, event, ticket) {
                    Ok(clip) => drop(clips.insert(ring, clip)),
                    Err(error) => failed(report, &format!("{stem}.{CLIP}"), &error),
                }
            }
            Job::Frame(ring, buffer) => {
                backlog.fetch_sub(buffer.size(), Ordering::Relaxed);
                if let Some(clip) = clips.get_mut(&ring)
                    && let Err(error) = clip.add(buffer)
                {
                    failed(report, &clip.name(), &error);
                    clips.remove(&ring);
                }
            }
            Job::End(ring) => {
                if let Some(clip) = clips.remove(&ring) {
                    let (name, event) = (clip.name(), clip.event.clone());
                    match clip.finish() {
                        Ok((path, _ticket)) => report.wrote(report::CLIP, &path, &event, folder),
                        Err(error) => failed(report, &name, &error),
                    }
                }
            }
            Job::Retire(retired) => {
                let (encoder, ring, _ticket) = *retired;
                // What it does not give in time is lost; an error of it has been told, or comes too late to matter.
                let _ = encoder.wait_end();
                drop(encoder);
                let lost = lock(&ring).close();
                for _ in 0..lost {
                    report.lost_clip("its encoder has made no frame of it");
                }
            }
        }
    }
}

fn failed(report: &Report, name: &str, error: &io::Error) {
    report.failed(report::CLIP, &format!("Cannot write the clip {name}"), error);
}

/// A clip being written; dropped before it is finished, it leaves no file.
struct Clip {
    // Stops before the file goes.
    muxer: Pipe,
    part: Part,
    event: Event,
    ticket: Ticket,
    /// Running time of the first frame, which is at 0 in the clip.
    begin: Option<gst::ClockTime>,
}

impl Clip {
    fn begin(folder: &Folder, stem: &str, caps: &gst::Caps, event: Event, ticket: Ticket) -> io::Result<Self> {
        let part = folder.begin(stem, CLIP)?;
        let sink = make("filesink", "GStreamer").map_err(io::Error::other)?;
        sink.set_property("location", part.temporary());
        sink.set_property("async", false);
        // What a program that dies has got is in the file.
        sink.set_property_from_str("buffer-mode", "unbuffered");
        let muxer = muxer().map_err(io::Error::other)?;
        let muxer = Pipe::new(caps, &[&muxer, &sink]).map_err(io::Error::other)?;
        muxer.set_state(gst::State::Playing)?;
        Ok(Self {
            muxer,
            part,
            event,
            ticket,
            begin: None,
        })
    }

    fn add(&mut self, mut buffer: gst::Buffer) -> io::Result<()> {
        let begin = *self.begin.get_or_insert(buffer.pts().unwrap_or_default());
        let frame = buffer.make_mut();
        frame.set_pts(frame.pts().map(|pts| pts.saturating_sub(begin)));
        frame.set_dts(frame.dts().map(|dts| dts.saturating_sub(begin)));
        self.muxer.wait_below(MUXER_BYTES)?;
        self.muxer.push(buffer)
    }

    /// Completes the file; its path, and what is to be dropped when that has been told.
    fn finish(self) -> io::Result<(PathBuf, Ticket)> {
        if self.begin.is_none() {
            return Err(io::Error::other("no frame of it was encoded"));
        }
        self.muxer.end();
        self.muxer.wait_end()?;
        drop(self.muxer);
        let path = self.part.path().to_owned();
        self.part.commit()?;
        Ok((path, self.ticket))
    }

    fn name(&self) -> String {
        let name = self.part.path().file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// Matroska: what has been written can be played even if the end is missing.
fn muxer() -> Result<gst::Element, String> {
    make(
        "matroskamux",
        "GStreamer's good plugins (on Debian gstreamer1.0-plugins-good)",
    )
}

/// The caps that a clip can hold.
pub fn caps() -> Result<gst::Caps, String> {
    let muxer = muxer()?;
    let template = muxer.pad_template("video_%u").expect("a muxer takes video");
    Ok(template.caps().clone())
}

//! Pipelines inside the element.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gst::prelude::*;

/// How long an encoder, a muxer or a disk may take for what is to be done next.
const LIMIT: Duration = Duration::from_secs(10);

/// How often a full queue is looked at.
const POLL: Duration = Duration::from_millis(5);

/// A pipeline that takes buffers; it is stopped when dropped.
pub struct Pipe {
    pipeline: gst::Pipeline,
    src: gst_app::AppSrc,
    /// An element has complained, and nothing goes through any more.
    has_failed: AtomicBool,
}

impl Pipe {
    /// Buffers of these caps, through the elements one after the other.
    pub fn new(caps: &gst::Caps, elements: &[&gst::Element]) -> Result<Self, String> {
        let src = gst_app::AppSrc::builder()
            .caps(caps)
            .format(gst::Format::Time)
            .max_bytes(0)
            .build();
        let pipeline = gst::Pipeline::new();
        // Nothing in it waits for a time.
        pipeline.use_clock(None::<&gst::Clock>);
        let mut chain: Vec<&gst::Element> = vec![src.upcast_ref()];
        chain.extend(elements);
        pipeline.add_many(&chain).map_err(|error| error.to_string())?;
        for pair in chain.windows(2) {
            pair[0]
                .link(pair[1])
                .map_err(|_| format!("`{}` does not take what comes before it", pair[1].name()))?;
        }
        Ok(Self {
            pipeline,
            src,
            has_failed: AtomicBool::new(false),
        })
    }

    /// Brings it to a state, or begins to; the error says what an element said.
    pub fn set_state(&self, state: gst::State) -> io::Result<()> {
        self.pipeline
            .set_state(state)
            .map(drop)
            .map_err(|_| self.error().unwrap_or_else(|| io::Error::other("it cannot be started")))
    }

    /// Where the buffers go in.
    pub fn src(&self) -> &gst_app::AppSrc {
        &self.src
    }

    /// Adds a buffer to those that wait, without waiting.
    pub fn push(&self, buffer: gst::Buffer) -> io::Result<()> {
        if let Some(error) = self.error() {
            return Err(error);
        }
        let pushed = self.src.push_buffer(buffer);
        pushed.map(drop).map_err(|error| io::Error::other(error.to_string()))
    }

    /// Waits until no more than `bytes` wait.
    pub fn wait_below(&self, bytes: u64) -> io::Result<()> {
        let end = Instant::now() + LIMIT;
        while self.src.current_level_bytes() > bytes {
            if let Some(error) = self.error() {
                return Err(error);
            }
            if Instant::now() > end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Says that no more comes.
    pub fn end(&self) {
        // Refused only by a pipeline that has stopped.
        let _ = self.src.end_of_stream();
    }

    /// Waits until everything has gone through, unless an error has been told.
    pub fn wait_end(&self) -> io::Result<()> {
        if self.has_failed.load(Ordering::Relaxed) {
            return Err(io::Error::other("it has failed before"));
        }
        let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
        let limit = gst::ClockTime::try_from(LIMIT).unwrap_or(gst::ClockTime::MAX);
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        match bus.timed_pop_filtered(limit, &kinds) {
            Some(message) => match error_of(&message) {
                Some(error) => Err(error),
                None => Ok(()),
            },
            None => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// What an element has complained of.
    pub fn error(&self) -> Option<io::Error> {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        let error = bus.pop_filtered(&[gst::MessageType::Error]);
        let error = error.and_then(|message| error_of(&message))?;
        self.has_failed.store(true, Ordering::Relaxed);
        Some(error)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // Down from any state, also after an error.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn error_of(message: &gst::Message) -> Option<io::Error> {
    let gst::MessageView::Error(error) = message.view() else {
        return None;
    };
    if error.error().matches(gst::ResourceError::NoSpaceLeft) {
        return Some(io::ErrorKind::StorageFull.into());
    }
    let text = error.error().message().to_owned();
    // The details of GStreamer's own elements: file, line, function and path, then the reason.
    let details = error.debug();
    let reason = details.as_deref().and_then(|details| details.split_once(":\n"));
    let text = match reason {
        Some((_, reason)) => format!("{text} {}", reason.lines().next().unwrap_or_default()),
        None => text,
    };
    Some(io::Error::other(text.trim_end_matches(['.', ' ']).to_owned()))
}

/// An element by its name; the error says where it comes from.
pub fn make(name: &str, package: &str) -> Result<gst::Element, String> {
    gst::ElementFactory::make(name)
        .build()
        .map_err(|_| format!("GStreamer has no element `{name}` here: install {package}"))
}

//! Events as lines in a file or on standard output.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::counters::Counters;
use super::outbox::Outbox;
use super::report::{Reporter, Trouble};
use super::worker::Worker;
use super::writer::{LineWriter, Rotation};

/// Opens `location` (`None` is standard output) and starts the thread that writes to it.
pub fn start(
    location: Option<&str>,
    append: bool,
    rotation: Rotation,
    counters: &Arc<Counters>,
    reporter: &Reporter,
) -> Result<Worker, gst::ErrorMessage> {
    let name = location.unwrap_or("standard output").to_owned();
    let cannot = |error: io::Error| {
        gst::error_msg!(
            gst::ResourceError::OpenWrite,
            ("Cannot open {name} to write results: {error}")
        )
    };
    let writer = LineWriter::open(location, append, rotation).map_err(cannot)?;
    let thread = Thread {
        writer,
        name: name.clone(),
        counters: counters.clone(),
        reporter: reporter.clone(),
        unwritten: Trouble::default(),
        unrotated: Trouble::default(),
    };
    Worker::spawn("candlepublish-lines", |outbox| thread.run(outbox)).map_err(cannot)
}

struct Thread {
    writer: LineWriter,
    name: String,
    counters: Arc<Counters>,
    reporter: Reporter,
    unwritten: Trouble,
    unrotated: Trouble,
}

impl Thread {
    fn run(mut self, outbox: &Outbox) {
        while let Some(event) = outbox.next() {
            match self.writer.rotate_before(event.json.len() + 1) {
                Ok(()) => self.unrotated.ends(),
                Err(error) if self.unrotated.begins() => self.reporter.warn(
                    gst::ResourceError::Write,
                    &format!(
                        "Cannot start a new file in place of {}, which goes on growing: {error}",
                        self.name
                    ),
                ),
                Err(_) => {}
            }
            match self.writer.write(&event.json) {
                Ok(()) => {
                    self.counters.lines_written.fetch_add(1, Relaxed);
                    self.unwritten.ends();
                }
                Err(error) => {
                    self.counters.lines_dropped.fetch_add(1, Relaxed);
                    if self.unwritten.begins() {
                        self.warn(&error);
                    }
                }
            }
        }
    }

    fn warn(&self, error: &io::Error) {
        let name = &self.name;
        let lost = "results are lost until it can be written again; `stats` counts them";
        if error.kind() == io::ErrorKind::StorageFull {
            let text = format!("No space left to write results to {name}; {lost}");
            self.reporter.warn(gst::ResourceError::NoSpaceLeft, &text);
        } else {
            let text = format!("Cannot write results to {name}: {error}; {lost}");
            self.reporter.warn(gst::ResourceError::Write, &text);
        }
    }
}

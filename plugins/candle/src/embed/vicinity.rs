//! From a frame to its code and the nearest known one.

use gst_candle::exec::Session;
use gst_candle::model::{CodeBook, Codes, Model, Task};
use gst_candle::pixels::Frame;
use gst_candle::tasks::Embedder;
use gst_candle::{Error, Result};
use gst_video::VideoInfo;

use super::result::{EmbedResult, Nearest};
use super::settings::Settings;
use crate::common::engine::{Failure, Worker};
use crate::common::frame;

/// A model at work, and what its frames are compared with.
pub struct Vicinity {
    embedder: Embedder,
    labels: Vec<String>,
    /// What `codes-file` holds, if it is set.
    book: Option<CodeBook>,
}

impl Worker for Vicinity {
    const TASKS: &[Task] = &[Task::Classify, Task::Anomaly, Task::Segment, Task::Embed];
    const CODER: bool = true;
    type Settings = Settings;

    fn new(model: &Model, session: Session) -> Result<Self> {
        Ok(Self {
            embedder: Embedder::with_session(model, session)?,
            labels: model.labels.clone(),
            book: None,
        })
    }

    /// Reads the file of codes, which must be of this model.
    fn prepare(&mut self, settings: &Settings) -> Result<(), Failure> {
        self.book = None;
        let Some(path) = settings.codes_file.as_deref().filter(|path| !path.is_empty()) else {
            return Ok(());
        };
        let failure = |error: Error| Failure::of_file("codes-file", &error);
        let book = CodeBook::load(path).map_err(failure)?;
        if book.network != self.embedder.network() {
            let reason = "its codes are of another model; make them anew with `gst-candle embed`";
            return Err(failure(Error::model(path, reason)));
        }
        self.book = Some(book);
        Ok(())
    }

    fn try_on(&mut self, buffer: &gst::BufferRef, info: &VideoInfo, settings: &Settings) -> Result<()> {
        let mapped = frame::map(buffer, info)?;
        let frame = frame::frame(&mapped, settings.common.gray16_white)?;
        self.look(&frame, settings)?;
        Ok(())
    }
}

impl Vicinity {
    /// The frame's code and the known one that is nearest.
    pub fn look(&mut self, frame: &Frame<'_>, settings: &Settings) -> Result<EmbedResult> {
        let seen = self.embedder.see_frame(frame, [0, 0, frame.width, frame.height])?;
        let codes = self.codes();
        let code = codes.code(&seen);
        let most = match settings.max_distance {
            own if own < 0.0 => codes.distance,
            set => set,
        };
        let nearest = codes.nearest(&code).map(|(row, distance)| self.nearest(row, distance));
        Ok(EmbedResult {
            known: nearest
                .as_ref()
                .is_some_and(|nearest| nearest.distance <= f64::from(most)),
            nearest,
            code,
            stale: false,
            size: [frame.width, frame.height].map(|side| side as i32),
        })
    }

    fn codes(&self) -> &Codes {
        self.book.as_ref().map_or(self.embedder.codes(), |book| &book.codes)
    }

    fn nearest(&self, row: usize, distance: f32) -> Nearest {
        let label = match &self.book {
            Some(book) => book.label(row),
            None => &self.labels[self.embedder.codes().classes[row]],
        };
        let name = self.book.as_ref().map_or(label, |book| &book.names[row]);
        Nearest {
            distance: distance.into(),
            name: name.to_owned(),
            label: label.to_owned(),
        }
    }
}

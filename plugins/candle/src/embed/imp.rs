//! How `candleembed` works.

use std::sync::{LazyLock, Mutex};

use gst::glib;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;

use super::result::{EmbedResult, Nearest};
use super::settings::Settings;
use super::vicinity::Vicinity;
use crate::common::analyzer::{self, Analyze, Own, State, Told, analyzer};
use crate::common::lock;
use crate::common::messages::Times;
use crate::common::pace::Pace;
use crate::common::result::Kind;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "candleembed",
        gst::DebugColorFlags::empty(),
        Some("Codes of frames by a learned model"),
    )
});

/// What the stream made.
#[derive(Default)]
pub struct Memory {
    /// The class of the nearest picture and whether it was near enough, as told last.
    told: Option<(String, bool)>,
    last: Option<EmbedResult>,
}

/// What the read-only properties show.
#[derive(Default, PartialEq)]
struct Shown {
    nearest: Option<Nearest>,
    known: bool,
}

/// The element's instance.
#[derive(Default)]
pub struct CandleEmbed {
    own: Own<Self>,
    last: Mutex<Shown>,
}

impl Analyze for CandleEmbed {
    type Settings = Settings;
    type Worker = Vicinity;
    type Memory = Memory;
    type Result = EmbedResult;

    fn category() -> gst::DebugCategory {
        *CAT
    }

    fn own(&self) -> &Own<Self> {
        &self.own
    }

    fn forget(_vicinity: &mut Vicinity, memory: &mut Memory) {
        memory.last = None;
    }

    fn work(
        &self,
        state: &mut State<Self>,
        settings: &Settings,
        times: Times,
        buffer: &mut gst::BufferRef,
    ) -> Result<Option<Told<EmbedResult>>, gst::ErrorMessage> {
        let is_result = state.memory.last.is_some();
        if state.pace(self, &settings.common, times, buffer, is_result) != Pace::Infer {
            if let Some(last) = &mut state.memory.last
                && settings.common.attach_meta
            {
                last.stale = true;
                last.attach(buffer);
            }
            return Ok(None);
        }
        let result = state.infer(self, buffer, settings.common.gray16_white, |vicinity, frame| {
            vicinity.look(frame, settings)
        })?;
        if settings.common.attach_meta {
            result.attach(buffer);
        }
        let label = result.nearest.as_ref().map(|nearest| nearest.label.clone());
        let told = (label.unwrap_or_default(), result.known);
        let changed = state.memory.told.as_ref() != Some(&told);
        state.memory.told = Some(told);
        state.memory.last = Some(result.clone());
        let due = state.poster.is_due(&settings.common, changed, times.running);
        Ok(Some(Told { result, changed, due }))
    }

    fn show(&self, result: &EmbedResult) {
        let now = Shown {
            nearest: result.nearest.clone(),
            known: result.known,
        };
        let before = std::mem::replace(&mut *lock(&self.last), now);
        let obj = self.obj();
        obj.notify("distance");
        let name = |nearest: &Option<Nearest>| nearest.as_ref().map(|nearest| nearest.name.clone());
        if name(&before.nearest) != name(&result.nearest) {
            obj.notify("nearest");
        }
        let label = |nearest: &Option<Nearest>| nearest.as_ref().map(|nearest| nearest.label.clone());
        if label(&before.nearest) != label(&result.nearest) {
            obj.notify("label");
        }
        if before.known != result.known {
            obj.notify("known");
        }
    }

    fn shown(&self, name: &str) -> Option<glib::Value> {
        let last = lock(&self.last);
        let nearest = last.nearest.as_ref();
        Some(match name {
            "distance" => nearest.map_or(-1.0, |nearest| nearest.distance).to_value(),
            "nearest" => nearest.map(|nearest| nearest.name.as_str()).to_value(),
            "label" => nearest.map(|nearest| nearest.label.as_str()).to_value(),
            "known" => last.known.to_value(),
            _ => return None,
        })
    }

    fn show_nothing(&self) {
        *lock(&self.last) = Shown::default();
    }
}

analyzer!(
    CandleEmbed,
    super::CandleEmbed,
    "GstCandleEmbed",
    [
        "Learned code",
        "Filter/Analyzer/Video",
        "Says in numbers what a frame looks like, and which known picture it looks like most"
    ]
);

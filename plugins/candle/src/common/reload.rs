//! Another model while the stream runs: loaded in the background, checked, tried on a frame, handed over between two frames. What fails
//! leaves the model that runs alone.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use gst::{glib, prelude::*};
use gst_base::prelude::*;
use gst_video::VideoInfo;

use super::engine::{self, Worker};
use super::lock;
use super::settings::Settings;
use super::shared::Held;

/// How often a watched file is looked at. It is loaded when it has stayed the same for as long.
const LOOK: Duration = Duration::from_millis(250);

/// The models that are to follow the one that runs.
pub struct Reload<W>(Arc<Mutex<Next<W>>>);

struct Next<W> {
    /// The number of the last request: those before it count no more.
    number: u64,
    /// The file that was asked for and is not in force yet.
    asked: Option<String>,
    loaded: Option<Held<W>>,
    /// Ends the thread that looks at the file, when it is dropped.
    watch: Option<Sender<()>>,
}

impl<W> Default for Reload<W> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Next {
            number: 0,
            asked: None,
            loaded: None,
            watch: None,
        })))
    }
}

impl<W> Clone for Reload<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<W: Worker> Reload<W> {
    /// Whether a property that is set on `element` is a model for while it runs, which is loaded then; `settings` are those in force.
    pub fn intercepts(
        &self,
        element: &gst_base::BaseTransform,
        name: &str,
        value: &glib::Value,
        settings: &Settings,
    ) -> bool {
        let is_ours = name == "model-file" && element.current_state() > gst::State::Ready;
        if is_ours {
            let mut settings = settings.clone();
            settings.set(name, value);
            self.request(element, settings);
        }
        is_ours
    }

    /// Loads the model that `settings` name for `element`, which runs. A request before it that is not in force yet is forgotten.
    pub fn request(&self, element: &gst_base::BaseTransform, settings: Settings) {
        let number = {
            let mut next = lock(&self.0);
            next.number += 1;
            next.asked.clone_from(&settings.model_file);
            next.loaded = None;
            next.number
        };
        let (reload, element) = (self.clone(), element.clone());
        let load = move || reload.load(number, &element, &settings);
        if let Err(error) = std::thread::Builder::new().name("candle-load".into()).spawn(load) {
            lock(&self.0).asked = None;
            gst::error!(gst::CAT_RUST, "no thread to load a model in: {error}");
        }
    }

    fn load(&self, number: u64, element: &gst_base::BaseTransform, settings: &Settings) {
        let path = settings.model_file.as_deref().unwrap_or_default();
        post_progress(element, gst::ProgressType::Start, &format!("Loading {path}"));
        let loaded = engine::load::<W>(settings).and_then(|mut worker| {
            if let Some(info) = info_of(element) {
                let blank = blank(&info);
                engine::run(|| worker.try_on(&blank, &info))?;
            }
            Ok(worker)
        });
        let mut next = lock(&self.0);
        if next.number != number {
            drop(next);
            return post_progress(
                element,
                gst::ProgressType::Canceled,
                &format!("{path} is wanted no more"),
            );
        }
        match loaded {
            Ok(worker) => {
                next.loaded = Some(worker);
                drop(next);
                post_progress(element, gst::ProgressType::Complete, &format!("{path} is ready"));
            }
            Err(error) => {
                next.asked = None;
                drop(next);
                post_progress(element, gst::ProgressType::Error, &format!("{path} cannot be used"));
                reject(element, path, &error);
            }
        }
    }

    /// The model that is to run from now on, and its file.
    pub fn take(&self) -> Option<(Held<W>, String)> {
        let mut next = lock(&self.0);
        let loaded = next.loaded.take()?;
        Some((loaded, next.asked.take().unwrap_or_default()))
    }

    /// Forgets what was asked for, and looks at the file no more; the file that was asked for, if it is not in force yet.
    pub fn stop(&self) -> Option<String> {
        let mut next = lock(&self.0);
        next.number += 1;
        (next.loaded, next.watch) = (None, None);
        next.asked.take()
    }

    /// Looks from now on, or no more, whether the file of the model has changed; `settings` gives what the element is set to.
    pub fn watch(
        &self,
        element: &gst_base::BaseTransform,
        on: bool,
        settings: impl Fn(&gst_base::BaseTransform) -> Settings + Send + 'static,
    ) {
        let mut next = lock(&self.0);
        next.watch = None;
        if !on {
            return;
        }
        let (stop, stopped) = channel();
        let mut known = Stamp::of(&settings(element));
        let (reload, element) = (self.clone(), element.downgrade());
        let look = move || {
            let mut seen = known.clone();
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let Some(element) = element.upgrade() else { return };
                let settings = settings(&element);
                let now = Stamp::of(&settings);
                if now.path != known.path {
                    // Another file was set: its own request loads it.
                    known = now.clone();
                } else if now != known && now == seen {
                    known = now.clone();
                    reload.request(&element, settings);
                }
                seen = now;
            }
        };
        match std::thread::Builder::new().name("candle-watch".into()).spawn(look) {
            Ok(_) => next.watch = Some(stop),
            Err(error) => gst::error!(gst::CAT_RUST, "no thread to watch a model in: {error}"),
        }
    }
}

/// What shows that a file has changed.
#[derive(Debug, Clone, PartialEq)]
struct Stamp {
    path: Option<String>,
    /// Time and length; `None` where the file is not to be had.
    state: Option<(Option<SystemTime>, u64)>,
}

impl Stamp {
    fn of(settings: &Settings) -> Self {
        let path = settings.model_file.clone();
        let metadata = path.as_ref().and_then(|path| Path::new(path).metadata().ok());
        let state = metadata.map(|metadata| (metadata.modified().ok(), metadata.len()));
        Self { path, state }
    }
}

/// Tells that the model at `path` runs from this frame on.
pub fn post_reloaded(element: &gst_base::BaseTransform, path: &str) {
    post(
        element,
        gst::Structure::builder("model-reloaded")
            .field("model-file", path)
            .build(),
    );
}

/// Tells that the model at `path` is not taken and why, to applications and to people.
fn reject(element: &gst_base::BaseTransform, path: &str, error: &gst::ErrorMessage) {
    let reason = error.to_string();
    let fields = gst::Structure::builder("model-rejected")
        .field("model-file", path)
        .field("reason", &reason);
    post(element, fields.build());
    gst::element_warning!(
        element,
        gst::ResourceError::Read,
        ("The model before stays in force: {reason}")
    );
}

fn post(element: &gst_base::BaseTransform, structure: gst::Structure) {
    // Fails only where there is no bus, which means that nobody listens.
    let _ = element.post_message(gst::message::Element::builder(structure).src(element).build());
}

fn post_progress(element: &gst_base::BaseTransform, type_: gst::ProgressType, text: &str) {
    // As above.
    let _ = element.post_message(
        gst::message::Progress::builder(type_, "load", text)
            .src(element)
            .build(),
    );
}

/// The frames that come in, if that is agreed on.
fn info_of(element: &gst_base::BaseTransform) -> Option<VideoInfo> {
    let caps = element.sink_pad().current_caps()?;
    VideoInfo::from_caps(&caps).ok()
}

/// A frame with nothing on it.
fn blank(info: &VideoInfo) -> gst::Buffer {
    gst::Buffer::from_mut_slice(vec![0u8; info.size()])
}

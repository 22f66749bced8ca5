//! Another model while the stream runs: loaded in the background, checked, tried on a frame, handed over between two frames. What fails in
//! that leaves the model that runs alone.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use gst::{glib, prelude::*};
use gst_base::prelude::*;
use gst_video::VideoInfo;

use super::engine::{self, Worker};
use super::lock;
use super::settings::{Settings, get};
use super::shared::Held;

/// How often a watched file is looked at. It is loaded when it has stayed the same for as long.
const LOOK: Duration = Duration::from_millis(250);

/// The models that are to follow the one that runs.
pub struct Reload<W>(Arc<Mutex<Next<W>>>);

struct Next<W> {
    /// What the element was set to when it started, between start and stop: device and the like stay as they were.
    running: Option<Settings>,
    /// The file in force as it was before it was read.
    known: Stamp,
    /// The number of the last request: those before it count no more.
    number: u64,
    /// The file that was asked for and is not in force yet.
    asked: Option<String>,
    loaded: Option<(Held<W>, Stamp)>,
    /// The number of the last watch, and what ends its thread when it is dropped.
    watch: (u64, Option<Sender<()>>),
}

impl<W> Default for Reload<W> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Next {
            running: None,
            known: Stamp::default(),
            number: 0,
            asked: None,
            loaded: None,
            watch: (0, None),
        })))
    }
}

impl<W> Clone for Reload<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<W: Worker> Reload<W> {
    /// The element starts with these settings: to be called before the model is loaded.
    pub fn start(&self, settings: &Settings) {
        let known = Stamp::of(settings.model_file.as_deref());
        let mut next = lock(&self.0);
        (next.running, next.known) = (Some(settings.clone()), known);
    }

    /// The element stops, or its start failed: what was asked for is forgotten and no file looked at. Gives the file that was asked for, if it is
    /// not in force yet.
    pub fn stop(&self) -> Option<String> {
        let mut next = lock(&self.0);
        next.number += 1;
        next.running = None;
        next.watch = (next.watch.0 + 1, None);
        let (asked, loaded) = (next.asked.take(), next.loaded.take());
        drop(next);
        drop(loaded);
        asked
    }

    /// Whether a property that is set on `element` is a model for while it runs, which is loaded then. A request before it that is not in force
    /// yet is forgotten. With `watch-model`, begins or ends to look at the file.
    pub fn intercepts(&self, element: &gst_base::BaseTransform, name: &str, value: &glib::Value) -> bool {
        match name {
            "watch-model" => self.watch(element, get(value)),
            "model-file" => return self.ask(element, value),
            _ => {}
        }
        false
    }

    fn ask(&self, element: &gst_base::BaseTransform, file: &glib::Value) -> bool {
        let next = lock(&self.0);
        let Some(mut settings) = next.running.clone() else {
            return false;
        };
        settings.model_file = get(file);
        self.request(next, element, settings);
        true
    }

    fn request(&self, mut next: MutexGuard<Next<W>>, element: &gst_base::BaseTransform, settings: Settings) {
        next.number += 1;
        next.asked = Some(settings.model_file.clone().unwrap_or_default());
        let (number, before) = (next.number, next.loaded.take());
        drop(next);
        drop(before);
        let path = settings.model_file.clone().unwrap_or_default();
        let (reload, loads_for) = (self.clone(), element.clone());
        let load = move || reload.load(number, &loads_for, &settings);
        if let Err(error) = std::thread::Builder::new().name("candle-load".into()).spawn(load) {
            let mut next = lock(&self.0);
            if next.number == number {
                next.asked = None;
            }
            drop(next);
            reject(element, &path, &format!("{path}: no thread to load it in: {error}"));
        }
    }

    fn load(&self, number: u64, element: &gst_base::BaseTransform, settings: &Settings) {
        let stamp = Stamp::of(settings.model_file.as_deref());
        let path = settings.model_file.as_deref().unwrap_or_default();
        post_progress(element, gst::ProgressType::Start, &format!("Loading {path}"));
        let loaded = engine::load::<W>(settings).and_then(|mut worker| {
            if let Some(info) = info_of(element) {
                engine::run(|| worker.try_on(&blank(&info), &info)).map_err(|error| error.of_model(path))?;
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
                next.loaded = Some((worker, stamp));
                drop(next);
                post_progress(element, gst::ProgressType::Complete, &format!("{path} is ready"));
            }
            Err(error) => {
                next.asked = None;
                if stamp.path == next.known.path {
                    // As it is now, the file is known not to do.
                    next.known = stamp;
                }
                drop(next);
                post_progress(element, gst::ProgressType::Error, &format!("{path} cannot be used"));
                reject(element, path, error.text());
            }
        }
    }

    /// Between two frames: hands a model that was loaded meanwhile, and its file, to `take_over`, and tells it.
    pub fn renew(&self, element: &gst_base::BaseTransform, take_over: impl FnOnce(Held<W>, String)) {
        let mut next = lock(&self.0);
        let Some((loaded, stamp)) = next.loaded.take() else {
            return;
        };
        let path = next.asked.take().unwrap_or_default();
        next.known = stamp;
        if let Some(running) = &mut next.running {
            running.model_file = Some(path.clone());
        }
        drop(next);
        take_over(loaded, path.clone());
        element.notify("model-file");
        let reloaded = gst::Structure::builder("model-reloaded").field("model-file", path);
        post(element, reloaded.build());
    }

    /// Looks from now on, or no more, whether the file of the model in force has changed; in an element that runs.
    pub fn watch(&self, element: &gst_base::BaseTransform, on: bool) {
        let mut next = lock(&self.0);
        let number = next.watch.0 + 1;
        next.watch = (number, None);
        if !on || next.running.is_none() {
            return;
        }
        let (stop, stopped) = channel();
        next.watch.1 = Some(stop);
        drop(next);
        let (reload, watched) = (self.clone(), element.downgrade());
        let look = move || {
            let mut seen = Stamp::default();
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let Some(element) = watched.upgrade() else { return };
                let path = lock(&reload.0).known.path.clone();
                let now = Stamp::of(path.as_deref());
                if now == seen {
                    reload.look(number, &element, now);
                } else {
                    seen = now;
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("candle-watch".into()).spawn(look) {
            gst::element_warning!(
                element,
                gst::ResourceError::Failed,
                ("The model is not watched: no thread can be had: {error}")
            );
        }
    }

    /// Loads the file in force again if it is not `now` what it was, unless something else is asked for.
    fn look(&self, watch: u64, element: &gst_base::BaseTransform, now: Stamp) {
        let next = lock(&self.0);
        let changed = now.path == next.known.path && now != next.known;
        if next.watch.0 == watch
            && next.asked.is_none()
            && changed
            && let Some(settings) = next.running.clone()
        {
            self.request(next, element, settings);
        }
    }
}

/// What shows that a file has changed.
#[derive(Debug, Clone, PartialEq, Default)]
struct Stamp {
    path: Option<String>,
    /// Time and length; `None` where the file is not to be had.
    state: Option<(Option<SystemTime>, u64)>,
}

impl Stamp {
    fn of(path: Option<&str>) -> Self {
        let metadata = path.and_then(|path| Path::new(path).metadata().ok());
        let state = metadata.map(|metadata| (metadata.modified().ok(), metadata.len()));
        let path = path.map(str::to_owned);
        Self { path, state }
    }
}

/// Tells that the model at `path` is not taken and why, to applications and to people.
fn reject(element: &gst_base::BaseTransform, path: &str, reason: &str) {
    let fields = gst::Structure::builder("model-rejected")
        .field("model-file", path)
        .field("reason", reason);
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

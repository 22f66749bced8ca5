//! Another model while the stream runs: loaded in the background, checked, tried on a frame, handed over between two frames. What fails in
//! that leaves the model that runs alone.
//!
//! | message | when | fields |
//! |---|---|---|
//! | `model-reloaded` | the model is in force, from the next frame on | `model-file` |
//! | `model-rejected` | it cannot be used, and the one before stays; a warning says the same | `model-file`, `reason` (gchararray) |
//!
//! Messages of the type PROGRESS with the code `load` say that a file is being loaded, is ready, cannot be used, or is wanted no more.

mod watch;

use std::mem;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use gst::{glib, prelude::*};
use gst_video::VideoInfo;

use super::engine::{self, Failure, Worker};
use super::lock;
use super::settings::{Settings, get};
use super::shared::Held;
use watch::Stamp;

/// A first load that takes longer is told by PROGRESS messages.
const SLOW: Duration = Duration::from_millis(500);

/// The models that are to follow the one that runs.
pub struct Reload<W: Worker>(Arc<Mutex<Next<W>>>);

struct Next<W: Worker> {
    /// What the element was set to when it started, between start and stop: device and the like stay as they were.
    running: Option<Settings>,
    /// The file in force as it was before it was read.
    known: Stamp,
    /// The number of the last request: those before it count no more.
    number: u64,
    /// The file that was asked for and is not in force yet.
    asked: Option<String>,
    stage: Stage<W>,
    /// What the thread is to do next, and whether there is one.
    job: Option<Job<W>>,
    busy: bool,
    /// The number of the last watch, and what ends its thread when it is dropped.
    watch: (u64, Option<Sender<()>>),
}

/// A model that was loaded meanwhile.
enum Stage<W> {
    /// There is none, or the thread has it.
    None,
    /// To be tried on the next frame.
    Loaded(Held<W>, Stamp),
    /// Tried on a frame of such a size and format: to take over.
    Ready(Held<W>, Stamp, VideoInfo),
}

/// Work of the thread, for the request of this number.
enum Job<W: Worker> {
    Load(u64, Settings),
    Try(u64, Held<W>, Stamp, Sample<W::Settings>),
    /// What a model has in memory is given back where no frame waits for it.
    Drop(Held<W>),
}

/// A frame of the stream, and how the element is set.
struct Sample<S> {
    frame: gst::Buffer,
    info: VideoInfo,
    settings: S,
}

impl<W: Worker> Default for Reload<W> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Next {
            running: None,
            known: Stamp::default(),
            number: 0,
            asked: None,
            stage: Stage::None,
            job: None,
            busy: false,
            watch: (0, None),
        })))
    }
}

impl<W: Worker> Clone for Reload<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<W: Worker> Reload<W> {
    /// The element starts with these settings: loads its first model.
    pub fn start(&self, element: &gst_base::BaseTransform, settings: &Settings) -> Result<Held<W>, Failure> {
        let known = Stamp::of(settings.model_file.as_deref());
        {
            let mut next = lock(&self.0);
            (next.running, next.known) = (Some(settings.clone()), known);
        }
        let path = settings.model_file.as_deref().unwrap_or_default();
        let loaded = told_when_slow(element, path, || engine::load::<W>(settings));
        match loaded {
            Ok(_) => self.watch(element, settings.watch_model),
            Err(_) => drop(self.stop()),
        }
        loaded
    }

    /// The element stops: what was asked for is forgotten and no file looked at. Gives the file that was asked for, if it is not in force yet.
    pub fn stop(&self) -> Option<String> {
        let mut next = lock(&self.0);
        next.number += 1;
        next.running = None;
        next.watch = (next.watch.0 + 1, None);
        let asked = next.asked.take();
        let forgotten = (mem::replace(&mut next.stage, Stage::None), next.job.take());
        drop(next);
        drop(forgotten);
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
        let before = mem::replace(&mut next.stage, Stage::None);
        let job = Job::Load(next.number, settings);
        self.give(next, element, job);
        drop(before);
    }

    /// Gives the thread its next job, in place of one that still waits. There is one thread an element, as long as there is work.
    fn give(&self, mut next: MutexGuard<Next<W>>, element: &gst_base::BaseTransform, job: Job<W>) {
        let before = next.job.replace(job);
        let has_thread = mem::replace(&mut next.busy, true);
        drop(next);
        drop(before);
        if has_thread {
            return;
        }
        let (reload, works_for) = (self.clone(), element.downgrade());
        let work = move || reload.work(&works_for);
        if let Err(error) = std::thread::Builder::new().name("candle-load".into()).spawn(work) {
            let mut next = lock(&self.0);
            next.busy = false;
            let (job, asked) = (next.job.take(), next.asked.take());
            drop(next);
            drop(job);
            if let Some(path) = asked {
                reject(element, &path, &format!("{path}: no thread to load it in: {error}"));
            }
        }
    }

    /// What the thread does.
    fn work(&self, element: &glib::WeakRef<gst_base::BaseTransform>) {
        loop {
            let mut next = lock(&self.0);
            let Some(job) = next.job.take() else {
                next.busy = false;
                return;
            };
            drop(next);
            match job {
                Job::Load(number, settings) => self.load(number, element, &settings),
                Job::Try(number, worker, stamp, sample) => self.try_on(number, element, worker, stamp, &sample),
                Job::Drop(worker) => drop(worker),
            }
        }
    }

    fn load(&self, number: u64, element: &glib::WeakRef<gst_base::BaseTransform>, settings: &Settings) {
        let stamp = Stamp::of(settings.model_file.as_deref());
        let path = settings.model_file.as_deref().unwrap_or_default();
        let tell = |type_, text: &str| {
            if let Some(element) = element.upgrade() {
                post_progress(&element, type_, text);
            }
        };
        tell(gst::ProgressType::Start, &format!("Loading {path}"));
        let loaded = engine::load::<W>(settings);
        let mut next = lock(&self.0);
        if next.number != number {
            drop(next);
            return tell(gst::ProgressType::Canceled, &format!("{path} is wanted no more"));
        }
        match loaded {
            Ok(worker) => {
                next.stage = Stage::Loaded(worker, stamp);
                drop(next);
                tell(gst::ProgressType::Complete, &format!("{path} is loaded"));
            }
            Err(error) => {
                drop(next);
                tell(gst::ProgressType::Error, &format!("{path} cannot be used"));
                self.refuse(number, element, stamp, &error);
            }
        }
    }

    /// Tries a model on a frame of the stream: it must do, and has planned for its size afterwards.
    fn try_on(
        &self,
        number: u64,
        element: &glib::WeakRef<gst_base::BaseTransform>,
        mut worker: Held<W>,
        stamp: Stamp,
        sample: &Sample<W::Settings>,
    ) {
        let Sample { frame, info, settings } = sample;
        let tried = worker
            .prepare(settings)
            .and_then(|()| engine::run(|| worker.try_on(frame, info, settings)));
        match tried {
            Ok(()) => {
                let mut next = lock(&self.0);
                if next.number == number {
                    next.stage = Stage::Ready(worker, stamp, info.clone());
                }
            }
            Err(error) => {
                let error = error.of_model(stamp.path.as_deref().unwrap_or_default());
                self.refuse(number, element, stamp, &error);
            }
        }
    }

    /// The model that was asked for with this number does not do; it is told if it is wanted still.
    fn refuse(&self, number: u64, element: &glib::WeakRef<gst_base::BaseTransform>, stamp: Stamp, error: &Failure) {
        let mut next = lock(&self.0);
        if next.number != number {
            return;
        }
        let path = next.asked.take().unwrap_or_default();
        if stamp.path == next.known.path {
            // As it is now, the file is known not to do.
            next.known = stamp;
        }
        drop(next);
        if let Some(element) = element.upgrade() {
            reject(&element, &path, error.text());
        }
    }

    /// Between two frames: has a model that was loaded meanwhile tried on a copy of `frame` in the background; hands one that was tried on such
    /// a frame, and its file, to `take_over`, which gives the one before, and tells it.
    pub fn renew(
        &self,
        element: &gst_base::BaseTransform,
        frame: &gst::BufferRef,
        info: &VideoInfo,
        settings: &W::Settings,
        take_over: impl FnOnce(Held<W>, String) -> Held<W>,
    ) {
        let mut next = lock(&self.0);
        let (worker, stamp) = match mem::replace(&mut next.stage, Stage::None) {
            Stage::None => return,
            Stage::Ready(worker, stamp, tried) if tried == *info => {
                return self.swap(next, element, worker, stamp, take_over);
            }
            Stage::Ready(worker, stamp, _) | Stage::Loaded(worker, stamp) => (worker, stamp),
        };
        let number = next.number;
        drop(next);
        // A gap's buffer stands for nothing.
        let copy = (!frame.flags().contains(gst::BufferFlags::GAP)).then(|| frame.copy_deep());
        let mut next = lock(&self.0);
        if next.number != number {
            return;
        }
        let Some(Ok(frame)) = copy else {
            next.stage = Stage::Loaded(worker, stamp);
            return;
        };
        let (info, settings) = (info.clone(), settings.clone());
        let sample = Sample { frame, info, settings };
        self.give(next, element, Job::Try(number, worker, stamp, sample));
    }

    fn swap(
        &self,
        mut next: MutexGuard<Next<W>>,
        element: &gst_base::BaseTransform,
        worker: Held<W>,
        stamp: Stamp,
        take_over: impl FnOnce(Held<W>, String) -> Held<W>,
    ) {
        let path = next.asked.take().unwrap_or_default();
        next.known = stamp;
        if let Some(running) = &mut next.running {
            running.model_file = Some(path.clone());
        }
        drop(next);
        let before = take_over(worker, path.clone());
        let next = lock(&self.0);
        if next.job.is_none() {
            self.give(next, element, Job::Drop(before));
        }
        element.notify("model-file");
        let reloaded = gst::Structure::builder("model-reloaded").field("model-file", path);
        post(element, reloaded.build());
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

/// Does `work`, with PROGRESS messages if it takes long.
fn told_when_slow<T, E>(
    element: &gst_base::BaseTransform,
    path: &str,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let (end, ended) = channel();
    std::thread::scope(|scope| {
        let tell = move || {
            if ended.recv_timeout(SLOW) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            post_progress(element, gst::ProgressType::Start, &format!("Loading {path}"));
            match ended.recv() {
                Ok(true) => post_progress(element, gst::ProgressType::Complete, &format!("{path} is loaded")),
                _ => post_progress(element, gst::ProgressType::Error, &format!("{path} cannot be used")),
            }
        };
        // Without a thread nothing is told.
        let _ = std::thread::Builder::new()
            .name("candle-load".into())
            .spawn_scoped(scope, tell);
        let done = work();
        // Nobody hears it where nothing is told.
        let _ = end.send(done.is_ok());
        done
    })
}

//! Models in memory: a file is loaded once for all elements that name it, on one device in one way.

use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::SystemTime;

use gst_candle::exec::{Options, Session};
use gst_candle::graph::Weights;
use gst_candle::model::{Model, Task};
use gst_candle::{Error, Result};

use super::lock;

/// A model in memory.
pub struct Shared {
    /// Without its weights, which the session has.
    pub model: Model,
    pub session: Session,
}

/// What shows whether a file is still the one that it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Device and number on it.
    inode: [u64; 2],
    len: u64,
    modified: SystemTime,
}

impl Version {
    /// Of the file at `path` as it is now.
    pub fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self {
            inode: [metadata.dev(), metadata.ino()],
            len: metadata.len(),
            modified: metadata.modified()?,
        })
    }
}

/// A file as it is now, and how it is to run.
#[derive(Debug, Clone, PartialEq)]
struct Key {
    path: PathBuf,
    version: Version,
    options: Options,
    /// Whether it is the part that gives codes.
    coder: bool,
}

impl Key {
    fn of(path: &str, options: &Options, coder: bool) -> io::Result<Self> {
        let path = std::fs::canonicalize(path)?;
        Ok(Self {
            version: Version::of(&path)?,
            path,
            options: *options,
            coder,
        })
    }
}

/// Where a model is, or will be as soon as it is loaded: whoever loads it holds the lock meanwhile, so that no other file has to wait.
type Place = Arc<Mutex<Weak<Shared>>>;

static PLACES: Mutex<Vec<(Key, Place)>> = Mutex::new(Vec::new());

impl Shared {
    /// The model at `path`; with `coder`, of one for these `tasks`, the part that gives [codes](Model::coder). Loaded, if no element has it.
    pub fn load(path: &str, options: &Options, tasks: &[Task], coder: bool) -> Result<Arc<Self>> {
        let key = Key::of(path, options, coder).map_err(|source| Error::io(path, source))?;
        let place = place(key.clone());
        let mut place = lock(&place);
        if let Some(shared) = place.upgrade() {
            return Ok(shared);
        }
        let mut model = Model::load(&key.path)?;
        if Key::of(path, options, coder).ok().as_ref() != Some(&key) {
            return Err(Error::model(
                path,
                "it changed while it was read; try again when it is complete",
            ));
        }
        if coder && tasks.contains(&model.task) {
            model = model.coder()?;
        }
        let session = Session::new(&model, options)?;
        model.weights = Weights::default();
        let shared = Arc::new(Self { model, session });
        *place = Arc::downgrade(&shared);
        Ok(shared)
    }
}

/// The place of a model; those of models that nobody has any more are cleared away.
fn place(key: Key) -> Place {
    let mut places = lock(&PLACES);
    let is_used = |place: &Place| Arc::strong_count(place) > 1 || lock(place).strong_count() > 0;
    places.retain(|(_, place)| is_used(place));
    if let Some((_, place)) = places.iter().find(|(other, _)| *other == key) {
        return place.clone();
    }
    let place = Place::default();
    places.push((key, place.clone()));
    place
}

/// What an element makes of a model, which stays loaded as long as this lives.
pub struct Held<E> {
    worker: E,
    _shared: Arc<Shared>,
}

impl<E> Held<E> {
    /// `worker` runs on the session of `shared`.
    pub fn new(worker: E, shared: Arc<Shared>) -> Self {
        Self {
            worker,
            _shared: shared,
        }
    }
}

impl<E> Deref for Held<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.worker
    }
}

impl<E> DerefMut for Held<E> {
    fn deref_mut(&mut self) -> &mut E {
        &mut self.worker
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts a shipped model at `path`.
    fn copy(name: &str, path: &Path) {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
        std::fs::copy(models.join(name).with_extension("safetensors"), path).expect("it can be copied");
    }

    #[test]
    fn a_file_is_loaded_once_and_again_when_it_changes() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (path, other) = (folder.path().join("m.safetensors"), folder.path().join("o.safetensors"));
        copy("denoise-testsrc", &path);
        copy("denoise-testsrc", &other);
        let load = |path: &Path, threads| {
            let options = Options {
                threads,
                ..Options::default()
            };
            Shared::load(path.to_str().expect("the path is UTF-8"), &options, &[], false).expect("the model is sound")
        };
        let first = load(&path, 1);
        assert!(first.model.weights.is_empty());
        assert!(Arc::ptr_eq(&first, &load(&path, 1)));
        std::os::unix::fs::symlink(&path, folder.path().join("link")).expect("links can be made");
        assert!(Arc::ptr_eq(&first, &load(&folder.path().join("link"), 1)));
        assert!(!Arc::ptr_eq(&first, &load(&path, 2)), "other threads");
        assert!(!Arc::ptr_eq(&first, &load(&other, 1)), "another file");
        copy("denoise-fast-gray", &path);
        assert!(!Arc::ptr_eq(&first, &load(&path, 1)), "a new file of the same name");
        let all = || {
            lock(&PLACES)
                .iter()
                .filter(|(key, _)| key.path.starts_with(folder.path()))
                .count()
        };
        drop(first);
        let last = load(&path, 1);
        assert_eq!(all(), 1, "those that nobody has are gone");
        drop(last);
    }

    #[test]
    fn those_who_ask_at_the_same_time_get_the_same() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("m.safetensors");
        copy("denoise-fast-rgb", &path);
        let path = path.to_str().expect("the path is UTF-8");
        let load = || Shared::load(path, &Options::default(), &[], false).expect("the model is sound");
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
            let all: Vec<_> = threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .collect();
            assert!(all.iter().all(|one| Arc::ptr_eq(one, &all[0])));
        });
    }
}

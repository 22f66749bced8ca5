//! Models: how they are loaded and run so that what goes wrong becomes an element's error.

use std::any::Any;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};

use gst_candle::exec::Session;
use gst_candle::model::{Model, Task};
use gst_candle::{Error, Result};
use gst_video::VideoInfo;

use super::settings::Settings;
use super::shared::{Held, Shared};

/// What went wrong, for people and as an element's error.
#[derive(Debug)]
pub struct Failure {
    text: String,
    message: gst::ErrorMessage,
}

impl Failure {
    fn new<T: gst::MessageErrorDomain>(error: T, text: String) -> Self {
        let message = gst::error_msg!(error, ("{text}"));
        Self { text, message }
    }

    /// The file that `property` names does not do.
    pub fn of_file(property: &str, error: &Error) -> Self {
        let text = format!("The file named by `{property}` cannot be used: {error}");
        match error {
            Error::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
                Self::new(gst::ResourceError::NotFound, text)
            }
            Error::Io { .. } => Self::new(gst::ResourceError::OpenRead, text),
            _ => Self::new(gst::ResourceError::Settings, text),
        }
    }

    /// The sentence.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same of a model that was tried, whose file it names.
    pub fn of_model(self, path: &str) -> Self {
        Self::new(
            gst::ResourceError::Failed,
            format!("The model cannot be used: {path}: {}", self.text),
        )
    }
}

impl From<Failure> for gst::ErrorMessage {
    fn from(failure: Failure) -> Self {
        failure.message
    }
}

/// What an element makes of a model.
pub trait Worker: Sized + Send + 'static {
    /// The tasks of models that it works with; the first is the one that it is for.
    const TASKS: &[Task];
    /// Whether it works with the part of a model that gives [codes](Model::coder), instead of the whole.
    const CODER: bool = false;
    /// How the element is set.
    type Settings: Clone + Send + 'static;
    /// Makes a model ready to run.
    fn new(model: &Model, session: Session) -> Result<Self>;
    /// Reads what else the settings name, before the first frame.
    fn prepare(&mut self, _settings: &Self::Settings) -> Result<(), Failure> {
        Ok(())
    }
    /// Works on a frame as it would in the stream, and forgets it.
    fn try_on(&mut self, frame: &gst::BufferRef, info: &VideoInfo, settings: &Self::Settings) -> Result<()>;
}

/// Loads the model that `settings` name, where no other element has, checks that it is for a task of `W`, and makes it ready to run.
pub fn load<W: Worker>(settings: &Settings) -> Result<Held<W>, Failure> {
    let tasks = W::TASKS;
    let Some(path) = settings.model_file.as_deref().filter(|path| !path.is_empty()) else {
        return Err(Failure::new(
            gst::ResourceError::NotFound,
            format!(
                "No model: set the property `model-file` to a file made by `gst-candle train {}`",
                tasks[0]
            ),
        ));
    };
    let options = settings.options().map_err(|error| describe(path, &error))?;
    catch(|| {
        let shared = Shared::load(path, &options, tasks, W::CODER).map_err(|error| describe(path, &error))?;
        let model = &shared.model;
        if !tasks.contains(&model.task) {
            let done: Vec<String> = tasks.iter().map(|task| format!("`{task}`")).collect();
            return Err(Failure::new(
                gst::ResourceError::Settings,
                format!(
                    "{path}: a model for the task `{}`, not for {}, which this element does",
                    model.task,
                    done.join(" or ")
                ),
            ));
        }
        let worker = W::new(model, shared.session.clone()).map_err(|error| describe(path, &error))?;
        Ok(Held::new(worker, shared))
    })
}

/// Runs `work` on a frame.
pub fn run<T>(work: impl FnOnce() -> Result<T>) -> Result<T, Failure> {
    catch(|| work().map_err(|error| Failure::new(gst::StreamError::Failed, format!("Inference failed: {error}"))))
}

/// Runs `work`; a panic is an error like others. A model that panicked may be used again: what it keeps from frame to frame, its user
/// resets.
fn catch<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        Err(Failure::new(
            gst::LibraryError::Failed,
            format!("Inference panicked: {}", panic_text(panic.as_ref())),
        ))
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason given")
}

/// The library's error as one of a resource; `path` is the model's file, named where the error does not.
fn describe(path: &str, error: &Error) -> Failure {
    match error {
        Error::Io { source, .. } if source.kind() == ErrorKind::NotFound => Failure::new(
            gst::ResourceError::NotFound,
            format!("The file named by the property `model-file` does not exist: {error}"),
        ),
        Error::Io { .. } => Failure::new(
            gst::ResourceError::OpenRead,
            format!("The model cannot be read: {error}"),
        ),
        Error::Model { .. } => Failure::new(gst::ResourceError::Read, format!("The model cannot be used: {error}")),
        Error::Device { .. } => Failure::new(
            gst::ResourceError::Settings,
            format!("The property `device` cannot be met: {error}"),
        ),
        error => Failure::new(
            gst::ResourceError::Failed,
            format!("The model cannot be used: {path}: {error}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Worker for Nobody {
        const TASKS: &[Task] = &[Task::Anomaly];
        type Settings = ();

        fn new(_: &Model, _: Session) -> Result<Self> {
            unreachable!("there is no model")
        }

        fn try_on(&mut self, _: &gst::BufferRef, _: &VideoInfo, (): &()) -> Result<()> {
            unreachable!("there is no model")
        }
    }

    #[test]
    fn a_panic_while_running_is_an_error_with_its_text() {
        gst::init().expect("GStreamer starts");
        let error = run::<()>(|| panic!("weights of {}", "straw")).expect_err("it panicked");
        let text = format!("{error:?}");
        assert!(text.contains("Inference panicked: weights of straw"), "{text}");
        assert_eq!(run(|| Ok(3)).expect("nothing went wrong"), 3);
    }

    #[test]
    fn no_model_file_is_said_with_the_property_and_the_command() {
        gst::init().expect("GStreamer starts");
        for model_file in [None, Some(String::new())] {
            let settings = Settings {
                model_file,
                ..Settings::default()
            };
            let error = load::<Nobody>(&settings).err().expect("no model");
            let text = format!("{error:?}");
            assert!(
                text.contains("`model-file`") && text.contains("train anomaly"),
                "{text}"
            );
        }
    }
}

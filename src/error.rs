//! What can go wrong, in words for the person who has to mend it.

use std::path::{Path, PathBuf};

/// The library's error. Every variant names the thing at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said. The message has it, so it must not come again as [`std::error::Error::source`], which is what
        /// thiserror would make of the plain name.
        r#source: std::io::Error,
    },
    /// A model file breaks the format; the reason names the metadata key or the tensor.
    #[error("{}: {reason}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// The key or tensor at fault, and what is wrong with it.
        reason: String,
    },
    /// A picture, a video or a folder cannot be used.
    #[error("{}: {reason}", path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A graph is not valid.
    #[error("node `{node}`: {reason}")]
    Graph {
        /// The node at fault.
        node: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A device was asked for that is not here.
    #[error("device `{device}`: {reason}")]
    Device {
        /// As it was asked for.
        device: String,
        /// Why it cannot be had.
        reason: String,
    },
    /// An argument is out of range or does not fit the others.
    #[error("{0}")]
    Invalid(String),
    /// The tensor library failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An input or output error on `path`.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.as_ref().to_owned(),
            source,
        }
    }

    /// A model file that breaks the format.
    pub fn model(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Model {
            path: path.as_ref().to_owned(),
            reason: reason.into(),
        }
    }

    /// Data that cannot be used.
    pub fn data(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Data {
            path: path.as_ref().to_owned(),
            reason: reason.into(),
        }
    }

    /// An invalid node of a graph.
    pub fn graph(node: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Graph {
            node: node.into(),
            reason: reason.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_said_once() {
        let error = Error::io("a.png", std::io::Error::from(std::io::ErrorKind::NotFound));
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        assert_eq!(text, "a.png: entity not found");
    }
}

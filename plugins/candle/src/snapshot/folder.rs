//! The folder: names, files that appear when they are whole, and which are removed.
//!
//! A file is `TIME_ELEMENT_EVENT[_LABEL][_SCORE].EXTENSION`, such as `20261127T051530.123456Z_candlesnapshot0_alarm-begin_0.8731.jpg`: sorted
//! by name, files are in the order of their times, which are UTC. A picture and its clip differ in the extension alone. What is being
//! written is `.NAME.part`, and locked; what a program left so that died is picked up at the next start.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use gst::glib;

use super::event::{Event, NAMES};

/// Extensions of the files.
pub const PNG: &str = "png";
pub const JPEG: &str = "jpg";
pub const CLIP: &str = "mkv";

const PART: &str = ".part";

/// The longest label, and the longest element's name, in a file name, in bytes; file systems allow 255 for all.
const NAME_BYTES: usize = 60;

/// `20261127T051530.123456Z`, digits as zeros.
const TIME: &str = "00000000T000000.000000Z";

/// Where the files of one element go.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    /// The element's name as it stands in file names.
    element: String,
}

impl Folder {
    /// Makes the folder if need be, sees whether files can be written there, and picks up what a program that died left.
    pub fn open(path: &str, element: &str) -> io::Result<Self> {
        let folder = Self {
            path: path.into(),
            element: plain(element),
        };
        std::fs::create_dir_all(&folder.path)?;
        let trial = format!("{}_{}_{}", utc(SystemTime::now()), folder.element, std::process::id());
        drop(folder.begin(&trial, "trial")?);
        folder.pick_up()?;
        Ok(folder)
    }

    /// The name of an event's files, without their extension.
    pub fn stem(&self, event: &Event) -> String {
        let mut stem = format!("{}_{}_{}", utc(event.at), self.element, event.name);
        let named = match event.name {
            "class-begin" => event.class.as_ref(),
            _ => event.label.as_ref().or(event.class.as_ref()),
        };
        if let Some((label, _)) = named {
            stem += &format!("_{}", plain(label));
        }
        if let Some((score, _)) = event.score {
            stem += &format!("_{}", short(score));
        }
        stem
    }

    /// A file to write, which appears under its name when it is committed.
    pub fn begin(&self, stem: &str, extension: &str) -> io::Result<Part> {
        let path = self.path.join(format!("{stem}.{extension}"));
        let temporary = self.path.join(format!(".{stem}.{extension}{PART}"));
        let file = File::create_new(&temporary)?;
        let part = Part { file, temporary, path };
        // Where there are no locks, nobody will take it for one that was left.
        let _ = part.file.try_lock();
        Ok(part)
    }

    /// Removes the oldest events' files until no more are left than allowed, where 0 allows any number; the newest event's always stay.
    /// The number of files removed.
    pub fn thin(&self, max_files: u32, max_size: u64) -> io::Result<u64> {
        if max_files == 0 && max_size == 0 {
            return Ok(0);
        }
        let mut events: BTreeMap<String, Vec<(PathBuf, u64)>> = BTreeMap::new();
        for entry in std::fs::read_dir(&self.path)?.flatten() {
            let name = entry.file_name();
            if let (Some(stem), Ok(metadata)) = (name.to_str().and_then(|name| self.stem_of(name)), entry.metadata())
                && metadata.is_file()
            {
                let files = events.entry(stem.to_owned()).or_default();
                files.push((entry.path(), metadata.len()));
            }
        }
        let mut files = events.values().map(Vec::len).sum::<usize>() as u64;
        let mut size: u64 = events.values().flatten().map(|(_, size)| size).sum();
        let too_many = |files: u64, size: u64| {
            (max_files > 0 && files > u64::from(max_files)) || (max_size > 0 && size > max_size)
        };
        let mut removed = 0;
        while too_many(files, size) && events.len() > 1 {
            for (path, bytes) in events.pop_first().into_iter().flat_map(|(_, files)| files) {
                match std::fs::remove_file(&path) {
                    Ok(()) => removed += 1,
                    // Somebody else has removed it.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
                files -= 1;
                size -= bytes;
            }
        }
        Ok(removed)
    }

    /// What died programs left: clips can be played to where they end and get their names, pictures cannot.
    fn pick_up(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.path)?.flatten() {
            let name = entry.file_name();
            let name = name
                .to_str()
                .and_then(|name| name.strip_prefix('.')?.strip_suffix(PART));
            let Some(name) = name.filter(|name| self.stem_of(name).is_some()) else {
                continue;
            };
            // Not locked: nobody is writing it.
            let Ok(file) = File::open(entry.path()) else { continue };
            if file.try_lock().is_err() {
                continue;
            }
            if name.ends_with(CLIP) && file.metadata()?.len() > 0 {
                std::fs::rename(entry.path(), self.path.join(name))?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The stem of a file name, where it is one that this element gives.
    fn stem_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        let (stem, extension) = name.rsplit_once('.')?;
        let (time, rest) = stem.split_at_checked(TIME.len())?;
        let rest = rest
            .strip_prefix('_')?
            .strip_prefix(self.element.as_str())?
            .strip_prefix('_')?;
        let event = rest.split('_').next()?;
        let is_ours = [PNG, JPEG, CLIP].contains(&extension)
            && TIME.bytes().zip(time.bytes()).all(|(pattern, byte)| match pattern {
                b'0' => byte.is_ascii_digit(),
                other => byte == other,
            })
            && NAMES.iter().any(|(_, name)| *name == event);
        is_ours.then_some(stem)
    }
}

/// A file being written; gone when it is dropped before it is committed.
#[derive(Debug)]
pub struct Part {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
}

impl Part {
    /// To write to.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Where it is now.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Where it will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name once it is on the disk.
    pub fn commit(self) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.temporary, &self.path)?;
        // So that its name survives a power failure, where the file system can: the file is there in any case.
        if let Some(folder) = self.path.parent() {
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Not there any more when it was committed.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// UTC, to the microsecond.
fn utc(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let date = glib::DateTime::from_unix_utc(seconds).and_then(|date| date.format("%Y%m%dT%H%M%S"));
    let date = date.unwrap_or_else(|_| "00000000T000000".into());
    format!("{date}.{:06}Z", since.subsec_micros())
}

/// Text that can stand in a file name anywhere, and has no `_` in it, which parts the fields.
fn plain(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || c == '.' || c == '+';
    let text: String = text.chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
    text[..text.floor_char_boundary(NAME_BYTES)].to_owned()
}

/// A score in few characters.
fn short(score: f64) -> String {
    if score == 0.0 || score.abs() >= 1e-3 {
        format!("{score:.4}")
    } else {
        format!("{score:.3e}")
    }
}

#[cfg(test)]
mod tests;

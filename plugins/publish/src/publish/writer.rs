//! Whole lines to a file or to standard output.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// When a file is put aside for a new one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rotation {
    /// The most bytes in a file; 0 for any number.
    pub most_bytes: u64,
    /// The longest time a file is written to; zero for ever.
    pub most_age: Duration,
    /// How many files put aside are kept.
    pub keep: u32,
}

/// Where lines go. A line is written whole or, on a regular file, not at all.
#[derive(Debug)]
pub enum LineWriter {
    /// The process's standard output.
    Stdout,
    /// A file, a pipe or a device.
    File(FileWriter),
}

/// A file and what decides when it is put aside.
#[derive(Debug)]
pub struct FileWriter {
    path: PathBuf,
    file: File,
    /// A pipe or a device is never put aside.
    is_regular: bool,
    bytes: u64,
    since: SystemTime,
    rotation: Rotation,
}

impl LineWriter {
    /// Opens `location` (`None` is standard output), behind what is there if `append`, in its place otherwise.
    pub fn open(location: Option<&str>, append: bool, rotation: Rotation) -> io::Result<Self> {
        match location {
            None => Ok(Self::Stdout),
            Some(location) => FileWriter::open(location.as_ref(), append, rotation).map(Self::File),
        }
    }

    /// Puts the file aside if `bytes` more would be too many, or if it is too old. After an error the next line goes where the last one
    /// went.
    pub fn rotate_before(&mut self, bytes: usize) -> io::Result<()> {
        match self {
            Self::File(file) if file.is_due(bytes as u64) => file.rotate(),
            _ => Ok(()),
        }
    }

    /// Writes `line` and a newline, and hands them to the system at once. After an error, a regular file is as it was before.
    pub fn write(&mut self, line: &str) -> io::Result<()> {
        let bytes = format!("{line}\n").into_bytes();
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(&bytes)?;
                out.flush()
            }
            Self::File(file) => {
                write_whole(&mut file.file, &bytes)?;
                file.bytes += bytes.len() as u64;
                Ok(())
            }
        }
    }
}

impl FileWriter {
    fn open(path: &Path, append: bool, rotation: Rotation) -> io::Result<Self> {
        let mut file = match append {
            true => OpenOptions::new().append(true).create(true).open(path)?,
            false => emptied(path)?,
        };
        let metadata = file.metadata()?;
        if append && metadata.is_file() {
            claim(&file)?;
        }
        let mut bytes = if append { metadata.len() } else { 0 };
        // A program that was killed may have left half a line; the next one must not become part of it.
        if append && metadata.is_file() && !ends_with_newline(path)? {
            file.write_all(b"\n")?;
            bytes += 1;
        }
        let since = match bytes {
            0 => SystemTime::now(),
            // Not every file system keeps it.
            _ => metadata.created().unwrap_or_else(|_| SystemTime::now()),
        };
        Ok(Self {
            path: path.into(),
            file,
            is_regular: metadata.is_file(),
            bytes,
            since,
            rotation,
        })
    }

    fn is_due(&self, bytes: u64) -> bool {
        let Rotation {
            most_bytes, most_age, ..
        } = self.rotation;
        let too_large = most_bytes > 0 && self.bytes + bytes > most_bytes;
        let too_old = !most_age.is_zero() && self.since.elapsed().is_ok_and(|age| age >= most_age);
        self.is_regular && self.bytes > 0 && (too_large || too_old)
    }

    /// `events.jsonl` becomes `events.jsonl.1`, that becomes `events.jsonl.2`, and so on.
    fn rotate(&mut self) -> io::Result<()> {
        let keep = self.rotation.keep;
        if keep > 0 {
            let free = (1..keep).find(|&number| !self.aside(number).exists()).unwrap_or(keep);
            for number in (1..free).rev() {
                std::fs::rename(self.aside(number), self.aside(number + 1))?;
            }
            match std::fs::rename(&self.path, self.aside(1)) {
                // The last attempt came this far.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
        }
        if keep == 0 {
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0))?;
        } else {
            self.file = emptied(&self.path)?;
        }
        self.bytes = 0;
        self.since = SystemTime::now();
        Ok(())
    }

    fn aside(&self, number: u32) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
}

/// A file with nothing in it. What was there goes only once it is sure that nobody else writes to it.
fn emptied(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    if file.metadata()?.is_file() {
        claim(&file)?;
        file.set_len(0)?;
    }
    Ok(file)
}

/// Keeps others that do so, too, from writing to the file as long as it is open. Not every file system can.
fn claim(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another candlepublish writes to it; give each a file of its own",
        )),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

fn ends_with_newline(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Writes `bytes` at the end of `file`, all or, where it is a regular file, nothing.
pub fn write_whole(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => {
                take_back(file, written);
                return Err(io::ErrorKind::WriteZero.into());
            }
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                take_back(file, written);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Cuts the last `count` bytes off a regular file. The caller is about to report why, so that this failing too adds nothing.
fn take_back(file: &mut File, count: usize) {
    if count > 0
        && let Ok(metadata) = file.metadata()
        && metadata.is_file()
    {
        let length = metadata.len().saturating_sub(count as u64);
        let _ = file.set_len(length).and_then(|()| file.seek(SeekFrom::Start(length)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(location: Option<&str>, append: bool) -> LineWriter {
        LineWriter::open(location, append, Rotation::default()).unwrap()
    }

    #[test]
    fn appending_keeps_what_is_there_and_starts_on_a_new_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let location = path.to_str();
        open(location, false).write("one").unwrap();
        open(location, true).write("two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        std::fs::write(&path, "one\n{\"cut").unwrap();
        open(location, true).write("two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n{\"cut\ntwo\n");
        open(location, false).write("three").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_file_has_one_writer_and_loses_nothing_to_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let mut first = open(path.to_str(), false);
        first.write("one").unwrap();
        for append in [false, true] {
            let second = LineWriter::open(path.to_str(), append, Rotation::default());
            let error = second.expect_err("the first one writes to it").to_string();
            assert!(error.contains("another candlepublish writes to it"), "{error}");
        }
        first.write("two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        drop(first);
        open(path.to_str(), true).write("three").unwrap();
        // Devices are for all.
        let _both = [open(Some("/dev/null"), false), open(Some("/dev/null"), false)];
    }

    #[test]
    fn half_a_line_is_taken_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\ntw").unwrap();
        take_back(&mut file, 2);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n");
        write_whole(&mut file, b"three\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\nthree\n");
    }

    /// The contents of `events.jsonl` and of those put aside, the newest first.
    fn files(folder: &Path) -> Vec<String> {
        let names = std::iter::once("events.jsonl".to_owned()).chain((1..).map(|n| format!("events.jsonl.{n}")));
        names
            .map_while(|name| std::fs::read_to_string(folder.join(name)).ok())
            .collect()
    }

    #[test]
    fn files_are_put_aside_by_size_and_the_oldest_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let rotation = Rotation {
            most_bytes: 8,
            keep: 2,
            ..Rotation::default()
        };
        let mut writer = LineWriter::open(path.to_str(), false, rotation).unwrap();
        let mut write = |line: &str| {
            writer.rotate_before(line.len() + 1).unwrap();
            writer.write(line).unwrap();
            files(folder.path())
        };
        assert_eq!(write("one"), ["one\n"]);
        assert_eq!(write("two"), ["one\ntwo\n"]);
        assert_eq!(write("three"), ["three\n", "one\ntwo\n"]);
        assert_eq!(write("longer than all"), ["longer than all\n", "three\n", "one\ntwo\n"]);
        assert_eq!(write("four"), ["four\n", "longer than all\n", "three\n"]);
        drop(writer);
        let mut writer = LineWriter::open(path.to_str(), true, rotation).unwrap();
        writer.rotate_before(5).unwrap();
        writer.write("five").unwrap();
        assert_eq!(
            files(folder.path()),
            ["five\n", "four\n", "longer than all\n"],
            "what was there counts"
        );
    }

    #[test]
    fn files_are_put_aside_by_age_but_not_when_empty() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let rotation = Rotation {
            most_age: Duration::from_nanos(1),
            keep: 0,
            ..Rotation::default()
        };
        let mut writer = LineWriter::open(path.to_str(), false, rotation).unwrap();
        for line in ["one", "two"] {
            std::thread::sleep(Duration::from_millis(2));
            writer.rotate_before(4).unwrap();
            writer.write(line).unwrap();
        }
        assert_eq!(files(folder.path()), ["two\n"], "none is kept");
    }
}

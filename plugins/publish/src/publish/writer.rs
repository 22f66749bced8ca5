//! Whole lines to a file or to standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Where lines go. A line is written whole or, on a regular file, not at all.
#[derive(Debug)]
pub enum LineWriter {
    /// The process's standard output.
    Stdout,
    /// A file, a pipe or a device.
    File(File),
}

impl LineWriter {
    /// Opens `location` (`None` is standard output), behind what is there if `append`, in its place otherwise.
    pub fn open(location: Option<&str>, append: bool) -> io::Result<Self> {
        let Some(location) = location else {
            return Ok(Self::Stdout);
        };
        if !append {
            return File::create(location).map(Self::File);
        }
        let mut file = OpenOptions::new().append(true).create(true).open(location)?;
        // A program that was killed may have left half a line; the next one must not become part of it.
        if file.metadata()?.is_file() && !ends_with_newline(location)? {
            file.write_all(b"\n")?;
        }
        Ok(Self::File(file))
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
            Self::File(file) => write_whole(file, &bytes),
        }
    }
}

fn ends_with_newline(location: &str) -> io::Result<bool> {
    let mut file = File::open(location)?;
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn write_whole(file: &mut File, bytes: &[u8]) -> io::Result<()> {
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

    #[test]
    fn appending_keeps_what_is_there_and_starts_on_a_new_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let location = path.to_str();
        LineWriter::open(location, false).unwrap().write("one").unwrap();
        LineWriter::open(location, true).unwrap().write("two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        std::fs::write(&path, "one\n{\"cut").unwrap();
        LineWriter::open(location, true).unwrap().write("two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n{\"cut\ntwo\n");
        LineWriter::open(location, false).unwrap().write("three").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
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
}

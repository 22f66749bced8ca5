//! One file of the queue: records, one a line, each with its checksum, so that what a crash tore is known and passed over.
//!
//! A line is `CRC NUMBER ELEMENT JSON`: eight hexadecimal digits of the CRC-32 of all that follows the first space, the record's
//! number, the element's name as a level of a topic, and the event.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// The longest record in bytes: less than the 128 KiB that large public brokers take at most.
pub const MOST_RECORD: usize = 120 << 10;

/// An event in the queue.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// Counts on from file to file and from run to run.
    pub number: u64,
    /// The level of the topic that names the element; without spaces.
    pub element: String,
    /// The event.
    pub json: String,
}

impl Record {
    /// Its line, with the newline.
    pub fn encode(&self) -> Vec<u8> {
        let text = format!("{} {} {}", self.number, self.element, self.json);
        format!("{:08x} {text}\n", crc32fast::hash(text.as_bytes())).into_bytes()
    }

    /// Reads a line without its newline; `None` where it is damaged.
    pub fn decode(line: &[u8]) -> Option<Self> {
        let mut parts = checked(line)?.splitn(3, ' ');
        Some(Self {
            number: parts.next()?.parse().ok()?,
            element: parts.next()?.into(),
            json: parts.next()?.into(),
        })
    }
}

/// The text behind the checksum of a line, if that is right.
pub fn checked(line: &[u8]) -> Option<&str> {
    let (sum, text) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    (sum.len() == 8 && u32::from_str_radix(sum, 16).ok()? == crc32fast::hash(text.as_bytes())).then_some(text)
}

/// What a reader comes upon.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A sound record.
    Record(Record),
    /// Something else.
    Damage,
    /// The end, for now.
    End,
}

/// Reads a file from its beginning.
#[derive(Debug)]
pub struct Reader(BufReader<File>);

impl Reader {
    /// Opens the file at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(|file| Self(BufReader::new(file)))
    }

    /// The next thing in it.
    pub fn next(&mut self) -> io::Result<Found> {
        let mut line = Vec::new();
        (&mut self.0)
            .take(2 * MOST_RECORD as u64)
            .read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(Found::End);
        }
        let record = line.strip_suffix(b"\n").and_then(Record::decode);
        Ok(record.map_or(Found::Damage, Found::Record))
    }
}

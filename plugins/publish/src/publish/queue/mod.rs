//! Events on disk on their way to the broker: a folder of files that are appended to, and a cursor.
//!
//! * `NUMBER.log`: records, see [`segment`]; the name is the number of its first record. A file is begun when the last one is full,
//!   and at each start; nothing is ever changed in one, so that a crash can tear the last record only.
//! * `cursor`: the number of the first record that the broker has not acknowledged.
//! * `lock`: held by the program that uses the folder.
//!
//! What was pushed survives the end of the program at once, because the system has it; it survives a power failure after
//! [`Queue::sync`]. A record is lost only where the folder reaches its bound (the oldest file goes, and its records are counted), where
//! the disk is full and the program ends, or where the file is damaged.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod segment;
#[cfg(test)]
mod tests;

use super::writer::write_whole;
use segment::{Found, Reader, checked};
pub use segment::{MOST_RECORD, Record};

/// Bytes of records that a full disk leaves in memory.
const MOST_UNSAVED: usize = 1 << 20;

/// What is in the queue and what it lost.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Records that are not acknowledged.
    pub queued: u64,
    /// Records dropped for want of room.
    pub dropped: u64,
    /// Records that could not be read.
    pub damaged: u64,
}

#[derive(Debug)]
struct Segment {
    /// The number in its name: no record in it has a lower one.
    first: u64,
    bytes: u64,
    records: u64,
    /// Records that have been read or were acknowledged before.
    read: u64,
}

/// The queue. Only one thread uses it.
#[derive(Debug)]
pub struct Queue {
    folder: PathBuf,
    _lock: File,
    cursor: File,
    most_bytes: u64,
    /// Oldest first; the last one is written to while there is a `writer`.
    segments: VecDeque<Segment>,
    writer: Option<File>,
    is_synced: bool,
    /// Where reading goes on, and the segment that is.
    reader: Option<(u64, Reader)>,
    /// Read from disk but not handed out.
    peeked: Option<Record>,
    /// What the disk did not take.
    unsaved: VecDeque<Record>,
    unsaved_bytes: usize,
    /// Handed out, and whether acknowledged.
    window: VecDeque<(Arc<Record>, bool)>,
    /// Where in the window the next one to hand out is.
    position: usize,
    /// The number of the next record pushed.
    next: u64,
    /// All records below are acknowledged.
    acknowledged: u64,
    counts: Counts,
}

impl Queue {
    /// Opens the queue in `folder`, which is made if need be, for at most `most_bytes` on disk.
    pub fn open(folder: &Path, most_bytes: u64) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let own = |name: &str| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options.open(folder.join(name))
        };
        let lock = own("lock")?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::ResourceBusy, "another element publishes from it")
            }
            TryLockError::Error(error) => error,
        })?;
        let cursor = own("cursor")?;
        let acknowledged = read_cursor(&cursor).unwrap_or(0);
        let mut queue = Self {
            folder: folder.into(),
            _lock: lock,
            cursor,
            most_bytes,
            segments: VecDeque::new(),
            writer: None,
            is_synced: true,
            reader: None,
            peeked: None,
            unsaved: VecDeque::new(),
            unsaved_bytes: 0,
            window: VecDeque::new(),
            position: 0,
            next: acknowledged,
            acknowledged,
            counts: Counts::default(),
        };
        for first in segments_in(folder)? {
            queue.take_over(first)?;
        }
        queue.make_room(0);
        Ok(queue)
    }

    /// What is in it and what it lost.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Its bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Appends a record. After an error, which is of the disk, it is kept in memory, as far as there is room.
    pub fn push(&mut self, element: &str, json: &str) -> io::Result<()> {
        let record = Record {
            number: self.next,
            element: element.into(),
            json: json.into(),
        };
        self.next += 1;
        let line = record.encode();
        if line.len() > MOST_RECORD || line.len() as u64 > self.most_bytes / 2 {
            self.counts.dropped += 1;
            return Ok(());
        }
        self.make_room(line.len() as u64);
        self.counts.queued += 1;
        let result = self.append(record.number, &line);
        if result.is_err() {
            self.unsaved_bytes += record.json.len();
            self.unsaved.push_back(record);
            while self.unsaved_bytes > MOST_UNSAVED
                && let Some(oldest) = self.unsaved.pop_front()
            {
                self.unsaved_bytes -= oldest.json.len();
                self.lose(1);
            }
        }
        result
    }

    /// The next record to send, oldest first.
    pub fn next(&mut self) -> Option<Arc<Record>> {
        while let Some((record, acknowledged)) = self.window.get(self.position) {
            self.position += 1;
            if !acknowledged {
                return Some(record.clone());
            }
        }
        let record = Arc::new(self.read()?);
        self.window.push_back((record.clone(), false));
        self.position = self.window.len();
        Some(record)
    }

    /// Notes that the broker has a record, which `next` handed out.
    pub fn acknowledge(&mut self, number: u64) {
        let entry = self.window.iter_mut().find(|(record, _)| record.number == number);
        let Some((_, acknowledged @ false)) = entry else { return };
        *acknowledged = true;
        self.counts.queued -= 1;
        while let Some((record, true)) = self.window.front() {
            self.acknowledged = record.number + 1;
            self.window.pop_front();
            self.position = self.position.saturating_sub(1);
        }
        // Where it fails, a program that starts again sends again what it need not.
        let _ = write_cursor(&self.cursor, self.acknowledged);
        while self.segments.get(1).is_some_and(|next| next.first <= self.acknowledged) {
            self.remove_oldest();
        }
    }

    /// Hands out again what is not acknowledged.
    pub fn rewind(&mut self) {
        self.position = 0;
    }

    /// Whether everything pushed has been acknowledged.
    pub fn is_empty(&self) -> bool {
        self.counts.queued == 0
    }

    /// Whether nothing was pushed since the last `sync` that succeeded.
    pub fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// Has the disk keep what was pushed.
    pub fn sync(&mut self) -> io::Result<()> {
        self.writer.as_ref().map_or(Ok(()), File::sync_data)?;
        self.is_synced = true;
        Ok(())
    }

    fn path(&self, first: u64) -> PathBuf {
        self.folder.join(format!("{first:020}.log"))
    }

    /// Makes a file of an earlier run part of the queue, or clears it away if there is nothing to send in it.
    fn take_over(&mut self, first: u64) -> io::Result<()> {
        let path = self.path(first);
        let mut segment = Segment {
            first,
            bytes: std::fs::metadata(&path)?.len(),
            records: 0,
            read: 0,
        };
        let mut reader = Reader::open(&path)?;
        loop {
            match reader.next()? {
                Found::Record(record) => {
                    segment.records += 1;
                    segment.read += u64::from(record.number < self.acknowledged);
                    self.next = self.next.max(record.number.saturating_add(1));
                }
                Found::Damage => self.counts.damaged += 1,
                Found::End => break,
            }
        }
        if segment.read == segment.records {
            return std::fs::remove_file(path);
        }
        self.counts.queued += segment.records - segment.read;
        self.segments.push_back(segment);
        Ok(())
    }

    fn append(&mut self, number: u64, line: &[u8]) -> io::Result<()> {
        let most = (self.most_bytes / 8).min(8 << 20);
        let full = self
            .segments
            .back()
            .is_some_and(|last| last.bytes + line.len() as u64 > most);
        if full && self.writer.is_some() {
            self.sync()?;
            self.writer = None;
        }
        if self.writer.is_none() {
            self.begin(number)?;
        }
        let (Some(writer), Some(segment)) = (self.writer.as_mut(), self.segments.back_mut()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if let Err(error) = write_whole(writer, line) {
            // With a torn record at its end, the file is left.
            if writer
                .metadata()
                .map_or(true, |metadata| metadata.len() != segment.bytes)
            {
                self.writer = None;
            }
            return Err(error);
        }
        segment.bytes += line.len() as u64;
        segment.records += 1;
        self.is_synced = false;
        Ok(())
    }

    /// Begins a file.
    fn begin(&mut self, first: u64) -> io::Result<()> {
        let mut options = OpenOptions::new();
        self.writer = Some(options.append(true).create_new(true).open(self.path(first))?);
        self.segments.push_back(Segment {
            first,
            bytes: 0,
            records: 0,
            read: 0,
        });
        // So that its name survives a power failure.
        File::open(&self.folder)?.sync_all()
    }

    /// Drops the oldest files until `bytes` more are within the bound.
    fn make_room(&mut self, bytes: u64) {
        while self.bytes() + bytes > self.most_bytes && !self.segments.is_empty() {
            self.remove_oldest();
        }
    }

    fn remove_oldest(&mut self) {
        let Some(segment) = self.segments.pop_front() else {
            return;
        };
        if self.segments.is_empty() {
            self.writer = None;
        }
        if self.reader.as_ref().is_some_and(|(first, _)| *first == segment.first) {
            self.reader = None;
        }
        self.lose(segment.records - segment.read);
        // One that cannot be removed now is taken over at the next start.
        let _ = std::fs::remove_file(self.path(segment.first));
    }

    fn lose(&mut self, records: u64) {
        self.counts.dropped += records;
        self.counts.queued -= records;
    }

    /// The next record, from disk or from what the disk did not take.
    fn read(&mut self) -> Option<Record> {
        if self.peeked.is_none() {
            self.peeked = self.read_saved();
        }
        let saved = self.peeked.as_ref().map(|record| record.number);
        let unsaved = self.unsaved.front().map(|record| record.number);
        if unsaved.is_some_and(|unsaved| saved.is_none_or(|saved| unsaved < saved)) {
            let record = self.unsaved.pop_front()?;
            self.unsaved_bytes -= record.json.len();
            return Some(record);
        }
        self.peeked.take()
    }

    fn read_saved(&mut self) -> Option<Record> {
        loop {
            let segment = self
                .segments
                .iter_mut()
                .find(|segment| segment.read < segment.records)?;
            let first = segment.first;
            if self.reader.as_ref().is_none_or(|(reading, _)| *reading != first) {
                let path = self.folder.join(format!("{first:020}.log"));
                self.reader = Reader::open(&path).ok().map(|reader| (first, reader));
            }
            match self.reader.as_mut().map(|(_, reader)| reader.next()) {
                Some(Ok(Found::Record(record))) if record.number < self.acknowledged => {}
                Some(Ok(Found::Record(record))) => {
                    segment.read += 1;
                    return Some(record);
                }
                Some(Ok(Found::Damage)) => {}
                // What was there is not any more, or the disk does not give it.
                Some(Ok(Found::End) | Err(_)) | None => {
                    let lost = segment.records - segment.read;
                    segment.read = segment.records;
                    self.counts.damaged += lost;
                    self.counts.queued -= lost;
                }
            }
        }
    }
}

/// The numbers in the names of the files of a queue, in order.
fn segments_in(folder: &Path) -> io::Result<Vec<u64>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
        segments.extend(
            number
                .filter(|number| number.len() == 20)
                .and_then(|number| number.parse::<u64>().ok()),
        );
    }
    segments.sort_unstable();
    Ok(segments)
}

fn read_cursor(file: &File) -> Option<u64> {
    let mut line = [0; 29];
    file.read_exact_at(&mut line, 0).ok()?;
    checked(&line)?.parse().ok()
}

fn write_cursor(file: &File, number: u64) -> io::Result<()> {
    let text = format!("{number:020}");
    let line = format!("{:08x} {text}\n", crc32fast::hash(text.as_bytes()));
    file.write_all_at(line.as_bytes(), 0)
}

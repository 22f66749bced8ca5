//! The encoded seconds before now, and clips cut out of the stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use super::clip::Job;
use super::event::Event;
use super::worker::Ticket;

/// How much the ring holds at most, in bytes: 25 seconds of 20 Mbit/s.
const RING_BYTES: usize = 64 << 20;

/// How much may wait to be written, in bytes: a full ring, and as much again.
const BACKLOG_BYTES: usize = 2 * RING_BYTES;

/// How many clips may wait for their first frame.
const WAITING_CLIPS: usize = 8;

/// The time between key frames: where clips can begin.
const KEY_INTERVAL: gst::ClockTime = gst::ClockTime::SECOND;

/// What waits to be written, in bytes.
pub type Backlog = Arc<AtomicUsize>;

/// A frame from the encoder.
struct Encoded {
    /// When it is decoded, in running time; never falls.
    time: gst::ClockTime,
    is_key: bool,
    /// With its running time as timestamp.
    buffer: gst::Buffer,
}

/// A clip to be cut.
struct Clip {
    event: Event,
    from: gst::ClockTime,
    until: gst::ClockTime,
    /// Until the clip's beginning has been sent.
    ticket: Option<Ticket>,
}

/// Takes what the encoder makes, and sends clips to be written. It never waits.
pub struct Ring {
    /// Tells its clips from those of other rings.
    id: u64,
    before: gst::ClockTime,
    jobs: Sender<Job>,
    backlog: Backlog,
    frames: VecDeque<Encoded>,
    bytes: usize,
    /// Only the first is being cut; those behind it begin when it ends.
    clips: VecDeque<Clip>,
    caps: Option<gst::Caps>,
    last_key: Option<gst::ClockTime>,
    asked_for_key: bool,
    /// Frames of the clip are left out up to the next key frame.
    skips: bool,
    /// How many were left out since the last frame was taken.
    missing: u64,
}

/// What became of a frame.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Whether the encoder is to be asked for a key frame.
    pub key_is_due: bool,
    /// How many frames a clip lacks because the disk is behind.
    pub missing: u64,
}

impl Ring {
    /// Of frames that reach back `before` from the last one.
    pub fn new(id: u64, before: gst::ClockTime, jobs: Sender<Job>, backlog: Backlog) -> Self {
        Self {
            id,
            before,
            jobs,
            backlog,
            frames: VecDeque::new(),
            bytes: 0,
            clips: VecDeque::new(),
            caps: None,
            last_key: None,
            asked_for_key: false,
            skips: false,
            missing: 0,
        }
    }

    /// Asks for a clip of what happened at `time`, or for more of the last clip where that lasts until then, up to `longest`. `false`
    /// where too many clips wait.
    pub fn trigger(
        &mut self,
        event: &Event,
        ticket: Ticket,
        time: gst::ClockTime,
        after: gst::ClockTime,
        longest: gst::ClockTime,
    ) -> bool {
        let until = time.saturating_add(after);
        if let Some(clip) = self.clips.back_mut()
            && time <= clip.until
        {
            let limit = clip.from.saturating_add(longest);
            clip.until = clip.until.max(until.min(limit));
            return true;
        }
        if self.clips.len() >= WAITING_CLIPS {
            return false;
        }
        self.clips.push_back(Clip {
            event: event.clone(),
            from: time.saturating_sub(self.before),
            until,
            ticket: Some(ticket),
        });
        true
    }

    /// Takes the next encoded frame.
    pub fn take(&mut self, sample: &gst::Sample) -> Taken {
        self.missing = 0;
        let Some(frame) = encoded(sample) else {
            return Taken::default();
        };
        if self.caps.as_deref() != sample.caps() {
            // What comes now cannot be in one file with what came before.
            self.end_first();
            self.frames.clear();
            self.bytes = 0;
            self.caps = sample.caps_owned();
        }
        let (time, is_key) = (frame.time, frame.is_key);
        self.feed_first(&frame);
        if is_key || !self.frames.is_empty() {
            self.bytes += frame.buffer.size();
            self.frames.push_back(frame);
        }
        while self.begin_first(time) {}
        self.trim(time);
        if is_key {
            self.last_key = Some(time);
            self.asked_for_key = false;
        }
        let is_due = self
            .last_key
            .is_none_or(|last| time.saturating_sub(last) >= KEY_INTERVAL);
        Taken {
            key_is_due: is_due && !std::mem::replace(&mut self.asked_for_key, true),
            missing: self.missing,
        }
    }

    /// No more frames come: ends the clip being cut, cuts those that wait from what there is, and gives up the others. How many those are.
    pub fn close(&mut self) -> usize {
        self.end_first();
        while self.begin_first(gst::ClockTime::MAX) {}
        self.clips.drain(..).count()
    }

    /// Gives the clip being cut its next frame, and ends it where it is over.
    fn feed_first(&mut self, frame: &Encoded) {
        let Some(clip) = self.clips.front().filter(|clip| clip.ticket.is_none()) else {
            return;
        };
        let until = clip.until;
        if frame.time <= until {
            self.send(frame);
        }
        if frame.time >= until {
            self.end_first();
        }
    }

    /// Begins the next clip with what the ring holds of it, where its time has come `now`; whether it is over already.
    fn begin_first(&mut self, now: gst::ClockTime) -> bool {
        let Some(clip) = self.clips.front_mut().filter(|clip| clip.from <= now) else {
            return false;
        };
        let (Some(caps), Some(first)) = (&self.caps, start(&self.frames, clip.from)) else {
            return false;
        };
        let until = clip.until;
        let Some(ticket) = clip.ticket.take() else { return false };
        let (event, caps) = (clip.event.clone(), caps.clone());
        self.skips = false;
        let _ = self.jobs.send(Job::Begin(self.id, Box::new((event, caps, ticket))));
        let frames = std::mem::take(&mut self.frames);
        for frame in frames.iter().skip(first).filter(|frame| frame.time <= until) {
            self.send(frame);
        }
        self.frames = frames;
        if now >= until {
            self.end_first();
        }
        now >= until
    }

    /// Ends the clip being cut.
    fn end_first(&mut self) {
        if self.clips.front().is_some_and(|clip| clip.ticket.is_none()) {
            self.clips.pop_front();
            let _ = self.jobs.send(Job::End(self.id));
        }
    }

    /// Sends a frame to be written, unless too much waits: then those up to a key frame for which there is room are left out.
    fn send(&mut self, frame: &Encoded) {
        if self.backlog.load(Ordering::Relaxed) > BACKLOG_BYTES {
            self.skips = true;
        } else if frame.is_key {
            self.skips = false;
        }
        if self.skips {
            self.missing += 1;
            return;
        }
        self.backlog.fetch_add(frame.buffer.size(), Ordering::Relaxed);
        // Refused only when the writer is gone, which nobody has to know now.
        let _ = self.jobs.send(Job::Frame(self.id, frame.buffer.clone()));
    }

    /// Forgets what is older than a clip can ask for, from one key frame to the next.
    fn trim(&mut self, now: gst::ClockTime) {
        let wanted = now.saturating_sub(self.before);
        loop {
            let next = self.frames.iter().skip(1).position(|frame| frame.is_key);
            let Some(next) = next.map(|position| position + 1) else {
                break;
            };
            if self.frames[next].time > wanted && self.bytes <= RING_BYTES {
                return;
            }
            for frame in self.frames.drain(..next) {
                self.bytes -= frame.buffer.size();
            }
        }
        if self.bytes > RING_BYTES {
            self.frames.clear();
            self.bytes = 0;
        }
    }
}

/// Where a clip that shows what comes from `from` on begins: at the last key frame before, else at the first one.
fn start(frames: &VecDeque<Encoded>, from: gst::ClockTime) -> Option<usize> {
    let before = frames.iter().rposition(|frame| frame.is_key && frame.time <= from);
    before.or_else(|| frames.iter().position(|frame| frame.is_key))
}

/// The frame in running time; `None` where it has no time.
fn encoded(sample: &gst::Sample) -> Option<Encoded> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let mut buffer = sample.buffer_owned()?;
    let pts = segment.to_running_time(buffer.pts()?)?;
    // Before 0 where frames are reordered.
    let dts = buffer.dts().map(|dts| segment.to_running_time(dts).unwrap_or_default());
    let is_key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
    let frame = buffer.make_mut();
    frame.set_pts(pts);
    frame.set_dts(dts);
    Some(Encoded {
        time: dts.unwrap_or(pts).min(pts),
        is_key,
        buffer,
    })
}

#[cfg(test)]
mod tests;

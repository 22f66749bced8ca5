use std::sync::mpsc::{Receiver, channel};
use std::time::SystemTime;

use super::*;
use crate::common::messages::Times;
use crate::snapshot::worker::Pending;

/// Ten frames a second.
const FRAME: gst::ClockTime = gst::ClockTime::from_mseconds(100);
const LONGEST: gst::ClockTime = gst::ClockTime::from_seconds(60);

fn seconds(seconds: f64) -> gst::ClockTime {
    gst::ClockTime::from_seconds_f64(seconds)
}

struct Bench {
    ring: Ring,
    jobs: Receiver<Job>,
    backlog: Backlog,
    pending: Pending,
    next: u64,
}

impl Bench {
    fn new(before: f64) -> Self {
        gst::init().expect("GStreamer starts");
        let (send, jobs) = channel();
        let backlog = Backlog::default();
        Self {
            ring: Ring::new(7, seconds(before), send, backlog.clone()),
            jobs,
            backlog,
            pending: Pending::default(),
            next: 0,
        }
    }

    /// Frames of `size` bytes up to a time, a key frame each `keys` frames; the answers.
    fn frames(&mut self, until: f64, keys: u64, size: usize) -> Vec<Taken> {
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        // As encoders do that leave room for times before 0.
        segment.set_start(seconds(1000.0));
        let mut taken = Vec::new();
        while FRAME * self.next < seconds(until) {
            let mut buffer = gst::Buffer::with_size(size).expect("there is memory");
            let frame = buffer.make_mut();
            frame.set_pts(seconds(1000.0) + FRAME * self.next);
            if !self.next.is_multiple_of(keys) {
                frame.set_flags(gst::BufferFlags::DELTA_UNIT);
            }
            let caps = gst::Caps::new_empty_simple("video/x-test");
            let sample = gst::Sample::builder().buffer(&buffer).segment(&segment).caps(&caps);
            taken.push(self.ring.take(&sample.build()));
            self.next += 1;
        }
        taken
    }

    fn trigger(&mut self, at: f64, after: f64) -> bool {
        self.trigger_within(at, after, LONGEST)
    }

    fn trigger_within(&mut self, at: f64, after: f64, longest: gst::ClockTime) -> bool {
        let event = Event {
            name: "alarm-begin",
            times: Times::default(),
            at: SystemTime::UNIX_EPOCH,
            score: None,
            label: None,
            class: None,
        };
        let ticket = self.pending.ticket();
        self.ring.trigger(&event, ticket, seconds(at), seconds(after), longest)
    }

    /// Of each clip sent, the indices of its first and last frame, and whether it has ended; none lack a frame between.
    fn clips(&mut self) -> Vec<(u64, u64, bool)> {
        let mut clips: Vec<(Vec<u64>, bool)> = Vec::new();
        for job in self.jobs.try_iter() {
            match job {
                Job::Begin(7, _) => {
                    assert!(clips.last().is_none_or(|(_, ended)| *ended), "one at a time");
                    clips.push((Vec::new(), false));
                }
                Job::Frame(7, buffer) => {
                    self.backlog.fetch_sub(buffer.size(), Ordering::Relaxed);
                    let index = buffer.pts().expect("it has a time") / FRAME.nseconds();
                    clips.last_mut().expect("it has begun").0.push(index.nseconds());
                }
                Job::End(7) => clips.last_mut().expect("it has begun").1 = true,
                _ => unreachable!("nobody retires, and there is no other ring"),
            }
        }
        let span = |(frames, ended): (Vec<u64>, bool)| {
            let (first, last) = (frames[0], frames[frames.len() - 1]);
            assert_eq!(frames, (first..=last).collect::<Vec<_>>());
            (first, last, ended)
        };
        clips.into_iter().map(span).collect()
    }
}

#[test]
fn a_clip_begins_at_the_key_frame_before_and_ends_in_time() {
    let mut bench = Bench::new(2.0);
    bench.frames(10.0, 10, 9);
    assert!(bench.clips().is_empty() && bench.ring.frames.len() <= 30);
    bench.trigger(10.5, 1.0);
    bench.frames(20.0, 10, 9);
    assert_eq!(bench.clips(), [(80, 115, true)]);
}

#[test]
fn at_the_beginning_there_is_less_before_and_at_the_end_less_after() {
    let mut bench = Bench::new(5.0);
    bench.frames(1.0, 10, 9);
    bench.trigger(0.9, 2.0);
    bench.frames(2.0, 10, 9);
    assert_eq!(bench.ring.close(), 0);
    assert_eq!(bench.clips(), [(0, 19, true)]);
}

#[test]
fn a_moment_is_one_frame_or_more_even_when_the_encoder_is_ahead_or_behind() {
    for (encoded, at) in [(10.0, 9.9), (10.0, 10.0), (9.0, 10.0)] {
        let mut bench = Bench::new(0.0);
        bench.frames(encoded, 10, 9);
        bench.trigger(at, 0.0);
        bench.frames(12.0, 10, 9);
        let moment = seconds(at) / FRAME.nseconds();
        assert_eq!(
            bench.clips(),
            [(moment.nseconds() / 10 * 10, moment.nseconds(), true)],
            "{encoded} {at}"
        );
    }
}

#[test]
fn what_happens_within_a_clip_makes_it_longer_up_to_its_bound() {
    let mut bench = Bench::new(1.0);
    bench.frames(10.0, 10, 9);
    bench.trigger(10.0, 2.0);
    bench.frames(11.0, 10, 9);
    bench.trigger(11.0, 2.0);
    bench.frames(20.0, 10, 9);
    assert_eq!(bench.clips(), [(90, 130, true)]);

    for at in 20..30 {
        bench.trigger_within(f64::from(at), 2.0, seconds(5.0));
        bench.frames(f64::from(at + 1), 10, 9);
    }
    bench.frames(40.0, 10, 9);
    // From 19 to 24, and from what happened next, at 25, anew.
    assert_eq!(bench.clips(), [(190, 240, true), (240, 290, true)]);
}

#[test]
fn clips_that_overlap_come_one_after_the_other() {
    let mut bench = Bench::new(3.0);
    bench.frames(10.0, 10, 9);
    assert!(bench.trigger(10.0, 1.0) && bench.trigger(11.5, 1.0));
    bench.frames(20.0, 10, 9);
    assert_eq!(bench.clips(), [(70, 110, true), (80, 125, true)]);
}

#[test]
fn clips_without_a_frame_are_few_and_counted() {
    let mut bench = Bench::new(1.0);
    let asked: Vec<bool> = (0..10).map(|at| bench.trigger(f64::from(at), 0.5)).collect();
    assert_eq!(asked.iter().filter(|asked| **asked).count(), WAITING_CLIPS);
    assert_eq!(bench.ring.close(), WAITING_CLIPS);
    assert!(bench.clips().is_empty());
}

#[test]
fn a_key_frame_is_asked_for_once_a_second() {
    let mut bench = Bench::new(1.0);
    let taken = bench.frames(5.0, 25, 9);
    let due: Vec<usize> = (0..50).filter(|&index| taken[index].key_is_due).collect();
    assert_eq!(due, [10, 35]);
}

#[test]
fn memory_is_bounded_whatever_the_encoder_does() {
    let large = 8 << 20;
    let mut bench = Bench::new(60.0);
    bench.frames(4.0, 5, large);
    assert!(bench.ring.bytes <= RING_BYTES, "{}", bench.ring.bytes);
    bench.trigger(4.0, 0.5);
    bench.frames(6.0, 5, large);
    let clips = bench.clips();
    assert_eq!((clips.len(), clips[0].1), (1, 45));
    assert!(clips[0].0 >= 30 && clips[0].0.is_multiple_of(5), "{clips:?}");

    // No key frame ever again.
    bench.frames(10.0, u64::MAX, large);
    assert!(bench.ring.bytes <= RING_BYTES, "{}", bench.ring.bytes);
}

#[test]
fn a_disk_that_is_behind_costs_frames_up_to_a_key_frame() {
    let mut bench = Bench::new(0.0);
    bench.trigger(0.0, 20.0);
    let size = 4 << 20;
    let taken = bench.frames(4.0, 10, size);
    let missing: u64 = taken.iter().map(|taken| taken.missing).sum();
    // One frame more than would fill it.
    let sent = BACKLOG_BYTES as u64 / size as u64 + 1;
    assert_eq!(missing, 40 - sent);
    assert_eq!(bench.clips(), [(0, sent - 1, false)]);
    // The disk has caught up: on from the next key frame.
    bench.frames(5.0, 10, size);
    let first = bench.jobs.try_iter().find_map(|job| match job {
        Job::Frame(_, buffer) => buffer.pts(),
        _ => None,
    });
    assert_eq!(first, Some(seconds(4.0)));
}

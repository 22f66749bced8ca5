//! Clips: how long they are, what they show, and when they end.

use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_check::Harness;

use crate::stand::*;
use crate::support::line::info;
use crate::support::*;

/// A second before and a second after.
const CLIP: &str = "clip-before=1000000000 clip-after=1000000000";

/// Of each frame of a clip, its index up to a multiple of 8, and its time in tenths of a second.
fn shown(path: &std::path::Path) -> Vec<(u64, u64)> {
    let frames = decode(path, "RGB");
    let shown = frames.iter().map(|frame| {
        let value = component(frame.buffer().unwrap(), &info(frame), 0)[0];
        let time = frame.buffer().unwrap().pts().unwrap().mseconds();
        (index_of(value), (time + 50) / 100)
    });
    shown.collect()
}

/// Checks that a clip shows the frames from one to the other, but for those that the encoder was too slow for.
fn assert_shows(path: &std::path::Path, from: u64, to: u64, stats: Stats) {
    let shown = shown(path);
    assert_eq!(shown.first(), Some(&(from % 8, 0)), "{shown:?}");
    assert_ends_at(&shown, to, stats);
    assert!(shown.iter().all(|&(_, time)| time <= to - from), "{shown:?}");
    assert!(
        shown.iter().all(|&(index, time)| index == (from + time) % 8),
        "{shown:?}"
    );
    let missing = to - from + 1 - shown.len() as u64;
    assert!(missing <= stats.dropped_frames, "{missing} of {shown:?}");
}

/// Checks which frame is the last one, unless the encoder was too slow for some.
fn assert_ends_at(shown: &[(u64, u64)], to: u64, stats: Stats) {
    let last = shown.last().map(|&(index, _)| index);
    assert!(last == Some(to % 8) || stats.dropped_frames > 0, "{shown:?} {stats:?}");
}

/// Runs frames with alarms at these indices.
fn run(stand: &mut Stand, frames: std::ops::Range<u64>, alarms: &[u64]) {
    for index in frames {
        stand.frame(index, if alarms.contains(&index) { ALARM } else { QUIET });
    }
}

#[test]
fn a_clip_shows_the_time_before_and_after() {
    let mut stand = Stand::new(CLIP, CAPS);
    // Of no effect before the next start.
    stand.snap.set_property("clip-before", 0u64);
    stand.snap.set_property("clip-after", 9_000_000_000u64);
    run(&mut stand, 0..60, &[33]);
    let (outcome, folder) = stand.end();
    let (clips, pictures) = (files(&folder, "mkv"), files(&folder, "jpg"));
    assert_eq!((clips.len(), pictures.len(), names(&folder).len()), (1, 1, 2));
    assert_eq!(clips[0].file_stem(), pictures[0].file_stem());
    assert_eq!((outcome.stats.written, outcome.stats.failed), (2, 0));
    // Key frames come each second and a frame, so that the one before 2.3 s is at 2.2 s where no frame was dropped.
    let first = shown(&clips[0])[0].0;
    let from = (13..=23).rev().find(|index| index % 8 == first).unwrap();
    assert_shows(&clips[0], from, 43, outcome.stats);
    let clip = outcome
        .messages
        .iter()
        .find(|message| message.get("kind") == Ok("clip"))
        .unwrap();
    assert_eq!(clip.get::<&str>("path"), Ok(clips[0].to_str().unwrap()));
    assert_eq!(clip.get::<u64>("running-time"), Ok(3_300_000_000));
    assert_eq!(clip.get::<&str>("event"), Ok("alarm-begin"));
    let info = info(&decode(&clips[0], "GRAY8")[0]);
    assert_eq!((info.width(), info.height()), (64, 48));
}

#[test]
fn two_alarms_close_together_are_one_clip_and_far_apart_two() {
    let mut stand = Stand::new(CLIP, CAPS);
    run(&mut stand, 0..80, &[10, 16, 50]);
    let (outcome, folder) = stand.end();
    let clips = files(&folder, "mkv");
    assert_eq!((clips.len(), files(&folder, "jpg").len()), (2, 3));
    assert_shows(&clips[0], 0, 26, outcome.stats);
    assert!(shown(&clips[1]).len() <= 32);

    let mut stand = Stand::new(&format!("{CLIP} clip-max=2500000000"), CAPS);
    run(&mut stand, 0..60, &[10, 16, 20]);
    let (outcome, folder) = stand.end();
    let clips = files(&folder, "mkv");
    assert_eq!(clips.len(), 1);
    assert_shows(&clips[0], 0, 25, outcome.stats);
}

#[test]
fn the_end_of_the_stream_and_a_stop_end_a_clip() {
    for is_stopped in [false, true] {
        let mut stand = Stand::new("clip-before=1000000000 clip-after=60000000000", CAPS);
        run(&mut stand, 0..15, &[4]);
        let (folder, stats) = if is_stopped {
            stand.pipeline.set_state(gst::State::Null).unwrap();
            let stats = Stats::of(&stand.snap);
            (stand.folder, stats)
        } else {
            let (outcome, folder) = stand.end();
            (folder, outcome.stats)
        };
        assert_eq!((names(&folder).len(), stats.written), (2, 2), "{:?}", names(&folder));
        assert_shows(&files(&folder, "mkv")[0], 0, 14, stats);
    }
}

#[test]
fn what_a_program_that_dies_leaves_can_be_played() {
    let mut stand = Stand::new("clip-before=1000000000 clip-after=60000000000", CAPS);
    run(&mut stand, 0..40, &[4]);
    let copy = stand.folder.path().join("copy.mkv");
    let end = Instant::now() + Duration::from_secs(60);
    // Until the writer has caught up.
    loop {
        assert!(Instant::now() < end, "there is too little in the file");
        std::thread::sleep(Duration::from_millis(50));
        let parts = files(&stand.folder, "mkv.part");
        if parts.is_empty() || std::fs::copy(&parts[0], &copy).unwrap() < 1000 {
            continue;
        }
        let shown = shown(&copy);
        assert_eq!(shown[0], (0, 0), "{shown:?}");
        if shown.len() > 20 {
            break;
        }
    }
}

#[test]
fn other_caps_end_a_clip_and_the_next_is_of_theirs() {
    let mut stand = Stand::new(CLIP, CAPS);
    run(&mut stand, 0..20, &[15]);
    let other = "format=RGB,width=80,height=64";
    stand.src.set_caps(Some(&caps_of(other)));
    stand.info = info_of(other);
    run(&mut stand, 20..50, &[30]);
    let (outcome, folder) = stand.end();
    let clips = files(&folder, "mkv");
    assert_eq!(clips.len(), 2, "{:?}", outcome.warnings);
    let width = |path| info(&decode(path, "GRAY8")[0]).width();
    assert_eq!((width(&clips[0]), width(&clips[1])), (64, 80));
    assert_ends_at(&shown(&clips[0]), 19, outcome.stats);
    assert_shows(&clips[1], 20, 40, outcome.stats);
}

#[test]
fn a_flush_or_a_new_segment_ends_a_clip_and_what_came_before_is_in_no_later_one() {
    init();
    for is_flushed in [true, false] {
        jump(is_flushed);
    }
}

/// A clip, a jump back to frame 3, and another clip. Without a flush the running time goes on, as it does where a file is played again.
fn jump(is_flushed: bool) {
    let folder = tempfile::tempdir().unwrap();
    let location = folder.path().join("flagged");
    let mut harness = Harness::new_parse(&format!(
        "candlesnapshot name=snap location={} {CLIP}",
        location.display()
    ));
    harness.set_src_caps(caps_of(CAPS));
    let info = info_of(CAPS);
    let run = |harness: &mut Harness, frames: std::ops::Range<u64>, alarm| {
        for index in frames {
            let says = if index == alarm { ALARM } else { QUIET };
            harness
                .push_and_pull(saying(grey(&info, shade(index), index), says))
                .unwrap();
            std::thread::sleep(Duration::from_millis(3));
        }
    };
    run(&mut harness, 0..20, 15);
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    if is_flushed {
        harness.push_event(gst::event::FlushStart::new());
        harness.push_event(gst::event::FlushStop::new(true));
    } else {
        segment.set_base(gst::ClockTime::from_mseconds(1700));
    }
    harness.push_event(gst::event::Segment::new(&segment));
    run(&mut harness, 3..30, 8);
    harness.push_event(gst::event::Eos::new());
    let snap = harness.find_element("candlesnapshot").unwrap();
    let stats = Stats::of(&snap);
    let clips = files(&folder, "mkv");
    assert_eq!((clips.len(), stats.failed), (2, 0), "{stats:?}");
    assert_ends_at(&shown(&clips[0]), 19, stats);
    assert_shows(&clips[1], 3, 18, stats);
}

#[test]
fn every_format_and_an_odd_size_make_a_clip() {
    for format in FORMATS {
        let mut stand = Stand::new(CLIP, &format!("format={format},width=65,height=49"));
        for index in 0..15 {
            let frame = padded(&grey(&stand.info, shade(index), index), &stand.info);
            stand.push(saying(frame, if index == 5 { ALARM } else { QUIET }));
            stand.settle();
            std::thread::sleep(Duration::from_millis(5));
        }
        let (outcome, folder) = stand.end();
        let clips = files(&folder, "mkv");
        assert_eq!(
            (clips.len(), outcome.stats.failed),
            (1, 0),
            "{format}: {:?}",
            outcome.warnings
        );
        let frames = decode(&clips[0], "GRAY8");
        assert_eq!(
            (info(&frames[0]).width(), info(&frames[0]).height()),
            (64, 48),
            "{format}"
        );
        let missing = 15 - frames.len() as u64;
        assert!(missing <= outcome.stats.dropped_frames, "{format}: {missing}");
    }
}

#[test]
fn other_encoders_serve_as_well() {
    for encoder in [
        "vp8enc deadline=1",
        "jpegenc",
        "x264enc bframes=2 rc-lookahead=4 ! h264parse",
    ] {
        let mut stand = Stand::new(&format!("{CLIP} clip-encoder=\"{encoder}\""), CAPS);
        run(&mut stand, 0..30, &[15]);
        let (outcome, folder) = stand.end();
        let clips = files(&folder, "mkv");
        assert_eq!(
            (clips.len(), outcome.stats.failed),
            (1, 0),
            "{encoder}: {:?}",
            outcome.warnings
        );
        let shown = shown(&clips[0]);
        assert!(shown.iter().any(|&(index, _)| index == 15 % 8), "{encoder}");
        let missing = 20u64.saturating_sub(shown.len() as u64);
        assert!(missing <= outcome.stats.dropped_frames + 1, "{encoder}: {shown:?}");
    }
}

#[test]
fn a_slow_encoder_costs_frames_of_the_clip_but_not_of_the_stream_nor_the_moment_itself() {
    let encoder = "identity sleep-time=40000 ! x264enc tune=zerolatency ! h264parse";
    let mut stand = Stand::new(&format!("{CLIP} clip-encoder=\"{encoder}\""), CAPS);
    let bright = 41;
    for index in 0..60 {
        let value = if index == bright { 250 } else { 20 };
        let says = if index == bright { ALARM } else { QUIET };
        stand.push(saying(grey(&stand.info, value, index), says));
        stand.settle();
    }
    let (outcome, folder) = stand.end();
    assert!(outcome.stats.dropped_frames > 20, "{:?}", outcome.stats);
    assert_eq!(outcome.warnings.len(), 1, "{:?}", outcome.warnings);
    assert!(outcome.warnings[0].contains("clip-encoder"), "{:?}", outcome.warnings);
    let frames = decode(&files(&folder, "mkv")[0], "GRAY8");
    let values = frames
        .iter()
        .map(|frame| component(frame.buffer().unwrap(), &info(frame), 0)[0]);
    assert_eq!(values.filter(|value| *value > 200).count(), 1);
}

//! `candlepublish` in pipelines: the lines that it writes, when, and what it says when it cannot.

mod support;

use std::path::Path;

use gst::prelude::*;
use support::{buffer, count, element, event, harness, init, settle};

/// A buffer that only a denoiser has seen.
fn denoised(index: u64) -> gst::Buffer {
    let mut buffer = buffer(index, None, None);
    let mut meta = gst::meta::CustomMeta::add(buffer.get_mut().unwrap(), "candle-result").unwrap();
    let denoise = gst::Structure::builder("denoise")
        .field("noise-level", 20.0)
        .field("strength", 0.5)
        .field("stale", false);
    meta.mut_structure().set("denoise", denoise.build());
    buffer
}

#[test]
fn a_noise_level_is_told_of_each_frame_but_is_no_change() {
    let folder = tempfile::tempdir().unwrap();
    for (mode, expected) in [("change", &[][..]), ("all", &[0, 1])] {
        let file = folder.path().join(mode);
        let mut harness = harness(&format!("post-messages={mode} location={}", file.display()));
        for index in 0..2 {
            harness.push_and_pull(denoised(index)).unwrap();
        }
        settle(&element(&harness), expected.len() as u64);
        assert_eq!(written(&file), expected, "{mode}");
    }
}

#[test]
fn a_class_that_comes_or_goes_is_a_change_and_what_it_takes_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let segmented = |index: u64, share: f64| {
        let mut buffer = buffer(index, None, None);
        let mut meta = gst::meta::CustomMeta::add(buffer.get_mut().unwrap(), "candle-result").unwrap();
        let segment = gst::Structure::builder("segment")
            .field("label", if share > 0.0 { "crack" } else { "" })
            .field("share", share)
            .field("labels", gst::Array::new(["background", "crack"]))
            .field("shares", gst::Array::new([1.0 - share, share]))
            .field("background", 0)
            .field("stale", false)
            .field("regions", gst::Array::new(Vec::<gst::Structure>::new()));
        meta.mut_structure().set("segment", segment.build());
        buffer
    };
    let file = folder.path().join("events.jsonl");
    let mut harness = harness(&format!("location={}", file.display()));
    for (index, share) in [0.0, 0.0, 0.25, 0.5, 0.0].into_iter().enumerate() {
        harness.push_and_pull(segmented(index as u64, share)).unwrap();
    }
    settle(&element(&harness), 3);
    assert_eq!(written(&file), [0, 2, 4]);
    let text = std::fs::read_to_string(&file).unwrap();
    let told = event(text.lines().nth(1).unwrap());
    assert_eq!(
        (&told["element"], &told["task"]),
        (&"candlesegment".into(), &"segment".into())
    );
    assert_eq!((&told["label"], told["share"].as_f64()), (&"crack".into(), Some(0.25)));
}

/// Numbers of the frames that have a line in the file.
fn written(file: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| event(line)["frame"].as_u64().unwrap())
        .collect()
}

#[test]
fn changes_are_written_at_once_and_every_buffer_passes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    let mut harness = harness(&format!("location={}", file.display()));
    let steps = [
        (None, None, vec![]),
        (Some(false), Some("good"), vec![1, 1]),
        (Some(false), Some("good"), vec![1, 1]),
        (Some(true), Some("good"), vec![1, 1, 3]),
        (Some(true), Some("scratch"), vec![1, 1, 3, 4]),
        (None, None, vec![1, 1, 3, 4]),
        (Some(true), Some("scratch"), vec![1, 1, 3, 4]),
        (Some(false), Some("good"), vec![1, 1, 3, 4, 7, 7]),
    ];
    for (index, (alarm, label, expected)) in steps.into_iter().enumerate() {
        let sent = buffer(index as u64, alarm, label);
        let address = sent.as_ptr();
        assert_eq!(
            harness.push_and_pull(sent).unwrap().as_ptr(),
            address,
            "passed on, not copied"
        );
        settle(&element(&harness), expected.len() as u64);
        assert_eq!(written(&file), expected, "after frame {index}");
    }
    assert!(harness.push_event(gst::event::Eos::new()));
    assert_eq!(harness.buffers_received(), 8);
}

#[test]
fn all_writes_each_result_with_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    // By its old name.
    let mut harness = harness(&format!("mode=all camera=\"line 1\" location={}", file.display()));
    for index in 0..3 {
        harness.push_and_pull(buffer(index, Some(true), None)).unwrap();
    }
    let mut gap = buffer(3, None, None);
    gap.get_mut().unwrap().set_flags(gst::BufferFlags::GAP);
    harness.push_and_pull(gap).unwrap();
    harness.set_src_caps_str("audio/x-raw,format=S16LE,rate=8000,channels=1,layout=interleaved");
    assert!(harness.push_event(gst::event::FlushStart::new()));
    assert!(harness.push_event(gst::event::FlushStop::new(true)));
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_start(gst::ClockTime::from_mseconds(400));
    segment.set_time(gst::ClockTime::from_seconds(60));
    assert!(harness.push_event(gst::event::Segment::new(&segment)));
    harness.push_and_pull(buffer(4, Some(true), Some("a"))).unwrap();
    settle(&element(&harness), 5);
    let text = std::fs::read_to_string(&file).unwrap();
    let events: Vec<_> = text.lines().map(event).collect();
    let column = |field: &str| -> Vec<_> { events.iter().map(|event| event[field].clone()).collect() };
    assert_eq!(column("number"), [0, 1, 2, 3, 4]);
    assert_eq!(column("frame"), [0, 1, 2, 4, 4]);
    assert_eq!(column("camera"), ["line 1"; 5]);
    let (anomaly, classify) = ("candleanomaly", "candleclassify");
    assert_eq!(column("element"), [anomaly, anomaly, anomaly, anomaly, classify]);
    assert_eq!(
        column("timestamp"),
        [0_u64, 100_000_000, 200_000_000, 400_000_000, 400_000_000]
    );
    assert_eq!(
        column("stream-time"),
        [0_u64, 100_000_000, 200_000_000, 60_000_000_000, 60_000_000_000]
    );
    assert_eq!(column("running-time"), [0_u64, 100_000_000, 200_000_000, 0, 0]);
    assert_eq!(column("state-changed"), [true, false, false, false, true]);
    assert!(column("run").iter().all(|run| *run == events[0]["run"]));
    assert!(column("time").is_sorted_by_key(|time| time.as_str().unwrap().to_owned()));
}

#[test]
fn an_interval_tells_changes_and_one_result_each_interval() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    let properties = "post-messages=interval message-interval=300000000";
    let mut harness = harness(&format!("{properties} location={}", file.display()));
    for index in 0..10 {
        harness.push_and_pull(buffer(index, Some(index == 4), None)).unwrap();
    }
    settle(&element(&harness), 5);
    assert_eq!(written(&file), [0, 3, 4, 5, 8]);
}

#[test]
fn files_are_put_aside_and_no_line_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    let properties = "post-messages=all max-size-bytes=2000 max-files=3";
    let mut harness = harness(&format!("{properties} location={}", file.display()));
    for index in 0..100 {
        harness.push_and_pull(buffer(index, Some(true), None)).unwrap();
    }
    settle(&element(&harness), 100);
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["events.jsonl", "events.jsonl.1", "events.jsonl.2", "events.jsonl.3"]
    );
    let frames: Vec<u64> = names[1..]
        .iter()
        .rev()
        .chain(&names[..1])
        .flat_map(|name| {
            let path = folder.path().join(name);
            assert!(std::fs::metadata(&path).unwrap().len() <= 2000);
            written(&path)
        })
        .collect();
    assert!(frames.len() > 12, "{frames:?}");
    assert!(
        (100 - frames.len() as u64..100).eq(frames.iter().copied()),
        "{frames:?}"
    );
}

/// A pipeline that takes buffers and their caps from here, writes every result to `file`, and ends.
fn stream(frames: &[(gst::Caps, gst::Buffer)], file: &Path) -> Vec<gst::Buffer> {
    let pipeline = gst::parse::launch(&format!(
        "appsrc name=in format=time ! candlepublish post-messages=all location={} ! appsink name=out sync=false",
        file.display()
    ));
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    let source = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    let sink = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for (caps, buffer) in frames {
        source.set_caps(Some(caps));
        source.push_buffer(buffer.clone()).unwrap();
    }
    source.end_of_stream().unwrap();
    let wait = gst::ClockTime::from_seconds(10);
    let samples: Vec<_> = std::iter::from_fn(|| sink.try_pull_sample(wait)).collect();
    assert!(
        sink.is_eos(),
        "{:?}",
        pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error])
    );
    pipeline.set_state(gst::State::Null).unwrap();
    let caps: Vec<_> = samples.iter().map(|sample| sample.caps_owned().unwrap()).collect();
    assert!(caps.iter().eq(frames.iter().map(|(caps, _)| caps)));
    samples.iter().map(|sample| sample.buffer_owned().unwrap()).collect()
}

#[test]
fn every_raw_format_passes_and_caps_change_in_mid_stream() {
    init();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    let frames: Vec<_> = (0..)
        .zip(gst_video::VideoFormat::iter_raw())
        .map(|(index, format)| {
            let info = gst_video::VideoInfo::builder(format, 5, 3).build().unwrap();
            (info.to_caps().unwrap(), buffer(index, Some(true), None))
        })
        .collect();
    let found = stream(&frames, &file);
    for ((caps, sent), found) in frames.iter().zip(&found) {
        assert_eq!(found.peek_memory(0).as_ptr(), sent.peek_memory(0).as_ptr(), "{caps}");
    }
    assert_eq!(written(&file), (0..frames.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_stream_of_one_frame_is_one_line_and_its_end() {
    init();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    let caps = gst::Caps::builder("video/x-raw").field("format", "GRAY8").build();
    assert_eq!(stream(&[(caps, buffer(0, Some(true), None))], &file).len(), 1);
    assert_eq!(written(&file), [0]);
}

#[test]
fn append_keeps_the_lines_of_the_last_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    for (append, lines) in [("false", 1), ("true", 2), ("true", 3), ("false", 1)] {
        let mut harness = harness(&format!("append={append} location={}", file.display()));
        harness.push_and_pull(buffer(0, Some(true), None)).unwrap();
        settle(&element(&harness), 1);
        assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), lines);
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    init();
    let pipeline =
        gst::parse::launch("fakesrc ! candlepublish location=/no/such/folder/events.jsonl ! fakesink").unwrap();
    let bus = pipeline.bus().unwrap();
    assert!(pipeline.set_state(gst::State::Playing).is_err());
    let message = bus.pop_filtered(&[gst::MessageType::Error]).expect("an error");
    pipeline.set_state(gst::State::Null).unwrap();
    let gst::MessageView::Error(error) = message.view() else {
        unreachable!("it is filtered")
    };
    assert!(error.error().matches(gst::ResourceError::OpenWrite), "{error:?}");
    assert!(
        error.error().to_string().contains("/no/such/folder/events.jsonl"),
        "{error:?}"
    );
}

#[test]
fn a_full_disk_is_one_warning_that_names_the_file_and_frames_go_on() {
    let mut harness = harness("post-messages=all location=/dev/full");
    let element = element(&harness);
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    for index in 0..20 {
        harness.push_and_pull(buffer(index, Some(true), None)).unwrap();
    }
    settle(&element, 20);
    assert_eq!(
        (count(&element, "lines-written"), count(&element, "lines-dropped")),
        (0, 20)
    );
    let warnings: Vec<_> = bus.iter_filtered(&[gst::MessageType::Warning]).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let gst::MessageView::Warning(warning) = warnings[0].view() else {
        unreachable!("it is filtered")
    };
    assert!(warning.error().matches(gst::ResourceError::NoSpaceLeft), "{warning:?}");
    assert!(warning.error().to_string().contains("/dev/full"), "{warning:?}");
}

#[test]
fn a_reader_that_hangs_holds_up_neither_frames_nor_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    // Opens for reading and reads nothing; for both, so that opening does not wait.
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let mut harness = harness(&format!("post-messages=all location={}", fifo.display()));
    let element = element(&harness);
    let start = std::time::Instant::now();
    for index in 0..2000 {
        harness.push_and_pull(buffer(index, Some(true), None)).unwrap();
    }
    drop(harness);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    // A pipe takes 64 KiB.
    let (written, dropped) = (count(&element, "lines-written"), count(&element, "lines-dropped"));
    assert!((1..2000).contains(&written), "{written}");
    assert!(written + dropped >= 1999, "{written} and {dropped}");
    drop(reader);
}

//! `candlepublish` in pipelines: what it writes, when, and what it says when it cannot.

use std::path::Path;

use gst::prelude::*;
use gst_check::Harness;

fn init() {
    use std::sync::Once;
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gstcandlepublish::plugin_register_static().unwrap();
        gst::meta::CustomMeta::register("candle-result", &[]);
    });
}

/// A buffer of frame `index` at 10 frames a second, with an alarm and a label if given.
fn buffer(index: u64, alarm: Option<bool>, label: Option<&str>) -> gst::Buffer {
    let mut buffer = gst::Buffer::with_size(4).unwrap();
    let frame = buffer.get_mut().unwrap();
    frame.set_pts(gst::ClockTime::from_mseconds(100 * index));
    frame.set_duration(gst::ClockTime::from_mseconds(100));
    if alarm.is_some() || label.is_some() {
        let mut meta = gst::meta::CustomMeta::add(frame, "candle-result").unwrap();
        if let Some(alarm) = alarm {
            let anomaly = gst::Structure::builder("anomaly")
                .field("score", index as f64)
                .field("threshold", 0.5)
                .field("anomalous", true)
                .field("state", alarm)
                .field("regions", gst::Array::new(Vec::<gst::Structure>::new()));
            meta.mut_structure().set("anomaly", anomaly.build());
        }
        if let Some(label) = label {
            let classify = gst::Structure::builder("classify")
                .field("label", label)
                .field("confidence", 0.5);
            meta.mut_structure().set("classify", classify.build());
        }
    }
    buffer
}

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
    init();
    let folder = tempfile::tempdir().unwrap();
    for (mode, expected) in [("change", &[][..]), ("all", &[0, 1])] {
        let file = folder.path().join(mode);
        let mut harness = harness(&format!("candlepublish mode={mode} location={}", file.display()));
        for index in 0..2 {
            harness.push_and_pull(denoised(index)).unwrap();
        }
        assert_eq!(written(&file), expected, "{mode}");
    }
}

fn harness(launch: &str) -> Harness {
    let mut harness = Harness::new_parse(launch);
    harness.set_src_caps_str("video/x-raw,format=GRAY8,width=2,height=2,framerate=10/1");
    harness
}

/// Numbers of the frames that have a line in the file.
fn written(file: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["frame"]
                .as_u64()
                .unwrap()
        })
        .collect()
}

fn error_of(pipeline: &gst::Element, start: bool) -> (gst::glib::Error, String) {
    let bus = pipeline.bus().unwrap();
    assert_eq!(pipeline.set_state(gst::State::Playing).is_err(), start);
    let message = bus
        .timed_pop_filtered(
            gst::ClockTime::from_seconds(10),
            &[gst::MessageType::Error, gst::MessageType::Eos],
        )
        .expect("the pipeline ends");
    pipeline.set_state(gst::State::Null).unwrap();
    match message.view() {
        gst::MessageView::Error(error) => (error.error(), error.error().to_string()),
        other => panic!("no error but {other:?}"),
    }
}

#[test]
fn changes_are_written_at_once_and_every_buffer_passes() {
    init();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    let mut harness = harness(&format!("candlepublish location={}", file.display()));
    let steps = [
        (None, None, vec![]),
        (Some(false), Some("good"), vec![1]),
        (Some(false), Some("good"), vec![1]),
        (Some(true), Some("good"), vec![1, 3]),
        (Some(true), Some("scratch"), vec![1, 3, 4]),
        (None, None, vec![1, 3, 4]),
        (Some(true), Some("scratch"), vec![1, 3, 4]),
        (Some(false), Some("good"), vec![1, 3, 4, 7]),
    ];
    for (index, (alarm, label, expected)) in steps.into_iter().enumerate() {
        let sent = buffer(index as u64, alarm, label);
        let address = sent.as_ptr();
        assert_eq!(
            harness.push_and_pull(sent).unwrap().as_ptr(),
            address,
            "passed on, not copied"
        );
        assert_eq!(written(&file), expected, "after frame {index}");
    }
    assert!(harness.push_event(gst::event::Eos::new()));
    assert_eq!(harness.buffers_received(), 8);
}

#[test]
fn all_writes_each_result_with_its_time() {
    init();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    let mut harness = harness(&format!("candlepublish mode=all location={}", file.display()));
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
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [
            r#"{"time":0.0,"timestamp":0,"frame":0,"score":0.0,"threshold":0.5,"anomalous":true,"state":true,"regions":[]}"#,
            r#"{"time":0.1,"timestamp":100000000,"frame":1,"score":1.0,"threshold":0.5,"anomalous":true,"state":true,"regions":[]}"#,
            r#"{"time":0.2,"timestamp":200000000,"frame":2,"score":2.0,"threshold":0.5,"anomalous":true,"state":true,"regions":[]}"#,
            r#"{"time":60.0,"timestamp":400000000,"frame":4,"score":4.0,"threshold":0.5,"anomalous":true,"state":true,"regions":[],"label":"a","confidence":0.5}"#,
        ]
    );
}

/// A pipeline that takes buffers and their caps from here, writes every result to `file`, and ends.
fn stream(frames: &[(gst::Caps, gst::Buffer)], file: &Path) -> Vec<gst::Buffer> {
    let pipeline = gst::parse::launch(&format!(
        "appsrc name=in format=time ! candlepublish mode=all location={} ! appsink name=out sync=false",
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
    init();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    for (append, lines) in [("false", 1), ("true", 2), ("true", 3), ("false", 1)] {
        let mut harness = harness(&format!("candlepublish append={append} location={}", file.display()));
        harness.push_and_pull(buffer(0, Some(true), None)).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), lines);
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    init();
    let pipeline =
        gst::parse::launch("fakesrc ! candlepublish location=/no/such/folder/events.jsonl ! fakesink").unwrap();
    let (error, text) = error_of(&pipeline, true);
    assert!(error.matches(gst::ResourceError::OpenWrite), "{error:?}");
    assert!(text.contains("/no/such/folder/events.jsonl"), "{error:?}");
}

#[test]
fn a_full_disk_is_one_error_that_names_the_file() {
    init();
    let pipeline =
        gst::parse::launch("appsrc name=in ! candlepublish location=/dev/full ! fakesink async=false").unwrap();
    let source = pipeline.downcast_ref::<gst::Bin>().unwrap().by_name("in").unwrap();
    let source = source.downcast::<gst_app::AppSrc>().unwrap();
    source.push_buffer(buffer(0, Some(true), None)).unwrap();
    source.push_buffer(buffer(1, Some(false), None)).unwrap();
    let (error, text) = error_of(&pipeline, false);
    assert!(error.matches(gst::ResourceError::NoSpaceLeft), "{error:?}");
    assert!(text.contains("/dev/full"), "{error:?}");
}

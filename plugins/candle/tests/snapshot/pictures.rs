//! Pictures: of which frames, how they look, what they are called, and which stay.

use std::path::{Path, PathBuf};

use gst::prelude::*;

use crate::stand::*;
use crate::support::line::{Line, info};
use crate::support::*;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../models")
        .join(name)
        .with_extension("safetensors")
}

/// The picture as pixels of the sample's own format.
fn pixels(sample: &gst::Sample) -> Vec<Vec<u32>> {
    let info = info(sample);
    (0..info.n_components() as u8)
        .map(|c| component(sample.buffer().unwrap(), &info, c))
        .collect()
}

#[test]
fn each_alarm_of_the_inspection_line_is_a_picture_of_its_frame_with_the_overlay() {
    init();
    let folder = tempfile::tempdir().unwrap();
    let line = Line::playing(&format!(
        "candletestsrc num-buffers=160 seed=1 frames-per-part=10 defect-rate=0.35 ! \
         video/x-raw,format=RGB,width=320,height=240,framerate=15/1 ! candleanomaly model-file={} min-area=20 ! candleoverlay ! \
         candlesnapshot name=snap location={} format=png on=alarm-begin",
        shipped("anomaly-testsrc").display(),
        folder.path().join("flagged").display()
    ));
    let frames = line.rest();
    let stats = Stats::of(&line.pipeline.by_name("snap").unwrap());
    let told = messages(&line.pipeline.bus().unwrap());
    let alarms: Vec<u64> = told
        .iter()
        .filter(|message| message.name() == "candleanomaly" && message.get("state") == Ok(true))
        .map(|message| message.get("timestamp").unwrap())
        .collect();
    assert!(alarms.len() >= 3, "the line has defects: {alarms:?}");
    assert_eq!(
        (stats.events, stats.written),
        (alarms.len() as u64, alarms.len() as u64)
    );

    let pictures = files(&folder, "png");
    assert_eq!(names(&folder).len(), alarms.len());
    let written: Vec<_> = told
        .iter()
        .filter(|message| message.name() == "candlesnapshot")
        .collect();
    for ((picture, alarm), message) in pictures.iter().zip(&alarms).zip(written) {
        assert_eq!(message.get::<&str>("path"), Ok(picture.to_str().unwrap()));
        assert_eq!(message.get::<u64>("timestamp"), Ok(*alarm));
        let frame = frames
            .iter()
            .find(|frame| frame.buffer().unwrap().pts().unwrap().nseconds() == *alarm)
            .unwrap();
        let decoded = decode(picture, "RGB");
        assert_eq!(
            (decoded.len(), info(&decoded[0]).width(), info(&decoded[0]).height()),
            (1, 320, 240)
        );
        // Bit for bit what comes out of the stream, and that has the red frame of the overlay.
        assert_eq!(pixels(&decoded[0]), pixels(frame));
        let [red, green, ..] = &pixels(&decoded[0])[..] else {
            unreachable!("RGB")
        };
        assert!(red[0] > 150 && green[0] < 80, "{} {}", red[0], green[0]);
    }
}

#[test]
fn every_format_and_size_makes_a_picture_that_looks_like_the_frame() {
    init();
    for format in FORMATS {
        for (width, height) in [(1, 1), (3, 2), (33, 25)] {
            let caps = format!("format={format},width={width},height={height}");
            let info = info_of(&caps);
            let frame = padded(&busy(&info, 0), &info);
            let sample = gst::Sample::builder().buffer(&frame).caps(&caps_of(&caps)).build();
            for (picture, extension, tolerance) in [("png", "png", 0.0), ("jpeg", "jpg", 8.0)] {
                let mut stand = Stand::new(&format!("format={picture}"), &caps);
                stand.push(saying(frame.copy(), ALARM));
                let (outcome, folder) = stand.end();
                assert_eq!(outcome.stats.written, 1, "{caps} {picture}: {:?}", outcome.warnings);
                let wanted = match (info.is_gray(), format, extension) {
                    (true, "GRAY16_LE", "png") => "GRAY16_LE",
                    (true, ..) => "GRAY8",
                    _ => "RGB",
                };
                let target: gst::Caps = format!("video/x-raw,format={wanted}").parse().unwrap();
                let expected = gst_video::convert_sample(&sample, &target, None).unwrap();
                let decoded = decode(&files(&folder, extension)[0], wanted);
                let [found, expected] = [&decoded[0], &expected].map(|sample| pixels(sample).concat());
                assert_eq!(found.len(), expected.len(), "{caps} {picture}");
                let apart: u32 = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).sum();
                let apart = f64::from(apart) / found.len() as f64;
                assert!(apart <= tolerance, "{caps} {picture}: {apart}");
            }
        }
    }
}

#[test]
fn the_white_of_a_camera_of_12_bits_is_white() {
    let caps = "format=GRAY16_LE,width=4,height=2";
    let mut stand = Stand::new("format=png gray16-white=4095", caps);
    let codes = [0u16, 2048, 4095, 5000, 0, 0, 0, 1].map(u16::to_le_bytes).concat();
    stand.push(saying(timed(gst::Buffer::from_slice(codes), 0), ALARM));
    let (_, folder) = stand.end();
    let decoded = decode(&files(&folder, "png")[0], "GRAY16_LE");
    assert_eq!(pixels(&decoded[0])[0], [0, 32775, 65535, 65535, 0, 0, 0, 16]);
}

/// The events of a stream of frames, as the file names tell them.
fn events(properties: &str, frames: &[Says]) -> Vec<String> {
    let mut stand = Stand::new(properties, CAPS);
    for (index, says) in frames.iter().enumerate() {
        stand.picture(index as u64, *says);
    }
    let (outcome, folder) = stand.end();
    let names = names(&folder);
    assert_eq!(outcome.stats.written, names.len() as u64);
    let event = |name: String| {
        let fields: Vec<&str> = name.rsplit_once('.').unwrap().0.split('_').collect();
        assert_eq!((fields[0].len(), fields[1]), (23, "snap"), "{name}");
        fields[2..].join(" ")
    };
    names.into_iter().map(event).collect()
}

#[test]
fn what_is_asked_for_makes_a_picture_and_nothing_else() {
    let both = |alarm, label| Says {
        alarm: Some(alarm),
        label: Some(label),
        classes: &[],
    };
    let frames = [
        both(false, "good"),
        both(true, "good"),
        both(true, "scratch"),
        both(false, "good"),
    ];
    let begin = "alarm-begin good 0.8750";
    assert_eq!(
        events("", &frames),
        [begin, "label-change scratch 0.8750", "label-change good 0.2500"]
    );
    assert_eq!(events("on=alarm-begin", &frames), [begin]);
    assert_eq!(
        events("on=alarm-begin+alarm-end", &frames),
        [begin, "alarm-end good 0.2500"]
    );
    assert_eq!(
        events("on=anomalous", &frames),
        ["anomalous good 0.8750", "anomalous scratch 0.8750"]
    );
    let renamed = ["label-change scratch 0.8750"];
    assert_eq!(events("on=label-change labels=\"scratch, dent\"", &frames), renamed);
    assert_eq!(events("labels=good", &[label("good")]), ["label-change good"]);
    assert_eq!(events("", &[label("good")]), [""; 0]);
    let unnamed = [both(false, ""), both(true, "")];
    assert_eq!(events("", &unnamed), ["alarm-begin 0.8750"]);
    // A region that goes is nothing to show, one that comes is.
    let regions = ["dent", "", "dent"].map(label);
    assert_eq!(events("", &regions), ["label-change dent"]);
    assert_eq!(events("", &[QUIET, ALARM, ALARM, QUIET, ALARM]).len(), 2);
    // At 10 frames a second.
    let often = [QUIET, ALARM, QUIET, ALARM, QUIET, QUIET, ALARM, QUIET, ALARM];
    assert_eq!(events("min-interval=500000000", &often).len(), 2);
}

#[test]
fn a_class_that_comes_into_a_mask_makes_a_picture() {
    let [none, crack, both] = [&["background"][..], &["background", "crack"], &["crack", "dent"]].map(classes);
    let frames = [none, crack, crack, both, crack, none, both];
    let [of_crack, of_dent] = ["class-begin crack", "class-begin dent"];
    assert_eq!(events("", &frames), [of_crack, of_dent, of_crack]);
    assert_eq!(events("on=class-begin labels=dent", &frames), [of_dent, of_dent]);
    assert_eq!(events("on=class-begin labels=background", &frames), [""; 0]);
    assert_eq!(events("on=label-change+alarm-begin", &frames), [""; 0]);
    assert_eq!(events("", &[crack]).len(), 1, "also on the stream's first frame");
}

#[test]
fn a_frame_without_results_a_gap_and_a_stale_result_make_no_picture() {
    let mut stand = Stand::new("on=anomalous+alarm-begin", CAPS);
    let frame = |index| grey(&info_of(CAPS), 9, index);
    stand.push(frame(0));
    stand.push(flagged(saying(frame(1), ALARM), gst::BufferFlags::GAP));
    let mut stale = saying(
        frame(2),
        Says {
            alarm: Some(false),
            label: None,
            classes: &[],
        },
    );
    {
        let mut meta = gst::meta::CustomMeta::from_mut_buffer(stale.get_mut().unwrap(), "candle-result").unwrap();
        let mut anomaly = meta.structure().get::<gst::Structure>("anomaly").unwrap();
        anomaly.set("stale", true);
        anomaly.set("anomalous", true);
        meta.mut_structure().set("anomaly", anomaly);
    }
    stand.push(stale);
    let (outcome, folder) = stand.end();
    assert_eq!(outcome.stats, Stats::default());
    assert!(names(&folder).is_empty());
}

#[test]
fn old_files_go_by_number_and_by_size_and_others_stay() {
    for (limit, left) in [
        ("max-files=3", 3),
        ("max-size=1", 1),
        ("max-files=4 max-size=1000000", 4),
    ] {
        let mut stand = Stand::new(&format!("format=png {limit}"), CAPS);
        let mine = stand.path().join("20200101T000000.000000Z_other_alarm-begin_0.9.png");
        std::fs::write(&mine, "mine").unwrap();
        for index in 0..12 {
            stand.picture(index, if index % 2 == 0 { QUIET } else { ALARM });
        }
        let (outcome, folder) = stand.end();
        assert_eq!(files(&folder, "png").len(), left + 1, "{limit}");
        assert_eq!(
            (outcome.stats.written, outcome.stats.removed),
            (6, 6 - left as u64),
            "{limit}"
        );
        assert_eq!(std::fs::read(mine).unwrap(), b"mine");
        // Those that are left are the last ones.
        let last = outcome.messages.last().unwrap().get::<String>("path").unwrap();
        assert!(Path::new(&last).exists());
    }
}

#[test]
fn every_frame_passes_as_it_is_also_where_more_come_than_can_be_written() {
    let caps = "format=RGB,width=1920,height=1080";
    let mut stand = Stand::new("on=anomalous format=png", caps);
    let frame = busy(&info_of(caps), 0);
    for _ in 0..24 {
        stand.push(saying(frame.copy(), ALARM));
    }
    let (outcome, folder) = stand.end();
    let stats = outcome.stats;
    assert_eq!((stats.events, stats.failed), (24, 0));
    assert!(stats.dropped > 0 && stats.written > 0, "{stats:?}");
    assert_eq!(stats.written + stats.dropped, 24);
    assert_eq!(names(&folder).len() as u64, stats.written);
    assert_eq!(outcome.warnings.len(), 1, "{:?}", outcome.warnings);
    assert!(outcome.warnings[0].contains("min-interval"), "{:?}", outcome.warnings);
}

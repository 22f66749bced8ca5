//! `candleanomaly` over time: alarms, warnings, and models that look back.

mod support;

use support::*;

const CAPS: &str = "format=GRAY8,width=40,height=30";

#[test]
fn a_rate_that_the_calibration_cannot_show_is_warned_of_once() {
    init();
    let model = brightness(None);
    let info = info_of(CAPS);
    let (mut harness, bus) = harness("candleanomaly", &model, "false-alarm-rate=0.001", CAPS);
    let mut warnings = |from: u64| {
        for index in from..from + 3 {
            harness.push_and_pull(grey(&info, 10, index)).unwrap();
        }
        warnings(&bus)
    };
    let told = warnings(0);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("less than one in the 100 good frames"), "{told:?}");
    assert!(warnings(3).is_empty());
}

/// Texts of the warnings that wait on the bus.
fn warnings(bus: &gst::Bus) -> Vec<String> {
    std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Warning]))
        .map(|message| match message.view() {
            gst::MessageView::Warning(warning) => warning.error().message().to_owned(),
            _ => unreachable!("filtered"),
        })
        .collect()
}

#[test]
fn scores_that_drift_are_warned_of_once() {
    init();
    let model = brightness(None);
    let info = info_of(CAPS);
    let (mut harness, bus) = harness("candleanomaly", &model, "drift-window=8", CAPS);
    let mut index = 0;
    let mut warnings = |value: u8, frames: u64| {
        for _ in 0..frames {
            harness.push_and_pull(grey(&info, value, index)).unwrap();
            index += 1;
        }
        warnings(&bus)
    };
    // Good frames lay between 0.1 and 0.2 of full scale.
    assert!(warnings(36, 20).is_empty());
    let told = warnings(64, 40);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("median of the last 8 frames is 0.2510") && told[0].contains("0.1000 and 0.2000"),
        "{told:?}"
    );
}

/// `(time in 100 ms, state)` of the messages for frames that are good (`.`) or bad (`x`).
fn changes(properties: &str, frames: &str) -> Vec<(u64, bool)> {
    init();
    let model = brightness(None);
    let info = info_of(CAPS);
    let (mut harness, bus) = harness("candleanomaly", &model, properties, CAPS);
    for (index, frame) in frames.chars().enumerate() {
        let value = if frame == 'x' { 255 } else { 0 };
        harness.push_and_pull(grey(&info, value, index as u64)).unwrap();
    }
    let told = messages(&bus);
    assert!(
        told.iter()
            .all(|m| m.name() == "candleanomaly" && !m.has_field("map") && !m.has_field("stale"))
    );
    told.iter()
        .map(|m| {
            (
                m.get::<u64>("running-time").unwrap() / 100_000_000,
                m.get::<bool>("state").unwrap(),
            )
        })
        .collect()
}

#[test]
fn the_alarm_waits_and_holds_and_each_change_is_told_once() {
    assert_eq!(changes("", "..xx.x.."), [(2, true), (4, false), (5, true), (6, false)]);
    let slow = "min-duration=200000000 hold-duration=300000000";
    assert_eq!(changes(slow, ".x.xxx.x....."), [(5, true), (10, false)]);
    assert_eq!(changes("post-messages=none", ".x.x"), []);
    let some = "min-frames=2 of-frames=3";
    assert_eq!(changes(some, ".x..x.xx.."), [(6, true), (8, false)]);
    assert_eq!(changes("hysteresis=1", ".x.."), [(1, true)], "no score is below 0");
    assert_eq!(changes("post-messages=all", ".x"), [(0, false), (1, true)]);
    let interval = "post-messages=interval message-interval=300000000";
    assert_eq!(
        changes(interval, "....x.."),
        [(0, false), (3, false), (4, true), (5, false)]
    );
}

#[test]
fn a_model_that_predicts_judges_by_the_frames_before() {
    init();
    let model = unchanging();
    let info = info_of(CAPS);
    // Scores of frames of these brightnesses; the frame at `at` is flagged.
    let scores = |properties: &str, frames: &[u8], (at, flag): (usize, gst::BufferFlags)| -> Vec<f64> {
        let (mut harness, _) = harness("candleanomaly", &model, properties, CAPS);
        let frames = frames.iter().enumerate().map(|(index, value)| {
            let mut buffer = grey(&info, *value, index as u64);
            if index == at {
                buffer.get_mut().unwrap().set_flags(flag);
            }
            let output = harness.push_and_pull(buffer).unwrap();
            result(&output, "anomaly").map_or(-1.0, |found| found.get::<f64>("score").unwrap())
        });
        frames.collect()
    };
    let (cut, gap) = (gst::BufferFlags::DISCONT, gst::BufferFlags::GAP);
    let none = (99, cut);
    // Those that have too few before them get no result, here -1.
    assert_eq!(
        scores("", &[0, 255, 255, 255, 0, 0], none),
        [-1.0, -1.0, 0.0, 0.0, 1.0, 0.0]
    );
    assert_eq!(
        scores("", &[0, 0, 0, 255, 255, 0], (3, cut)),
        [-1.0, -1.0, 0.0, -1.0, -1.0, 1.0]
    );
    assert_eq!(
        scores("", &[0, 0, 0, 255, 0, 0, 255], (3, gap)),
        [-1.0, -1.0, 0.0, 0.0, -1.0, -1.0, 1.0]
    );
    // Frames between are seen, and carry the last result.
    let every_other = scores("inference-interval=2", &[0, 0, 0, 255, 255, 255, 0], none);
    assert_eq!(every_other, [-1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    // At a threshold of 0, too, a frame that was not judged is no anomaly.
    let (mut harness, bus) = harness("candleanomaly", &model, "threshold=0", CAPS);
    for index in 0..3 {
        harness.push_and_pull(grey(&info, 9, index)).unwrap();
    }
    let told = messages(&bus);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].get::<u64>("running-time"), Ok(200_000_000));
}

#[test]
fn an_alarm_starts_and_holds_where_frames_are_left_out_all_the_time() {
    init();
    let info = info_of(CAPS);
    // States of frames of these brightnesses, each of which says that some before it are missing.
    let states = |properties: &str, frames: &[u8]| -> Vec<bool> {
        let (mut harness, _) = harness("candleanomaly", &brightness(None), properties, CAPS);
        let frames = frames.iter().enumerate().map(|(index, value)| {
            let frame = flagged(grey(&info, *value, index as u64), gst::BufferFlags::DISCONT);
            let output = harness.push_and_pull(frame).unwrap();
            result(&output, "anomaly").unwrap().get("state").unwrap()
        });
        frames.collect()
    };
    let bright = [255; 4];
    assert_eq!(states("min-frames=3 of-frames=4", &bright), [false, false, true, true]);
    assert_eq!(states("min-duration=200000000", &bright), [false, false, true, true]);
    assert_eq!(states("hold-duration=200000000", &[255, 0, 0]), [true, true, false]);
}

#[test]
fn a_seek_forgets_the_alarm_without_telling_it_twice() {
    init();
    let model = brightness(None);
    let info = info_of(CAPS);
    let (mut harness, bus) = harness("candleanomaly", &model, "hold-duration=10000000000", CAPS);
    let flush = |harness: &mut gst_check::Harness| {
        harness.push_event(gst::event::FlushStart::new());
        harness.push_event(gst::event::FlushStop::new(true));
        harness.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    };
    harness.push_and_pull(grey(&info, 255, 0)).unwrap();
    flush(&mut harness);
    harness.push_and_pull(grey(&info, 255, 50)).unwrap();
    assert_eq!(messages(&bus).len(), 1, "the alarm is on before and after");
    flush(&mut harness);
    harness.push_and_pull(grey(&info, 0, 51)).unwrap();
    let told = messages(&bus);
    assert_eq!(told.len(), 1, "the flush ended the hold duration");
    assert_eq!(told[0].get("state"), Ok(false));
}

#[test]
fn what_is_smaller_than_the_least_area_keeps_no_alarm_up() {
    init();
    let model = brightness(None);
    let info = info_of(CAPS);
    let (mut harness, bus) = harness("candleanomaly", &model, "min-area=20 hysteresis=0.5", CAPS);
    // A large spot above the threshold, then below it, then small ones above it and below it, each with its alarm.
    let frames = [
        ([3, 4, 8, 6], 204),
        ([3, 4, 8, 6], 100),
        ([3, 4, 2, 2], 204),
        ([3, 4, 2, 2], 100),
    ];
    for (index, spot) in frames.into_iter().enumerate() {
        harness.push_and_pull(spotted(&info, &[spot], index as u64)).unwrap();
    }
    let told = messages(&bus);
    let states: Vec<(u64, bool)> = told
        .iter()
        .map(|m| {
            (
                m.get::<u64>("running-time").unwrap() / 100_000_000,
                m.get("state").unwrap(),
            )
        })
        .collect();
    assert_eq!(states, [(0, true), (2, false)]);
}

//! `candleanomaly` on frames whose scores and regions are known.

mod support;

use gst::prelude::*;
use gst_video::VideoRegionOfInterestMeta;
use support::*;

const CAPS: &str = "format=GRAY8,width=40,height=30";

#[test]
fn score_verdict_regions_and_map_are_on_the_frame_and_its_memory_is_untouched() {
    init();
    let model = brightness(None);
    let info = info_of(CAPS);
    let (mut harness, _) = harness("candleanomaly", &model, "", CAPS);
    let input = spotted(&info, &[([3, 4, 5, 2], 204), ([20, 10, 3, 3], 153)], 0);
    // Somebody else holds the frame too, and its memory is read-only.
    let output = harness.push_and_pull(input.clone()).unwrap();
    assert_eq!(output.peek_memory(0).as_ptr(), input.peek_memory(0).as_ptr());
    assert!(result(&input, "anomaly").is_none());

    let anomaly = result(&output, "anomaly").unwrap();
    let number = |field: &str| anomaly.get::<f64>(field).unwrap();
    let flag = |field: &str| anomaly.get::<bool>(field).unwrap();
    assert!((number("score") - 0.8).abs() < 1e-6);
    assert_eq!(number("threshold"), 0.5);
    assert!(
        (number("normalized") - 0.8).abs() < 1e-6,
        "its odds of 4 to the threshold's of 1"
    );
    assert_eq!((flag("anomalous"), flag("state"), flag("stale")), (true, true, false));
    let regions = array(&anomaly, "regions");
    let found: Vec<_> = regions
        .iter()
        .map(|r| (rect(r), r.get::<i32>("area").unwrap()))
        .collect();
    assert_eq!(found, [([3, 4, 5, 2], 10), ([20, 10, 3, 3], 9)]);
    assert!((regions[1].get::<f64>("score").unwrap() - 0.6).abs() < 1e-6);

    let map = anomaly.get::<gst::Buffer>("map").unwrap();
    let map = map.map_readable().unwrap();
    assert_eq!(
        (anomaly.get("map-width"), anomaly.get("map-height"), map.len()),
        (Ok(40), Ok(30), 1200)
    );
    assert_eq!(["map-x", "map-y", "map-w", "map-h"].map(number), [0.0, 0.0, 40.0, 30.0]);
    assert_eq!((map[4 * 40 + 3], map[4 * 40 + 8]), (204, 0));

    let metas: Vec<_> = output.iter_meta::<VideoRegionOfInterestMeta>().collect();
    assert_eq!(
        metas.iter().map(|m| m.rect()).collect::<Vec<_>>(),
        [(3, 4, 5, 2), (20, 10, 3, 3)]
    );
    assert_eq!(metas[0].roi_type(), "anomaly");
    let param = metas[0].param("candle-region").unwrap();
    assert_eq!(
        (param.get::<i32>("area"), param.get::<&str>("label")),
        (Ok(10), Ok("anomaly"))
    );
    assert!((param.get::<f64>("score").unwrap() - 0.8).abs() < 1e-6);

    let good = harness
        .push_and_pull(spotted(&info, &[([3, 4, 5, 2], 102)], 1))
        .unwrap();
    let anomaly = result(&good, "anomaly").unwrap();
    assert_eq!(
        (anomaly.get("anomalous"), array(&anomaly, "regions").len()),
        (Ok(false), 0)
    );
    let element = element(&harness);
    assert!((element.property::<f64>("last-score") - 0.4).abs() < 1e-6);
    assert!(!element.property::<bool>("anomalous") && !element.property::<bool>("alarm"));
}

#[test]
fn a_map_of_another_size_is_laid_on_the_frame() {
    init();
    let model = brightness(Some([20, 15]));
    let info = info_of(CAPS);
    let (mut harness, _) = harness("candleanomaly", &model, "roi=20,10,20,20", CAPS);
    let output = harness
        .push_and_pull(spotted(&info, &[([28, 16, 6, 6], 255)], 0))
        .unwrap();
    let anomaly = result(&output, "anomaly").unwrap();
    assert_eq!((anomaly.get("map-width"), anomaly.get("map-height")), (Ok(20), Ok(15)));
    let covers = ["map-x", "map-y", "map-w", "map-h"].map(|field| anomaly.get::<f64>(field).unwrap());
    assert_eq!(covers, [20.0, 10.0, 20.0, 20.0]);
    let [x, y, width, height] = rect(&array(&anomaly, "regions")[0]);
    assert!((27..=29).contains(&x) && (15..=17).contains(&y), "{x} {y}");
    assert!(
        (5..=8).contains(&width) && (5..=8).contains(&height),
        "{width} {height}"
    );
}

#[test]
fn only_the_region_of_interest_counts() {
    init();
    let model = brightness(None);
    let info = info_of(CAPS);
    let (mut harness, _) = harness("candleanomaly", &model, "roi=10,10,100,100", CAPS);
    let score = |buffer: &gst::Buffer| result(buffer, "anomaly").unwrap().get::<f64>("score").unwrap();
    let outside = harness
        .push_and_pull(spotted(&info, &[([0, 0, 10, 30], 255)], 0))
        .unwrap();
    assert_eq!(score(&outside), 0.0);
    let inside = harness
        .push_and_pull(spotted(&info, &[([12, 14, 2, 2], 255)], 1))
        .unwrap();
    assert_eq!(score(&inside), 1.0);
    assert_eq!(
        rect(&array(&result(&inside, "anomaly").unwrap(), "regions")[0]),
        [12, 14, 2, 2]
    );
    element(&harness).set_property("roi", "");
    let whole = harness
        .push_and_pull(spotted(&info, &[([0, 0, 10, 30], 255)], 2))
        .unwrap();
    assert_eq!(score(&whole), 1.0);
}

#[test]
fn a_region_of_interest_that_cannot_be_is_an_error_or_a_warning() {
    init();
    let model = brightness(None);
    let launch = |roi: &str| {
        let path = model.path().display();
        format!(
            "videotestsrc num-buffers=2 ! video/x-raw,width=32,height=24 ! candleanomaly model-file={path} roi={roi} ! fakesink"
        )
    };
    let error = play(&launch("1,2,3")).unwrap_err();
    assert!(error.matches(gst::ResourceError::Settings), "{error}");
    assert!(error.message().contains("`roi=1,2,3`"), "{error}");
    let error = play(&launch("\"32,0,5,5\"")).unwrap_err();
    assert!(error.message().contains("outside of the frame of 32x24"), "{error}");

    let info = info_of(CAPS);
    let (mut harness, bus) = harness("candleanomaly", &model, "roi=0,0,5,5", CAPS);
    element(&harness).set_property("roi", "nonsense");
    let warning = bus.pop_filtered(&[gst::MessageType::Warning]).unwrap();
    let gst::MessageView::Warning(warning) = warning.view() else {
        unreachable!("filtered")
    };
    assert!(warning.error().message().contains("nonsense"));
    let output = harness
        .push_and_pull(spotted(&info, &[([20, 20, 5, 5], 255)], 0))
        .unwrap();
    assert_eq!(result(&output, "anomaly").unwrap().get::<f64>("score"), Ok(0.0));
}

#[test]
fn regions_smaller_than_the_least_area_do_not_count() {
    init();
    let model = brightness(None);
    let info = info_of(CAPS);
    let (mut harness, _) = harness("candleanomaly", &model, "min-area=6", CAPS);
    let verdict = |buffer: gst::Buffer| {
        let anomaly = result(&buffer, "anomaly").unwrap();
        (
            anomaly.get::<bool>("anomalous").unwrap(),
            array(&anomaly, "regions").len(),
        )
    };
    let small = ([1, 1, 5, 1], 255);
    assert_eq!(
        verdict(harness.push_and_pull(spotted(&info, &[small], 0)).unwrap()),
        (false, 0)
    );
    let both = [small, ([10, 10, 3, 2], 200)];
    assert_eq!(
        verdict(harness.push_and_pull(spotted(&info, &both, 1)).unwrap()),
        (true, 1)
    );
}

#[test]
fn a_speckled_frame_tells_its_worst_regions_only() {
    init();
    let model = brightness(None);
    let info = info_of(CAPS);
    let (mut harness, _) = harness("candleanomaly", &model, "", CAPS);
    let speckles: Vec<_> = (0..200)
        .map(|i| ([2 * (i % 20), 2 * (i / 20), 1, 1], 255 - (i % 100) as u8))
        .collect();
    let output = harness.push_and_pull(spotted(&info, &speckles, 0)).unwrap();
    let regions = array(&result(&output, "anomaly").unwrap(), "regions");
    assert_eq!(regions.len(), 64);
    let least = regions.last().unwrap().get::<f64>("score").unwrap();
    assert!((least - 224.0 / 255.0).abs() < 1e-6, "{least}");
}

#[test]
fn the_threshold_comes_from_the_property_the_rate_or_the_model() {
    init();
    let model = brightness(None);
    let info = info_of(CAPS);
    let (mut harness, _) = harness("candleanomaly", &model, "", CAPS);
    let element = element(&harness);
    let mut threshold = |index| {
        let output = harness.push_and_pull(grey(&info, 10, index)).unwrap();
        result(&output, "anomaly").unwrap().get::<f64>("threshold").unwrap()
    };
    assert_eq!(threshold(0), 0.5);
    element.set_property("false-alarm-rate", 0.1);
    assert!((threshold(1) - 0.25).abs() < 1e-6);
    element.set_property("threshold", 0.0f32);
    assert_eq!(threshold(2), 0.0);
}

#[test]
fn a_message_has_times_and_regions() {
    init();
    let model = brightness(None);
    let info = info_of(CAPS);
    let (mut harness, bus) = harness("candleanomaly", &model, "", CAPS);
    harness
        .push_and_pull(spotted(&info, &[([3, 4, 5, 2], 204)], 7))
        .unwrap();
    let [message] = &messages(&bus)[..] else {
        panic!("one message")
    };
    let times = ["timestamp", "stream-time", "running-time", "duration"];
    assert_eq!(
        times.map(|field| message.get::<u64>(field).unwrap() / 1_000_000),
        [700, 700, 700, 100]
    );
    assert!((message.get::<f64>("score").unwrap() - 0.8).abs() < 1e-6);
    assert_eq!(message.get::<f64>("threshold"), Ok(0.5));
    assert_eq!(
        (message.get("anomalous"), message.get("state-changed")),
        (Ok(true), Ok(true))
    );
    assert_eq!(rect(&array(message, "regions")[0]), [3, 4, 5, 2]);
}

#[test]
fn frames_between_carry_the_last_result_marked_stale() {
    init();
    let model = brightness(None);
    let info = info_of(CAPS);
    let (mut harness, bus) = harness("candleanomaly", &model, "inference-interval=3 post-messages=all", CAPS);
    let mut seen = Vec::new();
    for (index, value) in [255, 0, 0, 0, 255].into_iter().enumerate() {
        let output = harness
            .push_and_pull(spotted(&info, &[([1, 1, 2, 2], value)], index as u64))
            .unwrap();
        let anomaly = result(&output, "anomaly").unwrap();
        let regions = output.iter_meta::<VideoRegionOfInterestMeta>().count();
        seen.push((anomaly.get("score").unwrap(), anomaly.get("stale").unwrap(), regions));
    }
    let expected: [(f64, bool, usize); 5] = [
        (1.0, false, 1),
        (1.0, true, 0),
        (1.0, true, 0),
        (0.0, false, 0),
        (0.0, true, 0),
    ];
    assert_eq!(seen, expected);
    assert_eq!(messages(&bus).len(), 2);
    assert_eq!(counts(&element(&harness)), [5, 2, 3, 0]);
}

#[test]
fn other_outputs_draw_on_a_copy() {
    init();
    let model = brightness(None);
    for format in ["RGB", "I420", "GRAY8", "GRAY16_LE", "BGRA"] {
        for (output, size) in [
            ("heatmap", (16, 8)),
            ("reconstruction", (15, 9)),
            ("side-by-side", (17, 8)),
            ("side-by-side", (1, 1)),
        ] {
            let caps = format!("format={format},width={},height={}", size.0, size.1);
            let info = info_of(&caps);
            let (mut harness, _) = harness("candleanomaly", &model, &format!("output={output}"), &caps);
            let input = busy(&info, 0);
            let before = input.map_readable().unwrap().to_vec();
            let drawn = harness.push_and_pull(input.clone()).unwrap();
            assert_eq!(
                *input.map_readable().unwrap(),
                before[..],
                "{caps} {output}: the input was written to"
            );
            let changed = component(&drawn, &info, 0) != component(&input, &info, 0);
            assert!(
                changed || format.starts_with("GRAY") && output == "reconstruction",
                "{caps} {output}"
            );
            assert!(result(&drawn, "anomaly").is_some());
        }
    }
}

#[test]
fn side_by_side_tells_positions_that_an_overlay_draws_on_the_left() {
    init();
    let model = brightness(None);
    let info = info_of(CAPS);
    let (mut harness, _) = harness("candleanomaly", &model, "output=side-by-side", CAPS);
    let output = harness
        .push_and_pull(spotted(&info, &[([21, 10, 8, 6], 255)], 0))
        .unwrap();
    let anomaly = result(&output, "anomaly").unwrap();
    assert_eq!(
        (anomaly.get("width"), anomaly.get("height")),
        (Ok(2 * info.width() as i32), Ok(info.height() as i32))
    );
    assert_eq!(rect(&array(&anomaly, "regions")[0]), [21, 10, 8, 6]);
    // From 10.5 to 14.5.
    let meta = output.iter_meta::<VideoRegionOfInterestMeta>().next().unwrap();
    assert_eq!(meta.rect(), (10, 10, 5, 6));
    assert_eq!(rect(meta.param("candle-region").unwrap()), [10, 10, 5, 6]);
}

#[test]
fn an_output_that_changes_between_inspections_tells_its_own_size() {
    init();
    let model = brightness(None);
    let info = info_of(CAPS);
    let properties = "inference-interval=3 output=side-by-side";
    let (mut harness, _) = harness("candleanomaly", &model, properties, CAPS);
    let element = element(&harness);
    let mut width = |index| {
        let output = harness.push_and_pull(grey(&info, 255, index)).unwrap();
        result(&output, "anomaly").unwrap().get::<i32>("width").unwrap()
    };
    let mut widths = vec![width(0), width(1)];
    element.set_property_from_str("output", "passthrough");
    widths.push(width(2));
    assert_eq!(widths, [80, 80, 40]);
}

#[test]
fn side_by_side_shows_the_frame_and_its_heat() {
    init();
    let model = brightness(None);
    let caps = "format=RGB,width=40,height=4";
    let info = info_of(caps);
    let (mut harness, _) = harness("candleanomaly", &model, "output=side-by-side", caps);
    let output = harness.push_and_pull(grey(&info, 255, 0)).unwrap();
    let blue = component(&output, &info, 2);
    assert!(blue[..20].iter().all(|&value| value == 255), "white on the left");
    assert!(
        blue[22..40].iter().all(|&value| (160..190).contains(&value)),
        "pale yellow on the right: {blue:?}"
    );
}

#[test]
fn the_result_survives_conversion_scaling_and_queues() {
    init();
    let model = brightness(None);
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc num-buffers=3 pattern=white ! video/x-raw,format=RGB,width=64,height=48 ! candleanomaly model-file={} ! \
         tee ! queue ! videoconvert ! videoscale ! video/x-raw,format=I420,width=32,height=24 ! appsink name=sink sync=false",
        model.path().display()
    ))
    .unwrap();
    let sink = pipeline.downcast_ref::<gst::Bin>().unwrap().by_name("sink").unwrap();
    let sink = sink.downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for _ in 0..3 {
        let sample = sink.pull_sample().unwrap();
        let anomaly = result(sample.buffer().unwrap(), "anomaly").expect("it survives");
        assert_eq!((anomaly.get("width"), anomaly.get("height")), (Ok(64), Ok(48)));
        assert_eq!(rect(&array(&anomaly, "regions")[0]), [0, 0, 64, 48]);
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

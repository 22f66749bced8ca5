//! `candleclassify` on frames whose labels are known.

mod support;

use gst::prelude::*;
use gst_video::VideoRegionOfInterestMeta;
use support::*;

const CAPS: &str = "format=GRAY8,width=24,height=16";

/// Probability of `bright` for a frame of one grey.
fn bright(value: u8) -> f64 {
    1.0 / (1.0 + (-16.0 * (f64::from(value) / 255.0 - 0.5)).exp())
}

fn labels(structure: &gst::StructureRef) -> Vec<(String, f64)> {
    let names = structure.get::<gst::ArrayRef>("labels").unwrap();
    let numbers = structure.get::<gst::ArrayRef>("confidences").unwrap();
    assert_eq!(names.len(), numbers.len());
    names
        .iter()
        .zip(numbers.iter())
        .map(|(name, number)| (name.get().unwrap(), number.get().unwrap()))
        .collect()
}

#[test]
fn labels_are_on_the_frame_and_its_memory_is_untouched() {
    init();
    let model = light();
    let info = info_of(CAPS);
    let (mut harness, bus) = harness("candleclassify", &model, "", CAPS);
    let input = spotted(&info, &[([0, 0, 24, 16], 204)], 0);
    let output = harness.push_and_pull(input.clone()).unwrap();
    assert_eq!(output.peek_memory(0).as_ptr(), input.peek_memory(0).as_ptr());
    let classify = result(&output, "classify").unwrap();
    assert_eq!(
        (
            classify.get::<&str>("label"),
            classify.get("known"),
            classify.get("stale")
        ),
        (Ok("bright"), Ok(true), Ok(false))
    );
    assert!((classify.get::<f64>("confidence").unwrap() - bright(204)).abs() < 1e-5);
    let all = labels(&classify);
    assert_eq!((all[0].0.as_str(), all[1].0.as_str(), all.len()), ("bright", "dark", 2));
    assert!((all[1].1 - (1.0 - bright(204))).abs() < 1e-5);

    harness.push_and_pull(grey(&info, 210, 1)).unwrap();
    harness.push_and_pull(grey(&info, 20, 2)).unwrap();
    let element = element(&harness);
    assert_eq!(element.property::<String>("label"), "dark");
    assert!((element.property::<f64>("confidence") - (1.0 - bright(20))).abs() < 1e-5);
    let told = messages(&bus);
    let told: Vec<_> = told
        .iter()
        .map(|m| (m.name().as_str(), m.get::<&str>("label").unwrap(), m.get("timestamp")))
        .collect();
    assert_eq!(
        told,
        [
            ("candleclassify", "bright", Ok(0u64)),
            ("candleclassify", "dark", Ok(200_000_000))
        ]
    );
}

#[test]
fn a_message_has_times_labels_and_whether_the_label_changed() {
    init();
    let model = light();
    let info = info_of(CAPS);
    let (mut harness, bus) = harness("candleclassify", &model, "post-messages=all", CAPS);
    for (index, value) in [(7, 204), (8, 204), (9, 51)] {
        harness.push_and_pull(grey(&info, value, index)).unwrap();
    }
    let told = messages(&bus);
    let changed: Vec<_> = told.iter().map(|m| m.get::<bool>("state-changed").unwrap()).collect();
    assert_eq!(changed, [true, false, true]);
    let times = ["timestamp", "stream-time", "running-time", "duration"];
    assert_eq!(
        times.map(|field| told[1].get::<u64>(field).unwrap() / 1_000_000),
        [800, 800, 800, 100]
    );
    assert_eq!(
        (told[1].get::<&str>("label"), told[1].get("known")),
        (Ok("bright"), Ok(true))
    );
    assert_eq!(
        labels(&told[1])[0],
        ("bright".into(), told[1].get("confidence").unwrap())
    );
    assert!((told[1].get::<f64>("confidence").unwrap() - bright(204)).abs() < 1e-5);
    assert!(!told[1].has_field("stale"));
}

#[test]
fn below_the_threshold_the_label_is_unknown() {
    init();
    let model = light();
    let info = info_of(CAPS);
    let (mut harness, _) = harness("candleclassify", &model, "top-k=1", CAPS);
    let element = element(&harness);
    let mut label = |value, index| {
        let classify = result(&harness.push_and_pull(grey(&info, value, index)).unwrap(), "classify").unwrap();
        assert_eq!(labels(&classify).len(), 1);
        (
            classify.get::<String>("label").unwrap(),
            classify.get::<bool>("known").unwrap(),
        )
    };
    // 140 is bright with 0.69.
    assert_eq!(label(140, 0), ("unknown".into(), false));
    element.set_property("threshold", 0.6f32);
    assert_eq!(label(140, 1), ("bright".into(), true));
    element.set_property("threshold", 0.99f32);
    assert_eq!(label(180, 2), ("unknown".into(), false));
}

#[test]
fn smoothing_and_hold_steady_the_label() {
    init();
    let model = light();
    let info = info_of(CAPS);
    let run = |properties: &str| -> Vec<String> {
        let (mut harness, _) = harness("candleclassify", &model, properties, CAPS);
        let values = [255, 255, 0, 255, 0, 0, 0, 0];
        let frames = values.into_iter().enumerate();
        frames
            .map(|(index, value)| {
                let output = harness.push_and_pull(grey(&info, value, index as u64)).unwrap();
                let label: String = result(&output, "classify").unwrap().get("label").unwrap();
                label[..1].to_owned()
            })
            .collect()
    };
    assert_eq!(run("").concat(), "bbdbdddd");
    assert_eq!(run("smoothing=0.6 threshold=0.5").concat(), "bbbbdddd");
    assert_eq!(run("hold-duration=500000000").concat(), "bbbbbddd");
}

#[test]
fn each_region_on_the_frame_is_named() {
    init();
    let model = light();
    let info = info_of(CAPS);
    let (mut harness, bus) = harness("candleclassify", &model, "regions=metas", CAPS);
    let mut input = spotted(&info, &[([8, 4, 10, 10], 255)], 0);
    {
        let input = input.get_mut().unwrap();
        VideoRegionOfInterestMeta::add(input, "truth", (0, 0, 3, 3));
        VideoRegionOfInterestMeta::add(input, "anomaly", (9, 5, 8, 8));
        VideoRegionOfInterestMeta::add(input, "anomaly", (100, 0, 8, 8));
        VideoRegionOfInterestMeta::add(input, "anomaly", (20, 10, 50, 50));
    }
    let output = harness.push_and_pull(input).unwrap();
    let classify = result(&output, "classify").unwrap();
    let regions = array(&classify, "regions");
    let found: Vec<_> = regions
        .iter()
        .map(|r| (rect(r), r.get::<&str>("label").unwrap()))
        .collect();
    assert_eq!(found, [([9, 5, 8, 8], "bright"), ([20, 10, 4, 6], "dark")]);
    // With what lies around it, little of the first is bright.
    element(&harness).set_property("region-context", 16u32);
    let mut around = spotted(&info, &[([10, 6, 4, 4], 255)], 1);
    VideoRegionOfInterestMeta::add(around.get_mut().unwrap(), "anomaly", (10, 6, 4, 4));
    let around = harness.push_and_pull(around).unwrap();
    let classify = result(&around, "classify").unwrap();
    let around = array(&classify, "regions");
    assert_eq!((rect(&around[0]), around[0].get("label")), ([10, 6, 4, 4], Ok("dark")));
    let metas = output.iter_meta::<VideoRegionOfInterestMeta>();
    let on_metas: Vec<_> = metas
        .map(|m| m.param("candle-classify").map(|p| p.get::<String>("label").unwrap()))
        .collect();
    assert_eq!(on_metas, [None, Some("bright".into()), None, Some("dark".into())]);

    let none = harness.push_and_pull(grey(&info, 255, 2)).unwrap();
    let classify = result(&none, "classify").unwrap();
    assert_eq!(
        (classify.get::<&str>("label"), classify.get("known")),
        (Ok(""), Ok(false)),
        "there is nothing to name"
    );
    let told = messages(&bus);
    assert_eq!(
        told.iter().map(|m| array(m, "regions").len()).collect::<Vec<_>>(),
        [2, 1, 0]
    );
}

#[test]
fn results_of_both_elements_share_the_frame() {
    init();
    let (classifier, detector) = (light(), brightness(None));
    let launch = format!(
        "candleanomaly model-file={} ! candleclassify name=c model-file={}",
        detector.path().display(),
        classifier.path().display()
    );
    let mut harness = gst_check::Harness::new_parse(&launch);
    harness.set_src_caps(caps_of(CAPS));
    let output = harness.push_and_pull(grey(&info_of(CAPS), 255, 0)).unwrap();
    assert_eq!(result(&output, "anomaly").unwrap().get("anomalous"), Ok(true));
    assert_eq!(result(&output, "classify").unwrap().get::<&str>("label"), Ok("bright"));
}

//! What stands in the metas.

use gst_analytics::prelude::*;
use gst_analytics::{AnalyticsClassificationMtd, AnalyticsODMtd, AnalyticsRelationMeta, RelTypes};
use gst_check::Harness;
use gst_video::VideoRegionOfInterestMeta;

use super::support::*;
use super::{Classes, classes, labels, objects};

const CAPS: &str = "format=GRAY8,width=40,height=40";
const SPOTS: [([usize; 4], u8); 2] = [([3, 4, 5, 2], 204), ([20, 10, 3, 3], 153)];

/// `candleanomaly` with properties of its own, then `candleclassify` with its.
fn both(anomaly: &str, classify: &str) -> Harness {
    init();
    let (detector, classifier) = (brightness(None), light());
    let mut harness = Harness::new_parse(&format!(
        "candleanomaly model-file={} {anomaly} ! candleclassify model-file={} {classify}",
        detector.path().display(),
        classifier.path().display()
    ));
    harness.set_src_caps(caps_of(CAPS));
    harness.push_and_pull(spotted(&info_of(CAPS), &[], 0)).unwrap();
    harness
}

#[track_caller]
fn assert_classes(found: &Classes, expected: &[(&str, f64)]) {
    let matches = |((label, level), (name, probability)): (&(String, f32), &(&str, f64))| {
        label == name && (f64::from(*level) - probability).abs() < 1e-5
    };
    let all = found.len() == expected.len() && found.iter().zip(expected).all(matches);
    assert!(all, "{found:?} is not {expected:?}");
}

#[test]
fn verdict_and_regions_are_objects() {
    init();
    let model = brightness(None);
    let info = info_of(CAPS);
    let (mut harness, _) = harness("candleanomaly", &model, "", CAPS);
    let output = harness.push_and_pull(spotted(&info, &SPOTS, 0)).unwrap();
    let found = objects(&output);
    assert_eq!(labels(&found), ["anomalous", "anomaly", "anomaly"]);
    assert_eq!(
        found.iter().map(|object| object.place).collect::<Vec<_>>(),
        [[0, 20, 40, 20], [3, 4, 5, 2], [20, 10, 3, 3]]
    );
    // Brightness p against a threshold of a half is anomalous with p.
    let expected = [0.8, 0.8, 0.6];
    assert!(
        found
            .iter()
            .zip(expected)
            .all(|(object, p)| (object.confidence - p).abs() < 1e-5),
        "{found:?}"
    );
    assert_eq!(found[0].classes.len(), 1);
    assert_classes(&found[0].classes[0], &[("anomalous", 0.8), ("normal", 0.2)]);
    assert_eq!((&found[1].classes, found[1].part_of), (&Vec::new(), Some(0)));
    let meta = output.meta::<AnalyticsRelationMeta>().unwrap();
    let verdict = meta.iter::<AnalyticsODMtd>().next().unwrap().id();
    let contained = meta.iter_direct_related::<AnalyticsODMtd>(verdict, RelTypes::CONTAIN);
    assert_eq!(contained.count(), 2);

    let good = harness
        .push_and_pull(spotted(&info, &[([3, 4, 5, 2], 102)], 1))
        .unwrap();
    let found = objects(&good);
    assert_eq!(labels(&found), ["normal"]);
    assert_classes(&found[0].classes[0], &[("normal", 0.6), ("anomalous", 0.4)]);
}

#[test]
fn the_verdict_comes_first_whatever_the_score() {
    init();
    let model = brightness(None);
    let info = info_of(CAPS);
    let (mut harness, _) = harness("candleanomaly", &model, "min-area=20", CAPS);
    let output = harness.push_and_pull(spotted(&info, &SPOTS, 0)).unwrap();
    let anomaly = result(&output, "anomaly").unwrap();
    assert!(anomaly.get::<f64>("normalized").unwrap() > 0.7);
    let found = objects(&output);
    assert_eq!(labels(&found), ["normal"]);
    assert_classes(&found[0].classes[0], &[("normal", 0.5), ("anomalous", 0.5)]);
}

#[test]
fn a_frame_that_is_drawn_beside_its_map_is_marked_where_it_stands() {
    init();
    let model = brightness(None);
    let info = info_of(CAPS);
    let (mut harness, _) = harness("candleanomaly", &model, "output=side-by-side", CAPS);
    let output = harness.push_and_pull(spotted(&info, &SPOTS, 0)).unwrap();
    let places: Vec<_> = objects(&output).iter().map(|object| object.place).collect();
    assert_eq!(places, [[0, 20, 20, 20], [1, 4, 3, 2], [10, 10, 2, 3]]);
}

#[test]
fn labels_are_sorted_and_named_by_the_one_in_force() {
    init();
    let model = light();
    let info = info_of(CAPS);
    let (mut harness, _) = harness("candleclassify", &model, "", CAPS);
    let mut frame = |value, index| harness.push_and_pull(grey(&info, value, index)).unwrap();
    let bright = frame(204, 0);
    let found = objects(&bright);
    assert_eq!((labels(&found), found[0].place), (vec!["bright"], [0, 20, 40, 20]));
    let result = result(&bright, "classify").unwrap();
    let p = result.get::<f64>("confidence").unwrap();
    assert!((f64::from(found[0].confidence) - p).abs() < 1e-6);
    assert_eq!(found[0].classes.len(), 1);
    assert_classes(&found[0].classes[0], &[("bright", p), ("dark", 1.0 - p)]);

    assert_eq!(labels(&objects(&frame(51, 1))), ["dark"]);

    // 140 is bright with 0.69, which is not enough: who looks for the object's classes finds none that could pass for its label.
    let unsure = frame(140, 2);
    let found = objects(&unsure);
    assert_eq!((labels(&found), found[0].classes.len()), (vec!["unknown"], 0));
    assert_eq!(classes(&unsure)[0][0].0, "bright");
    let meta = unsure.meta::<AnalyticsRelationMeta>().unwrap();
    let all = meta.iter::<AnalyticsClassificationMtd>().next().unwrap().id();
    let of = meta.iter_direct_related::<AnalyticsODMtd>(all, RelTypes::RELATE_TO);
    assert_eq!(of.count(), 1, "they say whose they are");
}

#[test]
fn both_elements_share_one_meta() {
    let mut harness = both("", "");
    let output = harness.push_and_pull(spotted(&info_of(CAPS), &SPOTS, 1)).unwrap();
    assert_eq!(output.iter_meta::<AnalyticsRelationMeta>().count(), 1);
    assert_eq!(labels(&objects(&output)), ["anomalous", "anomaly", "anomaly", "dark"]);
    assert_eq!(classes(&output).len(), 2);
}

#[test]
fn regions_that_were_found_before_get_their_labels() {
    let mut harness = both("", "regions=metas");
    let output = harness.push_and_pull(spotted(&info_of(CAPS), &SPOTS, 1)).unwrap();
    let found = objects(&output);
    assert_eq!(labels(&found), ["anomalous", "anomaly", "anomaly"], "no object twice");
    let result = result(&output, "classify").unwrap();
    let regions = array(&result, "regions");
    for (object, region) in found[1..].iter().zip(&regions) {
        assert_eq!((object.place, object.part_of), (rect(region), Some(0)));
        let p = region.get::<f64>("confidence").unwrap();
        assert_eq!(object.classes.len(), 1);
        assert_classes(&object.classes[0], &[("bright", p), ("dark", 1.0 - p)]);
    }
    assert_eq!(found[0].classes.len(), 1, "the frame's own is the verdict");

    let good = harness.push_and_pull(spotted(&info_of(CAPS), &[], 2)).unwrap();
    assert_eq!(labels(&objects(&good)), ["normal"]);
}

#[test]
fn regions_without_an_object_get_one() {
    init();
    let model = light();
    let (mut harness, _) = harness("candleclassify", &model, "regions=metas", CAPS);
    let mut input = spotted(&info_of(CAPS), &SPOTS, 0);
    VideoRegionOfInterestMeta::add(input.get_mut().unwrap(), "part", (3, 4, 5, 2));
    let found = objects(&harness.push_and_pull(input).unwrap());
    assert_eq!((labels(&found), found[0].place), (vec!["bright"], [3, 4, 5, 2]));
    assert_eq!(found[0].classes.len(), 1);

    let none = harness.push_and_pull(spotted(&info_of(CAPS), &SPOTS, 1)).unwrap();
    assert!(none.meta::<AnalyticsRelationMeta>().is_none());
}

#[test]
fn objects_of_other_detectors_are_named() {
    init();
    let model = light();
    let (mut harness, _) = harness("candleclassify", &model, "regions=metas", CAPS);
    let mut input = spotted(&info_of(CAPS), &[([30, 30, 10, 10], 255)], 0);
    {
        let frame = input.get_mut().unwrap();
        VideoRegionOfInterestMeta::add(frame, "part", (1, 1, 4, 4));
        let mut meta = AnalyticsRelationMeta::add(frame);
        let type_ = gst::glib::Quark::from_str("part");
        for [x, y, w, h] in [[1, 1, 4, 4], [32, 32, 20, 20], [-9, 0, 9, 9]] {
            meta.add_od_mtd(type_, x, y, w, h, 0.5).unwrap();
        }
    }
    let output = harness.push_and_pull(input).unwrap();
    let regions = array(&result(&output, "classify").unwrap(), "regions");
    let regions: Vec<_> = regions
        .iter()
        .map(|region| (rect(region), region.get::<&str>("label").unwrap()))
        .collect();
    assert_eq!(regions, [([1, 1, 4, 4], "dark"), ([32, 32, 8, 8], "bright")]);
    let found = objects(&output);
    let tops: Vec<_> = found
        .iter()
        .map(|object| object.classes.first().map(|classes| classes[0].0.as_str()))
        .collect();
    assert_eq!(tops, [Some("dark"), Some("bright"), None]);
}

#[test]
fn nothing_is_attached_to_frames_that_were_not_inferred_or_where_it_is_not_wanted() {
    let info = info_of(CAPS);
    let mut harness = both("inference-interval=2", "inference-interval=2");
    let stale = harness.push_and_pull(spotted(&info, &SPOTS, 1)).unwrap();
    for kind in ["anomaly", "classify"] {
        assert_eq!(result(&stale, kind).unwrap().get("stale"), Ok(true));
    }
    assert!(stale.meta::<AnalyticsRelationMeta>().is_none());
    let fresh = harness.push_and_pull(spotted(&info, &SPOTS, 2)).unwrap();
    assert_eq!(objects(&fresh).len(), 4);

    let mut harness = both("attach-meta=false", "attach-meta=false");
    let bare = harness.push_and_pull(spotted(&info, &SPOTS, 1)).unwrap();
    assert_eq!(bare.iter_meta::<gst::Meta>().count(), 0);
}

#[cfg(feature = "v1_26")]
#[test]
fn the_heat_map_is_a_tensor() {
    init();
    let model = brightness(None);
    let info = info_of(CAPS);
    let (mut harness, _) = harness("candleanomaly", &model, "", CAPS);
    let output = harness.push_and_pull(spotted(&info, &SPOTS, 0)).unwrap();
    let meta = output.meta::<gst_analytics::TensorMeta>().unwrap();
    let [map] = meta.as_slice() else {
        panic!("not one tensor: {:?}", meta.as_slice())
    };
    assert_eq!(map.id().as_str(), "candle-anomaly-map");
    assert_eq!(map.dims(), [40, 40]);
    assert_eq!(map.data_type(), gst_analytics::TensorDataType::Uint8);
    let shown = result(&output, "anomaly").unwrap().get::<gst::Buffer>("map").unwrap();
    let (map, shown) = (map.data().map_readable().unwrap(), shown.map_readable().unwrap());
    assert_eq!(&*map, &*shown);
    assert_eq!((map[4 * 40 + 3], map[4 * 40 + 8]), (204, 0));
}

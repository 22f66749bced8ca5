//! `candlesegment` on frames whose classes are known.

mod support;

use gst::prelude::*;
use gst_candle::model::Model;
use gst_candle::pixels::colormap::class_color;
use gst_video::VideoRegionOfInterestMeta;
use support::line::Line;
use support::*;

const CAPS: &str = "format=GRAY8,width=24,height=16";
const PIXELS: f64 = 24.0 * 16.0;
/// A grey rectangle, a white one, and a white pixel.
const SPOTS: [([usize; 4], u8); 3] = [([3, 4, 5, 2], 100), ([10, 2, 4, 3], 255), ([15, 10, 1, 1], 255)];

fn mask_of(segment: &gst::StructureRef) -> Vec<u8> {
    let mask = segment.get::<gst::Buffer>("mask").unwrap();
    mask.map_readable().unwrap().to_vec()
}

fn shares(structure: &gst::StructureRef) -> Vec<f64> {
    let shares = structure.get::<gst::ArrayRef>("shares").unwrap();
    shares.iter().map(|share| share.get().unwrap()).collect()
}

/// Rectangle, area and class of each region.
fn regions(structure: &gst::StructureRef) -> Vec<([i32; 4], i32, String)> {
    let regions = array(structure, "regions");
    let region = |r: &gst::Structure| (rect(r), r.get("area").unwrap(), r.get("label").unwrap());
    regions.iter().map(region).collect()
}

/// The colour of a class, opaque.
fn color(class: usize) -> [u32; 3] {
    class_color(class).map(|value| (value * 255.0).round() as u32)
}

/// A frame of one value, in other planes than the first of another, with rectangles of a value in the first.
fn painted(info: &gst_video::VideoInfo, [first, others]: [u8; 2], spots: &[([usize; 4], u8)]) -> gst::Buffer {
    let (stride, step) = (info.stride()[0] as usize, info.comp_pstride(0) as usize);
    let mut data = vec![others; info.size()];
    data[..stride * info.height() as usize].fill(first);
    for &([x, y, width, height], value) in spots {
        for row in y..y + height {
            data[row * stride + step * x..][..step * width].fill(value);
        }
    }
    gst::Buffer::from_mut_slice(data)
}

/// The red, green and blue of each pixel.
fn pixels(buffer: &gst::BufferRef, caps: &str) -> Vec<[u32; 3]> {
    let info = info_of(caps);
    let [r, g, b] = [0, 1, 2].map(|c| component(buffer, &info, c));
    (0..r.len()).map(|i| [r[i], g[i], b[i]]).collect()
}

#[test]
fn classes_are_on_the_frame_and_its_memory_is_untouched() {
    init();
    let (mut harness, _) = harness("candlesegment", &bands(), "", CAPS);
    let input = spotted(&info_of(CAPS), &SPOTS, 0);
    let output = harness.push_and_pull(input.clone()).unwrap();
    assert_eq!(output.peek_memory(0).as_ptr(), input.peek_memory(0).as_ptr());
    let segment = result(&output, "segment").unwrap();
    let labels: Vec<String> = segment
        .get::<gst::ArrayRef>("labels")
        .unwrap()
        .iter()
        .map(|label| label.get().unwrap())
        .collect();
    assert_eq!(labels, BANDS);
    assert_eq!((segment.get("background"), segment.get("stale")), (Ok(0i32), Ok(false)));
    assert_eq!((segment.get("width"), segment.get("height")), (Ok(24i32), Ok(16i32)));
    assert_eq!(
        shares(&segment),
        [(PIXELS - 23.0) / PIXELS, 10.0 / PIXELS, 13.0 / PIXELS]
    );
    assert_eq!(segment.get::<&str>("label"), Ok("white"));
    assert!((segment.get::<f64>("share").unwrap() - 23.0 / PIXELS).abs() < 1e-12);
    let frame = component(&output, &info_of(CAPS), 0);
    let expected: Vec<u8> = frame
        .iter()
        .map(|value| [0, 1, 2][(value + 64) as usize / 128])
        .collect();
    assert_eq!(mask_of(&segment), expected);
    let found = [
        ([10, 2, 4, 3], 12, "white".to_owned()),
        ([3, 4, 5, 2], 10, "grey".to_owned()),
        ([15, 10, 1, 1], 1, "white".to_owned()),
    ];
    assert_eq!(regions(&segment), found);
    let metas = output.iter_meta::<VideoRegionOfInterestMeta>();
    let metas: Vec<_> = metas
        .map(|meta| {
            let (x, y, width, height) = meta.rect();
            let param = meta.param("candle-region").unwrap();
            let rect = [x, y, width, height].map(|n| n as i32);
            assert_eq!(meta.roi_type(), "segment");
            (rect, param.get("area").unwrap(), param.get("label").unwrap())
        })
        .collect();
    assert_eq!(metas, found);
}

#[test]
fn a_message_tells_which_classes_came_and_went() {
    init();
    let info = info_of(CAPS);
    let frames = [&SPOTS[..0], &SPOTS[..1], &SPOTS[..1], &SPOTS, &SPOTS[1..]];
    let run = |properties: &str| {
        let (mut harness, bus) = harness("candlesegment", &bands(), properties, CAPS);
        for (index, spots) in frames.into_iter().enumerate() {
            harness.push_and_pull(spotted(&info, spots, index as u64)).unwrap();
        }
        let element = element(&harness);
        assert_eq!(element.property::<String>("label"), "white");
        assert!((element.property::<f64>("share") - 13.0 / PIXELS).abs() < 1e-12);
        harness.push_and_pull(spotted(&info, &[], 9)).unwrap();
        assert_eq!(element.property::<Option<String>>("label"), None);
        assert_eq!(element.property::<f64>("share").to_bits(), 0, "not even -0");
        messages(&bus)
    };
    let told = run("");
    let labels: Vec<_> = told
        .iter()
        .map(|m| (m.get("timestamp").unwrap(), m.get("label").unwrap()))
        .collect();
    let at = |index: u64| index * 100_000_000;
    let expected = [
        (at(0), ""),
        (at(1), "grey"),
        (at(3), "white"),
        (at(4), "white"),
        (at(9), ""),
    ];
    assert_eq!(labels, expected);
    assert!(told.iter().all(|message| message.name() == "candlesegment"));
    assert_eq!(
        shares(&told[2]),
        [(PIXELS - 23.0) / PIXELS, 10.0 / PIXELS, 13.0 / PIXELS]
    );
    assert_eq!(regions(&told[1]), [([3, 4, 5, 2], 10, "grey".to_owned())]);
    assert!(!told[0].has_field("mask") && !told[0].has_field("stale"));
    let all = run("post-messages=all");
    let changed: Vec<bool> = all.iter().map(|m| m.get("state-changed").unwrap()).collect();
    assert_eq!(changed, [true, true, false, true, true, true]);
    assert!(run("post-messages=none").is_empty());
}

#[test]
fn what_is_unsure_or_small_is_background() {
    init();
    let info = info_of(CAPS);
    let (mut harness, _) = harness("candlesegment", &bands(), "", CAPS);
    let element = element(&harness);
    let mut areas = |index| {
        let output = harness.push_and_pull(spotted(&info, &SPOTS, index)).unwrap();
        let segment = result(&output, "segment").unwrap();
        let mask = mask_of(&segment);
        let [grey, white] = [1, 2].map(|class| mask.iter().filter(|of| **of == class).count());
        assert_eq!(shares(&segment)[1..], [grey as f64 / PIXELS, white as f64 / PIXELS]);
        assert_eq!(
            regions(&segment)
                .iter()
                .map(|(_, area, _)| *area as usize)
                .sum::<usize>(),
            grey + white
        );
        [grey, white]
    };
    assert_eq!(areas(0), [10, 13]);
    element.set_property("min-area", 2u32);
    assert_eq!(areas(1), [10, 12]);
    element.set_property("min-area", 11u32);
    assert_eq!(areas(2), [0, 12]);
    element.set_property("min-area", 1u32);
    // 100 is grey with 0.9, 255 white with 0.98.
    element.set_property("threshold", 0.95f32);
    assert_eq!(areas(3), [0, 13]);
    element.set_property("threshold", 1.0f32);
    assert_eq!(areas(4), [0, 0]);
}

#[test]
fn without_a_background_all_is_a_class_or_none() {
    init();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let mut model = Model::load(bands().path()).unwrap();
    model.labels[0] = "black".into();
    model.save(&path).unwrap();
    let launch = format!("candlesegment model-file={}", path.display());
    let mut harness = gst_check::Harness::new_parse(&launch);
    harness.set_src_caps(caps_of(CAPS));
    let output = harness.push_and_pull(spotted(&info_of(CAPS), &SPOTS, 0)).unwrap();
    let segment = result(&output, "segment").unwrap();
    assert_eq!(segment.get("background"), Ok(-1i32));
    assert_eq!(segment.get::<&str>("label"), Ok("black"));
    assert!((segment.get::<f64>("share").unwrap() - 1.0).abs() < 1e-12);
    assert_eq!(regions(&segment).len(), 4);
    element(&harness).set_property("threshold", 0.95f32);
    let output = harness.push_and_pull(spotted(&info_of(CAPS), &SPOTS, 1)).unwrap();
    let segment = result(&output, "segment").unwrap();
    // The grey of 100 is sure of no class.
    assert_eq!(mask_of(&segment).iter().filter(|class| **class == 255).count(), 10);
    assert!((shares(&segment).iter().sum::<f64>() - (PIXELS - 10.0) / PIXELS).abs() < 1e-12);
}

#[test]
fn the_output_shows_the_classes_over_the_frame_or_alone() {
    init();
    let caps = "format=RGB,width=24,height=16";
    let info = info_of(caps);
    let frame = |index| timed(painted(&info, [30, 30], &SPOTS), index);
    let (mut harness, _) = harness("candlesegment", &bands(), "output=mask", caps);
    let element = element(&harness);
    let at = |x: usize, y: usize| y * 24 + x;
    let input = frame(0);
    let before = pixels(&input, caps);
    let mask = pixels(&harness.push_and_pull(input).unwrap(), caps);
    assert_eq!((mask[0], mask[at(5, 4)], mask[at(11, 3)]), ([0; 3], color(1), color(2)));
    assert!(mask.iter().all(|pixel| [[0; 3], color(1), color(2)].contains(pixel)));

    element.set_property_from_str("output", "overlay");
    let overlay = pixels(&harness.push_and_pull(frame(1)).unwrap(), caps);
    assert_eq!(overlay[0], before[0], "the background stays");
    // The border is opaque, what is inside half.
    assert_eq!(overlay[at(10, 2)], color(2));
    let half = color(2).map(|value| (value + 255) / 2);
    let is_near = |a: [u32; 3], b: [u32; 3]| a.into_iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 2);
    assert!(is_near(overlay[at(11, 3)], half), "{:?}", overlay[at(11, 3)]);

    element.set_property_from_str("output", "passthrough");
    assert_eq!(pixels(&harness.push_and_pull(frame(2)).unwrap(), caps), before);
}

/// Chroma stands for several pixels; of a white part beside the background none of it may take the colour of the grey in between.
#[test]
fn at_a_classs_edge_no_other_class_shines_through() {
    init();
    for format in ["I420", "NV12", "Y42B", "Y444"] {
        let caps = format!("format={format},width=24,height=16");
        let info = info_of(&caps);
        let chroma = |spots: &[([usize; 4], u8)]| {
            let buffer = timed(painted(&info, [16, 128], spots), 0);
            let (mut harness, _) = harness("candlesegment", &bands(), "output=mask", &caps);
            let output = harness.push_and_pull(buffer).unwrap();
            let [u, v] = [1, 2].map(|c| component(&output, &info, c));
            u.into_iter().zip(v).collect::<std::collections::BTreeSet<_>>()
        };
        let (white, grey) = (chroma(&[([0, 0, 24, 16], 235)]), chroma(&[([0, 0, 24, 16], 100)]));
        assert_eq!((white.len(), grey.len()), (1, 1));
        let found = chroma(&[([5, 3, 9, 7], 235), ([17, 1, 1, 9], 235)]);
        assert_eq!(found.len(), 2, "{format}: {found:?}");
        assert!(
            found.is_superset(&white) && found.is_disjoint(&grey),
            "{format}: {found:?}"
        );
    }
}

#[test]
fn frames_in_between_carry_the_last_mask_as_stale() {
    init();
    let info = info_of(CAPS);
    let (mut harness, bus) = harness(
        "candlesegment",
        &bands(),
        "inference-interval=2 output=mask post-messages=all",
        CAPS,
    );
    let first = harness.push_and_pull(spotted(&info, &SPOTS, 0)).unwrap();
    let second = harness.push_and_pull(spotted(&info, &[], 1)).unwrap();
    let [a, b] = [&first, &second].map(|output| result(output, "segment").unwrap());
    assert_eq!((a.get("stale"), b.get("stale")), (Ok(false), Ok(true)));
    assert_eq!(mask_of(&a), mask_of(&b));
    let [a, b] = [&first, &second].map(|output| component(output, &info, 0));
    assert_eq!(a, b, "the mask is drawn on it, too");
    let metas = |output: &gst::Buffer| output.iter_meta::<VideoRegionOfInterestMeta>().count();
    assert_eq!((metas(&first), metas(&second)), (3, 0));
    assert_eq!(messages(&bus).len(), 1);
}

#[test]
fn nothing_is_attached_where_it_is_not_wanted() {
    init();
    let (mut harness, _) = harness("candlesegment", &bands(), "attach-meta=false", CAPS);
    let output = harness.push_and_pull(spotted(&info_of(CAPS), &SPOTS, 0)).unwrap();
    assert_eq!(output.iter_meta::<gst::Meta>().count(), 0);
    assert_eq!(element(&harness).property::<String>("label"), "white");
}

#[test]
fn regions_told_are_bounded_and_the_largest() {
    init();
    let caps = "format=GRAY8,width=64,height=64";
    let (mut harness, _) = harness("candlesegment", &bands(), "", caps);
    let mut spots: Vec<_> = (0..32 * 32)
        .map(|i| ([2 * (i % 32), 2 * (i / 32), 1, 1], 255))
        .collect();
    spots.push(([8, 8, 3, 1], 255));
    let output = harness.push_and_pull(spotted(&info_of(caps), &spots, 0)).unwrap();
    let segment = result(&output, "segment").unwrap();
    let regions = regions(&segment);
    assert_eq!((regions.len(), regions[0].1), (64, 3));
    assert_eq!(shares(&segment)[2], 1025.0 / 4096.0, "shares are of all of them");
}

#[test]
fn a_result_goes_through_other_elements() {
    let model = bands();
    let line = Line::playing(&format!(
        "videotestsrc num-buffers=1 pattern=white ! video/x-raw,format=RGB,width=40,height=30 ! candlesegment model-file={} \
         ! queue ! videoconvert ! video/x-raw,format=I420 ! videoscale ! video/x-raw,width=80,height=60",
        model.path().display()
    ));
    let sample = line.pull().unwrap();
    let segment = result(sample.buffer().unwrap(), "segment").unwrap();
    assert_eq!(segment.get::<&str>("label"), Ok("white"));
    assert_eq!(mask_of(&segment), [2; 1200]);
}

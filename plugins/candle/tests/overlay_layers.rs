//! `candleoverlay`: its layers, their look, and what it remembers.

mod support;

use gst::prelude::*;
use gst_check::Harness;
use support::drawn::{GROUND, Picture, Result, caps, harness};
use support::line::Line;
use support::{FORMATS, caps_of, component, info_of, init};

const LAYERS: [&str; 5] = ["heatmap", "regions", "label", "frame", "history"];

fn is_red([r, g, b]: [u8; 3]) -> bool {
    r > 180 && g < 110 && b < 110
}

#[test]
fn without_layers_the_frame_is_the_same_buffer() {
    let caps = caps("RGB", [64, 48]);
    for properties in [
        "layers=0",
        "layers=legend",
        "show-heatmap=false show-regions=false show-label=false show-frame=false layers=0",
    ] {
        let buffer = Result::default().on(&caps, 0, GROUND);
        let found = harness(properties, &caps).push_and_pull(buffer.clone()).unwrap();
        assert_eq!(found.as_ptr(), buffer.as_ptr(), "{properties}");
    }
    // A frame that is normal has nothing to draw on these.
    let normal = Result {
        anomalous: false,
        state: false,
        regions: Vec::new(),
        ..Result::default()
    };
    let buffer = normal.on(&caps, 0, GROUND);
    let found = harness("layers=frame+regions", &caps).push_and_pull(buffer.clone());
    assert_eq!(found.unwrap().as_ptr(), buffer.as_ptr());
}

#[test]
fn the_old_switches_and_the_layers_are_one() {
    init();
    let overlay = gst::ElementFactory::make("candleoverlay").build().unwrap();
    let layers = |element: &gst::Element| {
        let value = element.property_value("layers");
        gst::glib::FlagsValue::from_value(&value).map(|(_, values)| {
            let nicks = values.iter().map(|value| value.nick().to_owned());
            nicks.collect::<Vec<_>>().join("+")
        })
    };
    let all = "heatmap+regions+label+frame+legend+history+mask";
    assert_eq!(layers(&overlay).as_deref(), Some(all));
    overlay.set_property("show-heatmap", false);
    overlay.set_property("show-truth", true);
    assert_eq!(
        layers(&overlay).as_deref(),
        Some("regions+label+frame+legend+history+truth+mask")
    );
    overlay.set_property_from_str("layers", "heatmap+frame");
    let shown =
        ["heatmap", "regions", "label", "frame", "truth"].map(|name| overlay.property::<bool>(&format!("show-{name}")));
    assert_eq!(shown, [true, false, false, true, false]);
}

#[test]
fn panels_stay_on_their_plates() {
    let normal = Result {
        anomalous: false,
        state: false,
        map: vec![0],
        ..Result::default()
    };
    for size in [[320, 240], [641, 479], [1280, 720]] {
        let [width, height] = size;
        let whole = Picture::drawn("layers=label", &normal, size).extent().unwrap();
        assert_eq!(
            ([whole.0[0], whole.0[2], whole.0[3]], whole.1 > 0.99),
            ([0, width, height], true)
        );
        assert!(whole.0[1] > height * 4 / 5, "{size:?}: {whole:?}");
        for (layers, is_left) in [("history", true), ("heatmap+legend", false)] {
            let ([left, top, right, bottom], share) = Picture::drawn(&format!("layers={layers}"), &normal, size)
                .extent()
                .unwrap();
            assert!(share > 0.99, "{layers} {size:?}: {share}");
            assert!(top > height / 3 && bottom < height, "{layers} {size:?}: {top} {bottom}");
            assert!(3 * (right - left) < width, "{layers} {size:?}: {left} {right}");
            assert_eq!(right < width / 2, is_left, "{layers} {size:?}");
            assert!(left > 0 && right < width, "{layers} {size:?} keeps the margin");
        }
        let ([left, top, right, bottom], share) = Picture::drawn("layers=frame", &Result::default(), size)
            .extent()
            .unwrap();
        assert_eq!([left, top, right, bottom], [0, 0, width, height]);
        assert!(share < 0.2, "{share}");
    }
}

#[test]
fn an_alarm_and_one_anomalous_frame_differ_in_more_than_colour() {
    let of = |anomalous, state| {
        let result = Result {
            anomalous,
            state,
            ..Result::default()
        };
        Picture::drawn("layers=frame+label", &result, [320, 240])
    };
    let (alarm, held, alone, normal) = (of(true, true), of(false, true), of(true, false), of(false, false));
    let top = |picture: &Picture| (0..320).filter(|&x| picture.is_drawn(x, 0)).count();
    assert_eq!([&alarm, &held, &normal].map(top), [320, 320, 0]);
    assert!((120..=200).contains(&top(&alone)), "dashes: {}", top(&alone));
    // The words, of different lengths, on plates at the left top.
    let word = |picture: &Picture| (10..310).filter(|&x| picture.is_drawn(x, 15)).count();
    let lengths = [&normal, &alarm, &alone, &held].map(word);
    assert!(lengths.is_sorted_by(|a, b| a + 3 < *b), "{lengths:?}");
}

#[test]
fn a_box_is_not_hidden_by_its_own_text() {
    let seed = 5;
    let mut state: u32 = seed;
    println!("seed {seed}");
    let mut next = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 16) % below) as i32
    };
    for _ in 0..60 {
        let rect = [next(96), next(96), 4 + next(40), 4 + next(16)];
        let result = Result {
            regions: vec![rect],
            ..Result::default()
        };
        let size = [400, 300];
        let found = Picture::drawn("layers=regions", &result, size);
        let edge = |value: i32, side: usize| ((value as usize * side) as f64 / 100.0).round() as usize;
        let xs = edge(rect[0], 400) + 3..edge(rect[0] + rect[2], 400).min(400) - 3;
        let ys = edge(rect[1], 300) + 3..edge(rect[1] + rect[3], 300).min(300) - 3;
        for y in ys {
            assert!(xs.clone().all(|x| !found.is_drawn(x, y)), "{rect:?} row {y}");
        }
        let around = found.extent().unwrap().0;
        assert!(around[3] - around[1] > 4, "{rect:?}");
    }
}

#[test]
fn a_region_that_lost_what_it_says_is_told_by_the_result() {
    let size = [400, 300];
    let caps = caps("RGB", size);
    let draw = |has_meta| {
        let mut buffer = Result::default().on(&caps, 0, GROUND);
        if has_meta {
            let rect = (240, 60, 80, 90);
            gst_video::VideoRegionOfInterestMeta::add(buffer.get_mut().unwrap(), "anomaly", rect);
        }
        Picture::of(&harness("layers=regions", &caps).push_and_pull(buffer).unwrap(), size)
    };
    assert!(draw(true) == draw(false));
    assert!(draw(true).has(is_red));
}

#[test]
fn heat_grows_lighter_in_every_format() {
    let ramp = Result {
        map: (0..=255).collect(),
        ..Result::default()
    };
    for colors in ["inferno", "viridis"] {
        for format in FORMATS {
            let caps = caps(format, [512, 3]);
            let properties = format!("layers=heatmap heatmap-opacity=1 heatmap-colors={colors}");
            let found = harness(&properties, &caps)
                .push_and_pull(ramp.on(&caps, 0, 16))
                .unwrap();
            let info = info_of(&caps);
            let light: Vec<f64> = if info.is_rgb() {
                let [r, g, b] = [0, 1, 2].map(|c| component(&found, &info, c));
                let luma = |x: usize| 0.299 * f64::from(r[x]) + 0.587 * f64::from(g[x]) + 0.114 * f64::from(b[x]);
                (512..1024).map(luma).collect()
            } else {
                component(&found, &info, 0)[512..1024]
                    .iter()
                    .map(|&y| f64::from(y))
                    .collect()
            };
            // From where it begins to be opaque.
            let rises = light[320..].windows(2).all(|pair| pair[1] >= pair[0] - 1.0);
            assert!(rises, "{colors} {format}: {light:?}");
            assert!(light[511] > 1.4 * light[320], "{colors} {format}");
        }
    }
}

#[test]
fn colorimetry_is_that_of_the_caps() {
    for format in ["I420", "NV12", "Y42B", "Y444"] {
        for colorimetry in ["bt601", "bt709", "bt2020", "1:4:0:0", "1:3:5:1"] {
            let size = [101, 75];
            let (rgb, yuv) = (
                caps("RGB", size),
                format!("video/x-raw,format={format},colorimetry={colorimetry}"),
            );
            let run = |launch: String| {
                init();
                let mut harness = Harness::new_parse(&launch);
                harness.set_src_caps(caps_of(&rgb));
                let found = harness.push_and_pull(Result::default().on(&rgb, 0, GROUND)).unwrap();
                Picture::of(&found, size)
            };
            let there = format!("videoconvert dither=none ! capsfilter caps={yuv}");
            let back = "videoconvert dither=none ! capsfilter caps=video/x-raw,format=RGB";
            let found = run(format!("{there} ! candleoverlay ! {back}"));
            let expected = run(format!("candleoverlay ! {there} ! {back}"));
            let pairs = found.pixels.iter().flatten().zip(expected.pixels.iter().flatten());
            let mean = pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / (3 * 101 * 75) as f64;
            let bound = if format == "Y444" { 1.0 } else { 3.0 };
            assert!(mean < bound, "{format} {colorimetry}: {mean}");
        }
    }
}

/// Frames `from..` with these scores through the harness; the last of them.
fn last_of(harness: &mut Harness, caps: &str, size: [usize; 2], from: u64, scores: &[f64]) -> Picture {
    let mut last = None;
    for (index, &normalized) in (from..).zip(scores) {
        let result = Result {
            normalized,
            map: vec![0],
            ..Result::default()
        };
        last = Some(harness.push_and_pull(result.on(caps, index, GROUND)).unwrap());
    }
    Picture::of(&last.expect("there are scores"), size)
}

#[test]
fn the_history_scrolls_and_begins_anew() {
    let size = [640, 480];
    let caps = caps("RGB", size);
    let mut harness = harness("layers=history", &caps);
    let columns = |picture: &Picture| -> Vec<usize> {
        let column = |x: &usize| (0..480).any(|y| is_red(picture.at(*x, y)));
        (0..640).filter(column).collect()
    };
    let first = columns(&last_of(&mut harness, &caps, size, 0, &[0.1, 0.9, 0.1]));
    assert!(!first.is_empty(), "what is above the threshold is red");
    let mut before = first;
    for index in [3, 13, 40, 80] {
        let found = columns(&last_of(&mut harness, &caps, size, index, &[0.1]));
        assert!((1..=5).contains(&found.len()), "frame {index}: {found:?}");
        assert!(found[0] < before[0], "frame {index}: it goes to the left");
        before = found;
    }
    // A tenth of a second is a hundredth of the strip.
    let found = columns(&last_of(&mut harness, &caps, size, 81, &[0.1]));
    assert!((1..=3).contains(&(before[0] - found[0])), "{before:?} {found:?}");
    let found = columns(&last_of(&mut harness, &caps, size, 120, &[0.1]));
    assert!(found.is_empty(), "it is forgotten after ten seconds");

    let high = columns(&last_of(&mut harness, &caps, size, 121, &[0.9, 0.1]));
    assert!(!high.is_empty());
    assert!(harness.push_event(gst::event::FlushStart::new()));
    assert!(harness.push_event(gst::event::FlushStop::new(true)));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(harness.push_event(gst::event::Segment::new(&segment)));
    assert!(columns(&last_of(&mut harness, &caps, size, 123, &[0.1])).is_empty());

    assert!(!columns(&last_of(&mut harness, &caps, size, 124, &[0.9, 0.1])).is_empty());
    let other = format!("{caps},pixel-aspect-ratio=4/3");
    harness.set_src_caps(caps_of(&other));
    assert!(columns(&last_of(&mut harness, &caps, size, 126, &[0.1])).is_empty());
}

#[test]
fn old_results_are_told_and_young_ones_are_not() {
    let size = [640, 480];
    let caps = caps("RGB", size);
    let mut harness = harness("layers=heatmap+regions+label+frame", &caps);
    let mut push = |index, stale| {
        let result = Result {
            stale,
            ..Result::default()
        };
        Picture::of(&harness.push_and_pull(result.on(&caps, index, GROUND)).unwrap(), size)
    };
    let unknown = push(0, true);
    let fresh = push(1, false);
    assert!(unknown != fresh);
    assert!(push(10, true) == fresh, "nine tenths of a second old");
    let old = push(11, true);
    assert!(old != fresh && old != unknown);
    let red = |picture: &Picture| picture.pixels.iter().filter(|&&pixel| is_red(pixel)).count();
    assert!(red(&old) < red(&fresh), "the boxes are dashed");
    // The map is hot at the left; the ground is grey.
    let apart = |picture: &Picture| {
        picture
            .at(20, 300)
            .iter()
            .map(|&v| v.abs_diff(GROUND) as u32)
            .sum::<u32>()
    };
    assert!(
        apart(&old) > 0 && apart(&old) < apart(&fresh),
        "the heat map is fainter"
    );
    assert!(push(12, true) == old);
    assert!(push(31, true) != old, "three seconds");
    assert!(push(32, false) == fresh);
}

#[test]
fn properties_take_effect_while_it_plays() {
    let model = support::brightness(None);
    let line = Line::playing(&format!(
        "videotestsrc pattern=white ! video/x-raw,format=RGB,width=320,height=240 ! candleanomaly model-file={} ! \
         candleoverlay name=overlay",
        model.path().display()
    ));
    let overlay = line.pipeline.by_name("overlay").unwrap();
    let until = |is: &dyn Fn(&Picture) -> bool| {
        (0..200).any(|_| {
            let sample = line.pull().unwrap();
            is(&Picture::of(sample.buffer().unwrap(), [320, 240]))
        })
    };
    let is_framed = |picture: &Picture| picture.at(0, 120) == [255, 0, 0];
    assert!(until(&is_framed));
    overlay.set_property_from_str("layers", "0");
    assert!(until(&|picture| picture.pixels.iter().all(|&pixel| pixel == [255; 3])));
    overlay.set_property_from_str("layers", "heatmap");
    overlay.set_property_from_str("heatmap-colors", "viridis");
    overlay.set_property("heatmap-opacity", 1.0);
    // The map of white is hottest: the last colour of viridis.
    let last = [0xfd, 0xe7, 0x25u8];
    let is_last = |pixel: [u8; 3]| pixel.into_iter().zip(last).all(|(a, b)| a.abs_diff(b) < 6);
    assert!(until(&|picture| is_last(picture.at(160, 120))));
    overlay.set_property_from_str("layers", "label");
    let dark = |picture: &Picture| (0..240).filter(|&y| picture.at(2, y)[0] < 200).count();
    assert!(until(&|picture| dark(picture) > 0 && dark(picture) < 30));
    overlay.set_property("text-scale", 2.0);
    assert!(until(&|picture| dark(picture) >= 30));
}

#[test]
fn every_layer_alone_passes_in_every_format_and_size() {
    for format in FORMATS {
        for size in [[1, 1], [3, 2], [17, 33], [161, 121], [321, 241]] {
            let caps = caps(format, size);
            for layer in LAYERS {
                let mut harness = harness(&format!("layers={layer} text-scale=1.3"), &caps);
                let buffer = Result::default().on(&caps, 0, GROUND);
                assert!(harness.push_and_pull(buffer).is_ok(), "{format} {size:?} {layer}");
            }
        }
    }
}

#[test]
fn text_is_legible_at_every_size() {
    for size in [[160, 120], [320, 240], [640, 480], [1920, 1080]] {
        let found = Picture::drawn("layers=label", &Result::default(), size);
        // White ink on the dark bar, at the left where the label is.
        let ink = |y: usize| (0..size[0] / 2).filter(|&x| found.at(x, y)[0] > 200).count();
        let ([_, top, ..], _) = found.extent().unwrap();
        let rows = (top + 4..size[1]).filter(|&y| ink(y) > 0).count();
        assert!(rows >= 7, "{size:?}: {rows} rows of ink");
        assert!(found.has(|pixel| pixel[0] > 240), "{size:?}");
    }
}

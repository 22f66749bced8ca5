//! What `candleoverlay` draws of `candlesegment`'s results.

mod support;

use std::collections::BTreeSet;

use gst_candle::pixels::colormap::class_color;
use gst_check::Harness;
use support::drawn::{GROUND, Picture, caps, harness};
use support::line::Line;
use support::{BANDS, FORMATS, bands, caps_of, grey, info_of, init, timed};

const SIZE: [usize; 2] = [400, 300];
/// Where the white is, and the grey.
const WHITE: [usize; 4] = [60, 80, 80, 60];
const GREY: [usize; 4] = [200, 160, 60, 40];

/// How opaque classes are unless told otherwise.
const OPACITY: f64 = 0.4;

/// What a frame of `SIZE` says of itself: shares of the grey and the white, the rectangles that they are.
struct Found {
    parts: Vec<([usize; 4], u8)>,
    labels: Vec<String>,
    stale: bool,
}

impl Default for Found {
    fn default() -> Self {
        Self {
            parts: vec![(WHITE, 2), (GREY, 1)],
            labels: BANDS.map(str::to_owned).to_vec(),
            stale: false,
        }
    }
}

impl Found {
    fn none() -> Self {
        Self {
            parts: Vec::new(),
            ..Self::default()
        }
    }

    fn on(&self, caps: &str, [width, height]: [usize; 2], index: u64) -> gst::Buffer {
        init();
        let mut mask = vec![0u8; width * height];
        for &([x, y, w, h], class) in &self.parts {
            let scaled = |value: usize, side: usize, of: usize| value * side / SIZE[of];
            for row in scaled(y, height, 1)..scaled(y + h, height, 1) {
                mask[row * width + scaled(x, width, 0)..row * width + scaled(x + w, width, 0)].fill(class);
            }
        }
        let share =
            |class: usize| mask.iter().filter(|of| usize::from(**of) == class).count() as f64 / mask.len() as f64;
        let shares: Vec<f64> = (0..self.labels.len()).map(share).collect();
        let regions = self.parts.iter().map(|&([x, y, w, h], class)| {
            let region = gst::Structure::builder("region")
                .field("x", x as i32)
                .field("y", y as i32);
            let region = region.field("width", w as i32).field("height", h as i32);
            region
                .field("area", (w * h) as i32)
                .field("label", &self.labels[usize::from(class)])
                .build()
        });
        let segment = gst::Structure::builder("segment")
            .field("labels", gst::Array::new(&self.labels))
            .field("shares", gst::Array::new(&shares))
            .field("background", 0)
            .field("stale", self.stale)
            .field("width", width as i32)
            .field("height", height as i32)
            .field("regions", gst::Array::new(regions))
            .field("mask", gst::Buffer::from_slice(mask))
            .build();
        let mut buffer = grey(&info_of(caps), GROUND, index);
        let mut meta = gst::meta::CustomMeta::add(buffer.get_mut().unwrap(), "candle-result").unwrap();
        meta.mut_structure().set("segment", segment);
        buffer
    }

    fn drawn(&self, properties: &str) -> Picture {
        let caps = caps("RGB", SIZE);
        let mut harness = harness(properties, &caps);
        Picture::of(&harness.push_and_pull(self.on(&caps, SIZE, 0)).unwrap(), SIZE)
    }
}

fn color(class: usize) -> [u8; 3] {
    class_color(class).map(|value| (value * 255.0).round() as u8)
}

/// The class's colour over the ground.
fn mixed(class: usize, opacity: f64) -> [u8; 3] {
    color(class).map(|value| (f64::from(value) * opacity + f64::from(GROUND) * (1.0 - opacity)).round() as u8)
}

fn is_near(a: [u8; 3], b: [u8; 3]) -> bool {
    a.into_iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 2)
}

/// Places where the picture is not the ground.
fn drawn(picture: &Picture) -> Vec<[usize; 2]> {
    let all = (0..SIZE[1]).flat_map(|y| (0..SIZE[0]).map(move |x| [x, y]));
    all.filter(|&[x, y]| picture.at(x, y) != [GROUND; 3]).collect()
}

#[test]
fn each_class_has_its_colour_and_a_border_and_the_background_stays() {
    for opacity in [0.7, 0.25] {
        let found = Found::default().drawn(&format!("layers=mask mask-opacity={opacity}"));
        for ([x, y, width, height], class) in [(WHITE, 2), (GREY, 1)] {
            assert!(is_near(found.at(x + width / 2, y + height / 2), mixed(class, opacity)));
            for [x, y] in [[x, y], [x + width - 1, y], [x + width / 2, y + height - 1]] {
                assert_eq!(found.at(x, y), color(class));
            }
        }
        let inside = |[x, y]: [usize; 2], [left, top, width, height]: [usize; 4]| {
            (left..left + width).contains(&x) && (top..top + height).contains(&y)
        };
        let places = drawn(&found);
        assert_eq!(places.len(), WHITE[2] * WHITE[3] + GREY[2] * GREY[3]);
        assert!(places.iter().all(|&place| inside(place, WHITE) || inside(place, GREY)));
    }
}

#[test]
fn every_format_and_size_shows_the_same_classes() {
    for format in FORMATS {
        for size in [[1, 1], [3, 2], [17, 33], [161, 121], [321, 241], SIZE] {
            let caps = caps(format, size);
            for layers in [
                "mask",
                "mask+legend",
                "label",
                "regions",
                "mask+legend+label+regions+frame+history",
            ] {
                let mut harness = harness(&format!("layers={layers}"), &caps);
                let buffer = Found::default().on(&caps, size, 0);
                assert!(harness.push_and_pull(buffer).is_ok(), "{format} {size:?} {layers}");
            }
        }
    }
    // Turned to RGB, the middle of the white is drawn alike on all that have colour.
    for format in FORMATS.into_iter().filter(|format| !format.starts_with("GRAY")) {
        let caps = caps(format, SIZE);
        let info = info_of(&caps);
        let mut buffer = Found::default().on(&caps, SIZE, 0);
        let mut data = buffer.make_mut().map_writable().unwrap();
        if info.is_yuv() {
            // Chroma of 128 has no colour.
            data[info.offset()[1]..].fill(128);
        }
        if info.has_alpha() {
            let alpha = info.comp_offset(3);
            data[alpha..].iter_mut().step_by(4).for_each(|value| *value = 255);
        }
        drop(data);
        let mut harness =
            Harness::new_parse("candleoverlay layers=mask ! videoconvert ! capsfilter caps=video/x-raw,format=RGB");
        harness.set_src_caps(caps_of(&caps));
        let output = harness.push_and_pull(buffer).unwrap();
        let found = Picture::of(&output, SIZE).at(WHITE[0] + 40, WHITE[1] + 30);
        let expected = mixed(2, OPACITY);
        let apart = found
            .into_iter()
            .zip(expected)
            .map(|(a, b)| a.abs_diff(b))
            .max()
            .unwrap();
        assert!(apart < 12, "{format}: {found:?}, not {expected:?}");
    }
}

#[test]
fn a_frame_that_was_scaled_has_its_mask_scaled_and_sharp() {
    let model = bands();
    let line = Line::playing(&format!(
        "videotestsrc num-buffers=1 pattern=ball ! video/x-raw,format=RGB,width=64,height=48 ! candlesegment model-file={} \
         ! videoscale ! video/x-raw,width=150,height=113 ! candleoverlay layers=mask mask-opacity=1",
        model.path().display()
    ));
    let sample = line.pull().unwrap();
    let picture = Picture::of(sample.buffer().unwrap(), [150, 113]);
    let segment = support::result(sample.buffer().unwrap(), "segment").unwrap();
    let mask = segment.get::<gst::Buffer>("mask").unwrap();
    let mask = mask.map_readable().unwrap();
    let classes: BTreeSet<u8> = mask.iter().copied().collect();
    assert!(classes.len() > 1, "{classes:?}");
    for y in 0..113 {
        for x in 0..150 {
            let (down, across) = ((y * 2 + 1) * 48, (x * 2 + 1) * 64);
            if down % 226 == 0 || across % 300 == 0 {
                // The pixel's middle lies where two of the mask's meet.
                continue;
            }
            let class = mask[down / 226 * 64 + across / 300];
            let is_class = picture.at(x, y) == color(class.into());
            assert!(
                class == 0 || is_class,
                "{x},{y} of class {class}: {:?}",
                picture.at(x, y)
            );
        }
    }
}

#[test]
fn the_legend_lists_the_classes_at_the_right_top_and_the_bar_where_there_is_none() {
    let legend = Found::none().drawn("layers=mask+legend").extent().unwrap();
    let ([left, top, right, bottom], share) = legend;
    assert!(
        left > SIZE[0] / 2 && top < 20 && right < SIZE[0] && bottom < SIZE[1] / 3,
        "{legend:?}"
    );
    assert!(share > 0.99, "it is a plate: {share}");
    // With something found, the plate is the same but for the shares.
    let found = Found::default().drawn("layers=mask+legend");
    let swatch = |picture: &Picture, class: usize| {
        let in_legend = (top..bottom).flat_map(|y| (left..right).map(move |x| [x, y]));
        in_legend.filter(|&[x, y]| picture.at(x, y) == color(class)).count()
    };
    assert!(swatch(&found, 1) > 20 && swatch(&found, 2) > 20);
    assert_eq!(
        swatch(&Found::none().drawn("layers=mask+legend"), 1),
        0,
        "dim where it is not there"
    );

    let ([left, top, right, bottom], _) = Found::default().drawn("layers=label").extent().unwrap();
    assert_eq!(
        ([left, right, bottom], top > SIZE[1] * 4 / 5),
        ([0, SIZE[0], SIZE[1]], true)
    );
    let (bar, none) = (
        Found::default().drawn("layers=label"),
        Found::none().drawn("layers=label"),
    );
    assert!(bar != none, "it names what is there");
    let both = Found::none().drawn("layers=mask+legend+label").extent().unwrap();
    assert_eq!(both.0, legend.0, "the legend says it");
}

#[test]
fn many_classes_are_as_many_as_there_is_room_for() {
    let labels = |count: usize| {
        let names = (1..count).map(|class| format!("a class with a long name {class}"));
        std::iter::once("background".to_owned())
            .chain(names)
            .collect::<Vec<_>>()
    };
    for count in [3, 12, 60] {
        let found = Found {
            labels: labels(count),
            ..Found::none()
        };
        let places = drawn(&found.drawn("layers=mask+legend"));
        let is_inside = |[x, y]: &[usize; 2]| *x > SIZE[0] / 2 && *x < SIZE[0] - 4 && *y < SIZE[1] - 4;
        assert!(!places.is_empty() && places.iter().all(is_inside), "{count}");
    }
}

#[test]
fn regions_are_boxes_in_the_classs_colour_where_the_mask_is_not_drawn() {
    let boxes = Found::default().drawn("layers=regions");
    assert_eq!(boxes.at(WHITE[0], WHITE[1] + 20), color(2));
    assert_eq!(boxes.at(GREY[0], GREY[1] + 20), color(1));
    assert_eq!(boxes.at(WHITE[0] + 40, WHITE[1] + 30), [GROUND; 3]);
    let (mask, both) = (
        Found::default().drawn("layers=mask"),
        Found::default().drawn("layers=mask+regions"),
    );
    assert!(mask == both);
}

#[test]
fn nothing_found_passes_untouched_and_an_old_mask_is_fainter() {
    let caps = caps("RGB", SIZE);
    for layers in ["mask", "mask+regions+heatmap+history+frame", "legend"] {
        let buffer = Found::none().on(&caps, SIZE, 0);
        let output = harness(&format!("layers={layers}"), &caps)
            .push_and_pull(buffer.clone())
            .unwrap();
        assert_eq!(output.as_ptr(), buffer.as_ptr(), "{layers}");
    }
    let mut harness = harness("layers=mask+label", &caps);
    let mut push = |index, stale| {
        let found = Found {
            stale,
            ..Found::default()
        };
        Picture::of(
            &harness
                .push_and_pull(timed(found.on(&caps, SIZE, index), index))
                .unwrap(),
            SIZE,
        )
    };
    let middle = |picture: &Picture| picture.at(WHITE[0] + 40, WHITE[1] + 30);
    assert!(is_near(middle(&push(0, false)), mixed(2, OPACITY)));
    assert!(is_near(middle(&push(9, true)), mixed(2, OPACITY)));
    assert!(is_near(middle(&push(11, true)), mixed(2, OPACITY / 2.0)));
    assert!(is_near(middle(&push(12, false)), mixed(2, OPACITY)));
}

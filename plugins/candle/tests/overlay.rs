//! `candleoverlay` in harnesses: what it draws, where, and what it leaves alone.

mod support;

use gst_check::Harness;
use support::{FORMATS, caps_of, component, flagged, info_of, init, padded};

/// The ground everything is drawn on.
const GROUND: u8 = 100;

fn caps(format: &str, width: usize, height: usize) -> String {
    format!("format={format},width={width},height={height},interlace-mode=progressive")
}

fn harness(launch: &str, caps: &str) -> Harness {
    init();
    let mut harness = Harness::new_parse(launch);
    harness.set_src_caps(caps_of(caps));
    harness
}

/// A frame of one value.
fn ground(caps: &str) -> gst::Buffer {
    init();
    support::grey(&info_of(caps), GROUND, 0)
}

fn attach(buffer: &mut gst::Buffer, kind: &str, structure: gst::Structure) {
    let buffer = buffer.get_mut().unwrap();
    if gst::meta::CustomMeta::from_buffer(buffer, "candle-result").is_err() {
        gst::meta::CustomMeta::add(buffer, "candle-result").unwrap();
    }
    let mut meta = gst::meta::CustomMeta::from_mut_buffer(buffer, "candle-result").unwrap();
    meta.mut_structure().set(kind, structure);
}

fn region(x: i32, y: i32, width: i32, height: i32) -> gst::Structure {
    let region = gst::Structure::builder("region").field("x", x).field("y", y);
    region
        .field("width", width)
        .field("height", height)
        .field("area", 9)
        .field("score", 0.9)
        .build()
}

/// A result for a frame of 100x100: a map that is hot in the quarter at the left top, and `regions`.
fn anomaly(state: bool, regions: &[gst::Structure]) -> gst::structure::Builder {
    gst::Structure::builder("anomaly")
        .field("score", 0.75)
        .field("threshold", 0.5)
        .field("normalized", 0.75)
        .field("anomalous", state)
        .field("state", state)
        .field("stale", false)
        .field("width", 100)
        .field("height", 100)
        .field("regions", gst::Array::new(regions.iter().cloned()))
        .field("map", gst::Buffer::from_slice([255u8, 0, 0, 0]))
        .field("map-width", 2)
        .field("map-height", 2)
        .field("map-x", 0.0)
        .field("map-y", 0.0)
        .field("map-w", 100.0)
        .field("map-h", 100.0)
}

fn classify(label: &str, confidence: f64) -> gst::Structure {
    gst::Structure::builder("classify")
        .field("label", label)
        .field("confidence", confidence)
        .field("known", true)
        .field("labels", gst::Array::new([label]))
        .field("confidences", gst::Array::new([confidence]))
        .field("stale", false)
        .field("width", 100)
        .field("height", 100)
        .field("regions", gst::Array::new(Vec::<gst::Structure>::new()))
        .build()
}

/// A frame of the ground with everything on it.
fn full(caps: &str) -> gst::Buffer {
    marked(ground(caps))
}

/// The frame with everything on it.
fn marked(mut buffer: gst::Buffer) -> gst::Buffer {
    attach(&mut buffer, "anomaly", anomaly(true, &[region(60, 20, 20, 30)]).build());
    attach(&mut buffer, "classify", classify("scratch", 0.5));
    buffer
}

/// An RGB picture.
struct Picture {
    width: usize,
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    fn new(buffer: &gst::BufferRef, width: usize, height: usize) -> Self {
        let info = info_of(&caps("RGB", width, height));
        let [r, g, b] = [0, 1, 2].map(|c| component(buffer, &info, c));
        let pixels = (0..width * height)
            .map(|i| [r[i], g[i], b[i]].map(|value| value as u8))
            .collect();
        Self { width, pixels }
    }

    /// What `candleoverlay` with these properties makes of an RGB frame.
    fn drawn(properties: &str, buffer: gst::Buffer, width: usize, height: usize) -> Self {
        let mut harness = harness(&format!("candleoverlay {properties}"), &caps("RGB", width, height));
        Self::new(&harness.push_and_pull(buffer).unwrap(), width, height)
    }

    fn at(&self, x: usize, y: usize) -> [u8; 3] {
        self.pixels[y * self.width + x]
    }

    fn is_red(&self, x: usize, y: usize) -> bool {
        let [r, g, b] = self.at(x, y);
        r > 200 && g < 100 && b < 100
    }

    /// Whether any pixel of the rectangle was drawn on.
    fn is_drawn(&self, xs: std::ops::Range<usize>, ys: std::ops::Range<usize>) -> bool {
        ys.into_iter().any(|y| xs.clone().any(|x| self.at(x, y) != [GROUND; 3]))
    }

    /// Pixels of the rows that are nearly white.
    fn bright(&self, ys: std::ops::Range<usize>) -> usize {
        ys.map(|y| (0..self.width).filter(|&x| self.at(x, y)[0] > 200).count())
            .sum()
    }
}

#[test]
fn each_thing_is_drawn_in_its_place_and_can_be_left_out() {
    const OFF: [&str; 4] = [
        "show-heatmap=false",
        "show-regions=false",
        "show-label=false",
        "show-frame=false",
    ];
    let caps = caps("RGB", 200, 200);
    let seen = |p: &Picture| {
        let heat = p.at(30, 30) != [GROUND; 3];
        let boxed = p.is_red(120, 60) && p.is_red(159, 99);
        let barred = p.at(5, 185)[0] < 60;
        let framed = [(0, 100), (199, 100), (100, 0)]
            .iter()
            .all(|&(x, y)| p.at(x, y) == [255, 0, 0]);
        [heat, boxed, barred, framed]
    };
    let all = Picture::drawn("", full(&caps), 200, 200);
    assert_eq!(seen(&all), [true; 4]);
    assert!(!all.is_drawn(125..155, 65..95), "inside the box nothing is drawn");
    assert!(!all.is_drawn(100..170, 110..150), "where it is cold nothing is drawn");
    for (only, name) in OFF.iter().enumerate() {
        let others: Vec<_> = (0..4).filter(|&other| other != only).map(|other| OFF[other]).collect();
        let found = seen(&Picture::drawn(&others.join(" "), full(&caps), 200, 200));
        assert_eq!(found, std::array::from_fn(|i| i == only), "all off but {name}");
    }
}

#[test]
fn the_bar_says_label_and_confidence() {
    let bar = |label, confidence| {
        let mut buffer = ground(&caps("RGB", 400, 300));
        attach(&mut buffer, "classify", classify(label, confidence));
        Picture::drawn("", buffer, 400, 300)
    };
    let half = bar("chip", 0.5);
    let top = (0..300).find(|&y| half.at(399, y) != [GROUND; 3]).unwrap();
    assert!((260..290).contains(&top), "{top}");
    assert_eq!(half.bright(top..top + 1), 200, "half of the line is lit");
    assert_eq!(bar("chip", 1.0).bright(top..top + 1), 400);
    let ink = |label| bar(label, 0.5).bright(top + 4..300);
    assert!(ink("chip") > 20 && ink("chip or scratch") > ink("chip") + 40);
}

#[test]
fn a_frame_with_nothing_to_name_has_no_bar() {
    let mut buffer = ground(&caps("RGB", 200, 200));
    attach(&mut buffer, "classify", classify("", 0.0));
    assert!(!Picture::drawn("", buffer, 200, 200).is_drawn(0..200, 0..200));
}

#[test]
fn what_is_red_elsewhere_is_white_on_grey_frames() {
    for (format, size) in [("GRAY8", 1), ("GRAY16_LE", 2)] {
        let caps = caps(format, 200, 200);
        let mut harness = harness("candleoverlay show-heatmap=false show-label=false", &caps);
        let mut buffer = ground(&caps);
        attach(&mut buffer, "anomaly", anomaly(true, &[region(40, 50, 20, 10)]).build());
        let drawn = harness.push_and_pull(buffer).unwrap();
        let bytes = drawn.map_readable().unwrap();
        // The high byte; rows have no padding.
        let luma = |x: usize, y: usize| bytes[(y * 200 + x) * size + size - 1];
        for (what, x, y) in [
            ("frame", 0, 150),
            ("frame", 199, 0),
            ("box", 80, 110),
            ("box", 100, 119),
        ] {
            assert!(luma(x, y) > 220, "{format}: {what} at {x},{y} has {}", luma(x, y));
        }
    }
}

#[test]
fn without_an_alarm_there_is_no_red_frame() {
    let mut buffer = ground(&caps("RGB", 200, 200));
    attach(&mut buffer, "anomaly", anomaly(false, &[]).build());
    let found = Picture::drawn("show-heatmap=false", buffer, 200, 200);
    assert!(!found.is_drawn(0..200, 0..150));
    assert!(found.is_drawn(0..200, 170..200), "the score is shown");
}

#[test]
fn results_follow_a_frame_that_was_scaled() {
    let found = Picture::drawn("layers=regions", full(&caps("RGB", 400, 200)), 400, 200);
    // The region 60,20 20x30 of 100x100.
    for (x, y) in [(240, 70), (319, 70), (280, 40), (280, 99)] {
        assert!(found.is_red(x, y), "{x},{y}");
    }
    assert!(!found.is_drawn(245..315, 45..95), "inside");
    assert!(
        !found.is_drawn(0..230, 0..200) && !found.is_drawn(330..400, 0..200),
        "outside"
    );
}

#[test]
fn regions_of_interest_get_boxes_and_the_truth_only_on_demand() {
    let buffer = || {
        let mut buffer = ground(&caps("RGB", 200, 152));
        let frame = buffer.get_mut().unwrap();
        gst_video::VideoRegionOfInterestMeta::add(frame, "face", (20, 60, 40, 50));
        let mut truth = gst_video::VideoRegionOfInterestMeta::add(frame, "truth", (120, 60, 60, 60));
        let param = gst::Structure::builder("candle-truth")
            .field("index", 3u64)
            .field("defect", "spot");
        let param = param
            .field("x", 140u32)
            .field("y", 80u32)
            .field("width", 10u32)
            .field("height", 12u32);
        truth.add_param(param.build());
        buffer
    };
    let found = Picture::drawn("", buffer(), 200, 152);
    assert!(
        found.at(20, 100)[2] > 200 && found.is_drawn(21..60, 45..59),
        "a blue box with its name above"
    );
    assert!(!found.is_drawn(100..200, 0..152));
    let found = Picture::drawn("show-regions=false show-truth=true", buffer(), 200, 152);
    assert!(!found.is_drawn(0..100, 0..152));
    assert!(
        found.at(120, 110)[1] > 200 && found.at(120, 110)[0] < 100,
        "the part is green"
    );
    assert!(
        found.at(140, 85)[0] > 200 && found.at(140, 85)[2] < 100,
        "the defect is yellow"
    );
}

#[test]
fn every_format_shows_the_same_drawing() {
    for (width, height) in [(199, 151), (320, 240)] {
        let rgb = caps("RGB", width, height);
        let run = |launch: &str| {
            let found = harness(launch, &rgb).push_and_pull(full(&rgb)).unwrap();
            Picture::new(&found, width, height)
        };
        for format in FORMATS {
            let to = |format| format!("videoconvert dither=none ! capsfilter caps=video/x-raw,format={format}");
            let [there, back] = [to(format), to("RGB")];
            // On grey, red things are white.
            let overlay = match format.starts_with("GRAY") {
                true => "candleoverlay show-frame=false show-regions=false",
                false => "candleoverlay",
            };
            let found = run(&format!("{there} ! {overlay} ! {back}"));
            let expected = run(&format!("{overlay} ! {there} ! {back}"));
            let pairs = found.pixels.iter().flatten().zip(expected.pixels.iter().flatten());
            let sum: u32 = pairs.map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
            let mean = f64::from(sum) / (3 * width * height) as f64;
            // The converter filters chroma wider than the pixels that it stands for.
            let bound = if ["I420", "NV12", "Y42B"].contains(&format) {
                2.0
            } else {
                0.75
            };
            assert!(mean < bound, "{format} {width}x{height}: {mean}");
        }
    }
}

#[test]
fn every_format_and_size_passes() {
    for format in FORMATS {
        for (width, height) in [
            (1, 1),
            (2, 1),
            (1, 3),
            (5, 4),
            (17, 33),
            (160, 120),
            (33, 240),
            (4096, 20),
        ] {
            let caps = caps(format, width, height);
            let mut buffer = ground(&caps);
            let regions = [region(60, 20, 20, 30), region(-5, 90, 200, 200)];
            attach(&mut buffer, "anomaly", anomaly(true, &regions).build());
            attach(&mut buffer, "classify", classify("scratch", 0.5));
            let everywhere = (0, 0, u32::MAX, u32::MAX);
            gst_video::VideoRegionOfInterestMeta::add(buffer.get_mut().unwrap(), "far", everywhere);
            let found = harness("candleoverlay", &caps).push_and_pull(buffer).unwrap();
            let map = found.map_readable().unwrap();
            assert!(
                map.iter().any(|&byte| byte != GROUND),
                "{format} {width}x{height}: nothing is drawn"
            );
        }
    }
}

#[test]
fn text_can_be_read_from_small_to_large() {
    for (width, height, least) in [(160, 120, 12), (640, 480, 20), (3840, 2160, 90)] {
        let mut buffer = ground(&caps("RGB", width, height));
        attach(&mut buffer, "classify", classify("scratch", 0.5));
        let found = Picture::drawn("", buffer, width, height);
        let bar = (0..height).filter(|&y| found.at(width - 1, y) != [GROUND; 3]).count();
        assert!(bar >= least && bar * 4 < height, "{width}x{height}: {bar}");
    }
}

#[test]
fn frames_with_nothing_to_draw_and_gaps_are_the_same_buffer() {
    let caps = caps("RGB", 64, 48);
    let mut harness = harness("candleoverlay", &caps);
    let gap = flagged(full(&caps), gst::BufferFlags::GAP);
    let mut truth = ground(&caps);
    gst_video::VideoRegionOfInterestMeta::add(truth.get_mut().unwrap(), "truth", (1, 1, 9, 9));
    let cases = [
        (ground(&caps), true),
        (full(&caps), false),
        (gap, true),
        (full(&caps), false),
        (truth, true),
    ];
    for (i, (buffer, stays)) in cases.into_iter().enumerate() {
        let keep = buffer.clone();
        let found = harness.push_and_pull(buffer).unwrap();
        assert_eq!(found.as_ptr() == keep.as_ptr(), stays, "case {i}");
        assert_eq!(
            found.flags() & gst::BufferFlags::GAP,
            keep.flags() & gst::BufferFlags::GAP,
            "case {i}"
        );
        assert!(
            keep.map_readable().unwrap().iter().all(|&byte| byte == GROUND),
            "a shared buffer stays as it is"
        );
    }
}

#[test]
fn padded_rows_are_left_alone() {
    init();
    for format in FORMATS {
        let caps = caps(format, 63, 47);
        let info = info_of(&caps);
        let draw = |frame| harness("candleoverlay", &caps).push_and_pull(marked(frame)).unwrap();
        let expected = padded(&draw(ground(&caps)), &info);
        let found = draw(padded(&ground(&caps), &info));
        assert_eq!(
            *found.map_readable().unwrap(),
            *expected.map_readable().unwrap(),
            "{format}: pixels and padding"
        );
    }
}

#[test]
fn caps_change_flush_and_end_in_mid_stream() {
    let [small, other, large] = [caps("RGB", 64, 48), caps("I420", 33, 71), caps("RGB", 200, 200)];
    let mut harness = harness("candleoverlay", &small);
    harness.push_and_pull(full(&small)).unwrap();
    harness.set_src_caps(caps_of(&other));
    let found = harness.push_and_pull(full(&other)).unwrap();
    let luma = component(&found, &info_of(&other), 0);
    assert_ne!(luma[33 * 35], u32::from(GROUND), "the frame follows the new format");
    harness.set_src_caps(caps_of(&large));
    let found = harness.push_and_pull(full(&large)).unwrap();
    assert_eq!(
        Picture::new(&found, 200, 200).at(199, 100),
        [255, 0, 0],
        "the frame follows the new size"
    );
    assert!(harness.push_event(gst::event::FlushStart::new()));
    assert!(harness.push_event(gst::event::FlushStop::new(true)));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(harness.push_event(gst::event::Segment::new(&segment)));
    assert!(harness.push_and_pull(full(&large)).is_ok());
    assert!(harness.push_event(gst::event::Eos::new()));
    assert_eq!(harness.buffers_in_queue(), 0);
}

#[test]
fn broken_results_do_no_harm() {
    init();
    let all_numbers = [region(i32::MIN, i32::MIN, i32::MAX, i32::MAX), region(9, 9, -5, 0)];
    let results = [
        anomaly(true, &[]).field("map-width", 5000).build(),
        anomaly(true, &[]).field("map-width", -1).build(),
        anomaly(true, &[])
            .field("map-w", f64::NAN)
            .field("score", f64::NAN)
            .build(),
        anomaly(true, &[]).field("width", 0).field("map-x", f64::MAX).build(),
        anomaly(true, &all_numbers).build(),
        anomaly(true, &[]).field("map", 5).build(),
    ];
    let caps = caps("RGB", 64, 48);
    for result in results {
        let mut buffer = ground(&caps);
        let text = result.to_string();
        attach(&mut buffer, "anomaly", result);
        attach(
            &mut buffer,
            "classify",
            classify("a\nb\u{202e}\u{10ffff}", f64::INFINITY),
        );
        assert!(harness("candleoverlay", &caps).push_and_pull(buffer).is_ok(), "{text}");
    }
}

//! The shipped models in their elements: frames of every format, size and way to lie in memory.

mod support;

use gst::prelude::*;
use gst_check::Harness;
use support::*;

/// Launch lines of elements with shipped models, and the kind of result that each must attach to a frame that follows no other.
fn lines() -> Vec<(String, Option<&'static str>)> {
    let of = |name: &str| {
        format!(
            "model-file={}/../../models/{name}.safetensors",
            env!("CARGO_MANIFEST_DIR")
        )
    };
    let mut lines = Vec::new();
    for name in [
        "testsrc",
        "fast-gray",
        "fast-rgb",
        "camera-rgb",
        "accurate-gray",
        "accurate-rgb",
        "recurrent-rgb",
    ] {
        lines.push((
            format!("candledenoise {}", of(&format!("denoise-{name}"))),
            Some("denoise"),
        ));
    }
    for name in ["testsrc", "magnetic-tile"] {
        lines.push((
            format!("candleanomaly {}", of(&format!("anomaly-{name}"))),
            Some("anomaly"),
        ));
    }
    // It judges by the frames before.
    lines.push((format!("candleanomaly {}", of("anomaly-walkway")), None));
    for output in ["heatmap", "reconstruction", "side-by-side"] {
        lines.push((
            format!("candleanomaly output={output} {}", of("anomaly-testsrc")),
            Some("anomaly"),
        ));
    }
    for name in ["testsrc", "neu", "digits"] {
        lines.push((
            format!("candleclassify {}", of(&format!("classify-{name}"))),
            Some("classify"),
        ));
    }
    lines.push((
        format!("candlesegment output=overlay {}", of("segment-magnetic-tile")),
        Some("segment"),
    ));
    lines.push((
        format!("candleanomaly threshold=0 {} ! candleoverlay", of("anomaly-testsrc")),
        Some("anomaly"),
    ));
    lines
}

/// The frame in one memory for each plane.
fn split(buffer: &gst::BufferRef, info: &gst_video::VideoInfo) -> gst::Buffer {
    let whole = buffer.map_readable().unwrap();
    let ends = info.offset().iter().skip(1).copied().chain([info.size()]);
    let mut split = gst::Buffer::new();
    let frame = split.get_mut().unwrap();
    for (&begin, end) in info.offset().iter().zip(ends) {
        frame.append_memory(gst::Memory::from_slice(whole[begin..end].to_vec()));
    }
    let (flags, size) = (gst_video::VideoFrameFlags::empty(), [info.width(), info.height()]);
    gst_video::VideoMeta::add_full(
        frame,
        flags,
        info.format(),
        size[0],
        size[1],
        info.offset(),
        info.stride(),
    )
    .unwrap();
    buffer.copy_into(frame, gst::BufferCopyFlags::TIMESTAMPS, ..).unwrap();
    split
}

/// Pushes a frame that follows no other, and gives what comes out, which has its times and, where one must be, a new result of its size.
fn through(harness: &mut Harness, buffer: gst::Buffer, kind: Option<&str>, what: &str) -> gst::Buffer {
    let times = (buffer.pts(), buffer.duration());
    let buffer = flagged(buffer, gst::BufferFlags::DISCONT);
    let output = harness
        .push_and_pull(buffer)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!((output.pts(), output.duration()), times, "{what}");
    if let Some(kind) = kind {
        let result = result(&output, kind).unwrap_or_else(|| panic!("{what}: no result"));
        assert_eq!(result.get("stale"), Ok(false), "{what}: {result}");
        let number = ["score", "confidence", "noise-level", "share"]
            .iter()
            .find_map(|&name| result.get::<f64>(name).ok());
        assert!(number.is_some_and(f64::is_finite), "{what}: {result}");
    }
    output
}

#[test]
fn every_format_layout_and_size_goes_through_every_shipped_model() {
    init();
    for (line, kind) in lines() {
        // What paints reads the same formats, and writes one of each kind here.
        let paints = line.contains("output=") || line.contains("overlay");
        let formats = if paints {
            &["GRAY16_LE", "BGRA", "NV12"][..]
        } else {
            &FORMATS
        };
        for format in formats {
            let caps = |width: usize, height: usize| format!("format={format},width={width},height={height}");
            let first = caps(27, 18);
            let info = info_of(&first);
            let mut harness = Harness::new_parse(&line);
            harness.set_src_caps(caps_of(&first));
            let bus = gst::Bus::new();
            harness.element().unwrap().set_bus(Some(&bus));
            let what = |layout: &str, caps: &str| format!("{line} {caps} {layout}");

            let plain = busy(&info, 0);
            let readonly = gst::Buffer::from_slice(plain.map_readable().unwrap().to_vec());
            let layouts = [
                ("padded", padded(&plain, &info)),
                ("in parts", split(&plain, &info)),
                ("read-only", timed(readonly, 0)),
            ];
            let expected = through(&mut harness, plain.copy(), kind, &what("plain", &first));
            for (layout, frame) in layouts {
                let what = what(layout, &first);
                let found = through(&mut harness, frame, kind, &what);
                assert_eq!(
                    kind.map(|kind| result(&found, kind)),
                    kind.map(|kind| result(&expected, kind)),
                    "{what}"
                );
                for c in 0..info.n_components() as u8 {
                    assert_eq!(
                        component(&found, &info, c),
                        component(&expected, &info, c),
                        "{what}, component {c}"
                    );
                }
            }
            // In mid-stream: the least there is, odd ones, and one that is larger than any model of a fixed size.
            let is_denoiser = kind == Some("denoise");
            let large = if is_denoiser { (67, 35) } else { (300, 270) };
            for (index, (width, height)) in [(1, 1), (5, 3), large, (1, 40)].into_iter().enumerate() {
                let caps = caps(width, height);
                harness.set_src_caps(caps_of(&caps));
                let info = info_of(&caps);
                let output = through(&mut harness, busy(&info, index as u64 + 1), kind, &what("", &caps));
                assert!(output.size() >= component(&output, &info, 0).len(), "{caps}");
            }
            let errors = [gst::MessageType::Error, gst::MessageType::Warning];
            assert!(bus.pop_filtered(&errors).is_none(), "{line} {format}");
        }
    }
}

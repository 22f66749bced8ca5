//! `candletestsrc` in pipelines: pixels, times, truth, seeking, live.

mod support;

use gst::prelude::*;
use gst_video::prelude::*;
use support::line::*;
use support::*;

fn offsets(samples: &[gst::Sample]) -> Vec<u64> {
    samples.iter().map(|sample| sample.buffer().unwrap().offset()).collect()
}

fn regions(sample: &gst::Sample) -> impl Iterator<Item = gst::MetaRef<'_, gst_video::VideoRegionOfInterestMeta>> {
    sample.buffer().unwrap().iter_meta()
}

#[test]
fn every_format_shows_the_same_line_at_odd_sizes() {
    for (width, height) in [(16, 16), (67, 45), (131, 98), (4095, 17), (4096, 16)] {
        let frame = |format: &str, rest: &str| {
            let caps = format!("video/x-raw,format={format},width={width},height={height}");
            values(&Line::all(&format!("candletestsrc noise=0 seed=5 num-buffers=1 ! {caps} {rest}"))[0])
        };
        let rgb = frame("RGB", "");
        let mean = f64::from(rgb[1].iter().sum::<u32>()) / rgb[1].len() as f64;
        assert!((20.0..200.0).contains(&mean), "{mean}");
        let luma = |i: usize| {
            let [r, g, b] = [rgb[0][i], rgb[1][i], rgb[2][i]].map(f64::from);
            (0.299 * r + 0.587 * g + 0.114 * b).round() as u32
        };
        for format in FORMATS {
            let found = frame(format, "! videoconvert dither=none ! video/x-raw,format=RGB");
            let gray = format.starts_with("GRAY");
            for (c, plane) in found.iter().enumerate() {
                let expected = |i: usize| if gray { luma(i) } else { rgb[c][i] };
                let sum: u32 = plane
                    .iter()
                    .enumerate()
                    .map(|(i, value)| value.abs_diff(expected(i)))
                    .sum();
                let mean = f64::from(sum) / plane.len() as f64;
                // The converter's way from YUV to RGB is a few codes off.
                let bound = if ["I420", "NV12", "Y42B", "Y444"].contains(&format) {
                    5.0
                } else {
                    1.5
                };
                assert!(mean < bound, "{format} {width}x{height} component {c}: {mean}");
            }
        }
    }
}

#[test]
fn alpha_is_opaque() {
    for format in ["RGBA", "BGRA", "ARGB", "ABGR"] {
        let caps = format!("video/x-raw,format={format},width=33,height=17");
        let sample = &Line::all(&format!("candletestsrc num-buffers=1 ! {caps}"))[0];
        let alpha = component(sample.buffer().unwrap(), &info(sample), 3);
        assert!(
            alpha.len() == 33 * 17 && alpha.iter().all(|&alpha| alpha == 255),
            "{format}"
        );
    }
}

#[test]
fn a_seed_fixes_every_pixel() {
    let run = |properties: &str| {
        let launch = format!("candletestsrc num-buffers=3 {properties} ! video/x-raw,format=RGB,width=64,height=48");
        Line::all(&launch).iter().map(values).collect::<Vec<_>>()
    };
    let first = run("seed=1");
    assert_eq!(first, run("seed=1"));
    assert_ne!(first, run("seed=2"));
    assert_ne!(first, run("seed=1 noise=2"));
    assert_ne!(first[0], first[1]);
}

#[test]
fn a_stream_of_one_frame_is_that_frame_and_its_end() {
    let samples = Line::all("candletestsrc num-buffers=1 ! video/x-raw,width=16,height=16");
    assert_eq!(offsets(&samples), [0]);
    assert_eq!(samples[0].buffer().unwrap().pts(), Some(gst::ClockTime::ZERO));
}

#[test]
fn without_wishes_it_is_rgb_of_480_by_360_at_30_frames() {
    let info = info(&Line::all("candletestsrc num-buffers=1")[0]);
    assert_eq!(
        (info.width(), info.height(), info.fps()),
        (480, 360, gst::Fraction::new(30, 1))
    );
    assert_eq!(info.format(), gst_video::VideoFormat::Rgb);
    assert!(!info.is_interlaced());
}

#[test]
fn times_and_offsets_follow_the_frame_rate() {
    let caps = "video/x-raw,format=GRAY8,width=16,height=16,framerate=30000/1001";
    let samples = Line::all(&format!("candletestsrc num-buffers=31 ! {caps}"));
    assert_eq!(samples.len(), 31);
    for (n, sample) in (0..).zip(&samples) {
        let buffer = sample.buffer().unwrap();
        let time = |n: u64| gst::ClockTime::from_nseconds(n * 1_001_000_000 / 30);
        assert_eq!(buffer.pts(), Some(time(n)));
        assert_eq!(buffer.duration(), Some(time(n + 1) - time(n)));
        assert_eq!((buffer.offset(), buffer.offset_end()), (n, n + 1));
    }
    assert_eq!(samples[0].segment().unwrap().format(), gst::Format::Time);
}

#[test]
fn the_truth_is_on_whole_parts_alone() {
    for (rate, is_good) in [(1.0, false), (0.0, true)] {
        let caps = "video/x-raw,format=GRAY8,width=160,height=120";
        let samples = Line::all(&format!(
            "candletestsrc num-buffers=90 noise=0 defect-rate={rate} ! {caps}"
        ));
        let mut parts = Vec::new();
        for meta in samples.iter().flat_map(regions) {
            assert_eq!(meta.roi_type(), "truth");
            let (x, y, width, height) = meta.rect();
            assert!(
                width > 40 && height > 40 && x + width <= 160 && y + height <= 120,
                "{:?}",
                meta.rect()
            );
            let param = meta.param("candle-truth").unwrap();
            let defect = param.get::<String>("defect").unwrap();
            parts.push(param.get::<u64>("index").unwrap());
            assert_eq!(
                (defect == "good", param.has_field("x")),
                (is_good, !is_good),
                "{defect}"
            );
            if !is_good {
                assert!(["scratch", "spot", "chip"].contains(&defect.as_str()), "{defect}");
                let [left, top, wide, high] = ["x", "y", "width", "height"].map(|f| param.get::<u32>(f).unwrap());
                assert!(wide > 0 && left + 2 >= x && left + wide <= x + width + 2, "{param}");
                assert!(high > 0 && top + 2 >= y && top + high <= y + height + 2, "{param}");
            }
        }
        parts.dedup();
        assert!(parts.len() >= 2 && parts.is_sorted(), "{parts:?}");
        assert!(
            samples.iter().any(|sample| regions(sample).next().is_none()),
            "parts come and go"
        );
    }
}

#[test]
fn seeking_goes_to_the_frame_both_ways() {
    const CAPS: &str = "video/x-raw,format=GRAY8,width=32,height=24,framerate=10/1";
    let straight = Line::all(&format!("candletestsrc num-buffers=20 ! {CAPS}"));
    let line = Line::paused(&format!("candletestsrc ! {CAPS}"));
    let at = gst::ClockTime::from_mseconds;
    let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
    let seek = |rate, start, stop| {
        let set = gst::SeekType::Set;
        line.pipeline.seek(rate, flags, set, at(start), set, at(stop)).unwrap();
        line.pipeline.set_state(gst::State::Playing).unwrap();
        line.rest()
    };
    let forward = seek(1.0, 1230, 1500);
    assert_eq!(offsets(&forward), [12, 13, 14]);
    assert_eq!(values(&forward[0]), values(&straight[12]));
    assert_eq!(forward[1].buffer().unwrap().pts(), Some(at(1300)));
    assert_eq!(offsets(&seek(-1.0, 500, 800)), [7, 6, 5]);
    assert_eq!(offsets(&seek(-1.0, 0, 250)), [2, 1, 0]);
    assert_eq!(offsets(&seek(1.0, 0, 200)), [0, 1]);
}

#[test]
fn a_bounded_source_knows_its_duration() {
    let line = Line::paused("candletestsrc num-buffers=45 ! video/x-raw,width=16,height=16,framerate=30/1");
    let duration = line.pipeline.query_duration::<gst::ClockTime>();
    assert_eq!(duration, Some(gst::ClockTime::from_mseconds(1500)));
}

#[test]
fn new_caps_in_mid_stream_go_on_in_time() {
    let caps = "video/x-raw,format=RGB,width=64,height=48,framerate=10/1";
    let line = Line::playing(&format!("candletestsrc ! capsfilter name=wish caps={caps}"));
    let mut end = gst::ClockTime::ZERO;
    let mut next = || {
        let sample = line.pull().unwrap();
        let buffer = sample.buffer().unwrap();
        assert_eq!(buffer.pts(), Some(end));
        end += buffer.duration().unwrap();
        sample
    };
    (0..3).for_each(|_| drop(next()));
    let caps: gst::Caps = "video/x-raw,format=I420,width=35,height=27,framerate=20/1"
        .parse()
        .unwrap();
    line.pipeline.by_name("wish").unwrap().set_property("caps", &caps);
    let changed = (0..30)
        .map(|_| next())
        .find(|sample| info(sample).width() == 35)
        .expect("the new size comes");
    assert_eq!(
        values(&changed).iter().map(Vec::len).collect::<Vec<_>>(),
        [35 * 27, 18 * 14, 18 * 14]
    );
    assert_eq!(
        changed.buffer().unwrap().duration(),
        Some(gst::ClockTime::from_mseconds(50))
    );
}

#[test]
fn padded_rows_of_a_foreign_pool_are_respected() {
    const CAPS: &str = "video/x-raw,format=I420,width=37,height=23,framerate=10/1";
    const SIZE: u32 = 37 * 23 * 2;
    let plain = Line::all(&format!("candletestsrc num-buffers=2 ! {CAPS}"));
    let line = Line::new(&format!("candletestsrc num-buffers=2 ! {CAPS}"));
    let pad = line.sink.static_pad("sink").unwrap();
    pad.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, |_, info| {
        let Some(gst::QueryViewMut::Allocation(query)) = info.query_mut().map(|query| query.view_mut()) else {
            return gst::PadProbeReturn::Ok;
        };
        let pool = gst_video::VideoBufferPool::new();
        let mut config = pool.config();
        config.set_params(query.get_owned().0.as_ref(), SIZE, 2, 0);
        config.add_option(gst_video::BUFFER_POOL_OPTION_VIDEO_META);
        config.add_option(gst_video::BUFFER_POOL_OPTION_VIDEO_ALIGNMENT);
        config.set_video_alignment(&gst_video::VideoAlignment::new(2, 4, 6, 10, &[15; 4]));
        pool.set_config(config).unwrap();
        query.add_allocation_pool(Some(&pool), SIZE, 2, 0);
        query.add_allocation_meta::<gst_video::VideoMeta>(None);
        gst::PadProbeReturn::Handled
    });
    line.pipeline.set_state(gst::State::Playing).unwrap();
    for plain in &plain {
        let padded = line.pull().unwrap();
        let stride = padded
            .buffer()
            .unwrap()
            .meta::<gst_video::VideoMeta>()
            .unwrap()
            .stride()[0];
        assert!(stride >= 37 + 16, "the pool was taken: {stride}");
        assert_eq!(values(&padded), values(plain));
    }
}

#[test]
fn a_live_source_tells_its_latency_and_does_not_seek() {
    let line = Line::playing("candletestsrc is-live=true ! video/x-raw,width=16,height=16,framerate=25/1");
    line.pull().unwrap();
    let mut latency = gst::query::Latency::new();
    assert!(line.sink.static_pad("sink").unwrap().peer_query(&mut latency));
    assert_eq!(latency.result(), (true, gst::ClockTime::from_mseconds(40), None));
    let mut seeking = gst::query::Seeking::new(gst::Format::Time);
    assert!(line.pipeline.query(&mut seeking));
    assert!(!seeking.result().0);
}

#[test]
fn a_live_source_hands_frames_over_when_they_are_complete() {
    let line =
        Line::playing("candletestsrc is-live=true num-buffers=4 ! video/x-raw,width=16,height=16,framerate=20/1");
    while let Some(sample) = line.pull() {
        let buffer = sample.buffer().unwrap();
        let now = line.pipeline.current_running_time().unwrap();
        assert!(
            now >= buffer.pts().unwrap() + buffer.duration().unwrap(),
            "{now}: {buffer:?}"
        );
    }
}

#[test]
fn a_live_source_waits_out_a_pause() {
    let line = Line::playing("candletestsrc is-live=true ! video/x-raw,width=16,height=16,framerate=50/1");
    for _ in 0..20 {
        line.pull().unwrap();
        line.pipeline.set_state(gst::State::Paused).unwrap();
        line.pipeline.set_state(gst::State::Playing).unwrap();
    }
    (0..5).for_each(|_| drop(line.pull().unwrap()));
    // Stops at once, also while it waits for the end of a frame.
    drop(Line::playing(
        "candletestsrc is-live=true ! video/x-raw,width=16,height=16,framerate=1/600",
    ));
}

#[test]
fn a_live_source_that_is_held_up_leaves_frames_out() {
    let caps = "video/x-raw,format=GRAY8,width=16,height=16,framerate=100/1";
    let launch = format!("candletestsrc is-live=true num-buffers=6 ! {caps} ! identity sleep-time=45000");
    let samples = Line::all(&launch);
    let offsets = offsets(&samples);
    assert_eq!(samples.len(), 6);
    // The sixth comes after five holds of 45 ms, which take 22 frames.
    assert!(offsets.is_sorted() && offsets[5] >= 18, "{offsets:?}");
    for (offset, sample) in offsets.iter().zip(&samples) {
        let buffer = sample.buffer().unwrap();
        assert_eq!(buffer.pts(), Some(gst::ClockTime::from_mseconds(10 * offset)));
    }
    assert!(
        samples[5].buffer().unwrap().flags().contains(gst::BufferFlags::DISCONT),
        "the jump is told"
    );
}

#[test]
fn caps_that_do_not_fit_are_refused() {
    init();
    for caps in ["width=8,height=8", "interlace-mode=interleaved", "format=P010_10LE"] {
        let launch = format!("candletestsrc num-buffers=1 ! video/x-raw,{caps} ! fakesink");
        let error = gst::parse::launch(&launch).unwrap_err();
        assert!(error.matches(gst::ParseError::Link), "{caps}: {error}");
    }
}

//! `candledenoise` on frames whose denoised values are known.

mod support;

use gst::prelude::*;
use gst_controller::prelude::*;
use gst_video::VideoRegionOfInterestMeta;
use support::*;

#[test]
fn every_format_and_odd_size_is_denoised_and_alpha_kept() {
    init();
    let model = halving();
    for format in FORMATS {
        for (width, height) in [(1, 1), (2, 3), (33, 17), (5, 64)] {
            let caps = format!("format={format},width={width},height={height}");
            let info = info_of(&caps);
            let (mut harness, _) = harness("candledenoise", &model, "", &caps);
            let input = busy(&info, 0);
            let output = harness.push_and_pull(input.clone()).unwrap();
            for c in 0..info.n_components() as u8 {
                let alpha = c == 3;
                for (before, after) in component(&input, &info, c)
                    .into_iter()
                    .zip(component(&output, &info, c))
                {
                    let right = if alpha {
                        after == before
                    } else {
                        (2 * after).abs_diff(before) <= 1
                    };
                    assert!(right, "{caps}, component {c}: {before} became {after}");
                }
            }
        }
    }
}

/// A model sees a 12-bit camera's white as white: half of every code comes out, and codes beyond white are cut to it.
#[test]
fn the_white_of_sixteen_bits_can_be_set() {
    init();
    let model = halving();
    let caps = "format=GRAY16_LE,width=8,height=4";
    let info = info_of(caps);
    let (mut harness, _) = harness("candledenoise", &model, "gray16-white=4095", caps);
    let mut input = busy(&info, 0);
    {
        let mut data = input.get_mut().unwrap().map_writable().unwrap();
        let (codes, _) = data.as_chunks_mut::<2>();
        codes
            .iter_mut()
            .zip([0u16, 100, 4000, 4095, 8000].into_iter().cycle())
            .for_each(|(code, value)| *code = value.to_le_bytes());
    }
    let output = harness.push_and_pull(input).unwrap();
    let data = output.map_readable().unwrap();
    let codes: Vec<u16> = data
        .as_chunks::<2>()
        .0
        .iter()
        .map(|code| u16::from_le_bytes(*code))
        .collect();
    for (code, expected) in codes.iter().zip([0u16, 50, 2000, 2048, 2048].into_iter().cycle()) {
        assert!(code.abs_diff(expected) <= 1, "{code}, not {expected}");
    }
}

#[test]
fn strength_blends_and_zero_copies_without_inference() {
    init();
    let model = halving();
    let caps = "format=RGB,width=9,height=7";
    let info = info_of(caps);
    let (mut harness, _) = harness("candledenoise", &model, "strength=0.5", caps);
    let half = harness.push_and_pull(grey(&info, 200, 0)).unwrap();
    assert!(component(&half, &info, 1).iter().all(|&value| value == 150));

    element(&harness).set_property("strength", 0.0f32);
    let input = busy(&info, 1);
    let copied = harness.push_and_pull(input.clone()).unwrap();
    assert_eq!(component(&copied, &info, 2), component(&input, &info, 2));
    assert_eq!(counts(&element(&harness)), [2, 1, 1, 0]);
}

#[test]
fn strength_can_be_controlled_over_stream_time() {
    init();
    let model = halving();
    let caps = "format=GRAY8,width=8,height=8";
    let info = info_of(caps);
    let (mut harness, _) = harness("candledenoise", &model, "", caps);
    let ramp = gst_controller::InterpolationControlSource::new();
    ramp.set_mode(gst_controller::InterpolationMode::Linear);
    ramp.set(gst::ClockTime::ZERO, 0.0);
    ramp.set(gst::ClockTime::SECOND, 1.0);
    let element = element(&harness);
    element
        .add_control_binding(&gst_controller::DirectControlBinding::new(&element, "strength", &ramp))
        .unwrap();
    for (index, expected) in [(0, 200), (5, 150), (10, 100)] {
        let output = harness.push_and_pull(grey(&info, 200, index)).unwrap();
        assert_eq!(component(&output, &info, 0), [expected; 64], "frame {index}");
    }
}

#[test]
fn every_other_frame_passes_with_the_result_marked_stale() {
    init();
    let model = halving();
    let caps = "format=GRAY8,width=8,height=8";
    let info = info_of(caps);
    let (mut harness, _) = harness("candledenoise", &model, "inference-interval=2 noise-level=7", caps);
    for index in 0..4 {
        let output = harness.push_and_pull(grey(&info, 100, index)).unwrap();
        let passed = index % 2 == 1;
        let expected = if passed { 100 } else { 50 };
        assert_eq!(component(&output, &info, 0), [expected; 64]);
        let result = result(&output, "denoise").unwrap();
        assert_eq!(result.get::<bool>("stale").unwrap(), passed);
        assert_eq!(result.get::<f64>("noise-level").unwrap(), 7.0);
        assert_eq!(result.get::<f64>("strength").unwrap(), 1.0);
    }
    assert_eq!(counts(&element(&harness)), [4, 2, 2, 0]);
    let stats = element(&harness).property::<gst::Structure>("stats");
    assert!(stats.get::<f64>("ms-p50").unwrap() > 0.0);
    assert_eq!(element(&harness).property::<f32>("last-noise-level"), 7.0);
}

#[test]
fn the_noise_level_is_told_when_it_moves() {
    init();
    let model = halving();
    let caps = "format=GRAY8,width=8,height=8";
    let info = info_of(caps);
    let (mut harness, bus) = harness("candledenoise", &model, "noise-level=20", caps);
    for (index, level) in [20.0f32, 24.0, 26.0, 25.0, 10.0].into_iter().enumerate() {
        element(&harness).set_property("noise-level", level);
        harness.push_and_pull(grey(&info, 100, index as u64)).unwrap();
    }
    let messages = messages(&bus);
    let told: Vec<_> = messages.iter().map(|m| m.get::<f64>("noise-level").unwrap()).collect();
    assert_eq!(told, [20.0, 26.0, 10.0]);
    assert!(messages.iter().all(|m| m.name() == "candledenoise"));
    let times = ["timestamp", "stream-time", "running-time", "duration"];
    assert_eq!(
        times.map(|field| messages[1].get::<u64>(field).unwrap() / 1_000_000),
        [200, 200, 200, 100]
    );
}

#[test]
fn all_metas_and_times_stay_on_the_frame() {
    init();
    let model = halving();
    let caps = "format=RGB,width=8,height=8";
    let info = info_of(caps);
    let (mut harness, _) = harness("candledenoise", &model, "attach-meta=false", caps);
    let mut input = busy(&info, 3);
    {
        let input = input.get_mut().unwrap();
        VideoRegionOfInterestMeta::add(input, "part", (1, 2, 3, 4));
        let clock = gst::Caps::new_empty_simple("timestamp/x-ntp");
        gst::ReferenceTimestampMeta::add(input, &clock, gst::ClockTime::SECOND, gst::ClockTime::NONE);
    }
    let output = harness.push_and_pull(input).unwrap();
    assert_eq!(output.meta::<VideoRegionOfInterestMeta>().unwrap().rect(), (1, 2, 3, 4));
    assert_eq!(
        output.meta::<gst::ReferenceTimestampMeta>().unwrap().timestamp(),
        gst::ClockTime::SECOND
    );
    assert_eq!(output.pts(), Some(gst::ClockTime::from_mseconds(300)));
    assert!(result(&output, "denoise").is_none());
}

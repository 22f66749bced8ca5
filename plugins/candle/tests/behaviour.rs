//! What all elements with a model have in common: errors, caps, the stream's events, properties.

mod support;

use gst::prelude::*;
use support::line::Line;
use support::*;

/// The kind of result that an element, with or without properties, attaches.
fn kind(element: &str) -> &str {
    let name = element.split(' ').next().unwrap();
    name.strip_prefix("candle").unwrap()
}

fn launch(element: &str, properties: &str) -> String {
    format!("videotestsrc num-buffers=2 ! video/x-raw,width=16,height=16 ! {element} {properties} ! fakesink")
}

#[test]
fn a_model_that_cannot_be_used_is_a_clear_error() {
    init();
    let folder = tempfile::tempdir().unwrap();
    let junk = folder.path().join("junk.safetensors");
    std::fs::write(&junk, b"not a model at all").unwrap();
    let junk = junk.display();
    let elements = elements();
    for (i, (element, model)) in elements.iter().enumerate() {
        let path = model.path().display();
        let other = elements[(i + 1) % elements.len()].1.path().display();
        let error = |properties: &str| play(&launch(element, properties)).unwrap_err();

        let unset = error("");
        assert!(unset.matches(gst::ResourceError::NotFound), "{unset}");
        assert!(unset.message().contains("`model-file`"), "{unset}");
        let missing = error("model-file=/nowhere/at-all.safetensors");
        assert!(missing.matches(gst::ResourceError::NotFound), "{missing}");
        assert!(missing.message().contains("/nowhere/at-all.safetensors"), "{missing}");
        let broken = error(&format!("model-file={junk}"));
        assert!(broken.matches(gst::ResourceError::Read), "{broken}");
        assert!(broken.message().contains("junk.safetensors"), "{broken}");
        let wrong = error(&format!("model-file={other}"));
        assert!(wrong.matches(gst::ResourceError::Settings), "{wrong}");
        assert!(wrong.message().contains(&other.to_string()), "{wrong}");
        let device = error(&format!("model-file={path} device=toaster"));
        assert!(device.matches(gst::ResourceError::Settings), "{device}");
        assert!(device.message().contains("toaster"), "{device}");
    }
}

#[cfg(not(feature = "cuda"))]
#[test]
fn cuda_in_a_build_without_it_is_a_clear_error() {
    init();
    for (element, model) in elements() {
        let error = play(&launch(
            element,
            &format!("model-file={} device=cuda:0", model.path().display()),
        ))
        .unwrap_err();
        assert!(error.matches(gst::ResourceError::Settings), "{error}");
        assert!(error.message().to_lowercase().contains("cuda"), "{error}");
    }
}

#[test]
fn every_format_and_size_plays() {
    init();
    for (element, model) in elements() {
        for format in FORMATS {
            for (width, height) in [(1, 1), (3, 2), (31, 17), (4096, 2)] {
                let line = format!(
                    "videotestsrc num-buffers=2 ! video/x-raw,format={format},width={width},height={height} ! \
                     {element} model-file={} ! fakesink",
                    model.path().display()
                );
                play(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
            }
        }
    }
}

#[test]
fn interlaced_frames_are_refused_and_silence_means_progressive() {
    init();
    for (element, model) in elements() {
        let caps = "format=RGB,width=8,height=8";
        let (mut harness, _) = harness(element, &model, "", caps);
        let buffer = grey(&info_of(caps), 100, 0);
        assert!(harness.push(buffer.clone()).is_ok(), "{element}");
        harness.set_src_caps(caps_of(&format!("{caps},interlace-mode=interleaved")));
        assert_eq!(harness.push(buffer), Err(gst::FlowError::NotNegotiated), "{element}");
    }
}

#[test]
fn caps_may_change_in_the_middle() {
    init();
    for (element, model) in elements() {
        let first = "format=GRAY8,width=16,height=8";
        let (mut harness, _) = harness(element, &model, "inference-interval=2", first);
        harness.push_and_pull(grey(&info_of(first), 100, 0)).unwrap();
        let second = "format=I420,width=21,height=13";
        harness.set_src_caps(caps_of(second));
        let output = harness.push_and_pull(grey(&info_of(second), 100, 1)).unwrap();
        let kind = kind(element);
        let result = result(&output, kind).unwrap();
        assert_eq!(
            result.get("stale"),
            Ok(false),
            "{element}: the first frame of new caps is inferred"
        );
        if kind != "denoise" {
            assert_eq!((result.get("width"), result.get("height")), (Ok(21), Ok(13)));
        }
    }
}

#[test]
fn gaps_pass_and_eos_comes_after_one_frame() {
    init();
    for (element, model) in elements() {
        let caps = "format=GRAY8,width=16,height=8";
        let (mut harness, _) = harness(element, &model, "", caps);
        let gap = flagged(grey(&info_of(caps), 100, 0), gst::BufferFlags::GAP);
        let output = harness.push_and_pull(gap).unwrap();
        assert!(output.flags().contains(gst::BufferFlags::GAP));
        assert_eq!(component(&output, &info_of(caps), 0)[0], 100);
        assert_eq!(counts(&support::element(&harness)), [1, 0, 1, 0], "{element}");
        harness.push_event(gst::event::Eos::new());
        let events = std::iter::from_fn(|| harness.try_pull_event());
        assert!(
            events.into_iter().any(|event| event.type_() == gst::EventType::Eos),
            "{element}"
        );
        assert_eq!(harness.buffers_in_queue(), 0);
    }
}

#[test]
fn a_stream_of_one_frame_is_that_frame_inferred_and_its_end() {
    init();
    for (element, model) in elements() {
        let line = Line::playing(&format!(
            "videotestsrc num-buffers=1 ! video/x-raw,format=RGB,width=16,height=8 ! {element} name=it model-file={}",
            model.path().display()
        ));
        let samples = line.rest();
        assert_eq!(samples.len(), 1, "{element}");
        let result = result(samples[0].buffer().unwrap(), kind(element)).unwrap();
        assert_eq!(result.get("stale"), Ok(false), "{element}");
        assert_eq!(counts(&line.pipeline.by_name("it").unwrap()), [1, 1, 0, 0], "{element}");
    }
}

#[test]
fn padded_rows_and_planes_give_the_same_result_and_frame() {
    init();
    let drawing = [
        ("candleanomaly output=heatmap", brightness(None)),
        ("candlesegment output=overlay", bands()),
        ("candlesegment output=mask", bands()),
    ];
    for (element, model) in elements().into_iter().chain(drawing) {
        for format in FORMATS {
            let caps = format!("format={format},width=23,height=13");
            let info = info_of(&caps);
            let input = busy(&info, 0);
            let [expected, found] = [input.copy(), padded(&input, &info)].map(|input| {
                let (mut harness, _) = harness(element, &model, "", &caps);
                harness.push_and_pull(input).unwrap()
            });
            let kind = kind(element);
            assert_eq!(
                result(&found, kind).unwrap(),
                result(&expected, kind).unwrap(),
                "{element} {format}"
            );
            for c in 0..info.n_components() as u8 {
                let [found, expected] = [&found, &expected].map(|frame| component(frame, &info, c));
                assert_eq!(found, expected, "{element} {format}, component {c}");
            }
        }
    }
}

#[test]
fn decisions_go_on_where_frames_are_left_out() {
    init();
    let caps = "format=GRAY8,width=24,height=16";
    let info = info_of(caps);
    let detector: (_, fn() -> _) = ("candleanomaly", || brightness(None));
    let classifier: (_, fn() -> _) = ("candleclassify", light);
    // After a bright frame, with this property the second one counts as bright unless it starts anew.
    let cases = [
        (detector, "inference-interval=3", 0),
        (classifier, "hold-duration=10000000000", 0),
        (classifier, "smoothing=0.9", 0),
        (classifier, "inference-interval=3", 0),
    ];
    for ((element, model), properties, second) in cases {
        for flag in [gst::BufferFlags::empty(), gst::BufferFlags::DISCONT] {
            let model = model();
            let (mut harness, _) = harness(element, &model, properties, caps);
            // It cannot be loaded again.
            drop(model);
            harness.push_and_pull(grey(&info, 255, 0)).unwrap();
            let output = harness.push_and_pull(flagged(grey(&info, second, 1), flag)).unwrap();
            let result = result(&output, kind(element)).unwrap();
            let bright = result.get("state") == Ok(true) || result.get("label") == Ok("bright");
            assert!(bright, "{element} {properties} {flag:?}: {result}");
        }
    }
}

#[test]
fn the_interval_holds_where_frames_are_left_out_all_the_time() {
    init();
    for (name, model) in elements() {
        let caps = "format=GRAY8,width=16,height=8";
        let (mut harness, _) = harness(name, &model, "inference-interval=3", caps);
        for index in 0..9 {
            let frame = flagged(grey(&info_of(caps), 100, index), gst::BufferFlags::DISCONT);
            let output = harness.push_and_pull(frame).unwrap();
            let stale = result(&output, kind(name)).unwrap().get::<bool>("stale");
            assert_eq!(stale, Ok(index % 3 != 0), "{name}: frame {index}");
        }
        assert_eq!(counts(&element(&harness)), [9, 3, 6, 0], "{name}");
    }
}

/// What a denoiser remembers ends with a discontinuity, a flush, other caps and a time without denoising, and at nothing else.
#[test]
fn a_denoiser_forgets_what_ended() {
    init();
    let small = "format=GRAY8,width=24,height=16";
    let model = remembering();
    let (mut harness, _) = harness("candledenoise", &model, "noise-level=5", small);
    let shown = |harness: &mut gst_check::Harness, caps: &str, index: u64, flag: gst::BufferFlags| {
        let info = info_of(caps);
        let output = harness.push_and_pull(flagged(grey(&info, 200, index), flag)).unwrap();
        let values = component(&output, &info, 0);
        assert!(values.iter().all(|value| *value == values[0]));
        values[0]
    };
    let none = gst::BufferFlags::empty();
    let mut index = 0;
    // Half of it, then half of the other half as well.
    let mut two = |harness: &mut gst_check::Harness, caps: &str, flag: gst::BufferFlags| {
        index += 2;
        [shown(harness, caps, index, flag), shown(harness, caps, index + 1, none)]
    };
    let anew = [100, 150];
    assert_eq!(two(&mut harness, small, none), anew, "the first frames");
    assert_eq!(two(&mut harness, small, none), [175, 188], "it goes on");
    assert_eq!(
        two(&mut harness, small, gst::BufferFlags::DISCONT),
        anew,
        "a discontinuity"
    );
    harness.push_event(gst::event::FlushStart::new());
    harness.push_event(gst::event::FlushStop::new(true));
    harness.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    assert_eq!(two(&mut harness, small, none), anew, "a flush");
    let wide = "format=GRAY8,width=25,height=16";
    harness.set_src_caps(caps_of(wide));
    assert_eq!(two(&mut harness, wide, none), anew, "other caps");
    let denoiser = support::element(&harness);
    denoiser.set_property("strength", 0.0f32);
    assert_eq!(two(&mut harness, wide, none), [200, 200], "as it is");
    denoiser.set_property("strength", 1.0f32);
    assert_eq!(two(&mut harness, wide, none), anew, "after a time as it is");
}

#[test]
fn a_flush_starts_the_interval_anew() {
    init();
    for (element, model) in elements() {
        let caps = "format=GRAY8,width=16,height=8";
        let info = info_of(caps);
        let (mut harness, _) = harness(element, &model, "inference-interval=3", caps);
        harness.push_and_pull(grey(&info, 100, 0)).unwrap();
        harness.push_event(gst::event::FlushStart::new());
        harness.push_event(gst::event::FlushStop::new(true));
        harness.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
        harness.push_and_pull(grey(&info, 100, 0)).unwrap();
        assert_eq!(counts(&support::element(&harness)), [2, 2, 0, 0], "{element}");
    }
}

#[test]
fn a_frame_that_lags_passes_without_inference() {
    init();
    for (element, model) in elements() {
        let caps = "format=GRAY8,width=16,height=8";
        let info = info_of(caps);
        let (mut harness, _) = harness(element, &model, "max-lag=200000000", caps);
        harness.use_testclock();
        harness.set_upstream_latency(gst::ClockTime::from_mseconds(100));
        harness.set_time(gst::ClockTime::from_seconds(1)).unwrap();
        // Due at 0.5, 0.7 and 0.8 s with 0.1 s of latency, at 1 s.
        for index in [5, 7, 8] {
            harness.push_and_pull(grey(&info, 100, index)).unwrap();
        }
        assert_eq!(counts(&support::element(&harness)), [3, 2, 0, 1], "{element}");
    }
}

#[test]
fn a_frame_with_too_little_memory_is_an_error_and_the_next_goes_on() {
    init();
    for (element, model) in elements() {
        let caps = "format=RGB,width=16,height=16";
        let (mut harness, _) = harness(element, &model, "", caps);
        let short = timed(gst::Buffer::from_mut_slice(vec![0u8; 100]), 0);
        assert!(harness.push(short).is_err(), "{element}");
        assert!(harness.push_and_pull(grey(&info_of(caps), 9, 1)).is_ok(), "{element}");
    }
}

#[test]
fn upstream_may_use_any_stride() {
    init();
    for (element, model) in elements() {
        let caps = "format=RGB,width=17,height=5";
        let (mut harness, _) = harness(element, &model, "", caps);
        harness.add_propose_allocation_meta(gst_video::VideoMeta::meta_api(), None);
        let mut query = gst::query::Allocation::new(Some(&caps_of(caps)), true);
        harness.push_and_pull(grey(&info_of(caps), 9, 0)).unwrap();
        assert!(harness.srcpad().unwrap().peer_query(&mut query), "{element}");
        assert!(
            query.find_allocation_meta::<gst_video::VideoMeta>().is_some(),
            "{element}"
        );
    }
}

#[test]
fn properties_have_sentences_ranges_and_the_right_mutability() {
    init();
    let shared = [
        "model-file",
        "watch-model",
        "device",
        "precision",
        "threads",
        "inference-interval",
        "max-lag",
        "post-messages",
        "message-interval",
        "attach-meta",
        "qos",
        "stats",
        "stats-interval",
    ];
    for (name, _) in elements() {
        let element = gst::ElementFactory::make(name).build().unwrap();
        for property in shared {
            assert!(element.find_property(property).is_some(), "{name} lacks {property}");
        }
        let own = element
            .list_properties()
            .iter()
            .filter(|p| p.owner_type() == element.type_())
            .cloned()
            .collect::<Vec<_>>();
        for property in own {
            let blurb = property.blurb().unwrap().to_string();
            assert!(
                blurb.ends_with('.') && blurb.len() > 30,
                "{name}.{}: {blurb}",
                property.name()
            );
            let flags = property.flags();
            let ready = ["device", "precision", "threads"].contains(&property.name());
            if flags.contains(gst::glib::ParamFlags::WRITABLE) {
                assert_eq!(
                    flags.contains(gst::PARAM_FLAG_MUTABLE_READY),
                    ready,
                    "{name}.{}",
                    property.name()
                );
                assert_eq!(
                    flags.contains(gst::PARAM_FLAG_MUTABLE_PLAYING),
                    !ready,
                    "{name}.{}",
                    property.name()
                );
                // The default is valid, and what is read may be written.
                element.set_property_from_value(property.name(), &element.property_value(property.name()));
            }
        }
    }
    let anomaly = gst::ElementFactory::make("candleanomaly").build().unwrap();
    let set = |name: &str, text: &str| anomaly.set_property_from_str(name, text);
    set("post-messages", "interval");
    set("output", "side-by-side");
    set("threshold", "0.25");
    assert_eq!(anomaly.property::<f32>("threshold"), 0.25);
    set("roi", "1,2,3,4");
    assert_eq!(anomaly.property::<String>("roi"), "1,2,3,4");
}

#[test]
fn an_element_starts_again_after_a_stop() {
    init();
    for (element, model) in elements() {
        let caps = "format=GRAY8,width=16,height=8";
        let (mut harness, _) = harness(element, &model, "", caps);
        harness.push_and_pull(grey(&info_of(caps), 9, 0)).unwrap();
        let element = support::element(&harness);
        element.set_state(gst::State::Null).unwrap();
        assert_eq!(harness.push(grey(&info_of(caps), 9, 1)), Err(gst::FlowError::Flushing));
        element.set_state(gst::State::Playing).unwrap();
        assert_eq!(counts(&element), [0, 0, 0, 0]);
    }
}

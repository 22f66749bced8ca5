//! Another model while frames flow.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_candle::graph::{Array, Builder};
use gst_candle::model::Model;
use gst_check::Harness;
use support::*;

const CAPS: &str = "format=GRAY8,width=16,height=16";

/// A classifier at `path` that gives light frames this name.
fn put(path: &Path, name: &str) {
    let mut model = Model::load(light().path()).unwrap();
    model.labels[0] = name.into();
    model.save(path).unwrap();
}

/// Pushes grey frames from `index` on until a message of that name comes; the number of frames. Each must come out.
fn push_until(harness: &mut Harness, bus: &gst::Bus, name: &str, index: &mut u64) -> gst::Structure {
    push_of_until(&info_of(CAPS), harness, bus, name, index)
}

/// [`push_until`] with frames of these caps.
fn push_of_until(
    info: &gst_video::VideoInfo,
    harness: &mut Harness,
    bus: &gst::Bus,
    name: &str,
    index: &mut u64,
) -> gst::Structure {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < Duration::from_secs(20), "no message {name}");
        harness.push(grey(info, 200, *index)).unwrap();
        let frame = harness.pull().unwrap();
        assert_eq!(frame.pts(), Some(gst::ClockTime::from_mseconds(100 * *index)));
        *index += 1;
        while let Some(message) = bus.pop() {
            assert!(message.type_() != gst::MessageType::Error, "{message:?}");
            if let Some(found) = message.structure().filter(|s| s.name() == name) {
                return found.to_owned();
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_model_that_is_set_takes_over_and_one_that_fails_does_not() {
    init();
    let folder = tempfile::tempdir().unwrap();
    let (good, junk) = (
        folder.path().join("good.safetensors"),
        folder.path().join("junk.safetensors"),
    );
    std::fs::write(&junk, b"not a model at all").unwrap();
    for (name, model) in elements() {
        std::fs::copy(model.path(), &good).unwrap();
        let (mut harness, bus) = harness(name, &model, "post-messages=all", CAPS);
        let element = element(&harness);
        let (mut index, before) = (0, model.path().to_str().unwrap().to_owned());
        push_until(&mut harness, &bus, name, &mut index);

        element.set_property("model-file", junk.to_str().unwrap());
        let rejected = push_until(&mut harness, &bus, "model-rejected", &mut index);
        assert_eq!(rejected.get::<&str>("model-file"), Ok(junk.to_str().unwrap()));
        let reason = rejected.get::<&str>("reason").unwrap();
        assert!(
            reason.starts_with("The model cannot be used: ") && reason.contains("junk.safetensors"),
            "{reason}"
        );
        assert_eq!(element.property::<String>("model-file"), before);
        push_until(&mut harness, &bus, name, &mut index);

        let other = elements().into_iter().find(|(other, _)| *other != name).unwrap().1;
        element.set_property("model-file", other.path().to_str().unwrap());
        let rejected = push_until(&mut harness, &bus, "model-rejected", &mut index);
        assert!(
            rejected
                .get::<&str>("reason")
                .unwrap()
                .contains("which this element does"),
            "{rejected}"
        );

        element.set_property("model-file", good.to_str().unwrap());
        let reloaded = push_until(&mut harness, &bus, "model-reloaded", &mut index);
        assert_eq!(reloaded.get::<&str>("model-file"), Ok(good.to_str().unwrap()));
        assert_eq!(element.property::<String>("model-file"), good.to_str().unwrap());
        push_until(&mut harness, &bus, name, &mut index);
        let stats = element.property::<gst::Structure>("stats");
        assert_eq!(stats.get::<u64>("inferred"), Ok(index), "{stats}");
    }
}

#[test]
fn the_last_one_set_is_the_one_that_runs() {
    init();
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..5).map(|i| folder.path().join(format!("{i}.safetensors"))).collect();
    for (i, path) in paths.iter().enumerate() {
        put(path, &format!("light {i}"));
    }
    let (mut harness, bus) = harness("candleclassify", &light(), "", CAPS);
    let element = element(&harness);
    let mut index = 0;
    push_until(&mut harness, &bus, "candleclassify", &mut index);
    for path in &paths {
        element.set_property("model-file", path.to_str().unwrap());
    }
    let last = paths[4].to_str().unwrap();
    while push_until(&mut harness, &bus, "model-reloaded", &mut index).get::<&str>("model-file") != Ok(last) {}
    assert_eq!(element.property::<String>("model-file"), last);
    assert_eq!(element.property::<String>("label"), "light 4");

    // What is set just before the end is what the next start loads.
    element.set_property("model-file", paths[0].to_str().unwrap());
    harness.element().unwrap().set_state(gst::State::Null).unwrap();
    assert_eq!(element.property::<String>("model-file"), paths[0].to_str().unwrap());
}

#[test]
fn a_watched_file_is_loaded_when_it_changes_and_missed_when_it_goes() {
    init();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("watched.safetensors");
    put(&path, "first");
    let properties = format!("model-file={} watch-model=true", path.display());
    let (mut harness, bus) = harness("candleclassify", &light(), &properties, CAPS);
    let mut index = 0;
    push_until(&mut harness, &bus, "candleclassify", &mut index);
    std::fs::write(&path, b"half a mod").unwrap();
    push_until(&mut harness, &bus, "model-rejected", &mut index);
    put(&path, "second");
    push_until(&mut harness, &bus, "model-reloaded", &mut index);
    assert_eq!(element(&harness).property::<String>("label"), "second");
    std::fs::remove_file(&path).unwrap();
    let gone = push_until(&mut harness, &bus, "model-rejected", &mut index);
    assert!(
        gone.get::<&str>("reason").unwrap().contains("watched.safetensors"),
        "{gone}"
    );
    put(&path, "third");
    push_until(&mut harness, &bus, "model-reloaded", &mut index);

    let element = element(&harness);
    assert_eq!(element.property::<String>("label"), "third");
    element.set_property("watch-model", false);
    std::fs::write(&path, b"half a mod").unwrap();
    std::thread::sleep(Duration::from_millis(900));
    harness.push(grey(&info_of(CAPS), 200, index)).unwrap();
    harness.pull().unwrap();
    let told = std::iter::from_fn(|| bus.pop()).filter_map(|m| m.structure().map(|s| s.name().to_string()));
    assert!(
        !told.into_iter().any(|name| name == "model-rejected"),
        "it is watched no more"
    );
}

#[test]
fn a_model_that_fails_on_a_frame_does_not_take_over() {
    init();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("too-much.safetensors");
    let mut model = Model::load(brightness(None).path()).unwrap();
    // Twice multiplied by the largest number it is none.
    let mut net = Builder::new();
    let x = net.input("input", 1);
    let x = net.conv("gain", &x, 1, 1, false);
    let y = net.conv("again", &x, 1, 1, false);
    model.graph = net.finish(&[&y]);
    let weight = Array {
        shape: vec![1, 1, 1, 1],
        data: vec![f32::MAX],
    };
    model.weights = ["gain.weight", "again.weight"]
        .map(|name| (name.into(), weight.clone()))
        .into();
    model.save(&path).unwrap();

    let before = brightness(None);
    let (mut harness, bus) = harness("candleanomaly", &before, "post-messages=all", CAPS);
    let mut index = 0;
    push_until(&mut harness, &bus, "candleanomaly", &mut index);
    element(&harness).set_property("model-file", path.to_str().unwrap());
    let rejected = push_until(&mut harness, &bus, "model-rejected", &mut index);
    let reason = rejected.get::<&str>("reason").unwrap();
    assert!(
        reason.contains("too-much.safetensors") && reason.contains("not finite"),
        "{reason}"
    );
    let result = push_until(&mut harness, &bus, "candleanomaly", &mut index);
    assert!(
        (result.get::<f64>("score").unwrap() - 200.0 / 255.0).abs() < 1e-3,
        "{result}"
    );
    assert_eq!(
        element(&harness).property::<String>("model-file"),
        before.path().to_str().unwrap()
    );
}

/// Whether the bus tells, after all else that it has told by now, that a model is loaded.
fn loaded(bus: &gst::Bus) -> bool {
    let is_complete = |message: gst::Message| match message.view() {
        gst::MessageView::Progress(progress) => progress.get().0 == gst::ProgressType::Complete,
        _ => false,
    };
    std::iter::from_fn(|| bus.pop()).any(is_complete)
}

#[test]
fn caps_that_change_before_it_takes_over_do_not_disturb() {
    init();
    for (name, model) in elements() {
        let copy = tempfile::NamedTempFile::with_suffix(".safetensors").unwrap();
        std::fs::copy(model.path(), copy.path()).unwrap();
        let (mut harness, bus) = harness(name, &model, "post-messages=all", CAPS);
        let mut index = 0;
        push_until(&mut harness, &bus, name, &mut index);
        element(&harness).set_property("model-file", copy.path().to_str().unwrap());
        while !loaded(&bus) {
            std::thread::sleep(Duration::from_millis(5));
        }
        // This frame has it tried, and no other comes before the caps change.
        harness.push(grey(&info_of(CAPS), 200, index)).unwrap();
        harness.pull().unwrap();
        index += 1;
        let caps = "format=RGB,width=23,height=9";
        harness.set_src_caps(caps_of(caps));
        let reloaded = push_of_until(&info_of(caps), &mut harness, &bus, "model-reloaded", &mut index);
        assert_eq!(reloaded.get::<&str>("model-file"), Ok(copy.path().to_str().unwrap()));
        push_of_until(&info_of(caps), &mut harness, &bus, name, &mut index);
    }
}

#[test]
fn a_model_that_predicts_is_followed_by_another() {
    init();
    let (first, second) = (unchanging(), unchanging());
    let (mut harness, bus) = harness("candleanomaly", &first, "post-messages=all", CAPS);
    let mut index = 0;
    push_until(&mut harness, &bus, "candleanomaly", &mut index);
    element(&harness).set_property("model-file", second.path().to_str().unwrap());
    push_until(&mut harness, &bus, "model-reloaded", &mut index);
    let taken_over = index;
    let result = push_until(&mut harness, &bus, "candleanomaly", &mut index);
    assert_eq!(result.get::<f64>("score"), Ok(0.0), "{result}");
    // The frame at which it took over is the first that it sees, and it judges from the third on.
    assert_eq!(index, taken_over + 2);
}

#[test]
fn a_load_is_told_as_it_goes_on_and_ends_with_the_element() {
    init();
    let progress = |bus: &gst::Bus| -> Vec<gst::ProgressType> {
        let all = std::iter::from_fn(|| bus.pop());
        let found = all.filter_map(|message| match message.view() {
            gst::MessageView::Progress(progress) => {
                let (type_, code, _) = progress.get();
                assert_eq!(code, "load");
                Some(type_)
            }
            _ => None,
        });
        found.collect()
    };
    let (model, other) = (light(), light());
    let (mut harness, bus) = harness("candleclassify", &model, "", CAPS);
    let element = element(&harness);
    let mut index = 0;
    push_until(&mut harness, &bus, "candleclassify", &mut index);
    assert!(progress(&bus).is_empty(), "a load of moments is not told");
    element.set_property("model-file", other.path().to_str().unwrap());
    let begun = Instant::now();
    let mut told = Vec::new();
    while !told.contains(&gst::ProgressType::Complete) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{told:?}");
        std::thread::sleep(Duration::from_millis(5));
        told.extend(progress(&bus));
    }
    assert_eq!(told, [gst::ProgressType::Start, gst::ProgressType::Complete]);

    // In READY what was asked for is what the next start loads; nothing of it is told afterwards.
    for _ in 0..20 {
        element.set_property("model-file", model.path().to_str().unwrap());
        element.set_state(gst::State::Ready).unwrap();
        while bus.pop().is_some() {}
        assert_eq!(element.property::<String>("model-file"), model.path().to_str().unwrap());
        element.set_state(gst::State::Playing).unwrap();
    }
    std::thread::sleep(Duration::from_millis(200));
    for message in std::iter::from_fn(|| bus.pop()) {
        let name = message.structure().map(|s| s.name().to_string()).unwrap_or_default();
        assert!(!name.starts_with("model-"), "{message:?}");
    }
}

//! Another model while frames flow.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use gst::prelude::*;
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
    let info = info_of(CAPS);
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < Duration::from_secs(20), "no message {name}");
        harness.push(grey(&info, 200, *index)).unwrap();
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

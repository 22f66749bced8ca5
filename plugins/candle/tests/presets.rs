//! Settings under a name: those that come with the elements, and a user's own.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use gst::glib::{self, prelude::*};
use gst::prelude::*;
use support::init;
use tempfile::TempDir;

/// The presets that come with the elements, by the type of each.
const SHIPPED: [(&str, &str, &[&str]); 5] = [
    (
        "candleanomaly",
        "GstCandleAnomaly",
        &["balanced", "few-false-alarms", "sensitive"],
    ),
    (
        "candleclassify",
        "GstCandleClassify",
        &["every-frame", "steady", "sure-only"],
    ),
    ("candledenoise", "GstCandleDenoise", &["strong", "subtle"]),
    (
        "candleoverlay",
        "GstCandleOverlay",
        &["engineer", "heat-map", "operator"],
    ),
    ("candlesegment", "GstCandleSegment", &["all", "sure-only"]),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("presets")
}

fn make(name: &str) -> gst::Element {
    init();
    gst::ElementFactory::make(name).build().unwrap()
}

fn preset(element: &gst::Element) -> &gst::Preset {
    element.dynamic_cast_ref().expect("the element has presets")
}

/// Whether this is the process in which `test` is to run: one with a home of its own, `home`, whose presets it may write. Runs it in such a process
/// if not. GStreamer reads these folders once.
fn is_at(home: &TempDir, test: &str) -> bool {
    if std::env::var_os("AT_HOME").is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("AT_HOME", "yes")
        .env("XDG_DATA_HOME", home.path())
        .env("GST_PRESET_PATH", folder())
        .output()
        .unwrap();
    let told = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(
        output.status.success() && told[0].contains("1 passed"),
        "{}",
        told.concat()
    );
    false
}

#[test]
fn each_preset_sets_what_its_file_says() {
    let home = tempfile::tempdir().unwrap();
    if !is_at(&home, "each_preset_sets_what_its_file_says") {
        return;
    }
    for (name, type_name, names) in SHIPPED {
        let file = glib::KeyFile::new();
        file.load_from_file(folder().join(type_name).with_extension("prs"), glib::KeyFileFlags::NONE)
            .unwrap();
        assert_eq!(preset(&make(name)).preset_names(), names, "{name}");
        for group in names {
            let element = make(name);
            let properties = preset(&element).property_names();
            preset(&element).load_preset(group).unwrap();
            let comment = preset(&element).meta(group, "comment").expect("its meaning is told");
            assert!(
                comment.ends_with('.') && comment.len() > 15,
                "{name}: {group}: {comment}"
            );
            for key in file
                .keys(group)
                .unwrap()
                .iter()
                .filter(|key| !key.starts_with("_meta/"))
            {
                assert!(
                    properties.iter().any(|kept| kept == key),
                    "{name}: {group}: {key} is not kept"
                );
                let set = element.property_value(key).serialize().unwrap();
                let said = file.value(group, key).unwrap();
                // What the property keeps in 32 bits is longer in text.
                let number = |text: &str| text.parse::<f64>();
                let same = match (number(&set), number(&said)) {
                    (Ok(set), Ok(said)) => (set - said).abs() < 1e-6,
                    _ => set == said,
                };
                assert!(same, "{name}: {group}: {key} is {set}, not {said}");
            }
        }
        let missing = preset(&make(name)).load_preset("of another element");
        assert!(missing.is_err(), "{name}");
    }
}

#[test]
fn a_preset_keeps_what_tunes_and_nothing_of_one_file_device_or_camera() {
    for (name, ..) in SHIPPED {
        let element = make(name);
        let kept = preset(&element).property_names();
        let properties = element.list_properties();
        for property in properties.iter() {
            let own = property.owner_type() == element.type_();
            let tunes = property
                .flags()
                .contains(glib::ParamFlags::READWRITE | gst::PARAM_FLAG_MUTABLE_PLAYING);
            let elsewhere = property.value_type() == glib::Type::STRING
                || ["watch-model", "gray16-white"].contains(&property.name());
            assert_eq!(
                kept.iter().any(|kept| kept == property.name()),
                own && tunes && !elsewhere,
                "{name}: {}",
                property.name()
            );
        }
    }
    let kept = preset(&make("candleanomaly")).property_names();
    let has = |name: &str| kept.iter().any(|kept| kept == name);
    assert!(has("threshold") && has("hold-duration") && has("max-lag"), "{kept:?}");
    for other in [
        "model-file",
        "watch-model",
        "device",
        "threads",
        "roi",
        "stats",
        "alarm",
        "qos",
        "name",
    ] {
        assert!(!has(other), "{other} is kept");
    }
}

#[test]
fn a_users_own_is_saved_beside_those_shipped_and_leaves_the_model_alone() {
    let home = tempfile::tempdir().unwrap();
    if !is_at(
        &home,
        "a_users_own_is_saved_beside_those_shipped_and_leaves_the_model_alone",
    ) {
        return;
    }
    let element = make("candleanomaly");
    element.set_property("model-file", "mine.safetensors");
    element.set_property("roi", "1,2,3,4");
    element.set_property("threshold", 0.25f32);
    element.set_property("hold-duration", 7u64);
    element.set_property_from_str("output", "heatmap");
    preset(&element).save_preset("line 3").unwrap();
    let home = PathBuf::from(std::env::var_os("XDG_DATA_HOME").unwrap());
    let saved = std::fs::read_to_string(home.join("gstreamer-1.0/presets/GstCandleAnomaly.prs")).unwrap();
    let (_, saved) = saved.split_once("[line 3]\n").expect("it has the name given");
    assert!(
        saved.contains("output=heatmap\n") && saved.contains("threshold=0.25\n"),
        "{saved}"
    );
    assert!(!saved.contains("model-file") && !saved.contains("roi"), "{saved}");

    let other = make("candleanomaly");
    other.set_property("model-file", "other.safetensors");
    preset(&other).load_preset("few-false-alarms").unwrap();
    assert_eq!(other.property::<u32>("min-frames"), 4);
    preset(&other).load_preset("line 3").unwrap();
    assert_eq!(other.property::<f32>("threshold"), 0.25);
    assert_eq!(other.property::<u64>("hold-duration"), 7);
    assert_eq!(other.property::<u32>("min-frames"), 1);
    assert_eq!(other.property::<String>("model-file"), "other.safetensors");
    assert_eq!(other.property::<String>("roi"), "");
    assert!(preset(&other).preset_names().iter().any(|name| name == "sensitive"));
}

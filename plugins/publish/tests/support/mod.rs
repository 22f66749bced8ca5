//! Frames with results, and what came of them.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::sync::{LazyLock, Once};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_check::Harness;
use serde_json::Value;

/// Starts GStreamer with the plugin.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gstcandlepublish::plugin_register_static().unwrap();
        gst::meta::CustomMeta::register("candle-result", &[]);
    });
}

/// A buffer of frame `index` at 10 frames a second, with an alarm and a label if given.
pub fn buffer(index: u64, alarm: Option<bool>, label: Option<&str>) -> gst::Buffer {
    let mut buffer = gst::Buffer::with_size(4).unwrap();
    let frame = buffer.get_mut().unwrap();
    frame.set_pts(gst::ClockTime::from_mseconds(100 * index));
    frame.set_duration(gst::ClockTime::from_mseconds(100));
    if alarm.is_some() || label.is_some() {
        let mut meta = gst::meta::CustomMeta::add(frame, "candle-result").unwrap();
        if let Some(alarm) = alarm {
            let anomaly = gst::Structure::builder("anomaly")
                .field("score", index as f64)
                .field("threshold", 0.5)
                .field("anomalous", true)
                .field("state", alarm)
                .field("regions", gst::Array::new(Vec::<gst::Structure>::new()));
            meta.mut_structure().set("anomaly", anomaly.build());
        }
        if let Some(label) = label {
            let classify = gst::Structure::builder("classify")
                .field("label", label)
                .field("confidence", 0.5);
            meta.mut_structure().set("classify", classify.build());
        }
    }
    buffer
}

/// The element with these properties, a source and a sink.
pub fn harness(properties: &str) -> Harness {
    init();
    let mut harness = Harness::new_parse(&format!("candlepublish {properties}"));
    harness.set_src_caps_str("video/x-raw,format=GRAY8,width=2,height=2,framerate=10/1");
    harness
}

/// The element in it.
pub fn element(harness: &Harness) -> gst::Element {
    let element = harness.element().unwrap();
    match element.clone().downcast::<gst::Bin>() {
        Ok(bin) => bin.children().into_iter().next().unwrap(),
        Err(_) => element,
    }
}

/// A count of its `stats`.
pub fn count(element: &gst::Element, name: &str) -> u64 {
    element.property::<gst::Structure>("stats").get(name).unwrap()
}

/// Waits for what a thread or another program does; how long does not matter, as long as it comes.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "in vain for a minute: {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until `count` lines have been written or lost.
pub fn settle(element: &gst::Element, lines: u64) {
    wait_until("lines", || {
        count(element, "lines-written") + count(element, "lines-dropped") >= lines
    });
}

/// Checks an event against the schema, of which it may use known fields only, and reads it.
pub fn event(json: &str) -> Value {
    static VALIDATOR: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
        let mut schema: Value = serde_json::from_str(include_str!("../../../../docs/event-1.schema.json")).unwrap();
        schema["additionalProperties"] = false.into();
        for of in ["region", "part"] {
            schema["$defs"][of]["additionalProperties"] = false.into();
        }
        jsonschema::validator_for(&schema).unwrap()
    });
    let event = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    if let Err(error) = VALIDATOR.validate(&event) {
        panic!("{error}: {json}");
    }
    event
}

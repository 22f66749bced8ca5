//! What `gst-inspect-1.0` tells a user of the elements.

use crate::{program, succeed};

/// The elements, their long names, and whether they run a model.
const ELEMENTS: [(&str, &str, bool); 9] = [
    ("candleanomaly", "Learned inspection", true),
    ("candleclassify", "Learned classifier", true),
    ("candledenoise", "Learned denoiser", true),
    ("candleembed", "Learned code", true),
    ("candleoverlay", "Result overlay", false),
    ("candlepublish", "Candle result publisher", false),
    ("candlesegment", "Learned segmentation", true),
    ("candlesnapshot", "Snapshots of results", false),
    ("candletestsrc", "Inspection line test source", false),
];

/// Properties that the base classes bring.
const INHERITED: [&str; 8] = [
    "name",
    "parent",
    "qos",
    "blocksize",
    "do-timestamp",
    "num-buffers",
    "typefind",
    "automatic-eos",
];

/// A property as the tool shows it.
struct Property {
    name: String,
    blurb: String,
    flags: String,
}

fn inspect(name: &str) -> String {
    succeed(program("gst-inspect-1.0", &["--no-colors", name]))
}

/// The element's own properties.
fn properties(text: &str) -> Vec<Property> {
    let (_, list) = text.split_once("Element Properties:\n").expect("it has properties");
    let mut lines = list.lines().peekable();
    let mut properties = Vec::new();
    while let Some(line) = lines.next() {
        let flags = lines.peek().and_then(|line| line.trim().strip_prefix("flags: "));
        if let (Some((name, blurb)), Some(flags)) = (line.split_once(':'), flags) {
            properties.push(Property {
                name: name.trim().into(),
                blurb: blurb.trim().into(),
                flags: flags.into(),
            });
        }
    }
    properties.retain(|property| !INHERITED.contains(&property.name.as_str()));
    properties
}

#[test]
fn the_plugins_have_these_elements_and_no_others() {
    for (plugin, count) in [("candle", 8), ("candlepublish", 1)] {
        let output = succeed(program("gst-inspect-1.0", &["--no-colors", "--plugin", plugin]));
        for (element, long_name, _) in ELEMENTS {
            let listed = output.contains(&format!("  {element}: {long_name}\n"));
            assert_eq!(
                listed,
                (element == "candlepublish") == (count == 1),
                "{element}: {output}"
            );
        }
        assert!(output.contains(&format!("+-- {count} element")), "{output}");
    }
}

#[test]
fn each_property_is_described_by_a_sentence() {
    for (element, long_name, _) in ELEMENTS {
        let text = inspect(element);
        let shown = |line: &str| line.trim().starts_with("Long-name") && line.ends_with(long_name);
        assert!(text.lines().any(shown), "{element}: {text}");
        let properties = properties(&text);
        assert!(properties.len() >= 3, "{element} has few properties: {text}");
        for Property { name, blurb, flags } in properties {
            let sentence = blurb.len() > 15 && blurb.ends_with('.') && blurb.starts_with(|c: char| c.is_uppercase());
            assert!(sentence, "{element}: {name}: `{blurb}` is no sentence");
            let told = !flags.contains("writable") || flags.contains("changeable");
            assert!(told, "{element}: {name}: `{flags}` does not say when it may change");
        }
    }
}

#[test]
fn elements_with_a_model_share_their_properties() {
    let common = [
        ("model-file", "PLAYING state"),
        ("watch-model", "PLAYING state"),
        ("device", "changeable only in NULL or READY state"),
        ("precision", "changeable only in NULL or READY state"),
        ("threads", "changeable only in NULL or READY state"),
        ("inference-interval", "PLAYING state"),
        ("max-lag", "PLAYING state"),
        ("post-messages", "PLAYING state"),
        ("message-interval", "PLAYING state"),
        ("attach-meta", "PLAYING state"),
    ];
    for (element, _, has_model) in ELEMENTS {
        let properties = properties(&inspect(element));
        for (name, end) in common {
            match properties.iter().find(|property| property.name == name) {
                Some(found) => assert!(
                    (has_model || name == "stats" || element == "candlepublish") && found.flags.ends_with(end),
                    "{element}: {name}: {}",
                    found.flags
                ),
                None => assert!(!has_model, "{element} has no {name}"),
            }
        }
    }
}

#[test]
fn elements_that_time_themselves_share_their_properties() {
    let times_itself = |element: &&str| !["candlepublish", "candlesnapshot"].contains(element);
    for element in ELEMENTS.iter().map(|(element, ..)| *element).filter(times_itself) {
        let properties = properties(&inspect(element));
        for (name, end) in [("stats", "readable"), ("stats-interval", "PLAYING state")] {
            let found = properties.iter().find(|property| property.name == name);
            let found = found.unwrap_or_else(|| panic!("{element} has no {name}"));
            assert!(found.flags.ends_with(end), "{element}: {name}: {}", found.flags);
        }
    }
}

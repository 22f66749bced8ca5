//! What Home Assistant reads to show an element's results: one retained message for each entity, by its MQTT discovery.
//!
//! <https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery>

use serde_json::{Value, json};

use super::topics::Topics;
use crate::publish::event::Task;

/// The topic and the content of the discovery message of each entity of an element.
pub fn entities(prefix: &str, topics: &Topics, element: &str, task: Task) -> Vec<(String, String)> {
    let described: Vec<(&str, &str, Value)> = match task {
        Task::Anomaly => vec![
            (
                "binary_sensor",
                "anomaly",
                json!({
                    "device_class": "problem",
                    "value_template": "{{ 'ON' if value_json.state else 'OFF' }}",
                    "payload_on": "ON",
                    "payload_off": "OFF",
                }),
            ),
            (
                "sensor",
                "score",
                json!({ "state_class": "measurement", "value_template": "{{ value_json.score }}" }),
            ),
        ],
        Task::Classify => vec![
            ("sensor", "label", json!({ "value_template": "{{ value_json.label }}" })),
            (
                "sensor",
                "confidence",
                json!({
                    "state_class": "measurement",
                    "unit_of_measurement": "%",
                    "value_template": "{{ (100 * value_json.confidence) | round(1) }}",
                }),
            ),
        ],
        Task::Segment => vec![
            ("sensor", "label", json!({ "value_template": "{{ value_json.label }}" })),
            (
                "sensor",
                "share",
                json!({
                    "state_class": "measurement",
                    "unit_of_measurement": "%",
                    "value_template": "{{ (100 * value_json.share) | round(3) }}",
                }),
            ),
        ],
        Task::Embed => vec![
            (
                "sensor",
                "nearest",
                json!({ "value_template": "{{ value_json.nearest }}" }),
            ),
            (
                "sensor",
                "distance",
                json!({ "state_class": "measurement", "value_template": "{{ value_json.distance }}" }),
            ),
        ],
        Task::Denoise => vec![(
            "sensor",
            "noise level",
            json!({
                "state_class": "measurement",
                "value_template": "{{ value_json['noise-level'] | default(none) }}",
            }),
        )],
    };
    let level = Topics::level(element);
    let device = identifier(&["gst-candle", &topics.base()]);
    let common = json!({
        "state_topic": topics.state(&level),
        "availability_topic": topics.availability(),
        "payload_available": "online",
        "payload_not_available": "offline",
        "qos": 1,
        "device": {
            "identifiers": [device],
            "name": topics.camera(),
            "manufacturer": "gst-candle",
            "model": "candlepublish",
            "sw_version": env!("CARGO_PKG_VERSION"),
        },
        "origin": {
            "name": "gst-candle",
            "sw_version": env!("CARGO_PKG_VERSION"),
            "support_url": env!("CARGO_PKG_REPOSITORY"),
        },
    });
    let message = |(component, what, own): (&str, &str, Value)| {
        let id = identifier(&["gst-candle", &topics.base(), &level, what]);
        let mut config = json!({ "name": format!("{element} {what}"), "unique_id": id });
        for fields in [own, common.clone()] {
            if let (Value::Object(config), Value::Object(fields)) = (&mut config, fields) {
                config.extend(fields);
            }
        }
        (format!("{prefix}/{component}/{id}/config"), config.to_string())
    };
    described.into_iter().map(message).collect()
}

/// An identifier of the characters that Home Assistant allows, another one for each list of parts.
fn identifier(parts: &[&str]) -> String {
    let name = parts.join("/");
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
        .collect();
    // `a b` and `a_b` look the same by now.
    format!("{plain}_{:08x}", crc32fast::hash(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_have_what_home_assistant_asks_for() {
        let topics = Topics::new("gst-candle", "line 1").unwrap();
        let mut ids = Vec::new();
        for (task, components) in [
            (Task::Anomaly, &["binary_sensor", "sensor"][..]),
            (Task::Classify, &["sensor", "sensor"]),
            (Task::Segment, &["sensor", "sensor"]),
            (Task::Embed, &["sensor", "sensor"]),
            (Task::Denoise, &["sensor"]),
        ] {
            let entities = entities("homeassistant", &topics, task.factory(), task);
            assert_eq!(entities.len(), components.len());
            for ((topic, content), component) in entities.iter().zip(components) {
                let config: Value = serde_json::from_str(content).unwrap();
                let id = config["unique_id"].as_str().unwrap();
                assert_eq!(*topic, format!("homeassistant/{component}/{id}/config"));
                assert!(
                    id.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)),
                    "{id}"
                );
                assert_eq!(
                    config["state_topic"],
                    format!("gst-candle/line 1/{}/state", task.factory())
                );
                assert_eq!(config["availability_topic"], "gst-candle/line 1/availability");
                assert!(config["device"]["identifiers"][0].is_string() && config["origin"]["name"].is_string());
                ids.push(id.to_owned());
            }
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 9, "each is another one");
        assert_ne!(identifier(&["a b"]), identifier(&["a_b"]));
    }
}

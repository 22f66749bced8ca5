//! `candlepublish` with a real mosquitto, that comes and goes.

mod access;
mod broker;
mod outages;
#[path = "../support/mod.rs"]
mod support;

use broker::Broker;
use gst::prelude::*;
use gst_check::Harness;
use serde_json::Value;
use support::{buffer, count, element, event, harness, wait_until};

/// The element in a harness, with a queue and a bus of its own.
struct Publisher {
    harness: Harness,
    element: gst::Element,
    bus: gst::Bus,
    frames: u64,
}

impl Publisher {
    /// Publishes every frame to `port` as the camera `line`, with a queue in `folder`.
    fn start(port: u16, folder: &std::path::Path, properties: &str) -> Self {
        let mut harness = harness(&format!(
            "post-messages=all camera=line broker=mqtt://localhost:{port} queue-folder={} {properties}",
            folder.display()
        ));
        let element = element(&harness);
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        harness.play();
        Self {
            harness,
            element,
            bus,
            frames: 0,
        }
    }

    /// Pushes frames, every tenth of which changes the alarm.
    fn push(&mut self, frames: u64) {
        for frame in self.frames..self.frames + frames {
            let frame = buffer(frame, Some(frame / 10 % 2 == 1), None);
            self.harness.push_and_pull(frame).unwrap();
        }
        self.frames += frames;
    }

    fn count(&self, name: &str) -> u64 {
        count(&self.element, name)
    }

    fn wait_connected(&self) {
        wait_until("a connection", || {
            self.element.property::<gst::Structure>("stats").get("connected") == Ok(true)
        });
    }

    fn wait_published(&self, events: u64) {
        wait_until("the broker has all", || {
            self.count("published") >= events && self.count("queued") == 0
        });
    }

    /// The texts of the warnings so far.
    fn warnings(&self) -> Vec<String> {
        let warnings = self.bus.iter_filtered(&[gst::MessageType::Warning]);
        let text = |message: gst::Message| match message.view() {
            gst::MessageView::Warning(warning) => warning.error().to_string(),
            _ => unreachable!("it is filtered"),
        };
        warnings.map(text).collect()
    }

    /// Ends it, and waits until it has ended.
    fn stop(self) -> gst::Element {
        let Self { harness, element, .. } = self;
        drop(harness);
        element.set_state(gst::State::Null).unwrap();
        element
    }
}

const EVENTS: &str = "gst-candle/line/candleanomaly/events";
const STATE: &str = "gst-candle/line/candleanomaly/state";
const AVAILABILITY: &str = "gst-candle/line/availability";

/// The numbers of events.
fn numbers(events: &[String]) -> Vec<u64> {
    events
        .iter()
        .map(|json| event(json)["number"].as_u64().unwrap())
        .collect()
}

/// Run, and number in it, of each event that is not a repetition, in the order of arrival.
fn first_arrivals(events: &[String]) -> Vec<(String, u64)> {
    let mut seen = Vec::new();
    for json in events {
        let event = event(json);
        let key = (
            event["run"].as_str().unwrap().to_owned(),
            event["number"].as_u64().unwrap(),
        );
        if !seen.contains(&key) {
            seen.push(key);
        }
    }
    seen
}

#[test]
fn events_states_and_presence_arrive_by_both_versions() {
    let broker = Broker::start("");
    for version in ["3.1.1", "5"] {
        let queue = tempfile::tempdir().unwrap();
        let subscriber = broker.subscribe(&["gst-candle/#"]);
        let mut publisher = Publisher::start(broker.port, queue.path(), &format!("mqtt-version={version}"));
        publisher.push(50);
        publisher.wait_published(50);
        let events = subscriber.wait_for(EVENTS, 50);
        assert_eq!(numbers(&events), (0..50).collect::<Vec<_>>(), "{version}");
        assert_eq!(subscriber.on(AVAILABILITY).last().map(String::as_str), Some("online"));
        // One who comes later hears the last state.
        let later = broker.subscribe(&["gst-candle/+/+/state", AVAILABILITY]);
        wait_until("the last state", || later.on(STATE).last() == events.last());
        let state: Value = event(&later.on(STATE)[0]);
        assert_eq!(state["state"], false);
        assert_eq!((publisher.count("events"), publisher.count("dropped")), (50, 0));
        assert!(publisher.warnings().is_empty(), "{:?}", publisher.warnings());
        let element = publisher.stop();
        wait_until("it says goodbye", || {
            later.on(AVAILABILITY).last().is_some_and(|said| said == "offline")
        });
        assert_eq!((count(&element, "published"), count(&element, "reconnects")), (50, 0));
    }
}

#[test]
fn without_acknowledgement_events_arrive_too() {
    let broker = Broker::start("");
    let queue = tempfile::tempdir().unwrap();
    let subscriber = broker.subscribe(&["gst-candle/#"]);
    let mut publisher = Publisher::start(broker.port, queue.path(), "qos=0");
    publisher.push(200);
    publisher.wait_published(200);
    assert_eq!(numbers(&subscriber.wait_for(EVENTS, 200)), (0..200).collect::<Vec<_>>());
    publisher.stop();
    subscriber.wait_for(AVAILABILITY, 2);
}

#[test]
fn a_short_pipeline_delivers_all_before_it_ends() {
    let broker = Broker::start("");
    let queue = tempfile::tempdir().unwrap();
    let subscriber = broker.subscribe(&["gst-candle/#"]);
    let mut publisher = Publisher::start(broker.port, queue.path(), "");
    publisher.push(30);
    let element = publisher.stop();
    // On a machine so busy that it does not come to it in time, the rest is on disk.
    let published = count(&element, "published");
    assert_eq!(published + count(&element, "queued"), 30);
    assert!(
        numbers(&subscriber.wait_for(EVENTS, published as usize))
            .iter()
            .copied()
            .eq(0..published)
    );
    let again = Publisher::start(broker.port, queue.path(), "");
    again.wait_published(30 - published);
    assert_eq!(numbers(&subscriber.wait_for(EVENTS, 30)), (0..30).collect::<Vec<_>>());
}

#[test]
fn home_assistant_is_told_of_each_element() {
    let broker = Broker::start("");
    let queue = tempfile::tempdir().unwrap();
    let mut publisher = Publisher::start(broker.port, queue.path(), "discovery-prefix=homeassistant");
    publisher.push(3);
    publisher
        .harness
        .push_and_pull(buffer(3, Some(true), Some("scratch")))
        .unwrap();
    publisher.wait_published(5);
    let later = broker.subscribe(&["homeassistant/#"]);
    wait_until("all entities", || later.under("homeassistant/").len() >= 4);
    let mut components = Vec::new();
    for (topic, content) in later.under("homeassistant/") {
        let config: Value = serde_json::from_str(&content).unwrap();
        assert_eq!(config["availability_topic"], AVAILABILITY);
        assert!(config["state_topic"].as_str().unwrap().ends_with("/state"));
        assert!(topic.contains(config["unique_id"].as_str().unwrap()), "{topic}");
        let component = topic.split('/').nth(1).unwrap();
        components.push((component.to_owned(), config["name"].as_str().unwrap().to_owned()));
    }
    components.sort();
    let expected = [
        ("binary_sensor", "candleanomaly anomaly"),
        ("sensor", "candleanomaly score"),
        ("sensor", "candleclassify confidence"),
        ("sensor", "candleclassify label"),
    ];
    assert_eq!(
        components,
        expected.map(|(component, name)| (component.into(), name.into()))
    );
}

#[test]
fn the_bus_tells_when_the_broker_comes_and_goes() {
    let mut broker = Broker::start("");
    let queue = tempfile::tempdir().unwrap();
    let publisher = Publisher::start(broker.port, queue.path(), "");
    publisher.wait_connected();
    broker.kill();
    let mut told = Vec::new();
    wait_until("it is told", || {
        told.extend(
            publisher
                .bus
                .iter_filtered(&[gst::MessageType::Element])
                .filter_map(|message| {
                    let structure = message.structure()?.to_owned();
                    (structure.name() == "candlepublish").then_some(structure)
                }),
        );
        told.iter().any(|structure| structure.get("connected") == Ok(false))
    });
    let gone = told.last().unwrap();
    assert_eq!(
        gone.get::<String>("broker").unwrap(),
        format!("mqtt://localhost:{}", broker.port)
    );
    assert!(!gone.get::<String>("reason").unwrap().is_empty());
}

//! The element's properties.

use std::time::Duration;

use gst::glib;
use gst::prelude::*;

use super::writer::Rotation;
use super::{MqttVersion, PublishMode};

/// What the user sets.
#[derive(Debug, Clone)]
pub struct Settings {
    pub location: Option<String>,
    pub append: bool,
    pub max_size_bytes: u64,
    pub max_size_time: gst::ClockTime,
    pub max_files: u32,
    pub post_messages: PublishMode,
    pub message_interval: gst::ClockTime,
    pub camera: Option<String>,
    pub broker: Option<String>,
    pub mqtt: MqttSettings,
}

/// How to deal with the broker.
#[derive(Debug, Clone)]
pub struct MqttSettings {
    pub version: MqttVersion,
    pub client_id: Option<String>,
    pub user: Option<String>,
    pub password_file: Option<String>,
    pub ca_file: Option<String>,
    pub cert_file: Option<String>,
    pub key_file: Option<String>,
    pub topic_prefix: String,
    pub qos: u32,
    pub discovery_prefix: Option<String>,
    pub queue_folder: Option<String>,
    pub queue_bytes: u64,
}

const DEFAULT_PREFIX: &str = "gst-candle";

impl Default for Settings {
    fn default() -> Self {
        Self {
            location: None,
            append: false,
            max_size_bytes: 0,
            max_size_time: gst::ClockTime::ZERO,
            max_files: 9,
            post_messages: PublishMode::default(),
            message_interval: gst::ClockTime::SECOND,
            camera: None,
            broker: None,
            mqtt: MqttSettings::default(),
        }
    }
}

impl Default for MqttSettings {
    fn default() -> Self {
        Self {
            version: MqttVersion::default(),
            client_id: None,
            user: None,
            password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            topic_prefix: DEFAULT_PREFIX.into(),
            qos: 1,
            discovery_prefix: None,
            queue_folder: None,
            queue_bytes: 64 << 20,
        }
    }
}

impl Settings {
    /// Where lines go, if any are written: `Some(None)` is standard output.
    pub fn lines(&self) -> Option<Option<&str>> {
        match self.location.as_deref() {
            Some("-") => Some(None),
            Some(location) => Some(Some(location)),
            None if self.broker.is_some() => None,
            None => Some(None),
        }
    }

    /// When the file is put aside.
    pub fn rotation(&self) -> Rotation {
        Rotation {
            most_bytes: self.max_size_bytes,
            most_age: Duration::from_nanos(self.max_size_time.nseconds()),
            keep: self.max_files,
        }
    }

    /// The name of the camera.
    pub fn camera(&self) -> String {
        self.camera.clone().unwrap_or_else(|| glib::host_name().into())
    }

    /// The specifications of all properties.
    pub fn properties() -> Vec<glib::ParamSpec> {
        let mut properties = Self::line_properties();
        properties.extend(Self::event_properties());
        properties.extend(Self::broker_properties());
        properties.extend(Self::access_properties());
        properties
    }

    fn line_properties() -> Vec<glib::ParamSpec> {
        let defaults = Self::default();
        vec![
            glib::ParamSpecString::builder("location")
                .nick("Location")
                .blurb(
                    "File to write the lines to; \"-\" stands for standard output, and so does nothing where no `broker` is set.",
                )
                .mutable_ready()
                .build(),
            glib::ParamSpecBoolean::builder("append")
                .nick("Append")
                .blurb("Whether lines go behind those already in the file; otherwise the file starts empty.")
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt64::builder("max-size-bytes")
                .nick("Most bytes in a file")
                .blurb(
                    "A file that would grow beyond this gets .1 behind its name, and a new one is begun; 0 stands for no limit.",
                )
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt64::builder("max-size-time")
                .nick("Longest time in a file")
                .blurb(
                    "A file that was begun so many nanoseconds ago is put aside before the next line, as by `max-size-bytes`; \
                     0 stands for no limit.",
                )
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt::builder("max-files")
                .nick("Files kept")
                .blurb("How many files put aside are kept, the newest as .1; the oldest is removed.")
                .maximum(9999)
                .default_value(defaults.max_files)
                .mutable_ready()
                .build(),
        ]
    }

    fn event_properties() -> Vec<glib::ParamSpec> {
        let defaults = Self::default();
        vec![
            glib::ParamSpecEnum::builder::<PublishMode>("post-messages")
                .nick("Post messages")
                .blurb("Which results are told; changes of the alarm, the label, the classes or the nearest code always are.")
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder::<PublishMode>("mode")
                .nick("Mode")
                .blurb("The old name of `post-messages`.")
                .deprecated()
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt64::builder("message-interval")
                .nick("Message interval")
                .blurb("The stream time between an element's results, in nanoseconds, with `post-messages=interval`.")
                .default_value(defaults.message_interval.nseconds())
                .mutable_playing()
                .build(),
            glib::ParamSpecString::builder("camera")
                .nick("Camera")
                .blurb("Name of the camera in events and topics; nothing stands for the name of this machine.")
                .mutable_ready()
                .build(),
            glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                .nick("Statistics")
                .blurb(
                    "Counts since the start: events, lines-written, lines-dropped; for the broker published, queued, queue-bytes, \
                     dropped, refused, damaged, reconnects, and whether it is connected.",
                )
                .read_only()
                .build(),
        ]
    }

    fn broker_properties() -> Vec<glib::ParamSpec> {
        let defaults = MqttSettings::default();
        vec![
            text("broker", "Broker")
                .blurb("MQTT broker to publish to, mqtt://HOST[:PORT], or mqtts:// by TLS; nothing stands for none.")
                .build(),
            glib::ParamSpecEnum::builder::<MqttVersion>("mqtt-version")
                .nick("MQTT version")
                .blurb("The version of MQTT to speak.")
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt::builder("qos")
                .nick("Quality of service")
                .blurb(
                    "With 1 an event stays in the queue until the broker acknowledges it, and arrives once at least; \
                     with 0 until it is sent.",
                )
                .maximum(1)
                .default_value(defaults.qos)
                .mutable_ready()
                .build(),
            text("topic-prefix", "Topic prefix")
                .blurb("What the topics begin with: PREFIX/CAMERA/ELEMENT/events, .../state and PREFIX/CAMERA/availability.")
                .default_value(Some(DEFAULT_PREFIX))
                .build(),
            text("discovery-prefix", "Discovery prefix")
                .blurb(
                    "Where Home Assistant looks for new entities, which is homeassistant unless it is told otherwise; \
                     nothing stands for not telling it.",
                )
                .build(),
            text("queue-folder", "Queue folder")
                .blurb(
                    "Folder for events on their way to the broker; nothing stands for gst-candle/publish/CAMERA.queue in the \
                     user's data folder.",
                )
                .build(),
            glib::ParamSpecUInt64::builder("queue-bytes")
                .nick("Bytes in the queue")
                .blurb("The most bytes in the queue's folder; beyond that the oldest events are dropped and counted.")
                .minimum(64 << 10)
                .default_value(defaults.queue_bytes)
                .mutable_ready()
                .build(),
        ]
    }

    fn access_properties() -> Vec<glib::ParamSpec> {
        vec![
            text("client-id", "Client id")
                .blurb("How the broker knows this element; nothing stands for gst-candle-CAMERA.")
                .build(),
            text("user", "User")
                .blurb("User to log in as; nothing stands for GST_CANDLE_MQTT_USER in the environment, if that is set.")
                .build(),
            text("password-file", "Password file")
                .blurb(
                    "File whose first line is the password; nothing stands for GST_CANDLE_MQTT_PASSWORD in the environment, \
                     if that is set.",
                )
                .build(),
            text("tls-ca-file", "CA file")
                .blurb("Certificates (PEM) of the authorities to trust for mqtts; nothing stands for the system's.")
                .build(),
            text("tls-cert-file", "Client certificate")
                .blurb("Certificate (PEM) to show to the broker, with `tls-key-file`.")
                .build(),
            text("tls-key-file", "Client key")
                .blurb("Private key (PEM) of the certificate in `tls-cert-file`.")
                .build(),
        ]
    }

    /// Sets the property `name`.
    pub fn set(&mut self, name: &str, value: &glib::Value) {
        let mqtt = &mut self.mqtt;
        match name {
            "location" => self.location = filled(value),
            "append" => self.append = get(value),
            "max-size-bytes" => self.max_size_bytes = get(value),
            "max-size-time" => self.max_size_time = nanoseconds(value),
            "max-files" => self.max_files = get(value),
            "post-messages" | "mode" => self.post_messages = get(value),
            "message-interval" => self.message_interval = nanoseconds(value),
            "camera" => self.camera = filled(value),
            "broker" => self.broker = filled(value),
            "mqtt-version" => mqtt.version = get(value),
            "qos" => mqtt.qos = get(value),
            "topic-prefix" => mqtt.topic_prefix = get::<Option<String>>(value).unwrap_or_else(|| DEFAULT_PREFIX.into()),
            "discovery-prefix" => mqtt.discovery_prefix = filled(value),
            "queue-folder" => mqtt.queue_folder = filled(value),
            "queue-bytes" => mqtt.queue_bytes = get(value),
            "client-id" => mqtt.client_id = filled(value),
            "user" => mqtt.user = filled(value),
            "password-file" => mqtt.password_file = filled(value),
            "tls-ca-file" => mqtt.ca_file = filled(value),
            "tls-cert-file" => mqtt.cert_file = filled(value),
            "tls-key-file" => mqtt.key_file = filled(value),
            name => unreachable!("no property {name}"),
        }
    }

    /// The value of the property `name`.
    pub fn get(&self, name: &str) -> glib::Value {
        let mqtt = &self.mqtt;
        match name {
            "location" => self.location.to_value(),
            "append" => self.append.to_value(),
            "max-size-bytes" => self.max_size_bytes.to_value(),
            "max-size-time" => self.max_size_time.nseconds().to_value(),
            "max-files" => self.max_files.to_value(),
            "post-messages" | "mode" => self.post_messages.to_value(),
            "message-interval" => self.message_interval.nseconds().to_value(),
            "camera" => self.camera.to_value(),
            "broker" => self.broker.to_value(),
            "mqtt-version" => mqtt.version.to_value(),
            "qos" => mqtt.qos.to_value(),
            "topic-prefix" => mqtt.topic_prefix.to_value(),
            "discovery-prefix" => mqtt.discovery_prefix.to_value(),
            "queue-folder" => mqtt.queue_folder.to_value(),
            "queue-bytes" => mqtt.queue_bytes.to_value(),
            "client-id" => mqtt.client_id.to_value(),
            "user" => mqtt.user.to_value(),
            "password-file" => mqtt.password_file.to_value(),
            "tls-ca-file" => mqtt.ca_file.to_value(),
            "tls-cert-file" => mqtt.cert_file.to_value(),
            "tls-key-file" => mqtt.key_file.to_value(),
            name => unreachable!("no property {name}"),
        }
    }
}

/// A property of text that is read at the start.
fn text<'a>(name: &'a str, nick: &'a str) -> glib::ParamSpecStringBuilder<'a> {
    glib::ParamSpecString::builder(name).nick(nick).mutable_ready()
}

/// The content of a value that GObject has checked against the property's specification.
fn get<'a, T: glib::value::FromValue<'a>>(value: &'a glib::Value) -> T {
    value
        .get()
        .unwrap_or_else(|_| unreachable!("GObject has checked the value's type"))
}

/// A text that says something.
fn filled(value: &glib::Value) -> Option<String> {
    get::<Option<String>>(value).filter(|text| !text.is_empty())
}

/// A time from a property in nanoseconds; the largest number, which GStreamer takes as no time, is one less.
fn nanoseconds(value: &glib::Value) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(get::<u64>(value).min(gst::ClockTime::MAX.nseconds()))
}

//! Events to an MQTT broker.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use gst::glib;

mod broker;
mod connection;
mod discovery;
mod packets;
mod publisher;
mod topics;

use super::MqttVersion;
use super::counters::Counters;
use super::outbox::Outbox;
use super::queue::Queue;
use super::report::Reporter;
use super::settings::MqttSettings;
use super::worker::Worker;
use broker::Broker;
use packets::Message;
use publisher::Publisher;
use topics::Topics;

/// How to publish.
#[derive(Debug)]
struct Config {
    broker: Broker,
    version: MqttVersion,
    client_id: String,
    /// Whether the broker is to acknowledge what it has: quality of service 1.
    acknowledged: bool,
    topics: Topics,
    /// The prefix of Home Assistant's discovery, if it is to be told.
    discovery: Option<String>,
}

impl Config {
    /// The message that says whether the camera is there.
    fn availability<'a>(&self, topic: &'a str, is_there: bool) -> Message<'a> {
        Message {
            topic,
            payload: Bytes::from_static(if is_there { b"online" } else { b"offline" }),
            retain: true,
            acknowledged: self.acknowledged,
        }
    }
}

/// A publisher whose settings are right and whose queue is open.
pub struct Prepared {
    publisher: Publisher,
    runtime: tokio::runtime::Runtime,
}

impl Prepared {
    /// Checks the settings and opens the queue.
    pub fn new(
        uri: &str,
        camera: &str,
        settings: &MqttSettings,
        counters: &Arc<Counters>,
        reporter: &Reporter,
    ) -> Result<Self, gst::ErrorMessage> {
        let wrong = |text: String| gst::error_msg!(gst::ResourceError::Settings, ("{text}"));
        let topics = Topics::new(&settings.topic_prefix, camera).map_err(wrong)?;
        if let Some(prefix) = &settings.discovery_prefix {
            topics::check("discovery-prefix", prefix).map_err(wrong)?;
        }
        let client_id = settings.client_id.clone();
        let config = Config {
            broker: Broker::new(uri, settings)?,
            version: settings.version,
            client_id: client_id.unwrap_or_else(|| format!("gst-candle-{camera}")),
            acknowledged: settings.qos > 0,
            topics,
            discovery: settings.discovery_prefix.clone(),
        };
        let folder = match &settings.queue_folder {
            Some(folder) => PathBuf::from(folder),
            None => default_folder(camera),
        };
        let queue = Queue::open(&folder, settings.queue_bytes).map_err(|error| cannot_queue(&folder, &error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self {
            publisher: Publisher::new(config, queue, counters.clone(), reporter.clone()),
            runtime: runtime.map_err(|error| failed(&error))?,
        })
    }

    /// Starts the thread that publishes.
    pub fn start(self) -> Result<Worker, gst::ErrorMessage> {
        let Self { mut publisher, runtime } = self;
        let work = move |outbox: &Outbox| {
            runtime.block_on(publisher.run(outbox));
            // A look-up of a name may hang, and is not waited for.
            runtime.shutdown_background();
        };
        Worker::spawn("candlepublish-mqtt", work).map_err(|error| failed(&error))
    }
}

fn failed(error: &std::io::Error) -> gst::ErrorMessage {
    gst::error_msg!(gst::ResourceError::Failed, ("Cannot publish: {error}"))
}

/// Where the events of a camera wait, if nothing else is said: for each user a place that lasts.
fn default_folder(camera: &str) -> PathBuf {
    glib::user_data_dir()
        .join("gst-candle")
        .join("publish")
        .join(format!("{camera}.queue"))
}

fn cannot_queue(folder: &Path, error: &std::io::Error) -> gst::ErrorMessage {
    let folder = folder.display();
    match error.kind() {
        std::io::ErrorKind::ResourceBusy => gst::error_msg!(
            gst::ResourceError::Busy,
            ("The folder {folder} for events on their way to the broker is in use: {error}; give each one another `camera`, or \
                 another `queue-folder`")
        ),
        _ => gst::error_msg!(
            gst::ResourceError::OpenWrite,
            ("Cannot keep events on their way to the broker in {folder}: {error}; set `queue-folder` to a folder that can be written")
        ),
    }
}

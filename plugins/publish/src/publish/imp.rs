//! What the element does.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;

use super::counters::Counters;
use super::event::{Finding, Moment, Situation, Task, Teller, truth};
use super::report::Reporter;
use super::settings::Settings;
use super::source::Sources;
use super::worker::{PATIENCE, Worker};
use super::{PublishMode, lines, lock, mqtt};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "candlepublish",
        gst::DebugColorFlags::empty(),
        Some("Results as JSON, to files and to a broker"),
    )
});

/// Name of the meta that the candle elements leave on buffers.
const META: &str = "candle-result";

struct State {
    lines: Option<Worker>,
    mqtt: Option<Worker>,
    counters: Arc<Counters>,
    teller: Teller,
    /// Frames since the start.
    frames: u64,
    told: HashMap<Task, Told>,
    /// Where results come from; looked for when the stream begins or changes.
    sources: Option<Sources>,
    /// The user has been told that a thread does not keep up.
    has_overflowed: bool,
}

/// What was last told of an element.
#[derive(Default)]
struct Told {
    situation: Option<Situation>,
    running_time: Option<gst::ClockTime>,
}

/// Publishes what `candleanomaly`, `candleclassify`, `candlesegment`, `candleembed` and `candledenoise` found, as JSON: as lines in a file or on standard output, and to
/// an MQTT broker. Every buffer passes as it is, and none waits for a disk or a network.
///
/// `gst-launch-1.0 candletestsrc num-buffers=300 ! candleanomaly model-file=part.safetensors ! candlepublish location=events.jsonl ! fakesink`
///
/// `docs/publish.md` has the fields, the topics, and what is lost when; `docs/event-1.schema.json` is the schema.
///
/// Settings that cannot be met, such as a file that cannot be opened, are an error at the start. What goes wrong later, such as a full
/// disk or a broker that is away, is one warning each time, and is counted in `stats`. The element message `candlepublish` tells when the
/// broker comes and goes: `connected`, `broker`, `queued`, and `reason` where it went.
#[derive(Default)]
pub struct CandlePublish {
    settings: Mutex<Settings>,
    /// Those of the last run, after it.
    counters: Mutex<Arc<Counters>>,
    /// For the streaming thread, start and stop.
    state: Mutex<Option<State>>,
}

#[glib::object_subclass]
impl ObjectSubclass for CandlePublish {
    const NAME: &'static str = "GstCandlePublish";
    type Type = super::CandlePublish;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for CandlePublish {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(Settings::properties);
        PROPERTIES.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        lock(&self.settings).set(pspec.name(), value);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "stats" => lock(&self.counters).to_structure().to_value(),
            name => lock(&self.settings).get(name),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.obj().set_passthrough(true);
    }
}

impl GstObjectImpl for CandlePublish {}

impl ElementImpl for CandlePublish {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Candle result publisher",
                "Generic",
                "Publishes what the candle elements find as JSON, in lines to a file or to standard output and to an MQTT broker",
                "The gst-candle authors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            [("sink", gst::PadDirection::Sink), ("src", gst::PadDirection::Src)]
                .map(|(name, direction)| {
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &gst::Caps::new_any())
                        .expect("the template is valid")
                })
                .into()
        });
        TEMPLATES.as_ref()
    }
}

impl BaseTransformImpl for CandlePublish {
    const MODE: gst_base::subclass::BaseTransformMode = gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = true;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let counters = Arc::new(Counters::default());
        let reporter = Reporter::new(&self.obj());
        let camera = settings.camera();
        let broker = settings.broker.as_deref();
        let prepared = broker.map(|uri| mqtt::Prepared::new(uri, &camera, &settings.mqtt, &counters, &reporter));
        // The file is emptied only when everything else is in order.
        let prepared = prepared.transpose()?;
        let lines = settings
            .lines()
            .map(|location| lines::start(location, settings.append, settings.rotation(), &counters, &reporter))
            .transpose()?;
        let state = State {
            lines,
            mqtt: prepared.map(mqtt::Prepared::start).transpose()?,
            counters: counters.clone(),
            teller: Teller::new(camera),
            frames: 0,
            told: HashMap::new(),
            sources: None,
            has_overflowed: false,
        };
        *lock(&self.counters) = counters;
        *lock(&self.state) = Some(state);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let state = lock(&self.state).take();
        let Some(State {
            lines, mqtt, counters, ..
        }) = state
        else {
            return Ok(());
        };
        for worker in [&lines, &mqtt].into_iter().flatten() {
            worker.close();
        }
        // The threads stop by themselves in time, unless the system keeps them waiting.
        let deadline = Instant::now() + PATIENCE + Duration::from_millis(500);
        let finish = |worker: Option<Worker>| worker.map_or(0, |worker| worker.finish(deadline)) as u64;
        let (lines, mqtt) = (finish(lines), finish(mqtt));
        counters.lines_dropped.fetch_add(lines, Relaxed);
        counters.dropped_before_queue.fetch_add(mqtt, Relaxed);
        if lines + mqtt > 0 {
            gst::warning!(
                CAT,
                imp = self,
                "{lines} lines and {mqtt} events for the broker were lost: writing them takes too long"
            );
        }
        Ok(())
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        if matches!(event.type_(), gst::EventType::StreamStart | gst::EventType::Caps)
            && let Some(state) = lock(&self.state).as_mut()
        {
            state.sources = None;
        }
        self.parent_sink_event(event)
    }

    fn transform_ip_passthrough(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let settings = {
            let settings = lock(&self.settings);
            (settings.post_messages, settings.message_interval)
        };
        let overflows = lock(&self.state)
            .as_mut()
            .is_some_and(|state| state.publish(&self.obj(), buffer, settings));
        if overflows {
            gst::element_imp_warning!(
                self,
                gst::ResourceError::Busy,
                ("Results are made faster than they can be written; the oldest are lost, and `stats` counts them")
            );
        }
        Ok(gst::FlowSuccess::Ok)
    }
}

impl State {
    /// Counts the frame, and hands over what is to be told of it. Returns whether that is too much for the first time.
    fn publish(
        &mut self,
        element: &super::CandlePublish,
        buffer: &gst::BufferRef,
        (mode, interval): (PublishMode, gst::ClockTime),
    ) -> bool {
        let frame = self.frames;
        self.frames += 1;
        let Ok(meta) = gst::meta::CustomMeta::from_buffer(buffer, META) else {
            return false;
        };
        let segment = element.segment();
        let segment = segment.downcast_ref::<gst::ClockTime>();
        let timestamp = buffer.pts();
        let moment = Moment {
            frame,
            timestamp,
            stream_time: segment.and_then(|segment| segment.to_stream_time(timestamp)),
            running_time: segment.and_then(|segment| segment.to_running_time(timestamp)),
            duration: buffer.duration(),
        };
        let mut known = None;
        let mut overflows = false;
        for task in Task::ALL {
            let Ok(result) = meta.structure().get::<gst::Structure>(task.name()) else {
                continue;
            };
            let told = self.told.entry(task).or_default();
            let Some(changed) = told.is_due(Situation::of(task, &result), moment.running_time, mode, interval) else {
                continue;
            };
            let sources = self
                .sources
                .take()
                .filter(|sources| !sources.is_outdated())
                .unwrap_or_else(|| Sources::upstream_of(element.sink_pad()));
            let sources = self.sources.insert(sources);
            let finding = Finding {
                task,
                source: sources.of(task),
                result: &result,
                changed,
                truth: known.get_or_insert_with(|| truth(buffer)),
            };
            let event = Arc::new(self.teller.tell(finding, &moment));
            gst::debug!(CAT, obj = element, "{}", event.json);
            self.counters.events.fetch_add(1, Relaxed);
            let push = |worker: &Option<Worker>| worker.as_ref().map_or(0, |worker| worker.push(event.clone()));
            let (lines, mqtt) = (push(&self.lines), push(&self.mqtt));
            self.counters.lines_dropped.fetch_add(lines, Relaxed);
            self.counters.dropped_before_queue.fetch_add(mqtt, Relaxed);
            overflows |= lines + mqtt > 0;
        }
        overflows && !std::mem::replace(&mut self.has_overflowed, true)
    }
}

impl Told {
    /// Whether a result is to be told, and if so, whether it is a change.
    fn is_due(
        &mut self,
        situation: Option<Situation>,
        running_time: Option<gst::ClockTime>,
        mode: PublishMode,
        interval: gst::ClockTime,
    ) -> Option<bool> {
        let changed = situation.is_some() && situation != self.situation;
        let due = changed
            || match mode {
                PublishMode::Change => false,
                PublishMode::All => true,
                PublishMode::Interval => match (self.running_time, running_time) {
                    // Time went back: a seek.
                    (Some(last), Some(now)) => now < last || now - last >= interval,
                    _ => true,
                },
            };
        due.then(|| {
            self.situation = situation.or(self.situation.take());
            self.running_time = running_time;
            changed
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_tells_its_results_and_all_changes() {
        let alarms = [
            (false, 0),
            (false, 40),
            (true, 80),
            (true, 120),
            (true, 180),
            (false, 220),
            (false, 10),
        ];
        let told = |mode| {
            let mut told = Told::default();
            alarms.map(|(alarm, ms)| {
                let time = Some(gst::ClockTime::from_mseconds(ms));
                let interval = gst::ClockTime::from_mseconds(100);
                told.is_due(Some(Situation::Alarm(alarm)), time, mode, interval)
            })
        };
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(told(PublishMode::Change), [yes, None, yes, None, None, yes, None]);
        assert_eq!(told(PublishMode::All), [yes, no, yes, no, no, yes, no]);
        // 180 is 100 after the change at 80; 10 is a step back.
        assert_eq!(told(PublishMode::Interval), [yes, None, yes, None, no, yes, no]);
        let mut denoiser = Told::default();
        let mut due = |mode| denoiser.is_due(None, None, mode, gst::ClockTime::ZERO);
        assert_eq!(due(PublishMode::Change), None, "nothing of it can change");
        assert_eq!(due(PublishMode::Interval), no);
    }
}

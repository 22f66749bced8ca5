//! A result as one JSON object. `docs/event-1.schema.json` says what may be in it.

use gst::glib;
use serde_json::{Map, Value, json};

use super::source::Source;

/// Name and version of the schema. A field that is added leaves it; one that goes or changes its meaning makes another.
pub const SCHEMA: &str = "gst-candle-event/1";

/// What kind of element made a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// `candleanomaly`.
    Anomaly,
    /// `candleclassify`.
    Classify,
    /// `candlesegment`.
    Segment,
    /// `candleembed`.
    Embed,
    /// `candledenoise`.
    Denoise,
}

impl Task {
    /// In the order of their events.
    pub const ALL: [Self; 5] = [Self::Anomaly, Self::Classify, Self::Segment, Self::Embed, Self::Denoise];

    /// As the model file names it; also the result's field in the meta `candle-result`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anomaly => "anomaly",
            Self::Classify => "classify",
            Self::Segment => "segment",
            Self::Embed => "embed",
            Self::Denoise => "denoise",
        }
    }

    /// The name of the element's factory.
    pub fn factory(self) -> &'static str {
        match self {
            Self::Anomaly => "candleanomaly",
            Self::Classify => "candleclassify",
            Self::Segment => "candlesegment",
            Self::Embed => "candleembed",
            Self::Denoise => "candledenoise",
        }
    }

    /// The task that elements of this factory do.
    pub fn of_factory(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.factory() == name)
    }

    /// The result's fields that are told as they are.
    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Anomaly => &[
                "score",
                "threshold",
                "normalized",
                "anomalous",
                "state",
                "stale",
                "width",
                "height",
                "regions",
            ],
            Self::Classify => &[
                "label",
                "confidence",
                "known",
                "labels",
                "confidences",
                "stale",
                "width",
                "height",
                "regions",
            ],
            Self::Segment => &[
                "label",
                "share",
                "labels",
                "shares",
                "background",
                "stale",
                "width",
                "height",
                "regions",
            ],
            Self::Embed => &["distance", "nearest", "label", "known", "stale", "width", "height"],
            Self::Denoise => &["noise-level", "strength", "stale"],
        }
    }
}

/// What a change is a change of: the alarm, the label, which classes are there, or what a frame looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Situation {
    /// Of `candleanomaly`.
    Alarm(bool),
    /// Of `candleclassify`.
    Label(String),
    /// Of `candlesegment`: the classes that are there, the background left out.
    Classes(Vec<String>),
    /// Of `candleembed`: the class of the nearest picture, and whether it is near enough.
    Nearest(String, bool),
}

impl Situation {
    /// Reads it from a result; `None` where there is nothing that can change.
    pub fn of(task: Task, result: &gst::StructureRef) -> Option<Self> {
        match task {
            Task::Anomaly => result.get("state").ok().map(Self::Alarm),
            Task::Classify => result.get("label").ok().map(Self::Label),
            Task::Segment => {
                let background = result.get::<i32>("background").ok()?;
                let labels = result.get::<gst::ArrayRef>("labels").ok()?;
                let shares = result.get::<gst::ArrayRef>("shares").ok()?;
                let mut there = Vec::new();
                for (class, (label, share)) in labels.iter().zip(shares.iter()).enumerate() {
                    if i32::try_from(class) != Ok(background) && share.get::<f64>().ok()? > 0.0 {
                        there.push(label.get().ok()?);
                    }
                }
                Some(Self::Classes(there))
            }
            Task::Embed => Some(Self::Nearest(result.get("label").ok()?, result.get("known").ok()?)),
            Task::Denoise => None,
        }
    }
}

/// When a result was made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moment {
    /// Frames before this one.
    pub frame: u64,
    /// Of the buffer, as are the next three.
    pub timestamp: Option<gst::ClockTime>,
    /// Time in the stream.
    pub stream_time: Option<gst::ClockTime>,
    /// Time since the pipeline plays.
    pub running_time: Option<gst::ClockTime>,
    /// How long the frame is shown.
    pub duration: Option<gst::ClockTime>,
}

/// Who tells, and how often it did: what tells an event from every other.
#[derive(Debug)]
pub struct Teller {
    /// The camera's name.
    pub camera: String,
    /// Another one each time the element starts.
    pub run: String,
    /// Events told in this run.
    pub number: u64,
}

/// An event, ready to leave.
#[derive(Debug)]
pub struct Event {
    /// The element that found it.
    pub element: String,
    /// What the element does.
    pub task: Task,
    /// One object on one line, without the newline.
    pub json: String,
}

/// A result and what belongs to it.
#[derive(Debug)]
pub struct Finding<'a> {
    /// What kind of element it is of.
    pub task: Task,
    /// That element.
    pub source: Source,
    /// The result, from the meta `candle-result`.
    pub result: &'a gst::StructureRef,
    /// Whether the alarm, the label or the classes are others than before.
    pub changed: bool,
    /// What the frame is known to show.
    pub truth: &'a [Value],
}

impl Teller {
    /// A new run for `camera`.
    pub fn new(camera: String) -> Self {
        // Real time and process keep two programs apart, and two runs of one.
        let run = format!("{:x}-{:x}", glib::real_time(), std::process::id());
        Self { camera, run, number: 0 }
    }

    /// Makes the event.
    pub fn tell(&mut self, finding: Finding<'_>, moment: &Moment) -> Event {
        let mut object = Map::new();
        let mut set = |name: &str, value: Value| object.insert(name.into(), value);
        set("schema", SCHEMA.into());
        set("time", now().into());
        set("camera", self.camera.as_str().into());
        set("element", finding.source.element.as_str().into());
        set("task", finding.task.name().into());
        if let Some(model) = &finding.source.model {
            set("model", model.as_str().into());
        }
        set("run", self.run.as_str().into());
        set("number", self.number.into());
        set("frame", moment.frame.into());
        let times = [
            ("timestamp", moment.timestamp),
            ("stream-time", moment.stream_time),
            ("running-time", moment.running_time),
            ("duration", moment.duration),
        ];
        for (name, time) in times {
            if let Some(time) = time {
                set(name, time.nseconds().into());
            }
        }
        set("state-changed", finding.changed.into());
        copy(finding.result, &mut object, finding.task.fields());
        if finding.task == Task::Denoise && object.get("stale") == Some(&json!(true)) {
            // A frame that passed as it was has no strength of its own.
            object.retain(|name, _| name != "noise-level" && name != "strength");
        }
        if !finding.truth.is_empty() {
            object.insert("truth".into(), finding.truth.into());
        }
        self.number += 1;
        Event {
            element: finding.source.element,
            task: finding.task,
            json: Value::Object(object).to_string(),
        }
    }
}

/// The time of day, by RFC 3339 in UTC.
fn now() -> String {
    let text = glib::DateTime::now_utc().and_then(|now| {
        let seconds = now.format("%Y-%m-%dT%H:%M:%S")?;
        Ok(format!("{seconds}.{:06}Z", now.microsecond()))
    });
    text.unwrap_or_default()
}

/// What `candletestsrc` says is in the frame: its regions of interest of the type `truth`.
pub fn truth(buffer: &gst::BufferRef) -> Vec<Value> {
    let parts = buffer.iter_meta::<gst_video::VideoRegionOfInterestMeta>();
    parts
        .filter(|part| part.roi_type() == "truth")
        .filter_map(|part| {
            let truth = part.param("candle-truth")?;
            let (x, y, width, height) = part.rect();
            Some(json!({
                "index": truth.get::<u64>("index").ok()?,
                "defect": truth.get::<String>("defect").ok()?,
                "x": x, "y": y, "width": width, "height": height,
            }))
        })
        .collect()
}

fn copy(from: &gst::StructureRef, to: &mut Map<String, Value>, fields: &[&str]) {
    for &field in fields {
        if let Some(value) = from.value(field).ok().and_then(|value| plain(value)) {
            to.insert(field.into(), value);
        }
    }
}

/// A value as JSON; a number that JSON cannot say (infinite, not a number) as null.
fn plain(value: &glib::Value) -> Option<Value> {
    if let Ok(value) = value.get::<bool>() {
        Some(json!(value))
    } else if let Ok(value) = value.get::<i32>() {
        Some(json!(value))
    } else if let Ok(value) = value.get::<f64>() {
        Some(json!(value))
    } else if let Ok(array) = value.get::<gst::ArrayRef>() {
        array.iter().map(|value| plain(value)).collect()
    } else if let Ok(structure) = value.get::<gst::Structure>() {
        let mut object = Map::new();
        let fields: Vec<&str> = structure.fields().map(|field| field.as_str()).collect();
        copy(&structure, &mut object, &fields);
        Some(Value::Object(object))
    } else {
        value.get::<String>().ok().map(|value| json!(value))
    }
}

#[cfg(test)]
pub mod tests {
    use std::sync::Arc;

    use super::*;

    /// An event of this content.
    pub fn event(json: &str) -> Arc<Event> {
        Arc::new(Event {
            element: "candleanomaly0".into(),
            task: Task::Anomaly,
            json: json.into(),
        })
    }

    fn told(task: Task, result: &gst::StructureRef, moment: &Moment) -> Map<String, Value> {
        let mut teller = Teller::new("line 1".into());
        let source = Source {
            element: "look".into(),
            model: Some("part.safetensors".into()),
        };
        let finding = Finding {
            task,
            source,
            result,
            changed: true,
            truth: &[],
        };
        let event = teller.tell(finding, moment);
        assert_eq!((event.element.as_str(), event.task, teller.number), ("look", task, 1));
        assert!(!event.json.contains('\n'));
        serde_json::from_str(&event.json).unwrap()
    }

    #[test]
    fn an_anomaly_is_told_with_its_times_and_regions() {
        gst::init().unwrap();
        let region = gst::Structure::builder("region").field("x", 1).field("score", 0.5);
        let anomaly = gst::Structure::builder("anomaly")
            .field("score", f64::INFINITY)
            .field("threshold", 0.25)
            .field("anomalous", true)
            .field("state", false)
            .field("regions", gst::Array::new([region.build()]))
            .field("map", gst::Buffer::with_size(4).unwrap())
            .field("map-width", 2)
            .build();
        let moment = Moment {
            frame: 45,
            timestamp: Some(gst::ClockTime::from_nseconds(1_500_000_001)),
            stream_time: Some(gst::ClockTime::from_mseconds(1500)),
            ..Moment::default()
        };
        let mut object = told(Task::Anomaly, &anomaly, &moment);
        let (time, run) = (
            object.shift_remove("time").unwrap(),
            object.shift_remove("run").unwrap(),
        );
        let time = time.as_str().unwrap();
        assert!(time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
        assert!(run.is_string());
        let expected = r#"{"schema":"gst-candle-event/1","camera":"line 1","element":"look","task":"anomaly","model":"part.safetensors","number":0,"frame":45,"timestamp":1500000001,"stream-time":1500000000,"state-changed":true,"score":null,"threshold":0.25,"anomalous":true,"state":false,"regions":[{"x":1,"score":0.5}]}"#;
        assert_eq!(serde_json::to_string(&object).unwrap(), expected);
    }

    #[test]
    fn a_label_is_told_with_its_runners_up() {
        gst::init().unwrap();
        let classify = gst::Structure::builder("classify")
            .field("label", "a \"quoted\"\nlabel")
            .field("confidence", 0.75)
            .field("labels", gst::Array::new(["a", "b"]))
            .field("confidences", gst::Array::new([0.75, 0.25]))
            .build();
        let object = told(Task::Classify, &classify, &Moment::default());
        assert_eq!(object["label"], "a \"quoted\"\nlabel");
        assert_eq!(object["labels"], json!(["a", "b"]));
        assert_eq!(object["confidences"], json!([0.75, 0.25]));
        assert!(!object.contains_key("timestamp"), "what is not known is left out");
    }

    #[test]
    fn classes_are_told_with_their_shares_and_regions() {
        gst::init().unwrap();
        let segment = |shares: [f64; 3]| {
            let region = gst::Structure::builder("region")
                .field("area", 25)
                .field("label", "crack");
            gst::Structure::builder("segment")
                .field("label", "crack")
                .field("share", 0.25)
                .field("labels", gst::Array::new(["background", "crack", "dent"]))
                .field("shares", gst::Array::new(shares))
                .field("background", 0)
                .field("regions", gst::Array::new([region.build()]))
                .field("mask", gst::Buffer::with_size(100).unwrap())
                .build()
        };
        let object = told(Task::Segment, &segment([0.75, 0.25, 0.0]), &Moment::default());
        assert_eq!(
            (&object["task"], &object["label"]),
            (&json!("segment"), &json!("crack"))
        );
        assert_eq!(object["shares"], json!([0.75, 0.25, 0.0]));
        assert_eq!(object["regions"], json!([{ "area": 25, "label": "crack" }]));
        assert!(!object.contains_key("mask"));
        let situation = |shares| Situation::of(Task::Segment, &segment(shares));
        assert_eq!(
            situation([0.75, 0.25, 0.0]),
            Some(Situation::Classes(vec!["crack".into()]))
        );
        assert_eq!(
            situation([0.75, 0.25, 0.0]),
            situation([0.0, 1.0, 0.0]),
            "a share is no change"
        );
        assert_ne!(situation([0.75, 0.25, 0.0]), situation([0.75, 0.0, 0.25]));
    }

    #[test]
    fn what_a_frame_looks_like_is_told_without_its_code() {
        gst::init().unwrap();
        let result = |name: &str, known: bool| {
            gst::Structure::builder("embed")
                .field("code", gst::Array::new([0.6_f32, 0.8]))
                .field("distance", 0.25)
                .field("nearest", name)
                .field("label", "crack")
                .field("known", known)
                .field("stale", false)
                .build()
        };
        let object = told(Task::Embed, &result("crack_7.png", true), &Moment::default());
        assert_eq!(
            ["task", "nearest", "label", "known", "distance"].map(|name| object[name].clone()),
            [
                json!("embed"),
                json!("crack_7.png"),
                json!("crack"),
                json!(true),
                json!(0.25)
            ]
        );
        assert!(!object.contains_key("code"));
        let situation = |name, known| Situation::of(Task::Embed, &result(name, known));
        assert_eq!(
            situation("crack_7.png", true),
            situation("crack_8.png", true),
            "of the same class"
        );
        assert_ne!(situation("crack_7.png", true), situation("crack_7.png", false));
    }

    #[test]
    fn a_denoiser_tells_its_noise_level_of_frames_that_it_denoised() {
        gst::init().unwrap();
        let result = |stale: bool| {
            gst::Structure::builder("denoise")
                .field("noise-level", 20.5)
                .field("strength", 1.0)
                .field("stale", stale)
                .build()
        };
        let fresh = told(Task::Denoise, &result(false), &Moment::default());
        assert_eq!((&fresh["noise-level"], &fresh["strength"]), (&json!(20.5), &json!(1.0)));
        let stale = told(Task::Denoise, &result(true), &Moment::default());
        assert!(!stale.contains_key("noise-level") && !stale.contains_key("strength"));
        assert_eq!(
            Situation::of(Task::Denoise, &result(false)),
            None,
            "no change of its own"
        );
    }
}

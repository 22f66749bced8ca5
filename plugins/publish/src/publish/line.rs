//! A frame's result as one JSON object.

use serde_json::{Map, Value, json};

/// When the result was made.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Stream time, if the stream has one.
    pub stream_time: Option<gst::ClockTime>,
    /// Timestamp of the buffer.
    pub pts: Option<gst::ClockTime>,
    /// Frames before this one.
    pub frame: u64,
}

/// What a change is a change of: the alarm and the label.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Situation {
    alarm: Option<bool>,
    label: Option<String>,
}

impl Situation {
    /// Reads it from the structure of a `candle-result` meta.
    pub fn of(result: &gst::StructureRef) -> Self {
        let anomaly = result.get::<gst::Structure>("anomaly").ok();
        let classify = result.get::<gst::Structure>("classify").ok();
        let alarm = anomaly.and_then(|anomaly| anomaly.get("state").ok());
        let label = classify.and_then(|classify| classify.get("label").ok());
        Self { alarm, label }
    }

    /// Whether there is neither alarm nor label, so that nothing can change.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
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

/// The line for the structure of a `candle-result` meta, and what the frame is known to show.
pub fn line(result: &gst::StructureRef, truth: &[Value], moment: &Moment) -> String {
    let mut object = Map::new();
    let seconds = moment.stream_time.map(|time| time.nseconds() as f64 / 1e9);
    object.insert("time".into(), json!(seconds));
    object.insert("timestamp".into(), json!(moment.pts.map(gst::ClockTime::nseconds)));
    object.insert("frame".into(), json!(moment.frame));
    if let Ok(anomaly) = result.get::<gst::Structure>("anomaly") {
        copy(
            &anomaly,
            &mut object,
            &["score", "threshold", "anomalous", "state", "stale"],
        );
        let regions = regions(&anomaly, &["x", "y", "width", "height", "area", "score"]);
        object.insert("regions".into(), regions);
    }
    if let Ok(classify) = result.get::<gst::Structure>("classify") {
        let fields = ["label", "confidence", "known"];
        copy(&classify, &mut object, &fields);
        let objects = regions(
            &classify,
            &["x", "y", "width", "height", "label", "confidence", "known"],
        );
        if objects.as_array().is_some_and(|objects| !objects.is_empty()) {
            object.insert("objects".into(), objects);
        }
    }
    let denoise = result.get::<gst::Structure>("denoise").ok();
    // A frame that passed as it was has no strength of its own.
    if let Some(denoise) = denoise.filter(|denoise| denoise.get("stale") == Ok(false)) {
        let number = |field| json!(denoise.get::<f64>(field).ok());
        object.insert("noise_level".into(), number("noise-level"));
        object.insert("strength".into(), number("strength"));
    }
    if !truth.is_empty() {
        object.insert("truth".into(), truth.into());
    }
    Value::Object(object).to_string()
}

fn copy(from: &gst::StructureRef, to: &mut Map<String, Value>, fields: &[&str]) {
    for &field in fields {
        if let Some(value) = from.value(field).ok().and_then(|value| plain(value)) {
            to.insert(field.into(), value);
        }
    }
}

fn regions(from: &gst::StructureRef, fields: &[&str]) -> Value {
    let array = from.get::<gst::ArrayRef>("regions");
    let regions = array.iter().flat_map(|array| array.iter()).filter_map(|region| {
        let mut object = Map::new();
        let region = region.get::<gst::Structure>().ok()?;
        copy(&region, &mut object, fields);
        Some(Value::Object(object))
    });
    Value::Array(regions.collect())
}

/// A number, a string or a truth value as JSON; a number that JSON cannot say (infinite, not a number) as null.
fn plain(value: &gst::glib::Value) -> Option<Value> {
    if let Ok(value) = value.get::<bool>() {
        Some(json!(value))
    } else if let Ok(value) = value.get::<i32>() {
        Some(json!(value))
    } else if let Ok(value) = value.get::<f64>() {
        Some(json!(value))
    } else {
        value.get::<String>().ok().map(|value| json!(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region() -> gst::Structure {
        gst::Structure::builder("region")
            .field("x", 1)
            .field("y", 2)
            .field("width", 3)
            .field("height", 4)
            .field("area", 5)
            .field("score", 0.5)
            .build()
    }

    #[test]
    fn a_line_says_all_in_this_order() {
        gst::init().unwrap();
        let anomaly = gst::Structure::builder("anomaly")
            .field("score", f64::INFINITY)
            .field("threshold", 0.25)
            .field("anomalous", true)
            .field("state", false)
            .field("regions", gst::Array::new([region()]))
            .build();
        let classify = gst::Structure::builder("classify")
            .field("label", "a \"quoted\"\nlabel")
            .field("confidence", 0.75)
            .field("known", true)
            .field("regions", gst::Array::new(Vec::<gst::Structure>::new()))
            .build();
        let result = gst::Structure::builder("candle-result")
            .field("anomaly", anomaly)
            .field("classify", classify)
            .build();
        let moment = Moment {
            stream_time: Some(gst::ClockTime::from_mseconds(1500)),
            pts: Some(gst::ClockTime::from_nseconds(1_500_000_001)),
            frame: 45,
        };
        let expected = r#"{"time":1.5,"timestamp":1500000001,"frame":45,"score":null,"threshold":0.25,"anomalous":true,"state":false,"regions":[{"x":1,"y":2,"width":3,"height":4,"area":5,"score":0.5}],"label":"a \"quoted\"\nlabel","confidence":0.75,"known":true}"#;
        assert_eq!(line(&result, &[], &moment), expected);
    }

    #[test]
    fn a_denoiser_tells_its_noise_level() {
        gst::init().unwrap();
        let result = |stale: bool| {
            let denoise = gst::Structure::builder("denoise")
                .field("noise-level", 20.5)
                .field("strength", 1.0)
                .field("stale", stale)
                .build();
            gst::Structure::builder("candle-result")
                .field("denoise", denoise)
                .build()
        };
        let moment = Moment {
            stream_time: None,
            pts: None,
            frame: 3,
        };
        assert_eq!(
            line(&result(false), &[], &moment),
            r#"{"time":null,"timestamp":null,"frame":3,"noise_level":20.5,"strength":1.0}"#
        );
        assert_eq!(
            line(&result(true), &[], &moment),
            r#"{"time":null,"timestamp":null,"frame":3}"#
        );
        assert!(
            Situation::of(&result(false)).is_empty(),
            "a noise level alone is no change"
        );
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        gst::init().unwrap();
        let empty = gst::Structure::new_empty("candle-result");
        let moment = Moment {
            stream_time: None,
            pts: None,
            frame: 0,
        };
        assert_eq!(
            line(&empty, &[], &moment),
            r#"{"time":null,"timestamp":null,"frame":0}"#
        );
        assert!(Situation::of(&empty).is_empty());
    }
}

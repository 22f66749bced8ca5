//! What the elements find, on the buffer: the custom meta `candle-result`.
//!
//! A buffer has at most one such meta. Its structure, named `candle-result` too, has one field for each kind of
//! element that looked at the frame; several of one kind leave the last one's result. Positions are pixels of the
//! frame as it was then: a reader whose frame has another size scales by the `width` and `height` given.
//!
//! | field | content |
//! |---|---|
//! | `anomaly` | structure `anomaly`, see [`AnomalyResult`] |
//! | `classify` | structure `classify`, see [`ClassifyResult`] |
//! | `denoise` | structure `denoise`, see [`DenoiseResult`] |
//! | `segment` | structure `segment`, see [`SegmentResult`] |
//! | `embed` | structure `embed`, see [`crate::embed`] |
//!
//! | field of `anomaly` | type | meaning |
//! |---|---|---|
//! | `score`, `threshold` | gdouble | raw score of the frame, and the least score that is anomalous |
//! | `normalized` | gdouble | score between 0 and 1, 0.5 at the threshold |
//! | `anomalous` | gboolean | this frame's own verdict |
//! | `state` | gboolean | the alarm, after `min-duration` and `hold-duration` |
//! | `stale` | gboolean | the frame was not inferred: all values are of the last frame that was |
//! | `width`, `height` | gint | size of the frame; twice its width where it is squeezed into the left half (`output=side-by-side`) |
//! | `regions` | GstValueArray of structures `region` | worst first: `x`, `y`, `width`, `height`, `area` (gint), `score` (gdouble) |
//! | `map` | GstBuffer | heat map, one byte a pixel, rows without padding; 127 = the pixel threshold, 255 = the hottest |
//! | `map-width`, `map-height` | gint | size of the heat map |
//! | `map-x`, `map-y`, `map-w`, `map-h` | gdouble | the rectangle of the frame that the map covers; may reach beyond the frame |
//!
//! | field of `classify` | type | meaning |
//! |---|---|---|
//! | `label` | gchararray | the label in force; `unknown` where none is sure enough, empty where there was no region to name |
//! | `confidence` | gdouble | probability of the most probable label, smoothed |
//! | `known` | gboolean | whether `label` is one of the model's |
//! | `labels`, `confidences` | GstValueArray of gchararray, of gdouble | the `top-k` most probable, best first |
//! | `stale` | gboolean | as above |
//! | `width`, `height` | gint | size of the frame |
//! | `regions` | GstValueArray of structures `region` | with `regions=metas`: `x`, `y`, `width`, `height` (gint), `label`, `confidence`, `known`, `labels`, `confidences` |
//!
//! | field of `denoise` | type | meaning |
//! |---|---|---|
//! | `noise-level` | gdouble | standard deviation of the noise, 0..255 of full scale |
//! | `strength` | gdouble | the strength applied |
//! | `stale` | gboolean | the frame passed as it was |
//!
//! | field of `segment` | type | meaning |
//! |---|---|---|
//! | `label`, `share` | gchararray, gdouble | the class that takes most of the frame, the background left out, empty where there is none; the share, 0 to 1, of all but the background |
//! | `labels`, `shares` | GstValueArray of gchararray, of gdouble | the model's classes, and the share of the frame that each takes |
//! | `background` | gint | the number of the class that is the background; -1 where there is none |
//! | `stale`, `width`, `height` | | as above |
//! | `regions` | GstValueArray of structures `region` | of all classes but the background, largest first: `x`, `y`, `width`, `height`, `area` (gint), `label` |
//! | `mask` | GstBuffer | the number of each pixel's class, one byte a pixel of the frame, rows without padding; 255 = none |
//!
//! | field of `embed` | type | meaning |
//! |---|---|---|
//! | `code` | GstValueArray of gfloat | the frame's code, of length 1 |
//! | `distance` | gdouble | from the nearest known code, 0 to 2; -1 where none is known |
//! | `nearest` | gchararray | the name of its picture, or its class where it has no name |
//! | `label` | gchararray | its class; empty where it has none |
//! | `known` | gboolean | whether it is near enough |
//! | `stale`, `width`, `height` | | as above |

mod segment;

use std::sync::Once;

use gst::glib;

pub use segment::{ClassRegion, SegmentResult};

/// Name of the meta and of its structure.
pub const META: &str = "candle-result";

/// Registers the meta; must come before any use, and may come again.
pub fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if !gst::meta::CustomMeta::is_registered(META) {
            gst::meta::CustomMeta::register(META, &[]);
        }
    });
}

/// Sets the field `kind` of the buffer's result, keeping what other kinds left there.
pub fn attach(buffer: &mut gst::BufferRef, kind: &str, result: gst::Structure) {
    if let Ok(mut meta) = gst::meta::CustomMeta::from_mut_buffer(buffer, META) {
        meta.mut_structure().set(kind, result);
        return;
    }
    let mut meta = gst::meta::CustomMeta::add(buffer, META).expect("the meta is registered with the plugin");
    meta.mut_structure().set(kind, result);
}

/// A kind of result: how it stands in the meta.
pub trait Kind: Sized {
    /// The field, and the name of its structure.
    const NAME: &'static str;

    /// As it is written.
    fn to_structure(&self) -> gst::Structure;

    /// As it is read; `None` where a field is missing or of another type.
    fn from_structure(structure: &gst::StructureRef) -> Option<Self>;

    /// Attaches it to `buffer`.
    fn attach(&self, buffer: &mut gst::BufferRef) {
        attach(buffer, Self::NAME, self.to_structure());
    }

    /// Reads it from `buffer`.
    fn read(buffer: &gst::BufferRef) -> Option<Self> {
        let meta = gst::meta::CustomMeta::from_buffer(buffer, META).ok()?;
        Self::from_structure(meta.structure().get::<&gst::StructureRef>(Self::NAME).ok()?)
    }
}

/// An anomalous part of a frame, in its pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Region {
    /// Left column, top row, columns, rows.
    pub rect: [i32; 4],
    /// Pixels that reach the threshold.
    pub area: i32,
    /// Largest raw value in it.
    pub score: f64,
}

/// Regions told of one frame: a map that is speckled all over must not flood the bus.
pub const MAX_REGIONS: usize = 64;

/// A heat map.
#[derive(Debug, Clone)]
pub struct HeatMap {
    /// One byte a pixel, rows without padding; 127 = the pixel threshold, 255 = the hottest.
    pub data: gst::Buffer,
    /// `[width, height]` of the map.
    pub size: [i32; 2],
    /// `[x, y, width, height]` of the part of the frame that the map covers.
    pub covers: [f64; 4],
}

/// What `candleanomaly` says of a frame.
#[derive(Debug, Clone)]
pub struct AnomalyResult {
    /// Raw score.
    pub score: f64,
    /// Least raw score that is anomalous.
    pub threshold: f64,
    /// Score between 0 and 1, 0.5 at the threshold.
    pub normalized: f64,
    /// This frame's own verdict.
    pub anomalous: bool,
    /// The alarm.
    pub state: bool,
    /// Whether this is the result of an earlier frame.
    pub stale: bool,
    /// `[width, height]` of the frame, twice the width where it stands in the left half.
    pub size: [i32; 2],
    /// Worst first.
    pub regions: Vec<Region>,
    /// The heat map.
    pub map: HeatMap,
}

/// A label and its runners-up.
#[derive(Debug, Clone, PartialEq)]
pub struct Labels {
    /// The label in force, `unknown` where none is sure enough, empty where there was nothing to name.
    pub label: String,
    /// Probability of the most probable label.
    pub confidence: f64,
    /// Whether `label` is one of the model's.
    pub known: bool,
    /// The most probable labels and their probabilities, best first.
    pub top: Vec<(String, f64)>,
}

/// A labelled part of a frame, in its pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledRegion {
    /// Left column, top row, columns, rows.
    pub rect: [i32; 4],
    /// What it is.
    pub labels: Labels,
}

/// What `candleclassify` says of a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassifyResult {
    /// The frame's label.
    pub labels: Labels,
    /// Whether this is the result of an earlier frame.
    pub stale: bool,
    /// `[width, height]` of the frame.
    pub size: [i32; 2],
    /// With `regions=metas`, the regions that were on the buffer.
    pub regions: Vec<LabelledRegion>,
}

/// What `candledenoise` says of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DenoiseResult {
    /// Standard deviation of the noise, 0..255 of full scale.
    pub noise_level: f64,
    /// The strength applied.
    pub strength: f64,
    /// Whether the frame passed as it was.
    pub stale: bool,
}

impl Region {
    /// As it stands in an array `regions`; also the parameter on the frame's region-of-interest meta, by another `name`.
    pub fn to_structure(self, name: &str) -> gst::Structure {
        rect_builder(name, self.rect)
            .field("area", self.area)
            .field("score", self.score)
            .build()
    }

    fn from_structure(s: &gst::StructureRef) -> Option<Self> {
        Some(Self {
            rect: rect(s)?,
            area: s.get("area").ok()?,
            score: s.get("score").ok()?,
        })
    }
}

impl Labels {
    /// Sets the fields `label`, `confidence`, `known`, `labels` and `confidences`.
    pub fn write(&self, s: &mut gst::StructureRef) {
        s.set("label", &self.label);
        s.set("confidence", self.confidence);
        s.set("known", self.known);
        s.set("labels", gst::Array::new(self.top.iter().map(|(label, _)| label)));
        s.set(
            "confidences",
            gst::Array::new(self.top.iter().map(|&(_, confidence)| confidence)),
        );
    }

    /// Reads them back; `None` where a field is missing or of another type.
    pub fn from_structure(s: &gst::StructureRef) -> Option<Self> {
        let labels = s.get::<gst::ArrayRef>("labels").ok()?;
        let confidences = s.get::<gst::ArrayRef>("confidences").ok()?;
        let pair = |(label, confidence): (&glib::SendValue, &glib::SendValue)| {
            Some((label.get().ok()?, confidence.get().ok()?))
        };
        Some(Self {
            label: s.get("label").ok()?,
            confidence: s.get("confidence").ok()?,
            known: s.get("known").ok()?,
            top: labels.iter().zip(confidences.iter()).map(pair).collect::<Option<_>>()?,
        })
    }
}

impl LabelledRegion {
    fn to_structure(&self) -> gst::Structure {
        let mut s = rect_builder("region", self.rect).build();
        self.labels.write(&mut s);
        s
    }

    fn from_structure(s: &gst::StructureRef) -> Option<Self> {
        Some(Self {
            rect: rect(s)?,
            labels: Labels::from_structure(s)?,
        })
    }
}

impl Kind for AnomalyResult {
    const NAME: &'static str = "anomaly";

    fn to_structure(&self) -> gst::Structure {
        gst::Structure::builder(Self::NAME)
            .field("score", self.score)
            .field("threshold", self.threshold)
            .field("normalized", self.normalized)
            .field("anomalous", self.anomalous)
            .field("state", self.state)
            .field("stale", self.stale)
            .field("width", self.size[0])
            .field("height", self.size[1])
            .field(
                "regions",
                gst::Array::new(self.regions.iter().map(|region| region.to_structure("region"))),
            )
            .field("map", &self.map.data)
            .field("map-width", self.map.size[0])
            .field("map-height", self.map.size[1])
            .field("map-x", self.map.covers[0])
            .field("map-y", self.map.covers[1])
            .field("map-w", self.map.covers[2])
            .field("map-h", self.map.covers[3])
            .build()
    }

    fn from_structure(s: &gst::StructureRef) -> Option<Self> {
        let number = |name| s.get::<f64>(name).ok();
        Some(Self {
            score: number("score")?,
            threshold: number("threshold")?,
            normalized: number("normalized")?,
            anomalous: s.get("anomalous").ok()?,
            state: s.get("state").ok()?,
            stale: s.get("stale").ok()?,
            size: [s.get("width").ok()?, s.get("height").ok()?],
            regions: structures(s, "regions", Region::from_structure)?,
            map: HeatMap {
                data: s.get("map").ok()?,
                size: [s.get("map-width").ok()?, s.get("map-height").ok()?],
                covers: [number("map-x")?, number("map-y")?, number("map-w")?, number("map-h")?],
            },
        })
    }
}

impl Kind for ClassifyResult {
    const NAME: &'static str = "classify";

    fn to_structure(&self) -> gst::Structure {
        let mut s = gst::Structure::builder(Self::NAME)
            .field("stale", self.stale)
            .field("width", self.size[0])
            .field("height", self.size[1])
            .field(
                "regions",
                gst::Array::new(self.regions.iter().map(LabelledRegion::to_structure)),
            )
            .build();
        self.labels.write(&mut s);
        s
    }

    fn from_structure(s: &gst::StructureRef) -> Option<Self> {
        Some(Self {
            labels: Labels::from_structure(s)?,
            stale: s.get("stale").ok()?,
            size: [s.get("width").ok()?, s.get("height").ok()?],
            regions: structures(s, "regions", LabelledRegion::from_structure)?,
        })
    }
}

impl Kind for DenoiseResult {
    const NAME: &'static str = "denoise";

    fn to_structure(&self) -> gst::Structure {
        gst::Structure::builder(Self::NAME)
            .field("noise-level", self.noise_level)
            .field("strength", self.strength)
            .field("stale", self.stale)
            .build()
    }

    fn from_structure(s: &gst::StructureRef) -> Option<Self> {
        Some(Self {
            noise_level: s.get("noise-level").ok()?,
            strength: s.get("strength").ok()?,
            stale: s.get("stale").ok()?,
        })
    }
}

/// A rectangle of a frame of `from` = `[width, height]` on one of `to`.
pub fn scaled(rect: [f64; 4], from: [i32; 2], to: [usize; 2]) -> [f64; 4] {
    let factor = |axis: usize| to[axis] as f64 / f64::from(from[axis].max(1));
    [
        rect[0] * factor(0),
        rect[1] * factor(1),
        rect[2] * factor(0),
        rect[3] * factor(1),
    ]
}

fn rect_builder(name: &str, rect: [i32; 4]) -> gst::structure::Builder {
    gst::Structure::builder(name)
        .field("x", rect[0])
        .field("y", rect[1])
        .field("width", rect[2])
        .field("height", rect[3])
}

fn rect(s: &gst::StructureRef) -> Option<[i32; 4]> {
    Some([
        s.get("x").ok()?,
        s.get("y").ok()?,
        s.get("width").ok()?,
        s.get("height").ok()?,
    ])
}

/// The values of an array field.
pub fn values<T: for<'a> glib::value::FromValue<'a>>(s: &gst::StructureRef, field: &str) -> Option<Vec<T>> {
    let array = s.get::<gst::ArrayRef>(field).ok()?;
    array.iter().map(|value| value.get().ok()).collect()
}

fn structures<T>(s: &gst::StructureRef, field: &str, read: impl Fn(&gst::StructureRef) -> Option<T>) -> Option<Vec<T>> {
    let array = s.get::<gst::ArrayRef>(field).ok()?;
    array
        .iter()
        .map(|value| read(value.get::<&gst::StructureRef>().ok()?))
        .collect()
}

#[cfg(test)]
mod tests;

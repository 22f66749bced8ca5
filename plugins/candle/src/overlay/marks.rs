//! Boxes: regions of interest, those of results, and what is known to be in the frame.

use gst_candle::pixels::colormap::class_color;
use gst_video::VideoRegionOfInterestMeta;

use super::findings::{Results, named, number_of, percent, short};
use crate::common::frame::{TRUTH, TRUTH_PARAM};
use crate::common::result::{Kind, Labels, SegmentResult, scaled};

const RED: [f32; 3] = [1.0, 0.25, 0.2];
const BLUE: [f32; 3] = [0.3, 0.8, 1.0];
const GREEN: [f32; 3] = [0.3, 1.0, 0.4];
const YELLOW: [f32; 3] = [1.0, 0.9, 0.2];

/// A box with a text on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// `[x, y, width, height]` in pixels of the frame.
    pub rect: [i64; 4],
    pub color: [f32; 3],
    /// Nothing where the box says enough.
    pub text: String,
    /// Whether it is of an earlier frame: drawn dashed.
    pub is_old: bool,
}

/// Regions of interest, and those of classes; where a kind of region is only in the result, as on frames that were not inferred, those of the result, which are named if
/// both elements found the same.
pub fn regions(
    buffer: &gst::BufferRef,
    results: &Results,
    has_segments: bool,
    size: [usize; 2],
    [anomaly_old, classify_old, segment_old, _]: [bool; 4],
) -> Vec<Mark> {
    let on_frame = |rect: [i32; 4], from| scaled(rect.map(f64::from), from, size).map(|length| length.round() as i64);
    let (mut marks, mut has_anomalous, mut has_labelled) = (Vec::new(), false, false);
    for meta in buffer.iter_meta::<VideoRegionOfInterestMeta>() {
        let (kind, labels) = (
            meta.roi_type(),
            meta.param("candle-classify").and_then(Labels::from_structure),
        );
        let is_anomalous = kind == "anomaly";
        // Some elements, such as videoconvert of GStreamer 1.22, keep the region and lose what it says of itself; the result still has both.
        let is_mute = is_anomalous && meta.param("candle-region").is_none();
        let is_known = results
            .anomaly
            .as_ref()
            .is_some_and(|result| !result.regions.is_empty());
        // Those of a class that nobody named anew are drawn from the result, which knows their colours.
        let is_segment = kind == SegmentResult::NAME && has_segments && labels.is_none();
        if kind == TRUTH || is_segment || (is_mute && is_known) {
            continue;
        }
        has_anomalous |= is_anomalous;
        has_labelled |= labels.is_some();
        marks.push(Mark {
            rect: <[u32; 4]>::from(meta.rect()).map(i64::from),
            color: if is_anomalous { RED } else { BLUE },
            text: labels.as_ref().map_or_else(|| told(&meta), named),
            is_old: is_anomalous && anomaly_old,
        });
    }
    if let Some(result) = results.anomaly.as_ref().filter(|_| !has_anomalous) {
        marks.extend(result.regions.iter().map(|region| Mark {
            rect: on_frame(region.rect, result.size),
            color: RED,
            text: anomalous(region.score),
            is_old: anomaly_old,
        }));
    }
    if let Some(result) = results.classify.as_ref().filter(|_| !has_labelled) {
        for region in &result.regions {
            let (rect, text) = (on_frame(region.rect, result.size), named(&region.labels));
            match marks.iter_mut().find(|mark| mark.rect == rect) {
                Some(mark) => mark.text = text,
                None => marks.push(Mark {
                    rect,
                    color: BLUE,
                    text,
                    is_old: classify_old,
                }),
            }
        }
    }
    if let Some(result) = &results.segment {
        for region in &result.regions {
            let rect = on_frame(region.rect, result.size);
            if marks.iter().all(|mark| mark.rect != rect) {
                marks.push(Mark {
                    rect,
                    color: class_color(number_of(result, &region.label)),
                    text: region.label.clone(),
                    is_old: segment_old,
                });
            }
        }
    }
    marks
}

fn anomalous(score: f64) -> String {
    format!("anomaly {}", short(score))
}

/// What a region says of itself: its type and, of ours the score, of others' the confidence, where they give one.
fn told(meta: &VideoRegionOfInterestMeta) -> String {
    let number = |param: &gst::StructureRef, field: &str| {
        let single = || param.get::<f32>(field).map(f64::from);
        param.get::<f64>(field).or_else(|_| single()).ok()
    };
    if let Some(score) = meta.param("candle-region").and_then(|param| number(param, "score")) {
        return anomalous(score);
    }
    let confidence = meta.params().find_map(|param| number(param, "confidence"));
    match confidence.filter(|confidence| (0.0..=1.0).contains(confidence)) {
        Some(confidence) => percent(meta.roi_type(), confidence),
        None => meta.roi_type().to_owned(),
    }
}

/// The parts, and the defects on them.
pub fn truth(buffer: &gst::BufferRef) -> Vec<Mark> {
    let mut marks = Vec::new();
    for meta in buffer
        .iter_meta::<VideoRegionOfInterestMeta>()
        .filter(|meta| meta.roi_type() == TRUTH)
    {
        let param = meta.param(TRUTH_PARAM);
        let defect = param
            .and_then(|param| param.get::<&str>("defect").ok())
            .unwrap_or(TRUTH);
        let rect = <[u32; 4]>::from(meta.rect()).map(i64::from);
        let mark = |rect, color, text: &str| Mark {
            rect,
            color,
            text: text.to_owned(),
            is_old: false,
        };
        marks.push(mark(rect, GREEN, defect));
        let rect = param.and_then(|param| {
            let [x, y, width, height] = ["x", "y", "width", "height"].map(|field| param.get::<u32>(field).ok());
            Some([x?, y?, width?, height?].map(i64::from))
        });
        marks.extend(rect.map(|rect| mark(rect, YELLOW, "")));
    }
    marks
}

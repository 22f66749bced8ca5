//! What there is to draw on a frame, read from its buffer.

use gst_video::VideoRegionOfInterestMeta;

use super::settings::Settings;
use crate::common::frame::{TRUTH, TRUTH_PARAM};
use crate::common::result::{AnomalyResult, ClassifyResult, HeatMap, Kind, Labels, scaled};

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
}

/// The text of the bar.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bar {
    /// The label, and its confidence in 0..1.
    pub label: Option<(String, f64)>,
    /// The score in ever fewer words, and whether it is anomalous.
    pub score: Option<([String; 3], bool)>,
}

/// All there is to draw.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// The map; what it covers is in pixels of the frame.
    pub heat: Option<HeatMap>,
    pub marks: Vec<Mark>,
    pub bar: Option<Bar>,
    pub alarm: bool,
}

impl Findings {
    /// What `settings` wants drawn of what the buffer of a frame of `size` = `[width, height]` has.
    pub fn read(buffer: &gst::BufferRef, settings: &Settings, size: [usize; 2]) -> Self {
        let anomaly = AnomalyResult::read(buffer);
        let classify = ClassifyResult::read(buffer);
        let bar = Bar {
            label: classify.as_ref().map(label),
            score: anomaly.as_ref().map(score),
        };
        let mut marks = Vec::new();
        if settings.show_regions {
            marks = regions(buffer, anomaly.as_ref(), classify.as_ref(), size);
        }
        if settings.show_truth {
            marks.extend(truth(buffer));
        }
        Self {
            marks,
            bar: Some(bar).filter(|bar| settings.show_label && *bar != Bar::default()),
            alarm: settings.show_frame && anomaly.as_ref().is_some_and(|anomaly| anomaly.state),
            heat: anomaly
                .filter(|_| settings.show_heatmap)
                .map(|anomaly| heat(anomaly, size)),
        }
    }

    /// Whether the frame is to stay as it is.
    pub fn is_empty(&self) -> bool {
        self.heat.is_none() && self.marks.is_empty() && self.bar.is_none() && !self.alarm
    }
}

fn label(result: &ClassifyResult) -> (String, f64) {
    (named(&result.labels), result.labels.confidence.clamp(0.0, 1.0))
}

fn named(labels: &Labels) -> String {
    if labels.known {
        format!("{} {:.0} %", labels.label, labels.confidence * 100.0)
    } else {
        labels.label.clone()
    }
}

fn score(result: &AnomalyResult) -> ([String; 3], bool) {
    let relation = if result.anomalous { '≥' } else { '<' };
    let score = short(result.score);
    let against = format!("{score} {relation} {}", short(result.threshold));
    ([format!("score {against}"), against, score], result.anomalous)
}

/// Three significant digits.
fn short(value: f64) -> String {
    let magnitude = value.abs().log10().floor();
    if magnitude.is_finite() && magnitude < -4.0 {
        return format!("{value:.2e}");
    }
    let decimals = if magnitude.is_finite() {
        (2.0 - magnitude).clamp(0.0, 6.0) as usize
    } else {
        2
    };
    format!("{value:.decimals$}")
}

fn heat(result: AnomalyResult, size: [usize; 2]) -> HeatMap {
    HeatMap {
        covers: scaled(result.map.covers, result.size, size),
        ..result.map
    }
}

/// Regions of interest; where a kind of region is only in the result, as on frames that were not inferred, those of the result.
fn regions(
    buffer: &gst::BufferRef,
    anomaly: Option<&AnomalyResult>,
    classify: Option<&ClassifyResult>,
    size: [usize; 2],
) -> Vec<Mark> {
    let on_frame = |rect: [i32; 4], from| scaled(rect.map(f64::from), from, size).map(|length| length.round() as i64);
    let (mut marks, mut has_anomalous, mut has_labelled) = (Vec::new(), false, false);
    for meta in buffer.iter_meta::<VideoRegionOfInterestMeta>() {
        let (kind, labels) = (
            meta.roi_type(),
            meta.param("candle-classify").and_then(Labels::from_structure),
        );
        if kind == TRUTH {
            continue;
        }
        let is_anomalous = kind == "anomaly";
        has_anomalous |= is_anomalous;
        has_labelled |= labels.is_some();
        let text = if is_anomalous { String::new() } else { kind.to_owned() };
        marks.push(Mark {
            rect: <[u32; 4]>::from(meta.rect()).map(i64::from),
            color: if is_anomalous { RED } else { BLUE },
            text: labels.as_ref().map_or(text, named),
        });
    }
    if let Some(result) = anomaly.filter(|_| !has_anomalous) {
        let mark = |rect| Mark {
            rect: on_frame(rect, result.size),
            color: RED,
            text: String::new(),
        };
        marks.extend(result.regions.iter().map(|region| mark(region.rect)));
    }
    if let Some(result) = classify.filter(|_| !has_labelled) {
        marks.extend(result.regions.iter().map(|region| Mark {
            rect: on_frame(region.rect, result.size),
            color: BLUE,
            text: named(&region.labels),
        }));
    }
    marks
}

/// The parts, and the defects on them.
fn truth(buffer: &gst::BufferRef) -> Vec<Mark> {
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
        marks.push(Mark {
            rect,
            color: GREEN,
            text: defect.to_owned(),
        });
        let rect = param.and_then(|param| {
            let [x, y, width, height] = ["x", "y", "width", "height"].map(|field| param.get::<u32>(field).ok());
            Some([x?, y?, width?, height?].map(i64::from))
        });
        marks.extend(rect.map(|rect| Mark {
            rect,
            color: YELLOW,
            text: String::new(),
        }));
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let found = [0.0, 0.012345, 0.5, 1.0, 12.345, 12345.6, 0.00001234, -0.25].map(short);
        assert_eq!(
            found,
            ["0.00", "0.0123", "0.500", "1.00", "12.3", "12346", "1.23e-5", "-0.250"]
        );
        assert_eq!([f64::NAN, f64::INFINITY].map(short), ["NaN", "inf"]);
    }
}

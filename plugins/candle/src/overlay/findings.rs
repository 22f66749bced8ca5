//! What there is to draw on a frame, read from its buffer.

use gst_candle::pixels::colormap::class_color;

use super::history::Age;
use super::marks::{Mark, regions, truth};
use super::settings::Layers;
use crate::common::result::{AnomalyResult, ClassifyResult, HeatMap, Kind, Labels, SegmentResult, scaled};
use crate::embed::EmbedResult;

/// Whether something is wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Status {
    #[default]
    Normal,
    /// This frame alone, the alarm not being on yet.
    Anomalous,
    /// The alarm and this frame.
    Alarm,
    /// The alarm, which is kept up although this frame is normal.
    Held,
}

impl Status {
    fn of(result: &AnomalyResult) -> Self {
        match (result.state, result.anomalous) {
            (true, true) => Self::Alarm,
            (true, false) => Self::Held,
            (false, true) => Self::Anomalous,
            (false, false) => Self::Normal,
        }
    }

    /// The word for it.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Normal => None,
            Self::Anomalous => Some("anomalous"),
            Self::Alarm => Some("ALARM"),
            Self::Held => Some("ALARM held"),
        }
    }
}

/// The score of the frame.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Score {
    /// The score and the threshold, and how they compare.
    pub text: [String; 2],
    pub status: Status,
}

/// A label in words.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Label {
    pub text: String,
    /// In 0..1.
    pub confidence: f64,
    /// Others that are probable, the best first.
    pub others: Vec<String>,
}

/// A class of the mask.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    pub name: String,
    /// The share of the frame that it takes, in words.
    pub share: String,
    pub color: [f32; 3],
    /// Whether it is on the frame.
    pub is_there: bool,
}

/// What `candlesegment` found.
#[derive(Debug, Clone)]
pub struct Segments {
    /// The number of each pixel's class.
    pub mask: gst::Buffer,
    /// `[width, height]` of the mask.
    pub size: [usize; 2],
    pub background: Option<usize>,
    /// All classes but the background: in the model's order, and the largest first.
    pub classes: [Vec<Class>; 2],
    /// What the bar says where no legend does.
    pub label: Option<Label>,
}

/// All there is to draw.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// The map; what it covers is in pixels of the frame.
    pub heat: Option<HeatMap>,
    pub marks: Vec<Mark>,
    pub label: Option<Label>,
    pub score: Option<Score>,
    /// How old the oldest of the results is.
    pub age: Age,
    /// Whether the map is of an earlier frame: drawn fainter.
    pub is_heat_old: bool,
    pub segments: Option<Segments>,
    /// Whether these are of an earlier frame: drawn fainter.
    pub is_mask_old: bool,
}

impl Findings {
    /// Whether the frame is to stay as it is.
    pub fn is_empty(&self) -> bool {
        self.heat.is_none()
            && self.marks.is_empty()
            && self.label.is_none()
            && self.score.is_none()
            && self.segments.is_none()
    }

    pub fn status(&self) -> Status {
        self.score.as_ref().map_or(Status::Normal, |score| score.status)
    }
}

/// The results on a frame.
pub struct Results {
    pub anomaly: Option<AnomalyResult>,
    pub classify: Option<ClassifyResult>,
    pub segment: Option<SegmentResult>,
    pub embed: Option<EmbedResult>,
}

impl Results {
    pub fn read(buffer: &gst::BufferRef) -> Self {
        Self {
            anomaly: AnomalyResult::read(buffer),
            classify: ClassifyResult::read(buffer),
            segment: SegmentResult::read(buffer),
            embed: EmbedResult::read(buffer),
        }
    }

    /// What `layers` want drawn of what the buffer of a frame of `size` = `[width, height]` has; `ages` are those of the results of
    /// `candleanomaly`, `candleclassify`, `candlesegment` and `candleembed`.
    pub fn findings(mut self, buffer: &gst::BufferRef, layers: Layers, size: [usize; 2], ages: [Age; 4]) -> Findings {
        let wants = |layer| layers.contains(layer);
        let is_old = ages.map(|age| age != Age::Young);
        let segments = self.segment.as_ref().and_then(|result| segments(result, layers));
        let has_segments = self.segment.is_some();
        if wants(Layers::MASK) {
            // Their borders are drawn, so that boxes would only hide them.
            self.segment = None;
        }
        let mut marks = Vec::new();
        if wants(Layers::REGIONS) {
            marks = regions(buffer, &self, has_segments, size, is_old);
        }
        if wants(Layers::TRUTH) {
            marks.extend(truth(buffer));
        }
        let has_panel = wants(Layers::LABEL) || wants(Layers::HISTORY) || wants(Layers::HEATMAP | Layers::LEGEND);
        let named = self.classify.as_ref().filter(|result| !result.labels.label.is_empty());
        let is_told = |score: &Score| has_panel || (wants(Layers::FRAME) && score.status != Status::Normal);
        Findings {
            marks,
            age: ages.into_iter().max().unwrap_or_default(),
            label: named
                .map(label)
                .or_else(|| self.embed.as_ref().and_then(nearest))
                .filter(|_| wants(Layers::LABEL)),
            score: self.anomaly.as_ref().map(score).filter(is_told),
            is_heat_old: is_old[0],
            is_mask_old: is_old[2],
            segments,
            heat: self
                .anomaly
                .filter(|_| wants(Layers::HEATMAP))
                .map(|anomaly| heat(anomaly, size)),
        }
    }
}

fn label(result: &ClassifyResult) -> Label {
    let labels = &result.labels;
    let others = labels.top.iter();
    let others = others.filter(|(label, confidence)| *label != labels.label && *confidence >= 0.005);
    Label {
        text: named(labels),
        confidence: labels.confidence.clamp(0.0, 1.0),
        others: others.map(|(label, confidence)| percent(label, *confidence)).collect(),
    }
}

/// What a frame looks like; `None` where it is compared with nothing.
fn nearest(result: &EmbedResult) -> Option<Label> {
    let nearest = result.nearest.as_ref()?;
    let like = match nearest.label.as_str() {
        "" => &nearest.name,
        class => class,
    };
    let relation = if result.known { "like" } else { "unlike" };
    Some(Label {
        text: format!("{relation} {like}: {}", short(nearest.distance)),
        confidence: (1.0 - nearest.distance).clamp(0.0, 1.0),
        others: Vec::new(),
    })
}

/// What `layers` want drawn of a mask: nothing where it shows the background alone and neither a legend nor a bar is wanted.
fn segments(result: &SegmentResult, layers: Layers) -> Option<Segments> {
    let found = result.found();
    let is_wanted = match layers.contains(Layers::MASK) {
        true => !found.is_empty() || layers.intersects(Layers::LEGEND | Layers::LABEL),
        false => layers.contains(Layers::LABEL),
    };
    let class = |number: usize, name: &str, share: f64| Class {
        name: name.to_owned(),
        share: share_text(share),
        color: class_color(number),
        is_there: share > 0.0,
    };
    let all = result.labels.iter().zip(&result.shares).enumerate();
    let all = all.filter(|(number, _)| Some(*number) != result.background);
    let text = |(name, share): &(&str, f64)| format!("{name} {}", share_text(*share));
    let label = match found.split_first() {
        Some((first, rest)) => Some(Label {
            text: text(first),
            confidence: first.1,
            others: rest.iter().map(text).collect(),
        }),
        None => {
            let background = result.background.and_then(|class| result.labels.get(class));
            background.map(|name| Label {
                text: name.clone(),
                ..Label::default()
            })
        }
    };
    is_wanted.then(|| Segments {
        mask: result.mask.clone(),
        size: result.size.map(|side| usize::try_from(side).unwrap_or(0)),
        background: result.background,
        classes: [
            all.map(|(number, (name, share))| class(number, name, *share)).collect(),
            found
                .iter()
                .map(|(name, share)| class(number_of(result, name), name, *share))
                .collect(),
        ],
        label,
    })
}

/// The number of a class.
pub fn number_of(result: &SegmentResult, name: &str) -> usize {
    result.labels.iter().position(|label| label == name).unwrap_or(0)
}

/// A share of the frame, of which small ones count, too.
fn share_text(share: f64) -> String {
    let percent = 100.0 * share;
    match percent {
        0.0 => "0 %".to_owned(),
        ..0.01 => "< 0.01 %".to_owned(),
        ..1.0 => format!("{percent:.2} %"),
        ..10.0 => format!("{percent:.1} %"),
        _ => format!("{percent:.0} %"),
    }
}

pub fn named(labels: &Labels) -> String {
    if labels.known {
        percent(&labels.label, labels.confidence)
    } else {
        labels.label.clone()
    }
}

pub fn percent(label: &str, confidence: f64) -> String {
    format!("{label} {:.0} %", confidence * 100.0)
}

fn score(result: &AnomalyResult) -> Score {
    let relation = if result.score >= result.threshold { '≥' } else { '<' };
    let score = short(result.score);
    Score {
        text: [format!("{score} {relation} {}", short(result.threshold)), score],
        status: Status::of(result),
    }
}

/// Three significant digits.
pub fn short(value: f64) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embed::result::Nearest;

    #[test]
    fn numbers_are_short() {
        let found = [0.0, 0.012345, 0.5, 1.0, 12.345, 12345.6, 0.00001234, -0.25].map(short);
        assert_eq!(
            found,
            ["0.00", "0.0123", "0.500", "1.00", "12.3", "12346", "1.23e-5", "-0.250"]
        );
        assert_eq!([f64::NAN, f64::INFINITY].map(short), ["NaN", "inf"]);
    }

    #[test]
    fn runners_up_are_those_that_round_to_a_percent_or_more() {
        let top = [("spot", 0.75), ("chip", 0.24), ("good", 0.006), ("scratch", 0.004)];
        let result = |known, label: &str| ClassifyResult {
            labels: Labels {
                label: label.into(),
                confidence: 0.75,
                known,
                top: top.map(|(label, confidence)| (label.into(), confidence)).to_vec(),
            },
            stale: false,
            size: [1, 1],
            regions: Vec::new(),
        };
        let found = label(&result(true, "spot"));
        assert_eq!((found.text.as_str(), found.confidence), ("spot 75 %", 0.75));
        assert_eq!(found.others, ["chip 24 %", "good 1 %"]);
        let found = label(&result(false, "unknown"));
        assert_eq!(found.text, "unknown");
        assert_eq!(found.others, ["spot 75 %", "chip 24 %", "good 1 %"]);
    }

    #[test]
    fn a_frame_is_like_the_nearest_picture() {
        let result = |known, label: &str| EmbedResult {
            code: vec![1.0],
            nearest: Some(Nearest {
                distance: 0.25,
                name: "crack_7.png".into(),
                label: label.into(),
            }),
            known,
            stale: false,
            size: [1, 1],
        };
        let found = nearest(&result(true, "crack")).unwrap();
        assert_eq!((found.text.as_str(), found.confidence), ("like crack: 0.250", 0.75));
        assert_eq!(nearest(&result(false, "")).unwrap().text, "unlike crack_7.png: 0.250");
        let alone = EmbedResult {
            nearest: None,
            ..result(false, "")
        };
        assert!(nearest(&alone).is_none());
    }
}

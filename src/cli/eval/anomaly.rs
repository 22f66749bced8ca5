//! Anomaly detectors: of whole pictures, of pixels, and at the model's threshold.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::super::common::figure;
use super::named::Namer;
use super::{Args, Outcome};
use crate::data::layout::{Dataset, Layout, Split, read_mask};
use crate::exec::Options;
use crate::model::Model;
use crate::pixels::Image;
use crate::score::labels::GOOD;
use crate::score::metrics;
use crate::tasks::AnomalyDetector;
use crate::train::samples::is_good;

/// False-positive rate up to which AU-PRO integrates (Bergmann 2021).
const PRO_LIMIT: f64 = 0.3;
/// Most pixels of all maps together that are judged at the frames' own size (about 1 GB while the curves are made).
const MOST_PIXELS: usize = 24 << 20;
/// Longest side of the maps else: maps are averaged down, masks sampled at the nearest pixel.
const REDUCED_SIDE: usize = 256;

/// The class of a defective picture that lies in no folder named by one.
const UNNAMED: &str = "defect";

/// Maps and masks of all pictures, at the frames' own size, or reduced when they would be too many.
#[derive(Default)]
struct Pixels {
    maps: Vec<Image>,
    masks: Vec<Image>,
    masked: bool,
    reduced: bool,
    pixels: usize,
}

/// Scores every test picture; a picture is anomalous when its class is not `good` or its mask is not empty.
pub fn evaluate(args: &Args, model: &Model, options: &Options) -> Result<Outcome> {
    let data = Dataset::open(&args.data, Split::Test, args.frames.limits())?;
    if data.samples.is_empty() {
        bail!("{}: no pictures found", args.data[0]);
    }
    let mut detector = AnomalyDetector::new(model, options).with_context(|| args.model.display().to_string())?;
    let threshold = detector.calibration().threshold;
    let pixel_threshold = detector.calibration().pixel_threshold;
    let mut namer = args
        .classifier
        .as_ref()
        .map(|path| Namer::open(path, args.context, args.min_area, options))
        .transpose()?;
    let (mut scores, mut anomalous) = (Vec::new(), Vec::new());
    let mut by_kind: BTreeMap<&str, Vec<f32>> = BTreeMap::new();
    let mut pixels = Pixels::default();
    let mut unjudged = 0;
    for (sample, goes_on) in data.in_order() {
        if !goes_on {
            detector.reset();
        }
        let image = data.read(sample)?;
        let inspection = detector.inspect(&image)?;
        if !inspection.judged {
            unjudged += 1;
            continue;
        }
        let mask = sample.mask.as_ref().map(|path| read_mask(path, &image)).transpose()?;
        let bad = !is_good(sample)?;
        scores.push(inspection.score);
        anomalous.push(bad);
        if let Some(kind) = sample.class.as_deref().filter(|_| bad) {
            by_kind.entry(kind).or_default().push(inspection.score);
        }
        if let Some(namer) = &mut namer {
            let flagged = inspection.score >= threshold;
            let class = sample.class.as_deref().unwrap_or(if bad { UNNAMED } else { GOOD[0] });
            namer.add(class, &image, flagged.then_some((&inspection, pixel_threshold)))?;
        }
        // Without its mask, a defect cannot be told from its surroundings; a good picture is all background.
        if mask.is_some() || !bad {
            pixels.add(inspection.frame_map(), mask);
        }
    }
    // The share of good pictures, or of the others, that are flagged, or are not, between the ends of its interval.
    let share = |of: bool, flagged: bool| {
        let all = scores.iter().zip(&anomalous).filter(|(_, a)| **a == of);
        let count = all.clone().count();
        let hits = all.filter(|(score, _)| (**score >= threshold) == flagged).count();
        let [low, high] = metrics::share_interval(hits, count);
        [hits as f64 / count as f64, low, high].map(|share| (count > 0).then_some(share))
    };
    let [false_alarms, misses] = [share(false, true), share(true, false)];
    let [pixel_auroc, pixel_ap, aupro] = pixels.figures();
    let auroc = metrics::auroc(&scores, &anomalous);
    let named = [
        ("frame_auc", auroc.filter(|_| data.layout == Layout::Video)),
        ("image_auroc", auroc),
        ("image_ap", metrics::average_precision(&scores, &anomalous)),
        ("f1_max", metrics::f1_max(&scores, &anomalous).map(|(f1, _)| f1)),
        ("pixel_auroc", pixel_auroc),
        ("pixel_ap", pixel_ap),
        ("aupro", aupro),
        ("false_alarm_rate", false_alarms[0]),
        ("false_alarm_rate_low", false_alarms[1]),
        ("false_alarm_rate_high", false_alarms[2]),
        ("miss_rate", misses[0]),
        ("miss_rate_low", misses[1]),
        ("miss_rate_high", misses[2]),
        ("threshold", Some(f64::from(threshold))),
    ];
    let mut figures: Map<String, Value> = named
        .into_iter()
        .map(|(name, value)| (name.to_owned(), figure(value)))
        .collect();
    let good: Vec<f32> = scores
        .iter()
        .zip(&anomalous)
        .filter(|(_, bad)| !**bad)
        .map(|(score, _)| *score)
        .collect();
    let mut text = format!(
        "{} good pictures, {} with defects\n",
        good.len(),
        scores.len() - good.len()
    );
    if let Some(namer) = &namer {
        figures.extend(namer.figures());
        text.push_str(&namer.table());
    }
    if by_kind.len() > 1 {
        let kinds = kinds(&good, &by_kind, threshold);
        text.push_str(&table(&kinds));
        figures.insert("kinds".into(), kinds.into());
    }
    if data
        .samples
        .iter()
        .all(|sample| sample.class.is_none() && sample.mask.is_none())
    {
        text.push_str("no folder or mask says which are defective: all are taken as good\n");
    }
    if unjudged > 0 {
        text.push_str(&format!(
            "{unjudged} frames have too few before them to be judged, and do not count\n"
        ));
    }
    if pixels.reduced {
        text.push_str(&format!(
            "pixel figures on maps reduced to {REDUCED_SIDE} pixels a side\n"
        ));
    }
    Ok(Outcome {
        figures,
        images: scores.len(),
        text,
    })
}

/// For each kind of defect how many pictures there are, how well their scores are told from the good ones', and which share is missed.
fn kinds(good: &[f32], by_kind: &BTreeMap<&str, Vec<f32>>, threshold: f32) -> Map<String, Value> {
    let kind = |(kind, scores): (&&str, &Vec<f32>)| {
        let all = [good, scores].concat();
        let bad: Vec<bool> = (0..all.len()).map(|i| i >= good.len()).collect();
        let missed = scores.iter().filter(|score| **score < threshold).count();
        let figures = json!({
            "images": scores.len(), "image_auroc": figure(metrics::auroc(&all, &bad)), "miss_rate": missed as f64 / scores.len() as f64,
        });
        ((*kind).to_owned(), figures)
    };
    by_kind.iter().map(kind).collect()
}

fn table(kinds: &Map<String, Value>) -> String {
    let width = kinds.keys().map(|kind| kind.chars().count()).max().unwrap_or(0).max(6);
    let mut text = format!("{:width$}  pictures  image AUROC  missed\n", "defect");
    for (kind, figures) in kinds {
        let share = |name: &str| figures[name].as_f64().map_or("-".into(), |share| format!("{share:.3}"));
        let (images, auroc, missed) = (&figures["images"], share("image_auroc"), share("miss_rate"));
        text.push_str(&format!("{kind:width$}  {images:>8}  {auroc:>11}  {missed:>6}\n"));
    }
    text
}

impl Pixels {
    fn add(&mut self, map: Image, mask: Option<Image>) {
        self.masked |= mask.is_some();
        let mask = mask.unwrap_or_else(|| Image::filled(1, map.height, map.width, 0.0));
        self.pixels += map.data.len();
        self.maps.push(map);
        self.masks.push(mask);
        if self.pixels > MOST_PIXELS && !self.reduced {
            self.reduced = true;
            self.maps.iter_mut().for_each(reduce_map);
            self.masks.iter_mut().for_each(reduce_mask);
        } else if self.reduced {
            self.maps.last_mut().into_iter().for_each(reduce_map);
            self.masks.last_mut().into_iter().for_each(reduce_mask);
        }
    }

    /// Pixel AUROC, pixel AP, AU-PRO; none without masks.
    fn figures(&self) -> [Option<f64>; 3] {
        if !self.masked {
            return [None; 3];
        }
        let scores: Vec<f32> = self.maps.iter().flat_map(|m| m.data.iter().copied()).collect();
        let positive: Vec<bool> = self
            .masks
            .iter()
            .flat_map(|m| m.data.iter().map(|&x| x > 0.5))
            .collect();
        [
            metrics::auroc(&scores, &positive),
            metrics::average_precision(&scores, &positive),
            metrics::aupro(&self.maps, &self.masks, PRO_LIMIT),
        ]
    }
}

/// `[width, height]` with sides of at most [`REDUCED_SIDE`].
fn reduced_size(image: &Image) -> [usize; 2] {
    [image.width.min(REDUCED_SIDE), image.height.min(REDUCED_SIDE)]
}

fn reduce_map(map: &mut Image) {
    let [width, height] = reduced_size(map);
    *map = map.resize(width, height);
}

fn reduce_mask(mask: &mut Image) {
    let [width, height] = reduced_size(mask);
    let at = |i: usize, from: usize, to: usize| (2 * i + 1) * from / (2 * to);
    let rows = (0..height).map(|y| at(y, mask.height, height) * mask.width);
    let data = rows
        .flat_map(|row| (0..width).map(move |x| (row, x)))
        .map(|(row, x)| mask.data[row + at(x, mask.width, width)]);
    *mask = Image {
        channels: 1,
        height,
        width,
        data: data.collect(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_sampled_at_the_nearest_pixel() {
        let data = (0..1024 * 2).map(|i| (i % 1024) as f32).collect();
        let mut mask = Image {
            channels: 1,
            height: 2,
            width: 1024,
            data,
        };
        reduce_mask(&mut mask);
        assert_eq!((mask.width, mask.height), (256, 2));
        assert_eq!(mask.data[..3], [2.0, 6.0, 10.0]);
        assert_eq!(mask.data[256 + 255], 1022.0);
    }
}

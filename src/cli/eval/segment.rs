//! Segmenters: how the classes of pixels overlap with the true ones.

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::super::common::figure;
use super::{Args, Outcome};
use crate::data::layout::{Dataset, Split};
use crate::data::masks::Coding;
use crate::exec::Options;
use crate::model::{BACKGROUND, Model};
use crate::score::metrics::Overlaps;
use crate::tasks::Segmenter;

/// Segments every test picture that has a mask.
pub fn evaluate(args: &Args, model: &Model, options: &Options) -> Result<Outcome> {
    let data = Dataset::open(&args.data, Split::Test, args.frames.limits())?;
    let masks: Vec<_> = data
        .samples
        .iter()
        .filter_map(|sample| sample.mask.as_deref())
        .collect();
    if masks.is_empty() {
        bail!(
            "{}: no pictures with masks found; expected images/ and masks/",
            args.data[0]
        );
    }
    let coding = match Coding::found(masks)? {
        Coding::Numbers(classes) if classes > model.labels.len() => bail!(
            "{}: its masks have {classes} classes, the model {}: {}",
            args.data[0],
            model.labels.len(),
            model.labels.join(", ")
        ),
        // A class that is in no mask of these may be in others.
        Coding::Numbers(_) => Coding::Numbers(model.labels.len()),
        Coding::BlackAndWhite if model.labels.len() != 2 || model.labels[0] != BACKGROUND => bail!(
            "{}: its masks are black and white, for models of two classes, {BACKGROUND} and another; the model has {}",
            args.data[0],
            model.labels.join(", ")
        ),
        coding => coding,
    };
    let mut segmenter = Segmenter::new(model, options).with_context(|| args.model.display().to_string())?;
    let threshold = args.threshold.unwrap_or(0.0) as f32;
    let (mut all, mut of_pictures) = (Overlaps::new(model.labels.len()), Vec::new());
    for sample in &data.samples {
        let Some(path) = &sample.mask else { continue };
        let image = data.read(sample)?;
        let truth = coding.read(path, [image.width, image.height])?;
        let segmentation = segmenter.segment(&image)?;
        let found = segmenter.segments(&segmentation, threshold, args.min_area).mask;
        let mut one = Overlaps::new(model.labels.len());
        for (found, there) in found.into_iter().zip(truth.classes) {
            if usize::from(there) < model.labels.len() {
                all.count(found.into(), there.into());
                one.count(found.into(), there.into());
            }
        }
        of_pictures.push(mean_of_marks(&model.labels, |class| one.iou(class)));
    }
    let figures: Map<String, Value> = [
        ("iou", mean_of_marks(&model.labels, |class| all.iou(class))),
        ("dice", mean_of_marks(&model.labels, |class| all.dice(class))),
        (
            "iou_by_picture",
            of_pictures.iter().sum::<f64>() / of_pictures.len() as f64,
        ),
        ("pixel_accuracy", all.pixel_accuracy()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), figure(value)))
    .collect();
    Ok(Outcome {
        figures,
        images: of_pictures.len(),
        text: table(&model.labels, &all),
    })
}

/// The mean over the classes but the background that are found or there; 0 of none.
fn mean_of_marks(labels: &[String], of_class: impl Fn(usize) -> Option<f64>) -> f64 {
    let marks = (0..labels.len()).filter(|&class| labels[class] != BACKGROUND);
    let values: Vec<f64> = marks.filter_map(of_class).collect();
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn table(labels: &[String], overlaps: &Overlaps) -> String {
    let width = labels
        .iter()
        .map(|label| label.chars().count())
        .max()
        .unwrap_or(0)
        .max(5);
    let mut text = format!("{:width$}    IoU   Dice\n", "class");
    for (class, label) in labels.iter().enumerate() {
        let [iou, dice] = [overlaps.iou(class), overlaps.dice(class)]
            .map(|value| value.map_or("-".to_owned(), |value| format!("{value:.3}")));
        writeln!(text, "{label:width$}  {iou:>5}  {dice:>5}").expect("a string takes all");
    }
    text
}

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
    let first = usize::from(model.labels.first().is_some_and(|label| label == BACKGROUND));
    let coding = match Coding::found(masks)? {
        Coding::Numbers(classes) if classes > model.labels.len() => bail!(
            "{}: its masks have {classes} classes, the model {}: {}",
            args.data[0],
            model.labels.len(),
            model.labels.join(", ")
        ),
        // A class that is in no mask of these may be in others.
        Coding::Numbers(_) => Coding::Numbers(model.labels.len()),
        coding => coding,
    };
    let mut segmenter = Segmenter::new(model, options).with_context(|| args.model.display().to_string())?;
    let (mut all, mut of_pictures) = (Overlaps::new(model.labels.len()), Vec::new());
    for sample in &data.samples {
        let Some(path) = &sample.mask else { continue };
        let image = data.read(sample)?;
        let truth = coding.read(path, [image.width, image.height])?;
        let (found, _) = segmenter.segment(&image)?.classes(segmenter.background(), 0.0);
        let mut one = Overlaps::new(model.labels.len());
        for (found, there) in found.into_iter().zip(truth.classes) {
            if usize::from(there) < model.labels.len() {
                all.count(found.into(), there.into());
                one.count(found.into(), there.into());
            }
        }
        of_pictures.push(one.mean_iou(first));
    }
    let figures: Map<String, Value> = [
        ("iou", all.mean_iou(first)),
        ("dice", all.mean_dice(first)),
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

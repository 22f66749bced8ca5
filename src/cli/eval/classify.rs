//! Classifiers: how often they are right, and whether their probabilities say so.

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::super::common::figure;
use super::{Args, Outcome};
use crate::data::layout::{Dataset, Split};
use crate::exec::Options;
use crate::model::Model;
use crate::score::metrics;
use crate::tasks::Classifier;
use crate::train::classify::labels_of;

/// Classifies every test picture.
pub fn evaluate(args: &Args, model: &Model, options: &Options) -> Result<Outcome> {
    let data = Dataset::open(&args.data, Split::Test, args.frames.limits())?;
    if data.samples.is_empty() {
        bail!("{}: no pictures found", args.data[0]);
    }
    let truth = labels_of(&data, &model.labels, &args.data[0])?;
    let mut classifier = Classifier::new(model, options).with_context(|| args.model.display().to_string())?;
    let (mut predicted, mut confidence) = (Vec::new(), Vec::new());
    for sample in &data.samples {
        let probabilities = classifier.classify(&data.read(sample)?)?;
        let best = (0..probabilities.len())
            .max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]))
            .unwrap_or(0);
        predicted.push(best);
        confidence.push(probabilities[best]);
    }
    let correct: Vec<bool> = truth.iter().zip(&predicted).map(|(t, p)| t == p).collect();
    let figures: Map<String, Value> = [
        ("accuracy".to_owned(), figure(metrics::accuracy(&truth, &predicted))),
        (
            "ece".to_owned(),
            figure(metrics::expected_calibration_error(&confidence, &correct)),
        ),
    ]
    .into_iter()
    .collect();
    let text = table(
        &model.labels,
        &metrics::confusion(&truth, &predicted, model.labels.len()),
    );
    Ok(Outcome {
        figures,
        images: truth.len(),
        text,
    })
}

/// Each class's share of right answers, and which classes it was taken for.
fn table(labels: &[String], confusion: &[Vec<usize>]) -> String {
    let width = labels.iter().map(String::len).max().unwrap_or(0).max(5);
    let mut text = format!("{:width$}  pictures  right   taken for\n", "class");
    for (class, row) in confusion.iter().enumerate() {
        let all: usize = row.iter().sum();
        if all == 0 {
            continue;
        }
        let wrong = row.iter().enumerate().filter(|&(other, &n)| other != class && n > 0);
        let wrong: Vec<String> = wrong.map(|(other, n)| format!("{} {n}", labels[other])).collect();
        let share = row[class] as f64 / all as f64;
        writeln!(
            text,
            "{:width$}  {all:8}  {share:.3}  {}",
            labels[class],
            wrong.join(", ")
        )
        .expect("a string takes all");
    }
    text
}

//! Classifiers: how often they are right, whether their probabilities say so, and whether they know what they do not know.

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::super::common::{describe, figure};
use super::{Args, Outcome};
use crate::data::augment::degrade;
use crate::data::layout::{Dataset, Sample, Split};
use crate::data::random::stream;
use crate::exec::Options;
use crate::model::Model;
use crate::score::metrics::{self, largest};
use crate::tasks::Classifier;
use crate::train::classify::known_labels_of;

/// Share of known pictures that are called unknown where `unknown_found_at_5` is read.
const FALSE_UNKNOWN: f64 = 0.05;

/// What was said of a picture.
struct Answer<'a> {
    sample: &'a Sample,
    /// Its class, where the model knows that.
    truth: Option<usize>,
    probabilities: Vec<f32>,
    strangeness: f32,
}

impl Answer<'_> {
    fn predicted(&self) -> usize {
        largest(&self.probabilities)
    }

    fn is_unknown(&self) -> bool {
        self.strangeness > 1.0
    }
}

/// Classifies every test picture. Those of classes that the model does not know tell whether it says so.
pub fn evaluate(args: &Args, model: &Model, options: &Options) -> Result<Outcome> {
    let data = Dataset::open(&args.data, Split::Test, args.frames.limits())?;
    if data.samples.is_empty() {
        bail!("{}: no pictures found", args.data[0]);
    }
    let truth = known_labels_of(&data, &model.labels, &args.data[0])?;
    let mut classifier = Classifier::new(model, options).with_context(|| args.model.display().to_string())?;
    let mut answers = Vec::new();
    for (i, (sample, truth)) in data.samples.iter().zip(truth).enumerate() {
        let mut image = data.read(sample)?;
        if let Some(strength) = args.degrade {
            image = degrade(&image, strength, &mut stream(args.seed, 0, i as u64));
        }
        let named = classifier.classify(&[image])?.swap_remove(0);
        answers.push(Answer {
            sample,
            truth,
            strangeness: classifier.strangeness(&named),
            probabilities: named.probabilities,
        });
    }
    let figures = figures(&answers);
    let mut text = table(&model.labels, &answers);
    text.push_str(&top_losses(&model.labels, &answers, args.top_losses));
    Ok(Outcome {
        figures,
        images: answers.len(),
        text,
    })
}

fn figures(answers: &[Answer<'_>]) -> Map<String, Value> {
    let known: Vec<(&Answer<'_>, usize)> = answers.iter().filter_map(|a| Some((a, a.truth?))).collect();
    let strange: Vec<&Answer<'_>> = answers.iter().filter(|a| a.truth.is_none()).collect();
    let truth: Vec<usize> = known.iter().map(|(_, truth)| *truth).collect();
    let predicted: Vec<usize> = known.iter().map(|(a, _)| a.predicted()).collect();
    let correct: Vec<bool> = truth.iter().zip(&predicted).map(|(t, p)| t == p).collect();
    let confidence: Vec<f32> = known.iter().map(|(a, _)| a.probabilities[a.predicted()]).collect();
    let share = |of: usize, all: usize| (all > 0).then(|| of as f64 / all as f64);
    let false_unknown = known.iter().filter(|(a, _)| a.is_unknown()).count();
    let found = strange.iter().filter(|a| a.is_unknown()).count();
    let scores: Vec<f32> = answers.iter().map(|a| a.strangeness).collect();
    let is_strange: Vec<bool> = answers.iter().map(|a| a.truth.is_none()).collect();
    let found_at = metrics::recall_at(&scores, &is_strange, FALSE_UNKNOWN);
    [
        (
            "accuracy",
            (!known.is_empty()).then(|| metrics::accuracy(&truth, &predicted)),
        ),
        (
            "ece",
            (!known.is_empty()).then(|| metrics::expected_calibration_error(&confidence, &correct)),
        ),
        ("false_unknown_rate", share(false_unknown, known.len())),
        ("unknown_found", share(found, strange.len())),
        ("unknown_found_at_5", found_at),
        ("unknown_auroc", metrics::auroc(&scores, &is_strange)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), figure(value)))
    .collect()
}

/// Each class's share of right answers, which classes it was taken for, and how often it was called unknown.
fn table(labels: &[String], answers: &[Answer<'_>]) -> String {
    let mut rows: Vec<(&str, Vec<&Answer<'_>>)> = labels
        .iter()
        .enumerate()
        .map(|(class, label)| {
            let of_class = answers.iter().filter(|a| a.truth == Some(class));
            (label.as_str(), of_class.collect())
        })
        .collect();
    rows.push((
        "(not known to it)",
        answers.iter().filter(|a| a.truth.is_none()).collect(),
    ));
    rows.retain(|(_, answers)| !answers.is_empty());
    let width = rows
        .iter()
        .map(|(label, _)| label.chars().count())
        .max()
        .unwrap_or(0)
        .max(5);
    let mut text = format!("{:width$}  pictures  right  unknown  taken for\n", "class");
    for (label, answers) in rows {
        let mut taken = vec![0; labels.len()];
        let (mut right, mut unknown) = (0, 0);
        for answer in &answers {
            let is_right = answer.truth == Some(answer.predicted());
            right += usize::from(is_right);
            unknown += usize::from(answer.is_unknown());
            taken[answer.predicted()] += usize::from(!is_right);
        }
        let all = answers.len();
        let share = |count: usize| count as f64 / all as f64;
        let taken = taken.iter().zip(labels).filter(|(n, _)| **n > 0);
        let taken: Vec<String> = taken.map(|(n, label)| format!("{label} {n}")).collect();
        let (right, unknown, taken) = (share(right), share(unknown), taken.join(", "));
        writeln!(text, "{label:width$}  {all:8}  {right:.3}  {unknown:7.3}  {taken}").expect("a string takes all");
    }
    text
}

/// The pictures whose own class was given the least probability: where to look first for wrong labels and hard cases.
fn top_losses(labels: &[String], answers: &[Answer<'_>], count: usize) -> String {
    let mut known: Vec<(&Answer<'_>, usize)> = answers.iter().filter_map(|a| Some((a, a.truth?))).collect();
    known.sort_by(|(a, i), (b, j)| a.probabilities[*i].total_cmp(&b.probabilities[*j]));
    let mut text = String::new();
    if count > 0 && !known.is_empty() {
        text.push_str("largest losses: picture, its class and its probability, what it was taken for\n");
    }
    for (answer, truth) in known.into_iter().take(count) {
        let (source, predicted) = (describe(&answer.sample.source), answer.predicted());
        let [own, other] =
            [truth, predicted].map(|class| format!("{} {:.3}", labels[class], answer.probabilities[class]));
        writeln!(text, "  {source}  {own}  {other}").expect("a string takes all");
    }
    text
}

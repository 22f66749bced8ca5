//! New classes for a classifier from a few pictures each, by their codes: the network stays as it is.

use crate::exec;
use crate::graph::Array;
use crate::model::{Calibration, Codes, Model};
use crate::pixels::Image;
use crate::score::calibration::reached_by;
use crate::score::codes::stacked;
use crate::tasks::Classifier;
use crate::{Error, Result};

/// Most codes that a taught model holds: each frame is compared with all of them.
const MOST_CODES: usize = 10_000;
/// Pictures that are held at once: as many as go through the network together.
const TOGETHER: usize = 8;
/// Share of the pictures of a taught class that are known by the others of it.
const KNOWN: f64 = 0.9;

/// A class that was taught.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taught {
    /// Its name.
    pub label: String,
    /// How many pictures it was taught by.
    pub pictures: usize,
    /// Whether the model did not know it before.
    pub is_new: bool,
}

/// Adds the codes of pictures to those of `model`, and classes that it does not know to its labels; `labels` has the class of each picture, and
/// `read` gives the picture of this number, of which few are held at once. The largest distance at which a frame is
/// known grows where pictures of a taught class lie farther from each other.
///
/// # Errors
/// [`Error::Invalid`] for a model without codes, without examples, or with more codes than a model may hold.
pub fn teach(
    model: &mut Model,
    labels: Vec<String>,
    read: impl Fn(usize) -> Result<Image>,
    options: &exec::Options,
) -> Result<Vec<Taught>> {
    let Some(known) = model.codes().map(|codes| codes.classes.len()) else {
        let reason = "it keeps no codes, by which classes are taught: train it again by this version";
        return Err(Error::Invalid(reason.into()));
    };
    if labels.is_empty() {
        return Err(Error::Invalid("no pictures to be taught by".into()));
    }
    if known + labels.len() > MOST_CODES {
        return Err(Error::Invalid(format!(
            "{known} codes and {} more: a model holds at most {MOST_CODES}; train it with so many pictures",
            labels.len()
        )));
    }
    let mut classifier = Classifier::new(model, options)?;
    let mut rows = Vec::with_capacity(labels.len());
    for first in (0..labels.len()).step_by(TOGETHER) {
        let pictures: Vec<Image> = (first..labels.len()).take(TOGETHER).map(&read).collect::<Result<_>>()?;
        for seen in classifier.see(&pictures)? {
            rows.push(
                seen.code
                    .ok_or_else(|| Error::Invalid("its network gives no codes".into()))?,
            );
        }
    }

    let mut taught: Vec<Taught> = Vec::new();
    let mut classes = Vec::with_capacity(labels.len());
    for label in labels {
        match taught.iter_mut().find(|one| one.label == label) {
            Some(one) => one.pictures += 1,
            None => {
                let is_new = !model.labels.contains(&label);
                if is_new {
                    model.labels.push(label.clone());
                }
                taught.push(Taught {
                    label: label.clone(),
                    pictures: 1,
                    is_new,
                });
            }
        }
        classes.extend(model.labels.iter().position(|known| *known == label));
    }
    let distances: Vec<f32> = taught
        .iter()
        .filter_map(|one| {
            let class = model.labels.iter().position(|label| *label == one.label)?;
            let own = rows.iter().zip(&classes).filter(|(_, of)| **of == class);
            reach(own.map(|(row, _)| row.clone()).collect())
        })
        .collect();
    let count = model.labels.len();
    let Some(Calibration::Classify(calibration)) = &mut model.calibration else {
        return Err(Error::Invalid("it was never calibrated".into()));
    };
    // A class that is found by its codes must be no more than likelier than each other one.
    calibration.thresholds.resize(count, 1.0 / count as f32);
    if let Some(codes) = &mut calibration.codes {
        codes.classes.extend(classes);
        codes.vectors.shape[0] += rows.len();
        codes.vectors.data.extend(rows.concat());
        codes.distance = distances.into_iter().fold(codes.distance, f32::max);
    }
    Ok(taught)
}

/// How far from the others of their class most of these codes lie; `None` for a single one.
fn reach(rows: Vec<Vec<f32>>) -> Option<f32> {
    let vectors: Array = stacked(&rows);
    let codes = Codes {
        vectors,
        ..Codes::default()
    };
    let apart = codes.apart();
    apart.iter().all(|x| x.is_finite()).then(|| reached_by(apart, KNOWN))
}

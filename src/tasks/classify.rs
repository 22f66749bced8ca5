//! Frames in, labels out.

use crate::exec::{Options, Session};
use crate::model::{Calibration, ClassCalibration, InputSpec, Model, Task};
use crate::pixels::{Frame, Image};
use crate::score::calibration::probabilities;
use crate::score::codes::distance;
use crate::score::{decision, metrics::largest};
use crate::{Error, Result};

use super::input::{batch, extend, fit, fit_frame, normalize};

/// How sharply a class that is known by its codes alone is told from the network's own: the power of the distances' ratio.
const SHARPNESS: i32 = 4;
/// Pictures that go through a network at once: a plan is made for each of these numbers.
const BATCHES: [usize; 4] = [8, 4, 2, 1];

/// A classifier ready to run.
pub struct Classifier {
    session: Session,
    input: InputSpec,
    labels: Vec<String>,
    calibration: ClassCalibration,
    /// The mean code of each label, where there are codes.
    means: Vec<Vec<f32>>,
}

/// What the network gives for a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// One value for each of the network's classes, before softmax and temperature.
    pub logits: Vec<f32>,
    /// Its code, where the network gives one: of length 1 where the model keeps others, else what the network gives.
    pub code: Option<Vec<f32>>,
}

/// What a picture shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// One a label.
    pub probabilities: Vec<f32>,
    /// From the nearest known code, 0 to 2, where there are codes.
    pub distance: Option<f32>,
}

impl Classifier {
    /// Refuses a model of another task or without labels. A model never calibrated gets temperature 1 and no thresholds.
    pub fn new(model: &Model, options: &Options) -> Result<Self> {
        Self::with_session(model, Session::new(model, options)?)
    }

    /// The same on a session of this model, whose own weights are not looked at.
    pub fn with_session(model: &Model, session: Session) -> Result<Self> {
        super::require(model, Task::Classify)?;
        if model.labels.is_empty() {
            return Err(Error::Invalid("this classifier has no labels; train it again".into()));
        }
        let calibration = match &model.calibration {
            Some(Calibration::Classify(calibration)) => calibration.clone(),
            _ => ClassCalibration {
                temperature: 1.0,
                thresholds: vec![0.0; model.labels.len()],
                codes: None,
            },
        };
        let codes = calibration.codes.as_ref();
        Ok(Self {
            session,
            input: model.input.clone(),
            labels: model.labels.clone(),
            means: codes.map_or_else(Vec::new, |codes| codes.means(model.labels.len())),
            calibration,
        })
    }

    /// Class names, in the order of the probabilities.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Temperature and thresholds.
    pub fn calibration(&self) -> &ClassCalibration {
        &self.calibration
    }

    /// The part `[x, y, width, height]` of a frame, which must lie inside, as the network sees it: a picture to [`Classifier::classify`].
    pub fn fit_frame(&self, frame: &Frame, part: [usize; 4]) -> Image {
        fit_frame(&self.input, frame, part).0
    }

    /// What the network gives for pictures of any size and colour. An error when that is not finite.
    pub fn see(&mut self, images: &[Image]) -> Result<Vec<Seen>> {
        let images: Vec<Image> = images
            .iter()
            .map(|image| extend(&self.input, normalize(&self.input, fit(&self.input, image).0).0))
            .collect();
        let mut all = Vec::with_capacity(images.len());
        let mut rest = images.as_slice();
        while let Some(count) = self.together(rest) {
            let (now, later) = rest.split_at(count);
            rest = later;
            let outputs = self.session.run(&[batch(&now.iter().collect::<Vec<_>>())])?;
            outputs
                .iter()
                .try_for_each(|output| super::require_finite(&output.data))?;
            let code = |seen: Vec<f32>| match &self.calibration.codes {
                Some(codes) => codes.code(&seen),
                None => seen,
            };
            let row = |output: usize, i: usize| {
                let features = outputs[output].data.len() / count;
                outputs[output].data[i * features..][..features].to_vec()
            };
            all.extend((0..count).map(|i| Seen {
                logits: row(0, i),
                code: (outputs.len() > 1).then(|| code(row(1, i))),
            }));
        }
        Ok(all)
    }

    /// How many of the next pictures go through the network together.
    fn together(&self, images: &[Image]) -> Option<usize> {
        let size = |image: &Image| [image.width, image.height];
        let first = images.first()?;
        let alike = images.iter().take_while(|image| size(image) == size(first)).count();
        BATCHES.into_iter().find(|count| *count <= alike)
    }

    /// What a picture is by what was [seen](Classifier::see) of it.
    pub fn name(&self, seen: &Seen) -> Named {
        let mut probabilities = probabilities(&seen.logits, self.calibration.temperature);
        let outputs = probabilities.len();
        probabilities.resize(self.labels.len(), 0.0);
        let codes = self.calibration.codes.as_ref().zip(seen.code.as_ref());
        let Some((codes, code)) = codes else {
            let distance = None;
            return Named {
                probabilities,
                distance,
            };
        };
        // A class of a few pictures is at a disadvantage where the nearest of many codes wins, not so where means are compared.
        let from_mean = |mean: &Vec<f32>| {
            if mean.is_empty() {
                f32::INFINITY
            } else {
                distance(mean, code)
            }
        };
        let distances: Vec<f32> = self.means.iter().map(from_mean).collect();
        let least = |distances: &[f32]| distances.iter().copied().fold(f32::INFINITY, f32::min);
        // What the network has no output for takes its share from what it has.
        let (own, added) = distances.split_at(outputs);
        let powers: Vec<f32> = added
            .iter()
            .map(|distance| (least(own).min(2.0) / distance.max(1e-6)).powi(SHARPNESS))
            .collect();
        let sum = 1.0 + powers.iter().sum::<f32>();
        probabilities.iter_mut().for_each(|p| *p /= sum);
        for (p, power) in probabilities[outputs..].iter_mut().zip(powers) {
            *p = power / sum;
        }
        Named {
            probabilities,
            distance: codes.nearest(code).map(|(_, distance)| distance),
        }
    }

    /// How unlike all that the model knows a picture is: above 1 it is unknown.
    pub fn strangeness(&self, named: &Named) -> f32 {
        let best = largest(&named.probabilities);
        let most = self
            .calibration
            .codes
            .as_ref()
            .map_or(f32::INFINITY, |codes| codes.distance);
        decision::strangeness(
            [named.probabilities[best], self.calibration.thresholds[best]],
            [named.distance.unwrap_or(0.0), most],
        )
    }

    /// What pictures of any size and colour show.
    pub fn classify(&mut self, images: &[Image]) -> Result<Vec<Named>> {
        let seen = self.see(images)?;
        Ok(seen.iter().map(|seen| self.name(seen)).collect())
    }
}

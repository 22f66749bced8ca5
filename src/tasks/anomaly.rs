//! Frames in, scores and maps out.

use std::collections::VecDeque;

use crate::exec::{Options, Session};
use crate::graph::Array;
use crate::model::{AnomalyCalibration, Calibration, InputSpec, MapKind, Model, Scoring, Task};
use crate::pixels::{Frame, Image, Placement};
use crate::score::maps;
use crate::{Error, Result};

use super::input::{alone, batch, extend, fit, fit_frame, normalize, only};
use super::tiles::in_pieces;

/// An anomaly model ready to run.
pub struct AnomalyDetector {
    session: Session,
    input: InputSpec,
    calibration: AnomalyCalibration,
    /// Whether the network predicts each frame from those before it.
    predicts: bool,
    /// The frames before, as the network takes them, oldest first; as many as it predicts from.
    window: VecDeque<Image>,
}

/// What the network sees of a frame.
enum Seen {
    /// Its input.
    Whole(Array),
    /// A picture to be cut into pieces of `[width, height]`.
    Pieces(Image, [usize; 2]),
}

/// What an anomaly model says of one frame.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Whether the frame was judged. A network that predicts judges none before it has seen enough: score and map are 0.
    pub judged: bool,
    /// Raw score: the mean of the map's largest values over the frame, before their surroundings raise them.
    pub score: f32,
    /// One-channel map at the network's size, which surroundings have raised (the calibration's `context`).
    pub map: Image,
    /// The network's reconstruction or prediction, 0..1, at the network's size.
    pub reconstruction: Image,
    /// How map and frame lie on each other.
    pub placement: Placement,
}

impl AnomalyDetector {
    /// Refuses a model that neither detects anomalies nor predicts, or one that was never calibrated.
    pub fn new(model: &Model, options: &Options) -> Result<Self> {
        Self::with_session(model, Session::new(model, options)?)
    }

    /// The same on a session of this model, whose own weights are not looked at.
    pub fn with_session(model: &Model, session: Session) -> Result<Self> {
        let predicts = model.task == Task::Predict;
        if !predicts {
            super::require(model, Task::Anomaly)?;
        }
        let Some(Calibration::Anomaly(calibration)) = model.calibration.clone() else {
            let reason = "this model was never calibrated; `gst-candle calibrate MODEL GOOD…` does it from good frames";
            return Err(Error::Invalid(reason.into()));
        };
        Ok(Self {
            session,
            input: model.input.clone(),
            calibration,
            predicts,
            window: VecDeque::new(),
        })
    }

    /// Whether frames are judged by those before them: they are to come in order, and [`AnomalyDetector::reset`] between videos.
    pub fn predicts(&self) -> bool {
        self.predicts
    }

    /// How many frames it must have seen before one that it judges.
    pub fn frames_before(&self) -> usize {
        if self.predicts { self.input.frames } else { 0 }
    }

    /// Forgets the frames before.
    pub fn reset(&mut self) {
        self.window.clear();
    }

    /// Takes a frame that is not to be judged, so that later ones can be.
    pub fn watch_frame(&mut self, frame: &Frame, part: [usize; 4]) {
        if self.predicts {
            let (fitted, _) = fit_frame(&self.input, frame, part);
            self.remember(normalize(&self.input, fitted).0);
        }
    }

    /// Takes a frame into the window; what the network predicts it from, where there are enough frames of its size before it.
    fn remember(&mut self, normalized: Image) -> Option<Array> {
        let normalized = extend(&self.input, normalized);
        let size = |image: &Image| [image.width, image.height];
        let other = |before: &Image| size(before) != size(&normalized);
        if self.window.back().is_some_and(other) {
            self.reset();
        }
        let seen = (self.window.len() == self.input.frames).then(|| window(&self.window));
        if seen.is_some() {
            self.window.pop_front();
        }
        self.window.push_back(normalized);
        seen
    }

    /// The model's calibration.
    pub fn calibration(&self) -> &AnomalyCalibration {
        &self.calibration
    }

    /// Inspects a picture of any size and colour. An error when the network's values are not finite.
    pub fn inspect(&mut self, image: &Image) -> Result<Inspection> {
        self.inspect_fitted(fit(&self.input, image))
    }

    /// Inspects the part `[x, y, width, height]` of a frame; it must lie inside. An error when the network's values are not
    /// finite.
    pub fn inspect_frame(&mut self, frame: &Frame, part: [usize; 4]) -> Result<Inspection> {
        self.inspect_fitted(fit_frame(&self.input, frame, part))
    }

    fn inspect_fitted(&mut self, (fitted, placement): (Image, Placement)) -> Result<Inspection> {
        let (normalized, scaling) = normalize(&self.input, fitted.clone());
        let seen = if self.predicts {
            let Some(seen) = self.remember(normalized) else {
                return Ok(Inspection {
                    judged: false,
                    score: 0.0,
                    map: Image::filled(1, fitted.height, fitted.width, 0.0),
                    reconstruction: fitted,
                    placement,
                });
            };
            Seen::Whole(seen)
        } else if let Some(size) = self.input.tile() {
            Seen::Pieces(normalized, size)
        } else {
            Seen::Whole(alone(extend(&self.input, normalized)))
        };
        let run = |seen: Array| {
            let output = self.session.run(&[seen])?.swap_remove(0);
            super::require_finite(&output.data)?;
            Ok(only(output))
        };
        let mut reconstruction = match seen {
            Seen::Whole(seen) => match run(seen)? {
                whole if [whole.width, whole.height] == [fitted.width, fitted.height] => whole,
                more => more.crop(0, 0, fitted.width, fitted.height),
            },
            Seen::Pieces(picture, size) => in_pieces(&picture, size, |piece| run(batch(&[piece])))?,
        };
        if self.calibration.map != MapKind::Direct {
            scaling.restore(&mut reconstruction);
        }
        reconstruction.data.iter_mut().for_each(|x| *x = x.clamp(0.0, 1.0));
        #[rustfmt::skip]
        let Scoring { map: kind, smooth, pool, context } = self.calibration.scoring();
        let map = maps::difference(kind, &fitted, &reconstruction, smooth);
        Ok(Inspection {
            judged: true,
            score: score_over_frame(&map, &placement, pool),
            map: maps::with_surroundings(map, context),
            reconstruction,
            placement,
        })
    }
}

impl Inspection {
    /// The map at the frame's own size.
    pub fn frame_map(&self) -> Image {
        self.placement.restore(&self.map)
    }
}

/// Frames of one shape, oldest first, as planes of one picture, `[1, frames · C, H, W]`.
fn window(frames: &VecDeque<Image>) -> Array {
    let mut seen = batch(&frames.iter().collect::<Vec<_>>());
    let [frames, channels, height, width] = seen.shape[..] else {
        unreachable!("a batch of pictures has four axes")
    };
    seen.shape = vec![1, frames * channels, height, width];
    seen
}

/// Mean of the `pool` largest values of a map of the input's size where the frame lies: not in a letterbox's borders.
fn score_over_frame(map: &Image, placement: &Placement, pool: usize) -> f32 {
    let span = |axis: usize, length: usize| {
        let start = placement.offset[axis].max(0.0).floor() as usize;
        let end = (placement.offset[axis] + placement.scale[axis] * placement.frame[axis] as f64).ceil() as usize;
        start.min(length - 1)..end.clamp(1, length)
    };
    let columns = span(0, map.width);
    let values = span(1, map.height).flat_map(|y| &map.data[y * map.width..][columns.clone()]);
    maps::mean_of_largest(values.copied(), pool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Resize;

    #[test]
    fn letterbox_borders_do_not_score() {
        let placement = Placement::new([100, 50], [64, 64], Resize::Letterbox);
        let mut map = Image::filled(1, 64, 64, 0.0);
        map.data[3 * 64 + 10] = 1.0;
        assert_eq!(score_over_frame(&map, &placement, 1), 0.0);
        map.data[32 * 64 + 10] = 0.5;
        assert_eq!(score_over_frame(&map, &placement, 1), 0.5);
        assert_eq!(score_over_frame(&map, &placement, 2), 0.25);
    }
}

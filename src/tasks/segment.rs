//! Frames in, a class for each pixel out.

use crate::Result;
use crate::exec::{Options, Session};
use crate::graph::Array;
use crate::model::{BACKGROUND, InputSpec, Model, Task};
use crate::pixels::{Frame, Image, Placement};
use crate::score::regions::{self, Region};

use super::input::{alone, batch, extend, fit, fit_frame, normalize, only};
use super::tiles::in_pieces;

/// The class of a pixel of which nothing is known, or sure enough.
pub const VOID: u8 = 255;

/// A segmenter ready to run.
pub struct Segmenter {
    session: Session,
    input: InputSpec,
    labels: Vec<String>,
}

/// The classes of a picture's pixels, at the size that the network saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Segmentation {
    /// One plane a class: the probability of each.
    pub probabilities: Image,
    /// Where that lies in the frame.
    pub placement: Placement,
}

/// The classes of a frame's pixels, what they take of it, and where they are connected.
#[derive(Debug, Clone, PartialEq)]
pub struct Segments {
    /// The number of each pixel's class, row by row; [`VOID`] where there is none.
    pub mask: Vec<u8>,
    /// `[width, height]` of the mask, in pixels of the frame.
    pub size: [usize; 2],
    /// The share of the frame that each class takes, 0 to 1.
    pub shares: Vec<f64>,
    /// Connected pixels of a class, and its number, of all classes but the background, largest first.
    pub regions: Vec<(usize, Region)>,
}

impl Segments {
    /// The class that takes most of the frame, the `background` left out, if any is there; and the share that all of them take.
    pub fn label_and_share(&self, background: Option<usize>) -> (Option<usize>, f64) {
        let found = self.shares.iter().enumerate();
        let found = found.filter(|(class, share)| Some(*class) != background && **share > 0.0);
        let most = found.clone().rev().max_by(|a, b| a.1.total_cmp(b.1));
        // Where there is nothing to add, `sum` gives -0; where all is marked, rounding more than 1.
        (
            most.map(|(class, _)| class),
            found.fold(0.0, |sum, (_, share)| sum + share).min(1.0),
        )
    }
}

impl Segmenter {
    /// Refuses a model of another task.
    pub fn new(model: &Model, options: &Options) -> Result<Self> {
        Self::with_session(model, Session::new(model, options)?)
    }

    /// The same on a session of this model, whose own weights are not looked at.
    pub fn with_session(model: &Model, session: Session) -> Result<Self> {
        super::require(model, Task::Segment)?;
        Ok(Self {
            session,
            input: model.input.clone(),
            labels: model.labels.clone(),
        })
    }

    /// The number of the class that is the background, if there is one.
    pub fn background(&self) -> Option<usize> {
        self.labels.iter().position(|label| label == BACKGROUND)
    }

    /// Class names, in the order of the planes.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Segments a picture of any size and colour. An error when the network's values are not finite.
    pub fn segment(&mut self, image: &Image) -> Result<Segmentation> {
        self.segment_fitted(fit(&self.input, image))
    }

    /// Segments the part `[x, y, width, height]` of a frame; it must lie inside.
    pub fn segment_frame(&mut self, frame: &Frame, part: [usize; 4]) -> Result<Segmentation> {
        self.segment_fitted(fit_frame(&self.input, frame, part))
    }

    /// What the classes are by [`Segmentation::classes`], regions of fewer pixels than `min_area` made background (or [`VOID`]).
    pub fn segments(&self, segmentation: &Segmentation, threshold: f32, min_area: usize) -> Segments {
        let background = self.background();
        let (mut mask, size) = segmentation.classes(background, threshold);
        let other = background.map_or(VOID, |class| class as u8);
        let there = counts(&mask);
        let mut regions = Vec::new();
        for class in (0..self.labels.len()).filter(|&class| Some(class) != background && there[class] > 0) {
            let found = regions::of_class(&mut mask, size[0], class as u8, min_area, other);
            regions.extend(found.into_iter().map(|region| (class, region)));
        }
        regions.sort_by_key(|(_, region)| std::cmp::Reverse(region.area));
        let left = counts(&mask);
        let share = |class: usize| left[class] as f64 / mask.len() as f64;
        Segments {
            shares: (0..self.labels.len()).map(share).collect(),
            mask,
            size,
            regions,
        }
    }

    fn segment_fitted(&mut self, (fitted, placement): (Image, Placement)) -> Result<Segmentation> {
        let [width, height] = [fitted.width, fitted.height];
        let (normalized, _) = normalize(&self.input, fitted);
        let run = |seen: Array| {
            let output = self.session.run(&[seen])?.swap_remove(0);
            super::require_finite(&output.data)?;
            Ok(only(output))
        };
        let mut probabilities = match self.input.tile() {
            Some(size) => in_pieces(&normalized, size, |piece| run(batch(&[piece])))?,
            None => run(alone(extend(&self.input, normalized)))?.crop(0, 0, width, height),
        };
        softmax(&mut probabilities);
        Ok(Segmentation {
            probabilities,
            placement,
        })
    }
}

/// How often each number is in a mask.
fn counts(mask: &[u8]) -> [usize; 256] {
    let mut counts = [0; 256];
    mask.iter().for_each(|class| counts[usize::from(*class)] += 1);
    counts
}

/// Of the planes, pixel by pixel.
fn softmax(planes: &mut Image) {
    let pixels = planes.width * planes.height;
    let mut most = vec![f32::NEG_INFINITY; pixels];
    for plane in planes.data.chunks_exact(pixels) {
        most.iter_mut().zip(plane).for_each(|(most, x)| *most = most.max(*x));
    }
    let mut sums = vec![0.0; pixels];
    for plane in planes.data.chunks_exact_mut(pixels) {
        for ((x, most), sum) in plane.iter_mut().zip(&most).zip(&mut sums) {
            *x = (*x - most).exp();
            *sum += *x;
        }
    }
    for plane in planes.data.chunks_exact_mut(pixels) {
        plane.iter_mut().zip(&sums).for_each(|(x, sum)| *x /= sum);
    }
}

impl Segmentation {
    /// The class of each pixel, row by row, of the part of the frame that was segmented, and that part's `[width, height]`: the most probable
    /// one. With a `threshold` above 0 any but the `background` has to be as probable as that; where none is, it is the background, or
    /// [`VOID`] where there is no such class.
    pub fn classes(&self, background: Option<usize>, threshold: f32) -> (Vec<u8>, [usize; 2]) {
        let restored = self.placement.restore(&self.probabilities);
        let pixels = restored.width * restored.height;
        let other = background.map_or(VOID, |class| class as u8);
        // What lies outside of a crop has no probability.
        let least = if threshold > 0.0 { threshold.next_down() } else { 0.0 };
        let (mut classes, mut most) = (vec![other; pixels], vec![least; pixels]);
        for (class, plane) in restored.data.chunks_exact(pixels).enumerate() {
            if threshold > 0.0 && background == Some(class) {
                continue;
            }
            for ((found, most), p) in classes.iter_mut().zip(&mut most).zip(plane) {
                if p > most {
                    (*found, *most) = (class as u8, *p);
                }
            }
        }
        (classes, [restored.width, restored.height])
    }
}

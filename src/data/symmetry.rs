//! Which mirrorings and turns of a picture leave its label as it is.

use rand::RngExt;
use rand_pcg::Pcg64;
use rayon::prelude::*;

use super::augment::turn;
use crate::pixels::Image;

/// Side of the thumbnails that are compared, in pixels.
const THUMBNAIL: usize = 12;
/// Most pictures that are compared.
const PICTURES: usize = 1500;
/// So many standard deviations further off than before, pictures of all classes together and of any one class are further off by more
/// than chance.
const SIGNIFICANT: [f64; 2] = [2.0, 3.0];

/// Changes that pictures of one label may be put to, and keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Symmetry {
    /// Left and right may change places.
    pub horizontal: bool,
    /// Top and bottom may.
    pub vertical: bool,
    /// A quarter turn may be made, of square pictures.
    pub turns: bool,
}

/// A change by `(quarter turns clockwise, then left to right)`, as [`turn`] makes it.
type Change = (u8, bool);
const HORIZONTAL: Change = (0, true);
const VERTICAL: Change = (2, true);
const QUARTER: Change = (1, false);

impl Symmetry {
    /// None at all.
    pub const NONE: Self = Self {
        horizontal: false,
        vertical: false,
        turns: false,
    };

    /// One of the changes allowed, each as likely.
    pub fn apply(self, image: Image, rng: &mut Pcg64) -> Image {
        let [horizontal, vertical, turned] = rng.random();
        let mirrored = self.horizontal && horizontal;
        let upside_down = self.vertical && vertical;
        let turns = u8::from(self.turns && turned && image.width == image.height) + 2 * u8::from(upside_down);
        match (turns, mirrored != upside_down) {
            (0, false) => image,
            (turns, flip) => turn(&image, turns, flip),
        }
    }

    /// What the pictures that `image` reads by their place, as many as `truth` has classes, bear: of pictures changed so, as of those that are not, the most similar other picture shows
    /// the same class as often. Digits are no longer themselves in a mirror, and cars seldom lie on their roofs. Where the most similar
    /// picture does not tell the class, nothing can be known of it, and nothing is allowed.
    ///
    /// The test is McNemar's (1947) on the pictures whose nearest neighbour, by the squared difference of small normalised copies, is of
    /// their class before or after the change, but not both.
    pub fn found(image: impl Fn(usize) -> Image + Sync, truth: &[usize]) -> Self {
        let every = truth.len().div_ceil(PICTURES).max(1);
        let chosen: Vec<usize> = (0..truth.len()).step_by(every).collect();
        let classes: Vec<usize> = chosen.iter().map(|&i| truth[i]).collect();
        let of = |&i: &usize| {
            let image = image(i);
            (thumbnail(&image), image.width == image.height)
        };
        let (small, square): (Vec<Image>, Vec<bool>) = chosen.par_iter().map(of).unzip();
        let is_square = square.iter().all(|is| *is);
        let before = hits(&small, &classes, (0, false));
        if !tells_classes(&before, &classes) {
            return Self::NONE;
        }
        let bears = |change| is_as_good(&before, &hits(&small, &classes, change), &classes);
        Self {
            horizontal: bears(HORIZONTAL),
            vertical: bears(VERTICAL),
            turns: is_square && bears(QUARTER),
        }
    }
}

impl std::fmt::Display for Symmetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = [
            (self.horizontal, "mirrored left to right"),
            (self.vertical, "mirrored upside down"),
            (self.turns, "turned by quarters"),
        ];
        let allowed: Vec<&str> = named.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
        f.write_str(&match allowed.as_slice() {
            [] => "neither mirrored nor turned".to_owned(),
            allowed => allowed.join(", "),
        })
    }
}

/// A small copy of mean 0 and deviation 1.
fn thumbnail(image: &Image) -> Image {
    let mut small = image.resize(THUMBNAIL, THUMBNAIL);
    let n = small.data.len() as f32;
    let mean = small.data.iter().sum::<f32>() / n;
    let deviation = (small.data.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n).sqrt();
    for value in &mut small.data {
        *value = (*value - mean) / deviation.max(1e-6);
    }
    small
}

/// Whether the picture most similar to each one, once that is changed, is of its class; a picture is not compared with itself.
fn hits(images: &[Image], classes: &[usize], (turns, flip): Change) -> Vec<bool> {
    let nearest = |i: usize| {
        let query = turn(&images[i], turns, flip);
        let distance = |j: usize| -> f32 {
            let pairs = query.data.iter().zip(&images[j].data);
            pairs.map(|(a, b)| (a - b) * (a - b)).sum()
        };
        let others = (0..images.len()).filter(|&j| j != i).map(|j| (distance(j), j));
        others.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, j)| j)
    };
    let hit = |i: usize| nearest(i).is_some_and(|j| classes[j] == classes[i]);
    (0..images.len()).into_par_iter().map(hit).collect()
}

/// Whether neighbours are of the same class more often than chance has it, by two standard deviations.
fn tells_classes(hits: &[bool], classes: &[usize]) -> bool {
    let n = classes.len() as f64;
    let mut counts = vec![0.0; classes.iter().max().map_or(0, |most| most + 1)];
    classes.iter().for_each(|&class| counts[class] += 1.0);
    let chance: f64 = counts.iter().map(|count| (count / n).powi(2)).sum();
    let found = hits.iter().filter(|hit| **hit).count() as f64;
    found - n * chance > SIGNIFICANT[0] * (n * chance * (1.0 - chance)).sqrt()
}

/// Whether `after` has not significantly fewer hits than `before`, of all classes and of each.
fn is_as_good(before: &[bool], after: &[bool], classes: &[usize]) -> bool {
    // Hits lost and won.
    let excess = |of: &dyn Fn(usize) -> bool| {
        let count = |was: bool| {
            let pairs = before.iter().zip(after).zip(classes);
            pairs
                .filter(|((before, after), class)| of(**class) && **before == was && **after != was)
                .count() as f64
        };
        let [lost, won] = [count(true), count(false)];
        (lost - won) / (lost + won).max(1.0).sqrt()
    };
    let most = classes.iter().max().map_or(0, |most| most + 1);
    excess(&|_| true) < SIGNIFICANT[0] && (0..most).all(|class| excess(&|other| other == class) < SIGNIFICANT[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::noise::add_gaussian;
    use crate::data::random::stream;

    /// Pictures of two classes: `draw(class, x, y)` and some noise.
    fn pictures(count: usize, draw: impl Fn(usize, usize, usize) -> f32) -> (Vec<Image>, Vec<usize>) {
        let make = |i: usize| {
            let data = (0..24 * 24).map(|p| draw(i % 2, p % 24, p / 24)).collect();
            let mut image = Image {
                channels: 1,
                height: 24,
                width: 24,
                data,
            };
            add_gaussian(&mut image, 0.2, &mut stream(1, 0, i as u64));
            image
        };
        ((0..count).map(make).collect(), (0..count).map(|i| i % 2).collect())
    }

    fn found((images, truth): &(Vec<Image>, Vec<usize>)) -> [bool; 3] {
        let Symmetry {
            horizontal,
            vertical,
            turns,
        } = Symmetry::found(|i| images[i].clone(), truth);
        [horizontal, vertical, turns]
    }

    #[test]
    fn a_change_that_makes_one_class_the_other_is_not_allowed() {
        let left_or_right = |class: usize, x: usize, _: usize| f32::from(u8::from((x < 12) == (class == 0)));
        assert_eq!(found(&pictures(40, left_or_right)), [false, true, false]);
        let up_or_down = |class: usize, _: usize, y: usize| f32::from(u8::from((y < 12) == (class == 0)));
        assert_eq!(found(&pictures(40, up_or_down)), [true, false, false]);
        let bars = |class: usize, x: usize, y: usize| f32::from(u8::from([x, y][class].abs_diff(12) < 4));
        assert_eq!(found(&pictures(40, bars)), [true, true, false]);
        let rings = |class: usize, x: usize, y: usize| {
            let r = (x as f32 - 11.5).hypot(y as f32 - 11.5);
            f32::from(u8::from((r < 6.0) == (class == 0)))
        };
        assert_eq!(found(&pictures(40, rings)), [true; 3]);
    }

    #[test]
    fn where_neighbours_tell_nothing_nothing_is_allowed() {
        assert_eq!(found(&pictures(60, |_, _, _| 0.5)), [false; 3]);
        assert_eq!(found(&(Vec::new(), Vec::new())), [false; 3]);
        assert_eq!(found(&pictures(1, |_, _, _| 0.5)), [false; 3]);
    }

    #[test]
    fn every_change_allowed_comes_and_no_other() {
        let image = Image {
            channels: 1,
            height: 2,
            width: 2,
            data: vec![0.0, 1.0, 2.0, 3.0],
        };
        let seen = |symmetry: Symmetry| {
            let mut rng = stream(2, 0, 0);
            let all: std::collections::BTreeSet<Vec<u8>> = (0..200)
                .map(|_| symmetry.apply(image.clone(), &mut rng))
                .map(|image| image.data.iter().map(|&x| x as u8).collect())
                .collect();
            all.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(seen(Symmetry::NONE), [[0, 1, 2, 3]]);
        let mirrored = Symmetry {
            horizontal: true,
            ..Symmetry::NONE
        };
        assert_eq!(seen(mirrored), [[0, 1, 2, 3], [1, 0, 3, 2]]);
        let upside_down = Symmetry {
            vertical: true,
            ..Symmetry::NONE
        };
        assert_eq!(seen(upside_down), [[0, 1, 2, 3], [2, 3, 0, 1]]);
        let all = Symmetry {
            horizontal: true,
            vertical: true,
            turns: true,
        };
        assert_eq!(seen(all).len(), 8);
    }
}

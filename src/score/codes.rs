//! Codes of pictures: what a network says of them beside their class, of length 1. Pictures that look alike to the network have codes that
//! lie near each other.

use rayon::prelude::*;

use crate::graph::{Array, CodeSource};
use crate::model::Codes;

/// `code` with length 1; zeros stay zeros.
pub fn normalized(mut code: Vec<f32>) -> Vec<f32> {
    let length = code.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        code.iter_mut().for_each(|x| *x /= length);
    }
    code
}

/// Euclidean distance.
pub fn distance(a: &[f32], b: &[f32]) -> f32 {
    // Sums that do not wait for each other.
    let mut sums = [0.0; 16];
    let (a, b) = (a.chunks(sums.len()), b.chunks(sums.len()));
    for (a, b) in a.zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += (a - b) * (a - b);
        }
    }
    sums.iter().sum::<f32>().sqrt()
}

/// A network's output with means and deviations in place of means of values and of squares, or as it is.
fn features(seen: &[f32], source: CodeSource) -> Vec<f32> {
    let mut features = seen.to_vec();
    if source == CodeSource::Moments {
        let (means, squares) = features.split_at_mut(seen.len() / 2);
        for (mean, square) in means.iter().zip(squares) {
            *square = (*square - mean * mean).max(0.0).sqrt();
        }
    }
    features
}

impl Codes {
    /// The codes of pictures of these classes, for which the network's second output was `seen`. Each feature is scaled by how much it differs
    /// among them.
    ///
    /// # Panics
    /// When they are not all of one length.
    pub fn of(seen: &[Vec<f32>], classes: Vec<usize>, source: CodeSource) -> Self {
        let rows: Vec<Vec<f32>> = seen.iter().map(|seen| features(seen, source)).collect();
        let count = rows.len().max(1) as f64;
        let scale = |feature: usize| {
            let values = || rows.iter().map(|row| f64::from(row[feature]));
            let mean = values().sum::<f64>() / count;
            let deviation = (values().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt();
            // What is the same in all pictures would make noise of any other.
            let least = 1e-3 * mean.abs().max(1e-3);
            if deviation > least {
                (1.0 / deviation) as f32
            } else {
                0.0
            }
        };
        let scale = (0..rows.first().map_or(0, Vec::len)).map(scale).collect();
        let mut codes = Self {
            // The largest there is, until another is found.
            distance: 2.0,
            source,
            scale,
            basis: Array::default(),
            classes,
            vectors: Array::default(),
        };
        codes.take(seen);
        codes
    }

    /// Takes the codes of pictures, for which the network's second output was `seen`, in place of those that are there.
    pub fn take(&mut self, seen: &[Vec<f32>]) {
        self.vectors = stacked(&seen.iter().map(|seen| self.code(seen)).collect::<Vec<_>>());
    }

    /// The scaled features of a picture, for which the network's second output was `seen`.
    pub fn scaled(&self, seen: &[f32]) -> Vec<f32> {
        let mut scaled = features(seen, self.source);
        scaled.iter_mut().zip(&self.scale).for_each(|(x, scale)| *x *= scale);
        scaled
    }

    /// The code of a picture, for which the network's second output was `seen`.
    pub fn code(&self, seen: &[f32]) -> Vec<f32> {
        let scaled = self.scaled(seen);
        let length = self.basis.shape.get(1).copied().unwrap_or(0);
        if length == 0 {
            return normalized(scaled);
        }
        let mut code = vec![0.0; length];
        for (x, row) in scaled
            .into_iter()
            .chain([1.0])
            .zip(self.basis.data.chunks_exact(length))
        {
            code.iter_mut().zip(row).for_each(|(sum, weight)| *sum += x * weight);
        }
        normalized(code)
    }

    /// The mean code of each of so many classes, whose length is the less the more they differ; none where a class has no code.
    ///
    /// # Panics
    /// When a code's class is not below `classes`.
    pub fn means(&self, classes: usize) -> Vec<Vec<f32>> {
        let mut means = vec![Vec::new(); classes];
        let mut counts = vec![0.0; classes];
        for (&class, row) in self.classes.iter().zip(self.rows()) {
            let mean: &mut Vec<f32> = &mut means[class];
            mean.resize(row.len(), 0.0);
            mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            counts[class] += 1.0;
        }
        for (mean, count) in means.iter_mut().zip(counts) {
            mean.iter_mut().for_each(|x| *x /= count);
        }
        means
    }

    /// The rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        let features = self.vectors.shape.get(1).copied().unwrap_or(0).max(1);
        self.vectors.data.chunks_exact(features)
    }

    /// The code nearest to `code`: its number and its distance, 0 to 2. `None` where there are no codes.
    pub fn nearest(&self, code: &[f32]) -> Option<(usize, f32)> {
        let all = self.rows().map(|row| distance(row, code)).enumerate();
        all.min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The distance of each code from the nearest other one; infinite where there is no other.
    pub fn apart(&self) -> Vec<f32> {
        let rows: Vec<&[f32]> = self.rows().collect();
        let nearest = |(i, row): (usize, &&[f32])| {
            let others = rows.iter().enumerate().filter(|(j, _)| i != *j);
            let distances = others.map(|(_, other)| distance(row, other));
            distances.fold(f32::INFINITY, f32::min)
        };
        rows.par_iter().enumerate().map(nearest).collect()
    }
}

/// Rows of one length as `[N, features]`.
pub fn stacked(rows: &[Vec<f32>]) -> Array {
    Array {
        shape: vec![rows.len(), rows.first().map_or(0, Vec::len)],
        data: rows.concat(),
    }
}

/// Indices of at most `most` codes that stand for all of them: the one nearest to their mean, then again and again that which lies farthest
/// from those taken (Gonzalez 1985). Sorted; codes that are there already are not taken again.
pub fn spread(codes: &[Vec<f32>], most: usize) -> Vec<usize> {
    let mean = mean(codes);
    let by_distance = |distances: &[f32], is_nearest: bool| {
        let sign = if is_nearest { -1.0 } else { 1.0 };
        (0..distances.len()).reduce(|best, i| match sign * distances[i] > sign * distances[best] {
            true => i,
            false => best,
        })
    };
    let from_mean: Vec<f32> = codes.iter().map(|code| distance(code, &mean)).collect();
    let mut next = by_distance(&from_mean, true);
    let mut left = vec![f32::INFINITY; codes.len()];
    let mut chosen = Vec::new();
    while let Some(taken) = next.filter(|&taken| chosen.len() < most && left[taken] > 0.0) {
        chosen.push(taken);
        for (left, code) in left.iter_mut().zip(codes) {
            *left = left.min(distance(code, &codes[taken]));
        }
        next = by_distance(&left, false);
    }
    chosen.sort_unstable();
    chosen
}

/// The root of the mean squared distance between two of these codes.
pub fn typical_distance(codes: &[Vec<f32>]) -> f32 {
    let mean_of_squares = codes
        .iter()
        .map(|code| code.iter().map(|x| x * x).sum::<f32>())
        .sum::<f32>();
    let square_of_mean: f32 = mean(codes).iter().map(|x| x * x).sum();
    let count = codes.len().max(1) as f32;
    (2.0 * (mean_of_squares / count - square_of_mean)).max(0.0).sqrt()
}

fn mean(codes: &[Vec<f32>]) -> Vec<f32> {
    let mut mean = vec![0.0; codes.first().map_or(0, Vec::len)];
    for code in codes {
        mean.iter_mut()
            .zip(code)
            .for_each(|(mean, x)| *mean += x / codes.len() as f32);
    }
    mean
}

/// Indices of the codes that lie at least `least` from each that was kept before them.
pub fn thinned(codes: &[Vec<f32>], least: f32) -> Vec<usize> {
    let mut kept: Vec<usize> = Vec::new();
    for (i, code) in codes.iter().enumerate() {
        // What is like a frame is like one of the last frames, more often than not.
        if !kept.iter().rev().any(|&j| distance(code, &codes[j]) < least) {
            kept.push(i);
        }
    }
    kept
}

/// Least share of a distance that counts where nothing is uncertain.
const CERTAIN: f32 = 0.05;

/// Which codes, at most so many, tell most beside those that are `known`: again and again that with the largest product of its uncertainty
/// (0 to 1) and its distance from the nearest code that is known or was taken before. With each its distance from the nearest known one,
/// infinite where none is known. The same code is not taken twice.
pub fn most_telling(codes: &[&[f32]], known: &[&[f32]], uncertainty: &[f32], most: usize) -> Vec<(usize, f32)> {
    let nearest = |code: &&[f32]| {
        known
            .iter()
            .map(|known| distance(code, known))
            .fold(f32::INFINITY, f32::min)
    };
    let from_known: Vec<f32> = codes.par_iter().map(nearest).collect();
    // Codes are of length 1, so that none is farther away than this.
    let mut left: Vec<f32> = from_known.iter().map(|x| x.min(2.0)).collect();
    let mut chosen = Vec::new();
    while chosen.len() < most {
        let value = |i: usize| left[i] * (CERTAIN + (1.0 - CERTAIN) * uncertainty[i]);
        let best = (0..codes.len()).reduce(|best, i| if value(i) > value(best) { i } else { best });
        let Some(taken) = best.filter(|&best| left[best] > 0.0) else {
            break;
        };
        chosen.push((taken, from_known[taken]));
        let update = |(left, code): (&mut f32, &&[f32])| *left = left.min(distance(code, codes[taken]));
        left.par_iter_mut().zip(codes.par_iter()).for_each(update);
        left[taken] = 0.0;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_code_and_its_distance_are_found() {
        let codes = Codes {
            distance: 0.5,
            source: CodeSource::Features,
            scale: vec![1.0; 2],
            basis: Array::default(),
            classes: vec![4, 2],
            vectors: stacked(&[vec![1.0, 0.0], vec![0.0, 1.0]]),
        };
        assert_eq!(codes.nearest(&[0.0, 1.0]), Some((1, 0.0)));
        let (row, distance) = codes.nearest(&normalized(vec![3.0, -4.0])).unwrap();
        assert_eq!(codes.classes[row], 4);
        // Of (0.6, -0.8) from (1, 0).
        assert!((distance - 0.8f32.hypot(0.4)).abs() < 1e-6);
        assert_eq!(codes.apart(), [2f32.sqrt(); 2]);
        assert_eq!(codes.means(5)[2..], [vec![0.0, 1.0], vec![], vec![1.0, 0.0]]);
        let none = Codes {
            classes: vec![],
            vectors: stacked(&[]),
            ..codes
        };
        assert_eq!(none.nearest(&[0.0, 1.0]), None);
        assert_eq!(normalized(vec![0.0; 3]), [0.0; 3]);
    }

    #[test]
    fn codes_are_made_of_means_and_deviations_scaled() {
        // One channel of mean 1 and 3 and of deviation 2, another of mean 0 and of deviation 1 and 3.
        let seen = [vec![1.0, 0.0, 5.0, 1.0], vec![3.0, 0.0, 13.0, 9.0]];
        let codes = Codes::of(&seen, vec![0, 1], CodeSource::Moments);
        assert_eq!(codes.scale, [1.0, 0.0, 0.0, 1.0]);
        let root = 0.5f32.sqrt();
        for (row, expected) in codes.rows().zip([[root, 0.0, 0.0, root], [root, 0.0, 0.0, root]]) {
            row.iter()
                .zip(expected)
                .for_each(|(a, b)| assert!((a - b).abs() < 1e-6));
        }
        let plain = Codes::of(&seen, vec![0, 1], CodeSource::Features);
        assert_eq!(plain.scale, [1.0, 0.0, 0.25, 0.25]);
        assert_eq!(plain.code(&seen[1]), normalized(vec![3.0, 0.0, 3.25, 2.25]));
    }

    #[test]
    fn a_basis_turns_moves_and_shortens_codes() {
        let codes = Codes {
            scale: vec![2.0, 1.0],
            basis: Array {
                shape: vec![3, 2],
                data: vec![1.0, 0.0, 0.0, 3.0, -1.0, 6.0],
            },
            ..Codes::default()
        };
        assert_eq!(codes.code(&[2.5, 0.0]), normalized(vec![4.0, 6.0]));
        assert_eq!(codes.code(&[0.5, -2.0]), [0.0, 0.0]);
    }

    #[test]
    fn distances_of_any_length() {
        for length in [0, 1, 15, 16, 17, 100] {
            let a: Vec<f32> = (0..length).map(|i| i as f32).collect();
            let b: Vec<f32> = a.iter().map(|x| x + 0.5).collect();
            assert!(
                (distance(&a, &b) - 0.5 * (length as f32).sqrt()).abs() < 1e-5,
                "{length}"
            );
        }
    }

    #[test]
    fn a_few_codes_stand_for_all_corners() {
        // Many codes in the middle, one in each corner, one of them twice.
        let mut codes: Vec<Vec<f32>> = (0..50)
            .map(|i| vec![0.01 * (i % 7) as f32, 0.01 * (i % 5) as f32])
            .collect();
        codes.extend([[5.0, 5.0], [-5.0, 5.0], [5.0, -5.0], [-5.0, -5.0], [5.0, 5.0]].map(Vec::from));
        let chosen = spread(&codes, 5);
        assert_eq!(chosen[1..], [50, 51, 52, 53]);
        assert!(chosen[0] < 50);
        assert_eq!(spread(&codes, 1000).len(), 35 + 4, "each different one once");
        assert_eq!(spread(&codes, 0), [0usize; 0]);
        assert_eq!(spread(&[], 3), [0usize; 0]);
    }

    #[test]
    fn what_is_like_one_before_is_left_out() {
        let codes: Vec<Vec<f32>> = [0.0, 0.05, 0.11, 0.12, 0.5, 0.05].map(|x| vec![x]).into();
        assert_eq!(thinned(&codes, 0.1), [0, 2, 4]);
        assert_eq!(thinned(&codes, 0.0).len(), 6);
        assert_eq!(thinned(&[], 0.1), [0usize; 0]);
        // Of four pairs two are 2 apart.
        assert_eq!(typical_distance(&[vec![1.0, 5.0], vec![3.0, 5.0]]), 2f32.sqrt());
        assert_eq!(typical_distance(&[]), 0.0);
    }

    #[test]
    fn what_is_uncertain_and_far_from_all_tells_most() {
        let all: Vec<[f32; 1]> = [0.0, 1.0, 1.01, 0.5, 0.9, 1.0].map(|x| [x]).into();
        let rows: Vec<&[f32]> = all.iter().map(|x| x.as_slice()).collect();
        let told = |known: &[&[f32]], uncertainty: &[f32], most| {
            let chosen = most_telling(&rows, known, uncertainty, most);
            chosen.into_iter().map(|(i, _)| i).collect::<Vec<_>>()
        };
        assert_eq!(
            told(&[&[0.0]], &[1.0; 6], 2),
            [2, 3],
            "the farthest, then what lies between"
        );
        assert_eq!(
            told(&[&[0.0]], &[1.0, 0.0, 0.0, 1.0, 0.0, 0.0], 1),
            [3],
            "what is sure counts little"
        );
        assert_eq!(told(&[], &[0.1, 0.2, 0.3, 0.4, 0.3, 0.2], 1), [3]);
        assert_eq!(
            told(&[&[0.0]], &[1.0; 6], 100).len(),
            4,
            "what is known or there twice is left out"
        );
        let far = most_telling(&rows, &[&[0.0]], &[1.0; 6], 2);
        assert_eq!(far[1].1, 0.5, "from what was known, not from what was taken");
    }
}

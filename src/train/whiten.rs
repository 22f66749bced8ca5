//! A basis for codes in which what makes pictures of one class differ counts little, and what else makes pictures differ counts much.

use nalgebra::{DMatrix, DVector};
use rand_distr::{Distribution, StandardNormal};

use crate::data::random::stream;
use crate::graph::Array;
use crate::model::Codes;

/// Longest code.
const LENGTH: usize = 128;
/// Least share of the mean variance that is added to each. On pictures of NEU, of 1 to 2 of 6 classes that networks had not been trained on (5 pairs
/// of network and classes, 5 pictures a class), 0.03 to 1 name 92 to 93 % rightly, and at 0.3 to 1 most of those not taught are found to be
/// unknown.
const LEAST_SHRINKAGE: f64 = 0.3;
/// Times that the directions are turned towards those of the largest variance.
const TURNS: usize = 4;

/// Gives `codes` a basis: the features of these pictures, as the network gave them, are whitened by their covariance within classes, shrunk
/// towards an equal one (Ledoit and Wolf 2004); of that the directions of the largest variance of all are kept. Leaves `codes` alone where pictures
/// of a class do not differ.
pub fn whiten(codes: &mut Codes, seen: &[Vec<f32>]) {
    let rows: Vec<Vec<f64>> = seen
        .iter()
        .map(|seen| codes.scaled(seen).into_iter().map(f64::from).collect())
        .collect();
    let (count, features) = (rows.len(), codes.scale.len());
    let mut all = DMatrix::from_fn(features, count, |feature, i| rows[i][feature]);
    let mean = all.column_mean();
    all.column_iter_mut().for_each(|mut column| column -= &mean);
    let within = within(&all, &codes.classes);
    let mut covariance = (&within * within.transpose()) / count as f64;
    let variance = covariance.trace() / features.max(1) as f64;
    if variance <= 0.0 || !variance.is_finite() {
        return;
    }
    let share = shrinkage(&within, &covariance).max(LEAST_SHRINKAGE);
    for i in 0..features {
        covariance[(i, i)] += share * variance;
    }
    let Some(cholesky) = covariance.cholesky() else {
        return;
    };
    let lower = cholesky.l_dirty();
    if !lower.solve_lower_triangular_mut(&mut all) {
        return;
    }
    let mut basis = widest(&all, LENGTH.min(features).min(count));
    if !lower.tr_solve_lower_triangular_mut(&mut basis) {
        return;
    }
    let offset = -(mean.transpose() * &basis);
    // Row by row: columns of the transpose.
    let rows = basis.transpose();
    let data: Vec<f32> = rows.iter().chain(offset.iter()).map(|x| *x as f32).collect();
    if data.iter().all(|x| x.is_finite()) {
        codes.basis = Array {
            shape: vec![features + 1, basis.ncols()],
            data,
        };
        codes.take(seen);
    }
}

/// Columns less the mean of their class.
fn within(all: &DMatrix<f64>, classes: &[usize]) -> DMatrix<f64> {
    let most = classes.iter().max().map_or(0, |class| class + 1);
    let mut within = all.clone();
    for class in 0..most {
        let own: Vec<usize> = (0..classes.len()).filter(|&i| classes[i] == class).collect();
        let mut mean = DVector::zeros(all.nrows());
        own.iter().for_each(|&i| mean += all.column(i));
        mean /= own.len().max(1) as f64;
        for i in own {
            let mut column = within.column_mut(i);
            column -= &mean;
        }
    }
    within
}

/// What is added to each variance, as a share of their mean, so that the covariance is least wrong.
fn shrinkage(columns: &DMatrix<f64>, covariance: &DMatrix<f64>) -> f64 {
    let (count, features) = (columns.ncols() as f64, columns.nrows() as f64);
    let square = covariance.norm_squared();
    let unequal = square - covariance.trace().powi(2) / features;
    let fourth: f64 = columns.column_iter().map(|column| column.norm_squared().powi(2)).sum();
    let noise = (fourth / count - square) / count;
    let weight = (noise / unequal.max(f64::MIN_POSITIVE)).clamp(0.0, 0.95);
    weight / (1.0 - weight)
}

/// An orthonormal basis of about the `length` directions in which the columns vary most (Halko 2011), the same each time.
fn widest(columns: &DMatrix<f64>, length: usize) -> DMatrix<f64> {
    let mut rng = stream(0, 0, 0);
    let mut directions = DMatrix::from_fn(columns.nrows(), length, |_, _| StandardNormal.sample(&mut rng));
    for _ in 0..TURNS {
        directions = (columns * columns.tr_mul(&directions)).qr().q();
    }
    directions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::CodeSource;
    use crate::score::codes::distance;

    /// Pictures of three classes: the first feature tells them apart, the second is the same noise in all, ten times as strong.
    fn seen() -> (Vec<Vec<f32>>, Vec<usize>) {
        let mut rng = stream(3, 0, 0);
        let mut normal = || {
            let x: f32 = StandardNormal.sample(&mut rng);
            x
        };
        let row = |i: usize| vec![(i % 3) as f32 + 0.1 * normal(), 10.0 * normal(), 0.01 * normal()];
        ((0..90).map(row).collect(), (0..90).map(|i| i % 3).collect())
    }

    #[test]
    fn what_differs_within_a_class_counts_little() {
        let (seen, classes) = seen();
        let mut codes = Codes::of(&seen, classes.clone(), CodeSource::Features);
        // How often the nearest other code is of the same class.
        let right = |codes: &Codes| {
            let rows: Vec<&[f32]> = codes.rows().collect();
            let nearest = |i: usize| {
                let others = (0..rows.len()).filter(|&j| j != i);
                others.min_by(|&a, &b| distance(rows[i], rows[a]).total_cmp(&distance(rows[i], rows[b])))
            };
            (0..rows.len())
                .filter(|&i| nearest(i).is_some_and(|j| classes[i] == classes[j]))
                .count()
        };
        let before = right(&codes);
        whiten(&mut codes, &seen);
        assert_eq!(
            (&codes.basis.shape[..], &codes.vectors.shape[..]),
            (&[4, 3][..], &[90, 3][..])
        );
        assert!(
            right(&codes) > before && right(&codes) >= 80,
            "{before} to {} of 90",
            right(&codes)
        );
        let again = codes.clone();
        whiten(&mut codes, &seen);
        assert_eq!(codes, again, "always the same");
    }

    #[test]
    fn pictures_that_are_all_the_same_are_left_alone() {
        let mut codes = Codes::of(&vec![vec![1.0, 2.0]; 4], vec![0, 0, 1, 1], CodeSource::Features);
        whiten(&mut codes, &vec![vec![1.0, 2.0]; 4]);
        assert!(codes.basis.data.is_empty());
    }
}

//! Places on a plane for codes of many features.

use anyhow::{Context, Result};
use bhtsne::{Neighbor, tSNE};
use nalgebra::{DMatrix, SymmetricEigen};
use rayon::prelude::*;

use crate::model::Codes;
use crate::score::codes::distance;

/// Principal components that distances are measured in: what lies beyond is noise.
const COMPONENTS: usize = 50;
/// How many neighbours each code has, about.
const PERPLEXITY: f32 = 30.0;
/// t-SNE treats as one what lies together within this angle.
const THETA: f32 = 0.5;
/// Fewer codes than this are shown by their principal components alone.
const FEW: usize = 8;
/// Standard deviation of the places that t-SNE begins with.
const START: f32 = 1e-4;

/// Where each code lies on a map, so that neighbours among codes are neighbours there: t-SNE (van der Maaten 2014), begun with the two principal
/// components (Kobak 2019), which fixes the result.
pub fn places(codes: &Codes) -> Result<Vec<[f32; 2]>> {
    let rows = principal(codes);
    let plane: Vec<[f32; 2]> = rows
        .iter()
        .map(|row| [row.first(), row.get(1)].map(|x| x.copied().unwrap_or(0.0)))
        .collect();
    if rows.len() < FEW {
        return Ok(plane);
    }
    let perplexity = PERPLEXITY.min((rows.len() - 1) as f32 / 3.0);
    let neighbours = neighbours(&rows, (3.0 * perplexity) as usize);
    let deviation = (plane.iter().map(|[x, _]| x * x).sum::<f32>() / plane.len() as f32).sqrt();
    let start: Vec<f32> = plane
        .iter()
        .flatten()
        .map(|x| x * START / deviation.max(1e-12))
        .collect();
    // On one thread sums are always formed in the same order.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let found = pool.context("no thread for the map")?.install(|| {
        let mut tsne: tSNE<'_, f32, Vec<f32>> = tSNE::new(&rows);
        tsne.perplexity(perplexity).initial_embedding(start);
        tsne.barnes_hut_with_neighbors(THETA, &neighbours).embedding()
    });
    Ok(found.as_chunks().0.to_vec())
}

/// The codes' principal components, the largest first, at most [`COMPONENTS`] of them.
fn principal(codes: &Codes) -> Vec<Vec<f32>> {
    let count = codes.rows().len();
    let features = codes.vectors.shape.get(1).copied().unwrap_or(0);
    let mut rows = DMatrix::from_row_slice(count, features, &codes.vectors.data);
    let mean = rows.row_mean();
    rows.row_iter_mut().for_each(|mut row| row -= &mean);
    let eigen = SymmetricEigen::new(rows.tr_mul(&rows));
    let mut order: Vec<usize> = (0..features).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    order.truncate(COMPONENTS.min(count));
    let axes: Vec<_> = order.iter().map(|&i| eigen.eigenvectors.column(i)).collect();
    let row = |i: usize| axes.iter().map(|axis| rows.row(i).tr_dot(axis)).collect();
    (0..count).map(row).collect()
}

/// The nearest `count` others of each row, the nearest first.
fn neighbours(rows: &[Vec<f32>], count: usize) -> Vec<Vec<Neighbor<f32>>> {
    let of = |i: usize| {
        let others = (0..rows.len()).filter(|&j| j != i);
        let mut all: Vec<(f32, usize)> = others.map(|j| (distance(&rows[i], &rows[j]), j)).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let nearest = all.into_iter().take(count.max(1));
        nearest.map(|(distance, index)| Neighbor { index, distance }).collect()
    };
    (0..rows.len()).into_par_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Array, CodeSource};
    use crate::score::codes::{normalized, stacked};

    /// `count` codes around each of three corners.
    fn corners(count: usize) -> Codes {
        let row = |i: usize| {
            let mut row = vec![0.02 * (i % 5) as f32, 0.03 * (i % 7) as f32, 0.01 * (i % 3) as f32, 0.0];
            row[i % 3] += 1.0;
            normalized(row)
        };
        let rows: Vec<Vec<f32>> = (0..3 * count).map(row).collect();
        Codes {
            distance: 1.0,
            source: CodeSource::Features,
            scale: vec![1.0; 4],
            basis: Array::default(),
            classes: (0..3 * count).map(|i| i % 3).collect(),
            vectors: stacked(&rows),
        }
    }

    #[test]
    fn what_is_alike_lies_together_and_always_in_the_same_place() {
        let codes = corners(30);
        let found = places(&codes).unwrap();
        assert_eq!(found, places(&codes).unwrap());
        let apart = |i: usize, j: usize| (found[i][0] - found[j][0]).hypot(found[i][1] - found[j][1]);
        for i in 0..found.len() {
            let others = (0..found.len()).filter(|&j| j != i);
            let nearest = others.min_by(|&a, &b| apart(i, a).total_cmp(&apart(i, b))).unwrap();
            assert_eq!(codes.classes[i], codes.classes[nearest], "{i} and {nearest}");
        }
    }

    #[test]
    fn a_few_codes_have_places_too() {
        for count in [1, 2, 3] {
            let found = places(&corners(count)).unwrap();
            assert_eq!(found.len(), 3 * count);
            assert!(found.iter().flatten().all(|x| x.is_finite()), "{found:?}");
        }
    }
}

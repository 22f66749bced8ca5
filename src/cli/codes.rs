//! Codes of all pictures of a data set.

use anyhow::Result;

use super::common::describe;
use crate::data::layout::Dataset;
use crate::model::Codes;
use crate::tasks::Embedder;

/// The codes of all samples, in their order, each of class 0: made as the model makes those that it keeps, or where it keeps none, scaled by how
/// much they differ.
pub fn coded(embedder: &mut Embedder, data: &Dataset) -> Result<Codes> {
    let mut seen = Vec::with_capacity(data.samples.len());
    for sample in &data.samples {
        seen.push(embedder.see(&data.read(sample)?)?);
    }
    Ok(made(embedder, &seen))
}

/// The same of what the network gave.
pub fn made(embedder: &Embedder, seen: &[Vec<f32>]) -> Codes {
    let own = embedder.codes();
    let classes = vec![0; seen.len()];
    if own.classes.is_empty() {
        return Codes::of(seen, classes, own.source);
    }
    let rows: Vec<Vec<f32>> = seen.iter().map(|seen| own.code(seen)).collect();
    Codes {
        classes,
        vectors: crate::score::codes::stacked(&rows),
        ..own.clone()
    }
}

/// Where the samples come from.
pub fn names(data: &Dataset) -> Vec<String> {
    data.samples.iter().map(|sample| describe(&sample.source)).collect()
}

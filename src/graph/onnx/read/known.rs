//! What is known of the shapes of values before the pictures' size is.

use super::source::Read;
use crate::graph::Op;
use crate::graph::shapes::{elements, infer};

/// Lengths of a value's axes, as far as they are known. The first, the batch, never is.
pub(super) type Known = Vec<Option<usize>>;

/// The shape that `op` makes of these; an error where it does not fit.
pub(super) fn known(op: &Op, sources: &[&Known]) -> Read<Known> {
    let whole: Option<Vec<Vec<usize>>> = sources
        .iter()
        .map(|source| [Some(1)].into_iter().chain(source[1..].iter().copied()).collect())
        .collect();
    if let Some(shapes) = whole {
        let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
        let shape = infer(op, &shapes)?;
        elements(&shape)?;
        let lengths = shape[1..].iter().copied().map(Some);
        return Ok([None].into_iter().chain(lengths).collect());
    }
    let source = sources[0];
    let channels = source[1];
    let open = |channels| vec![None, channels, None, None];
    let cells = |factor: usize| {
        factor
            .checked_mul(factor)
            .filter(|&n| n > 0)
            .ok_or("a factor out of range")
    };
    Ok(match *op {
        Op::Conv2d { out, .. } | Op::ConvTranspose2d { out, .. } => open(Some(out)),
        Op::Linear { out, .. } => vec![None, Some(out)],
        Op::Flatten => vec![None, None],
        Op::GlobalAvgPool => vec![None, channels, Some(1), Some(1)],
        Op::MaxPool { .. } | Op::AvgPool { .. } | Op::Upsample { .. } => open(channels),
        Op::PixelShuffle { factor } => {
            let cells = cells(factor)?;
            open(channels.map(|n| n / cells))
        }
        Op::PixelUnshuffle { factor } => {
            let cells = cells(factor)?;
            open(channels.and_then(|n| n.checked_mul(cells)))
        }
        Op::Concat => {
            let sum = |sum: usize, source: &&Known| sum.checked_add(source[1]?);
            let mut joined = source.clone();
            joined[1] = sources.iter().try_fold(0, sum);
            joined
        }
        Op::Add | Op::Sub | Op::Mul => source.iter().zip(sources[1]).map(|(a, b)| a.or(*b)).collect(),
        _ => source.clone(),
    })
}

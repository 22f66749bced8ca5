//! Which samples go to validation.

use std::collections::BTreeMap;
use std::path::Path;

use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Sample, Source};
use crate::data::random::stream;

/// Blocks of neighbouring numbers that validation is made of, at least, in a class.
const BLOCKS: f64 = 3.0;

/// For each sample whether it goes to validation; see [`super::Dataset::split_off`].
pub fn choose(samples: &[Sample], share: f64, seed: u64) -> Vec<bool> {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let mut rng = stream(seed, 0, 0x5eed_5e1f);
    let mut pools: BTreeMap<(Option<&str>, Option<&str>), Vec<usize>> = BTreeMap::new();
    for (i, sample) in samples.iter().enumerate() {
        let video = match &sample.source {
            Source::Frame { video, .. } => Some(video.as_str()),
            Source::Picture(_) => None,
        };
        // The frames of a video go by time alone.
        let class = sample.class.as_deref().filter(|_| video.is_none());
        pools.entry((video, class)).or_default().push(i);
    }
    let mut chosen = vec![false; samples.len()];
    // What rounding leaves over in one class goes to the next, so that the whole comes out right.
    let mut carry = 0.0;
    for ((video, _), pool) in &pools {
        let wanted = share * pool.len() as f64 + carry;
        let count = (wanted.round().max(0.0) as usize).min(pool.len().saturating_sub(1));
        carry = wanted - count as f64;
        match video {
            Some(_) => pool[pool.len() - count..].iter().for_each(|&i| chosen[i] = true),
            None => draw(samples, pool, count, &mut rng)
                .into_iter()
                .for_each(|i| chosen[i] = true),
        }
    }
    if samples.len() > 1 && !chosen.contains(&true) {
        // The last one of the largest pool.
        let largest = pools
            .values()
            .max_by_key(|pool| pool.len())
            .and_then(|pool| pool.last());
        largest.into_iter().for_each(|&i| chosen[i] = true);
    }
    chosen
}

/// For each sample whether it is among the last `share` of its video or folder.
pub fn ends(samples: &[Sample], share: f64) -> Vec<bool> {
    let mut pools: BTreeMap<&Path, Vec<usize>> = BTreeMap::new();
    for (i, sample) in samples.iter().enumerate() {
        let of = match &sample.source {
            Source::Frame { video, .. } => Path::new(video.as_str()),
            Source::Picture(path) => path.parent().unwrap_or(path),
        };
        pools.entry(of).or_default().push(i);
    }
    let mut chosen = vec![false; samples.len()];
    for pool in pools.values() {
        let count = (share * pool.len() as f64).round() as usize;
        pool[pool.len() - count.min(pool.len() - 1)..]
            .iter()
            .for_each(|&i| chosen[i] = true);
    }
    chosen
}

/// Draws about `count` pictures of the pool: blocks of neighbouring numbers where the names end in numbers, else singly.
fn draw(samples: &[Sample], pool: &[usize], count: usize, rng: &mut Pcg64) -> Vec<usize> {
    if count == 0 {
        return Vec::new();
    }
    let mut blocks = numbered_blocks(samples, pool, count).unwrap_or_else(|| pool.iter().map(|&i| vec![i]).collect());
    // Fisher-Yates.
    for i in (1..blocks.len()).rev() {
        blocks.swap(i, rng.random_range(0..=i));
    }
    let mut drawn = Vec::new();
    for block in blocks {
        // A block that would overshoot by more than it helps is left out, and one that would leave nothing to learn from.
        let with = drawn.len() + block.len();
        if with < pool.len() && with.abs_diff(count) < drawn.len().abs_diff(count) {
            drawn.extend(block);
        }
    }
    drawn
}

/// The pool cut into blocks by the numbers at the names' ends, each cut at the widest gap between numbers that is near. `None` when a
/// name has no number, or when so many share one that the number is a kind or a camera, not a time or a part.
fn numbered_blocks(samples: &[Sample], pool: &[usize], count: usize) -> Option<Vec<Vec<usize>>> {
    let mut numbered: Vec<(u64, usize)> = pool
        .iter()
        .map(|&i| Some((number(&samples[i])?, i)))
        .collect::<Option<_>>()?;
    numbered.sort_unstable();
    let n = numbered.len();
    let size = ((count as f64 / BLOCKS).round() as usize).max(1);
    let most_alike = numbered.chunk_by(|a, b| a.0 == b.0).map(<[_]>::len).max()?;
    if most_alike > count {
        return None;
    }
    let mut blocks = Vec::new();
    let mut start = 0;
    while start < n {
        let target = start + size;
        let (from, to) = ((target - size / 3).max(start + 1), (target + size / 3).min(n - 1));
        let gap = |end: usize| numbered[end].0 - numbered[end - 1].0;
        // The widest gap, of equal ones the nearest to the target; equal numbers stay together.
        let near = (from..=to).max_by_key(|&end| (gap(end), std::cmp::Reverse(end.abs_diff(target))));
        let next = |end: usize| (end..n).find(|&end| gap(end) > 0).unwrap_or(n);
        let end = if target >= n { n } else { near.map_or(n, next) };
        blocks.push(numbered[start..end].iter().map(|&(_, i)| i).collect());
        start = end;
    }
    (blocks.len() > 1).then_some(blocks)
}

/// The number at the end of a picture's name.
fn number(sample: &Sample) -> Option<u64> {
    let Source::Picture(path) = &sample.source else {
        return None;
    };
    let stem = Path::new(path).file_stem()?.to_str()?;
    let digits = stem.len() - stem.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    stem[stem.len() - digits..].parse().ok()
}

//! Which samples are learned from, which are held out, and in which order they come.

use std::ops::Range;

use rand::RngExt;
use rand_pcg::Pcg64;
use rayon::prelude::*;

use super::card::purpose;
use crate::data::layout::{Dataset, Sample, Split, VideoLimits};
use crate::data::pictures;
use crate::data::random::stream;
use crate::score::labels;
use crate::{Error, Result};

/// Where training data come from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// DATA arguments.
    pub train: Vec<String>,
    /// Validation data given apart.
    pub val: Vec<String>,
    /// Limits on videos.
    pub limits: VideoLimits,
}

/// Training and held-out data.
#[derive(Debug, Clone)]
pub struct Sets {
    /// To learn from.
    pub train: Dataset,
    /// Held out.
    pub val: Dataset,
}

impl Sources {
    /// Opens training data, and validation data where they are given apart or lie in `val/` beside `train/`. `keep` says which
    /// samples are wanted.
    pub fn open(&self, keep: impl Fn(&Sample) -> Result<bool>) -> Result<(Dataset, Option<Dataset>)> {
        let train = retain(Dataset::open(&self.train, Split::Train, self.limits)?, &keep)?;
        let apart = if self.val.is_empty() {
            retain(Dataset::open(&self.train, Split::Val, self.limits)?, &keep)?
        } else {
            let apart = retain(open_or(&self.val, Split::Val, Split::Test, self.limits)?, &keep)?;
            at_least(1, &apart, &self.val, "pictures for validation")?;
            apart
        };
        Ok((train, Some(apart).filter(|apart| !apart.samples.is_empty())))
    }
}

/// The samples that `keep` wants.
pub fn retain(mut data: Dataset, keep: impl Fn(&Sample) -> Result<bool>) -> Result<Dataset> {
    let mut samples = Vec::with_capacity(data.samples.len());
    for sample in data.samples {
        if keep(&sample)? {
            samples.push(sample);
        }
    }
    data.samples = samples;
    Ok(data)
}

/// Samples of `split`, or of `other` where the data have none of `split`: layouts without splits have no validation part.
pub fn open_or(arguments: &[String], split: Split, other: Split, limits: VideoLimits) -> Result<Dataset> {
    let data = Dataset::open(arguments, split, limits)?;
    if data.samples.is_empty() {
        Dataset::open(arguments, other, limits)
    } else {
        Ok(data)
    }
}

impl Sets {
    /// Takes validation data given apart, or splits off `share` of the training data.
    pub fn new(train: Dataset, apart: Option<Dataset>, share: f64, seed: u64) -> Self {
        let (train, val) = match apart {
            Some(val) => (train, val),
            None => train.split_off(share, seed),
        };
        Self { train, val }
    }

    /// Counts and digest of the data.
    pub fn card(&self) -> Result<DataCard> {
        let classes = match self.train.classes.len() {
            0 | 1 => String::new(),
            n => format!(" in {n} classes"),
        };
        let digest = format!("{}+{}", self.train.digest()?, self.val.digest()?);
        let (train, val) = (self.train.samples.len(), self.val.samples.len());
        let summary = format!("{train} pictures to learn from and {val} held out{classes}; sha256 {digest}");
        Ok(DataCard { summary, digest })
    }
}

/// Counts and digest of the data.
#[derive(Debug, Clone)]
pub struct DataCard {
    /// For the card.
    pub summary: String,
    /// SHA-256 of the training and of the held-out data.
    pub digest: String,
}

impl DataCard {
    /// Adds further data: how many and what, and their digest.
    pub fn add(&mut self, what: &str, digest: &str) {
        self.summary += &format!(", and {what}; sha256 {digest}");
        self.digest += &format!("+{digest}");
    }
}

/// Whether the sample is without defect: by its class, else by its mask, which is read.
pub fn is_good(sample: &Sample) -> Result<bool> {
    match (&sample.class, &sample.mask) {
        (Some(class), _) => Ok(labels::is_good(class)),
        (None, Some(mask)) => Ok(pictures::read(mask)?.data.iter().all(|&x| x <= 0.5)),
        (None, None) => Ok(true),
    }
}

/// Fails, naming the data, when there are fewer than `least` samples.
pub fn at_least(least: usize, data: &Dataset, arguments: &[String], what: &str) -> Result<()> {
    if data.samples.len() >= least {
        return Ok(());
    }
    let name = arguments.first().map_or("DATA", String::as_str);
    Err(Error::data(
        name,
        format!("{} {what} found, at least {least} are needed", data.samples.len()),
    ))
}

/// The items of batch `step`, each made in parallel by `make` from a sample's index and its own random numbers.
pub fn draw<T: Send>(
    seed: u64,
    step: u64,
    batch: usize,
    count: usize,
    make: impl Fn(usize, &mut Pcg64) -> T + Sync,
) -> Vec<T> {
    let order = indices(purpose::seed(seed, purpose::ORDER), step, batch, count);
    let seed = purpose::seed(seed, purpose::AUGMENT);
    let item = |(item, &index): (usize, &usize)| make(index, &mut stream(seed, step, item as u64));
    order.par_iter().enumerate().map(item).collect()
}

/// Indices of the samples that batch `step` of `batch` items takes, of `count` samples: each once in every pass, in an order
/// drawn anew for each pass.
fn indices(seed: u64, step: u64, batch: usize, count: usize) -> Vec<usize> {
    let items: Range<u64> = step * batch as u64..(step + 1) * batch as u64;
    let mut pass = None;
    items
        .map(|item| {
            let number = item / count as u64;
            if pass.as_ref().is_none_or(|(n, _)| *n != number) {
                pass = Some((number, permutation(seed, number, count)));
            }
            let (_, order) = pass.as_ref().expect("it was set just now");
            order[(item % count as u64) as usize]
        })
        .collect()
}

/// Fisher-Yates shuffle.
fn permutation(seed: u64, pass: u64, count: usize) -> Vec<usize> {
    let mut rng = stream(seed, pass, 0);
    let mut order: Vec<usize> = (0..count).collect();
    for i in (1..count).rev() {
        order.swap(i, rng.random_range(0..=i));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pass_takes_every_sample_once() {
        let all: Vec<usize> = (0..5).flat_map(|step| indices(3, step, 4, 10)).collect();
        for pass in all.chunks(10) {
            let mut sorted = pass.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(all[..10], all[10..], "passes have orders of their own");
        assert_eq!(
            indices(3, 2, 4, 10),
            &all[8..12],
            "any step can be asked for at any time"
        );
        assert_eq!(indices(3, 0, 5, 2).len(), 5, "a batch may be longer than a pass");
    }
}

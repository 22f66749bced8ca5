//! Two stages: what an anomaly detector finds, named by a classifier.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::super::common::figure;
use crate::exec::Options;
use crate::model::Model;
use crate::pixels::Image;
use crate::score::labels::{UNKNOWN, is_good, standing};
use crate::score::metrics::largest;
use crate::score::regions;
use crate::tasks::{Classifier, Inspection};

/// Names the regions of flagged pictures and counts which pictures got the right name.
pub struct Namer {
    classifier: Classifier,
    /// Least side of what is seen of a region; 0 = the region alone.
    context: usize,
    /// Regions of fewer pixels have no name.
    min_area: usize,
    /// By true name, how many pictures got which; an empty name where none was flagged, or no region was left.
    given: BTreeMap<String, BTreeMap<String, usize>>,
}

impl Namer {
    pub fn open(path: &Path, context: usize, min_area: usize, options: &Options) -> Result<Self> {
        let model = Model::load(path)?;
        let classifier = Classifier::new(&model, options).with_context(|| path.display().to_string())?;
        Ok(Self {
            classifier,
            context,
            min_area,
            given: BTreeMap::new(),
        })
    }

    /// Counts a picture whose true name is `class`; `found` of a flagged one, with its map's threshold.
    pub fn add(&mut self, class: &str, image: &Image, found: Option<(&Inspection, f32)>) -> Result<()> {
        let regions = found.map_or_else(Vec::new, |(found, threshold)| {
            regions::find(&found.frame_map(), threshold, self.min_area)
        });
        let crops: Vec<Image> = regions
            .iter()
            .filter_map(|r| regions::seen(r.rect(), self.context, [image.width, image.height]))
            .map(|[x, y, width, height]| image.crop(x, y, width, height))
            .collect();
        let answers = self.classifier.classify(&crops)?;
        let names: Vec<(&str, f64)> = answers
            .iter()
            .map(|named| {
                let class = largest(&named.probabilities);
                let known = self.classifier.strangeness(named) <= 1.0;
                let name = if known {
                    &self.classifier.labels()[class]
                } else {
                    UNKNOWN
                };
                (name, f64::from(named.probabilities[class]))
            })
            .collect();
        let name = standing(names.iter().copied()).map_or("", |i| names[i].0);
        *self
            .given
            .entry(class.to_owned())
            .or_default()
            .entry(name.to_owned())
            .or_default() += 1;
        Ok(())
    }

    /// `named_right`: the share of defective pictures that were flagged and given the right name; `good_named`: of good ones that were given
    /// the name of a defect, or called unknown.
    pub fn figures(&self) -> Map<String, Value> {
        let share = |of_good: bool, counts: &dyn Fn(&str, &str) -> bool| {
            let rows = self.given.iter().filter(|(class, _)| is_good(class) == of_good);
            let (mut hits, mut all) = (0, 0);
            for (class, given) in rows {
                all += given.values().sum::<usize>();
                hits += given
                    .iter()
                    .filter(|(name, _)| counts(class, name))
                    .map(|(_, n)| n)
                    .sum::<usize>();
            }
            (all > 0).then(|| hits as f64 / all as f64)
        };
        let right = share(false, &|class, name| class == name);
        let alarmed = share(true, &|_, name| !name.is_empty() && !is_good(name));
        [("named_right", right), ("good_named", alarmed)]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), figure(value)))
            .collect()
    }

    /// Which names pictures of each class got.
    pub fn table(&self) -> String {
        let mut text = "class: the names that its pictures got\n".to_owned();
        for (class, given) in &self.given {
            let names: Vec<String> = given
                .iter()
                .map(|(name, count)| format!("{} {count}", if name.is_empty() { "(not flagged)" } else { name }))
                .collect();
            writeln!(text, "  {class}: {}", names.join(", ")).expect("a string takes all");
        }
        text
    }
}

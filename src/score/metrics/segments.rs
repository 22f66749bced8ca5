//! Figures of merit of classes of pixels.

use crate::pixels::Image;

/// How classes of pixels overlap with the true ones, counted over all pictures together.
#[derive(Debug, Clone, PartialEq)]
pub struct Overlaps {
    /// Pixels of a class rightly found, found, and there, one a class.
    right: Vec<u64>,
    found: Vec<u64>,
    there: Vec<u64>,
}

impl Overlaps {
    /// Of `classes` classes, nothing counted yet.
    pub fn new(classes: usize) -> Self {
        let none = vec![0; classes];
        Self {
            right: none.clone(),
            found: none.clone(),
            there: none,
        }
    }

    /// Counts a picture: of each pixel the class with the largest of the planes of `scores` was found. A true class that does not exist
    /// does not count.
    ///
    /// # Panics
    /// When the sizes differ.
    pub fn add(&mut self, scores: &Image, truth: &[u8]) {
        let pixels = scores.width * scores.height;
        assert_eq!(truth.len(), pixels, "one class a pixel");
        for (i, &class) in truth.iter().enumerate() {
            let score = |class: usize| scores.data[class * pixels + i];
            if usize::from(class) < self.right.len() {
                let most =
                    (1..scores.channels).fold(0, |most, class| if score(class) > score(most) { class } else { most });
                self.count(most, class.into());
            }
        }
    }

    /// Counts what `other` did, which is of as many classes.
    pub fn merge(&mut self, other: &Self) {
        let pairs = [
            (&mut self.right, &other.right),
            (&mut self.found, &other.found),
            (&mut self.there, &other.there),
        ];
        for (own, others) in pairs {
            own.iter_mut().zip(others).for_each(|(own, other)| *own += other);
        }
    }

    /// Counts a pixel.
    ///
    /// # Panics
    /// When there is no such class.
    pub fn count(&mut self, found: usize, there: usize) {
        self.found[found] += 1;
        self.there[there] += 1;
        self.right[there] += u64::from(found == there);
    }

    /// Intersection over union (Jaccard 1912) of a class; `None` where it is neither found nor there.
    pub fn iou(&self, class: usize) -> Option<f64> {
        let union = self.found[class] + self.there[class] - self.right[class];
        (union > 0).then(|| self.right[class] as f64 / union as f64)
    }

    /// Dice's coefficient (1945) of a class; `None` where it is neither found nor there.
    pub fn dice(&self, class: usize) -> Option<f64> {
        let both = self.found[class] + self.there[class];
        (both > 0).then(|| 2.0 * self.right[class] as f64 / both as f64)
    }

    /// The mean of [`Overlaps::iou`] over the classes from `first` on that are found or there; 0 of none.
    pub fn mean_iou(&self, first: usize) -> f64 {
        mean((first..self.right.len()).filter_map(|class| self.iou(class)))
    }

    /// The same of [`Overlaps::dice`].
    pub fn mean_dice(&self, first: usize) -> f64 {
        mean((first..self.right.len()).filter_map(|class| self.dice(class)))
    }

    /// Share of all pixels whose class was found; 0 of none.
    pub fn pixel_accuracy(&self) -> f64 {
        let sum = |counts: &[u64]| counts.iter().sum::<u64>() as f64;
        sum(&self.right) / sum(&self.there).max(1.0)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / f64::max(count, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_are_counted_over_all_pictures() {
        let mut overlaps = Overlaps::new(3);
        // Four pixels: found 0, 1, 1, 2.
        let scores = Image {
            channels: 3,
            height: 2,
            width: 2,
            data: vec![9.0, 0.0, 0.0, 0.0, 0.0, 9.0, 9.0, 0.0, 0.0, 0.0, 0.0, 9.0],
        };
        overlaps.add(&scores, &[0, 1, 0, 255]);
        assert_eq!([0, 1, 2].map(|class| overlaps.iou(class)), [Some(0.5), Some(0.5), None]);
        assert_eq!(overlaps.dice(1), Some(2.0 / 3.0));
        overlaps.add(&scores, &[2, 2, 2, 2]);
        assert_eq!(
            [0, 1, 2].map(|class| overlaps.iou(class)),
            [Some(1.0 / 3.0), Some(0.25), Some(0.25)]
        );
        assert!((overlaps.mean_iou(1) - 0.25).abs() < 1e-12);
        assert!((overlaps.mean_dice(0) - (0.5 + 0.4 + 0.4) / 3.0).abs() < 1e-12);
        assert!((overlaps.pixel_accuracy() - 3.0 / 7.0).abs() < 1e-12);
        assert_eq!(Overlaps::new(2).mean_iou(1), 0.0);
    }
}

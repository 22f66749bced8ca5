//! How fast a run is, and how well it does.

use std::collections::VecDeque;
use std::time::Instant;

/// Loss and speed of the last steps.
pub struct Pace {
    batch: usize,
    recent: VecDeque<(Instant, f32)>,
}

impl Pace {
    /// Steps it looks back on.
    const WINDOW: usize = 50;

    /// Nothing yet, with `batch` items a step.
    pub fn new(batch: usize) -> Self {
        Self {
            batch,
            recent: VecDeque::new(),
        }
    }

    /// Takes the loss of a step that has just ended.
    pub fn push(&mut self, loss: f32) {
        if self.recent.len() > Self::WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back((Instant::now(), loss));
    }

    /// Forgets times, as after a validation.
    pub fn restart(&mut self) {
        self.recent.clear();
    }

    /// Mean loss; NaN until there is a step.
    pub fn loss(&self) -> f64 {
        self.recent.iter().map(|(_, loss)| f64::from(*loss)).sum::<f64>() / self.recent.len() as f64
    }

    /// Items a second; zero until there are two steps.
    pub fn images_per_s(&self) -> f64 {
        match (self.recent.front(), self.recent.back()) {
            (Some((first, _)), Some((last, _))) if last > first => {
                (self.recent.len() - 1) as f64 * self.batch as f64 / (*last - *first).as_secs_f64()
            }
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_of_the_last_steps() {
        let mut pace = Pace::new(4);
        assert!(pace.loss().is_nan() && pace.images_per_s() == 0.0);
        for step in 0..200 {
            pace.push(if step < 100 { 9.0 } else { 1.0 });
        }
        assert_eq!(pace.loss(), 1.0);
        assert!(pace.images_per_s() > 0.0);
        pace.restart();
        assert!(pace.loss().is_nan());
    }
}

//! Thresholds from good frames alone, and probabilities that mean what they say.

mod classify;
mod rates;
mod tail;

pub use classify::{classify, probabilities, reached_by};
pub use rates::anomaly;

/// Quantile `q` (0..1) of rising, non-empty `sorted`: linear between the order statistics (numpy's default).
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let low = (position.floor() as usize).min(sorted.len() - 1);
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * (position - low as f64)
}

#[cfg(test)]
mod tests;

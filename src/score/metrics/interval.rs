//! How sure a share is.

/// Standard deviations from the middle of a normal distribution between which 95 % lie.
const DEVIATIONS: f64 = 1.959_964;

/// Wilson's interval of 95 % confidence (Wilson 1927) for the share that `hits` of `count` stand for; all of 0..1 for none.
pub fn share_interval(hits: usize, count: usize) -> [f64; 2] {
    if count == 0 {
        return [0.0, 1.0];
    }
    let (n, share, square) = (count as f64, hits as f64 / count as f64, DEVIATIONS * DEVIATIONS);
    let middle = share + square / (2.0 * n);
    let half = DEVIATIONS * (share * (1.0 - share) / n + square / (4.0 * n * n)).sqrt();
    [middle - half, middle + half].map(|end| (end / (1.0 + square / n)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::share_interval;

    #[test]
    fn wilson() {
        // The figures of Newcombe (1998), table I, method 3.
        for (hits, count, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
        ] {
            let [a, b] = share_interval(hits, count);
            assert!(
                (a - low).abs() < 5e-5 && (b - high).abs() < 5e-5,
                "{hits} of {count}: {a} to {b}"
            );
        }
        assert_eq!(share_interval(0, 0), [0.0, 1.0]);
        assert_eq!(share_interval(20, 20)[1], 1.0);
    }
}

//! What scores beyond all those seen may look like: a generalised-Pareto tail (Pickands 1975).

/// Fewer scores than this in the tail fix its scale but not its shape.
const SHAPE_NEEDS: usize = 20;
/// Shapes beyond these come from chance: at -0.5 the tail ends abruptly, at 0.5 its variance is infinite.
const SHAPES: [f64; 2] = [-0.5, 0.5];

/// A score `x` above `start` is exceeded with probability `share · (1 + shape · (x − start) / scale)^(−1/shape)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tail {
    /// Where the tail starts.
    pub start: f64,
    /// Probability of scores above it.
    pub share: f64,
    /// ξ; 0 is the exponential distribution, below 0 the tail has an end.
    pub shape: f64,
    /// σ.
    pub scale: f64,
}

impl Tail {
    /// The tail of rising `sorted` (at least 2): its upper tenth, but at least 10 scores or half of them where they are few.
    /// Fitted by probability-weighted moments (Hosking and Wallis 1987).
    pub fn fit(sorted: &[f64]) -> Self {
        let n = sorted.len();
        let count = (n / 10).max(10).min(n / 2);
        let start = sorted[n - count - 1];
        let excesses: Vec<f64> = sorted[n - count..].iter().map(|score| score - start).collect();
        let (mut shape, mut scale) = moments(&excesses);
        if count < SHAPE_NEEDS {
            scale = excesses.iter().sum::<f64>() / count as f64;
            shape = 0.0;
        }
        // `start` is an order statistic, which a fresh score exceeds with this probability.
        Self {
            start,
            share: (count + 1) as f64 / (n + 1) as f64,
            shape,
            scale,
        }
    }

    /// The score that a share `rate` of fresh scores exceeds, for `rate` up to `self.share`.
    pub fn threshold(&self, rate: f64) -> f64 {
        let depth = (self.share / rate).ln();
        // ((share / rate)^shape - 1) / shape, whose limit at shape 0 is the logarithm.
        let reach = if self.shape.abs() < 1e-9 {
            depth
        } else {
            (self.shape * depth).exp_m1() / self.shape
        };
        self.start + self.scale * reach
    }
}

/// Shape and scale of rising excesses.
pub(super) fn moments(excesses: &[f64]) -> (f64, f64) {
    let n = excesses.len() as f64;
    let mean = excesses.iter().sum::<f64>() / n;
    // E[X · (1 - F(X))], unbiased.
    let weights = (1..=excesses.len()).map(|i| (n - i as f64) / (n - 1.0).max(1.0));
    let weighted = excesses.iter().zip(weights).map(|(x, weight)| x * weight).sum::<f64>() / n;
    let spread = mean - 2.0 * weighted;
    let shape = if spread > 1e-12 * mean {
        2.0 - mean / spread
    } else {
        SHAPES[0]
    };
    let shape = shape.clamp(SHAPES[0], SHAPES[1]);
    (shape, mean * (1.0 - shape))
}

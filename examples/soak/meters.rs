//! What is measured, in memory that does not grow with the length of the run.

use std::fmt;
use std::time::Instant;

use anyhow::{Context, Result};

/// Buckets to a doubling: a percentile is right to within 2 %.
const FINENESS: f64 = 32.0;
/// From a microsecond to a minute.
const BUCKETS: usize = 26 * 32;

/// How often something took how long.
pub struct Histogram {
    counts: Vec<u64>,
    longest_us: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            longest_us: 0.0,
        }
    }
}

impl Histogram {
    /// Counts what began then and ends now.
    pub fn add(&mut self, began: Option<Instant>) {
        let Some(began) = began else { return };
        let us = began.elapsed().as_secs_f64() * 1e6;
        let bucket = (us.max(1.0).log2() * FINENESS) as usize;
        self.counts[bucket.min(BUCKETS - 1)] += 1;
        self.longest_us = self.longest_us.max(us);
    }

    /// The percentile in milliseconds; 0 where nothing was counted.
    fn percentile_ms(&self, percent: u64) -> f64 {
        let rank = (self.counts.iter().sum::<u64>() * percent).div_ceil(100);
        let mut below = 0;
        let bucket = self.counts.iter().position(|count| {
            below += count;
            below >= rank.max(1)
        });
        bucket.map_or(0.0, |bucket| ((bucket as f64 + 0.5) / FINENESS).exp2() / 1e3)
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99] = [50, 99].map(|percent| self.percentile_ms(percent));
        write!(
            f,
            "p50 {p50:.2} ms, p99 {p99:.2} ms, longest {:.2} ms",
            self.longest_us / 1e3
        )
    }
}

/// What the process holds.
pub struct Process {
    pub memory_kib: u64,
    pub threads: usize,
    pub handles: usize,
}

impl Process {
    pub fn now() -> Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status").context("/proc is needed")?;
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Ok(Self {
            memory_kib: field("VmRSS:").context("no VmRSS in /proc/self/status")?,
            threads: field("Threads:").context("no Threads in /proc/self/status")? as usize,
            // But the one that counts them.
            handles: std::fs::read_dir("/proc/self/fd")?.count() - 1,
        })
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.memory_kib as f64 / 1024.0;
        write!(
            f,
            "{mib:.1} MiB, {} threads, {} file handles",
            self.threads, self.handles
        )
    }
}

/// The line of least squares through points `(x, y)`.
pub struct Line {
    pub slope: f64,
    /// By how much it rises from the first point to the last, and the standard error of that.
    pub growth: f64,
    pub error: f64,
}

impl Line {
    /// `points` are three at least, in the order of x.
    pub fn through(points: &[(f64, f64)]) -> Self {
        let n = points.len() as f64;
        let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|&(x, y)| of(x, y)).sum::<f64>();
        let (x0, y0) = (sum(&|x, _| x) / n, sum(&|_, y| y) / n);
        let spread = sum(&|x, _| (x - x0).powi(2));
        let slope = sum(&|x, y| (x - x0) * (y - y0)) / spread;
        let variance = sum(&|x, y| (y - y0 - slope * (x - x0)).powi(2)) / (n - 2.0);
        let span = points[points.len() - 1].0 - points[0].0;
        Self {
            slope,
            growth: slope * span,
            error: (variance / spread).sqrt() * span,
        }
    }
}

//! The most that a core's vectors can do.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::simd::{Isa, Vector, Work, run};

/// Sums that do not wait for each other: a CPU with two units of a latency of four or five keeps both busy.
const SUMS: usize = 12;
const ROUNDS: usize = 20_000;

/// f32 multiply-adds of registers alone by the calling thread, in GFLOP/s (two operations each): the best rate seen in `time`.
///
/// # Panics
/// When this CPU lacks `isa`.
pub fn gflops(isa: Isa, time: Duration) -> f64 {
    let begun = Instant::now();
    let mut best: f64 = 0.0;
    while begun.elapsed() < time {
        let start = Instant::now();
        black_box(run(isa, MultiplyAdd));
        let operations = (2 * SUMS * ROUNDS * isa.lanes()) as f64;
        best = best.max(operations / start.elapsed().as_secs_f64() / 1e9);
    }
    best
}

struct MultiplyAdd;

impl Work for MultiplyAdd {
    type Output = f32;

    #[inline(always)]
    fn run<V: Vector>(self) -> f32 {
        let (a, b) = (V::splat(black_box(0.5)), V::splat(black_box(0.25)));
        let mut sums = [a; SUMS];
        for sum in &mut sums {
            *sum = V::splat(black_box(0.0));
        }
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = a.mul_add(*sum, b);
            }
        }
        let mut lanes = [0.0; 16];
        let mut all = a;
        for sum in sums {
            all = all.add(sum);
        }
        all.store(&mut lanes);
        black_box(lanes)[0]
    }
}

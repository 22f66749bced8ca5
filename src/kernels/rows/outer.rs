//! Sums of outer products: the gradient of a convolution's weight.

use crate::kernels::simd::{Isa, Vector, Work, run};

/// Sums of `x[taps[m] + k] · g[k + n]` over positions `k`.
pub(crate) struct Outer<'a> {
    pub x: &'a [f32],
    pub taps: &'a [usize],
    pub g: &'a [f32],
    /// Columns `n`. Loads of `g` may go further, up to [`Outer::SLACK`] values.
    pub outs: usize,
    /// Values from a position to the next one, in `x` and `g`.
    pub steps: [usize; 2],
    /// Where rows of positions begin, in `x` and `g`.
    pub rows: &'a [[usize; 2]],
    /// Positions of a row.
    pub count: usize,
    /// What they are added to: for each tap a row of [`Outer::pitch`] values.
    pub sums: &'a mut [f32],
}

impl Outer<'_> {
    /// Values behind the last one of `g` that may be loaded.
    pub const SLACK: usize = 32;

    /// Values from a tap's sums to the next one's.
    pub fn pitch(outs: usize) -> usize {
        outs.next_multiple_of(Self::SLACK)
    }

    /// Adds them.
    pub fn add(self, isa: Isa) {
        let last = self.count.saturating_sub(1);
        let far = |i: usize| self.rows.iter().map(|row| row[i]).max().unwrap_or(0) + last * self.steps[i];
        let tap = self.taps.iter().max().copied().unwrap_or(0);
        assert!(self.x.len() > tap + far(0) && self.g.len() >= far(1) + self.outs + Self::SLACK);
        assert_eq!(self.sums.len(), self.taps.len() * Self::pitch(self.outs));
        run(isa, self);
    }

    #[inline(always)]
    fn tile<V: Vector, const M: usize, const Q: usize>(&mut self, tap: usize, out: usize) {
        let pitch = Self::pitch(self.outs);
        let taps: [usize; M] = std::array::from_fn(|m| self.taps[tap + m]);
        let place = |m: usize, q: usize| (tap + m) * pitch + out + q * V::LANES;
        let mut sums: [[V; Q]; M] =
            std::array::from_fn(|m| std::array::from_fn(|q| V::load(&self.sums[place(m, q)..])));
        for [x, g] in self.rows {
            let (mut x, mut g) = (*x, *g + out);
            for _ in 0..self.count {
                // SAFETY: `add` asserts that the last position's values, and `SLACK` more of `g`, lie in the slices; a register
                // begins before `outs` and has at most 16 values.
                let g_now: [V; Q] = std::array::from_fn(|q| {
                    V::load(unsafe { self.g.get_unchecked(g + q * V::LANES..g + (q + 1) * V::LANES) })
                });
                for (sums, tap) in sums.iter_mut().zip(taps) {
                    // SAFETY: the same.
                    let x = V::splat(unsafe { *self.x.get_unchecked(x + tap) });
                    for (sum, g) in sums.iter_mut().zip(g_now) {
                        *sum = sum.mul_add(x, g);
                    }
                }
                x += self.steps[0];
                g += self.steps[1];
            }
        }
        for (m, sums) in sums.into_iter().enumerate() {
            for (q, sum) in sums.into_iter().enumerate() {
                sum.store(&mut self.sums[place(m, q)..]);
            }
        }
    }

    #[inline(always)]
    fn taps<V: Vector, const M: usize, const Q: usize>(&mut self, out: usize) {
        let mut tap = 0;
        while self.taps.len() - tap >= M {
            self.tile::<V, M, Q>(tap, out);
            tap += M;
        }
        while self.taps.len() - tap >= 4 {
            self.tile::<V, 4, Q>(tap, out);
            tap += 4;
        }
        while tap < self.taps.len() {
            self.tile::<V, 1, Q>(tap, out);
            tap += 1;
        }
    }
}

impl Work for Outer<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(mut self) {
        for out in (0..self.outs).step_by(2 * V::LANES) {
            match (V::LANES, self.outs - out > V::LANES) {
                (16, true) => self.taps::<V, 12, 2>(out),
                (16, false) => self.taps::<V, 24, 1>(out),
                (_, true) => self.taps::<V, 6, 2>(out),
                (_, false) => self.taps::<V, 12, 1>(out),
            }
        }
    }
}

//! A buffer that several tasks fill, each its own rows.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Which rows were handed out: a bit each. Kept by the buffer's owner, so that handing out allocates nothing.
#[derive(Default)]
pub(crate) struct Claims(Vec<AtomicU64>);

/// Hands out rows of a slice, each once, from any thread.
pub(crate) struct RowsMut<'a> {
    start: *mut f32,
    rows: usize,
    pitch: usize,
    claims: &'a [AtomicU64],
    slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: what `take` gives out is exclusive, as `&mut [f32]` is, which may go to other threads.
unsafe impl Sync for RowsMut<'_> {}
// SAFETY: the same.
unsafe impl Send for RowsMut<'_> {}

impl<'a> RowsMut<'a> {
    /// All rows of `slice`, `pitch` values each.
    pub fn new(slice: &'a mut [f32], pitch: usize, claims: &'a mut Claims) -> Self {
        let rows = slice.len() / pitch.max(1);
        claims.0.iter_mut().for_each(|bits| *bits.get_mut() = 0);
        claims.0.resize_with(rows.div_ceil(64), AtomicU64::default);
        Self {
            start: slice.as_mut_ptr(),
            rows,
            pitch,
            claims: &claims.0,
            slice: PhantomData,
        }
    }

    /// Some rows. Panics when one of them was taken before or is not there.
    pub fn take(&self, rows: Range<usize>) -> &'a mut [f32] {
        assert!(
            rows.start <= rows.end && rows.end <= self.rows,
            "{rows:?} of {}",
            self.rows
        );
        for row in rows.clone() {
            let before = self.claims[row / 64].fetch_or(1 << (row % 64), Ordering::Relaxed);
            assert!(before & (1 << (row % 64)) == 0, "row {row} was taken before");
        }
        // SAFETY: the rows lie in the slice that `self` borrows mutably for 'a, and no other call gave one of them out: each
        // bit was clear and is set now.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(rows.start * self.pitch), rows.len() * self.pitch) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Claims, RowsMut};

    #[test]
    fn a_row_is_given_once() {
        let (mut data, mut claims) = ([0.0; 11], Claims::default());
        for _ in 0..2 {
            let rows = RowsMut::new(&mut data, 2, &mut claims);
            rows.take(0..2).fill(1.0);
            rows.take(2..5).fill(2.0);
            for again in [1..3, 0..1, 4..6] {
                let taken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rows.take(again.clone()).len()));
                assert!(taken.is_err(), "{again:?}");
            }
        }
        assert_eq!(data, [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.0]);
    }
}

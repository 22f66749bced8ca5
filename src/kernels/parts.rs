//! A buffer that several tasks fill, each its own part.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Hands out parts of a slice that do not overlap, to be called from any thread.
pub(crate) struct Parts<'a> {
    start: *mut f32,
    len: usize,
    taken: Mutex<Taken>,
    slice: PhantomData<&'a mut [f32]>,
}

/// Ranges that were handed out.
struct Taken {
    ranges: [(usize, usize); Parts::MOST],
    count: usize,
}

// SAFETY: what `take` gives out is exclusive, as `&mut [f32]` is, which may go to other threads.
unsafe impl Sync for Parts<'_> {}
// SAFETY: the same.
unsafe impl Send for Parts<'_> {}

impl<'a> Parts<'a> {
    /// Most parts that can be taken.
    pub const MOST: usize = 128;

    pub fn new(slice: &'a mut [f32]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            taken: Mutex::new(Taken {
                ranges: [(0, 0); Self::MOST],
                count: 0,
            }),
            slice: PhantomData,
        }
    }

    /// The values of `range`. Panics when one of them was taken before, lies outside, or too many ranges were taken.
    pub fn take(&self, range: Range<usize>) -> &'a mut [f32] {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "{range:?} of {}",
            self.len
        );
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let Taken { ranges, count } = &mut *taken;
        let free = ranges[..*count]
            .iter()
            .all(|(start, end)| range.end <= *start || range.start >= *end);
        assert!(free && *count < Self::MOST, "{range:?}");
        ranges[*count] = (range.start, range.end);
        *count += 1;
        // SAFETY: the range lies in the slice that `self` borrows mutably for 'a, and no other range that was given out
        // overlaps it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::Parts;

    #[test]
    fn parts_never_overlap() {
        let mut data = [0.0; 10];
        let parts = Parts::new(&mut data);
        parts.take(0..4).fill(1.0);
        parts.take(4..10).fill(2.0);
        for range in [3..5, 0..1, 9..11] {
            let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| parts.take(range.clone()).len()));
            assert!(again.is_err(), "{range:?}");
        }
        assert_eq!(data, [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]);
    }
}

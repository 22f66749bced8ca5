//! Memory that begins at a cache line.

use std::ops::{Deref, DerefMut};

/// f32 values of a cache line.
pub(crate) const LINE: usize = 16;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Values that begin at a cache line. A register or a row of a tile that lies across two lines is two accesses: AMX takes four times as long
/// where both its factors do.
#[derive(Default)]
pub(crate) struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

impl Aligned {
    /// So many zeros.
    pub fn zeros(len: usize) -> Self {
        let lines = vec![Line([0.0; LINE]); len.div_ceil(LINE)];
        Self { lines, len }
    }

    /// Gives it another length. Whatever is added is a value that was there before, or zero.
    pub fn resize(&mut self, len: usize) {
        self.lines.resize(len.div_ceil(LINE), Line([0.0; LINE]));
        self.len = len;
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: lines are f32 without gaps, and there are as many as `len` needs.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: lines are f32 without gaps, and there are as many as `len` needs.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Aligned, LINE};

    #[test]
    fn values_begin_at_a_line_and_stay() {
        let mut values = Aligned::zeros(LINE + 3);
        values.iter_mut().zip(0u8..).for_each(|(value, i)| *value = i.into());
        for len in [LINE + 3, 1000, 5, 40] {
            values.resize(len);
            assert_eq!(values.len(), len);
            assert_eq!(values.as_ptr() as usize % 64, 0);
            assert!(values[..5].iter().zip(0u8..).all(|(value, i)| *value == f32::from(i)));
        }
        assert!(Aligned::default().is_empty() && Aligned::zeros(0).is_empty());
    }
}

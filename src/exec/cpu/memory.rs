//! Buffers that are used again: fresh memory costs a page fault every 4 KiB, as much time as a small convolution.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use crate::kernels::aligned::Aligned;

/// Buffers that nothing uses at the moment. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Vec<Aligned>>>);

impl Memory {
    /// A buffer of `len` values, whatever they are.
    pub(crate) fn take(&self, len: usize) -> Buffer {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let data = match free.iter().position(|data| data.len() == len) {
            Some(i) => free.swap_remove(i),
            None => {
                drop(free);
                Aligned::zeros(len)
            }
        };
        Buffer {
            data,
            memory: self.clone(),
        }
    }

    /// Forgets all buffers that nothing uses: for when other sizes are wanted from now on.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Values that go back to their [`Memory`] when they are dropped.
pub(crate) struct Buffer {
    data: Aligned,
    memory: Memory,
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        self.memory.0.lock().unwrap_or_else(PoisonError::into_inner).push(data);
    }
}

#[cfg(test)]
mod tests {
    use super::Memory;

    #[test]
    fn buffers_come_back() {
        let memory = Memory::default();
        let first = memory.take(5).as_ptr();
        assert_eq!(memory.take(5).as_ptr(), first);
        let both = [memory.take(5), memory.take(5)];
        assert_ne!(both[0].as_ptr(), both[1].as_ptr());
        assert_eq!(memory.take(7).len(), 7);
        memory.clear();
        assert!(memory.0.lock().unwrap().is_empty());
    }
}

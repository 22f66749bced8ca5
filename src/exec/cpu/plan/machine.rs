//! What plans run on.

use crate::kernels::team::cores;
use crate::kernels::{Arithmetic, Tiles};
use crate::{Error, Result};

/// What a plan runs on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    /// Of the convolutions.
    pub arithmetic: Arithmetic,
    /// Threads; at least one.
    pub threads: usize,
}

impl Machine {
    /// All cores, in bf16 by AMX or else by loops.
    pub(crate) fn in_bf16() -> Self {
        let (arithmetic, threads) = (Arithmetic::in_bf16(), cores());
        Self { arithmetic, threads }
    }

    /// Whether this CPU has what makes bf16 faster than f32.
    pub(crate) fn is_fast_in_bf16() -> bool {
        Tiles::find() == Some(Tiles::Amx)
    }

    /// So many `threads`, 0 = all cores, and the instructions of this CPU. Fails where bf16 is not to be had, or
    /// [`crate::kernels::ISA_VARIABLE`] names what this CPU does not have.
    pub(crate) fn new(threads: usize, bf16: bool) -> Result<Self> {
        let arithmetic = Arithmetic::new(bf16).map_err(|error| Error::Invalid(error.into()))?;
        let threads = if threads == 0 { cores() } else { threads };
        Ok(Self { arithmetic, threads })
    }
}

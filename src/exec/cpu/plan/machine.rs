//! What plans run on.

use crate::kernels::Isa;
use crate::kernels::rows::Tiles;
use crate::{Error, Result};

/// What a plan runs on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    /// Instructions for f32.
    pub isa: Isa,
    /// What multiplies in bf16, where convolutions shall run so.
    pub tiles: Option<Tiles>,
    /// Threads; at least one.
    pub threads: usize,
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.tiles {
            Some(Tiles::Amx) => f.write_str("amx"),
            Some(Tiles::Emulated) => f.write_str("amx-emulated"),
            None => self.isa.fmt(f),
        }
    }
}

impl Machine {
    /// All cores, in bf16 by AMX or else by loops.
    pub(crate) fn in_bf16() -> Result<Self> {
        let machine = Self::new(0, false)?;
        let tiles = Some(Tiles::find().unwrap_or(Tiles::Emulated));
        Ok(Self { tiles, ..machine })
    }

    /// Whether this CPU has what makes bf16 faster than f32.
    pub(crate) fn is_fast_in_bf16() -> bool {
        Tiles::find() == Some(Tiles::Amx)
    }

    /// So many `threads`, 0 = all cores, and the instructions of this CPU. Fails where bf16 is not to be had, or
    /// [`crate::kernels::ISA_VARIABLE`] names what this CPU does not have.
    pub(crate) fn new(threads: usize, bf16: bool) -> Result<Self> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let none =
            "bf16 needs a CPU with AMX, which this one (or its system) has not; use precision=f32 or precision=auto";
        Ok(Self {
            isa: Isa::chosen().map_err(|error| Error::Invalid(error.into()))?,
            tiles: if bf16 {
                Some(Tiles::find().ok_or_else(|| Error::Invalid(none.into()))?)
            } else {
                None
            },
            threads: if threads == 0 { cores() } else { threads },
        })
    }
}

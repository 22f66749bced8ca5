//! What the elements share.

pub mod result;

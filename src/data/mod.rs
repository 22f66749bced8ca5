//! Data to train and test on: pictures, videos, splits, synthetic noise and defects.

pub mod augment;
pub mod defects;
pub mod line;
pub mod noise;
pub mod random;
#[cfg(feature = "train")]
pub mod symmetry;

#[cfg(feature = "train")]
pub mod layout;
#[cfg(feature = "train")]
pub mod masks;
#[cfg(feature = "train")]
pub mod pictures;
#[cfg(feature = "video")]
pub mod video;

//! Pictures in files.

use std::path::{Path, PathBuf};

use crate::Result;
use crate::pixels::Image;

/// Reads a picture: grey files as one plane, others as three, 0..1. The error names the file.
pub fn read(path: &Path) -> Result<Image> {
    unimplemented!("{}", path.display())
}

/// Writes an 8-bit picture (PNG, JPEG and so on by the extension): to a temporary file beside it, then renamed.
pub fn write(path: &Path, image: &Image) -> Result<()> {
    unimplemented!("{} {}", path.display(), image.width)
}

/// Pictures in `folder` by extension, sorted by name; not in its subfolders. An error when there is none.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    unimplemented!("{}", folder.display())
}

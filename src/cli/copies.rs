//! Copies of chosen pictures in a folder of their own.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::common::make_folder;
use super::run::Names;
use crate::data::layout::{Dataset, Source};
use crate::data::pictures;

/// Fails where copies in `folder` would lie among other files.
pub fn check_new(folder: &Path) -> Result<()> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            Some(_) => bail!("{}: it is not empty; give a new folder", folder.display()),
            None => Ok(()),
        },
        Err(_) if folder.exists() => bail!("{}: it is not a folder", folder.display()),
        Err(_) => Ok(()),
    }
}

/// Copies the samples of these numbers into `folder`, each below its class where it has one: picture files as they are, frames of videos
/// as PNG.
pub fn copy(data: &Dataset, chosen: &[usize], folder: &Path) -> Result<()> {
    make_folder(folder)?;
    let mut names = Names::default();
    for sample in chosen.iter().map(|&i| &data.samples[i]) {
        let into = match &sample.class {
            Some(class) => folder.join(class),
            None => folder.to_owned(),
        };
        make_folder(&into)?;
        let name = names.take(&sample.source);
        match &sample.source {
            Source::Picture(path) => {
                let extension = path.extension().unwrap_or_default().to_string_lossy();
                let to = into.join(format!("{name}.{extension}"));
                std::fs::copy(path, &to).with_context(|| format!("{}: not copied", path.display()))?;
            }
            Source::Frame { .. } => pictures::write(&into.join(name + ".png"), &data.read(sample)?)?,
        }
    }
    Ok(())
}

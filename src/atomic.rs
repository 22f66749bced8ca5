//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::{NamedTempFile, TempPath};

use crate::{Error, Result};

/// Lets `fill` write a temporary file beside `path`, flushes it to the disk and renames it. After an error `path` is as it
/// was before and nothing else is left.
pub fn write(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let write = || {
        let (mut file, temporary) = temporary_beside(path)?.into_parts();
        let mut out = BufWriter::new(&mut file);
        fill(&mut out)?;
        out.flush()?;
        drop(out);
        sync_and_name(file, temporary, path)
    };
    write().map_err(|e| Error::io(path, e))
}

/// An empty file beside `path`, removed when dropped. [`sync_and_name`] gives it its name.
pub fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = folder_of(path);
    if !folder.is_dir() {
        let reason = format!("cannot write here: there is no folder {}", folder.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, reason));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".gst-candle-").suffix(".part");
    #[cfg(unix)]
    {
        // What any new file gets, less the user's umask; temporary files are private otherwise.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    // The temporary file's own name in an error would only confuse.
    builder.tempfile_in(folder).map_err(|e| io::Error::from(e.kind()))
}

/// Flushes a temporary file to the disk and names it `path`.
pub fn sync_and_name(file: File, temporary: TempPath, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    temporary.persist(path).map_err(|e| e.error)?;
    // The rename itself is on the disk only when the folder is. Some file systems cannot say, and the file is there by now.
    #[cfg(unix)]
    let _ = File::open(folder_of(path)).and_then(|folder| folder.sync_all());
    Ok(())
}

/// The folder that `path` lies in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_names_the_target_alone() {
        let folder = tempfile::tempdir().unwrap();
        let error = |path: &Path| write(path, |out| out.write_all(b"x")).unwrap_err().to_string();
        let missing = folder.path().join("no/a.json");
        assert!(error(&missing).starts_with(&format!("{}: cannot write here", missing.display())));
        // A folder in the file's place is found at the rename, when the temporary file is written.
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        let message = error(&taken);
        assert!(message.starts_with(&format!("{}: ", taken.display())), "{message}");
        assert!(!message.contains(".gst-candle-"), "{message}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

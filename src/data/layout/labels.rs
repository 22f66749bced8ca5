//! Which frames of videos are anomalous: `labels.csv` beside them.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::Path;

use crate::{Error, Result};

/// Its name.
pub const FILE: &str = "labels.csv";
/// Its first line.
const HEADER: [&str; 3] = ["clip", "frame", "abnormal"];
/// Class names of frames, by whether they are anomalous.
const CLASSES: [&str; 2] = ["good", "anomalous"];

/// What the file says: for each clip, which is a video's name without extension, the class of each frame, counted from 0.
pub type Labels = BTreeMap<String, BTreeMap<usize, &'static str>>;

/// The labels in `folder`; none where there is no such file, or one that does not begin with `clip,frame,abnormal` and so is somebody
/// else's. An error names a line that is not so, or a clip that is no video there.
pub fn read(folder: &Path) -> Result<Labels> {
    let path = folder.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Labels::new()),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(Error::data(&path, "it is not UTF-8 text; save it as UTF-8"));
        }
        Err(error) => return Err(Error::io(&path, error)),
    };
    let mut labels = Labels::new();
    let cells = |line: &str| -> Vec<String> { line.split(',').map(|cell| cell.trim().to_owned()).collect() };
    let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    if lines.next().is_none_or(|(_, first)| cells(first) != HEADER) {
        return Ok(labels);
    }
    let wrong = |number: usize, line: &str| {
        let reason = format!(
            "line {}, `{line}`, is not {}: a video's name without extension, a frame counted from 0, and 0 or 1",
            number + 1,
            HEADER.join(",")
        );
        Error::data(&path, reason)
    };
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let [clip, frame, abnormal] = &cells(line)[..] else {
            return Err(wrong(number, line));
        };
        let class = match (frame.parse(), abnormal.as_str()) {
            (Ok(frame), "0" | "1") => (frame, CLASSES[usize::from(abnormal == "1")]),
            _ => return Err(wrong(number, line)),
        };
        labels.entry(clip.clone()).or_default().extend([class]);
    }
    let entries = std::fs::read_dir(folder).map_err(|error| Error::io(folder, error))?;
    let names: HashSet<OsString> = entries
        .flatten()
        .filter_map(|entry| Some(entry.path().file_stem()?.to_owned()))
        .collect();
    match labels.keys().find(|clip| !names.contains(OsStr::new(clip))) {
        Some(clip) => {
            let reason =
                format!("it names the clip `{clip}`, but no video there has this name: leave the extension out");
            Err(Error::data(&path, reason))
        }
        None => Ok(labels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_others_are_left_alone_and_names_without_a_video_told() {
        let folder = tempfile::tempdir().unwrap();
        let labels = |text: &str| {
            std::fs::write(folder.path().join(FILE), text).unwrap();
            read(folder.path())
        };
        assert!(read(folder.path()).unwrap().is_empty());
        assert!(labels("name,label\nx,1\n").unwrap().is_empty());
        std::fs::write(folder.path().join(FILE), b"clip,frame,abnormal\n\xe9t\xe9,3,1\n").unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains(FILE) && error.contains("UTF-8"), "{error}");
        std::fs::write(folder.path().join("gate.mp4"), "").unwrap();
        let read = labels("\u{feff}clip, frame, abnormal\r\ngate,3,1\r\n\r\ngate,4,0\r\n").unwrap();
        assert_eq!(read["gate"], BTreeMap::from([(3, "anomalous"), (4, "good")]));
        for (text, named) in [
            ("gate.mp4,3,1", "`gate.mp4`"),
            ("gate,3", "line 2"),
            ("gate,-1,0", "line 2"),
            ("gate,1,2", "line 2"),
        ] {
            let error = labels(&format!("clip,frame,abnormal\n{text}\n"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(named) && error.contains(FILE), "{error}");
        }
    }
}

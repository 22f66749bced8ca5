//! Which frames of videos are anomalous: `labels.csv` beside them.

use std::collections::BTreeMap;
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

/// The labels in `folder`; none where the file does not exist. Lines are `clip,frame,abnormal`, the last one 0 or 1.
pub fn read(folder: &Path) -> Result<Labels> {
    let path = folder.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Labels::new()),
        Err(error) => return Err(Error::io(&path, error)),
    };
    let mut labels = Labels::new();
    let wrong = |number: usize, line: &str| {
        let reason = format!(
            "line {}, `{line}`, is not {}: a video's name without extension, a frame counted from 0, and 0 or 1",
            number + 1,
            HEADER.join(",")
        );
        Error::data(&path, reason)
    };
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        if (number == 0 && cells == HEADER) || line.trim().is_empty() {
            continue;
        }
        let [clip, frame, abnormal] = cells[..] else {
            return Err(wrong(number, line));
        };
        let class = match (frame.parse(), abnormal) {
            (Ok(frame), "0" | "1") => (frame, CLASSES[usize::from(abnormal == "1")]),
            _ => return Err(wrong(number, line)),
        };
        labels.entry(clip.to_owned()).or_default().extend([class]);
    }
    Ok(labels)
}

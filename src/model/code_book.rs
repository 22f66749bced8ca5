//! Codes of pictures in a file of their own: safetensors, as models are.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use serde_json::json;

use super::Codes;
use super::check::check_codes;
use super::file::{self, Failure, MAX_FILE, from_json, read_header, read_tensor, text, write_tensors};
use crate::atomic;
use crate::graph::Array;
use crate::{Error, Result};

/// Value of the key `format`.
const FORMAT: &str = "gst-candle-codes/1";
/// Metadata keys.
const KEYS: [&str; 7] = ["format", "network", "names", "classes", "distance", "source", "scale"];

/// Codes of pictures, with their names.
#[derive(Debug, Clone, PartialEq)]
pub struct CodeBook {
    /// The codes; the class of each is an index into `labels`.
    pub codes: Codes,
    /// Names of classes; the empty one is that of pictures whose class is not known.
    pub labels: Vec<String>,
    /// Where each picture came from.
    pub names: Vec<String>,
    /// SHA-256 of the network that gave the codes, as the card of its [coder](super::Model::coder) has it.
    pub network: String,
}

impl CodeBook {
    /// The label of a code by its number.
    pub fn label(&self, row: usize) -> &str {
        &self.labels[self.codes.classes[row]]
    }

    /// Reads and checks the file at `path`. The error names the file and the key or tensor at fault.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let found = fs::metadata(path).map_err(|e| Error::io(path, e))?;
        if !found.is_file() {
            return Err(Error::model(path, "not a file"));
        }
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        read(BufReader::new(file), found.len()).map_err(|failure| match failure {
            Failure::Io(e) => Error::io(path, e),
            Failure::Format(reason) => Error::model(path, reason),
        })
    }

    /// Writes the file at `path`, whole or not at all.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let classes: Vec<Option<&str>> = (0..self.names.len())
            .map(|row| Some(self.label(row)).filter(|label| !label.is_empty()))
            .collect();
        let metadata = BTreeMap::from([
            ("format", FORMAT.to_owned()),
            ("network", self.network.clone()),
            ("names", json!(self.names).to_string()),
            ("classes", json!(classes).to_string()),
            ("distance", json!(self.codes.distance).to_string()),
            ("source", json!(self.codes.source).to_string()),
            ("scale", json!(self.codes.scale).to_string()),
        ]);
        // Room for what the tensors' entries take.
        let length: usize = metadata.values().map(|text| json!(text).to_string().len()).sum();
        if length as u64 > file::MAX_HEADER - 4096 {
            let reason = format!(
                "the names of {} pictures are more than such a file holds; make codes of fewer",
                self.names.len()
            );
            return Err(Error::data(path.as_ref(), reason));
        }
        atomic::write(path.as_ref(), |out| {
            write_tensors(&metadata, file::tensors(&self.codes), out)
        })
    }
}

fn read(mut input: impl std::io::Read, length: u64) -> Result<CodeBook, Failure> {
    if length > MAX_FILE {
        return Err(format!("{length} bytes; a file of codes has at most {MAX_FILE}").into());
    }
    let header = read_header(&mut input, length)?;
    let metadata = header
        .metadata()
        .as_ref()
        .ok_or("no metadata: not codes of gst-candle".to_owned())?;
    let mut book = described(metadata)?;
    for name in header.offset_keys() {
        let info = header
            .info(&name)
            .ok_or_else(|| format!("tensor `{name}` has no entry"))?;
        let array = read_tensor(&mut input, &name, info)?;
        match name.as_str() {
            file::CODES => book.codes.vectors = array,
            file::BASIS => book.codes.basis = array,
            _ => return Err(format!("tensor `{name}` is not known to this version").into()),
        }
    }
    check_codes(&book.codes, book.labels.len())?;
    if book.names.len() != book.codes.classes.len() {
        let (names, classes) = (book.names.len(), book.codes.classes.len());
        return Err(format!("key `names`: {names} names for {classes} classes").into());
    }
    Ok(book)
}

/// What the metadata say, without the codes themselves.
fn described(metadata: &HashMap<String, String>) -> Result<CodeBook, String> {
    match text(metadata, "format")? {
        FORMAT => {}
        "gst-candle/1" => return Err("it is a model, not a file that `gst-candle embed` made".into()),
        other => return Err(format!("key `format` is `{other}`; this version reads `{FORMAT}`")),
    }
    if let Some(key) = metadata.keys().filter(|key| !KEYS.contains(&key.as_str())).min() {
        return Err(format!("key `{key}` is not known to this version"));
    }
    let told: Vec<Option<String>> = from_json("classes", text(metadata, "classes")?)?;
    let told: Vec<String> = told.into_iter().map(Option::unwrap_or_default).collect();
    let mut labels = told.clone();
    labels.sort_unstable();
    labels.dedup();
    let class = |label: &String| labels.binary_search(label).unwrap_or_default();
    Ok(CodeBook {
        codes: Codes {
            distance: from_json("distance", text(metadata, "distance")?)?,
            source: from_json("source", text(metadata, "source")?)?,
            scale: from_json("scale", text(metadata, "scale")?)?,
            classes: told.iter().map(class).collect(),
            basis: Array::default(),
            vectors: Array::default(),
        },
        names: from_json("names", text(metadata, "names")?)?,
        network: text(metadata, "network")?.to_owned(),
        labels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::CodeSource;

    fn book() -> CodeBook {
        CodeBook {
            codes: Codes {
                distance: 0.5,
                source: CodeSource::Features,
                scale: vec![1.0, 2.0],
                basis: Array {
                    shape: vec![3, 2],
                    data: vec![1.0, 0.0, 0.5, 1.0, 0.25, 2.0],
                },
                classes: vec![1, 0, 2],
                vectors: Array {
                    shape: vec![3, 2],
                    data: vec![0.0, 1.0, 1.0, 0.0, 0.6, 0.8],
                },
            },
            labels: vec![String::new(), "dent".into(), "good".into()],
            names: vec!["a.png".into(), "video.mp4#3".into(), "c.png".into()],
            network: "ab".into(),
        }
    }

    #[test]
    fn codes_come_back_as_they_were() {
        let file = tempfile::NamedTempFile::new().unwrap();
        book().save(file.path()).unwrap();
        let back = CodeBook::load(file.path()).unwrap();
        assert_eq!(back, book());
        assert_eq!([back.label(0), back.label(1), back.label(2)], ["dent", "", "good"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_key() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let fault = |change: &dyn Fn(&mut CodeBook)| {
            let mut book = book();
            change(&mut book);
            book.save(file.path()).unwrap();
            CodeBook::load(file.path()).unwrap_err().to_string()
        };
        let message = fault(&|book| book.codes.scale.truncate(1));
        assert!(
            message.contains("1 features by a tensor `codes.basis` of shape [3, 2]"),
            "{message}"
        );
        assert!(message.starts_with(&file.path().display().to_string()), "{message}");
        assert!(fault(&|book| book.codes.vectors.data[3] = f32::NAN).contains("value 3 of tensor `codes`"));
        assert!(fault(&|book| book.codes.vectors.shape = vec![6]).contains("has shape [6]"));
        std::fs::write(file.path(), b"rubbish and more").unwrap();
        assert!(CodeBook::load(file.path()).is_err());
    }
}

//! Model files: safetensors, with everything but the weights as JSON in the metadata.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{Calibration, ClassCalibration, Codes, Model};
use crate::atomic;
use crate::graph::{Array, Graph, Weights};
use crate::{Error, Result};

/// Value of the key `format`: what this version reads and writes.
const FORMAT: &str = "gst-candle/1";
/// Metadata keys. A file with others says what this version does not understand.
const KEYS: [&str; 7] = ["format", "task", "graph", "input", "labels", "calibration", "training"];
/// The tensors of [`super::Codes`]. No weight is called so.
pub(super) const CODES: &str = "codes";
pub(super) const BASIS: &str = "codes.basis";
/// Most bytes of the safetensors header.
pub(super) const MAX_HEADER: u64 = 16 << 20;
/// Most bytes of a model file.
pub(super) const MAX_FILE: u64 = 2 << 30;

impl Model {
    /// Reads and checks the file at `path`. Nothing in it is executed, and no more memory is taken than the file is
    /// long. The error names the file and the metadata key or tensor at fault.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let found = fs::metadata(path).map_err(|e| Error::io(path, e))?;
        if !found.is_file() {
            return Err(Error::model(path, "not a file"));
        }
        let mut file = BufReader::new(File::open(path).map_err(|e| Error::io(path, e))?);
        read(&mut file, found.len()).map_err(|failure| match failure {
            Failure::Io(e) => Error::io(path, e),
            Failure::Format(reason) => Error::model(path, reason),
        })
    }

    /// Writes the file at `path`: to a temporary file beside it, flushed to the disk, then renamed. After an error
    /// `path` is as it was before and nothing else is left. The same model gives the same bytes. A model that
    /// [`Model::check`] refuses is not written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.check()
            .map_err(|e| Error::model(path, format!("not saved: {e}")))?;
        atomic::write(path, |out| write(self, out))
    }
}

/// Why a file could not be read.
#[derive(Debug)]
pub(super) enum Failure {
    Io(io::Error),
    Format(String),
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        if e.kind() == io::ErrorKind::UnexpectedEof {
            Self::Format("truncated".into())
        } else {
            Self::Io(e)
        }
    }
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Format(reason)
    }
}

/// Reads a model from a file of `length` bytes.
fn read(file: &mut impl Read, length: u64) -> Result<Model, Failure> {
    if length > MAX_FILE {
        return Err(format!("{length} bytes; a model has at most {MAX_FILE}").into());
    }
    let header = read_header(file, length)?;
    let metadata = header
        .metadata()
        .as_ref()
        .ok_or("no metadata: not a gst-candle model".to_owned())?;
    check_keys(metadata)?;
    let graph = Graph::from_json(text(metadata, "graph")?).map_err(|e| format!("key `graph`: {e}"))?;
    let mut model = described(metadata, graph)?;
    for name in header.offset_keys() {
        let info = header
            .info(&name)
            .ok_or_else(|| format!("tensor `{name}` has no entry"))?;
        let array = read_tensor(file, &name, info)?;
        match &mut model.calibration {
            Some(Calibration::Classify(ClassCalibration { codes: Some(codes), .. })) if name == CODES => {
                codes.vectors = array;
            }
            Some(Calibration::Classify(ClassCalibration { codes: Some(codes), .. })) if name == BASIS => {
                codes.basis = array;
            }
            _ => drop(model.weights.insert(name, array)),
        }
    }
    model.check().map_err(|e| e.to_string())?;
    Ok(model)
}

/// The model of which `metadata` says all but the network, without weights.
pub(super) fn described(metadata: &HashMap<String, String>, graph: Graph) -> Result<Model, String> {
    Ok(Model {
        task: from_json("task", &Value::from(text(metadata, "task")?).to_string())?,
        graph,
        input: from_json("input", text(metadata, "input")?)?,
        labels: optional(metadata, "labels")?.unwrap_or_default(),
        calibration: optional(metadata, "calibration")?,
        training: optional(metadata, "training")?.unwrap_or_default(),
        weights: Weights::new(),
    })
}

/// Reads the safetensors header; on success the tensors it lists are exactly as long as the rest of the file.
pub(super) fn read_header(file: &mut impl Read, length: u64) -> Result<Metadata, Failure> {
    if length < 8 {
        return Err(format!("{length} bytes: empty or truncated, not a safetensors file").into());
    }
    let mut prefix = [0; 8];
    file.read_exact(&mut prefix)?;
    let size = u64::from_le_bytes(prefix);
    if size > MAX_HEADER {
        return Err(format!("a header of {size} bytes, more than {MAX_HEADER}: not a safetensors file").into());
    }
    if size > length - 8 {
        return Err(format!("truncated, or not a safetensors file: a header of {size} bytes in {length}").into());
    }
    let mut json = vec![0; size as usize];
    file.read_exact(&mut json)?;
    let header: Metadata =
        serde_json::from_slice(&json).map_err(|e| format!("not a safetensors file: its header is damaged: {e}"))?;
    let rest = length - 8 - size;
    if header.data_len() as u64 != rest {
        return Err(format!(
            "truncated or damaged: tensors of {} bytes, but {rest} follow",
            header.data_len()
        )
        .into());
    }
    Ok(header)
}

pub(super) fn check_keys(metadata: &HashMap<String, String>) -> Result<(), String> {
    match metadata.get("format") {
        None => return Err("key `format` is missing: not a gst-candle model".into()),
        Some(format) if format != FORMAT => {
            return Err(format!("key `format` is `{format}`; this version reads `{FORMAT}`"));
        }
        Some(_) => {}
    }
    match metadata.keys().filter(|key| !KEYS.contains(&key.as_str())).min() {
        Some(key) => Err(format!("key `{key}` is not known to this version")),
        None => Ok(()),
    }
}

pub(super) fn text<'a>(metadata: &'a HashMap<String, String>, key: &str) -> Result<&'a str, String> {
    metadata
        .get(key)
        .map(String::as_str)
        .ok_or_else(|| format!("key `{key}` is missing"))
}

fn optional<T: DeserializeOwned>(metadata: &HashMap<String, String>, key: &str) -> Result<Option<T>, String> {
    metadata.get(key).map(|text| from_json(key, text)).transpose()
}

pub(super) fn from_json<T: DeserializeOwned>(key: &str, text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|e| format!("key `{key}`: {e}"))
}

pub(super) fn read_tensor(file: &mut impl Read, name: &str, info: &TensorInfo) -> Result<Array, Failure> {
    if info.dtype != Dtype::F32 {
        return Err(format!("tensor `{name}` is {}; `{FORMAT}` holds F32 alone", info.dtype).into());
    }
    let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
    file.read_exact(&mut bytes)?;
    let data = bytes
        .as_chunks()
        .0
        .iter()
        .map(|&value| f32::from_le_bytes(value))
        .collect();
    Ok(Array {
        shape: info.shape.clone(),
        data,
    })
}

/// Writes the model: codes first, then weights in the order of their names.
fn write(model: &Model, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let codes = model.codes().into_iter().flat_map(tensors);
    let weights = model.weights.iter().map(|(name, array)| (name.as_str(), array));
    write_tensors(&metadata(model)?, codes.chain(weights), out)
}

/// The tensors of codes.
pub(super) fn tensors(codes: &Codes) -> impl Iterator<Item = (&str, &Array)> {
    let basis = Some((BASIS, &codes.basis)).filter(|(_, basis)| !basis.data.is_empty());
    std::iter::once((CODES, &codes.vectors)).chain(basis)
}

/// Writes the length of the header, the header, and the tensors.
pub(super) fn write_tensors<'a>(
    metadata: &BTreeMap<&str, String>,
    tensors: impl Iterator<Item = (&'a str, &'a Array)>,
    out: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), serde_json::to_value(metadata)?);
    let mut end = 0;
    let tensors: Vec<_> = tensors.collect();
    for (name, array) in &tensors {
        let start = end;
        end += array.data.len() * size_of::<f32>();
        header.insert(
            (*name).to_owned(),
            json!({"dtype": "F32", "shape": array.shape, "data_offsets": [start, end]}),
        );
    }
    let mut header = serde_json::to_vec(&header)?;
    // Padded so that the tensors start at a multiple of eight bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for value in tensors.iter().flat_map(|(_, array)| &array.data) {
        out.write_all(&value.to_le_bytes())?;
    }
    Ok(())
}

/// Metadata in the order of its keys, so that the same model gives the same bytes.
pub(super) fn metadata(model: &Model) -> serde_json::Result<BTreeMap<&'static str, String>> {
    let mut metadata = BTreeMap::from([
        ("format", FORMAT.to_owned()),
        ("task", model.task.to_string()),
        ("graph", model.graph.to_json()),
        ("input", serde_json::to_string(&model.input)?),
        ("labels", serde_json::to_string(&model.labels)?),
        ("training", serde_json::to_string(&model.training)?),
    ]);
    if let Some(calibration) = &model.calibration {
        metadata.insert("calibration", serde_json::to_string(calibration)?);
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests;

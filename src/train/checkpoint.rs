//! A training run on disk: what a killed run goes on from.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::atomic;
use crate::graph::{Array, Weights};
use crate::{Error, Result};

/// The format's name, in the file.
const FORMAT: &str = "gst-candle-checkpoint/2";
/// Metadata key that holds [`State`].
const STATE: &str = "state";

/// What is not a tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// [`FORMAT`].
    format: String,
    /// Options and data that decide the result; a run with others cannot go on from here.
    pub identity: Map<String, Value>,
    /// Optimiser steps done.
    pub step: u64,
    /// Steps of the whole run.
    pub total: u64,
    /// Day the run began, ISO 8601.
    pub date: String,
    /// The command that began it.
    pub command: String,
    /// Validations in the whole run.
    pub validations: u64,
    /// The best one so far.
    pub best: Option<Best>,
}

/// The validation of a run whose weights are kept: the last of those that are as good as the best.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Optimiser steps before it.
    pub step: u64,
    /// What it found, the figure to compare by first.
    pub metrics: Vec<(String, f64)>,
    /// The first figure of the best; that of this one where it is not said.
    #[serde(default)]
    pub most: Option<f64>,
    /// Validations since the best.
    pub since: u64,
}

impl Best {
    /// The first figure of the best validation.
    pub fn most(&self) -> f64 {
        let own = || self.metrics.first().map_or(0.0, |(_, value)| *value);
        self.most.unwrap_or_else(own)
    }
}

/// A run after some step.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Everything but tensors.
    pub state: State,
    /// Weights as the optimiser left them.
    pub weights: Weights,
    /// Their moving average.
    pub ema: Weights,
    /// Optimiser: mean of gradients.
    pub first: Weights,
    /// Optimiser: mean of squared gradients.
    pub second: Weights,
    /// Moving average at the best validation; empty before the first.
    pub best: Weights,
}

impl State {
    /// The state of a run of `total` steps and so many `validations` before its first step.
    pub fn new(identity: Map<String, Value>, total: u64, validations: u64, date: String, command: String) -> Self {
        Self {
            format: FORMAT.into(),
            identity,
            step: 0,
            total,
            date,
            command,
            validations,
            best: None,
        }
    }

    /// Whether a run with `identity` may go on from here; the error names the option or the data that differs.
    pub fn check(&self, path: &Path, identity: &Map<String, Value>) -> Result<()> {
        for (key, now) in identity {
            let then = self.identity.get(key).unwrap_or(&Value::Null);
            if then != now {
                let reason = format!(
                    "the checkpoint is of a run with another `{key}` ({then}, now {now}): give the same options and data, \
                     or leave --resume out to begin anew"
                );
                return Err(Error::model(path, reason));
            }
        }
        Ok(())
    }
}

/// Where the checkpoint of the run that makes `output` lies: `OUTPUT.ckpt`.
pub fn path_for(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".ckpt");
    name.into()
}

impl Checkpoint {
    /// The groups of tensors and their prefixes in the file.
    fn groups(&self) -> [(&'static str, &Weights); 5] {
        [
            ("weight/", &self.weights),
            ("ema/", &self.ema),
            ("first/", &self.first),
            ("second/", &self.second),
            ("best/", &self.best),
        ]
    }

    /// Writes the file atomically: a temporary file beside it, synced, then renamed.
    pub fn save(&self, path: &Path) -> Result<()> {
        let bytes: Vec<(String, &[usize], Vec<u8>)> = self
            .groups()
            .into_iter()
            .flat_map(|(prefix, group)| {
                group.iter().map(move |(name, array)| {
                    let bytes = array.data.iter().flat_map(|x| x.to_le_bytes()).collect();
                    (format!("{prefix}{name}"), array.shape.as_slice(), bytes)
                })
            })
            .collect();
        let views = bytes
            .iter()
            .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.to_vec(), bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|e| Error::model(path, e.to_string()))?;
        let state = serde_json::to_string(&self.state).map_err(|e| Error::model(path, e.to_string()))?;
        let file = safetensors::serialize(views, Some(HashMap::from([(STATE.to_owned(), state)])))
            .map_err(|e| Error::model(path, e.to_string()))?;
        atomic::write(path, |out| out.write_all(&file))
    }

    /// Reads the file at `path`. The error says what is wrong with it.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::model(
                path,
                "there is no checkpoint to go on from: leave --resume out to begin",
            ),
            _ => Error::io(path, e),
        })?;
        let broken = |reason: String| Error::model(path, format!("not a checkpoint that can be used: {reason}"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(e.to_string()))?;
        let state = header.metadata().as_ref().and_then(|m| m.get(STATE));
        let state = state.ok_or_else(|| broken(format!("its metadata has no `{STATE}`")))?;
        let state: State = serde_json::from_str(state).map_err(|e| broken(format!("`{STATE}`: {e}")))?;
        if state.format != FORMAT {
            return Err(broken(format!(
                "its format is `{}`, this program knows `{FORMAT}`",
                state.format
            )));
        }
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| broken(e.to_string()))?;
        let mut groups: [Weights; 5] = Default::default();
        let prefixes = ["weight/", "ema/", "first/", "second/", "best/"];
        for (name, view) in tensors.iter() {
            let place = prefixes
                .iter()
                .position(|p| name.starts_with(p))
                .filter(|_| view.dtype() == Dtype::F32);
            let place = place.ok_or_else(|| broken(format!("tensor `{name}` is not one of a checkpoint's")))?;
            let (chunks, _) = view.data().as_chunks::<4>();
            let data = chunks.iter().map(|b| f32::from_le_bytes(*b)).collect();
            let array = Array {
                shape: view.shape().to_vec(),
                data,
            };
            groups[place].insert(name[prefixes[place].len()..].to_owned(), array);
        }
        let [weights, ema, first, second, best] = groups;
        Ok(Self {
            state,
            weights,
            ema,
            first,
            second,
            best,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn example() -> Checkpoint {
        let weights = |value: f32| {
            let data = vec![value, f32::MIN_POSITIVE, -0.0, 1.0 / 3.0];
            Weights::from([(
                "conv.weight".to_owned(),
                Array {
                    shape: vec![2, 2],
                    data,
                },
            )])
        };
        let identity = json!({ "batch": 32, "digest": "ab" }).as_object().unwrap().clone();
        let mut state = State::new(identity, 100, 8, "2026-01-31".into(), "gst-candle train".into());
        state.step = 7;
        state.best = Some(Best {
            step: 5,
            metrics: vec![("val_psnr".into(), 1.0 / 3.0)],
            most: Some(0.5),
            since: 1,
        });
        Checkpoint {
            state,
            weights: weights(1.0),
            ema: weights(2.0),
            first: weights(3.0),
            second: weights(4.0),
            best: weights(5.0),
        }
    }

    #[test]
    fn comes_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ckpt");
        example().save(&path).unwrap();
        assert_eq!(Checkpoint::load(&path).unwrap(), example());
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }

    #[test]
    fn another_run_is_refused_by_name() {
        let state = example().state;
        let path = Path::new("a.ckpt");
        assert!(state.check(path, &state.identity).is_ok());
        let mut other = state.identity.clone();
        other.insert("batch".into(), json!(16));
        let message = state.check(path, &other).unwrap_err().to_string();
        assert!(
            message.contains("a.ckpt") && message.contains("batch") && message.contains("16"),
            "{message}"
        );
    }

    #[test]
    fn damaged_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ckpt");
        example().save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for broken in [
            &bytes[..bytes.len() - 1],
            &bytes[..4],
            b"" as &[u8],
            b"no safetensors at all",
        ] {
            std::fs::write(&path, broken).unwrap();
            assert!(Checkpoint::load(&path).unwrap_err().to_string().contains("a.ckpt"));
        }
    }
}

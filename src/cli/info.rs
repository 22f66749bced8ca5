//! `gst-candle info`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::common::{check_json, print_table, write_json};
use crate::graph::Op;
use crate::model::{AnomalyCalibration, Calibration, Model};

/// Show a model's card: what it is for, what it takes, and where it came from
///
/// Example: gst-candle info part.safetensors
#[derive(clap::Args)]
pub struct Args {
    /// The model file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Write the card as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Prints the card.
pub fn main(args: &Args) -> Result<()> {
    check_json(args.json.as_ref(), [args.model.as_path()])?;
    let model = Model::load(&args.model)?;
    let card = card(args, &model)?;
    if let Some(target) = &args.json {
        return write_json(target, &card);
    }
    let mut flat = Map::new();
    for (key, value) in card {
        flatten(&mut flat, key, value);
    }
    print_table(&flat, None)
}

fn card(args: &Args, model: &Model) -> Result<Map<String, Value>> {
    let layers = model
        .graph
        .nodes
        .iter()
        .filter(|n| matches!(n.op, Op::Conv2d { .. } | Op::ConvTranspose2d { .. } | Op::Linear { .. }));
    let [width, height] = model.input.size_for([1280, 720]);
    let shapes = model.input_shapes(width, height);
    let work = model
        .graph
        .multiply_adds(&shapes)
        .with_context(|| args.model.display().to_string())?;
    let card = json!({
        "file": args.model.display().to_string(),
        "task": model.task,
        "arch": model.training.arch,
        "layers": layers.count(),
        "parameters": model.weights.values().map(|a| a.data.len()).sum::<usize>(),
        format!("multiply_adds_{width}x{height}"): work,
        "input": model.input,
        "labels": model.labels,
        "calibration": calibration(model),
        "training": model.training,
    });
    let Value::Object(card) = card else {
        unreachable!("the macro above makes an object")
    };
    Ok(card)
}

/// The calibration's constants and thresholds, without the scores behind them.
fn calibration(model: &Model) -> Value {
    match &model.calibration {
        Some(Calibration::Anomaly(c)) => json!({
            "map": c.map, "smooth": c.smooth, "pool": c.pool, "context": c.context, "threshold": c.threshold, "pixel_threshold": c.pixel_threshold, "frames": c.frames,
            "threshold_at_rate": thresholds(c),
        }),
        Some(Calibration::Classify(c)) => json!(c),
        None => Value::Null,
    }
}

/// Threshold by false-alarm rate, the most frequent first.
fn thresholds(calibration: &AnomalyCalibration) -> Map<String, Value> {
    let row = |[rate, threshold]: &[f32; 2]| (rate.to_string(), json!(threshold));
    calibration.rates.iter().map(row).collect()
}

/// Longest list that is shown; of a longer one its length.
const MOST_LISTED: usize = 32;

/// Nested objects as `outer.inner`; lists and what is left out in a word.
fn flatten(into: &mut Map<String, Value>, key: String, value: Value) {
    match value {
        Value::Object(inner) if !inner.is_empty() => {
            for (name, value) in inner {
                flatten(into, format!("{key}.{name}"), value);
            }
        }
        Value::Array(list) if list.len() > MOST_LISTED => {
            into.insert(key, format!("{} values", list.len()).into());
        }
        Value::Array(list) if list.iter().all(|v| !v.is_object()) => {
            let words: Vec<String> = list
                .iter()
                .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
                .collect();
            into.insert(key, words.join(", ").into());
        }
        other => {
            into.insert(key, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_counted() {
        let shown = |length: usize| {
            let mut flat = Map::new();
            flatten(&mut flat, "card".to_owned(), json!({ "codes": vec![7; length] }));
            flat["card.codes"].clone()
        };
        assert_eq!(shown(3), json!("7, 7, 7"));
        assert!(shown(MOST_LISTED).as_str().unwrap().ends_with("7, 7"));
        assert_eq!(shown(MOST_LISTED + 1), json!("33 values"));
    }
}

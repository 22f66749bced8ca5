//! Writes the networks that `make bench-peers` measures, with random weights.
//!
//!     cargo run --release --example bench_models -- OUT

use std::path::Path;

use anyhow::{Result, bail};
use gst_candle::model::{Color, Model, Task, Training};
use gst_candle::nets::{self, NetOptions};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [out] = arguments.as_slice() else {
        bail!("usage: bench_models OUT");
    };
    let out = Path::new(out);
    std::fs::create_dir_all(out)?;
    let rgb_5x16 = NetOptions {
        width: Some(16),
        depth: Some(5),
        color: Some(Color::Rgb),
        ..Default::default()
    };
    let nets = [
        ("5x16-rgb", Task::Denoise, "dncnn", rgb_5x16),
        ("fast-gray", Task::Denoise, "fast", NetOptions::default()),
        ("dncnn-gray", Task::Denoise, "dncnn", NetOptions::default()),
        ("fair-gray", Task::Anomaly, "fair", NetOptions::default()),
    ];
    for (name, task, arch, options) in nets {
        let net = nets::build(task, arch, &options)?;
        let weights = nets::init(&net, 1)?;
        let model = Model {
            task,
            graph: net.graph,
            input: net.input,
            labels: Vec::new(),
            calibration: None,
            training: Training::default(),
            weights,
        };
        model.save(out.join(format!("{name}.safetensors")))?;
    }
    Ok(())
}

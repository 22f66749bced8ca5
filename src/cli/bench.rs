//! `gst-candle bench`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::RngExt;
use serde_json::{Map, Value, json};

use super::common::{Machine, check_json, print_table, size, write_json};
use crate::data::random::stream;
use crate::exec::Session;
use crate::graph::Array;
use crate::kernels::{Arithmetic, peak};
use crate::model::Model;

/// Runs and time of a measurement, whichever is reached last.
const LEAST_RUNS: usize = 20;
const LEAST_TIME: Duration = Duration::from_secs(3);
/// Runs before it.
const WARM_UP: usize = 3;
/// How long the machine's peak is measured.
const PEAK_TIME: Duration = Duration::from_millis(300);

/// Measure how fast a model runs on this machine
///
/// ms is the median of at least 20 runs and 3 seconds after warm-up; gflops counts two operations a multiply-add; peak_share
/// is gflops by the best rate of f32 multiply-adds in registers on the same threads and instructions, measured now.
///
/// Example: gst-candle bench camera.safetensors --size 1280x720 --json -
#[derive(clap::Args)]
pub struct Args {
    /// The model file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Size of the frames; a model of one size ignores it
    #[arg(long, value_parser = size, default_value = "1280x720", value_name = "WxH")]
    size: [usize; 2],
    /// Write the figures as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    machine: Machine,
}

/// Measures and prints.
pub fn main(args: &Args) -> Result<()> {
    check_json(args.json.as_ref(), [args.model.as_path()])?;
    let name = || args.model.display().to_string();
    let model = Model::load(&args.model)?;
    let options = args.machine.options()?;
    let [width, height] = model.input.size_for(args.size);
    let shapes = model.input_shapes(width, height);
    let work = model.graph.multiply_adds(&shapes).with_context(name)?;
    let session = Session::new(&model, &options).with_context(name)?;
    let seconds = median_seconds(&session, shapes).with_context(name)?;
    let gflops = 2.0 * work as f64 / seconds / 1e9;
    let figures: Map<String, Value> = [
        ("ms", json!(seconds * 1e3)),
        ("gflops", json!(gflops)),
        ("peak_share", json!(gflops / peak_gflops())),
        ("precision", json!(session.precision().to_string())),
        ("isa", json!(session.isa())),
        ("threads", json!(rayon::current_num_threads())),
        ("width", json!(width)),
        ("height", json!(height)),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    print_table(&figures, args.json.as_ref())?;
    match &args.json {
        Some(target) => write_json(target, &figures),
        None => Ok(()),
    }
}

/// Median time of a run with random inputs of these shapes.
fn median_seconds(session: &Session, shapes: Vec<Vec<usize>>) -> crate::Result<f64> {
    let mut rng = stream(0, 0, 0);
    let mut random = |shape: Vec<usize>| Array {
        data: (0..shape.iter().product()).map(|_| rng.random()).collect(),
        shape,
    };
    let inputs: Vec<Array> = shapes.into_iter().map(&mut random).collect();
    for _ in 0..WARM_UP {
        session.run(&inputs)?;
    }
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < LEAST_RUNS || start.elapsed() < LEAST_TIME {
        let begun = Instant::now();
        session.run(&inputs)?;
        times.push(begun.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Best f32 rate of this machine's threads together, in GFLOP/s. Threads beyond the processors add nothing.
fn peak_gflops() -> f64 {
    let isa = Arithmetic::in_f32().isa;
    let rates = rayon::broadcast(|_| peak::gflops(isa, PEAK_TIME));
    let threads = rates.len();
    let processors = std::thread::available_parallelism().map_or(threads, usize::from);
    rates.into_iter().sum::<f64>() * threads.min(processors) as f64 / threads as f64
}

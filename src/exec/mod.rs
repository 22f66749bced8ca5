//! Runs a graph on a device.

pub mod candle;
mod cpu;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use parking_lot::FairMutex;

use self::candle::Network;
pub use self::cpu::Rows;
use self::cpu::{Machine, Planner};
use crate::graph::{Array, Graph, Weights};
use crate::model::Model;
use crate::{Error, Result};

/// Where to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceSpec {
    /// CUDA's first device where the build and the machine have it, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// CUDA's device of this number.
    Cuda(usize),
}

/// Number format of the arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// The fastest that keeps the model's quality.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// 16-bit brain floats with 32-bit sums.
    Bf16,
}

/// Most threads that a model may be told to use.
pub const MOST_THREADS: u32 = 1024;

/// How to run a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Where.
    pub device: DeviceSpec,
    /// In which numbers.
    pub precision: Precision,
    /// CPU threads, at most [`MOST_THREADS`]; 0 = all cores.
    pub threads: usize,
}

impl FromStr for DeviceSpec {
    type Err = Error;

    /// Reads `auto`, `cpu`, `cuda` (its first device) or `cuda:N`.
    fn from_str(s: &str) -> Result<Self> {
        let number = |n: &str| n.parse().ok().map(Self::Cuda);
        let spec = match s {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            _ => s.strip_prefix("cuda:").and_then(number),
        };
        let reason = "there is no such device; write auto, cpu, cuda or cuda:N";
        spec.ok_or_else(|| Error::Device {
            device: s.into(),
            reason: reason.into(),
        })
    }
}

impl std::fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

impl DeviceSpec {
    /// Opens the device, on a stream of its own where it is CUDA's. [`DeviceSpec::Auto`] never fails. The error says
    /// why the device cannot be had.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto => Ok(cuda(0).unwrap_or(Device::Cpu)),
            Self::Cuda(number) => cuda(number).map_err(|reason| Error::Device {
                device: self.to_string(),
                reason,
            }),
        }
    }
}

#[cfg(feature = "cuda")]
fn cuda(number: usize) -> std::result::Result<Device, String> {
    Device::new_cuda_with_stream(number).map_err(|error| error.to_string())
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> std::result::Result<Device, String> {
    Err("this build has no CUDA; build with `--features cuda`, or use device=cpu".into())
}

impl FromStr for Precision {
    type Err = Error;

    /// Reads `auto`, `f32` or `bf16`.
    fn from_str(s: &str) -> Result<Self> {
        match s {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err(Error::Invalid(format!(
                "there is no precision `{s}`; write auto, f32 or bf16"
            ))),
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

/// The figure of a denoiser's card that says what it loses in bf16, in dB.
pub const BF16_LOSS: &str = "bf16_psnr_loss";
/// The figure of an anomaly detector's card that says how much bf16 changes the score of a good picture at most, as a share of what lies
/// between the median of good pictures' scores and the threshold.
pub const BF16_SHIFT: &str = "bf16_score_shift";
/// Most of each that a model is run with in bf16 where nothing was asked for.
const MOST_LOST: [(&str, f64); 2] = [(BF16_LOSS, 0.02), (BF16_SHIFT, 0.05)];

/// Whether a model's card, with these figures, says that its quality holds in bf16.
fn keeps_in_bf16(card: &BTreeMap<String, f64>) -> bool {
    let holds = |(figure, most)| card.get(figure).is_some_and(|lost| *lost <= most);
    MOST_LOST.into_iter().any(holds)
}

/// A model ready to run frames. Clones share it, its weights and the plans for their sizes, of which there may be the more the more clones
/// there are: they run one at a time, in the order in which they come, each on all threads.
#[derive(Clone)]
pub struct Session {
    engine: Arc<FairMutex<Engine>>,
    precision: Precision,
    isa: String,
}

enum Engine {
    /// The kernels of this crate.
    Cpu(Box<Planner>),
    /// candle's, in this type.
    Candle(Network, Device, DType),
}

impl Session {
    /// Prepares `model`: batch norms folded, weights on the device. Fails where the device or the precision is not to
    /// be had.
    pub fn new(model: &Model, options: &Options) -> Result<Self> {
        let (graph, weights) = model.graph.fold(&model.weights)?;
        let mut options = *options;
        if options.precision == Precision::Auto && Machine::is_fast_in_bf16() && keeps_in_bf16(&model.training.metrics)
        {
            options.precision = Precision::Bf16;
        }
        Self::folded(&graph, &weights, &options)
    }

    /// On the CPU in f32.
    pub fn in_f32(model: &Model) -> Result<Self> {
        let (device, precision) = (DeviceSpec::Cpu, Precision::F32);
        Self::new(
            model,
            &Options {
                device,
                precision,
                threads: 0,
            },
        )
    }

    /// On the CPU in bf16, slowly by loops where it has no AMX: to find out what a model loses.
    pub fn in_bf16(model: &Model) -> Result<Self> {
        let (graph, weights) = model.graph.fold(&model.weights)?;
        let planner = Planner::new(&graph, &weights, Machine::in_bf16())?;
        Ok(Self::of(Engine::Cpu(Box::new(planner))))
    }

    fn of(engine: Engine) -> Self {
        let (bf16, isa) = match &engine {
            Engine::Cpu(planner) => {
                let arithmetic = planner.machine().arithmetic;
                (arithmetic.tiles.is_some(), arithmetic.to_string())
            }
            Engine::Candle(_, _, dtype) => (*dtype == DType::BF16, "cuda".into()),
        };
        Self {
            engine: Arc::new(FairMutex::new(engine)),
            precision: if bf16 { Precision::Bf16 } else { Precision::F32 },
            isa,
        }
    }

    /// The number format that it runs in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// What does the arithmetic: `portable`, `avx2`, `avx512`, `amx` (or `amx-emulated`), or `cuda`.
    pub fn isa(&self) -> &str {
        &self.isa
    }

    fn folded(graph: &Graph, weights: &Weights, options: &Options) -> Result<Self> {
        let device = options.device.open()?;
        let engine = if device.is_cpu() {
            let machine = Machine::new(options.threads, options.precision == Precision::Bf16)?;
            Engine::Cpu(Box::new(Planner::new(graph, weights, machine)?))
        } else {
            let dtype = if options.precision == Precision::Bf16 {
                DType::BF16
            } else {
                DType::F32
            };
            Engine::Candle(Network::by_nodes(graph, weights, &device, dtype)?, device, dtype)
        };
        Ok(Self::of(engine))
    }

    /// Runs the network once. `inputs` in the order of the graph's inputs, `[N, C, H, W]` each; returns its outputs.
    pub fn run(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let mut outputs = Vec::new();
        self.run_into(inputs, &mut outputs)?;
        Ok(outputs)
    }

    /// [`Session::run`] into `outputs`, whose memory is used again. On the CPU, a run with the sizes of the run before
    /// allocates nothing.
    pub fn run_into(&self, inputs: &[Array], outputs: &mut Vec<Array>) -> Result<()> {
        for Array { shape, data } in inputs {
            if shape.iter().product::<usize>() != data.len() {
                return Err(Error::Invalid(format!("an input {shape:?} with {} values", data.len())));
            }
        }
        match &mut *self.engine.lock() {
            Engine::Cpu(planner) => {
                planner.share_by(Arc::strong_count(&self.engine));
                planner.run(inputs, outputs)
            }
            Engine::Candle(network, device, dtype) => {
                *outputs = run_on_tensors(network, device, *dtype, inputs)?;
                Ok(())
            }
        }
    }
}

impl Session {
    /// Runs the network once on rows of inputs of these shapes, `[N, C, H, W]` each, with a row at a time read and written
    /// by the threads that compute: no array of a whole input or output is made on the CPU.
    pub fn run_rows(&self, inputs: &[[usize; 4]], rows: &dyn Rows) -> Result<()> {
        match &mut *self.engine.lock() {
            Engine::Cpu(planner) => {
                planner.share_by(Arc::strong_count(&self.engine));
                planner.run_rows(inputs, rows)
            }
            Engine::Candle(network, device, dtype) => {
                cpu::by_rows(inputs, rows, |inputs| run_on_tensors(network, device, *dtype, inputs))
            }
        }
    }
}

/// Runs a network on candle's tensors.
fn run_on_tensors(network: &Network, device: &Device, dtype: DType, inputs: &[Array]) -> Result<Vec<Array>> {
    let tensor = |input: &Array| Tensor::from_slice(&input.data, input.shape.as_slice(), device)?.to_dtype(dtype);
    let inputs = inputs.iter().map(tensor).collect::<Result<Vec<_>, _>>()?;
    let array = |tensor: &Tensor| {
        let data = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let shape = tensor.dims().to_vec();
        Ok(Array { shape, data })
    };
    network.forward(&inputs, false)?.iter().map(array).collect()
}

//! `gst-candle train`.

mod args;
pub mod values;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

pub use args::Args;
use args::TaskArgs;

use super::common::{INTERRUPTED, STOP, catch_ctrl_c};
use crate::model::Resize;
use crate::train::checkpoint::path_for;
use crate::train::common::{Common, Product};
use crate::train::{anomaly, classify, denoise, predict, segment};

/// Has the allocator keep what is freed. Each step takes memory for the same tensors again; to fetch its pages anew from the system every
/// time took a fifth of the training of an anomaly `unet` (81 and 82 images/s, 111 and 99 with this, by turns).
fn keep_freed_memory() {
    // SAFETY: these are settings of the allocator, which locks itself.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        // The most that the first may be.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}

/// Trains and saves.
pub fn main(args: Args) -> Result<ExitCode> {
    catch_ctrl_c()?;
    keep_freed_memory();
    let (common, product) = match args.task {
        TaskArgs::Denoise(args) => {
            let (mut common, exec) = args.common.prepare(None, None)?;
            common.net.chroma = args.yuv420;
            let options = denoise::Options {
                sigma: args.sigma,
                sigma_max: args.sigma_max,
                patch: args.patch.into(),
                frames: args.clip_frames.map(usize::from),
                noise: args.noise,
                noisy_only: args.noisy_only,
                teacher: args.teacher,
                budget: args.budget.map(|ms| denoise::Budget {
                    ms,
                    size: args.budget_size,
                }),
                loss: args.loss.into(),
            };
            let product = denoise::train(&common, &options, &exec, &STOP)?;
            (common, product)
        }
        TaskArgs::Anomaly(args) => {
            let (common, exec) = args.common.prepare(args.tile.or(args.size), args.code_size)?;
            let options = anomaly::Options {
                loss: args.loss.map(Into::into),
                map: args.map.map(Into::into),
                smooth: args.smooth.map(usize::from),
                pool: args.pool.map(usize::from),
                context: args.context.map(usize::from),
                patch: args.patch.map(usize::from),
                resize: args.tile.map(|_| Resize::Tile).or(args.resize.map(Into::into)),
                defects: args.defects,
                flip: args.flip,
                rotate: args.rotate as f32,
                false_alarm_rate: args.false_alarm_rate,
            };
            let product = anomaly::train(&common, &options, &exec, &STOP)?;
            (common, product)
        }
        TaskArgs::Predict(args) => {
            let (common, exec) = args.common.prepare(args.size, None)?;
            let options = predict::Options {
                loss: args.loss.into(),
                smooth: args.smooth.map(usize::from),
                pool: args.pool.map(usize::from),
                flip: args.flip,
                false_alarm_rate: args.false_alarm_rate,
            };
            let product = predict::train(&common, &options, &exec, &STOP)?;
            (common, product)
        }
        TaskArgs::Classify(args) => {
            let (common, exec) = args.common.prepare(args.size, None)?;
            let options = classify::Options {
                label_smoothing: args.label_smoothing as f32,
                resize: args.resize.into(),
                symmetry: args.symmetry.0,
                rotate: args.rotate as f32,
                augment: args.augment as f32,
                balance: !args.no_balance,
                unknown_rate: args.unknown_rate,
            };
            let product = classify::train(&common, &options, &exec, &STOP)?;
            (common, product)
        }
        TaskArgs::Segment(args) => {
            let (common, _) = args.common.prepare(args.size, None)?;
            let options = segment::Options {
                patch: args.patch.into(),
                resize: args.resize.into(),
                symmetry: args.symmetry,
                rotate: args.rotate as f32,
                good: args.good,
                labels: args.labels,
            };
            let product = segment::train(&common, &options, &STOP)?;
            (common, product)
        }
    };
    finish(&common, product)
}

fn finish(common: &Common, product: Product) -> Result<ExitCode> {
    let checkpoint = path_for(&common.output);
    match product {
        Product::Interrupted { step, total } => {
            eprintln!(
                "stopped after step {step} of {total}; go on with the same command and --resume (from {})",
                checkpoint.display()
            );
            Ok(ExitCode::from(INTERRUPTED))
        }
        Product::Model(model) => {
            if let Err(error) = model.save(&common.output) {
                if !checkpoint.exists() {
                    return Err(error.into());
                }
                bail!(
                    "{error}; the run is kept in {}: mend this and give the same command with --resume",
                    checkpoint.display()
                );
            }
            if checkpoint.exists() {
                std::fs::remove_file(&checkpoint).with_context(|| checkpoint.display().to_string())?;
            }
            let metrics: Vec<String> = model
                .training
                .metrics
                .iter()
                .map(|(k, v)| format!("{k} {v:.4}"))
                .collect();
            eprintln!(
                "{}: {} steps, {}",
                common.output.display(),
                model.training.steps,
                metrics.join(", ")
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}

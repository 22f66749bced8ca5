//! The command line: one file a command.
//!
//! Exit codes: 0 on success, 1 on failure, 2 on wrong usage, 130 when stopped by Ctrl-C. An error is one line on standard
//! error that names the file and the cause.

mod bench;
mod calibrate;
mod check;
mod codes;
mod common;
mod copies;
mod embed;
mod eval;
mod export;
mod import;
mod info;
mod overlay;
mod run;
mod suggest;
mod teach;
#[cfg(feature = "video")]
mod top;
mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Train small vision networks on your own frames, judge them, and run them on files. The elements
/// of the GStreamer plugin `candle` run the same model files live.
#[derive(Parser)]
#[command(name = "gst-candle", version, arg_required_else_help = true)]
#[command(after_help = "From nothing to a live inspection:\n  \
    gst-candle train anomaly good-parts/ -o part.safetensors\n  \
    gst-candle eval part.safetensors test-parts/\n  \
    gst-launch-1.0 v4l2src ! videoconvert ! candleanomaly model-file=part.safetensors ! candleoverlay ! videoconvert ! autovideosink")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Train(Box<train::Args>),
    Eval(eval::Args),
    Calibrate(calibrate::Args),
    Teach(teach::Args),
    Run(run::Args),
    Embed(embed::Args),
    Suggest(suggest::Args),
    Check(check::Args),
    Info(info::Args),
    Export(export::Args),
    Import(import::Args),
    Bench(bench::Args),
    #[cfg(feature = "video")]
    Top(top::Args),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Train(args) => train::main(*args),
        Command::Eval(args) => eval::main(&args).map(|()| ExitCode::SUCCESS),
        Command::Calibrate(args) => calibrate::main(&args).map(|()| ExitCode::SUCCESS),
        Command::Teach(args) => teach::main(&args).map(|()| ExitCode::SUCCESS),
        Command::Run(args) => run::main(&args),
        Command::Embed(args) => embed::main(&args).map(|()| ExitCode::SUCCESS),
        Command::Suggest(args) => suggest::main(&args).map(|()| ExitCode::SUCCESS),
        Command::Check(args) => check::main(&args).map(|()| ExitCode::SUCCESS),
        Command::Info(args) => info::main(&args).map(|()| ExitCode::SUCCESS),
        Command::Export(args) => export::main(&args).map(|()| ExitCode::SUCCESS),
        Command::Import(args) => import::main(&args).map(|()| ExitCode::SUCCESS),
        Command::Bench(args) => bench::main(&args).map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "video")]
        Command::Top(args) => top::main(&args).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        // One line, whatever a library put into its message.
        let message = format!("{error:#}");
        eprintln!("error: {}", message.split_whitespace().collect::<Vec<_>>().join(" "));
        ExitCode::FAILURE
    })
}

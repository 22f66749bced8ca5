//! The trainer. See `gst-candle help`.

fn main() -> std::process::ExitCode {
    gst_candle::cli::main()
}

//! The trainer. See `gst-candle help`.

fn main() {}

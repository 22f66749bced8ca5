//! GStreamer elements that run small convolutional networks over live video.

mod anomaly;
mod classify;
mod common;
mod denoise;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), gst::glib::BoolError> {
    common::result::register();
    denoise::register(plugin)?;
    anomaly::register(plugin)?;
    classify::register(plugin)?;
    Ok(())
}

gst::plugin_define!(
    candle,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MIT/X11",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_REPOSITORY"),
    env!("BUILD_REL_DATE")
);

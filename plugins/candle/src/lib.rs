//! GStreamer elements that run small convolutional networks over live video.

mod anomaly;
mod classify;
mod common;
mod denoise;
mod embed;
mod overlay;
mod segment;
mod snapshot;
mod testsrc;

pub use plugin::plugin_register_static;

#[expect(missing_docs, reason = "the macro writes public items without docs")]
mod plugin {
    fn init(plugin: &gst::Plugin) -> Result<(), gst::glib::BoolError> {
        super::common::result::register();
        super::denoise::register(plugin)?;
        super::anomaly::register(plugin)?;
        super::classify::register(plugin)?;
        super::segment::register(plugin)?;
        super::embed::register(plugin)?;
        super::overlay::register(plugin)?;
        super::snapshot::register(plugin)?;
        super::testsrc::register(plugin)?;
        Ok(())
    }

    gst::plugin_define!(
        candle,
        env!("CARGO_PKG_DESCRIPTION"),
        init,
        concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
        "MIT/X11",
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_REPOSITORY"),
        env!("BUILD_REL_DATE")
    );
}

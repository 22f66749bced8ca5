//! GStreamer plugin that hands on what the candle elements find.

mod publish;

pub use plugin::plugin_register_static;

#[expect(missing_docs, reason = "the macro writes public items without docs")]
mod plugin {
    fn init(plugin: &gst::Plugin) -> Result<(), gst::glib::BoolError> {
        super::publish::register(plugin)
    }

    gst::plugin_define!(
        candlepublish,
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

//! The element `candlesnapshot`: pictures and clips of what was flagged.
//!
//! | file | does |
//! |---|---|
//! | `event` | which frame is kept, and what for |
//! | `picture` | a frame as PNG or JPEG, in a thread of its own |
//! | `tape` | hands frames to the encoder of clips, and begins and ends it |
//! | `ring` | keeps the encoded seconds before, and cuts clips out of the stream |
//! | `clip` | writes clips into files, in a thread of its own |
//! | `folder` | names, files that appear when they are whole, and which are removed |
//! | `report` | counts, warnings and messages |

use gst::glib;
use gst::prelude::*;

mod clip;
mod event;
mod folder;
mod imp;
mod picture;
mod pipe;
mod report;
mod ring;
mod settings;
mod tape;
mod worker;

glib::wrapper! {
    /// See the implementation for its description.
    pub struct CandleSnapshot(ObjectSubclass<imp::CandleSnapshot>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Registers the element.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "candlesnapshot",
        gst::Rank::NONE,
        CandleSnapshot::static_type(),
    )
}

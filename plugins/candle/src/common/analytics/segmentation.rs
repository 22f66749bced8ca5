//! A mask as GStreamer's own segmentation, for which its Rust bindings have no safe names yet.

use std::mem::MaybeUninit;

use gst::glib;
use gst::glib::translate::{IntoGlibPtr, from_glib};
use gst_analytics::{AnalyticsRelationMeta, ffi};
use gst_video::{VideoFormat, VideoFrameFlags, VideoMeta};

use super::super::result::SegmentResult;

/// Adds the result's mask, GRAY8 over the whole frame; both the number and the place of each region is the number of its class. Returns its
/// number in the meta.
pub fn add(
    meta: &mut gst::MetaRefMut<'_, AnalyticsRelationMeta, gst::meta::Standalone>,
    result: &SegmentResult,
) -> Result<u32, glib::BoolError> {
    let [width, height] = result.size.map(|side| u32::try_from(side).unwrap_or(0));
    // The same memory, in a buffer that says how it is to be read.
    let mut mask = result.mask.copy();
    VideoMeta::add_full(
        mask.make_mut(),
        VideoFrameFlags::empty(),
        VideoFormat::Gray8,
        width,
        height,
        &[0],
        &[result.size[0]],
    )?;
    let mut classes: Vec<u32> = (0..result.labels.len() as u32).collect();
    let mut mtd = MaybeUninit::<ffi::GstAnalyticsSegmentationMtd>::uninit();
    // SAFETY: the meta is borrowed for writing and the numbers live as long as the call, which copies them. It takes the buffer over, and
    // fills in `mtd` whenever it says that it succeeded.
    unsafe {
        let added = ffi::gst_analytics_relation_meta_add_segmentation_mtd(
            meta.as_mut_ptr(),
            mask.into_glib_ptr(),
            ffi::GST_SEGMENTATION_TYPE_SEMANTIC,
            classes.len(),
            classes.as_mut_ptr(),
            0,
            0,
            width,
            height,
            mtd.as_mut_ptr(),
        );
        match from_glib(added) {
            true => Ok(mtd.assume_init().id),
            false => Err(glib::bool_error!("no room for a mask")),
        }
    }
}

//! A result on the frame, for all who read metas.

use gst_video::VideoRegionOfInterestMeta;

#[cfg(feature = "analytics")]
use super::inspect::Finding;
#[cfg(feature = "analytics")]
use crate::common::analytics;
use crate::common::result::{AnomalyResult, Kind, Region, scaled};

/// Attaches the result, and on the buffer's frame of `size` = `[width, height]` the regions, where that frame itself was inspected.
pub fn attach(buffer: &mut gst::BufferRef, result: &AnomalyResult, size: [u32; 2]) {
    result.attach(buffer);
    if result.stale {
        return;
    }
    for region in &result.regions {
        let region = Region {
            rect: on_frame(region.rect, result.size, size),
            ..*region
        };
        let [x, y, width, height] = region.rect.map(|n| n as u32);
        let mut meta = VideoRegionOfInterestMeta::add(buffer, "anomaly", (x, y, width, height));
        let mut param = region.to_structure("candle-region");
        param.set("label", "anomaly");
        meta.add_param(param);
    }
}

/// The same as GStreamer's analytics metas.
#[cfg(feature = "analytics")]
pub fn relate(buffer: &mut gst::BufferRef, finding: &Finding, result: &AnomalyResult, size: [u32; 2]) {
    if result.stale {
        return;
    }
    let place = |rect| on_frame(rect, result.size, size);
    let regions = result.regions.iter();
    let regions: Vec<_> = regions
        .map(|region| (place(region.rect), finding.confidence(region)))
        .collect();
    let [width, height] = size.map(|side| side as i32);
    analytics::add_anomaly(buffer, result, place([0, 0, width, height]), &regions);
}

/// The pixels of a buffer's frame of `size` that a rectangle of a result's frame covers, whose `[width, height]` is `from`.
fn on_frame(rect: [i32; 4], from: [i32; 2], size: [u32; 2]) -> [i32; 4] {
    let [x, y, width, height] = scaled(rect.map(f64::from), from, size.map(|side| side as usize));
    let [left, top] = [x, y].map(|edge| edge.floor() as i32);
    let [right, bottom] = [x + width, y + height].map(|edge| edge.ceil() as i32);
    [left, top, right - left, bottom - top]
}

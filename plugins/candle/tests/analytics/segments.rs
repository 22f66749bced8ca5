//! Regions of classes, and masks.

use super::support::*;
use super::{labels, objects};

const CAPS: &str = "format=GRAY8,width=30,height=20";
const SPOTS: [([usize; 4], u8); 2] = [([3, 4, 5, 2], 100), ([10, 2, 4, 3], 255)];

#[test]
fn regions_of_classes_are_objects() {
    init();
    let info = info_of(CAPS);
    let (mut harness, _) = harness("candlesegment", &bands(), "inference-interval=2", CAPS);
    let output = harness.push_and_pull(spotted(&info, &SPOTS, 0)).unwrap();
    let found = objects(&output);
    assert_eq!(labels(&found), ["white", "grey"]);
    let places: Vec<_> = found.iter().map(|object| object.place).collect();
    assert_eq!(places, [[10, 2, 4, 3], [3, 4, 5, 2]]);
    let stale = harness.push_and_pull(spotted(&info, &SPOTS, 1)).unwrap();
    assert!(objects(&stale).is_empty(), "it cannot be said to be an earlier one");
}

#[cfg(feature = "v1_26")]
#[test]
fn the_mask_is_a_segmentation_whose_classes_have_names() {
    use std::mem::MaybeUninit;

    use gst::glib::translate::{from_glib, from_glib_full};
    use gst_analytics::prelude::*;
    use gst_analytics::{AnalyticsClassificationMtd, AnalyticsODMtd, AnalyticsRelationMeta, RelTypes, ffi};

    init();
    let info = info_of(CAPS);
    let (mut harness, _) = harness("candlesegment", &bands(), "", CAPS);
    let output = harness.push_and_pull(spotted(&info, &SPOTS, 0)).unwrap();
    let meta = output.meta::<AnalyticsRelationMeta>().unwrap();
    let (id, mask, count, third) = unsafe {
        let mut mtd = MaybeUninit::uninit();
        let raw = meta.as_ptr().cast_mut();
        let id = (0..9).find(|&id| {
            from_glib(ffi::gst_analytics_relation_meta_get_segmentation_mtd(
                raw,
                id,
                mtd.as_mut_ptr(),
            ))
        });
        let (mtd, mut place) = (mtd.assume_init(), ([-1; 2], [0; 2]));
        let ([x, y], [width, height]) = (&mut place.0, &mut place.1);
        let mask: gst::Buffer = from_glib_full(ffi::gst_analytics_segmentation_mtd_get_mask(&mtd, x, y, width, height));
        assert_eq!(place, ([0, 0], [30, 20]));
        let count = ffi::gst_analytics_segmentation_mtd_get_region_count(&mtd);
        (
            id.unwrap(),
            mask,
            count,
            ffi::gst_analytics_segmentation_mtd_get_region_id(&mtd, 2),
        )
    };
    assert_eq!((count, third), (3, 2));
    let video = mask.meta::<gst_video::VideoMeta>().unwrap();
    assert_eq!(
        (video.format(), video.width(), video.height()),
        (gst_video::VideoFormat::Gray8, 30, 20)
    );
    let values = mask.map_readable().unwrap();
    assert_eq!([values[0], values[4 * 30 + 3], values[2 * 30 + 10]], [0, 1, 2]);
    let shown = result(&output, "segment").unwrap().get::<gst::Buffer>("mask").unwrap();
    assert!(
        shown.meta::<gst_video::VideoMeta>().is_none(),
        "the result's own buffer stays as it is"
    );
    let classes = meta
        .iter_direct_related::<AnalyticsClassificationMtd>(id, RelTypes::RELATE_TO)
        .next()
        .unwrap();
    let names: Vec<_> = super::read(&classes).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, BANDS);
    assert_eq!(
        meta.iter_direct_related::<AnalyticsODMtd>(id, RelTypes::CONTAIN)
            .count(),
        2
    );
}

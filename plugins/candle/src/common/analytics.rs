//! What the elements find, on the buffer as GStreamer's own analytics metas, for elements and applications that know nothing of this
//! plugin: the feature `analytics`. `docs/analytics.md` describes them for their readers.
//!
//! A buffer has at most one relation meta, to which each element adds. Only what was found on the frame itself stands there: the results of
//! frames that were not inferred have no way to say so in these metas.

use std::sync::LazyLock;

use gst::glib;
use gst_analytics::prelude::*;
use gst_analytics::{AnalyticsClassificationMtd, AnalyticsMtdRef, AnalyticsODMtd, AnalyticsRelationMeta, RelTypes};

use super::result::{AnomalyResult, LabelledRegion, Labels, SegmentResult};

#[cfg(feature = "v1_26")]
mod segmentation;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "candleanalytics",
        gst::DebugColorFlags::empty(),
        Some("Results as analytics metas"),
    )
});

/// A relation meta to read.
type Meta<'a> = gst::MetaRef<'a, AnalyticsRelationMeta>;

/// What an anomalous frame is called, and what another.
const VERDICTS: [&str; 2] = ["anomalous", "normal"];

/// Rows above an object that upstream's overlay writes its label to.
const LABEL_ROWS: i32 = 20;

/// `[x, y, width, height]` in pixels of the buffer's frame.
type Rect = [i32; 4];

/// Adds the verdict on the frame, which stands at `frame`, and the `regions` of it, each with how sure it is anomalous, between 0 and 1.
pub fn add_anomaly(buffer: &mut gst::BufferRef, result: &AnomalyResult, frame: Rect, regions: &[(Rect, f64)]) {
    report(Relations::of(buffer).add_anomaly(result, frame, regions));
    #[cfg(feature = "v1_26")]
    add_map(buffer, &result.map);
}

/// Adds the labels of the whole frame of `size` = `[width, height]`.
pub fn add_labels(buffer: &mut gst::BufferRef, labels: &Labels, [width, height]: [i32; 2]) {
    let mut relations = Relations::of(buffer);
    let added = relations
        .add_frame(&labels.label, [0, 0, width, height], labels.confidence)
        .and_then(|frame| relations.classify(frame, labels));
    report(added);
}

/// Adds the labels of each of `regions` of a frame of `size`, to the object that stands there where the buffer has one.
pub fn add_labelled_regions(buffer: &mut gst::BufferRef, regions: &[LabelledRegion], size: [i32; 2]) {
    // No meta where there is nothing to say.
    if !regions.is_empty() {
        report(Relations::of(buffer).add_labelled_regions(regions, size));
    }
}

/// Adds the regions of classes, and from GStreamer 1.26 on the mask.
pub fn add_segments(buffer: &mut gst::BufferRef, result: &SegmentResult) {
    // Before 1.26 there are regions alone; no meta where there is nothing to say.
    if cfg!(feature = "v1_26") || !result.regions.is_empty() {
        report(Relations::of(buffer).add_segments(result));
    }
}

/// Adds to `regions` of a frame of `size` those that elements before told of in analytics metas only, as far as they are inside of it. What is
/// said of the whole frame is no region.
pub fn with_objects(mut regions: Vec<[u32; 4]>, buffer: &gst::BufferRef, size: [i32; 2]) -> Vec<[u32; 4]> {
    let Some(meta) = buffer.meta::<AnalyticsRelationMeta>() else {
        return regions;
    };
    let objects = meta.iter::<AnalyticsODMtd>();
    let parts = objects.filter(|object| !is_of_frame(&meta, object, size));
    for place in parts.filter_map(|object| place(&object, size)) {
        let region = place.map(|n| n as u32);
        if !regions.contains(&region) {
            regions.push(region);
        }
    }
    regions
}

/// Whatever keeps a meta from being written, the frame goes on.
fn report(added: Result<(), glib::BoolError>) {
    if let Err(error) = added {
        gst::warning!(CAT, "A result is not attached: {error}");
    }
}

/// The heat map as a tensor of rows and columns.
#[cfg(feature = "v1_26")]
fn add_map(buffer: &mut gst::BufferRef, map: &super::result::HeatMap) {
    use gst_analytics::{Tensor, TensorDataType, TensorDimOrder, TensorMeta};

    let [width, height] = map.size.map(|side| side as usize);
    let tensor = Tensor::new_simple(
        glib::Quark::from_str("candle-anomaly-map"),
        TensorDataType::Uint8,
        map.data.clone(),
        TensorDimOrder::RowMajor,
        &[height, width],
    );
    TensorMeta::add(buffer).set([tensor].into());
}

/// The buffer's relation meta.
struct Relations<'a>(gst::MetaRefMut<'a, AnalyticsRelationMeta, gst::meta::Standalone>);

impl<'a> Relations<'a> {
    fn of(buffer: &'a mut gst::BufferRef) -> Self {
        if buffer.meta::<AnalyticsRelationMeta>().is_none() {
            return Self(AnalyticsRelationMeta::add(buffer));
        }
        Self(buffer.meta_mut().expect("it is there"))
    }

    fn meta(&self) -> &Meta<'_> {
        self.0.as_ref()
    }

    fn add_anomaly(
        &mut self,
        result: &AnomalyResult,
        frame: Rect,
        regions: &[(Rect, f64)],
    ) -> Result<(), glib::BoolError> {
        // A frame whose regions are all too small is normal whatever its score.
        let (order, probability) = match result.anomalous {
            true => ([0, 1], result.normalized.max(0.5)),
            false => ([1, 0], 1.0 - result.normalized.min(0.5)),
        };
        let top = order
            .map(|i| VERDICTS[i])
            .into_iter()
            .zip([probability, 1.0 - probability]);
        let verdict = self.add_frame(VERDICTS[order[0]], frame, probability)?;
        let classes = self.add_classes(top)?;
        self.relate(RelTypes::RELATE_TO, RelTypes::RELATE_TO, verdict, classes)?;
        for &(rect, confidence) in regions {
            let region = self.add_object("anomaly", rect, confidence)?;
            self.relate(RelTypes::CONTAIN, RelTypes::IS_PART_OF, verdict, region)?;
        }
        Ok(())
    }

    fn add_labelled_regions(&mut self, regions: &[LabelledRegion], size: [i32; 2]) -> Result<(), glib::BoolError> {
        for LabelledRegion { rect, labels } in regions {
            let object = match self.object_at(*rect, size) {
                Some(object) => object,
                None => self.add_object(&labels.label, *rect, labels.confidence)?,
            };
            self.classify(object, labels)?;
        }
        Ok(())
    }

    /// Adds an object for each region, and where the version has masks the mask, which contains them, with the classes by number, each with
    /// the share of the frame that it takes. A mask says of no region how sure it is.
    fn add_segments(&mut self, result: &SegmentResult) -> Result<(), glib::BoolError> {
        #[cfg(feature = "v1_26")]
        let mask = {
            let classes = result
                .labels
                .iter()
                .map(String::as_str)
                .zip(result.shares.iter().copied());
            let (mask, classes) = (segmentation::add(&mut self.0, result)?, self.add_classes(classes)?);
            self.relate(RelTypes::RELATE_TO, RelTypes::RELATE_TO, mask, classes)?;
            mask
        };
        for region in &result.regions {
            let _region = self.add_object(&region.label, region.rect, 1.0)?;
            #[cfg(feature = "v1_26")]
            self.relate(RelTypes::CONTAIN, RelTypes::IS_PART_OF, mask, _region)?;
        }
        Ok(())
    }

    /// Adds the probabilities of an object's labels. The object refers to them only where the most probable label is the one in force, so
    /// that whoever takes the first for the label takes none that is not.
    fn classify(&mut self, object: u32, labels: &Labels) -> Result<(), glib::BoolError> {
        let top = labels
            .top
            .iter()
            .map(|(label, probability)| (label.as_str(), *probability));
        let classes = self.add_classes(top)?;
        let in_force = labels
            .top
            .first()
            .is_some_and(|(label, _)| labels.known && *label == labels.label);
        let forth = if in_force { RelTypes::RELATE_TO } else { RelTypes::NONE };
        self.relate(forth, RelTypes::RELATE_TO, object, classes)
    }

    /// Adds labels and their probabilities, best first (or in the order of a mask's numbers); returns their number in the meta.
    fn add_classes<'s>(&mut self, top: impl Iterator<Item = (&'s str, f64)>) -> Result<u32, glib::BoolError> {
        let (labels, probabilities): (Vec<_>, Vec<_>) = top
            .map(|(label, probability)| (glib::Quark::from_str(label), probability as f32))
            .unzip();
        Ok(self.0.add_cls_mtd(&probabilities, &labels)?.id())
    }

    /// Adds what is said of the whole frame, which stands at `frame`, below what is there already, as far as that leaves half of the frame.
    /// Upstream's overlay writes above an object: at the top of the frame nobody would see it.
    fn add_frame(&mut self, label: &str, frame: Rect, sure: f64) -> Result<u32, glib::BoolError> {
        let [x, y, width, height] = frame;
        let meta = self.meta();
        let objects = meta.iter::<AnalyticsODMtd>();
        let before = objects
            .filter(|object| is_of_frame(meta, object, [width, height]))
            .count();
        let rows = LABEL_ROWS * (1 + before as i32);
        let rows = if rows <= height / 2 { rows } else { 0 };
        self.add_object(label, [x, y + rows, width, height - rows], sure)
    }

    /// Adds something at a place; returns its number in the meta.
    fn add_object(&mut self, label: &str, [x, y, width, height]: Rect, sure: f64) -> Result<u32, glib::BoolError> {
        let label = glib::Quark::from_str(label);
        Ok(self.0.add_od_mtd(label, x, y, width, height, sure as f32)?.id())
    }

    fn relate(&mut self, forth: RelTypes, back: RelTypes, from: u32, to: u32) -> Result<(), glib::BoolError> {
        if !forth.is_empty() {
            self.0.set_relation(forth, from, to)?;
        }
        self.0.set_relation(back, to, from)
    }

    /// The number of the first object that stands at a place of a frame of `size`.
    fn object_at(&self, rect: Rect, size: [i32; 2]) -> Option<u32> {
        let mut objects = self.meta().iter::<AnalyticsODMtd>();
        let object = objects.find(|object| place(object, size) == Some(rect));
        object.map(|object| object.id())
    }
}

/// Whether an object says something of a whole frame of `size`: it has the frame's width and reaches down to its end, and a classification
/// refers to it, as those of this plugin do. Where the frame was scaled, the end may be a row off.
fn is_of_frame(meta: &Meta<'_>, object: &AnalyticsMtdRef<'_, AnalyticsODMtd>, [width, height]: [i32; 2]) -> bool {
    let spans = object
        .location()
        .is_ok_and(|at| at.x <= 0 && at.x.saturating_add(at.w) >= width && at.y.saturating_add(at.h) >= height - 1);
    let refers = |classes: AnalyticsMtdRef<'_, AnalyticsClassificationMtd>| {
        meta.relation(classes.id(), object.id()).contains(RelTypes::RELATE_TO)
    };
    spans && meta.iter::<AnalyticsClassificationMtd>().any(refers)
}

/// Where an object stands, as far as that is inside of a frame of `size`; `None` where nothing of it is.
fn place(object: &AnalyticsMtdRef<'_, AnalyticsODMtd>, size: [i32; 2]) -> Option<Rect> {
    let at = object.location().ok()?;
    let [(x, width), (y, height)] = [(at.x, at.w, size[0]), (at.y, at.h, size[1])].map(|(start, length, side)| {
        let end = start.saturating_add(length).min(side);
        let start = start.max(0);
        (start, end.saturating_sub(start))
    });
    (width > 0 && height > 0).then_some([x, y, width, height])
}

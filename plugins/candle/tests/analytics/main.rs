//! Results as GStreamer's own analytics metas: what stands in them, what upstream's elements make of them, and applications that read them.

mod applications;
mod contents;
mod segments;
#[path = "../support/mod.rs"]
mod support;
mod upstream;

use gst_analytics::prelude::*;
use gst_analytics::{AnalyticsClassificationMtd, AnalyticsODMtd, AnalyticsRelationMeta, RelTypes};

/// Labels and their probabilities.
type Classes = Vec<(String, f32)>;

/// An object on a buffer.
#[derive(Debug, Clone, PartialEq)]
struct Object {
    label: String,
    /// `[x, y, width, height]`
    place: [i32; 4],
    confidence: f32,
    /// Those that it relates to.
    classes: Vec<Classes>,
    /// The place in the list of what it is a part of.
    part_of: Option<usize>,
}

/// The objects on a buffer, in the order in which they were added.
fn objects(buffer: &gst::BufferRef) -> Vec<Object> {
    let Some(meta) = buffer.meta::<AnalyticsRelationMeta>() else {
        return Vec::new();
    };
    let ids: Vec<u32> = meta.iter::<AnalyticsODMtd>().map(|object| object.id()).collect();
    let object = |object: gst_analytics::AnalyticsMtdRef<'_, AnalyticsODMtd>| {
        let at = object.location().unwrap();
        let related = meta.iter_direct_related::<AnalyticsClassificationMtd>(object.id(), RelTypes::RELATE_TO);
        let whole = meta
            .iter_direct_related::<AnalyticsODMtd>(object.id(), RelTypes::IS_PART_OF)
            .next();
        Object {
            label: object.obj_type().unwrap().as_str().to_string(),
            place: [at.x, at.y, at.w, at.h],
            confidence: at.loc_conf_lvl,
            classes: related.map(|classes| read(&classes)).collect(),
            part_of: whole.map(|whole| ids.iter().position(|&id| id == whole.id()).unwrap()),
        }
    };
    meta.iter::<AnalyticsODMtd>().map(object).collect()
}

/// All classifications on a buffer.
fn classes(buffer: &gst::BufferRef) -> Vec<Classes> {
    let Some(meta) = buffer.meta::<AnalyticsRelationMeta>() else {
        return Vec::new();
    };
    let all = meta.iter::<AnalyticsClassificationMtd>();
    all.map(|classes| read(&classes)).collect()
}

fn read(classes: &gst_analytics::AnalyticsMtdRef<'_, AnalyticsClassificationMtd>) -> Classes {
    let classes = classes.iterate();
    classes
        .map(|(label, level)| (label.as_str().to_string(), level))
        .collect()
}

/// Their labels.
fn labels(objects: &[Object]) -> Vec<&str> {
    objects.iter().map(|object| object.label.as_str()).collect()
}

/// A shipped model.
fn shipped(name: &str) -> String {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models");
    format!("{models}/{name}.safetensors")
}

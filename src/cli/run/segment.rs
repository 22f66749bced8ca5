//! Masks of classes, and pictures that show them.

use anyhow::{Context, Result};
use serde_json::json;

use super::{Args, Lines, Names, Read, check_apart, check_replaces_none, open, unless_interrupted};
use crate::cli::common::{describe, make_folder};
use crate::cli::overlay;
use crate::data::layout::Source;
use crate::data::masks::Mask;
use crate::data::pictures;
use crate::exec::Options;
use crate::model::Model;
use crate::pixels::Image;
use crate::tasks::{Segmenter, Segments};

/// Into a folder, or lines to standard output.
pub fn pictures(args: &Args, model: &Model, options: &Options) -> Result<()> {
    let data = open(args)?;
    let masks = args.output.join("masks");
    check_replaces_none(args, &data)?;
    check_apart(&masks, "-o", &data)?;
    let mut segmenter = Segmenter::new(model, options).with_context(|| args.model.display().to_string())?;
    let mut lines = Lines::open(args)?;
    let writes = lines.is_file();
    if writes {
        make_folder(&masks)?;
    }
    let (threshold, min_area) = (args.threshold.unwrap_or(0.0) as f32, args.min_area);
    let (mut names, mut read, mut marked) = (Names::default(), Read::default(), 0);
    for sample in &data.samples {
        unless_interrupted()?;
        let image = match read.next(&data, sample)? {
            Ok(image) => image,
            Err(reason) => {
                lines.write(&json!({ "source": describe(&sample.source), "error": reason }))?;
                continue;
            }
        };
        let segmentation = segmenter.segment(&image)?;
        let segments = segmenter.segments(&segmentation, threshold, min_area);
        let is_marked = !segments.regions.is_empty();
        marked += usize::from(is_marked);
        let name = names.take(&sample.source) + ".png";
        let name = (writes && (is_marked || matches!(sample.source, Source::Picture(_)))).then_some(name);
        let mut line = line(&segments, segmenter.labels(), segmenter.background());
        line["source"] = describe(&sample.source).into();
        line["mask"] = name.as_ref().map(|name| format!("masks/{name}")).into();
        line["picture"] = name.clone().into();
        lines.write(&line)?;
        if let Some(name) = name {
            write(args, &name, &image, segments, segmenter.background())?;
        }
    }
    lines.finish()?;
    let done = format!("{marked} of {} pictures show more than background", read.succeeded());
    read.finish(&args.output, &done)
}

fn write(args: &Args, name: &str, image: &Image, segments: Segments, background: Option<usize>) -> Result<()> {
    let drawn = overlay::classes(image, &segments, background)?;
    pictures::write(&args.output.join(name), &drawn)?;
    let [width, height] = segments.size;
    let mask = Mask {
        width,
        height,
        classes: segments.mask,
    };
    Ok(mask.write(&args.output.join("masks").join(name), background)?)
}

/// What was found, as `candlepublish` writes it.
fn line(segments: &Segments, labels: &[String], background: Option<usize>) -> serde_json::Value {
    let regions = segments.regions.iter().map(|(class, region)| {
        json!({
            "x": region.x, "y": region.y, "width": region.width, "height": region.height, "area": region.area,
            "label": labels[*class],
        })
    });
    let (label, share) = segments.label_and_share(background);
    json!({
        "source": null, "label": label.map_or("", |class| &labels[class]), "share": share, "labels": labels, "shares": segments.shares,
        "background": background.map_or(-1, |class| class as i64), "regions": regions.collect::<Vec<_>>(),
    })
}

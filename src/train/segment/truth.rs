//! What is known of the pixels of pictures.

use std::path::Path;

use rayon::prelude::*;

use super::Options;
use super::marked::Marked;
use crate::data::layout::{Dataset, Layout, Source};
use crate::data::masks::{Coding, Mask};
use crate::data::pictures;
use crate::model::{BACKGROUND, InputSpec};
use crate::pixels::Placement;
use crate::tasks::Scaling;
use crate::train::classify::{labels_of, without_pictures};
use crate::train::packed::Packed;
use crate::train::samples::is_good;
use crate::{Error, Result};

/// Name of the other class of black and white masks, unless told otherwise.
const FOREGROUND: &str = "defect";

/// What is known of pixels.
pub struct Truth {
    /// Of masks; `None` where a picture's folder says what all of it shows.
    pub coding: Option<Coding>,
    pub labels: Vec<String>,
}

impl Truth {
    /// What is known of `data`, and of those held out, if they are given `apart`.
    pub fn of(data: &Dataset, apart: Option<&Dataset>, options: &Options, name: &str) -> Result<Self> {
        match data.layout {
            Layout::ImageFolder => return Self::of_folders(data, name),
            Layout::Masks | Layout::Mvtec => {}
            other => {
                let reason = format!(
                    "{}, which says nothing of classes: give a folder with images/ and masks/ in it, or one with a folder of pictures for each class",
                    other.describe()
                );
                return Err(Error::data(name, reason));
            }
        }
        if masks(data).next().is_none() {
            let reason = "no picture to learn from has a mask (in an MVTec layout only those of test/ have): give a folder with images/ and masks/ in it";
            return Err(Error::data(name, reason));
        }
        let coding = Coding::found(masks(data))?;
        if let Some(first) = apart.and_then(|apart| masks(apart).next()) {
            let other = Coding::found(apart.into_iter().flat_map(masks))?;
            if other.describe() != coding.describe() {
                let reason = format!(
                    "this mask is {}, those to learn from are {}",
                    other.describe(),
                    coding.describe()
                );
                return Err(Error::data(first, reason));
            }
        }
        not_their_masks(data, name)?;
        let named = match (coding, options.labels.as_slice()) {
            (Coding::BlackAndWhite, []) => vec![FOREGROUND.to_owned()],
            (Coding::Numbers(classes), []) => (1..classes).map(|class| format!("class {class}")).collect(),
            (_, given) => given.to_vec(),
        };
        check_names(&named, name)?;
        if named.len() + 1 != coding.classes() {
            let reason = format!(
                "{} labels for masks of {} classes beside the background",
                named.len(),
                coding.classes() - 1
            );
            return Err(Error::data(name, reason));
        }
        let labels = std::iter::once(BACKGROUND.to_owned()).chain(named).collect();
        Ok(Self {
            coding: Some(coding),
            labels,
        })
    }

    fn of_folders(data: &Dataset, name: &str) -> Result<Self> {
        if data.classes.len() < 2 {
            let reason = "one class alone: give folders of two classes or more, or images/ and masks/";
            return Err(Error::data(name, reason));
        }
        let has_pictures = |class: &String| data.samples.iter().any(|sample| sample.class.as_ref() == Some(class));
        if let Some(empty) = data.classes.iter().find(|class| !has_pictures(class)) {
            return Err(without_pictures(empty, name));
        }
        Ok(Self {
            coding: None,
            labels: data.classes.clone(),
        })
    }

    /// The pictures with what is known of their pixels, as a network with this `input` sees them.
    pub fn marked(&self, data: &Dataset, name: &str, pictures: Vec<Packed>, input: &InputSpec) -> Result<Vec<Marked>> {
        let whole = match self.coding {
            Some(_) => Vec::new(),
            None => labels_of(data, &self.labels, name)?,
        };
        let mark = |(i, mut picture): (usize, Packed)| {
            let [width, height] = picture.size();
            let mut mask = match (self.coding, &data.samples[i].mask) {
                (Some(coding), Some(path)) => coding.read(path, [width, height])?,
                (Some(_), None) if !is_good(&data.samples[i])? => {
                    let Source::Picture(path) = &data.samples[i].source else {
                        return Err(Error::Invalid("frames of videos have no masks".into()));
                    };
                    let reason =
                        "this picture has no mask, and is not of a class without defect (good, ok, normal, none)";
                    return Err(Error::data(path, reason));
                }
                // A good picture of a data set in which defects have masks.
                (Some(_), None) => Mask {
                    width,
                    height,
                    classes: vec![0; width * height],
                },
                (None, _) => Mask {
                    width,
                    height,
                    classes: vec![whole[i] as u8; width * height],
                },
            };
            if let Some(size) = input.size {
                let placement = Placement::new([width, height], size, input.resize);
                picture = Packed::new(&placement.apply(&picture.image()));
                mask = mask.placed(&placement, self.labels.len());
            }
            let scaling = Scaling::of(input, &picture.image().data);
            Ok(Marked::new(picture, scaling, mask))
        };
        pictures.into_par_iter().enumerate().map(mark).collect()
    }
}

/// Refuses names of classes that no model may have.
fn check_names(names: &[String], data: &str) -> Result<()> {
    for (i, name) in names.iter().enumerate() {
        let reason = match name.as_str() {
            "" => "a name is empty".to_owned(),
            BACKGROUND => format!("`{BACKGROUND}` is the name of what is not marked"),
            name if names[..i].iter().any(|other| other == name) => format!("`{name}` is there twice"),
            _ => continue,
        };
        return Err(Error::data(data, format!("--labels {}: {reason}", names.join(","))));
    }
    Ok(())
}

/// The masks of the pictures that have one.
fn masks(data: &Dataset) -> impl Iterator<Item = &Path> {
    data.samples.iter().filter_map(|sample| sample.mask.as_deref())
}

/// Refuses pictures that are all the same as their masks: a folder of masks in place of one of pictures.
fn not_their_masks(data: &Dataset, name: &str) -> Result<()> {
    for sample in &data.samples {
        let same = match &sample.mask {
            Some(mask) => data.read(sample)? == pictures::read(mask)?,
            None => false,
        };
        if !same {
            return Ok(());
        }
    }
    Err(Error::data(
        name,
        "the pictures are their own masks: put the pictures that were marked into images/",
    ))
}

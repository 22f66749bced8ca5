//! The result of `candlesegment`.

use super::*;

/// What `candlesegment` says of a frame.
#[derive(Debug, Clone)]
pub struct SegmentResult {
    /// The model's classes.
    pub labels: Vec<String>,
    /// The share of the frame that each takes, 0 to 1.
    pub shares: Vec<f64>,
    /// The class that is the background, if there is one.
    pub background: Option<usize>,
    /// Whether this is the result of an earlier frame.
    pub stale: bool,
    /// `[width, height]` of the frame.
    pub size: [i32; 2],
    /// Of all classes but the background, largest first.
    pub regions: Vec<ClassRegion>,
    /// The number of each pixel's class, row by row; 255 where there is none.
    pub mask: gst::Buffer,
}

/// A connected part of a frame of one class, in its pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassRegion {
    /// Left column, top row, columns, rows.
    pub rect: [i32; 4],
    /// Pixels of the class.
    pub area: i32,
    /// The class.
    pub label: String,
}

impl SegmentResult {
    /// The largest of the classes that are there, the background left out, and the share of all of them.
    pub fn label_and_share(&self) -> (Option<&str>, f64) {
        let found = self.found();
        // Where there is nothing to add, `sum` gives -0; where all is marked, rounding more than 1.
        let share = found.iter().fold(0.0, |sum, (_, share)| sum + share).min(1.0);
        (found.first().map(|(label, _)| *label), share)
    }

    /// The classes that are there, the background left out, the largest first, with their shares.
    pub fn found(&self) -> Vec<(&str, f64)> {
        let all = self.labels.iter().zip(&self.shares).enumerate();
        let mut found: Vec<(&str, f64)> = all
            .filter(|(class, (_, share))| Some(*class) != self.background && **share > 0.0)
            .map(|(_, (label, share))| (label.as_str(), *share))
            .collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1));
        found
    }
}

impl ClassRegion {
    /// As it stands in an array `regions`; also the parameter on the frame's region-of-interest meta, by another `name`.
    pub fn to_structure(&self, name: &str) -> gst::Structure {
        rect_builder(name, self.rect)
            .field("area", self.area)
            .field("label", &self.label)
            .build()
    }

    fn from_structure(s: &gst::StructureRef) -> Option<Self> {
        Some(Self {
            rect: rect(s)?,
            area: s.get("area").ok()?,
            label: s.get("label").ok()?,
        })
    }
}

impl Kind for SegmentResult {
    const NAME: &'static str = "segment";

    fn to_structure(&self) -> gst::Structure {
        let background = self.background.map_or(-1, |class| class as i32);
        let (label, share) = self.label_and_share();
        gst::Structure::builder(Self::NAME)
            .field("label", label.unwrap_or_default())
            .field("share", share)
            .field("labels", gst::Array::new(&self.labels))
            .field("shares", gst::Array::new(&self.shares))
            .field("background", background)
            .field("stale", self.stale)
            .field("width", self.size[0])
            .field("height", self.size[1])
            .field(
                "regions",
                gst::Array::new(self.regions.iter().map(|region| region.to_structure("region"))),
            )
            .field("mask", &self.mask)
            .build()
    }

    fn from_structure(s: &gst::StructureRef) -> Option<Self> {
        let background: i32 = s.get("background").ok()?;
        Some(Self {
            labels: values(s, "labels")?,
            shares: values(s, "shares")?,
            background: usize::try_from(background).ok(),
            stale: s.get("stale").ok()?,
            size: [s.get("width").ok()?, s.get("height").ok()?],
            regions: structures(s, "regions", ClassRegion::from_structure)?,
            mask: s.get("mask").ok()?,
        })
    }
}

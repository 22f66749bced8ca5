//! What `candleembed` says of a frame.

use crate::common::result::{Kind, values};

/// The code of a frame and what lies nearest.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbedResult {
    /// Of length 1.
    pub code: Vec<f32>,
    /// The known picture that is nearest, if any is known.
    pub nearest: Option<Nearest>,
    /// Whether that is near enough.
    pub known: bool,
    /// Whether this is the result of an earlier frame.
    pub stale: bool,
    /// `[width, height]` of the frame.
    pub size: [i32; 2],
}

/// A known picture.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Nearest {
    /// Between its code and the frame's, 0 to 2.
    pub distance: f64,
    /// Its name, or its class where pictures have no names.
    pub name: String,
    /// Its class; empty where it has none.
    pub label: String,
}

impl EmbedResult {
    /// The distance, -1 where nothing is known.
    pub fn distance(&self) -> f64 {
        self.nearest.as_ref().map_or(-1.0, |nearest| nearest.distance)
    }
}

impl Kind for EmbedResult {
    const NAME: &'static str = "embed";

    fn to_structure(&self) -> gst::Structure {
        let nearest = self.nearest.clone().unwrap_or_default();
        gst::Structure::builder(Self::NAME)
            .field("code", gst::Array::new(&self.code))
            .field("distance", self.distance())
            .field("nearest", nearest.name)
            .field("label", nearest.label)
            .field("known", self.known)
            .field("stale", self.stale)
            .field("width", self.size[0])
            .field("height", self.size[1])
            .build()
    }

    fn from_structure(s: &gst::StructureRef) -> Option<Self> {
        let distance: f64 = s.get("distance").ok()?;
        let nearest = Nearest {
            distance,
            name: s.get("nearest").ok()?,
            label: s.get("label").ok()?,
        };
        Some(Self {
            code: values(s, "code")?,
            nearest: Some(nearest).filter(|nearest| nearest.distance >= 0.0),
            known: s.get("known").ok()?,
            stale: s.get("stale").ok()?,
            size: [s.get("width").ok()?, s.get("height").ok()?],
        })
    }
}

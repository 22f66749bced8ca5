//! Results for `candleoverlay`, and what it draws of them.

use gst_check::Harness;

use super::{caps_of, component, grey, info_of, init};

/// The ground everything is drawn on.
pub const GROUND: u8 = 100;

/// What a frame says of itself.
#[derive(Clone)]
pub struct Result {
    pub anomalous: bool,
    pub state: bool,
    pub stale: bool,
    pub normalized: f64,
    pub regions: Vec<[i32; 4]>,
    /// A row of codes.
    pub map: Vec<u8>,
}

impl Default for Result {
    fn default() -> Self {
        Self {
            anomalous: true,
            state: true,
            stale: false,
            normalized: 0.75,
            regions: vec![[60, 20, 20, 30]],
            map: vec![255, 0],
        }
    }
}

impl Result {
    /// For a frame of 100x100.
    fn anomaly(&self) -> gst::Structure {
        let region = |&[x, y, width, height]: &[i32; 4]| {
            let rect = gst::Structure::builder("region").field("x", x).field("y", y);
            let rect = rect.field("width", width).field("height", height);
            rect.field("area", 9).field("score", 0.9).build()
        };
        gst::Structure::builder("anomaly")
            .field("score", 0.75)
            .field("threshold", 0.5)
            .field("normalized", self.normalized)
            .field("anomalous", self.anomalous)
            .field("state", self.state)
            .field("stale", self.stale)
            .field("width", 100)
            .field("height", 100)
            .field("regions", gst::Array::new(self.regions.iter().map(region)))
            .field("map", gst::Buffer::from_slice(self.map.clone()))
            .field("map-width", self.map.len() as i32)
            .field("map-height", 1)
            .field("map-x", 0.0)
            .field("map-y", 0.0)
            .field("map-w", 100.0)
            .field("map-h", 100.0)
            .build()
    }

    fn classify(&self) -> gst::Structure {
        gst::Structure::builder("classify")
            .field("label", "scratch")
            .field("confidence", 0.7)
            .field("known", true)
            .field("labels", gst::Array::new(["scratch", "spot"]))
            .field("confidences", gst::Array::new([0.7, 0.2]))
            .field("stale", self.stale)
            .field("width", 100)
            .field("height", 100)
            .field("regions", gst::Array::new(Vec::<gst::Structure>::new()))
            .build()
    }

    /// On frame `index` of a stream at 10 frames a second, of one value.
    pub fn on(&self, caps: &str, index: u64, ground: u8) -> gst::Buffer {
        init();
        let mut buffer = grey(&info_of(caps), ground, index);
        let frame = buffer.get_mut().unwrap();
        let mut meta = gst::meta::CustomMeta::add(frame, "candle-result").unwrap();
        meta.mut_structure().set("anomaly", self.anomaly());
        meta.mut_structure().set("classify", self.classify());
        buffer
    }
}

pub fn caps(format: &str, [width, height]: [usize; 2]) -> String {
    format!("format={format},width={width},height={height},interlace-mode=progressive")
}

pub fn harness(properties: &str, caps: &str) -> Harness {
    init();
    let mut harness = Harness::new_parse(&format!("candleoverlay {properties}"));
    harness.set_src_caps(caps_of(caps));
    harness
}

/// An RGB picture.
#[derive(PartialEq)]
pub struct Picture {
    pub size: [usize; 2],
    pub pixels: Vec<[u8; 3]>,
}

impl Picture {
    pub fn of(buffer: &gst::BufferRef, size: [usize; 2]) -> Self {
        let info = info_of(&caps("RGB", size));
        let [r, g, b] = [0, 1, 2].map(|c| component(buffer, &info, c));
        let pixels = (0..size[0] * size[1]).map(|i| [r[i], g[i], b[i]].map(|value| value as u8));
        Self {
            size,
            pixels: pixels.collect(),
        }
    }

    pub fn drawn(properties: &str, result: &Result, size: [usize; 2]) -> Self {
        let caps = caps("RGB", size);
        let mut harness = harness(properties, &caps);
        Self::of(&harness.push_and_pull(result.on(&caps, 0, GROUND)).unwrap(), size)
    }

    pub fn at(&self, x: usize, y: usize) -> [u8; 3] {
        self.pixels[y * self.size[0] + x]
    }

    pub fn is_drawn(&self, x: usize, y: usize) -> bool {
        self.at(x, y) != [GROUND; 3]
    }

    /// Left, top, right and bottom of all that is drawn, and the share of it that is.
    pub fn extent(&self) -> Option<([usize; 4], f64)> {
        let all = (0..self.size[1]).flat_map(|y| (0..self.size[0]).map(move |x| [x, y]));
        let drawn: Vec<[usize; 2]> = all.filter(|&[x, y]| self.is_drawn(x, y)).collect();
        let side = |axis: usize| drawn.iter().map(move |place| place[axis]);
        let [left, top] = [side(0).min()?, side(1).min()?];
        let [right, bottom] = [side(0).max()? + 1, side(1).max()? + 1];
        let share = drawn.len() as f64 / ((right - left) * (bottom - top)) as f64;
        Some(([left, top, right, bottom], share))
    }

    pub fn has(&self, is: impl Fn([u8; 3]) -> bool) -> bool {
        self.pixels.iter().any(|&pixel| is(pixel))
    }
}

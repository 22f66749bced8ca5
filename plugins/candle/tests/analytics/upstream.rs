//! Elements of GStreamer's own behind ours.

use super::support::line::{Line, info, values};
use super::{Object, objects, shipped};

const SIZE: [usize; 2] = [480, 360];
/// Where the label of a frame's verdict is written.
const TITLE: [i32; 4] = [0, 3, 100, 14];

/// Frames of the inspection line with what was found on them, after more elements.
fn inspected(elements: &str) -> Vec<gst::Sample> {
    let [width, height] = SIZE;
    Line::all(&format!(
        "candletestsrc num-buffers=14 seed=1 frames-per-part=5 defect-rate=0.5 ! \
         video/x-raw,format=RGB,width={width},height={height},framerate=15/1 ! {elements}"
    ))
}

fn anomaly() -> String {
    format!("candleanomaly model-file={} min-area=20", shipped("anomaly-testsrc"))
}

fn classify(properties: &str) -> String {
    format!("candleclassify model-file={} {properties}", shipped("classify-testsrc"))
}

fn on(samples: &[gst::Sample]) -> Vec<Vec<Object>> {
    samples.iter().map(|sample| objects(sample.buffer().unwrap())).collect()
}

/// What upstream's overlay drew on a frame.
struct Drawn {
    /// Row by row, whether a pixel is another than without it.
    pixels: Vec<bool>,
    objects: Vec<Object>,
}

impl Drawn {
    /// Frame by frame, behind `elements`.
    fn behind(elements: &str) -> Vec<Self> {
        let plain = inspected(elements);
        let drawn = inspected(&format!(
            "{elements} ! objectdetectionoverlay ! videoconvert ! video/x-raw,format=RGB"
        ));
        assert_eq!((plain.len(), drawn.len()), (14, 14));
        let compare = |(plain, drawn): (&gst::Sample, &gst::Sample)| {
            let objects = objects(plain.buffer().unwrap());
            let (plain, drawn) = (values(plain), values(drawn));
            let differs = |i: usize| (0..3).any(|c| plain[c][i] != drawn[c][i]);
            let pixels = (0..SIZE[0] * SIZE[1]).map(differs).collect();
            Self { pixels, objects }
        };
        plain.iter().zip(&drawn).map(compare).collect()
    }

    /// The pixels of the part of `[x, y, width, height]` that is in the frame.
    fn part(&self, [x, y, width, height]: [i32; 4]) -> Vec<bool> {
        let span =
            |start: i32, length: i32, side| (start.max(0) as usize)..((start + length).max(0) as usize).min(side);
        let (rows, columns) = (span(y, height, SIZE[1]), span(x, width, SIZE[0]));
        rows.flat_map(|row| columns.clone().map(move |column| self.pixels[row * SIZE[0] + column]))
            .collect()
    }

    /// The share of them that is drawn on.
    fn share(&self, part: [i32; 4]) -> f64 {
        let part = self.part(part);
        part.iter().filter(|drawn| **drawn).count() as f64 / part.len().max(1) as f64
    }

    /// Regions of the frame, as far as their box and its label are inside of it.
    fn regions(&self) -> impl Iterator<Item = [i32; 4]> {
        let parts = self.objects.iter().filter(|object| object.part_of.is_some());
        parts.map(|object| object.place).filter(|[x, y, width, height]| {
            *y > 50 && x + (*width).max(90) < SIZE[0] as i32 && y + height < SIZE[1] as i32 - 1
        })
    }
}

#[test]
fn the_overlay_draws_regions_and_labels() {
    let frames = Drawn::behind(&format!("{} ! {}", anomaly(), classify("regions=metas")));
    let mut regions = 0;
    for (index, frame) in frames.iter().enumerate() {
        let title = frame.share(TITLE);
        assert!(
            (0.15..0.9).contains(&title),
            "frame {index}: {title} of the verdict's place"
        );
        for [x, y, width, height] in frame.regions() {
            let box_ = [
                [x, y, width, 1],
                [x, y + height, width, 1],
                [x, y, 1, height],
                [x + width, y, 1, height],
            ];
            let shares = box_.map(|edge| frame.share(edge));
            assert!(
                shares.iter().all(|share| *share > 0.9),
                "frame {index}: {shares:?} of a box"
            );
            let label = frame.share([x, y - 16, 80, 12]);
            assert!(
                (0.15..0.9).contains(&label),
                "frame {index}: {label} of a label's place"
            );
            regions += 1;
        }
        if frame.objects.iter().all(|object| object.part_of.is_none()) {
            let [width, height] = SIZE.map(|side| side as i32);
            let inside = frame.share([3, 23, width - 6, height - 26]);
            assert_eq!(inside, 0.0, "frame {index}: nothing to draw");
        }
    }
    assert!(regions >= 3, "{regions} regions");
    let title = |verdict: &str| {
        let frame = frames.iter().find(|frame| frame.objects[0].label == verdict);
        frame.expect("some are").part(TITLE)
    };
    assert_ne!(title("normal"), title("anomalous"));
}

#[test]
fn the_overlay_draws_the_labels_of_several_elements_below_each_other() {
    let frames = Drawn::behind(&format!("{} ! {}", anomaly(), classify("threshold=0")));
    for (index, frame) in frames.iter().enumerate() {
        let [x, y, width, height] = TITLE;
        for title in [TITLE, [x, y + 20, width, height]] {
            let share = frame.share(title);
            assert!((0.15..0.9).contains(&share), "frame {index}: {share} of {title:?}");
        }
    }
}

#[test]
fn objects_survive_elements_that_keep_the_frames_size() {
    let found = format!("{} ! {}", anomaly(), classify("regions=metas"));
    let plain = on(&inspected(&found));
    assert!(
        plain
            .iter()
            .flatten()
            .any(|object| object.part_of.is_some() && !object.classes.is_empty())
    );
    for elements in [
        "videoconvert ! video/x-raw,format=I420",
        "videoconvert ! video/x-raw,format=NV12 ! videoconvert ! video/x-raw,format=GRAY8",
        "jpegenc ! jpegdec",
        "queue",
        "tee name=t t. ! queue ! fakesink sync=false async=false t. ! queue",
    ] {
        let behind = on(&inspected(&format!("{found} ! {elements}")));
        assert_eq!(behind, plain, "{elements}");
    }
}

#[test]
fn objects_scale_with_the_frame() {
    let found = format!("{} ! {}", anomaly(), classify("regions=metas"));
    let plain = on(&inspected(&found));
    for [width, height] in [[240, 180], [960, 720], [333, 99]] {
        let caps = format!("video/x-raw,width={width},height={height}");
        let samples = inspected(&format!("{found} ! videoscale add-borders=false ! {caps}"));
        assert_eq!(
            (info(&samples[0]).width(), info(&samples[0]).height()),
            (width as u32, height as u32)
        );
        let [sx, sy] = [(width, 0), (height, 1)].map(|(to, axis)| move |n: i32| n * to / SIZE[axis] as i32);
        let mut expected = plain.clone();
        for object in expected.iter_mut().flatten() {
            let [x, y, w, h] = object.place;
            object.place = [sx(x), sy(y), sx(w), sy(h)];
        }
        assert_eq!(on(&samples), expected, "{caps}");
    }
}

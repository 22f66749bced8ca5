//! What `candleoverlay` costs a frame of 1920x1080, in CPU time: `cargo bench --workspace --bench overlay`.
//!
//! Formats as arguments (`-- I420 BGRx`) leave out the others. The frames are those of `candletestsrc` with what the shipped models found on
//! them; most have a defect and an alarm.

use cpu_time::ThreadTime;
use gst::prelude::*;
use gst_check::Harness;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models");
/// How often the frames are drawn on.
const ROUNDS: usize = 12;
const FRAMES: usize = 24;

/// Caps of frames, and frames with results on them.
fn frames(format: &str) -> (gst::Caps, Vec<gst::Buffer>) {
    let launch = format!(
        "candletestsrc num-buffers={FRAMES} seed=1 frames-per-part=8 defect-rate=0.8 \
         ! video/x-raw,format=RGB,width=1920,height=1080,framerate=30/1 \
         ! candleanomaly model-file={MODELS}/anomaly-testsrc.safetensors min-area=20 \
         ! candleclassify model-file={MODELS}/classify-testsrc.safetensors \
         ! videoconvert ! video/x-raw,format={format} ! appsink name=out sync=false"
    );
    let pipeline = gst::parse::launch(&launch).expect("the pipeline is sound");
    let pipeline = pipeline.downcast::<gst::Pipeline>().expect("it is a pipeline");
    let sink = pipeline.by_name("out").and_downcast::<gst_app::AppSink>();
    let sink = sink.expect("it has an appsink");
    pipeline.set_state(gst::State::Playing).expect("it starts");
    let samples: Vec<gst::Sample> = std::iter::from_fn(|| sink.pull_sample().ok()).collect();
    pipeline.set_state(gst::State::Null).expect("it stops");
    let caps = samples[0].caps_owned().expect("frames have caps");
    (
        caps,
        samples.iter().filter_map(|sample| sample.buffer_owned()).collect(),
    )
}

/// The frame with its map as hot as can be all over.
fn hottest(buffer: &gst::Buffer) -> gst::Buffer {
    let mut buffer = buffer.copy();
    let frame = buffer.make_mut();
    let mut meta = gst::meta::CustomMeta::from_mut_buffer(frame, "candle-result").expect("it has a result");
    let mut anomaly: gst::Structure = meta.structure().get("anomaly").expect("of candleanomaly");
    let codes = anomaly.get::<gst::Buffer>("map").expect("with a map").size();
    anomaly.set("map", gst::Buffer::from_slice(vec![255; codes]));
    meta.mut_structure().set("anomaly", anomaly);
    buffer
}

/// The frame with a mask of discs: `count` of them, of three classes by turns, so that they take a share of the frame between them.
fn masked(buffer: &gst::Buffer, count: usize, share: f64) -> gst::Buffer {
    let [width, height] = [1920usize, 1080];
    let radius = (share * (width * height) as f64 / count as f64 / std::f64::consts::PI).sqrt();
    let mut mask = vec![0u8; width * height];
    let across = (count as f64 * 16.0 / 9.0).sqrt().ceil() as usize;
    let down = count.div_ceil(across);
    for disc in 0..count {
        let middle = [
            (disc % across * 2 + 1) * width / (2 * across),
            (disc / across * 2 + 1) * height / (2 * down),
        ];
        let [reach_x, reach_y] =
            [middle[0], middle[1]].map(|at| at.saturating_sub(radius as usize)..at + radius as usize + 1);
        for y in reach_y.filter(|y| *y < height) {
            for x in reach_x.clone().filter(|x| *x < width) {
                let distance = (x as f64 - middle[0] as f64).hypot(y as f64 - middle[1] as f64);
                if distance <= radius {
                    mask[y * width + x] = 1 + (disc % 3) as u8;
                }
            }
        }
    }
    let part = |class: u8| mask.iter().filter(|of| **of == class).count() as f64 / mask.len() as f64;
    let segment = gst::Structure::builder("segment")
        .field("labels", gst::Array::new(["background", "scratch", "dent", "stain"]))
        .field("shares", gst::Array::new([0, 1, 2, 3].map(part)))
        .field("background", 0)
        .field("stale", false)
        .field("width", width as i32)
        .field("height", height as i32)
        .field("regions", gst::Array::new(Vec::<gst::Structure>::new()))
        .field("mask", gst::Buffer::from_slice(mask))
        .build();
    let mut buffer = buffer.copy();
    let mut meta = gst::meta::CustomMeta::from_mut_buffer(buffer.make_mut(), "candle-result").expect("it has a result");
    meta.mut_structure().remove_fields(["anomaly", "classify"]);
    meta.mut_structure().set("segment", segment);
    buffer
}

/// Milliseconds of CPU time a frame: the median and the most.
fn cost(properties: &str, caps: &gst::Caps, frames: &[gst::Buffer]) -> [f64; 2] {
    let mut harness = Harness::new_parse(&format!("candleoverlay {properties}"));
    harness.set_src_caps(caps.clone());
    let mut times = Vec::new();
    for (index, frame) in (0..ROUNDS).flat_map(|_| frames).enumerate() {
        let mut frame = frame.copy_deep().expect("there is memory");
        frame.make_mut().set_pts(gst::ClockTime::SECOND * index as u64 / 30);
        let begun = ThreadTime::now();
        harness.push(frame).expect("it is drawn on");
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        harness.pull().expect("it leaves");
    }
    times.sort_by(f64::total_cmp);
    [times[times.len() / 2], times[times.len() - 1]]
}

fn main() {
    gst::init().expect("GStreamer starts");
    gstcandle::plugin_register_static().expect("the plugin registers");
    println!("ms of CPU time a frame, median (most)");
    // Cargo gives `--bench` on the way.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |format: &&str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == format);
    for format in ["I420", "NV12", "BGRx", "RGB", "GRAY8", "Y444", "RGBA"]
        .into_iter()
        .filter(is_wanted)
    {
        let (caps, frames) = frames(format);
        let [median, most] = cost("", &caps, &frames);
        println!("{format:6} all layers                {median:6.2} ({most:.2})");
        if ["I420", "NV12", "BGRx"].contains(&format) {
            for layers in ["heatmap", "heatmap+legend", "regions", "label", "frame", "history", "0"] {
                let [median, most] = cost(&format!("layers={layers}"), &caps, &frames);
                println!("{format:6} {layers:25} {median:6.2} ({most:.2})");
            }
            let hot: Vec<gst::Buffer> = frames.iter().map(hottest).collect();
            let [median, most] = cost("", &caps, &hot);
            println!("{format:6} all, the whole map hot    {median:6.2} ({most:.2})");
        }
        for (what, count, share) in [("12 discs, 5 % of it", 12, 0.05), ("60 discs, 40 % of it", 60, 0.4)] {
            let discs = masked(&frames[0], count, share);
            let frames = vec![discs; FRAMES];
            for layers in ["mask", "mask+legend+label"] {
                let [median, most] = cost(&format!("layers={layers}"), &caps, &frames);
                println!("{format:6} {:42} {median:6.2} ({most:.2})", format!("{layers}, {what}"));
            }
        }
    }
}

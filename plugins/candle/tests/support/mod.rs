//! Models whose answers are known, and frames to show them.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod drawn;
pub mod every;
pub mod line;
pub mod load;

use std::sync::Once;

use gst::prelude::*;
use gst_candle::graph::{Array, Builder, Graph, Op, Weights};
use gst_candle::model::{
    AnomalyCalibration, Calibration, ClassCalibration, Color, ExtraInput, InputSpec, MapKind, Model, Normalization,
    Resize, Task, Training,
};
use gst_check::Harness;
use gst_video::prelude::*;
use tempfile::NamedTempFile;

/// All formats that the elements take.
pub const FORMATS: [&str; 14] = [
    "GRAY8",
    "GRAY16_LE",
    "RGB",
    "BGR",
    "RGBx",
    "BGRx",
    "RGBA",
    "BGRA",
    "ARGB",
    "ABGR",
    "I420",
    "NV12",
    "Y42B",
    "Y444",
];

/// The elements with a model, and the model each takes here.
pub fn elements() -> [(&'static str, NamedTempFile); 5] {
    [
        ("candledenoise", halving()),
        ("candleanomaly", brightness(None)),
        ("candleclassify", light()),
        ("candlesegment", bands()),
        ("candleembed", light()),
    ]
}

/// Starts GStreamer with the plugin.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gstcandle::plugin_register_static().unwrap();
    });
}

fn save(
    task: Task,
    graph: Graph,
    size: Option<[usize; 2]>,
    weights: Weights,
    labels: &[&str],
    calibration: Option<Calibration>,
) -> NamedTempFile {
    let Op::Input { channels } = graph.nodes[0].op else {
        unreachable!("a graph begins with its input")
    };
    write(&Model {
        task,
        graph,
        input: InputSpec {
            size,
            frames: channels,
            ..INPUT
        },
        labels: labels.iter().map(|&label| label.into()).collect(),
        calibration,
        training: Training::default(),
        weights,
    })
}

/// Grey, of any size, as it is.
const INPUT: InputSpec = InputSpec {
    color: Color::Gray,
    size: None,
    multiple_of: 1,
    resize: Resize::Stretch,
    normalization: Normalization::None,
    frames: 1,
    extra: Vec::new(),
};

fn write(model: &Model) -> NamedTempFile {
    let file = NamedTempFile::with_suffix(".safetensors").unwrap();
    model.save(file.path()).unwrap();
    file
}

fn gain(factor: f32) -> (Graph, Weights) {
    let mut net = Builder::new();
    let x = net.input("input", 1);
    let y = net.conv("gain", &x, 1, 1, false);
    let weight = Array {
        shape: vec![1, 1, 1, 1],
        data: vec![factor],
    };
    (net.finish(&[&y]), Weights::from([("gain.weight".into(), weight)]))
}

/// A denoiser that halves every value.
pub fn halving() -> NamedTempFile {
    let (graph, weights) = gain(0.5);
    save(Task::Denoise, graph, None, weights, &[], None)
}

/// A denoiser that shows half of each frame and half of what it showed before, in the beginning black.
pub fn remembering() -> NamedTempFile {
    let mut net = Builder::new();
    let now = net.input("input", 1);
    let before = net.input("before", 1);
    let both = net.node("both", Op::Concat, &[&now, &before]);
    let mean = net.conv("mean", &both, 1, 1, false);
    let weight = Array {
        shape: vec![1, 2, 1, 1],
        data: vec![0.5, 0.5],
    };
    let weights = Weights::from([("mean.weight".into(), weight)]);
    let state = ExtraInput::State {
        output: 0,
        channels: 1,
        divide: 1,
    };
    write(&Model {
        task: Task::Denoise,
        graph: net.finish(&[&mean]),
        input: InputSpec {
            extra: vec![state],
            ..INPUT
        },
        labels: Vec::new(),
        calibration: None,
        training: Training::default(),
        weights,
    })
}

/// An anomaly model whose map is the frame's own brightness; 0.5 and more is anomalous.
pub fn brightness(size: Option<[usize; 2]>) -> NamedTempFile {
    let (graph, weights) = gain(1.0);
    let calibration = AnomalyCalibration {
        map: MapKind::Direct,
        smooth: 1,
        pool: 1,
        context: 1,
        threshold: 0.5,
        rates: vec![[0.1, 0.25], [0.01, 0.75]],
        quantiles: vec![[0.1, 0.1], [0.5, 0.125], [0.9, 0.2], [0.99, 0.5]],
        pixel_threshold: 0.5,
        frames: 100,
    };
    save(
        Task::Anomaly,
        graph,
        size,
        weights,
        &[],
        Some(Calibration::Anomaly(calibration)),
    )
}

/// A model that predicts from two frames that the next one is as the last one; a change of 0.5 and more is anomalous.
pub fn unchanging() -> NamedTempFile {
    let mut net = Builder::new();
    let x = net.input("input", 2);
    let y = net.conv("last", &x, 1, 1, false);
    let weight = Array {
        shape: vec![1, 2, 1, 1],
        data: vec![0.0, 1.0],
    };
    let calibration = AnomalyCalibration {
        map: MapKind::Squared,
        smooth: 1,
        pool: 1,
        context: 1,
        threshold: 0.25,
        rates: Vec::new(),
        quantiles: Vec::new(),
        pixel_threshold: 0.25,
        frames: 100,
    };
    let weights = Weights::from([("last.weight".into(), weight)]);
    let calibration = Some(Calibration::Anomaly(calibration));
    save(Task::Predict, net.finish(&[&y]), None, weights, &[], calibration)
}

/// A classifier that says `bright` or `dark`; a frame of mean m is bright with the logit 16 (m - 0.5).
pub fn light() -> NamedTempFile {
    let mut net = Builder::new();
    let x = net.input("input", 1);
    let x = net.node("mean", Op::GlobalAvgPool, &[&x]);
    let x = net.node("flat", Op::Flatten, &[&x]);
    let y = net.linear("logits", &x, 2);
    let weights = Weights::from([
        (
            "logits.weight".into(),
            Array {
                shape: vec![2, 1],
                data: vec![8.0, -8.0],
            },
        ),
        (
            "logits.bias".into(),
            Array {
                shape: vec![2],
                data: vec![-4.0, 4.0],
            },
        ),
    ]);
    let calibration = ClassCalibration {
        temperature: 1.0,
        thresholds: vec![0.75, 0.75],
        codes: None,
    };
    let calibration = Some(Calibration::Classify(calibration));
    save(
        Task::Classify,
        net.finish(&[&y]),
        Some([8, 8]),
        weights,
        &["bright", "dark"],
        calibration,
    )
}

/// The classes of [`bands`].
pub const BANDS: [&str; 3] = ["background", "grey", "white"];

/// A segmenter by brightness: `background` up to a quarter, `grey` from there, `white` from three quarters on. The logits of a pixel of
/// brightness b are 0, 16 (b - 0.25) and 32 (b - 0.5).
pub fn bands() -> NamedTempFile {
    let mut net = Builder::new();
    let x = net.input("input", 1);
    let y = net.conv("bands", &x, 3, 1, true);
    let array = |shape: &[usize], data: [f32; 3]| Array {
        shape: shape.to_vec(),
        data: data.to_vec(),
    };
    let weights = Weights::from([
        ("bands.weight".into(), array(&[3, 1, 1, 1], [0.0, 16.0, 32.0])),
        ("bands.bias".into(), array(&[3], [0.0, -4.0, -16.0])),
    ]);
    save(Task::Segment, net.finish(&[&y]), None, weights, &BANDS, None)
}

/// An element with its model and more properties between two pads, with a bus.
pub fn harness(element: &str, model: &NamedTempFile, properties: &str, caps: &str) -> (Harness, gst::Bus) {
    let mut harness = Harness::new_parse(&format!("{element} model-file={} {properties}", model.path().display()));
    let bus = gst::Bus::new();
    let bin = harness.element().unwrap();
    bin.set_bus(Some(&bus));
    harness.set_src_caps(caps_of(caps));
    (harness, bus)
}

/// The element inside a harness.
pub fn element(harness: &Harness) -> gst::Element {
    let element = harness.element().unwrap();
    match element.downcast_ref::<gst::Bin>() {
        Some(bin) => bin.iterate_elements().find(|e| e.has_property("model-file")).unwrap(),
        None => element,
    }
}

/// Caps of raw video at 10 frames a second.
pub fn caps_of(fields: &str) -> gst::Caps {
    format!("video/x-raw,framerate=10/1,{fields}").parse().unwrap()
}

/// The layout of frames with such caps.
pub fn info_of(fields: &str) -> gst_video::VideoInfo {
    gst_video::VideoInfo::from_caps(&caps_of(fields)).unwrap()
}

/// Frame `index` of a stream at 10 frames a second.
pub fn timed(mut buffer: gst::Buffer, index: u64) -> gst::Buffer {
    let frame = buffer.get_mut().unwrap();
    frame.set_pts(gst::ClockTime::from_mseconds(100 * index));
    frame.set_duration(gst::ClockTime::from_mseconds(100));
    buffer
}

/// A frame `index` of one grey.
pub fn grey(info: &gst_video::VideoInfo, value: u8, index: u64) -> gst::Buffer {
    timed(gst::Buffer::from_mut_slice(vec![value; info.size()]), index)
}

/// A black frame `index` of GRAY8 with rectangles `[x, y, width, height]` of one grey.
pub fn spotted(info: &gst_video::VideoInfo, spots: &[([usize; 4], u8)], index: u64) -> gst::Buffer {
    let stride = info.stride()[0] as usize;
    let mut data = vec![0u8; info.size()];
    for &([x, y, width, height], value) in spots {
        for row in y..y + height {
            data[row * stride + x..][..width].fill(value);
        }
    }
    timed(gst::Buffer::from_slice(data), index)
}

/// A frame full of different values, the same each time.
pub fn busy(info: &gst_video::VideoInfo, index: u64) -> gst::Buffer {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    timed(
        gst::Buffer::from_mut_slice((0..info.size()).map(|_| next()).collect::<Vec<u8>>()),
        index,
    )
}

/// The values of one component of a frame, row by row; alpha of formats that have it is component 3.
pub fn component(buffer: &gst::BufferRef, info: &gst_video::VideoInfo, component: u8) -> Vec<u32> {
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info).unwrap();
    let stride = frame.comp_stride(u32::from(component)) as usize;
    let step = frame.comp_pstride(u32::from(component)) as usize;
    let data = frame.comp_data(u32::from(component)).unwrap();
    let wide = info.comp_depth(component) > 8;
    let mut values = Vec::new();
    for y in 0..frame.comp_height(u32::from(component)) as usize {
        for x in 0..frame.comp_width(u32::from(component)) as usize {
            let at = y * stride + x * step;
            values.push(if wide {
                u32::from(u16::from_le_bytes([data[at], data[at + 1]]))
            } else {
                u32::from(data[at])
            });
        }
    }
    values
}

/// The structure of a kind of result on a buffer.
pub fn result(buffer: &gst::BufferRef, kind: &str) -> Option<gst::Structure> {
    let meta = gst::meta::CustomMeta::from_buffer(buffer, "candle-result").ok()?;
    meta.structure().get(kind).ok()
}

/// Structures of an array field.
pub fn array(structure: &gst::StructureRef, field: &str) -> Vec<gst::Structure> {
    let array = structure.get::<gst::ArrayRef>(field).unwrap();
    array.iter().map(|value| value.get().unwrap()).collect()
}

/// `x`, `y`, `width` and `height` of a structure.
pub fn rect(structure: &gst::StructureRef) -> [i32; 4] {
    ["x", "y", "width", "height"].map(|field| structure.get(field).unwrap())
}

/// The structures of the element messages on a bus.
pub fn messages(bus: &gst::Bus) -> Vec<gst::Structure> {
    let messages = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Element]));
    messages
        .map(|message| message.structure().unwrap().to_owned())
        .collect()
}

/// Counts of the property `stats`: frames, inferred, skipped, late.
pub fn counts(element: &gst::Element) -> [u64; 4] {
    let stats = element.property::<gst::Structure>("stats");
    ["frames", "inferred", "skipped", "late"].map(|field| stats.get(field).unwrap())
}

/// The frame with other rows and planes: junk before, between and behind them.
pub fn padded(buffer: &gst::BufferRef, info: &gst_video::VideoInfo) -> gst::Buffer {
    let (mut offsets, mut strides, mut end) = (Vec::new(), Vec::new(), 16);
    for plane in 0..info.n_planes() {
        let stride = info.stride()[plane as usize] + 10 + 4 * plane as i32;
        offsets.push(end);
        strides.push(stride);
        end += stride as usize * info.comp_height(plane as u8) as usize + 6;
    }
    let mut padded = gst::Buffer::from_mut_slice(vec![0xa5u8; end]);
    let frame = padded.get_mut().unwrap();
    let (flags, format) = (gst_video::VideoFrameFlags::empty(), info.format());
    gst_video::VideoMeta::add_full(frame, flags, format, info.width(), info.height(), &offsets, &strides).unwrap();
    let from = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info).unwrap();
    let mut to = gst_video::VideoFrameRef::from_buffer_ref_writable(frame, info).unwrap();
    from.copy(&mut to).unwrap();
    drop(to);
    let times = gst::BufferCopyFlags::TIMESTAMPS;
    buffer.copy_into(frame, times, ..).unwrap();
    padded
}

/// The buffer with one more flag.
pub fn flagged(mut buffer: gst::Buffer, flag: gst::BufferFlags) -> gst::Buffer {
    buffer.get_mut().unwrap().set_flags(flag);
    buffer
}

/// Runs a pipeline to its end or to its first error; the errors that it posts.
pub fn errors(launch: &str) -> Vec<gst::glib::Error> {
    let pipeline = gst::parse::launch(launch).unwrap();
    let bus = pipeline.bus().unwrap();
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let _ = pipeline.set_state(gst::State::Playing);
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(20), &kinds);
    let end = end.unwrap_or_else(|| panic!("`{launch}` does not end"));
    // Not to NULL, where the bus is emptied. After an error on the way up, this may give back that failure.
    let _ = pipeline.set_state(gst::State::Ready);
    let rest = std::iter::from_fn(|| bus.pop_filtered(&kinds));
    let errors = std::iter::once(end)
        .chain(rest)
        .filter_map(|message| match message.view() {
            gst::MessageView::Error(error) => Some(error.error()),
            _ => None,
        });
    let errors = errors.collect();
    pipeline.set_state(gst::State::Null).unwrap();
    errors
}

/// Runs a pipeline to its end; the error is the first that it posts.
pub fn play(launch: &str) -> Result<(), gst::glib::Error> {
    errors(launch).into_iter().next().map_or(Ok(()), Err)
}

//! What whole frames cost beside their network, 1920x1080: `cargo bench --bench frames`.

use std::time::Instant;

use gst_candle::exec::{Options, Session};
use gst_candle::graph::Array;
use gst_candle::model::{AnomalyCalibration, Calibration, Color, MapKind, Model, Scoring, Task, Training};
use gst_candle::nets::{self, NetOptions};
use gst_candle::pixels::{Colorimetry, Frame, FrameMut, PixelFormat};
use gst_candle::tasks::{AnomalyDetector, Denoiser};

const SIZE: [usize; 2] = [1920, 1080];

fn model(task: Task, arch: &str, color: Color) -> gst_candle::Result<Model> {
    let options = NetOptions {
        color: Some(color),
        ..NetOptions::default()
    };
    let net = nets::build(task, arch, &options)?;
    let weights = nets::init(&net, 1)?;
    let scoring = Scoring {
        map: MapKind::Msgms,
        smooth: 11,
        pool: 1,
        context: 1,
    };
    let calibration = AnomalyCalibration {
        threshold: 0.5,
        pixel_threshold: 0.5,
        ..scoring.uncalibrated()
    };
    Ok(Model {
        task,
        graph: net.graph,
        input: net.input,
        labels: Vec::new(),
        calibration: (task == Task::Anomaly).then_some(Calibration::Anomaly(calibration)),
        training: Training::default(),
        weights,
    })
}

/// Medians of two kinds of work done by turns, in milliseconds.
fn by_turns(mut a: impl FnMut(), mut b: impl FnMut()) -> [f64; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..9 {
        let begun = Instant::now();
        a();
        times[0].push(begun.elapsed().as_secs_f64() * 1e3);
        let begun = Instant::now();
        b();
        times[1].push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}

fn zeros(shape: &[usize]) -> Array {
    Array {
        shape: shape.to_vec(),
        data: vec![0.5; shape.iter().product()],
    }
}

/// Planes of a frame of `format`, and their strides.
fn planes(format: PixelFormat) -> (Vec<Vec<u8>>, Vec<usize>) {
    let size = |plane| format.plane_size(plane, SIZE[0], SIZE[1]);
    let plane = |plane| {
        let [bytes, rows] = size(plane);
        (0..bytes * rows).map(|i| (i * 7919 % 251) as u8).collect()
    };
    let all = 0..format.planes();
    (
        all.clone().map(plane).collect(),
        all.map(|plane| size(plane)[0]).collect(),
    )
}

/// A frame of these planes.
fn lend<'a>(format: PixelFormat, planes: &'a [Vec<u8>], strides: &[usize]) -> Frame<'a> {
    let planes = planes.iter().map(Vec::as_slice).collect();
    let frame = Frame::new(
        format,
        SIZE[0],
        SIZE[1],
        planes,
        strides.to_vec(),
        Colorimetry::default(),
    );
    frame.expect("planes fit")
}

fn main() -> gst_candle::Result<()> {
    println!("1920x1080           network   frame   share of network");
    let options = Options::default();
    let [width, height] = SIZE;
    let formats = [PixelFormat::Gray8, PixelFormat::I420, PixelFormat::Rgb];
    for (color, format) in formats
        .map(|format| (Color::Gray, format))
        .into_iter()
        .chain([(Color::Rgb, PixelFormat::Rgb), (Color::Rgb, PixelFormat::I420)])
    {
        let model = model(Task::Denoise, "fast", color)?;
        let (mut denoiser, session) = (Denoiser::new(&model, &options)?, Session::new(&model, &options)?);
        let (input, strides) = planes(format);
        let mut output = input.clone();
        // The network's runs for one frame: a grey network runs on each component at its own size.
        let sizes: Vec<[usize; 2]> = match color {
            Color::Gray => (0..format.components())
                .map(|c| format.component_size(c, width, height))
                .collect(),
            Color::Rgb => vec![SIZE],
        };
        let runs: Vec<Vec<Array>> = sizes
            .iter()
            .map(|[w, h]| model.input_shapes(*w, *h).iter().map(|shape| zeros(shape)).collect())
            .collect();
        let mut outputs = Vec::new();
        let [network, frame] = by_turns(
            || {
                runs.iter()
                    .for_each(|inputs| session.run_into(inputs, &mut outputs).expect("the network runs"))
            },
            || {
                let frame = lend(format, &input, &strides);
                let out = FrameMut::new(
                    format,
                    width,
                    height,
                    output.iter_mut().map(Vec::as_mut_slice).collect(),
                    strides.clone(),
                    Colorimetry::default(),
                );
                denoiser
                    .process(&frame, &mut out.expect("planes fit"), None, 1.0)
                    .expect("the frame is denoised");
            },
        );
        println!(
            "fast {color:?} on {:8} {network:8.1} {frame:7.1} {:8.3}",
            format.name(),
            frame / network
        );
    }
    for format in [PixelFormat::Rgb, PixelFormat::I420] {
        let model = model(Task::Anomaly, "fair", Color::Rgb)?;
        let (mut detector, session) = (AnomalyDetector::new(&model, &options)?, Session::new(&model, &options)?);
        let (input, strides) = planes(format);
        let inputs: Vec<Array> = model
            .input_shapes(width, height)
            .iter()
            .map(|_| zeros(&[1, 3, 256, 256]))
            .collect();
        let mut outputs = Vec::new();
        let [network, frame] = by_turns(
            || session.run_into(&inputs, &mut outputs).expect("the network runs"),
            || {
                let frame = lend(format, &input, &strides);
                detector
                    .inspect_frame(&frame, [0, 0, width, height])
                    .expect("the frame is inspected");
            },
        );
        println!(
            "fair Rgb on {:8}  {network:8.1} {frame:7.1} {:8.3}",
            format.name(),
            frame / network
        );
    }
    Ok(())
}

//! What every shipped denoiser keeps to.

use std::path::{Path, PathBuf};

use gst_candle::data::noise::add_gaussian;
use gst_candle::data::random::stream;
use gst_candle::exec::Options;
use gst_candle::model::{Color, ExtraInput, Model, Task};
use gst_candle::nets::{self, NetOptions};
use gst_candle::pixels::Image;
use gst_candle::score::metrics::psnr;
use gst_candle::tasks::Denoiser;

/// The denoisers, by name.
fn denoisers() -> Vec<(String, Model)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let name = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    let mut models: Vec<(String, Model)> = files
        .filter(|path| path.extension().is_some_and(|end| end == "safetensors"))
        .filter(|path| name(path).starts_with("denoise-"))
        .map(|path| (name(&path), Model::load(&path).unwrap()))
        .collect();
    models.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(models.len() >= 7, "{} denoisers are shipped", models.len());
    models
}

fn picture(color: Color, value: impl Fn(usize, usize, usize) -> f32) -> Image {
    let (channels, height, width) = (color.channels(), 96, 128);
    let at = |i: usize| value(i % width, i / width % height, i / width / height);
    let code = |value: f32| (255.0 * value).round() / 255.0;
    Image {
        channels,
        height,
        width,
        data: (0..channels * width * height).map(|i| code(at(i))).collect(),
    }
}

/// Whether it was trained on white noise, and changes no value by more than some noise levels.
fn has_limit(model: &Model) -> bool {
    let limited = |extra: &ExtraInput| matches!(extra, ExtraInput::NoiseLevel { limit: Some(_), .. });
    model.input.extra.iter().any(limited)
}

/// `--from` goes on with a shipped model only where its network is still what `--arch` makes.
#[test]
fn a_shipped_network_is_what_its_options_make() {
    for (name, model) in denoisers() {
        let card = model.training.arch.clone();
        let mut words = card.split(' ');
        let arch = words.next().unwrap();
        let option = |key: &str| words.clone().find_map(|word| word.strip_prefix(key)?.parse().ok());
        let options = NetOptions {
            width: option("width="),
            depth: option("depth="),
            color: Some(model.input.color),
            ..Default::default()
        };
        let net = nets::build(Task::Denoise, arch, &options).unwrap();
        assert_eq!(net.graph.nodes, model.graph.nodes, "{name}: {card}");
    }
}

/// With the level estimated, nothing is added to a frame without noise: their limit sees to it. That for cameras has none, and adds little.
#[test]
fn a_flat_frame_stays_flat() {
    for (name, model) in denoisers() {
        let most = match name.as_str() {
            "denoise-testsrc" => continue, // it knows the test source's greys only
            "denoise-camera-rgb" => 4.0,
            _ => 0.01,
        };
        let mut denoiser = Denoiser::new(&model, &Options::default()).unwrap();
        for grey in [0.05, 0.3, 0.5, 0.7, 0.95] {
            let flat = picture(model.input.color, |_, _, _| grey);
            for frame in 0..3 {
                let clean = denoiser.denoise(&flat, None).unwrap().0;
                let changes = clean.data.iter().zip(&flat.data).map(|(a, b)| 255.0 * (a - b).abs());
                let worst = changes.fold(0.0, f32::max);
                assert!(worst < most, "{name}, {grey}, frame {frame}: {worst} of 255");
            }
        }
    }
}

/// A flat frame's grey stays what it was, and its noise goes.
#[test]
fn noise_goes_and_leaves_no_cast() {
    const NOISE: f32 = 15.0 / 255.0;
    println!("seed 1");
    for (name, model) in denoisers().into_iter().filter(|(_, model)| has_limit(model)) {
        let mut denoiser = Denoiser::new(&model, &Options::default()).unwrap();
        for grey in [0.05, 0.3, 0.5, 0.7, 0.95] {
            denoiser.reset();
            let flat = picture(model.input.color, |_, _, _| grey);
            for frame in 0..3 {
                let mut noisy = flat.clone();
                add_gaussian(&mut noisy, NOISE, &mut stream(1, frame, 0));
                let clean = denoiser.denoise(&noisy, None).unwrap().0;
                let area = clean.width * clean.height;
                for (planes, before) in clean.data.chunks(area).zip(flat.data.chunks(area)) {
                    let errors = planes.iter().zip(before).map(|(a, b)| 255.0 * (a - b));
                    let cast = errors.sum::<f32>() / area as f32;
                    assert!(
                        cast.abs() < 2.0,
                        "{name}, {grey}, frame {frame}: a cast of {cast} of 255"
                    );
                }
                let decibels = psnr(&clean, &flat);
                assert!(decibels > 38.0, "{name}, {grey}, frame {frame}: {decibels} dB");
            }
        }
    }
}

#[test]
fn a_clean_frame_passes() {
    for (name, model) in denoisers().into_iter().filter(|(name, _)| name != "denoise-testsrc") {
        let mut denoiser = Denoiser::new(&model, &Options::default()).unwrap();
        let scene = picture(model.input.color, |x, y, channel| {
            let (x, y) = (x as f32, y as f32);
            let thread = if x > 64.0 {
                0.04 * (1.3 * x + 0.9 * y).sin()
            } else {
                0.0
            };
            let edge = if (x - 40.0).hypot(y - 50.0) < 25.0 { 0.25 } else { 0.0 };
            0.4 + 0.1 * channel as f32 + 0.1 * (x / 30.0).sin() + 0.08 * (y / 17.0).cos() + thread + edge
        });
        let (clean, level) = denoiser.denoise(&scene, None).unwrap();
        let decibels = psnr(&clean, &scene);
        assert!(decibels > 45.0, "{name}: {decibels} dB, noise estimated at {level}");
    }
}

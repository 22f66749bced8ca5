//! Ways to learn to denoise, beside clean pictures.

use std::process::Output;

use gst_candle::data::noise::{NAMES, add_gaussian};
use gst_candle::data::random::stream;
use gst_candle::model::Color;
use gst_candle::pixels::Image;
use serde_json::Value;

use super::{Folder, assert_same, figures, part, parts, run, write};

/// Runs a command line, without the program's name; no word of it has a space.
fn run_line(line: &str) -> Output {
    run(&line.split_whitespace().collect::<Vec<_>>())
}

/// Runs it and returns what it said on standard error.
fn succeed(line: &str) -> String {
    let output = run_line(line);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {said}");
    said
}

/// Runs it and expects an error with these words in it.
fn assert_refused(line: &str, words: &[&str]) {
    let output = run_line(line);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{line}: {said}");
    assert!(words.iter().all(|word| said.contains(word)), "{line}: {said}");
}

fn figure(line: &str, key: &str) -> f64 {
    value(&figures(&line.split_whitespace().collect::<Vec<_>>()), key)
}

fn value(figures: &Value, key: &str) -> f64 {
    figures[key].as_f64().unwrap_or_else(|| panic!("{key} in {figures}"))
}

/// Something to see everywhere.
fn scene() -> Image {
    let mut image = part(0, 256, 256, false);
    for (i, value) in image.data.iter_mut().enumerate() {
        let (x, y) = ((i % 256) as f32, (i / 256) as f32);
        *value = 0.3 + 0.3 * *value + 0.25 * (x * 0.21).sin() * (y * 0.17 + x * 0.05).sin();
    }
    image
}

/// That before a camera, each frame with white noise of deviation `sigma` of full scale; it jumps from frame to frame where it `moves`.
fn noisy_frames(folder: &Folder, name: &str, count: u64, moves: bool, sigma: f32) {
    let scene = scene();
    for number in 0..count {
        let at = if moves { number as usize * 29 % 128 } else { 64 };
        let mut frame = scene.crop(at, 128 - at, 128, 128);
        add_gaussian(&mut frame, sigma, &mut stream(8, number, 0));
        write(&folder.path(&format!("{name}/{number:03}.png")), &frame);
    }
}

/// Both ways to learn from noisy frames alone come near the clean picture, and the estimate of how near is true.
#[test]
fn noisy_frames_alone_are_enough() {
    let folder = Folder::new();
    write(&folder.path("clean/a.png"), &scene().crop(64, 64, 128, 128));
    let clean = folder.text("clean");
    for (name, moves, way) in [("still", false, "in time"), ("single", true, "Neighbor2Neighbor")] {
        noisy_frames(&folder, name, 12, moves, 0.08);
        let (data, model) = (folder.text(name), folder.text(&format!("{name}.safetensors")));
        let train = "--noisy-only --arch micro --steps 250 --batch 4 --patch 32";
        let said = succeed(&format!("train denoise {data} {train} -o {model}"));
        assert!(said.contains(way), "{said}");
        let psnr = figure(&format!("eval {model} {clean} --sigma 20.4"), "psnr");
        assert!(psnr > 21.9 + 3.0, "{name}: {psnr}");
        let card = figures(&["info", &model]);
        assert!(card["input"]["extra"][0]["limit"].is_null(), "{card}");
        let estimated = value(&card["training"]["metrics"], "val_psnr_estimated");
        assert!(
            (estimated - psnr).abs() < 2.0,
            "{name}: {estimated} estimated, {psnr} true"
        );
    }
    let (still, out) = (folder.text("still"), folder.text("x.safetensors"));
    assert_refused(
        &format!("train denoise {still} --noisy-only --sigma 5 -o {out}"),
        &["--noisy-only", "--sigma"],
    );
}

#[test]
fn a_recurrent_network_gains_by_what_it_saw_before() {
    let folder = Folder::new();
    for number in 0..3 {
        // Grain that nothing but another look tells from noise.
        let mut scene = scene().crop(60 * number, 40, 96, 96);
        add_gaussian(&mut scene, 0.1, &mut stream(6, number as u64, 0));
        write(&folder.path(&format!("clean/{number:03}.png")), &scene);
    }
    let (data, picture) = (folder.text("clean"), folder.text("clean/001.png"));
    let [a, b] = ["a.safetensors", "b.safetensors"];
    for model in [a, b] {
        let train = "--arch recurrent --width 16 --depth 4 --sigma 25 --steps 500 --patch 32 --clip-frames 6";
        succeed(&format!("train denoise {data} {train} -o {}", folder.text(model)));
    }
    assert_same(&folder.path(a), &folder.path(b));
    let eval = format!("eval {} {picture} --sigma 25", folder.text(a));
    let (first, later) = (figure(&eval, "psnr"), figure(&format!("{eval} --repeat 12"), "psnr"));
    assert!(
        later > first + 0.3,
        "{first} dB at first, {later} dB of a scene that stands still"
    );
    assert_refused(
        &format!(
            "train denoise {data} --arch recurrent --noisy-only -o {}",
            folder.text(a)
        ),
        &["recurrent", "--noisy-only"],
    );
    assert_refused(
        &format!("train denoise {data} --arch fast --clip-frames 4 -o {}", folder.text(a)),
        &["--clip-frames", "recurrent"],
    );
}

#[test]
fn a_run_begins_with_another_models_weights_or_learns_from_it() {
    let folder = Folder::new();
    parts(&folder.path("clean"), 3, [48, 48]);
    let (data, first) = (folder.text("clean"), folder.text("first.safetensors"));
    let train = |more: &str, name: &str| {
        let model = folder.text(name);
        format!("train denoise {data} --batch 4 --patch 32 --sigma 25 {more} -o {model}")
    };
    let psnr = |name: &str| figure(&format!("eval {} {data} --sigma 25", folder.text(name)), "psnr");
    succeed(&train("--arch micro --steps 150", "first.safetensors"));
    // With so small a rate nothing is learned: what it can it has from the first.
    succeed(&train(
        &format!("--arch micro --steps 2 --lr 1e-9 --from {first}"),
        "second.safetensors",
    ));
    assert!((psnr("first.safetensors") - psnr("second.safetensors")).abs() < 0.01);
    let refused = |more: &str, words: &[&str]| assert_refused(&train(more, "x.safetensors"), words);
    refused(&format!("--arch fast --from {first}"), &["first.safetensors", "--arch"]);
    succeed(&train(
        &format!("--arch micro --width 16 --steps 150 --teacher {first}"),
        "taught.safetensors",
    ));
    assert!(psnr("taught.safetensors") > 20.17 + 3.0);
    refused(
        &format!("--arch micro --color rgb --teacher {first}"),
        &["first.safetensors", "--color"],
    );
}

#[test]
fn a_budget_chooses_the_width() {
    let folder = Folder::new();
    parts(&folder.path("clean"), 3, [48, 48]);
    let (data, model) = (folder.text("clean"), folder.text("m.safetensors"));
    let train = format!("train denoise {data} --arch micro --steps 1 --batch 1 -o {model}");
    let said = succeed(&format!("{train} --budget 100000 --budget-size 32x32"));
    assert!(said.contains("--width 192: a frame of 32x32 takes"), "{said}");
    assert_eq!(figures(&["info", &model])["training"]["arch"], "micro width=192");
    assert_refused(
        &format!("{train} --budget 0.1 --budget-size 1920x1080"),
        &["--budget 0.1: with 8 channels"],
    );
}

#[test]
fn every_kind_of_noise_is_learned_from() {
    let folder = Folder::new();
    write(
        &folder.path("clean/a.png"),
        &part(1, 48, 48, false).to_color(Color::Rgb),
    );
    let (data, model) = (folder.text("clean"), folder.text("m.safetensors"));
    for (noise, _) in NAMES {
        for color in ["gray", "rgb"] {
            let net = format!("--arch micro --width 4 --color {color}");
            succeed(&format!(
                "train denoise {data} {net} --noise {noise} --steps 2 --batch 4 --patch 32 -o {model}"
            ));
            let level = &figures(&["info", &model])["input"]["extra"][0];
            assert_eq!(level["kind"], "noise_level");
            assert_eq!(level["limit"].as_u64(), (noise == "white").then_some(4), "{noise}");
        }
    }
    assert_refused(
        &format!("train denoise {data} --noise pink -o {model}"),
        &["`pink`", "correlated"],
    );
}

#[test]
fn luma_and_chroma_are_learned_as_they_are() {
    let folder = Folder::new();
    for number in 0..3 {
        let mut picture = part(number, 48, 48, false).to_color(Color::Rgb);
        picture.plane_mut(0).iter_mut().for_each(|x| *x *= 0.7);
        write(&folder.path(&format!("clean/{number}.png")), &picture);
    }
    let (data, model) = (folder.text("clean"), folder.text("m.safetensors"));
    let train = format!("train denoise {data} --yuv420 --batch 4 --patch 32 --sigma 25");
    succeed(&format!("{train} --arch micro --steps 200 -o {model}"));
    assert_eq!(figures(&["info", &model])["training"]["arch"], "micro yuv420");
    let psnr = figure(&format!("eval {model} {data} --sigma 25"), "psnr");
    assert!(psnr > 20.17 + 3.0, "{psnr}");
    // And of video, remembering both.
    let recurrent = "--arch recurrent --width 16 --depth 4 --steps 200 --clip-frames 4";
    succeed(&format!("{train} {recurrent} -o {model}"));
    let eval = format!("eval {model} {} --sigma 25", folder.text("clean/0.png"));
    let (first, later) = (figure(&eval, "psnr"), figure(&format!("{eval} --repeat 12"), "psnr"));
    assert!(first > 20.17 + 3.0 && later > first, "{first}, {later}");
    assert_refused(&format!("{train} --arch dncnn -o {model}"), &["dncnn", "yuv420"]);
}

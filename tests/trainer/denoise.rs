//! Ways to learn to denoise, beside clean pictures.

use gst_candle::data::noise::add_gaussian;
use gst_candle::data::random::stream;
use serde_json::Value;

use super::errors::assert_fails;
use super::{Folder, assert_same, figures, part, parts, run, succeed, write};

/// A part before a camera that stands still, each frame with white noise of deviation `sigma` of full scale.
fn noisy_frames(folder: &Folder, name: &str, count: u64, moves: bool, sigma: f32) {
    for number in 0..count {
        let mut frame = part(if moves { number } else { 0 }, 64, 64, false);
        add_gaussian(&mut frame, sigma, &mut stream(8, number, 0));
        write(&folder.path(&format!("{name}/{number:03}.png")), &frame);
    }
}

fn value(figures: &Value, key: &str) -> f64 {
    figures[key].as_f64().unwrap_or_else(|| panic!("{key} in {figures}"))
}

/// Both ways to learn from noisy frames alone come near the clean picture, and the estimate of how near is true.
#[test]
fn noisy_frames_alone_are_enough() {
    let folder = Folder::new();
    parts(&folder.path("clean"), 4, [64, 64]);
    for (name, moves, said) in [("still", false, "in time"), ("single", true, "Neighbor2Neighbor")] {
        noisy_frames(&folder, name, 12, moves, 0.08);
        let (data, model) = (folder.text(name), folder.text(&format!("{name}.safetensors")));
        let arguments = [
            "train",
            "denoise",
            &data,
            "--noisy-only",
            "--arch",
            "micro",
            "--steps",
            "200",
            "--batch",
            "4",
            "--patch",
            "32",
            "-o",
            &model,
        ];
        let output = run(&arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && errors.contains(said), "{errors}");
        let judged = figures(&["eval", &model, &folder.text("clean"), "--sigma", "20"]);
        let (psnr, noisy) = (value(&judged, "psnr"), value(&judged, "psnr_noisy"));
        assert!(psnr > noisy + 3.0, "{name}: {judged}");
        let card = figures(&["info", &model]);
        let estimated = value(&card["training"]["metrics"], "val_psnr_estimated");
        assert!(
            (estimated - psnr).abs() < 2.0,
            "{name}: {estimated} estimated, {psnr} true"
        );
    }
    assert_fails(
        &run(&[
            "train",
            "denoise",
            &folder.text("still"),
            "--noisy-only",
            "--sigma",
            "5",
            "-o",
            &folder.text("x.safetensors"),
        ]),
        &["--noisy-only", "--sigma"],
    );
}

#[test]
fn a_recurrent_network_gains_by_what_it_saw_before() {
    let folder = Folder::new();
    parts(&folder.path("clean"), 4, [64, 64]);
    let data = folder.text("clean");
    let train = [
        "train",
        "denoise",
        &data,
        "--arch",
        "recurrent",
        "--width",
        "16",
        "--depth",
        "4",
        "--sigma",
        "25",
    ];
    let length = ["--steps", "250", "--patch", "32", "--clip-frames", "6"];
    let model = folder.text("a.safetensors");
    succeed(&[&train[..], &length, &["-o", &model]].concat());
    succeed(&[&train[..], &length, &["-o", &folder.text("b.safetensors")]].concat());
    assert_same(&folder.path("a.safetensors"), &folder.path("b.safetensors"));
    let psnr = |more: &[&str]| {
        value(
            &figures(&[&["eval", &model, &data, "--sigma", "25"], more].concat()),
            "psnr",
        )
    };
    let (first, later) = (psnr(&["--repeat", "1"]), psnr(&["--repeat", "12"]));
    assert!(
        later > first + 1.0,
        "{first} dB at first, {later} dB of a scene that stands still"
    );
    assert_fails(
        &run(&[
            "train",
            "denoise",
            &data,
            "--arch",
            "recurrent",
            "--noisy-only",
            "-o",
            &model,
        ]),
        &["recurrent", "--noisy-only"],
    );
}

#[test]
fn a_run_begins_with_another_models_weights() {
    let folder = Folder::new();
    parts(&folder.path("clean"), 3, [48, 48]);
    let (data, first) = (folder.text("clean"), folder.text("first.safetensors"));
    let train = |arch: &str, more: &[&str], output: &str| {
        let own = [
            "train", "denoise", &data, "--arch", arch, "--batch", "4", "--patch", "32", "--sigma", "25",
        ];
        [&own[..], more, &["-o", output]]
            .concat()
            .iter()
            .map(|s| s.to_string())
            .collect::<Vec<_>>()
    };
    let attempt = |arguments: Vec<String>| run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let run_it = |arguments: Vec<String>| succeed(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    run_it(train("micro", &["--steps", "150"], &first));
    let second = folder.text("second.safetensors");
    // With so small a rate nothing is learned: what it can it has from the first.
    run_it(train(
        "micro",
        &["--steps", "2", "--lr", "1e-9", "--from", &first],
        &second,
    ));
    let psnr = |model: &str| value(&figures(&["eval", model, &data, "--sigma", "25"]), "psnr");
    assert!((psnr(&first) - psnr(&second)).abs() < 0.01);
    let other = train("fast", &["--from", &first], &second);
    assert_fails(&attempt(other), &["first.safetensors", "--arch"]);
    let taught = folder.text("taught.safetensors");
    run_it(train(
        "micro",
        &["--steps", "150", "--width", "16", "--teacher", &first],
        &taught,
    ));
    assert!(psnr(&taught) > 20.17 + 3.0);
    parts(&folder.path("color"), 2, [48, 48]);
    let wrong = train("micro", &["--color", "rgb", "--teacher", &first], &taught);
    assert_fails(&attempt(wrong), &["first.safetensors", "--color"]);
}

#[test]
fn a_budget_chooses_the_width() {
    let folder = Folder::new();
    parts(&folder.path("clean"), 3, [48, 48]);
    let (data, model) = (folder.text("clean"), folder.text("m.safetensors"));
    let train = |ms: &str, size: &str| {
        run(&[
            "train",
            "denoise",
            &data,
            "--arch",
            "micro",
            "--steps",
            "1",
            "--batch",
            "1",
            "--budget",
            ms,
            "--budget-size",
            size,
            "-o",
            &model,
        ])
    };
    let output = train("100000", "32x32");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.contains("--width 192: a frame of 32x32 takes"),
        "{errors}"
    );
    assert_eq!(figures(&["info", &model])["training"]["arch"], "micro width=192");
    let output = train("0.1", "1920x1080");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && errors.contains("--budget 0.1: with 8 channels"),
        "{errors}"
    );
}

#[test]
fn every_kind_of_noise_is_learned_from() {
    let folder = Folder::new();
    write(
        &folder.path("clean/a.png"),
        &part(1, 48, 48, false).to_color(gst_candle::model::Color::Rgb),
    );
    let data = folder.text("clean");
    for (noise, _) in gst_candle::data::noise::NAMES {
        for color in ["gray", "rgb"] {
            let model = folder.text(&format!("{noise}.safetensors"));
            succeed(&[
                "train", "denoise", &data, "--arch", "micro", "--width", "4", "--color", color, "--noise", noise,
                "--steps", "2", "--batch", "4", "--patch", "32", "-o", &model,
            ]);
        }
    }
    assert_fails(
        &run(&[
            "train",
            "denoise",
            &data,
            "--noise",
            "pink",
            "-o",
            &folder.text("x.safetensors"),
        ]),
        &["pink", "correlated"],
    );
}

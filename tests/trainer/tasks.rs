//! Denoising from pictures to figures, and what all tasks share.

use gst_candle::kernels::Tiles;

use super::{Folder, assert_same, figures, gst_candle, part, parts, run, succeed, write};

/// In bf16 by loops, so that it runs on any CPU.
#[test]
fn training_in_bf16_learns_as_much() {
    let folder = Folder::new();
    parts(&folder.path("clean"), 5, [70, 50]);
    let data = folder.text("clean");
    let train = |name: &str, precision: &str| {
        let model = folder.text(name);
        #[rustfmt::skip]
        let arguments = ["train", "denoise", &data, "--arch", "micro", "--steps", "150", "--batch", "4", "--patch", "32", "--sigma", "25", "--precision", precision, "-o", &model];
        let output = gst_candle(&arguments)
            .env("GST_CANDLE_BF16", "emulated")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let judged = figures(&["eval", &model, &data, "--sigma", "25", "--precision", "f32"]);
        ["psnr", "psnr_noisy"].map(|key| judged[key].as_f64().unwrap())
    };
    let ([exact, noisy], [rounded, _]) = (train("a.safetensors", "f32"), train("b.safetensors", "bf16"));
    assert!(
        exact > noisy + 2.0 && (exact - rounded).abs() < 0.3,
        "{noisy} to {exact}, or {rounded} in bf16"
    );
    let same =
        std::fs::read(folder.path("a.safetensors")).unwrap() == std::fs::read(folder.path("b.safetensors")).unwrap();
    assert!(!same, "bf16 rounds");
}

#[test]
fn denoise_learns_and_repeats_itself() {
    let folder = Folder::new();
    parts(&folder.path("clean"), 5, [70, 50]);
    // Mixed sizes, one of them smaller than a patch.
    write(&folder.path("clean/small.png"), &part(9, 20, 90, false));
    let (data, model) = (folder.text("clean"), folder.text("a.safetensors"));
    let train = [
        "train", "denoise", &data, "--arch", "micro", "--steps", "150", "--batch", "8", "--patch", "32",
    ];
    succeed(
        &[
            &train[..],
            &[
                "--sigma",
                "25",
                "-o",
                &model,
                "--log",
                &folder.text("log"),
                "--license",
                "CC0",
            ],
        ]
        .concat(),
    );
    succeed(
        &[
            &train[..],
            &["--sigma", "25", "-o", &folder.text("b.safetensors"), "--license", "CC0"],
        ]
        .concat(),
    );
    assert_same(&folder.path("a.safetensors"), &folder.path("b.safetensors"));

    let judged = figures(&["eval", &model, &data, "--sigma", "25"]);
    let value = |key: &str| judged[key].as_f64().unwrap_or_else(|| panic!("{key} in {judged}"));
    assert_eq!(judged["images"], 6);
    assert!(
        (value("psnr_noisy") - 20.17).abs() < 0.5,
        "sigma 25 is 20.17 dB: {judged}"
    );
    assert!(value("psnr") > value("psnr_noisy") + 3.0, "{judged}");
    assert!(
        value("ssim") > 0.3 && value("ssim") < 1.0 && value("seconds") > 0.0,
        "{judged}"
    );

    let log = std::fs::read_to_string(folder.path("log/train.csv")).unwrap();
    assert!(
        log.starts_with("step,loss,") && log.lines().count() > 100 && log.contains("val_psnr"),
        "{log}"
    );

    succeed(&["run", &model, &data, "-o", &folder.text("out")]);
    assert_eq!(folder.names("out").len(), 6);
    let size = |p: &str| {
        let image = gst_candle::data::pictures::read(&folder.path(p)).unwrap();
        (image.width, image.height)
    };
    assert_eq!(size("out/small.png"), (20, 90));

    let card = figures(&["info", &model]);
    assert_eq!(
        (&card["task"], &card["training"]["steps"]),
        (&"denoise".into(), &150.into())
    );
    assert_eq!(card["training"]["license"], "CC0");
    assert!(
        !card["training"]["command"].as_str().unwrap().contains(&model),
        "where it goes is not part of it: {card}"
    );
    assert!(succeed(&["info", &model]).contains("training.date"));
    assert_eq!(
        folder.names(""),
        ["a.safetensors", "b.safetensors", "clean", "log", "out"],
        "no checkpoint is left"
    );
}

#[test]
fn denoise_takes_pairs() {
    let folder = Folder::new();
    for number in 0..4 {
        let mut noisy = part(number, 48, 48, false);
        write(&folder.path(&format!("pairs/clean/{number}.png")), &noisy);
        let mut rng = gst_candle::data::random::stream(5, number, 0);
        gst_candle::data::noise::add_gaussian(&mut noisy, 0.1, &mut rng);
        write(&folder.path(&format!("pairs/noisy/{number}.png")), &noisy);
    }
    let (data, model) = (folder.text("pairs"), folder.text("m.safetensors"));
    succeed(&[
        "train", "denoise", &data, "--arch", "micro", "--epochs", "2", "--batch", "4", "--patch", "32", "-o", &model,
    ]);
    assert!(figures(&["info", &model])["input"]["extra"][0]["limit"].is_null());
    let by_layout = figures(&["eval", &model, &data]);
    let (noisy, clean) = (folder.text("pairs/noisy"), folder.text("pairs/clean"));
    let by_options = figures(&["eval", &model, "--noisy", &noisy, "--clean", &clean]);
    assert_eq!(by_layout["psnr"], by_options["psnr"]);
    assert!(by_layout["psnr_noisy"].as_f64().unwrap() > 15.0, "{by_layout}");
}

#[test]
fn minutes_become_steps_that_can_be_repeated() {
    let folder = Folder::new();
    parts(&folder.path("clean"), 3, [40, 40]);
    let (data, model) = (folder.text("clean"), folder.text("a.safetensors"));
    let train = [
        "train", "denoise", &data, "--arch", "micro", "--batch", "2", "--patch", "16", "-o",
    ];
    let output = run(&[&train[..], &[&model, "--minutes", "0.03"]].concat());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    let steps = text
        .split("--steps ")
        .nth(1)
        .expect("it says how many steps")
        .split_whitespace()
        .next()
        .unwrap();
    succeed(&[&train[..], &[&folder.text("b.safetensors"), "--steps", steps]].concat());
    let weights = |name: &str| gst_candle::model::Model::load(folder.path(name)).unwrap().weights;
    assert_eq!(weights("a.safetensors"), weights("b.safetensors"));
    let output = run(&[&train[..], &[&model, "--minutes", "0.001"]].concat());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("warning: so few steps"), "{text}");
}

#[test]
fn bench_gives_its_figures() {
    let folder = Folder::new();
    parts(&folder.path("clean"), 2, [40, 40]);
    let (data, model) = (folder.text("clean"), folder.text("m.safetensors"));
    succeed(&[
        "train", "denoise", &data, "--arch", "micro", "--steps", "1", "--batch", "1", "--patch", "16", "-o", &model,
    ]);
    let found = figures(&["bench", &model, "--size", "33x30", "--threads", "1"]);
    for key in ["ms", "gflops", "peak_share"] {
        assert!(found[key].as_f64().unwrap() > 0.0, "{found}");
    }
    assert_eq!((&found["threads"], &found["width"]), (&1.into(), &34.into()));
    // By itself it is in bf16 where the CPU is made for it and the model loses next to nothing.
    let lost = figures(&["info", &model])["training"]["metrics"]["bf16_psnr_loss"].as_f64();
    let in_bf16 = Tiles::find() == Some(Tiles::Amx) && lost.unwrap() <= 0.02;
    assert_eq!(found["precision"], if in_bf16 { "bf16" } else { "f32" }, "{found}");
    let found = figures(&["bench", &model, "--size", "33x30", "--precision", "f32"]);
    assert!(found["precision"] == "f32" && found["isa"] != "amx", "{found}");
}

#[test]
fn help_is_there_for_every_command() {
    for command in [
        "train",
        "eval",
        "calibrate",
        "run",
        "info",
        "bench",
        "teach",
        "embed",
        "suggest",
        "check",
    ] {
        assert!(succeed(&[command, "--help"]).contains("Usage: gst-candle"), "{command}");
    }
    assert!(succeed(&["train", "anomaly", "--help"]).contains("Example"));
    assert_eq!(gst_candle(&[]).output().unwrap().status.code(), Some(2));
    assert_eq!(
        gst_candle(&["train", "denoise"]).output().unwrap().status.code(),
        Some(2)
    );
}

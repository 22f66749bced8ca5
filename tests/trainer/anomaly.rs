//! Anomaly detectors from pictures to figures.

use std::process::Output;

use gst_candle::pixels::Image;

use super::errors::assert_fails;
use super::{Folder, assert_same, figures, part, parts, run, succeed, write};

#[test]
fn anomaly_is_found_and_calibrated() {
    let folder = Folder::new();
    parts(&folder.path("part/train/good"), 24, [64, 64]);
    for number in 100..106 {
        write(
            &folder.path(&format!("part/test/good/{number}.png")),
            &part(number, 64, 64, false),
        );
    }
    for number in 100..108 {
        let kind = if number < 106 { "blot" } else { "stain" };
        let mut defective = part(number, 64, 64, true);
        write(&folder.path(&format!("part/test/{kind}/{number}.png")), &defective);
        defective.data.iter_mut().for_each(|x| *x = f32::from(*x > 0.9));
        let mask = folder.path(&format!("part/ground_truth/{kind}/{number}_mask.png"));
        write(&mask, &defective);
    }
    let (data, model) = (folder.text("part"), folder.text("m.safetensors"));
    let train = [
        "train", "anomaly", &data, "--width", "4", "--size", "64x64", "--steps", "40", "--batch", "4",
    ];
    succeed(&[&train[..], &["-o", &model]].concat());
    let judged = figures(&["eval", &model, &data]);
    let value = |key: &str| judged[key].as_f64().unwrap_or_else(|| panic!("{key} in {judged}"));
    assert_eq!(judged["images"], 14);
    let kinds = &judged["kinds"];
    assert_eq!(
        (&kinds["blot"]["images"], &kinds["stain"]["images"]),
        (&6.into(), &2.into())
    );
    assert!(kinds["good"].is_null(), "{kinds}");
    let missed = |kind: &str| kinds[kind]["miss_rate"].as_f64().unwrap();
    assert!(kinds["stain"]["image_auroc"].as_f64().unwrap() > 0.9, "{kinds}");
    assert!(
        (value("miss_rate") - (6.0 * missed("blot") + 2.0 * missed("stain")) / 8.0).abs() < 1e-9,
        "{judged}"
    );
    assert!(value("image_auroc") > 0.9 && value("pixel_auroc") > 0.8, "{judged}");
    for key in [
        "image_ap",
        "f1_max",
        "pixel_ap",
        "aupro",
        "false_alarm_rate",
        "false_alarm_rate_low",
        "false_alarm_rate_high",
        "miss_rate",
        "miss_rate_low",
        "miss_rate_high",
    ] {
        assert!((0.0..=1.0).contains(&value(key)), "{key} in {judged}");
    }

    let output = run(&["eval", &model, &folder.text("part/test/blot")]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.contains("all are taken as good"),
        "{said}"
    );

    let good = folder.text("part/test/good");
    let threshold = |path: &str| figures(&["info", path])["calibration"]["threshold"].as_f64().unwrap();
    let other = folder.text("other.safetensors");
    succeed(&["calibrate", &model, &good, "--false-alarm-rate", "0.4", "-o", &other]);
    assert_ne!(threshold(&model), threshold(&other));
    let calibration = &figures(&["info", &other])["calibration"];
    assert_eq!(calibration["frames"], 6);
    assert_eq!(calibration["threshold_at_rate"]["0.4"], calibration["threshold"]);
    let shift = figures(&["info", &other])["training"]["metrics"]["bf16_score_shift"].clone();
    assert!(shift.as_f64().is_some_and(|shift| shift > 0.0), "{shift}");
    let at_rate = calibration["threshold_at_rate"]["0.1"].as_f64().unwrap();
    assert!(at_rate > threshold(&other));
    let judged = figures(&["eval", &other, &data, "--false-alarm-rate", "0.1"]);
    assert_eq!(judged["threshold"].as_f64(), Some(at_rate), "{judged}");
    let lines = succeed(&["run", &other, &good, "--false-alarm-rate", "0.1", "-o", "-"]);
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            line["threshold"].as_f64().map(|t| t as f32),
            Some(at_rate as f32),
            "{line}"
        );
    }
    let output = run(&[
        "calibrate",
        &model,
        &good,
        "--false-alarm-rate",
        "0.01",
        "-o",
        &folder.text("rare.safetensors"),
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.contains("less than one in the 6 good frames") && said.contains("100 frames"),
        "{said}"
    );
    let lowered = succeed(&[
        "run",
        &folder.text("rare.safetensors"),
        &good,
        "--false-alarm-rate",
        "0.5",
        "-o",
        "-",
    ]);
    let lowered = lowered
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let flagged: Vec<_> = lowered.filter(|line| line["anomalous"] == true).collect();
    assert!(
        flagged.len() >= 3 && flagged.iter().all(|line| line["regions"][0].is_object()),
        "{flagged:?}"
    );
    succeed(&["calibrate", &model, &good, "--false-alarm-rate", "0.4"]);
    assert_eq!(threshold(&model), threshold(&other));

    succeed(&[
        "run",
        &model,
        &folder.text("part/test/blot"),
        "-o",
        &folder.text("found"),
    ]);
    let lines = std::fs::read_to_string(folder.path("found/results.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 6);
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(
        first["anomalous"],
        first["score"].as_f64() >= first["threshold"].as_f64()
    );
    assert!(
        first["normalized"]
            .as_f64()
            .is_some_and(|score| (0.5..=1.0).contains(&score)),
        "{first}"
    );
    assert_eq!(first["anomalous"], true, "{first}");
    for key in ["x", "y", "width", "height", "area", "score"] {
        assert!(first["regions"][0][key].is_number(), "{key} in {first}");
    }
    assert_eq!(folder.names("found").len(), 7);
    let picture = first["heat_map"].as_str().unwrap();
    assert!(folder.path("found").join(picture).exists(), "{first}");
    assert_eq!(succeed(&["run", &model, &good, "-o", "-"]).lines().count(), 6);
}

#[test]
fn parts_of_mixed_sizes_keep_them_and_the_run_repeats_itself() {
    let folder = Folder::new();
    parts(&folder.path("good"), 14, [48, 40]);
    for number in 14..20 {
        write(
            &folder.path(&format!("good/{number:03}.png")),
            &part(number, 36, 52, false),
        );
    }
    let (data, model) = (folder.text("good"), folder.text("m.safetensors"));
    let train = |options: &[&str], name: &str| {
        let base = [
            "train", "anomaly", &data, "--width", "2", "--steps", "3", "--batch", "2",
        ];
        run(&[&base[..], options, &["-o", &folder.text(name)]].concat())
    };
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();

    let output = train(&[], "m.safetensors");
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("architecture unet: the pictures differ in size (36x52 to 48x40)"));
    let card = figures(&["info", &model]);
    assert_eq!(
        (&card["training"]["arch"], &card["calibration"]["map"]),
        (&"unet width=2".into(), &"direct".into())
    );
    assert_eq!(card["calibration"]["context"], 101);
    assert!(card["input"]["size"].is_null(), "{card}");
    let lines = succeed(&["run", &model, &data, "-o", "-"]);
    assert_eq!(lines.lines().count(), 20);

    assert!(train(&[], "again.safetensors").status.success());
    assert_same(&folder.path("m.safetensors"), &folder.path("again.safetensors"));
    assert!(train(&["--arch", "unet"], "named.safetensors").status.success());
    let weights = |name: &str| gst_candle::model::Model::load(folder.path(name)).unwrap().weights;
    assert_eq!(weights("m.safetensors"), weights("named.safetensors"));

    assert!(train(&["--patch", "128"], "usual.safetensors").status.success());
    assert_eq!(weights("m.safetensors"), weights("usual.safetensors"));
    assert!(train(&["--patch", "64"], "small.safetensors").status.success());
    assert_ne!(weights("m.safetensors"), weights("small.safetensors"));
    assert!(train(&["--depth", "6"], "deep.safetensors").status.success());
    assert!(figures(&["info", &folder.text("deep.safetensors")])["multiply_adds_1280x768"].is_u64());

    let output = train(&["--size", "32x32"], "f.safetensors");
    assert!(said(&output).contains("architecture fair: every picture is brought to 32x32"));
    assert_eq!(
        figures(&["info", &folder.text("f.safetensors")])["training"]["arch"],
        "fair width=2"
    );
    let output = train(&["--arch", "unet", "--size", "32x32"], "u.safetensors");
    assert!(said(&output).contains("no option size"), "{}", said(&output));
    for option in [["--loss", "l1"], ["--map", "ssim"], ["--resize", "crop"]] {
        let output = train(&[&["--arch", "unet"], &option[..]].concat(), "u.safetensors");
        let words = format!("{} does nothing with unet", option[0]);
        assert!(
            !output.status.success() && said(&output).contains(&words),
            "{}",
            said(&output)
        );
    }
    assert!(!folder.path("u.safetensors").exists());
    let output = train(&["--loss", "l1"], "l.safetensors");
    assert!(said(&output).contains("architecture fair: --loss is for networks that restore pictures"));
}

#[test]
fn an_autoencoder_takes_its_options() {
    let folder = Folder::new();
    parts(&folder.path("good"), 20, [40, 30]);
    let (data, model) = (folder.text("good"), folder.text("m.safetensors"));
    let options = [
        "--arch",
        "autoencoder",
        "--code-size",
        "6",
        "--depth",
        "3",
        "--width",
        "4",
        "--loss",
        "l1",
    ];
    let rest = [
        "--map",
        "squared",
        "--size",
        "32x32",
        "--resize",
        "letterbox",
        "--steps",
        "4",
        "--batch",
        "2",
        "-o",
        &model,
    ];
    succeed(&[&["train", "anomaly", &data], &options[..], &rest[..]].concat());
    let card = figures(&["info", &model]);
    assert_eq!(card["input"]["resize"], "letterbox");
    assert_eq!(card["calibration"]["map"], "squared");
    assert!(
        card["training"]["arch"].as_str().unwrap().contains("code-size=6"),
        "{card}"
    );
}

#[test]
fn real_defects_are_learned_from_and_large_pictures_are_cut() {
    let folder = Folder::new();
    let size = [96, 64];
    parts(&folder.path("good"), 24, size);
    for (set, count, first) in [("defects", 6, 100), ("test", 8, 200)] {
        for number in first..first + count {
            let picture = part(number, size[0], size[1], true);
            let mut mask = Image::filled(1, size[1], size[0], 0.0);
            mask.data
                .iter_mut()
                .zip(&picture.data)
                .for_each(|(m, x)| *m = f32::from(*x > 0.9));
            write(&folder.path(&format!("{set}/images/{number}.png")), &picture);
            write(&folder.path(&format!("{set}/masks/{number}.png")), &mask);
        }
    }
    parts(&folder.path("more"), 8, size);
    let (good, defects) = (folder.text("good"), folder.text("defects"));
    let train = |arguments: &[&str], model: &str| {
        let common = [
            "train",
            "anomaly",
            &good,
            "--defects",
            &defects,
            "--width",
            "4",
            "--batch",
            "4",
            "-o",
            model,
        ];
        run(&[&common[..], arguments].concat())
    };
    let judge = |model: &str| {
        let judged = figures(&["eval", model, &folder.text("test"), &folder.text("more")]);
        assert_eq!(judged["images"], 16);
        [&judged["image_auroc"], &judged["pixel_auroc"]].map(|figure| figure.as_f64().unwrap())
    };
    let marking = folder.text("marking.safetensors");
    let output = train(&["--steps", "40"], &marking);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.contains("architecture unet: --defects"),
        "{said}"
    );
    let judged = judge(&marking);
    assert!(judged[0] > 0.9 && judged[1] > 0.8, "{judged:?}");
    let card = figures(&["info", &marking]);
    assert!(
        card["training"]["data"]
            .as_str()
            .unwrap()
            .contains("and 6 with real defects"),
        "{card}"
    );

    let cut = folder.text("cut.safetensors");
    let output = train(&["--steps", "60", "--arch", "fair-seg", "--tile", "32x32"], &cut);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let card = figures(&["info", &cut]);
    assert_eq!(
        (&card["input"]["resize"], &card["input"]["size"]),
        (&"tile".into(), &serde_json::json!([32, 32]))
    );
    let judged = judge(&cut);
    assert!(judged[0] > 0.8 && judged[1] > 0.7, "{judged:?}");

    let none = folder.text("none.safetensors");
    assert_fails(
        &train(&["--arch", "fair"], &none),
        &["--defects", "fair", "unet or fair-seg"],
    );
    assert_fails(
        &train(&["--arch", "unet", "--tile", "32x32"], &none),
        &["--tile does nothing with unet"],
    );
    std::fs::remove_dir_all(folder.path("defects/masks")).unwrap();
    assert_fails(&train(&[], &none), &["defects", "pictures with masks"]);
}

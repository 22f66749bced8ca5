//! Classification from pictures to figures.

use std::path::Path;

use gst_candle::data::pictures;
use gst_candle::data::random::stream;
use gst_candle::model::Model;
use gst_candle::pixels::Image;
use rand::RngExt;
use serde_json::Value;

use super::{Folder, assert_same, classes, figures, gst_candle, part, run, succeed, word, write};

#[test]
fn classes_are_learned_and_repeat_themselves() {
    let folder = Folder::new();
    classes(&folder.path("data/train"), 12, [36, 32]);
    classes(&folder.path("data/test"), 6, [36, 32]);
    let (data, model) = (folder.text("data"), folder.text("m.safetensors"));
    let train = [
        "train", "classify", &data, "--arch", "lenet", "--steps", "60", "--batch", "8", "--seed", "7",
    ];
    succeed(&[&train[..], &["-o", &model]].concat());
    succeed(&[&train[..], &["-o", &folder.text("again.safetensors")]].concat());
    assert_same(&folder.path("m.safetensors"), &folder.path("again.safetensors"));
    let judged = figures(&["eval", &model, &data]);
    assert!(judged["accuracy"].as_f64().unwrap() > 0.8, "{judged}");
    assert!(judged["ece"].as_f64().unwrap() < 0.5, "{judged}");
    let lines = succeed(&["run", &model, &folder.text("data/test/marked"), "-o", "-"]);
    assert_eq!(lines.lines().count(), 6);
    assert!(lines.contains("\"confidences\""), "{lines}");
    succeed(&["calibrate", &model, &folder.text("data/test")]);
}

#[test]
fn classes_of_mixed_sizes_are_learned() {
    let folder = Folder::new();
    classes(&folder.path("data"), 6, [36, 32]);
    write(&folder.path("data/plain/tall.png"), &part(90, 20, 50, false));
    write(&folder.path("data/marked/wide.png"), &part(91, 64, 24, true));
    let (data, model) = (folder.text("data"), folder.text("m.safetensors"));
    succeed(&[
        "train", "classify", &data, "--arch", "lenet", "--steps", "4", "--batch", "14", "-o", &model,
    ]);
    assert_eq!(figures(&["eval", &model, &data])["images"], 14);
    assert_eq!(succeed(&["run", &model, &data, "-o", "-"]).lines().count(), 14);
}

/// Stripes of one of three directions, or none of them but dots, with noise.
fn texture(class: &str, number: u64) -> Image {
    let mut rng = stream(23, number, class.len() as u64);
    let phase: f32 = rng.random_range(0.0..6.0);
    let mut image = Image::filled(1, 32, 32, 0.0);
    for y in 0..32 {
        for x in 0..32 {
            let along = match class {
                "upright" => x as f32,
                "level" => y as f32,
                "diagonal" => 0.7 * (x + y) as f32,
                _ => return dots(&mut rng),
            };
            image.data[y * 32 + x] = 0.5 + 0.2 * (along + phase).sin() + rng.random_range(-0.05..0.05);
        }
    }
    image
}

fn dots(rng: &mut impl RngExt) -> Image {
    let mut image = Image::filled(1, 32, 32, 0.3);
    for _ in 0..12 {
        let [x, y] = [0; 2].map(|_| rng.random_range(1..31usize));
        for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            image.data[(y + dy - 1) * 32 + x + dx - 1] = 0.9;
        }
    }
    image
}

/// `count` textures of each class below `folder`.
fn textures(folder: &Path, names: &[&str], count: u64, first: u64) {
    for name in names {
        for number in first..first + count {
            let path = folder.join(name).join(format!("{name}-{}.png", word(number)));
            write(&path, &texture(name, number));
        }
    }
}

#[test]
fn what_it_never_saw_is_unknown() {
    let folder = Folder::new();
    textures(&folder.path("data/train"), &["upright", "level", "diagonal"], 24, 0);
    textures(
        &folder.path("data/test"),
        &["upright", "level", "diagonal", "dotted"],
        12,
        100,
    );
    let (data, model) = (folder.text("data"), folder.text("m.safetensors"));
    #[rustfmt::skip]
    let output = run(&[
        "train", "classify", &folder.text("data/train"), "--size", "32x32", "--width", "8", "--steps", "80", "--batch", "12", "--symmetry", "none",
        "--unknown-rate", "0.1", "-o", &model,
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let judged = figures(&["eval", &model, &data]);
    let value = |key: &str| judged[key].as_f64().unwrap_or_else(|| panic!("{key} in {judged}"));
    assert!(value("accuracy") > 0.9 && value("unknown_auroc") > 0.9, "{judged}");
    assert!(
        value("unknown_found") > 0.6 && value("false_unknown_rate") < 0.4,
        "{judged}"
    );
    // The file says both limits, and codes of the training pictures.
    let kept = Model::load(folder.path("m.safetensors")).unwrap();
    let codes = kept.codes().expect("it keeps codes");
    assert!(codes.distance > 0.0 && codes.distance < 2.0, "{}", codes.distance);
    assert!((40..=72).contains(&codes.classes.len()), "{}", codes.classes.len());
    let lines = succeed(&["run", &model, &folder.text("data/test/dotted"), "-o", "-"]);
    assert!(lines.matches("\"label\":null").count() > 6, "{lines}");
    // Worse pictures are told apart less surely, the same ones each time.
    let of = |judged: &Value| ["accuracy", "ece"].map(|key| judged[key].clone());
    let worse = |strength: &str| of(&figures(&["eval", &model, &data, "--degrade", strength]));
    assert_eq!(worse("0"), of(&judged));
    let poor = worse("3");
    assert_eq!(worse("3"), poor);
    assert!(
        poor[1] != judged["ece"] && poor[0].as_f64() <= judged["accuracy"].as_f64(),
        "{poor:?} {judged}"
    );
    let losses = run(&["eval", &model, &data, "--top-losses", "3"]);
    let text = String::from_utf8_lossy(&losses.stderr).into_owned();
    assert_eq!(text.lines().filter(|line| line.contains(".png  ")).count(), 3, "{text}");
}

/// Labels bear a turn by half and mirrors: level and upright stripes not a quarter turn.
#[test]
fn symmetry_is_found_and_can_be_set() {
    let folder = Folder::new();
    textures(&folder.path("data"), &["upright", "level"], 30, 0);
    let (data, model) = (folder.text("data"), folder.text("m.safetensors"));
    let told = |more: &[&str]| {
        let train = [
            "train", "classify", &data, "--arch", "lenet", "--steps", "1", "-o", &model,
        ];
        let output = run(&[&train[..], more].concat());
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let found = told(&[]);
    assert!(
        found.contains("--symmetry sets it") && !found.contains("turn"),
        "{found}"
    );
    assert!(!told(&["--symmetry", "none"]).contains("--symmetry sets it"));
    let refused = gst_candle(&["train", "classify", &data, "--symmetry", "sideways", "-o", &model]);
    let output = { refused }.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn another_set_of_classes_goes_on_with_what_was_learned() {
    let folder = Folder::new();
    textures(&folder.path("first"), &["upright", "level", "diagonal"], 8, 0);
    textures(&folder.path("second"), &["upright", "dotted"], 8, 0);
    let [first, second] = ["first", "second"].map(|name| folder.text(name));
    let [a, b] = ["a.safetensors", "b.safetensors"].map(|name| folder.text(name));
    let train = [
        "train", "classify", "--size", "32x32", "--width", "4", "--batch", "4", "--steps", "4",
    ];
    succeed(&[&train[..], &[&first, "-o", &a]].concat());
    let output = run(&[&train[..], &[&second, "--lr", "1e-9", "--from", &a, "-o", &b]].concat());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("layer `output` is another there: it begins anew"),
        "{text}"
    );
    let [a, b] = [&a, &b].map(|path| Model::load(path).unwrap().weights);
    for (x, y) in a["conv0.0.weight"].data.iter().zip(&b["conv0.0.weight"].data) {
        assert!((x - y).abs() < 1e-4);
    }
    let [a, b] = [a, b].map(|weights| weights["output.weight"].shape[0]);
    assert_eq!([a, b], [3, 2]);
}

/// The whole way from labelled pictures to two stages: a detector, what it found as pictures, a classifier of those, and figures of both.
#[test]
fn a_classifier_names_what_a_detector_finds() {
    let folder = Folder::new();
    for number in 0..40 {
        write(
            &folder.path(&format!("parts/train/good/g{}.png", word(number))),
            &part(number, 64, 64, false),
        );
    }
    for (class, number) in (0..10).flat_map(|number| [("blot", number), ("good", number)]) {
        let picture = part(200 + number, 64, 64, class == "blot");
        write(
            &folder.path(&format!("parts/test/{class}/{class}{}.png", word(number))),
            &picture,
        );
    }
    let (data, find, name) = (
        folder.text("parts"),
        folder.text("find.safetensors"),
        folder.text("name.safetensors"),
    );
    #[rustfmt::skip]
    succeed(&[
        "train", "anomaly", &data, "--size", "64x64", "--width", "8", "--steps", "150", "--batch", "8", "-o", &find,
    ]);
    let (found, crops) = (folder.text("found"), folder.text("crops"));
    #[rustfmt::skip]
    succeed(&["run", &find, &data, "-o", &found, "--crops", &crops, "--min-area", "4", "--false-alarm-rate", "0.5"]);
    let of = |class: &str| match folder.path("crops").join(class).is_dir() {
        true => folder.names(&format!("crops/{class}")),
        false => Vec::new(),
    };
    let blots = of("blot");
    let results = std::fs::read_to_string(folder.path("found/results.jsonl")).unwrap();
    assert!(blots.len() >= 5 && blots[0].starts_with("1-"), "{blots:?}: {results}");
    let crop = pictures::read(&folder.path("crops/blot").join(&blots[0])).unwrap();
    assert!(crop.width < 64 || crop.height < 64, "{}x{}", crop.width, crop.height);
    // Where masks say that nothing is marked there, what was found is good.
    for (number, level) in (0..10).zip([1.0, 0.0].into_iter().cycle()) {
        let mask = folder.path(&format!("parts/ground_truth/blot/blot{}_mask.png", word(number)));
        write(&mask, &Image::filled(1, 64, 64, level));
    }
    let sorted = folder.text("sorted");
    #[rustfmt::skip]
    succeed(&["run", &find, &data, "-o", &found, "--crops", &sorted, "--min-area", "4", "--false-alarm-rate", "0.5"]);
    let (marked, good) = (folder.names("sorted/blot"), folder.names("sorted/good"));
    let is_marked = |name: &String| {
        [0, 2, 4, 6, 8]
            .iter()
            .any(|n| name.ends_with(&format!("-blot{}.png", word(*n))))
    };
    let (shown, bare): (Vec<_>, Vec<_>) = blots.iter().cloned().partition(is_marked);
    assert!(marked == shown && !bare.is_empty(), "{marked:?} of {blots:?}");
    assert!(
        bare.iter().all(|name| good.contains(name)),
        "{good:?} without some of {bare:?}"
    );
    // Something to tell them from, whatever was found on good parts.
    for number in 0..10 {
        let picture = part(300 + number, 64, 64, false);
        write(
            &folder.path(&format!("crops/good/more{}.png", word(number))),
            &picture.crop(20, 20, 24, 24),
        );
    }
    succeed(&[
        "train", "classify", &crops, "--arch", "lenet", "--steps", "40", "--batch", "8", "-o", &name,
    ]);
    let judged = figures(&["eval", &find, &data, "--false-alarm-rate", "0.5", "--classifier", &name]);
    let value = |key: &str| judged[key].as_f64().unwrap_or_else(|| panic!("{key} in {judged}"));
    let flagged = 1.0 - value("miss_rate");
    assert!(
        value("named_right") <= flagged && value("named_right") > 0.5,
        "{judged}"
    );
    assert!(value("good_named") <= value("false_alarm_rate"), "{judged}");
    let two = ["eval", &find, &data, "--false-alarm-rate", "0.5", "--classifier", &name];
    let judged = figures(&[&two[..], &["--min-area", "4097"]].concat());
    assert_eq!(
        (&judged["named_right"], &judged["good_named"]),
        (&0.0.into(), &0.0.into()),
        "no region is so large"
    );
    for (arguments, said) in [
        (
            vec!["eval", &name, &crops, "--classifier", &name],
            "--classifier names what",
        ),
        (vec!["eval", &find, &data, "--min-area", "4"], "--min-area is for"),
        (vec!["eval", &name, &crops, "--threshold", "0.5"], "--threshold is for"),
        (
            vec!["run", &name, &crops, "-o", &found, "--crops", &found],
            "--crops and --min-area",
        ),
        (vec!["run", &find, &data, "-o", &found, "--crops", &data], "--crops"),
    ] {
        let output = run(&arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(said), "{text}");
    }
}

//! What is done with codes: classes taught by a few pictures, files and maps of codes, pictures chosen by them.

use std::path::Path;

use gst_candle::model::{Calibration, CodeBook, Model};
use gst_candle::pixels::Image;
use serde_json::Value;

use super::{Folder, classes, figures, part, parts, run, succeed, write};

/// A part with dark stripes across, a class that no model here is trained on.
fn striped(number: u64) -> Image {
    let mut image = part(700 + number, 36, 32, false);
    for (i, value) in image.data.iter_mut().enumerate() {
        if (i / 36 + number as usize).is_multiple_of(4) {
            *value *= 0.2;
        }
    }
    image
}

fn stripes(folder: &Path, from: u64, count: u64) {
    for number in from..from + count {
        write(&folder.join(format!("{number:03}.png")), &striped(number));
    }
}

/// A classifier of plain and marked parts, trained for a moment.
fn classifier(folder: &Folder) -> String {
    classes(&folder.path("data/train"), 12, [36, 32]);
    classes(&folder.path("data/test"), 6, [36, 32]);
    let (data, model) = (folder.text("data"), folder.text("m.safetensors"));
    #[rustfmt::skip]
    let arguments = ["train", "classify", &data, "--size", "32x32", "--width", "4", "--depth", "3", "--steps", "60", "--batch", "8", "-o", &model];
    succeed(&arguments);
    model
}

/// What the program says of arguments that it refuses, in one line.
fn refusal(arguments: &[&str]) -> String {
    let output = run(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{arguments:?}: {errors}");
    let line = errors.lines().last().unwrap_or_default();
    assert!(line.starts_with("error: "), "{errors}");
    line.to_owned()
}

fn change(model: &str, to: &Path, change: impl FnOnce(&mut Model)) -> String {
    let mut model = Model::load(model).unwrap();
    change(&mut model);
    model.save(to).unwrap();
    to.to_str().unwrap().to_owned()
}

#[test]
fn a_class_is_taught_by_five_pictures() {
    let folder = Folder::new();
    let model = classifier(&folder);
    stripes(&folder.path("new/striped"), 0, 5);
    stripes(&folder.path("data/test/striped"), 10, 8);
    let (data, taught) = (folder.text("data"), folder.text("taught.safetensors"));
    let before = figures(&["eval", &model, &data]);
    succeed(&["teach", &model, &folder.text("new/striped"), "-o", &taught]);
    let card = Model::load(&taught).unwrap();
    assert_eq!(card.labels, ["marked", "plain", "striped"]);
    let count = |model: &Model| model.codes().unwrap().classes.len();
    assert_eq!(count(&card), count(&Model::load(&model).unwrap()) + 5);
    // 20 pictures, of which 12 were known before.
    let after = figures(&["eval", &taught, &data]);
    let accuracy = |figures: &Value| figures["accuracy"].as_f64().unwrap();
    assert_eq!((&before["images"], &after["images"]), (&20.into(), &20.into()));
    assert!(accuracy(&before) > 0.8 && accuracy(&after) >= 0.85, "{before} {after}");
    assert!(after["false_unknown_rate"].as_f64().unwrap() < 0.5, "{after}");
    let lines = succeed(&["run", &taught, &folder.text("data/test/striped"), "-o", "-"]);
    let named = lines.lines().filter(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["labels"][0] == "striped"
    });
    assert!(named.count() >= 7, "{lines}");

    // An export has no codes, nor what is known by them alone.
    let (onnx, back) = (folder.text("taught.onnx"), folder.text("back.safetensors"));
    succeed(&["export", &taught, &onnx]);
    succeed(&["import", &onnx, "-o", &back]);
    let exported = Model::load(&back).unwrap();
    assert_eq!(
        (exported.labels.as_slice(), exported.codes()),
        (&card.labels[..2], None)
    );
    let nodes = &exported.graph.nodes;
    assert!(nodes.iter().all(|node| !node.name.starts_with("code")), "{nodes:?}");

    // It can be calibrated, which leaves what was taught as it is.
    succeed(&["calibrate", &taught, &folder.text("data/test")]);
    let calibrated = Model::load(&taught).unwrap();
    assert_eq!((calibrated.labels.len(), count(&calibrated)), (3, count(&card)));

    // A class that is there gets more codes, and several are taught at once.
    stripes(&folder.path("more/striped"), 30, 3);
    write(&folder.path("more/marked/x.png"), &part(901, 36, 32, true));
    succeed(&["teach", &taught, &folder.text("more"), "-o", &taught]);
    let more = Model::load(&taught).unwrap();
    assert_eq!((more.labels.len(), count(&more)), (3, count(&card) + 4));
}

#[test]
fn what_cannot_be_taught_is_said() {
    let folder = Folder::new();
    let model = classifier(&folder);
    stripes(&folder.path("new/striped"), 0, 5);
    let (new, out) = (folder.text("new"), folder.text("out.safetensors"));
    let teach = |model: &str, data: &str| refusal(&["teach", model, data, "-o", &out]);
    let without = change(&model, &folder.path("without.safetensors"), |model| {
        model.graph.outputs.truncate(1);
        model.calibration = None;
        let (graph, weights) = (&model.graph, &mut model.weights);
        let wanted = graph.weight_shapes(&model.input.shapes(32, 32)).unwrap();
        weights.retain(|name, _| wanted.contains_key(name));
    });
    assert!(teach(&without, &new).contains("without.safetensors: it keeps no codes"));
    let full = change(&model, &folder.path("full.safetensors"), |model| {
        let Some(Calibration::Classify(calibration)) = &mut model.calibration else {
            panic!("it is a classifier")
        };
        let codes = calibration.codes.as_mut().unwrap();
        let row: Vec<f32> = codes.rows().next().unwrap().to_vec();
        codes.vectors.shape[0] = 9_996;
        codes.vectors.data = row.repeat(9_996);
        codes.classes = (0..9_996).map(|i| i % 2).collect();
    });
    assert!(teach(&full, &new).contains("9996 codes and 5 more: a model holds at most 10000"));
    std::fs::create_dir_all(folder.path("new/empty")).unwrap();
    assert!(teach(&model, &new).contains("empty: no pictures in this folder"));
    std::fs::create_dir_all(folder.path("nothing")).unwrap();
    assert!(teach(&model, &folder.text("nothing")).contains("nothing: "));
    assert!(teach(&model, &folder.text("new/striped/000.png")).contains("pictures without a class"));
    parts(&folder.path("good"), 16, [32, 32]);
    let detector = folder.text("a.safetensors");
    #[rustfmt::skip]
    let arguments = ["train", "anomaly", &folder.text("good"), "--arch", "autoencoder", "--size", "32x32", "--width", "4", "--steps", "2", "--batch", "2", "-o", &detector];
    succeed(&arguments);
    assert!(teach(&detector, &new).contains("a.safetensors: this model is for `anomaly`"));
    assert!(!folder.path("out.safetensors").exists());
}

#[test]
fn codes_and_their_map_are_written() {
    let folder = Folder::new();
    let model = classifier(&folder);
    let (data, out, map) = (
        folder.text("data/test"),
        folder.text("codes.safetensors"),
        folder.text("map.png"),
    );
    let embed = ["embed", &model, &data, "-o"];
    succeed(&[&embed[..], &[&out, "--map", &map]].concat());
    let book = CodeBook::load(&out).unwrap();
    assert_eq!(
        (book.labels.as_slice(), book.names.len()),
        (&["marked".to_owned(), "plain".to_owned()][..], 12)
    );
    assert!(
        book.names[0].ends_with(".png") && book.names[0].contains("marked"),
        "{:?}",
        book.names
    );
    for (row, class) in book.codes.rows().zip(&book.codes.classes) {
        let length: f32 = row.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-4 && *class < 2);
    }
    let own = Model::load(&model).unwrap();
    assert_eq!(
        book.codes.basis,
        own.codes().unwrap().basis,
        "comparable with the model's own"
    );
    let drawn = gst_candle::data::pictures::read(&folder.path("map.png")).unwrap();
    assert_eq!((drawn.width, drawn.height, drawn.channels), (1200, 900, 3));
    assert!(drawn.data.iter().any(|x| *x < 0.9), "there is something on it");
    // The same again is the same, byte for byte.
    let (out_again, map_again) = (folder.text("again.safetensors"), folder.text("again.png"));
    succeed(&[&embed[..], &[&out_again, "--map", &map_again]].concat());
    super::assert_same(&folder.path("codes.safetensors"), &folder.path("again.safetensors"));
    super::assert_same(&folder.path("map.png"), &folder.path("again.png"));

    // An anomaly detector's code is its bottleneck.
    parts(&folder.path("good"), 16, [32, 32]);
    for (arch, more, length) in [("autoencoder", &["--code-size", "8"][..], 8), ("fair", &[], 32)] {
        let detector = folder.text("a.safetensors");
        #[rustfmt::skip]
        let arguments = ["train", "anomaly", &folder.text("good"), "--arch", arch, "--size", "32x32", "--width", "4", "--steps", "2", "--batch", "2", "-o", &detector];
        succeed(&[&arguments[..], more].concat());
        succeed(&["embed", &detector, &data, "-o", &out]);
        let features = CodeBook::load(&out).unwrap().codes.vectors.shape[1];
        assert_eq!(features, length);
    }
    let denoiser = folder.text("d.safetensors");
    #[rustfmt::skip]
    let arguments = ["train", "denoise", &folder.text("good"), "--arch", "micro", "--steps", "1", "--batch", "1", "--patch", "16", "-o", &denoiser];
    succeed(&arguments);
    let error = refusal(&["embed", &denoiser, &data, "-o", &out]);
    assert!(
        error.contains("d.safetensors: a model for `denoise` gives no codes"),
        "{error}"
    );
    assert!(refusal(&["embed", &model, &data, "-o", &out, "--map", &folder.text("map.jpg")]).contains("is a PNG"));
    for arguments in [
        &["embed", &model, &data, "-o", &model][..],
        &["embed", &model, &data, "-o", &out, "--map", &model],
    ] {
        assert!(refusal(arguments).contains("m.safetensors: what is written would replace it"));
    }
}

#[test]
fn what_is_unlike_all_that_is_known_is_to_be_labelled_first() {
    let folder = Folder::new();
    let model = classifier(&folder);
    for number in 0..20 {
        write(
            &folder.path(&format!("all/plain{number}.png")),
            &part(300 + number, 36, 32, false),
        );
    }
    for number in 0..3 {
        write(&folder.path(&format!("all/striped{number}.png")), &striped(40 + number));
    }
    let all = folder.text("all");
    let listed = succeed(&["suggest", &model, &all, "-n", "4"]);
    assert_eq!(listed.lines().count(), 4);
    assert!(listed.lines().take(2).all(|line| line.contains("striped")), "{listed}");
    let json: Vec<Value> =
        serde_json::from_str(&succeed(&["suggest", &model, &all, "-n", "4", "--json", "-"])).unwrap();
    let file = folder.text("list.json");
    assert_eq!(succeed(&["suggest", &model, &all, "-n", "4", "--json", &file]), listed);
    let written: Vec<Value> = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(written, json);
    let error = refusal(&["suggest", &model, &all, "-n", "4", "--json", &model]);
    assert!(
        error.contains("m.safetensors: what is written would replace it"),
        "{error}"
    );
    let sources: Vec<&str> = json.iter().map(|one| one["source"].as_str().unwrap()).collect();
    assert_eq!(sources, listed.lines().collect::<Vec<_>>());
    for one in &json {
        let uncertainty = one["uncertainty"].as_f64().unwrap();
        assert!(
            (0.0..=1.0).contains(&uncertainty) && one["distance"].as_f64().unwrap() > 0.0,
            "{one}"
        );
    }
    succeed(&["suggest", &model, &all, "-n", "4", "--copy", &folder.text("label")]);
    assert_eq!(folder.names("label").len(), 4);
    let error = refusal(&["suggest", &model, &all, "-n", "4", "--copy", &folder.text("label")]);
    assert!(error.contains("label: it is not empty"), "{error}");
    // More than there are: all of them.
    assert_eq!(succeed(&["suggest", &model, &all, "-n", "400"]).lines().count(), 23);
}

#[test]
fn near_duplicates_are_thinned() {
    let folder = Folder::new();
    // Each part three times, a little brighter each time.
    for number in 0..4 {
        for shade in 0..3 {
            let mut image = if number % 2 == 0 {
                part(number, 40, 32, false)
            } else {
                striped(11 * number)
            };
            image.data.iter_mut().for_each(|x| *x += 0.004 * shade as f32);
            write(&folder.path(&format!("all/{number}-{shade}.png")), &image);
        }
    }
    let all = folder.text("all");
    let check = |more: &[&str]| succeed(&[&["check", &all, "--thin"], more].concat());
    let kept = check(&["--distance", "0.015"]);
    assert!(
        kept.lines().count() == 4 && kept.lines().all(|line| line.ends_with("-0.png")),
        "{kept}"
    );
    assert_eq!(check(&["--distance", "0"]).lines().count(), 12);
    assert_eq!(check(&["--keep", "5"]).lines().count(), 5);
    let output = run(&[
        "check",
        &all,
        "--thin",
        "--copy",
        &folder.text("kept"),
        "--distance",
        "0.015",
    ]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains(&format!("{} of 12 kept", kept.lines().count())), "{told}");
    assert_eq!(folder.names("kept").len(), kept.lines().count());
    let model = classifier(&folder);
    let by_codes = check(&["--model", &model]);
    assert!((2..=8).contains(&by_codes.lines().count()), "{by_codes}");
    for number in 0..3 {
        write(&folder.path(&format!("same/{number}.png")), &part(0, 40, 32, false));
    }
    let same = succeed(&["check", &folder.text("same"), "--thin", "--model", &model]);
    assert_eq!(same.lines().count(), 1, "{same}");
    assert_eq!(
        run(&["check", &all]).status.code(),
        Some(2),
        "there is nothing else to check yet"
    );
}

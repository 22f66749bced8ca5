//! `candleembed` on frames whose codes are known, and `candleclassify` with a class that was taught.

mod support;

use gst::prelude::*;
use gst_candle::graph::{Array, CodeSource};
use gst_candle::model::{Calibration, ClassCalibration, CodeBook, Codes, Model};
use support::*;
use tempfile::NamedTempFile;

const CAPS: &str = "format=GRAY8,width=24,height=16";

/// Codes of frames of one grey m: (m, 0.5), with length 1.
fn codes(greys: &[f32], classes: &[usize]) -> Codes {
    let code = |m: &f32| [*m, 0.5].map(|x| x / m.hypot(0.5));
    Codes {
        distance: 0.1,
        source: CodeSource::Features,
        scale: vec![1.0],
        basis: Array {
            shape: vec![2, 2],
            data: vec![1.0, 0.0, 0.0, 0.5],
        },
        classes: classes.to_vec(),
        vectors: Array {
            shape: vec![greys.len(), 2],
            data: greys.iter().flat_map(code).collect(),
        },
    }
}

/// [`light`] with codes of `bright` and `dark`, and with a class `grey` that was taught.
fn taught() -> NamedTempFile {
    let file = light();
    let mut model = Model::load(file.path()).unwrap();
    model.graph.add_codes(&model.input.shapes(8, 8)).unwrap();
    model.labels.push("grey".into());
    model.calibration = Some(Calibration::Classify(ClassCalibration {
        temperature: 1.0,
        thresholds: vec![0.75, 0.75, 0.34],
        codes: Some(codes(&[1.0, 0.0, 0.5], &[0, 1, 2])),
    }));
    model.save(file.path()).unwrap();
    file
}

/// A file of codes of the model: a picture of each grey, named by its hundredths; the darkest has no class.
fn book(model: &NamedTempFile, greys: &[f32]) -> NamedTempFile {
    let coder = Model::load(model.path()).unwrap().coder().unwrap();
    let file = NamedTempFile::with_suffix(".safetensors").unwrap();
    let labels = ["", "lit"].map(String::from).to_vec();
    let classes: Vec<usize> = greys.iter().map(|m| usize::from(*m > 0.1)).collect();
    CodeBook {
        codes: codes(greys, &classes),
        names: greys.iter().map(|m| format!("{:.0}.png", 100.0 * m)).collect(),
        labels,
        network: coder.training.data,
    }
    .save(file.path())
    .unwrap();
    file
}

/// Distance, name, class, and whether it is known.
fn found(structure: &gst::StructureRef) -> (f64, String, String, bool) {
    (
        structure.get("distance").unwrap(),
        structure.get("nearest").unwrap(),
        structure.get("label").unwrap(),
        structure.get("known").unwrap(),
    )
}

fn code(structure: &gst::StructureRef) -> Vec<f32> {
    let code = structure.get::<gst::ArrayRef>("code").unwrap();
    code.iter().map(|x| x.get().unwrap()).collect()
}

/// Between frames of two greys.
fn apart(a: f32, b: f32) -> f64 {
    let [a, b] = [a, b].map(|m| f64::from(m).atan2(0.5));
    2.0 * ((a - b) / 2.0).sin().abs()
}

#[test]
fn the_code_and_the_nearest_class_are_on_the_frame() {
    init();
    let model = taught();
    let info = info_of(CAPS);
    let (mut harness, bus) = harness("candleembed", &model, "", CAPS);
    let input = grey(&info, 255, 0);
    let output = harness.push_and_pull(input.clone()).unwrap();
    assert_eq!(output.peek_memory(0).as_ptr(), input.peek_memory(0).as_ptr());
    let embed = result(&output, "embed").unwrap();
    let (distance, name, label, known) = found(&embed);
    assert_eq!((name.as_str(), label.as_str(), known), ("bright", "bright", true));
    assert!(distance < 1e-3, "{distance}");
    let code = code(&embed);
    assert!(
        (code[0] - 0.894_427).abs() < 1e-4 && (code[1] - 0.447_214).abs() < 1e-4,
        "{code:?}"
    );

    // 0.2 is nearer to 0 than to 0.5, but not near.
    let output = harness.push_and_pull(grey(&info, 51, 1)).unwrap();
    let (distance, name, _, known) = found(&result(&output, "embed").unwrap());
    assert_eq!((name.as_str(), known), ("dark", false));
    assert!((distance - apart(0.2, 0.0)).abs() < 1e-3, "{distance}");
    let element = element(&harness);
    assert_eq!(element.property::<String>("nearest"), "dark");
    assert!((element.property::<f64>("distance") - distance).abs() < 1e-9 && !element.property::<bool>("known"));
    element.set_property("max-distance", 0.5f32);
    let output = harness.push_and_pull(grey(&info, 51, 2)).unwrap();
    assert!(found(&result(&output, "embed").unwrap()).3);

    let told = messages(&bus);
    let labels: Vec<_> = told
        .iter()
        .map(|m| (found(m).2, found(m).3, m.get("timestamp")))
        .collect();
    let told_of = |label: &str, known, ms: u64| (label.to_owned(), known, Ok(1_000_000 * ms));
    assert_eq!(
        labels,
        [
            told_of("bright", true, 0),
            told_of("dark", false, 100),
            told_of("dark", true, 200)
        ]
    );
    assert!(
        told.iter()
            .all(|m| m.name() == "candleembed" && !m.has_field("stale") && m.get("state-changed") == Ok(true))
    );
}

#[test]
fn a_file_of_codes_names_pictures() {
    init();
    let model = taught();
    let book = book(&model, &[0.0, 0.3, 0.6]);
    let info = info_of(CAPS);
    let properties = format!(
        "codes-file={} post-messages=all inference-interval=2",
        book.path().display()
    );
    let (mut harness, bus) = harness("candleembed", &model, &properties, CAPS);
    let mut stale = Vec::new();
    for (index, value) in [(0, 77), (1, 77), (2, 5)] {
        let output = harness.push_and_pull(grey(&info, value, index)).unwrap();
        stale.push(result(&output, "embed").unwrap().get::<bool>("stale").unwrap());
    }
    assert_eq!(stale, [false, true, false]);
    let told: Vec<_> = messages(&bus).iter().map(|m| (found(m).1, found(m).2)).collect();
    assert_eq!(told, [("30.png".into(), "lit".into()), ("0.png".into(), String::new())]);
}

#[test]
fn models_without_codes_of_their_own_give_codes() {
    init();
    let model = brightness(Some([24, 16]));
    let (mut harness, _) = harness("candleembed", &model, "", CAPS);
    let output = harness.push_and_pull(grey(&info_of(CAPS), 128, 0)).unwrap();
    let embed = result(&output, "embed").unwrap();
    assert_eq!(
        (found(&embed), code(&embed)),
        ((-1.0, String::new(), String::new(), false), vec![1.0])
    );
}

#[test]
fn what_does_not_fit_is_one_clear_error() {
    init();
    let (model, other) = (taught(), brightness(Some([8, 8])));
    let launch = |model: &NamedTempFile, codes: &str| {
        format!(
            "videotestsrc num-buffers=2 ! video/x-raw,{CAPS} ! candleembed model-file={} codes-file={codes} ! fakesink",
            model.path().display()
        )
    };
    let fault = |model: &NamedTempFile, codes: &str| {
        let told = errors(&launch(model, codes));
        let [error] = &told[..] else {
            panic!("not one error: {told:?}")
        };
        error.message().to_owned()
    };
    let codes = book(&model, &[0.0, 0.5]);
    let path = codes.path().to_str().unwrap();
    play(&launch(&model, path)).unwrap();
    let message = fault(&other, path);
    assert!(
        message.contains("`codes-file`") && message.contains(path) && message.contains("another model"),
        "{message}"
    );
    let missing = fault(&model, "/nowhere/codes.safetensors");
    assert!(
        missing.contains("`codes-file`") && missing.contains("/nowhere/codes.safetensors"),
        "{missing}"
    );
    let message = fault(&model, model.path().to_str().unwrap());
    assert!(
        message.contains("it is a model, not a file that `gst-candle embed` made"),
        "{message}"
    );
    let denoiser = fault(&halving(), path);
    assert!(denoiser.contains("`denoise`"), "{denoiser}");
}

#[test]
fn another_model_comes_with_codes_of_its_own() {
    init();
    let model = taught();
    let info = info_of(CAPS);
    let codes = book(&model, &[0.0, 0.5]);
    let properties = format!("codes-file={}", codes.path().display());
    let (mut harness, bus) = harness("candleembed", &model, &properties, CAPS);
    harness.push_and_pull(grey(&info, 128, 0)).unwrap();
    let element = element(&harness);
    let other = brightness(Some([8, 8]));
    element.set_property("model-file", other.path().to_str().unwrap());
    let mut index = 1;
    let rejected = loop {
        harness.push_and_pull(grey(&info, 128, index)).unwrap();
        if let Some(told) = messages(&bus).into_iter().find(|m| m.name() == "model-rejected") {
            break told;
        }
        assert!(index < 2000, "it is never rejected");
        index += 1;
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    assert!(
        rejected.get::<String>("reason").unwrap().contains("another model"),
        "{rejected}"
    );
    let output = harness.push_and_pull(grey(&info, 128, index + 1)).unwrap();
    assert_eq!(
        found(&result(&output, "embed").unwrap()).1,
        "50.png",
        "the one before stays"
    );
}

#[test]
fn a_taught_class_is_named() {
    init();
    let model = taught();
    let info = info_of(CAPS);
    let (mut harness, _) = harness("candleclassify", &model, "", CAPS);
    let mut label = |value, index| {
        let output = harness.push_and_pull(grey(&info, value, index)).unwrap();
        result(&output, "classify").unwrap().get::<String>("label").unwrap()
    };
    assert_eq!([label(255, 0), label(0, 1), label(128, 2)], ["bright", "dark", "grey"]);
}

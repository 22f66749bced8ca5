#[macro_use]
mod damage;

use std::io::Cursor;

use rand::RngExt;
use serde_json::Value;

use super::*;
use crate::data::random::stream;
use crate::model::{Calibration, ClassCalibration, Codes, Task, Training};
use crate::nets::{self, NetOptions};

/// A denoiser of a few hundred weights.
fn small() -> Model {
    let options = NetOptions {
        width: Some(2),
        depth: Some(2),
        ..Default::default()
    };
    let net = nets::build(Task::Denoise, "fast", &options).unwrap();
    let weights = nets::init(&net, 1).unwrap();
    let training = Training {
        arch: "fast".into(),
        steps: 3,
        metrics: [("psnr".into(), 30.5)].into(),
        ..Default::default()
    };
    Model {
        task: Task::Denoise,
        graph: net.graph,
        input: net.input,
        labels: vec![],
        calibration: None,
        training,
        weights,
    }
}

fn classifier() -> Model {
    let labels = vec!["good".to_owned(), "kratzer \"ä\"".to_owned()];
    let net = nets::build(
        Task::Classify,
        "tiny",
        &NetOptions {
            width: Some(2),
            classes: 2,
            ..Default::default()
        },
    );
    let net = net.unwrap();
    let weights = nets::init(&net, 1).unwrap();
    let calibration = Some(Calibration::Classify(ClassCalibration {
        temperature: 1.3,
        thresholds: vec![0.1, 0.7],
        codes: None,
    }));
    Model {
        task: Task::Classify,
        graph: net.graph,
        input: net.input,
        labels,
        calibration,
        training: Training::default(),
        weights,
    }
}

/// Means and deviations of 2, 4, 8, 16 and again 16 channels.
const FEATURES: usize = 2 * 46;

/// [`classifier`] with two codes, and its second output is a frame's own.
fn with_codes() -> Model {
    let mut model = classifier();
    let source = model.graph.add_codes(&model.input.shapes_of_any()).unwrap().unwrap();
    let Some(Calibration::Classify(calibration)) = &mut model.calibration else {
        unreachable!("it is a classifier")
    };
    calibration.codes = Some(Codes {
        distance: 0.25,
        source,
        scale: vec![1.5; FEATURES],
        basis: Array::default(),
        classes: vec![1, 0],
        vectors: Array {
            shape: vec![2, FEATURES],
            data: (0..2 * FEATURES).map(|i| i as f32 / 7.0).collect(),
        },
    });
    model
}

#[test]
fn codes_come_back_from_a_tensor_of_their_own() {
    let model = with_codes();
    assert_eq!(parse(&bytes(&model)).unwrap(), model);
    let fault = |change: &dyn Fn(&mut Codes)| {
        let mut model = with_codes();
        let Some(Calibration::Classify(calibration)) = &mut model.calibration else {
            unreachable!("it is a classifier")
        };
        change(calibration.codes.as_mut().unwrap());
        model.check().unwrap_err().to_string()
    };
    assert!(fault(&|codes| codes.classes[1] = 2).contains("key `calibration`: codes: class 2 of 2 labels"));
    assert!(fault(&|codes| codes.distance = f32::NAN).contains("codes: distance NaN"));
    assert!(fault(&|codes| codes.scale.truncate(1)).contains("codes of 1 features need a second output"));
    assert!(fault(&|codes| codes.classes.truncate(1)).contains("for 1 classes"));
    assert!(fault(&|codes| codes.vectors.data[3] = f32::INFINITY).contains("value 3 of tensor `codes`"));
    assert!(
        fault(&|codes| {
            codes.vectors = Array {
                shape: vec![2, 8],
                data: vec![0.0; 16],
            }
        })
        .contains("do not make codes of length 8")
    );
    // A class that the network has no output for needs a code.
    let mut more = with_codes();
    more.labels.push("dent".to_owned());
    assert!(
        more.check()
            .unwrap_err()
            .to_string()
            .contains("3 labels for a network of 2 outputs")
    );
    // Without a calibration that speaks of it, the tensor is nobody's.
    let mut lost = classifier();
    lost.weights
        .insert("codes".into(), with_codes().codes().unwrap().vectors.clone());
    assert!(
        parse(&bytes(&lost))
            .unwrap_err()
            .contains("tensor `codes` is not in the graph")
    );
}

fn bytes(model: &Model) -> Vec<u8> {
    let mut out = Vec::new();
    write(model, &mut out).unwrap();
    out
}

fn parse(bytes: &[u8]) -> Result<Model, String> {
    read(&mut Cursor::new(bytes), bytes.len() as u64).map_err(|failure| match failure {
        Failure::Io(e) => panic!("{e}"),
        Failure::Format(reason) => reason,
    })
}

/// A file of `model` with its header changed.
fn with_header(model: &Model, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let old = bytes(model);
    let size = u64::from_le_bytes(old[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&old[8..8 + size]).unwrap();
    change(&mut header);
    let header = serde_json::to_vec(&header).unwrap();
    [
        &(header.len() as u64).to_le_bytes(),
        header.as_slice(),
        &old[8 + size..],
    ]
    .concat()
}

/// What is said of a file whose metadata `key` is `value` (`None` = absent).
fn with_key(key: &str, value: Option<&str>) -> String {
    let change = |header: &mut Value| {
        let metadata = header["__metadata__"].as_object_mut().unwrap();
        match value {
            Some(value) => drop(metadata.insert(key.into(), value.into())),
            None => drop(metadata.remove(key)),
        }
    };
    parse(&with_header(&small(), change)).unwrap_err()
}

#[test]
fn comes_back_and_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for (name, model) in [("a", small()), ("b", classifier())] {
        let path = folder.path().join(name);
        model.save(&path).unwrap();
        let loaded = Model::load(&path).unwrap();
        assert_eq!(loaded, model);
        loaded.save(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes(&model));
        let start = u64::from_le_bytes(bytes(&model)[..8].try_into().unwrap());
        assert_eq!(start % 8, 0);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn the_reference_reader_agrees() {
    let model = small();
    let bytes = bytes(&model);
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = file.names();
    names.sort();
    assert_eq!(names, model.weights.keys().collect::<Vec<_>>());
    for (name, array) in &model.weights {
        let view = file.tensor(name).unwrap();
        assert_eq!(view.shape(), array.shape);
        let expected: Vec<u8> = array.data.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(view.data(), expected);
    }
}

#[test]
fn every_truncation_is_an_error() {
    let whole = bytes(&small());
    parse(&whole).unwrap();
    for n in 0..whole.len() {
        let reason = parse(&whole[..n]).unwrap_err();
        assert!(reason.contains("truncated"), "{n}: {reason}");
        // A file that shrinks after its length was taken.
        assert!(read(&mut Cursor::new(&whole[..n]), whole.len() as u64).is_err(), "{n}");
    }
    assert!(parse(&[&whole[..], &[0]].concat()).unwrap_err().contains("but"));
}

#[test]
fn no_flipped_byte_panics() {
    let whole = bytes(&small());
    for at in 0..whole.len() {
        for flip in [0x01, 0x20, 0x80, 0xff] {
            let mut broken = whole.clone();
            broken[at] ^= flip;
            // A flipped weight or a letter of the card may still make a good model.
            if let Ok(model) = parse(&broken) {
                model.check().unwrap();
            }
        }
    }
}

#[test]
fn what_is_no_safetensors_file_is_said_so() {
    assert!(parse(b"").unwrap_err().contains("0 bytes: empty"));
    assert!(
        parse(b"\x89PNG\r\n\x1a\n and so on")
            .unwrap_err()
            .ends_with("not a safetensors file")
    );
    let huge = [&(1u64 << 60).to_le_bytes()[..], b"{}"].concat();
    assert!(
        parse(&huge)
            .unwrap_err()
            .contains("a header of 1152921504606846976 bytes")
    );
    let text = [&2u64.to_le_bytes()[..], b"[]"].concat();
    assert!(parse(&text).unwrap_err().contains("header is damaged"));
    let bare = [&2u64.to_le_bytes()[..], b"{}"].concat();
    assert_eq!(parse(&bare).unwrap_err(), "no metadata: not a gst-candle model");
    let deep = "[".repeat(1 << 20);
    let deep = [&(deep.len() as u64).to_le_bytes()[..], deep.as_bytes()].concat();
    assert!(parse(&deep).unwrap_err().contains("header is damaged"));
    let failure = read(&mut io::empty(), MAX_FILE + 1).unwrap_err();
    assert!(matches!(failure, Failure::Format(reason) if reason.contains("at most")));
}

fn refuse(damaged: &damage::Damaged) {
    let reason = parse(&damaged.bytes).unwrap_err();
    assert!(reason.contains(damaged.reason), "{reason}");
}

each_damage!(refuse);

#[test]
fn a_file_written_by_hand_is_read() {
    for (name, task) in [("denoise", Task::Denoise), ("embed", Task::Embed)] {
        let model = parse(&damage::whole(name)).unwrap();
        assert_eq!((model.task, &model.weights["gain.weight"].data[..]), (task, &[0.5][..]));
    }
}

#[test]
fn metadata_faults_name_the_key() {
    assert_eq!(
        with_key("format", None),
        "key `format` is missing: not a gst-candle model"
    );
    assert_eq!(
        with_key("format", Some("pt")),
        "key `format` is `pt`; this version reads `gst-candle/1`"
    );
    assert_eq!(
        with_key("format", Some("gst-candle/2")),
        "key `format` is `gst-candle/2`; this version reads `gst-candle/1`"
    );
    assert_eq!(with_key("codec", Some("x")), "key `codec` is not known to this version");
    for key in ["task", "graph", "input"] {
        assert_eq!(with_key(key, None), format!("key `{key}` is missing"));
    }
    for key in ["task", "graph", "input", "labels", "calibration", "training"] {
        let reason = with_key(key, Some("7"));
        assert!(reason.starts_with(&format!("key `{key}`: ")), "{reason}");
    }
}

#[test]
fn bad_graphs_name_the_node() {
    let unknown = small().graph.to_json().replacen("\"relu\"", "\"attention\"", 1);
    let reason = with_key("graph", Some(&unknown));
    assert!(
        reason.starts_with("key `graph`: node `relu1`: op `attention`: unknown variant"),
        "{reason}"
    );
    let cyclic = small().graph.to_json().replacen("[\"join\"]", "[\"shuffle\"]", 1);
    let reason = with_key("graph", Some(&cyclic));
    assert!(
        reason.starts_with("key `graph`: node `conv1`: cycle: conv1 -> relu1 -> conv2 -> shuffle -> conv1"),
        "{reason}"
    );
}

#[test]
fn bad_tensors_are_named() {
    let renamed = with_header(&small(), |header| {
        let header = header.as_object_mut().unwrap();
        let tensor = header.remove("conv1.bias").unwrap();
        header.insert("conv1.bios".into(), tensor);
    });
    assert_eq!(parse(&renamed).unwrap_err(), "tensor `conv1.bias` is missing");
    let shape = with_header(&small(), |header| header["conv1.bias"]["shape"] = json!([1, 2]));
    assert_eq!(
        parse(&shape).unwrap_err(),
        "tensor `conv1.bias` has shape [1, 2]; the graph wants [2]"
    );
    let dtype = with_header(&small(), |header| header["conv1.bias"]["dtype"] = "I32".into());
    assert_eq!(
        parse(&dtype).unwrap_err(),
        "tensor `conv1.bias` is I32; `gst-candle/1` holds F32 alone"
    );
    let huge = with_header(&small(), |header| {
        header["x"] = json!({"dtype": "U8", "shape": [u64::MAX], "data_offsets": [0, u64::MAX]});
    });
    assert!(parse(&huge).is_err());
    let mut nan = bytes(&small());
    nan[small_data_start() + 4..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_eq!(parse(&nan).unwrap_err(), "tensor `conv1.bias`: value 1 is NaN");
}

fn small_data_start() -> usize {
    8 + u64::from_le_bytes(bytes(&small())[..8].try_into().unwrap()) as usize
}

#[test]
fn files_that_are_not_there_or_not_files() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.safetensors");
    let text = Model::load(&missing).unwrap_err().to_string();
    assert!(
        text.starts_with(missing.to_str().unwrap()) && text.contains("No such file"),
        "{text}"
    );
    assert!(
        Model::load(folder.path())
            .unwrap_err()
            .to_string()
            .ends_with("not a file")
    );
    let short = folder.path().join("short.safetensors");
    fs::write(&short, b"abc").unwrap();
    let text = Model::load(&short).unwrap_err().to_string();
    assert!(
        text.starts_with(short.to_str().unwrap()) && text.contains("3 bytes"),
        "{text}"
    );
}

#[test]
fn a_failed_save_leaves_things_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no/model.safetensors");
    let text = small().save(&path).unwrap_err().to_string();
    assert!(
        text.starts_with(path.to_str().unwrap()) && text.contains("there is no folder"),
        "{text}"
    );

    let path = folder.path().join("model.safetensors");
    fs::write(&path, "before").unwrap();
    let mut bad = small();
    bad.weights.get_mut("conv1.bias").unwrap().data[0] = f32::NAN;
    let text = bad.save(&path).unwrap_err().to_string();
    assert!(
        text.contains("not saved: tensor `conv1.bias`: value 0 is NaN"),
        "{text}"
    );
    assert_eq!(fs::read(&path).unwrap(), b"before");

    let taken = folder.path().join("folder");
    fs::create_dir(&taken).unwrap();
    let text = small().save(&taken).unwrap_err().to_string();
    assert!(text.starts_with(taken.to_str().unwrap()), "{text}");
    let mut left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["folder", "model.safetensors"]);
}

#[test]
fn a_full_disk_is_an_error() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(data.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(data.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let whole = bytes(&small()).len();
    for room in [0, 8, 100, whole - 1] {
        assert_eq!(
            write(&small(), &mut Full(room)).unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
    }
    write(&small(), &mut Full(whole)).unwrap();
}

#[test]
fn figures_come_back_to_the_last_bit() {
    let mut model = small();
    let mut rng = stream(31, 0, 0);
    let figures = std::iter::once(0.300_000_000_000_000_04).chain((0..300).map(|_| rng.random::<f64>() * 1e-3));
    model.training.metrics = figures.enumerate().map(|(i, value)| (format!("m{i}"), value)).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    model.save(&path).unwrap();
    assert_eq!(Model::load(&path).unwrap().training.metrics, model.training.metrics);
}

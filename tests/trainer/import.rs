//! Networks of PyTorch: exported by it, imported by the program, and the same.

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use candle_core::{DType, Device, Tensor};
use gst_candle::exec::Session;
use gst_candle::exec::candle::Network;
use gst_candle::graph::{Array, Op};
use gst_candle::model::{Calibration, Model};
use serde_json::Value;

use super::errors::assert_fails;
use super::{Folder, figures, run, succeed};

/// What `export_onnx.py` wrote.
static EXPORTS: LazyLock<Folder> = LazyLock::new(|| {
    // Nothing removes what a static holds, so it lies among what is built, and the next run removes it.
    let tests = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let _ = std::fs::remove_dir_all(tests.join("onnx"));
    let mut place = tempfile::Builder::new();
    let folder = place
        .prefix("onnx")
        .rand_bytes(0)
        .disable_cleanup(true)
        .tempdir_in(tests);
    let folder = Folder(folder.unwrap());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trainer/export_onnx.py");
    // Debian's own, whose PyTorch the set-up installs.
    let mut python = Command::new("/usr/bin/python3");
    let output = python.arg(script).arg(folder.path("")).output();
    let output = output.expect("/usr/bin/python3 starts; `scripts/setup.sh --tests` installs what the tests need");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "PyTorch exports nothing; `scripts/setup.sh --tests` installs what it needs: {errors}"
    );
    folder
});

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(EXPORTS.path(name)).unwrap()).unwrap()
}

/// Values that the script wrote.
fn array(name: &str, shape: &Value) -> Array {
    let bytes = std::fs::read(EXPORTS.path(name)).unwrap();
    let data = bytes
        .as_chunks()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    let shape: Vec<usize> = serde_json::from_value(shape.clone()).unwrap();
    Array { shape, data }
}

/// Imports a network as a user does.
fn import(name: &str, options: &[&str], folder: &Folder) -> Model {
    let (onnx, model) = (
        EXPORTS.text(&format!("{name}.onnx")),
        folder.text(&format!("{name}.safetensors")),
    );
    succeed(&[&["import", &onnx, "-o", &model], options].concat());
    Model::load(model).unwrap()
}

/// What candle makes of `x`, one operation a node.
fn by_candle(model: &Model, x: &Array) -> Vec<f32> {
    let network = Network::by_nodes(&model.graph, &model.weights, &Device::Cpu, DType::F32).unwrap();
    let x = Tensor::from_slice(&x.data, x.shape.as_slice(), &Device::Cpu).unwrap();
    network.forward(&[x], false).unwrap()[0]
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap()
}

/// The softmax of each row, or its logarithm.
fn softmax(logits: &[f32], classes: usize, logarithm: bool) -> Vec<f32> {
    let row = |row: &[f32]| {
        let sum = row.iter().map(|x| x.exp()).sum::<f32>();
        let of = |x: &f32| if logarithm { x - sum.ln() } else { x.exp() / sum };
        row.iter().map(of).collect::<Vec<f32>>()
    };
    logits.chunks(classes).flat_map(row).collect()
}

/// Logits (and pixels) are the same within 1e-4, where the largest are of the size of 5 (and 1).
#[test]
fn networks_of_pytorch_give_the_same_values() {
    let folder = Folder::new();
    let list = json("networks.json");
    for network in list["networks"].as_array().unwrap() {
        let name = network["name"].as_str().unwrap();
        let options: &[&str] = match name {
            "unet" => &["--task", "segment"],
            "shuffle" => &["--task", "denoise"],
            "resnet-any" => &["--task", "classify", "--size", "64x96"],
            _ => &["--task", "classify"],
        };
        let model = import(name, options, &folder);
        let x = array(&format!("{name}.input"), &network["input"]);
        let wanted = array(&format!("{name}.output"), &network["output"]);
        let session = Session::in_f32(&model).unwrap().run(std::slice::from_ref(&x)).unwrap();
        for (by, found) in [("candle", &by_candle(&model, &x)), ("the plan", &session[0].data)] {
            let found = match name {
                "plain-softmax" | "plain-log-softmax" => softmax(found, 10, name == "plain-log-softmax"),
                _ => found.clone(),
            };
            assert_eq!(found.len(), wanted.data.len(), "{name}");
            assert!(found.iter().all(|x| x.is_finite()), "{name} by {by}: {found:?}");
            let difference = |(a, b): (&f32, &f32)| (a - b).abs();
            let worst = found.iter().zip(&wanted.data).map(difference).fold(0.0, f32::max);
            let scale = wanted.data.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            println!("{name} by {by}: {worst:.1e} of {scale:.2}");
            assert!((0.1..10.0).contains(&scale), "{name}: values up to {scale}");
            assert!(worst <= 1e-4, "{name} by {by}: {worst}, values up to {scale}");
        }
    }
}

#[test]
fn an_imported_network_has_no_more_nodes_than_it_needs() {
    let folder = Folder::new();
    let ops = |name: &str, options: &[&str]| -> Vec<Op> {
        let nodes = import(name, options, &folder).graph.nodes;
        nodes.into_iter().map(|node| node.op).collect()
    };
    let classify = ["--task", "classify"];
    // The batch norms of an export are in its convolutions and linear layers already, or go there.
    for name in ["plain", "plain-softmax", "plain-log-softmax", "plain-old"] {
        let ops = ops(name, &classify);
        assert_eq!(ops.len(), 11, "{name}: {ops:?}");
        assert!(matches!(ops[10], Op::Linear { out: 10, bias: true }), "{name}: {ops:?}");
    }
    assert_eq!(ops("resnet", &classify).len(), 1 + 3 + 8 * 5 + 3 + 2 + 1);
    assert_eq!(ops("mobile", &classify).iter().filter(|op| **op == Op::Silu).count(), 1);
}

/// A classifier from elsewhere through every command, with PyTorch's own answers to compare with.
#[test]
fn an_imported_classifier_is_used_like_one_of_ours() {
    let folder = Folder::new();
    let (mean, std) = ("0.485,0.456,0.406", "0.229,0.224,0.225");
    let norm = ["--task", "classify", "--labels", "a,b,c", "--mean", mean, "--std", std];
    import("colours", &norm, &folder);
    let (model, pictures) = (folder.text("colours.safetensors"), EXPORTS.text("pictures"));

    let card = succeed(&["info", &model]);
    for words in [
        "classify",
        "imported from ONNX",
        "a, b, c",
        "40, 30",
        "gst-candle import ",
    ] {
        assert!(card.contains(words), "{words} is not in {card}");
    }
    let out = folder.text("out");
    succeed(&["run", &model, &pictures, "-o", &out, "--precision", "f32"]);
    let wanted = json("colours.json");
    let lines = std::fs::read_to_string(folder.path("out/results.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 12);
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let source = Path::new(line["source"].as_str().unwrap());
        let name = source.strip_prefix(EXPORTS.path("pictures")).unwrap().to_str().unwrap();
        let logits: Vec<f32> = serde_json::from_value(wanted[name].clone()).unwrap();
        let probabilities = softmax(&logits, 3, false);
        assert_eq!(line["label"], name[..1], "{name}");
        for (label, confidence) in line["labels"]
            .as_array()
            .unwrap()
            .iter()
            .zip(line["confidences"].as_array().unwrap())
        {
            let class = usize::from(label.as_str().unwrap().as_bytes()[0] - b'a');
            let found = confidence.as_f64().unwrap() as f32;
            assert!(
                (found - probabilities[class]).abs() < 1e-4,
                "{name}: {found}, not {}",
                probabilities[class]
            );
        }
    }
    assert_eq!(figures(&["eval", &model, &pictures])["accuracy"], 1.0);
    let calibrated = folder.text("calibrated.safetensors");
    succeed(&["calibrate", &model, &pictures, "-o", &calibrated]);
    assert!(Model::load(&calibrated).unwrap().calibration.is_some());
    // And back.
    let (onnx, again) = (folder.text("again.onnx"), folder.text("again.safetensors"));
    succeed(&["export", &calibrated, &onnx]);
    succeed(&["import", &onnx, "-o", &again]);
    assert_fails(
        &run(&[
            "import",
            &onnx,
            "-o",
            &folder.text("crop.safetensors"),
            "--resize",
            "crop",
        ]),
        &["again.onnx", "only labels can be given"],
    );
    super::assert_same(Path::new(&calibrated), Path::new(&again));
}

#[test]
fn files_that_cannot_be_imported_are_named() {
    let folder = Folder::new();
    let model = folder.text("m.safetensors");
    let onnx = |name: &str| EXPORTS.text(&format!("{name}.onnx"));
    let import = |file: &str, options: &[&str]| run(&[&["import", file, "-o", &model], options].concat());
    let classify = ["--task", "classify"];
    assert_fails(
        &import(&folder.text("none.onnx"), &classify),
        &["none.onnx", "No such file"],
    );
    assert_fails(&import(&onnx("plain"), &[]), &["plain.onnx", "give --task"]);
    assert_fails(
        &import(&onnx("resnet-any"), &classify),
        &["resnet-any.onnx", "give --size"],
    );
    assert_fails(
        &import(&onnx("resnet"), &["--task", "classify", "--size", "32x32"]),
        &["resnet.onnx", "64x64 alone"],
    );
    assert_fails(
        &import(&onnx("plain"), &["--task", "classify", "--labels", "a,b"]),
        &["plain.onnx", "2 labels", "10 outputs"],
    );
    assert_fails(
        &import(&onnx("plain"), &["--task", "denoise"]),
        &["plain.onnx", "denoise wants the picture's shape"],
    );
    assert_fails(
        &import(&onnx("plain-log-softmax"), &["--task", "embed"]),
        &["plain-log-softmax.onnx", "LogSoftmax"],
    );
    assert_fails(
        &import(&onnx("plain"), &["--task", "classify", "--mean", "1,2,3"]),
        &["--mean", "3 values for 1 channels"],
    );
    assert_fails(
        &import(&onnx("plain"), &["--task", "classify", "--std", "0"]),
        &["plain.onnx", "std"],
    );
    let whole = std::fs::read(onnx("plain")).unwrap();
    let half = folder.text("half.onnx");
    std::fs::write(&half, &whole[..whole.len() / 2]).unwrap();
    assert_fails(&import(&half, &classify), &["half.onnx", "cut off or damaged"]);
    std::fs::write(&half, b"<html>not found</html>").unwrap();
    assert_fails(&import(&half, &classify), &["half.onnx", "not an ONNX file"]);
    assert_fails(
        &run(&["import", &half, "-o", &half, "--task", "classify"]),
        &["half.onnx", "would replace it"],
    );
    let labels = folder.text("names.txt");
    std::fs::write(&labels, "a\nb\n").unwrap();
    assert_fails(
        &run(&[
            "import",
            &onnx("plain"),
            "-o",
            &labels,
            "--task",
            "classify",
            "--labels-file",
            &labels,
        ]),
        &["names.txt", "would replace it"],
    );
    std::fs::remove_file(&labels).unwrap();
    assert_fails(
        &import(&onnx("shuffle"), &["--task", "denoise", "--resize", "crop"]),
        &["shuffle.onnx", "--resize goes with a --size"],
    );
    assert_fails(&import(&folder.text(""), &classify), &["not a file"]);
    assert_eq!(folder.names(""), ["half.onnx"]);
}

/// Moves the weights of a file to one beside it, as exporters do with large networks.
const SPLIT: &str = "
import sys, onnx
model = onnx.load(sys.argv[1])
onnx.save_model(model, sys.argv[2], save_as_external_data=True, all_tensors_to_one_file=True, location='weights.data', size_threshold=100)
";

#[test]
fn weights_in_a_file_beside_are_found_there() {
    let folder = Folder::new();
    let (whole, split) = (EXPORTS.text("resnet.onnx"), folder.text("net.onnx"));
    let python = Command::new("/usr/bin/python3")
        .args(["-c", SPLIT, &whole, &split])
        .output()
        .unwrap();
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    let data = folder.path("weights.data");
    assert!(std::fs::metadata(&data).unwrap().len() > 1 << 20);
    let (a, b) = (folder.text("a.safetensors"), folder.text("b.safetensors"));
    let import = |onnx: &str, model: &str| run(&["import", onnx, "-o", model, "--task", "classify"]);
    assert!(import(&whole, &a).status.success());
    assert!(import(&split, &b).status.success());
    let (with, without) = (Model::load(&a).unwrap(), Model::load(&b).unwrap());
    assert!(with.weights == without.weights && with.graph == without.graph);

    let bytes = std::fs::read(&data).unwrap();
    std::fs::write(&data, &bytes[..bytes.len() - 1]).unwrap();
    assert_fails(
        &import(&split, &b),
        &["net.onnx", "weights.data: it ends before the weights"],
    );
    std::fs::remove_file(&data).unwrap();
    assert_fails(&import(&split, &b), &["net.onnx", "weights.data: No such file"]);
    // No file but those beside it is opened.
    let place = |location: &[u8; 12]| {
        let mut bytes = std::fs::read(&split).unwrap();
        let mut at = 0;
        while let Some(found) = bytes[at..].windows(12).position(|window| window == b"weights.data") {
            bytes[at + found..at + found + 12].copy_from_slice(location);
            at += found + 12;
        }
        bytes
    };
    for location in [b"../etc/hosts", b"/etc/./hosts", b"/etc/passwd/"] {
        std::fs::write(folder.path("elsewhere.onnx"), place(location)).unwrap();
        assert_fails(
            &import(&folder.text("elsewhere.onnx"), &b),
            &["elsewhere.onnx", "which is no file beside this one"],
        );
    }
}

/// Every shipped model is the same after it went through ONNX, which leaves out codes.
#[test]
fn exports_of_ours_come_back_as_they_were() {
    let folder = Folder::new();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let mut count = 0;
    for file in std::fs::read_dir(shipped).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_none_or(|end| end != "safetensors") {
            continue;
        }
        let (onnx, back) = (folder.text("m.onnx"), folder.text("m.safetensors"));
        succeed(&["export", file.to_str().unwrap(), &onnx]);
        succeed(&["import", &onnx, "-o", &back]);
        let (mut before, after) = (Model::load(&file).unwrap(), Model::load(&back).unwrap());
        if let Some(Calibration::Classify(calibration)) = &mut before.calibration
            && calibration.codes.take().is_some()
        {
            before.graph.outputs.truncate(1);
            before.graph.nodes.retain(|node| !node.name.starts_with("code"));
        }
        assert!(before == after, "{}: another model", file.display());
        count += 1;
    }
    assert!(count >= 9, "{count} models are shipped");
}

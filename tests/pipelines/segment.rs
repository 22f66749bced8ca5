//! Segmentation as a user runs it: live, into a file, and offline.

use std::path::Path;
use std::process::Command;

use gst_candle::data::pictures;
use gst_candle::pixels::Image;

use crate::{Folder, events, fail, frames, models, program, script, succeed};

/// A picture in colour that is different everywhere: waves of three lengths, and a light disc.
fn picture(path: &Path, number: usize, [width, height]: [usize; 2]) {
    let mut image = Image::filled(3, height, width, 0.0);
    let disc = [width / 3 + 7 * number % (width / 3), height / 2];
    for (i, value) in image.data.iter_mut().enumerate() {
        let (channel, x, y) = (i / (width * height), i % width, i / width % height);
        let wave = ((x + 3 * number) as f32 / (5.0 + channel as f32)).sin() * (y as f32 / 7.0).cos();
        let inside = x.abs_diff(disc[0]).pow(2) + y.abs_diff(disc[1]).pow(2) < (height / 5).pow(2);
        *value = if inside { 0.95 } else { 0.4 + 0.3 * wave };
    }
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    pictures::write(path, &image).unwrap();
}

fn gst_candle(arguments: &[&str]) -> Command {
    program(env!("CARGO_BIN_EXE_gst-candle"), arguments)
}

/// What `candlesegment output=mask` makes of a picture.
fn live_mask(folder: &Folder, picture: &str, model: &str, properties: &str) -> Image {
    let out = folder.text("live.png");
    let line = format!(
        "-q filesrc location={picture} ! pngdec ! candlesegment model-file={model} output=mask {properties} ! pngenc ! filesink location={out}"
    );
    succeed(program("gst-launch-1.0", &line.split(' ').collect::<Vec<_>>()));
    pictures::read(Path::new(&out)).unwrap()
}

#[test]
fn offline_masks_are_those_of_the_element() {
    let folder = Folder::new();
    let (data, model, out) = (folder.text("data"), folder.text("m.safetensors"), folder.text("out"));
    for number in 0..6 {
        let name = format!("{}.png", ["a", "b", "c", "d", "e", "f"][number]);
        let size = [60 + 9 * number, 50];
        picture(&folder.path().join("data/images").join(&name), number, size);
        let mask = pictures::read(&folder.path().join("data/images").join(&name)).unwrap();
        let mask = Image {
            channels: 1,
            data: mask
                .plane(0)
                .iter()
                .map(|value| if *value > 0.9 { 1.0 } else { 0.0 })
                .collect(),
            ..mask
        };
        std::fs::create_dir_all(folder.path().join("data/masks")).unwrap();
        pictures::write(&folder.path().join("data/masks").join(&name), &mask).unwrap();
    }
    // Of one size, so that frames are resized and what is found comes back enlarged; and of any.
    for (size, more) in [
        (&["--size", "32x32"][..], ""),
        (&["--patch", "32"], "threshold=0.3 min-area=9"),
    ] {
        let train = [
            "train", "segment", &data, "--val", &data, "--width", "4", "--depth", "2", "--steps", "6", "--batch", "4",
            "-o", &model,
        ];
        succeed(gst_candle(&[&train, size].concat()));
        // The background's level is where these pictures are told best, and what the model says of that is so; of masks at the network's size
        // only about.
        let figures = |arguments: &[&str]| -> serde_json::Value {
            serde_json::from_str(&succeed(gst_candle(&[arguments, &["--json", "-"]].concat()))).unwrap()
        };
        let card = figures(&["info", &model])["training"]["metrics"].clone();
        let judged = figures(&["eval", &model, &data, "--precision", "f32"])["iou"]
            .as_f64()
            .unwrap();
        let bound = if size[0] == "--patch" { 0.01 } else { 0.1 };
        assert_ne!(card["background_offset"], 0.0, "{size:?}");
        let off = (card["val_iou"].as_f64().unwrap() - judged).abs();
        assert!(off < bound, "{card}, {judged}, {size:?}");
        let images = folder.text("data/images");
        let run = ["run", &model, &images, "-o", &out];
        let options = if more.is_empty() {
            &[][..]
        } else {
            &["--threshold", "0.3", "--min-area", "9"]
        };
        succeed(gst_candle(&[&run, options].concat()));
        let mut marked = 0;
        for name in ["a", "c", "f"] {
            let offline = pictures::read(&folder.path().join(format!("out/masks/{name}.png"))).unwrap();
            let live = live_mask(&folder, &format!("{images}/{name}.png"), &model, more);
            assert!(offline == live, "{name} {size:?}");
            marked += offline.data.iter().filter(|value| **value > 0.0).count();
        }
        assert!(marked > 0, "{size:?}: nothing was found at all");
        // By these masks the same options of `eval` are right everywhere.
        let set = folder.text("set");
        std::fs::create_dir_all(&set).unwrap();
        for (name, target) in [("images", &images), ("masks", &folder.text("out/masks"))] {
            std::os::unix::fs::symlink(target, folder.path().join("set").join(name)).unwrap();
        }
        let eval = ["eval", &model, &set];
        assert_eq!(figures(&[&eval, options].concat())["pixel_accuracy"], 1.0);
        if !options.is_empty() {
            assert_ne!(figures(&eval)["pixel_accuracy"], 1.0);
        }
        std::fs::remove_dir_all(&set).unwrap();
        std::fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn offline_results_are_masks_pictures_and_lines() {
    let folder = Folder::new();
    let (model, out) = (folder.text("bands"), folder.text("out"));
    models::bands(Path::new(&model));
    // Dark, with a light square of 10 by 6 pixels; and dark.
    let mut image = Image::filled(1, 20, 30, 0.1);
    (4..10).for_each(|y| image.data[y * 30 + 12..][..10].fill(0.9));
    std::fs::create_dir_all(folder.path().join("in")).unwrap();
    pictures::write(&folder.path().join("in/a.png"), &image).unwrap();
    pictures::write(&folder.path().join("in/b.png"), &Image::filled(1, 20, 30, 0.1)).unwrap();
    std::fs::write(folder.path().join("in/c.png"), "no picture").unwrap();
    let input = folder.text("in");
    let (_, errors) = fail(gst_candle(&["run", &model, &input, "-o", &out]));
    assert!(errors.contains("c.png") && errors.contains("1 of 3"), "{errors}");
    assert!(errors.contains("1 of 2 pictures show more than background"), "{errors}");
    let names = |below: &str| {
        let entries = std::fs::read_dir(folder.path().join("out").join(below)).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(""), ["a.png", "b.png", "masks", "results.jsonl"]);
    assert_eq!(names("masks"), ["a.png", "b.png"]);
    let lines = std::fs::read_to_string(folder.path().join("out/results.jsonl")).unwrap();
    let lines = events(&lines);
    assert_eq!(lines[0]["label"], "white");
    assert_eq!(lines[0]["labels"], serde_json::json!(["background", "grey", "white"]));
    assert_eq!(lines[0]["shares"], serde_json::json!([0.9, 0.0, 0.1]));
    let region = serde_json::json!({ "x": 12, "y": 4, "width": 10, "height": 6, "area": 60, "label": "white" });
    assert_eq!(lines[0]["regions"], serde_json::json!([region]));
    assert_eq!(
        (&lines[0]["mask"], &lines[0]["picture"]),
        (&"masks/a.png".into(), &"a.png".into())
    );
    assert_eq!(
        (&lines[1]["label"], lines[1]["share"].to_string()),
        (&"".into(), "0.0".to_owned())
    );
    assert!(lines[2]["error"].as_str().unwrap().contains("c.png"));
    // The masks are what training reads: with the pictures, a data set.
    std::fs::remove_file(folder.path().join("in/c.png")).unwrap();
    std::fs::create_dir(folder.path().join("set")).unwrap();
    std::fs::rename(folder.path().join("in"), folder.path().join("set/images")).unwrap();
    std::fs::rename(folder.path().join("out/masks"), folder.path().join("set/masks")).unwrap();
    let figures = succeed(gst_candle(&["eval", &model, &folder.text("set"), "--json", "-"]));
    let figures: serde_json::Value = serde_json::from_str(&figures).unwrap();
    assert_eq!(
        (&figures["images"], &figures["pixel_accuracy"]),
        (&2.into(), &1.0.into())
    );
    // What was marked is not to be replaced.
    let (_, errors) = fail(gst_candle(&[
        "run",
        &model,
        &folder.text("set"),
        "-o",
        &folder.text("set"),
    ]));
    assert!(errors.contains("set/masks") && errors.contains("replace"), "{errors}");
    let lines = succeed(gst_candle(&["run", &model, &folder.text("set"), "-o", "-"]));
    let lines = events(&lines);
    assert_eq!((lines.len(), &lines[0]["mask"]), (2, &serde_json::Value::Null));
    let (_, errors) = fail(gst_candle(&["run", &model, &input, "-o", &folder.text("x.mp4")]));
    assert!(errors.contains("x.mp4") && errors.contains("folder"), "{errors}");
}

#[test]
fn a_video_is_written_with_its_classes_and_told() {
    let folder = Folder::new();
    models::bands(&folder.path().join("segment-magnetic-tile.safetensors"));
    let (input, out) = (folder.text("in.avi"), folder.text("out.mp4"));
    let line = format!(
        "-q videotestsrc num-buffers=6 pattern=white ! video/x-raw,format=I420,width=320,height=240,framerate=10/1 \
         ! jpegenc ! avimux ! filesink location={input}"
    );
    succeed(program("gst-launch-1.0", &line.split(' ').collect::<Vec<_>>()));
    let lines = succeed(script("segment-to-file.sh", &[&input, &out], folder.path()));
    let told = events(&lines);
    assert_eq!(told.len(), 1, "one class, which stays: {lines}");
    assert_eq!(
        (
            &told[0]["task"],
            &told[0]["label"],
            &told[0]["share"],
            &told[0]["model"]
        ),
        (
            &"segment".into(),
            &"white".into(),
            &1.0.into(),
            &"segment-magnetic-tile.safetensors".into()
        )
    );
    let schema: serde_json::Value = serde_json::from_str(include_str!("../../docs/event-1.schema.json")).unwrap();
    let mut strict = schema;
    strict["additionalProperties"] = false.into();
    let validator = jsonschema::validator_for(&strict).unwrap();
    if let Err(error) = validator.validate(&told[0]) {
        panic!("{error}: {}", told[0]);
    }
    let frames = frames(&out);
    assert_eq!(frames.len(), 6);
    // White became the class's yellow, which has little blue.
    let [red, blue] = [0, 2].map(|channel| frames[3].plane(channel)[160 * 240 / 2 + 40]);
    assert!(red > 0.8 && blue < 0.75, "{red} {blue}");
    let (_, errors) = fail(script(
        "segment-to-file.sh",
        &[&folder.text("none.avi"), &folder.text("x.mp4")],
        folder.path(),
    ));
    assert!(errors.contains("none.avi"), "{errors}");
    assert_eq!(
        folder.names(),
        ["in.avi", "out.mp4", "segment-magnetic-tile.safetensors"]
    );
}

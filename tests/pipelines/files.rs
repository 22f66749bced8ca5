//! The scripts that read or write files.

use std::path::Path;
use std::process::Stdio;

use gst_candle::data::pictures;
use gst_candle::pixels::Image;

use crate::{Folder, events, fail, fields, frames, models, program, script, succeed};

fn mean(image: &Image) -> f32 {
    image.data.iter().sum::<f32>() / image.data.len() as f32
}

#[test]
fn wrong_arguments_get_the_usage() {
    let none = Path::new("");
    for (name, arguments) in [
        ("denoise-to-file.sh", &["only.avi"][..]),
        ("folder-to-events.sh", &["only"]),
        ("rtsp-camera.sh", &[]),
        ("segment-to-file.sh", &["only.avi"]),
        ("snapshots.sh", &["only", "two"]),
        ("testsrc.sh", &["out.mp4", "20", "more"]),
        ("demo.sh", &[]),
        ("camera-to-mqtt.sh", &["/dev/video0", "model"]),
    ] {
        let (code, usage) = fail(script(name, arguments, none));
        assert_eq!(code, 2, "{name}");
        assert!(usage.contains(&format!("pipelines/{name} ")), "{usage}");
        assert!(!usage.contains("set -e") && !usage.contains('#'), "{name}: {usage}");
    }
}

#[test]
fn scripts_parse() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sh") {
            succeed(program("bash", &["-n", path.to_str().unwrap()]));
        }
    }
}

#[test]
fn testsrc_writes_a_video_and_events() {
    let folder = Folder::new();
    models::testsrc(folder.path());
    let out = folder.text("out.mp4");
    let lines = succeed(script("testsrc.sh", &[&out, "20"], folder.path()));
    let frames = frames(&out);
    assert_eq!(frames.len(), 20);
    assert_eq!([frames[0].width, frames[0].height], [480, 360]);
    let events = events(&lines);
    let schema = include_str!("../../docs/event-1.schema.json");
    let mut schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    schema["additionalProperties"] = false.into();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for event in &events {
        if let Err(error) = validator.validate(event) {
            panic!("{error}: {event}");
        }
    }
    // The first frame has a line of each element always.
    for (event, (element, model)) in events.iter().zip([
        ("candleanomaly0", "anomaly-testsrc.safetensors"),
        ("candleclassify0", "classify-testsrc.safetensors"),
    ]) {
        assert_eq!(event["frame"], 0, "{event}");
        assert_eq!(
            (&event["element"], &event["model"]),
            (&element.into(), &model.into()),
            "{event}"
        );
    }
}

#[test]
fn testsrc_runs_in_a_window_until_it_is_closed() {
    let folder = Folder::new();
    models::testsrc(folder.path());
    let mut command = script("testsrc.sh", &[], folder.path());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut child = crate::camera::Stopped(child);
    let line = child.first_line();
    assert_eq!(events(&line)[0]["frame"], 0, "{line}");
}

/// A grey video of five frames with sound; grey, because a denoiser takes each plane for itself.
fn recording(path: &str) {
    let launch = "videotestsrc pattern=solid-color foreground-color=0xff808080 num-buffers=5 \
        ! video/x-raw,format=GRAY8,width=64,height=48,framerate=10/1 ! jpegenc ! mux. \
        audiotestsrc num-buffers=10 ! audio/x-raw,rate=8000 ! mux. avimux name=mux ! filesink";
    let location = format!("location={path}");
    let arguments: Vec<&str> = launch.split_whitespace().chain([location.as_str()]).collect();
    succeed(program("gst-launch-1.0", &[&["-q"], &arguments[..]].concat()));
}

#[test]
fn denoise_to_file_keeps_each_frame() {
    let folder = Folder::new();
    let (input, out, model) = (folder.text("in.avi"), folder.text("out.mp4"), folder.text("half"));
    models::halving(Path::new(&model));
    recording(&input);
    succeed(script("denoise-to-file.sh", &[&input, &out, &model], folder.path()));
    let (before, after) = (frames(&input), frames(&out));
    assert_eq!((before.len(), after.len()), (5, 5));
    for (before, after) in before.iter().zip(&after) {
        let (before, after) = (mean(before), mean(after));
        assert!((after - 0.5 * before).abs() < 0.04, "{before} became {after}");
    }
    assert_eq!(folder.names(), ["half", "in.avi", "out.mp4"]);
}

#[test]
fn denoise_to_file_leaves_nothing_after_an_error() {
    let folder = Folder::new();
    let (input, out, model) = (folder.text("in.avi"), folder.text("out.mp4"), folder.text("half"));
    models::halving(Path::new(&model));
    std::fs::write(&out, "an earlier video").unwrap();
    let (_, errors) = fail(script("denoise-to-file.sh", &[&input, &out, &model], folder.path()));
    assert!(errors.contains("in.avi"), "{errors}");
    std::fs::write(&input, "no video").unwrap();
    fail(script("denoise-to-file.sh", &[&input, &out, &model], folder.path()));
    recording(&input);
    let (_, errors) = fail(script("denoise-to-file.sh", &[&input, &out], folder.path()));
    assert!(errors.contains("denoise-fast-gray.safetensors"), "{errors}");
    assert_eq!(folder.names(), ["half", "in.avi", "out.mp4"]);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "an earlier video");
}

/// A dark picture, with or without a bright square.
fn picture(path: &str, size: [usize; 2], spot: bool) {
    let [width, height] = size;
    let mut image = Image::filled(1, height, width, 0.1);
    if spot {
        for y in 8..24 {
            image.data[y * width + 16..][..16].fill(0.9);
        }
    }
    pictures::write(Path::new(path), &image).unwrap();
}

#[test]
fn folder_to_events_has_a_line_for_each_picture_in_order() {
    let folder = Folder::new();
    let inputs = Folder::new();
    let (out, model) = (folder.text("events.jsonl"), folder.text("bright"));
    models::brightness(Path::new(&model));
    let expected = [
        ("a first.jpg", [64, 48], false),
        ("b.PNG", [80, 40], true),
        ("c.jpeg", [96, 64], true),
        ("d.png", [48, 48], false),
        ("e.png", [80, 40], false),
    ];
    for (name, size, spot) in expected {
        picture(&inputs.text(name), size, spot);
    }
    std::fs::write(inputs.text("notes.txt"), "no picture").unwrap();
    let arguments = [inputs.path().to_str().unwrap(), &model, &out];
    succeed(script("folder-to-events.sh", &arguments, folder.path()));
    let events = events(&std::fs::read_to_string(&out).unwrap());
    assert_eq!(events.len(), expected.len());
    for (event, (name, _, spot)) in events.iter().zip(expected) {
        assert_eq!(
            fields(event),
            ["file", "score", "threshold", "anomalous", "regions"],
            "{event}"
        );
        assert_eq!((&event["file"], &event["anomalous"]), (&name.into(), &spot.into()));
        let regions = event["regions"].as_array().unwrap();
        assert_eq!(regions.len(), usize::from(spot), "{event}");
        for region in regions {
            let rectangle = ["x", "y", "width", "height"].map(|field| region[field].as_i64().unwrap());
            for (found, put) in rectangle.into_iter().zip([16, 8, 16, 16]) {
                assert!((found - put).abs() <= 1, "{event}");
            }
        }
    }
}

#[test]
fn folder_to_events_says_what_it_is_that_was_found() {
    let folder = Folder::new();
    let inputs = Folder::new();
    let [out, found, names] = ["events.jsonl", "bright", "light"].map(|name| folder.text(name));
    models::brightness(Path::new(&found));
    models::light(Path::new(&names));
    picture(&inputs.text("a.png"), [80, 40], true);
    picture(&inputs.text("b.png"), [80, 40], false);
    let arguments = [inputs.path().to_str().unwrap(), &found, &out, &names];
    succeed(script("folder-to-events.sh", &arguments, folder.path()));
    let events = events(&std::fs::read_to_string(&out).unwrap());
    for event in &events {
        let all = [
            "file",
            "score",
            "threshold",
            "anomalous",
            "label",
            "confidence",
            "regions",
        ];
        assert_eq!(fields(event), all, "{event}");
    }
    assert_eq!(events[0]["regions"][0]["label"], "bright");
    let told = |of: usize| [&events[of]["file"], &events[of]["anomalous"], &events[of]["label"]];
    assert_eq!(
        told(0),
        [&"a.png".into(), &true.into(), &"bright".into()] as [&serde_json::Value; 3]
    );
    assert_eq!(
        told(1),
        [&"b.png".into(), &false.into(), &"".into()] as [&serde_json::Value; 3]
    );

    let mut rarer = script("folder-to-events.sh", &arguments, folder.path());
    rarer.env("RATE", "0.01");
    succeed(rarer);
    let events = self::events(&std::fs::read_to_string(&out).unwrap());
    assert!(events.iter().all(|event| event["threshold"] == 0.75), "{events:?}");
}

#[test]
fn folder_to_events_names_what_it_cannot_read() {
    let folder = Folder::new();
    let inputs = Folder::new();
    let (out, model) = (folder.text("events.jsonl"), folder.text("bright"));
    models::brightness(Path::new(&model));
    let arguments = [inputs.path().to_str().unwrap(), &model, &out];
    let run = || {
        let (code, errors) = fail(script("folder-to-events.sh", &arguments, folder.path()));
        assert_eq!(code, 1, "{errors}");
        errors
    };
    let errors = run();
    assert!(errors.contains(&*inputs.path().to_string_lossy()), "{errors}");

    std::fs::write(inputs.text("broken.jpg"), "no picture").unwrap();
    run();
    picture(&inputs.text("a.jpg"), [64, 48], false);
    std::fs::write(inputs.text("empty.jpg"), "").unwrap();
    picture(&inputs.text("c.jpg"), [64, 48], false);
    let errors = run();
    assert!(
        errors.contains("broken.jpg")
            && errors.contains("empty.jpg")
            && !errors.contains("a.jpg")
            && !errors.contains("c.jpg"),
        "{errors}"
    );
    assert_eq!(folder.names(), ["bright"], "no events are left");

    std::fs::remove_dir_all(inputs.path()).unwrap();
    let errors = run();
    assert!(errors.contains("no such folder"), "{errors}");
}

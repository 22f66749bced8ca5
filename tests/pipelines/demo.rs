//! The demonstration: what it leaves, and how it judges. `make demo` runs it with the shipped models.

use std::path::Path;

use gst_candle::data::pictures;
use serde_json::{Value, json};

use crate::{Folder, errors, events, frames, models, program, script};

/// A frame that shows one whole part, with or without a region in its middle.
fn shows(index: u64, defect: &str, flagged: bool) -> Value {
    let region = json!({ "x": 40, "y": 40, "width": 10, "height": 10 });
    let regions = if flagged { vec![region] } else { Vec::new() };
    let part = json!({ "index": index, "defect": defect, "x": 0, "y": 0, "width": 100, "height": 100 });
    json!({ "regions": regions, "truth": [part] })
}

/// What `demo.jq` says of these frames of `seeded`: its lines, or its error.
fn judge(frames: &[Value], seeded: usize) -> Result<String, String> {
    let folder = Folder::new();
    let lines: Vec<String> = frames.iter().map(Value::to_string).collect();
    std::fs::write(folder.text("frames.jsonl"), lines.join("\n")).unwrap();
    let judge = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/demo.jq");
    let (judge, seeded, input) = (judge.to_str().unwrap(), seeded.to_string(), folder.text("frames.jsonl"));
    let arguments = [
        "-rs",
        "--argjson",
        "seeded",
        &seeded,
        "--argjson",
        "seconds",
        "7",
        "-f",
        judge,
        &input,
    ];
    let output = program("jq", &arguments).output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(errors(&output)),
    }
}

#[test]
fn parts_are_found_if_a_region_lies_in_one_of_their_frames() {
    let mut line = vec![json!({ "regions": [] })];
    for index in 0..10 {
        line.push(shows(index, "spot", false));
        line.push(shows(index, "spot", index > 0));
    }
    line.extend((10..60).map(|index| shows(index, "good", index == 10)));
    let told = judge(&line, 71).expect("90 % found, 2 % false alarms");
    for said in [
        "frames in:      71",
        "frames out:     71",
        "defects seeded: 10",
        "defects found:  9 (90 %)",
        "good parts:     50",
        "false alarms:   1 (2 %)",
    ] {
        assert!(told.contains(said), "{said}: {told}");
    }
    let lost = judge(&line, 72).expect_err("a frame is missing");
    assert!(lost.contains("a frame was lost"), "{lost}");
    let missed = [&line[..], &[shows(60, "chip", false)]].concat();
    let missed = judge(&missed, 72).expect_err("9 of 11 found");
    assert!(missed.contains("fewer than 90 %"), "{missed}");
    let alarm = [&line[..], &[shows(60, "good", true)]].concat();
    let alarm = judge(&alarm, 72).expect_err("2 of 51 flagged");
    assert!(alarm.contains("more than 2 %"), "{alarm}");
}

#[test]
fn it_leaves_a_video_a_picture_and_events_and_fails_where_the_line_is_misjudged() {
    let folder = Folder::new();
    // Flags every part, since the metal is bright.
    models::testsrc(folder.path());
    models::keeping(&folder.path().join("denoise-testsrc.safetensors"));
    let out = folder.text("out");
    let output = script("demo.sh", &[&out, "40"], folder.path()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("frames in:      40\nframes out:     40\n"), "{told}");
    let errors = errors(&output);
    assert!(
        !output.status.success() && errors.contains("more than 2 % of the good parts"),
        "{errors}"
    );
    let lines_of = |name: &str| events(&std::fs::read_to_string(format!("{out}/{name}")).unwrap());
    let video = frames(&format!("{out}/demo.mp4"));
    assert_eq!(video.len(), 40);
    let picture = pictures::read(Path::new(&format!("{out}/demo.png"))).unwrap();
    assert_eq!((picture.channels, picture.width, picture.height), (3, 480, 360));
    // One of the frames, and one whose part has a defect.
    let number = video
        .iter()
        .position(|frame| *frame == picture)
        .expect("a frame of the video");
    let lines = lines_of("frames.jsonl");
    let shown = lines.iter().find(|line| line["frame"] == number).expect("its line");
    let truth = &shown["truth"][0]["defect"];
    assert!(truth.is_string() && truth != "good", "frame {number} shows {truth}");
    for name in ["events.jsonl", "frames.jsonl"] {
        let lines = lines_of(name);
        for field in ["time", "score", "threshold", "state", "regions", "label"] {
            assert!(lines.iter().any(|line| line.get(field).is_some()), "{name}: {field}");
        }
    }
}

//! `gst-candle top` as a user runs it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use crate::{Folder, PLUGINS, environment, errors, events, fail, models, program, succeed};

/// `gst-candle top` with these arguments, split at spaces.
fn top(arguments: &str) -> Command {
    let arguments: Vec<&str> = std::iter::once("top").chain(arguments.split(' ')).collect();
    program(env!("CARGO_BIN_EXE_gst-candle"), &arguments)
}

/// A model that calls bright frames anomalous.
fn bright(folder: &Folder) -> String {
    models::brightness(&folder.path().join("bright"));
    folder.text("bright")
}

/// A model of the classes of brightness.
fn bands(folder: &Folder) -> String {
    models::bands(&folder.path().join("bands"));
    folder.text("bands")
}

const SOURCE: &str = "videotestsrc num-buffers=20 ! video/x-raw,format=GRAY8,width=64,height=48";

#[test]
fn each_candle_element_has_a_row() {
    let folder = Folder::new();
    let line = format!(
        "--interval 0.05 {SOURCE} ! candleanomaly name=eye model-file={} inference-interval=2 ! candleoverlay ! identity sleep-time=20000 ! \
         candlesegment name=mask model-file={} ! fakesink",
        bright(&folder),
        bands(&folder)
    );
    let text = succeed(top(&line));
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..4], ["element", "frames", "fps", "inferred"], "{text}");
    let rows = |name: &str| lines.iter().filter(|line| line[0] == name).collect::<Vec<_>>();
    assert!(rows("eye").len() > 2, "a row a look: {text}");
    let last = rows("eye").pop().unwrap();
    assert_eq!((last[1], last[3], last[4], last[5]), ("20", "10", "10", "0"), "{text}");
    let mask = rows("mask").pop().unwrap();
    assert_eq!((mask[1], mask[3], mask[4], mask[5]), ("20", "20", "0", "0"), "{text}");
    let overlay = rows("candleoverlay0").pop().unwrap();
    assert_eq!((overlay[1], overlay[3]), ("20", "-"), "{text}");
    assert!(text.ends_with(" s\n"), "the time ends it: {text}");
}

#[test]
fn figures_are_json_and_the_table_steps_aside() {
    let folder = Folder::new();
    let line = format!(
        "--json - --duration 0.5 videotestsrc is-live=true ! candledenoise name=it model-file={} ! candlepublish name=out \
         location={} ! fakesink sync=true",
        folder.text("keeping"),
        folder.text("events"),
    );
    models::keeping(&folder.path().join("keeping"));
    let output = top(&line).output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |name: &str, field: &str| {
        figures[name][field]
            .as_f64()
            .unwrap_or_else(|| panic!("{name}.{field}: {figures}"))
    };
    let frames = number("it", "frames");
    assert!(frames > 0.0 && figures["out"].is_object(), "{figures}");
    assert_eq!(frames, number("it", "inferred") + number("it", "late"), "{figures}");
    let seconds = figures["seconds"].as_f64().unwrap();
    assert!((frames / seconds - number("it", "fps")).abs() < 1.0, "{figures}");
    // A frame of the source, and the sink's allowance.
    assert!(figures["latency_ms"].as_f64().unwrap() >= 50.0, "{figures}");
    assert!(errors(&output).contains("inferred"), "{}", errors(&output));
}

#[test]
fn ctrl_c_ends_the_stream_in_order() {
    let folder = Folder::new();
    let events_file = folder.text("events");
    let line = format!(
        "--interval 0.05 videotestsrc is-live=true ! candleanomaly model-file={} ! candlepublish mode=all location={events_file} ! fakesink",
        bright(&folder)
    );
    // Without `timeout`, which hands on one signal as two, and the second ends the program at once.
    let mut child = environment(&mut Command::new(env!("CARGO_BIN_EXE_gst-candle")), &PLUGINS)
        .args(["top", "--duration", "60"])
        .args(line.split(' '))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    output.read_line(&mut text).unwrap();
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
    output.read_to_string(&mut text).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", errors(&ended));
    assert!(text.contains("latency of the pipeline"), "{text}");
    // The last event is whole.
    assert!(!events(&std::fs::read_to_string(events_file).unwrap()).is_empty());
}

#[test]
fn what_cannot_run_is_named() {
    let folder = Folder::new();
    let cases = [
        (
            "videotestsrc ! fakesink".to_owned(),
            ["no candle element", "gst-launch-1.0"],
        ),
        (
            "candletestsrc ! nonsense ! fakesink".to_owned(),
            ["cannot be made", "nonsense"],
        ),
        (
            format!(
                "{SOURCE} ! candleanomaly name=eye model-file={} ! fakesink",
                folder.text("absent")
            ),
            ["eye: ", "absent"],
        ),
        (
            format!(
                "filesrc name=disk location={} ! decodebin ! candleoverlay ! fakesink",
                folder.text("absent")
            ),
            ["disk: ", "absent"],
        ),
        (
            "--json /nowhere/figures.json candletestsrc ! fakesink".to_owned(),
            ["/nowhere", "figures.json"],
        ),
    ];
    for (line, words) in cases {
        let (code, errors) = fail(top(&line));
        assert_eq!(code, 1, "{line}: {errors}");
        let error = errors
            .lines()
            .find(|line| line.starts_with("error: "))
            .unwrap_or_else(|| panic!("{line}: {errors}"));
        assert!(words.iter().all(|word| error.contains(word)), "{line}: {error}");
    }
    let (code, errors) = fail(program(env!("CARGO_BIN_EXE_gst-candle"), &["top"]));
    assert_eq!(code, 2, "{errors}");
}

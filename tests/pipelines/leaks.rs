//! What GStreamer's own tracer says of objects that outlive a pipeline.

use std::process::Command;

use crate::{Folder, errors, models, program};

/// Runs a program to its end under the tracer; what it says.
fn traced(mut command: Command) -> String {
    command
        .env("GST_TRACERS", "leaks")
        .env("GST_DEBUG", "GST_TRACER:7")
        .env("GST_DEBUG_NO_COLOR", "1");
    let output = command.output().unwrap();
    let said = errors(&output);
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// The objects that the tracer names.
fn alive(said: &str) -> Vec<&str> {
    said.lines()
        .filter_map(|line| line.split_once(":: object-alive, "))
        .map(|(_, object)| object)
        .collect()
}

/// Asked while the pipeline plays, the tracer names what there is: it is there, and read as it should be.
#[test]
fn the_tracer_tells_of_what_is_alive() {
    let folder = Folder::new();
    let line = "candletestsrc is-live=true num-buffers=1000 ! fakesink";
    // The trace says when it has been asked, and is what the test reads in the end.
    let script = r#"
        await() { until grep -q "$1" "$2" 2>/dev/null; do sleep 0.1; done; }
        gst-launch-1.0 -m $1 >"$0/said" 2>"$0/trace" &
        await 'new-state=(GstState)playing' "$0/said"
        kill -USR1 $!
        await 'object-alive, .*candletestsrc0' "$0/trace"
        kill -INT $!
        wait $!
        code=$?
        cat "$0/trace" >&2
        exit $code"#;
    let mut command = program("bash", &["-c", script, &folder.text(""), line]);
    command.env("GST_LEAKS_TRACER_SIG", "1");
    let said = traced(command);
    assert!(
        alive(&said).iter().any(|object| object.contains("candletestsrc0")),
        "{said}"
    );
}

#[test]
fn nothing_is_left_of_a_pipeline_that_has_ended() {
    let folder = Folder::new();
    models::testsrc(folder.path());
    let model = |name: &str| folder.text(&format!("{name}-testsrc.safetensors"));
    let source = "candletestsrc num-buffers=5 ! video/x-raw,format=RGB,width=64,height=48";
    let denoise = format!("candledenoise watch-model=true model-file={}", model("denoise"));
    let anomaly = format!("candleanomaly post-messages=all model-file={}", model("anomaly"));
    let heatmap = format!("candleanomaly output=side-by-side model-file={}", model("anomaly"));
    let classify = format!(
        "candleclassify regions=metas post-messages=all model-file={}",
        model("classify")
    );
    models::bands(&folder.path().join("segment-testsrc.safetensors"));
    let segment = format!(
        "candlesegment output=overlay post-messages=all model-file={}",
        model("segment")
    );
    let publish = format!(
        "candlepublish post-messages=all location={}",
        folder.text("events.jsonl")
    );
    let snapshot = format!(
        "candleanomaly threshold=0 model-file={} ! candlesnapshot location={} on=anomalous clip-after=1000000000",
        model("anomaly"),
        folder.text("flagged")
    );
    let all = format!("{denoise} ! {anomaly} ! {classify} ! {segment} ! candleoverlay show-truth=true ! {publish}");
    for elements in [
        &denoise, &anomaly, &heatmap, &classify, &segment, &publish, &snapshot, &all,
    ] {
        let mut command = program("gst-launch-1.0", &["-q"]);
        command.args(format!("{source} ! {elements} ! fakesink").split_whitespace());
        let said = traced(command);
        assert_eq!(alive(&said), Vec::<&str>::new(), "{elements}");
    }
    let flagged = std::fs::read_dir(folder.text("flagged")).unwrap().flatten();
    let clips = flagged.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "mkv"));
    assert_eq!(clips.count(), 1);
}

//! Runs that are stopped and go on.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Folder, assert_same, gst_candle, parts, run, succeed};

/// Options of a run of some seconds that saves a checkpoint after every step.
fn long_run<'a>(data: &'a str, output: &'a str) -> Vec<&'a str> {
    let options = [
        "--arch",
        "micro",
        "--batch",
        "4",
        "--patch",
        "32",
        "--steps",
        "200",
        "--checkpoint-every",
        "0",
    ];
    [&["train", "denoise", data, "-o", output], &options[..]].concat()
}

/// Starts the run and waits until its first checkpoint is there.
fn start(arguments: &[&str], checkpoint: &Path) -> Child {
    let child = gst_candle(arguments).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while !checkpoint.exists() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "no checkpoint after a minute"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

#[test]
fn a_killed_run_goes_on_to_the_same_file() {
    let folder = Folder::new();
    parts(&folder.path("clean"), 4, [48, 48]);
    let data = folder.text("clean");
    let (whole, broken) = (folder.text("whole.safetensors"), folder.text("broken.safetensors"));
    succeed(&long_run(&data, &whole));
    // Killed twice, so that a resumed run is broken off, too.
    for resume in [false, true] {
        let mut arguments = long_run(&data, &broken);
        if resume {
            arguments.push("--resume");
        }
        let mut child = start(&arguments, &folder.path("broken.safetensors.ckpt"));
        std::thread::sleep(Duration::from_millis(100));
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "it was to be killed in the middle");
        assert!(!folder.path("broken.safetensors").exists());
    }
    succeed(&[&long_run(&data, &broken)[..], &["--resume"]].concat());
    assert_same(&folder.path("whole.safetensors"), &folder.path("broken.safetensors"));
    assert!(!folder.path("broken.safetensors.ckpt").exists());
}

#[test]
fn ctrl_c_saves_and_other_options_are_refused() {
    let folder = Folder::new();
    parts(&folder.path("clean"), 4, [48, 48]);
    let (data, model) = (folder.text("clean"), folder.text("m.safetensors"));
    let child = start(&long_run(&data, &model), &folder.path("m.safetensors.ckpt"));
    assert!(
        Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(
        text.contains("--resume") && text.contains("m.safetensors.ckpt"),
        "{text}"
    );

    let mut other = long_run(&data, &model);
    other.extend(["--resume", "--lr", "0.5"]);
    let output = run(&other);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("m.safetensors.ckpt") && text.contains("`lr`"), "{text}");

    parts(&folder.path("clean"), 5, [48, 48]);
    let output = run(&[&long_run(&data, &model)[..], &["--resume"]].concat());
    assert!(String::from_utf8_lossy(&output.stderr).contains("`data`"), "{output:?}");
}

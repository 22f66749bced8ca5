//! Runs that are stopped and go on.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use gst_candle::train::checkpoint::{Checkpoint, State};

use super::errors::assert_fails;
use super::{Folder, assert_same, classes, gst_candle, interrupt, parts, run, succeed};

/// What a run that saves a checkpoint after every step trains.
struct Recipe {
    task: &'static str,
    options: &'static [&'static str],
    steps: &'static str,
}

const DENOISE: Recipe = Recipe {
    task: "denoise",
    options: &["--arch", "micro", "--batch", "4", "--patch", "32"],
    steps: "120",
};
/// With batch norms, whose running figures are the training's, too.
const ANOMALY: Recipe = Recipe {
    task: "anomaly",
    options: &["--arch", "fair", "--width", "2", "--size", "32x32", "--batch", "4"],
    steps: "60",
};
const CLASSIFY: Recipe = Recipe {
    task: "classify",
    options: &[
        "--arch", "tiny", "--width", "2", "--depth", "2", "--size", "16x16", "--batch", "4",
    ],
    steps: "200",
};

impl Recipe {
    fn arguments<'a>(&'a self, data: &'a str, output: &'a str) -> Vec<&'a str> {
        let run = ["train", self.task, data, "-o", output];
        let length = ["--steps", self.steps, "--checkpoint-every", "0"];
        [&run[..], self.options, &length].concat()
    }
}

/// Starts the run and waits until its checkpoint has got to `step`.
fn start(arguments: &[&str], checkpoint: &Path, step: u64) -> Child {
    let child = gst_candle(arguments).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while !Checkpoint::load(checkpoint).is_ok_and(|saved| saved.state.step >= step) {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "no checkpoint of step {step} after a minute"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

/// Kills a run twice, so that a resumed one is broken off, too; it must end with the file of a run that nobody killed.
fn goes_on_to_the_same_file(recipe: &Recipe, write_data: fn(&Path)) {
    let folder = Folder::new();
    write_data(&folder.path("data"));
    let data = folder.text("data");
    let (whole, broken) = (folder.text("whole.safetensors"), folder.text("broken.safetensors"));
    let checkpoint = folder.path("broken.safetensors.ckpt");
    succeed(&recipe.arguments(&data, &whole));
    let begun = recipe.arguments(&data, &broken);
    let resumed = [&begun[..], &["--resume"]].concat();
    let mut step = 2;
    for arguments in [&begun, &resumed] {
        let mut child = start(arguments, &checkpoint, step);
        child.kill().unwrap();
        assert_eq!(
            child.wait().unwrap().signal(),
            Some(9),
            "it was to be killed in the middle"
        );
        let State { step: saved, total, .. } = Checkpoint::load(&checkpoint).unwrap().state;
        assert!((step..total).contains(&saved), "{saved} of {total} steps were done");
        step = saved + 2;
        assert!(!folder.path("broken.safetensors").exists());
    }
    succeed(&resumed);
    assert_same(&folder.path("whole.safetensors"), &folder.path("broken.safetensors"));
    assert!(!checkpoint.exists());
}

#[test]
fn a_killed_denoise_run_goes_on_to_the_same_file() {
    goes_on_to_the_same_file(&DENOISE, |folder| parts(folder, 4, [48, 48]));
}

#[test]
fn a_killed_anomaly_run_goes_on_to_the_same_file() {
    goes_on_to_the_same_file(&ANOMALY, |folder| parts(folder, 16, [32, 32]));
}

#[test]
fn a_killed_classify_run_goes_on_to_the_same_file() {
    goes_on_to_the_same_file(&CLASSIFY, |folder| classes(folder, 8, [20, 16]));
}

#[test]
fn ctrl_c_saves_and_other_options_are_refused() {
    let folder = Folder::new();
    parts(&folder.path("clean"), 4, [48, 48]);
    let (data, model) = (folder.text("clean"), folder.text("m.safetensors"));
    let output = run(&[&DENOISE.arguments(&data, &model)[..], &["--resume"]].concat());
    assert_fails(&output, &["m.safetensors.ckpt", "no checkpoint", "--resume"]);

    let child = start(&DENOISE.arguments(&data, &model), &folder.path("m.safetensors.ckpt"), 1);
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(
        text.contains("--resume") && text.contains("m.safetensors.ckpt"),
        "{text}"
    );

    let mut other = DENOISE.arguments(&data, &model);
    other.extend(["--resume", "--lr", "0.5"]);
    let output = run(&other);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("m.safetensors.ckpt") && text.contains("`lr`"), "{text}");

    parts(&folder.path("clean"), 5, [48, 48]);
    let output = run(&[&DENOISE.arguments(&data, &model)[..], &["--resume"]].concat());
    assert!(String::from_utf8_lossy(&output.stderr).contains("`data`"), "{output:?}");
}

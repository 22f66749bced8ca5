//! Bad input: always one line that names the file, exit code 1, nothing half-written.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use super::{Folder, classes, gst_candle, part, parts, run, succeed, write};

/// Asserts one line `error: …` that names all of `words`, exit code 1 and no panic.
pub fn assert_fails(output: &Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{text}");
    assert!(words.iter().all(|word| errors[0].contains(word)), "{words:?} in {text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn data_that_cannot_be_trained_on() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("empty")).unwrap();
    parts(&folder.path("broken"), 3, [40, 40]);
    std::fs::write(folder.path("broken/torn.png"), b"\x89PNG\r\n\x1a\n and no more").unwrap();
    parts(&folder.path("few"), 3, [40, 40]);
    classes(&folder.path("one"), 3, [40, 40]);
    std::fs::remove_dir_all(folder.path("one/marked")).unwrap();
    let model = folder.text("m.safetensors");
    let train = |task: &str, data: &str| run(&["train", task, &folder.text(data), "--steps", "1", "-o", &model]);
    assert_fails(&train("denoise", "empty"), &["empty"]);
    assert_fails(&train("denoise", "missing"), &["missing"]);
    assert_fails(&train("denoise", "broken"), &["torn.png"]);
    assert_fails(&train("anomaly", "few"), &["few", "3 good pictures"]);
    assert_fails(&train("classify", "few"), &["few", "classes"]);
    assert_fails(&train("classify", "one"), &["one", "only the class `plain`"]);
    let unknown = run(&[
        "train",
        "denoise",
        &folder.text("few"),
        "--arch",
        "vgg",
        "--steps",
        "1",
        "-o",
        &model,
    ]);
    assert_fails(&unknown, &["vgg", "fast"]);
    assert_eq!(folder.names(""), ["broken", "empty", "few", "one"]);
}

#[test]
fn output_that_cannot_be_written_is_said_before_training() {
    let folder = Folder::new();
    parts(&folder.path("good"), 3, [40, 40]);
    let (data, output) = (folder.text("good"), folder.text("no/such/m.safetensors"));
    // A billion steps: it must not begin.
    let train = |output: &str| run(&["train", "denoise", &data, "--steps", "1000000000", "-o", output]);
    assert_fails(&train(&output), &[&output]);
    assert_fails(&train(&data), &[&data, "folder"]);
}

#[test]
fn models_and_labels_that_do_not_fit() {
    let folder = Folder::new();
    parts(&folder.path("good"), 20, [40, 40]);
    classes(&folder.path("classes"), 4, [32, 32]);
    classes(&folder.path("others"), 2, [32, 32]);
    for (class, other) in [("plain", "dented"), ("marked", "bent")] {
        std::fs::rename(folder.path("others").join(class), folder.path("others").join(other)).unwrap();
    }
    let (good, denoiser, classifier) = (
        folder.text("good"),
        folder.text("d.safetensors"),
        folder.text("c.safetensors"),
    );
    succeed(&[
        "train", "denoise", &good, "--arch", "micro", "--steps", "1", "--batch", "1", "--patch", "16", "-o", &denoiser,
    ]);
    let data = folder.text("classes");
    succeed(&[
        "train",
        "classify",
        &data,
        "--arch",
        "lenet",
        "--steps",
        "1",
        "--batch",
        "2",
        "-o",
        &classifier,
    ]);

    assert_fails(
        &run(&["eval", &classifier, &folder.text("others")]),
        &["others", "bent"],
    );
    assert_fails(&run(&["eval", &classifier, &good]), &["good"]);
    assert_fails(
        &run(&["eval", &denoiser, &good]),
        &["d.safetensors is a denoiser", "--sigma"],
    );
    assert_fails(
        &run(&["eval", &classifier, &good, "--sigma", "25"]),
        &["c.safetensors", "classify"],
    );
    assert_fails(&run(&["calibrate", &denoiser, &good]), &["d.safetensors", "denoise"]);
    assert_fails(
        &run(&["run", &classifier, &good, "-o", &folder.text("x.mp4")]),
        &["x.mp4"],
    );
    assert_fails(
        &run(&["run", &denoiser, &good, "-o", &folder.text("one.png")]),
        &["one.png", "folder"],
    );
    assert_fails(&run(&["run", &denoiser, &good, "-o", "-"]), &["-o -", "pictures"]);
    let picture = format!("{good}/{}", folder.names("good")[0]);
    let before = std::fs::read(&picture).unwrap();
    for input in [&good, &picture] {
        assert_fails(&run(&["run", &denoiser, input, "-o", &good]), &[&good, "replace", "-o"]);
    }
    assert_eq!(std::fs::read(&picture).unwrap(), before);
    assert_fails(
        &run(&["run", &denoiser, &folder.text("nothing"), "-o", &folder.text("out")]),
        &["nothing"],
    );
    assert_fails(
        &run(&["info", &folder.text("missing.safetensors")]),
        &["missing.safetensors"],
    );
    let half = std::fs::read(folder.path("d.safetensors")).unwrap();
    std::fs::write(folder.path("half.safetensors"), &half[..half.len() / 2]).unwrap();
    assert_fails(&run(&["info", &folder.text("half.safetensors")]), &["half.safetensors"]);
    write(&folder.path("pairs/noisy/a.png"), &part(0, 40, 40, false));
    write(&folder.path("pairs/clean/a.png"), &part(0, 40, 36, false));
    assert_fails(&run(&["eval", &denoiser, &folder.text("pairs")]), &["clean/a.png"]);
    assert_eq!(folder.names("").len(), 7, "{:?}", folder.names(""));
}

#[test]
fn cuda_in_a_build_without_it() {
    let folder = Folder::new();
    parts(&folder.path("good"), 3, [40, 40]);
    let (data, output) = (folder.text("good"), folder.text("m.safetensors"));
    let asked = run(&[
        "train", "denoise", &data, "--steps", "1", "--device", "cuda:9", "-o", &output,
    ]);
    assert_fails(&asked, &["cuda:9"]);
    let wrong = gst_candle(&["train", "denoise", &data, "--device", "tpu", "-o", &output])
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

/// Runs the program with `arguments`, some of them files in `place`, by a shell script that gets the command as `$@`.
fn run_in(place: &Path, script: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_gst-candle")]);
    command
        .args(arguments)
        .env("PLACE", place)
        .env("LC_ALL", "C")
        .output()
        .unwrap()
}

/// Makes the folder `out` a file system of `size`, runs the program there, and asserts that it fails for want of space, naming the
/// output (the last of `arguments`), and leaves nothing. Says so where file systems cannot be mounted.
pub fn assert_full_disk_leaves_nothing(folder: &Folder, size: &str, arguments: &[&str]) {
    let (out, output) = (folder.path("out"), arguments[arguments.len() - 1]);
    assert!(Path::new(output).starts_with(&out));
    std::fs::create_dir_all(&out).unwrap();
    let mount = format!("mount -t tmpfs -o size={size} none \"$PLACE\"");
    let possible = Command::new("unshare")
        .args(["-rm", "sh", "-c", &mount])
        .env("PLACE", &out)
        .output();
    if !possible.is_ok_and(|o| o.status.success()) {
        // Unlike eprintln's, this line is seen even where tests that pass are silent.
        let line = format!("skipped for {output}: this machine lets nobody mount a small file system\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return;
    }
    // The mount is seen in the script's namespace alone, so that is where what is left is listed.
    let script = format!("unshare -rm sh -c '{mount}; \"$@\"; code=$?; ls -A \"$PLACE\"; exit $code' sh \"$@\"");
    let ran = run_in(&out, &script, arguments);
    assert_fails(&ran, &[output, "No space left"]);
    let left = String::from_utf8_lossy(&ran.stdout);
    assert!(left.is_empty(), "left behind: {left}");
}

/// Arguments of a training of one step whose model takes two megabytes.
fn train_large<'a>(data: &'a str, output: &'a str) -> [&'a str; 13] {
    [
        "train", "denoise", data, "--arch", "ffdnet", "--steps", "1", "--batch", "1", "--patch", "16", "-o", output,
    ]
}

#[test]
fn a_file_that_cannot_grow_leaves_nothing() {
    let folder = Folder::new();
    parts(&folder.path("good"), 3, [40, 40]);
    std::fs::create_dir(folder.path("out")).unwrap();
    // The shell's limit is in blocks of 512 bytes.
    let script = "trap '' XFSZ; ulimit -f 200; exec \"$@\"";
    let (data, output) = (folder.text("good"), folder.text("out/m.safetensors"));
    let ran = run_in(&folder.path("out"), script, &train_large(&data, &output));
    assert_fails(&ran, &["m.safetensors", "too large"]);
    assert!(folder.names("out").is_empty(), "{:?}", folder.names("out"));
}

#[test]
fn a_full_disk_leaves_no_model() {
    let folder = Folder::new();
    parts(&folder.path("good"), 3, [40, 40]);
    let (data, output) = (folder.text("good"), folder.text("out/m.safetensors"));
    assert_full_disk_leaves_nothing(&folder, "64k", &train_large(&data, &output));
}

#[test]
fn figures_that_cannot_be_written_are_said_before_they_are_worked_out() {
    let folder = Folder::new();
    parts(&folder.path("good"), 2, [40, 40]);
    let (data, model, json) = (
        folder.text("good"),
        folder.text("m.safetensors"),
        folder.text("no/such/x.json"),
    );
    succeed(&[
        "train", "denoise", &data, "--arch", "micro", "--steps", "1", "--batch", "1", "--patch", "16", "-o", &model,
    ]);
    for arguments in [
        &["eval", &model, &data, "--sigma", "25", "--json", &json][..],
        &["bench", &model, "--size", "64x64", "--json", &json],
    ] {
        let output = run(arguments);
        assert_fails(&output, &[&json, "no folder"]);
        assert!(output.stdout.is_empty(), "{arguments:?} has worked them out");
    }
}

#[test]
fn a_model_is_not_replaced_by_what_is_made_of_it() {
    let folder = Folder::new();
    parts(&folder.path("good"), 2, [40, 40]);
    let (data, model) = (folder.text("good"), folder.text("m.safetensors"));
    succeed(&[
        "train", "denoise", &data, "--arch", "micro", "--steps", "1", "--batch", "1", "--patch", "16", "-o", &model,
    ]);
    let before = std::fs::read(folder.path("m.safetensors")).unwrap();
    // The same file by another name.
    let same = folder.text("good/../m.safetensors");
    for arguments in [
        &["export", &model, &same][..],
        &["eval", &model, &data, "--sigma", "25", "--json", &same],
        &["bench", &model, "--size", "64x64", "--json", &same],
        &["info", &model, "--json", &same],
    ] {
        assert_fails(&run(arguments), &["m.safetensors: what is written would replace it"]);
    }
    let picture = folder.text("good/000.png");
    assert_fails(
        &run(&["train", "denoise", &picture, "--steps", "1", "-o", &picture]),
        &["000.png: what is written would replace it"],
    );
    assert!(before == std::fs::read(folder.path("m.safetensors")).unwrap());
}

#[test]
fn a_cause_is_said_once() {
    let folder = Folder::new();
    parts(&folder.path("good"), 2, [40, 40]);
    let missing = folder.text("none");
    let line = format!("error: {missing}: No such file or directory (os error 2)\n");
    for arguments in [
        &["info", &missing][..],
        &["train", "denoise", &missing, "-o", &folder.text("m.safetensors")],
    ] {
        assert_eq!(String::from_utf8_lossy(&run(arguments).stderr), line);
    }
}

#[test]
fn an_unreadable_picture_ends_every_command_but_run() {
    let folder = Folder::new();
    parts(&folder.path("good"), 16, [40, 40]);
    let (data, model) = (folder.text("good"), folder.text("m.safetensors"));
    succeed(&[
        "train", "anomaly", &data, "--width", "2", "--size", "32x32", "--steps", "2", "--batch", "2", "-o", &model,
    ]);
    let before = std::fs::read(folder.path("m.safetensors")).unwrap();
    for arguments in [
        &["calibrate", &model, &data, "--unknown-rate", "0.1"][..],
        &["run", &model, &data, "-o", "-", "--sigma", "25"],
    ] {
        assert_fails(&run(arguments), &["m.safetensors: --", "is for", "`anomaly`"]);
    }
    let whole = std::fs::read(folder.path("good/000.png")).unwrap();
    std::fs::write(folder.path("good/torn.png"), &whole[..whole.len() / 2]).unwrap();

    assert_fails(&run(&["eval", &model, &data]), &["good/torn.png"]);
    assert_fails(&run(&["calibrate", &model, &data]), &["good/torn.png"]);
    assert!(before == std::fs::read(folder.path("m.safetensors")).unwrap());

    // The others are gone through, also those behind it.
    std::fs::write(folder.path("good/z.png"), whole).unwrap();
    let found = run(&["run", &model, &data, "-o", &folder.text("found")]);
    assert_fails(&found, &["good/torn.png", "1 of 18 pictures could not be read"]);
    let mut names = folder.names("good");
    names.retain(|name| name != "torn.png");
    names.insert(16, "results.jsonl".into());
    assert_eq!(folder.names("found"), names);
    let lines = std::fs::read_to_string(folder.path("found/results.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 18);
    let source = lines[16]["source"].as_str().unwrap();
    assert!(source.ends_with("good/torn.png"), "{}", lines[16]);
    assert!(
        lines[16]["error"].as_str().unwrap().contains("torn.png"),
        "{}",
        lines[16]
    );
    assert!(
        lines[17]["score"].is_f64() && lines[17]["error"].is_null(),
        "{}",
        lines[17]
    );
    assert_eq!(folder.names(""), ["found", "good", "m.safetensors"]);
}

#[test]
fn an_unreadable_picture_is_named_by_every_command_of_the_other_tasks() {
    let folder = Folder::new();
    classes(&folder.path("data"), 4, [32, 32]);
    let (data, classifier, denoiser) = (
        folder.text("data"),
        folder.text("c.safetensors"),
        folder.text("d.safetensors"),
    );
    let marked = folder.text("data/marked");
    let length = ["--steps", "1", "--batch", "2", "-o"];
    let train = |options: &[&str], model| succeed(&[&["train"], options, &length, &[model]].concat());
    train(&["classify", &data, "--arch", "lenet"], &classifier);
    train(&["denoise", &marked, "--arch", "micro", "--patch", "16"], &denoiser);
    std::fs::write(folder.path("data/marked/a-torn.png"), b"P5 9").unwrap();
    let torn = "marked/a-torn.png";
    for command in ["eval", "calibrate"] {
        assert_fails(
            &run(&[command, &classifier, &data, "--false-alarm-rate", "0.1"]),
            &["c.safetensors", "--false-alarm-rate is for"],
        );
    }
    let out = folder.text("out");
    for arguments in [
        &["eval", &classifier, &data][..],
        &["calibrate", &classifier, &data],
        &["run", &classifier, &marked, "-o", &out],
        &["eval", &denoiser, &marked, "--sigma", "25"],
        &["run", &denoiser, &marked, "-o", &out],
    ] {
        assert_fails(&run(arguments), &[torn]);
    }
    let mut results = folder.names("data/marked");
    results.retain(|name| name != "a-torn.png");
    results.push("results.jsonl".into());
    assert_eq!(folder.names("out"), results);
    assert_eq!(folder.names(""), ["c.safetensors", "d.safetensors", "data", "out"]);
}

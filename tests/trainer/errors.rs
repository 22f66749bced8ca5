//! Bad input: always one line that names the file, exit code 1, nothing half-written.

use std::process::{Command, Output};

use super::{Folder, classes, gst_candle, part, parts, run, succeed, write};

/// Asserts one line `error: …` that names all of `words`, exit code 1 and no panic.
fn assert_fails(output: &Output, words: &[&str]) {
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
    assert_fails(&train("classify", "one"), &["one", "1 classes"]);
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
    std::fs::rename(folder.path("others/plain"), folder.path("others/dented")).unwrap();
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
        &["others", "dented"],
    );
    assert_fails(&run(&["eval", &classifier, &good]), &["good"]);
    assert_fails(&run(&["eval", &denoiser, &good]), &["--sigma"]);
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

/// Runs a training whose output lies in `place` by a shell script that gets the program's command as `$@`.
fn train_in(place: &str, script: &str, data: &str) -> Output {
    let program = env!("CARGO_BIN_EXE_gst-candle");
    let options = [
        "--arch", "ffdnet", "--steps", "1", "--batch", "1", "--patch", "16", "-o",
    ];
    let output = format!("{place}/m.safetensors");
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh", program, "train", "denoise", data])
        .args(options)
        .arg(output);
    command.env("PLACE", place).output().unwrap()
}

#[test]
fn a_file_that_cannot_grow_leaves_nothing() {
    let folder = Folder::new();
    parts(&folder.path("good"), 3, [40, 40]);
    std::fs::create_dir(folder.path("out")).unwrap();
    // The shell's limit is in blocks of 512 bytes; the model takes two megabytes.
    let script = "trap '' XFSZ; ulimit -f 200; exec \"$@\"";
    let output = train_in(&folder.text("out"), script, &folder.text("good"));
    assert_fails(&output, &["m.safetensors", "too large"]);
    assert!(folder.names("out").is_empty(), "{:?}", folder.names("out"));
}

#[test]
fn a_full_disk_leaves_nothing() {
    let folder = Folder::new();
    parts(&folder.path("good"), 3, [40, 40]);
    std::fs::create_dir(folder.path("out")).unwrap();
    let mount = "mount -t tmpfs -o size=64k none \"$PLACE\"";
    let possible = Command::new("unshare")
        .args(["-rm", "sh", "-c", mount])
        .env("PLACE", folder.path("out"))
        .output();
    if !possible.is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: this machine lets nobody mount a small file system");
        return;
    }
    // The mount is seen in the script's namespace alone, so that is where what is left is listed.
    let script = format!(
        "unshare -rm sh -c '{}; \"$@\"; code=$?; ls -A \"$PLACE\"; exit $code' sh \"$@\"",
        mount.replace('\'', "")
    );
    let output = train_in(&folder.text("out"), &script, &folder.text("good"));
    assert_fails(&output, &["m.safetensors", "No space left"]);
    assert!(
        output.stdout.is_empty(),
        "left behind: {}",
        String::from_utf8_lossy(&output.stdout)
    );
}

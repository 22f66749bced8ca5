//! Applications that read the metas of a real pipeline and compare them with the messages on the bus: `tests/analytics/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::shipped;

/// Makes a folder with this build's plugin and nothing else.
fn plugins(folder: &Path) -> PathBuf {
    let folder = folder.join("plugins");
    std::fs::create_dir(&folder).unwrap();
    let plugin = std::env::current_exe().unwrap().with_file_name("libgstcandle.so");
    assert!(plugin.exists(), "{} is not there", plugin.display());
    std::os::unix::fs::symlink(&plugin, folder.join("libgstcandle.so")).unwrap();
    folder
}

/// Runs a program to its end; what it prints.
fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .expect("the program starts; `scripts/setup.sh` installs it");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Has both applications read a pipeline and compares what they print: the numbers of frames, messages, anomalous frames, regions and labels.
fn read(elements: &str) -> [u32; 5] {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/analytics");
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("read");
    let libraries = ["--cflags", "--libs", "gstreamer-analytics-1.0", "gstreamer-app-1.0"];
    let flags = run(Command::new("pkg-config").args(libraries));
    let mut compile = Command::new("cc");
    let compile = compile.args(["-Wall", "-Wextra", "-Werror", "-o"]).arg(&program);
    run(compile
        .arg(source.join("read.c"))
        .args(flags.split_whitespace())
        .arg("-lm"));

    let plugins = plugins(folder.path());
    let launch = format!(
        "candletestsrc num-buffers=14 seed=1 frames-per-part=5 defect-rate=0.5 ! \
         video/x-raw,format=RGB,width=480,height=360,framerate=15/1 ! {elements} ! appsink name=out sync=false"
    );
    let read = |program: &[&Path]| {
        let mut command = Command::new("timeout");
        let command = command.arg("120").args(program).arg(&launch);
        run(command
            .env("GST_PLUGIN_PATH", &plugins)
            .env("GST_REGISTRY_1_0", folder.path().join("registry")))
    };
    let in_c = read(&[&program]);
    let in_python = read(&[Path::new("python3"), &source.join("read.py")]);
    assert_eq!(in_c, in_python);
    let numbers: Vec<u32> = in_c
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect();
    numbers
        .try_into()
        .unwrap_or_else(|_| panic!("not five numbers: {in_c}"))
}

#[test]
fn score_regions_and_their_labels_are_what_the_messages_say() {
    let [frames, messages, anomalous, regions, labels] = read(&format!(
        "candleanomaly model-file={} min-area=20 post-messages=all ! \
         candleclassify model-file={} regions=metas post-messages=all",
        shipped("anomaly-testsrc"),
        shipped("classify-testsrc")
    ));
    assert_eq!((frames, messages), (14, 28));
    assert!(anomalous > 2 && anomalous < 12, "{anomalous} of 14 frames");
    assert!(
        regions >= anomalous && labels == regions,
        "{regions} regions, {labels} labels"
    );
}

#[test]
fn the_frames_labels_are_what_the_messages_say() {
    let [frames, messages, anomalous, regions, labels] = read(&format!(
        "candleclassify model-file={} post-messages=all",
        shipped("classify-testsrc")
    ));
    assert_eq!([frames, messages, anomalous, regions, labels], [14, 14, 0, 0, 14]);
}

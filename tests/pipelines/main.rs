//! The pipelines as a user runs them, and what `gst-inspect-1.0` says of the elements. Cameras and windows are stood in for.

mod camera;
mod demo;
mod docs;
mod embedding;
mod files;
mod inspect;
mod leaks;
mod lost;
mod models;
mod segment;
mod snapshots;
mod top;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use gst_candle::data::video::VideoReader;
use gst_candle::pixels::Image;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with nothing but the plugins of this build, for GStreamer to search.
static PLUGINS: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["libgstcandle.so", "libgstcandlepublish.so"] {
        // Where cargo builds them, for tests as well; the folder above has copies from the last `cargo build`.
        let plugin = Path::new(env!("CARGO_BIN_EXE_gst-candle"))
            .with_file_name("deps")
            .join(name);
        assert!(
            plugin.exists(),
            "{} is not there: run `make test`, or cargo with --workspace",
            plugin.display()
        );
        let link = folder.join(name);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&plugin, &link).unwrap();
    }
    // Reads the plugins once, so that tests side by side find the registry written.
    let output = environment(&mut Command::new("gst-inspect-1.0"), &folder)
        .arg("candleanomaly")
        .output()
        .expect("gst-inspect-1.0 is installed; `scripts/setup.sh` installs it");
    assert!(
        output.status.success(),
        "GStreamer does not load the plugin candle: {}",
        errors(&output)
    );
    folder
});

/// The folder of this build's examples. Cargo builds them for a whole `cargo test`, but not for one `--test`: so it is asked here.
static EXAMPLES: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_BIN_EXE_gst-candle")).with_file_name("examples");
    let target = folder.ancestors().nth(2).expect("a build is in TARGET/PROFILE");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--workspace", "--locked"]);
    cargo.args(["--example", "element_docs", "--example", "inspect"]);
    cargo
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    succeed(cargo);
    folder
});

/// Points a program to the plugins in `folder`, with a registry of its own, and to no screen.
fn environment<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    command
        .env("GST_PLUGIN_PATH", folder)
        .env("GST_REGISTRY_1_0", folder.with_extension("registry"))
        .env("GST_PLUGIN_FEATURE_RANK", "fakevideosink:MAX")
        .env_remove("GST_DEBUG")
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
}

/// A program with the plugins, not yet started, that is ended after a minute with the exit code 124.
fn program(name: impl AsRef<Path>, arguments: &[&str]) -> Command {
    limited("60", name, arguments)
}

/// The same with so many seconds.
fn limited(seconds: &str, name: impl AsRef<Path>, arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.arg(seconds).arg(name.as_ref()).args(arguments);
    environment(&mut command, &PLUGINS);
    command
}

/// A script of `pipelines/` with the models of `models`, not yet started.
fn script(name: &str, arguments: &[&str], models: &Path) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(name);
    let mut command = program(path, arguments);
    command.env("CANDLE_MODELS", models);
    command
}

/// Runs to the end and returns standard output; expects success.
fn succeed(mut command: Command) -> String {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", errors(&output));
    String::from_utf8(output.stdout).expect("output is UTF-8")
}

/// Runs to the end, expects failure, and returns the exit code and standard error.
fn fail(mut command: Command) -> (i32, String) {
    let output = command.output().expect("the program starts");
    let (code, errors) = (output.status.code(), errors(&output));
    assert_ne!(code, Some(124), "{command:?} does not end: {errors}");
    let code = code.filter(|&code| code != 0);
    (
        code.unwrap_or_else(|| panic!("{command:?} does not fail: {errors}")),
        errors,
    )
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The frames of a video.
fn frames(path: &str) -> Vec<Image> {
    let reader = VideoReader::open(path).unwrap();
    reader.map(|frame| frame.unwrap().image).collect()
}

/// Reads lines of JSON.
fn events(lines: &str) -> Vec<Value> {
    let event = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"));
    lines.lines().map(event).collect()
}

/// The names of an object's fields, in their order.
fn fields(object: &Value) -> Vec<&str> {
    let object = object.as_object().expect("an event is an object");
    object.keys().map(String::as_str).collect()
}

/// A temporary folder with names that are easy to use.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("there is room for a temporary folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn text(&self, name: &str) -> String {
        let path = self.path().join(name);
        path.to_str().expect("temporary folders are UTF-8").to_owned()
    }

    /// Names of what is in it, sorted.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).expect("the folder is there");
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

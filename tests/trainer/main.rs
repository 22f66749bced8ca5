//! The program `gst-candle` as a user runs it, on small pictures made here.

mod anomaly;
mod bad_labels;
mod classify;
mod codes;
mod denoise;
mod errors;
mod import;
mod models;
mod resume;
mod shipped;
mod tasks;
#[cfg(feature = "video")]
mod video;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use gst_candle::data::pictures;
use gst_candle::data::random::stream;
use gst_candle::pixels::Image;
use rand::RngExt;
use serde_json::Value;

/// The program with `arguments`, not yet started.
fn gst_candle(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gst-candle"));
    command.args(arguments).env_remove("RUST_BACKTRACE");
    command
}

/// Runs it to its end.
fn run(arguments: &[&str]) -> Output {
    gst_candle(arguments).output().expect("the program starts")
}

/// Presses Ctrl-C.
fn interrupt(child: &Child) {
    let mut kill = Command::new("kill");
    kill.args(["-INT", &child.id().to_string()]);
    assert!(kill.status().expect("kill starts").success());
}

/// Runs it and expects success; returns standard output.
fn succeed(arguments: &[&str]) -> String {
    let output = run(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("output is UTF-8")
}

/// Runs it with `--json -` and reads the object.
fn figures(arguments: &[&str]) -> Value {
    let output = succeed(&[arguments, &["--json", "-"]].concat());
    serde_json::from_str(&output).unwrap_or_else(|e| panic!("{e} in {output}"))
}

/// A temporary folder with names that are easy to use.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("there is room for a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name)
            .to_str()
            .expect("temporary folders are UTF-8")
            .to_owned()
    }

    /// Names in a subfolder (or, with "", in the folder itself), sorted.
    fn names(&self, name: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(name)).expect("the folder is there");
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

/// A grey part on a dark ground, a little different for each `number`; with `defect`, a bright blot on it.
fn part(number: u64, width: usize, height: usize, defect: bool) -> Image {
    let mut rng = stream(11, number, 0);
    let (tone, phase) = (rng.random_range(0.45f32..0.55), rng.random_range(0.0f32..0.4));
    let mut image = Image::filled(1, height, width, 0.1);
    for y in 0..height {
        for x in 0..width {
            let inside = (width / 5..width - width / 5).contains(&x) && (height / 5..height - height / 5).contains(&y);
            let grain = 0.04 * rng.random::<f32>();
            let wave = 0.1 * ((x as f32) * 0.5 + phase).sin();
            let blot = defect && x.abs_diff(width / 2) < width / 10 && y.abs_diff(height / 2) < height / 10;
            image.data[y * width + x] = if blot {
                0.95
            } else if inside {
                tone + wave + grain
            } else {
                0.1 + grain
            };
        }
    }
    image
}

fn write(path: &Path, image: &Image) {
    std::fs::create_dir_all(path.parent().expect("it has a folder")).unwrap();
    pictures::write(path, image).unwrap();
}

/// `count` good parts as PNG.
fn parts(folder: &Path, count: u64, size: [usize; 2]) {
    for number in 0..count {
        write(
            &folder.join(format!("{number:03}.png")),
            &part(number, size[0], size[1], false),
        );
    }
}

/// Parts of two classes, `plain` and `marked`, in folders below `folder`.
fn classes(folder: &Path, count: u64, size: [usize; 2]) {
    for number in 0..count {
        for (class, marked) in [("plain", false), ("marked", true)] {
            let picture = part(2 * number + u64::from(marked), size[0], size[1], marked);
            write(
                &folder.join(class).join(format!("{class}-{}.png", word(number))),
                &picture,
            );
        }
    }
}

/// A name for a number without digits: numbered names count as neighbours when data are split.
fn word(number: u64) -> String {
    number
        .to_string()
        .bytes()
        .map(|digit| char::from(digit - b'0' + b'a'))
        .collect()
}

/// Asserts that two files are equal and not empty.
fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
    assert!(
        !a.is_empty() && a == b,
        "the files differ: {} and {} bytes",
        a.len(),
        b.len()
    );
}

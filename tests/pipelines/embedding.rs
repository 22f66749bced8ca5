//! The elements inside other programs: the two examples, which behave alike, and presets from Python.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::{EXAMPLES, Folder, PLUGINS, environment, errors, frames, models, program, succeed};

/// Debian's Python, which python3-gi is for.
const PYTHON: &str = "/usr/bin/python3";

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The inspection program in each language, not yet started, with one signal handed on as one.
fn programs(arguments: &[&str]) -> [Command; 2] {
    let in_rust = vec![EXAMPLES.join("inspect")];
    let in_python = vec![PathBuf::from(PYTHON), folder("examples/inspection.py")];
    [in_rust, in_python].map(|program| {
        let mut command = Command::new("timeout");
        command.args(["--foreground", "60"]).args(program).args(arguments);
        environment(&mut command, &PLUGINS).env("GST_PRESET_PATH", folder("plugins/candle/presets"));
        command.stdin(Stdio::null());
        command
    })
}

/// A program that talks.
struct Talk {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Talk {
    fn start(mut command: Command) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let lines = BufReader::new(output).lines();
        Self { child, input, lines }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// The next line that has this in it; those before are passed over.
    fn hear(&mut self, part: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.lines.next() {
                Some(Ok(line)) if line.contains(part) => return line,
                Some(line) => before.push(line.unwrap()),
                None => {
                    let _ = self.child.wait();
                    let errors = std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap();
                    panic!("no line with `{part}` after {before:#?}; {errors}");
                }
            }
        }
    }

    /// Waits for the end, which is to be a success; what was said on standard error.
    fn end(self) -> String {
        drop(self.input);
        let output = self.child.wait_with_output().unwrap();
        assert!(output.status.success(), "{:?}: {}", output.status, errors(&output));
        errors(&output)
    }
}

#[test]
fn what_is_typed_takes_effect_while_the_line_runs() {
    let folder = Folder::new();
    let [model, other, denoiser] = ["bright", "other", "keeping"].map(|name| folder.text(name));
    models::brightness(Path::new(&model));
    models::brightness(Path::new(&other));
    models::keeping(Path::new(&denoiser));
    let arguments = [
        "--model",
        &model,
        "--denoise",
        &denoiser,
        "--output",
        "none",
        "--threshold",
        "2",
    ];
    for command in programs(&arguments) {
        let mut talk = Talk::start(command);
        talk.hear("threshold is 2 now");
        talk.say("t 0");
        talk.hear("threshold is 0 now");
        let flag = talk.hear("ALARM");
        assert!(
            flag.contains(" s: ALARM, score 0.") && flag.contains(", threshold 0.0000"),
            "{flag}"
        );
        assert!(
            flag.contains(", 480x360 at 0,0"),
            "all of the frame is as bright as that: {flag}"
        );
        talk.say("t 2");
        talk.hear("good again");
        // The calibration has 0.25 for a tenth.
        talk.say("rate 0.1");
        talk.hear("false-alarm-rate is 0.1 now");
        assert!(talk.hear("ALARM").contains("threshold 0.2500"));
        for refused in ["t -0.5", "t high", "rate 0.6", "t nan"] {
            talk.say(refused);
        }
        talk.say("model /nowhere/model.safetensors");
        assert!(talk.hear("model rejected").contains("/nowhere/model.safetensors"));
        talk.say(&format!("model {other}"));
        assert!(talk.hear("model in force").ends_with(&other));
        talk.say("s");
        assert!(talk.hear(" inspected, ").contains(" ms at the median, "));
        talk.say("help");
        talk.hear("rate NUMBER");
        talk.say("q");
        let told = talk.end();
        for refused in [
            "threshold cannot be -0.5",
            "`high` is not a number",
            "false-alarm-rate cannot be 0.6",
            "cannot be nan",
        ] {
            assert!(
                told.to_lowercase().contains(&refused.to_lowercase()),
                "{refused}: {told}"
            );
        }
    }
}

#[test]
fn a_signal_ends_it_and_leaves_a_whole_file() {
    let folder = Folder::new();
    let [model, video] = ["bright", "video.mp4"].map(|name| folder.text(name));
    models::brightness(Path::new(&model));
    for signal in ["-INT", "-TERM"] {
        for command in programs(&["-m", &model, "-o", &video, "-t", "0", "test"]) {
            let mut talk = Talk::start(command);
            talk.hear("ALARM");
            let pid = talk.child.id().to_string();
            assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
            talk.end();
            let frames = frames(&video);
            assert_eq!(
                frames.first().map(|frame| [frame.width, frame.height]),
                Some([480, 360])
            );
            std::fs::remove_file(&video).unwrap();
        }
    }
}

#[test]
fn a_file_is_watched_to_its_end_with_a_preset() {
    let folder = Folder::new();
    let [model, video] = ["bright", "its name = \"! odd.avi"].map(|name| folder.text(name));
    models::brightness(Path::new(&model));
    let source = [
        "videotestsrc",
        "num-buffers=9",
        "!",
        "video/x-raw,width=64,height=48,framerate=10/1",
    ];
    let location = format!("location={}", folder.text("plain.avi"));
    let made = [
        &["-q"],
        &source[..],
        &["!", "jpegenc", "!", "avimux", "!", "filesink", &location],
    ]
    .concat();
    succeed(program("gst-launch-1.0", &made));
    std::fs::rename(folder.text("plain.avi"), &video).unwrap();
    for command in programs(&["-m", &model, "-o", "none", "-p", "balanced", &video]) {
        let told = succeed(command);
        // Half of the picture is bright: the second frame makes two of three.
        assert!(
            told.starts_with("0.10 s: ALARM, score ") && told.lines().count() == 1,
            "{told}"
        );
    }
}

#[test]
fn what_cannot_be_done_is_one_clear_error() {
    let folder = Folder::new();
    let model = folder.text("bright");
    models::brightness(Path::new(&model));
    let missing = folder.text("missing.safetensors");
    let cases = [
        (
            &["-m", &missing, "-o", "none"][..],
            &["anomaly: ", "missing.safetensors", "`model-file`"][..],
        ),
        (
            &["-m", &model, "-d", &missing, "-o", "none"],
            &["denoise: ", "missing.safetensors"],
        ),
        (
            &["-m", &model, "-o", "none", "-p", "perfect"],
            &["`perfect`", "balanced, few-false-alarms, sensitive"],
        ),
        (
            &["-m", &model, "-o", "none", &missing],
            &["missing.safetensors: no such file"],
        ),
        (&["-m", &model, "-o", "none", "-t", "-3"], &["threshold cannot be -3"]),
        (
            &["-m", &model, "-o", "none", "/dev/video99"],
            &["source: ", "/dev/video99"],
        ),
        (&["-m", &model, "-o", "/nowhere/out.mp4"], &["/nowhere/out.mp4"]),
    ];
    for (arguments, parts) in cases {
        for mut command in programs(arguments) {
            let output = command.output().unwrap();
            let told = errors(&output);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
            assert!(parts.iter().all(|part| told.contains(part)), "{arguments:?}: {told}");
            let ours = told.lines().filter(|line| line.starts_with("Error: "));
            assert_eq!(ours.count(), 1, "{told}");
            assert!(!told.contains("Traceback") && !told.contains("panicked"), "{told}");
        }
    }
    for mut command in programs(&["-m", &model, "-o", "none"]) {
        let empty = Folder::new();
        let output = environment(&mut command, empty.path()).output().unwrap();
        let told = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(
            told.contains("candletestsrc") && told.contains("GST_PLUGIN_PATH"),
            "{told}"
        );
    }
}

#[test]
fn presets_are_loaded_and_saved_from_python() {
    let home = Folder::new();
    let python = |script: &str| {
        let script = format!(
            "import gi\ngi.require_version('Gst', '1.0')\nfrom gi.repository import Gst\nGst.init(None)\n\
             element = Gst.ElementFactory.make('candleanomaly')\n{script}\n\
             print(element.get_property('min-frames'), element.get_property('model-file'))"
        );
        let mut command = program(PYTHON, &["-c", &script]);
        command
            .env("XDG_DATA_HOME", home.path())
            .env("GST_PRESET_PATH", folder("plugins/candle/presets"));
        succeed(command)
    };
    let told = python(
        "print(element.get_preset_names(), element.load_preset('few-false-alarms'), element.load_preset('none'))",
    );
    assert_eq!(
        told,
        "['balanced', 'few-false-alarms', 'sensitive'] True False\n4 None\n"
    );
    python(
        "element.set_property('min-frames', 7)\nelement.set_property('model-file', 'mine')\nassert element.save_preset('mine')",
    );
    assert_eq!(python("assert element.load_preset('mine')"), "7 None\n");
}

//! Disks that are full, and sources that go away: what the pipeline says, and how it ends or goes on.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::{Folder, PLUGINS, environment, events, limited, models, program};

/// What elements say of errors, one line for each. GStreamer's sources and muxers tell after the error at fault that the stream has ended
/// for it; that is no second error, and left out.
fn error_lines(said: &str) -> Vec<&str> {
    let follows = ["Internal data stream error.", "Could not multiplex stream."];
    let errors = said.lines().filter(|line| line.starts_with("ERROR: from element"));
    let (first, rest): (Vec<_>, Vec<_>) = errors.enumerate().partition(|(index, _)| *index == 0);
    let others = rest
        .into_iter()
        .filter(|(_, line)| !follows.iter().any(|end| line.ends_with(end)));
    first.into_iter().chain(others).map(|(_, line)| line).collect()
}

/// The one error that a program tells.
fn only_error(said: &str) -> &str {
    match error_lines(said)[..] {
        [error] => error,
        _ => panic!("not one error: {said}"),
    }
}

/// A folder that holds 64 KiB and is there for `command` alone, which is told it as `$1`; what it says, and its exit code. `None` where
/// the system lets nobody have a mount of their own.
fn in_small_folder(command: &str, arguments: &[&str]) -> Option<(i32, String)> {
    let folder = Folder::new();
    let run = |script: &str, arguments: &[&str]| {
        let script = format!(r#"exec 2>&1; mount -t tmpfs -o size=64k tmpfs "$1" && {script}"#);
        let mut unshare = program(
            "unshare",
            &["--map-root-user", "--mount", "bash", "-c", &script, "bash"],
        );
        unshare.arg(folder.path()).args(arguments).output().unwrap()
    };
    if !run("true", &[]).status.success() {
        println!("skipped: no private mounts here");
        return None;
    }
    let output = run(command, arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Some((output.status.code().unwrap_or(-1), said))
}

#[test]
fn a_full_disk_is_told_once_and_each_event_on_it_is_whole() {
    let out = Folder::new();
    let (model, copy) = (out.path().join("bright"), out.text("events.jsonl"));
    models::brightness(&model);
    let launch = r#"{ gst-launch-1.0 videotestsrc num-buffers=2000 ! video/x-raw,width=16,height=16 \
        ! candleanomaly model-file="$2" ! candlepublish mode=all location="$1/events.jsonl" ! fakesink sync=false
        cp "$1/events.jsonl" "$3"; }"#;
    let Some((_, said)) = in_small_folder(launch, &[model.to_str().unwrap(), &copy]) else {
        return;
    };
    // Whether it warns and goes on, or ends with an error.
    let told: Vec<_> = said
        .lines()
        .filter(|line| line.contains("from element") && line.contains("CandlePublish"))
        .collect();
    let [told] = told[..] else {
        panic!("not told once: {said}")
    };
    assert!(
        told.contains("events.jsonl") && told.contains("No space left"),
        "{told}"
    );
    let written = std::fs::read_to_string(copy).unwrap();
    assert!(
        written.ends_with('\n') && written.len() > 32 << 10,
        "{} bytes",
        written.len()
    );
    let timestamps: Vec<_> = events(&written)
        .iter()
        .map(|event| event["timestamp"].as_u64().unwrap())
        .collect();
    assert!(timestamps.is_sorted(), "{timestamps:?}");
}

#[test]
fn a_full_disk_at_the_end_of_the_pipeline_is_the_sinks_one_error() {
    let out = Folder::new();
    let model = out.path().join("bright");
    models::brightness(&model);
    let launch = r#"gst-launch-1.0 -q candletestsrc num-buffers=2000 ! video/x-raw,format=RGB,width=64,height=48 \
        ! candleanomaly model-file="$2" ! candleoverlay ! filesink location="$1/out.raw""#;
    let Some((code, said)) = in_small_folder(launch, &[model.to_str().unwrap()]) else {
        return;
    };
    assert_eq!(code, 1, "{said}");
    let error = only_error(&said);
    assert!(error.contains("filesink") && error.contains("No space left"), "{said}");
}

#[test]
fn the_script_that_denoises_leaves_nothing_on_a_full_disk() {
    let out = Folder::new();
    let model = out.path().join("halving");
    models::halving(&model);
    let video = out.text("noise.mkv");
    let mut make = program("gst-launch-1.0", &["-q"]);
    let line = format!(
        "videotestsrc pattern=snow num-buffers=60 ! video/x-raw,width=320,height=240 ! jpegenc ! matroskamux ! filesink location={video}"
    );
    assert!(make.args(line.split_whitespace()).status().unwrap().success());
    let script = format!("{}/pipelines/denoise-to-file.sh", env!("CARGO_MANIFEST_DIR"));
    let run = r#"{ "$2" "$3" "$1/out.mp4" "$4"; code=$?; [ -z "$(ls -A "$1")" ] || exit 99; exit $code; }"#;
    let Some((code, said)) = in_small_folder(run, &[&script, &video, model.to_str().unwrap()]) else {
        return;
    };
    assert_eq!(code, 1, "99: something is left: {said}");
    assert!(only_error(&said).contains("No space left"), "{said}");
}

/// A program that runs until this is dropped.
struct Running {
    child: Child,
    lines: Receiver<String>,
    said: Arc<Mutex<String>>,
}

impl Running {
    fn new(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (send, lines) = channel();
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        // Nobody may listen any more.
        std::thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| send.send(line))
        });
        let said = Arc::new(Mutex::new(String::new()));
        let (errors, all) = (BufReader::new(child.stderr.take().expect("it is piped")), said.clone());
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                *all.lock().unwrap() += &(line + "\n");
            }
        });
        Self { child, lines, said }
    }

    /// The next line that has `part` in it.
    fn line(&mut self, part: &str) -> String {
        let end = Instant::now() + Duration::from_secs(100);
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(part) => return line,
                Ok(_) => {}
                Err(error) => panic!("no line with `{part}`: {error}: {}", self.said.lock().unwrap()),
            }
        }
    }

    /// How often it has said something of errors.
    fn count(&self, part: &str) -> usize {
        self.said.lock().unwrap().matches(part).count()
    }

    /// Waits until it has said something of errors so many times.
    fn says(&self, times: usize, part: &str) {
        let begun = Instant::now();
        while self.count(part) < times {
            assert!(
                begun.elapsed() < Duration::from_secs(100),
                "`{part}` is not said: {}",
                self.said.lock().unwrap()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for its end; the exit code and what it said of errors.
    fn ended(&mut self) -> (i32, String) {
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        // The last lines may be on their way.
        std::thread::sleep(Duration::from_millis(200));
        (code, self.said.lock().unwrap().clone())
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What has ended and was waited for is not there any more; what is stopped must go on to end.
        if let Ok(None) = self.child.try_wait() {
            ["CONT", "TERM"].iter().for_each(|name| self.signal(name));
        }
        let _ = self.child.wait();
    }
}

/// A camera in a process of its own, which a test can kill: this program, in which the test `camera::helper_is_a_camera` serves.
fn camera(port: u16) -> Running {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "camera::helper_is_a_camera", "--ignored", "--nocapture"])
        .env("CANDLE_TEST_PORT", port.to_string());
    let mut camera = Running::new(command);
    camera.line("serving");
    camera
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// What the script says of a camera that was there.
const GONE: &str = "the camera is gone";

#[test]
fn a_camera_that_is_killed_or_freezes_is_watched_again_when_it_is_back() {
    let folder = Folder::new();
    let model = folder.path().join("bright");
    models::brightness(&model);
    let port = free_port();
    let mut server = camera(port);
    let script = format!("{}/pipelines/rtsp-camera.sh", env!("CARGO_MANIFEST_DIR"));
    let uri = format!("rtsp://127.0.0.1:{port}/line");
    let mut command = limited("300", script, &[&uri, model.to_str().unwrap()]);
    command.env("CANDLE_RETRY", "1");
    let mut watched = Running::new(command);
    watched.line(r#""state":true"#);
    server.signal("KILL");
    drop(server);
    // It is not there yet when it is asked for again.
    watched.says(2, GONE);
    server = camera(port);
    watched.line(r#""state":true"#);
    let before = watched.count(GONE);
    server.signal("STOP");
    watched.says(before + 1, GONE);
    server.signal("CONT");
    watched.line(r#""state":true"#);
}

/// A line that receives frames from another process.
fn receiver(source: &str, folder: &Folder) -> String {
    let model = folder.path().join("bright");
    models::brightness(&model);
    format!(
        "gst-launch-1.0 -q {source} ! candleanomaly model-file={} ! candlepublish ! fakesink sync=false",
        model.display()
    )
}

fn sender(sink: &str) -> Running {
    let line =
        format!("videotestsrc is-live=true ! video/x-raw,format=GRAY8,width=64,height=48,framerate=10/1 ! {sink}");
    let mut command = Command::new("gst-launch-1.0");
    environment(&mut command, &PLUGINS)
        .arg("-q")
        .args(line.split_whitespace());
    Running::new(command)
}

/// A sender of frames over TCP, once it listens.
fn tcp_sender(port: u16) -> Running {
    let sender = sender(&format!("gdppay ! tcpserversink host=127.0.0.1 port={port}"));
    let begun = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody listens");
        std::thread::sleep(Duration::from_millis(100));
    }
    sender
}

#[test]
fn a_tcp_sender_that_is_killed_ends_the_stream_and_a_loop_takes_it_up_again() {
    let (folder, port) = (Folder::new(), free_port());
    let receiver = receiver(&format!("tcpclientsrc host=127.0.0.1 port={port} ! gdpdepay"), &folder);
    let mut sender = tcp_sender(port);
    let mut once = Running::new(limited("120", "bash", &["-c", &receiver]));
    let again = format!("while :; do {receiver}; sleep 1; done");
    let mut looped = Running::new(limited("300", "bash", &["-c", &again]));
    once.line(r#""state":true"#);
    looped.line(r#""state":true"#);
    sender.signal("KILL");
    let (code, said) = once.ended();
    assert_eq!((code, error_lines(&said)), (0, vec![]), "{said}");
    drop(sender);
    sender = tcp_sender(port);
    looped.line(r#""state":true"#);
    drop(sender);
}

#[test]
fn a_source_in_shared_memory_that_is_killed_is_one_error() {
    let folder = Folder::new();
    let socket = folder.text("frames");
    let sender = sender(&format!(
        "shmsink socket-path={socket} wait-for-connection=false shm-size=1000000"
    ));
    let begun = Instant::now();
    while !std::path::Path::new(&socket).exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no socket");
        std::thread::sleep(Duration::from_millis(100));
    }
    let caps = "video/x-raw,format=GRAY8,width=64,height=48,framerate=10/1";
    let receiver = receiver(
        &format!("shmsrc is-live=true do-timestamp=true socket-path={socket} ! {caps}"),
        &folder,
    );
    let mut receiver = Running::new(limited("120", "bash", &["-c", &receiver]));
    receiver.line(r#""state":true"#);
    sender.signal("KILL");
    let (code, said) = receiver.ended();
    assert_eq!(code, 1, "{said}");
    let error = only_error(&said);
    assert!(error.contains("shmsrc"), "{error}");
}

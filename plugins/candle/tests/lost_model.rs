//! The model's file deleted, damaged or out of reach: at the start, and while frames flow, watched and not.

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_check::Harness;
use support::*;

const CAPS: &str = "format=GRAY8,width=16,height=16";

/// Puts something at a path where nothing is.
type Damage = fn(&Path);

/// What happens to the file, and a part of the reason that is told.
const DAMAGES: [(&str, Damage, &str); 6] = [
    ("deleted", |_| {}, "No such file"),
    (
        "rubbish",
        |path| fs::write(path, [0x5a; 4000]).unwrap(),
        "not a safetensors file",
    ),
    ("empty", |path| fs::write(path, b"").unwrap(), "empty or truncated"),
    ("a folder", |path| fs::create_dir(path).unwrap(), "not a file"),
    (
        "a link to nothing",
        |path| std::os::unix::fs::symlink("nowhere", path).unwrap(),
        "No such file",
    ),
    (
        "a link to itself",
        |path| std::os::unix::fs::symlink(path, path).unwrap(),
        "symbolic links",
    ),
];

/// Puts away what is at the path.
fn clear(path: &Path) {
    if path.is_dir() && !path.is_symlink() {
        fs::remove_dir(path).unwrap();
    } else {
        let _ = fs::remove_file(path);
    }
}

/// An element that works on a stream of bright frames.
struct Playing {
    harness: Harness,
    bus: gst::Bus,
    element: gst::Element,
    index: u64,
}

impl Playing {
    fn new(name: &str, model: &Path, properties: &str) -> Self {
        let mut harness = Harness::new_parse(&format!("{name} model-file={} {properties}", model.display()));
        let bus = gst::Bus::new();
        harness.element().unwrap().set_bus(Some(&bus));
        harness.set_src_caps(caps_of(CAPS));
        let element = element(&harness);
        Self {
            harness,
            bus,
            element,
            index: 0,
        }
    }

    /// One more frame, which is inferred, and the names and reasons of models told of meanwhile.
    fn frame(&mut self) -> Vec<gst::Structure> {
        self.harness
            .push_and_pull(grey(&info_of(CAPS), 200, self.index))
            .unwrap();
        self.index += 1;
        assert_eq!(counts(&self.element)[1], self.index, "each frame is inferred");
        let mut told = Vec::new();
        while let Some(message) = self.bus.pop() {
            assert_ne!(message.type_(), gst::MessageType::Error, "{message:?}");
            let structure = message.structure().filter(|s| s.name().starts_with("model-"));
            told.extend(structure.map(|s| s.to_owned()));
        }
        told
    }

    /// Frames until a message of that name comes with such a text in that field. On a machine that is busy, what the file is between two steps
    /// of a test may be seen as well, and refused.
    fn until_told(&mut self, name: &str, field: &str, part: &str) -> gst::Structure {
        let begun = Instant::now();
        let is_it = |told: &gst::Structure| told.name() == name && told.get::<&str>(field).unwrap().contains(part);
        loop {
            let told = self.frame();
            if let Some(found) = told.iter().find(|told| is_it(told)) {
                return found.clone();
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "no {name} with {part}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Frames for longer than it takes to see that a file has changed; nothing must be told.
    fn in_silence(&mut self, what: &str) {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(700) {
            let told = self.frame();
            assert!(told.is_empty(), "{what}: {told:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The elements one beside the other: most of the time they wait.
fn for_each_element(work: fn(&str, &Path, &[u8])) {
    init();
    std::thread::scope(|scope| {
        for (name, model) in elements() {
            scope.spawn(move || {
                let folder = tempfile::tempdir().unwrap();
                let (path, bytes) = (folder.path().join("the.safetensors"), fs::read(model.path()).unwrap());
                fs::write(&path, &bytes).unwrap();
                work(name, &path, &bytes);
            });
        }
    });
}

#[test]
fn a_watched_model_that_is_lost_is_told_once_and_taken_when_it_is_back() {
    for_each_element(|name, path, bytes| {
        let mut playing = Playing::new(name, path, "watch-model=true");
        playing.frame();
        let truncated: (_, &dyn Fn(&Path), _) = (
            "truncated",
            &|path| fs::write(path, &bytes[..bytes.len() - 1]).unwrap(),
            "truncated",
        );
        let damages = DAMAGES
            .iter()
            .map(|(what, damage, reason)| (*what, damage as &dyn Fn(&Path), *reason));
        for (what, damage, reason) in damages.chain([truncated]) {
            clear(path);
            damage(path);
            let told = playing.until_told("model-rejected", "reason", reason);
            let text = told.get::<&str>("reason").unwrap();
            assert!(text.contains("the.safetensors"), "{name}, {what}: {text}");
            playing.in_silence(what);

            clear(path);
            fs::write(path, bytes).unwrap();
            playing.until_told("model-reloaded", "model-file", "the.safetensors");
        }
    });
}

#[test]
fn a_model_that_is_not_watched_may_be_lost_until_the_next_start() {
    for_each_element(|name, path, bytes| {
        let mut playing = Playing::new(name, path, "");
        playing.frame();
        for (what, damage, reason) in DAMAGES {
            clear(path);
            damage(path);
            playing.in_silence(what);
            // The same by the start of another element.
            let told = errors(&format!(
                "videotestsrc num-buffers=2 ! video/x-raw,{CAPS} ! {name} model-file={} ! fakesink",
                path.display()
            ));
            let [error] = &told[..] else {
                panic!("{name}, {what}: not one error: {told:?}")
            };
            assert!(error.is::<gst::ResourceError>(), "{name}, {what}: {error:?}");
            assert!(error.message().contains("the.safetensors"), "{name}, {what}: {error}");
            assert!(error.message().contains(reason), "{name}, {what}: {error}");
        }
        // It can start no more, says so once, and does as soon as the file is back.
        playing.element.set_state(gst::State::Null).unwrap();
        while playing.bus.pop().is_some() {}
        assert!(playing.element.set_state(gst::State::Playing).is_err());
        let errors = std::iter::from_fn(|| playing.bus.pop_filtered(&[gst::MessageType::Error]));
        assert_eq!(errors.count(), 1, "{name}");
        clear(path);
        fs::write(path, bytes).unwrap();
        playing.element.set_state(gst::State::Null).unwrap();
        playing.element.set_state(gst::State::Playing).unwrap();
    });
}

/// Set faster than it can be loaded, a model does not take a thread and a load each time.
#[test]
fn a_model_that_is_set_again_and_again_takes_few_threads() {
    for_each_element(|name, path, bytes| {
        let others: Vec<_> = (0..300)
            .map(|i| path.with_file_name(format!("{i}.safetensors")))
            .collect();
        others.iter().for_each(|other| fs::write(other, bytes).unwrap());
        let mut playing = Playing::new(name, path, "");
        playing.frame();
        let threads = || fs::read_dir("/proc/self/task").unwrap().count();
        let (before, mut most) = (threads(), 0);
        for other in &others {
            playing.element.set_property("model-file", other.to_str().unwrap());
            most = most.max(threads());
        }
        assert!(most < before + 60, "{name}: {before} threads, then {most}");
        let last = others[299].to_str().unwrap();
        playing.until_told("model-reloaded", "model-file", last);
        assert_eq!(playing.element.property::<String>("model-file"), last);
    });
}

/// As for any user but root, who may read everything; here root lays that down.
#[test]
fn a_model_that_may_not_be_read_is_one_error_that_names_it() {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;
    init();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret.safetensors");
    fs::copy(halving().path(), &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(&program);
    if fs::read(&path).is_ok() {
        let rights = "-dac_override,-dac_read_search";
        command = Command::new("setpriv");
        command
            .args(["--bounding-set", rights, "--inh-caps", rights])
            .arg(&program);
    }
    let output = command
        .args(["--exact", "helper_starts_an_element", "--ignored", "--nocapture"])
        .env("CANDLE_TEST_MODEL", &path)
        .output()
        .expect("setpriv is there: it is of util-linux");
    let said = String::from_utf8_lossy(&output.stdout);
    let told: Vec<_> = said.lines().filter_map(|line| line.split_once("error: ")).collect();
    let [(_, error)] = &told[..] else {
        panic!("not one error: {said} {}", String::from_utf8_lossy(&output.stderr))
    };
    assert!(
        error.contains("secret.safetensors") && error.contains("Permission denied"),
        "{error}"
    );
}

#[test]
#[ignore = "started by the test above, with fewer rights"]
fn helper_starts_an_element() {
    init();
    let model = std::env::var("CANDLE_TEST_MODEL").unwrap();
    let line = format!("videotestsrc num-buffers=2 ! video/x-raw,{CAPS} ! candledenoise model-file={model} ! fakesink");
    for error in errors(&line) {
        println!("error: {error}");
    }
}

//! Pictures and clips of what was flagged: the script, a full disk, a program that is killed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Folder, PLUGINS, environment, errors, frames, models, program, script, succeed};

/// A grey video at 10 frames a second: dark for two seconds, bright for one, dark for one.
fn recording(path: &str) {
    let part = |pattern: &str, frames: u32| {
        format!(
            " videotestsrc pattern={pattern} num-buffers={frames} ! video/x-raw,format=GRAY8,width=64,height=48,framerate=10/1 ! parts."
        )
    };
    let launch = format!(
        "concat name=parts ! jpegenc ! avimux ! filesink location={path}{}{}{}",
        part("black", 20),
        part("white", 10),
        part("black", 10)
    );
    let arguments: Vec<&str> = launch.split_whitespace().collect();
    succeed(program("gst-launch-1.0", &[&["-q"], &arguments[..]].concat()));
}

#[test]
fn an_alarm_leaves_a_picture_and_a_clip() {
    let folder = Folder::new();
    models::brightness(&folder.path().join("bright"));
    let (video, model, flagged) = (folder.text("in.avi"), folder.text("bright"), folder.text("flagged"));
    recording(&video);
    succeed(script("snapshots.sh", &[&video, &model, &flagged], folder.path()));
    let names = names(Path::new(&flagged));
    assert_eq!(names.len(), 2, "{names:?}");
    let [picture, clip] = [&names[0], &names[1]].map(|name| frames(&format!("{flagged}/{name}")));
    assert!(names[0].ends_with(".jpg") && names[1].ends_with(".mkv"), "{names:?}");
    assert_eq!((picture.len(), picture[0].width, picture[0].height), (1, 64, 48));
    // From the beginning, which is less than three seconds before, to the end.
    assert!((38..=40).contains(&clip.len()), "{}", clip.len());
    let middle = |frame: &gst_candle::pixels::Image| frame.data[frame.data.len() / 2 + frame.width / 2];
    assert!(middle(&picture[0]) > 0.7, "the picture is of the first bright frame");
    let bright = clip.iter().filter(|frame| middle(frame) > 0.7).count();
    assert!((9..=10).contains(&bright), "{bright}");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Elements that flag every frame, and keep pictures and one long clip of it.
fn flagging(model: &str, location: &str, source: &str) -> Vec<String> {
    let launch = format!(
        "{source} ! video/x-raw,format=GRAY8,width=320,height=240,framerate=30/1 ! candleanomaly model-file={model} threshold=0 ! \
         candlesnapshot name=snap location={location} on=anomalous format=png clip-before=1000000000 clip-after=60000000000 ! fakesink"
    );
    launch.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_full_disk_is_a_warning_of_pictures_and_one_of_clips_and_the_stream_goes_on() {
    // A disk of this size in a world of its own.
    let private = [&["-m"][..], &["-rm"]].into_iter().find(|flags| {
        let trial = Command::new("unshare")
            .args(*flags)
            .args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"])
            .output();
        trial.is_ok_and(|output| output.status.success())
    });
    let Some(flags) = private else {
        eprintln!("not tested: this system allows no private mounts");
        return;
    };
    let folder = Folder::new();
    models::brightness(&folder.path().join("bright"));
    let disk = folder.text("disk");
    std::fs::create_dir(&disk).unwrap();
    let script = r#"mount -t tmpfs -o size=64k tmpfs "$0" && gst-launch-1.0 "$@" && ls -A "$0" | sed 's/^/left: /'"#;
    let mut command = Command::new("timeout");
    command
        .args(["60", "unshare"])
        .args(flags)
        .args(["sh", "-c", script, &disk]);
    command.args(flagging(
        &folder.text("bright"),
        &disk,
        "videotestsrc pattern=snow num-buffers=60",
    ));
    let output = environment(&mut command, &PLUGINS).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), errors(&output));
    assert!(output.status.success() && text.contains("Got EOS"), "{text}");
    assert!(!text.contains("left: "), "nothing half is left: {text}");
    let warnings = text
        .lines()
        .filter(|line| line.starts_with("WARNING"))
        .collect::<Vec<_>>();
    let about = |what: &str| warnings.iter().filter(|line| line.contains(what)).count();
    assert!(
        warnings.len() >= 2 && about("write the picture") == 1 && about("write the clip") == 1,
        "{text}"
    );
    assert!(text.contains("no storage space"), "{text}");
}

#[test]
fn what_a_killed_program_was_recording_is_picked_up_at_the_next_start() {
    let folder = Folder::new();
    models::brightness(&folder.path().join("bright"));
    let flagged = folder.text("flagged");
    let arguments = |source: &str| flagging(&folder.text("bright"), &flagged, source);
    // Not by `timeout`, which could not be told to kill.
    let mut command = Command::new("gst-launch-1.0");
    command.args(arguments("videotestsrc is-live=true pattern=white"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = environment(&mut command, &PLUGINS).spawn().unwrap();
    let size = || {
        let entries = std::fs::read_dir(&flagged).into_iter().flatten().flatten();
        let mut parts = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".mkv.part"));
        parts
            .next()
            .map_or(0, |part| part.metadata().map_or(0, |metadata| metadata.len()))
    };
    let end = Instant::now() + Duration::from_secs(60);
    while size() < 1500 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(size() >= 1500, "{:?}", names(Path::new(&flagged)));
    let other = arguments("videotestsrc num-buffers=1 pattern=black");
    succeed(program(
        "gst-launch-1.0",
        &other.iter().map(String::as_str).collect::<Vec<_>>(),
    ));
    let names = names(Path::new(&flagged));
    assert!(names.iter().all(|name| !name.ends_with(".part")), "{names:?}");
    let clip = names
        .iter()
        .find(|name| name.ends_with(".mkv"))
        .expect("the clip is there");
    assert!(frames(&format!("{flagged}/{clip}")).len() > 3);
}

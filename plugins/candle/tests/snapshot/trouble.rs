//! What cannot be written or encoded: one clear error at the start, one warning later.

use std::time::{Duration, Instant};

use crate::stand::*;
use crate::support::*;

fn error(properties: &str) -> gst::glib::Error {
    init();
    play(&format!(
        "videotestsrc num-buffers=2 ! video/x-raw,width=64,height=48 ! candlesnapshot {properties} ! fakesink"
    ))
    .unwrap_err()
}

#[test]
fn a_folder_that_cannot_be_written_is_one_error_that_names_it() {
    let unset = error("");
    assert!(unset.matches(gst::ResourceError::NotFound), "{unset}");
    assert!(unset.message().contains("`location`"), "{unset}");
    let file = tempfile::NamedTempFile::new().unwrap();
    let file = file.path().to_str().unwrap();
    for place in ["/proc/nowhere", "/proc/self", file] {
        let error = error(&format!("location={place}"));
        assert!(error.matches(gst::ResourceError::OpenWrite), "{error}");
        assert!(
            error.message().contains(place) && error.message().contains("`location`"),
            "{error}"
        );
    }
}

#[test]
fn an_encoder_that_cannot_serve_is_one_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let error = |encoder: &str| {
        error(&format!(
            "location={} clip-after=1000000000 clip-encoder=\"{encoder}\"",
            folder.path().display()
        ))
    };
    for (encoder, reason) in [
        ("nosuchenc ! h264parse", "nosuchenc"),
        ("pngenc", "does not take"),
        ("x264enc !", ""),
        ("fakesrc", "no free sink pad"),
        ("x264enc bitrate=none", "bitrate"),
    ] {
        let error = error(encoder);
        assert!(error.matches(gst::ResourceError::Settings), "{encoder}: {error}");
        assert!(
            error.message().contains("`clip-encoder`") && error.message().contains(reason),
            "{encoder}: {error}"
        );
    }
    // Without clips nobody asks for it.
    let launch = format!(
        "videotestsrc num-buffers=2 ! candlesnapshot location={} clip-encoder=nosuchenc ! fakesink",
        folder.path().display()
    );
    play(&launch).unwrap();
}

#[test]
fn a_folder_that_goes_is_one_warning_and_when_it_is_back_files_are_written() {
    let mut stand = Stand::new("clip-before=500000000 clip-after=500000000", CAPS);
    let away = stand.folder.path().join("away");
    std::fs::rename(stand.path(), &away).unwrap();
    for index in 0..40 {
        stand.frame(index, if index % 20 == 10 { ALARM } else { QUIET });
    }
    let end = Instant::now() + Duration::from_secs(60);
    while Stats::of(&stand.snap).failed < 4 {
        assert!(Instant::now() < end, "not all have failed");
        std::thread::sleep(Duration::from_millis(1));
    }
    let path = stand.path();
    let (outcome, _folder) = {
        std::fs::rename(&away, &path).unwrap();
        for index in 40..60 {
            stand.frame(index, if index == 50 { ALARM } else { QUIET });
        }
        stand.end()
    };
    assert_eq!(
        (outcome.stats.failed, outcome.stats.written),
        (4, 2),
        "{:?}",
        outcome.warnings
    );
    // One of pictures and one of clips.
    let complaints = outcome.complaints();
    assert_eq!(complaints.len(), 2, "{complaints:?}");
    assert!(
        complaints.iter().all(|warning| warning.contains("No such file")),
        "{:?}",
        outcome.warnings
    );
    assert_eq!(std::fs::read_dir(path).unwrap().count(), 2);
}

#[test]
fn an_encoder_that_fails_is_one_warning_and_pictures_go_on() {
    let breaking = "clip-encoder=\"identity error-after=10 ! x264enc tune=zerolatency ! h264parse\"";
    // x264 refuses the one, and what comes before the error is a clip of the other.
    for (properties, caps, clips) in [("", "format=GRAY8,width=1,height=1", 0), (breaking, CAPS, 1)] {
        let mut stand = Stand::new(
            &format!("clip-before=1000000000 clip-after=1000000000 {properties}"),
            caps,
        );
        for index in 0..40 {
            stand.frame(index, if index % 10 == 5 { ALARM } else { QUIET });
        }
        let (outcome, folder) = stand.end();
        let complaints = outcome.complaints();
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].contains("encoder"), "{complaints:?}");
        assert_eq!((files(&folder, "jpg").len(), files(&folder, "mkv").len()), (4, clips));
        assert_eq!(
            (names(&folder).len(), outcome.stats.written),
            (4 + clips, 4 + clips as u64)
        );
        assert!(outcome.stats.failed >= 3, "{:?}", outcome.stats);
    }
}

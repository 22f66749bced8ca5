use std::io::Write;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::common::messages::Times;

fn event(seconds: u64) -> Event {
    Event {
        name: "alarm-begin",
        times: Times::default(),
        at: UNIX_EPOCH + Duration::from_micros(seconds * 1_000_000 + 250_000),
        score: Some((0.87314, 0.5)),
        label: None,
        class: None,
    }
}

fn write(folder: &Folder, stem: &str, extension: &str, bytes: usize) {
    let mut part = folder.begin(stem, extension).expect("the folder can be written");
    part.file().write_all(&vec![0; bytes]).expect("there is room");
    part.commit().expect("it can be renamed");
}

fn names(folder: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path()).expect("it is there");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn open(folder: &TempDir, element: &str) -> Folder {
    Folder::open(folder.path().to_str().expect("UTF-8"), element).expect("the folder can be written")
}

#[test]
fn names_are_sorted_by_time_and_hold_nothing_that_a_path_would_mind() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = open(&place, "snap_1");
    assert_eq!(names(&place), [""; 0], "the trial leaves nothing");
    let mut labelled = event(1_795_756_530);
    assert_eq!(
        folder.stem(&labelled),
        "20261127T051530.250000Z_snap-1_alarm-begin_0.8731"
    );
    labelled.label = Some(("../a_b/ü".into(), 0.5));
    labelled.score = Some((0.0000123, 0.5));
    assert_eq!(
        folder.stem(&labelled),
        "20261127T051530.250000Z_snap-1_alarm-begin_..-a-b-ü_1.230e-5"
    );
    labelled.label = Some(("語".repeat(100), 0.5));
    let long = folder.stem(&labelled);
    assert!(long.len() < 200 && long.contains("_語語") && folder.stem_of(&format!("{long}.png")) == Some(&long));
    assert!(folder.stem(&event(9)) < folder.stem(&event(1_795_756_530)));
}

#[test]
fn a_file_appears_when_it_is_committed_and_else_never() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = open(&place, "snap");
    let stem = folder.stem(&event(1));
    let part = folder.begin(&stem, PNG).expect("the folder can be written");
    assert_eq!(names(&place), [format!(".{stem}.png.part")]);
    drop(part);
    assert!(names(&place).is_empty());
    write(&folder, &stem, PNG, 3);
    assert_eq!(names(&place), [format!("{stem}.png")]);
}

#[test]
fn the_oldest_events_go_and_nothing_else() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = open(&place, "snap");
    let others = [
        "notes.txt",
        "19700101T000000.250000Z_snap2_alarm-begin_0.8731.png",
        "19700101T000000.250000Z_snap_alarm-begin_0.8731.txt",
        "19700101T000000.250000Z_snap_breakfast_0.8731.png",
        "1970-01-01_snap_alarm-begin_0.8731.png",
        "_snap_alarm-begin.png",
        "ä9700101T000000.250000Z_snap_alarm-begin_0.8731.png",
    ];
    for other in others {
        std::fs::write(place.path().join(other), "mine").expect("the folder can be written");
    }
    for second in 1..=5 {
        let stem = folder.stem(&event(second));
        write(&folder, &stem, JPEG, 100);
        write(&folder, &stem, CLIP, 1000);
    }
    let left = || {
        let names = names(&place);
        assert!(
            others.iter().all(|other| names.iter().any(|name| name == other)),
            "{names:?}"
        );
        let ours = names.into_iter().filter(|name| !others.contains(&name.as_str()));
        ours.map(|name| name[14..15].to_owned() + &name[name.len() - 4..])
            .collect::<Vec<_>>()
    };
    assert_eq!(folder.thin(0, 0).expect("readable"), 0);
    assert_eq!(folder.thin(10, 5500).expect("readable"), 0);
    assert_eq!(
        folder.thin(9, 0).expect("readable"),
        2,
        "a picture and its clip go together"
    );
    assert_eq!(left().first().map(String::as_str), Some("2.jpg"));
    assert_eq!(folder.thin(0, 3000).expect("readable"), 4);
    assert_eq!(left(), ["4.jpg", "4.mkv", "5.jpg", "5.mkv"]);
    assert_eq!(folder.thin(1, 1).expect("readable"), 2);
    assert_eq!(left(), ["5.jpg", "5.mkv"], "the newest stays");
}

#[test]
fn what_a_program_that_died_left_is_picked_up_and_what_is_being_written_is_not() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = open(&place, "snap");
    let stems = [1, 2, 3].map(|second| folder.stem(&event(second)));
    let mut live = folder.begin(&stems[0], CLIP).expect("the folder can be written");
    live.file().write_all(b"clip").expect("there is room");
    for (stem, extension, text) in [
        (&stems[1], CLIP, "clip"),
        (&stems[2], CLIP, ""),
        (&stems[2], PNG, "half"),
    ] {
        let path = place.path().join(format!(".{stem}.{extension}{PART}"));
        std::fs::write(path, text).expect("the folder can be written");
    }
    std::fs::write(place.path().join(".mine.mkv.part"), "mine").expect("the folder can be written");
    open(&place, "other");
    assert_eq!(names(&place).len(), 5, "another element's are left alone");
    open(&place, "snap");
    let expected = [
        format!(".{}.mkv.part", stems[0]),
        ".mine.mkv.part".into(),
        format!("{}.mkv", stems[1]),
    ];
    assert_eq!(names(&place), expected);
}

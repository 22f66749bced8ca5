use std::collections::BTreeSet;
use std::io::Write;

use super::*;

const ROOM: u64 = 1 << 20;

fn open(folder: &Path, most_bytes: u64) -> Queue {
    Queue::open(folder, most_bytes).expect("the folder can be used")
}

/// Everything that is still to be sent, by its content, without acknowledging it.
fn rest(queue: &mut Queue) -> Vec<String> {
    std::iter::from_fn(|| queue.next())
        .map(|record| record.json.clone())
        .collect()
}

fn push(queue: &mut Queue, events: std::ops::Range<u64>) {
    for event in events {
        queue.push("look", &format!("event {event}")).expect("there is room");
    }
}

fn named(events: impl IntoIterator<Item = u64>) -> Vec<String> {
    events.into_iter().map(|event| format!("event {event}")).collect()
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let first = |first: u64| folder.join(format!("{first:020}.log"));
    segments_in(folder).unwrap().into_iter().map(first).collect()
}

#[test]
fn what_is_not_acknowledged_is_handed_out_again_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut queue = open(folder.path(), ROOM);
    push(&mut queue, 0..5);
    assert_eq!(rest(&mut queue), named(0..5));
    assert_eq!(queue.next(), None);
    queue.acknowledge(0);
    queue.acknowledge(2);
    queue.acknowledge(2);
    assert_eq!(queue.counts().queued, 3);
    queue.rewind();
    push(&mut queue, 5..7);
    assert_eq!(rest(&mut queue), named([1, 3, 4, 5, 6]));
    drop(queue);
    // A new program knows only the numbers below which all is acknowledged.
    let mut queue = open(folder.path(), ROOM);
    assert_eq!(queue.counts().queued, 6);
    push(&mut queue, 7..8);
    assert_eq!(rest(&mut queue), named([1, 2, 3, 4, 5, 6, 7]));
    for number in 0..8 {
        queue.acknowledge(number);
    }
    assert!(queue.is_empty());
    drop(queue);
    let mut queue = open(folder.path(), ROOM);
    assert!(queue.is_empty() && segments(folder.path()).is_empty(), "cleared away");
    push(&mut queue, 8..9);
    assert_eq!(queue.next().unwrap().number, 8, "numbers go on");
}

#[test]
fn the_bound_drops_the_oldest_and_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut queue = open(folder.path(), 8 << 10);
    push(&mut queue, 0..1000);
    let counts = queue.counts();
    assert!(queue.bytes() <= 8 << 10 && queue.bytes() > 6 << 10, "{}", queue.bytes());
    let on_disk: u64 = segments(folder.path())
        .iter()
        .map(|path| std::fs::metadata(path).unwrap().len())
        .sum();
    assert_eq!(on_disk, queue.bytes());
    assert_eq!(counts.queued + counts.dropped, 1000);
    assert_eq!(rest(&mut queue), named(counts.dropped..1000));
    // What has been handed out is not lost when its file goes.
    push(&mut queue, 1000..2000);
    queue.rewind();
    let left = rest(&mut queue);
    assert_eq!(left[..10], named(counts.dropped..counts.dropped + 10));
    assert_eq!(left.len() as u64, queue.counts().queued);
    assert_eq!(left.iter().collect::<BTreeSet<_>>().len(), left.len());
    drop(queue);
    // A lower bound counts at once.
    let queue = open(folder.path(), 2 << 10);
    assert!(queue.bytes() <= 2 << 10 && queue.counts().dropped > 0);
    let huge = "x".repeat(2 << 10);
    let mut queue = queue;
    let before = queue.counts();
    queue.push("look", &huge).unwrap();
    assert_eq!(queue.counts().dropped, before.dropped + 1, "too large for the folder");
    assert_eq!(queue.counts().queued, before.queued);
}

#[test]
fn files_go_as_they_are_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut queue = open(folder.path(), 8 << 10);
    push(&mut queue, 0..100);
    assert!(segments(folder.path()).len() > 2);
    while let Some(record) = queue.next() {
        queue.acknowledge(record.number);
    }
    assert_eq!(segments(folder.path()).len(), 1);
    push(&mut queue, 100..103);
    assert_eq!(rest(&mut queue), named(100..103));
}

#[test]
fn a_torn_last_record_is_passed_over_wherever_it_is_torn() {
    let folder = tempfile::tempdir().unwrap();
    let mut queue = open(folder.path(), ROOM);
    push(&mut queue, 0..3);
    drop(queue);
    let path = segments(folder.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    let last = whole.len() / 3;
    for cut in 1..=last {
        std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let mut queue = open(folder.path(), ROOM);
        assert_eq!(queue.counts().damaged, u64::from(cut < last), "{cut}");
        queue.push("look", "event 3").unwrap();
        let expected = ["event 0", "event 1", "event 3"];
        assert_eq!(rest(&mut queue), expected, "{cut} bytes torn off");
        drop(queue);
        for path in &segments(folder.path())[1..] {
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn garbage_costs_only_what_it_hit() {
    let folder = tempfile::tempdir().unwrap();
    let mut queue = open(folder.path(), ROOM);
    push(&mut queue, 0..20);
    drop(queue);
    let path = segments(folder.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    let mut hit = whole.clone();
    hit[whole.len() / 2] ^= 1;
    hit.splice(0..0, *b"\xff\xfe\0no record\n");
    hit.extend([0; 3000]);
    std::fs::write(&path, &hit).unwrap();
    std::fs::write(folder.path().join("99999999999999999999.log"), "beyond all numbers").unwrap();
    std::fs::write(folder.path().join("notes.log"), "not ours").unwrap();
    std::fs::write(folder.path().join("00000000000000000500.log"), [0xff; 100]).unwrap();
    let mut queue = open(folder.path(), ROOM);
    let left = rest(&mut queue);
    assert_eq!(left.len(), 19);
    assert!(left.is_sorted_by_key(|event| event[6..].parse::<u64>().unwrap()));
    assert_eq!(queue.counts().damaged, 4);
    assert!(folder.path().join("notes.log").exists());
    push(&mut queue, 20..21);
    assert_eq!(rest(&mut queue), named([20]));
}

#[test]
fn a_lost_cursor_sends_again_rather_than_too_little() {
    let folder = tempfile::tempdir().unwrap();
    for cursor in ["", "rubbish", "00000000 00000000000000000003\n"] {
        let mut queue = open(folder.path(), ROOM);
        push(&mut queue, 0..3);
        let number = queue.next().unwrap().number;
        queue.acknowledge(number);
        drop(queue);
        std::fs::write(folder.path().join("cursor"), cursor).unwrap();
        let mut queue = open(folder.path(), ROOM);
        assert_eq!(rest(&mut queue), named(0..3), "{cursor:?}");
        while let Some((record, _)) = queue.window.front().cloned() {
            queue.acknowledge(record.number);
        }
    }
}

#[test]
fn files_that_vanish_are_counted_and_do_not_stop_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut queue = open(folder.path(), 8 << 10);
    push(&mut queue, 0..100);
    let paths = segments(folder.path());
    std::fs::remove_file(&paths[1]).unwrap();
    File::create(&paths[2]).unwrap();
    let left = rest(&mut queue);
    let counts = queue.counts();
    assert!(counts.damaged > 0 && counts.dropped == 0, "{counts:?}");
    assert_eq!(left.len() as u64, 100 - counts.damaged);
    assert_eq!(counts.queued, left.len() as u64);
    push(&mut queue, 100..101);
    assert_eq!(rest(&mut queue), named([100]));
}

#[test]
fn what_the_disk_does_not_take_goes_on_in_memory_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut queue = open(folder.path(), ROOM);
    push(&mut queue, 0..2);
    // A device that is always full, in place of the file.
    queue.writer = Some(OpenOptions::new().write(true).open("/dev/full").unwrap());
    for event in 2..4 {
        let error = queue.push("look", &format!("event {event}")).expect_err("no space");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        queue.writer = Some(OpenOptions::new().write(true).open("/dev/full").unwrap());
    }
    queue.writer = None;
    push(&mut queue, 4..6);
    assert_eq!(queue.counts().queued, 6);
    assert_eq!(rest(&mut queue), named(0..6));
    queue.writer = Some(OpenOptions::new().write(true).open("/dev/full").unwrap());
    let large = "x".repeat(100 << 10);
    for _ in 0..12 {
        queue.writer = Some(OpenOptions::new().write(true).open("/dev/full").unwrap());
        queue.push("look", &large).expect_err("no space");
    }
    assert_eq!(queue.counts().dropped, 2, "memory has a bound too");
}

#[test]
fn a_folder_has_one_user() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path(), ROOM);
    let error = Queue::open(folder.path(), ROOM).expect_err("in use");
    assert!(error.to_string().contains("another element"), "{error}");
    drop(queue);
    open(folder.path(), ROOM);
    File::create(folder.path().join("file"))
        .unwrap()
        .write_all(b"x")
        .unwrap();
    Queue::open(&folder.path().join("file"), ROOM).expect_err("no folder");
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let mut state = seed | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..50 {
        let folder = tempfile::tempdir().unwrap();
        let mut queue = open(folder.path(), 4 << 10);
        push(&mut queue, 0..80);
        drop(queue);
        for path in segments(folder.path()) {
            let mut bytes = std::fs::read(&path).unwrap();
            for _ in 0..random() % 4 {
                let at = random() as usize % bytes.len();
                match random() % 3 {
                    0 => bytes[at] = random() as u8,
                    1 => bytes.truncate(at.max(1)),
                    _ => drop(bytes.splice(at..at, [random() as u8, b'\n', random() as u8])),
                }
            }
            std::fs::write(&path, bytes).unwrap();
        }
        let mut queue = open(folder.path(), 4 << 10);
        let mut queued = queue.counts().queued;
        let mut last = None;
        while let Some(record) = queue.next() {
            assert!(last < Some(record.number), "in order");
            last = Some(record.number);
            queue.acknowledge(record.number);
            queued -= 1;
        }
        assert_eq!((queued, queue.is_empty()), (0, true));
    }
}

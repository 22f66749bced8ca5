//! `candlesnapshot` started and stopped two hundred times leaves no thread, no file and no memory behind.

mod support;

use gst::prelude::*;
use support::*;

/// Threads, open files and resident kilobytes of this process.
fn held() -> (usize, usize, u64) {
    let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident = resident.trim().trim_end_matches(" kB").parse().unwrap();
    (count("/proc/self/task"), count("/proc/self/fd"), resident)
}

#[test]
fn two_hundred_starts_and_stops_leave_nothing() {
    init();
    let folder = tempfile::tempdir().unwrap();
    let model = brightness(None);
    let launch = format!(
        "videotestsrc pattern=white ! video/x-raw,format=GRAY8,width=64,height=48 ! candleanomaly model-file={} threads=1 ! \
         candlesnapshot name=snap location={} on=anomalous clip-before=1000000000 clip-after=1000000000 max-files=10 ! \
         fakesink name=out signal-handoffs=true",
        model.path().display(),
        folder.path().display()
    );
    let pipeline = gst::parse::launch(&launch)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let (send, frames) = std::sync::mpsc::sync_channel(0);
    pipeline.by_name("out").unwrap().connect("handoff", false, move |_| {
        let _ = send.try_send(());
        None
    });
    let mut warm = None;
    for cycle in 0..200 {
        pipeline.set_state(gst::State::Playing).unwrap();
        for _ in 0..3 {
            frames.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
        }
        pipeline.set_state(gst::State::Null).unwrap();
        if cycle == 60 {
            warm = Some(held());
        }
    }
    let (warm, end) = (warm.unwrap(), held());
    let names = std::fs::read_dir(folder.path()).unwrap().count();
    assert!((9..=10).contains(&names), "{names} files");
    // A thread that has been joined may still be listed for a moment.
    assert!(end.0 <= warm.0 + 2 && end.1 <= warm.1, "{warm:?} {end:?}");
    // An encoder of this size takes about 2 MB; 140 of them would be seen.
    assert!(end.2 < warm.2 + 20_000, "{warm:?} {end:?}");
}

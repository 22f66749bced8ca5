//! The broker away, the broker killed, the publisher killed.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::broker::{Broker, Way, free_port};
use crate::support::{buffer, count, wait_until};
use crate::{AVAILABILITY, EVENTS, Publisher, first_arrivals, numbers};

/// A program of its own that publishes until it is killed; this test program in another role.
struct Program(Child, BufReader<std::process::ChildStdout>);

impl Program {
    fn start(port: u16, queue: &Path, frames: u64) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "outages::the_program_that_is_killed", "--nocapture"]);
        command
            .env("PUBLISH_PORT", port.to_string())
            .env("PUBLISH_QUEUE", queue);
        command.env("PUBLISH_FRAMES", frames.to_string());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self(child, output)
    }

    /// The next count that it tells of events that are in its queue or published.
    fn safe(&mut self) -> u64 {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.1.read_line(&mut line).unwrap() > 0, "it has ended");
            if let Some(count) = line.trim().strip_prefix("safe ") {
                return count.parse().unwrap();
            }
        }
    }

    /// SIGKILL.
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn the_program_that_is_killed() {
    let Ok(port) = std::env::var("PUBLISH_PORT") else {
        return;
    };
    let variable = |name| std::env::var(name).unwrap();
    let frames = variable("PUBLISH_FRAMES").parse().unwrap();
    let mut publisher = Publisher::start(port.parse().unwrap(), variable("PUBLISH_QUEUE").as_ref(), "");
    let before = publisher.count("queued") + publisher.count("published");
    for _ in 0..frames {
        publisher.push(1);
        println!(
            "\nsafe {}",
            publisher.count("queued") + publisher.count("published") - before
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    loop {
        println!(
            "\nsafe {}",
            publisher.count("queued") + publisher.count("published") - before
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_last_will_of_a_killed_program_is_heard() {
    let broker = Broker::start("");
    let queue = tempfile::tempdir().unwrap();
    let subscriber = broker.subscribe(&[AVAILABILITY]);
    let mut program = Program::start(broker.port, queue.path(), 1);
    subscriber.wait_for(AVAILABILITY, 1);
    assert_eq!(subscriber.on(AVAILABILITY), ["online"]);
    program.kill();
    assert_eq!(subscriber.wait_for(AVAILABILITY, 2), ["online", "offline"]);
    let later = broker.subscribe(&[AVAILABILITY]);
    assert_eq!(later.wait_for(AVAILABILITY, 1), ["offline"], "retained");
}

#[test]
fn a_broker_killed_under_load_loses_nothing() {
    for version in ["3.1.1", "5"] {
        let mut broker = Broker::start("");
        let way = Way::to(broker.port);
        let queue = tempfile::tempdir().unwrap();
        let mut publisher = Publisher::start(way.port, queue.path(), &format!("mqtt-version={version}"));
        let mut events = Vec::new();
        for _ in 0..4 {
            let subscriber = broker.subscribe(&[EVENTS]);
            way.set_open(true);
            publisher.push(300);
            // In the midst of it.
            subscriber.wait_for(EVENTS, 100);
            publisher.push(300);
            way.set_open(false);
            broker.kill();
            publisher.push(100);
            // What it wrote before it died has come when its end has.
            std::thread::sleep(Duration::from_millis(300));
            events.extend(subscriber.on(EVENTS));
            drop(subscriber);
            broker.run();
        }
        let subscriber = broker.subscribe(&[EVENTS]);
        way.set_open(true);
        publisher.wait_published(2800);
        wait_until("the last event", || {
            numbers(&subscriber.on(EVENTS)).last() == Some(&2799)
        });
        events.extend(subscriber.on(EVENTS));
        let arrived: Vec<u64> = first_arrivals(&events).into_iter().map(|(_, number)| number).collect();
        assert!((0..2800).eq(arrived.iter().copied()), "{version}: {arrived:?}");
        println!(
            "MQTT {version}: {} of {} arrived twice",
            events.len() - arrived.len(),
            arrived.len()
        );
        assert_eq!(publisher.count("dropped"), 0);
        assert!(publisher.count("reconnects") >= 4);
        let warnings = publisher.warnings();
        assert!((4..=5).contains(&warnings.len()), "one for each outage: {warnings:?}");
    }
}

#[test]
fn a_backlog_survives_the_end_of_the_program() {
    let mut broker = Broker::start("");
    broker.kill();
    let queue = tempfile::tempdir().unwrap();
    let mut safe = Vec::new();
    for at in [50, 300] {
        let mut program = Program::start(broker.port, queue.path(), 2000);
        let mut last = 0;
        while last < at {
            last = program.safe();
        }
        program.kill();
        safe.push(last);
    }
    broker.run();
    let subscriber = broker.subscribe(&[EVENTS]);
    let mut publisher = Publisher::start(broker.port, queue.path(), "");
    publisher.push(10);
    publisher.wait_published(safe.iter().sum::<u64>() + 10);
    let own = || publisher.count("published") as usize;
    let arrived = first_arrivals(&subscriber.wait_for(EVENTS, own()));
    let mut runs: Vec<&str> = arrived.iter().map(|(run, _)| run.as_str()).collect();
    runs.dedup();
    assert_eq!(runs.len(), 3, "one run after the other: {runs:?}");
    for (run, least) in runs.iter().zip([safe[0], safe[1], 10]) {
        let numbers: Vec<u64> = arrived
            .iter()
            .filter(|(of, _)| of == run)
            .map(|(_, number)| *number)
            .collect();
        assert!(numbers.len() as u64 >= least, "{} of {least}", numbers.len());
        assert!((0..numbers.len() as u64).eq(numbers.iter().copied()), "{numbers:?}");
    }
    assert_eq!(publisher.count("damaged"), 0);
}

#[test]
fn beyond_its_bound_the_queue_drops_the_oldest_and_counts_them() {
    let mut broker = Broker::start("");
    broker.kill();
    let queue = tempfile::tempdir().unwrap();
    let mut publisher = Publisher::start(broker.port, queue.path(), "queue-bytes=65536");
    publisher.push(1000);
    wait_until("all are queued", || {
        publisher.count("queued") + publisher.count("dropped") == 1000
    });
    let (queued, dropped) = (publisher.count("queued"), publisher.count("dropped"));
    assert!(dropped > 500 && queued > 50, "{queued} and {dropped}");
    let on_disk: u64 = std::fs::read_dir(queue.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(on_disk < 65536 + 100, "{on_disk}");
    wait_until("warnings", || publisher.bus.peek().is_some());
    let warnings = publisher.warnings();
    assert_eq!(
        warnings.iter().filter(|text| text.contains("`queue-bytes`")).count(),
        1,
        "{warnings:?}"
    );
    broker.run();
    let subscriber = broker.subscribe(&[EVENTS]);
    publisher.wait_published(1);
    let published = publisher.count("published");
    assert!(published <= queued);
    let arrived = numbers(&subscriber.wait_for(EVENTS, 1));
    // The last ones; those that came before the subscription aside.
    wait_until("the last event", || {
        numbers(&subscriber.on(EVENTS)).last() == Some(&999)
    });
    assert!(arrived[0] >= dropped, "{} and {dropped}", arrived[0]);
    assert_eq!(published + publisher.count("dropped"), 1000);
}

#[test]
fn a_broker_that_hangs_holds_up_neither_frames_nor_the_end() {
    // Takes connections and never answers.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let queue = tempfile::tempdir().unwrap();
    let mut publisher = Publisher::start(hanging.local_addr().unwrap().port(), queue.path(), "");
    let mut longest = Duration::ZERO;
    for frame in 0..500 {
        let start = Instant::now();
        publisher
            .harness
            .push_and_pull(buffer(frame, Some(true), None))
            .unwrap();
        longest = longest.max(start.elapsed());
    }
    println!("longest: {longest:?}");
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    let start = Instant::now();
    let element = publisher.stop();
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert_eq!((count(&element, "queued"), count(&element, "published")), (500, 0));
    drop(hanging);
    // The rest was on disk.
    let broker = Broker::start("");
    let subscriber = broker.subscribe(&[EVENTS]);
    let publisher = Publisher::start(broker.port, queue.path(), "");
    publisher.wait_published(500);
    assert_eq!(numbers(&subscriber.wait_for(EVENTS, 500)), (0..500).collect::<Vec<_>>());
}

#[test]
fn it_starts_and_stops_again_and_again() {
    const NAME: &str = "outages::it_starts_and_stops_again_and_again";
    if std::env::var_os("PUBLISH_ALONE").is_none() {
        // In a program of its own, because other tests have threads too.
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", NAME, "--nocapture"]).env("PUBLISH_ALONE", "1");
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(output.status.success() && said[0].contains("1 passed"), "{said:?}");
        return;
    }
    let broker = Broker::start("");
    let queue = tempfile::tempdir().unwrap();
    let subscriber = broker.subscribe(&[EVENTS]);
    let away = free_port();
    let threads = || std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let mut before = 0;
    for round in 0..20 {
        let port = if round % 2 == 0 { broker.port } else { away };
        let mut publisher = Publisher::start(port, queue.path(), "");
        publisher.push(2);
        publisher.stop();
        if round == 4 {
            before = threads();
        }
    }
    // One that has been joined may still be listed for a moment, and a look-up of a name ends by itself.
    wait_until("its threads end", || threads() <= before);
    let publisher = Publisher::start(broker.port, queue.path(), "");
    wait_until("all have come", || {
        publisher.count("queued") == 0 && subscriber.on(EVENTS).len() >= 40
    });
    assert_eq!(first_arrivals(&subscriber.on(EVENTS)).len(), 40);
}

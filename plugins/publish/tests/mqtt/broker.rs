//! A mosquitto of a test's own, and what goes through it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering::SeqCst};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use crate::support::wait_until;

/// A broker in a folder of its own, on a port of its own.
pub struct Broker {
    pub folder: tempfile::TempDir,
    pub port: u16,
    /// How `mosquitto_pub` and `mosquitto_sub` get in.
    pub access: Vec<String>,
    child: Option<Child>,
}

/// A port that is free, and stays so while a broker that had it is away: none that the system gives to those who ask for any.
pub fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
        let some = std::process::id() as u16 ^ std::time::UNIX_EPOCH.elapsed().unwrap().subsec_micros() as u16;
        AtomicU16::new(some)
    });
    loop {
        let port = 20_000 + NEXT.fetch_add(1, SeqCst) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A program that does not outlive a test that is aborted.
fn mortal(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

impl Broker {
    /// Started, with lines more in its configuration; `FOLDER` in them stands for its folder.
    pub fn start(lines: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), lines, &[])
    }

    /// The same in a folder where files for it are.
    pub fn start_in(folder: tempfile::TempDir, lines: &str, access: &[String]) -> Self {
        let mut broker = Self {
            port: free_port(),
            folder,
            access: access.to_vec(),
            child: None,
        };
        let anonymous = !lines.contains("allow_anonymous");
        let lines = lines.replace("FOLDER", broker.folder.path().to_str().unwrap());
        // As root it would become another user, who may not read the folder.
        let configuration = format!(
            "user root\nlistener {} 127.0.0.1\nallow_anonymous {anonymous}\nlog_dest file {}\n\
             max_inflight_messages 0\n{}\n",
            broker.port,
            broker.path("log").display(),
            lines.replace("allow_anonymous false", "")
        );
        std::fs::write(broker.path("conf"), configuration).unwrap();
        broker.run();
        broker
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts it, again if it was killed, and waits until it answers.
    pub fn run(&mut self) {
        let mut command = mortal("mosquitto");
        command.arg("-c").arg(self.path("conf"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("setpriv is part of every Debian"));
        let port = self.port;
        wait_until("mosquitto answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Everything that comes on these topics from now on.
    pub fn subscribe(&self, topics: &[&str]) -> Subscriber {
        static PROBES: AtomicU16 = AtomicU16::new(0);
        let probe = format!("probe/{}", PROBES.fetch_add(1, SeqCst));
        let mut command = mortal("mosquitto_sub");
        command.args(["-h", "localhost", "-p", &self.port.to_string(), "-v", "-t", &probe]);
        for topic in topics {
            command.args(["-t", topic]);
        }
        let mut child = command.args(&self.access).stdout(Stdio::piped()).spawn().unwrap();
        let messages = Arc::new(Mutex::new(Vec::new()));
        let output = BufReader::new(child.stdout.take().unwrap());
        let theirs = messages.clone();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let (topic, payload) = line.split_once(' ').unwrap_or((&line, ""));
                theirs.lock().unwrap().push((topic.to_owned(), payload.to_owned()));
            }
        });
        let subscriber = Subscriber { child, messages };
        wait_until("a subscription", || {
            let mut publish = Command::new("mosquitto_pub");
            publish.args([
                "-h",
                "localhost",
                "-p",
                &self.port.to_string(),
                "-t",
                &probe,
                "-m",
                "there?",
            ]);
            assert!(publish.args(&self.access).status().unwrap().success());
            std::thread::sleep(Duration::from_millis(50));
            !subscriber.on(&probe).is_empty()
        });
        subscriber
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What one has subscribed to.
pub struct Subscriber {
    child: Child,
    messages: Arc<Mutex<Vec<(String, String)>>>,
}

impl Subscriber {
    /// What has come on a topic.
    pub fn on(&self, topic: &str) -> Vec<String> {
        let messages = self.messages.lock().unwrap();
        let on_topic = messages.iter().filter(|(of, _)| of == topic);
        on_topic.map(|(_, payload)| payload.clone()).collect()
    }

    /// What has come on topics that begin so.
    pub fn under(&self, prefix: &str) -> Vec<(String, String)> {
        let messages = self.messages.lock().unwrap();
        messages
            .iter()
            .filter(|(of, _)| of.starts_with(prefix))
            .cloned()
            .collect()
    }

    /// Waits for the next message on a topic, beyond those that have come.
    pub fn wait_for(&self, topic: &str, count: usize) -> Vec<String> {
        wait_until(topic, || self.on(topic).len() >= count);
        self.on(topic)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A way to a broker that can be closed.
pub struct Way {
    pub port: u16,
    is_open: Arc<AtomicBool>,
    to: Arc<AtomicU16>,
}

impl Way {
    /// An open way to this port.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let way = Self {
            port: listener.local_addr().unwrap().port(),
            is_open: Arc::new(AtomicBool::new(true)),
            to: Arc::new(AtomicU16::new(port)),
        };
        let (is_open, to) = (way.is_open.clone(), way.to.clone());
        std::thread::spawn(move || {
            for from in listener.incoming().map_while(Result::ok) {
                if !is_open.load(SeqCst) {
                    continue;
                }
                let Ok(to) = TcpStream::connect(("127.0.0.1", to.load(SeqCst))) else {
                    continue;
                };
                for (mut from, mut to) in [(from.try_clone().unwrap(), to.try_clone().unwrap()), (to, from)] {
                    std::thread::spawn(move || {
                        let mut bytes = [0; 4096];
                        while let Ok(count @ 1..) = from.read(&mut bytes) {
                            if to.write_all(&bytes[..count]).is_err() {
                                break;
                            }
                        }
                        let _ = from.shutdown(Shutdown::Both);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        way
    }

    /// Refuses new connections, or takes them.
    pub fn set_open(&self, is_open: bool) {
        self.is_open.store(is_open, SeqCst);
    }
}

/// Writes a file and returns its path as text.
pub fn file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

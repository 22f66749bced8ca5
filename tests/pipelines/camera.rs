//! The script for cameras, with a server on this machine for a camera.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use gst::glib;
use gst_rtsp_server::prelude::*;

use crate::{Folder, events, fail, models, program, script};

/// A script that runs until this is dropped.
pub struct Stopped(pub Child);

impl Stopped {
    /// The first line that it prints; what it says of errors if it prints none.
    pub fn first_line(&mut self) -> String {
        let mut line = String::new();
        let output = self.0.stdout.as_mut().expect("standard output is piped");
        BufReader::new(output).read_line(&mut line).unwrap();
        if line.is_empty() {
            let errors = self.0.stderr.take().expect("standard error is piped");
            panic!("no line: {}", std::io::read_to_string(errors).unwrap());
        }
        line
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // `timeout` hands the signal on to what it runs.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// A camera with sound on a free port of this machine; returns its port.
fn camera() -> i32 {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || serve("0", |port| send.send(port).unwrap()));
    receive.recv().unwrap()
}

/// Is a camera with sound on a port of this machine, which it tells; 0 is any. Does not return.
fn serve(port: &str, tell: impl FnOnce(i32)) {
    gst::init().unwrap();
    let context = glib::MainContext::new();
    let server = gst_rtsp_server::RTSPServer::new();
    server.set_address("127.0.0.1");
    server.set_service(port);
    let factory = gst_rtsp_server::RTSPMediaFactory::new();
    factory.set_launch(
        "( audiotestsrc is-live=true ! alawenc ! rtppcmapay name=pay0 \
         videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=10/1 \
         ! x264enc tune=zerolatency key-int-max=5 ! rtph264pay name=pay1 )",
    );
    server
        .mount_points()
        .expect("a server has mount points")
        .add_factory("/line", factory);
    let _source = server.attach(Some(&context)).expect("the port is free");
    tell(server.bound_port());
    glib::MainLoop::new(Some(&context), false).run();
}

#[test]
#[ignore = "a camera for the tests in `lost`, which start and kill it"]
fn helper_is_a_camera() {
    let port = std::env::var("CANDLE_TEST_PORT").unwrap();
    serve(&port, |port| println!("serving on {port}"));
}

#[test]
fn a_camera_with_sound_is_watched() {
    let folder = Folder::new();
    let model = folder.path().join("bright");
    models::brightness(&model);
    let uri = format!("rtsp://127.0.0.1:{}/line", camera());
    let mut command = script("rtsp-camera.sh", &[&uri, model.to_str().unwrap()], folder.path());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let line = Stopped(child).first_line();
    let event = &events(&line)[0];
    // Half of the test picture is bright.
    assert_eq!(
        (&event["anomalous"], &event["state"]),
        (&true.into(), &true.into()),
        "{event}"
    );
    let score = event["score"].as_f64().unwrap();
    assert!((0.7..=1.0).contains(&score), "{event}");
}

#[test]
fn a_broker_is_told_of_a_camera() {
    let folder = Folder::new();
    let model = folder.path().join("bright");
    models::brightness(&model);
    let uri = format!("rtsp://127.0.0.1:{}/line", camera());
    // None of those that the system gives to others meanwhile.
    let port = (20_000 + std::process::id() % 12_000).to_string();
    let spawn = |mut command: Command| {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Stopped(child)
    };
    let _broker = spawn(program("mosquitto", &["-p", &port]));
    let broker = format!("mqtt://localhost:{port}");
    let arguments = [&uri, model.to_str().unwrap(), &broker, "line"];
    let mut command = script("camera-to-mqtt.sh", &arguments, folder.path());
    command.env("XDG_DATA_HOME", folder.path());
    let _watch = spawn(command);
    let heard = |topic: &str| loop {
        let mut subscriber = spawn(program("mosquitto_sub", &["-p", &port, "-C", "1", "-t", topic]));
        let mut line = String::new();
        let output = subscriber.0.stdout.take().expect("standard output is piped");
        BufReader::new(output).read_line(&mut line).unwrap();
        // The broker may not be there yet.
        if !line.is_empty() {
            break line;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    };
    let event = &events(&heard("gst-candle/line/inspect/events"))[0];
    assert_eq!(
        (&event["element"], &event["model"]),
        (&"inspect".into(), &"bright".into()),
        "{event}"
    );
    assert_eq!(
        (&event["camera"], &event["state"]),
        (&"line".into(), &true.into()),
        "{event}"
    );
    assert_eq!(heard("gst-candle/line/availability"), "online\n");
    let entity: serde_json::Value = serde_json::from_str(&heard("homeassistant/binary_sensor/+/config")).unwrap();
    assert_eq!(entity["state_topic"], "gst-candle/line/inspect/state");
}

#[test]
fn a_camera_that_is_not_there_is_an_error() {
    let folder = Folder::new();
    let model = folder.path().join("bright");
    models::brightness(&model);
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let uri = format!("rtsp://127.0.0.1:{port}/line");
    let (_, errors) = fail(script(
        "rtsp-camera.sh",
        &[&uri, model.to_str().unwrap()],
        folder.path(),
    ));
    assert!(errors.contains("Could not"), "{errors}");
}

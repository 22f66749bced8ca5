//! Who is let in, and what is wrong from the start.

use std::path::Path;
use std::process::Command;

use gst::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::broker::{Broker, file, free_port};
use crate::support::{init, wait_until};
use crate::{EVENTS, Publisher, numbers};

/// Writes `ca.pem`, and certificates with keys signed by it: `server` for localhost, `client`.
fn certificates(folder: &Path, prefix: &str) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "an authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    file(folder, &format!("{prefix}ca.pem"), &ca.pem());
    for (name, host) in [("server", "localhost"), ("client", "camera")] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.into()]).unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        file(folder, &format!("{prefix}{name}.pem"), &certificate.pem());
        file(folder, &format!("{prefix}{name}.key"), &key.serialize_pem());
    }
}

#[test]
fn a_password_from_a_file_lets_in_and_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    let made = Command::new("mosquitto_passwd")
        .args(["-b", "-c", users.to_str().unwrap(), "camera", "open sesame"])
        .status()
        .unwrap();
    assert!(made.success());
    let right = file(folder.path(), "right", "open sesame\n");
    let wrong = file(folder.path(), "wrong", "open barley\n");
    let access = ["-u", "camera", "-P", "open sesame"].map(String::from);
    let broker = Broker::start_in(folder, "allow_anonymous false\npassword_file FOLDER/users", &access);
    let subscriber = broker.subscribe(&["gst-candle/#"]);
    for version in ["3.1.1", "5"] {
        let queue = tempfile::tempdir().unwrap();
        let properties = |password: &str| format!("mqtt-version={version} user=camera password-file={password}");
        let mut refused = Publisher::start(broker.port, queue.path(), &properties(&wrong));
        refused.push(5);
        wait_until("a warning", || refused.bus.peek().is_some());
        // Time for more attempts, of which nothing more is told.
        std::thread::sleep(std::time::Duration::from_secs(2));
        let warnings = refused.warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].contains("`user`") && warnings[0].contains("localhost"),
            "{warnings:?}"
        );
        assert!(!warnings[0].contains("barley"), "{warnings:?}");
        refused.stop();
        let mut let_in = Publisher::start(broker.port, queue.path(), &properties(&right));
        let_in.push(5);
        let_in.wait_published(10);
        for property in let_in.element.list_properties() {
            let shown = format!("{:?}", let_in.element.property_value(property.name()));
            assert!(!shown.contains("sesame"), "{}: {shown}", property.name());
        }
    }
    let events = subscriber.wait_for(EVENTS, 20);
    assert_eq!(numbers(&events), [0, 1, 2, 3, 4].repeat(4));
}

#[test]
fn tls_trusts_the_authority_given_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path(), "");
    certificates(folder.path(), "other-");
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (ca, other, cert, key) = (
        path("ca.pem"),
        path("other-ca.pem"),
        path("client.pem"),
        path("client.key"),
    );
    let (other_cert, other_key) = (path("other-client.pem"), path("other-client.key"));
    let access = ["--cafile", &ca, "--cert", &cert, "--key", &key].map(String::from);
    let lines = "cafile FOLDER/ca.pem\ncertfile FOLDER/server.pem\nkeyfile FOLDER/server.key\nrequire_certificate true";
    let broker = Broker::start_in(folder, lines, &access);
    let subscriber = broker.subscribe(&["gst-candle/#"]);
    let uri = format!("broker=mqtts://localhost:{}", broker.port);
    for (trusted, cert, key, is_let_in) in [
        (&ca, Some(&cert), &key, true),
        (&other, Some(&cert), &key, false),
        (&ca, None, &key, false),
        (&ca, Some(&other_cert), &other_key, false),
    ] {
        let queue = tempfile::tempdir().unwrap();
        let shown = cert.map(|cert| format!("tls-cert-file={cert} tls-key-file={key}"));
        let properties = format!("{uri} tls-ca-file={trusted} {}", shown.unwrap_or_default());
        let mut publisher = Publisher::start(broker.port, queue.path(), &properties);
        publisher.push(5);
        if is_let_in {
            publisher.wait_published(5);
            assert_eq!(numbers(&subscriber.wait_for(EVENTS, 5)), [0, 1, 2, 3, 4]);
        } else {
            wait_until("a warning", || publisher.bus.peek().is_some());
            let warnings = publisher.warnings();
            // What the broker finds wrong with a certificate it says by an alert.
            let said = ["certificate", "alert"].iter().any(|word| warnings[0].contains(word));
            assert!(warnings.len() == 1 && said, "{warnings:?}");
            assert_eq!(publisher.count("published"), 0);
        }
    }
    assert_eq!(subscriber.on(EVENTS).len(), 5);
}

#[test]
fn what_a_broker_does_not_take_is_counted_and_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    file(
        folder.path(),
        "rules",
        "topic readwrite probe/#\ntopic readwrite gst-candle/line/candleclassify/#\n\
        topic readwrite gst-candle/line/availability\n",
    );
    let broker = Broker::start_in(folder, "acl_file FOLDER/rules", &[]);
    let subscriber = broker.subscribe(&["gst-candle/line/candleclassify/events"]);
    let queue = tempfile::tempdir().unwrap();
    let mut publisher = Publisher::start(broker.port, queue.path(), "mqtt-version=5");
    publisher.push(20);
    let labelled = crate::support::buffer(20, None, Some("good"));
    publisher.harness.push_and_pull(labelled).unwrap();
    publisher.wait_published(1);
    subscriber.wait_for("gst-candle/line/candleclassify/events", 1);
    // The events, and some of the states.
    let refused = publisher.count("refused");
    assert!((21..=40).contains(&refused), "{refused}");
    let warnings = publisher.warnings();
    assert!(
        warnings.len() == 1 && warnings[0].contains("not authorized"),
        "{warnings:?}"
    );
}

#[test]
fn wrong_settings_are_one_error_that_says_which() {
    init();
    let folder = tempfile::tempdir().unwrap();
    let queue = format!("queue-folder={}", folder.path().join("queue").display());
    let empty = file(folder.path(), "empty", "");
    let secret = file(folder.path(), "secret", "hunter2\n");
    let port = free_port();
    let good = format!("broker=mqtt://localhost:{port} {queue} location=/no/such/folder/never-opened");
    for (properties, said) in [
        (format!("broker=http://localhost {queue}"), "`broker`: http://localhost"),
        (format!("broker=localhost:1883 {queue}"), "`broker`: localhost:1883"),
        (format!("broker=mqtt://me:hunter2@localhost {queue}"), "`password-file`"),
        (
            format!("{good} user=me password-file=/no/such/file"),
            "`password-file`: /no/such/file",
        ),
        (format!("{good} password-file={secret}"), "`user`"),
        (format!("{good} topic-prefix=a/+/b"), "`topic-prefix`: `a/+/b`"),
        (format!("{good} topic-prefix=a/"), "`topic-prefix`: `a/`"),
        (format!("{good} camera=a/b"), "`camera`: `a/b`"),
        (format!("{good} camera=#"), "`camera`: `#`"),
        (format!("{good} discovery-prefix=#"), "`discovery-prefix`"),
        (format!("{good} tls-ca-file={empty}"), "mqtts://"),
        (
            format!("broker=mqtts://localhost {queue} tls-ca-file={empty}"),
            "no certificate",
        ),
        (
            format!("broker=mqtts://localhost {queue} tls-ca-file=/no/such/file"),
            "`tls-ca-file`: /no/such/file",
        ),
        (
            format!("broker=mqtts://localhost {queue} tls-cert-file={empty}"),
            "`tls-key-file`",
        ),
        (format!("broker=mqtt://localhost queue-folder={empty}"), &*empty),
        (
            "broker=mqtt://localhost queue-folder=/proc/no/queue".into(),
            "/proc/no/queue",
        ),
        (good.clone(), "never-opened"),
    ] {
        let launch = format!("fakesrc num-buffers=1 ! candlepublish {properties} ! fakesink");
        let pipeline = gst::parse::launch(&launch).unwrap();
        let bus = pipeline.bus().unwrap();
        assert!(pipeline.set_state(gst::State::Playing).is_err(), "{properties}");
        let errors: Vec<_> = bus.iter_filtered(&[gst::MessageType::Error]).collect();
        pipeline.set_state(gst::State::Null).unwrap();
        let [message] = &errors[..] else {
            panic!("{properties}: {errors:?}")
        };
        let gst::MessageView::Error(error) = message.view() else {
            unreachable!("it is filtered")
        };
        let text = error.error().to_string();
        assert!(text.contains(said), "{properties}: {text}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[test]
fn two_publishers_do_not_share_a_queue() {
    let folder = tempfile::tempdir().unwrap();
    let first = Publisher::start(free_port(), folder.path(), "");
    let second = gst::parse::launch(&format!(
        "fakesrc num-buffers=1 ! candlepublish broker=mqtt://localhost:{} camera=line queue-folder={} ! fakesink",
        free_port(),
        folder.path().display()
    ));
    let second = second.unwrap();
    let bus = second.bus().unwrap();
    assert!(second.set_state(gst::State::Playing).is_err());
    let message = bus.pop_filtered(&[gst::MessageType::Error]).expect("an error");
    let gst::MessageView::Error(error) = message.view() else {
        unreachable!("it is filtered")
    };
    assert!(error.error().to_string().contains("`camera`"), "{error:?}");
    second.set_state(gst::State::Null).unwrap();
    first.stop();
}

//! MQTT 3.1.1 and 5 as bytes: what a publisher says, and what it hears.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::{self, v4};
use rumqttc::v5::mqttbytes as mqttbytes5;
use rumqttc::v5::mqttbytes::v5;

use crate::publish::MqttVersion;

/// The most bytes of a packet from the broker; a publisher hears only short ones.
const MOST_HEARD: u32 = 64 << 10;

/// How a publisher introduces itself.
#[derive(Debug)]
pub struct Greeting<'a> {
    pub client_id: &'a str,
    pub login: Option<&'a (String, String)>,
    /// Seconds of silence after which the broker takes the publisher for gone, and half as many again.
    pub keep_alive: u16,
    /// What the broker is to publish then, retained.
    pub will: Message<'a>,
}

/// Something to publish.
#[derive(Debug, Clone)]
pub struct Message<'a> {
    pub topic: &'a str,
    pub payload: Bytes,
    pub retain: bool,
    /// Whether the broker is to acknowledge it.
    pub acknowledged: bool,
}

/// What the broker allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The most publications that wait for their acknowledgement at a time.
    pub window: u16,
    /// The most bytes in a packet.
    pub most_bytes: u32,
    /// Seconds, if it wants others than it was told.
    pub keep_alive: Option<u16>,
}

/// What is heard from the broker.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// It lets the publisher in.
    Welcome(Terms),
    /// It does not.
    Refusal(String),
    /// It has a publication, or says why it does not want it.
    Acknowledged(u16, Result<(), String>),
    /// It ends the connection.
    Farewell(String),
    /// An answer to a ping, or something that does not matter here.
    Other,
}

/// The first packet.
pub fn connect(version: MqttVersion, greeting: &Greeting<'_>, out: &mut BytesMut) -> Result<(), String> {
    let Greeting { will, login, .. } = greeting;
    match version {
        MqttVersion::V311 => {
            let mut connect = v4::Connect::new(greeting.client_id);
            connect.keep_alive = greeting.keep_alive;
            let payload = will.payload.to_vec();
            connect.last_will = Some(v4::LastWill::new(will.topic, payload, qos4(will), will.retain));
            if let Some((user, password)) = login {
                connect.set_login(user, password);
            }
            write4(&v4::Packet::Connect(connect), out, u32::MAX)
        }
        MqttVersion::V5 => {
            let connect = v5::Connect {
                keep_alive: greeting.keep_alive,
                client_id: greeting.client_id.into(),
                clean_start: true,
                properties: None,
            };
            let payload = will.payload.to_vec();
            let last_will = v5::LastWill::new(will.topic, payload, qos5(will), will.retain, None);
            let login = login.map(|(user, password)| v5::Login::new(user, password));
            write5(&v5::Packet::Connect(connect, Some(last_will), login), out, u32::MAX)
        }
    }
}

/// A publication with this identifier, which only one that is to be acknowledged has. The error says that it is too large.
pub fn publish(
    version: MqttVersion,
    message: &Message<'_>,
    identifier: u16,
    most_bytes: u32,
    out: &mut BytesMut,
) -> Result<(), String> {
    match version {
        MqttVersion::V311 => {
            let mut publish = v4::Publish::from_bytes(message.topic, qos4(message), message.payload.clone());
            publish.retain = message.retain;
            publish.pkid = identifier;
            write4(&v4::Packet::Publish(publish), out, most_bytes)
        }
        MqttVersion::V5 => {
            let mut publish = v5::Publish::new(message.topic, qos5(message), message.payload.clone(), None);
            publish.retain = message.retain;
            publish.pkid = identifier;
            write5(&v5::Packet::Publish(publish), out, most_bytes)
        }
    }
}

/// A sign of life.
pub fn ping(version: MqttVersion, out: &mut BytesMut) -> Result<(), String> {
    match version {
        MqttVersion::V311 => write4(&v4::Packet::PingReq, out, u32::MAX),
        MqttVersion::V5 => write5(&v5::Packet::PingReq(v5::PingReq), out, u32::MAX),
    }
}

/// The last packet, after which the broker forgets the will.
pub fn disconnect(version: MqttVersion, out: &mut BytesMut) -> Result<(), String> {
    match version {
        MqttVersion::V311 => write4(&v4::Packet::Disconnect, out, u32::MAX),
        MqttVersion::V5 => {
            let disconnect = v5::Disconnect::new(v5::DisconnectReasonCode::NormalDisconnection);
            write5(&v5::Packet::Disconnect(disconnect), out, u32::MAX)
        }
    }
}

/// Takes the next packet out of what was received, if it is whole.
pub fn read(version: MqttVersion, received: &mut BytesMut) -> Result<Option<Heard>, String> {
    // What comes from outside is not to end the thread, whatever the parser makes of it.
    let read = catch_unwind(AssertUnwindSafe(|| match version {
        MqttVersion::V311 => match v4::Packet::read(received, MOST_HEARD as usize) {
            Ok(packet) => Ok(Some(heard4(packet))),
            Err(mqttbytes::Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        },
        MqttVersion::V5 => match v5::Packet::read(received, Some(MOST_HEARD)) {
            Ok(packet) => Ok(Some(heard5(packet))),
            Err(mqttbytes5::Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        },
    }));
    let garbage = |error: String| format!("the broker does not speak MQTT: {error}");
    read.unwrap_or_else(|_| Err("a packet that cannot be read".into()))
        .map_err(garbage)
}

fn heard4(packet: v4::Packet) -> Heard {
    match packet {
        v4::Packet::ConnAck(answer) if answer.code == v4::ConnectReturnCode::Success => Heard::Welcome(Terms {
            window: u16::MAX,
            most_bytes: u32::MAX,
            keep_alive: None,
        }),
        v4::Packet::ConnAck(answer) => Heard::Refusal(refusal(&format!("{:?}", answer.code))),
        v4::Packet::PubAck(answer) => Heard::Acknowledged(answer.pkid, Ok(())),
        _ => Heard::Other,
    }
}

fn heard5(packet: v5::Packet) -> Heard {
    match packet {
        v5::Packet::ConnAck(answer) if answer.code == v5::ConnectReturnCode::Success => {
            let terms = answer.properties.as_ref();
            Heard::Welcome(Terms {
                window: terms.and_then(|terms| terms.receive_max).unwrap_or(u16::MAX),
                most_bytes: terms.and_then(|terms| terms.max_packet_size).unwrap_or(u32::MAX),
                keep_alive: terms.and_then(|terms| terms.server_keep_alive),
            })
        }
        v5::Packet::ConnAck(answer) => Heard::Refusal(refusal(&format!("{:?}", answer.code))),
        v5::Packet::PubAck(answer) => {
            let is_taken = matches!(
                answer.reason,
                v5::PubAckReason::Success | v5::PubAckReason::NoMatchingSubscribers
            );
            let result = if is_taken {
                Ok(())
            } else {
                Err(spaced(&format!("{:?}", answer.reason)))
            };
            Heard::Acknowledged(answer.pkid, result)
        }
        v5::Packet::Disconnect(answer) => Heard::Farewell(spaced(&format!("{:?}", answer.reason_code))),
        _ => Heard::Other,
    }
}

/// A reason that a broker gives by a code, for people.
fn refusal(code: &str) -> String {
    match code {
        "BadUserNamePassword" | "NotAuthorized" => {
            "it does not accept the user and password (`user`, `password-file`) or the client certificate".into()
        }
        "BadClientId" | "ClientIdentifierNotValid" => "it does not accept the client id (`client-id`)".into(),
        "RefusedProtocolVersion" | "UnsupportedProtocolVersion" => {
            "it does not speak this version of MQTT (`mqtt-version`)".into()
        }
        other => format!("it refuses: {}", spaced(other)),
    }
}

/// `QuotaExceeded` as `quota exceeded`.
fn spaced(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(c.to_lowercase());
    }
    text
}

fn qos4(message: &Message<'_>) -> rumqttc::QoS {
    match message.acknowledged {
        true => rumqttc::QoS::AtLeastOnce,
        false => rumqttc::QoS::AtMostOnce,
    }
}

fn qos5(message: &Message<'_>) -> mqttbytes5::QoS {
    match message.acknowledged {
        true => mqttbytes5::QoS::AtLeastOnce,
        false => mqttbytes5::QoS::AtMostOnce,
    }
}

fn write4(packet: &v4::Packet, out: &mut BytesMut, most_bytes: u32) -> Result<(), String> {
    let written = packet.write(out, most_bytes as usize);
    written.map(drop).map_err(|error| error.to_string())
}

fn write5(packet: &v5::Packet, out: &mut BytesMut, most_bytes: u32) -> Result<(), String> {
    let written = packet.write(out, Some(most_bytes));
    written.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_words() {
        assert_eq!(spaced("QuotaExceeded"), "quota exceeded");
        assert!(refusal("ServerBusy").ends_with("server busy"));
        assert!(refusal("NotAuthorized").contains("`user`"));
    }

    #[test]
    fn a_packet_is_read_when_it_is_whole_and_rubbish_is_an_error() {
        for (version, ack) in [
            (MqttVersion::V311, &[0x40, 2, 1, 2][..]),
            (MqttVersion::V5, &[0x40, 4, 1, 2, 0x97, 0]),
        ] {
            let mut received = BytesMut::new();
            for (count, byte) in ack.iter().enumerate() {
                assert_eq!(read(version, &mut received), Ok(None), "{count} bytes");
                received.extend([*byte]);
            }
            let heard = read(version, &mut received).unwrap().expect("it is whole");
            let result = if version == MqttVersion::V5 {
                Err("quota exceeded".into())
            } else {
                Ok(())
            };
            assert_eq!(heard, Heard::Acknowledged(0x0102, result));
            // There is no packet of the type 0.
            let mut rubbish = BytesMut::from(&[0, 2, 0, 0][..]);
            let error = read(version, &mut rubbish).expect_err("no MQTT");
            assert!(error.contains("does not speak MQTT"), "{error}");
        }
    }

    #[test]
    fn what_is_too_large_is_not_written() {
        for version in [MqttVersion::V311, MqttVersion::V5] {
            let message = Message {
                topic: "a/b",
                payload: Bytes::from(vec![0; 100]),
                retain: false,
                acknowledged: true,
            };
            let mut out = BytesMut::new();
            publish(version, &message, 1, 50, &mut out).expect_err("too large");
            assert!(out.is_empty());
            publish(version, &message, 1, 200, &mut out).expect("small enough");
        }
    }
}

//! One connection to a broker, from greeting to farewell.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::select;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::Config;
use super::packets::{self, Greeting, Heard, Message, Terms};
use crate::publish::MqttVersion;

/// A connection that takes longer to make has failed.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A broker that says nothing for so long is gone; half as often it is asked for a sign of life.
const KEEP_ALIVE: u16 = 20;

/// The most publications that wait for their acknowledgement at a time.
const WINDOW: u16 = 64;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection on which every publication carries an `I`, by which its sender knows it.
pub struct Connection<I> {
    version: MqttVersion,
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    received: BytesMut,
    out: BytesMut,
    is_flushed: bool,
    terms: Terms,
    /// Sent, or about to be, and not acknowledged.
    in_flight: HashMap<u16, I>,
    /// About to be sent, for no acknowledgement.
    unacknowledged: VecDeque<I>,
    /// Sent for no acknowledgement.
    sent: VecDeque<I>,
    last_identifier: u16,
    heard_at: Instant,
    pinged_at: Instant,
}

/// What became of a publication, or something else that happened.
#[derive(Debug)]
pub enum News<I> {
    /// The broker has it.
    Delivered(I),
    /// The broker does not want it, for this reason.
    Refused(I, String),
    /// Nothing to act upon.
    Other,
}

impl<I> Connection<I> {
    /// Connects and waits for the broker's welcome. The error is a sentence's end for people.
    pub async fn open(config: &Config) -> Result<Self, String> {
        let (reader, writer) = tokio::io::split(reach(config).await?);
        let now = Instant::now();
        let mut connection = Self {
            version: config.version,
            reader,
            writer,
            received: BytesMut::new(),
            out: BytesMut::new(),
            is_flushed: true,
            terms: Terms {
                window: WINDOW,
                most_bytes: u32::MAX,
                keep_alive: None,
            },
            in_flight: HashMap::new(),
            unacknowledged: VecDeque::new(),
            sent: VecDeque::new(),
            last_identifier: 0,
            heard_at: now,
            pinged_at: now,
        };
        let availability = config.topics.availability();
        let greeting = Greeting {
            client_id: &config.client_id,
            login: config.broker.login.as_ref(),
            keep_alive: KEEP_ALIVE,
            will: config.availability(&availability, false),
        };
        packets::connect(config.version, &greeting, &mut connection.out)?;
        loop {
            match connection.hear().await? {
                Some(Heard::Welcome(terms)) => {
                    connection.terms = Terms {
                        window: terms.window.clamp(1, WINDOW),
                        ..terms
                    };
                    return Ok(connection);
                }
                Some(Heard::Refusal(reason) | Heard::Farewell(reason)) => return Err(reason),
                Some(Heard::Acknowledged(..)) => return Err("the broker does not speak MQTT".into()),
                Some(Heard::Other) | None => {}
            }
        }
    }

    /// Whether another publication may be sent before one is acknowledged.
    pub fn has_room(&self) -> bool {
        self.in_flight.len() + self.unacknowledged.len() < usize::from(self.terms.window)
    }

    /// Whether all that was published has been delivered.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.is_sent() && self.sent.is_empty()
    }

    /// Whether all that was said has gone out.
    pub fn is_sent(&self) -> bool {
        self.out.is_empty() && self.is_flushed
    }

    /// Publishes a message. It is too large where `item` comes back.
    pub fn publish(&mut self, message: &Message<'_>, item: I) -> Result<(), (I, String)> {
        let identifier = if message.acknowledged {
            self.next_identifier()
        } else {
            0
        };
        if let Err(reason) = packets::publish(self.version, message, identifier, self.terms.most_bytes, &mut self.out) {
            return Err((item, reason));
        }
        if message.acknowledged {
            self.in_flight.insert(identifier, item);
        } else {
            self.unacknowledged.push_back(item);
        }
        Ok(())
    }

    /// Says that nothing more will come; all is done when it [`is_sent`](Self::is_sent).
    pub fn disconnect(&mut self) -> Result<(), String> {
        packets::disconnect(self.version, &mut self.out)
    }

    /// Sends what is to be sent and waits for news. Nothing is lost if it is dropped before it resolves.
    pub async fn news(&mut self) -> Result<News<I>, String> {
        if let Some(item) = self.sent.pop_front() {
            return Ok(News::Delivered(item));
        }
        let heard = self.hear().await?;
        match heard {
            Some(Heard::Acknowledged(identifier, result)) => Ok(match (self.in_flight.remove(&identifier), result) {
                (Some(item), Ok(())) => News::Delivered(item),
                (Some(item), Err(reason)) => News::Refused(item, reason),
                (None, _) => News::Other,
            }),
            Some(Heard::Farewell(reason) | Heard::Refusal(reason)) => Err(format!("the broker ended it: {reason}")),
            Some(Heard::Welcome(_) | Heard::Other) => Ok(News::Other),
            None => {
                self.sent.append(&mut self.unacknowledged);
                Ok(News::Other)
            }
        }
    }

    /// To be called every second or so: asks for a sign of life when it is time. The error says that there was none.
    pub fn keep_alive(&mut self) -> Result<(), String> {
        let seconds = self.terms.keep_alive.unwrap_or(KEEP_ALIVE).clamp(2, KEEP_ALIVE);
        let limit = Duration::from_secs(seconds.into());
        if self.heard_at.elapsed() > limit {
            return Err(format!("the broker has said nothing for {seconds} s"));
        }
        if self.pinged_at.elapsed() >= limit / 2 {
            self.pinged_at = Instant::now();
            packets::ping(self.version, &mut self.out)?;
        }
        Ok(())
    }

    fn next_identifier(&mut self) -> u16 {
        loop {
            self.last_identifier = self.last_identifier.wrapping_add(1).max(1);
            if !self.in_flight.contains_key(&self.last_identifier) {
                return self.last_identifier;
            }
        }
    }

    /// The next packet; `None` when all that was said has gone out.
    async fn hear(&mut self) -> Result<Option<Heard>, String> {
        loop {
            if let Some(heard) = packets::read(self.version, &mut self.received)? {
                return Ok(Some(heard));
            }
            let is_sent = self.is_sent();
            select! {
                read = self.reader.read_buf(&mut self.received) => match read {
                    Ok(0) => return Err("the broker closed the connection".into()),
                    Ok(_) => self.heard_at = Instant::now(),
                    Err(error) => return Err(error.to_string()),
                },
                sent = send(&mut self.writer, &mut self.out, &mut self.is_flushed), if !is_sent => {
                    sent.map_err(|error| error.to_string())?;
                    return Ok(None);
                }
            }
        }
    }
}

/// Writes all of `out`, which shrinks as it goes, and flushes it.
async fn send(
    writer: &mut WriteHalf<Box<dyn Stream>>,
    out: &mut BytesMut,
    is_flushed: &mut bool,
) -> std::io::Result<()> {
    if !out.is_empty() {
        *is_flushed = false;
    }
    writer.write_all_buf(out).await?;
    writer.flush().await?;
    *is_flushed = true;
    Ok(())
}

async fn reach(config: &Config) -> Result<Box<dyn Stream>, String> {
    let broker = &config.broker;
    let tcp = TcpStream::connect((broker.host.as_str(), broker.port)).await;
    let tcp = tcp.map_err(|error| error.to_string())?;
    tcp.set_nodelay(true).map_err(|error| error.to_string())?;
    let Some(tls) = &broker.tls else {
        return Ok(Box::new(tcp));
    };
    let name = ServerName::try_from(broker.host.clone()).map_err(|error| error.to_string())?;
    let tls = TlsConnector::from(tls.clone()).connect(name, tcp).await;
    Ok(Box::new(tls.map_err(|error| format!("TLS: {error}"))?))
}

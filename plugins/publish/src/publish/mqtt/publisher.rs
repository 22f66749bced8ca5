//! The thread that publishes: from the outbox into the queue, and from the queue to the broker whenever it is there.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use tokio::select;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout};

use super::connection::{CONNECT_TIMEOUT, Connection, News};
use super::packets::Message;
use super::topics::Topics;
use super::{Config, discovery};
use crate::publish::counters::Counters;
use crate::publish::event::Event;
use crate::publish::outbox::Outbox;
use crate::publish::queue::Queue;
use crate::publish::report::{Reporter, Trouble};
use crate::publish::worker::PATIENCE;

/// The pause after a lost connection, doubled each time until one lasts or delivers something.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// What is looked after while nothing comes: the disk has events after so long, and a broker that hangs is found out.
const TICK: Duration = Duration::from_secs(1);

/// How the sender knows a publication.
#[derive(Debug)]
enum Item {
    /// The record of this number.
    Event(u64),
    /// The state of the element at this place.
    State(usize),
    /// Something that is said again at the next connection if it gets lost.
    Notice,
    /// That the camera goes.
    Offline,
}

/// An element whose events have come.
#[derive(Debug)]
struct Known {
    level: String,
    last: Arc<Event>,
    /// The last event has not been published as the state.
    is_new: bool,
    /// The state is on its way, and the next one waits for it: where events come fast, states in between are left out.
    is_on_its_way: bool,
}

/// Whether the connection is being ended.
#[derive(Debug, PartialEq, Eq)]
enum Parting {
    No,
    /// The broker is told that the camera goes.
    Telling,
    /// And that it can close.
    Closing,
}

/// All that the thread has.
pub struct Publisher {
    config: Arc<Config>,
    queue: Queue,
    counters: Arc<Counters>,
    reporter: Reporter,
    known: Vec<Known>,
    /// Topics and contents of what Home Assistant is still to be told.
    notices: VecDeque<(String, String)>,
    connections: u64,
    /// Events and states that the broker has taken.
    delivered: u64,
    /// When to stop at last, as soon as it is known that nothing more will come.
    stop_by: Option<Instant>,
    away: Trouble,
    full: Trouble,
    disk: Trouble,
    refused: Trouble,
}

impl Publisher {
    /// Ready to run.
    pub fn new(config: Config, queue: Queue, counters: Arc<Counters>, reporter: Reporter) -> Self {
        let mut publisher = Self {
            config: Arc::new(config),
            queue,
            counters,
            reporter,
            known: Vec::new(),
            notices: VecDeque::new(),
            connections: 0,
            delivered: 0,
            stop_by: None,
            away: Trouble::default(),
            full: Trouble::default(),
            disk: Trouble::default(),
            refused: Trouble::default(),
        };
        publisher.count();
        publisher
    }

    /// Publishes until the outbox is closed and all is delivered; or, with the broker away, until it is closed.
    pub async fn run(&mut self, outbox: &Outbox) {
        self.take_in(outbox);
        let mut pause = SHORTEST_PAUSE;
        loop {
            let (began, before) = (Instant::now(), self.delivered);
            let Err(reason) = self.attempt(outbox).await else { break };
            self.lost(&reason);
            if self.stop_by.is_some() {
                break;
            }
            if self.delivered > before || began.elapsed() > 2 * LONGEST_PAUSE {
                pause = SHORTEST_PAUSE;
            }
            self.rest(outbox, pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
        self.counters.connected.store(false, Relaxed);
        self.take_in(outbox);
        self.sync();
    }

    /// Connects and publishes. Returns when it is done; the error says why it could not go on.
    async fn attempt(&mut self, outbox: &Outbox) -> Result<(), String> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        match self.connect(outbox, &mut ticks).await? {
            Some(connection) => self.serve(connection, outbox, &mut ticks).await,
            None => Ok(()),
        }
    }

    /// Connects; `None` where it is time to stop.
    async fn connect(&mut self, outbox: &Outbox, ticks: &mut Interval) -> Result<Option<Connection<Item>>, String> {
        let config = self.config.clone();
        let mut opening = pin!(timeout(CONNECT_TIMEOUT, Connection::open(&config)));
        while self.stop_by.is_none() || !self.queue.is_empty() {
            select! {
                opened = &mut opening => return match opened {
                    Ok(opened) => opened.map(Some),
                    Err(_) => Err(format!("it did not answer within {} s", CONNECT_TIMEOUT.as_secs())),
                },
                () = outbox.changed() => self.take_in(outbox),
                _ = ticks.tick() => self.sync(),
                () = reached(self.stop_by) => break,
            }
        }
        Ok(None)
    }

    /// Publishes until the connection is lost, or all is done and the broker knows.
    async fn serve(
        &mut self,
        mut connection: Connection<Item>,
        outbox: &Outbox,
        ticks: &mut Interval,
    ) -> Result<(), String> {
        self.welcome(&mut connection)?;
        let mut parting = Parting::No;
        loop {
            if parting == Parting::No {
                self.fill(&mut connection);
                if self.stop_by.is_some() && self.queue.is_empty() && connection.is_idle() {
                    self.say_availability(&mut connection, false)?;
                    parting = Parting::Telling;
                }
            } else if parting == Parting::Closing && connection.is_sent() {
                return Ok(());
            }
            select! {
                news = connection.news() => match news? {
                    News::Delivered(Item::Offline) | News::Refused(Item::Offline, _) => {
                        connection.disconnect()?;
                        parting = Parting::Closing;
                    }
                    News::Delivered(item) => self.delivered(&item),
                    News::Refused(item, reason) => {
                        self.refused(&reason);
                        self.settled(&item);
                    }
                    News::Other => {}
                },
                () = outbox.changed() => self.take_in(outbox),
                _ = ticks.tick() => {
                    connection.keep_alive()?;
                    self.away.ends();
                    self.sync();
                }
                () = reached(self.stop_by) => return Ok(()),
            }
        }
    }

    /// Pauses, but not when it is time to stop.
    async fn rest(&mut self, outbox: &Outbox, pause: Duration) {
        let end = Instant::now() + pause;
        let mut ticks = interval(TICK);
        while self.stop_by.is_none() {
            select! {
                () = sleep_until(end) => return,
                () = outbox.changed() => self.take_in(outbox),
                _ = ticks.tick() => self.sync(),
            }
        }
    }

    /// Puts what has come into the queue.
    fn take_in(&mut self, outbox: &Outbox) {
        // Before the events, so that all are there once it is closed.
        let is_closed = outbox.is_closed();
        for event in outbox.take() {
            let level = Topics::level(&event.element);
            match self.queue.push(&level, &event.json) {
                Ok(()) => self.disk.ends(),
                Err(error) if self.disk.begins() => self.reporter.warn(
                    gst::ResourceError::Write,
                    &format!(
                        "Cannot keep events for the broker on disk: {error}; until it can be written again they are in memory only, \
                         and the oldest are dropped when there are many"
                    ),
                ),
                Err(_) => {}
            }
            if let Some(known) = self.known.iter_mut().find(|known| known.level == level) {
                known.last = event;
                known.is_new = true;
            } else {
                self.announce(&event);
                self.known.push(Known {
                    level,
                    last: event,
                    is_new: true,
                    is_on_its_way: false,
                });
            }
        }
        self.count();
        if is_closed && self.stop_by.is_none() {
            self.stop_by = Some(Instant::now() + PATIENCE);
        }
    }

    /// Says that the camera is there, and gets ready to say all else anew.
    fn welcome(&mut self, connection: &mut Connection<Item>) -> Result<(), String> {
        self.connections += 1;
        if self.connections > 1 {
            self.counters.reconnects.fetch_add(1, Relaxed);
        }
        self.counters.connected.store(true, Relaxed);
        let queued = self.queue.counts().queued;
        self.reporter.connection(&self.config.broker.to_string(), queued, None);
        self.queue.rewind();
        for known in &mut self.known {
            known.is_new = true;
            known.is_on_its_way = false;
        }
        self.notices.clear();
        let events: Vec<_> = self.known.iter().map(|known| known.last.clone()).collect();
        events.iter().for_each(|event| self.announce(event));
        self.say_availability(connection, true)
    }

    fn say_availability(&self, connection: &mut Connection<Item>, is_there: bool) -> Result<(), String> {
        let topic = self.config.topics.availability();
        let item = if is_there { Item::Notice } else { Item::Offline };
        let said = connection.publish(&self.config.availability(&topic, is_there), item);
        said.map_err(|(_, reason)| reason)
    }

    /// Gets ready to tell Home Assistant, if it is to know, of the element that an event is of.
    fn announce(&mut self, event: &Event) {
        if let Some(prefix) = &self.config.discovery {
            let entities = discovery::entities(prefix, &self.config.topics, &event.element, event.task);
            self.notices.extend(entities);
        }
    }

    /// Publishes as much as may be on its way at a time.
    fn fill(&mut self, connection: &mut Connection<Item>) {
        while connection.has_room() {
            let published = if let Some((topic, content)) = self.notices.pop_front() {
                connection.publish(&self.message(&topic, content, true), Item::Notice)
            } else if let Some(place) = self.known.iter().position(|known| known.is_new && !known.is_on_its_way) {
                let known = &mut self.known[place];
                known.is_new = false;
                known.is_on_its_way = true;
                let topic = self.config.topics.state(&known.level);
                let payload = known.last.json.clone();
                connection.publish(&self.message(&topic, payload, true), Item::State(place))
            } else if let Some(record) = self.queue.next() {
                let topic = self.config.topics.events(&record.element);
                connection.publish(
                    &self.message(&topic, record.json.clone(), false),
                    Item::Event(record.number),
                )
            } else {
                return;
            };
            if let Err((item, reason)) = published {
                self.refused(&reason);
                self.settled(&item);
            }
        }
    }

    fn message<'a>(&self, topic: &'a str, payload: String, retain: bool) -> Message<'a> {
        Message {
            topic,
            payload: Bytes::from(payload),
            retain,
            acknowledged: self.config.acknowledged,
        }
    }

    fn delivered(&mut self, item: &Item) {
        match item {
            Item::Event(_) => {
                self.delivered += 1;
                // A connection that is lost before it lasts or delivers something belongs to the same outage.
                self.away.ends();
                self.counters.published.fetch_add(1, Relaxed);
            }
            Item::State(_) => self.delivered += 1,
            Item::Notice | Item::Offline => {}
        }
        self.settled(item);
    }

    /// Forgets a publication that need not be sent again.
    fn settled(&mut self, item: &Item) {
        match item {
            Item::Event(number) => {
                self.queue.acknowledge(*number);
                self.count();
            }
            Item::State(place) => self.known[*place].is_on_its_way = false,
            Item::Notice | Item::Offline => {}
        }
    }

    fn refused(&mut self, reason: &str) {
        self.counters.refused.fetch_add(1, Relaxed);
        if self.refused.begins() {
            let text = format!(
                "The MQTT broker {} does not take a message: {reason}; messages that it does not take are passed over, and `stats` \
                 counts them",
                self.config.broker
            );
            self.reporter.warn(gst::ResourceError::Write, &text);
        }
    }

    /// Tells of a lost connection, once.
    fn lost(&mut self, reason: &str) {
        self.counters.connected.store(false, Relaxed);
        // A broker that comes back may take what it did not before.
        self.refused.ends();
        if self.away.begins() {
            let broker = self.config.broker.to_string();
            let text =
                format!("The MQTT broker {broker} cannot be reached: {reason}; events wait in the queue until it can");
            self.reporter.warn(gst::ResourceError::OpenWrite, &text);
            self.reporter
                .connection(&broker, self.queue.counts().queued, Some(reason));
        }
    }

    fn sync(&mut self) {
        if !self.queue.is_synced()
            && let Err(error) = self.queue.sync()
            && self.disk.begins()
        {
            let text = format!("Cannot keep events for the broker on disk: {error}");
            self.reporter.warn(gst::ResourceError::Write, &text);
        }
    }

    /// Shows what is in the queue, and warns when it begins to lose.
    fn count(&mut self) {
        let counts = self.queue.counts();
        let before = self.counters.dropped_by_queue.swap(counts.dropped, Relaxed);
        self.counters.queued.store(counts.queued, Relaxed);
        self.counters.damaged.store(counts.damaged, Relaxed);
        self.counters.queue_bytes.store(self.queue.bytes(), Relaxed);
        if counts.queued == 0 {
            self.full.ends();
        } else if counts.dropped > before && self.full.begins() {
            self.reporter.warn(
                gst::ResourceError::NoSpaceLeft,
                "The queue for the MQTT broker is full (`queue-bytes`): the oldest events are dropped, and `stats` counts them",
            );
        }
    }
}

/// Resolves at `time`; never, where there is none.
async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

//! The relay: stands between the `zookeeper` crate and the servers, and is the one that has the
//! session.
//!
//! The crate freezes with its server, gives up for good after a short restart, forgets auth on a
//! reconnect and may slip into another session unseen (protocol.md 6). So it never meets a server:
//! it talks to this loopback socket, which never hangs, never closes first and always answers in
//! order. The relay dials, authenticates, takes the session up again on another server when a
//! connection breaks or a request stays unanswered, and answers what was in flight with
//! "connection loss". When the session is over it says so to every later request.
//!
//! Two threads: one passes requests up and ends with the crate's client, one passes replies down and
//! keeps the connection. Requests and answers keep their order because both are done under one
//! lock.

use super::link::{Link, LinkError, Servers};
use super::wire::{self, Frames, SessionKey};
use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use zookeeper::{WatchedEvent, ZooKeeper};

/// Part of the negotiated timeout a request may stay unanswered before the server is given up.
const SILENCE_PART: u32 = 4;
/// How long the crate's client may take to connect to us.
const ACCEPT_BOUND: Duration = Duration::from_secs(5);
/// The timeout the crate is told: it pings after two thirds of it and, should we ever vanish
/// without a word, stops trying after the whole.
const TOLD_TIMEOUT_MS: u32 = 6_000;
/// First and last pause between rounds over the servers.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Least and longest time between two looks at what is unanswered.
const TICK: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));
/// Stack of a thread, bytes; they hold a frame on the heap and little else.
const STACK: usize = 128 << 10;

/// What happens to the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The connection is gone; another one is looked for.
    Broken(String),
    /// The session goes on, on another connection: watches are gone.
    Resumed,
    /// The session is over, or given up.
    Ended(String),
}

/// A running relay. Drop the client first: that ends the session and both threads.
pub(super) struct Relay {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    events: Sender<Event>,
    /// Disconnected once the crate's client is gone: pauses end.
    gone: Receiver<()>,
}

struct State {
    client: TcpStream,
    server: Option<Arc<TcpStream>>,
    pending: VecDeque<Pending>,
    zxid: i64,
    /// How long a request may stay unanswered.
    patience: Duration,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// No server will answer again.
    Over,
    /// The crate's client is gone.
    Gone,
}

#[derive(Clone, Copy)]
struct Pending {
    xid: i32,
    since: Instant,
}

impl Relay {
    /// Puts a relay before `link` and connects the crate's client through it. `watcher` hears the
    /// watch events, on a thread of the crate.
    ///
    /// # Errors
    /// The machine grants no socket or thread.
    pub fn start(
        link: Link,
        servers: Servers,
        events: Sender<Event>,
        watcher: impl Fn(WatchedEvent) + Send + 'static,
    ) -> io::Result<(ZooKeeper, Self)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let token = fastrand::u16(..).max(1);
        let client = ZooKeeper::connect(
            &listener.local_addr()?.to_string(),
            Duration::from_millis(u64::from(token)),
            watcher,
        )
        .map_err(io::Error::other)?;
        let (stream, frames) = accept(&listener, token, &link.key)?;
        let patience = Duration::from_millis(u64::from(link.key.timeout_ms)) / SILENCE_PART;
        let (client_end, gone) = bounded(0);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                client: stream.try_clone()?,
                server: None,
                pending: VecDeque::new(),
                zxid: 0,
                patience,
                phase: Phase::Serving,
            }),
            events,
            gone,
        });
        shared.attach(&link)?;
        let (up, down) = (Arc::clone(&shared), Arc::clone(&shared));
        let spawn = |name: &str| std::thread::Builder::new().name(name.to_owned()).stack_size(STACK);
        let up = spawn("zk relay up").spawn(move || up.pass_requests(stream, frames, client_end))?;
        let down = spawn("zk relay down").spawn(move || down.keep(link, &servers))?;
        Ok((client, Self { shared, threads: vec![up, down] }))
    }

    /// Answers whatever is or comes in flight within `patience` from now on.
    pub fn hurry(&self, patience: Duration) {
        self.shared.state.lock().patience = patience;
    }

    /// Gives the session up: no request is carried out any more.
    pub fn abandon(&self) {
        self.shared.end("given up");
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("ZooKeeper relay: a thread panicked");
            }
        }
    }
}

/// Waits for the crate's own connection, told from others on this machine by the timeout it asks
/// for, and answers it.
fn accept(listener: &TcpListener, token: u16, key: &SessionKey) -> io::Result<(TcpStream, Frames)> {
    let deadline = Instant::now() + ACCEPT_BOUND;
    listener.set_nonblocking(true)?;
    while Instant::now() < deadline {
        let Ok((mut stream, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        let mut frames = Frames::default();
        let Ok(Some(request)) = frames.next(&mut stream) else { continue };
        if wire::requested_timeout(&request) != Some(i32::from(token)) {
            continue;
        }
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(Some(ACCEPT_BOUND))?;
        let told = SessionKey { timeout_ms: TOLD_TIMEOUT_MS, ..key.clone() };
        stream.write_all(&wire::connect_response(&told))?;
        return Ok((stream, frames));
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "the ZooKeeper client did not connect to its relay"))
}

impl Shared {
    /// Passes requests up until the crate's client closes or breaks off.
    fn pass_requests(&self, mut stream: TcpStream, mut frames: Frames, _end: Sender<()>) {
        loop {
            match frames.next(&mut stream) {
                Ok(Some(frame)) => match wire::request_head(&frame) {
                    Some(head) => self.request(head, &frame),
                    None => break,
                },
                Ok(None) => {}
                Err(_) => break,
            }
        }
        let mut state = self.state.lock();
        state.detach();
        if state.phase == Phase::Serving {
            let _ = self.events.try_send(Event::Ended("its client stopped".to_owned()));
        }
        state.phase = Phase::Gone;
    }

    fn request(&self, head: wire::RequestHead, frame: &[u8]) {
        let server = {
            let mut state = self.state.lock();
            let Some(server) = state.server.clone() else {
                let error = match head.xid {
                    wire::PING => 0,
                    _ if head.closes => 0,
                    _ if state.phase == Phase::Serving => wire::CONNECTION_LOSS,
                    _ => wire::SESSION_EXPIRED,
                };
                state.answer(&wire::reply(head.xid, error));
                return;
            };
            if head.closes {
                state.phase = Phase::Over;
            }
            state.pending.push_back(Pending { xid: head.xid, since: Instant::now() });
            server
        };
        if (&*server).write_all(frame).is_err() {
            let _ = server.shutdown(Shutdown::Both);
        }
    }

    /// Keeps the session on one connection after the other until it is over.
    fn keep(&self, mut link: Link, servers: &Servers) {
        loop {
            let why = self.pass_replies(&mut link);
            {
                let mut state = self.state.lock();
                state.detach();
                if state.phase != Phase::Serving {
                    return;
                }
            }
            let _ = self.events.try_send(Event::Broken(format!("{}: {why}", link.peer)));
            match self.resume(&link, servers) {
                Ok(next) => link = next,
                Err(why) => return self.end(&why),
            }
            let _ = self.events.try_send(Event::Resumed);
        }
    }

    /// Passes replies down; returns why that ended.
    fn pass_replies(&self, link: &mut Link) -> String {
        loop {
            match link.frames.next(&mut link.stream) {
                Ok(Some(frame)) => {
                    if let Err(why) = self.reply(&frame) {
                        return why;
                    }
                }
                Ok(None) => {}
                Err(error) => return error.to_string(),
            }
            let state = self.state.lock();
            if state.pending.front().is_some_and(|oldest| oldest.since.elapsed() > state.patience) {
                return format!("no answer within {:.1} s", state.patience.as_secs_f64());
            }
        }
    }

    fn reply(&self, frame: &[u8]) -> Result<(), String> {
        let Some(head) = wire::reply_head(frame) else { return Err("a malformed reply".to_owned()) };
        let mut state = self.state.lock();
        state.zxid = state.zxid.max(head.zxid);
        match head.xid {
            wire::WATCH_EVENT => {}
            wire::AUTH => return Ok(()),
            xid => match state.pending.pop_front() {
                Some(pending) if pending.xid == xid => {}
                pending => {
                    pending.into_iter().for_each(|pending| state.pending.push_front(pending));
                    return Err("a reply out of order".to_owned());
                }
            },
        }
        state.answer(frame);
        if head.error == wire::SESSION_EXPIRED { Err("the session is over".to_owned()) } else { Ok(()) }
    }

    /// Looks for a server that takes the session up. Gives up one negotiated timeout after the
    /// connection broke: by then it is over wherever a server was up to see to it.
    fn resume(&self, broken: &Link, servers: &Servers) -> Result<Link, String> {
        let timeout = Duration::from_millis(u64::from(broken.key.timeout_ms));
        let (deadline, mut pause) = (Instant::now() + timeout, RETRY.0);
        let mut last = "no server was tried".to_owned();
        while Instant::now() < deadline {
            let zxid = self.state.lock().zxid;
            for peer in servers.addresses(Some(broken.peer)).unwrap_or_default() {
                if self.state.lock().phase != Phase::Serving {
                    return Err("given up".to_owned());
                }
                match Link::open(peer, servers, Some((&broken.key, zxid))) {
                    Ok(link) => match self.attach(&link) {
                        Ok(()) => return Ok(link),
                        Err(error) => last = format!("{peer}: {error}"),
                    },
                    Err(LinkError::Expired) => return Err("it expired".to_owned()),
                    Err(LinkError::Unreachable(reason)) => last = reason,
                }
            }
            let jittered = pause.mul_f64(0.5 + fastrand::f64());
            if self.gone.recv_timeout(jittered).is_err_and(|error| error.is_disconnected()) {
                return Err("given up".to_owned());
            }
            pause = (pause * 2).min(RETRY.1);
        }
        Err(format!("no server for {:.1} s, the last one: {last}", timeout.as_secs_f64()))
    }

    /// Requests go to this connection from now on.
    fn attach(&self, link: &Link) -> io::Result<()> {
        let mut state = self.state.lock();
        link.stream.set_read_timeout(Some((state.patience / 5).clamp(TICK.0, TICK.1)))?;
        link.stream.set_write_timeout(Some(state.patience))?;
        if state.phase == Phase::Serving {
            state.server = Some(Arc::new(link.stream.try_clone()?));
        }
        Ok(())
    }

    fn end(&self, why: &str) {
        let mut state = self.state.lock();
        state.detach();
        if state.phase == Phase::Serving {
            state.phase = Phase::Over;
            let _ = self.events.try_send(Event::Ended(why.to_owned()));
        }
    }
}

impl State {
    /// Takes the connection away and answers all that was asked over it.
    fn detach(&mut self) {
        if let Some(server) = self.server.take() {
            let _ = server.shutdown(Shutdown::Both);
        }
        for pending in std::mem::take(&mut self.pending) {
            self.answer(&wire::reply(pending.xid, wire::CONNECTION_LOSS));
        }
    }

    fn answer(&mut self, frame: &[u8]) {
        if self.client.write_all(frame).is_err() {
            let _ = self.client.shutdown(Shutdown::Both);
        }
    }
}

//! The session supervisor: owns the only client, proves the session alive with its own heartbeat,
//! and builds everything on a new one when the old one is over.
//!
//! Others borrow the client of the moment, and are woken when it changes or a watch fires; every
//! wake-up is only a hint to look again. The heartbeat is a *write* to our registration, because a
//! follower cut off from its leader still answers reads. A session that registers nothing (the
//! reading side of storage discovery) only reads.

use super::client::{CallError, Client};
use super::fence::Root;
use super::layout::{self, ServerInfo};
use super::lease::Lease;
use super::link::Servers;
use super::registration::{Registration, RegistrationError, register};
use super::relay::Event;
use super::worker::Worker;
use crate::boottime::boottime;
use crate::logging::Told;
use crate::pulse;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, never, select};
use jiff::Timestamp;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Heartbeats within one session timeout: the lease (two thirds) outlives three lost ones.
const BEATS: u32 = 6;
/// First and last pause between attempts to get a session, jittered by half.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long a stop waits for the thread; it may be resolving a name.
const STOP_GRACE: Duration = Duration::from_millis(800);

/// What a session is for.
#[derive(Clone, Debug)]
pub enum Role {
    /// It only reads, and has no lease.
    Reader,
    /// It is a worker of the fleet and may become its master.
    Member(ServerInfo),
    /// It takes locks for a while and is neither.
    Guest(ServerInfo),
}

/// What the lines and problems of discovery begin with.
pub(super) const DISCOVERY: &str = "discovery of bcs-storage: ";

impl Role {
    /// Where it registers, and as what.
    fn registration(&self) -> Option<(&'static str, &ServerInfo)> {
        match self {
            Self::Reader => None,
            Self::Member(info) => Some((layout::MEMBERS, info)),
            Self::Guest(info) => Some((layout::GUESTS, info)),
        }
    }

    /// What its lines in the log begin with: a process may have two sessions, with different servers.
    fn prefix(&self) -> &'static str {
        if matches!(self, Self::Reader) { DISCOVERY } else { "" }
    }
}

/// A supervised session. Stops when dropped.
pub struct Session {
    shared: Arc<Shared>,
    worker: Mutex<Option<Worker>>,
}

struct Shared {
    servers: Servers,
    role: Role,
    lease: Lease,
    state: Mutex<State>,
    wakers: Arc<Wakers>,
    sessions: AtomicU64,
    clock_ahead_ms: Mutex<Option<i64>>,
}

#[derive(Default)]
struct State {
    client: Option<Arc<Client>>,
    /// Name of our registration node.
    node: Option<String>,
    root: Option<Root>,
    problem: Option<String>,
    fatal: Option<String>,
    /// What was logged since the session was sound last: attempts on several servers fail in turn.
    told: Told,
}

impl State {
    /// Nothing is wrong any more; whether something was.
    fn is_sound_again(&mut self) -> bool {
        self.told.all_is_well();
        self.problem.take().is_some()
    }
}

/// Who wants to be woken, and by changes below which path.
#[derive(Default)]
struct Wakers(Mutex<Vec<(String, Sender<()>)>>);

impl Session {
    /// Starts to look for a session. One that registers has a lease.
    ///
    /// # Errors
    /// The machine grants no thread.
    pub fn start(servers: Servers, role: Role) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            servers,
            role,
            lease: Lease::default(),
            state: Mutex::new(State {
                problem: Some("no ZooKeeper session yet".to_owned()),
                ..State::default()
            }),
            wakers: Arc::new(Wakers::default()),
            sessions: AtomicU64::new(0),
            clock_ahead_ms: Mutex::default(),
        });
        let supervised = Arc::clone(&shared);
        let worker = Worker::start("zk session", move |stopped| supervised.supervise(stopped))?;
        Ok(Self { shared, worker: Mutex::new(Some(worker)) })
    }

    /// The client of the moment.
    pub fn client(&self) -> Option<Arc<Client>> {
        self.shared.state.lock().client.clone()
    }

    /// The name of our registration node in this session.
    pub fn registration(&self) -> Option<String> {
        self.shared.state.lock().node.clone()
    }

    /// The root node, known once registered.
    pub(super) fn root(&self) -> Option<Root> {
        self.shared.state.lock().root
    }

    /// Says "look again" to `wake` when the session changed, or something at or below `path` may
    /// have. A capacity of one is enough.
    pub fn subscribe(&self, path: &str, wake: Sender<()>) {
        self.shared.wakers.0.lock().push((path.to_owned(), wake));
    }

    /// What is left of the lease of `session`, by now.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn lease(&self, session: i64) -> Result<Duration, String> {
        self.shared.lease.remaining(session, boottime())
    }

    /// How many times a lease began after there was none.
    pub fn lease_gaps(&self) -> u64 {
        self.shared.lease.gaps()
    }

    /// Whether there is a lease now.
    pub fn connected(&self) -> bool {
        self.shared.lease.alive(boottime())
    }

    /// How long ago the last acknowledged heartbeat was sent.
    pub fn last_heartbeat(&self) -> Option<Duration> {
        self.shared.lease.age(boottime())
    }

    /// By how much this machine's clock was ahead of ZooKeeper's at the last heartbeat, in
    /// milliseconds, beyond what the heartbeat itself took.
    pub fn clock_ahead_ms(&self) -> Option<i64> {
        *self.shared.clock_ahead_ms.lock()
    }

    /// Sessions there were so far.
    pub fn sessions(&self) -> u64 {
        self.shared.sessions.load(Ordering::Relaxed)
    }

    /// What is wrong, in words.
    pub fn problem(&self) -> Option<String> {
        self.shared.state.lock().problem.clone()
    }

    /// Why this process must end: its address belongs to another one.
    pub fn fatal(&self) -> Option<String> {
        self.shared.state.lock().fatal.clone()
    }

    /// What is wrong with its thread, in words: it ended without being asked to and without a
    /// [`fatal`](Self::fatal) reason, or hangs.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.worker.lock().as_ref()?.trouble();
        trouble.filter(|_| self.fatal().is_none())
    }

    /// Ends the session: registration and locks go with it. A second call does nothing.
    pub fn stop(&self) {
        let worker = self.worker.lock().take();
        if let Some(worker) = worker {
            worker.stop(STOP_GRACE);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How far a clock that showed `sent` and `answered` around a write is ahead of the one that dated
/// the write; 0 if that lies between the two.
fn ahead(sent: i64, written: i64, answered: i64) -> i64 {
    match written {
        written if written < sent => sent - written,
        written if written > answered => answered - written,
        _ => 0,
    }
}

impl Wakers {
    fn wake(&self, changed: Option<&str>) {
        let mut wakers = self.0.lock();
        wakers.retain(|(path, sender)| {
            let concerned = changed.is_none_or(|changed| {
                changed
                    .strip_prefix(path.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            });
            !concerned || !sender.try_send(()).is_err_and(|error| error.is_disconnected())
        });
    }
}

impl Shared {
    fn supervise(&self, stopped: &Receiver<()>) {
        let mut pause = BACKOFF.0;
        loop {
            match self.one_session(stopped, &mut pause) {
                Ok(()) => return,
                Err(problem) => {
                    self.doubt(&problem);
                    if self.state.lock().fatal.is_some() {
                        return;
                    }
                }
            }
            let jittered = pause.mul_f64(0.5 + fastrand::f64());
            if pulse::resting(|| stopped.recv_timeout(jittered)) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    /// One session from its beginning to its end: `Ok` when stopped, else why it ended.
    fn one_session(&self, stopped: &Receiver<()>, pause: &mut Duration) -> Result<(), String> {
        let wakers = Arc::clone(&self.wakers);
        let client = Client::open(&self.servers, move |event| wakers.wake(event.path.as_deref()))
            .map_err(|error| error.to_string())?;
        let client = Arc::new(client);
        self.sessions.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let path = match self.register(&client, stopped) {
            Ok(path) => path,
            Err(RegistrationError::Stopped) => return Ok(()),
            Err(RegistrationError::Call(error)) => return Err(error.to_string()),
            Err(RegistrationError::Taken(why)) => {
                self.state.lock().fatal = Some(why.clone());
                return Err(why);
            }
        };
        let (session, timeout) = (client.session(), client.timeout());
        log::info!("{}ZooKeeper: session 0x{session:x}, timeout {timeout:?}", self.role.prefix());
        self.publish(Some((&client, path.as_deref())));
        let outcome = self.keep(&client, path.as_deref(), stopped);
        self.lease.revoke();
        self.publish(None);
        if began.elapsed() > client.timeout() {
            *pause = BACKOFF.0;
        }
        outcome
    }

    fn register(&self, client: &Client, stopped: &Receiver<()>) -> Result<Option<String>, RegistrationError> {
        let Some((parent, info)) = self.role.registration() else { return Ok(None) };
        let known_root = self.state.lock().root;
        let mut go_on =
            |wait| pulse::resting(|| stopped.recv_timeout(wait)) == Err(RecvTimeoutError::Timeout);
        let Registration { path, root, hold } = register(client, parent, info, known_root, &mut go_on)?;
        self.state.lock().root = Some(root);
        let sent = boottime();
        self.beat(client, Some(&path))?;
        if !hold.is_zero() {
            log::warn!(
                "ZooKeeper is new or lost its data: no writes for {hold:?}, others may still hold leases"
            );
            self.lease.hold_until(sent + hold);
        }
        self.lease.renew(client.session(), client.timeout(), sent, boottime());
        Ok(Some(path))
    }

    /// Heartbeats until the session is over or `stopped`.
    fn keep(&self, client: &Client, path: Option<&str>, stopped: &Receiver<()>) -> Result<(), String> {
        let interval = client.timeout() / BEATS;
        let mut next = Instant::now() + interval;
        let mut events = client.events().clone();
        loop {
            pulse::within(interval);
            select! {
                recv(stopped) -> _ => return Ok(()),
                recv(events) -> event => match event {
                    Ok(Event::Broken(why)) => self.doubt(&format!("ZooKeeper: connection lost: {why}")),
                    Ok(Event::Resumed) => {
                        self.wakers.wake(None);
                        next = Instant::now();
                    }
                    Ok(Event::Ended(why)) => return Err(format!("ZooKeeper: session given up: {why}")),
                    Err(_) => events = never(),
                },
                default(next.saturating_duration_since(Instant::now())) => {
                    let sent = boottime();
                    next = Instant::now() + interval;
                    match self.beat(client, path).and_then(|()| self.check_root(client)) {
                        Ok(()) => self.sound(client, sent),
                        Err(CallError::NoNode(path)) if path == layout::ROOT => {
                            return Err(format!("ZooKeeper: {path} was deleted or made anew by somebody else"));
                        }
                        Err(CallError::NoNode(path)) => return Err(format!("ZooKeeper: our registration {path} was deleted")),
                        Err(CallError::SessionOver) => return Err("ZooKeeper: the session is over".to_owned()),
                        Err(error) => {
                            self.doubt(&error.to_string());
                            next = Instant::now() + interval / 4;
                        }
                    }
                }
            }
        }
    }

    fn beat(&self, client: &Client, path: Option<&str>) -> Result<(), CallError> {
        match (path, self.role.registration()) {
            (Some(path), Some((_, info))) => {
                let sent = Timestamp::now().as_millisecond();
                let stat = client.write(path, &serde_json::to_vec(info).unwrap_or_default(), None)?;
                let answered = Timestamp::now().as_millisecond();
                *self.clock_ahead_ms.lock() = Some(ahead(sent, stat.mtime, answered));
                Ok(())
            }
            _ => client.stat("/").map(drop),
        }
    }

    /// Whether our tree still stands under the root node we know. Under another one locks mean nothing to
    /// those who still hold leases from before: then a new session treats ZooKeeper as a fresh one.
    fn check_root(&self, client: &Client) -> Result<(), CallError> {
        let known = self.state.lock().root;
        match known {
            Some(known) if Root::read(client)? != Some(known) => {
                Err(CallError::NoNode(layout::ROOT.to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn sound(&self, client: &Client, sent: Duration) {
        if self.role.registration().is_some() {
            self.lease.renew(client.session(), client.timeout(), sent, boottime());
        }
        if self.state.lock().is_sound_again() {
            log::info!("{}ZooKeeper: session 0x{:x} is sound again", self.role.prefix(), client.session());
            self.wakers.wake(None);
        }
    }

    /// Shows a problem, and logs it the first time since all was well.
    fn doubt(&self, problem: &str) {
        let mut state = self.state.lock();
        state.problem = Some(problem.to_owned());
        if state.told.is_news(problem) {
            log::warn!("{}{problem}", self.role.prefix());
        }
    }

    fn publish(&self, current: Option<(&Arc<Client>, Option<&str>)>) {
        {
            let mut state = self.state.lock();
            state.client = current.map(|(client, _)| Arc::clone(client));
            state.node = current.and_then(|(_, path)| Some(path?.rsplit('/').next()?.to_owned()));
            if current.is_some() {
                state.is_sound_again();
            }
        }
        self.wakers.wake(None);
    }
}

#[cfg(test)]
mod tests {
    use super::ahead;

    #[test]
    fn clocks_differ_by_what_the_heartbeat_does_not_account_for() {
        for (sent, written, answered, expected) in
            [(10, 10, 10, 0), (10, 15, 20, 0), (10, 4, 20, 6), (10, 25, 20, -5)]
        {
            assert_eq!(ahead(sent, written, answered), expected);
        }
    }
}

//! Accepting, making room, and stopping.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use crate::loopback;

use super::backend::Backend;
use super::body::Budget;
use super::connection::{Connection, Shared};
use super::crew::Crew;
use super::tally::{Meter, Tally};
use super::wire::{Peer, Phase};
use super::{Handler, Limits};

/// Stack of a connection's thread: deep enough for a TLS handshake, small enough for thousands.
const CONNECTION_STACK: usize = 256 * 1024;
/// A request that has been arriving for so long makes room where nothing is idle: a healthy client
/// sends its own at once, and one that drips shall not keep it out.
const SLOW_REQUEST: Duration = Duration::from_secs(1);
/// How long a stop waits for connections that were cut.
const STOP_WAIT: Duration = Duration::from_secs(1);

/// The open connections of a port.
#[derive(Default)]
pub struct Peers {
    open: Mutex<HashMap<u64, Arc<Peer>>>,
}

/// What became of a connection that wants in.
#[derive(Debug, PartialEq, Eq)]
enum Admission {
    Free,
    Evicted,
    Full,
}

impl Peers {
    /// Whether that connection has ended.
    pub fn is_gone(&self, id: u64) -> bool {
        self.open.lock().get(&id).is_none_or(|peer| peer.is_gone())
    }

    /// How many there are.
    pub fn open(&self) -> usize {
        self.open.lock().len()
    }

    fn admit(&self, id: u64, peer: Arc<Peer>, limit: usize) -> Admission {
        let mut open = self.open.lock();
        let mut admission = Admission::Free;
        if open.len() >= limit {
            let slow = Instant::now().checked_sub(SLOW_REQUEST);
            let places = open.iter().filter_map(|(id, peer)| match *peer.phase.lock() {
                Phase::Idle(since) => Some((false, since, *id)),
                Phase::Arriving(since) => slow.filter(|slow| since <= *slow).map(|_| (true, since, *id)),
                Phase::Served => None,
            });
            let Some((_, _, longest)) = places.min() else { return Admission::Full };
            if let Some(peer) = open.remove(&longest) {
                peer.cut();
            }
            admission = Admission::Evicted;
        }
        open.insert(id, peer);
        admission
    }

    fn remove(&self, id: u64) {
        self.open.lock().remove(&id);
    }

    fn cut_idle(&self) {
        let is_idle = |peer: &&Arc<Peer>| matches!(*peer.phase.lock(), Phase::Idle(_));
        self.open.lock().values().filter(is_idle).for_each(|peer| peer.cut());
    }

    fn cut_all(&self) {
        self.open.lock().values().for_each(|peer| peer.cut());
    }
}

/// A port at work; stops when dropped.
pub struct Listening {
    addr: SocketAddr,
    acceptor: Arc<Acceptor>,
    /// The listener's file as a stream: the standard library can shut down a stream only, and a
    /// listener that is shut down wakes its `accept` (Linux).
    waker: TcpStream,
    accepting: Arc<Crew>,
}

impl Listening {
    /// See [`super::Front::start`].
    pub fn start(
        name: &str,
        listener: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        limits: Limits,
        handler: Arc<dyn Handler>,
    ) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        listener.set_nonblocking(false)?;
        let waker = TcpStream::from(OwnedFd::from(listener.try_clone()?));
        let peers = Arc::new(Peers::default());
        let budget = Budget::new(limits.body);
        let tally = Arc::new(Tally::default());
        let backend = Backend::start(name, handler, Arc::clone(&peers), Arc::clone(&tally))?;
        let acceptor = Arc::new(Acceptor {
            name: name.to_owned(),
            listener,
            shared: Arc::new(Shared {
                backend,
                limits,
                budget,
                tls: RwLock::new(tls),
                tally,
                draining: AtomicBool::new(false),
            }),
            peers,
            connections: Arc::default(),
            stopping: AtomicBool::new(false),
        });
        let listening = Self { addr, acceptor: Arc::clone(&acceptor), waker, accepting: Arc::default() };
        listening.accepting.spawn(format!("{name} accept"), CONNECTION_STACK, move || acceptor.run())?;
        Ok(listening)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Speaks TLS by another configuration with everybody who connects from now on.
    pub fn set_tls(&self, tls: Arc<rustls::ServerConfig>) {
        *self.acceptor.shared.tls.write() = Some(tls);
    }

    /// See [`super::Front::meter`].
    pub fn meter(&self) -> Meter {
        let acceptor = &self.acceptor;
        Meter::new(&acceptor.name, Arc::clone(&acceptor.shared.tally), Arc::clone(&acceptor.peers))
    }

    /// See [`super::Front::drain`].
    pub fn drain(&self, patience: Duration) {
        self.acceptor.shared.draining.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + patience;
        // Fails only if the listener is shut down already.
        let _ = self.waker.shutdown(Shutdown::Both);
        self.accepting.wait(deadline);
        self.acceptor.peers.cut_idle();
        let left = self.acceptor.connections.wait(deadline);
        if left > 0 {
            log::warn!("{}: {left} requests are cut off after {patience:?}", self.acceptor.name);
        }
    }

    /// Stops and waits; a second call finds nothing to do.
    pub fn stop(&mut self) {
        if self.acceptor.stopping.swap(true, Ordering::AcqRel) {
            return;
        }
        // Fails only if the listener is shut down already.
        let _ = self.waker.shutdown(Shutdown::Both);
        let deadline = Instant::now() + STOP_WAIT;
        self.accepting.wait(deadline);
        self.acceptor.peers.cut_all();
        let left = self.acceptor.connections.wait(deadline);
        if left > 0 {
            log::warn!("{}: {left} connections are left behind", self.acceptor.name);
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The accept loop.
struct Acceptor {
    name: String,
    listener: TcpListener,
    shared: Arc<Shared>,
    peers: Arc<Peers>,
    connections: Arc<Crew>,
    stopping: AtomicBool,
}

impl Acceptor {
    fn run(&self) {
        let mut backoff = Backoff::default();
        for id in 0.. {
            match self.listener.accept() {
                _ if self.stopping.load(Ordering::Acquire) => return,
                _ if self.shared.draining.load(Ordering::SeqCst) => return,
                Ok((tcp, addr)) => {
                    backoff = Backoff::default();
                    self.admit(id, tcp, addr);
                }
                Err(error) => {
                    let pause = backoff.next();
                    if backoff.is_first() {
                        log::warn!("{}: cannot accept connections: {error}; still trying", self.name);
                    }
                    std::thread::sleep(pause);
                }
            }
        }
    }

    fn admit(&self, id: u64, tcp: TcpStream, addr: SocketAddr) {
        let tally = &self.shared.tally;
        tally.accept();
        // Only a matter of speed.
        let _ = tcp.set_nodelay(true);
        loopback::spare((&tcp).into());
        let peer = Arc::new(Peer::new(tcp, addr));
        match self.peers.admit(id, Arc::clone(&peer), self.shared.limits.connections) {
            Admission::Free => {}
            Admission::Evicted => tally.evict(),
            Admission::Full => return tally.turn_away(),
        }
        let (peers, shared) = (Arc::clone(&self.peers), Arc::clone(&self.shared));
        let serve = move || {
            let _leave = Leave { peers, id };
            Connection::serve(id, peer, shared);
        };
        if self.connections.spawn(format!("{} conn {id}", self.name), CONNECTION_STACK, serve).is_err() {
            self.peers.remove(id);
            tally.turn_away();
        }
    }
}

/// Takes a connection off the books however its thread ends.
struct Leave {
    peers: Arc<Peers>,
    id: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.peers.remove(self.id);
    }
}

/// Pauses between failing accepts: out of files, the loop must neither end nor spin.
#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(5);
    /// Short enough for a stop to wait for.
    const LONGEST: Duration = Duration::from_millis(200);

    fn next(&mut self) -> Duration {
        let pause = Self::FIRST.saturating_mul(1 << self.failures.min(10)).min(Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    fn is_first(&self) -> bool {
        self.failures == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Arc<Peer> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let addr = tcp.local_addr().unwrap();
        Arc::new(Peer::new(tcp, addr))
    }

    #[test]
    fn a_failing_accept_is_tried_again_ever_more_slowly_but_never_given_up() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..8).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 200, 200]);
        backoff.failures = u32::MAX;
        assert_eq!(backoff.next(), Backoff::LONGEST);
    }

    #[test]
    fn a_full_port_gives_up_who_was_idle_longest_then_who_drips_and_nobody_who_is_served() {
        let peers = Peers::default();
        let (busy, older, newer) = (peer(), peer(), peer());
        *busy.phase.lock() = Phase::Served;
        for (id, peer) in [(1, &busy), (2, &older), (3, &newer)] {
            assert_eq!(peers.admit(id, Arc::clone(peer), 3), Admission::Free);
        }
        let late = peer();
        *late.phase.lock() = Phase::Served;
        assert_eq!(peers.admit(4, Arc::clone(&late), 3), Admission::Evicted);
        assert!(older.is_gone() && !newer.is_gone() && !busy.is_gone());
        // It has not been arriving for long, whenever this is looked at.
        *newer.phase.lock() = Phase::Arriving(Instant::now() + 60 * SLOW_REQUEST);
        assert_eq!(peers.admit(5, peer(), 3), Admission::Full);
        *newer.phase.lock() = Phase::Arriving(Instant::now().checked_sub(SLOW_REQUEST).unwrap());
        let idle = peer();
        peers.remove(4);
        assert_eq!(peers.admit(7, Arc::clone(&idle), 3), Admission::Free);
        assert_eq!(peers.admit(8, Arc::clone(&late), 3), Admission::Evicted);
        assert!(idle.is_gone() && !newer.is_gone());
        assert_eq!(peers.admit(4, Arc::clone(&late), 3), Admission::Evicted);
        assert!(newer.is_gone() && !busy.is_gone());
        peers.remove(4);
        assert_eq!(peers.admit(6, peer(), 3), Admission::Free);
    }
}

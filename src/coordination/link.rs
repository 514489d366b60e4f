//! One connection to one ZooKeeper server, from the dial to the authenticated session.
//!
//! Every step is bounded, and auth is the only request in flight when it is made, because its reply
//! can overtake others (protocol.md 6).

use super::wire::{self, Frames, SessionKey};
use crate::config::Secret;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Port of a server named without one.
const DEFAULT_PORT: u16 = 2181;
/// Parts of the session timeout that dialling, and then the handshake, may take. A server that
/// hangs costs a twelfth and a sixth; with a quarter for noticing (relay.rs) and a sixth between
/// heartbeats the next server is reached before the lease ends at two thirds.
const DIAL_PART: u32 = 12;
const HANDSHAKE_PART: u32 = 6;

/// Where the servers are and who we are to them.
#[derive(Clone, Debug)]
pub struct Servers {
    /// `host:port`, names or addresses; a name may stand for several.
    pub hosts: Vec<String>,
    /// User of digest auth.
    pub user: String,
    /// Its password; both empty is what open-source BCS uses (protocol.md 5).
    pub password: Secret,
    /// The session timeout asked for.
    pub session_timeout: Duration,
}

impl Servers {
    /// Every address of every server, resolved anew and shuffled, `avoid` last.
    ///
    /// # Errors
    /// No name resolves.
    pub(super) fn addresses(&self, avoid: Option<SocketAddr>) -> Result<Vec<SocketAddr>, LinkError> {
        let (mut addresses, mut reason) = (Vec::new(), "no server is configured".to_owned());
        for host in &self.hosts {
            match resolve(host) {
                Ok(found) => addresses.extend(found),
                Err(error) => reason = format!("{host}: {error}"),
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        fastrand::shuffle(&mut addresses);
        addresses.sort_by_key(|address| Some(*address) == avoid);
        if addresses.is_empty() { Err(LinkError::Unreachable(reason)) } else { Ok(addresses) }
    }

    fn timeout_ms(&self) -> u32 {
        u32::try_from(self.session_timeout.as_millis()).unwrap_or(u32::MAX).min(i32::MAX.unsigned_abs())
    }
}

fn resolve(host: &str) -> io::Result<Vec<SocketAddr>> {
    let with_port = host.to_socket_addrs();
    let found = with_port.or_else(|_| (host.trim_matches(['[', ']']), DEFAULT_PORT).to_socket_addrs())?;
    Ok(found.collect())
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// Try another server, or later.
    #[error("ZooKeeper: {0}")]
    Unreachable(String),
    /// The session that should be taken up is over.
    #[error("the ZooKeeper session is over")]
    Expired,
}

/// An authenticated connection.
pub(super) struct Link {
    pub stream: TcpStream,
    pub frames: Frames,
    pub key: SessionKey,
    pub peer: SocketAddr,
}

impl Link {
    /// Opens a session at `peer`, or takes up `resume`.
    pub fn open(
        peer: SocketAddr,
        servers: &Servers,
        resume: Option<(&SessionKey, i64)>,
    ) -> Result<Self, LinkError> {
        let at = |error: io::Error| LinkError::Unreachable(format!("{peer}: {error}"));
        let mut stream =
            TcpStream::connect_timeout(&peer, part(servers.session_timeout, DIAL_PART)).map_err(at)?;
        stream.set_nodelay(true).map_err(at)?;
        let bound = part(servers.session_timeout, HANDSHAKE_PART);
        stream.set_write_timeout(Some(bound)).map_err(at)?;
        let deadline = Instant::now() + bound;
        let mut frames = Frames::default();

        let asked = resume.map_or(servers.timeout_ms(), |(key, _)| key.timeout_ms);
        stream.write_all(&wire::connect_request(asked, resume)).map_err(at)?;
        let answer = frame_before(&mut stream, &mut frames, deadline).map_err(at)?;
        let key = wire::parse_connect_response(&answer)
            .map_err(|reason| LinkError::Unreachable(format!("{peer}: {reason}")))?
            .ok_or(LinkError::Expired)?;
        if resume.is_some_and(|(old, _)| old.id != key.id) {
            return Err(LinkError::Expired);
        }
        let auth = format!("{}:{}", servers.user, servers.password.expose());
        stream.write_all(&wire::auth_packet(auth.as_bytes())).map_err(at)?;
        await_auth(&mut stream, &mut frames, deadline).map_err(at)?;
        Ok(Self { stream, frames, key, peer })
    }

    /// Opens a new session at the first server that grants one.
    pub fn open_any(servers: &Servers) -> Result<Self, LinkError> {
        let mut last = LinkError::Unreachable("no server is configured".to_owned());
        for peer in servers.addresses(None)? {
            match Self::open(peer, servers, None) {
                Ok(link) => return Ok(link),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// A part of a duration, never too short to connect at all.
fn part(whole: Duration, parts: u32) -> Duration {
    (whole / parts).max(Duration::from_millis(50))
}

fn await_auth(stream: &mut TcpStream, frames: &mut Frames, deadline: Instant) -> io::Result<()> {
    loop {
        let frame = frame_before(stream, frames, deadline)?;
        match wire::reply_head(&frame) {
            Some(head) if head.xid == wire::AUTH && head.error == 0 => return Ok(()),
            Some(head) if head.xid == wire::AUTH => {
                return Err(io::Error::other("refused zk_user and zk_password"));
            }
            Some(_) => {}
            None => return Err(io::Error::other("malformed reply")),
        }
    }
}

fn frame_before(stream: &mut TcpStream, frames: &mut Frames, deadline: Instant) -> io::Result<Vec<u8>> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "connected, but silent"));
        }
        stream.set_read_timeout(Some(left))?;
        if let Some(frame) = frames.next(stream)? {
            return Ok(frame);
        }
    }
}

//! TCP connections for ureq: dialled with a bound, ended from another thread at once, and probed
//! while they are idle.
//!
//! Whatever fails in here fails before a byte of the request left, and says so with
//! [`ConnectFailure`]; that is how the client knows the difference.

use super::handshake;
use crate::boottime::boottime;
use crate::loopback;
use rustls::ClientConfig;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};

/// A silently dead peer is found after 30 + 3 × 10 s without an event from above.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;
/// An address always gets this long, however many share the time.
const LEAST_PER_ADDRESS: Duration = Duration::from_millis(50);

/// Why there is no connection. Nothing of the request was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectFailure {
    /// No TCP connection.
    #[error("{0}")]
    Unreachable(String),
    /// TCP stands, TLS does not.
    #[error("{0}")]
    Tls(String),
}

impl From<ConnectFailure> for Error {
    fn from(failure: ConnectFailure) -> Self {
        Self::Other(Box::new(failure))
    }
}

thread_local! {
    /// Until when this thread's request may be sent. ureq sends on the thread that asks.
    static SEND_BEFORE: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// While it lives, this thread sends nothing after a time since boot.
pub(super) struct SendLimit;

impl SendLimit {
    pub(super) fn set(deadline: Option<Duration>) -> Self {
        SEND_BEFORE.set(deadline);
        Self
    }
}

impl Drop for SendLimit {
    fn drop(&mut self) {
        SEND_BEFORE.set(None);
    }
}

/// Makes the connections of one client.
pub(super) struct Dialer {
    pub(super) tls: Option<Arc<ClientConfig>>,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").finish_non_exhaustive()
    }
}

impl Connector for Dialer {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _chained: Option<()>,
    ) -> Result<Option<Self::Out>, Error> {
        let tls = match (&self.tls, details.needs_tls()) {
            (_, false) => None,
            (Some(config), true) => Some(config.clone()),
            (None, true) => {
                let reason = "the address is https, but no TLS is configured for it";
                return Err(ConnectFailure::Tls(reason.to_owned()).into());
            }
        };
        let started = Instant::now();
        let socket = dial(details)?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        let plain = Plain { socket, buffers, read_timeout: None, write_timeout: None };
        match tls {
            None => Ok(Some(Box::new(plain))),
            Some(config) => Ok(Some(Box::new(handshake::over(plain, config, details, started.elapsed())?))),
        }
    }
}

/// A socket that another thread may end.
struct Wire {
    socket: Socket,
    /// Without it a read that was ended looks like the peer's orderly end.
    ended: AtomicBool,
}

impl ShutdownHandle for Wire {
    fn shutdown(&self) {
        self.ended.store(true, Ordering::Release);
        // An error means that the socket is not connected, or no longer.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl Wire {
    fn check(&self) -> io::Result<()> {
        if self.ended.load(Ordering::Acquire) {
            return Err(io::Error::other("the client was shut down"));
        }
        Ok(())
    }
}

fn dial(details: &ConnectionDetails<'_>) -> Result<Arc<Wire>, Error> {
    let deadline = details.timeout.not_zero().map(|left| Instant::now() + *left);
    let mut failures = Vec::new();
    // The error names the peer already; of a name it is worth knowing which address failed.
    let is_address =
        details.uri.host().is_some_and(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok());
    for (index, address) in details.addrs.iter().enumerate() {
        let share = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            (left / (details.addrs.len() - index) as u32).max(LEAST_PER_ADDRESS)
        });
        match dial_one(*address, share, details) {
            Ok(wire) => return Ok(wire),
            Err(error) if is_address => failures.push(error.to_string()),
            Err(error) => failures.push(format!("{address}: {error}")),
        }
    }
    Err(ConnectFailure::Unreachable(failures.join("; ")).into())
}

fn dial_one(
    address: SocketAddr,
    timeout: Option<Duration>,
    details: &ConnectionDetails<'_>,
) -> io::Result<Arc<Wire>> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    let wire = Arc::new(Wire { socket, ended: AtomicBool::new(false) });
    // Registered before it connects: ending a socket that is connecting wakes its thread.
    let handle: Weak<dyn ShutdownHandle> = Arc::<Wire>::downgrade(&wire);
    (details.register_shutdown)(handle).map_err(Error::into_io)?;
    let address = SockAddr::from(address);
    match timeout {
        Some(timeout) => wire.socket.connect_timeout(&address, timeout),
        None => wire.socket.connect(&address),
    }
    .map_err(|error| wire.check().err().unwrap_or(error))?;
    wire.check()?;
    wire.socket.set_tcp_nodelay(details.config.no_delay())?;
    loopback::spare((&wire.socket).into());
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    wire.socket.set_tcp_keepalive(&keepalive)?;
    Ok(wire)
}

/// A TCP connection as ureq sees it.
pub(super) struct Plain {
    socket: Arc<Wire>,
    buffers: LazyBuffers,
    /// As last given to the system, to spare a call where nothing changed.
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Plain").field(&self.socket.socket).finish()
    }
}

impl Plain {
    /// Reads once, for at most `timeout`, a signal or not.
    fn read_once(&mut self, timeout: NextTimeout) -> io::Result<usize> {
        let deadline = timeout.not_zero().map(|left| Instant::now() + *left);
        let mut left = timeout.not_zero().map(|left| *left);
        loop {
            if left != self.read_timeout {
                self.socket.socket.set_read_timeout(left)?;
                self.read_timeout = left;
            }
            match (&self.socket.socket).read(self.buffers.input_append_buf()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    left = deadline.map(|deadline| {
                        deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
                    });
                }
                done => return done,
            }
        }
    }
}

/// Both spellings of a socket timeout.
fn ran_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

impl Transport for Plain {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        if timeout.after.is_zero() {
            return Err(Error::Timeout(timeout.reason));
        }
        let left = timeout.not_zero().map(|left| *left);
        if left != self.write_timeout {
            self.socket.socket.set_write_timeout(left)?;
            self.write_timeout = left;
        }
        if SEND_BEFORE.get().is_some_and(|deadline| boottime() >= deadline) {
            return Err(Error::Timeout(timeout.reason));
        }
        let output = &self.buffers.output()[..amount];
        (&self.socket.socket).write_all(output).map_err(|error| match ran_out(&error) {
            true => Error::Timeout(timeout.reason),
            false => Error::Io(self.socket.check().err().unwrap_or(error)),
        })
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        if timeout.after.is_zero() {
            return Err(Error::Timeout(timeout.reason));
        }
        let read = self.read_once(timeout);
        self.socket.check()?;
        let amount = read.map_err(|error| match ran_out(&error) {
            true => Error::Timeout(timeout.reason),
            false => Error::Io(error),
        })?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    /// Open means: nothing to read. Bytes nobody asked for are as bad as an end.
    fn is_open(&mut self) -> bool {
        let socket = &self.socket.socket;
        if self.socket.check().is_err() || socket.set_nonblocking(true).is_err() {
            return false;
        }
        let silent =
            matches!((&*socket).read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        socket.set_nonblocking(false).is_ok() && silent
    }
}

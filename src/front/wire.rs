//! A client's socket, plain or TLS, where every wait ends at a deadline.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What a connection is at, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for a request.
    Idle(Instant),
    /// A request has begun to arrive.
    Arriving(Instant),
    /// A whole request is there, or its answer is on the way.
    Served,
}

/// What others may see and do of a connection while its thread serves it.
pub struct Peer {
    /// The socket.
    pub tcp: TcpStream,
    /// Who is at its other end.
    pub addr: SocketAddr,
    /// What it is at.
    pub phase: Mutex<Phase>,
    /// The way to tiny_http while a request is there.
    backend: Mutex<Option<Arc<UnixStream>>>,
    gone: AtomicBool,
}

impl Peer {
    /// A fresh connection, idle.
    pub fn new(tcp: TcpStream, addr: SocketAddr) -> Self {
        let phase = Mutex::new(Phase::Idle(Instant::now()));
        Self { tcp, addr, phase, backend: Mutex::new(None), gone: AtomicBool::new(false) }
    }

    /// Ends the connection from whatever thread: all waits on it return.
    pub fn cut(&self) {
        self.gone.store(true, Ordering::Release);
        // Errors mean that it has ended already.
        let _ = self.tcp.shutdown(Shutdown::Both);
        if let Some(backend) = self.backend.lock().as_ref() {
            let _ = backend.shutdown(Shutdown::Both);
        }
    }

    /// Whether the connection was cut or the client left.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Ties the way to tiny_http to this connection, so that `cut` ends both.
    pub fn attach(&self, backend: Option<Arc<UnixStream>>) -> io::Result<()> {
        *self.backend.lock() = backend;
        if self.is_gone() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

/// Reads and writes that end at a deadline.
pub struct Timed {
    peer: Arc<Peer>,
    deadline: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// Does it once more when it was interrupted: a process that is stopped and continued, or frozen as a
/// paused machine is, finds every wait with a timeout so. A socket timeout shows as `WouldBlock`; says
/// what it is.
fn uninterrupted(mut once: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match once() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            done => return done,
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| {
            self.peer.tcp.set_read_timeout(Some(self.left()?))?;
            (&self.peer.tcp).read(buffer)
        })
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        uninterrupted(|| {
            self.peer.tcp.set_write_timeout(Some(self.left()?))?;
            (&self.peer.tcp).write(buffer)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The two kinds of connection.
pub enum Wire {
    /// HTTP.
    Plain(Timed),
    /// HTTPS.
    Tls(Box<StreamOwned<ServerConnection, Timed>>),
}

impl Wire {
    /// Takes the connection over; TLS handshakes are done before `deadline`.
    pub fn open(peer: Arc<Peer>, tls: Option<Arc<ServerConfig>>, deadline: Instant) -> io::Result<Self> {
        let mut timed = Timed { peer, deadline };
        let Some(config) = tls else { return Ok(Self::Plain(timed)) };
        let mut connection = ServerConnection::new(config).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut timed)?;
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, timed))))
    }

    /// All reads and writes from now on end at `deadline`.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.timed().deadline = deadline;
    }

    /// Tells the client that nothing more comes.
    pub fn end(&mut self) {
        if let Self::Tls(stream) = self {
            stream.conn.send_close_notify();
            // The client may be gone: then it needs no goodbye.
            let _ = stream.flush();
        }
        let _ = self.timed().peer.tcp.shutdown(Shutdown::Write);
    }

    /// Looks, without waiting, whether the client has closed its side.
    pub fn has_left(&mut self) -> bool {
        let peer = Arc::clone(&self.timed().peer);
        if peer.is_gone() || peer.tcp.set_nonblocking(true).is_err() {
            return true;
        }
        let left = match self {
            Self::Plain(_) => is_end(peer.tcp.peek(&mut [0])),
            Self::Tls(stream) => {
                is_end(stream.conn.read_tls(&mut &peer.tcp))
                    || stream.conn.process_new_packets().is_ok_and(|state| state.peer_has_closed())
            }
        };
        peer.tcp.set_nonblocking(false).is_err() || left
    }

    fn timed(&mut self) -> &mut Timed {
        match self {
            Self::Plain(timed) => timed,
            Self::Tls(stream) => &mut stream.sock,
        }
    }
}

/// Whether a read without waiting found the end of the stream, or a broken one.
fn is_end(read: io::Result<usize>) -> bool {
    match read {
        Ok(length) => length == 0,
        Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.write(buffer),
            Self::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(timed) => timed.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

//! A scripted HTTP peer on a free loopback port, for tests of clients: real sockets, and every byte
//! of an answer in the hands of the test.

#![allow(dead_code)] // each test binary uses its part

pub mod certificates;
pub mod storage;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One request as it came over the wire.
#[derive(Clone, Debug, Default)]
pub struct Received {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Which connection it came on, from 0.
    pub connection: usize,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

/// One connection, in the hands of a script.
pub struct Connection {
    stream: BufReader<Box<dyn Duplex>>,
    number: usize,
    log: Arc<Mutex<Vec<Received>>>,
}

impl Connection {
    /// The next request, or `None` once the client hung up.
    pub fn request(&mut self) -> Option<Received> {
        let mut line = String::new();
        self.stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let mut words = line.split_whitespace();
        let mut received = Received { connection: self.number, ..Received::default() };
        received.method = words.next()?.to_owned();
        received.target = words.next()?.to_owned();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            received.headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        let length = received.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        received.body = vec![0; length];
        self.stream.read_exact(&mut received.body).ok()?;
        self.log.lock().unwrap().push(received.clone());
        Some(received)
    }

    /// Writes bytes as they are; an error means that the client is gone, which scripts may ignore.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        let stream = self.stream.get_mut();
        stream.write_all(bytes).and_then(|()| stream.flush()).is_ok()
    }

    /// Writes a whole answer with its length.
    pub fn answer(&mut self, status: u16, body: impl AsRef<[u8]>) -> bool {
        let body = body.as_ref();
        let head = format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n\r\n", body.len());
        self.write(head.as_bytes()) && self.write(body)
    }

    /// Writes the head of a chunked stream.
    pub fn begin_stream(&mut self) -> bool {
        self.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    }

    /// Writes one chunk of it.
    pub fn chunk(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let bytes = bytes.as_ref();
        let mut framed = format!("{:x}\r\n", bytes.len()).into_bytes();
        framed.extend_from_slice(bytes);
        framed.extend_from_slice(b"\r\n");
        self.write(&framed)
    }

    /// Waits until the client hangs up, or this peer is dropped.
    pub fn wait_for_end(&mut self) {
        let _ = std::io::copy(&mut self.stream, &mut std::io::sink());
    }
}

/// The peer; ends its connections and threads when dropped.
pub struct Peer {
    addr: SocketAddr,
    tls: bool,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    accepted: AtomicUsize,
    open: Mutex<Vec<(TcpStream, JoinHandle<()>)>>,
    log: Arc<Mutex<Vec<Received>>>,
}

impl Peer {
    /// Runs `script` for each connection, on a thread of its own.
    pub fn start(script: impl Fn(Connection) + Send + Sync + 'static) -> Self {
        Self::run(None, Arc::new(script))
    }

    /// The same with TLS.
    pub fn start_tls(
        config: Arc<rustls::ServerConfig>,
        script: impl Fn(Connection) + Send + Sync + 'static,
    ) -> Self {
        Self::run(Some(config), Arc::new(script))
    }

    /// Answers every request of every connection with `answer(request)`: status and body.
    pub fn answering<B: AsRef<[u8]>>(answer: impl Fn(&Received) -> (u16, B) + Send + Sync + 'static) -> Self {
        Self::start(move |mut connection| {
            while let Some(request) = connection.request() {
                let (status, body) = answer(&request);
                if !connection.answer(status, body) {
                    return;
                }
            }
        })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:port` or `https://…`.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.addr)
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Requests so far.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.log.lock().unwrap().clone()
    }

    fn run(tls: Option<Arc<rustls::ServerConfig>>, script: Arc<dyn Fn(Connection) + Send + Sync>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let with_tls = tls.is_some();
        let acceptor = {
            let shared = shared.clone();
            std::thread::spawn(move || {
                for socket in listener.incoming() {
                    let socket = socket.unwrap();
                    if shared.stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
                    let (script, tls, log) = (script.clone(), tls.clone(), shared.log.clone());
                    let (mine, ended) = (socket.try_clone().unwrap(), socket.try_clone().unwrap());
                    let thread = std::thread::spawn(move || {
                        let stream: Box<dyn Duplex> = match tls {
                            None => Box::new(mine),
                            Some(config) => {
                                let connection = rustls::ServerConnection::new(config).unwrap();
                                Box::new(rustls::StreamOwned::new(connection, mine))
                            }
                        };
                        script(Connection { stream: BufReader::new(stream), number, log });
                        let _ = ended.shutdown(Shutdown::Both);
                    });
                    shared.open.lock().unwrap().push((socket, thread));
                }
            })
        };
        Self { addr, tls: with_tls, shared, acceptor: Some(acceptor) }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for (socket, thread) in self.shared.open.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
            let _ = thread.join();
        }
    }
}

/// A loopback address nobody listens on, and nobody will: it is taken for as long as this process lives.
pub fn nobody() -> SocketAddr {
    use socket2::{Domain, SockAddr, Socket, Type};
    let taken = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    taken.bind(&SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
    let addr = taken.local_addr().unwrap().as_socket().unwrap();
    std::mem::forget(taken);
    addr
}

/// A listening socket whose queue is full: connecting to it neither succeeds nor fails.
pub struct Unresponsive {
    _listener: socket2::Socket,
    _fillers: Vec<socket2::Socket>,
    pub addr: SocketAddr,
}

impl Unresponsive {
    pub fn start() -> Self {
        use socket2::{Domain, SockAddr, Socket, Type};
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        listener.listen(0).unwrap();
        let addr = listener.local_addr().unwrap();
        let fillers = (0..4).map(|_| {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            filler.set_nonblocking(true).unwrap();
            let _ = filler.connect(&addr);
            filler
        });
        let fillers = fillers.collect();
        let addr = addr.as_socket().unwrap();
        Self { _listener: listener, _fillers: fillers, addr }
    }

    /// Sockets that are connecting to it right now, as the system tells (state 2 is SYN_SENT).
    pub fn connecting(&self) -> usize {
        let port = format!(":{:04X} 02", self.addr.port());
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        sockets.lines().filter(|line| line.contains(&port)).count()
    }
}

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

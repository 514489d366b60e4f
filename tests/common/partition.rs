//! A network between one instance and a peer that a test can take away, or make bad.

#![allow(dead_code)] // every test file uses its own part of it

use socket2::SockRef;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long something else than a peer's answer is.
const GARBAGE: usize = 200;

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// They arrive.
    Clear,
    /// They are lost, in both directions, and nobody is told.
    Lost,
    /// They arrive this much later.
    Slow(Duration),
    /// Whoever sends some has the connection reset; nobody connects.
    Reset,
    /// An answer becomes something else, and then the connection ends.
    Garbage,
}

/// Passes connections on to a server.
pub struct Network {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// A request that is to be kept on its way.
#[derive(Debug, Default)]
enum Trap {
    #[default]
    Open,
    /// The next one that begins with one of these.
    Set(&'static [&'static str]),
    /// All of it.
    Shut(Vec<u8>),
}

struct Shared {
    weather: Mutex<Weather>,
    trap: Mutex<Trap>,
    over: AtomicBool,
    streams: Mutex<BTreeMap<u64, TcpStream>>,
    next: AtomicU64,
}

impl Network {
    /// To `server`, `host:port`.
    pub fn to(server: &str) -> Self {
        Self::at(("127.0.0.1", 0), server)
    }

    /// To `server`, from an address and port of this machine.
    pub fn at(address: (&str, u16), server: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            weather: Mutex::new(Weather::Clear),
            trap: Mutex::default(),
            over: AtomicBool::new(false),
            streams: Mutex::default(),
            next: AtomicU64::new(0),
        });
        let (server, passing) = (server.to_owned(), Arc::clone(&shared));
        let acceptor = std::thread::spawn(move || {
            for client in listener.incoming() {
                if passing.over.load(SeqCst) {
                    return;
                }
                let Ok(client) = client else { continue };
                if passing.weather() == Weather::Reset {
                    reset(&client);
                    continue;
                }
                let Ok(server) = TcpStream::connect(&server) else { continue };
                passing.join(&client, &server, false);
                passing.join(&server, &client, true);
            }
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Where the instance finds the server.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// What becomes of bytes from now on.
    pub fn set(&self, weather: Weather) {
        *self.shared.weather.lock().unwrap() = weather;
    }

    /// From now on bytes are lost, in both directions.
    pub fn cut(&self) {
        self.set(Weather::Lost);
    }

    /// New connections work again; old ones are closed.
    pub fn heal(&self) {
        self.set(Weather::Clear);
        self.shared.close_all();
    }

    /// Keeps the next request that begins with one of these from the server. Whoever sent it is not
    /// told and waits for an answer. With none of these nothing is kept any more.
    pub fn hold_back(&self, beginnings: &'static [&'static str]) {
        *self.shared.trap.lock().unwrap() = Trap::Set(beginnings);
    }

    /// What was held back, once all of it is here; it is the caller's now.
    pub fn held_back(&self) -> Option<Vec<u8>> {
        let mut trap = self.shared.trap.lock().unwrap();
        match std::mem::take(&mut *trap) {
            Trap::Shut(request) => Some(request),
            other => {
                *trap = other;
                None
            }
        }
    }
}

/// Whether this is the whole of an HTTP message that tells its length.
pub fn is_whole(message: &[u8]) -> bool {
    let Some(head) = message.windows(4).position(|end| end == b"\r\n\r\n") else { return false };
    let lines = String::from_utf8_lossy(&message[..head]).to_lowercase();
    let length = lines.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    message.len() >= head + 4 + length.unwrap_or(0_usize)
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shared.over.store(true, SeqCst);
        self.shared.close_all();
        let _ = TcpStream::connect(self.address);
        let _ = self.acceptor.take().unwrap().join();
    }
}

impl Shared {
    fn weather(&self) -> Weather {
        *self.weather.lock().unwrap()
    }

    /// Passes bytes on until one side ends, or the weather ends it.
    fn join(self: &Arc<Self>, from: &TcpStream, to: &TcpStream, is_answer: bool) {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let number = self.next.fetch_add(1, SeqCst);
        self.streams.lock().unwrap().insert(number, from.try_clone().unwrap());
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            let mut bytes = [0; 16 << 10];
            while let Ok(length @ 1..) = from.read(&mut bytes) {
                if let Some(beginnings) = shared.is_trapped(&bytes[..length], is_answer) {
                    shared.keep(bytes[..length].to_vec(), &mut from, beginnings);
                    break;
                }
                if !shared.pass(&bytes[..length], &mut to, is_answer) {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
            shared.streams.lock().unwrap().remove(&number);
        });
    }

    /// Whether this is the beginning of what is to be held back: then it is the only one.
    fn is_trapped(&self, bytes: &[u8], is_answer: bool) -> Option<&'static [&'static str]> {
        let mut trap = self.trap.lock().unwrap();
        let Trap::Set(beginnings) = *trap else { return None };
        let begins = |beginning: &&str| bytes.starts_with(beginning.as_bytes());
        if is_answer || !beginnings.iter().any(begins) {
            return None;
        }
        *trap = Trap::Open;
        Some(beginnings)
    }

    /// Keeps what was begun once all of it is here, and the connection for as long as its sender
    /// does. Half of a request is not kept: then the next one is.
    fn keep(&self, mut request: Vec<u8>, from: &mut TcpStream, beginnings: &'static [&'static str]) {
        let mut bytes = [0; 16 << 10];
        while !is_whole(&request) {
            let Ok(length @ 1..) = from.read(&mut bytes) else {
                let mut trap = self.trap.lock().unwrap();
                if matches!(*trap, Trap::Open) {
                    *trap = Trap::Set(beginnings);
                }
                return;
            };
            request.extend_from_slice(&bytes[..length]);
        }
        *self.trap.lock().unwrap() = Trap::Shut(request);
        while let Ok(1..) = from.read(&mut bytes) {}
    }

    /// Whether the connection goes on.
    fn pass(&self, bytes: &[u8], to: &mut TcpStream, is_answer: bool) -> bool {
        match self.weather() {
            Weather::Clear => {}
            Weather::Lost => return true,
            Weather::Slow(time) => std::thread::sleep(time),
            Weather::Reset => {
                reset(to);
                return false;
            }
            Weather::Garbage if is_answer => {
                let garbage: Vec<u8> = (0..GARBAGE).map(|_| fastrand::u8(..)).collect();
                let _ = to.write_all(&garbage);
                return false;
            }
            Weather::Garbage => {}
        }
        to.write_all(bytes).is_ok()
    }

    fn close_all(&self) {
        for stream in std::mem::take(&mut *self.streams.lock().unwrap()).into_values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Ends a connection as a machine does that knows nothing of it.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Both);
}

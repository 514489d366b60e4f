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

struct Shared {
    weather: Mutex<Weather>,
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
                if !shared.pass(&bytes[..length], &mut to, is_answer) {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
            shared.streams.lock().unwrap().remove(&number);
        });
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

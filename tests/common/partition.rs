//! A network between one instance and ZooKeeper that a test can take away.

#![allow(dead_code)] // every test file uses its own part of it

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Passes connections on to a server. Cut: bytes go nowhere, and nobody is told.
pub struct Network {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    cut: AtomicBool,
    over: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl Network {
    /// To `server`, `host:port`.
    pub fn to(server: &str) -> Self {
        Self::at("127.0.0.1", server)
    }

    /// To `server`, from a port of this machine's address `ip`.
    pub fn at(ip: &str, server: &str) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            cut: AtomicBool::new(false),
            over: AtomicBool::new(false),
            streams: Mutex::default(),
        });
        let (server, passing) = (server.to_owned(), Arc::clone(&shared));
        let acceptor = std::thread::spawn(move || {
            for client in listener.incoming() {
                if passing.over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&server)) else { continue };
                passing.join(&client, &server);
                passing.join(&server, &client);
            }
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Where the instance finds the server.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// From now on bytes are lost, in both directions.
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
    }

    /// New connections work again; old ones are reset.
    pub fn heal(&self) {
        self.shared.cut.store(false, Ordering::SeqCst);
        self.shared.reset();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.reset();
        let _ = TcpStream::connect(self.address);
        let _ = self.acceptor.take().unwrap().join();
    }
}

impl Shared {
    fn join(self: &Arc<Self>, from: &TcpStream, to: &TcpStream) {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        self.streams.lock().unwrap().push(from.try_clone().unwrap());
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            let _ = io::copy(&mut from, &mut Lossy { to: &mut to, shared: &shared });
            let _ = to.shutdown(Shutdown::Both);
        });
    }

    fn reset(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

struct Lossy<'a> {
    to: &'a mut TcpStream,
    shared: &'a Shared,
}

impl io::Write for Lossy<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.shared.cut.load(Ordering::SeqCst) { Ok(bytes.len()) } else { self.to.write(bytes) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

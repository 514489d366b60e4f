//! The least a peer needs of HTTP/1.1: one small thread per connection, keep-alive, bodies with a
//! length. It trusts its client and spends nothing on it, so that it is never what is measured.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// Thousands of connections are open at once.
const STACK: usize = 128 * 1024;
const READ_BUFFER: usize = 32 * 1024;

/// A request.
pub struct Request {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub body: Vec<u8>,
}

/// A peer.
pub trait Peer: Send + Sync + 'static {
    /// A connection was accepted.
    fn connected(&self) {}
    /// Answers a request on its connection; an error closes it.
    fn answer(&self, request: &Request, stream: &mut TcpStream) -> io::Result<()>;
}

/// Serves on a free port until the process ends.
pub fn serve(peer: Arc<impl Peer>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    let accept = move || {
        for stream in listener.incoming().flatten() {
            peer.connected();
            let peer = Arc::clone(&peer);
            let talk = move || {
                // The client hangs up when it is done: that is no failure.
                let _ = talk(&*peer, stream);
            };
            thread::Builder::new().stack_size(STACK).spawn(talk).expect("a thread");
        }
    };
    thread::spawn(accept);
    address
}

/// Sends an answer with a JSON body.
pub fn send_json(stream: &mut TcpStream, body: &[u8]) -> io::Result<()> {
    let mut answer = Vec::with_capacity(body.len() + 128);
    write!(
        answer,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    answer.extend_from_slice(body);
    stream.write_all(&answer)
}

fn talk(peer: &impl Peer, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(READ_BUFFER, stream.try_clone()?);
    while let Some(request) = read_request(&mut reader)? {
        peer.answer(&request, &mut stream)?;
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut body = vec![0; read_head(reader)?];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { method, path, body }))
}

/// Reads the rest of a head; the length of the body it announces.
pub fn read_head(reader: &mut impl BufRead) -> io::Result<usize> {
    let mut length = 0;
    let mut header = String::new();
    loop {
        header.clear();
        reader.read_line(&mut header)?;
        match header.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
            }
            Some(_) => {}
            None => return Ok(length),
        }
    }
}

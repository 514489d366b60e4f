//! A port to test and a client that sends whatever bytes it likes.

#![allow(dead_code, clippy::unwrap_used)] // each test binary uses its part; helpers fail by panicking

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bcs_bkcmdb_synchronizer::front::{Body, Front, Limits, Request, Response};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// Small bodies; times that no test meets that passes, unless it sets its own.
pub fn limits() -> Limits {
    Limits {
        connections: 50,
        head: 2000,
        body: 100_000,
        request_time: 2 * PATIENCE,
        idle_time: 2 * PATIENCE,
        ..Limits::default()
    }
}

pub fn start(limits: Limits, handler: impl Fn(Request) -> Response + Send + Sync + 'static) -> Front {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    Front::start("test", listener, None, limits, Arc::new(handler)).unwrap()
}

/// Says what it got: method, path, query and the body's length.
pub fn echo(request: Request) -> Response {
    let text = format!("{} {} {} {}", request.method, request.path, request.query, request.body.len());
    bytes(text.into_bytes())
}

pub fn bytes(body: Vec<u8>) -> Response {
    Response { status: 200, content_type: "text/plain", headers: Vec::new(), body: Body::Bytes(body) }
}

pub fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads one answer: status and body.
pub fn answer(input: &mut impl BufRead) -> io::Result<(u16, String)> {
    let (status, headers) = answer_head(input)?;
    let length = headers.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |text| text.parse().unwrap())];
    input.read_exact(&mut body)?;
    Ok((status, String::from_utf8(body).unwrap()))
}

pub fn answer_head(input: &mut impl BufRead) -> io::Result<(u16, Vec<String>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_ascii_lowercase()),
        }
    }
    let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
    Ok((status, lines.split_off(1)))
}

/// Sends `request` on a connection of its own; returns the answer.
pub fn ask(addr: SocketAddr, request: &[u8]) -> (u16, String) {
    let mut stream = connect(addr);
    stream.write_all(request).unwrap();
    answer(&mut BufReader::new(stream)).unwrap()
}

pub fn is_healthy(front: &Front) {
    assert_eq!(ask(front.addr(), b"GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n"), (200, "GET /x y 0".into()));
}

/// Waits for a condition; the deadline is far beyond what it should take.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The client sees the end of its connection, whatever comes before it.
pub fn reads_to_the_end(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
    }
    rest
}

//! Streamed answers of the guarded listener, and stopping while they run.

#![allow(clippy::unwrap_used)] // helpers of tests fail by panicking

mod raw;

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bcs_bkcmdb_synchronizer::front::{Body, Front, Request, Response};
use crossbeam::channel::{Receiver, Sender, bounded};
use raw::*;

/// A stream that the test feeds: each piece is flushed.
fn streaming(pieces: Receiver<&'static str>, ended: Sender<bool>) -> impl Fn(Request) -> Response {
    move |_| {
        let (pieces, ended) = (pieces.clone(), ended.clone());
        let body = Body::Stream(Box::new(move |out| {
            let result = loop {
                match pieces.recv_timeout(Duration::from_millis(50)) {
                    Ok("break") => break Err(io::Error::other("on purpose")),
                    Ok("panic") => panic!("on purpose"),
                    Ok(piece) => out.write_all(piece.as_bytes())?,
                    Err(crossbeam::channel::RecvTimeoutError::Timeout) => {}
                    Err(crossbeam::channel::RecvTimeoutError::Disconnected) => break Ok(()),
                }
                if let Err(error) = out.flush() {
                    break Err(error);
                }
            };
            let _ = ended.send(result.is_ok());
            result
        }));
        Response { status: 200, content_type: "text/plain", headers: Vec::new(), body }
    }
}

fn open_stream(front: &Front, version: &str) -> BufReader<TcpStream> {
    let mut stream = connect(front.addr());
    stream.write_all(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
    let mut input = BufReader::new(stream);
    assert_eq!(answer_head(&mut input).unwrap().0, 200);
    input
}

fn read_text(input: &mut impl Read, expected: &str) {
    let mut text = vec![0; expected.len()];
    input.read_exact(&mut text).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), expected);
}

#[test]
fn each_flush_of_a_stream_reaches_the_client_and_its_end_is_told() {
    let (feed, pieces) = bounded(10);
    let (ended, _ends) = bounded(10);
    let front = start(limits(), streaming(pieces, ended));
    let mut input = open_stream(&front, "1.1");
    feed.send("one").unwrap();
    read_text(&mut input, "3\r\none\r\n");
    feed.send("three").unwrap();
    read_text(&mut input, "5\r\nthree\r\n");
    let mut old = open_stream(&front, "1.0");
    drop(feed);
    read_text(&mut input, "0\r\n\r\n");
    let mut rest = Vec::new();
    assert_eq!(old.read_to_end(&mut rest).unwrap(), 0);
}

#[test]
fn a_stream_that_fails_or_panics_does_not_look_complete() {
    for how in ["break", "panic"] {
        let (feed, pieces) = bounded(10);
        let (ended, _ends) = bounded(10);
        let front = start(limits(), streaming(pieces, ended));
        let mut input = open_stream(&front, "1.1");
        feed.send("one").unwrap();
        feed.send(how).unwrap();
        read_text(&mut input, "3\r\none\r\n");
        let rest = reads_to_the_end(input.into_inner());
        assert!(rest.is_empty(), "{how}: {rest:?}");
    }
}

#[test]
fn streams_do_not_use_up_the_workers_and_notice_that_a_client_left() {
    let (_feed, pieces) = bounded(10);
    let (ended, ends) = bounded(100);
    let stream = streaming(pieces, ended);
    let front =
        start(limits(), move |request| if request.path == "/x" { echo(request) } else { stream(request) });
    let open: Vec<_> = (0..40).map(|_| open_stream(&front, "1.1")).collect();
    is_healthy(&front);
    drop(open);
    for _ in 0..40 {
        assert_eq!(ends.recv_timeout(PATIENCE), Ok(false));
    }
}

#[test]
fn stop_ends_idle_dripping_and_streaming_connections_at_once() {
    let (_feed, pieces) = bounded(10);
    let (ended, ends) = bounded(100);
    let front = start(limits(), streaming(pieces, ended));
    let streaming = open_stream(&front, "1.1");
    let idle = connect(front.addr());
    let mut dripping = connect(front.addr());
    dripping.write_all(b"GET").unwrap();
    wait_for("all are accepted", || front.counters().accepted == 3);
    let addr = front.addr();
    let began = Instant::now();
    front.stop();
    // Their own times are longer.
    assert!(began.elapsed() < PATIENCE, "took {:?}", began.elapsed());
    assert_eq!(ends.recv_timeout(PATIENCE), Ok(false));
    for stream in [streaming.into_inner(), idle, dripping] {
        assert!(reads_to_the_end(stream).is_empty());
    }
    assert!(TcpStream::connect(addr).is_err(), "the port is free again");
}

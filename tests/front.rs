//! What the guarded listener promises, told to it through raw sockets.

// Test helpers fail by panicking, like tests.
#![allow(clippy::unwrap_used)]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bcs_bkcmdb_synchronizer::front::{Body, Front, Limits, Request, Response};
use crossbeam::channel::{Receiver, Sender, bounded};

const PATIENCE: Duration = Duration::from_secs(20);

/// Short times, small bodies: the limits are what is tested.
fn limits() -> Limits {
    Limits {
        connections: 50,
        head: 2000,
        body: 100_000,
        request_time: Duration::from_secs(5),
        idle_time: Duration::from_secs(60),
    }
}

fn start(limits: Limits, handler: impl Fn(Request) -> Response + Send + Sync + 'static) -> Front {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    Front::start("test", listener, None, limits, Arc::new(handler)).unwrap()
}

/// Says what it got: method, path, query and the body's length.
fn echo(request: Request) -> Response {
    let text = format!("{} {} {} {}", request.method, request.path, request.query, request.body.len());
    bytes(text.into_bytes())
}

fn bytes(body: Vec<u8>) -> Response {
    Response { status: 200, content_type: "text/plain", headers: Vec::new(), body: Body::Bytes(body) }
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads one answer: status and body.
fn answer(input: &mut impl BufRead) -> io::Result<(u16, String)> {
    let (status, headers) = answer_head(input)?;
    let length = headers.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |text| text.parse().unwrap())];
    input.read_exact(&mut body)?;
    Ok((status, String::from_utf8(body).unwrap()))
}

fn answer_head(input: &mut impl BufRead) -> io::Result<(u16, Vec<String>)> {
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
fn ask(addr: SocketAddr, request: &[u8]) -> (u16, String) {
    let mut stream = connect(addr);
    stream.write_all(request).unwrap();
    answer(&mut BufReader::new(stream)).unwrap()
}

fn is_healthy(front: &Front) {
    assert_eq!(ask(front.addr(), b"GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n"), (200, "GET /x y 0".into()));
}

/// Waits for a condition; the deadline is far beyond what it should take.
fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The client sees the end of its connection, whatever comes before it.
fn reads_to_the_end(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
    }
    rest
}

#[test]
fn a_length_that_would_kill_the_inner_server_is_refused_and_service_goes_on() {
    let front = start(limits(), echo);
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n";
    let (status, body) = ask(front.addr(), request);
    assert_eq!(status, 413);
    assert!(body.contains("100000 bytes"), "{body}");
    is_healthy(&front);
    assert_eq!(front.counters().bad_requests, 1);
}

#[test]
fn every_malformed_request_gets_its_status_and_the_connection_closes() {
    let front = start(limits(), echo);
    let long_head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(3000));
    let long_chunk = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}",
        200_000,
        "x".repeat(200_000)
    );
    let cases: [(&[u8], u16); 9] = [
        (long_head.as_bytes(), 431),
        (long_chunk.as_bytes(), 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\r\n\r\n", 400),
        (b"GET http://evil/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ];
    for (request, expected) in cases {
        let mut stream = connect(front.addr());
        // The port may have answered and closed before all of it is out.
        let _ = stream.write_all(request);
        let answer = String::from_utf8(reads_to_the_end(stream)).unwrap();
        let shown = String::from_utf8_lossy(&request[..request.len().min(60)]);
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{shown:?}: {answer}");
        assert!(answer.contains("connection: close") && answer.contains(r#"{"error":{"code":"#), "{answer}");
    }
    is_healthy(&front);
}

#[test]
fn one_connection_serves_many_requests_also_pipelined_ones() {
    let front = start(limits(), echo);
    let mut stream = connect(front.addr());
    let mut input = BufReader::new(stream.try_clone().unwrap());
    stream
        .write_all(
            b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: a\r\n\r\n\
              POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x\r\ncde\r\n0\r\n\r\n",
        )
        .unwrap();
    for expected in ["POST /a  3", "GET /b  0", "POST /c  5"] {
        assert_eq!(answer(&mut input).unwrap(), (200, expected.into()));
    }
    for number in 0..50 {
        stream.write_all(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(answer(&mut input).unwrap(), (200, format!("GET /{number}  0")));
    }
    assert_eq!(front.counters().accepted, 1);
}

#[test]
fn many_clients_at_once_all_get_their_own_answers() {
    let front = start(limits(), echo);
    let addr = front.addr();
    std::thread::scope(|scope| {
        for client in 0..20 {
            scope.spawn(move || {
                let mut stream = connect(addr);
                let mut input = BufReader::new(stream.try_clone().unwrap());
                for number in 0..50 {
                    let body = "x".repeat(client * 100 + number);
                    let request = format!(
                        "POST /{client} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    stream.write_all(request.as_bytes()).unwrap();
                    assert_eq!(answer(&mut input).unwrap(), (200, format!("POST /{client}  {}", body.len())));
                }
            });
        }
    });
}

#[test]
fn http_1_0_head_and_100_continue_are_served_as_they_should() {
    let front = start(limits(), echo);
    let mut stream = connect(front.addr());
    stream.write_all(b"GET /old HTTP/1.0\r\n\r\n").unwrap();
    let text = String::from_utf8(reads_to_the_end(stream)).unwrap();
    assert!(text.ends_with("\r\n\r\nGET /old  0") && text.contains("connection: close"), "{text}");

    let mut stream = connect(front.addr());
    stream.write_all(b"HEAD /h HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let text = String::from_utf8(reads_to_the_end(stream)).unwrap();
    assert!(text.ends_with("\r\n\r\n") && text.contains("content-length: 10\r\n"), "{text}");

    let mut stream = connect(front.addr());
    let mut input = BufReader::new(stream.try_clone().unwrap());
    stream
        .write_all(b"PUT /c HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    assert_eq!(answer_head(&mut input).unwrap().0, 100);
    stream.write_all(b"body").unwrap();
    assert_eq!(answer(&mut input).unwrap(), (200, "PUT /c  4".into()));
}

#[test]
fn the_peer_is_the_real_one_whatever_the_client_claims() {
    let front = start(limits(), |request: Request| {
        let names: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
        bytes(format!("{} {}", request.peer, names.join(",")).into_bytes())
    });
    let mut stream = connect(front.addr());
    let me = stream.local_addr().unwrap();
    stream
        .write_all(
            b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\nX-Front-Peer: 9.9.9.9:9\r\nX-Front-Token: t\r\n\r\n",
        )
        .unwrap();
    assert_eq!(
        answer(&mut BufReader::new(stream)).unwrap(),
        (200, format!("{me} host,content-length,connection"))
    );
}

#[test]
fn a_thousand_idle_and_a_hundred_dripping_clients_do_not_stop_a_health_check() {
    let front = start(Limits { connections: 600, request_time: Duration::from_secs(120), ..limits() }, echo);
    let addr = front.addr();
    let mut drippers: Vec<TcpStream> = (0..100).map(|_| connect(addr)).collect();
    for dripper in &mut drippers {
        dripper.write_all(b"GET / HT").unwrap();
    }
    let mut idle = Vec::new();
    for number in 1..=1000 {
        idle.push(connect(addr));
        if number % 100 == 0 {
            // No more at once than the system queues: a connection it drops is tried again after a second.
            wait_for("they are accepted", || front.counters().accepted == 100 + number);
        }
    }
    for dripper in &mut drippers {
        dripper.write_all(b"T").unwrap();
    }
    for _ in 0..10 {
        is_healthy(&front);
    }
    let counters = front.counters();
    assert!(counters.evicted >= 500 && counters.refused == 0, "{counters:?}");
    drop((idle, drippers));
}

#[test]
fn a_port_full_of_busy_clients_closes_further_ones_at_once() {
    let (release, gate) = bounded::<()>(0);
    let (enter, entered) = bounded(3);
    let front = start(Limits { connections: 3, ..limits() }, move |request| {
        enter.send(()).unwrap();
        // Ends when the test drops the sender.
        let _ = gate.recv();
        echo(request)
    });
    let busy: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut stream = connect(front.addr());
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            stream
        })
        .collect();
    for _ in 0..3 {
        entered.recv_timeout(PATIENCE).unwrap();
    }
    assert!(reads_to_the_end(connect(front.addr())).is_empty());
    assert_eq!(front.counters().refused, 1);
    drop(release);
    for stream in busy {
        assert_eq!(answer(&mut BufReader::new(stream)).unwrap(), (200, "GET /  0".into()));
    }
}

#[test]
fn requests_that_take_too_long_and_idle_connections_are_ended() {
    let short = Limits {
        request_time: Duration::from_millis(200),
        idle_time: Duration::from_millis(200),
        ..limits()
    };
    let front = start(short, echo);
    for part in ["GET / HTTP/1.1\r\nHos", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"] {
        assert_eq!(ask(front.addr(), part.as_bytes()).0, 408, "{part:?}");
    }
    // A byte now and then does not extend the time.
    let mut dripper = connect(front.addr());
    let began = Instant::now();
    while dripper.write_all(b"G").is_ok() && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(reads_to_the_end(connect(front.addr())).is_empty(), "idle connections get no answer");
    assert_eq!(front.counters().timeouts, 3);
}

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
fn a_header_that_would_split_the_answer_is_left_out() {
    let front = start(limits(), |request| Response {
        headers: vec![("x-good", "yes".into()), ("x-bad", "a\r\nx-split: b".into())],
        ..echo(request)
    });
    let mut stream = connect(front.addr());
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let (status, headers) = answer_head(&mut BufReader::new(stream)).unwrap();
    assert_eq!(status, 200);
    assert!(headers.contains(&"x-good: yes".into()) && !headers.iter().any(|line| line.contains("split")));
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
fn a_long_answer_arrives_whole_and_a_client_slow_to_take_it_holds_nobody_up() {
    let front =
        start(
            limits(),
            |request| if request.path == "/x" { echo(request) } else { bytes(vec![b'x'; 9_000_000]) },
        );
    let slow: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = connect(front.addr());
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
            stream
        })
        .collect();
    is_healthy(&front);
    for stream in slow {
        let text = reads_to_the_end(stream);
        assert_eq!(
            text.iter().filter(|byte| **byte == b'x').count(),
            9_000_000 + 1,
            "and the x of text/plain"
        );
    }
}

#[test]
fn a_handler_that_panics_costs_one_answer() {
    let front = start(limits(), |request| {
        assert_ne!(request.path, "/panic", "on purpose");
        echo(request)
    });
    for _ in 0..30 {
        let (status, body) = ask(front.addr(), b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(status, 500);
        assert!(body.contains(r#"{"error":{"code":"internal""#), "{body}");
    }
    is_healthy(&front);
    assert_eq!(front.counters().panics, 30);
}

#[test]
fn stop_ends_idle_dripping_and_streaming_connections_within_a_second() {
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
    assert!(began.elapsed() < Duration::from_secs(2), "took {:?}", began.elapsed());
    assert_eq!(ends.recv_timeout(PATIENCE), Ok(false));
    for stream in [streaming.into_inner(), idle, dripping] {
        assert!(reads_to_the_end(stream).is_empty());
    }
    assert!(TcpStream::connect(addr).is_err(), "the port is free again");
}

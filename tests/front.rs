//! What the guarded listener promises, told to it through raw sockets.

#![allow(clippy::unwrap_used)] // helpers of tests fail by panicking

mod raw;

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use bcs_bkcmdb_synchronizer::front::{Limits, Request, Response};
use crossbeam::channel::bounded;
use raw::*;

#[test]
fn a_length_that_would_kill_the_inner_server_is_refused_and_service_goes_on() {
    let front = start(limits(), echo);
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n";
    let (status, body) = ask(front.addr(), request);
    assert_eq!(status, 413);
    assert!(body.contains("100000 bytes"), "{body}");
    is_healthy(&front);
    assert_eq!(front.counters().too_large, 1);
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
    // Whoever has not begun yet is not hurried.
    let short = Duration::from_millis(200);
    let front = start(Limits { request_time: short, ..limits() }, echo);
    for part in ["GET / HTTP/1.1\r\nHos", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"] {
        assert_eq!(ask(front.addr(), part.as_bytes()).0, 408, "{part:?}");
    }
    // A byte now and then does not extend the time.
    let mut dripper = connect(front.addr());
    wait_for("it is ended", || dripper.write_all(b"G").is_err());
    assert_eq!(front.counters().timeouts, 3);
    let front = start(Limits { idle_time: short, ..limits() }, echo);
    assert!(reads_to_the_end(connect(front.addr())).is_empty(), "idle connections get no answer");
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
fn a_long_answer_arrives_whole_and_a_client_slow_to_take_it_holds_nobody_up() {
    // The last one waits until all others have been read.
    let front = start(Limits { request_time: 4 * PATIENCE, ..limits() }, |request| {
        if request.path == "/x" { echo(request) } else { bytes(vec![b'x'; 9_000_000]) }
    });
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
fn a_drain_answers_what_has_begun_and_takes_nothing_new() {
    let ((entered, enters), (leave, leaves)) = (bounded(1), bounded::<()>(1));
    let front = start(limits(), move |request: Request| {
        if request.path == "/slow" {
            entered.send(()).unwrap();
            leaves.recv().unwrap();
        }
        echo(request)
    });
    let addr = front.addr();
    let mut idle = connect(addr);
    let mut idle_input = BufReader::new(idle.try_clone().unwrap());
    idle.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(answer(&mut idle_input).unwrap().0, 200);
    let mut slow = connect(addr);
    slow.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    enters.recv_timeout(PATIENCE).unwrap();
    std::thread::scope(|scope| {
        let drains = scope.spawn(|| front.drain(PATIENCE));
        // The idle one is closed at once, and nobody else gets in.
        assert_eq!(reads_to_the_end(idle), b"");
        while TcpStream::connect(addr).is_ok() {}
        assert!(!drains.is_finished());
        leave.send(()).unwrap();
        let text = String::from_utf8(reads_to_the_end(slow)).unwrap();
        assert!(text.ends_with("GET /slow  0") && text.contains("connection: close"), "{text}");
        drains.join().unwrap();
    });
}

#[test]
fn a_drain_cuts_off_what_takes_longer_than_it_may() {
    let ((entered, enters), (leave, leaves)) = (bounded(1), bounded::<()>(1));
    let front = start(limits(), move |request: Request| {
        entered.send(()).unwrap();
        let _ = leaves.recv();
        echo(request)
    });
    let mut slow = connect(front.addr());
    slow.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    enters.recv_timeout(PATIENCE).unwrap();
    front.drain(Duration::from_millis(100));
    front.stop();
    assert_eq!(reads_to_the_end(slow), b"");
    drop(leave);
}

//! The guarded listener and the files of the process: when there are none left, and after its end.
//!
//! Alone in its program, because the limit holds for the whole process.

#![allow(clippy::unwrap_used)] // helpers of tests fail by panicking

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bcs_bkcmdb_synchronizer::front::{Body, Front, Limits, Request, Response};

fn is_healthy(addr: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    ask().is_ok_and(|text| text.starts_with("HTTP/1.1 200 "))
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_port_outlives_times_without_files_and_leaves_none_open() {
    let before = open_files();
    let handler = |_: Request| Response {
        status: 200,
        content_type: "text/plain",
        headers: Vec::new(),
        body: Body::Bytes(b"ok".to_vec()),
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let front = Front::start("files", listener, None, Limits::default(), Arc::new(handler)).unwrap();
    let limit = Command::new("prlimit")
        .args(["--pid", &std::process::id().to_string(), "--nofile=60:60"])
        .status()
        .unwrap();
    assert!(limit.success());
    let idle = open_files();
    for round in 0..5 {
        // Ends when this process, client and server at once, has no file left.
        let mut clients: Vec<TcpStream> =
            std::iter::from_fn(|| TcpStream::connect(front.addr()).ok()).collect();
        assert!(clients.len() > 10, "round {round}: {}", clients.len());
        // Those that are in ask while there is no file for the way to the handler.
        for client in &mut clients {
            let _ = client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        std::thread::scope(|scope| {
            for client in clients.drain(..).skip(round * 3) {
                scope.spawn(move || drop(client));
            }
        });
        wait_for("the port recovers", || is_healthy(front.addr()));
        wait_for("the connections of the round are closed", || open_files() <= idle);
    }
    front.stop();
    wait_for("all files are closed", || open_files() <= before);
}

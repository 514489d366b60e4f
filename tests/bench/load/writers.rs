//! What the peers are compared with: plain clients that know nothing of the service.

use super::cmdb::Cmdb;
use super::document::Pod;
use super::http::read_head;
use super::report::Reach::AtLeast;
use super::report::{Figure, Section};
use super::storage::{Storage, list_path};
use serde_json::json;
use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// Writers at the same time, as the original has them.
const WRITERS: u32 = 10;

/// Creates `pods` records one by one, a connection each, and returns how long that takes.
pub fn one_by_one(pods: u32, delay: Duration) -> Duration {
    let (cmdb, address) = Cmdb::start(delay);
    let start = Instant::now();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for number in (writer..pods).step_by(WRITERS as usize) {
                    let body = json!({"pod": record(number)}).to_string();
                    let mut stream = TcpStream::connect(address).expect("the CMDB accepts");
                    post(&mut stream, "/api/v3/create/container/bk_biz_id/2/pod", &body).expect("an answer");
                }
            });
        }
    });
    assert_eq!(cmdb.len(), pods as usize);
    start.elapsed()
}

/// How much the peers can do when asked as fast as possible: they must not be what is measured.
pub fn control(short: bool) -> Section {
    let pods = if short { 10_000 } else { 50_000 };
    Section {
        title: "Control: the peers alone, asked by plain clients".to_owned(),
        figures: vec![
            Figure::new(
                "CMDB, create-many of 100 over ten connections",
                created_per_second(pods),
                "pods/s",
                AtLeast(20_000.0),
            ),
            Figure::new(
                "storage, pages of 500 over one connection",
                listed_per_second(pods),
                "pods/s",
                AtLeast(50_000.0),
            ),
        ],
    }
}

fn created_per_second(pods: u32) -> f64 {
    let (cmdb, address) = Cmdb::start(Duration::ZERO);
    let start = Instant::now();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let mut stream = TcpStream::connect(address).expect("the CMDB accepts");
                for batch in (writer * 100..pods).step_by(100 * WRITERS as usize) {
                    let list: Vec<_> = (batch..batch + 100).map(record).collect();
                    let body = json!({"pod_list": list}).to_string();
                    post(&mut stream, "/api/v3/createmany/container/bk_biz_id/2/pod", &body)
                        .expect("an answer");
                }
            });
        }
    });
    assert_eq!(cmdb.len(), pods as usize);
    f64::from(pods) / start.elapsed().as_secs_f64()
}

fn listed_per_second(pods: u32) -> f64 {
    let (_storage, address) = Storage::start(1, 500);
    let mut stream = TcpStream::connect(address).expect("the storage accepts");
    let start = Instant::now();
    for _ in 0..pods / 500 {
        get(&mut stream, &list_path(0, 500)).expect("an answer");
    }
    f64::from(pods) / start.elapsed().as_secs_f64()
}

/// A record of about the size the service sends.
fn record(number: u32) -> serde_json::Value {
    let pod = Pod { number, ..Pod::default() };
    json!({"bk_biz_id": 2, "bk_pod_cluster": "BCS-K8S-00001", "bk_pod_uuid": pod.uuid(), "bk_pod_namespace": "shop",
           "bk_pod_name": pod.name(), "bk_module_id": 41, "bk_cloud_id": 0, "bk_pod_containers": "x".repeat(900),
           "bk_pod_labels": r#"{"app":"web"}"#, "bk_pod_annotations": "{}"})
}

fn post(stream: &mut TcpStream, path: &str, body: &str) -> io::Result<Vec<u8>> {
    exchange(
        stream,
        format!("POST {path} HTTP/1.1\r\nHost: cmdb\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
    )
}

fn get(stream: &mut TcpStream, path: &str) -> io::Result<Vec<u8>> {
    exchange(stream, format!("GET {path} HTTP/1.1\r\nHost: storage\r\n\r\n"))
}

fn exchange(stream: &mut TcpStream, request: String) -> io::Result<Vec<u8>> {
    stream.set_nodelay(true)?;
    stream.write_all(request.as_bytes())?;
    let mut reader = BufReader::with_capacity(1 << 16, &*stream);
    let mut body = vec![0; read_head(&mut reader)?];
    reader.read_exact(&mut body)?;
    Ok(body)
}

//! A CMDB for measurements: answers the five calls and the topology from memory, each answer after a
//! fixed delay, one thread a connection, and counts what it was asked.
//!
//! It checks nothing: it stands for a healthy CMDB at a distance, not for its rules.

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Counters and records.
#[derive(Default)]
pub struct Cmdb {
    records: Mutex<BTreeMap<i64, Map<String, Value>>>,
    next_id: AtomicU64,
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Create and create-many calls.
    pub create_calls: AtomicU64,
    /// Update and delete calls.
    pub other_writes: AtomicU64,
    /// When the first request of any kind arrived.
    pub first_request: Mutex<Option<Instant>>,
    delay: Duration,
}

impl Cmdb {
    /// Serves on a free port until the process ends.
    pub fn start(delay: Duration) -> (Arc<Self>, SocketAddr) {
        let cmdb = Arc::new(Self { delay, ..Self::default() });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let serving = Arc::clone(&cmdb);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serving.connections.fetch_add(1, Relaxed);
                let cmdb = Arc::clone(&serving);
                std::thread::spawn(move || cmdb.serve(stream));
            }
        });
        (cmdb, addr)
    }

    /// Records held.
    pub fn len(&self) -> usize {
        self.records.lock().len()
    }

    fn serve(&self, stream: TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut writer = stream;
        loop {
            let (path, body) = read_request(&mut reader)?;
            self.first_request.lock().get_or_insert_with(Instant::now);
            let data = self.answer(&path, &body);
            std::thread::sleep(self.delay);
            let answer = json!({"result": true, "bk_error_code": 0, "bk_error_msg": "success",
                                "permission": null, "data": data});
            let text = answer.to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                text.len()
            );
            writer.write_all([head.as_bytes(), text.as_bytes()].concat().as_slice()).ok()?;
        }
    }

    fn answer(&self, path: &str, body: &[u8]) -> Value {
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        if path.contains("/find/topoinst") {
            return json!([{"bk_inst_id": 2, "bk_inst_name": "demo", "bk_obj_id": "biz", "child": [
                {"bk_inst_id": 11, "bk_inst_name": "bkbcs", "bk_obj_id": "set", "child": [
                    {"bk_inst_id": 41, "bk_inst_name": "bkbcs", "bk_obj_id": "module", "child": null}]}]}]);
        }
        if path.contains("/findmany/") {
            return self.list(&body);
        }
        if path.contains("/createmany/") {
            self.create_calls.fetch_add(1, Relaxed);
            let pods = body["pod_list"].as_array().cloned().unwrap_or_default();
            let created: Vec<Value> =
                pods.into_iter().map(|pod| json!({"origin_index": 0, "id": self.insert(pod)})).collect();
            return json!({"created": created, "repeated": null, "exception": null});
        }
        if path.contains("/create/") {
            self.create_calls.fetch_add(1, Relaxed);
            return json!({"created": {"origin_index": 0, "id": self.insert(body["pod"].clone())}});
        }
        self.other_writes.fetch_add(1, Relaxed);
        json!({"updated_count": 1, "deleted_count": 1})
    }

    fn insert(&self, pod: Value) -> i64 {
        let id = self.next_id.fetch_add(1, Relaxed) as i64 + 1;
        if let Value::Object(mut pod) = pod {
            pod.insert("bk_pod_id".into(), id.into());
            pod.insert("bk_biz_id".into(), 2.into());
            self.records.lock().insert(id, pod);
        }
        id
    }

    /// Pages by `bk_pod_id greater LAST`, narrowed to one cluster.
    fn list(&self, body: &Value) -> Value {
        let rules = body["pod_property_filter"]["rules"].as_array().cloned().unwrap_or_default();
        let value = |field: &str| rules.iter().find(|rule| rule["field"] == field).map(|rule| &rule["value"]);
        let after = value("bk_pod_id").and_then(Value::as_i64).unwrap_or(0);
        let limit = body["page"]["limit"].as_u64().unwrap_or(500) as usize;
        let cluster = value("bk_pod_cluster");
        let records = self.records.lock();
        let info: Vec<&Map<String, Value>> = records
            .range(after + 1..)
            .map(|(_, record)| record)
            .filter(|record| cluster.is_none() || record.get("bk_pod_cluster") == cluster)
            .take(limit)
            .collect();
        json!({"count": records.len(), "info": info})
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|read| *read > 0)?;
        let header = header.trim_end();
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, body))
}

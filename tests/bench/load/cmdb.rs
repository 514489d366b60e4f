//! A CMDB that answers from memory, each answer after a fixed delay, and counts what it was asked.
//!
//! It checks nothing and keeps records as the text they came in: it stands for a healthy CMDB at a
//! distance, not for its rules.

use super::http::{self, Peer, Request};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Counters and records.
pub struct Cmdb {
    records: Mutex<Records>,
    /// When the last write about a uuid was acknowledged.
    acknowledged: Mutex<HashMap<String, Instant>>,
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Create and create-many calls.
    pub create_calls: AtomicU64,
    /// Records written: created, updated, deleted.
    pub writes: AtomicU64,
    /// List calls.
    pub lists: AtomicU64,
    first_request: Mutex<Option<Instant>>,
    delay: Duration,
}

#[derive(Default)]
struct Records {
    last_id: i64,
    clusters: HashMap<String, Cluster>,
}

#[derive(Default)]
struct Cluster {
    by_id: BTreeMap<i64, Box<str>>,
    ids: HashMap<String, i64>,
}

#[derive(Deserialize)]
struct CreateMany<'a> {
    #[serde(borrow)]
    pod_list: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Create<'a> {
    #[serde(borrow)]
    pod: &'a RawValue,
}

#[derive(Deserialize)]
struct Identity<'a> {
    bk_pod_uuid: &'a str,
    bk_pod_cluster: &'a str,
}

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow)]
    condition: Identity<'a>,
    #[serde(default)]
    data: Map<String, Value>,
}

impl Cmdb {
    /// An empty CMDB, and where it is served.
    pub fn start(delay: Duration) -> (Arc<Self>, SocketAddr) {
        let cmdb = Arc::new(Self {
            records: Mutex::default(),
            acknowledged: Mutex::default(),
            connections: AtomicU64::new(0),
            create_calls: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            lists: AtomicU64::new(0),
            first_request: Mutex::default(),
            delay,
        });
        let address = http::serve(Arc::clone(&cmdb));
        (cmdb, address)
    }

    /// Records held.
    pub fn len(&self) -> usize {
        self.records.lock().clusters.values().map(|cluster| cluster.by_id.len()).sum()
    }

    /// When the first request of any kind arrived.
    pub fn first_request(&self) -> Option<Instant> {
        *self.first_request.lock()
    }

    /// When the last write about each uuid was acknowledged, since the last call.
    pub fn take_acknowledged(&self) -> HashMap<String, Instant> {
        std::mem::take(&mut self.acknowledged.lock())
    }

    /// The answer's `data`, and the uuids that were written.
    fn data(&self, path: &str, body: &[u8]) -> io::Result<(Vec<u8>, Vec<String>)> {
        let read_only = |data: Vec<u8>| Ok((data, Vec::new()));
        match path.split('/').find(|part| {
            matches!(
                *part,
                "topoinst_with_statistics" | "findmany" | "createmany" | "create" | "update" | "delete"
            )
        }) {
            Some("topoinst_with_statistics") => read_only(topology()),
            Some("findmany") => read_only(self.list(&serde_json::from_slice(body)?)),
            Some("createmany") => {
                let call: CreateMany = serde_json::from_slice(body)?;
                self.create(&call.pod_list).map(|(ids, uuids)| {
                    let created: Vec<Value> =
                        ids.iter().map(|id| json!({"origin_index": 0, "id": id})).collect();
                    (
                        json!({"created": created, "repeated": null, "exception": null}).to_string().into(),
                        uuids,
                    )
                })
            }
            Some("create") => {
                let call: Create = serde_json::from_slice(body)?;
                let (ids, uuids) = self.create(&[call.pod])?;
                Ok((json!({"created": {"origin_index": 0, "id": ids[0]}}).to_string().into(), uuids))
            }
            Some("update") => self.change(&serde_json::from_slice(body)?, Cluster::update, "updated_count"),
            Some("delete") => self.change(&serde_json::from_slice(body)?, Cluster::delete, "deleted_count"),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn create(&self, pods: &[&RawValue]) -> io::Result<(Vec<i64>, Vec<String>)> {
        self.create_calls.fetch_add(1, Relaxed);
        // Parsed before the lock is taken: other connections parse at the same time.
        let parsed = pods.iter().map(|pod| Ok((serde_json::from_str(pod.get())?, Box::from(pod.get()))));
        let pods: Vec<(Identity, Box<str>)> = parsed.collect::<io::Result<_>>()?;
        let mut records = self.records.lock();
        let (mut ids, mut uuids) = (Vec::new(), Vec::new());
        for (identity, text) in pods {
            records.last_id += 1;
            let id = records.last_id;
            let cluster = records.clusters.entry(identity.bk_pod_cluster.to_owned()).or_default();
            cluster.by_id.insert(id, text);
            cluster.ids.insert(identity.bk_pod_uuid.to_owned(), id);
            ids.push(id);
            uuids.push(identity.bk_pod_uuid.to_owned());
        }
        Ok((ids, uuids))
    }

    fn change(
        &self,
        change: &Change,
        apply: fn(&mut Cluster, &Change) -> Option<()>,
        count: &str,
    ) -> io::Result<(Vec<u8>, Vec<String>)> {
        let mut records = self.records.lock();
        let done = records
            .clusters
            .get_mut(change.condition.bk_pod_cluster)
            .and_then(|cluster| apply(cluster, change));
        let data = json!({count: u8::from(done.is_some())}).to_string().into();
        Ok((data, vec![change.condition.bk_pod_uuid.to_owned()]))
    }

    /// Pages by `bk_pod_id greater LAST`, narrowed to one cluster; or the record with one uuid.
    fn list(&self, body: &Value) -> Vec<u8> {
        self.lists.fetch_add(1, Relaxed);
        let rules = body["pod_property_filter"]["rules"].as_array();
        let value =
            |field: &str| rules?.iter().find(|rule| rule["field"] == field).map(|rule| &rule["value"]);
        let after = value("bk_pod_id").and_then(Value::as_i64).unwrap_or(0);
        let limit = body["page"]["limit"].as_u64().unwrap_or(500) as usize;
        let mut out = br#"{"info":["#.to_vec();
        let mut records = self.records.lock();
        let mut count = 0;
        let mut add = |id: i64, text: &str| {
            let comma = if out.ends_with(b"[") { "" } else { "," };
            let _ = write!(out, r#"{comma}{{"bk_pod_id":{id},{}"#, &text[1..]);
        };
        if let Some(uuid) = value("bk_pod_uuid").and_then(Value::as_str) {
            let found = records.clusters.values().find_map(|cluster| cluster.get(uuid));
            count = usize::from(found.is_some());
            found.into_iter().for_each(|(id, text)| add(id, text));
        } else if let Some(cluster) = value("bk_pod_cluster").and_then(Value::as_str) {
            let cluster = records.clusters.entry(cluster.to_owned()).or_default();
            count = cluster.by_id.range(after + 1..).count();
            cluster.by_id.range(after + 1..).take(limit).for_each(|(id, text)| add(*id, text));
        }
        let _ = write!(out, r#"],"count":{count}}}"#);
        out
    }
}

impl Cluster {
    fn get(&self, uuid: &str) -> Option<(i64, &str)> {
        let id = *self.ids.get(uuid)?;
        Some((id, self.by_id.get(&id)?))
    }

    fn update(&mut self, change: &Change) -> Option<()> {
        let id = *self.ids.get(change.condition.bk_pod_uuid)?;
        let text = self.by_id.get_mut(&id)?;
        let mut record: Map<String, Value> = serde_json::from_str(text).ok()?;
        record.extend(change.data.clone());
        *text = Value::Object(record).to_string().into();
        Some(())
    }

    fn delete(&mut self, change: &Change) -> Option<()> {
        let id = self.ids.remove(change.condition.bk_pod_uuid)?;
        self.by_id.remove(&id).map(|_| ())
    }
}

impl Peer for Cmdb {
    fn connected(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    fn answer(&self, request: &Request, stream: &mut TcpStream) -> io::Result<()> {
        self.first_request.lock().get_or_insert_with(Instant::now);
        let (data, written) = self.data(&request.path, &request.body)?;
        std::thread::sleep(self.delay);
        let mut body =
            br#"{"result":true,"bk_error_code":0,"bk_error_msg":"success","permission":null,"data":"#
                .to_vec();
        body.extend_from_slice(&data);
        body.push(b'}');
        http::send_json(stream, &body)?;
        if !written.is_empty() {
            let now = Instant::now();
            self.writes.fetch_add(written.len() as u64, Relaxed);
            self.acknowledged.lock().extend(written.into_iter().map(|uuid| (uuid, now)));
        }
        Ok(())
    }
}

fn topology() -> Vec<u8> {
    let module = json!({"bk_inst_id": 41, "bk_inst_name": "bkbcs", "bk_obj_id": "module", "child": null});
    let set = json!({"bk_inst_id": 11, "bk_inst_name": "bkbcs", "bk_obj_id": "set", "child": [module]});
    let root = json!([{"bk_inst_id": 2, "bk_inst_name": "demo", "bk_obj_id": "biz", "child": [set]}]);
    root.to_string().into()
}

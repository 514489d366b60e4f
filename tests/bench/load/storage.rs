//! A bcs-storage of generated Pods: listings, point reads and watches of any size out of a few
//! bytes per pod.

use super::document::{Pod, Templates, cluster_id, cluster_number};
use super::http::{self, Peer, Request};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The type of a delete event.
const DELETED: u8 = 2;

/// Clusters of the storage, by number, and who watches them.
pub struct Storage {
    templates: Templates,
    clusters: Mutex<Vec<Vec<Pod>>>,
    watches: Mutex<HashMap<u32, TcpStream>>,
    /// List pages and point reads.
    pub reads: AtomicU64,
}

/// What happens to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A container restarted: the record changes.
    Restart,
    /// Something the CMDB does not record changed.
    Noise,
    Delete,
    /// The next pod of that name, under another uid.
    Recreate,
}

impl Storage {
    /// `clusters` clusters with `pods` pods each, and where they are served.
    pub fn start(clusters: u32, pods: u32) -> (Arc<Self>, SocketAddr) {
        let pod = |cluster, number| Pod { cluster, number, alive: true, ..Pod::default() };
        let all = (0..clusters).map(|cluster| (0..pods).map(|number| pod(cluster, number)).collect());
        let storage = Arc::new(Self {
            templates: Templates::new(),
            clusters: Mutex::new(all.collect()),
            watches: Mutex::default(),
            reads: AtomicU64::new(0),
        });
        let address = http::serve(Arc::clone(&storage));
        (storage, address)
    }

    /// Watches that are open.
    pub fn watches(&self) -> usize {
        self.watches.lock().len()
    }

    /// Pods alive in all clusters.
    pub fn len(&self) -> usize {
        self.clusters.lock().iter().flatten().filter(|pod| pod.alive).count()
    }

    /// Bytes of a document as an event has it, and as a listing has it.
    pub fn document_sizes(&self) -> (usize, usize) {
        let size = |template: &super::document::Template| {
            let mut out = Vec::new();
            template.render(&Pod::default(), &mut out);
            out.len()
        };
        (size(&self.templates.whole), size(&self.templates.projected))
    }

    /// Changes pods of a cluster and tells its watch all of it in one write; the uuids concerned.
    pub fn change(&self, cluster: u32, changes: &[(u32, Change)]) -> Vec<String> {
        let mut events = Vec::new();
        let mut uuids = Vec::with_capacity(changes.len());
        for (number, change) in changes {
            let (kind, pod) = self.apply(cluster, *number, *change);
            uuids.push(pod.uuid());
            write_event(&self.templates, kind, &pod, &mut events);
        }
        if let Some(stream) = self.watches.lock().get_mut(&cluster) {
            // A watch that went away is opened anew by its client.
            let _ = stream.write_all(&events);
        }
        uuids
    }

    fn apply(&self, cluster: u32, number: u32, change: Change) -> (u8, Pod) {
        let mut clusters = self.clusters.lock();
        let pod = &mut clusters[cluster as usize][number as usize];
        let kind = match change {
            Change::Restart => {
                pod.restarts += 1;
                3
            }
            Change::Noise => {
                pod.noise += 1;
                3
            }
            Change::Delete => {
                pod.alive = false;
                DELETED
            }
            Change::Recreate => {
                pod.alive = true;
                pod.incarnation += 1;
                1
            }
        };
        (kind, *pod)
    }

    fn list(&self, cluster: u32, query: &str) -> Vec<u8> {
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find_map(|(key, value)| (key == name).then_some(value))
        };
        let number = |name: &str| value(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        let (offset, limit) = (number("offset"), number("limit"));
        let template = match value("field") {
            None | Some("") => &self.templates.whole,
            Some(_) => &self.templates.projected,
        };
        let page: Vec<Pod> = match self.clusters.lock().get(cluster as usize) {
            Some(pods) => pods.iter().filter(|pod| pod.alive).skip(offset).take(limit).copied().collect(),
            None => Vec::new(),
        };
        let mut out = br#"{"result":true,"code":0,"message":"success","data":["#.to_vec();
        for (index, pod) in page.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            template.render(pod, &mut out);
        }
        out.extend_from_slice(b"]}");
        out
    }

    fn get(&self, cluster: u32, name: &str) -> Vec<u8> {
        let number: usize = name.trim_start_matches("web-").parse().unwrap_or(usize::MAX);
        let pod = self.clusters.lock().get(cluster as usize).and_then(|pods| pods.get(number).copied());
        let Some(pod) = pod.filter(|pod| pod.alive) else {
            return br#"{"result":false,"code":1405087,"message":"resource does not exist","data":null}"#
                .to_vec();
        };
        let mut out = br#"{"result":true,"code":0,"message":"success","data":"#.to_vec();
        self.templates.whole.render(&pod, &mut out);
        out.push(b'}');
        out
    }
}

impl Peer for Storage {
    fn answer(&self, request: &Request, stream: &mut TcpStream) -> io::Result<()> {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let mut segments =
            path.split('/').skip_while(|segment| !matches!(*segment, "clusters" | "watch")).skip(1);
        let cluster = segments.next().and_then(cluster_number).unwrap_or(u32::MAX);
        if request.method == "POST" {
            stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
            )?;
            self.watches.lock().insert(cluster, stream.try_clone()?);
            return Ok(());
        }
        self.reads.fetch_add(1, Relaxed);
        let answer = match path.contains("/namespace_resources/") {
            true => self.get(cluster, segments.last().unwrap_or_default()),
            false => self.list(cluster, query),
        };
        http::send_json(stream, &answer)
    }
}

/// The path of a listing, as the service asks for it.
pub fn list_path(cluster: u32, limit: u32) -> String {
    let cluster = cluster_id(cluster);
    format!("/bcsstorage/v1/k8s/dynamic/all_resources/clusters/{cluster}/Pod?field=x&offset=0&limit={limit}")
}

/// Appends one event as a chunk of its own, as a server that flushes after each one sends it.
fn write_event(templates: &Templates, kind: u8, pod: &Pod, out: &mut Vec<u8>) {
    let mut event = format!(r#"{{"type":{kind},"value":"#).into_bytes();
    match kind {
        // As the old generation says it: no data, no name.
        DELETED => event.extend_from_slice(format!(r#"{{"_id":"{}"}}"#, pod.storage_id()).as_bytes()),
        _ => templates.whole.render(pod, &mut event),
    }
    event.extend_from_slice(b"}\n");
    out.extend_from_slice(format!("{:x}\r\n", event.len()).as_bytes());
    out.extend_from_slice(&event);
    out.extend_from_slice(b"\r\n");
}

//! The bcs-storage client against the simulated storage, in both generations, and over real Pods.

#![allow(clippy::unwrap_used)] // helpers of tests fail by panicking

mod corpus;
mod peer;

use bcs_bkcmdb_synchronizer::config::BaseUrl;
use bcs_bkcmdb_synchronizer::http::RequestStats;
use bcs_bkcmdb_synchronizer::model::ClusterKind::K8s;
use bcs_bkcmdb_synchronizer::sandbox::storage::{Behaviour, Generation, SimServer, SimStorage, StreamEnd};
use bcs_bkcmdb_synchronizer::storage::{Client, EventKind, Settings, StaticAddresses, WatchStream};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

const CLUSTER: &str = "BCS-K8S-1";
const GENERATIONS: [Generation; 2] = [Generation::Old, Generation::New];

fn client(origin: String, page_size: u32) -> Client {
    let timeout = Duration::from_secs(30);
    let settings = Settings { page_size, timeout, watch_idle_timeout: timeout, list_concurrency: 1 };
    let addresses = StaticAddresses::new(vec![BaseUrl { origin, prefix: String::new() }]);
    Client::new(Arc::new(addresses), None, settings, Arc::new(RequestStats::default()))
}

fn simulated(generation: Generation) -> (SimStorage, SimServer, Client) {
    let storage = SimStorage::new(7);
    let behaviour = Behaviour { subscription_delay: Duration::ZERO, ..Behaviour::of(generation) };
    storage.add_cluster_with(CLUSTER, K8s, behaviour);
    let server = storage.serve(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    let client = client(server.url(), 10);
    (storage, server, client)
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"namespace": "ns", "name": name, "uid": name}, "spec": {"nodeName": "n"}})
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn watch(storage: &SimStorage, client: &Client) -> WatchStream {
    let stream = client.watch(CLUSTER, K8s, None).unwrap();
    peer::wait_until("the subscription begins", || storage.counters().open_watches == 1);
    stream
}

#[test]
fn a_cluster_is_listed_in_pages_and_projected() {
    for generation in GENERATIONS {
        let (storage, _server, client) = simulated(generation);
        let names: BTreeSet<String> = (0..25).map(|number| format!("p{number}")).collect();
        for name in &names {
            storage.put(CLUSTER, pod(name)).unwrap();
        }
        let mut listing = client.listing(CLUSTER, K8s, "resourceName,data.metadata.uid").unwrap();
        let mut seen = BTreeSet::new();
        let mut pages = Vec::new();
        let mut keep = |document: &[u8]| {
            let document = parsed(document);
            assert!(document["data"]["spec"].is_null() && document["_id"].is_string(), "{document}");
            seen.insert(document["resourceName"].as_str().unwrap().to_owned());
        };
        while let Some(count) = listing.next_page(&mut keep).unwrap() {
            pages.push(count);
        }
        assert_eq!((pages, seen), (vec![10, 10, 5], names));
    }
}

#[test]
fn a_point_read_tells_a_living_pod_from_a_deleted_one() {
    for generation in GENERATIONS {
        let (storage, _server, client) = simulated(generation);
        storage.put(CLUSTER, pod("web-0")).unwrap();
        let document = client.get(CLUSTER, K8s, "ns", "web-0").unwrap().unwrap();
        assert_eq!(parsed(&document)["data"]["metadata"]["uid"], "web-0");
        assert_eq!(client.get(CLUSTER, K8s, "ns", "web-1").unwrap(), None);
        storage.delete(CLUSTER, "ns", "web-0");
        assert_eq!(client.get(CLUSTER, K8s, "ns", "web-0").unwrap(), None);
    }
}

#[test]
fn changes_arrive_as_each_generation_tells_them() {
    for generation in GENERATIONS {
        let (storage, _server, client) = simulated(generation);
        let mut stream = watch(&storage, &client);
        storage.put(CLUSTER, pod("web-0")).unwrap();
        let added = stream.next().unwrap().unwrap();
        assert_eq!(added.kind, EventKind::Add);
        assert_eq!(parsed(added.value.unwrap())["resourceName"], "web-0");
        storage.delete(CLUSTER, "ns", "web-0");
        // The new generation tells a delete twice, and in no order.
        let told = if generation == Generation::New { 2 } else { 1 };
        for _ in 0..told {
            let event = stream.next().unwrap().unwrap();
            let value = parsed(event.value.unwrap());
            match (event.kind, generation) {
                (EventKind::Delete, Generation::Old) => assert!(value.get("resourceName").is_none()),
                (EventKind::Delete, Generation::New) => assert_eq!(value["resourceName"], "web-0"),
                (EventKind::Change, Generation::New) => assert_eq!(value["_isBcsObjectDeleted"], true),
                other => panic!("{other:?}"),
            }
        }
        storage.faults().raw_event(CLUSTER, "{\"type\":true}\n");
        assert_eq!(stream.next().unwrap().unwrap().kind, EventKind::Malformed);
        storage.faults().end_streams(CLUSTER, StreamEnd::Break);
        assert_eq!(stream.next().unwrap(), None);
    }
}

#[test]
fn every_real_pod_arrives_as_it_was_sent_by_list_and_by_watch() {
    let pods: Arc<Vec<String>> = Arc::new(corpus::lines("pods.ndjson"));
    let served = pods.clone();
    let peer = peer::Peer::start(move |mut connection| {
        while let Some(request) = connection.request() {
            if request.method == "POST" {
                connection.begin_stream();
                for pod in served.iter() {
                    connection.chunk(format!("{{\"type\":1,\"value\":{pod}}}"));
                }
                connection.chunk("");
                continue;
            }
            let offset = request.target.split("offset=").nth(1).unwrap().split('&').next().unwrap();
            let page: Vec<String> = served.iter().skip(offset.parse().unwrap()).take(500).cloned().collect();
            let body = format!("{{\"data\":[{}],\"code\":0,\"result\":true}}", page.join(","));
            connection.answer(200, body);
        }
    });
    let client = client(peer.origin(), 500);
    let mut listed = Vec::new();
    let mut listing = client.listing(CLUSTER, K8s, "data").unwrap();
    while listing.next_page(&mut |document| listed.push(document.to_vec())).unwrap().is_some() {}
    let mut watched = Vec::new();
    let mut stream = client.watch(CLUSTER, K8s, None).unwrap();
    while let Some(event) = stream.next().unwrap() {
        watched.push(event.value.unwrap().to_vec());
    }
    let sent: Vec<&[u8]> = pods.iter().map(String::as_bytes).collect();
    assert!(listed == sent, "{} of {} listed", listed.len(), sent.len());
    assert!(watched == sent, "{} of {} watched", watched.len(), sent.len());
}

//! The simulated peers over real HTTP: what protocol.md 1 and 4 say about them, traps included.

#![allow(clippy::unwrap_used)] // Helpers of tests may fail loudly too.

use bcs_bkcmdb_synchronizer::http::{Client, Method, Options, Request};
use bcs_bkcmdb_synchronizer::model::ClusterKind;
use bcs_bkcmdb_synchronizer::sandbox::paas::{SimCluster, SimPaas, SimProject};
use bcs_bkcmdb_synchronizer::sandbox::storage::{
    Behaviour, Call, EVERY, Fault, Generation, SimServer, SimStorage, StreamEnd,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Read;
use std::net::TcpListener;
use std::time::{Duration, Instant};

const CLUSTER: &str = "BCS-K8S-1";
const PATH: &str = "/bcsstorage/v1/k8s/dynamic/all_resources/clusters/BCS-K8S-1/Pod";
const PATIENCE: Duration = Duration::from_secs(60);

fn port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn pod(name: &str, uid: &str) -> Value {
    json!({"metadata": {"namespace": "ns", "name": name, "uid": uid, "labels": {"a": "b"}},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i", "env": [1]}]}})
}

/// A storage with one cluster, quick to subscribe, and a client for it.
struct Bench {
    storage: SimStorage,
    server: SimServer,
    client: Client,
}

impl Bench {
    fn new(generation: Generation, pods: usize) -> Self {
        Self::with(Behaviour { subscription_delay: Duration::ZERO, ..Behaviour::of(generation) }, pods)
    }

    fn with(behaviour: Behaviour, pods: usize) -> Self {
        let storage = SimStorage::new(1);
        storage.add_cluster_with(CLUSTER, ClusterKind::K8s, behaviour);
        for number in 0..pods {
            storage.put(CLUSTER, pod(&format!("p{number}"), "u")).unwrap();
        }
        let server = storage.serve(port()).unwrap();
        Self { storage, server, client: Client::new(&Options { identity: true, ..Options::default() }) }
    }

    fn send(&self, method: Method, path: &str, timeout: Option<Duration>) -> (u16, Box<dyn Read + Send>) {
        let url = format!("{}{path}", self.server.url());
        let body = (method == Method::Post).then_some(&b"{}"[..]);
        let idle_timeout = Some(PATIENCE);
        let request = Request { method, url: &url, headers: &[], body, timeout, idle_timeout };
        let response = self.client.send(&request).unwrap();
        (response.status, response.body)
    }

    fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let (status, mut body) = self.send(Method::Get, path, Some(PATIENCE));
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes).unwrap();
        (status, bytes)
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.get(path).1).unwrap()
    }

    fn names(&self, query: &str) -> Vec<String> {
        let answer = self.json(&format!("{PATH}{query}"));
        let documents = answer["data"].as_array().unwrap();
        documents.iter().map(|document| document["resourceName"].as_str().unwrap().to_owned()).collect()
    }

    /// A watch whose subscription has begun.
    fn watch(&self) -> Box<dyn Read + Send> {
        let open = self.storage.counters().open_watches;
        let (status, body) = self.send(Method::Post, "/bcsstorage/v1/dynamic/watch/BCS-K8S-1/Pod", None);
        assert_eq!(status, 200);
        self.wait(|| self.storage.counters().open_watches > open);
        body
    }

    fn wait(&self, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < deadline, "{:?}", self.storage.counters());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The next `count` events of a stream.
fn events(body: &mut Box<dyn Read + Send>, count: usize) -> Vec<Value> {
    let stream = serde_json::Deserializer::from_reader(body).into_iter::<Value>();
    stream.take(count).map(Result::unwrap).collect()
}

fn types(events: &[Value]) -> Vec<i64> {
    events.iter().map(|event| event["type"].as_i64().unwrap()).collect()
}

#[test]
fn a_listing_has_the_envelope_and_pages() {
    let bench = Bench::new(Generation::Old, 5);
    let answer = bench.json(PATH);
    assert_eq!((&answer["result"], &answer["code"]), (&json!(true), &json!(0)));
    let first = &answer["data"][0];
    assert_eq!((first["clusterId"].as_str(), first["resourceType"].as_str()), (Some(CLUSTER), Some("Pod")));
    assert_eq!(first["updateTime"].as_str().unwrap().len(), "2020-07-13 08:12:41".len());
    let mut seen = BTreeSet::new();
    for (query, count) in [("?offset=0&limit=2", 2), ("?offset=2&limit=2", 2), ("?offset=4&limit=2", 1)] {
        let names = bench.names(query);
        assert_eq!(names.len(), count);
        seen.extend(names);
    }
    assert_eq!((seen.len(), bench.names("?offset=9&limit=2").len()), (5, 0));
}

#[test]
fn an_unlimited_listing_is_cut_by_the_new_generation_only() {
    for (generation, expected) in [(Generation::Old, 3010), (Generation::New, 3000)] {
        let bench = Bench::new(generation, 3010);
        for query in ["?field=resourceName", "?field=resourceName&limit=0"] {
            assert_eq!(bench.names(query).len(), expected, "{generation:?} {query}");
        }
        assert_eq!(bench.names("?field=resourceName&limit=4000").len(), 3010);
    }
}

#[test]
fn a_projection_keeps_the_id_and_what_is_asked_for() {
    let bench = Bench::new(Generation::New, 1);
    let answer = bench.json(&format!("{PATH}?field=data.metadata.uid,data.spec.containers.image,namespace"));
    let mut document = answer["data"][0].clone();
    assert_eq!(document["_id"].take().as_str().map(str::len), Some(24));
    let data = json!({"metadata": {"uid": "u"}, "spec": {"containers": [{"image": "i"}]}});
    assert_eq!(document, json!({"_id": null, "namespace": "ns", "data": data}));
    assert_eq!(bench.json(&format!("{PATH}?field=data.spec,data"))["result"], false);
}

#[test]
fn further_conditions_narrow_a_listing() {
    let bench = Bench::new(Generation::Old, 3);
    let listed = |condition: Value| {
        use base64::Engine;
        let extra = base64::engine::general_purpose::STANDARD.encode(condition.to_string());
        bench.names(&format!("?extra={}", extra.replace('+', "%2B")))
    };
    assert_eq!(listed(json!({"resourceName": "p1"})), ["p1"]);
    assert_eq!(listed(json!({"data.spec.containers.name": "c", "namespace": "ns"})).len(), 3);
    assert!(listed(json!({"data.metadata.uid": "other"})).is_empty());
    assert_eq!(bench.json(&format!("{PATH}?extra=%25"))["result"], false);
}

#[test]
fn what_is_not_there_is_an_empty_success_or_a_refusal() {
    let bench = Bench::new(Generation::New, 1);
    for cluster in ["BCS-K8S-9", "a%2Fb"] {
        let path = format!("/bcsstorage/v1/k8s/dynamic/all_resources/clusters/{cluster}/Pod");
        assert_eq!(bench.json(&path)["data"], json!([]));
    }
    let one = |kind: &str, resource: &str, name: &str| {
        bench.json(&format!("/bcsstorage/v1/{kind}/dynamic/namespace_resources/clusters/{CLUSTER}/namespaces/ns/{resource}/{name}"))
    };
    assert_eq!(one("k8s", "Pod", "p0")["data"]["resourceName"], "p0");
    for (kind, resource, name) in [("k8s", "Pod", "p1"), ("mesos", "taskgroup", "p0"), ("k8s", "pod", "p0")] {
        let answer = one(kind, resource, name);
        assert!(answer["result"] == false && answer["data"].get("resourceName").is_none(), "{answer}");
    }
    assert_eq!(bench.get("/bcsstorage/v1/unknown").0, 404);
}

#[test]
fn a_watch_tells_adds_changes_and_deletes_as_its_generation_does() {
    for (generation, expected) in [(Generation::Old, vec![1, 3, 2]), (Generation::New, vec![1, 3, 2, 3])] {
        let still = Behaviour { reorder_within: Duration::ZERO, reread: false, ..Behaviour::of(generation) };
        let bench = Bench::with(Behaviour { subscription_delay: Duration::ZERO, ..still }, 0);
        let mut stream = bench.watch();
        bench.storage.put(CLUSTER, pod("a", "1")).unwrap();
        bench.storage.put(CLUSTER, pod("a", "2")).unwrap();
        assert!(bench.storage.delete(CLUSTER, "ns", "a"));
        let events = events(&mut stream, expected.len());
        assert_eq!(types(&events), expected);
        assert_eq!(events[1]["value"]["data"]["metadata"]["uid"], "2");
        assert!(events[1]["value"]["updateTime"].as_str().unwrap().ends_with('Z'));
        let deleted = events[2]["value"].as_object().unwrap();
        match generation {
            Generation::Old => assert_eq!(deleted.keys().collect::<Vec<_>>(), ["_id"]),
            Generation::New => {
                assert!(deleted.contains_key("data") && !deleted.contains_key("_isBcsObjectDeleted"));
                assert_eq!(events[3]["value"]["_isBcsObjectDeleted"], true);
            }
        }
    }
}

#[test]
fn a_soft_deleted_pod_is_neither_listed_nor_found_and_comes_back_under_its_id() {
    let bench = Bench::new(Generation::New, 1);
    let id = bench.json(PATH)["data"][0]["_id"].clone();
    bench.storage.delete(CLUSTER, "ns", "p0");
    assert!(bench.names("").is_empty());
    bench.storage.put(CLUSTER, pod("p0", "next")).unwrap();
    let again = bench.json(PATH)["data"][0].clone();
    assert_eq!((&again["_id"], &again["data"]["metadata"]["uid"]), (&id, &json!("next")));
}

#[test]
fn the_delete_of_a_pod_that_is_back_carries_the_living_one() {
    let behaviour = Behaviour { subscription_delay: Duration::ZERO, ..Behaviour::of(Generation::New) };
    // Near enough to be taken together, whatever the machine does meanwhile.
    let bench = Bench::with(Behaviour { reorder_within: Duration::from_secs(3), ..behaviour }, 1);
    let mut stream = bench.watch();
    bench.storage.delete(CLUSTER, "ns", "p0");
    bench.storage.put(CLUSTER, pod("p0", "living")).unwrap();
    let events = events(&mut stream, 3);
    let delete = events.iter().find(|event| event["type"] == 2).unwrap();
    assert_eq!(delete["value"]["data"]["metadata"]["uid"], "living");
    assert!(events.iter().all(|event| event["value"]["_isBcsObjectDeleted"] != true));
}

#[test]
fn what_happens_between_headers_and_subscription_is_lost() {
    // Long enough to come before it on a busy machine.
    let late = Behaviour { subscription_delay: Duration::from_secs(4), ..Behaviour::of(Generation::Old) };
    let bench = Bench::with(late, 0);
    let (_, mut stream) = bench.send(Method::Post, "/bcsstorage/v1/dynamic/watch/BCS-K8S-1/Pod", None);
    bench.storage.put(CLUSTER, pod("early", "1")).unwrap();
    bench.wait(|| bench.storage.counters().open_watches == 1);
    bench.storage.put(CLUSTER, pod("late", "1")).unwrap();
    assert_eq!(events(&mut stream, 1)[0]["value"]["resourceName"], "late");
}

#[test]
fn events_are_framed_by_a_newline_or_by_nothing() {
    for (generation, expected) in [(Generation::Old, "1\n2\n"), (Generation::New, "12")] {
        let bench = Bench::new(generation, 0);
        let mut stream = bench.watch();
        bench.storage.faults().raw_event(CLUSTER, "1");
        // Apart, so that their order is kept.
        let mut bytes = vec![0; expected.len() / 2];
        stream.read_exact(&mut bytes).unwrap();
        bench.storage.faults().raw_event(CLUSTER, "2");
        let mut rest = vec![0; expected.len() / 2];
        stream.read_exact(&mut rest).unwrap();
        bytes.append(&mut rest);
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}

#[test]
fn every_fault_answers_as_its_name_says_and_ends() {
    let bench = Bench::new(Generation::Old, 3);
    let faults = bench.storage.faults();
    let truth = bench.get(PATH).1;
    let cases: [(Fault, u16, &str); 6] = [
        (Fault::Refuse, 200, r#""data":[]"#),
        (Fault::Error500, 500, "internal error"),
        (Fault::Html, 200, "<html>"),
        (Fault::DataNull, 200, r#""data":null"#),
        (Fault::DataObject, 200, r#""data":{}"#),
        (Fault::Empty, 200, r#""result":true"#),
    ];
    for (fault, status, excerpt) in cases {
        faults.next(EVERY, Call::List, fault, 1);
        let (answered, body) = bench.get(PATH);
        let text = String::from_utf8(body).unwrap();
        assert!(answered == status && text.contains(excerpt), "{fault:?}: {answered} {text}");
    }
    faults.next(CLUSTER, Call::Any, Fault::Truncated, 1);
    assert_eq!(bench.get(PATH).1, truth[..truth.len() / 2]);
    faults.next("BCS-K8S-2", Call::List, Fault::Error500, 1);
    faults.next(CLUSTER, Call::Get, Fault::Error500, 1);
    assert_eq!(bench.get(PATH).1, truth);
}

#[test]
fn a_hanging_answer_never_ends_and_a_closed_one_breaks() {
    let bench = Bench::new(Generation::Old, 3);
    for fault in [Fault::Hang, Fault::Close] {
        bench.storage.faults().next(CLUSTER, Call::List, fault, 1);
        let (status, mut body) = bench.send(Method::Get, PATH, Some(Duration::from_secs(3)));
        assert_eq!(status, 200);
        assert!(body.read_to_end(&mut Vec::new()).is_err(), "{fault:?}");
    }
    bench.storage.faults().next(CLUSTER, Call::List, Fault::Delay(Duration::from_millis(300)), 1);
    let started = Instant::now();
    assert_eq!(bench.names("").len(), 3);
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_watch_can_be_refused_muted_robbed_and_ended() {
    let bench = Bench::new(Generation::Old, 0);
    let faults = bench.storage.faults();
    faults.next(CLUSTER, Call::Watch, Fault::Refuse, 1);
    let (_, mut refused) = bench.send(Method::Post, "/bcsstorage/v1/dynamic/watch/BCS-K8S-1/Pod", None);
    assert_eq!(events(&mut refused, 2), [json!({"type": -1, "value": null})]);

    let mut stream = bench.watch();
    faults.drop_events(CLUSTER, 1);
    bench.storage.put(CLUSTER, pod("dropped", "1")).unwrap();
    faults.mute(CLUSTER);
    bench.storage.put(CLUSTER, pod("muted", "1")).unwrap();
    faults.clear();
    bench.storage.put(CLUSTER, pod("told", "1")).unwrap();
    assert_eq!(events(&mut stream, 1)[0]["value"]["resourceName"], "told");
    faults.end_streams(CLUSTER, StreamEnd::Break);
    assert_eq!(types(&events(&mut stream, 2)), [-1]);

    let mut cut = bench.watch();
    faults.end_streams(EVERY, StreamEnd::Cut);
    assert!(cut.read(&mut [0]).is_err());
    bench.wait(|| bench.storage.counters().open_watches == 0);
}

#[test]
fn listings_can_hold_anything() {
    let bench = Bench::new(Generation::Old, 2);
    let faults = bench.storage.faults();
    faults.raw_document(CLUSTER, b"{\"_id\":\"\xff\"}".to_vec());
    let body = bench.get(PATH).1;
    assert!(String::from_utf8(body).is_err());
    faults.clear();
    faults.duplicate_documents(CLUSTER);
    faults.raw_document(CLUSTER, format!("{{\"filler\":\"{}\"}}", "x".repeat(5 << 20)));
    let (answer, page) = (bench.json(PATH), bench.json(&format!("{PATH}?offset=2&limit=2")));
    assert_eq!(answer["data"].as_array().map(Vec::len), Some(5));
    assert_eq!(page["data"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_client_that_left_is_forgotten() {
    let bench = Bench::new(Generation::New, 0);
    let stream = bench.watch();
    bench.client.shutdown();
    drop(stream);
    bench.wait(|| bench.storage.counters().open_watches == 0);
}

#[test]
fn a_stopped_storage_comes_back_on_its_port_with_its_pods() {
    let Bench { storage, server, client } = Bench::new(Generation::New, 4);
    let bench = Bench { storage: storage.clone(), server, client };
    let mut stream = bench.watch();
    let addr = bench.server.addr();
    let Bench { server, client, .. } = bench;
    let stopped = Instant::now();
    drop(server);
    assert!(stopped.elapsed() < PATIENCE);
    assert!(stream.read_to_end(&mut Vec::new()).is_err());
    let server = storage.serve(TcpListener::bind(addr).unwrap()).unwrap();
    let bench = Bench { storage, server, client };
    assert_eq!(bench.names("").len(), 4);
}

#[test]
fn counters_tell_what_was_asked() {
    let bench = Bench::new(Generation::Old, 3);
    bench.storage.add_cluster("BCS-K8S-2", ClusterKind::K8s, Generation::New);
    bench.names("?limit=2");
    bench.names("?limit=2&offset=2");
    bench.json(&PATH.replace("K8S-1", "K8S-2"));
    let counters = bench.storage.counters();
    assert_eq!((counters.list, counters.peak_listings), (3, 1));
}

#[test]
fn paas_cc_answers_over_http() {
    let paas = SimPaas::new();
    let clusters =
        vec![SimCluster { id: "BCS-K8S-1".into(), environment: "prod".into(), ..SimCluster::default() }];
    paas.set_projects(vec![SimProject { id: "p".into(), bk_biz_id: 2, offlined: false, clusters }]);
    let server = paas.serve(port()).unwrap();
    let client = Client::new(&Options::default());
    let ask = |path: &str| {
        let url = format!("{}{path}", server.url());
        let headers = &[("X-Bkapi-Authorization", "{}")];
        let body = Some(&b"{\"app_code\":\"a\"}"[..]);
        let timeout = Some(PATIENCE);
        let request = Request { method: Method::Get, url: &url, headers, body, timeout, idle_timeout: None };
        let mut response = client.send(&request).unwrap();
        let mut bytes = Vec::new();
        response.body.read_to_end(&mut bytes).unwrap();
        (response.status, response.location, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    };
    let (_, _, answer) = ask("/prod/projects/p/clusters/?desire_all_data=1");
    assert_eq!(answer["data"]["results"][0]["cluster_id"], "BCS-K8S-1");
    assert_eq!(paas.take_requests()[0].body, b"{\"app_code\":\"a\"}");
    paas.redirects(true);
    let (status, location, _) = ask("/prod/projects/p/clusters/?desire_all_data=1");
    assert_eq!((status, location.as_deref()), (301, Some("/prod/projects/p/clusters?desire_all_data=1")));
}

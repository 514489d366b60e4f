//! The inventory from a file and from paas-cc over real sockets (protocol.md 4): whatever a pull
//! meets, what was known stays known.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod peer;

use bcs_bkcmdb_synchronizer::config::{BaseUrl, Secret};
use bcs_bkcmdb_synchronizer::http::{self, Options, Outcome, RequestStats};
use bcs_bkcmdb_synchronizer::inventory::{FileSource, Inventory, PaasSettings, PaasSource, Source};
use bcs_bkcmdb_synchronizer::sandbox::paas::{PaasFault, SimCluster, SimPaas, SimProject};
use parking_lot::Mutex;
use peer::{Connection, Peer, Received};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> PaasSettings {
    PaasSettings {
        env: "prod".to_owned(),
        cluster_env: String::new(),
        app_code: "sync".to_owned(),
        app_secret: Secret::new("s3cret-app"),
        access_token: Secret::default(),
        timeout: 60 * SECOND,
    }
}

fn source_with(origin: &str, settings: PaasSettings) -> (PaasSource, Arc<RequestStats>) {
    let http = http::Client::new(&Options { idle_connections: 1, ..Options::default() });
    let base = BaseUrl { origin: origin.to_owned(), prefix: "/paas".to_owned() };
    let stats = Arc::new(RequestStats::default());
    (PaasSource::new(http, base, settings, stats.clone()), stats)
}

fn source(peer: &Peer) -> PaasSource {
    source_with(&peer.origin(), settings()).0
}

/// The clusters of a pull as `id=business`.
fn shown(inventory: &Inventory) -> String {
    let clusters = inventory.clusters.iter().map(|c| format!("{}={}", c.id, c.bk_biz_id));
    clusters.collect::<Vec<_>>().join(" ")
}

fn project(id: &str, biz: i64) -> Value {
    json!({"project_id": id, "name": "n", "cc_app_id": biz, "kind": 1, "is_offlined": false})
}

fn cluster(id: &str) -> Value {
    json!({"cluster_id": id, "environment": "prod", "type": "k8s", "status": "normal", "disabled": false})
}

fn paged(items: &[Value]) -> Value {
    json!({"count": items.len(), "results": items})
}

fn success(data: &Value) -> String {
    json!({"code": 0, "result": true, "message": "ok", "request_id": "r", "data": data}).to_string()
}

/// Status and body by path.
type Answers = HashMap<String, (u16, Vec<u8>)>;

/// A paas-cc whose answers, by path, a test can change between pulls.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Answers>>);

impl Script {
    /// Two projects with a cluster each, `A` of business 2 and `B` of business 3.
    fn new() -> Self {
        let script = Self::default();
        script.good("/projects/", &json!([project("p1", 2), project("p2", 3)]));
        script.good("/projects/p1/clusters/", &paged(&[cluster("A")]));
        script.good("/projects/p2/clusters/", &paged(&[cluster("B")]));
        script
    }

    fn good(&self, path: &str, data: &Value) {
        self.set(path, 200, success(data));
    }

    fn set(&self, path: &str, status: u16, body: impl Into<Vec<u8>>) {
        self.0.lock().insert(format!("/paas/prod{path}"), (status, body.into()));
    }

    fn peer(&self) -> Peer {
        let script = self.clone();
        Peer::answering(move |request: &Received| {
            let path = request.target.split('?').next().unwrap_or_default();
            script.0.lock().get(path).cloned().unwrap_or((404, b"no such page".to_vec()))
        })
    }
}

#[test]
fn a_pull_asks_for_everything_with_both_kinds_of_credentials() {
    let peer = Script::new().peer();
    let (mut source, stats) = source_with(&peer.origin(), settings());
    let inventory = source.pull().unwrap();
    assert_eq!((shown(&inventory).as_str(), inventory.complete), ("A=2 B=3", true));
    assert_eq!(inventory.problems, Vec::<String>::new());
    let targets: Vec<String> = peer.requests().iter().map(|r| r.target.clone()).collect();
    assert_eq!(
        targets,
        [
            "/paas/prod/projects/?desire_all_data=1",
            "/paas/prod/projects/p1/clusters/?desire_all_data=1",
            "/paas/prod/projects/p2/clusters/?desire_all_data=1",
        ]
    );
    for request in peer.requests() {
        let header: Value = serde_json::from_str(request.header("x-bkapi-authorization").unwrap()).unwrap();
        assert_eq!(header, json!({"bk_app_code": "sync", "bk_app_secret": "s3cret-app"}));
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body, json!({"app_code": "sync", "app_secret": "s3cret-app"}));
    }
    let stats = stats.snapshot();
    assert_eq!((stats["projects"].count(Outcome::Ok), stats["clusters"].count(Outcome::Ok)), (1, 2));
}

#[test]
fn an_access_token_is_sent_instead_and_no_environment_is_no_segment() {
    let peer = Peer::answering(|_| (200, success(&json!([]))));
    let token = PaasSettings { env: String::new(), access_token: Secret::new("t0ken"), ..settings() };
    source_with(&peer.origin(), token).0.pull().unwrap();
    let request = peer.requests().remove(0);
    assert_eq!(request.target, "/paas/projects/?desire_all_data=1");
    assert_eq!(request.header("x-bkapi-authorization"), Some(r#"{"access_token":"t0ken"}"#));
    assert!(request.body.is_empty());
}

#[test]
fn what_is_left_out_on_purpose_is_no_problem() {
    let script = Script::new();
    let mut offlined = project("p3", 4);
    offlined["is_offlined"] = json!(true);
    script.good("/projects/", &paged(&[project("p1", 2), project("p0", 0), offlined]));
    let (mut disabled, mut staging, mut untyped) = (cluster("D"), cluster("S"), cluster("BCS-MESOS-1"));
    disabled["disabled"] = json!(true);
    staging["environment"] = json!("stag");
    untyped.as_object_mut().unwrap().remove("type");
    script.good("/projects/p1/clusters/", &paged(&[cluster("A"), disabled, staging, untyped]));
    let peer = script.peer();
    let prod = PaasSettings { cluster_env: "prod".to_owned(), ..settings() };
    let inventory = source_with(&peer.origin(), prod).0.pull().unwrap();
    assert_eq!(shown(&inventory), "A=2 BCS-MESOS-1=2");
    assert_eq!(inventory.clusters[1].kind.as_str(), "mesos");
    assert!(inventory.complete && inventory.problems.is_empty(), "{:?}", inventory.problems);
    assert_eq!(peer.requests().len(), 2, "projects that do not concern us are not asked about");
}

#[test]
fn lists_cut_into_pages_are_read_to_their_end() {
    // 45 projects and 23 clusters, at most 20 and 10 at once, whatever is asked for.
    let peer = Peer::answering(|request: &Received| {
        let (path, query) = request.target.split_once('?').unwrap();
        let offset = query.split('&').find_map(|part| part.strip_prefix("offset=")).unwrap_or("0");
        let (all, cap): (Vec<Value>, usize) = match path {
            "/paas/prod/projects/" => ((0..45).map(|i| project(&format!("p{i:02}"), 2)).collect(), 20),
            "/paas/prod/projects/p07/clusters/" => ((0..23).map(|i| cluster(&format!("C{i}"))).collect(), 10),
            _ => (Vec::new(), 1),
        };
        let page: Vec<&Value> = all.iter().skip(offset.parse().unwrap()).take(cap).collect();
        let results = if page.is_empty() { Value::Null } else { json!(page) };
        (200, success(&json!({"count": all.len(), "results": results})))
    });
    let inventory = source(&peer).pull().unwrap();
    assert!(inventory.complete, "{:?}", inventory.problems);
    assert_eq!(inventory.clusters.len(), 23);
    let pages = peer.requests().iter().filter(|r| r.target.contains("/projects/?")).count();
    assert_eq!(pages, 3);
    assert!(peer.requests().iter().any(|r| r.target.ends_with("/projects/?limit=100&offset=40")));
}

#[test]
fn a_list_that_stays_cut_is_no_list() {
    let script = Script::new();
    let peer = script.peer();
    let mut source = source(&peer);
    source.pull().unwrap();
    for cut in [json!({"count": 7, "results": [cluster("X")]}), json!({"count": 7, "results": null})] {
        script.good("/projects/p1/clusters/", &cut);
        let before = peer.requests().len();
        let inventory = source.pull().unwrap();
        assert!(peer.requests().len() - before <= 4, "it is not asked for ever");
        assert_eq!((shown(&inventory).as_str(), inventory.complete), ("A=2 B=3", false));
        assert!(inventory.problems[0].contains("cut short"), "{:?}", inventory.problems);
    }
}

#[test]
fn an_element_that_one_whole_answer_repeats_is_listed_once() {
    // `count` is that of the rows, of the distinct ones, or says that there are more.
    for (count, complete) in [(3, true), (2, true), (4, false)] {
        let script = Script::new();
        let peer = script.peer();
        let rows = [cluster("A"), cluster("C"), cluster("A")];
        script.good("/projects/p1/clusters/", &json!({"count": count, "results": rows}));
        let inventory = source(&peer).pull().unwrap();
        assert_eq!(inventory.complete, complete, "{count}: {:?}", inventory.problems);
        let found = if complete { "A=2 B=3 C=2" } else { "B=3" };
        assert_eq!(shown(&inventory), found, "{count}");
    }
}

#[test]
fn pages_that_shift_and_repeat_one_element_for_another_are_no_whole_list() {
    let peer = Peer::answering(|request: &Received| {
        let data = match request.target.split_once('?').unwrap() {
            ("/paas/prod/projects/", _) => paged(&[project("p1", 2)]),
            (_, query) if query.contains("offset=") => json!({"count": 3, "results": [cluster("A")]}),
            _ => json!({"count": 3, "results": [cluster("A"), cluster("B")]}),
        };
        (200, success(&data))
    });
    let error = source(&peer).pull().unwrap_err();
    assert!(error.to_string().contains("cut short"), "{error}");
}

/// Answers that are none: status, body, and what the problem must say.
fn bad_answers() -> Vec<(u16, Vec<u8>, &'static str)> {
    vec![
        (500, b"oops s3cret-app".to_vec(), "HTTP 500"),
        (502, format!("{}s3cret-app", "x".repeat(295)).into(), "HTTP 502"),
        (403, b"{\"message\":\"bad s3cret-app\"}".to_vec(), "HTTP 403"),
        (200, b"<html>login</html>".to_vec(), "something else"),
        (200, Vec::new(), "something else"),
        (200, b"{\"code\":0,\"result\":true,\"data\":[{\"proj".to_vec(), "something else"),
        (200, b"{\"code\":0,\"result\":true,\"data\":7}".to_vec(), "something else"),
        (200, b"{\"code\":0,\"result\":true,\"data\":null}".to_vec(), "something else"),
        (200, b"{\"code\":0,\"data\":[\"\xff\"]}".to_vec(), "something else"),
        (200, b"{\"code\":0,\"result\":true,\"data\":[7]}".to_vec(), "not a "),
        (
            200,
            b"{\"code\":2001400,\"result\":false,\"message\":\"s3cret-app?\",\"data\":[]}".to_vec(),
            "2001400",
        ),
    ]
}

#[test]
fn a_bad_answer_changes_nothing_and_is_named() {
    for path in ["/projects/", "/projects/p1/clusters/"] {
        for (status, body, problem) in bad_answers() {
            let case = format!("{path} {status} {}", String::from_utf8_lossy(&body));
            let script = Script::new();
            let peer = script.peer();
            let mut source = source(&peer);
            assert!(source.pull().unwrap().complete);
            script.set(path, status, body);
            let inventory = source.pull().unwrap();
            assert_eq!((shown(&inventory).as_str(), inventory.complete), ("A=2 B=3", false), "{case}");
            assert!(inventory.problems[0].contains(problem), "{case}: {:?}", inventory.problems);
            assert!(!inventory.problems[0].contains("s3cret"), "{case}: {:?}", inventory.problems);
        }
    }
}

#[test]
fn a_first_pull_without_any_answer_is_an_error_and_a_partial_one_is_not() {
    let script = Script::new();
    script.set("/projects/", 502, "");
    let peer = script.peer();
    let mut source = source(&peer);
    assert!(source.pull().unwrap_err().to_string().contains("HTTP 502"));
    script.good("/projects/", &json!([project("p1", 2), project("p2", 3)]));
    script.set("/projects/p1/clusters/", 500, "");
    script.set("/projects/p2/clusters/", 500, "");
    assert!(source.pull().unwrap_err().to_string().contains("HTTP 500"));
    script.good("/projects/p2/clusters/", &paged(&[cluster("B")]));
    let inventory = source.pull().unwrap();
    assert_eq!((shown(&inventory).as_str(), inventory.complete), ("B=3", false));
}

#[test]
fn what_answers_is_taken_while_what_fails_keeps_its_last_answer() {
    let script = Script::new();
    let peer = script.peer();
    let mut source = source(&peer);
    source.pull().unwrap();
    script.set("/projects/p1/clusters/", 500, "");
    script.good("/projects/p2/clusters/", &paged(&[cluster("C")]));
    assert_eq!(shown(&source.pull().unwrap()), "A=2 C=3");
    script.good("/projects/", &json!([project("p2", 3)]));
    let inventory = source.pull().unwrap();
    assert_eq!((shown(&inventory).as_str(), inventory.complete), ("C=3", true), "p1 is gone by its own list");
}

#[test]
fn odd_ids_and_double_claims_are_named_and_cost_only_themselves() {
    let script = Script::new();
    script.good("/projects/", &json!([project("p1", 2), project("p2", 3), project("../../etc", 4)]));
    script.good("/projects/p1/clusters/", &paged(&[cluster("A"), cluster("a/../b"), cluster("a b")]));
    script.good("/projects/p2/clusters/", &paged(&[cluster("B"), cluster("A")]));
    let peer = script.peer();
    let inventory = source(&peer).pull().unwrap();
    assert_eq!((shown(&inventory).as_str(), inventory.complete), ("A=2 B=3", true));
    assert_eq!(inventory.problems.len(), 4, "{:?}", inventory.problems);
    assert!(peer.requests().iter().all(|r| !r.target.contains("etc")));
}

/// A peer that redirects the path with a slash to `location`, and serves the one without.
fn redirecting(location: &'static str) -> Peer {
    Peer::start(move |mut connection: Connection| {
        while let Some(request) = connection.request() {
            if request.target.starts_with("/paas/prod/projects?") {
                connection.answer(200, success(&json!([])));
            } else {
                let head = format!("HTTP/1.1 301 X\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
                connection.write(head.as_bytes());
            }
        }
    })
}

#[test]
fn one_redirect_on_the_same_host_is_followed_with_everything() {
    let peer = redirecting("/paas/prod/projects?desire_all_data=1");
    assert!(source(&peer).pull().unwrap().complete);
    let requests = peer.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!((requests[1].method.as_str(), &requests[1].body), ("GET", &requests[0].body));
    assert_eq!(requests[1].header("x-bkapi-authorization"), requests[0].header("x-bkapi-authorization"));

    let looping = redirecting("/paas/prod/projects/?desire_all_data=1");
    assert!(source(&looping).pull().unwrap_err().to_string().contains("HTTP 301"));
    assert_eq!(looping.requests().len(), 2);
}

#[test]
fn the_simulated_paas_cc_is_read_whole_with_all_its_traps() {
    let paas = SimPaas::new();
    let clusters = |project: usize| {
        let id = |i: usize| format!("BCS-K8S-{project}{i:02}");
        (0..30)
            .map(|i| SimCluster { id: id(i), environment: "prod".to_owned(), ..SimCluster::default() })
            .collect()
    };
    let project = |n: usize| SimProject {
        id: format!("p{n}"),
        bk_biz_id: 2,
        clusters: clusters(n),
        ..SimProject::default()
    };
    paas.set_projects((1..=3).map(project).collect());
    paas.always_paged(true);
    paas.redirects(true);
    paas.fail_clusters("p1", Some(PaasFault::Short));
    let server = paas.serve(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    let http = http::Client::new(&Options::default());
    let base = BaseUrl { origin: server.url(), prefix: String::new() };
    let mut source = PaasSource::new(http, base, settings(), Arc::new(RequestStats::default()));
    let inventory = source.pull().unwrap();
    assert_eq!((inventory.clusters.len(), inventory.complete), (60, false), "{:?}", inventory.problems);
    paas.fail_clusters("p1", None);
    let inventory = source.pull().unwrap();
    assert_eq!((inventory.clusters.len(), inventory.complete), (90, true), "{:?}", inventory.problems);
}

#[test]
fn credentials_never_go_to_another_host() {
    let elsewhere = Peer::answering(|_| (200, success(&json!([]))));
    let location: &'static str = Box::leak(format!("{}/paas/projects", elsewhere.origin()).into_boxed_str());
    let peer = redirecting(location);
    let error = source(&peer).pull().unwrap_err().to_string();
    assert!(error.contains("set paas_addr"), "{error}");
    assert_eq!(elsewhere.accepted(), 0);
}

#[test]
fn nobody_there_and_no_answer_in_time_are_errors_of_the_connection() {
    let (mut refused, _) = source_with(&format!("http://{}", peer::nobody()), settings());
    assert!(refused.pull().unwrap_err().to_string().contains("cannot connect"));
    let peer = Peer::start(|mut connection: Connection| {
        connection.request();
        connection.wait_for_end();
    });
    let quick = PaasSettings { timeout: SECOND, ..settings() };
    let (mut silent, stats) = source_with(&peer.origin(), quick);
    assert!(silent.pull().unwrap_err().to_string().contains("no answer"));
    assert_eq!(stats.snapshot()["projects"].count(Outcome::Timeout), 1);
}

#[test]
fn a_dead_paas_cc_does_not_cost_one_timeout_per_project() {
    let projects: Vec<Value> = (0..50).map(|i| project(&format!("p{i:02}"), 2)).collect();
    let peer = Peer::start(move |mut connection: Connection| {
        while let Some(request) = connection.request() {
            if request.target.contains("/clusters/") {
                return;
            }
            connection.answer(200, success(&json!(projects)));
        }
    });
    assert!(source(&peer).pull().is_err());
    let asked = peer.requests().iter().filter(|r| r.target.contains("/clusters/")).count();
    assert_eq!(asked, 3);
}

#[test]
fn a_huge_answer_is_not_read_to_its_end() {
    let peer = Peer::start(|mut connection: Connection| {
        let block = vec![b' '; 1 << 20];
        connection.request();
        connection.begin_stream();
        while connection.chunk(&block) {}
    });
    let patient = PaasSettings { timeout: 60 * SECOND, ..settings() };
    let error = source_with(&peer.origin(), patient).0.pull().unwrap_err().to_string();
    assert!(error.contains("longer than 67108864 bytes"), "{error}");
}

#[test]
fn a_changed_file_counts_at_the_next_pull_and_a_broken_one_keeps_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tasks.json");
    let mut source = FileSource::new(&path);
    assert!(source.pull().unwrap_err().to_string().contains("cannot be read"));
    let entry = |id: &str| format!(r#"{{"projectid":"p","clusterid":"{id}","bk_biz_id":2}}"#);
    std::fs::write(&path, format!("[{}]", entry("A"))).unwrap();
    assert_eq!(shown(&source.pull().unwrap()), "A=2");
    std::fs::write(&path, format!("[{},{},{}]", entry("B"), entry("A"), entry("B"))).unwrap();
    let inventory = source.pull().unwrap();
    assert_eq!((shown(&inventory).as_str(), inventory.complete), ("A=2 B=2", true));
    assert!(inventory.problems[0].contains("cluster B is listed"), "{:?}", inventory.problems);

    let half = format!("[{},", entry("A"));
    for broken in [half.as_bytes(), b"", b"[7]", b"[\"\xff\"]", b"[{\"clusterid\":\"A\"}]"] {
        std::fs::write(&path, broken).unwrap();
        let inventory = source.pull().unwrap();
        assert_eq!((shown(&inventory).as_str(), inventory.complete), ("A=2 B=2", false));
        assert!(inventory.problems[0].contains("tasks.json"), "{:?}", inventory.problems);
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(shown(&source.pull().unwrap()), "A=2 B=2");
    std::fs::write(&path, "[]").unwrap();
    let inventory = source.pull().unwrap();
    assert!(inventory.complete && inventory.clusters.is_empty());
}

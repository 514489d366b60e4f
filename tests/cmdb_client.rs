//! The CMDB client over real sockets: what it sends, and what every kind of answer means for the
//! caller (protocol.md 2 and 3).

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod peer;

use bcs_bkcmdb_synchronizer::cmdb::{Client, CmdbError, Scope, Settings, TopologyCache};
use bcs_bkcmdb_synchronizer::config::BaseUrl;
use bcs_bkcmdb_synchronizer::http::{self, Options, Outcome, RequestStats};
use bcs_bkcmdb_synchronizer::model::{Fence, Field, NoFence, Permit, PodRecord};
use parking_lot::Mutex;
use peer::{Connection, Peer, Received};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// A bound that no test that passes meets.
const NEVER: Duration = Duration::from_secs(120);
const CLUSTER: &str = "BCS-K8S-00001";

fn settings() -> Settings {
    Settings { user: "sync".to_owned(), supplier: "0".to_owned(), qps: 0, timeout: NEVER, page_size: 3 }
}

fn client_with(origin: &str, settings: Settings) -> (Client, Arc<RequestStats>) {
    let http = http::Client::new(&Options { idle_connections: 4, ..Options::default() });
    let base = BaseUrl { origin: origin.to_owned(), prefix: "/api/v3".to_owned() };
    let stats = Arc::new(RequestStats::default());
    (Client::new(http, base, settings, stats.clone()), stats)
}

fn client(peer: &Peer) -> Client {
    client_with(&peer.origin(), settings()).0
}

const SCOPE: Scope<'_> = Scope { biz: 2, cluster: CLUSTER, fence: &NoFence };

fn pod(uuid: &str) -> PodRecord {
    let mut record = PodRecord::default();
    record.uuid = uuid.to_owned();
    record.namespace = "default".to_owned();
    record.name = format!("name-of-{uuid}");
    record.module_id = 41;
    record.set_text(Field::Status, "Running");
    record
}

fn success(data: &Value) -> String {
    json!({"result": true, "bk_error_code": 0, "bk_error_msg": "success", "permission": null, "data": data})
        .to_string()
}

fn refusal(code: i64, message: &str) -> String {
    json!({"result": false, "bk_error_code": code, "bk_error_msg": message, "data": null}).to_string()
}

fn body(request: &Received) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

#[test]
fn every_call_is_the_agreed_request() {
    let peer = Peer::answering(|request: &Received| {
        let data = match request.target.split('/').nth(3) {
            Some("delete") => json!({"deleted_count": 1}),
            Some("createmany") => json!({"created": [], "repeated": null, "exception": null}),
            Some("find") => json!([]),
            Some("findmany") => json!({"count": 0, "info": []}),
            _ => json!({"updated_count": 1}),
        };
        (200, success(&data))
    });
    let cmdb = client(&peer);
    let (a, b) = (pod("a"), pod("b"));
    cmdb.create(&SCOPE, &a).unwrap();
    assert_eq!(cmdb.create_many(&SCOPE, &[&a, &b]).unwrap().len(), 2);
    cmdb.update(&SCOPE, "a", &a, &[Field::Status, Field::PodIp]).unwrap();
    assert_eq!(cmdb.delete(&SCOPE, "a").unwrap(), 1);
    cmdb.list_page(2, CLUSTER, 17, &mut |_| ()).unwrap();
    assert_eq!(cmdb.find_by_uuid(2, "a").unwrap(), None);
    assert_eq!(cmdb.find_by_name(2, CLUSTER, "default", "web").unwrap(), None);
    assert!(cmdb.topology(2).unwrap().is_empty());

    let requests = peer.requests();
    let lines: Vec<String> = requests.iter().map(|r| format!("{} {}", r.method, r.target)).collect();
    assert_eq!(
        lines,
        [
            "POST /api/v3/create/container/bk_biz_id/2/pod",
            "POST /api/v3/createmany/container/bk_biz_id/2/pod",
            "PUT /api/v3/update/container/bk_biz_id/2/pod",
            "DELETE /api/v3/delete/container/bk_biz_id/2/pod",
            "POST /api/v3/findmany/container/bk_biz_id/2/pod",
            "POST /api/v3/findmany/container/bk_biz_id/2/pod",
            "POST /api/v3/findmany/container/bk_biz_id/2/pod",
            "POST /api/v3/find/topoinst_with_statistics/biz/2",
        ]
    );
    for request in &requests {
        assert_eq!(request.header("bk_user"), Some("sync"));
        assert_eq!(request.header("http_blueking_supplier_id"), Some("0"));
        assert_eq!(request.header("http_bk_supplier_account"), Some("0"));
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.header("x-bkcmdb-fence"), None);
    }
    assert_eq!(peer.accepted(), 1, "one kept connection serves them all");
    assert_eq!(body(&requests[0])["pod"]["bk_pod_name"], "name-of-a");
    assert_eq!(body(&requests[1])["pod_list"][1]["bk_pod_uuid"], "b");
    let condition = json!({"bk_pod_uuid": "a", "bk_pod_cluster": CLUSTER});
    let data = json!({"bk_pod_status": "Running", "bk_pod_ip": null});
    assert_eq!(body(&requests[2]), json!({"condition": condition, "data": data}));
    assert_eq!(body(&requests[3]), json!({ "condition": condition }));
    assert_eq!(body(&requests[4])["pod_property_filter"]["rules"][1]["value"], 17);
    assert_eq!(body(&requests[4])["page"], json!({"start": 0, "limit": 3, "sort": "bk_pod_id"}));
}

/// The variant of an error, by which a caller acts.
fn class<T>(result: Result<T, CmdbError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(CmdbError::Unreachable(_)) => "unreachable",
        Err(CmdbError::Ambiguous(_)) => "ambiguous",
        Err(CmdbError::Later { .. }) => "later",
        Err(CmdbError::Refused { .. }) => "refused",
        Err(CmdbError::Duplicate { .. }) => "duplicate",
        Err(CmdbError::NotFound) => "not found",
        Err(CmdbError::Fenced(_)) => "fenced",
    }
}

/// What each write and each read makes of a peer.
fn check(case: &str, peer: &Peer, timeout: Duration, write: &str, read: &str) {
    let (cmdb, _) = client_with(&peer.origin(), Settings { timeout, ..settings() });
    let record = pod("a");
    assert_eq!(class(cmdb.create(&SCOPE, &record)), write, "create: {case}");
    assert_eq!(class(cmdb.create_many(&SCOPE, &[&record])), write, "create_many: {case}");
    assert_eq!(class(cmdb.update(&SCOPE, "a", &record, &[Field::Status])), write, "update: {case}");
    assert_eq!(class(cmdb.delete(&SCOPE, "a")), write, "delete: {case}");
    let mut seen = 0;
    let mut count = |_| seen += 1;
    assert_eq!(class(cmdb.list_page(2, CLUSTER, 0, &mut count)), read, "list: {case}");
    assert_eq!(seen, 0, "a page that fails hands nothing over: {case}");
    assert_eq!(class(cmdb.find_by_uuid(2, "a")), read, "find_by_uuid: {case}");
    assert_eq!(class(cmdb.find_by_name(2, CLUSTER, "n", "a")), read, "find_by_name: {case}");
    assert_eq!(class(cmdb.topology(2)), read, "topology: {case}");
}

#[test]
fn an_answer_nobody_can_read_leaves_a_write_in_doubt_and_a_read_undone() {
    let list = r#"{"result":true,"bk_error_code":0,"data":{"count":1,"info":[{"bk_pod_id":1,"bk_pod_cl"#;
    let cases: [(&str, u16, Vec<u8>); 8] = [
        ("HTTP 500", 500, b"oops".to_vec()),
        ("bad gateway", 502, b"<html>502</html>".to_vec()),
        ("HTML", 200, b"<html>please log in</html>".to_vec()),
        ("nothing", 200, Vec::new()),
        ("truncated JSON", 200, list.into()),
        ("wrong types", 200, br#"{"result":"yes","bk_error_code":"0","data":7}"#.to_vec()),
        ("invalid UTF-8", 200, b"{\"result\":true,\"bk_error_code\":0,\"data\":\"\xff\xfe\"}".to_vec()),
        ("contradiction", 200, br#"{"result":true,"bk_error_code":1,"data":{}}"#.to_vec()),
    ];
    for (case, status, answer) in cases {
        let peer = Peer::answering(move |_| (status, answer.clone()));
        check(case, &peer, NEVER, "ambiguous", "later");
    }
}

#[test]
fn data_of_another_shape_is_no_success() {
    for data in [json!(null), json!(7), json!({}), json!({"info": [[]]}), json!("x")] {
        let answer = success(&data);
        let peer = Peer::answering(move |_| (200, answer.clone()));
        let cmdb = client(&peer);
        let record = pod("a");
        assert_eq!(class(cmdb.create_many(&SCOPE, &[&record])), "ambiguous", "{data}");
        assert_eq!(class(cmdb.delete(&SCOPE, "a")), "ambiguous", "{data}");
        assert_eq!(class(cmdb.list_page(2, CLUSTER, 0, &mut |_| ())), "later", "{data}");
        assert_eq!(class(cmdb.find_by_uuid(2, "a")), "later", "{data}");
        assert_eq!(class(cmdb.topology(2)), "later", "{data}");
    }
}

#[test]
fn what_stands_in_front_and_says_no_did_not_pass_the_write_on() {
    for (status, answer) in [(403, r#"{"code":1,"result":false}"#), (404, "<html>"), (413, "")] {
        let peer = Peer::answering(move |_| (status, answer));
        check(&status.to_string(), &peer, NEVER, "later", "later");
    }
    let elsewhere = Peer::answering(|_| (200, success(&json!({}))));
    let location = elsewhere.origin();
    let peer = Peer::start(move |mut connection| {
        while connection.request().is_some() {
            let head = format!("HTTP/1.1 302 Found\r\nlocation: {location}/\r\ncontent-length: 0\r\n\r\n");
            connection.write(head.as_bytes());
        }
    });
    check("redirect", &peer, NEVER, "later", "later");
    assert_eq!(elsewhere.accepted(), 0, "no credentials to another host");
}

#[test]
fn a_silent_or_broken_peer_leaves_a_write_in_doubt() {
    let peer = Peer::start(|mut connection: Connection| {
        connection.request();
        connection.wait_for_end();
    });
    // Long enough for a busy machine to connect within it.
    check("silence", &peer, SECOND, "ambiguous", "unreachable");
    let peer = Peer::start(|mut connection: Connection| {
        connection.request();
    });
    check("hang-up", &peer, NEVER, "ambiguous", "unreachable");
    let peer = Peer::start(|mut connection: Connection| {
        connection.request();
        connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"result\":true,");
    });
    check("body cut off", &peer, NEVER, "ambiguous", "unreachable");
}

#[test]
fn a_refused_connection_wrote_nothing() {
    let (cmdb, stats) = client_with(&format!("http://{}", peer::nobody()), settings());
    assert_eq!(class(cmdb.create(&SCOPE, &pod("a"))), "unreachable");
    assert_eq!(class(cmdb.list_page(2, CLUSTER, 0, &mut |_| ())), "unreachable");
    assert_eq!(stats.snapshot()["create"].count(Outcome::Error), 1);
}

#[test]
fn an_endless_answer_is_not_read_to_its_end() {
    let peer = Peer::start(|mut connection: Connection| {
        let block = vec![b' '; 1 << 20];
        connection.request();
        connection.begin_stream();
        while connection.chunk(&block) {}
    });
    let (cmdb, _) = client_with(&peer.origin(), Settings { timeout: 60 * SECOND, ..settings() });
    let error = cmdb.list_page(2, CLUSTER, 0, &mut |_| ()).unwrap_err();
    assert!(error.to_string().contains("longer than 67108864 bytes"), "{error}");
}

#[test]
fn a_refusal_is_sorted_by_its_code_and_counted() {
    let peer = Peer::answering(|request: &Received| {
        let uuid = body(request)["pod"]["bk_pod_uuid"].as_str().unwrap_or_default().to_owned();
        let code = uuid.parse().unwrap();
        let status = if code == 1118499 { 409 } else { 200 };
        (status, refusal(code, "field bk_pod_annotations: bk_pod_name is not right"))
    });
    let (cmdb, stats) = client_with(&peer.origin(), settings());
    let create = |code: i64| cmdb.create(&SCOPE, &pod(&code.to_string()));
    for (code, expected) in [
        (1199014, "duplicate"),
        (1199019, "not found"),
        (1118499, "fenced"),
        (1199020, "later"),
        (9900403, "later"),
    ] {
        assert_eq!(class(create(code)), expected, "{code}");
    }
    let Err(CmdbError::Refused { code, field, message }) = create(1199016) else { panic!("not refused") };
    assert_eq!((code, field), (1199016, Some(Field::Annotations)));
    assert!(message.contains("is not right"));
    let counted = &stats.snapshot()["create"];
    assert_eq!((counted.count(Outcome::Refused), counted.count(Outcome::Error)), (4, 2));
}

#[test]
fn create_many_tells_the_outcome_of_each_record() {
    let peer = Peer::answering(|_| {
        let exception = json!([
            {"message": "bk_pod_labels", "code": 1199016, "data": {}, "origin_index": 2},
            {"message": "dup", "code": 1199014, "data": null, "origin_index": 0}]);
        (200, success(&json!({"created": [{"origin_index": 0, "id": 5}], "exception": exception})))
    });
    let records = [pod("a"), pod("b"), pod("c")];
    let records: Vec<&PodRecord> = records.iter().collect();
    let outcomes = client(&peer).create_many(&SCOPE, &records).unwrap();
    let classes: Vec<&str> = outcomes.into_iter().map(class).collect();
    assert_eq!(classes, ["duplicate", "ok", "refused"]);
    assert!(client(&peer).create_many(&SCOPE, &[]).unwrap().is_empty());
    assert_eq!(peer.requests().len(), 1, "an empty list is not sent: the CMDB refuses it");
    assert_eq!(class(client(&peer).create_many(&SCOPE, &records[..2])), "ambiguous", "an index out of range");
}

#[test]
fn a_listing_walks_by_id_although_the_front_end_caps_its_pages() {
    // Seven records, pages of at most two although three are asked for.
    let peer = Peer::answering(|request: &Received| {
        let after = body(request)["pod_property_filter"]["rules"][1]["value"].as_i64().unwrap();
        let rest: Vec<i64> = (1..=7).map(|id| id * 10).filter(|id| *id > after).collect();
        let record = |id: &i64| {
            let uuid = if *id == 30 { Value::Null } else { json!(format!("u{id}")) };
            json!({"bk_pod_id": id, "bk_biz_id": "2", "bk_pod_cluster": CLUSTER, "bk_pod_uuid": uuid,
                "bk_module_id": "41", "bk_pod_name": 7, "bk_pod_ip": null, "bk_supplier_account": "0"})
        };
        let info: Vec<Value> = rest.iter().take(2).map(record).collect();
        (200, success(&json!({"count": rest.len(), "info": info})))
    });
    let cmdb = client(&peer);
    let (mut found, mut unusable, mut next) = (Vec::new(), 0, Some(0));
    while let Some(after) = next {
        let page = cmdb.list_page(2, CLUSTER, after, &mut |stored| found.push(stored)).unwrap();
        unusable += page.unusable.count;
        next = page.next;
    }
    assert_eq!(found.iter().map(|s| s.pod_id).collect::<Vec<_>>(), [10, 20, 40, 50, 60, 70]);
    assert_eq!(unusable, 1);
    assert_eq!(peer.requests().len(), 4);
    let first = &found[0];
    assert_eq!((first.biz, first.cluster.as_str()), (2, CLUSTER));
    assert_eq!((first.record.uuid.as_str(), first.record.name.as_str()), ("u10", "7"));
    assert_eq!((first.record.module_id, first.record.text(Field::PodIp)), (41, ""));
}

#[test]
fn a_search_finds_the_holder_of_a_uuid_or_a_name() {
    let peer = Peer::answering(|_| {
        let holder = json!({"bk_pod_id": 9, "bk_pod_cluster": "BCS-K8S-2", "bk_pod_uuid": "a",
            "bk_pod_namespace": "ns", "bk_pod_name": "web"});
        (200, success(&json!({"count": 1, "info": [holder]})))
    });
    let cmdb = client(&peer);
    let holder = cmdb.find_by_uuid(3, "a").unwrap().unwrap();
    assert_eq!((holder.biz, holder.cluster.as_str()), (3, "BCS-K8S-2"));
    assert_eq!(cmdb.find_by_name(3, "BCS-K8S-2", "ns", "web").unwrap(), Some(holder));
    assert_eq!(class(cmdb.find_by_uuid(3, "b")), "later", "a filter that is ignored finds nobody");
}

/// A fence under the test's control.
struct TestFence(Mutex<Result<Permit, String>>);

impl TestFence {
    fn open(remaining: Option<Duration>) -> Self {
        let header = Some(format!("{CLUSTER}:77"));
        Self(Mutex::new(Ok(Permit { remaining, header, ..Permit::default() })))
    }

    fn scope(&self) -> Scope<'_> {
        Scope { biz: 2, cluster: CLUSTER, fence: self }
    }
}

impl Fence for TestFence {
    fn permit(&self) -> Result<Permit, String> {
        self.0.lock().clone()
    }
}

#[test]
fn a_write_asks_the_fence_and_carries_its_number() {
    let peer = Peer::answering(|_| (200, success(&json!({"deleted_count": 1}))));
    let cmdb = client(&peer);
    let fence = TestFence::open(None);
    cmdb.delete(&fence.scope(), "a").unwrap();
    assert_eq!(peer.requests()[0].header("x-bkcmdb-fence"), Some("BCS-K8S-00001:77"));
    for down in
        [Err("no lease".to_owned()), Ok(Permit { remaining: Some(Duration::ZERO), ..Permit::default() })]
    {
        *fence.0.lock() = down;
        assert_eq!(class(cmdb.delete(&fence.scope(), "a")), "fenced");
    }
    assert_eq!(peer.requests().len(), 1, "nothing is sent while the fence is down");
}

#[test]
fn no_byte_leaves_after_the_permission_ended_whatever_the_timeout_says() {
    let peer = Peer::answering(|_| (200, success(&json!({"deleted_count": 1}))));
    let cmdb = client(&peer);
    let fence = TestFence::open(None);
    if let Ok(permit) = &mut *fence.0.lock() {
        // One nanosecond after boot is long over; the time that is left does not say so.
        permit.remaining = Some(Duration::from_secs(30));
        permit.until = Some(Duration::from_nanos(1));
    }
    assert_eq!(class(cmdb.delete(&fence.scope(), "a")), "ambiguous");
    assert_eq!(peer.requests().len(), 0);
}

#[test]
fn a_write_waits_no_longer_than_the_lease_lasts() {
    let peer = Peer::start(|mut connection: Connection| {
        connection.request();
        connection.wait_for_end();
    });
    let fence = TestFence::open(Some(SECOND));
    let (cmdb, stats) = client_with(&peer.origin(), Settings { timeout: 3600 * SECOND, ..settings() });
    assert_eq!(class(cmdb.delete(&fence.scope(), "a")), "ambiguous");
    assert_eq!(stats.snapshot()["delete"].count(Outcome::Timeout), 1);
}

#[test]
fn requests_keep_to_the_limit_and_a_waiting_write_sees_the_fence_fall() {
    let peer = Peer::answering(|_| (200, success(&json!({"deleted_count": 1}))));
    let (cmdb, _) = client_with(&peer.origin(), Settings { qps: 20, ..settings() });
    let started = Instant::now();
    for _ in 0..6 {
        cmdb.delete(&SCOPE, "a").unwrap();
    }
    // Two at once, then one each 50 ms.
    assert!(started.elapsed() >= Duration::from_millis(190), "{:?}", started.elapsed());

    let (slow, _) = client_with(&peer.origin(), Settings { qps: 1, ..settings() });
    let fence = TestFence::open(None);
    slow.delete(&fence.scope(), "a").unwrap();
    let sent = peer.requests().len();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| class(slow.delete(&fence.scope(), "a")));
        *fence.0.lock() = Err("lost".to_owned());
        assert_eq!(waiting.join().unwrap(), "fenced");
    });
    assert_eq!(peer.requests().len(), sent);
}

#[test]
fn a_condition_that_could_fit_others_is_never_sent() {
    let peer = Peer::answering(|_| (200, success(&json!({"deleted_count": 1000}))));
    let cmdb = client(&peer);
    assert_eq!(class(cmdb.delete(&SCOPE, "")), "refused");
    assert_eq!(class(cmdb.update(&Scope { cluster: "", ..SCOPE }, "a", &pod("a"), &Field::ALL)), "refused");
    assert!(peer.requests().is_empty());
}

#[test]
fn the_topology_is_fetched_once_for_all_who_need_it() {
    let peer = Peer::answering(|_| {
        let module = json!({"bk_obj_id": "module", "bk_inst_id": 41, "bk_inst_name": "bkbcs", "child": null});
        let set = json!({"bk_obj_id": "set", "bk_inst_id": 11, "bk_inst_name": "bkbcs", "child": [module]});
        let level = json!({"bk_obj_id": "region", "bk_inst_id": 5, "bk_inst_name": "eu", "child": [set]});
        (200, success(&json!([{"bk_obj_id": "biz", "bk_inst_id": 2, "child": [level]}])))
    });
    let cache = TopologyCache::new(client(&peer));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let modules = cache.get(2, 3600 * SECOND).unwrap();
                assert_eq!(modules.id("bkbcs", "bkbcs"), Some(41));
            });
        }
    });
    assert_eq!(peer.requests().len(), 1);
}

//! The calls of protocol.md 2 over real HTTP: what each does, and what it refuses. The rules of single
//! fields are in `container_rules.rs`.

#![allow(clippy::unwrap_used)] // All of it is test.

mod container;

use bcs_bkcmdb_synchronizer::http::Method;
use container::{Server, pod, pod_with};
use serde_json::{Value, json};

/// Whether an answer carries a code and names what it is about.
fn check(answer: &Value, code: i64, names: &str) {
    assert_eq!(answer["bk_error_code"], code, "{answer}");
    assert_eq!(answer["result"], code == 0, "{answer}");
    assert_eq!(answer["permission"], Value::Null, "{answer}");
    assert!(answer["bk_error_msg"].as_str().unwrap().contains(names), "{answer} does not name {names}");
}

fn by_uuid(uuid: &str) -> Value {
    json!({"bk_pod_uuid": uuid})
}

fn rule(field: &str, operator: &str, value: Value) -> Value {
    let rules = json!([{"field": field, "operator": operator, "value": value}]);
    json!({"pod_property_filter": {"condition": "AND", "rules": rules}})
}

#[test]
fn create_checks_come_in_the_order_of_the_protocol() {
    let server = Server::start(json!({}));
    let mut record = pod_with("a", json!({"bk_module_id": "x", "bk_pod_uuid": "", "bk_pod_ip": "x"}));
    for (field, value, code) in [
        ("bk_module_id", json!(99), 1118401),
        ("bk_module_id", json!(41), 1118401),
        ("bk_pod_uuid", json!("uid-taken"), 1199010),
        ("bk_pod_ip", json!(""), 1199016),
        ("bk_pod_name", json!("b"), 0),
    ] {
        check(&server.caller.create(2, &record), code, "");
        record[field] = value;
    }
    record["bk_pod_name"] = json!("c");
    check(&server.caller.create(2, &record), 1199014, "bk_pod_uuid");
}

#[test]
fn both_unique_rules_hold_across_businesses_and_not_across_accounts() {
    let server = Server::start(json!({}));
    check(&server.caller.create(2, &pod("a")), 0, "");
    let other = json!({"bk_module_id": 51});
    let same_uuid = pod_with("b", json!({"bk_module_id": 51, "bk_pod_uuid": "uid-a"}));
    check(&server.caller.create(3, &same_uuid), 1199014, "bk_pod_uuid");
    let same_name = pod_with("a", json!({"bk_module_id": 51, "bk_pod_uuid": "uid-b"}));
    check(&server.caller.create(3, &same_name), 1199014, "bk_pod_name, bk_pod_namespace, bk_pod_cluster");
    check(&server.caller.create(3, &pod_with("a", other)), 1199014, "bk_pod_uuid");
    let second = server.caller.with("HTTP_BK_SUPPLIER_ACCOUNT", Some("1"));
    check(&second.create(2, &pod("a")), 0, "");
    assert_eq!(second.delete(2, by_uuid("uid-a"))["data"]["deleted_count"], 1);
    assert_eq!(server.caller.find(2, "uid-a")["bk_supplier_account"], "0");
    assert_eq!(second.find(2, "uid-a"), Value::Null);
}

#[test]
fn a_record_comes_back_as_it_was_checked() {
    let server = Server::start(json!({}));
    let record = pod_with(
        "a",
        json!({"bk_pod_status": "  Running\n", "bk_pod_ip": "", "bk_pod_labels": null, "colour": "red",
               "bk_biz_id": 3, "bk_pod_id": 999, "create_time": "never"}),
    );
    let answer = server.caller.create(2, &record);
    let id = answer["data"]["created"]["id"].as_i64().unwrap();
    assert_eq!(answer["data"], json!({"created": {"origin_index": 0, "id": id}}));
    let stored = server.caller.find(2, "uid-a");
    assert_eq!(stored.as_object().unwrap().len(), 25);
    for (field, value) in [
        ("bk_pod_id", json!(id)),
        ("bk_biz_id", json!(2)),
        ("bk_pod_status", json!("Running")),
        ("bk_pod_ip", Value::Null),
        ("bk_pod_labels", Value::Null),
        ("bk_supplier_account", json!("0")),
    ] {
        assert_eq!(stored[field], value, "{field}");
    }
    assert_eq!(stored["create_time"], stored["last_time"]);
}

#[test]
fn create_many_is_partial_and_says_which_item_failed() {
    let server = Server::start(json!({}));
    let items = [
        pod("a"),
        pod_with("b", json!({"bk_pod_ip": "x"})),
        pod("a"),
        json!("text"),
        pod_with("c", json!({"bk_module_id": null})),
        pod("d"),
    ];
    let answer = server.caller.create_many(2, &items);
    check(&answer, 0, "success");
    let failed: Vec<_> = answer["data"]["exception"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            assert_eq!(item["data"], items[item["origin_index"].as_u64().unwrap() as usize]);
            (item["origin_index"].as_i64().unwrap(), item["code"].as_i64().unwrap())
        })
        .collect();
    assert_eq!(failed, [(1, 1199016), (2, 1199014), (3, 1199006), (4, 1118401)]);
    let created = answer["data"]["created"].as_array().unwrap();
    assert_eq!(created.iter().map(|item| item["origin_index"].as_i64().unwrap()).collect::<Vec<_>>(), [0, 5]);
    assert_eq!(server.caller.names(2, json!({})), ["a", "d"]);
}

#[test]
fn an_unknown_module_fails_a_whole_create_many() {
    let server = Server::start(json!({}));
    let answer = server.caller.create_many(2, &[pod("a"), pod_with("b", json!({"bk_module_id": 51}))]);
    check(&answer, 1118402, "bk_module_id 51");
    check(&server.caller.create_many(2, &[]), 1199008, "pod_list");
    check(&server.caller.create_many(77, &[pod("a")]), 1118402, "business 77");
    assert!(server.caller.names(2, json!({})).is_empty());
}

#[test]
fn an_update_changes_what_may_change_and_nothing_else() {
    let server = Server::start(json!({}));
    server.caller.create(2, &pod_with("a", json!({"bk_pod_status": "Pending", "bk_pod_ip": "10.1.1.1"})));
    let data = json!({"bk_pod_status": " Running ", "bk_pod_ip": null, "bk_module_id": 42, "bk_pod_name": "z",
        "bk_pod_uuid": "z", "bk_pod_workloadtype": "z", "bk_pod_clustertype": "z", "bk_biz_id": 3, "colour": "red",
        "bk_pod_create_time": "2024-01-01 00:00:00"});
    let answer = server.caller.update(2, by_uuid(" uid-a "), data);
    assert_eq!(answer["data"], json!({"updated_count": 1}), "{answer}");
    let stored = server.caller.find(2, "uid-a");
    let wanted = pod_with(
        "a",
        json!({"bk_pod_status": "Running", "bk_pod_ip": null, "bk_module_id": 42, "bk_biz_id": 2,
        "bk_pod_clustertype": null, "bk_pod_create_time": null}),
    );
    for (field, value) in wanted.as_object().unwrap() {
        assert_eq!(stored[field], *value, "{field}");
    }
    let by_name =
        json!({"bk_pod_name": "a", "bk_pod_namespace": "default", "bk_pod_cluster": "BCS-K8S-00001"});
    let id = json!({"bk_pod_id": stored["bk_pod_id"]});
    let inst = json!({"bk_inst_id": stored["bk_pod_id"], "bk_pod_cluster": "BCS-K8S-00001"});
    for condition in [by_name, id, inst] {
        check(&server.caller.update(2, condition, json!({"bk_pod_status": "Failed"})), 0, "");
    }
}

#[test]
fn updates_and_deletes_of_wrong_form_are_refused() {
    let server = Server::start(json!({}));
    server.caller.create(2, &pod("a"));
    let good = json!({"bk_pod_status": "Running"});
    let uuid = by_uuid("uid-a");
    for (condition, data, code, names) in [
        (by_uuid("nobody"), good.clone(), 1199019, ""),
        (json!({"bk_pod_uuid": "uid-a", "bk_pod_cluster": "other"}), good.clone(), 1199019, ""),
        (json!({"bk_pod_uuid": "uid-a", "colour": "red"}), good.clone(), 1199019, ""),
        (json!({"bk_pod_cluster": "BCS-K8S-00001"}), good.clone(), 1118403, "bk_pod_uuid"),
        (json!({}), good.clone(), 1118403, ""),
        (json!(null), good.clone(), 1199008, "condition"),
        (json!([]), good.clone(), 1199006, "condition"),
        (json!({"bk_pod_uuid": 5}), good.clone(), 1199007, "bk_pod_uuid"),
        (json!({"bk_pod_uuid": {"$ne": ""}}), good.clone(), 1199006, "bk_pod_uuid"),
        (json!({"bk_pod_uuid": ["uid-a"]}), good.clone(), 1199006, "bk_pod_uuid"),
        (json!({"bk_pod_id": "1"}), good.clone(), 1199009, "bk_pod_id"),
        (json!({"bk_pod_uuid": "uid-a", "$where": "1"}), good.clone(), 1199006, "$where"),
        (uuid.clone(), json!(null), 1199008, "data"),
        (uuid.clone(), json!("x"), 1199006, "data"),
        (uuid.clone(), json!({"bk_module_id": 51}), 1118401, "bk_module_id"),
        (uuid.clone(), json!({"bk_module_id": "42"}), 1199009, "bk_module_id"),
        (uuid.clone(), json!({"bk_cloud_id": null}), 1199010, "bk_cloud_id"),
        (uuid.clone(), json!({"bk_pod_ip": "x"}), 1199016, "bk_pod_ip"),
        (uuid.clone(), json!({"bk_pod_start_time": "x"}), 1199006, "bk_pod_start_time"),
        (uuid, json!({"bk_pod_labels": {}}), 1199007, "bk_pod_labels"),
    ] {
        check(&server.caller.update(2, condition.clone(), data), code, names);
        // A delete has the same conditions; that nothing meets one is no error there.
        if code != 1199019 && !condition.get("bk_pod_uuid").is_some_and(|uuid| uuid == "uid-a") {
            check(&server.caller.delete(2, condition), code, names);
        }
    }
    let stored = server.caller.find(2, "uid-a");
    assert_eq!(stored["bk_pod_status"], Value::Null);
    assert_eq!(stored["create_time"], stored["last_time"]);
}

#[test]
fn nothing_outside_the_business_of_the_path_is_touched_or_shown() {
    let server = Server::start(json!({}));
    server.caller.create(2, &pod("a"));
    check(&server.caller.update(3, by_uuid("uid-a"), json!({"bk_pod_status": "x"})), 1199019, "");
    for condition in
        [by_uuid("uid-a"), json!({"bk_pod_uuid": "uid-a", "bk_biz_id": 2}), json!({"bk_pod_id": 1})]
    {
        assert_eq!(server.caller.delete(3, condition)["data"]["deleted_count"], 0);
    }
    let or = json!({"condition": "OR", "rules": [
        {"field": "bk_biz_id", "operator": "equal", "value": 2},
        {"field": "bk_pod_name", "operator": "exist", "value": true}]});
    assert!(server.caller.names(3, json!({"bk_biz_id": 2, "pod_property_filter": or})).is_empty());
    assert!(server.caller.names(3, json!({"bk_module_ids": [41]})).is_empty());
    assert!(server.caller.names(3, json!({"bk_set_ids": [11]})).is_empty());
    assert_eq!(server.caller.names(2, json!({})), ["a"]);
}

#[test]
fn deleting_twice_succeeds_twice() {
    let server = Server::start(json!({}));
    server.caller.create(2, &pod("a"));
    for wanted in [1, 0] {
        let answer = server.caller.delete(2, by_uuid("uid-a"));
        check(&answer, 0, "success");
        assert_eq!(answer["data"], json!({"deleted_count": wanted}));
    }
    let first = server.caller.create(2, &pod("a"))["data"]["created"]["id"].clone();
    assert_ne!(first, json!(1), "an instance id is never used again");
}

#[test]
fn lists_filter_sort_project_and_page() {
    let server = Server::start(json!({}));
    let pods: Vec<_> = (0..7)
        .map(|n| pod_with(&format!("p{n}"), json!({"bk_module_id": 41 + n % 3, "bk_cloud_id": n % 2})))
        .collect();
    assert_eq!(server.caller.create_many(2, &pods)["data"]["exception"], json!([]));
    for (body, wanted) in [
        (json!({}), "p0 p1 p2 p3 p4 p5 p6"),
        (json!({"page": {"limit": 0}}), "p0 p1 p2 p3 p4 p5 p6"),
        (json!({"page": {"start": 2, "limit": 3}}), "p2 p3 p4"),
        (json!({"page": {"start": 100, "limit": 3}}), ""),
        (json!({"page": {"start": 5}}), "p5 p6"),
        (json!({"page": {"sort": "-bk_pod_id", "limit": 2}}), "p6 p5"),
        (json!({"page": {"sort": "bk_cloud_id,-bk_pod_name"}}), "p6 p4 p2 p0 p5 p3 p1"),
        (json!({"bk_module_ids": [42]}), "p1 p4"),
        (json!({"bk_set_ids": [12]}), "p1 p2 p4 p5"),
        (json!({"bk_set_ids": [12], "bk_module_ids": [41]}), "p1 p2 p4 p5"),
        (json!({"bk_set_ids": [99], "bk_module_ids": [41]}), ""),
        (rule("bk_pod_name", "in", json!(["p1", "p6", "x"])), "p1 p6"),
        (rule("bk_pod_id", "greater", json!(5)), "p5 p6"),
        (rule("bk_pod_name", "equal", json!("' OR 1=1 --")), ""),
    ] {
        assert_eq!(server.caller.names(2, body.clone()).join(" "), wanted, "{body}");
    }
    let mut body = rule("bk_module_id", "equal", json!(41));
    body["page"] = json!({"limit": 1});
    body["fields"] = json!(["bk_pod_name", "bk_pod_id", "colour"]);
    let answer = server.caller.list(2, body);
    assert_eq!(answer["data"], json!({"count": 3, "info": [{"bk_pod_id": 1, "bk_pod_name": "p0"}]}));
}

#[test]
fn hostile_names_in_a_list_are_refused() {
    let server = Server::start(json!({}));
    server.caller.create(2, &pod("a"));
    for hostile in ["1;DROP TABLE pod", "bk_pod_id)--", "\"", "_id", "$ne", "a b", "é", "sqlite_master\0"] {
        let message =
            if hostile.contains('"') || hostile.contains('\0') { "is not a field name" } else { hostile };
        check(&server.caller.list(2, rule(hostile, "equal", json!("x"))), 1199006, message);
        check(
            &server.caller.list(2, json!({"page": {"sort": format!("bk_pod_id,-{hostile}")}})),
            1199006,
            message,
        );
        check(&server.caller.list(2, json!({"fields": [hostile]})), 1199006, message);
        check(&server.caller.list(2, rule("bk_pod_name", hostile, json!("x"))), 1199006, "operator");
    }
    assert_eq!(server.caller.names(2, json!({})), ["a"]);
}

#[test]
fn paging_by_instance_id_skips_nothing_while_deletes_run() {
    let server = Server::start(json!({}));
    let pods: Vec<_> = (0..50).map(|n| pod(&format!("p{n}"))).collect();
    server.caller.create_many(2, &pods);
    let (mut last, mut seen) = (0, Vec::new());
    loop {
        let mut body = rule("bk_pod_id", "greater", json!(last));
        body["page"] = json!({"limit": 7, "sort": "bk_pod_id"});
        let answer = server.caller.list(2, body);
        let info = answer["data"]["info"].as_array().unwrap();
        let Some(end) = info.last() else { break };
        last = end["bk_pod_id"].as_i64().unwrap();
        seen.extend(info.iter().map(|pod| pod["bk_pod_name"].as_str().unwrap().to_owned()));
        for pod in info {
            server.caller.delete(2, by_uuid(pod["bk_pod_uuid"].as_str().unwrap()));
        }
    }
    assert_eq!(seen, (0..50).map(|n| format!("p{n}")).collect::<Vec<_>>());
}

#[test]
fn missing_headers_and_unknown_users_are_turned_away() {
    let server = Server::start(json!({"users": ["admin"]}));
    for name in ["BK_User", "HTTP_BLUEKING_SUPPLIER_ID", "HTTP_BK_SUPPLIER_ACCOUNT"] {
        for value in [None, Some(" ")] {
            let caller = server.caller.with(name, value);
            let (status, body) =
                caller.raw(Method::Post, "/api/v3/findmany/container/bk_biz_id/2/pod", b"{}").unwrap();
            assert_eq!(status, 500);
            check(&serde_json::from_slice(&body).unwrap(), 1199027, name);
        }
    }
    check(&server.caller.with("BK_User", Some("eve")).list(2, json!({})), 9900403, "eve");
    check(&server.caller.list(2, json!({})), 0, "");
}

#[test]
fn paths_methods_and_bodies_that_lead_nowhere_are_answered() {
    let server = Server::start(json!({}));
    let list = "/container/v3/findmany/container/bk_biz_id/2/pod";
    let deep = format!("{{\"a\":{}", "[".repeat(1 << 20));
    for (method, path, body, status, code) in [
        (Method::Post, list, "{", 200, 1199000),
        (Method::Post, list, "", 200, 1199000),
        (Method::Post, list, "[]", 200, 1199000),
        (Method::Post, list, deep.as_str(), 200, 1199000),
        (Method::Get, list, "", 405, 1199006),
        (Method::Post, "/nothing", "{}", 404, 1199006),
        (Method::Post, "/container/v3/findmany/container/bk_biz_id/x/pod", "{}", 200, 1199013),
        (Method::Post, "/container/v3/findmany/container/bk_biz_id/-2/pod", "{}", 200, 1199013),
        (Method::Post, "/container/v3/findmany/container/bk_biz_id//pod", "{}", 200, 1199013),
        (
            Method::Post,
            "/container/v3/findmany/container/bk_biz_id/99999999999999999999/pod",
            "{}",
            200,
            1199013,
        ),
        (Method::Post, list, "{}", 200, 0),
    ] {
        let (got, answer) = server.caller.raw(method, path, body.as_bytes()).unwrap();
        assert_eq!(got, status, "{path}");
        check(&serde_json::from_slice(&answer).unwrap(), code, "");
    }
}

#[test]
fn a_fenced_out_writer_is_refused_also_after_a_restart() {
    let server = Server::start(json!({}));
    let fenced = |server: &Server, number: i64| {
        server.caller.with("X-Bkcmdb-Fence", Some(&format!("BCS-K8S-00001:{number}")))
    };
    check(&fenced(&server, 7).create(2, &pod("a")), 0, "");
    check(&fenced(&server, 9).create(2, &pod("b")), 0, "");
    check(&fenced(&server, 7).delete(2, by_uuid("uid-a")), 1118499, "fence 9");
    check(&fenced(&server, 7).update(2, by_uuid("uid-a"), json!({"bk_pod_status": "x"})), 1118499, "");
    check(&fenced(&server, 7).create_many(2, &[pod("c")]), 1118499, "");
    let other = server.caller.with("X-Bkcmdb-Fence", Some("BCS-K8S-00002:1"));
    check(&other.create(2, &pod("d")), 0, "");
    let Server { directory, server: running, .. } = server;
    running.unwrap().stop();
    let server = Server::start_in(directory, json!({}));
    let body = json!({"condition": by_uuid("uid-a")}).to_string();
    let delete = "/api/v3/delete/container/bk_biz_id/2/pod";
    let (status, answer) = fenced(&server, 8).raw(Method::Delete, delete, body.as_bytes()).unwrap();
    assert_eq!(status, 409);
    check(&serde_json::from_slice(&answer).unwrap(), 1118499, "BCS-K8S-00001");
    check(&fenced(&server, 9).delete(2, by_uuid("uid-a")), 0, "");
    assert_eq!(server.caller.names(2, json!({})), ["b", "d"]);
}

#[test]
fn a_fence_counts_in_writes_that_are_refused_for_another_reason_too() {
    let server = Server::start(json!({}));
    let fenced = |number: i64| server.caller.with("X-Bkcmdb-Fence", Some(&format!("BCS-K8S-00001:{number}")));
    let bad = pod_with("a", json!({"bk_pod_ip": "x"}));
    // Whatever the reason, the number has been seen.
    check(&fenced(2).create(2, &bad), 1199016, "bk_pod_ip");
    check(&fenced(1).create(2, &pod("a")), 1118499, "fence 2");
    check(&fenced(3).create_many(2, std::slice::from_ref(&bad)), 0, "");
    check(&fenced(2).create(2, &pod("a")), 1118499, "fence 3");
    check(&fenced(4).update(2, json!({}), json!({})), 1118403, "");
    check(&fenced(3).create(2, &pod("a")), 1118499, "fence 4");
    check(&fenced(5).create(2, &pod_with("a", json!({"bk_module_id": 51}))), 1118401, "");
    // And whoever is fenced out is told that and nothing else.
    check(&fenced(4).create(2, &bad), 1118499, "fence 5");
    check(&fenced(4).create_many(2, &[bad]), 1118499, "fence 5");
    check(&fenced(4).delete(2, json!({})), 1118499, "fence 5");
    check(&fenced(5).create(2, &pod("a")), 0, "");
    // A list writes nothing.
    check(&server.caller.with("X-Bkcmdb-Fence", Some("nonsense")).list(2, json!({})), 0, "");
}

#[test]
fn a_fence_from_the_future_locks_nobody_out() {
    let server = Server::start(json!({}));
    let fenced = |number: i64| server.caller.with("X-Bkcmdb-Fence", Some(&format!("BCS-K8S-00001:{number}")));
    let now = jiff::Timestamp::now().as_second();
    // The number of a writer whose ZooKeeper is a year old, as `coordination` makes it.
    let real = ((now - 365 * 86_400) << 32) + 17;
    check(&fenced(real).create(2, &pod("a")), 0, "");
    for number in [i64::MAX, (now + 2 * 86_400) << 32] {
        check(&fenced(number).create(2, &pod("b")), 1118499, "ahead of the clock");
        check(&fenced(number).create(2, &json!({})), 1118499, "ahead of the clock");
        check(&fenced(number).delete(2, by_uuid("uid-a")), 1118499, "ahead of the clock");
    }
    check(&fenced(real).create(2, &pod("b")), 0, "");
    check(&fenced(real - 1).create(2, &pod("c")), 1118499, "no longer in force");
    // Clocks may differ a little.
    check(&fenced((now + 3600) << 32).create(2, &pod("c")), 0, "");
    let (_, page) = server.metrics.raw(Method::Get, "/metrics", b"").unwrap();
    let page = String::from_utf8(page).unwrap();
    for line in [
        "bkcmdb_container_fences_refused_total{reason=\"old\"} 1",
        "bkcmdb_container_fences_refused_total{reason=\"future\"} 6",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
    }
}

#[test]
fn the_topology_is_served_and_read_again_when_its_file_changes() {
    let server = Server::start(json!({}));
    let tree = || server.caller.call(Method::Post, "/find/topoinst_with_statistics/biz/2", &json!({}));
    let root = &tree()["data"][0];
    assert_eq!((&root["bk_obj_id"], &root["bk_inst_id"]), (&json!("biz"), &json!(2)));
    let module = json!({"bk_inst_id": 41, "bk_inst_name": "module-41", "bk_obj_id": "module", "default": 0, "child": null});
    assert_eq!(root["child"][0]["child"][0], module);
    check(
        &server.caller.call(Method::Post, "/find/topoinst_with_statistics/biz/9", &json!({})),
        1199019,
        "9",
    );
    let path = server.directory.path().join("topology.json");
    let changed = container::topology().to_string().replace("41", "1041");
    std::fs::write(&path, changed).unwrap();
    check(&server.caller.create(2, &pod("a")), 1118401, "41");
    check(&server.caller.create(2, &pod_with("a", json!({"bk_module_id": 1041}))), 0, "");
    std::fs::write(&path, "{").unwrap();
    check(&server.caller.create(2, &pod_with("b", json!({"bk_module_id": 1041}))), 0, "");
    let (status, health) = server.caller.raw(Method::Get, "/healthz", b"").unwrap();
    assert_eq!(status, 200);
    assert!(String::from_utf8(health).unwrap().contains("topology_file"));
}

#[test]
fn the_topology_can_come_from_another_cmdb() {
    let cmdb = Server::start(json!({}));
    let directory = tempfile::tempdir().unwrap();
    let config = json!({"port": 0, "metric_port": 0, "cmdb_addr": cmdb.caller.base,
        "database": directory.path().join("a.db")});
    let config =
        bcs_bkcmdb_synchronizer::config::ContainerServerConfig::from_json(&config.to_string()).unwrap();
    let bind = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server =
        bcs_bkcmdb_synchronizer::container_server::ContainerServer::start(&config, bind(), bind()).unwrap();
    let caller = container::Caller::new(format!("http://{}", server.addr()));
    check(&caller.create(2, &pod("a")), 0, "");
    check(&caller.create(2, &pod_with("b", json!({"bk_module_id": 51}))), 1118401, "51");
    check(&caller.create(9, &pod("c")), 1118402, "business 9");
    drop(cmdb);
    check(&caller.create(2, &pod("d")), 0, "");
    check(&caller.create(3, &pod_with("e", json!({"bk_module_id": 51}))), 1118402, "business 3");
}

#[test]
fn health_is_good_on_a_good_database() {
    let server = Server::start(json!({}));
    let bare = server.caller.with("BK_User", None);
    let (status, body) = bare.raw(Method::Get, "/healthz", b"").unwrap();
    assert_eq!(
        (status, serde_json::from_slice::<Value>(&body).unwrap()),
        (200, json!({"ok": true, "problems": []}))
    );
    let (status, _) = bare.raw(Method::Post, "/healthz", b"{}").unwrap();
    assert_eq!(status, 405);
}

#[test]
fn a_database_that_cannot_be_written_or_read_shows_as_503_until_it_can() {
    let server = Server::start(json!({}));
    let health = || {
        let (status, body) = server.caller.raw(Method::Get, "/healthz", b"").unwrap();
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let other = rusqlite::Connection::open(server.directory.path().join("records.db")).unwrap();
    for (table, code) in [("heartbeat", "1199020"), ("pod", "1199017")] {
        other.execute_batch(&format!("ALTER TABLE {table} RENAME TO away")).unwrap();
        let (status, answer) = health();
        let problem = answer["problems"][0].as_str().unwrap();
        assert!(status == 503 && answer["ok"] == false && problem.contains(code), "{status} {answer}");
        other.execute_batch(&format!("ALTER TABLE away RENAME TO {table}")).unwrap();
        assert_eq!(health(), (200, json!({"ok": true, "problems": []})));
    }
}

#[test]
fn the_openapi_document_names_every_path_and_resolves_its_references() {
    let server = Server::start(json!({}));
    let bare = server.caller.with("BK_User", None);
    let (status, body) = bare.raw(Method::Get, "/openapi.json", b"").unwrap();
    let document: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 2 * 7 + 1);
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let method = match method.as_str() {
                "get" => Method::Get,
                "post" => Method::Post,
                "put" => Method::Put,
                _ => Method::Delete,
            };
            // Every path exists with that method, and answers what the document says it answers.
            let (status, answer) =
                server.caller.raw(method, &path.replace("{bk_biz_id}", "2"), b"{}").unwrap();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!(status, 200, "{path}");
            assert!(path == "/healthz" || answer["bk_error_code"].is_i64(), "{path} {answer}");
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
}

/// The names an object of the document describes.
fn described(document: &Value, schema: &Value) -> Vec<String> {
    let schema = schema["$ref"].as_str().map_or(schema, |path| document.pointer(&path[1..]).unwrap());
    schema["properties"].as_object().unwrap().keys().cloned().collect()
}

fn keys(value: &Value) -> Vec<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_openapi_document_describes_what_each_call_answers() {
    let server = Server::start(json!({}));
    let (_, document) = server.caller.raw(Method::Get, "/openapi.json", b"").unwrap();
    let document: Value = serde_json::from_slice(&document).unwrap();
    // The data of a call that succeeds.
    let data = |method: &str, path: &str| {
        let path = format!("/api/v3{}", path.replace("/2", "/{bk_biz_id}"));
        let answer = &document["paths"][path][method]["responses"]["200"]["content"]["application/json"];
        answer["schema"]["oneOf"][0]["properties"]["data"].clone()
    };
    let (uuid, pods) = (json!({"bk_pod_uuid": "uid-a"}), [pod("a"), pod("b"), pod("a")]);
    let created = server.caller.create(2, &pods[0])["data"].clone();
    let many = server.caller.create_many(2, &pods)["data"].clone();
    let listed = server.caller.list(2, json!({}))["data"].clone();
    let updated = server.caller.update(2, uuid.clone(), json!({}))["data"].clone();
    let deleted = server.caller.delete(2, uuid)["data"].clone();
    let feed = server.caller.call(Method::Get, "/watch/pods?since=0", &json!({}))["data"].clone();
    let tree =
        server.caller.call(Method::Post, "/find/topoinst_with_statistics/biz/2", &json!({}))["data"].clone();
    let call = |name: &str| format!("/{name}/container/bk_biz_id/2/pod");
    for (method, path, answer) in [
        ("post", call("create"), &created),
        ("post", call("createmany"), &many),
        ("put", call("update"), &updated),
        ("delete", call("delete"), &deleted),
        ("post", call("findmany"), &listed),
        ("get", "/watch/pods".to_owned(), &feed),
    ] {
        assert_eq!(described(&document, &data(method, &path)), keys(answer), "{path}");
    }
    let parts =
        |method: &str, path: &str, part: &str| data(method, path)["properties"][part]["items"].clone();
    let exception = parts("post", &call("createmany"), "exception");
    assert_eq!(described(&document, &exception), keys(&many["exception"][0]));
    assert_eq!(described(&document, &parts("post", &call("findmany"), "info")), keys(&listed["info"][0]));
    assert_eq!(described(&document, &parts("get", "/watch/pods", "changes")), keys(&feed["changes"][0]));
    let node = data("post", "/find/topoinst_with_statistics/biz/2")["items"].clone();
    assert_eq!(described(&document, &node), keys(&tree[0]));
}

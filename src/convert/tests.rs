//! Each row of protocol.md 8, for both kinds.

use serde_json::{Value, json};

use super::*;

fn settings() -> Settings {
    Settings {
        cloud_id: 3,
        time_zone: TimeZone::get("Asia/Shanghai").unwrap(),
        text_limit: 0,
        default_set: "bkbcs".into(),
        default_module: "bkbcs".into(),
    }
}

fn modules() -> Modules {
    let mut modules = Modules::default();
    modules.insert("bkbcs", "bkbcs", 41);
    modules.insert("game", "login", 42);
    modules
}

fn document(kind: ClusterKind, data: Value) -> Value {
    json!({"_id": "5f0c1f0e8d3b4a0001a1b2c3", "clusterId": "BCS-1", "namespace": "ns", "resourceName": "pod-0",
           "resourceType": kind.resource_type(), "createTime": "2020-07-13 08:12:30", "data": data})
}

fn convert(kind: ClusterKind, document: &Value) -> Result<Observation, InvalidDocument> {
    Converter::new(kind, settings()).document(document.to_string().as_bytes(), &modules())
}

fn observe(kind: ClusterKind, data: Value) -> ObservedPod {
    match convert(kind, &document(kind, data)) {
        Ok(Observation::Pod(pod)) => *pod,
        other => panic!("{other:?}"),
    }
}

/// Lays `part` over a small pod of `kind` and checks one field.
fn check(kind: ClusterKind, part: Value, field: Field, expected: &str) {
    let mut data = match kind {
        ClusterKind::K8s => json!({"metadata": {"name": "pod-0", "namespace": "ns", "uid": "u-1"}}),
        ClusterKind::Mesos => json!({"metadata": {"name": "0.nginx.ns.10000.1", "namespace": "ns"}}),
    };
    lay_over(&mut data, part.clone());
    assert_eq!(observe(kind, data).record.text(field), expected, "{} of {part}", field.name());
}

fn lay_over(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                lay_over(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}

fn k8s(part: Value, field: Field, expected: &str) {
    check(ClusterKind::K8s, part, field, expected);
}

fn mesos(part: Value, field: Field, expected: &str) {
    check(ClusterKind::Mesos, part, field, expected);
}

#[test]
fn identity_cloud_and_module_of_a_pod() {
    let annotations =
        json!({"set.bkcmdb.bkbcs.tencent.com": "game", "module.bkcmdb.bkbcs.tencent.com": "login"});
    let metadata = json!({"name": "pod-0", "namespace": "ns", "uid": " u-1 ", "resourceVersion": "577",
                          "annotations": annotations});
    let pod = observe(ClusterKind::K8s, json!({"metadata": metadata}));
    assert_eq!(pod.storage_id, "5f0c1f0e8d3b4a0001a1b2c3");
    assert_eq!(pod.version, Some(577));
    assert_eq!((pod.record.uuid.as_str(), pod.record.name.as_str()), ("u-1", "pod-0"));
    assert_eq!((pod.record.namespace.as_str(), pod.record.cloud_id), ("ns", 3));
    assert_eq!(pod.record.module_id, 42);
    assert!(!pod.scheduled, "no hostIP");
}

#[test]
fn host_and_addresses() {
    k8s(json!({"status": {"hostIP": "10.0.0.7"}}), Field::HostInnerIp, "10.0.0.7");
    k8s(json!({"status": {"podIP": "172.16.0.9"}}), Field::PodIp, "172.16.0.9");
    k8s(json!({"status": null}), Field::HostInnerIp, "");
    mesos(json!({"hostIP": "127.0.0.3"}), Field::HostInnerIp, "127.0.0.3");
    mesos(json!({"podIP": "127.0.0.5"}), Field::PodIp, "127.0.0.5");
    assert!(observe(ClusterKind::Mesos, json!({"hostIP": "127.0.0.3"})).scheduled);
    assert!(!observe(ClusterKind::Mesos, json!({"hostIP": " "})).scheduled);
}

#[test]
fn cluster_type() {
    k8s(json!({}), Field::ClusterType, "k8s");
    mesos(json!({}), Field::ClusterType, "mesos");
}

#[test]
fn workload_is_the_controlling_owner() {
    let owners = |owners: Value| json!({"metadata": {"ownerReferences": owners}});
    for (list, kind, name) in [
        (
            json!([{"kind": "Job", "name": "a"}, {"kind": "ReplicaSet", "name": "b", "controller": true}]),
            "ReplicaSet",
            "b",
        ),
        (
            json!([{"kind": "Job", "name": "a", "controller": false}, {"kind": "Node", "name": "b"}]),
            "Job",
            "a",
        ),
        (json!(["owner", {"kind": "Node", "name": "b"}]), "Node", "b"),
        (json!([{"kind": "", "name": "b", "controller": true}]), "Pod", "pod-0"),
        (json!([{"kind": "Job", "controller": true}]), "Pod", "pod-0"),
        (json!([]), "Pod", "pod-0"),
        (json!("owner"), "Pod", "pod-0"),
        (Value::Null, "Pod", "pod-0"),
    ] {
        k8s(owners(list.clone()), Field::WorkloadType, kind);
        k8s(owners(list), Field::WorkloadName, name);
    }
    mesos(json!({"rcname": "app-test"}), Field::WorkloadType, "Application");
    mesos(json!({"rcname": "app-test"}), Field::WorkloadName, "app-test");
    mesos(json!({"rcname": " "}), Field::WorkloadType, "Pod");
    mesos(json!({"rcname": " "}), Field::WorkloadName, "0.nginx.ns.10000.1");
}

#[test]
fn labels_and_annotations_are_sorted_compact_json() {
    for (member, field) in [("labels", Field::Labels), ("annotations", Field::Annotations)] {
        for (value, expected) in [
            (json!({"b": "2", "a": "1"}), r#"{"a":"1","b":"2"}"#),
            (json!({"a": "", "": "x y"}), r#"{"":"x y","a":""}"#),
            (
                json!({"a": "\"\\/\n\r\t\u{8}\u{c}\u{0}\u{1f}é<&>\u{2028}😀"}),
                "{\"a\":\"\\\"\\\\/\\n\\r\\t\\b\\f\\u0000\\u001fé<&>\u{2028}😀\"}",
            ),
            (json!({"a": 1, "b": null, "c": ["x"], "d": {"e": "f"}, "g": "h"}), r#"{"g":"h"}"#),
            (json!({}), "{}"),
            (json!(["a"]), "{}"),
            (json!("a"), "{}"),
            (Value::Null, "{}"),
        ] {
            k8s(json!({"metadata": {member: value}}), field, expected);
            mesos(json!({"metadata": {member: value}}), field, expected);
        }
        k8s(json!({}), field, "{}");
        mesos(json!({}), field, "{}");
    }
}

#[test]
fn network_mode_and_type() {
    for (host_network, mode) in
        [(json!(true), "host"), (json!(false), "cni"), (Value::Null, "cni"), (json!("true"), "cni")]
    {
        k8s(json!({"spec": {"hostNetwork": host_network}}), Field::NetworkMode, mode);
        k8s(json!({"spec": {"hostNetwork": host_network}}), Field::NetworkType, "cni");
    }
    for (mode, network_type) in
        [("BRIDGE", "cnm"), ("Host", "cnm"), ("bridge", "cnm"), ("USER", "cni"), ("", "cni")]
    {
        let containers = json!({"containerStatuses": [{"networkMode": mode}, {"networkMode": "other"}]});
        mesos(containers.clone(), Field::NetworkMode, mode);
        mesos(containers, Field::NetworkType, network_type);
    }
    mesos(json!({"containerStatuses": []}), Field::NetworkMode, "");
    mesos(json!({"containerStatuses": "none"}), Field::NetworkType, "cni");
}

#[test]
fn containers_of_a_pod_keep_the_documented_order() {
    k8s(
        json!({"spec": {"containers": [
                  {"image": "nginx:1", "env": [{"name": "SECRET", "value": "x"}], "name": "web",
                   "resources": {"requests": {"memory": "1Gi", "cpu": "1"}, "limits": {}, "claims": null},
                   "ports": [{"protocol": "TCP", "name": null, "containerPort": 80.0}]},
                  {"name": "side", "ports": "http", "resources": ["cpu"]}, "odd"]},
               "status": {"containerStatuses": [
                  {"state": {"waiting": {"reason": "Back \"off\""}}, "ready": false, "restartCount": 3,
                   "containerID": "docker://1", "name": "web", "image": "nginx:1", "lastState": {}},
                  {"ready": "yes", "restartCount": "many", "state": "running"}]}}),
        Field::Containers,
        concat!(
            r#"{"containers":[{"name":"web","image":"nginx:1","ports":[{"containerPort":80,"protocol":"TCP"}],"#,
            r#""resources":{"limits":{},"requests":{"cpu":"1","memory":"1Gi"}}},{"name":"side"}],"#,
            r#""containerStatuses":[{"name":"web","ready":false,"restartCount":3,"containerID":"docker://1","#,
            r#""state":{"waiting":{"reason":"Back \"off\""}}},{}]}"#
        ),
    );
    for odd in [
        json!({}),
        json!({"spec": {"containers": {}}, "status": {"containerStatuses": "x"}}),
        json!({"spec": 1, "status": []}),
    ] {
        k8s(odd, Field::Containers, r#"{"containers":[],"containerStatuses":[]}"#);
    }
}

#[test]
fn containers_of_a_taskgroup_keep_the_documented_order() {
    mesos(
        json!({"containerStatuses": [
            {"image": "redis:3", "status": "Running", "lastStatus": "Starting", "containerID": "c1", "name": "redis",
             "networkMode": "HOST", "restartCount": 0, "resources": {"cpus": 1},
             "containerPort": [{"protocol": "tcp", "hostPort": 31000, "containerPort": 6379}]},
            {"name": "", "containerPort": 6379}]}),
        Field::Containers,
        concat!(
            r#"[{"name":"redis","containerID":"c1","status":"Running","lastStatus":"Starting","image":"redis:3","#,
            r#""containerPort":[{"containerPort":6379,"hostPort":31000,"protocol":"tcp"}]},{"name":""}]"#
        ),
    );
    mesos(json!({}), Field::Containers, "[]");
}

#[test]
fn volumes_tell_name_type_and_the_name_of_their_source() {
    for (volume, expected) in [
        (
            json!({"name": "v", "persistentVolumeClaim": {"claimName": "data", "readOnly": true}}),
            ("persistentVolumeClaim", "data"),
        ),
        (
            json!({"configMap": {"name": "conf", "items": [{"key": "k", "path": "p"}]}, "name": "v"}),
            ("configMap", "conf"),
        ),
        (json!({"name": "v", "secret": {"secretName": "tls", "name": "no"}}), ("secret", "tls")),
        (json!({"name": "v", "hostPath": {"path": "/var/log", "type": ""}}), ("hostPath", "/var/log")),
        (
            json!({"name": "v", "nfs": {"server": "10.0.0.1", "path": "/export"}, "iscsi": null}),
            ("nfs", "/export"),
        ),
        (json!({"name": "v", "emptyDir": {}, "configMap": null}), ("emptyDir", "")),
        (json!({"name": "v", "projected": {"sources": []}}), ("projected", "")),
        (json!({"name": "v", "secret": {"secretName": "s"}, "configMap": {"name": "c"}}), ("configMap", "c")),
        (json!({"name": "v", "secret": "tls"}), ("", "")),
    ] {
        let (kind, source) = expected;
        let expected = format!(r#"[{{"name":"v","type":"{kind}","source":"{source}"}}]"#);
        k8s(json!({"spec": {"volumes": [volume]}}), Field::Volumes, &expected);
    }
    k8s(json!({"spec": {"volumes": null}}), Field::Volumes, "[]");
    mesos(json!({"volumes": [{"name": "v"}]}), Field::Volumes, "");
}

#[test]
fn status_and_times() {
    k8s(json!({"status": {"phase": "Running"}}), Field::Status, "Running");
    let deleted =
        json!({"metadata": {"deletionTimestamp": "2023-01-01T00:00:00Z"}, "status": {"phase": "Running"}});
    k8s(deleted, Field::Status, "Terminating");
    k8s(
        json!({"metadata": {"deletionTimestamp": null}, "status": {"phase": "Failed"}}),
        Field::Status,
        "Failed",
    );
    mesos(json!({"status": "Lost", "lastStatus": "Running"}), Field::Status, "Lost");
    let created = json!({"metadata": {"creationTimestamp": "2017-10-09T23:37:44Z"}});
    k8s(created.clone(), Field::CreateTime, "2017-10-10 07:37:44");
    mesos(created, Field::CreateTime, "2017-10-10 07:37:44");
    k8s(
        json!({"status": {"startTime": "2017-10-09T23:37:44.5+08:00"}}),
        Field::StartTime,
        "2017-10-09 23:37:44",
    );
    mesos(json!({"startTime": "2017-10-09T15:37:44+08:00"}), Field::StartTime, "2017-10-09 15:37:44");
    mesos(json!({"startTime": "0001-01-01T00:00:00Z"}), Field::StartTime, "");
    k8s(json!({"status": {"startTime": 1507563464}}), Field::StartTime, "");
}

#[test]
fn versions_are_decimal_texts() {
    for (version, expected) in [
        (json!("23389327"), Some(23_389_327)),
        (json!("18446744073709551615"), Some(u64::MAX)),
        (json!("18446744073709551616"), None),
        (json!("-1"), None),
        (json!("0x10"), None),
        (json!(""), None),
        (Value::Null, None),
    ] {
        let metadata = json!({"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": version});
        assert_eq!(observe(ClusterKind::K8s, json!({"metadata": metadata})).version, expected);
    }
}

#[test]
fn the_envelope_names_a_pod_that_does_not_name_itself() {
    let pod = observe(ClusterKind::K8s, json!({"metadata": {"uid": "u-1", "name": " ", "namespace": null}}));
    assert_eq!((pod.record.namespace.as_str(), pod.record.name.as_str()), ("ns", "pod-0"));
    let taskgroup = observe(ClusterKind::Mesos, json!({"metadata": {"name": ""}}));
    assert_eq!((taskgroup.record.uuid.as_str(), taskgroup.record.name.as_str()), ("pod-0", "pod-0"));
}

#[test]
fn a_document_is_asked_for_by_the_key_the_storage_keeps_it_under() {
    let own = |namespace: Value, name: Value| {
        let data = json!({"metadata": {"name": "pod-0", "namespace": "ns", "uid": "u-1"}});
        let mut document = document(ClusterKind::K8s, data);
        (document["namespace"], document["resourceName"]) = (namespace, name);
        convert(ClusterKind::K8s, &document)
    };
    let key = |namespace: Value, name: Value| match own(namespace, name) {
        Ok(Observation::Pod(pod)) => {
            assert_eq!((pod.record.namespace.as_str(), pod.record.name.as_str()), ("ns", "pod-0"));
            pod.key.map(|key| (key.namespace, key.name))
        }
        other => panic!("{other:?}"),
    };
    for absent in [json!("ns"), json!(""), Value::Null, json!(7), json!({})] {
        assert_eq!(key(absent.clone(), json!("pod-0")), None, "{absent}");
        assert_eq!(key(absent, json!("other")), Some(("ns".into(), "other".into())));
    }
    assert_eq!(key(json!("kept"), json!("")), Some(("kept".into(), "pod-0".into())));
    // What a path cannot hold is refused where it is asked for, and proves nothing.
    for odd in ["..", "a/b", " pod-0", "pod-0\n", &"x".repeat(IDENTITY_LIMIT)] {
        assert_eq!(key(json!("ns"), json!(odd)), Some(("ns".into(), odd.into())));
    }
    let long = own(json!("ns"), json!("x".repeat(IDENTITY_LIMIT + 1))).unwrap_err();
    assert!(long.reason.contains("257 bytes"), "{long}");
}

#[test]
fn a_pod_that_does_not_name_itself_is_asked_for_as_the_envelope_does() {
    let document = document(ClusterKind::K8s, json!({"metadata": {"uid": "u-1"}}));
    let Ok(Observation::Pod(pod)) = convert(ClusterKind::K8s, &document) else { panic!("a pod") };
    assert_eq!(pod.key, None);
}

#[test]
fn long_texts_are_limited_and_listed() {
    let converter = Converter::new(ClusterKind::K8s, Settings { text_limit: 40, ..settings() });
    let labels = json!({"a": "x".repeat(30), "b": "y"});
    let metadata = json!({"name": "p", "namespace": "ns", "uid": "u", "labels": labels});
    let bytes = document(ClusterKind::K8s, json!({"metadata": metadata})).to_string();
    let Observation::Pod(pod) = converter.document(bytes.as_bytes(), &modules()).unwrap() else { panic!() };
    assert_eq!(pod.record.text(Field::Labels), r#"{"b":"y"}"#);
    assert_eq!(pod.shortened, [Field::Labels]);
}

#[test]
fn a_flagged_document_is_a_delete() {
    for flag in [json!(true), json!(false), Value::Null, json!("true")] {
        let data = json!({"metadata": {"name": "pod-0", "namespace": "ns", "uid": "u-1"}});
        let mut document = document(ClusterKind::K8s, data);
        document["_isBcsObjectDeleted"] = flag.clone();
        let observation = convert(ClusterKind::K8s, &document).unwrap();
        let deleted = DeletedPod {
            storage_id: "5f0c1f0e8d3b4a0001a1b2c3".into(),
            namespace: "ns".into(),
            name: "pod-0".into(),
            uuid: "u-1".into(),
        };
        assert_eq!(observation == Observation::Deleted(deleted), flag == json!(true), "{flag}");
    }
}

#[test]
fn a_delete_may_hold_only_an_id() {
    let check = |kind, json: Value, expected: Option<[&str; 4]>| {
        let deleted = Converter::new(kind, settings()).deleted(json.to_string().as_bytes()).ok();
        let expected = expected.map(|[storage_id, namespace, name, uuid]| DeletedPod {
            storage_id: storage_id.into(),
            namespace: namespace.into(),
            name: name.into(),
            uuid: uuid.into(),
        });
        assert_eq!(deleted, expected, "{json}");
    };
    check(ClusterKind::K8s, json!({"_id": "5f"}), Some(["5f", "", "", ""]));
    check(ClusterKind::Mesos, json!({"_id": "5f", "data": null}), Some(["5f", "", "", ""]));
    let whole =
        json!({"_id": "5f", "namespace": "n", "resourceName": "p", "data": {"metadata": {"uid": "u"}}});
    check(ClusterKind::K8s, whole.clone(), Some(["5f", "n", "p", "u"]));
    check(ClusterKind::Mesos, whole, Some(["5f", "n", "p", "p"]));
    for empty in [json!({}), json!(null), json!({"_id": null, "namespace": "n"}), json!("5f")] {
        check(ClusterKind::K8s, empty, None);
    }
}

#[test]
fn a_document_without_identity_says_what_is_missing() {
    let check = |kind, document: Value, reason: &str| {
        let invalid = convert(kind, &document).unwrap_err();
        assert!(invalid.to_string().contains(reason), "{invalid}");
        assert_eq!(invalid.storage_id, document["_id"].as_str().unwrap_or_default());
    };
    let (k8s, mesos) = (ClusterKind::K8s, ClusterKind::Mesos);
    check(k8s, document(k8s, json!({"metadata": {"name": "p", "uid": 7}})), "no metadata.uid");
    check(k8s, document(k8s, Value::Null), "no metadata.uid");
    check(k8s, json!({"_id": "5f", "namespace": "ns", "data": {}}), "metadata.name");
    check(mesos, json!({"_id": "5f", "resourceName": "p"}), "metadata.namespace");
    check(
        mesos,
        json!({"_id": "5f", "resourceName": "", "data": {"metadata": {"name": "", "namespace": "n"}}}),
        "resourceName",
    );
    check(k8s, document(mesos, json!({"metadata": {"uid": "u"}})), r#""taskgroup""#);
    check(mesos, document(k8s, json!({"metadata": {"uid": "u"}})), "kind of the cluster");
}

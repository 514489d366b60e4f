//! Both sides of protocol.md 2 and 3 that this product has, against each other: the CMDB client and
//! the container server.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod container;

use bcs_bkcmdb_synchronizer::cmdb::{Client, CmdbError, Scope, Settings};
use bcs_bkcmdb_synchronizer::config::BaseUrl;
use bcs_bkcmdb_synchronizer::http::{self, Options, RequestStats};
use bcs_bkcmdb_synchronizer::model::{Fence, Field, NoFence, Permit, PodRecord};
use container::Server;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const CLUSTER: &str = "BCS-K8S-00001";
const SCOPE: Scope<'_> = Scope { biz: 2, cluster: CLUSTER, fence: &NoFence };

fn client(server: &Server) -> Client {
    let http = http::Client::new(&Options { idle_connections: 2, ..Options::default() });
    let base = BaseUrl { origin: server.caller.base.clone(), prefix: "/container/v3".to_owned() };
    let settings = Settings {
        user: "sync".to_owned(),
        supplier: "0".to_owned(),
        qps: 0,
        timeout: Duration::from_secs(30),
        page_size: 2,
    };
    Client::new(http, base, settings, Arc::new(RequestStats::default()))
}

/// A record with a value in every field.
fn pod(name: &str) -> PodRecord {
    let mut record = PodRecord::default();
    record.uuid = format!("uid-{name}");
    record.namespace = "default".to_owned();
    record.name = name.to_owned();
    record.module_id = 41;
    for (field, value) in [
        (Field::HostInnerIp, "10.0.0.1"),
        (Field::WorkloadType, "ReplicaSet"),
        (Field::WorkloadName, "web"),
        (Field::ClusterType, "k8s"),
        (Field::Labels, r#"{"app":"web"}"#),
        (Field::Annotations, "{}"),
        (Field::PodIp, "10.1.0.1"),
        (Field::NetworkMode, "cni"),
        (Field::NetworkType, "cni"),
        (Field::Containers, r#"{"containers":[],"containerStatuses":[]}"#),
        (Field::Volumes, "[]"),
        (Field::Status, "Running"),
        (Field::CreateTime, "2026-11-22 08:00:00"),
        (Field::StartTime, "2026-11-22 08:00:01"),
    ] {
        record.set_text(field, value);
    }
    record
}

fn list(cmdb: &Client) -> Vec<PodRecord> {
    let (mut found, mut next) = (Vec::new(), Some(0));
    while let Some(after) = next {
        let page = cmdb.list_page(2, CLUSTER, after, &mut |stored| found.push(stored.record)).unwrap();
        assert_eq!(page.unusable.count, 0);
        next = page.next;
    }
    found
}

#[test]
fn what_was_written_is_what_is_listed() {
    let server = Server::start(json!({}));
    let cmdb = client(&server);
    let mut pods: Vec<PodRecord> = ["a", "b", "c", "d", "e"].map(pod).into();
    cmdb.create(&SCOPE, &pods[0]).unwrap();
    let rest: Vec<&PodRecord> = pods[1..].iter().collect();
    assert!(cmdb.create_many(&SCOPE, &rest).unwrap().iter().all(Result::is_ok));
    assert_eq!(list(&cmdb), pods);
    assert!(cmdb.list_page(3, CLUSTER, 0, &mut |_| panic!("a record of another business")).is_ok());

    pods[1].module_id = 42;
    pods[1].set_text(Field::Status, "Terminating");
    for field in [Field::PodIp, Field::StartTime, Field::Volumes] {
        pods[1].set_text(field, "");
    }
    let changed = [Field::ModuleId, Field::Status, Field::PodIp, Field::StartTime, Field::Volumes];
    cmdb.update(&SCOPE, "uid-b", &pods[1], &changed).unwrap();
    assert_eq!(list(&cmdb), pods);

    let found = cmdb.find_by_uuid(2, "uid-b").unwrap().unwrap();
    assert_eq!(found.record, pods[1]);
    assert_eq!(cmdb.find_by_name(2, CLUSTER, "default", "b").unwrap(), Some(found));
    assert_eq!(cmdb.find_by_uuid(2, "uid-z").unwrap(), None);

    assert_eq!(cmdb.delete(&SCOPE, "uid-b").unwrap(), 1);
    assert_eq!(cmdb.delete(&SCOPE, "uid-b").unwrap(), 0);
    let other = Scope { cluster: "BCS-K8S-2", ..SCOPE };
    assert_eq!(cmdb.delete(&other, "uid-a").unwrap(), 0, "another cluster's record is not ours to delete");
    assert!(matches!(cmdb.update(&SCOPE, "uid-b", &pods[1], &changed), Err(CmdbError::NotFound)));
    assert_eq!(list(&cmdb).len(), 4);
}

#[test]
fn what_is_refused_is_told_record_by_record() {
    let server = Server::start(json!({}));
    let cmdb = client(&server);
    let (good, again) = (pod("good"), pod("good"));
    let (mut long, mut spaced, mut unnamed) = (pod("long"), pod("spaced"), pod("unnamed"));
    long.set_text(Field::Containers, "x".repeat(2001));
    spaced.set_text(Field::Annotations, r#"{"a":"b c"}"#);
    unnamed.set_text(Field::WorkloadName, "");
    let outcomes = cmdb.create_many(&SCOPE, &[&good, &again, &long, &spaced, &unnamed]).unwrap();
    let shown: Vec<String> = outcomes
        .into_iter()
        .map(|outcome| match outcome {
            Ok(()) => "ok".to_owned(),
            Err(CmdbError::Duplicate { .. }) => "duplicate".to_owned(),
            Err(CmdbError::Refused { code, field, .. }) => {
                format!("{code} {}", field.map_or("-", Field::name))
            }
            Err(other) => other.to_string(),
        })
        .collect();
    let expected = [
        "ok",
        "duplicate",
        "1199015 bk_pod_containers",
        "1199016 bk_pod_annotations",
        "1199010 bk_pod_workloadname",
    ];
    assert_eq!(shown, expected);

    let mut homeless = pod("homeless");
    homeless.module_id = 99;
    let Err(CmdbError::Refused { field, .. }) = cmdb.create(&SCOPE, &homeless) else { panic!("not refused") };
    assert_eq!(field, Some(Field::ModuleId));
    assert!(matches!(cmdb.create_many(&SCOPE, &[&homeless]), Err(CmdbError::Later { code: 1118402, .. })));
}

#[test]
fn the_topology_has_every_module() {
    let server = Server::start(json!({}));
    let modules = client(&server).topology(2).unwrap();
    assert_eq!(modules.len(), 3);
    assert_eq!(modules.id("set-12", "module-43"), Some(43));
}

/// The fence of an instance whose lock has that number.
struct Holder(u64);

impl Fence for Holder {
    fn permit(&self) -> Result<Permit, String> {
        Ok(Permit { header: Some(format!("{CLUSTER}:{}", self.0)), ..Permit::default() })
    }
}

#[test]
fn a_former_holder_of_the_cluster_is_fenced_off() {
    let server = Server::start(json!({}));
    let cmdb = client(&server);
    let write = |holder: &Holder, name: &str| cmdb.create(&Scope { fence: holder, ..SCOPE }, &pod(name));
    write(&Holder(7), "a").unwrap();
    write(&Holder(8), "b").unwrap();
    assert!(matches!(write(&Holder(7), "c"), Err(CmdbError::Fenced(_))));
    assert_eq!(list(&cmdb).len(), 2);
}

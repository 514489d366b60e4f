//! One session to real ZooKeeper servers: what it survives, and when it stops to be believed.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

#[path = "common/namespace.rs"]
mod namespace;
#[path = "common/partition.rs"]
mod partition;
#[path = "common/sessions.rs"]
mod sessions;
#[path = "common/zookeeper.rs"]
mod zookeeper;

use bcs_bkcmdb_synchronizer::config::Secret;
use bcs_bkcmdb_synchronizer::coordination::layout::{self, ServerInfo};
use bcs_bkcmdb_synchronizer::coordination::{CallError, Lock, Locks, Role, Servers, Session, election};
use crossbeam::channel::bounded;
use partition::Network;
use sessions::{SHORT, TIMEOUT, client, info, member, servers, servers_for};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zookeeper::{PORT, START, ZooKeepers, own_address, wait_for};

const SOON: Duration = Duration::from_secs(90);

fn permitted(session: &Session) -> bool {
    session.client().is_some_and(|client| session.lease(client.session()).is_ok())
}

#[test]
fn members_register_in_order_and_a_clean_stop_removes_them_at_once() {
    let zookeepers = ZooKeepers::single();
    let first = member(&zookeepers, 1001);
    let eye = client(&first);
    let second = member(&zookeepers, 1002);
    client(&second);
    let instances = || -> Vec<String> {
        election::members(&eye, false).unwrap().into_iter().map(|member| member.instance).collect()
    };
    assert_eq!(instances(), ["127.0.0.1:1001", "127.0.0.1:1002"]);
    second.stop();
    // Long before its session would have ended.
    wait_for("it is removed", TIMEOUT / 2, || instances() == ["127.0.0.1:1001"]);
}

#[test]
fn a_tree_below_a_root_that_others_own_is_found() {
    let zookeepers = ZooKeepers::single();
    let first = member(&zookeepers, 1001);
    client(&first);
    let hosts = zookeepers.hosts().join(",");
    let owner = ::zookeeper::ZooKeeper::connect(&hosts, TIMEOUT, |_| {}).unwrap();
    let read = vec![::zookeeper::Acl::new(::zookeeper::Permission::READ, "world", "anyone")];
    owner.set_acl("/", read, None).unwrap();
    let second = member(&zookeepers, 1002);
    wait_for("a session", SOON, || {
        second.connected() || second.problem().is_some_and(|why| why.contains("not permitted"))
    });
    assert_eq!(second.problem(), None);
}

#[test]
fn locks_that_cannot_be_taken_are_no_secret() {
    let zookeepers = ZooKeepers::single();
    let session = Arc::new(member(&zookeepers, 1001));
    let eye = client(&session);
    let locks = Locks::start(Arc::clone(&session), info(1001)).unwrap();
    locks.acquire("BCS-K8S-00001");
    let path = layout::child(layout::LOCKS, "BCS-K8S-00001");
    wait_for("the lock", SOON, || eye.stat(&path).unwrap().is_some());
    assert_eq!(locks.problem(), None);
    eye.delete(&path, None).unwrap();
    wait_for("it is taken again", SOON, || eye.stat(&path).unwrap().is_some());
    locks.release("BCS-K8S-00001");
    wait_for("it is given back", SOON, || eye.stat(&path).unwrap().is_none());
    eye.delete(layout::LOCKS, None).unwrap();
    wait_for("it is said", SOON, || locks.problem().is_some_and(|why| why.contains("/lock does not exist")));
    eye.ensure(layout::LOCKS).unwrap();
    wait_for("it is over", SOON, || locks.problem().is_none());
}

#[test]
fn a_lock_that_went_with_its_parent_permits_nothing() {
    let zookeepers = ZooKeepers::single();
    let calm = servers_for(&zookeepers, Duration::from_secs(12));
    let session = Arc::new(Session::start(calm, Role::Member(info(1001))).unwrap());
    let eye = client(&session);
    let locks = Locks::start(Arc::clone(&session), info(1001)).unwrap();
    let path = layout::child(layout::LOCKS, "BCS-K8S-00001");
    let held = || match locks.acquire("BCS-K8S-00001") {
        Lock::Held(fence) => Some(fence),
        Lock::Pending { .. } => None,
    };
    wait_for("permission", SOON, || held().is_some_and(|fence| fence.permit().is_ok()));
    wait_for("both are gone", SOON, || {
        let _ = eye.delete(&path, None);
        eye.delete(layout::LOCKS, None).is_ok()
    });
    wait_for("no permission", SOON, || held().is_some_and(|fence| fence.permit().is_err()));
    eye.ensure(layout::LOCKS).unwrap();
    wait_for("permission again", SOON, || held().is_some_and(|fence| fence.permit().is_ok()));
}

#[test]
fn a_frozen_server_holds_no_call_and_no_stop_and_the_lease_ends_in_time() {
    // The lease ends after two thirds of it, and a busy machine is late by less than the rest.
    const TIMEOUT: Duration = Duration::from_secs(12);
    let zookeepers = ZooKeepers::single();
    let session = Session::start(servers_for(&zookeepers, TIMEOUT), Role::Member(info(1001))).unwrap();
    let eye = client(&session);
    wait_for("permission", SOON, || permitted(&session));
    let gaps = session.lease_gaps();
    let frozen = Instant::now();
    zookeepers.servers[0].freeze();
    let refused = eye.read(layout::ROOT, false).unwrap_err();
    assert!(matches!(refused, CallError::Lost(_)), "{refused}");
    assert!(frozen.elapsed() < TIMEOUT, "a call took {:?}", frozen.elapsed());
    wait_for("the lease ends", TIMEOUT * 2 / 3, || !permitted(&session));
    drop(eye);
    zookeepers.servers[0].thaw();
    wait_for("permission again", SOON, || permitted(&session));
    assert!(session.lease_gaps() > gaps);

    zookeepers.servers[0].freeze();
    let start = Instant::now();
    session.stop();
    assert!(start.elapsed() < TIMEOUT, "a stop took {:?}", start.elapsed());
    zookeepers.servers[0].thaw();
}

#[test]
fn a_short_restart_of_the_server_keeps_the_session() {
    let mut zookeepers = ZooKeepers::single();
    let session = member(&zookeepers, 1001);
    let eye = client(&session);
    zookeepers.servers[0].kill();
    zookeepers.servers[0].start();
    zookeepers.wait_until_serving();
    wait_for("calls again", SOON, || eye.read(layout::ROOT, false).is_ok());
    assert_eq!(session.client().unwrap().session(), eye.session());
    assert_eq!(session.sessions(), 1);
    assert_eq!(election::members(&eye, false).unwrap().len(), 1);
}

#[test]
fn a_name_that_moves_is_resolved_again_and_the_session_goes_on() {
    if !namespace::is_inside() {
        let this = "a_name_that_moves_is_resolved_again_and_the_session_goes_on";
        return namespace::run_inside("--mount", this);
    }
    let zookeepers = ZooKeepers::single();
    let (names, host) = (tempfile::NamedTempFile::new().unwrap(), &zookeepers.hosts()[0]);
    let name = |address: &str| std::fs::write(names.path(), format!("{address} keeper.test\n")).unwrap();
    namespace::run("mount", &["--bind", names.path().to_str().unwrap(), "/etc/hosts"]);
    let [old, new] = [own_address(), own_address()];
    name(&old);
    let network = Network::at((&old, PORT), host);
    let named = Servers { hosts: vec![format!("keeper.test:{PORT}")], ..servers(&zookeepers) };
    let session = Session::start(named, Role::Member(info(1001))).unwrap();
    let eye = client(&session);

    drop(network);
    name(&new);
    let _network = Network::at((&new, PORT), host);
    wait_for("calls again", SOON, || eye.read(layout::ROOT, false).is_ok());
    assert_eq!(session.sessions(), 1);
}

#[test]
fn a_server_that_lost_its_data_is_a_fresh_one_and_holds_writes_back() {
    let mut zookeepers = ZooKeepers::single();
    // Long enough for a busy machine to see the new session well before it ends.
    let timeout = Duration::from_secs(20);
    let patient = Servers { session_timeout: timeout, ..servers(&zookeepers) };
    let session = Session::start(patient, Role::Member(info(1001))).unwrap();
    let before = client(&session).session();
    wait_for("permission", SOON, || permitted(&session));
    zookeepers.servers[0].kill();
    zookeepers.servers[0].wipe();
    zookeepers.servers[0].start();
    zookeepers.wait_until_serving();
    wait_for("a new session", SOON, || session.client().is_some_and(|now| now.session() != before));
    let began = Instant::now();
    assert!(!permitted(&session), "others may still hold leases");
    wait_for("permission", SOON, || permitted(&session));
    assert!(began.elapsed() > timeout / 2, "held back for {:?} only", began.elapsed());
}

#[test]
fn a_root_that_somebody_deletes_is_made_again_and_holds_writes_back() {
    let zookeepers = ZooKeepers::single();
    // Long enough for a busy machine to see the new session well before it ends.
    let timeout = Duration::from_secs(20);
    let patient = Servers { session_timeout: timeout, ..servers(&zookeepers) };
    let session = Arc::new(Session::start(patient, Role::Member(info(1001))).unwrap());
    let eye = client(&session);
    let locks = Locks::start(Arc::clone(&session), info(1001)).unwrap();
    let held = || match locks.acquire("BCS-K8S-00001") {
        Lock::Held(fence) => Some(fence),
        Lock::Pending { .. } => None,
    };
    let lock = layout::child(layout::LOCKS, "BCS-K8S-00001");
    wait_for("permission", SOON, || held().is_some_and(|fence| fence.permit().is_ok()));
    let epoch = held().unwrap().epoch();
    wait_for("it is gone", SOON, || {
        for path in [&lock, layout::LOCKS, layout::CLUSTERS, layout::WORKERS] {
            let _ = eye.delete(path, None);
        }
        eye.delete(layout::ROOT, None).is_ok()
    });
    wait_for("a new session", SOON, || session.client().is_some_and(|now| now.session() != eye.session()));
    let began = Instant::now();
    assert!(held().unwrap().permit().is_err(), "others may still hold leases");
    wait_for("permission", SOON, || held().unwrap().permit().is_ok());
    assert!(began.elapsed() > timeout / 2, "held back for {:?} only", began.elapsed());
    assert!(held().unwrap().epoch() > epoch);
    assert!(client(&session).stat(&lock).unwrap().is_some());
}

#[test]
fn one_server_of_three_may_go_and_nothing_happens() {
    let mut zookeepers = ZooKeepers::start(3);
    let session = member(&zookeepers, 1001);
    let eye = client(&session);
    wait_for("permission", SOON, || permitted(&session));
    let gaps = session.lease_gaps();
    for index in 0..3 {
        zookeepers.servers[index].kill();
        wait_for("calls go on", SOON, || eye.write(layout::CLUSTERS, b"", None).is_ok());
        zookeepers.servers[index].start();
        zookeepers.wait_until_serving();
    }
    assert_eq!((session.sessions(), session.lease_gaps()), (1, gaps));
}

#[test]
fn nodes_belong_to_whoever_has_user_and_password() {
    let zookeepers = ZooKeepers::single();
    let with = |user: &str, password: &str| {
        let servers =
            Servers { user: user.to_owned(), password: Secret::new(password), ..servers(&zookeepers) };
        Session::start(servers, Role::Reader).unwrap()
    };
    let (empty, again, other) = (with("", ""), with("", ""), with("bcs", "secret"));
    wait_for("three sessions", START, || [&empty, &again, &other].iter().all(|s| s.client().is_some()));
    empty.client().unwrap().ensure("/private").unwrap();
    assert!(again.client().unwrap().read("/private", false).is_ok());
    let refused = other.client().unwrap().read("/private", false).unwrap_err();
    assert!(refused.to_string().contains("zk_user"), "{refused}");
    assert!(!refused.to_string().contains("secret"));
}

#[test]
fn a_watch_wakes_whoever_looks_at_that_path() {
    let zookeepers = ZooKeepers::single();
    let session = member(&zookeepers, 1001);
    let ((wake, woken), (wake_other, elsewhere)) = (bounded(1), bounded(1));
    session.subscribe(layout::CLUSTERS, wake);
    session.subscribe(layout::LOCKS, wake_other);
    let eye = client(&session);
    eye.children(layout::CLUSTERS, true).unwrap();
    while woken.try_recv().is_ok() || elsewhere.try_recv().is_ok() {}
    eye.ensure(&layout::child(layout::CLUSTERS, "a")).unwrap();
    woken.recv_timeout(SOON).unwrap();
    assert!(elsewhere.try_recv().is_err());
}

#[test]
fn an_address_a_living_process_has_is_refused_and_a_dead_ones_is_taken_over() {
    let zookeepers = ZooKeepers::single();
    let first = member(&zookeepers, 1001);
    client(&first);
    let twin = ServerInfo { pid: 1, ..info(1001) };
    let second = Session::start(servers(&zookeepers), Role::Member(twin.clone())).unwrap();
    wait_for("the refusal", SOON, || second.fatal().is_some());
    let why = second.fatal().unwrap();
    assert!(why.contains("127.0.0.1:1001") && why.contains(&std::process::id().to_string()), "{why}");
    assert!(first.connected());
    second.stop();

    let network = Network::to(&zookeepers.hosts()[0]);
    let behind = Servers { hosts: vec![network.host()], ..servers_for(&zookeepers, SHORT) };
    let dead = Session::start(behind, Role::Member(info(1002))).unwrap();
    client(&dead);
    network.cut();
    let third =
        Session::start(servers(&zookeepers), Role::Member(ServerInfo { port: 1002, ..twin })).unwrap();
    client(&third);
    assert_eq!(third.fatal(), None);
}

#[test]
fn a_frozen_leader_costs_the_lease_at_most_and_the_session_goes_on_with_the_others() {
    let zookeepers = ZooKeepers::start(3);
    let session = Session::start(servers_for(&zookeepers, SHORT), Role::Member(info(1001))).unwrap();
    client(&session);
    wait_for("permission", SOON, || permitted(&session));
    let leader = zookeepers.leader();
    zookeepers.servers[leader].freeze();
    let frozen = Instant::now();
    wait_for("the others elect and permit again", START, || frozen.elapsed() > SHORT && permitted(&session));
    assert!(frozen.elapsed() > SHORT);
    zookeepers.servers[leader].thaw();
    wait_for("all three serve", START, || zookeepers.servers.iter().all(|server| server.mode().is_some()));
    wait_for("permission", SOON, || permitted(&session));
}

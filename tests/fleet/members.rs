//! What the service is told by its coordination, in one process on real ZooKeeper servers: who gets
//! what, and that never two may write.

use crate::author::Author;
use crate::partition::Network;
use crate::zookeeper::{START, ZooKeepers, wait_for};
use bcs_bkcmdb_synchronizer::config::Secret;
use bcs_bkcmdb_synchronizer::coordination::{
    Coordination, Discovery, Feed, Lock, ServerInfo, Servers, layout,
};
use bcs_bkcmdb_synchronizer::fleet::{self, Guest, Settings};
use bcs_bkcmdb_synchronizer::inventory::{Confirmation, Inventory};
use bcs_bkcmdb_synchronizer::model::{Cluster, ClusterKind, Fence};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Session timeout and `reassign_delay`: no busy machine stands still for so long.
const CALM: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(20));
/// Those of instances whose sessions are to end.
const HASTY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(2));
const SOON: Duration = Duration::from_secs(60);

fn servers(zookeepers: &ZooKeepers) -> Servers {
    Servers {
        hosts: zookeepers.hosts(),
        user: String::new(),
        password: Secret::default(),
        session_timeout: CALM.0,
    }
}

/// What the inventory says; a test may change it.
#[derive(Clone, Default)]
struct Clusters(Arc<Mutex<Vec<Cluster>>>);

impl Clusters {
    fn new(count: usize) -> Self {
        let clusters = Self::default();
        clusters.set((0..count).map(|index| cluster(&format!("BCS-K8S-{index:05}"), 2)).collect());
        clusters
    }

    fn set(&self, clusters: Vec<Cluster>) {
        *self.0.lock().unwrap() = clusters;
    }

    fn feed(&self) -> Feed {
        let clusters = self.clone();
        let pull = Box::new(move || {
            let clusters = clusters.0.lock().unwrap().clone();
            Ok(Inventory { clusters, complete: true, problems: Vec::new() })
        });
        Feed { pull, interval: Box::new(|| Duration::from_millis(200)), confirmation: Confirmation::Twice }
    }
}

fn cluster(id: &str, bk_biz_id: i64) -> Cluster {
    Cluster {
        id: id.to_owned(),
        project_id: "p".to_owned(),
        bk_biz_id,
        kind: ClusterKind::K8s,
        previous_bk_biz_ids: Vec::new(),
    }
}

/// An instance, and the clusters it was last told to work on.
struct Instance {
    name: String,
    coordination: Box<dyn Coordination>,
    assigned: Mutex<Option<Arc<Vec<Cluster>>>>,
}

impl Instance {
    fn start(hosts: Vec<String>, port: u16, clusters: &Clusters) -> Self {
        Self::start_with(CALM, hosts, port, clusters)
    }

    fn start_with(
        (session_timeout, reassign_delay): (Duration, Duration),
        hosts: Vec<String>,
        port: u16,
        clusters: &Clusters,
    ) -> Self {
        let info = ServerInfo {
            ip: "127.0.0.1".to_owned(),
            port,
            hostname: format!("host-{port}"),
            version: "1".to_owned(),
            pid: 1,
            ..ServerInfo::default()
        };
        let servers = Servers { hosts, user: String::new(), password: Secret::default(), session_timeout };
        let settings = Settings { servers, info, version: "1", reassign_delay };
        let coordination = fleet::start(settings, clusters.feed()).unwrap();
        Self { name: format!("127.0.0.1:{port}"), coordination, assigned: Mutex::default() }
    }

    fn clusters(&self) -> Option<Arc<Vec<Cluster>>> {
        let mut assigned = self.assigned.lock().unwrap();
        if let Ok(newest) = self.coordination.assigned().try_recv() {
            *assigned = Some(newest);
        }
        assigned.clone()
    }

    fn ids(&self) -> Vec<String> {
        self.clusters().map_or_else(Vec::new, |set| set.iter().map(|cluster| cluster.id.clone()).collect())
    }

    fn is_master(&self) -> bool {
        self.coordination.status().role == "master"
    }

    /// The fence, once the lock is ours.
    #[track_caller]
    fn lock(&self, id: &str) -> Arc<dyn Fence> {
        let mut fence = None;
        wait_for("the lock", SOON, || match self.coordination.acquire(id) {
            Lock::Held(held) => {
                fence = Some(held);
                true
            }
            Lock::Pending { .. } => false,
        });
        fence.unwrap()
    }
}

/// Who has what, once all of `count` clusters are with exactly one of `instances`.
#[track_caller]
fn settled(instances: &[&Instance], count: usize) -> BTreeMap<String, String> {
    let mut owners = BTreeMap::new();
    wait_for("a complete and disjoint assignment", SOON, || {
        let pairs: Vec<(String, String)> =
            instances.iter().flat_map(|one| one.ids().into_iter().map(|id| (id, one.name.clone()))).collect();
        owners = pairs.iter().cloned().collect();
        pairs.len() == count && owners.len() == count && instances.iter().all(|one| one.clusters().is_some())
    });
    owners
}

fn open(fence: &dyn Fence) -> bool {
    fence.permit().is_ok()
}

/// The number in the fence header.
#[track_caller]
fn number(fence: &dyn Fence) -> i64 {
    wait_for("permission", SOON, || open(fence));
    let header = fence.permit().unwrap().header.unwrap();
    header.rsplit(':').next().unwrap().parse().unwrap()
}

#[test]
fn thirty_clusters_are_shared_by_three_and_move_only_when_one_is_gone_for_good() {
    let zookeepers = ZooKeepers::single();
    let clusters = Clusters::new(30);
    let start = |port| Instance::start(zookeepers.hosts(), port, &clusters);
    let one = start(1001);
    wait_for("a master", START, || one.is_master());
    let two = start(1002);
    settled(&[&one, &two], 30);
    let three = start(1003);
    wait_for("the newcomer is filled", SOON, || three.ids().len() == 10);
    let before = settled(&[&one, &two, &three], 30);
    assert_eq!([&one, &two, &three].iter().filter(|instance| instance.is_master()).count(), 1);
    let view = two.coordination.assignment();
    assert_eq!(view.workers.iter().map(|worker| worker.clusters.len()).sum::<usize>(), 30);
    assert!(view.unassigned.is_empty() && view.workers.iter().all(|worker| worker.alive));
    assert_eq!(view.master.as_deref(), Some("127.0.0.1:1001"));

    three.coordination.stop();
    let three = start(1003);
    assert_eq!(settled(&[&one, &two, &three], 30), before, "a restart in time moves nothing");

    one.coordination.stop();
    let after = settled(&[&two, &three], 30);
    assert!(before.iter().all(|(id, owner)| owner == "127.0.0.1:1001" || after[id] == *owner));
    wait_for("another master", SOON, || two.is_master() || three.is_master());
}

#[test]
fn lists_that_a_second_master_wrote_are_put_right_and_whoever_has_a_lock_keeps_the_cluster() {
    let zookeepers = ZooKeepers::single();
    let clusters = Clusters::new(4);
    let [one, two] = [1001, 1002].map(|port| Instance::start(zookeepers.hosts(), port, &clusters));
    let before = settled(&[&one, &two], 4);
    for (id, owner) in &before {
        (if *owner == one.name { &one } else { &two }).lock(id);
    }
    let all: Vec<_> =
        before.keys().map(|id| json!({"projectid": "p", "clusterid": id, "bk_biz_id": 2})).collect();
    let author = Author::of(&zookeepers);
    let list = |instance: &Instance| layout::child(layout::WORKERS, &instance.name);
    for (first, second) in [(json!(all), json!(all)), (json!([]), json!(all)), (json!([]), json!("x"))] {
        author.write(&list(&one), &first.to_string());
        author.write(&list(&two), &second.to_string());
        wait_for("every cluster is listed once", SOON, || {
            let lists = [&one, &two].map(|instance| author.read(&list(instance)));
            let ids = lists.iter().flat_map(|list| list.as_array().cloned().unwrap_or_default());
            let mut ids: Vec<String> =
                ids.map(|entry| entry["clusterid"].as_str().unwrap().to_owned()).collect();
            ids.sort();
            ids.iter().eq(before.keys())
        });
        assert!(settled(&[&one, &two], 4).len() == 4);
    }
    author.write(&list(&one), &json!(all).to_string());
    author.write(&list(&two), &json!(all).to_string());
    wait_for("those that hold them keep them", SOON, || settled(&[&one, &two], 4) == before);
}

#[test]
fn whoever_is_cut_off_loses_permission_before_another_gets_it() {
    let zookeepers = ZooKeepers::single();
    let clusters = Clusters::new(1);
    let network = Network::to(&zookeepers.hosts()[0]);
    let near = Instance::start_with(HASTY, vec![network.host()], 1001, &clusters);
    let mine = near.lock("a");
    let before = number(&*mine);
    let epoch = mine.epoch();
    let far = Instance::start(zookeepers.hosts(), 1002, &clusters);
    wait_for(
        "the holder is known",
        SOON,
        || matches!(far.coordination.acquire("a"), Lock::Pending { holder: Some(holder) } if holder == near.name),
    );
    network.cut();
    wait_for("the other one takes over", SOON, || {
        let theirs = matches!(far.coordination.acquire("a"), Lock::Held(fence) if open(&*fence));
        assert!(!(theirs && open(&*mine)), "two may write");
        theirs
    });
    assert!(number(&*far.lock("a")) > before);
    assert_eq!(near.coordination.status().state, "suspended");

    network.heal();
    wait_for("it is back", SOON, || near.coordination.status().state == "connected");
    assert!(!open(&*mine));
    far.coordination.release("a");
    wait_for("it has the lock again", SOON, || open(&*mine));
    assert!(mine.epoch() > epoch, "what was in flight must be read back");
}

#[test]
fn a_lock_passes_on_when_it_is_given_back_and_falls_when_it_is_removed() {
    let zookeepers = ZooKeepers::single();
    let clusters = Clusters::new(1);
    let one = Instance::start(zookeepers.hosts(), 1001, &clusters);
    let two = Instance::start(zookeepers.hosts(), 1002, &clusters);
    let first = one.lock("a");
    let low = number(&*first);
    assert!(matches!(two.coordination.acquire("a"), Lock::Pending { .. }));
    one.coordination.release("a");
    assert!(!open(&*first), "a lock given back permits nothing");
    assert!(number(&*two.lock("a")) > low);
    two.coordination.stop();
    assert!(number(&*one.lock("a")) > low);
}

#[test]
fn a_lock_given_back_while_another_one_is_leaves_no_node_behind() {
    let zookeepers = ZooKeepers::single();
    let one = Instance::start(zookeepers.hosts(), 1001, &Clusters::new(0));
    let author = Author::of(&zookeepers);
    // The moments at which the thread that gives the first one back may look at the second.
    for microseconds in (0..200).step_by(2) {
        for id in ["a", "b"] {
            one.lock(id);
        }
        one.coordination.release("a");
        let began = Instant::now();
        while began.elapsed() < Duration::from_micros(microseconds) {}
        one.coordination.release("b");
        wait_for("both nodes are gone", SOON, || author.children(layout::LOCKS).is_empty());
    }
}

#[test]
fn a_moved_cluster_names_its_old_business_until_that_is_clean_and_a_left_one_is_shown() {
    let zookeepers = ZooKeepers::single();
    let clusters = Clusters::new(2);
    let one = Instance::start(zookeepers.hosts(), 1001, &clusters);
    settled(&[&one], 2);
    clusters.set(vec![cluster("BCS-K8S-00000", 3)]);
    let previous = || one.clusters().unwrap()[0].previous_bk_biz_ids.clone();
    wait_for("the new business", SOON, || one.ids().len() == 1 && one.clusters().unwrap()[0].bk_biz_id == 3);
    assert_eq!(previous(), [2]);
    wait_for("the left one is shown", SOON, || one.coordination.assignment().left == ["BCS-K8S-00001"]);
    one.coordination.business_cleaned("BCS-K8S-00000", 2);
    wait_for("the old business is forgotten", SOON, || previous().is_empty());
}

#[test]
fn a_zookeeper_that_forgot_everything_is_filled_again_and_fences_still_grow() {
    let mut zookeepers = ZooKeepers::single();
    let clusters = Clusters::new(4);
    let one = Instance::start_with(HASTY, zookeepers.hosts(), 1001, &clusters);
    let two = Instance::start_with(HASTY, zookeepers.hosts(), 1002, &clusters);
    let owners = settled(&[&one, &two], 4);
    let (id, owner) = owners.first_key_value().unwrap();
    let holder = if *owner == one.name { &one } else { &two };
    let before = number(&*holder.lock(id));
    zookeepers.servers[0].kill();
    wait_for("writes stop", SOON, || !open(&*holder.lock(id)));
    zookeepers.servers[0].wipe();
    zookeepers.servers[0].start();
    zookeepers.wait_until_serving();
    wait_for("both are back", START, || {
        [&one, &two].iter().all(|instance| instance.coordination.status().state == "connected")
    });
    wait_for("the assignment is back", SOON, || {
        one.coordination.assignment().workers.iter().map(|worker| worker.clusters.len()).sum::<usize>() == 4
    });
    assert!(number(&*holder.lock(id)) > before);
}

#[test]
fn a_command_waits_for_the_lock_like_an_instance_and_gets_no_clusters() {
    let zookeepers = ZooKeepers::single();
    let one = Instance::start(zookeepers.hosts(), 1001, &Clusters::new(3));
    one.lock("a");
    let servers = servers(&zookeepers);
    let info = ServerInfo { ip: "127.0.0.1".to_owned(), port: 1001, pid: 2, ..ServerInfo::default() };
    let guest = Guest::start(servers, info).unwrap();
    wait_for(
        "the holder is known",
        SOON,
        || matches!(guest.acquire("a"), Lock::Pending { holder: Some(holder) } if holder == one.name),
    );
    one.coordination.release("a");
    wait_for("the lock", SOON, || matches!(guest.acquire("a"), Lock::Held(fence) if open(&*fence)));
    assert_eq!(one.coordination.assignment().workers.len(), 1);
    guest.stop();
    one.lock("a");
}

#[test]
fn bcs_storage_is_found_in_order_and_followed() {
    let zookeepers = ZooKeepers::single();
    let discovery = Discovery::start(servers(&zookeepers)).unwrap();
    wait_for("the empty registry is reported", START, || {
        discovery.problem().is_some_and(|problem| problem.contains("no bcs-storage"))
    });
    let author = Author::of(&zookeepers);
    for (name, data) in [
        ("z0000000001", r#"{"ip":"10.0.0.1","port":50024,"scheme":"https"}"#),
        ("_c_00112233445566778899aabbccddeeff-0000000003", r#"{"ip":"10.0.0.3","port":50024}"#),
        ("a0000000002", "garbage"),
        ("a0000000004", r#"{"ip":"10.0.0.1","port":50024,"scheme":"https"}"#),
    ] {
        author.write(&layout::child(layout::STORAGES, name), data);
    }
    let expect = |urls: &[&str]| wait_for("the addresses", SOON, || **discovery.urls() == *urls);
    expect(&["https://10.0.0.1:50024", "http://10.0.0.3:50024"]);
    author.delete(&layout::child(layout::STORAGES, "a0000000004"));
    author.delete(&layout::child(layout::STORAGES, "z0000000001"));
    expect(&["http://10.0.0.3:50024"]);
}

//! ZooKeeper fails in every way: writing stops within the lease, goes on by itself, and both sides
//! become equal.

use crate::author::Author;
use crate::churn::Churn;
use crate::partition::Network;
use crate::processes::{Fleet, PATIENCE, SESSION};
use crate::zookeeper::{ZooKeepers, own_address};
use bcs_bkcmdb_synchronizer::coordination::layout;
use serde_json::json;
use std::time::{Duration, Instant};

/// What a look at the state may take on a busy machine.
const SLACK: Duration = Duration::from_secs(2);
/// Connections to peers that an instance may keep for later, and did not have before; fewer than it
/// loses sessions.
const IDLE: usize = 6;
const SESSIONS: &str = "bkcmdb_sync_zookeeper_sessions_total";

#[test]
fn an_ensemble_loses_one_its_leader_freezes_and_all_of_it_restarts() {
    let all = [0, 1, 2];
    // A busy machine is connected to another server well before the lease ends.
    const SESSION: Duration = Duration::from_secs(12);
    let mut fleet = Fleet::new(ZooKeepers::start(3), 9);
    for _ in all {
        fleet.add(&own_address(), &[], &json!({"zk_session_timeout": SESSION.as_secs()}));
    }
    fleet.wait_shared(&all, PATIENCE);
    fleet.wait_equal(PATIENCE);
    let churn = Churn::start(&fleet.world.storage, fleet.clusters());

    let (assignment, sessions) = (fleet.assignment(0), all.map(|index| fleet.metric(index, SESSIONS)));
    let follower = (fleet.zookeepers.leader() + 1) % 3;
    fleet.zookeepers.servers[follower].kill();
    let killed = Instant::now();
    fleet.wait("a session timeout passes", PATIENCE, |fleet| {
        // One that is slow to answer says nothing.
        let state = all.map(|index| fleet.status(index, "/coordination/state"));
        assert!(state.iter().flatten().all(|state| state == "connected"), "one server was missed: {state:?}");
        killed.elapsed() > SESSION && state.iter().all(Option::is_some)
    });
    assert_eq!(all.map(|index| fleet.metric(index, SESSIONS)), sessions);
    fleet.wait("no cluster has moved", PATIENCE, |fleet| fleet.assignment(0) == assignment);
    fleet.zookeepers.servers[follower].start();
    fleet.zookeepers.wait_until_serving();

    let leader = fleet.zookeepers.leader();
    fleet.zookeepers.servers[leader].freeze();
    let frozen = Instant::now();
    fleet.wait("two session timeouts pass, and the others serve", PATIENCE, |fleet| {
        frozen.elapsed() > 2 * SESSION && fleet.are_connected(&all, Instant::now() - SESSION / 2)
    });
    fleet.zookeepers.servers[leader].thaw();
    fleet.wait_shared(&all, PATIENCE);

    fleet.zookeepers.servers.iter_mut().for_each(|server| server.kill());
    fleet.wait("writing stops", SESSION * 2 / 3 + SLACK, |fleet| fleet.are_suspended(&all));
    fleet.zookeepers.servers.iter_mut().for_each(|server| server.start());
    fleet.zookeepers.wait_until_serving();
    let back = Instant::now();
    fleet.wait("all are back", PATIENCE, |fleet| fleet.are_connected(&all, back));
    fleet.wait_shared(&all, PATIENCE);
    drop(churn);
    fleet.wait_equal(PATIENCE);
}

#[test]
fn nothing_is_written_through_a_long_outage_and_a_zookeeper_that_forgot_everything_is_filled_again() {
    let both = [0, 1];
    let mut fleet = Fleet::new(ZooKeepers::single(), 6).start(2);
    fleet.wait_shared(&both, PATIENCE);
    fleet.wait_equal(PATIENCE);
    for forgets in [false, true] {
        let churn = Churn::start(&fleet.world.storage, fleet.clusters());
        let wrote = fleet.world.cmdb.writes().len();
        fleet.wait("it writes", PATIENCE, |fleet| fleet.world.cmdb.writes().len() > wrote + 20);
        fleet.zookeepers.servers[0].kill();
        let since = Instant::now();
        fleet.wait("writing stops", SESSION * 2 / 3 + SLACK, |fleet| fleet.are_suspended(&both));
        let writes = fleet.world.cmdb.writes().len();
        fleet.wait("three session timeouts pass", PATIENCE, |_| since.elapsed() > 3 * SESSION);
        assert_eq!(fleet.world.cmdb.writes().len(), writes, "somebody wrote without a lease");
        if forgets {
            fleet.zookeepers.servers[0].wipe();
        }
        fleet.zookeepers.servers[0].start();
        fleet.zookeepers.wait_until_serving();
        fleet.wait_shared(&both, PATIENCE);
        drop(churn);
        fleet.wait_equal(PATIENCE);
    }
}

#[test]
fn fifty_lost_connections_and_fifty_lost_sessions_of_five_instances_leave_nothing_behind() {
    let all = [0, 1, 2, 3, 4];
    let mut fleet = Fleet::new(ZooKeepers::single(), 10);
    let network = Network::to(&fleet.zookeepers.hosts()[0]);
    for _ in all {
        // No cluster moves: an instance holds as much in the end as in the beginning. No session ends
        // because the machine is busy.
        let keys = json!({"zk": [network.host()], "reassign_delay": 600, "zk_session_timeout": 12});
        fleet.add(&own_address(), &[], &keys);
    }
    fleet.wait_shared(&all, PATIENCE);
    fleet.wait_equal(PATIENCE);
    let author = Author::of(&fleet.zookeepers);
    assert_eq!(author.children(layout::MEMBERS).len(), all.len());
    let lose = || {
        let sessions = |fleet: &Fleet| all.map(|index| fleet.metric(index, SESSIONS));
        let (since, before) = (Instant::now(), sessions(&fleet));
        network.heal();
        fleet.wait("a heartbeat on a new connection", PATIENCE, |fleet| fleet.are_connected(&all, since));
        assert_eq!(sessions(&fleet), before, "a lost connection is no lost session");
        // A session whose registration somebody deletes is given up for a new one.
        for node in author.children(layout::MEMBERS) {
            author.delete(&layout::child(layout::MEMBERS, &node));
        }
        let lost = before.map(|count| count + 1.0);
        fleet.wait("a new session of each", PATIENCE, |fleet| {
            sessions(fleet) == lost && fleet.are_connected(&all, since)
        });
    };
    // What the first loss makes them hold they may keep: connections to peers, threads of listeners.
    lose();
    fleet.wait_shared(&all, PATIENCE);
    fleet.wait_equal(PATIENCE);
    let threads = |fleet: &Fleet| all.map(|index| fleet.instances[index].threads());
    let files = |fleet: &Fleet| all.map(|index| fleet.instances[index].files());
    let before = (threads(&fleet), files(&fleet));
    (0..10).for_each(|_| lose());
    let no_more = |now: [usize; 5], before: [usize; 5], idle: usize| {
        now.iter().zip(before).all(|(now, before)| *now <= before + idle)
    };
    fleet.wait(&format!("no more threads than {:?}", before.0), PATIENCE, |fleet| {
        no_more(threads(fleet), before.0, 0)
    });
    fleet.wait(&format!("no more files than {:?}", before.1), PATIENCE, |fleet| {
        no_more(files(fleet), before.1, IDLE)
    });
    fleet.wait("no session but theirs and the author's", PATIENCE, |fleet| {
        fleet.zookeepers.sessions() == all.len() + 1
    });
    fleet.wait_shared(&all, PATIENCE);
    fleet.wait_equal(PATIENCE);
}

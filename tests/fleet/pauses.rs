//! An instance that stands still: whoever took over is the only one who writes, also after it wakes.

use crate::churn::Churn;
use crate::processes::{Fleet, PATIENCE, SESSION};
use crate::zookeeper::ZooKeepers;
use std::time::Instant;

#[test]
fn a_frozen_master_does_not_write_once_after_it_was_replaced() {
    let fleet = Fleet::new(ZooKeepers::single(), 8).start(2);
    fleet.wait_shared(&[0, 1], PATIENCE);
    fleet.wait_equal(PATIENCE);
    let churn = Churn::start(&fleet.world.storage, fleet.clusters());
    let frozen = fleet.master();
    let other = 1 - frozen;
    fleet.wait("it is busy", PATIENCE, |fleet| fleet.writes_of(frozen) > 50);

    fleet.instances[frozen].freeze();
    let since = Instant::now();
    fleet.wait("the other one takes over", PATIENCE, |fleet| {
        since.elapsed() > 3 * SESSION && fleet.is_shared_by(&[other])
    });
    let (before, changes) = (fleet.writes_of(frozen), churn.changes());
    fleet.wait("it writes for all", PATIENCE, |_| churn.changes() > changes + 50);
    assert_eq!(fleet.writes_of(frozen), before);

    fleet.instances[frozen].thaw();
    fleet.wait("it is a worker like any other", PATIENCE, |fleet| {
        fleet.status(frozen, "/role").as_deref() == Some("worker") && fleet.is_shared_by(&[0, 1])
    });
    fleet.wait("it writes again", PATIENCE, |fleet| fleet.writes_of(frozen) > before + 20);
    drop(churn);
    fleet.wait_equal(PATIENCE);
}

//! Following the storage: what happens to a pod reaches its record, promptly, once, and nothing
//! else is written. (design.md 3, rules 1, 2, 4 and 5.)

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod world;

use bcs_bkcmdb_synchronizer::sandbox::storage::Generation;
use world::pods::{phase, pod};
use world::{PATIENCE, World};

const BOTH: [Generation; 2] = [Generation::Old, Generation::New];

#[test]
fn pods_that_were_there_before_are_recorded_field_by_field() {
    let mut world = World::single(Generation::New);
    for number in 0..120 {
        world.put(pod(&format!("web-{number}"), 1));
    }
    world.start();
    world.wait_equal(PATIENCE);
    assert_eq!(world.verdict().unwrap().total().recorded, 120);
}

#[test]
fn a_pod_is_followed_from_its_creation_to_its_delete_in_both_generations() {
    for generation in BOTH {
        let mut world = World::single(generation);
        world.start_and_follow();
        world.put(pod("web-0", 1));
        world.wait_equal(PATIENCE);
        world.put(phase(pod("web-0", 2), "Failed"));
        world.wait_equal(PATIENCE);
        world.delete("web-0");
        world.wait_equal(PATIENCE);
        let operations: Vec<String> = world.cmdb.writes().into_iter().map(|call| call.operation).collect();
        assert_eq!(operations, ["create", "update", "delete"], "{generation:?}");
    }
}

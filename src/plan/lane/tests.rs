//! One lane with its ledger, driven by hand: what it asks for next, and what an answer leads to.

use crate::model::Field;
use crate::plan::testkit::*;
use crate::plan::{Acked, Effect, Failure, PointRead, Source, Verdict};

const PATTERN: i64 = 1_199_016;
const TOO_LONG: i64 = 1_199_015;
const SPACED: &str = r#"{"a":"b c","d":"e"}"#;

fn unreachable() -> Failure {
    Failure::Unreachable("refused".into())
}

// ---- order and folding -------------------------------------------------------------------------

#[test]
fn the_newest_of_several_orders_is_written_and_only_once() {
    let mut desk = Desk::new();
    for version in 1..=5 {
        desk.sees(pod("a", version, &format!("S{version}")), Source::Event);
    }
    desk.expect("create a");
    assert_eq!(desk.lane.record("a").unwrap().text(Field::Status), "S5");
    desk.create_answered("a", Ok(()));
    desk.expect("idle");
    assert!(desk.lane.is_empty());
}

#[test]
fn creates_are_grouped_in_their_order_up_to_the_batch() {
    let mut desk = Desk::new();
    for name in ["a", "b", "c", "d", "e"] {
        desk.sees(named(name, 1, "Running"), Source::Event);
    }
    desk.expect("create a b c d");
    desk.created(&["a", "b", "c", "d"], Ok(vec![Ok(()), Err(busy()), Ok(()), Err(duplicate())]));
    desk.expect("find holder for d");
    let other = desk.holder("x", false, true);
    desk.holder_found("d", None, Some(other));
    desk.expect("create e");
    desk.create_answered("e", Ok(()));
    desk.wait();
    desk.expect("create b");
}

#[test]
fn an_order_that_was_overtaken_while_it_waited_is_not_written() {
    let mut desk = Desk::new();
    desk.record(pod("a", 5, "S5"));
    desk.event(None, Some(hint("id")));
    desk.expect("read web-0 for a");
    desk.found_pod("a", pod("a", 6, "S6"));
    desk.expect("update a: bk_pod_status");
    let (_, on_its_way) = desk.gate(pod("a", 7, "S7"), Source::Event);
    desk.updated("a", &[Field::Status], Ok(()));
    desk.event(None, Some(hint("id")));
    desk.expect("read web-0 for a");
    desk.found_pod("a", pod("a", 8, "S8"));
    desk.takes(on_its_way);
    desk.expect("update a: bk_pod_status");
    assert_eq!(desk.lane.record("a").unwrap().text(Field::Status), "S8");
}

#[test]
fn a_dead_pods_last_order_does_not_bring_it_back() {
    let mut desk = Desk::new();
    desk.record(pod("a", 5, "S5"));
    let (_, on_its_way) = desk.gate(pod("a", 6, "S6"), Source::Event);
    desk.event(None, Some(hint("id")));
    desk.expect("read web-0 for a");
    desk.found("a", PointRead::Gone);
    desk.takes(on_its_way);
    desk.expect("delete a");
    desk.deleted("a", Ok(()));
    desk.expect("idle");
}

#[test]
fn a_read_during_which_the_pod_was_seen_elsewhere_is_repeated() {
    for (read, version) in [(None, Some(6)), (Some(5), Some(6)), (Some(7), Some(6)), (Some(6), None)] {
        let mut desk = Desk::new();
        desk.record(pod("a", 5, "S5"));
        desk.event(None, Some(hint("id")));
        desk.expect("read web-0 for a");
        let mut seen = pod("a", 6, "S5");
        seen.version = version;
        desk.sees(seen, Source::Event);
        match read {
            None => desk.found("a", PointRead::Gone),
            Some(version) => desk.found_pod("a", pod("a", version, "Read")),
        };
        desk.expect("read web-0 for a");
        desk.found_pod("a", pod("a", 8, "S5"));
        desk.expect("idle");
    }
}

// ---- deletes -----------------------------------------------------------------------------------

#[test]
fn both_events_of_a_new_generation_delete_lead_to_one_delete() {
    for together in [true, false] {
        let mut desk = Desk::new();
        let dead = pod("a", 5, "S5");
        desk.record(dead.clone());
        desk.event(None, Some(hint_of(&dead)));
        if together {
            desk.event(None, Some(hint_of(&dead)));
        }
        desk.expect("read web-0 for a");
        desk.found("a", PointRead::Gone);
        desk.expect("delete a");
        assert!(matches!(&desk.deleted("a", Ok(()))[..], [Effect::Deleted { .. }]));
        desk.expect("idle");
        if !together {
            desk.event(None, Some(hint_of(&dead)));
        }
        desk.expect("idle");
    }
}

#[test]
fn a_delete_waits_until_the_storage_can_be_read() {
    let mut desk = Desk::new();
    desk.record(pod("a", 5, "S5"));
    desk.event(None, Some(hint("id")));
    for read in [PointRead::Failed("down".into()), PointRead::Unusable("no uid".into())] {
        desk.expect("read web-0 for a");
        desk.found("a", read);
        assert!(desk.next().starts_with("wait"));
        desk.wait();
    }
    desk.expect("read web-0 for a");
    desk.found_pod("a", pod("a", 5, "S5"));
    desk.expect("idle");
}

#[test]
fn a_recreated_pod_is_created_once_its_forerunner_is_deleted() {
    let mut desk = Desk::new();
    desk.record(pod("a", 5, "S5"));
    assert_eq!(desk.sees(pod("b", 9, "S9"), Source::Event), Verdict::Verify);
    desk.expect("read web-0 for a");
    desk.found_pod("a", pod("b", 9, "S9"));
    desk.expect("delete a");
    desk.deleted("a", Ok(()));
    desk.expect("hint b");
    desk.expect("read web-0 for b");
    desk.found_pod("b", pod("b", 9, "S9"));
    desk.expect("create b");
    desk.create_answered("b", Ok(()));
    desk.expect("idle");
}

#[test]
fn a_successor_that_went_while_its_forerunner_was_deleted_is_not_created() {
    let mut desk = Desk::new();
    desk.record(pod("a", 5, "S5"));
    desk.sees(pod("b", 9, "S9"), Source::Event);
    desk.expect("read web-0 for a");
    desk.found_pod("a", pod("b", 9, "S9"));
    desk.expect("delete a");
    desk.deleted("a", Ok(()));
    desk.expect("hint b");
    desk.event(None, Some(hint_of(&pod("b", 9, "S9"))));
    desk.expect("read web-0 for b");
    desk.found("b", PointRead::Gone);
    desk.expect("idle");
}

#[test]
fn without_permission_to_delete_nothing_is_deleted_replaced_or_evicted() {
    let mut desk = Desk::with(false);
    desk.record(pod("a", 5, "S5"));
    desk.event(None, Some(hint("id")));
    desk.expect("read web-0 for a");
    desk.found("a", PointRead::Gone);
    desk.expect("idle");
    assert_eq!(desk.sees(pod("b", 6, "S6"), Source::Listing), Verdict::Write);
    desk.expect("create b");
    desk.create_answered("b", Err(duplicate()));
    desk.expect("find holder for b");
    let holder = desk.holder("a", true, true);
    desk.holder_found("b", None, Some(holder));
    desk.expect("idle");
    assert!(desk.ledger.is_refused("b"));

    let mut desk = Desk::with(false);
    desk.record(pod("a", 5, "S5"));
    let moved = with(pod("a", 6, "S5"), Field::WorkloadName, "other");
    desk.sees(moved, Source::Event);
    desk.expect("update a: bk_pod_workloadname");
    desk.updated("a", &[Field::WorkloadName], Ok(()));
    desk.expect("read back a");
    desk.read_back("a", Some(&pod("a", 5, "S5")));
    desk.expect("idle");
    assert!(desk.ledger.is_refused("a"));
}

#[test]
fn without_permission_to_delete_the_memory_of_dead_pods_is_bounded_too() {
    let mut desk = Desk::with(false);
    desk.sees(pod("a", 5, "S5"), Source::Event);
    desk.event(None, Some(hint("id")));
    desk.expect("read web-0 for a");
    desk.found("a", PointRead::Gone);
    desk.expect("idle");
    desk.ledger.begin_full_sync();
    desk.ledger.missing(SECOND * 1000);
    assert!(desk.ledger.is_empty());
}

#[test]
fn a_refused_delete_is_shown_and_tried_again_after_an_hour() {
    let mut desk = Desk::new();
    desk.record(pod("a", 5, "S5"));
    desk.event(None, Some(hint("id")));
    desk.expect("read web-0 for a");
    desk.found("a", PointRead::Gone);
    desk.expect("delete a");
    desk.deleted("a", Err(refused(1_199_006, None)));
    assert_eq!(desk.ledger.troubles().len(), 1);
    desk.ledger.begin_full_sync();
    desk.ledger.stored(&pod("a", 5, "S5").record);
    assert!(desk.ledger.missing(desk.now).doomed.is_empty());
    desk.expect("wait 3600s");
    desk.wait();
    desk.expect("delete a");
    desk.deleted("a", Ok(()));
    desk.expect("idle");
    assert!(desk.ledger.troubles().is_empty());
}

// ---- failures ----------------------------------------------------------------------------------

#[test]
fn one_culprit_in_a_batch_is_found_by_halves_and_refused_alone() {
    let mut desk = Desk::new();
    for name in ["a", "b", "c", "bad"] {
        desk.sees(named(name, 1, "Running"), Source::Event);
    }
    let mut steps = Vec::new();
    loop {
        let step = desk.next();
        let Some(uuids) = step.strip_prefix("create ") else { break };
        let uuids: Vec<&str> = uuids.split(' ').collect();
        let answer = match uuids.as_slice() {
            [_] if uuids.contains(&"bad") => Err(refused(1_199_010, Some(Field::WorkloadName))),
            _ if uuids.contains(&"bad") => Err(Failure::Later { code: 1_199_999, message: "panic".into() }),
            _ => Ok(vec![Ok(()); uuids.len()]),
        };
        desk.created(&uuids, answer);
        steps.push(step);
    }
    assert_eq!(steps, ["create a b c bad", "create a b", "create c bad", "create c", "create bad"]);
    assert!(desk.ledger.is_refused("bad"));
    assert_eq!(desk.ledger.counts().in_step, 3);
}

#[test]
fn a_write_that_was_not_answered_is_read_back_and_looked_at_again_when_it_can_no_longer_land() {
    let wanted = pod("a", 1, "S1");
    for landed in [true, false] {
        let mut desk = Desk::new();
        desk.sees(wanted.clone(), Source::Event);
        desk.expect("create a");
        desk.create_answered("a", Err(ambiguous()));
        assert_eq!(desk.ledger.acked("a"), Acked::Unknown);
        desk.wait();
        desk.expect("read back a");
        desk.read_back("a", landed.then_some(&wanted));
        if !landed {
            desk.expect("create a");
            desk.create_answered("a", Ok(()));
        }
        assert!(desk.next().starts_with("wait"), "the last look is open");
        desk.wait();
        desk.expect("read back a");
        desk.read_back("a", Some(&wanted));
        desk.expect("idle");
    }
}

#[test]
fn an_old_write_that_lands_late_is_overwritten() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1, "S1"));
    desk.sees(pod("a", 2, "S2"), Source::Event);
    desk.expect("update a: bk_pod_status");
    desk.updated("a", &[Field::Status], Err(ambiguous()));
    desk.sees(pod("a", 3, "S3"), Source::Event);
    desk.wait();
    desk.expect("read back a");
    desk.read_back("a", Some(&pod("a", 1, "S1")));
    desk.expect("update a: bk_pod_status");
    desk.updated("a", &[Field::Status], Ok(()));
    desk.wait();
    desk.expect("read back a");
    desk.read_back("a", Some(&pod("a", 2, "S2")));
    desk.expect("read web-0 for a");
    desk.found_pod("a", pod("a", 3, "S3"));
    desk.expect("update a: bk_pod_status");
}

#[test]
fn a_create_that_lands_after_its_pod_is_gone_is_deleted() {
    let mut desk = Desk::new();
    desk.sees(pod("a", 1, "S1"), Source::Event);
    desk.expect("create a");
    desk.create_answered("a", Err(ambiguous()));
    desk.event(None, Some(hint("id")));
    desk.wait();
    desk.expect("read web-0 for a");
    desk.found("a", PointRead::Gone);
    desk.expect("read back a");
    desk.read_back("a", None);
    desk.wait();
    desk.expect("read back a");
    desk.read_back("a", Some(&pod("a", 1, "S1")));
    desk.expect("read web-0 for a");
    desk.found("a", PointRead::Gone);
    desk.expect("delete a");
}

#[test]
fn a_record_a_listing_showed_changed_while_it_was_updated_is_read_back() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1, "S1"));
    desk.sees(pod("a", 2, "S2"), Source::Event);
    desk.expect("update a: bk_pod_status");
    let changed = with(pod("a", 1, "S1"), Field::HostInnerIp, "10.0.0.9");
    desk.ledger.begin_full_sync();
    desk.ledger.stored(&changed.record);
    desk.ledger.end_stored();
    desk.updated("a", &[Field::Status], Ok(()));
    desk.expect("read back a");
    desk.read_back("a", Some(&with(pod("a", 2, "S2"), Field::HostInnerIp, "10.0.0.9")));
    desk.expect("update a: bk_host_innerip");
}

#[test]
fn a_pod_without_a_host_whose_record_is_in_doubt_keeps_that_record() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1, "S1"));
    desk.sees(pod("a", 2, "S2"), Source::Event);
    desk.expect("update a: bk_pod_status");
    desk.ledger.begin_full_sync();
    desk.updated("a", &[Field::Status], Ok(()));
    desk.ledger.stored(&pod("a", 1, "S1").record);
    desk.ledger.end_stored();
    desk.sees(homeless(pod("a", 3, "S3")), Source::Listing);
    desk.expect("read web-0 for a");
    desk.found_pod("a", homeless(pod("a", 3, "S3")));
    desk.expect("read back a");
    desk.read_back("a", Some(&pod("a", 2, "S2")));
    desk.expect("read web-0 for a");
    desk.found_pod("a", homeless(pod("a", 3, "S3")));
    desk.expect("update a: bk_pod_status");
}

#[test]
fn an_update_of_a_record_that_is_gone_asks_the_storage_first() {
    for alive in [true, false] {
        let mut desk = Desk::new();
        desk.record(pod("a", 1, "S1"));
        desk.sees(pod("a", 2, "S2"), Source::Event);
        desk.expect("update a: bk_pod_status");
        desk.updated("a", &[Field::Status], Err(Failure::NotFound));
        desk.expect("read web-0 for a");
        if alive {
            desk.found_pod("a", pod("a", 2, "S2"));
            desk.expect("create a");
        } else {
            desk.found("a", PointRead::Gone);
            desk.expect("idle");
        }
    }
}

#[test]
fn a_lane_pauses_while_the_cmdb_is_away_and_then_goes_on() {
    let mut desk = Desk::new();
    desk.sees(named("a", 1, "S1"), Source::Event);
    desk.sees(named("b", 1, "S1"), Source::Event);
    for _ in 0..8 {
        desk.expect("create a b");
        desk.created(&["a", "b"], Err(unreachable()));
        assert!(desk.lane.is_paused());
        let before = desk.now;
        desk.wait();
        assert!(desk.now - before <= SECOND * 6);
    }
    desk.expect("create a b");
    desk.created(&["a", "b"], Ok(vec![Ok(()), Ok(())]));
    assert!(!desk.lane.is_paused());
    desk.expect("idle");
}

#[test]
fn one_pod_that_fails_again_and_again_does_not_pause_the_others() {
    let mut desk = Desk::new();
    desk.sees(named("a", 1, "S1"), Source::Event);
    for _ in 0..8 {
        desk.expect("create a");
        desk.create_answered("a", Err(busy()));
        assert!(!desk.lane.is_paused());
        desk.wait();
    }
    desk.expect("create a");
    desk.create_answered("a", Err(busy()));
    desk.sees(named("b", 1, "S1"), Source::Event);
    desk.expect("create b");
}

#[test]
fn several_pods_that_fail_in_a_row_pause_the_lane() {
    let mut desk = Desk::new();
    for name in ["a", "b", "c"] {
        desk.sees(named(name, 1, "S1"), Source::Event);
    }
    desk.expect("create a b c");
    desk.created(&["a", "b", "c"], Ok(vec![Err(busy()), Err(busy()), Err(busy())]));
    assert!(desk.lane.is_paused());
}

#[test]
fn nothing_is_sent_while_the_fence_is_down_and_nothing_is_lost() {
    let mut desk = Desk::new();
    desk.sees(named("a", 1, "S1"), Source::Event);
    for _ in 0..3 {
        desk.expect("create a");
        desk.create_answered("a", Err(Failure::Fenced("no lock".into())));
        desk.expect("wait 1s");
        desk.wait();
    }
    desk.expect("create a");
    desk.create_answered("a", Ok(()));
    desk.expect("idle");
}

#[test]
fn parked_records_beyond_the_bound_are_read_again() {
    let mut desk = Desk::new();
    for (turn, name) in ["a", "b", "c"].into_iter().enumerate() {
        desk.sees(named(name, 1, "S1"), Source::Event);
        desk.expect(&format!("create {name}"));
        desk.create_answered(name, Err(busy()));
        assert_eq!(desk.lane.record(name).is_some(), turn < 2, "{name}");
        // Something definite in between: the lane does not pause.
        desk.record(named(&format!("good-{name}"), 1, "S1"));
    }
    // A newer version for one that was let go does not make room for a further one.
    desk.sees(named("c", 2, "S2"), Source::Event);
    desk.expect("read c for c");
    desk.found_pod("c", named("c", 2, "S2"));
    desk.expect("create c");
    desk.create_answered("c", Err(busy()));
    assert!(desk.lane.record("c").is_none());
}

// ---- what was refused, or not taken ------------------------------------------------------------

#[test]
fn what_is_refused_of_an_overtaken_version_is_not_held_against_the_newer_one() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1, "S1"));
    desk.sees(with(pod("a", 2, "S1"), Field::NetworkMode, "odd"), Source::Event);
    desk.expect("update a: bk_pod_networkmode");
    let (_, on_its_way) = desk.gate(pod("a", 3, "S1"), Source::Event);
    desk.updated("a", &[Field::NetworkMode], Err(refused(1_199_006, None)));
    desk.takes(on_its_way);
    desk.expect("idle");
    assert!(desk.ledger.troubles().is_empty());
}

#[test]
fn a_host_that_comes_back_lets_the_record_be_replaced() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1, "S1"));
    let moved = |version| with(pod("a", version, "S1"), Field::WorkloadName, "other");
    desk.sees(homeless(moved(2)), Source::Event);
    desk.expect("update a: bk_pod_workloadname");
    desk.updated("a", &[Field::WorkloadName], Ok(()));
    desk.sees(moved(3), Source::Event);
    desk.expect("read back a");
    desk.read_back("a", Some(&pod("a", 1, "S1")));
    desk.expect("update a: bk_pod_workloadname");
    desk.updated("a", &[Field::WorkloadName], Ok(()));
    desk.expect("read back a");
    desk.read_back("a", Some(&pod("a", 1, "S1")));
    desk.expect("delete a");
}

#[test]
fn a_pod_without_a_host_that_cannot_be_replaced_is_not_tried_again_by_a_full_sync() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1, "S1"));
    let moved = with(pod("a", 2, "S1"), Field::WorkloadName, "other");
    desk.sees(moved.clone(), Source::Event);
    desk.expect("update a: bk_pod_workloadname");
    let (_, before) = desk.gate(homeless(moved.clone()), Source::Event);
    desk.updated("a", &[Field::WorkloadName], Ok(()));
    // With the answer it is wanted as it is held, whole.
    let (_, after) = desk.gate(homeless(moved.clone()), Source::Event);
    desk.takes(before);
    desk.takes(after);
    while desk.next() == "read back a" {
        desk.read_back("a", Some(&pod("a", 1, "S1")));
        if desk.next() == "update a: bk_pod_workloadname" {
            desk.updated("a", &[Field::WorkloadName], Ok(()));
        }
    }
    assert!(desk.ledger.is_refused("a"));
    desk.ledger.begin_full_sync();
    desk.ledger.stored(&pod("a", 1, "S1").record);
    desk.ledger.end_stored();
    assert_eq!(desk.sees(homeless(moved), Source::Listing), Verdict::Refused);
}

#[test]
fn a_host_that_comes_back_while_another_is_on_its_way_is_written() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1, "S1"));
    let elsewhere = with(pod("a", 2, "S2"), Field::HostInnerIp, "10.0.0.2");
    desk.sees(elsewhere, Source::Event);
    desk.expect("update a: bk_host_innerip bk_pod_status");
    // Both look like what the CMDB holds by now.
    let (_, without) = desk.gate(homeless(pod("a", 3, "S1")), Source::Event);
    let (_, back) = desk.gate(pod("a", 4, "S1"), Source::Event);
    desk.updated("a", &[Field::HostInnerIp, Field::Status], Ok(()));
    desk.takes(without);
    desk.takes(back);
    desk.expect("update a: bk_host_innerip bk_pod_status");
}

#[test]
fn a_pod_that_loses_its_host_before_its_refusal_is_not_tried_again_by_a_full_sync() {
    let mut desk = Desk::with(false);
    desk.record(pod("a", 1, "S1"));
    let moved = with(pod("a", 2, "S1"), Field::WorkloadName, "other");
    desk.sees(moved.clone(), Source::Event);
    desk.expect("update a: bk_pod_workloadname");
    desk.updated("a", &[Field::WorkloadName], Ok(()));
    assert_eq!(desk.sees(homeless(moved.clone()), Source::Event), Verdict::Suppressed);
    desk.expect("read back a");
    desk.read_back("a", Some(&pod("a", 1, "S1")));
    assert!(desk.ledger.is_refused("a"));
    desk.ledger.begin_full_sync();
    desk.ledger.stored(&pod("a", 1, "S1").record);
    desk.ledger.end_stored();
    assert_eq!(desk.sees(homeless(moved), Source::Listing), Verdict::Refused);
}

#[test]
fn a_host_that_comes_back_after_the_refusal_lets_the_record_be_replaced() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1, "S1"));
    let moved = |version| with(pod("a", version, "S1"), Field::WorkloadName, "other");
    desk.sees(homeless(moved(2)), Source::Event);
    desk.expect("update a: bk_pod_workloadname");
    desk.updated("a", &[Field::WorkloadName], Ok(()));
    desk.expect("read back a");
    desk.read_back("a", Some(&pod("a", 1, "S1")));
    assert!(desk.ledger.is_refused("a"));
    assert_eq!(desk.sees(moved(3), Source::Event), Verdict::Write);
}

#[test]
fn an_old_write_that_lands_on_a_refused_record_is_put_right() {
    let mut desk = Desk::with(false);
    desk.record(pod("a", 1, "S1"));
    desk.sees(pod("a", 2, "S2"), Source::Event);
    desk.expect("update a: bk_pod_status");
    desk.updated("a", &[Field::Status], Err(ambiguous()));
    let moved = with(pod("a", 3, "S3"), Field::WorkloadName, "other");
    desk.sees(moved.clone(), Source::Event);
    desk.wait();
    desk.expect("read back a");
    desk.read_back("a", Some(&pod("a", 1, "S1")));
    desk.expect("update a: bk_pod_workloadname bk_pod_status");
    desk.updated("a", &[Field::WorkloadName, Field::Status], Ok(()));
    desk.expect("read back a");
    desk.read_back("a", Some(&pod("a", 1, "S3")));
    desk.wait();
    assert!(desk.ledger.is_refused("a"));
    desk.expect("read back a");
    desk.read_back("a", Some(&pod("a", 1, "S2")));
    desk.expect("read web-0 for a");
    desk.found_pod("a", moved);
    desk.expect("update a: bk_pod_workloadname bk_pod_status");
}

// ---- duplicates --------------------------------------------------------------------------------

/// Pod b, whose create met a duplicate, is at the question who holds it.
fn at_duplicate() -> Desk {
    let mut desk = Desk::new();
    desk.sees(pod("b", 1, "S1"), Source::Event);
    desk.expect("create b");
    desk.create_answered("b", Err(duplicate()));
    desk.expect("find holder for b");
    desk
}

#[test]
fn a_record_of_the_same_uuid_is_updated() {
    let mut desk = at_duplicate();
    let ours = desk.holder("b", true, true);
    desk.holder_found("b", Some(ours), None);
    desk.expect("update b: bk_pod_status");
}

#[test]
fn a_dead_pods_record_under_the_name_makes_way_after_the_name_was_read() {
    for our_biz in [true, false] {
        let mut desk = at_duplicate();
        let old = desk.holder("a", true, our_biz);
        desk.holder_found("b", None, Some(old.clone()));
        desk.expect("read web-0 for b");
        desk.found_pod("b", pod("b", 1, "S1"));
        desk.expect("evict a for b");
        let effects = desk.lane.evicted("b", &old, Ok(()), desk.now, &mut desk.ledger);
        assert!(matches!(&effects[..], [Effect::Deleted { uuid, .. }] if uuid == "a"));
        desk.expect("create b");
    }
}

#[test]
fn a_record_under_the_name_stays_while_the_storage_has_its_pod() {
    let mut desk = at_duplicate();
    let old = desk.holder("a", true, true);
    desk.holder_found("b", None, Some(old));
    desk.expect("read web-0 for b");
    desk.found_pod("b", pod("a", 1, "S1"));
    desk.expect("hint a");
}

#[test]
fn the_same_uuid_in_a_previous_business_makes_way() {
    let mut desk = at_duplicate();
    let old = desk.holder("b", true, false);
    desk.holder_found("b", Some(old), None);
    desk.expect("evict b for b");
}

#[test]
fn a_holder_that_was_just_deleted_is_no_reason_to_refuse_whatever_failed_before() {
    let mut desk = Desk::new();
    desk.sees(pod("b", 1, "S1"), Source::Event);
    for _ in 0..6 {
        desk.wait();
        desk.expect("create b");
        desk.create_answered("b", Err(busy()));
    }
    desk.wait();
    desk.expect("create b");
    desk.create_answered("b", Err(duplicate()));
    desk.expect("find holder for b");
    desk.holder_found("b", None, None);
    desk.wait();
    desk.expect("create b");
}

#[test]
fn what_another_cluster_or_nobody_holds_is_refused_by_name() {
    for (holder, words) in [(Some(false), "cluster OTHER in business 2"), (None, "neither this business")] {
        let mut desk = at_duplicate();
        for _ in 0..5 {
            let other = holder.map(|_| desk.holder("a", false, true));
            desk.holder_found("b", None, other);
            if desk.ledger.is_refused("b") {
                break;
            }
            desk.wait();
            desk.expect("create b");
            desk.create_answered("b", Err(duplicate()));
            desk.wait();
            desk.expect("find holder for b");
        }
        desk.expect("idle");
        assert!(desk.ledger.troubles()[0].message.contains(words), "{:?}", desk.ledger.troubles());
    }
}

// ---- refusals and repairs ----------------------------------------------------------------------

#[test]
fn a_refused_record_is_left_alone_for_an_hour_or_until_it_changes() {
    let mut desk = Desk::new();
    let bad = pod("a", 1, "S1");
    desk.sees(bad.clone(), Source::Event);
    desk.expect("create a");
    desk.create_answered("a", Err(refused(1_199_010, Some(Field::WorkloadName))));
    desk.expect("idle");
    for source in [Source::Event, Source::Listing, Source::Read] {
        desk.ledger.begin_full_sync();
        desk.sees(bad.clone(), source);
        desk.expect("idle");
    }
    desk.now += SECOND * 3601;
    desk.ledger.begin_full_sync();
    assert_eq!(desk.sees(bad, Source::Listing), Verdict::Write);
    desk.expect("create a");
    desk.create_answered("a", Err(refused(1_199_010, Some(Field::WorkloadName))));
    desk.sees(pod("a", 2, "S2"), Source::Event);
    desk.expect("create a");
    desk.create_answered("a", Ok(()));
    assert!(desk.ledger.troubles().is_empty());
}

#[test]
fn an_unknown_module_is_looked_up_once_and_then_refused() {
    let mut desk = Desk::new();
    desk.sees(pod("a", 1, "S1"), Source::Event);
    desk.expect("create a");
    let unknown = || Err(refused(1_118_401, Some(Field::ModuleId)));
    assert!(matches!(desk.create_answered("a", unknown())[..], [Effect::RefreshTopology]));
    desk.expect("read web-0 for a");
    desk.found_pod("a", pod("a", 1, "S1"));
    desk.expect("create a");
    assert!(matches!(desk.create_answered("a", unknown())[..], [Effect::Refused { .. }]));
    desk.expect("idle");
}

#[test]
fn a_repaired_field_is_not_written_again_while_its_source_is_the_same() {
    let mut desk = Desk::new();
    let spaced = |version, status| with(pod("a", version, status), Field::Annotations, SPACED);
    desk.sees(spaced(1, "S1"), Source::Event);
    desk.expect("create a");
    desk.create_answered("a", Err(refused(PATTERN, Some(Field::Annotations))));
    desk.expect("create a");
    assert_eq!(desk.lane.record("a").unwrap().text(Field::Annotations), r#"{"d":"e"}"#);
    desk.create_answered("a", Ok(()));
    desk.ledger.begin_full_sync();
    assert_eq!(desk.sees(spaced(1, "S1"), Source::Listing), Verdict::Suppressed);
    assert_eq!(desk.ledger.counts().degraded, 1);
    desk.sees(spaced(2, "S2"), Source::Event);
    desk.expect("update a: bk_pod_status");
    desk.updated("a", &[Field::Status], Ok(()));
    desk.sees(with(pod("a", 3, "S2"), Field::Annotations, r#"{"x":"y"}"#), Source::Event);
    desk.expect("update a: bk_pod_annotations");
    assert_eq!(desk.lane.record("a").unwrap().text(Field::Annotations), r#"{"x":"y"}"#);
    desk.updated("a", &[Field::Annotations], Ok(()));
    assert_eq!(desk.ledger.counts().degraded, 0);
}

#[test]
fn a_version_handed_over_before_the_repair_was_known_is_repaired_the_same_way() {
    let mut desk = Desk::new();
    let spaced = |version, status| with(pod("a", version, status), Field::Annotations, SPACED);
    desk.sees(spaced(1, "S1"), Source::Event);
    desk.expect("create a");
    let (_, on_its_way) = desk.gate(spaced(2, "S2"), Source::Event);
    desk.create_answered("a", Err(refused(PATTERN, Some(Field::Annotations))));
    desk.takes(on_its_way);
    desk.expect("create a");
    desk.create_answered("a", Err(refused(PATTERN, Some(Field::Annotations))));
    desk.expect("create a");
    let record = desk.lane.record("a").unwrap();
    assert_eq!((record.text(Field::Annotations), record.text(Field::Status)), (r#"{"d":"e"}"#, "S2"));
    desk.create_answered("a", Ok(()));
    assert_eq!(desk.sees(spaced(3, "S2"), Source::Event), Verdict::Suppressed);
}

#[test]
fn further_repairs_start_from_the_source() {
    let long = format!(r#"{{"a":"{}","b":"c d","e":"f"}}"#, "x".repeat(2000));
    let source = with(pod("a", 1, "S1"), Field::Annotations, &long);
    let mut desk = Desk::new();
    desk.sees(source.clone(), Source::Event);
    for code in [TOO_LONG, PATTERN] {
        desk.expect("create a");
        desk.create_answered("a", Err(refused(code, Some(Field::Annotations))));
    }
    desk.expect("read web-0 for a");
    desk.found_pod("a", source.clone());
    desk.expect("create a");
    assert_eq!(desk.lane.record("a").unwrap().text(Field::Annotations), r#"{"e":"f"}"#);
    desk.create_answered("a", Ok(()));
    desk.ledger.begin_full_sync();
    assert_eq!(desk.sees(source, Source::Listing), Verdict::Suppressed);
}

#[test]
fn an_immutable_field_is_updated_looked_at_and_only_then_replaced() {
    for server_changes_it in [true, false] {
        let mut desk = Desk::new();
        desk.record(pod("a", 1, "S1"));
        let moved = with(pod("a", 2, "S1"), Field::WorkloadName, "other");
        desk.sees(moved.clone(), Source::Event);
        desk.expect("update a: bk_pod_workloadname");
        desk.updated("a", &[Field::WorkloadName], Ok(()));
        desk.expect("read back a");
        if server_changes_it {
            desk.read_back("a", Some(&moved));
        } else {
            desk.read_back("a", Some(&pod("a", 1, "S1")));
            desk.expect("delete a");
            desk.deleted("a", Ok(()));
            desk.expect("create a");
            desk.create_answered("a", Ok(()));
        }
        desk.expect("idle");
    }
}

#[test]
fn an_evicted_pod_keeps_the_host_its_record_has() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1, "Running"));
    let evicted = homeless(pod("a", 2, "Failed"));
    desk.sees(evicted.clone(), Source::Event);
    desk.expect("update a: bk_pod_status");
    // Meanwhile somebody else changed the host in the CMDB: it is not ours to empty.
    desk.updated("a", &[Field::Status], Err(ambiguous()));
    desk.wait();
    desk.expect("read back a");
    desk.read_back("a", Some(&with(pod("a", 1, "Running"), Field::HostInnerIp, "10.0.0.9")));
    desk.expect("update a: bk_pod_status");
    desk.updated("a", &[Field::Status], Err(Failure::NotFound));
    desk.expect("read web-0 for a");
    desk.found_pod("a", evicted);
    assert!(desk.next().starts_with("wait"), "without record and host it waits for a host");
    assert_eq!(desk.ledger.counts().unscheduled, 1);
}

#[test]
fn a_repair_of_a_pod_without_a_host_does_not_forget_the_host_of_its_record() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1, "Running"));
    desk.sees(homeless(with(pod("a", 2, "Running"), Field::Annotations, SPACED)), Source::Event);
    desk.expect("update a: bk_pod_annotations");
    desk.updated("a", &[Field::Annotations], Err(refused(PATTERN, Some(Field::Annotations))));
    desk.expect("update a: bk_pod_annotations");
    desk.updated("a", &[Field::Annotations], Ok(()));
    desk.sees(with(pod("a", 3, "Failed"), Field::Annotations, SPACED), Source::Event);
    desk.expect("update a: bk_pod_status");
}

#[test]
fn a_pod_that_gets_its_host_back_is_not_written_for_it() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1, "Running"));
    desk.sees(homeless(pod("a", 2, "Failed")), Source::Event);
    desk.expect("update a: bk_pod_status");
    desk.updated("a", &[Field::Status], Ok(()));
    desk.sees(pod("a", 3, "Failed"), Source::Event);
    desk.expect("idle");
    desk.ledger.begin_full_sync();
    desk.ledger.stored(&pod("a", 3, "Failed").record);
    desk.sees(pod("a", 3, "Failed"), Source::Listing);
    desk.expect("idle");
}

#[test]
fn only_what_was_sent_and_not_taken_is_replaced() {
    let mut desk = Desk::new();
    let named = |version, workload| with(pod("a", version, "S1"), Field::WorkloadName, workload);
    desk.record(pod("a", 1, "S1"));
    desk.sees(named(2, "other"), Source::Event);
    desk.expect("update a: bk_pod_workloadname");
    desk.updated("a", &[Field::WorkloadName], Ok(()));
    desk.sees(named(3, "third"), Source::Event);
    desk.expect("read back a");
    desk.read_back("a", Some(&named(2, "other")));
    desk.expect("update a: bk_pod_workloadname");
}

#[test]
fn a_pod_without_a_host_is_not_replaced_for_an_immutable_field() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1, "Running"));
    let moved = homeless(with(pod("a", 2, "Running"), Field::WorkloadName, "other"));
    desk.sees(moved, Source::Event);
    desk.expect("update a: bk_pod_workloadname");
    desk.updated("a", &[Field::WorkloadName], Ok(()));
    desk.expect("read back a");
    desk.read_back("a", Some(&with(pod("a", 1, "Running"), Field::HostInnerIp, "10.0.0.9")));
    desk.expect("idle");
    assert!(desk.ledger.is_refused("a"));
}

#[test]
fn a_refused_read_says_nothing_about_the_record() {
    let mut desk = at_duplicate();
    desk.lane.holder_found("b", Err(refused(1_199_006, None)), desk.now, &mut desk.ledger);
    assert!(!desk.ledger.is_refused("b"));
    desk.wait();
    desk.expect("find holder for b");
}

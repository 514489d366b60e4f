//! One lane with its ledger, driven by hand: what it asks for next, and what an answer leads to.

mod hosts;
mod interruptions;
mod refusals;

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

/// In a restored etcd versions start low again.
#[test]
fn a_read_during_which_an_event_seemed_older_is_repeated() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1001, "S1"));
    assert_eq!(desk.sees(pod("a", 3, "S3"), Source::Listing), Verdict::Verify);
    desk.expect("read web-0 for a");
    assert_eq!(desk.sees(pod("a", 4, "S4"), Source::Event), Verdict::Stale);
    desk.found_pod("a", pod("a", 3, "S3"));
    desk.expect("read web-0 for a");
    desk.found_pod("a", pod("a", 4, "S4"));
    desk.expect("update a: bk_pod_status");
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
fn what_a_listing_lacks_counts_as_deleted_only_where_it_is() {
    for (deletes, next) in [(true, "delete a"), (false, "idle")] {
        let mut desk = Desk::with(deletes);
        desk.record(pod("a", 5, "S5"));
        desk.ledger.begin_full_sync();
        let orders = desk.ledger.missing(SECOND).recorded;
        desk.takes(orders);
        desk.expect("read web-0 for a");
        let found = desk.found("a", PointRead::Gone);
        assert_eq!(found, [Effect::FoundGone { storage_id: "id".into(), deleted: deletes }]);
        desk.expect(next);
    }
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
    desk.ledger.forget_dead(SECOND * 1000);
    assert!(desk.ledger.is_empty());
}

// ---- failures ----------------------------------------------------------------------------------

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

/// Pod a with status S1 is recorded; a request about it is on its way while a listing shows its record
/// with that status.
fn overtaken(desk: &mut Desk, request: &str, held: &str) {
    desk.ledger.begin_full_sync();
    desk.expect(request);
    desk.ledger.stored(&pod("a", 1, held).record);
    desk.ledger.end_stored();
}

#[test]
fn a_write_during_which_a_listing_showed_something_else_is_looked_at() {
    for (held, next) in [("S1", "read back a"), ("S2", "idle")] {
        let mut desk = Desk::new();
        desk.record(pod("a", 1, "S1"));
        desk.sees(pod("a", 2, "S2"), Source::Event);
        // The listing is older than the write, or newer, with what a former owner's write made of it.
        overtaken(&mut desk, "update a: bk_pod_status", held);
        desk.updated("a", &[Field::Status], Ok(()));
        desk.expect(next);
    }
    let mut desk = Desk::new();
    desk.sees(pod("a", 2, "S2"), Source::Event);
    overtaken(&mut desk, "create a", "S1");
    desk.create_answered("a", Ok(()));
    desk.expect("read back a");
    desk.read_back("a", Some(&pod("a", 1, "S1")));
    desk.expect("update a: bk_pod_status");
}

#[test]
fn a_look_at_a_record_that_a_listing_overtook_is_repeated() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1, "S1"));
    desk.sees(pod("a", 2, "S2"), Source::Event);
    desk.expect("update a: bk_pod_status");
    desk.updated("a", &[Field::Status], Err(ambiguous()));
    desk.wait();
    overtaken(&mut desk, "read back a", "S1");
    desk.read_back("a", Some(&pod("a", 2, "S2")));
    desk.expect("read back a");
    desk.read_back("a", Some(&pod("a", 1, "S1")));
    desk.expect("update a: bk_pod_status");
}

#[test]
fn a_delete_during_which_a_listing_showed_the_record_is_looked_at() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1, "S1"));
    desk.event(None, Some(hint("id")));
    desk.expect("read web-0 for a");
    desk.found("a", PointRead::Gone);
    overtaken(&mut desk, "delete a", "S1");
    desk.deleted("a", Ok(()));
    desk.expect("read back a");
    desk.read_back("a", Some(&pod("a", 1, "S1")));
    desk.expect("delete a");
    desk.deleted("a", Ok(()));
    desk.expect("idle");
}

#[test]
fn two_recorded_pods_of_a_name_that_is_a_third_ones_by_now_are_both_deleted() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1, "S1"));
    desk.ledger.begin_full_sync();
    desk.ledger.stored(&pod("a", 1, "S1").record);
    // The former owner recorded b.
    desk.ledger.stored(&pod("b", 2, "S2").record);
    desk.ledger.end_stored();
    desk.sees(pod("b", 2, "S2"), Source::Listing);
    for uuid in ["a", "b"] {
        desk.expect(&format!("read web-0 for {uuid}"));
        desk.found_pod(uuid, pod("c", 3, "S3"));
        desk.expect(&format!("delete {uuid}"));
        desk.deleted(uuid, Ok(()));
        desk.expect("hint c");
    }
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

#[test]
fn a_pod_is_read_where_the_storage_keeps_it_and_so_is_the_one_found_there() {
    let mut desk = Desk::new();
    desk.record(kept_as(named("a", 1, "S1"), "there"));
    desk.event(None, Some(hint("id-a")));
    desk.expect("read there for a");
    desk.found_pod("a", kept_as(named("b", 1, "S1"), "there"));
    desk.expect("delete a");
    desk.deleted("a", Ok(()));
    desk.expect("hint b");
    assert_eq!(desk.ledger.name_of("b"), Some(("ns", "b")));
    desk.expect("read there for b");
    desk.found_pod("b", kept_as(named("b", 1, "S1"), "there"));
    desk.expect("create b");
}

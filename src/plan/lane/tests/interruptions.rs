//! The permission to write was interrupted: what was decided before is decided anew, or not written.

use crate::model::Field;
use crate::plan::testkit::*;
use crate::plan::{PointRead, Source, Verdict};

#[test]
fn what_was_decided_before_an_interruption_is_not_written() {
    let mut desk = Desk::new();
    desk.record(named("b", 1, "S1"));
    desk.sees(named("a", 1, "S1"), Source::Event);
    desk.sees(named("b", 2, "S2"), Source::Event);
    let (_, late) = desk.gate(named("c", 1, "S1"), Source::Event);
    assert!(desk.ledger.interrupted(1));
    desk.takes(late);
    desk.expect("idle");
    assert!(desk.lane.is_empty());
    assert_eq!(desk.ledger.counts().pending, 3);
}

#[test]
fn what_a_full_sync_decides_after_an_interruption_is_written() {
    let mut desk = Desk::new();
    for name in ["a", "b"] {
        desk.sees(named(name, 1, "S1"), Source::Event);
    }
    desk.ledger.interrupted(1);
    desk.ledger.begin_full_sync();
    desk.ledger.stored(&named("b", 3, "S3").record);
    desk.ledger.end_stored();
    // Somebody else recorded what is newer; the listing shows it, and no pod `a`.
    desk.sees(named("b", 3, "S3"), Source::Listing);
    assert_eq!(desk.sees(named("c", 1, "S1"), Source::Listing), Verdict::Write);
    desk.expect("create c");
    desk.create_answered("c", Ok(()));
    desk.expect("idle");
}

#[test]
fn a_record_that_waits_to_be_tried_again_is_written_as_the_listing_shows_it_now() {
    let mut desk = Desk::new();
    desk.sees(pod("a", 1, "S1"), Source::Event);
    desk.expect("create a");
    desk.create_answered("a", Err(busy()));
    desk.ledger.interrupted(1);
    desk.ledger.begin_full_sync();
    desk.ledger.end_stored();
    assert_eq!(desk.sees(pod("a", 1, "S1"), Source::Listing), Verdict::Write);
    desk.wait();
    desk.expect("create a");
}

#[test]
fn a_point_read_from_before_an_interruption_is_repeated() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1, "S1"));
    desk.event(None, Some(hint("id")));
    desk.expect("read web-0 for a");
    desk.ledger.interrupted(1);
    desk.found_pod("a", pod("a", 2, "S2"));
    desk.expect("read web-0 for a");
    desk.found_pod("a", pod("a", 3, "S3"));
    desk.expect("update a: bk_pod_status");
    desk.updated("a", &[Field::Status], Ok(()));
    desk.expect("idle");
}

#[test]
fn what_was_proven_gone_is_deleted_after_an_interruption_too() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1, "S1"));
    desk.event(None, Some(hint("id")));
    desk.expect("read web-0 for a");
    desk.found("a", PointRead::Gone);
    desk.ledger.interrupted(1);
    desk.expect("delete a");
}

#[test]
fn a_record_an_interrupted_write_left_in_doubt_is_looked_at() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1, "S1"));
    desk.sees(pod("a", 2, "S2"), Source::Event);
    desk.expect("update a: bk_pod_status");
    let (_, late) = desk.gate(pod("a", 3, "S3"), Source::Event);
    desk.ledger.interrupted(1);
    // Somebody else recorded what is newer; the update of ours landed before that, or after it.
    desk.ledger.begin_full_sync();
    desk.ledger.stored(&pod("a", 3, "S3").record);
    desk.ledger.end_stored();
    assert_eq!(desk.sees(pod("a", 3, "S3"), Source::Listing), Verdict::Suppressed);
    desk.updated("a", &[Field::Status], Ok(()));
    desk.takes(late);
    desk.expect("read back a");
    desk.read_back("a", Some(&pod("a", 2, "S2")));
    desk.expect("read web-0 for a");
    desk.found_pod("a", pod("a", 3, "S3"));
    desk.expect("update a: bk_pod_status");
    desk.updated("a", &[Field::Status], Ok(()));
    desk.expect("idle");
}

//! What the CMDB refuses, and what of that can be put right.

use super::*;

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
fn a_refused_record_that_somebody_else_makes_as_wanted_is_refused_no_more() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1, "S1"));
    desk.sees(pod("a", 2, "S2"), Source::Event);
    desk.expect("update a: bk_pod_status");
    desk.updated("a", &[Field::Status], Err(refused(1_199_010, None)));
    desk.expect("idle");
    desk.now += SECOND * 3601;
    desk.ledger.begin_full_sync();
    let (_, on_its_way) = desk.gate(pod("a", 2, "S2"), Source::Listing);
    desk.ledger.begin_full_sync();
    desk.ledger.stored(&pod("a", 2, "S2").record);
    desk.takes(on_its_way);
    desk.expect("read back a");
    desk.read_back("a", Some(&pod("a", 2, "S2")));
    desk.expect("idle");
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
fn a_refused_read_says_nothing_about_the_record() {
    let mut desk = at_duplicate();
    desk.lane.holder_found("b", Err(refused(1_199_006, None)), desk.now, &mut desk.ledger);
    assert!(!desk.ledger.is_refused("b"));
    desk.wait();
    desk.expect("find holder for b");
}

#[test]
fn a_refused_record_that_a_listing_leaves_in_doubt_is_looked_at() {
    let read_back = pod("a", 1, "S1");
    let changed = with(pod("a", 1, "S1"), Field::PodIp, "10.9.9.9");
    let moved = with(pod("a", 2, "S1"), Field::WorkloadName, "other");
    for (held, next) in [(&read_back, "idle"), (&changed, "read web-0 for a")] {
        let mut desk = Desk::with(false);
        desk.record(pod("a", 1, "S1"));
        desk.sees(moved.clone(), Source::Event);
        desk.expect("update a: bk_pod_workloadname");
        desk.updated("a", &[Field::WorkloadName], Ok(()));
        desk.expect("read back a");
        desk.ledger.begin_full_sync();
        desk.read_back("a", Some(&read_back));
        desk.expect("idle");
        // Before that answer, or after it, somebody else changed the record.
        desk.ledger.stored(&changed.record);
        desk.ledger.end_stored();
        assert_eq!(desk.sees(moved.clone(), Source::Listing), Verdict::Verify);
        desk.expect("read web-0 for a");
        desk.found_pod("a", moved.clone());
        desk.expect("read back a");
        desk.read_back("a", Some(held));
        desk.expect(next);
    }
}

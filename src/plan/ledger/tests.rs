//! One ledger: what an observation, a listing or an answer leads to.

use super::*;
use crate::model::Field;
use crate::plan::event_queue::LATEST;
use crate::plan::testkit::*;
use crate::plan::{FieldSet, QueuedEvent};
use Source::{Event, Listing, Read};

const NOW: Moment = SECOND;

fn see(ledger: &mut Ledger, pod: crate::model::ObservedPod, source: Source) -> Verdict {
    ledger.observe(pod, source, None, NOW).verdict
}

/// The CMDB acknowledges this pod as it is.
fn acknowledge(ledger: &mut Ledger, pod: &crate::model::ObservedPod) {
    ledger.written(&pod.record.uuid, ledger.prints().of(&pod.record), false);
}

/// A ledger in which pod a is seen and recorded.
fn recorded(version: u64, status: &str) -> Ledger {
    let mut ledger = ledger();
    let pod = pod("a", version, status);
    assert_eq!(see(&mut ledger, pod.clone(), Event), Verdict::Write);
    acknowledge(&mut ledger, &pod);
    ledger
}

fn uuids(orders: &[Order]) -> Vec<&str> {
    orders.iter().map(|order| order.uuid.as_str()).collect()
}

#[test]
fn a_change_back_overtakes_the_change_on_its_way_and_nothing_else_is_sent_twice() {
    let mut ledger = recorded(1, "S1");
    for (version, status, verdict) in [
        (2, "S1", Verdict::Suppressed),
        (3, "S2", Verdict::Write),
        (4, "S2", Verdict::Suppressed),
        (5, "S1", Verdict::Write),
        (6, "S1", Verdict::Suppressed),
    ] {
        assert_eq!(see(&mut ledger, pod("a", version, status), Event), verdict, "version {version}");
    }
}

#[test]
fn a_lower_version_means_what_its_source_is_worth() {
    for (source, verdict) in [(Event, Verdict::Stale), (Listing, Verdict::Verify), (Read, Verdict::Write)] {
        let mut ledger = recorded(9, "S9");
        assert_eq!(see(&mut ledger, pod("a", 8, "S8"), source), verdict, "{source:?}");
        let next = if source == Read { Verdict::Write } else { Verdict::Stale };
        assert_eq!(see(&mut ledger, pod("a", 8, "S0"), Event), next, "after {source:?}");
    }
}

#[test]
fn a_version_that_is_no_number_counts_as_newer() {
    let mut ledger = recorded(9, "S9");
    let mut odd = pod("a", 0, "odd");
    odd.version = None;
    assert_eq!(see(&mut ledger, odd, Event), Verdict::Write);
    assert_eq!(see(&mut ledger, pod("a", 1, "S1"), Event), Verdict::Write);
}

#[test]
fn a_page_that_repeats_a_document_sends_it_once_and_the_next_listing_sends_it_again() {
    let mut ledger = ledger();
    for turn in 0..2 {
        ledger.begin_full_sync();
        assert_eq!(see(&mut ledger, pod("a", 1, "S1"), Listing), Verdict::Write, "turn {turn}");
        assert_eq!(see(&mut ledger, pod("a", 1, "S1"), Listing), Verdict::Suppressed, "turn {turn}");
    }
}

#[test]
fn only_complete_listings_say_what_is_missing_and_each_kind_is_told_apart() {
    let mut ledger = ledger();
    let (kept, gone) = (named("kept", 1, "S"), named("gone", 1, "S"));
    for pod in [&kept, &gone, &named("unrecorded", 1, "S")] {
        see(&mut ledger, pod.clone(), Event);
    }
    ledger.begin_full_sync();
    ledger.stored(&kept.record);
    ledger.stored(&gone.record);
    ledger.stored(&named("extra", 1, "S").record);
    ledger.end_stored();
    see(&mut ledger, kept, Listing);
    let missing = ledger.missing(NOW);
    let mut recorded = uuids(&missing.recorded);
    recorded.sort_unstable();
    assert_eq!((recorded, uuids(&missing.unrecorded)), (vec!["extra", "gone"], vec!["unrecorded"]));
    assert_eq!(missing.total, 3);
    assert!(missing.doomed.is_empty());
}

#[test]
fn a_pod_under_a_name_another_one_holds_is_read_and_neither_counts_as_missing() {
    let mut ledger = recorded(1, "S1");
    ledger.begin_full_sync();
    ledger.stored(&pod("a", 1, "S1").record);
    ledger.stored(&pod("b", 2, "S2").record);
    ledger.end_stored();
    let decision = ledger.observe(pod("b", 2, "S2"), Listing, None, NOW);
    // Both, for each has a record, and by then the name may be a third one's.
    assert_eq!((decision.verdict, uuids(&decision.orders)), (Verdict::Verify, vec!["a", "b"]));
    let missing = ledger.missing(NOW);
    assert!(missing.recorded.is_empty() && missing.unrecorded.is_empty());
}

#[test]
fn a_record_under_the_name_of_a_listed_pod_is_superseded_and_not_missing() {
    let mut ledger = recorded(2, "S2");
    ledger.begin_full_sync();
    ledger.stored(&pod("a", 2, "S2").record);
    // A create of an earlier time landed late.
    ledger.stored(&pod("b", 1, "S1").record);
    ledger.end_stored();
    see(&mut ledger, pod("a", 2, "S2"), Listing);
    let missing = ledger.missing(NOW);
    assert_eq!((uuids(&missing.superseded), missing.recorded.len(), missing.total), (vec!["b"], 0, 2));
}

#[test]
fn a_refusal_lasts_until_the_pod_or_its_record_changes() {
    let mut ledger = recorded(1, "S1");
    let refused = pod("a", 2, "S2");
    see(&mut ledger, refused.clone(), Event);
    let wanted = Some(ledger.prints().of(&refused.record));
    let (since, retry_at) = (NOW, NOW + SECOND * 3600);
    ledger.refused(
        "a",
        Refusal { field: None, code: 1, message: "no".into(), since, retry_at, wanted, kept_host: false },
    );
    for (held, verdict) in [("S1", Verdict::Refused), ("late", Verdict::Write)] {
        ledger.begin_full_sync();
        ledger.stored(&pod("a", 1, held).record);
        ledger.end_stored();
        assert_eq!(see(&mut ledger, refused.clone(), Listing), verdict, "{held}");
    }
    assert_eq!(see(&mut ledger, pod("a", 3, "S3"), Event), Verdict::Write);
}

#[test]
fn a_host_that_was_kept_is_the_one_the_cmdb_holds_by_then() {
    let mut ledger = recorded(1, "S1");
    let moved = with(pod("a", 2, "S1"), Field::HostInnerIp, "10.0.0.2");
    let before = ledger.prints().of(&homeless(pod("a", 3, "S3")).record);
    let decision = ledger.observe(homeless(pod("a", 3, "S3")), Event, None, NOW);
    let OrderKind::Write(desired) = &decision.orders[0].kind else { panic!("{decision:?}") };
    assert_eq!(desired.fingerprint.total, before.total);
    // The write before it is answered only now.
    acknowledge(&mut ledger, &moved);
    ledger.written("a", desired.fingerprint, true);
    let wanted = with(pod("a", 4, "S3"), Field::HostInnerIp, "10.0.0.2");
    let Acked::Present(held) = ledger.acked("a") else { panic!("no record") };
    assert!(held.difference(&ledger.prints().of(&wanted.record)).is_empty());
}

#[test]
fn what_a_listing_shows_of_a_record_whose_host_was_kept_is_compared_as_a_whole() {
    let mut ledger = recorded(1, "S1");
    let decision = ledger.observe(homeless(pod("a", 2, "S2")), Event, None, NOW);
    let OrderKind::Write(desired) = &decision.orders[0].kind else { panic!("{decision:?}") };
    ledger.written("a", desired.fingerprint, true);
    // Somebody else's change, of which the hash of the field tells nothing.
    let mut changed = pod("a", 2, "S2").record;
    changed.module_id <<= 32;
    ledger.begin_full_sync();
    ledger.stored(&changed);
    ledger.end_stored();
    let wanted = pod("a", 3, "S2");
    let print = ledger.prints().of(&wanted.record);
    assert_eq!(see(&mut ledger, wanted, Listing), Verdict::Write);
    let Acked::Present(held) = ledger.acked("a") else { panic!("no record") };
    assert!(held.difference(&print).is_empty());
    assert_eq!(held.to_send(&print), FieldSet::ALL);
}

#[test]
fn a_delete_that_got_lost_is_found_by_the_next_full_sync() {
    let mut ledger = recorded(1, "S1");
    ledger.doom("a");
    ledger.begin_full_sync();
    ledger.stored(&pod("a", 1, "S1").record);
    ledger.end_stored();
    let missing = ledger.missing(NOW);
    assert_eq!((uuids(&missing.doomed), missing.recorded.len()), (vec!["a"], 0));
}

#[test]
fn what_was_written_during_a_full_sync_is_not_believed_otherwise_from_its_listing() {
    let mut ledger = recorded(1, "S1");
    ledger.begin_full_sync();
    see(&mut ledger, pod("a", 2, "S2"), Event);
    acknowledge(&mut ledger, &pod("a", 2, "S2"));
    ledger.stored(&pod("a", 2, "S2").record);
    ledger.end_stored();
    assert_eq!(ledger.counts().in_step, 1);
    // Another one may be older, or what somebody else made of it.
    ledger.stored(&pod("a", 1, "S1").record);
    ledger.end_stored();
    assert_eq!(ledger.acked("a"), Acked::Unknown);
}

#[test]
fn a_deleted_pod_comes_back_by_a_read_only() {
    for uuid_known in [true, false] {
        let mut ledger = if uuid_known { recorded(1, "S1") } else { ledger() };
        if uuid_known {
            ledger.doom("a");
            ledger.removed("a", NOW);
        } else {
            let claim = Some(hint_of(&pod("a", 1, "S1")));
            assert_eq!(ledger.event(queued(None, claim), NOW).verdict, Verdict::UnknownDelete);
        }
        for source in [Event, Listing] {
            let decision = ledger.observe(pod("a", 2, "S2"), source, None, NOW);
            assert_eq!((decision.verdict, uuids(&decision.orders)), (Verdict::Verify, vec!["a"]));
        }
        assert_eq!(ledger.event(queued(None, Some(hint_of(&pod("a", 1, "")))), NOW).verdict, Verdict::Stale);
        assert_eq!(see(&mut ledger, pod("a", 2, "S2"), Read), Verdict::Write);
        assert_eq!(ledger.counts().storage, 1);
    }
}

#[test]
fn a_late_event_of_a_pod_nobody_knew_is_read_where_its_name_died() {
    let mut ledger = recorded(5, "S5");
    ledger.doom("a");
    for _ in 0..2 {
        let decision = ledger.observe(pod("before", 4, "S4"), Event, None, NOW);
        assert_eq!((decision.verdict, uuids(&decision.orders)), (Verdict::Verify, vec!["before"]));
        ledger.doom("before");
        ledger.removed("before", NOW);
    }
}

#[test]
fn the_memory_of_dead_pods_ends() {
    let mut ledger = recorded(1, "S1");
    ledger.doom("a");
    ledger.removed("a", NOW);
    ledger.forget_dead(NOW + LATEST);
    assert_eq!(ledger.len(), 1);
    ledger.forget_dead(NOW + LATEST + SECOND);
    assert!(ledger.is_empty());
}

#[test]
fn a_pod_whose_end_may_have_been_dropped_is_read_before_it_is_created() {
    let mut ledger = recorded(1, "S1");
    let doubtful = |pod| QueuedEvent { doubtful: true, ..queued(Some(pod), None) };
    let decision = ledger.event(doubtful(named("new", 1, "S1")), NOW);
    assert_eq!((decision.verdict, uuids(&decision.orders)), (Verdict::Verify, vec!["new"]));
    assert_eq!(ledger.event(doubtful(pod("a", 2, "S2")), NOW).verdict, Verdict::Write);
    assert_eq!(ledger.event(queued(Some(named("newer", 1, "S1")), None), NOW).verdict, Verdict::Write);
}

#[test]
fn while_the_memory_of_dead_pods_is_full_an_unknown_pod_is_read_before_it_is_created() {
    let mut ledger = ledger();
    for number in 0..TOMBSTONES {
        let claim = hint_of(&named(&number.to_string(), 1, ""));
        ledger.event(queued(None, Some(claim)), NOW);
    }
    let event = || queued(Some(named("new", 1, "S1")), None);
    assert_eq!(ledger.event(event(), NOW).verdict, Verdict::Verify);
    assert!(ledger.len() <= TOMBSTONES + 1);
}

#[test]
fn a_record_that_appears_in_the_full_sync_that_finds_its_pod_dead_is_deleted() {
    let mut ledger = ledger();
    see(&mut ledger, pod("a", 1, "S1"), Event);
    ledger.begin_full_sync();
    ledger.doom("a");
    ledger.removed("a", NOW);
    // A create of the former owner has landed.
    ledger.stored(&pod("a", 1, "S1").record);
    ledger.end_stored();
    assert_eq!(uuids(&ledger.missing(NOW).doomed), ["a"]);
}

#[test]
fn a_record_that_appears_for_a_dead_pod_is_missing_again() {
    let mut ledger = recorded(1, "S1");
    ledger.doom("a");
    ledger.removed("a", NOW);
    ledger.begin_full_sync();
    ledger.stored(&pod("a", 1, "S1").record);
    ledger.end_stored();
    assert_eq!(uuids(&ledger.missing(NOW).recorded), ["a"]);
}

#[test]
fn whoever_a_delete_may_be_about_is_read() {
    let cases = [
        ("by id", queued(None, Some(hint("id"))), vec!["a"]),
        ("by uuid", queued(None, Some(hint_of(&pod("a", 1, "")))), vec!["a"]),
        ("with the living one", queued(None, Some(hint_of(&pod("b", 1, "")))), vec!["a"]),
        ("beside a living version", queued(Some(pod("a", 2, "S2")), Some(hint("id"))), vec!["a"]),
        ("of nobody known", queued(None, Some(hint("other"))), vec![]),
        ("beside one nobody knows", queued(Some(named("n", 1, "")), Some(hint("id-n"))), vec!["n"]),
    ];
    for (what, event, expected) in cases {
        let decision = recorded(1, "S1").event(event, NOW);
        assert_eq!(uuids(&decision.orders), expected, "{what}");
        assert!(
            decision.orders.iter().all(|order| matches!(order.kind, OrderKind::Verify { missing: false }))
        );
    }
}

#[test]
fn a_delete_that_names_two_pods_has_both_read() {
    let mut ledger = recorded(1, "S1");
    ledger.expect(&pod("b", 2, "").into());
    let claim = || queued(None, Some(hint_of(&pod("b", 2, ""))));
    assert_eq!(uuids(&ledger.event(claim(), NOW).orders), ["a", "b"]);
    ledger.doom("b");
    ledger.removed("b", NOW);
    assert_eq!(uuids(&ledger.event(claim(), NOW).orders), ["a"]);
}

#[test]
fn a_document_that_moved_on_leads_deletes_to_its_new_pod() {
    // Recreated under its name, with the same `_id` and with another one.
    for id in ["id", "id2"] {
        let mut ledger = recorded(1, "S1");
        ledger.doom("a");
        ledger.removed("a", NOW);
        let mut next = pod("b", 5, "S5");
        next.storage_id = id.into();
        let decision = ledger.observe(next.clone(), Event, None, NOW);
        assert_eq!((decision.verdict, uuids(&decision.orders)), (Verdict::Verify, vec!["b"]));
        assert_eq!(uuids(&ledger.event(queued(None, Some(hint(id))), NOW).orders), ["b"]);
        assert_eq!(see(&mut ledger, next, Read), Verdict::Write);
        assert_eq!(uuids(&ledger.event(queued(None, Some(hint(id))), NOW).orders), ["b"]);
    }
}

#[test]
fn a_pod_waits_for_its_host_and_keeps_the_last_one() {
    let mut ledger = ledger();
    assert_eq!(see(&mut ledger, homeless(pod("a", 1, "Pending")), Event), Verdict::Waiting);
    assert_eq!(ledger.counts().unscheduled, 1);
    assert_eq!(see(&mut ledger, pod("a", 2, "Running"), Event), Verdict::Write);
    // While the create is on its way nobody knows whether there is a record.
    assert_eq!(see(&mut ledger, homeless(pod("a", 3, "Failed")), Event), Verdict::Verify);
    acknowledge(&mut ledger, &pod("a", 2, "Running"));
    let decision = ledger.observe(homeless(pod("a", 4, "Failed")), Event, None, NOW);
    assert!(matches!(&decision.orders[0].kind, OrderKind::Write(desired) if desired.keeps_host));
    let again = ledger.observe(homeless(pod("a", 5, "Failed")), Event, None, NOW);
    assert_eq!(again.verdict, Verdict::Suppressed);
}

#[test]
fn a_pod_without_a_module_is_shown_and_written_once_there_is_one() {
    let mut ledger = ledger();
    let mut unplaced = pod("a", 1, "S1");
    unplaced.record.module_id = 0;
    assert_eq!(see(&mut ledger, unplaced, Listing), Verdict::Unplaced);
    assert_eq!((ledger.counts().rejected, ledger.troubles()[0].field), (1, Some(Field::ModuleId)));
    assert_eq!(see(&mut ledger, pod("a", 1, "S1"), Listing), Verdict::Write);
    assert_eq!(ledger.counts().rejected, 0);
}

#[test]
fn every_recordable_pod_is_counted_once() {
    let mut ledger = recorded(1, "S1");
    see(&mut ledger, named("pending", 1, "S"), Event);
    see(&mut ledger, named("refused", 1, "S"), Event);
    let refusal = Refusal {
        field: None,
        code: 1,
        message: "no".into(),
        since: NOW,
        retry_at: NOW + SECOND,
        wanted: None,
        kept_host: false,
    };
    ledger.refused("refused", refusal);
    see(&mut ledger, homeless(named("waiting", 1, "S")), Event);
    ledger.stored(&named("extra", 1, "S").record);
    let expected =
        Counts { storage: 3, in_step: 1, pending: 1, rejected: 1, extra: 1, unscheduled: 1, degraded: 0 };
    assert_eq!(ledger.counts(), expected);
}

#[test]
fn a_successor_is_known_before_it_is_read() {
    let mut ledger = recorded(1, "S1");
    ledger.doom("a");
    assert_eq!(ledger.expect(&pod("b", 2, "").into()).map(|order| order.uuid), Some("b".into()));
    let claim = Some(hint_of(&pod("b", 2, "S2")));
    assert_eq!(uuids(&ledger.event(queued(None, claim), NOW).orders), ["b"]);
}

#[test]
fn an_event_about_a_pod_that_a_listing_lacked_is_handed_over_if_its_record_is_in_doubt() {
    for (doubt, verdict) in [(true, Verdict::Write), (false, Verdict::Suppressed)] {
        let mut ledger = recorded(1, "S1");
        ledger.begin_full_sync();
        ledger.learn("a", if doubt { Acked::Unknown } else { ledger.acked("a") });
        ledger.end_stored();
        // Held back: it is not read.
        assert_eq!(uuids(&ledger.missing(NOW).recorded), ["a"]);
        assert_eq!(see(&mut ledger, pod("a", 1, "S1"), Event), verdict);
        assert_eq!(see(&mut ledger, pod("a", 1, "S1"), Event), Verdict::Suppressed);
    }
}

/// Where a point read of pod `a` would ask.
#[track_caller]
fn check_key(ledger: &Ledger, expected: (&str, &str)) {
    assert_eq!(ledger.key_of("a"), Some(expected));
}

#[test]
fn a_point_read_asks_where_the_storage_showed_the_document() {
    for source in [Event, Listing, Read] {
        let mut ledger = ledger();
        ledger.stored(&pod("a", 1, "S1").record);
        check_key(&ledger, ("ns", "web-0"));
        see(&mut ledger, kept_as(pod("a", 2, "S2"), "there"), source);
        check_key(&ledger, ("kept", "there"));
        // Its end does not make it forgotten: the record is still to be read for.
        ledger.doom("a");
        check_key(&ledger, ("kept", "there"));
        ledger.removed("a", NOW);
        ledger.begin_full_sync();
        ledger.forget_dead(NOW + LATEST + SECOND);
        assert_eq!(ledger.key_of("a"), None);
        // Neither does the next pod in its place inherit it.
        see(&mut ledger, named("b", 1, "S1"), Listing);
        assert_eq!(ledger.key_of("b"), Some(("ns", "b")));
    }
}

#[test]
fn a_document_that_is_not_believed_yet_is_read_where_it_is() {
    let odd = || kept_as(pod("a", 5, "S5"), "there");
    let dead = |ledger: &mut Ledger| ledger.event(queued(None, Some(hint_of(&pod("a", 4, "")))), NOW);
    let mut late = ledger();
    assert_eq!(dead(&mut late).verdict, Verdict::UnknownDelete);
    assert_eq!(see(&mut late, odd(), Event), Verdict::Verify);
    check_key(&late, ("kept", "there"));
    // A delete and a version of it at once, of a pod that was known by its record.
    let mut folded = ledger();
    folded.stored(&pod("a", 1, "S1").record);
    assert_eq!(folded.event(queued(Some(odd()), Some(hint("id"))), NOW).verdict, Verdict::Verify);
    check_key(&folded, ("kept", "there"));
    // Beside another one that has its name.
    let mut beside = recorded(1, "S1");
    beside.expect(&pod("b", 2, "").into());
    see(&mut beside, kept_as(pod("b", 5, "S5"), "there"), Event);
    assert_eq!(beside.key_of("b"), Some(("kept", "there")));
}

#[test]
fn an_older_document_does_not_say_where_the_pod_is() {
    let mut ledger = recorded(5, "S5");
    for source in [Event, Listing] {
        see(&mut ledger, kept_as(pod("a", 4, "S4"), "before"), source);
        check_key(&ledger, ("ns", "web-0"));
    }
    see(&mut ledger, kept_as(pod("a", 6, "S6"), "after"), Event);
    check_key(&ledger, ("kept", "after"));
    see(&mut ledger, pod("a", 4, "S4"), Read);
    check_key(&ledger, ("ns", "web-0"));
}

#[test]
fn what_a_listing_shows_of_a_pod_long_dead_is_remembered_until_it_is_read() {
    let odd = kept_as(pod("a", 2, "S2"), "other");
    let mut ledger = ledger();
    ledger.event(queued(None, Some(hint_of(&odd))), NOW);
    ledger.begin_full_sync();
    ledger.end_stored();
    assert_eq!(see(&mut ledger, odd, Listing), Verdict::Verify);
    ledger.forget_dead(NOW + LATEST * 2);
    assert_eq!(ledger.key_of("a"), Some(("kept", "other")));
    ledger.begin_full_sync();
    ledger.forget_dead(NOW + LATEST * 2);
    assert!(ledger.is_empty());
}

//! Pods that lose their host, or get it back.

use super::*;

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
fn a_refusal_of_a_pod_that_lost_another_host_than_was_held_lasts() {
    let mut desk = Desk::with(false);
    desk.record(pod("a", 1, "S1"));
    let moved = |version| with(pod("a", version, "S1"), Field::WorkloadName, "other");
    desk.sees(with(moved(2), Field::HostInnerIp, "10.0.0.2"), Source::Event);
    desk.expect("update a: bk_host_innerip bk_pod_workloadname");
    let (_, lost) = desk.gate(homeless(moved(3)), Source::Event);
    desk.updated("a", &[Field::HostInnerIp, Field::WorkloadName], Ok(()));
    desk.takes(lost);
    let held = with(pod("a", 1, "S1"), Field::HostInnerIp, "10.0.0.2");
    desk.expect("read back a");
    desk.read_back("a", Some(&held));
    desk.expect("update a: bk_pod_workloadname");
    desk.updated("a", &[Field::WorkloadName], Ok(()));
    desk.expect("read back a");
    desk.read_back("a", Some(&held));
    assert!(desk.ledger.is_refused("a"));
    desk.ledger.begin_full_sync();
    desk.ledger.stored(&held.record);
    desk.ledger.end_stored();
    assert_eq!(desk.sees(homeless(moved(3)), Source::Listing), Verdict::Refused);
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

//! What one full sync concludes from its two listings: the orders that follow, and whether the watch
//! should have told.
//!
//! The caller lists and holds the gate; what the CMDB holds is in the [`Ledger`] already.

use super::mutation::{Mutation, active};
use super::{
    Acked, Cause, EventQueue, Guard, GuardDecision, Ledger, Missing, Moment, MuteCheck, Order, OrderKind,
    Source,
};
use crate::model::ObservedPod;

/// The comparison of one full sync.
#[derive(Debug)]
pub struct Comparison {
    /// The watch stream that is suspected if changes turn up that it did not deliver.
    stream: Option<u64>,
    periodic: bool,
    deletes: bool,
    created: u64,
    updated: u64,
}

/// What the storage's listing lacks.
#[derive(Debug)]
pub struct Lacking {
    /// To be verified, and deleted if the storage does not have them.
    pub orders: Vec<Order>,
    /// Deletes that are held back.
    pub held_back: usize,
    /// Records the CMDB holds for this cluster.
    pub total: usize,
}

impl Comparison {
    /// One that `causes` asked for. `stream` is the connected watch stream, if it is `settled`;
    /// `deletes`: whether records may be deleted at all.
    pub fn new(causes: &[Cause], stream: Option<u64>, settled: bool, deletes: bool) -> Self {
        // A topology that changed makes every document of a Mesos cluster look new.
        let telling = settled && !causes.contains(&Cause::Topology);
        let stream = stream.filter(|_| telling);
        let periodic = causes.contains(&Cause::Periodic);
        Self { stream, periodic, deletes, created: 0, updated: 0 }
    }

    /// Records to create and to update so far.
    pub fn changes(&self) -> (u64, u64) {
        (self.created, self.updated)
    }

    /// A page of the storage's listing. News no event about which is waiting should have been
    /// delivered by the watch.
    pub fn page(
        &mut self,
        pods: Vec<ObservedPod>,
        ledger: &mut Ledger,
        events: &EventQueue,
        mute: &mut MuteCheck,
        now: Moment,
    ) -> Vec<Order> {
        let mut orders = Vec::new();
        for pod in pods {
            let (uuid, storage_id) = (pod.record.uuid.clone(), pod.storage_id.clone());
            let decision = ledger.observe(pod, Source::Listing, None, now);
            for order in &decision.orders {
                match (&order.kind, ledger.acked(&uuid)) {
                    (OrderKind::Write(_), Acked::Absent) => self.created += 1,
                    (OrderKind::Write(_), _) => self.updated += 1,
                    (OrderKind::Verify { .. }, _) => {}
                }
            }
            if let Some(stream) = self.stream.filter(|_| decision.news && !events.contains(&storage_id)) {
                mute.suspect(&storage_id, stream, now);
            }
            orders.extend(decision.orders);
        }
        orders
    }

    /// Both listings are complete: what the storage's lacks, after the guard.
    pub fn missing(
        &self,
        ledger: &mut Ledger,
        guard: &mut Guard,
        events: &EventQueue,
        mute: &mut MuteCheck,
        now: Moment,
    ) -> Lacking {
        ledger.forget_dead(events.waiting_since(now));
        let Missing { recorded, unrecorded: mut orders, doomed, superseded, total } = ledger.missing(now);
        if !self.deletes {
            // A listing may lack what is there. What is not is read once, and then known to be gone. One
            // that lacks too much is not followed up: it may be empty by mistake.
            let much = guard.is_much(recorded.len(), total) || active(Mutation::LeaveMissedUnread);
            orders.extend(superseded.into_iter().chain(recorded.into_iter().filter(|_| !much)));
            return Lacking { orders, held_back: 0, total };
        }
        let GuardDecision { carry_out, held_back } = guard.decide(recorded, total, self.periodic, now);
        if let Some(stream) = self.stream {
            // If they turn out to be gone, these are deletes the watch has not delivered.
            let ids = carry_out.iter().filter_map(|order| ledger.storage_id_of(&order.uuid));
            let quiet = ids.filter(|id| !events.contains(id)).map(str::to_owned);
            mute.listing_lacked(quiet, stream);
        }
        orders.extend(doomed);
        orders.extend(superseded);
        orders.extend(carry_out);
        Lacking { orders, held_back, total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Observation;
    use crate::plan::testkit::*;
    use crate::plan::{GuardSettings, Verdict};

    /// What a full sync with an empty listing comes to.
    fn nothing_listed(ledger: &mut Ledger, events: &EventQueue, deletes: bool, now: Moment) -> Lacking {
        guarded_by(100, ledger, events, deletes, now)
    }

    /// The same, with a delete guard of so many percent.
    fn guarded_by(
        percent: u32,
        ledger: &mut Ledger,
        events: &EventQueue,
        deletes: bool,
        now: Moment,
    ) -> Lacking {
        let settings = GuardSettings { percent, min: 0, interval: SECOND };
        let (mut guard, mut mute) = (Guard::new(settings), MuteCheck::new(SECOND));
        Comparison::new(&[], None, false, deletes).missing(ledger, &mut guard, events, &mut mute, now)
    }

    #[test]
    fn a_watch_is_suspected_of_news_only_if_no_event_about_it_is_waiting() {
        for waits in [true, false] {
            let (mut events, mut mute) = (EventQueue::new(9), MuteCheck::new(SECOND));
            if waits {
                events.push(Observation::Pod(Box::new(pod("a", 1, "S1"))), SECOND);
            }
            let mut comparison = Comparison::new(&[], Some(1), true, true);
            comparison.page(vec![pod("a", 1, "S1")], &mut ledger(), &events, &mut mute, SECOND);
            assert_eq!(mute.due().is_some(), !waits);
        }
    }

    #[test]
    fn without_permission_to_delete_a_record_that_is_not_listed_is_read_once() {
        let mut ledger = ledger();
        let events = EventQueue::new(9);
        for reads in [1, 0] {
            ledger.begin_full_sync();
            ledger.stored(&pod("a", 1, "S1").record);
            ledger.end_stored();
            let lacking = nothing_listed(&mut ledger, &events, false, SECOND);
            assert_eq!((lacking.orders.len(), lacking.held_back), (reads, 0));
            ledger.doom("a");
        }
    }

    #[test]
    fn without_permission_to_delete_a_listing_that_lacks_too_much_is_not_followed_up() {
        let mut ledger = ledger();
        let events = EventQueue::new(9);
        ledger.begin_full_sync();
        ledger.stored(&pod("a", 1, "S1").record);
        ledger.end_stored();
        let lacking = guarded_by(99, &mut ledger, &events, false, SECOND);
        assert_eq!((lacking.orders.len(), lacking.held_back), (0, 0));
    }

    #[test]
    fn a_dead_pod_is_remembered_as_long_as_an_event_of_that_time_waits_at_the_gate() {
        let mut ledger = ledger();
        ledger.event(queued(None, Some(hint_of(&pod("a", 2, "")))), SECOND);
        let mut events = EventQueue::new(9);
        events.push(Observation::Pod(Box::new(pod("a", 1, "S1"))), SECOND * 2);
        // A full sync that holds the gate for an hour.
        ledger.begin_full_sync();
        let now = SECOND * 3600;
        nothing_listed(&mut ledger, &events, true, now);
        let late = events.take(1, |_| false).remove(0);
        assert_eq!(ledger.event(late, now).verdict, Verdict::Verify);
        nothing_listed(&mut ledger, &events, true, now);
        assert!(ledger.is_empty());
    }
}

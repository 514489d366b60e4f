//! The gate thread: takes waiting events through the gate, asks the ledger, and hands the orders
//! that follow to the shards.
//!
//! While a full sync holds the gate, events wait in the queue: so the order between a listing and
//! the events around it is kept.

use super::shared::Shared;
use super::stats::Stats;
use crate::plan::Verdict;
use crate::pulse;
use crossbeam::select;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Events per turn: the gate is free for a full sync after at most so many.
const TURN: usize = 256;
/// An idle gate looks around after this time at the latest.
const LOOK: Duration = Duration::from_secs(5);
/// Events whose shard has no room are looked at again after this time.
const NO_ROOM: Duration = Duration::from_millis(20);

/// Runs until the cluster stops.
pub(super) fn run(shared: &Shared) {
    loop {
        let wait = if is_held(shared) || shared.events.lock().is_empty() { LOOK } else { NO_ROOM };
        pulse::within(wait);
        select! {
            recv(shared.stopped) -> _ => return,
            recv(shared.gate_wake.receiver) -> _ => {}
            default(wait) => {}
        }
        while !shared.stopping() && turn(shared) {}
    }
}

/// Whether nothing may pass now. Whoever changes that wakes this thread.
fn is_held(shared: &Shared) -> bool {
    !shared.seeded.load(Relaxed) || shared.paused()
}

/// One turn; whether there is more to do at once.
fn turn(shared: &Shared) -> bool {
    if is_held(shared) {
        return false;
    }
    // A full sync may hold it for long, and has a pulse of its own.
    let _gate = pulse::resting(|| shared.gate.lock());
    let no_room = |uuid: &str| {
        let shard = crate::plan::shard_of(uuid, shared.shards.len());
        !shared.shards[shard].has_room()
    };
    let now = shared.clock.now();
    let mut orders = Vec::new();
    {
        let mut ledger = shared.ledger.lock();
        // What is decided here counts as decided in the ledger's epoch.
        if is_held(shared) {
            return false;
        }
        let events = shared.events.lock().take(TURN, |event| no_room(event.uuid()));
        if events.is_empty() {
            return false;
        }
        for event in events {
            let decision = ledger.event(event, now);
            count(&shared.stats, decision.verdict);
            orders.extend(decision.orders);
        }
    }
    shared.hand_over(orders);
    true
}

fn count(stats: &Stats, verdict: Verdict) {
    match verdict {
        Verdict::Suppressed | Verdict::Waiting | Verdict::Refused => Stats::count(&stats.suppressed),
        Verdict::Stale => Stats::count(&stats.stale),
        Verdict::UnknownDelete => Stats::count(&stats.unknown_delete),
        Verdict::Write | Verdict::Verify | Verdict::Unplaced => {}
    }
}

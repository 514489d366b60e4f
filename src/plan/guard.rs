//! The delete guard: a full sync that would delete too much is not believed at once (design.md 3,
//! rule 4).
//!
//! | missing records | carried out |
//! |---|---|
//! | within either limit | all |
//! | above both, wanted for the first time | none: held back and shown |
//! | above both, still wanted by a periodic full sync at least one interval later | those |
//! | above both, approved by an operator | those that were held back when he looked |
//!
//! "Carried out" means: given to the shards, which still read each name before they delete.

use super::mutation::{Mutation, active};
use super::{Moment, Order};
use std::collections::HashMap;
use std::time::Duration;

/// Limits of the guard.
#[derive(Clone, Copy, Debug)]
pub struct GuardSettings {
    /// Percent of the cluster's records.
    pub percent: u32,
    /// Number of records.
    pub min: usize,
    /// A held-back delete waits at least this long.
    pub interval: Duration,
}

/// What to do with the missing records.
#[derive(Debug, Default)]
pub struct GuardDecision {
    /// To be verified and deleted.
    pub carry_out: Vec<Order>,
    /// How many are held back.
    pub held_back: usize,
}

/// A delete that is held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldDelete {
    /// Whose record.
    pub uuid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Since when.
    pub since: Moment,
}

/// The held-back deletes of one cluster.
#[derive(Debug)]
pub struct Guard {
    settings: GuardSettings,
    held: HashMap<String, HeldDelete>,
    approved: bool,
}

impl Guard {
    /// A guard that holds nothing back yet.
    pub fn new(settings: GuardSettings) -> Self {
        Self { settings, held: HashMap::new(), approved: false }
    }

    /// Other limits, from the next full sync on.
    pub fn set_settings(&mut self, settings: GuardSettings) {
        self.settings = settings;
    }

    /// How many deletes are held back.
    pub fn held_back(&self) -> usize {
        self.held.len()
    }

    /// The deletes held back, sorted by uuid.
    pub fn held(&self) -> Vec<HeldDelete> {
        let mut held: Vec<HeldDelete> = self.held.values().cloned().collect();
        held.sort_unstable_by(|one, other| one.uuid.cmp(&other.uuid));
        held
    }

    /// The operator lets the held-back deletes pass at the next full sync.
    pub fn approve(&mut self) {
        self.approved = !self.held.is_empty();
    }

    /// Whether a listing that lacks so many of `total` records is not believed at once.
    pub fn is_much(&self, missing: usize, total: usize) -> bool {
        let share = missing as u128 * 100 > u128::from(self.settings.percent) * total as u128;
        share && missing > self.settings.min
    }

    /// Decides about the `missing` records of `total`.
    pub fn decide(
        &mut self,
        missing: Vec<Order>,
        total: usize,
        periodic: bool,
        now: Moment,
    ) -> GuardDecision {
        let approved = std::mem::take(&mut self.approved);
        if !self.is_much(missing.len(), total) || active(Mutation::GuardOff) {
            self.held.clear();
            return GuardDecision { carry_out: missing, held_back: 0 };
        }
        let earlier = std::mem::take(&mut self.held);
        let mut decision = GuardDecision::default();
        for order in missing {
            let since = earlier.get(&order.uuid).map(|held| held.since);
            let due = since.is_some_and(|since| {
                let confirmed = periodic && now.saturating_sub(since) >= self.settings.interval;
                approved || confirmed || active(Mutation::ConfirmByAnySync)
            }) || (approved && active(Mutation::ApproveUnseen));
            if due {
                decision.carry_out.push(order);
            } else {
                let Order { uuid, namespace, name, .. } = order;
                let since = since.unwrap_or(now);
                self.held.insert(uuid.clone(), HeldDelete { uuid, namespace, name, since });
            }
        }
        decision.held_back = self.held.len();
        decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::OrderKind;

    const INTERVAL: Duration = Duration::from_secs(600);

    fn guard() -> Guard {
        Guard::new(GuardSettings { percent: 30, min: 50, interval: INTERVAL })
    }

    fn missing(range: std::ops::Range<usize>) -> Vec<Order> {
        let order = |n| Order {
            uuid: format!("{n}"),
            namespace: "ns".into(),
            name: format!("pod-{n}"),
            kind: OrderKind::Verify { missing: true },
        };
        range.map(order).collect()
    }

    fn check(
        guard: &mut Guard,
        range: std::ops::Range<usize>,
        periodic: bool,
        at: Duration,
    ) -> (usize, usize) {
        let decision = guard.decide(missing(range), 100, periodic, at);
        (decision.carry_out.len(), decision.held_back)
    }

    #[test]
    fn few_deletes_pass_and_both_limits_must_be_exceeded() {
        assert_eq!(check(&mut guard(), 0..50, false, Duration::ZERO), (50, 0));
        assert_eq!(check(&mut guard(), 0..51, false, Duration::ZERO), (0, 51));
        let mut large = guard();
        assert_eq!(large.decide(missing(0..51), 1000, false, Duration::ZERO).carry_out.len(), 51);
    }

    #[test]
    fn only_a_periodic_full_sync_an_interval_later_carries_out_what_both_wanted() {
        let mut guard = guard();
        assert_eq!(check(&mut guard, 0..60, true, Duration::ZERO), (0, 60));
        assert_eq!(check(&mut guard, 0..60, false, INTERVAL * 2), (0, 60));
        assert_eq!(check(&mut guard, 0..60, true, INTERVAL / 2), (0, 60));
        let held = guard.held();
        assert_eq!((held.len(), held[0].name.as_str(), held[0].since), (60, "pod-0", Duration::ZERO));
        assert_eq!(check(&mut guard, 10..80, true, INTERVAL), (50, 20));
    }

    #[test]
    fn an_approval_covers_what_was_held_back_and_is_used_once() {
        let mut guard = guard();
        guard.approve();
        assert_eq!(check(&mut guard, 0..60, false, Duration::ZERO), (0, 60));
        guard.approve();
        assert_eq!(check(&mut guard, 0..70, false, Duration::ZERO), (60, 10));
        assert_eq!(check(&mut guard, 0..70, false, Duration::ZERO), (0, 70));
    }

    #[test]
    fn pods_that_came_back_are_forgotten() {
        let mut guard = guard();
        assert_eq!(check(&mut guard, 0..60, true, Duration::ZERO), (0, 60));
        assert_eq!(check(&mut guard, 0..10, true, Duration::ZERO), (10, 0));
        assert_eq!(guard.held_back(), 0);
        assert_eq!(check(&mut guard, 0..60, true, INTERVAL), (0, 60));
    }
}

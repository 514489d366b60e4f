//! The last hour of one cluster, for its page: how much was written and how late, and the last changes.
//!
//! Kept in memory and bounded: a slot per [`SLOT`] in which something was written, and the newest
//! changes. Nothing is sampled; a quiet cluster costs nothing. Knows neither threads nor the wall
//! clock: moments come in as arguments, and what goes out is relative to one.

use super::clock::{Clock, rounded};
use super::snapshot::{ClusterHistory, HistoryPoint, RecentChange};
use crate::plan::Moment;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::Duration;

/// Width of a slot.
const SLOT: Duration = Duration::from_secs(30);
/// Slots of an hour: 120 × about 40 bytes.
const SLOTS: u64 = 120;
/// Changes kept: 50 × about 300 bytes.
const CHANGES: usize = 50;
/// The lag of the status is the longest of so many slots.
const RECENT_SLOTS: u64 = 10;

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Created,
    Updated,
    Deleted,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Created => "create",
            Self::Updated => "update",
            Self::Deleted => "delete",
        }
    }
}

/// An acknowledged write.
pub(super) struct Change {
    pub action: Action,
    pub uuid: String,
    pub namespace: String,
    pub name: String,
    /// From the event to the acknowledgement; none for what a full sync found.
    pub lag: Option<Duration>,
    /// Why it could be deleted.
    pub proof: Option<String>,
}

/// The last hour of a cluster.
#[derive(Default)]
pub(super) struct History {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    slots: VecDeque<Slot>,
    changes: VecDeque<(Moment, Change)>,
}

/// What was written within one [`SLOT`].
struct Slot {
    number: u64,
    writes: [u64; 3],
    lagged: u32,
    lag_sum: Duration,
    lag_max: Duration,
}

impl History {
    /// Notes an acknowledged write.
    pub fn add(&self, change: Change, now: Moment) {
        let mut kept = self.kept.lock();
        kept.slot(number(now)).count(&change);
        if kept.changes.len() >= CHANGES {
            kept.changes.pop_back();
        }
        kept.changes.push_front((now, change));
    }

    /// The longest lag of the last five minutes; none if no event led to a write.
    pub fn recent_lag(&self, now: Moment) -> Option<Duration> {
        let oldest = (number(now) + 1).saturating_sub(RECENT_SLOTS);
        let kept = self.kept.lock();
        let recent = kept.slots.iter().rev().take_while(|slot| slot.number >= oldest);
        recent.filter(|slot| slot.lagged > 0).map(|slot| slot.lag_max).max()
    }

    /// Everything kept, oldest slot and newest change first.
    pub fn snapshot(&self, cluster_id: &str, clock: Clock) -> ClusterHistory {
        let now = clock.now();
        let oldest = (number(now) + 1).saturating_sub(SLOTS);
        let kept = self.kept.lock();
        let slots = kept.slots.iter().filter(|slot| slot.number >= oldest);
        ClusterHistory {
            cluster_id: cluster_id.to_owned(),
            interval_seconds: SLOT.as_secs(),
            span_seconds: SLOT.as_secs() * SLOTS,
            points: slots.map(|slot| slot.point(now)).collect(),
            changes: kept.changes.iter().map(|(at, change)| change.show(clock.wall(*at))).collect(),
        }
    }
}

impl Kept {
    /// The slot of that number. Shards race for the lock, so a moment may be a slot late: it counts
    /// in the newest one.
    fn slot(&mut self, number: u64) -> &mut Slot {
        if self.slots.back().is_none_or(|newest| newest.number < number) {
            self.slots.push_back(Slot {
                number,
                writes: [0; 3],
                lagged: 0,
                lag_sum: Duration::ZERO,
                lag_max: Duration::ZERO,
            });
            let oldest = (number + 1).saturating_sub(SLOTS);
            while self.slots.front().is_some_and(|slot| slot.number < oldest) {
                self.slots.pop_front();
            }
        }
        let newest = self.slots.len() - 1;
        &mut self.slots[newest]
    }
}

impl Slot {
    fn count(&mut self, change: &Change) {
        self.writes[change.action as usize] += 1;
        if let Some(lag) = change.lag {
            self.lagged += 1;
            self.lag_sum = self.lag_sum.saturating_add(lag);
            self.lag_max = self.lag_max.max(lag);
        }
    }

    fn point(&self, now: Moment) -> HistoryPoint {
        let begins = Duration::from_secs(self.number * SLOT.as_secs());
        let [created, updated, deleted] = self.writes;
        HistoryPoint {
            seconds_ago: now.saturating_sub(begins).as_secs(),
            created,
            updated,
            deleted,
            lag_mean_seconds: self.lag_sum.checked_div(self.lagged).map(rounded),
            lag_max_seconds: (self.lagged > 0).then(|| rounded(self.lag_max)),
        }
    }
}

impl Change {
    fn show(&self, time: String) -> RecentChange {
        RecentChange {
            time,
            action: self.action.name(),
            uuid: self.uuid.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            lag_seconds: self.lag.map(rounded),
            proof: self.proof.clone(),
        }
    }
}

fn number(now: Moment) -> u64 {
    now.as_secs() / SLOT.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(action: Action, lag_ms: Option<u64>) -> Change {
        Change {
            action,
            uuid: "u".into(),
            namespace: "ns".into(),
            name: "web-0".into(),
            lag: lag_ms.map(Duration::from_millis),
            proof: None,
        }
    }

    fn at(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    #[test]
    fn writes_are_counted_in_the_slot_they_fell_in_with_their_lag() {
        let history = History::default();
        history.add(change(Action::Created, Some(100)), at(5));
        history.add(change(Action::Updated, Some(300)), at(29));
        history.add(change(Action::Deleted, None), at(29));
        history.add(change(Action::Updated, None), at(31));
        let kept = history.kept.lock();
        let points: Vec<HistoryPoint> = kept.slots.iter().map(|slot| slot.point(at(40))).collect();
        let first = &points[0];
        assert_eq!((first.created, first.updated, first.deleted), (1, 1, 1));
        assert_eq!((first.lag_mean_seconds, first.lag_max_seconds), (Some(0.2), Some(0.3)));
        assert_eq!((points[1].seconds_ago, points[1].updated, points[1].lag_max_seconds), (10, 1, None));
    }

    #[test]
    fn an_hour_and_the_newest_changes_are_kept_and_no_more() {
        let history = History::default();
        for slot in 0..1000 {
            history.add(change(Action::Updated, None), at(slot * 30));
        }
        let kept = history.kept.lock();
        assert_eq!((kept.slots.len() as u64, kept.changes.len()), (SLOTS, CHANGES));
        assert_eq!(kept.slots.front().map(|slot| slot.number), Some(1000 - SLOTS));
        assert_eq!(kept.changes[0].0, at(999 * 30), "the newest change is the first");
    }

    #[test]
    fn what_is_older_than_an_hour_is_not_shown_although_nothing_pushed_it_out() {
        let history = History::default();
        history.add(change(Action::Created, None), at(0));
        let clock = Clock::start();
        assert_eq!(history.snapshot("c", clock).points.len(), 1);
        assert_eq!(history.recent_lag(at(0)), None, "no event led to the write");
        history.add(change(Action::Created, Some(700)), at(30));
        for (now, lag) in [(31, Some(700)), (329, Some(700)), (330, None), (9999, None)] {
            assert_eq!(history.recent_lag(at(now)), lag.map(Duration::from_millis), "at {now}");
        }
    }

    #[test]
    fn a_late_moment_counts_in_the_newest_slot() {
        let history = History::default();
        history.add(change(Action::Created, None), at(60));
        history.add(change(Action::Created, None), at(59));
        let kept = history.kept.lock();
        assert_eq!((kept.slots.len(), kept.slots[0].writes), (1, [2, 0, 0]));
    }
}

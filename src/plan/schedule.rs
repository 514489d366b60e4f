//! When the next full sync of a cluster is due, and why.

use super::mutation::{Mutation, active};
use super::{Backoff, Moment};
use std::time::Duration;

/// Why a full sync runs. The first of several causes that are due names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// A new watch stream: what happened between two streams is lost to the watcher.
    Stream,
    /// An operator asked for it.
    Requested,
    /// An operator approved held-back deletes.
    Approved,
    /// The event queue was full and dropped events.
    Overflow,
    /// A (set, module) pair has another id now.
    Topology,
    /// A point read found what a listing missed.
    ListingMissed,
    /// A connected watch did not deliver a change.
    MuteWatch,
    /// The cluster left `degraded`.
    Recovered,
    /// What the former owner of the cluster left on its way has landed by now, or never will.
    TakenOver,
    /// The last one failed.
    Retry,
    /// Ten seconds after the first full sync of a stream (design.md 6).
    Settle,
    /// `full_sync_interval` is over.
    Periodic,
}

/// How a full sync ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Both sides were read and every difference was handed over.
    Ok,
    /// As `Ok`, but deletes are held back.
    HeldBack,
    /// A side could not be read.
    Failed,
    /// Stopped or paused on the way.
    Aborted,
}

/// Times of the schedule.
#[derive(Clone, Copy, Debug)]
pub struct ScheduleSettings {
    /// Between two periodic full syncs, jittered by ±10 %.
    pub interval: Duration,
    /// From the first full sync of a stream to the settle sync.
    pub settle: Duration,
    /// Shortest time between two full syncs because of overflow; doubled while they follow each
    /// other.
    pub overflow_spacing: Duration,
    /// Between two full syncs while the watch is found mute.
    pub mute_interval: Duration,
    /// How long a write without an answer may still land.
    pub landing: Duration,
}

/// Longest wait after a failure: a peer that is back is noticed within this time.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(6));
/// Doublings of `overflow_spacing` at most: 30 s × 2^5 are 16 minutes.
const OVERFLOW_DOUBLINGS: u32 = 5;

/// The schedule of one cluster.
#[derive(Debug)]
pub struct Schedule {
    settings: ScheduleSettings,
    due: Vec<(Cause, Moment)>,
    /// What a failed full sync left undone: the next one that succeeds does it.
    owed: Vec<Cause>,
    failures: u32,
    settled: bool,
    last_overflow: Option<Moment>,
    overflows: u32,
    missed_listings: u32,
    rng: fastrand::Rng,
}

impl Schedule {
    /// A schedule on which nothing is due: the first watch stream asks.
    pub fn new(settings: ScheduleSettings, seed: u64) -> Self {
        Self {
            settings,
            due: Vec::new(),
            owed: Vec::new(),
            failures: 0,
            settled: false,
            last_overflow: None,
            overflows: 0,
            missed_listings: 0,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Asks for a full sync at `at` or sooner.
    pub fn request(&mut self, cause: Cause, at: Moment) {
        match self.due.iter_mut().find(|(known, _)| *known == cause) {
            Some((_, due)) => *due = at.min(*due),
            None => self.due.push((cause, at)),
        }
    }

    /// Another interval, from now on: a periodic full sync that would come later comes after it.
    pub fn set_interval(&mut self, interval: Duration, now: Moment) {
        self.settings.interval = interval;
        if let Some((_, due)) = self.due.iter_mut().find(|(cause, _)| *cause == Cause::Periodic) {
            *due = (*due).min(now + interval);
        }
    }

    /// The cluster is this instance's since `now`. Writes of its former owner, of which nobody here
    /// knows, may land after the first full sync and the settle sync: one more follows when none can.
    pub fn taken_over(&mut self, now: Moment) {
        self.forget(Cause::TakenOver);
        self.owed.retain(|cause| *cause != Cause::TakenOver);
        if !active(Mutation::NoSyncAfterTakeover) {
            self.request(Cause::TakenOver, now + self.settings.landing);
        }
    }

    /// A new watch stream is open since `now`; its subscription starts a little later.
    pub fn stream_opened(&mut self, now: Moment, subscribed_after: Duration) {
        self.settled = false;
        self.forget(Cause::Settle);
        self.owed.retain(|cause| *cause != Cause::Settle);
        self.request(Cause::Stream, now + subscribed_after);
    }

    /// The event queue dropped events.
    pub fn overflowed(&mut self, now: Moment) {
        if self.due.iter().any(|(cause, _)| *cause == Cause::Overflow)
            || active(Mutation::NoSyncAfterOverflow)
        {
            return;
        }
        let spacing = self.settings.overflow_spacing * (1 << self.overflows.min(OVERFLOW_DOUBLINGS));
        match self.last_overflow {
            Some(last) if now.saturating_sub(last) < spacing => {
                self.overflows += 1;
                self.request(Cause::Overflow, last + spacing);
            }
            _ => {
                self.overflows = 0;
                self.request(Cause::Overflow, now);
            }
        }
    }

    /// A point read found what a complete listing missed: list again, less and less often while
    /// that goes on.
    pub fn listing_missed(&mut self, now: Moment) {
        if self.due.iter().any(|(cause, _)| *cause == Cause::ListingMissed) {
            return;
        }
        let wait = self.settings.settle * (1 << self.missed_listings.min(OVERFLOW_DOUBLINGS));
        self.missed_listings += 1;
        self.request(Cause::ListingMissed, now + wait);
    }

    /// The watch did not deliver a change: repeat until a full sync is clean.
    pub fn watch_was_mute(&mut self, now: Moment) {
        self.request(Cause::MuteWatch, now + self.settings.mute_interval);
    }

    /// When the next full sync is due.
    pub fn next_due(&self) -> Option<Moment> {
        self.due.iter().map(|(_, at)| *at).min()
    }

    /// Takes the causes that are due, and with them what is owed; most telling first. Empty: not
    /// yet.
    pub fn take(&mut self, now: Moment) -> Vec<Cause> {
        let mut causes: Vec<Cause> =
            self.due.iter().filter(|(_, at)| *at <= now).map(|(cause, _)| *cause).collect();
        if causes.is_empty() {
            return causes;
        }
        self.due.retain(|(_, at)| *at > now);
        causes.append(&mut self.owed);
        causes.sort();
        causes.dedup();
        if causes.contains(&Cause::Overflow) {
            self.last_overflow = Some(now);
        }
        causes
    }

    /// A full sync that `causes` asked for is over.
    pub fn finished(&mut self, causes: &[Cause], outcome: Outcome, now: Moment) {
        match outcome {
            Outcome::Ok | Outcome::HeldBack => {
                self.failures = 0;
                self.forget(Cause::Retry);
                self.forget(Cause::Periodic);
                let jittered = self.settings.interval.mul_f64(0.9 + self.rng.f64() * 0.2);
                self.request(Cause::Periodic, now + jittered);
                self.settle_step(causes, now);
                if causes.contains(&Cause::Periodic) {
                    self.missed_listings = 0;
                }
            }
            Outcome::Failed | Outcome::Aborted => {
                self.owed.extend(causes.iter().filter(|cause| **cause != Cause::Retry));
                if outcome == Outcome::Failed && !active(Mutation::NoRetryOfFullSync) {
                    self.failures += 1;
                    let at = RETRY.after(now, self.failures, &mut self.rng);
                    self.request(Cause::Retry, at);
                }
            }
        }
    }

    /// Whether the current stream had its settle sync: then the cluster is live.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    fn settle_step(&mut self, causes: &[Cause], now: Moment) {
        // A stream that opened meanwhile asks for a full sync of its own.
        let superseded = self.due.iter().any(|(cause, _)| *cause == Cause::Stream);
        if causes.contains(&Cause::Stream) {
            self.forget(Cause::Settle);
            if !active(Mutation::NoSettleSync) {
                self.request(Cause::Settle, now + self.settings.settle);
            }
        } else if causes.contains(&Cause::Settle) && !superseded {
            self.settled = true;
        }
    }

    fn forget(&mut self, cause: Cause) {
        self.due.retain(|(known, _)| *known != cause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn schedule() -> Schedule {
        let settings = ScheduleSettings {
            interval: S(600),
            settle: S(10),
            overflow_spacing: S(30),
            mute_interval: S(60),
            landing: S(30),
        };
        Schedule::new(settings, 3)
    }

    fn run(schedule: &mut Schedule, outcome: Outcome) -> (Vec<Cause>, Duration) {
        let at = schedule.next_due().expect("something is due");
        let causes = schedule.take(at);
        schedule.finished(&causes, outcome, at);
        (causes, at)
    }

    #[test]
    fn a_stream_that_opens_during_a_settle_sync_is_not_settled_by_it() {
        let mut schedule = schedule();
        schedule.stream_opened(S(1), S(1));
        run(&mut schedule, Outcome::Ok);
        let causes = schedule.take(S(12));
        assert_eq!(causes, [Cause::Settle]);
        schedule.stream_opened(S(13), S(1));
        schedule.finished(&causes, Outcome::Ok, S(13));
        assert!(!schedule.is_settled());
    }

    #[test]
    fn a_new_stream_is_followed_by_a_full_sync_and_a_settle_sync_before_the_period_counts() {
        let mut schedule = schedule();
        assert_eq!(schedule.next_due(), None);
        schedule.stream_opened(S(1), S(1));
        assert_eq!(run(&mut schedule, Outcome::Ok), (vec![Cause::Stream], S(2)));
        assert!(!schedule.is_settled());
        assert_eq!(run(&mut schedule, Outcome::Ok), (vec![Cause::Settle], S(12)));
        assert!(schedule.is_settled());
        let (causes, at) = run(&mut schedule, Outcome::Ok);
        assert_eq!(causes, [Cause::Periodic]);
        assert!((S(12 + 540)..=S(12 + 660)).contains(&at), "{at:?}");
    }

    #[test]
    fn what_a_former_owner_left_on_its_way_is_looked_for_when_it_has_landed() {
        let mut schedule = schedule();
        schedule.taken_over(S(0));
        schedule.stream_opened(S(1), S(1));
        run(&mut schedule, Outcome::Ok);
        run(&mut schedule, Outcome::Ok);
        assert_eq!(run(&mut schedule, Outcome::Failed), (vec![Cause::TakenOver], S(30)));
        assert_eq!(run(&mut schedule, Outcome::Ok).0, [Cause::TakenOver, Cause::Retry]);
        assert_eq!(run(&mut schedule, Outcome::Ok).0, [Cause::Periodic]);
        // Another owner in between: what it left lands later than what the first one did.
        schedule.taken_over(S(1000));
        schedule.taken_over(S(1010));
        assert_eq!(schedule.next_due(), Some(S(1040)));
    }

    #[test]
    fn a_first_full_sync_that_late_is_the_only_one() {
        let mut schedule = schedule();
        schedule.taken_over(S(0));
        schedule.stream_opened(S(29), S(1));
        assert_eq!(run(&mut schedule, Outcome::Ok), (vec![Cause::Stream, Cause::TakenOver], S(30)));
        assert_eq!(run(&mut schedule, Outcome::Ok), (vec![Cause::Settle], S(40)));
    }

    #[test]
    fn a_failure_is_retried_within_seconds_and_keeps_what_was_owed() {
        let mut schedule = schedule();
        schedule.stream_opened(S(0), S(1));
        for _ in 0..10 {
            let (_, at) = run(&mut schedule, Outcome::Failed);
            assert!(schedule.next_due().unwrap() - at <= S(6));
        }
        let (causes, at) = run(&mut schedule, Outcome::Ok);
        assert_eq!(causes, [Cause::Stream, Cause::Retry]);
        assert_eq!(schedule.next_due(), Some(at + S(10)), "the settle sync follows");
    }

    #[test]
    fn overflow_after_overflow_is_spaced_and_doubled() {
        let mut schedule = schedule();
        schedule.overflowed(S(0));
        schedule.overflowed(S(0));
        assert_eq!(run(&mut schedule, Outcome::Ok).1, S(0));
        let mut times = Vec::new();
        let mut now = S(1);
        for _ in 0..3 {
            schedule.overflowed(now);
            let at = schedule.due.iter().find(|(cause, _)| *cause == Cause::Overflow).unwrap().1;
            let causes = schedule.take(at);
            assert!(causes.contains(&Cause::Overflow));
            schedule.finished(&causes, Outcome::Ok, at);
            times.push(at);
            now = at + S(1);
        }
        assert_eq!(times, [S(30), S(90), S(210)]);
        schedule.overflowed(S(5000));
        assert!(schedule.take(S(5000)).contains(&Cause::Overflow), "a calm time resets the spacing");
    }

    #[test]
    fn a_shorter_interval_counts_from_now_and_a_longer_one_from_the_next_time() {
        let mut schedule = schedule();
        schedule.stream_opened(S(0), S(1));
        run(&mut schedule, Outcome::Ok);
        run(&mut schedule, Outcome::Ok);
        schedule.set_interval(S(60), S(20));
        assert_eq!(schedule.next_due(), Some(S(80)));
        schedule.set_interval(S(6000), S(30));
        assert_eq!(schedule.next_due(), Some(S(80)));
    }

    #[test]
    fn a_second_stream_owes_its_own_settle_sync() {
        let mut schedule = schedule();
        schedule.stream_opened(S(0), S(1));
        run(&mut schedule, Outcome::Ok);
        schedule.stream_opened(S(5), S(1));
        assert_eq!(run(&mut schedule, Outcome::Ok), (vec![Cause::Stream], S(6)));
        assert_eq!(run(&mut schedule, Outcome::Ok), (vec![Cause::Settle], S(16)));
    }

    #[test]
    fn a_stream_that_opens_during_a_full_sync_is_not_served_by_it() {
        let mut schedule = schedule();
        schedule.stream_opened(S(0), S(1));
        let causes = schedule.take(S(1));
        schedule.stream_opened(S(2), S(1));
        schedule.finished(&causes, Outcome::Ok, S(3));
        assert_eq!(run(&mut schedule, Outcome::Ok), (vec![Cause::Stream], S(3)));
        assert_eq!(run(&mut schedule, Outcome::Ok), (vec![Cause::Settle], S(13)));
        assert!(schedule.is_settled());
    }

    #[test]
    fn listings_that_keep_missing_are_repeated_less_and_less_often() {
        let mut schedule = schedule();
        let mut waits = Vec::new();
        for n in 0..4 {
            let now = S(n * 1000);
            schedule.listing_missed(now);
            let at = schedule.due.iter().find(|(cause, _)| *cause == Cause::ListingMissed).unwrap().1;
            waits.push(at - now);
            schedule.take(at);
        }
        assert_eq!(waits, [S(10), S(20), S(40), S(80)]);
    }
}

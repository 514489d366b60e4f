//! Finding a watch that is connected and silent (design.md 3, rule 8).
//!
//! A full sync that comes upon a change the watch has not delivered suspects the watch. Whatever
//! arrives within the grace clears its document; what is left after that was missed.

use crate::plan::Moment;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Documents under suspicion at most: one is enough to renew a watch.
const SUSPECTS: usize = 1_000;

/// The suspicion against the current watch stream.
#[derive(Debug)]
pub struct MuteCheck {
    /// A change older than this should have been delivered.
    grace: Duration,
    /// What the last listing lacked while no event about it was waiting: suspicious once a point
    /// read proves it gone.
    lacked: HashSet<String>,
    /// Since when each document is suspicious.
    suspects: HashMap<String, Moment>,
    /// When the first of them became so, delivered meanwhile or not.
    since: Option<Moment>,
    /// Which stream is meant; another one starts without suspicion.
    stream: u64,
}

impl MuteCheck {
    /// No suspicion yet.
    pub fn new(grace: Duration) -> Self {
        Self { grace, lacked: HashSet::new(), suspects: HashMap::new(), since: None, stream: 0 }
    }

    /// A full sync found a change of this document that no event told.
    pub fn suspect(&mut self, storage_id: &str, stream: u64, now: Moment) {
        if stream != self.stream {
            *self = Self { stream, ..Self::new(self.grace) };
        }
        if storage_id.is_empty() || self.suspects.len() >= SUSPECTS {
            return;
        }
        self.suspects.entry(storage_id.to_owned()).or_insert(now);
        self.since.get_or_insert(now);
    }

    /// A full sync did not list these documents, and no event about them is waiting.
    pub fn listing_lacked(&mut self, storage_ids: impl Iterator<Item = String>, stream: u64) {
        if stream != self.stream {
            *self = Self { stream, ..Self::new(self.grace) };
        }
        self.lacked = storage_ids.filter(|id| !id.is_empty()).take(SUSPECTS).collect();
    }

    /// A document the last listing lacked is gone indeed. One whose delete was delivered since
    /// then, or was waiting at that time, is no reason for suspicion.
    pub fn gone(&mut self, storage_id: &str, stream: u64, now: Moment) {
        if stream == self.stream && self.lacked.remove(storage_id) {
            self.suspect(storage_id, stream, now);
        }
    }

    /// An event about this document arrived.
    pub fn delivered(&mut self, storage_id: &str) {
        self.lacked.remove(storage_id);
        self.suspects.remove(storage_id);
    }

    /// When [`missed`](Self::missed) should be asked.
    pub fn due(&self) -> Option<Moment> {
        self.since.map(|since| since + self.grace)
    }

    /// How many changes the stream did not deliver in time. If there are any, or nothing is suspicious
    /// that has time left, that ends the suspicion.
    pub fn missed(&mut self, stream: u64, now: Moment) -> usize {
        if self.due().is_none_or(|due| now < due) {
            return 0;
        }
        let is_late = |since: &&Moment| now >= **since + self.grace;
        let late = self.suspects.values().filter(is_late).count();
        if late > 0 || self.stream != stream {
            self.suspects.clear();
        }
        self.since = self.suspects.values().min().copied();
        if self.stream == stream { late } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_same_stream_never_delivers_was_missed() {
        let s = Duration::from_secs;
        let mut check = MuteCheck::new(s(30));
        check.suspect("a", 1, s(0));
        check.suspect("b", 1, s(5));
        check.suspect("", 1, s(5));
        check.delivered("a");
        assert_eq!(check.due(), Some(s(30)));
        assert_eq!(check.missed(1, s(29)), 0);
        assert_eq!(check.missed(1, s(35)), 1);
        assert_eq!((check.due(), check.missed(1, s(90))), (None, 0));
        check.suspect("a", 1, s(100));
        assert_eq!(check.missed(2, s(200)), 0, "the stream was renewed meanwhile");
        check.suspect("a", 2, s(300));
        check.suspect("b", 3, s(310));
        assert_eq!(check.missed(3, s(340)), 1);
    }

    #[test]
    fn each_change_has_the_whole_grace_to_be_delivered() {
        let s = Duration::from_secs;
        let mut check = MuteCheck::new(s(30));
        check.suspect("a", 1, s(0));
        check.suspect("b", 1, s(29));
        check.suspect("b", 1, s(30));
        check.delivered("a");
        assert_eq!(check.missed(1, s(30)), 0);
        assert_eq!(check.due(), Some(s(59)));
        assert_eq!(check.missed(1, s(59)), 1);
        check.suspect("a", 1, s(60));
        check.suspect("b", 1, s(89));
        assert_eq!((check.missed(1, s(90)), check.due()), (1, None), "the watch is renewed");
    }

    #[test]
    fn a_delete_is_suspicious_only_if_no_event_told_it_since_the_listing() {
        let s = Duration::from_secs;
        let mut check = MuteCheck::new(s(30));
        check.listing_lacked(["a", "b", ""].map(str::to_owned).into_iter(), 1);
        check.delivered("a");
        for id in ["a", "b", "c", ""] {
            check.gone(id, 1, s(1));
        }
        assert_eq!(check.missed(1, s(31)), 1);
        check.listing_lacked(["d".to_owned()].into_iter(), 1);
        check.gone("d", 2, s(40));
        assert_eq!(check.due(), None, "the stream was renewed meanwhile");
    }
}

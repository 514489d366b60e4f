//! Finding a watch that is connected and silent (design.md 3, rule 8).
//!
//! A full sync that comes upon a change the watch has not delivered suspects the watch. Whatever
//! arrives within [`GRACE`] clears its document; what is left after that was missed.

use crate::plan::Moment;
use std::collections::HashSet;
use std::time::Duration;

/// A change older than this should have been delivered.
pub(super) const GRACE: Duration = Duration::from_secs(30);
/// Documents under suspicion at most: one is enough to renew a watch.
const SUSPECTS: usize = 1_000;

/// The suspicion against the current watch stream.
#[derive(Debug, Default)]
pub(super) struct MuteCheck {
    suspects: HashSet<String>,
    since: Option<Moment>,
    /// Which stream is meant; another one starts without suspicion.
    stream: u64,
}

impl MuteCheck {
    /// A full sync found a change of this document that no event told.
    pub fn suspect(&mut self, storage_id: &str, stream: u64, now: Moment) {
        if stream != self.stream {
            *self = Self { stream, ..Self::default() };
        }
        if storage_id.is_empty() || self.suspects.len() >= SUSPECTS {
            return;
        }
        if self.suspects.insert(storage_id.to_owned()) {
            self.since.get_or_insert(now);
        }
    }

    /// An event about this document arrived.
    pub fn delivered(&mut self, storage_id: &str) {
        self.suspects.remove(storage_id);
    }

    /// When [`missed`](Self::missed) should be asked.
    pub fn due(&self) -> Option<Moment> {
        self.since.map(|since| since + GRACE)
    }

    /// How many changes the stream did not deliver in time; ends the suspicion.
    pub fn missed(&mut self, stream: u64, now: Moment) -> usize {
        if self.due().is_none_or(|due| now < due) {
            return 0;
        }
        let missed = if self.stream == stream { self.suspects.len() } else { 0 };
        self.suspects.clear();
        self.since = None;
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_same_stream_never_delivers_was_missed() {
        let s = Duration::from_secs;
        let mut check = MuteCheck::default();
        check.suspect("a", 1, s(0));
        check.suspect("b", 1, s(5));
        check.suspect("", 1, s(5));
        check.delivered("a");
        assert_eq!(check.due(), Some(s(30)));
        assert_eq!(check.missed(1, s(29)), 0);
        assert_eq!(check.missed(1, s(30)), 1);
        assert_eq!((check.due(), check.missed(1, s(90))), (None, 0));
        check.suspect("a", 1, s(100));
        assert_eq!(check.missed(2, s(200)), 0, "the stream was renewed meanwhile");
        check.suspect("a", 2, s(300));
        check.suspect("b", 3, s(310));
        assert_eq!(check.missed(3, s(340)), 1);
    }
}

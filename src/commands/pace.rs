//! How often a command asks a side, so that a live fleet does not feel it.

use std::time::{Duration, Instant};

/// At most so many requests a second, evenly spaced; used by one thread.
pub(super) struct Pace {
    gap: Duration,
    next: Option<Instant>,
}

impl Pace {
    /// `per_second` is at least 1.
    pub(super) fn new(per_second: u32) -> Self {
        Self { gap: Duration::from_secs(1) / per_second.max(1), next: None }
    }

    /// Waits until the next request may go.
    pub(super) fn wait(&mut self) {
        let now = Instant::now();
        let (pause, next) = self.turn(now);
        self.next = Some(next);
        std::thread::sleep(pause);
    }

    /// How long to wait at `now`, and when the request after this one may go.
    fn turn(&self, now: Instant) -> (Duration, Instant) {
        let at = self.next.map_or(now, |next| next.max(now));
        (at - now, at + self.gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_spaced_and_a_pause_saves_nothing_up() {
        let start = Instant::now();
        let mut pace = Pace::new(10);
        let (first, next) = pace.turn(start);
        assert_eq!((first, next - start), (Duration::ZERO, Duration::from_millis(100)));
        pace.next = Some(next);
        assert_eq!(pace.turn(start).0, Duration::from_millis(100));
        let late = start + Duration::from_secs(5);
        assert_eq!(pace.turn(late), (Duration::ZERO, late + Duration::from_millis(100)));
    }
}

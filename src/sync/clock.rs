//! The clock of the process: a monotonic moment for decisions, a wall time for people.

use crate::plan::Moment;
use jiff::Timestamp;
use std::time::{Duration, Instant};

/// Counts from its creation.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    started_at: Timestamp,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { started: Instant::now(), started_at: Timestamp::now() }
    }

    /// Time since the start.
    pub fn now(&self) -> Moment {
        self.started.elapsed()
    }

    /// The instant of a moment.
    pub fn instant(&self, moment: Moment) -> Instant {
        self.started + moment
    }

    /// A moment as RFC 3339, UTC, whole seconds.
    pub fn wall(&self, moment: Moment) -> String {
        let at = self.started_at.checked_add(moment).unwrap_or(self.started_at);
        Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
    }

    /// A moment in seconds since 1970.
    pub fn unix_seconds(&self, moment: Moment) -> f64 {
        self.started_at.as_duration().as_secs_f64() + moment.as_secs_f64()
    }

    /// Seconds from a moment to now.
    pub fn seconds_since(&self, moment: Moment) -> f64 {
        self.now().saturating_sub(moment).as_secs_f64()
    }
}

/// Seconds with three digits, for people and JSON.
pub(super) fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

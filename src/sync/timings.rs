//! Waits that the design fixes rather than the operator.

use crate::config::Config;
use crate::plan::ScheduleSettings;
use crate::pulse;
use std::time::Duration;

/// How long a cluster waits for what. The default is what design.md says; a test that is about
/// what follows a wait shortens it.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// From the first full sync of a watch stream to the settle sync (design.md 6).
    pub settle: Duration,
    /// Shortest time between two full syncs because of overflow (design.md 2).
    pub overflow_spacing: Duration,
    /// A change older than this should have been delivered by the watch (design.md 3, rule 8).
    pub mute_grace: Duration,
    /// A thread that gives no sign of life for so long, beside what its request may take, hangs: what it does
    /// between two signs, a page of records at most, takes milliseconds.
    pub hang: Duration,
    /// Between two full syncs while the watch is found mute.
    pub mute_interval: Duration,
    /// A sender shard without work gives its thread back after this time: starting one costs 50 µs.
    pub linger: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            settle: seconds(10),
            overflow_spacing: seconds(30),
            mute_grace: seconds(30),
            hang: pulse::HANG,
            mute_interval: seconds(60),
            linger: seconds(1),
        }
    }
}

impl Timings {
    /// The schedule of a cluster.
    pub(super) fn schedule(&self, config: &Config) -> ScheduleSettings {
        ScheduleSettings {
            interval: config.full_sync_interval,
            landing: config.cmdb_timeout,
            settle: self.settle,
            overflow_spacing: self.overflow_spacing,
            mute_interval: self.mute_interval,
        }
    }
}

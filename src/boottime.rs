//! The clock of the lease: what holds the permission to write, and what sends, must read the same one.

use std::time::Duration;

/// Time since boot, suspension of the machine included: a lease must also run out while the machine
/// sleeps, which the clock behind `Instant` does not see.
pub(crate) fn boottime() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

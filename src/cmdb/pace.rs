//! `cmdb_qps`: how many requests a second the whole instance sends to the CMDB.

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use std::num::NonZeroU32;
use std::time::Duration;

/// Requests that may go out at once after a pause, as a part of a second's quota.
const BURST_DIVISOR: u32 = 10;

/// The limit, shared by all threads; without one every request may go at once.
pub(super) struct Pace {
    limiter: Option<DefaultDirectRateLimiter>,
}

impl Pace {
    /// At most `qps` requests a second; 0: no limit.
    pub(super) fn new(qps: u32) -> Self {
        let burst = NonZeroU32::new((qps / BURST_DIVISOR).max(1)).unwrap_or(NonZeroU32::MIN);
        let quota = NonZeroU32::new(qps).map(|qps| Quota::per_second(qps).allow_burst(burst));
        Self { limiter: quota.map(RateLimiter::direct) }
    }

    /// Takes the permission for one request, or says how long to wait before asking again.
    pub(super) fn take(&self) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        limiter.check().map_err(|not_yet| not_yet.wait_time_from(DefaultClock::default().now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_lets_a_burst_through_and_then_asks_to_wait() {
        let check = |qps: u32, at_once: usize| {
            let pace = Pace::new(qps);
            let taken = (0..1000).take_while(|_| pace.take().is_ok()).count();
            assert_eq!(taken, at_once, "at {qps} a second");
        };
        check(0, 1000);
        check(1, 1);
        check(5, 1);
        check(20, 2);
        let pace = Pace::new(1);
        assert!(pace.take().is_ok());
        let wait = pace.take().unwrap_err();
        assert!(wait > Duration::from_millis(500) && wait <= Duration::from_secs(1), "{wait:?}");
    }
}

//! Delays between attempts.

use super::Moment;
use std::time::Duration;

/// Exponential delays with jitter: `base`, doubled for every further attempt, at most `cap`, and of
/// that between three quarters and all, so that many waiting parties spread.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
}

impl Backoff {
    /// Delays from `base` to `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// The delay before attempt number `attempt` (the first retry is 1).
    pub fn delay(&self, attempt: u32, rng: &mut fastrand::Rng) -> Duration {
        let doublings = attempt.saturating_sub(1).min(16);
        let full = self.base.saturating_mul(1 << doublings).min(self.cap);
        full.mul_f64(0.75 + rng.f64() * 0.25)
    }

    /// `now` plus the delay.
    pub fn after(&self, now: Moment, attempt: u32, rng: &mut fastrand::Rng) -> Moment {
        now + self.delay(attempt, rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_stay_within_a_quarter() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        let mut rng = fastrand::Rng::with_seed(7);
        for (attempt, full) in [(0, 1.0), (1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0), (u32::MAX, 8.0)] {
            let delay = backoff.delay(attempt, &mut rng).as_secs_f64();
            assert!((full * 0.75..=full).contains(&delay), "attempt {attempt}: {delay}");
        }
    }
}

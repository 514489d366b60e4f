//! The lease: until when this instance may believe that its session lives.
//!
//! A server ends a session one negotiated timeout after it last heard from us, and it heard us no
//! earlier than we sent. Two thirds of the timeout after the last acknowledged heartbeat was *sent*,
//! nobody else can hold our locks yet, with a third to spare for clocks that run unlike and for the
//! one request on the wire. Time comes in as an argument, counted since boot.

use parking_lot::Mutex;
use std::time::Duration;

/// The lease of one instance, over all its sessions.
#[derive(Debug, Default)]
pub(super) struct Lease {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Session the lease belongs to; 0: none.
    session: i64,
    sent: Duration,
    until: Duration,
    not_before: Duration,
    gaps: u64,
}

impl Lease {
    /// A heartbeat of `session`, sent at `sent`, was acknowledged at `now`.
    pub fn renew(&self, session: i64, timeout: Duration, sent: Duration, now: Duration) {
        let mut state = self.state.lock();
        if state.session != session || state.until <= now {
            state.gaps += 1;
        }
        state.session = session;
        state.sent = sent;
        state.until = sent + timeout * 2 / 3;
    }

    /// The session is over, or in doubt for good.
    pub fn revoke(&self) {
        let mut state = self.state.lock();
        state.session = 0;
        state.until = Duration::ZERO;
    }

    /// No permission before `time`: in a ZooKeeper without memory others may still hold leases it
    /// does not know of (design.md 4).
    pub fn hold_until(&self, time: Duration) {
        let mut state = self.state.lock();
        state.not_before = state.not_before.max(time);
    }

    /// What is left of the lease of `session`.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn remaining(&self, session: i64, now: Duration) -> Result<Duration, String> {
        let state = self.state.lock();
        if state.session != session || session == 0 {
            return Err("the ZooKeeper session is over".to_owned());
        }
        if let Some(wait) = state.not_before.checked_sub(now).filter(|wait| !wait.is_zero()) {
            return Err(format!(
                "ZooKeeper lost its data or is new: no writes for another {:.1} s, others may still hold leases",
                wait.as_secs_f64()
            ));
        }
        state
            .until
            .checked_sub(now)
            .filter(|left| !left.is_zero())
            .ok_or_else(|| "no heartbeat was acknowledged by ZooKeeper within the lease".to_owned())
    }

    /// Whether any session has a lease now, held back or not.
    pub fn alive(&self, now: Duration) -> bool {
        let state = self.state.lock();
        state.session != 0 && state.until > now
    }

    /// How long ago the last acknowledged heartbeat was sent; `None` before the first one.
    pub fn age(&self, now: Duration) -> Option<Duration> {
        let state = self.state.lock();
        (state.sent != Duration::ZERO).then(|| now.saturating_sub(state.sent))
    }

    /// How many times a lease began after there was none.
    pub fn gaps(&self) -> u64 {
        self.state.lock().gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(9);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_ends_two_thirds_of_the_timeout_after_the_heartbeat_was_sent() {
        let lease = Lease::default();
        assert!(lease.remaining(7, at(100)).is_err());
        lease.renew(7, TIMEOUT, at(100), at(104));
        assert_eq!(lease.remaining(7, at(104)), Ok(at(2)));
        assert!(lease.remaining(7, at(106)).is_err());
        assert_eq!(lease.age(at(106)), Some(at(6)));
    }

    #[test]
    fn a_lease_belongs_to_one_session_and_ends_with_it() {
        let lease = Lease::default();
        lease.renew(7, TIMEOUT, at(100), at(100));
        assert!(lease.remaining(8, at(100)).is_err());
        lease.revoke();
        assert!(lease.remaining(7, at(100)).is_err());
        assert!(lease.remaining(0, at(100)).is_err());
        assert!(!lease.alive(at(100)));
    }

    #[test]
    fn an_acknowledgement_that_comes_late_grants_nothing() {
        let lease = Lease::default();
        lease.renew(7, TIMEOUT, at(100), at(120));
        assert!(lease.remaining(7, at(120)).is_err());
    }

    #[test]
    fn every_interruption_is_counted_and_a_renewal_in_time_is_none() {
        let lease = Lease::default();
        lease.renew(7, TIMEOUT, at(100), at(100));
        lease.renew(7, TIMEOUT, at(103), at(103));
        assert_eq!(lease.gaps(), 1);
        lease.renew(7, TIMEOUT, at(130), at(130));
        assert_eq!(lease.gaps(), 2);
        lease.renew(8, TIMEOUT, at(131), at(131));
        assert_eq!(lease.gaps(), 3);
    }

    #[test]
    fn a_fresh_zookeeper_holds_writes_back() {
        let lease = Lease::default();
        lease.renew(7, TIMEOUT, at(100), at(100));
        lease.hold_until(at(104));
        assert!(lease.remaining(7, at(103)).is_err());
        assert_eq!(lease.remaining(7, at(104)), Ok(at(2)));
    }
}

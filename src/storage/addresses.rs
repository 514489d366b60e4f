//! Where bcs-storage is: which addresses there are, which of them failed a moment ago, and how many
//! listings each carries.
//!
//! Knows nothing of HTTP: it orders addresses and counts.

use crate::config::BaseUrl;
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64;

/// An address that failed comes last for this long: the others get the next requests, and a restart
/// of a few seconds is over by then.
const BAD_FOR: Duration = Duration::from_secs(5);

/// Tells the addresses known right now; asked again before every request.
pub trait Addresses: Send + Sync {
    /// Base URLs of bcs-storage; empty if none is known.
    fn snapshot(&self) -> Vec<BaseUrl>;
}

/// Addresses that never change: `storage_addrs` of the configuration.
#[derive(Clone, Debug)]
pub struct StaticAddresses(Vec<BaseUrl>);

impl StaticAddresses {
    /// Those addresses.
    pub fn new(addresses: Vec<BaseUrl>) -> Self {
        Self(addresses)
    }
}

impl Addresses for StaticAddresses {
    fn snapshot(&self) -> Vec<BaseUrl> {
        self.0.clone()
    }
}

/// Which addresses failed lately.
#[derive(Debug, Default)]
pub(super) struct Health {
    bad_until: Mutex<HashMap<String, Instant>>,
}

impl Health {
    pub(super) fn mark_bad(&self, address: &BaseUrl) {
        let now = Instant::now();
        let mut bad = self.bad_until.lock();
        bad.retain(|_, until| *until > now);
        bad.insert(address.origin.clone(), now + BAD_FOR);
    }

    pub(super) fn is_bad(&self, address: &BaseUrl) -> bool {
        self.bad_until.lock().get(&address.origin).is_some_and(|until| *until > Instant::now())
    }

    /// The addresses in the order they are to be tried: each cluster begins at an address of its
    /// own, so that clusters spread; `avoid` comes after the good ones, bad ones last.
    pub(super) fn order(
        &self,
        mut addresses: Vec<BaseUrl>,
        cluster: &str,
        avoid: Option<&str>,
    ) -> Vec<BaseUrl> {
        if !addresses.is_empty() {
            let first = xxh3_64(cluster.as_bytes()) % addresses.len() as u64;
            addresses.rotate_left(first as usize);
        }
        // Cached: an address must not turn good in the middle of the sorting.
        addresses
            .sort_by_cached_key(|address| (self.is_bad(address), avoid == Some(address.origin.as_str())));
        addresses
    }
}

/// Bounds the listings at the same time, per address.
#[derive(Debug)]
pub(super) struct Permits {
    limit: usize,
    used: Mutex<HashMap<String, usize>>,
    changed: Condvar,
}

impl Permits {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), used: Mutex::new(HashMap::new()), changed: Condvar::new() }
    }

    /// Waits until one of `addresses` carries less than the limit, and takes the least busy one (of
    /// equals, the first); `None` once `stopped` says so.
    pub(super) fn acquire(
        self: &Arc<Self>,
        addresses: &[BaseUrl],
        stopped: impl Fn() -> bool,
    ) -> Option<Permit> {
        let mut used = self.used.lock();
        loop {
            if stopped() {
                return None;
            }
            let count = |address: &BaseUrl| used.get(&address.origin).copied().unwrap_or(0);
            let least = addresses.iter().min_by_key(|address| count(address))?;
            if count(least) < self.limit {
                *used.entry(least.origin.clone()).or_default() += 1;
                return Some(Permit { permits: self.clone(), address: least.clone() });
            }
            self.changed.wait(&mut used);
        }
    }

    /// Lets everyone who waits look at `stopped` again.
    pub(super) fn wake(&self) {
        // Under the lock: a waiter is either before its look, or asleep.
        let _used = self.used.lock();
        self.changed.notify_all();
    }
}

/// The right to list from one address; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    permits: Arc<Permits>,
    pub(super) address: BaseUrl,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut used = self.permits.used.lock();
        if let Some(count) = used.get_mut(&self.address.origin) {
            *count -= 1;
            if *count == 0 {
                used.remove(&self.address.origin);
            }
        }
        self.permits.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn urls(names: &[&str]) -> Vec<BaseUrl> {
        let url = |name: &&str| BaseUrl { origin: format!("http://{name}"), prefix: String::new() };
        names.iter().map(url).collect()
    }

    #[test]
    fn bad_addresses_come_last_and_an_avoided_one_after_the_good() {
        let health = Health::default();
        let all = urls(&["a", "b", "c"]);
        health.mark_bad(&all[0]);
        let order = health.order(all.clone(), "BCS-K8S-1", Some("http://b"));
        assert_eq!(order, urls(&["c", "b", "a"]));
        assert_eq!(health.order(Vec::new(), "BCS-K8S-1", None), []);
        assert_eq!(health.order(urls(&["a"]), "BCS-K8S-1", Some("http://a")), urls(&["a"]));
    }

    #[test]
    fn clusters_spread_over_the_addresses_and_keep_theirs() {
        let health = Health::default();
        let first = |cluster: &str| health.order(urls(&["a", "b", "c"]), cluster, None)[0].origin.clone();
        let mut seen: Vec<String> = (0..30).map(|n| first(&format!("BCS-K8S-{n}"))).collect();
        assert_eq!(first("BCS-K8S-7"), seen[7]);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn listings_spread_and_wait_for_a_permit_that_is_given_back() {
        let permits = Arc::new(Permits::new(1));
        let both = urls(&["a", "b"]);
        let first = permits.acquire(&both, || false).unwrap();
        let second = permits.acquire(&both, || false).unwrap();
        assert_eq!([&first.address, &second.address], [&both[0], &both[1]]);
        let waiting = std::thread::spawn({
            let (permits, both) = (permits.clone(), both.clone());
            move || permits.acquire(&both, || false).map(|permit| permit.address.clone())
        });
        drop(second);
        assert_eq!(waiting.join().unwrap(), Some(both[1].clone()));
        drop(first);
        assert!(permits.used.lock().is_empty());
    }

    #[test]
    fn a_wait_for_a_permit_ends_at_a_stop_and_without_addresses() {
        let permits = Arc::new(Permits::new(1));
        assert!(permits.acquire(&[], || false).is_none());
        let all = urls(&["a"]);
        let _held = permits.acquire(&all, || false);
        let stopped = Arc::new(AtomicBool::new(false));
        let waiting = std::thread::spawn({
            let (permits, stopped) = (permits.clone(), stopped.clone());
            move || permits.acquire(&all, || stopped.load(Ordering::SeqCst)).is_none()
        });
        stopped.store(true, Ordering::SeqCst);
        permits.wake();
        assert!(waiting.join().unwrap());
    }
}

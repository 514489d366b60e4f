//! Where bcs-storage is: which addresses there are, and which of them failed a moment ago.
//!
//! Knows nothing of HTTP: it orders addresses.

use crate::config::BaseUrl;
use parking_lot::Mutex;
use std::collections::HashMap;
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

#[cfg(test)]
mod tests {
    use super::*;

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
}

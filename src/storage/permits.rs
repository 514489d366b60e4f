//! How many listings each address of bcs-storage carries, and who is next.

use crate::config::BaseUrl;
use crate::pulse;
use crossbeam::channel::{Sender, bounded};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Bounds the listings at the same time, per address.
#[derive(Debug)]
pub(super) struct Permits {
    limit: usize,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    used: HashMap<String, usize>,
    /// In the order they came.
    waiting: VecDeque<Waiter>,
}

/// Somebody who waits for a place at one of several addresses. Each is woken alone, with the place
/// in hand: were all woken whenever one is free, hundreds of clusters would do little else.
#[derive(Debug)]
struct Waiter {
    addresses: Vec<BaseUrl>,
    place: Sender<BaseUrl>,
}

impl Permits {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), places: Mutex::default() }
    }

    /// Waits until one of `addresses` carries less than the limit, and takes the least busy one (of
    /// equals, the first); `None` once `stopped` says so.
    pub(super) fn acquire(
        self: &Arc<Self>,
        addresses: &[BaseUrl],
        stopped: impl Fn() -> bool,
    ) -> Option<Permit> {
        loop {
            let given = {
                let mut places = self.places.lock();
                if stopped() {
                    return None;
                }
                let count = |address: &BaseUrl| places.used.get(&address.origin).copied().unwrap_or(0);
                let least = addresses.iter().min_by_key(|address| count(address))?;
                if count(least) < self.limit {
                    *places.used.entry(least.origin.clone()).or_default() += 1;
                    return Some(Permit { permits: self.clone(), address: least.clone() });
                }
                let (place, given) = bounded(1);
                places.waiting.push_back(Waiter { addresses: addresses.to_vec(), place });
                given
            };
            // Without a place in hand it was woken to look at `stopped`.
            if let Ok(address) = pulse::resting(|| given.recv()) {
                let permit = Permit { permits: self.clone(), address };
                return (!stopped()).then_some(permit);
            }
        }
    }

    /// How many listings that address carries.
    #[cfg(test)]
    pub(super) fn used(&self, address: &BaseUrl) -> usize {
        self.places.lock().used.get(&address.origin).copied().unwrap_or(0)
    }

    /// Lets everyone who waits look at `stopped` again.
    pub(super) fn wake(&self) {
        // Under the lock: a waiter is either before its look, or in the queue.
        self.places.lock().waiting.clear();
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
        let mut places = self.permits.places.lock();
        let next = places.waiting.iter().position(|waiter| waiter.addresses.contains(&self.address));
        if let Some(waiter) = next.and_then(|index| places.waiting.remove(index)) {
            // It waits for nothing else and takes its place: the count stays.
            if waiter.place.send(self.address.clone()).is_ok() {
                return;
            }
        }
        if let Some(count) = places.used.get_mut(&self.address.origin) {
            *count -= 1;
            if *count == 0 {
                places.used.remove(&self.address.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    fn urls(names: &[&str]) -> Vec<BaseUrl> {
        let url = |name: &&str| BaseUrl { origin: format!("http://{name}"), prefix: String::new() };
        names.iter().map(url).collect()
    }

    fn wait_until(what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !condition() {
            assert!(Instant::now() < deadline, "{what}");
            thread::yield_now();
        }
    }

    fn wait_for_waiters(permits: &Permits, count: usize) {
        wait_until("so many waiters", || permits.places.lock().waiting.len() == count);
    }

    #[test]
    fn listings_spread_and_wait_for_a_permit_that_is_given_back() {
        let permits = Arc::new(Permits::new(1));
        let both = urls(&["a", "b"]);
        let first = permits.acquire(&both, || false).unwrap();
        let second = permits.acquire(&both, || false).unwrap();
        assert_eq!([&first.address, &second.address], [&both[0], &both[1]]);
        let waiting = thread::spawn({
            let (permits, both) = (permits.clone(), both.clone());
            move || permits.acquire(&both, || false).map(|permit| permit.address.clone())
        });
        wait_for_waiters(&permits, 1);
        drop(second);
        assert_eq!(waiting.join().unwrap(), Some(both[1].clone()));
        drop(first);
        assert!(permits.places.lock().used.is_empty());
    }

    #[test]
    fn a_place_goes_to_the_first_that_waits_for_this_address_and_then_to_the_next() {
        let permits = Arc::new(Permits::new(1));
        let held = ["a", "b"].map(|name| permits.acquire(&urls(&[name]), || false));
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiters = ["b", "a", "a", "a"].iter().enumerate().map(|(number, name)| {
            let (shared, order, name) = (permits.clone(), order.clone(), *name);
            let thread = thread::spawn(move || {
                let permit = shared.acquire(&urls(&[name]), || false);
                order.lock().push(number);
                drop(permit);
            });
            wait_for_waiters(&permits, number + 1);
            thread
        });
        let threads: Vec<_> = waiters.collect();
        let [a, b] = held;
        drop(a);
        wait_until("the three of a are through", || order.lock().len() == 3);
        drop(b);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*order.lock(), [1, 2, 3, 0]);
        assert!(permits.places.lock().used.is_empty());
    }

    #[test]
    fn a_wait_for_a_permit_ends_at_a_stop_and_without_addresses() {
        let permits = Arc::new(Permits::new(1));
        assert!(permits.acquire(&[], || false).is_none());
        let all = urls(&["a"]);
        let held = permits.acquire(&all, || false);
        let stopped = Arc::new(AtomicBool::new(false));
        let wait = |stopped: Arc<AtomicBool>| {
            let (permits, all) = (permits.clone(), all.clone());
            thread::spawn(move || permits.acquire(&all, || stopped.load(Ordering::SeqCst)).is_some())
        };
        let (ends, goes_on) = (wait(stopped.clone()), wait(Arc::default()));
        wait_for_waiters(&permits, 2);
        stopped.store(true, Ordering::SeqCst);
        permits.wake();
        assert!(!ends.join().unwrap());
        wait_for_waiters(&permits, 1);
        drop(held);
        assert!(goes_on.join().unwrap());
        assert!(permits.places.lock().used.is_empty());
    }
}

//! Topologies of the businesses at work, each fetched by one thread at a time.

use super::{Client, CmdbError};
use crate::model::Modules;
use crate::pulse;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Fetch = Box<dyn Fn(i64) -> Result<Modules, CmdbError> + Send + Sync>;

/// The last known modules per business; one entry for each business the inventory names.
///
/// Many clusters share a business. The first to ask fetches, the others wait for its outcome:
/// its success if that is young enough for them, its failure always, so that a CMDB that hangs
/// costs one timeout and not one per cluster.
pub struct TopologyCache {
    fetch: Fetch,
    slots: Mutex<HashMap<i64, Arc<Mutex<Slot>>>>,
}

/// What is known of one business; its lock is held while it is fetched.
#[derive(Default)]
struct Slot {
    /// When the fetch was started, and what it brought.
    known: Option<(Instant, Arc<Modules>)>,
    /// When the last fetch failed, and why.
    failed: Option<(Instant, String)>,
}

impl TopologyCache {
    /// An empty cache that fetches with this client.
    pub fn new(client: Client) -> Self {
        Self::with_fetch(Box::new(move |biz| client.topology(biz)))
    }

    fn with_fetch(fetch: Fetch) -> Self {
        Self { fetch, slots: Mutex::default() }
    }

    /// The modules of a business, as they were at most `max_age` ago.
    ///
    /// The same `Arc` is returned as long as nothing changed: `Arc::ptr_eq` tells a change.
    ///
    /// # Errors
    /// What the fetch says; a caller that waited for another's failing fetch gets
    /// [`CmdbError::Later`] with its words.
    pub fn get(&self, biz: i64, max_age: Duration) -> Result<Arc<Modules>, CmdbError> {
        self.read(biz, |started| started.elapsed() <= max_age)
    }

    /// The modules of a business, read after `not_older_than`.
    ///
    /// # Errors
    /// As [`TopologyCache::get`].
    pub fn refresh(&self, biz: i64, not_older_than: Instant) -> Result<Arc<Modules>, CmdbError> {
        self.read(biz, |started| started >= not_older_than)
    }

    fn read(&self, biz: i64, fresh: impl Fn(Instant) -> bool) -> Result<Arc<Modules>, CmdbError> {
        let asked = Instant::now();
        let slot = Arc::clone(self.slots.lock().entry(biz).or_default());
        // Who holds it asks the CMDB, and has a pulse of its own.
        let mut slot = pulse::resting(|| slot.lock());
        match (&slot.known, &slot.failed) {
            (Some((started, modules)), _) if fresh(*started) => return Ok(Arc::clone(modules)),
            (_, Some((at, message))) if *at >= asked => {
                return Err(CmdbError::Later { code: 0, message: message.clone() });
            }
            _ => {}
        }
        let started = Instant::now();
        match (self.fetch)(biz) {
            Ok(modules) => {
                let same = slot.known.take().filter(|(_, known)| **known == modules);
                let modules = same.map_or_else(|| Arc::new(modules), |(_, known)| known);
                *slot = Slot { known: Some((started, Arc::clone(&modules))), failed: None };
                Ok(modules)
            }
            Err(error) => {
                slot.failed = Some((Instant::now(), error.to_string()));
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::channel::{Receiver, Sender, unbounded};
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::thread;

    const HOUR: Duration = Duration::from_secs(3600);

    fn one_module(id: i64) -> Modules {
        let mut modules = Modules::default();
        modules.insert("bkbcs", "bkbcs", id);
        modules
    }

    /// A cache whose every fetch gives the next number as module id.
    fn counting() -> (Arc<AtomicI64>, TopologyCache) {
        let fetches = Arc::new(AtomicI64::new(0));
        let count = Arc::clone(&fetches);
        let fetch = move |_| Ok(one_module(count.fetch_add(1, Ordering::SeqCst) + 1));
        (fetches, TopologyCache::with_fetch(Box::new(fetch)))
    }

    #[test]
    fn a_young_enough_topology_is_not_fetched_again() {
        let (fetches, cache) = counting();
        let before = Instant::now();
        let first = cache.get(2, HOUR).unwrap();
        assert!(Arc::ptr_eq(&first, &cache.get(2, HOUR).unwrap()));
        assert!(Arc::ptr_eq(&first, &cache.refresh(2, before).unwrap()));
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
        cache.refresh(2, Instant::now()).unwrap();
        cache.get(3, HOUR).unwrap();
        assert_eq!(fetches.load(Ordering::SeqCst), 3, "a late refresh and another business");
    }

    #[test]
    fn an_unchanged_topology_stays_the_same_object() {
        let cache = TopologyCache::with_fetch(Box::new(|_| Ok(one_module(41))));
        let first = cache.get(2, HOUR).unwrap();
        assert!(Arc::ptr_eq(&first, &cache.refresh(2, Instant::now()).unwrap()));
        let (_, changing) = counting();
        let first = changing.get(2, HOUR).unwrap();
        assert!(!Arc::ptr_eq(&first, &changing.refresh(2, Instant::now()).unwrap()));
    }

    #[test]
    fn a_failure_keeps_what_is_known_and_is_tried_again() {
        let calls = AtomicI64::new(0);
        let fetch = move |_| match calls.fetch_add(1, Ordering::SeqCst) {
            1 => Err(CmdbError::NotFound),
            call => Ok(one_module(call)),
        };
        let cache = TopologyCache::with_fetch(Box::new(fetch));
        let first = cache.get(2, HOUR).unwrap();
        assert!(matches!(cache.refresh(2, Instant::now()), Err(CmdbError::NotFound)));
        assert!(Arc::ptr_eq(&first, &cache.get(2, HOUR).unwrap()));
        assert_eq!(cache.refresh(2, Instant::now()).unwrap().id("bkbcs", "bkbcs"), Some(2));
    }

    /// Lets three threads ask while one fetch hangs, then gives it `outcome`; what the three got.
    fn ask_together(outcome: Option<i64>) -> (usize, Vec<Result<i64, String>>) {
        let (entered, entries): (Sender<()>, Receiver<()>) = unbounded();
        let (give, outcomes): (Sender<Option<i64>>, Receiver<Option<i64>>) = unbounded();
        let cache = TopologyCache::with_fetch(Box::new(move |_| {
            let _ = entered.send(());
            outcomes.recv().ok().flatten().map(one_module).ok_or(CmdbError::NotFound)
        }));
        let answers = thread::scope(|scope| {
            let ask = || {
                let answer = cache.get(2, HOUR);
                answer.map(|m| m.id("bkbcs", "bkbcs").unwrap_or_default()).map_err(|e| e.to_string())
            };
            let first = scope.spawn(ask);
            entries.recv().unwrap();
            let waiters = [scope.spawn(ask), scope.spawn(ask)];
            let slot = Arc::clone(&cache.slots.lock()[&2]);
            // One reference of the map, one of each asking thread, one here.
            while Arc::strong_count(&slot) < 5 {
                thread::yield_now();
            }
            give.send(outcome).unwrap();
            drop(give);
            std::iter::once(first).chain(waiters).map(|thread| thread.join().unwrap()).collect()
        });
        (entries.try_iter().count() + 1, answers)
    }

    #[test]
    fn those_who_wait_for_a_fetch_share_its_outcome() {
        assert_eq!(ask_together(Some(41)), (1, vec![Ok(41), Ok(41), Ok(41)]));
        let (fetches, answers) = ask_together(None);
        assert_eq!(fetches, 1);
        assert!(answers.iter().all(|answer| answer.as_ref().is_err_and(|e| e.contains("no such record"))));
    }
}

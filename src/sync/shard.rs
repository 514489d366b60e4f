//! A sender shard as everybody else sees it: a queue of orders, and a thread while there is work.
//!
//! Most clusters are idle most of the time, and a thread that once sent a request holds some 60 KiB
//! of stack for good: so a shard has a thread from its first order on until it had nothing to do for
//! a while. What a shard does is in `sender`.

use super::problems::Problem;
use super::reconciler::spawn;
use super::sender::SenderShard;
use super::shared::{Shared, Wake};
use crate::config::Config;
use crate::plan::Order;
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// The way to a sender shard. Unbounded as a channel; its producers, who hold the gate, keep it
/// within [`Shard::room`].
pub(super) struct Shard {
    sender: Sender<Vec<Order>>,
    /// Work, in order.
    pub receiver: Receiver<Vec<Order>>,
    flush_sender: Sender<Sender<()>>,
    /// Who wants a sign once nothing is left that could be done now.
    pub flushes: Receiver<Sender<()>>,
    pub flush_wake: Wake,
    /// Orders on their way to the shard.
    waiting: AtomicUsize,
    /// Uuids the shard works on.
    pub open: AtomicUsize,
    limit: usize,
    /// Its thread ends after so long without work.
    pub linger: Duration,
    /// Held while orders are looked for before the thread ends: none is left behind.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Shard {
    fn new(limit: usize, linger: Duration) -> Self {
        let (sender, receiver) = unbounded();
        let (flush_sender, flushes) = unbounded();
        let flush_wake = Wake::new();
        Self {
            sender,
            receiver,
            flush_sender,
            flushes,
            flush_wake,
            waiting: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            limit,
            linger,
            thread: Mutex::default(),
        }
    }

    /// Whether further work may be sent.
    pub fn has_room(&self) -> bool {
        self.waiting.load(Relaxed) < self.limit
    }

    /// Uuids that wait or are worked on.
    pub fn queued(&self) -> usize {
        self.waiting.load(Relaxed) + self.open.load(Relaxed)
    }

    pub fn received(&self, orders: usize) {
        self.waiting.fetch_sub(orders, Relaxed);
    }

    /// Called by its thread when it has nothing to do: whether it may end.
    pub fn may_end(&self) -> bool {
        let mut thread = self.thread.lock();
        let idle = self.receiver.is_empty() && self.flushes.is_empty();
        if idle {
            *thread = None;
        }
        idle
    }

    /// Whether its thread ended without being allowed to.
    pub fn has_died(&self) -> bool {
        self.thread.lock().as_ref().is_some_and(JoinHandle::is_finished)
    }
}

impl Shared {
    /// Sends orders to a shard. The caller holds the gate.
    pub fn send(&self, number: usize, orders: Vec<Order>) {
        let shard = &self.shards[number];
        shard.waiting.fetch_add(orders.len(), Relaxed);
        // The receiver lives as long as the shard.
        let _ = shard.sender.send(orders);
        self.need_thread(number, &mut shard.thread.lock());
    }

    /// Asks every shard for a sign once nothing is left to do now.
    pub fn flush(&self) -> Vec<Receiver<()>> {
        (0..self.shards.len()).map(|number| self.flush_shard(number)).collect()
    }

    fn flush_shard(&self, number: usize) -> Receiver<()> {
        let shard = &self.shards[number];
        let (done, flushed) = bounded(1);
        let mut thread = shard.thread.lock();
        if thread.is_none() && shard.receiver.is_empty() {
            let _ = done.send(());
        } else {
            let _ = shard.flush_sender.send(done);
            shard.flush_wake.wake();
            self.need_thread(number, &mut thread);
        }
        flushed
    }

    fn need_thread(&self, number: usize, thread: &mut Option<JoinHandle<()>>) {
        let Some(shared) = self.me.upgrade().filter(|_| thread.is_none() && !self.stopping()) else { return };
        let name = format!("send{number} {}", self.cluster.id);
        let sending = Arc::clone(&shared);
        match spawn(&shared, &name, move || SenderShard::new(&sending, number).run()) {
            Ok(started) => *thread = Some(started),
            // The orders wait; the next one, or the next full sync, tries again.
            Err(error) => {
                let message = format!("cannot start a sender's thread: {error}; raise the limit of tasks");
                self.problems.set(Problem::Sender(number), message);
            }
        }
    }

    /// The threads that send. The cluster is stopping: no further one is started.
    pub fn take_senders(&self) -> Vec<JoinHandle<()>> {
        self.shards.iter().filter_map(|shard| shard.thread.lock().take()).collect()
    }
}

/// The shards of a cluster; each holds at most so many orders, in two full create-many calls.
pub(super) fn shards(config: &Config, linger: Duration) -> Vec<Shard> {
    let limit = config.cmdb_batch_size.max(1) * 2;
    (0..config.senders_per_cluster.max(1)).map(|_| Shard::new(limit, linger)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard() -> Shard {
        let shard = Shard::new(8, Duration::ZERO);
        let at_work = std::thread::spawn(|| ());
        *shard.thread.lock() = Some(at_work);
        shard
    }

    #[test]
    fn a_thread_ends_only_when_nothing_waits_for_it() {
        let shard = shard();
        shard.sender.send(Vec::new()).unwrap();
        assert!(!shard.may_end(), "orders came at the last moment");
        shard.receiver.try_recv().unwrap();
        let (done, _flushed) = bounded(1);
        shard.flush_sender.send(done).unwrap();
        assert!(!shard.may_end(), "somebody waits for a sign");
        assert!(shard.thread.lock().is_some());
        shard.flushes.try_recv().unwrap();
        assert!(shard.may_end());
        assert!(shard.thread.lock().is_none(), "whoever sends next starts another");
    }

    #[test]
    fn a_thread_that_ended_by_itself_is_noticed() {
        let shard = shard();
        while !shard.has_died() {
            std::thread::yield_now();
        }
        assert!(shard.may_end());
        assert!(!shard.has_died());
    }
}

//! The thread that asks the inventory, while this instance is the master.

use crate::coordination::{Feed, Looker};
use crate::inventory::Inventory;
use crossbeam::channel::{Sender, never};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Pulls that may wait for the manager; the oldest goes first. It takes them within seconds, and
/// pulls are at least ten apart.
const WAITING: usize = 4;
/// A pause without an end: activation wakes it.
const UNTIL_ACTIVE: Duration = Duration::from_secs(3600);

pub(super) struct Puller {
    shared: Arc<Shared>,
    looker: Mutex<Looker>,
}

#[derive(Default)]
struct Shared {
    active: AtomicBool,
    pulls: Mutex<VecDeque<Result<Inventory, String>>>,
}

impl Puller {
    /// Starts inactive. `wake` is told of every pull.
    pub fn start(mut feed: Feed, wake: Sender<()>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let asked = Arc::clone(&shared);
        let looker = Looker::start("inventory", never(), move || {
            if !asked.active.load(Ordering::Acquire) {
                return UNTIL_ACTIVE;
            }
            let pulled = (feed.pull)();
            {
                let mut pulls = asked.pulls.lock();
                if pulls.len() == WAITING {
                    pulls.pop_front();
                }
                pulls.push_back(pulled);
            }
            let _ = wake.try_send(());
            (feed.interval)()
        })?;
        Ok(Self { shared, looker: Mutex::new(looker) })
    }

    /// Pulls at once and then at every interval, or no more.
    pub fn set_active(&self, active: bool) {
        let before = self.shared.active.swap(active, Ordering::AcqRel);
        if active && !before {
            self.looker.lock().poke();
        }
    }

    /// The pulls since the last call, in order.
    pub fn take(&self) -> VecDeque<Result<Inventory, String>> {
        std::mem::take(&mut self.shared.pulls.lock())
    }

    pub fn trouble(&self) -> Option<String> {
        self.looker.lock().trouble()
    }

    pub fn stop(&self) {
        self.looker.lock().stop();
    }
}

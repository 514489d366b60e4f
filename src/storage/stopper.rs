//! Ends what another thread is busy with: a read, a wait for an answer, a connect.

use super::StorageError;
use crate::http;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// Stops a watch stream or a client from another thread, at once and for good. Clones stop the
/// same.
#[derive(Clone, Debug, Default)]
pub struct WatchStopper {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    stopped: AtomicBool,
    /// Weak: a client goes with its stream, long before a stopper that outlives many streams.
    clients: Mutex<Vec<Weak<http::Client>>>,
}

impl WatchStopper {
    /// A stopper that stops nothing yet; [`super::Client::watch_with`] gives it its stream before
    /// it connects.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends every exchange that is under way, and every later one before it begins.
    pub fn stop(&self) {
        let clients = {
            let mut clients = self.inner.clients.lock();
            self.inner.stopped.store(true, Ordering::Release);
            std::mem::take(&mut *clients)
        };
        for client in clients.iter().filter_map(Weak::upgrade) {
            client.shutdown();
        }
    }

    /// Whether [`WatchStopper::stop`] was called.
    pub fn is_stopped(&self) -> bool {
        self.inner.stopped.load(Ordering::Acquire)
    }

    /// Lets a stop end the exchanges of `client` too; an error if it was stopped already.
    pub(super) fn adopt(&self, client: &Arc<http::Client>) -> Result<(), StorageError> {
        let mut clients = self.inner.clients.lock();
        // Under the lock, so that no client slips past a stop.
        if self.is_stopped() {
            return Err(StorageError::Stopped);
        }
        clients.retain(|client| client.strong_count() > 0);
        clients.push(Arc::downgrade(client));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_stopper_adopts_nobody_and_forgets_the_dead() {
        let client = || Arc::new(http::Client::new(&http::Options::default()));
        let stopper = WatchStopper::new();
        for _ in 0..5 {
            stopper.adopt(&client()).unwrap();
        }
        let living = client();
        stopper.adopt(&living).unwrap();
        assert_eq!(stopper.inner.clients.lock().len(), 1);
        stopper.clone().stop();
        assert!(stopper.is_stopped());
        assert!(matches!(stopper.adopt(&living), Err(StorageError::Stopped)));
    }
}

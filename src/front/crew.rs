//! A set of named threads that comes and goes and can be waited for with a deadline.
//!
//! `JoinHandle::join` alone has no deadline, and a stop must not hang on one handler.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::logging::Trouble;

/// Threads at work together.
#[derive(Default)]
pub struct Crew {
    state: Mutex<State>,
    left: Condvar,
    shortage: Trouble,
}

#[derive(Default)]
struct State {
    alive: usize,
    handles: Vec<JoinHandle<()>>,
}

/// Takes a thread off the count, also when it panics.
struct Leave(Arc<Crew>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.state.lock().alive -= 1;
        self.0.left.notify_all();
    }
}

impl Crew {
    /// Starts one more thread. The error is the system's: no more threads to be had.
    pub fn spawn(
        self: &Arc<Self>,
        name: String,
        stack: usize,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        self.state.lock().alive += 1;
        // Goes with the closure: a thread that could not be started is counted off as well.
        let leave = Leave(Arc::clone(self));
        let handle = Builder::new().name(name.clone()).stack_size(stack).spawn(move || {
            let _leave = leave;
            work();
        });
        let handle = match handle {
            Ok(handle) => handle,
            Err(error) => {
                if self.shortage.begins() {
                    log::warn!(
                        "{name}: no thread is to be had: {error}; requests are refused until there is"
                    );
                }
                return Err(error);
            }
        };
        if self.shortage.ends() {
            log::info!("{name}: threads are to be had again");
        }
        let mut state = self.state.lock();
        // Sweep only when most handles are of threads that ended: constant work per spawn on average.
        if state.handles.len() >= 2 * state.alive + 16 {
            state.handles.retain(|handle| !handle.is_finished());
        }
        state.handles.push(handle);
        Ok(())
    }

    /// Waits until all threads have ended and joins them; returns how many still ran at `deadline`.
    pub fn wait(&self, deadline: Instant) -> usize {
        let mut state = self.state.lock();
        while state.alive > 0 {
            if self.left.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        let alive = state.alive;
        let handles = std::mem::take(&mut state.handles);
        drop(state);
        for handle in handles.into_iter().filter(|handle| alive == 0 || handle.is_finished()) {
            // A panic was reported when it happened; what counts here is that the thread is gone.
            let _ = handle.join();
        }
        alive
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn waits_for_every_thread_also_one_that_panics() {
        let crew = Arc::new(Crew::default());
        for number in 0..40 {
            crew.spawn(format!("crew {number}"), 64 * 1024, move || assert!(number != 7, "on purpose"))
                .unwrap();
        }
        assert_eq!(crew.wait(Instant::now() + Duration::from_secs(60)), 0);
    }

    #[test]
    fn a_thread_that_does_not_end_is_left_at_the_deadline() {
        let crew = Arc::new(Crew::default());
        let (release, wait) = crossbeam::channel::bounded::<()>(0);
        crew.spawn("stuck".into(), 64 * 1024, move || {
            // Ends when the sender is dropped.
            let _ = wait.recv();
        })
        .unwrap();
        assert_eq!(crew.wait(Instant::now() + Duration::from_millis(20)), 1);
        drop(release);
    }
}

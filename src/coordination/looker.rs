//! A thread that looks at something whenever it is woken, and otherwise on a timer.
//!
//! Watches are hints (design.md 4): what matters is that the look is repeated. So every part of
//! coordination is one function "look", and this is the loop around it.

use super::worker::Worker;
use crate::pulse;
use crossbeam::channel::{Receiver, Sender, bounded, select};
use std::io;
use std::time::Duration;

/// How long a stop waits for a look under way. Calls end sooner; a look may be many calls.
const STOP_GRACE: Duration = Duration::from_millis(700);

/// A running loop. Stops when dropped.
pub(crate) struct Looker {
    poke: Sender<()>,
    worker: Option<Worker>,
}

impl Looker {
    /// Runs `look` at once, on every wake-up and poke, and when the time it returned is over.
    ///
    /// # Errors
    /// The machine grants no thread.
    pub fn start(
        name: &str,
        woken: Receiver<()>,
        mut look: impl FnMut() -> Duration + Send + 'static,
    ) -> io::Result<Self> {
        let (poke, poked) = bounded(1);
        let worker = Worker::start(name, move |stopped| {
            loop {
                let pause = look();
                let over = pulse::resting(|| {
                    select! {
                        recv(stopped) -> _ => return true,
                        recv(poked) -> _ => {}
                        recv(woken) -> _ => {}
                        default(pause) => {}
                    }
                    stopped.try_recv().is_err_and(|error| error.is_disconnected())
                });
                if over {
                    return;
                }
            }
        })?;
        Ok(Self { poke, worker: Some(worker) })
    }

    /// Looks again soon.
    pub fn poke(&self) {
        let _ = self.poke.try_send(());
    }

    /// What is wrong with the thread, in words: it ended without being asked to, or hangs.
    pub fn trouble(&self) -> Option<String> {
        self.worker.as_ref()?.trouble()
    }

    /// Ends the loop after the look under way. A second call does nothing.
    pub fn stop(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.stop(STOP_GRACE);
        }
    }
}

impl Drop for Looker {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::channel::unbounded;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn it_looks_at_once_when_woken_when_poked_and_when_time_is_up() {
        let (seen, sight) = unbounded();
        let (wake, woken) = bounded(1);
        let mut pauses = [LONG, LONG, Duration::ZERO, LONG].into_iter();
        let looker = Looker::start("test", woken, move || {
            seen.send(()).unwrap();
            pauses.next().unwrap_or(LONG)
        })
        .unwrap();
        let look = || sight.recv_timeout(Duration::from_secs(60)).unwrap();
        look();
        wake.send(()).unwrap();
        look();
        looker.poke();
        look();
        look();
        drop(looker);
        assert!(sight.recv().is_err());
    }
}

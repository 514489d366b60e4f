//! A thread that can be asked to stop, and of which one can tell whether it lives.

use crate::pulse::{self, Pulses};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running thread.
pub(super) struct Worker {
    handle: JoinHandle<()>,
    /// Dropped: stop.
    stop: Sender<()>,
    /// Disconnected: ended.
    ended: Receiver<()>,
    pulses: Pulses,
}

impl Worker {
    /// Runs `run` until what it is given is disconnected. It has a pulse.
    ///
    /// # Errors
    /// The machine grants no thread.
    pub fn start(name: &str, run: impl FnOnce(&Receiver<()>) + Send + 'static) -> io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let (end, ended) = bounded::<()>(0);
        let pulses = Pulses::new(pulse::HANG);
        let pulse = pulses.begin(name);
        let handle = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _end = end;
            pulse.of(|| run(&stopped));
        })?;
        Ok(Self { handle, stop, ended, pulses })
    }

    /// Whether it has ended, however it did.
    pub fn has_ended(&self) -> bool {
        self.ended.try_recv().is_err_and(|error| error.is_disconnected())
    }

    /// What is wrong with it in words, if it should run for ever: it has ended, so it panicked, or it
    /// hangs.
    pub fn trouble(&self) -> Option<String> {
        if self.has_ended() {
            return Some(format!("thread {:?} has ended", self.handle.thread().name().unwrap_or_default()));
        }
        self.pulses.stuck(Instant::now())
    }

    /// Asks it to stop, and waits so long for that. What takes longer is left to end alone.
    pub fn stop(self, grace: Duration) {
        let Self { handle, stop, ended, .. } = self;
        drop(stop);
        let name = handle.thread().name().unwrap_or_default().to_owned();
        match ended.recv_timeout(grace) {
            Err(RecvTimeoutError::Timeout) => {
                log::debug!("{name:?}: what is under way is left to end alone")
            }
            _ if handle.join().is_err() => log::error!("{name:?}: the thread panicked"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// What is wrong with a thread that does this before it waits for its end.
    fn trouble_of(act: impl FnOnce() + Send + 'static) -> Option<String> {
        let (done, did) = bounded(0);
        let worker = Worker::start("zk test", move |stopped| {
            act();
            done.send(()).unwrap();
            let _ = stopped.recv();
        })
        .unwrap();
        if did.recv_timeout(LONG).is_err() {
            worker.ended.recv_timeout(LONG).unwrap_err();
        }
        let looks = (0..6).map(|look| {
            let now = Instant::now() + Duration::from_secs(30 * look);
            if worker.has_ended() { worker.trouble() } else { worker.pulses.stuck(now) }
        });
        let trouble = looks.collect::<Vec<_>>().pop().flatten();
        worker.stop(LONG);
        trouble
    }

    #[test]
    fn a_thread_that_panicked_or_hangs_is_told_and_one_that_waits_is_not() {
        assert_eq!(trouble_of(|| panic!("for this test")).as_deref(), Some("thread \"zk test\" has ended"));
        let hangs = trouble_of(pulse::beat).unwrap();
        assert!(hangs.starts_with("thread \"zk test\" hangs"), "{hangs}");
        assert_eq!(trouble_of(|| pulse::within(LONG * 100)), None);
    }

    #[test]
    fn a_stop_does_not_wait_for_what_hangs() {
        let (release, held) = bounded::<()>(0);
        let hangs = move |_: &Receiver<()>| assert!(held.recv().is_err());
        let worker = Worker::start("zk test", hangs).unwrap();
        let ended = worker.ended.clone();
        worker.stop(Duration::from_millis(1));
        drop(release);
        assert!(ended.recv_timeout(LONG).is_err_and(|error| error == RecvTimeoutError::Disconnected));
    }
}

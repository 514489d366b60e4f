//! A thread that looks at something whenever it is woken, and otherwise on a timer.
//!
//! Watches are hints (design.md 4): what matters is that the look is repeated. So every part of
//! coordination is one function "look", and this is the loop around it.

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a stop waits for a look under way. Calls end sooner; a look may be many calls.
const STOP_GRACE: Duration = Duration::from_millis(700);

/// A running loop. Stops when dropped.
pub(crate) struct Looker {
    poke: Sender<()>,
    thread: Option<Running>,
}

struct Running {
    handle: JoinHandle<()>,
    /// Dropped: stop.
    stop: Sender<()>,
    /// Disconnected: ended.
    ended: Receiver<()>,
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
        let (stop, stopped) = bounded::<()>(0);
        let (end, ended) = bounded::<()>(0);
        let handle = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _end = end;
            loop {
                let pause = look();
                select! {
                    recv(stopped) -> _ => return,
                    recv(poked) -> _ => {}
                    recv(woken) -> _ => {}
                    default(pause) => {}
                }
                if stopped.try_recv().is_err_and(|error| error.is_disconnected()) {
                    return;
                }
            }
        })?;
        Ok(Self { poke, thread: Some(Running { handle, stop, ended }) })
    }

    /// Looks again soon.
    pub fn poke(&self) {
        let _ = self.poke.try_send(());
    }

    /// The name of the thread, if it ended without being asked to: it panicked.
    pub fn lost(&self) -> Option<String> {
        let Running { handle, ended, .. } = self.thread.as_ref()?;
        let gone = ended.try_recv().is_err_and(|error| error.is_disconnected());
        gone.then(|| handle.thread().name().unwrap_or_default().to_owned())
    }

    /// Ends the loop after the look under way. A second call does nothing.
    pub fn stop(&mut self) {
        let Some(Running { handle, stop, ended }) = self.thread.take() else { return };
        drop(stop);
        match ended.recv_timeout(STOP_GRACE) {
            Err(RecvTimeoutError::Timeout) => {
                log::debug!("{:?}: a look under way is left to end alone", handle.thread().name());
            }
            _ if handle.join().is_err() => log::error!("coordination: a thread panicked"),
            _ => {}
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
    use crossbeam::channel::{never, unbounded};

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
        let look = || sight.recv_timeout(Duration::from_secs(10)).unwrap();
        look();
        wake.send(()).unwrap();
        look();
        looker.poke();
        look();
        look();
        drop(looker);
        assert!(sight.recv().is_err());
    }

    #[test]
    fn a_thread_that_panicked_is_named_and_one_that_was_stopped_is_not() {
        let (fail, failing) = bounded::<()>(0);
        let mut looker = Looker::start("test", never(), move || {
            assert!(failing.recv().is_ok(), "for this test");
            LONG
        })
        .unwrap();
        assert_eq!(looker.lost(), None);
        let ended = looker.thread.as_ref().unwrap().ended.clone();
        drop(fail);
        assert!(ended.recv().is_err());
        assert_eq!(looker.lost().as_deref(), Some("test"));
        looker.stop();
        assert_eq!(looker.lost(), None);
    }

    #[test]
    fn a_stop_does_not_wait_for_a_look_that_hangs() {
        let (release, held) = bounded::<()>(0);
        let (begin, begun) = bounded::<()>(0);
        let (_wake, woken) = bounded(1);
        let mut looker = Looker::start("test", woken, move || {
            let _ = begin.send(());
            let _ = held.recv();
            LONG
        })
        .unwrap();
        begun.recv().unwrap();
        looker.stop();
        drop(release);
    }
}

//! A process under a service manager: ends when told to, and says that it is ready, alive, stopping.
//!
//! Alive is what the program's own threads say, not that a timer fires: a program in which something
//! is dead or wedged sends no further sign of life, so that systemd's `WatchdogSec` ends it and
//! `Restart=` begins anew. Trouble with a peer is not looked at here, a restart would not mend it.
//! Knows nothing of clusters, Pods or records. Without a service manager nothing is sent.

use crossbeam::channel::{Receiver, bounded};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::time::{Duration, Instant};

/// How often it is looked whether the process must end.
const POLL: Duration = Duration::from_millis(500);
/// Signs of life within the time the service manager allows: one may come late, two may get lost.
const SIGNS: u32 = 4;
/// Between two lines for `systemctl status` when there is no watchdog.
const STATUS_INTERVAL: Duration = Duration::from_secs(15);
/// What ending takes besides the drain: joining threads, closing files.
const LAST_STEPS: Duration = Duration::from_secs(20);

/// What a supervised program says about itself.
pub trait Supervised {
    /// Why the process must end by itself.
    fn fatal(&self) -> Option<String>;
    /// What is dead or wedged, in words; empty while a restart would mend nothing. It may take the
    /// locks of the threads it asks about: if it never returns, that is an answer too.
    fn broken(&self) -> Vec<String>;
    /// How long it may take to finish its work once it is told to end.
    fn drain(&self) -> Duration {
        Duration::ZERO
    }
    /// One line for `systemctl status`.
    fn line(&self) -> String;
}

/// Hears SIGTERM and SIGINT. Call it before anything else starts, so that none is missed.
///
/// # Errors
/// The signals cannot be caught, or the machine grants no thread.
pub fn asked_to_end() -> io::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (sender, receiver) = bounded(1);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if sender.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// Says "ready", then gives signs of life until a signal arrives (returns 0) or the program must
/// end by itself (returns 1); says "stopping" and how long that may take.
pub fn attend(end: &Receiver<i32>, program: &dyn Supervised) -> i32 {
    tell(&[NotifyState::Ready]);
    let mut signs = Signs::new(watchdog(), Instant::now());
    let code = loop {
        if let Ok(signal) = end.recv_timeout(POLL) {
            log::info!("signal {signal}: stopping");
            break 0;
        }
        if let Some(fatal) = program.fatal() {
            log::error!("{fatal}");
            break 1;
        }
        if signs.due(Instant::now()) {
            let (line, alive) = signs.look(program);
            let status = NotifyState::Status(&line);
            if alive { tell(&[status, NotifyState::Watchdog]) } else { tell(&[status]) }
        }
    };
    let longest = u32::try_from((program.drain() + LAST_STEPS).as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(longest)]);
    code
}

/// When signs of life are due, and whether the last one was held back.
struct Signs {
    interval: Duration,
    next: Instant,
    held_back: bool,
}

impl Signs {
    fn new(watchdog: Option<Duration>, now: Instant) -> Self {
        let interval = watchdog.map_or(STATUS_INTERVAL, |allowed| allowed / SIGNS);
        Self { interval, next: now, held_back: false }
    }

    fn due(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + self.interval;
        }
        due
    }

    /// The line to show, and whether the program is alive.
    fn look(&mut self, program: &dyn Supervised) -> (String, bool) {
        let broken = program.broken();
        let alive = broken.is_empty();
        let line = if alive { program.line() } else { broken.join("; ") };
        if !alive && !self.held_back {
            log::error!("no further sign of life to the service manager: {line}");
        }
        self.held_back = !alive;
        (line, alive)
    }
}

/// How long the service manager waits for a sign of life, if it waits for any.
fn watchdog() -> Option<Duration> {
    let mut micros = 0;
    let watched = sd_notify::watchdog_enabled(false, &mut micros) && micros > 0;
    watched.then(|| Duration::from_micros(micros))
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        log::warn!("the service manager cannot be told how the service is: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Program(Vec<String>);

    impl Supervised for Program {
        fn fatal(&self) -> Option<String> {
            None
        }
        fn broken(&self) -> Vec<String> {
            self.0.clone()
        }
        fn line(&self) -> String {
            "fine".to_owned()
        }
    }

    #[test]
    fn signs_of_life_come_often_enough_for_the_watchdog() {
        let start = Instant::now();
        let mut signs = Signs::new(Some(Duration::from_secs(40)), start);
        let seconds = |seconds| start + Duration::from_secs(seconds);
        let due: Vec<u64> = (0..40).filter(|second| signs.due(seconds(*second))).collect();
        assert_eq!(due, [0, 10, 20, 30]);
    }

    #[test]
    fn a_program_with_something_broken_gives_no_sign_of_life_until_it_is_whole() {
        let mut signs = Signs::new(None, Instant::now());
        let (sound, broken) =
            (Program(Vec::new()), Program(vec!["a is dead".to_owned(), "b too".to_owned()]));
        assert_eq!(signs.look(&sound), ("fine".to_owned(), true));
        assert_eq!(signs.look(&broken), ("a is dead; b too".to_owned(), false));
        assert!(signs.held_back);
        assert_eq!(signs.look(&sound), ("fine".to_owned(), true));
        assert!(!signs.held_back);
    }
}

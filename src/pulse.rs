//! Signs of life of the threads that do the work, and who has given none for too long.
//!
//! A thread counts up as it goes; whoever asks for its health looks whether it still does. A thread
//! that hangs for whatever reason, a lock or not, is told from one that waits as it may: before a
//! request it says how long that may take, and a wait that others end (a place, a lock whose holder has
//! a pulse too) does not count. Knows nothing of what the threads do. Time is what the looker saw pass:
//! a process that was stopped has missed nothing.

use parking_lot::Mutex;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// What a thread does between two signs takes milliseconds: after so long it hangs, beside what it said
/// its wait may take.
pub const HANG: Duration = Duration::from_secs(120);
/// What passes between two looks counts as so much at most: the rest, nobody was looking, as when the
/// process was stopped.
const LOOK: Duration = Duration::from_secs(30);
/// In the place of a number of milliseconds: the thread waits as it may.
const RESTING: u64 = u64::MAX;

thread_local! {
    /// The pulse of this thread, if it has one.
    static OWN: RefCell<Option<Arc<Pulse>>> = const { RefCell::new(None) };
}

/// The signs of life of one thread.
#[derive(Debug)]
pub struct Pulse {
    name: String,
    /// How long a sign may take beside what the thread waits for.
    work: Duration,
    signs: AtomicU64,
    /// How long the next sign may take, ms.
    allowed: AtomicU64,
    seen: Mutex<Option<Seen>>,
}

/// What was seen at the last look.
#[derive(Debug)]
struct Seen {
    signs: u64,
    at: Instant,
    silent: Duration,
}

impl Pulse {
    /// The pulse of a thread with that name; it rests until the thread runs.
    fn new(name: &str, work: Duration) -> Arc<Self> {
        let (signs, allowed) = (AtomicU64::new(0), AtomicU64::new(RESTING));
        Arc::new(Self { name: name.to_owned(), work, signs, allowed, seen: Mutex::default() })
    }

    /// Runs what the thread does, as the one whose pulse this is.
    pub fn of<T>(self: Arc<Self>, run: impl FnOnce() -> T) -> T {
        let _end = End;
        OWN.with(|own| *own.borrow_mut() = Some(self));
        beat();
        run()
    }

    /// What is wrong with the thread, in words, if it has given no sign for longer than it may.
    fn stuck(&self, now: Instant) -> Option<String> {
        let (signs, allowed) = (self.signs.load(Relaxed), self.allowed.load(Relaxed));
        let mut seen = self.seen.lock();
        let silent = match &*seen {
            Some(seen) if seen.signs == signs => {
                seen.silent + now.saturating_duration_since(seen.at).min(LOOK)
            }
            _ => Duration::ZERO,
        };
        *seen = Some(Seen { signs, at: now, silent });
        let stuck = allowed != RESTING && silent > Duration::from_millis(allowed);
        stuck.then(|| format!("thread {:?} hangs: no sign of life for {} s", self.name, silent.as_secs()))
    }

    /// `most`: what it waits for may take so long; `None`: as long as it takes.
    fn sign(&self, most: Option<Duration>) {
        let allowed = most.and_then(|most| u64::try_from(most.saturating_add(self.work).as_millis()).ok());
        self.allowed.store(allowed.unwrap_or(RESTING), Relaxed);
        self.signs.fetch_add(1, Relaxed);
    }
}

/// The pulses of threads that belong together.
#[derive(Debug)]
pub struct Pulses {
    work: Duration,
    all: Mutex<Vec<Weak<Pulse>>>,
}

impl Pulses {
    /// None yet. A thread hangs that gives no sign for `work`, beside what its request may take.
    pub fn new(work: Duration) -> Self {
        Self { work, all: Mutex::default() }
    }

    /// The pulse of one more thread; it is forgotten when the thread has ended.
    pub fn begin(&self, name: &str) -> Arc<Pulse> {
        let pulse = Pulse::new(name, self.work);
        let mut all = self.all.lock();
        all.retain(|pulse| pulse.strong_count() > 0);
        all.push(Arc::downgrade(&pulse));
        pulse
    }

    /// What is wrong with the first one that is stuck, in words.
    pub fn stuck(&self, now: Instant) -> Option<String> {
        // All of them are looked at: their silence is counted from look to look.
        let stuck: Vec<String> =
            self.all.lock().iter().filter_map(Weak::upgrade).filter_map(|pulse| pulse.stuck(now)).collect();
        stuck.into_iter().next()
    }
}

/// Ends the pulse of this thread however it ends: that it is gone is for others to notice.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        sign(None);
        OWN.with(|own| *own.borrow_mut() = None);
    }
}

/// This thread lives.
pub fn beat() {
    within(Duration::ZERO);
}

/// This thread lives, and what it does now may take so long before it says so again.
pub fn within(most: Duration) {
    sign(Some(most));
}

/// This thread waits for what only others can end.
pub fn resting<T>(wait: impl FnOnce() -> T) -> T {
    sign(None);
    let result = wait();
    beat();
    result
}

fn sign(most: Option<Duration>) {
    OWN.with(|own| {
        if let Some(pulse) = &*own.borrow() {
            pulse.sign(most);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Duration = Duration::from_secs(120);

    /// Whether a thread that did this and then nothing is found stuck, looked at each `step` seconds, and after how many.
    fn check(act: impl FnOnce(), step: u64, wanted: Option<u64>) {
        let pulse = Pulse::new("send0 a", WORK);
        let begin = Instant::now();
        pulse.clone().of(|| {
            act();
            let found = (0..1000).step_by(step as usize).find(|second| {
                let problem = pulse.stuck(begin + Duration::from_secs(*second));
                problem.is_some_and(|problem| problem.contains("\"send0 a\""))
            });
            assert_eq!(found, wanted);
        });
        assert_eq!(pulse.stuck(begin + Duration::from_secs(2000)), None, "it has ended");
    }

    #[test]
    fn a_thread_that_gives_no_sign_for_too_long_is_stuck() {
        check(|| {}, 1, Some(121));
        check(beat, 10, Some(130));
        check(|| within(Duration::from_secs(30)), 10, Some(160));
    }

    #[test]
    fn a_wait_that_others_end_is_none_of_it() {
        let pulse = Pulse::new("gate a", WORK);
        let begin = Instant::now();
        pulse.clone().of(|| {
            resting(|| {
                for second in (0..100_000).step_by(10) {
                    assert_eq!(pulse.stuck(begin + Duration::from_secs(second)), None);
                }
            });
        });
        // And what follows is judged from its own begin on.
        check(|| resting(|| ()), 10, Some(130));
        check(|| within(Duration::MAX), 10, None);
    }

    #[test]
    fn a_process_that_was_stopped_has_missed_nothing() {
        let pulse = Pulse::new("full a", WORK);
        let begin = Instant::now();
        pulse.clone().of(|| {
            for hour in 0..4 {
                assert_eq!(pulse.stuck(begin + Duration::from_secs(hour * 3600)), None);
            }
        });
    }

    #[test]
    fn a_thread_without_a_pulse_and_one_that_lives_are_left_alone() {
        beat();
        assert_eq!(resting(|| 7), 7);
        let pulse = Pulse::new("watch a", WORK);
        let begin = Instant::now();
        pulse.clone().of(|| {
            for second in (0..10_000).step_by(20) {
                beat();
                assert_eq!(pulse.stuck(begin + Duration::from_secs(second)), None);
            }
        });
    }
}

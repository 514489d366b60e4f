//! One watch stream: an inbox with a bound, and the loop that writes it out (protocol.md 1.3).

use super::Shared;
use super::collection::{Behaviour, DELETE, Event};
use super::document::{Document, Shown, Style, append};
use super::projection::Projection;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Events that wait for a slow reader; one more ends its stream, so that it holds no memory
/// without bound.
const INBOX_MAX: usize = 4096;
/// Events that are taken, and perhaps shuffled, together.
const BATCH_MAX: usize = 16;

/// The event that ends a stream.
pub(super) const BREAK: &[u8] = br#"{"type":-1,"value":null}"#;

/// The receiving end of one stream.
pub(super) struct Watcher {
    pub(super) cluster: String,
    server: Arc<AtomicBool>,
    inbox: Mutex<Inbox>,
    changed: Condvar,
}

#[derive(Default)]
struct Inbox {
    events: VecDeque<Event>,
    subscribed: bool,
    full: bool,
}

impl Watcher {
    /// A stream of `cluster` that ends when `server` becomes false.
    pub(super) fn new(cluster: &str, server: Arc<AtomicBool>) -> Self {
        Self { cluster: cluster.to_owned(), server, inbox: Mutex::default(), changed: Condvar::new() }
    }

    /// Adds an event, if the subscription has begun.
    pub(super) fn push(&self, event: Event) {
        let mut inbox = self.inbox.lock();
        if !inbox.subscribed || inbox.full {
            return;
        }
        if inbox.events.len() >= INBOX_MAX {
            inbox.events.clear();
            inbox.full = true;
        } else {
            inbox.events.push_back(event);
        }
        self.changed.notify_all();
    }

    /// Makes the loop look at its server again.
    pub(super) fn wake(&self) {
        let _inbox = self.inbox.lock();
        self.changed.notify_all();
    }

    pub(super) fn serves(&self) -> bool {
        self.server.load(Ordering::SeqCst)
    }

    /// Waits, for ever without `time`; `false`: the server stopped.
    pub(super) fn rest(&self, time: Option<Duration>) -> bool {
        let deadline = time.map(|time| Instant::now() + time);
        let mut inbox = self.inbox.lock();
        while self.serves() {
            match deadline {
                None => self.changed.wait(&mut inbox),
                Some(deadline) if self.changed.wait_until(&mut inbox, deadline).timed_out() => return true,
                Some(_) => {}
            }
        }
        false
    }

    /// The next events, together with what follows them within `near`; `None`: the stream ends.
    fn take(&self, near: Duration) -> Option<Vec<Event>> {
        let mut inbox = self.inbox.lock();
        while inbox.events.is_empty() && !inbox.full && self.serves() {
            self.changed.wait(&mut inbox);
        }
        let deadline = Instant::now() + near;
        while inbox.events.len() < BATCH_MAX && !near.is_zero() && !inbox.full && self.serves() {
            if self.changed.wait_until(&mut inbox, deadline).timed_out() {
                break;
            }
        }
        if inbox.full || !self.serves() {
            return None;
        }
        let count = inbox.events.len().min(BATCH_MAX);
        Some(inbox.events.drain(..count).collect())
    }
}

/// Writes the stream of `watcher` until it ends.
pub(super) fn stream(
    shared: &Shared,
    watcher: &Watcher,
    behaviour: Behaviour,
    out: &mut dyn Write,
) -> io::Result<()> {
    out.flush()?;
    if !watcher.rest(Some(behaviour.subscription_delay)) {
        return Ok(());
    }
    watcher.inbox.lock().subscribed = true;
    while let Some(mut events) = watcher.take(behaviour.reorder_within) {
        if !behaviour.reorder_within.is_zero() {
            shuffle_near(&mut events, &mut shared.state.lock().rng);
        }
        for event in events {
            let mut bytes = Vec::new();
            let last = match event {
                Event::End(false) => return Err(io::ErrorKind::ConnectionAborted.into()),
                Event::End(true) => {
                    bytes.extend_from_slice(BREAK);
                    true
                }
                event => {
                    render(shared, behaviour, event, &mut bytes);
                    false
                }
            };
            if behaviour.newline {
                bytes.push(b'\n');
            }
            out.write_all(&bytes)?;
            out.flush()?;
            if last {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn render(shared: &Shared, behaviour: Behaviour, event: Event, bytes: &mut Vec<u8>) {
    match event {
        Event::Document(kind, then) => {
            let document = if behaviour.reread { shared.reread(then) } else { then };
            // The first event of a soft delete comes without the flag, the second one with it.
            let document = match (kind, document.deleted) {
                (DELETE, Some(true)) => Arc::new(Document { deleted: None, ..(*document).clone() }),
                _ => document,
            };
            let _ = write!(bytes, r#"{{"type":{kind},"value":"#);
            append(
                bytes,
                &Shown { document: &document, projection: &Projection::Whole, style: Style::Event },
            );
            bytes.push(b'}');
        }
        Event::Gone(id) => {
            let _ = write!(bytes, r#"{{"type":{DELETE},"value":{{"_id":"{id}"}}}}"#);
        }
        Event::Raw(raw) => bytes.extend_from_slice(&raw),
        Event::End(_) => {}
    }
}

/// Moves events by up to three places, as one task per event does.
fn shuffle_near(events: &mut [Event], rng: &mut fastrand::Rng) {
    for place in 0..events.len() {
        let other = (place + rng.usize(..4)).min(events.len() - 1);
        events.swap(place, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watcher() -> Watcher {
        let watcher = Watcher::new("c", Arc::new(AtomicBool::new(true)));
        watcher.inbox.lock().subscribed = true;
        watcher
    }

    #[test]
    fn a_reader_that_is_too_slow_loses_its_stream_and_holds_nothing() {
        let watcher = watcher();
        for number in 0..=INBOX_MAX {
            watcher.push(Event::Gone(number.to_string()));
        }
        assert!(watcher.take(Duration::ZERO).is_none());
        assert_eq!(watcher.inbox.lock().events.len(), 0);
    }

    #[test]
    fn near_events_change_places_and_none_is_lost() {
        let ids = |events: &[Event]| -> Vec<usize> {
            let id = |event: &Event| match event {
                Event::Gone(id) => id.parse().unwrap(),
                other => panic!("{other:?}"),
            };
            events.iter().map(id).collect()
        };
        let mut events: Vec<_> = (0..100).map(|number| Event::Gone(number.to_string())).collect();
        shuffle_near(&mut events, &mut fastrand::Rng::with_seed(3));
        let mut seen = ids(&events);
        assert!(!seen.is_sorted());
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..100));
    }

    #[test]
    fn a_server_that_stops_ends_the_wait() {
        let watcher = watcher();
        watcher.server.store(false, Ordering::SeqCst);
        watcher.wake();
        assert!(watcher.take(Duration::ZERO).is_none());
        assert!(!watcher.rest(None));
    }
}

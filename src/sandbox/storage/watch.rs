//! One watch stream: an inbox with a bound, and the loop that writes it out (protocol.md 1.3).

use super::collection::{Behaviour, DELETE, Event};
use super::document::{Document, Shown, Style, append};
use super::projection::Projection;
use super::{Shared, Subscription};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Events that wait for a slow reader; one more ends its stream, so that it holds no memory
/// without bound.
const INBOX_MAX: usize = 4096;
/// Events that are taken, and perhaps shuffled, together.
const BATCH_MAX: usize = 16;

/// The event that ends a stream.
pub(super) const BREAK: &[u8] = br#"{"type":-1,"value":null}"#;

/// Between two looks whether the client is still there, which only a flush tells.
const TICK: Duration = Duration::from_millis(200);

/// Events on their way to one stream.
#[derive(Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    full: bool,
}

impl Inbox {
    /// Adds an event.
    pub(super) fn push(&self, event: Event) {
        let mut waiting = self.waiting.lock();
        if waiting.events.len() >= INBOX_MAX {
            waiting.events.clear();
            waiting.full = true;
        } else if !waiting.full {
            waiting.events.push_back(event);
        }
        self.changed.notify_all();
    }

    /// The next events, together with what follows them within `near`; none after [`TICK`];
    /// `None`: the reader was too slow.
    fn take(&self, near: Duration) -> Option<Vec<Event>> {
        let mut waiting = self.waiting.lock();
        if waiting.events.is_empty() && !waiting.full {
            self.changed.wait_for(&mut waiting, TICK);
        }
        let deadline = Instant::now() + near;
        while (1..BATCH_MAX).contains(&waiting.events.len()) && !near.is_zero() {
            if self.changed.wait_until(&mut waiting, deadline).timed_out() {
                break;
            }
        }
        if waiting.full {
            return None;
        }
        let count = waiting.events.len().min(BATCH_MAX);
        Some(waiting.events.drain(..count).collect())
    }
}

/// Sends the head and then nothing, for ever without `time`; an error: the client is gone.
pub(super) fn rest(out: &mut dyn Write, time: Option<Duration>) -> io::Result<()> {
    let deadline = time.map(|time| Instant::now() + time);
    loop {
        out.flush()?;
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match left {
            Some(Duration::ZERO) => return Ok(()),
            left => std::thread::sleep(left.unwrap_or(TICK).min(TICK)),
        }
    }
}

/// Writes the stream of one watch of `cluster` until it ends.
pub(super) fn stream(
    shared: &Arc<Shared>,
    cluster: &str,
    behaviour: Behaviour,
    out: &mut dyn Write,
) -> io::Result<()> {
    rest(out, Some(behaviour.subscription_delay))?;
    let subscription = Subscription::new(shared, cluster);
    while let Some(mut events) = subscription.inbox.take(behaviour.reorder_within) {
        if !behaviour.reorder_within.is_zero() {
            shuffle_near(&mut events, &mut shared.state.lock().rng);
        }
        for event in events {
            let end = match event {
                Event::End(broken) => Some(broken),
                _ => None,
            };
            if end == Some(false) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let mut bytes = Vec::new();
            render(shared, behaviour, event, &mut bytes);
            if behaviour.newline {
                bytes.push(b'\n');
            }
            out.write_all(&bytes)?;
            out.flush()?;
            if end.is_some() {
                return Ok(());
            }
        }
        out.flush()?;
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
        Event::End(_) => bytes.extend_from_slice(BREAK),
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

    #[test]
    fn a_reader_that_is_too_slow_loses_its_stream_and_holds_nothing() {
        let inbox = Inbox::default();
        for number in 0..=INBOX_MAX {
            inbox.push(Event::Gone(number.to_string()));
        }
        assert!(inbox.take(Duration::ZERO).is_none());
        assert_eq!(inbox.waiting.lock().events.len(), 0);
    }

    #[test]
    fn an_idle_stream_looks_after_its_client() {
        assert!(Inbox::default().take(Duration::from_millis(5)).is_some_and(|events| events.is_empty()));
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
}

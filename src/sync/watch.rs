//! The watch thread: keeps a stream open, converts each event at once and queues it.
//!
//! It never waits for anything downstream: a slow reader stalls the storage for every watcher
//! (protocol.md 1.3). What the queue cannot hold is dropped there, on purpose.

use super::problems::Problem;
use super::shared::Shared;
use super::stats::Stats;
use crate::convert::InvalidDocument;
use crate::model::{Modules, Observation};
use crate::plan::{Backoff, Cause};
use crate::pulse;
use crate::storage::{EventKind, WatchEvent, WatchStopper, WatchStream};
use crossbeam::channel::RecvTimeoutError;
use parking_lot::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The storage subscribes a little after its headers arrive (protocol.md 1.3, design.md 6).
const SUBSCRIBED_AFTER: Duration = Duration::from_millis(500);
/// Between attempts to connect: a storage that is back is noticed within this time.
const CONNECT: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(4));
/// Between streams that end as soon as they began: each costs a full sync.
const FLAPPING: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
/// A stream that lived this long was a good one.
const GOOD_STREAM: Duration = Duration::from_secs(10);
/// While the modules are unknown there is nothing to convert with.
const MODULES_POLL: Duration = Duration::from_millis(50);

/// The handle by which other threads end the current stream.
#[derive(Default)]
pub(super) struct WatchControl {
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    stopper: Option<WatchStopper>,
    address: Option<String>,
    avoid: Option<String>,
}

impl WatchControl {
    /// Ends the stream for good or, with `elsewhere`, so that the next one prefers another address.
    pub fn end(&self, elsewhere: bool) {
        let mut current = self.current.lock();
        if elsewhere {
            current.avoid = current.address.clone();
        }
        if let Some(stopper) = current.stopper.take() {
            stopper.stop();
        }
    }
}

/// Runs until the cluster stops.
pub(super) fn run(shared: &Shared, control: &WatchControl) {
    let mut rng = fastrand::Rng::new();
    let (mut unreachable, mut short_lived) = (0, 0);
    while shared.modules().is_none() {
        if wait(shared, MODULES_POLL) {
            return;
        }
    }
    while !shared.stopping() {
        pulse::beat();
        let avoid = control.current.lock().avoid.take();
        let cluster = &shared.cluster;
        let stopper = WatchStopper::new();
        control.current.lock().stopper = Some(stopper.clone());
        if shared.stopping() {
            return;
        }
        let storage = &shared.peers.storage;
        let delay = match storage.watch_with(&cluster.id, cluster.kind, avoid.as_deref(), &stopper) {
            Ok(stream) => {
                unreachable = 0;
                let lived = follow(shared, control, stream);
                short_lived = if lived < GOOD_STREAM { short_lived + 1 } else { 0 };
                FLAPPING.delay(short_lived, &mut rng)
            }
            Err(error) => {
                shared.problems.set(Problem::Watch, format!("no watch stream: {error}"));
                if unreachable == 0 {
                    // Listings may work although no watch does.
                    request_full_sync(shared);
                }
                unreachable += 1;
                CONNECT.delay(unreachable, &mut rng)
            }
        };
        if wait(shared, delay) {
            return;
        }
    }
}

fn request_full_sync(shared: &Shared) {
    shared.schedule.lock().request(Cause::Stream, shared.clock.now());
    shared.sync_wake.wake();
}

/// Waits; whether the cluster stops.
fn wait(shared: &Shared, delay: Duration) -> bool {
    pulse::within(delay);
    shared.stopped.recv_timeout(delay) != Err(RecvTimeoutError::Timeout)
}

/// Reads one stream to its end and returns how long it lived.
fn follow(shared: &Shared, control: &WatchControl, mut stream: WatchStream) -> Duration {
    let opened = shared.clock.now();
    control.current.lock().address = Some(stream.address().to_owned());
    log::debug!("cluster={} watch open at {}", shared.cluster.id, stream.address());
    shared.stats.watch_streams.fetch_add(1, Relaxed);
    shared.stats.watch_connected.store(true, Relaxed);
    shared.problems.clear(Problem::Watch);
    // What the last stream told may be outdated by what was lost between the two.
    shared.events.lock().clear(shared.clock.now());
    shared.schedule.lock().stream_opened(opened, SUBSCRIBED_AFTER);
    shared.sync_wake.wake();
    let end = loop {
        match stream.next() {
            Ok(Some(event)) => on_event(shared, &event),
            Ok(None) => break "the storage ended the watch stream".to_owned(),
            Err(error) => break format!("the watch stream broke: {error}"),
        }
    };
    shared.stats.watch_connected.store(false, Relaxed);
    control.current.lock().stopper = None;
    if !shared.stopping() {
        shared.problems.set(Problem::Watch, end);
    }
    shared.clock.now().saturating_sub(opened)
}

fn on_event(shared: &Shared, event: &WatchEvent<'_>) {
    let stats = &shared.stats;
    *stats.last_event.lock() = Some(shared.clock.now());
    match event.kind {
        EventKind::Nop | EventKind::Break => {}
        EventKind::Malformed => invalid(shared, nameless(event.problem.clone().unwrap_or_default())),
        EventKind::Unknown(number) => {
            invalid(shared, nameless(format!("an event of the unknown type {number}")));
        }
        kind => shared.convert_and_push(|modules| observation(shared, kind, event.value, modules)),
    }
}

/// What an event says.
fn observation(
    shared: &Shared,
    kind: EventKind,
    value: Option<&[u8]>,
    modules: &Modules,
) -> Option<Observation> {
    let stats = &shared.stats;
    let Some(value) = value else {
        invalid(shared, nameless(format!("an event of the type {kind:?} without a document")));
        return None;
    };
    let read = if kind == EventKind::Delete {
        shared.converter.deleted(value).map(Observation::Deleted)
    } else {
        shared.converter.document(value, modules)
    };
    let observation = match read {
        Ok(observation) => observation,
        Err(error) => {
            invalid(shared, error);
            return None;
        }
    };
    let (counter, storage_id) = match (&observation, kind) {
        (Observation::Deleted(hint), _) => (&stats.delete, &hint.storage_id),
        (Observation::Pod(pod), EventKind::Add) => (&stats.add, &pod.storage_id),
        (Observation::Pod(pod), _) => (&stats.change, &pod.storage_id),
    };
    Stats::count(counter);
    shared.mute.lock().delivered(storage_id);
    Some(observation)
}

/// Counts and shows an event that cannot be understood; the next full sync tells what it was about.
///
/// One that does not even say which document it is about may be the only word on a change, a delete
/// perhaps: it asks for a full sync, as seldom as events that were dropped do.
fn invalid(shared: &Shared, what: InvalidDocument) {
    Stats::count(&shared.stats.invalid);
    if [&what.storage_id, &what.namespace, &what.name].iter().all(|part| part.is_empty()) {
        shared.schedule.lock().overflowed(shared.clock.now());
        shared.sync_wake.wake();
    }
    shared.invalid_document(what);
}

/// An event that names no document.
fn nameless(reason: String) -> InvalidDocument {
    let (storage_id, namespace, name) = Default::default();
    InvalidDocument { storage_id, namespace, name, reason }
}

//! The event queue: what waits at the gate, newest per storage document.
//!
//! Bounded by distinct documents, never by events. What does not fit is dropped on purpose: the
//! caller then asks for a full sync, which finds it (design.md 2). What that cannot find is the end of a
//! pod nobody knew: an older event about it may still come, and would bring it back. So after a dropped
//! delete events are [doubtful](QueuedEvent::doubtful) for a while.

use super::Moment;
use super::mutation::{Mutation, active};
use crate::model::{DeletedPod, Observation, ObservedPod};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// How long after the end of a pod older events about it may arrive: they do within seconds.
pub(super) const LATEST: Duration = Duration::from_secs(300);

/// What is known about one storage document since the gate last looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedEvent {
    /// The newest living version, if one was seen.
    pub pod: Option<Box<ObservedPod>>,
    /// A delete was claimed, or two uids claim the document: only a point read can tell.
    pub hint: Option<DeletedPod>,
    /// When the first of the folded events arrived.
    pub received: Moment,
    /// Not long before the first of them arrived a delete was dropped: perhaps the one of its pod. Since
    /// then none of its pod can have been: what is about a document that waits is folded, never dropped.
    pub doubtful: bool,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It waits.
    Queued,
    /// It was folded into one that waits.
    Folded,
    /// The queue is full: it is gone, and the cluster needs a full sync.
    Dropped,
}

/// The queue.
#[derive(Debug)]
pub struct EventQueue {
    capacity: usize,
    events: HashMap<Box<str>, QueuedEvent>,
    order: VecDeque<Box<str>>,
    /// When a delete was dropped last.
    lost_delete: Option<Moment>,
}

impl EventQueue {
    /// A queue for at most `capacity` documents.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, events: HashMap::new(), order: VecDeque::new(), lost_delete: None }
    }

    /// How many documents wait.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Whether something about this storage document waits.
    pub fn contains(&self, storage_id: &str) -> bool {
        self.events.contains_key(storage_id)
    }

    /// Adds what an event says.
    pub fn push(&mut self, observation: Observation, now: Moment) -> Pushed {
        let key = key(&observation);
        let doubtful = self.lost_delete.is_some_and(|lost| now.saturating_sub(lost) <= LATEST);
        let event = QueuedEvent::new(observation, now, doubtful);
        if let Some(waiting) = self.events.get_mut(&key) {
            waiting.fold(event);
            return Pushed::Folded;
        }
        if self.order.len() >= self.capacity {
            self.drops(&event, now);
            return Pushed::Dropped;
        }
        self.order.push_back(key.clone());
        self.events.insert(key, event);
        Pushed::Queued
    }

    /// Takes up to `most` events, oldest first, leaving those for which `later` says so (their
    /// shard has no room) in their place.
    pub fn take(&mut self, most: usize, mut later: impl FnMut(&QueuedEvent) -> bool) -> Vec<QueuedEvent> {
        let mut taken = Vec::new();
        let mut left = VecDeque::new();
        while taken.len() < most {
            let Some(key) = self.order.pop_front() else { break };
            let Some(event) = self.events.get(&key) else { continue };
            if later(event) {
                left.push_back(key);
            } else if let Some(event) = self.events.remove(&key) {
                taken.push(event);
            }
        }
        while let Some(key) = left.pop_back() {
            self.order.push_front(key);
        }
        taken
    }

    /// Forgets everything; a full sync follows.
    pub fn clear(&mut self, now: Moment) {
        for (_, event) in std::mem::take(&mut self.events) {
            self.drops(&event, now);
        }
        self.order.clear();
    }

    fn drops(&mut self, event: &QueuedEvent, now: Moment) {
        if event.hint.is_some() {
            self.lost_delete = Some(now);
        }
    }

    /// When the event arrived that has been waiting longest; `now` if none waits.
    pub fn waiting_since(&self, now: Moment) -> Moment {
        let oldest = self.order.front().and_then(|key| self.events.get(key));
        oldest.map_or(now, |event| event.received)
    }
}

impl QueuedEvent {
    fn new(observation: Observation, received: Moment, doubtful: bool) -> Self {
        let (pod, hint) = match observation {
            Observation::Pod(pod) => (Some(pod), None),
            Observation::Deleted(hint) => (None, Some(hint)),
        };
        Self { pod, hint, received, doubtful }
    }

    /// The uuid this is about, as far as it tells.
    pub fn uuid(&self) -> &str {
        match (&self.pod, &self.hint) {
            (Some(pod), _) => &pod.record.uuid,
            (None, Some(hint)) => &hint.uuid,
            (None, None) => "",
        }
    }

    /// A later event about the same document. No order can be trusted between a delete and a
    /// living version, nor between two uids (protocol.md 1.3): then the name is read.
    fn fold(&mut self, later: Self) {
        if let Some(new) = later.pod {
            if active(Mutation::LastEventCounts) {
                self.hint = None;
            }
            match &self.pod {
                Some(old) if old.record.uuid != new.record.uuid => {
                    self.hint.get_or_insert_with(|| hint_about(&new));
                    self.pod = Some(new);
                }
                Some(old) if older(new.version, old.version) => {}
                _ => self.pod = Some(new),
            }
        }
        if let Some(new) = later.hint {
            let hint = self.hint.get_or_insert_with(DeletedPod::default);
            for (part, text) in [
                (&mut hint.storage_id, new.storage_id),
                (&mut hint.namespace, new.namespace),
                (&mut hint.name, new.name),
                (&mut hint.uuid, new.uuid),
            ] {
                if !text.is_empty() {
                    *part = text;
                }
            }
        }
    }
}

/// Whether version `a` is known to be older than `b` (protocol.md 7).
pub(super) fn older(a: Option<u64>, b: Option<u64>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if a < b) && !active(Mutation::IgnoreVersions)
}

fn hint_about(pod: &ObservedPod) -> DeletedPod {
    DeletedPod {
        storage_id: pod.storage_id.clone(),
        namespace: pod.record.namespace.clone(),
        name: pod.record.name.clone(),
        uuid: String::new(),
    }
}

/// Documents are told apart by `_id`; one without by what it names.
fn key(observation: &Observation) -> Box<str> {
    let (id, uuid, namespace, name) = match observation {
        Observation::Pod(pod) => {
            let record = &pod.record;
            (&pod.storage_id, &record.uuid, &record.namespace, &record.name)
        }
        Observation::Deleted(hint) => (&hint.storage_id, &hint.uuid, &hint.namespace, &hint.name),
    };
    if id.is_empty() { format!("{namespace}\n{name}\n{uuid}").into() } else { id.as_str().into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PodRecord;
    use std::time::Duration;

    fn pod(id: &str, uuid: &str, version: u64) -> Observation {
        let mut record = PodRecord::default();
        record.uuid = uuid.into();
        record.namespace = "ns".into();
        record.name = "web-0".into();
        Observation::Pod(Box::new(ObservedPod {
            storage_id: id.into(),
            version: Some(version),
            record,
            scheduled: true,
            shortened: Vec::new(),
            key: None,
        }))
    }

    fn deleted(id: &str) -> Observation {
        Observation::Deleted(DeletedPod { storage_id: id.into(), ..DeletedPod::default() })
    }

    fn check(events: Vec<Observation>) -> QueuedEvent {
        let mut queue = EventQueue::new(10);
        for event in events {
            assert_ne!(queue.push(event, Duration::ZERO), Pushed::Dropped);
        }
        let mut taken = queue.take(10, |_| false);
        assert_eq!(taken.len(), 1);
        assert!(queue.is_empty());
        taken.remove(0)
    }

    #[test]
    fn the_newest_version_wins_whatever_the_order() {
        for versions in [[5, 7], [7, 5]] {
            let event = check(versions.map(|version| pod("id", "a", version)).to_vec());
            assert_eq!(event.pod.unwrap().version, Some(7));
            assert_eq!(event.hint, None);
        }
    }

    #[test]
    fn a_delete_beside_a_living_version_keeps_both() {
        for events in [vec![pod("id", "a", 5), deleted("id")], vec![deleted("id"), pod("id", "a", 5)]] {
            let event = check(events);
            assert!(event.pod.is_some() && event.hint.is_some());
        }
    }

    #[test]
    fn two_uids_of_one_document_ask_for_a_read() {
        let event = check(vec![pod("id", "a", 5), pod("id", "b", 6)]);
        assert_eq!(event.hint.unwrap().name, "web-0");
    }

    #[test]
    fn both_events_of_a_new_generation_delete_are_one() {
        let whole = DeletedPod { storage_id: "id".into(), uuid: "a".into(), ..DeletedPod::default() };
        let event = check(vec![Observation::Deleted(whole.clone()), deleted("id")]);
        assert_eq!((event.hint, event.pod), (Some(whole), None));
    }

    #[test]
    fn a_full_queue_drops_new_documents_and_still_folds_known_ones() {
        let mut queue = EventQueue::new(1);
        assert_eq!(queue.push(pod("1", "a", 1), Duration::ZERO), Pushed::Queued);
        assert_eq!(queue.push(pod("2", "b", 1), Duration::ZERO), Pushed::Dropped);
        assert_eq!(queue.push(pod("1", "a", 2), Duration::ZERO), Pushed::Folded);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn a_full_queue_drops_no_delete_of_what_waits_and_the_others_are_no_doubt_about_it() {
        for (id, becomes) in [("1", Pushed::Folded), ("2", Pushed::Dropped)] {
            let mut queue = EventQueue::new(1);
            queue.push(pod("1", "a", 1), Duration::ZERO);
            assert_eq!(queue.push(deleted(id), Duration::ZERO), becomes);
            assert_eq!(queue.push(pod("1", "a", 1), Duration::ZERO), Pushed::Folded);
            let event = &queue.take(1, |_| false)[0];
            assert_eq!((event.hint.is_some(), event.doubtful), (id == "1", false));
        }
    }

    #[test]
    fn what_has_no_room_keeps_its_place() {
        let mut queue = EventQueue::new(10);
        for (id, uuid) in [("1", "a"), ("2", "b"), ("3", "c")] {
            queue.push(pod(id, uuid, 1), Duration::ZERO);
        }
        let uuids = |events: Vec<QueuedEvent>| events.iter().map(|e| e.uuid().to_owned()).collect::<Vec<_>>();
        assert_eq!(uuids(queue.take(1, |event| event.uuid() == "a")), ["b"]);
        assert_eq!(uuids(queue.take(9, |_| false)), ["a", "c"]);
    }

    #[test]
    fn after_a_dropped_delete_events_are_doubtful_for_a_while() {
        let full = |queue: &mut EventQueue| {
            queue.push(pod("1", "a", 1), Duration::ZERO);
            assert_eq!(queue.push(pod("2", "b", 1), Duration::ZERO), Pushed::Dropped);
            assert_eq!(queue.push(deleted("2"), Duration::ZERO), Pushed::Dropped);
        };
        let cleared = |queue: &mut EventQueue| {
            queue.push(deleted("1"), Duration::ZERO);
            queue.clear(Duration::ZERO);
        };
        for (losing, left) in [(&full as &dyn Fn(&mut EventQueue), 1), (&cleared, 0)] {
            let mut queue = EventQueue::new(1);
            losing(&mut queue);
            assert_eq!(queue.take(9, |_| false).iter().filter(|event| !event.doubtful).count(), left);
            for (at, doubtful) in [(LATEST, true), (LATEST + Duration::from_millis(1), false)] {
                queue.push(pod("2", "b", 1), at);
                assert_eq!(queue.take(1, |_| false)[0].doubtful, doubtful, "{at:?}");
            }
        }
        let mut queue = EventQueue::new(1);
        queue.push(pod("1", "a", 1), Duration::ZERO);
        queue.push(pod("2", "b", 1), Duration::ZERO);
        queue.clear(Duration::ZERO);
        queue.push(pod("2", "b", 1), Duration::ZERO);
        assert!(!queue.take(1, |_| false)[0].doubtful, "a full sync finds what lives");
    }

    #[test]
    fn documents_without_an_id_are_told_apart_by_name() {
        let mut queue = EventQueue::new(10);
        queue.push(pod("", "a", 1), Duration::ZERO);
        queue.push(pod("", "b", 1), Duration::ZERO);
        assert_eq!(queue.len(), 2);
    }
}

//! The documents of one cluster and the events their changes make, without threads or sockets.
//!
//! What differs between the two generations of bcs-storage is decided here (protocol.md 1.3):
//! how a document leaves, and what the watchers are told.

use super::document::Document;
use crate::model::ClusterKind;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Soft-deleted documents that are kept; above it they are all removed, as the storage's own
/// clean-up does, and no event tells.
const TOMBS_MAX: usize = 1000;
/// What an unlimited listing of the new generation is cut to.
const NEW_UNLIMITED: usize = 3000;

/// Which bcs-storage a cluster is kept by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// MongoDB oplog: deletes tell `_id` only, a listing without limit is complete.
    Old,
    /// Soft deletes, events out of order, a listing without limit is cut.
    New,
}

/// How one cluster's storage behaves where the contract leaves room.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// Decides deletes and limits.
    pub generation: Generation,
    /// From the headers of a watch to its subscription; what happens between is not told.
    pub subscription_delay: Duration,
    /// Whether a change event carries the document as it is when the event is sent.
    pub reread: bool,
    /// New generation: whether a pod recreated under its name keeps its `_id`.
    pub keep_id: bool,
    /// Events that are this near to each other may arrive in another order; zero: kept in order.
    pub reorder_within: Duration,
    /// Whether a newline follows each event.
    pub newline: bool,
}

impl Behaviour {
    /// What a generation does by default.
    pub fn of(generation: Generation) -> Self {
        let new = generation == Generation::New;
        Self {
            generation,
            subscription_delay: Duration::from_millis(200),
            reread: true,
            keep_id: true,
            reorder_within: Duration::from_millis(if new { 5 } else { 0 }),
            newline: !new,
        }
    }
}

/// Namespace and name: the key of a document in its cluster.
pub(super) type Key = (String, String);

/// Type numbers of events (protocol.md 1.3).
const ADD: i8 = 1;
pub(super) const DELETE: i8 = 2;
const CHANGE: i8 = 3;

/// What the watchers of a cluster are told.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A change of a document, as it was then.
    Document(i8, Arc<Document>),
    /// A delete of the old generation: the `_id`.
    Gone(String),
    /// These bytes, whatever they are.
    Raw(Vec<u8>),
    /// The stream ends; `true`: with a break event, else with a broken connection.
    End(bool),
}

/// One item of a listing.
pub(super) enum Listed {
    /// A document.
    Document(Arc<Document>),
    /// Bytes a test put there.
    Raw(Vec<u8>),
}

/// Why a pod was not stored.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// Add the cluster first.
    #[error("cluster {0} is not known")]
    UnknownCluster(String),
    /// bcs-storage keys its documents by these two.
    #[error("metadata.{0} is missing or not a text")]
    Unnamed(&'static str),
}

/// The documents of one cluster.
pub(super) struct Collection {
    pub(super) id: String,
    pub(super) kind: ClusterKind,
    pub(super) behaviour: Behaviour,
    /// Extra items of every listing.
    pub(super) raw: Vec<Vec<u8>>,
    /// Whether a listing shows its documents twice.
    pub(super) duplicates: bool,
    documents: Vec<Arc<Document>>,
    index: HashMap<Key, usize>,
    tombs: HashMap<Key, Arc<Document>>,
}

impl Collection {
    pub(super) fn new(id: &str, kind: ClusterKind, behaviour: Behaviour) -> Self {
        Self {
            id: id.to_owned(),
            kind,
            behaviour,
            raw: Vec::new(),
            duplicates: false,
            documents: Vec::new(),
            index: HashMap::new(),
            tombs: HashMap::new(),
        }
    }

    /// Stores a pod under its namespace and name and says what the watchers are told.
    pub(super) fn put(
        &mut self,
        data: Arc<Value>,
        now: Timestamp,
        rng: &mut fastrand::Rng,
    ) -> Result<Event, PutError> {
        let key = key_of(&data)?;
        Ok(self.put_under(key, data, now, rng))
    }

    /// The same under any key.
    pub(super) fn put_under(
        &mut self,
        key: Key,
        data: Arc<Value>,
        now: Timestamp,
        rng: &mut fastrand::Rng,
    ) -> Event {
        let place = self.index.get(&key).copied();
        let before = match place {
            Some(place) => Some(&self.documents[place]),
            None => self.tombs.get(&key).filter(|_| self.behaviour.keep_id),
        };
        let document = Arc::new(Document {
            id: before.map_or_else(|| object_id(now, rng), |old| old.id.clone()),
            cluster: self.id.clone(),
            kind: self.kind,
            namespace: key.0.clone(),
            name: key.1.clone(),
            data,
            created: before.map_or(now, |old| old.created),
            updated: now,
            // The new generation's upsert takes the flag back; a first insert never had it.
            deleted: before.and_then(|old| old.deleted.map(|_| false)),
        });
        let kind = if before.is_some() { CHANGE } else { ADD };
        match place {
            Some(place) => {
                self.documents[place] = document.clone();
                self.move_now_and_then(place, rng);
            }
            None => {
                self.tombs.remove(&key);
                self.index.insert(key, self.documents.len());
                self.documents.push(document.clone());
            }
        }
        Event::Document(kind, document)
    }

    /// Deletes a document and says what the watchers are told; nothing if it was not there.
    pub(super) fn delete(&mut self, namespace: &str, name: &str, now: Timestamp) -> Vec<Event> {
        let key = (namespace.to_owned(), name.to_owned());
        let Some(place) = self.index.remove(&key) else { return Vec::new() };
        // The last document takes the place of the deleted one: a listing under way misses it.
        let document = self.documents.swap_remove(place);
        if let Some(moved) = self.documents.get(place) {
            self.index.insert((moved.namespace.clone(), moved.name.clone()), place);
        }
        match self.behaviour.generation {
            Generation::Old => vec![Event::Gone(document.id.clone())],
            Generation::New => {
                let tomb = Arc::new(Document { deleted: Some(true), updated: now, ..(*document).clone() });
                if self.tombs.len() >= TOMBS_MAX {
                    self.tombs.clear();
                }
                self.tombs.insert(key, tomb.clone());
                vec![Event::Document(DELETE, tomb.clone()), Event::Document(CHANGE, tomb)]
            }
        }
    }

    /// The living document of that name.
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Document>> {
        let place = self.index.get(&(namespace.to_owned(), name.to_owned()))?;
        self.documents.get(*place)
    }

    /// What the storage holds now under the `_id` of `then`; `then` itself where that is gone.
    pub(super) fn reread(&self, then: Arc<Document>) -> Arc<Document> {
        let tomb = || self.tombs.get(&(then.namespace.clone(), then.name.clone()));
        let now = self.get(&then.namespace, &then.name).or_else(tomb);
        now.filter(|now| now.id == then.id).cloned().unwrap_or(then)
    }

    /// All living documents.
    pub(super) fn documents(&self) -> &[Arc<Document>] {
        &self.documents
    }

    /// One page, in no order that lasts. `limit` 0 is what the generation makes of it.
    pub(super) fn page(&self, offset: usize, limit: usize, extra: &[(String, Value)]) -> Vec<Listed> {
        let limit = match (limit, self.behaviour.generation) {
            (0, Generation::Old) => usize::MAX,
            (0, Generation::New) => NEW_UNLIMITED,
            (limit, _) => limit,
        };
        let again: &[_] = if self.duplicates { &self.documents } else { &[] };
        let matching =
            |document: &&Arc<Document>| extra.iter().all(|(path, value)| document.matches(path, value));
        let documents = self.documents.iter().chain(again).filter(matching).cloned().map(Listed::Document);
        documents.chain(self.raw.iter().cloned().map(Listed::Raw)).skip(offset).take(limit).collect()
    }

    /// One write in four moves the document elsewhere: listings have no order (protocol.md 1.1).
    fn move_now_and_then(&mut self, place: usize, rng: &mut fastrand::Rng) {
        if rng.u8(..4) != 0 {
            return;
        }
        let other = rng.usize(..self.documents.len());
        self.documents.swap(place, other);
        for place in [place, other] {
            let moved = &self.documents[place];
            self.index.insert((moved.namespace.clone(), moved.name.clone()), place);
        }
    }
}

fn key_of(data: &Value) -> Result<Key, PutError> {
    let text = |name: &'static str| {
        let found = data.get("metadata").and_then(|metadata| metadata.get(name)).and_then(Value::as_str);
        found.map(str::to_owned).ok_or(PutError::Unnamed(name))
    };
    Ok((text("namespace")?, text("name")?))
}

/// An ObjectId: seconds, then eight bytes nobody can guess.
fn object_id(now: Timestamp, rng: &mut fastrand::Rng) -> String {
    format!("{:08x}{:016x}", now.as_second() & 0xffff_ffff, rng.u64(..))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn collection(generation: Generation) -> (Collection, fastrand::Rng) {
        let id = "BCS-K8S-1";
        (Collection::new(id, ClusterKind::K8s, Behaviour::of(generation)), fastrand::Rng::with_seed(1))
    }

    fn pod(name: &str, uid: &str) -> Arc<Value> {
        json!({"metadata": {"namespace": "ns", "name": name, "uid": uid}}).into()
    }

    fn put(collection: &mut Collection, rng: &mut fastrand::Rng, pod: Arc<Value>) -> (i8, Arc<Document>) {
        match collection.put(pod, Timestamp::UNIX_EPOCH, rng) {
            Ok(Event::Document(kind, document)) => (kind, document),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn overwriting_keeps_the_id_in_both_generations() {
        for generation in [Generation::Old, Generation::New] {
            let (mut documents, mut rng) = collection(generation);
            let (kind, first) = put(&mut documents, &mut rng, pod("a", "1"));
            let (again, second) = put(&mut documents, &mut rng, pod("a", "2"));
            assert_eq!((kind, again), (ADD, CHANGE));
            assert_eq!((first.id.len(), &first.id), (24, &second.id));
            assert_eq!(documents.documents().len(), 1);
        }
    }

    #[test]
    fn the_old_generation_tells_the_id_only_and_gives_a_new_one_afterwards() {
        let (mut documents, mut rng) = collection(Generation::Old);
        let (_, first) = put(&mut documents, &mut rng, pod("a", "1"));
        let events = documents.delete("ns", "a", Timestamp::UNIX_EPOCH);
        assert!(matches!(&events[..], [Event::Gone(id)] if *id == first.id));
        let (kind, second) = put(&mut documents, &mut rng, pod("a", "2"));
        assert!(kind == ADD && second.id != first.id);
    }

    #[test]
    fn the_new_generation_flags_and_revives_under_the_same_id() {
        let (mut documents, mut rng) = collection(Generation::New);
        let (_, first) = put(&mut documents, &mut rng, pod("a", "1"));
        let events = documents.delete("ns", "a", Timestamp::UNIX_EPOCH);
        let [Event::Document(DELETE, dead), Event::Document(CHANGE, flagged)] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!((dead.deleted, flagged.deleted, &dead.id), (Some(true), Some(true), &first.id));
        assert!(documents.get("ns", "a").is_none() && documents.page(0, 0, &[]).is_empty());
        let (kind, second) = put(&mut documents, &mut rng, pod("a", "2"));
        assert_eq!((kind, &second.id, second.deleted), (CHANGE, &first.id, Some(false)));
        assert_eq!(documents.reread(dead.clone()).data["metadata"]["uid"], "2");
    }

    #[test]
    fn a_delete_during_paging_moves_a_document_out_of_sight() {
        let (mut documents, mut rng) = collection(Generation::Old);
        for name in ["a", "b", "c", "d"] {
            put(&mut documents, &mut rng, pod(name, name));
        }
        let names = |page: Vec<Listed>| -> Vec<String> {
            let name = |item| match item {
                Listed::Document(document) => Arc::unwrap_or_clone(document).name,
                Listed::Raw(_) => String::new(),
            };
            page.into_iter().map(name).collect()
        };
        let mut seen = names(documents.page(0, 2, &[]));
        documents.delete("ns", "a", Timestamp::UNIX_EPOCH);
        seen.extend(names(documents.page(2, 2, &[])));
        assert!(!seen.contains(&"d".to_owned()), "{seen:?}");
        assert!(documents.get("ns", "d").is_some());
    }

    #[test]
    fn pods_without_a_name_are_refused() {
        let (mut documents, mut rng) = collection(Generation::Old);
        for data in [json!(null), json!({}), json!({"metadata": {"namespace": "a", "name": 5}})] {
            assert!(documents.put(data.into(), Timestamp::UNIX_EPOCH, &mut rng).is_err());
        }
    }

    #[test]
    fn the_index_follows_every_move() {
        let (mut documents, mut rng) = collection(Generation::New);
        for round in 0..2000 {
            let name = rng.u8(..40).to_string();
            match rng.bool() {
                true => drop(put(&mut documents, &mut rng, pod(&name, &round.to_string()))),
                false => drop(documents.delete("ns", &name, Timestamp::UNIX_EPOCH)),
            }
        }
        for document in documents.documents() {
            let found = documents.get(&document.namespace, &document.name).unwrap();
            assert!(Arc::ptr_eq(found, document));
        }
        assert_eq!(documents.index.len(), documents.documents.len());
    }
}
